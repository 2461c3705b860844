"""`bbs db upgrade`, which says of each statement that it is about to be executed, and that it was.

    python -m lab.faults.upgrade --config FILE

It goes on with a statement when it has read a line from its standard input: whoever started it can
kill it at any of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import count
from typing import Any

import peewee

from bbs.__main__ import main

ABOUT, DONE = "about to", "done"
"""How the lines begin, before a number and the statement."""


def told(execute: Callable[..., Any], numbers: count[int], name: str = "") -> Callable[..., Any]:
    """`execute`, a method of a database's, which tells what it does."""

    def telling(database: peewee.Database, *arguments: Any, **options: Any) -> Any:
        number = next(numbers)
        statement = name or " ".join(str(arguments[0]).split())
        print(ABOUT, number, statement, flush=True)
        sys.stdin.readline()
        result = execute(database, *arguments, **options)
        print(DONE, number, statement, flush=True)
        return result

    return telling


if __name__ == "__main__":
    numbers = count(1)
    base: Any = peewee.Database
    base.execute_sql = told(base.execute_sql, numbers)
    base.commit = told(base.commit, numbers, "COMMIT")
    sys.argv[1:1] = ["db", "upgrade"]
    sys.exit(main())
