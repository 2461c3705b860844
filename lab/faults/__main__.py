"""Break a service again and again while people use it; says what was lost and how long it took."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet import task
from twisted.logger import globalLogBeginner

from lab.faults.migrations import FIRST, cut_everywhere
from lab.faults.run import Plan, carry_out
from lab.faults.world import DRIVERS, GALERAS
from tests.services import needed, running_galera


@contextmanager
def server_of(database: str) -> Iterator[str]:
    """The URL of a server for databases of this kind; "" for files."""
    if database not in GALERAS:
        yield needed("BBS_TEST_MYSQL_URL") if database in DRIVERS else ""
        return
    with running_galera() as galera:
        yield galera.nodes[0].url


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=None, help="how many (100)")
    parser.add_argument("--seconds", type=float, help="no fault begins later")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn (%(default)s)")
    parser.add_argument("--database", choices=("sqlite", *DRIVERS), default="sqlite")
    parser.add_argument("--only", nargs="+", default=[], metavar="KIND", help="such as kill, disk")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="put logs there if all is not well"
    )
    parser.add_argument(
        "--migrations", action="store_true", help="kill an upgrade at every statement instead"
    )
    parser.add_argument(
        "--older",
        default=FIRST,
        metavar="VERSION",
        help="what left the database of --migrations: 0.3.0, a commit (%(default)s)",
    )
    parser.add_argument("--every", type=int, default=1, help="or at one of so many (%(default)s)")
    options = parser.parse_args(arguments)
    if options.migrations:
        with server_of(options.database) as url:
            cuts = cut_everywhere(options.database, url, options.seed, options.every, options.older)
        print(cuts.text())
        raise SystemExit(bool(cuts.complaints))
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    faults = options.faults or (100 if options.seconds is None else sys.maxsize)
    plan = Plan(
        options.database,
        options.seed,
        faults,
        options.seconds,
        options.only,
        options.keep,
        lambda text: print(text, file=sys.stderr, flush=True),
    )

    async def go(reactor: Any) -> None:
        figures = await carry_out(plan)
        print(figures.text())
        if options.json:
            figures.write(options.json)
        if figures.complaints:
            raise SystemExit(1)

    task.react(go)


if __name__ == "__main__":
    main(sys.argv[1:])
