"""Break a service again and again while people use it; says what was lost and how long it took."""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path
from typing import Any

from twisted.internet import task
from twisted.logger import globalLogBeginner

from tests.faults.run import Plan, carry_out

SUMMARY = ".txt"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=None, help="how many (100)")
    parser.add_argument("--seconds", type=float, help="no fault begins later")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn (%(default)s)")
    parser.add_argument("--database", choices=("sqlite", "mysql"), default="sqlite")
    parser.add_argument("--only", nargs="+", default=[], metavar="KIND", help="such as kill, disk")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args(arguments)
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    faults = options.faults or (100 if options.seconds is None else sys.maxsize)
    plan = Plan(options.database, options.seed, faults, options.seconds, options.only)

    async def go(reactor: Any) -> None:
        try:
            figures = await carry_out(plan)
        except Exception:  # Twisted's log, where it would be told, is the service's too.
            traceback.print_exc()
            raise SystemExit(1) from None
        print(figures.text())
        if options.json:
            figures.write(options.json)
        if figures.complaints:
            raise SystemExit(1)

    task.react(go)


if __name__ == "__main__":
    main(sys.argv[1:])
