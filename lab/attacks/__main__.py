"""The command line of the attackers: see `python -m lab.attacks --help`."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lab.attacks import catalogue, report
from lab.attacks.filling import Template
from lab.attacks.limits import LIMITS
from lab.attacks.measure import run
from lab.attacks.values import Plan

OWN = "own"
"""Stands for all the limits that an attack is up against."""


def main(arguments: Sequence[str]) -> int:
    """Attack, and say what came of it; 1 where somebody got through, who should not have, or where
    somebody without a limit in the way did not."""
    parser = argparse.ArgumentParser("python -m lab.attacks", description=__doc__)
    names = [*catalogue.ATTACKS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each attack (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inputs", type=int, default=100_000, help="fuzzed ones, over all ports")
    parser.add_argument("--without", nargs="+", choices=[*LIMITS, OWN], default=[], metavar="LIMIT")
    parser.add_argument(
        "--self-test", action="store_true", help="without its limits, each attack has to work"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--list", action="store_true", help="say which attacks there are")
    options = parser.parse_args(arguments)
    if options.list:
        for attack in catalogue.ATTACKS.values():
            print(f"{attack.name:24}{attack.what}; {', '.join(attack.limits) or 'no limit yet'}")
        return 0
    if options.self_test:
        options.without = [OWN]
        options.only = [name for name in options.only if catalogue.ATTACKS[name].limits]
    fuzzed = sum(catalogue.ATTACKS[name].tool == "fuzzer" for name in options.only)
    inputs = options.inputs // max(1, fuzzed)
    outcomes = []
    print(report.HEAD, flush=True)
    with tempfile.TemporaryDirectory(prefix="bbs-attacks-") as name:
        template = Template(Path(name))
        for number, each in enumerate(options.only):
            folder = Path(name) / f"{number}"
            folder.mkdir()
            attack = catalogue.ATTACKS[each]
            without = attack.limits if OWN in options.without else options.without
            half = options.seconds / 2
            plan = Plan(half, options.seconds, options.seed, inputs, without)
            outcome = run(attack, plan, folder, template)
            outcomes.append(outcome)
            print("\n".join(report.table([outcome]).splitlines()[2:]), flush=True)
    if options.json:
        found = [report.as_json(each) for each in outcomes]
        options.json.write_text(json.dumps(found, indent=1))
    if options.self_test:
        harmless = [each.attack.name for each in outcomes if not each.faults()]
        print("without their limits these do not work: " + (", ".join(harmless) or "none"))
        return int(bool(harmless))
    return int(any(each.faults() for each in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
