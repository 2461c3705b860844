"""Rounds of faults, all of them: says what each round that was not well did wrong, and how many
were not well."""

from __future__ import annotations

import argparse
import sys
import time

from twisted.logger import globalLogBeginner

from lab.simulation.breaks import BREAKS, Breaks
from lab.simulation.world import World

ENOUGH = 5
"""Rounds that fail without a protection, after which no more are tried."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.simulation", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first round (%(default)s)")
    parser.add_argument("--trace", action="store_true", help="print all that happens")
    parser.add_argument("--break", dest="broken", choices=[*BREAKS])
    parser.add_argument(
        "--breaks",
        action="store_true",
        help=f"each protection taken out, until {ENOUGH} rounds have failed or all were tried",
    )
    options = parser.parse_args()
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    if options.breaks:
        return _each_break(range(options.seed, options.seed + options.rounds))
    breaks = Breaks([options.broken] if options.broken else [])
    began, launches, calls, failed = time.process_time(), 0, 0, 0
    for seed in range(options.seed, options.seed + options.rounds):
        world = World(seed, breaks)
        complaints = world.run()
        launches += len(world.cloud.machines)
        calls += world.cloud.calls
        if options.trace:
            print("\n".join(world.trace))
        if complaints:
            failed += 1
            print(f"seed {seed}: {'; '.join(complaints)}", flush=True)
    print(
        f"{options.rounds} rounds from seed {options.seed}: {failed} failed,"
        f" {launches} instances, {calls} calls, {time.process_time() - began:.0f} s of a processor"
    )
    return 1 if failed else 0


def _each_break(seeds: range) -> int:
    """A table: how many of the rounds that were tried fail without each protection, and how the
    first does."""
    unnoticed = 0
    for name, broken in BREAKS.items():
        failures: dict[int, str] = {}
        tried = 0
        for seed in seeds:
            tried += 1
            if complaints := _complaints(seed, name):
                failures[seed] = complaints[0]
            if len(failures) == ENOUGH:
                break
        unnoticed += not failures
        first, complaint = next(iter(failures.items()), (None, ""))
        beside = "".join(f" and {other}" for other in broken.beside)
        print(f"{name}{beside}: {broken.what}")
        print(f"    {len(failures)} of {tried} rounds fail; seed {first}: {complaint}", flush=True)
    return 1 if unnoticed else 0


def _complaints(seed: int, broken: str) -> list[str]:
    try:
        return World(seed, Breaks([broken])).run()
    except Exception as error:
        return [repr(error)]


if __name__ == "__main__":
    sys.exit(main())
