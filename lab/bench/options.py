"""What a run may be told, and how long it measures."""

from __future__ import annotations

import argparse

from lab.bench.goals import IN_PYTHON, MARIADB
from lab.bench.measure import Pace
from lab.bench.people import LINES

CONNECTIONS = (1, 16, 100)

PACE = Pace(rounds=3, goal_rounds=5, echo=0.2, command=0.35, logins=1.5, limit=130.0)
QUICK = Pace(rounds=1, goal_rounds=1, echo=0.1, command=0.2, logins=0.5, limit=20.0)
QUICK_CONNECTIONS = (16,)

DRIVERS = {"c": MARIADB, "pymysql": IN_PYTHON}
"""What is measured of MariaDB, as `--driver` names it."""

LOGINS, MANY = "logins", "many"
"""What is measured beside the commands, as `--only` names it."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """What a run may be told."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.bench",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short round, over 16 connections alone"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures and all rounds there")
    parser.add_argument(
        "--only",
        metavar="WHAT",
        action="append",
        choices=(*LINES, LOGINS, MANY),
        help=f"this alone (again for more): a command, {LOGINS} (who waits while a hundred log"
        f" in), {MANY} (several app servers)",
    )
    parser.add_argument(
        "--connections",
        type=int,
        action="append",
        metavar="N",
        help="so many (again for more) instead of 1, 16 and 100",
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="so many rounds of everything")
    parser.add_argument("--embedded", action="store_true", help="SQLite and the own broker alone")
    parser.add_argument(
        "--driver",
        choices=DRIVERS,
        action="append",
        help="MariaDB by this one (again for more), instead of by each of them",
    )
    parser.add_argument(
        "--compare", metavar="REF", help="run the code of that commit, too; commands alone"
    )
    parser.add_argument(
        "--galera",
        action="store_true",
        help="compare three nodes of Galera with the MariaDB; commands alone",
    )
    parser.add_argument(
        "--many-seconds",
        type=float,
        metavar="S",
        help="seconds that several app servers are under load (default: 12; quick: 2)",
    )
    parser.add_argument(
        "--sizes",
        action="store_true",
        help="measure cost against size as well: lab.bench.sizes",
    )
    parser.add_argument(
        "--write",
        action=argparse.BooleanOptionalAction,
        help="write the tables to docs/benchmarks.md and results.md; without this option only a"
        " whole run does",
    )
    return parser


def pace_of(options: argparse.Namespace) -> Pace:
    """How long everything is measured."""
    pace = QUICK if options.quick else PACE
    if options.rounds:
        pace = pace.with_rounds(options.rounds)
    return pace
