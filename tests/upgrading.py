"""Upgrades a database in a process of its own, for tests of several at once and of sudden ends.

    python -m tests.upgrading URL           # to schema 2, whose step waits for the end of stdin
    python -m tests.upgrading URL COUNT     # to schema 1, and SIGKILL instead of statement COUNT

Prints `connected`, `upgrading` when the step has begun, and at the end the versions before and
after.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from bbs.board import board
from bbs.storage import connecting, migrations, models
from bbs.storage.models import User


def add_row(migrator: migrations.Migrator) -> None:
    """A step that shows how often it was taken, and takes its time."""
    print("upgrading", flush=True)
    sys.stdin.read()
    User.insert(
        name=f"step {User.select().count()}", password_hash="", channel="", created=0.0
    ).execute()


def dying(execute: Callable[[Any], Any], count: int) -> Callable[[Any], Any]:
    """`execute`, until the process is killed before statement `count`."""
    left = iter(range(count - 1, -1, -1))

    def execute_or_die(query: Any) -> Any:
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return execute(query)

    return execute_or_die


def main(url: str, count: str | None = None) -> None:
    # What would be too long for a command need not be long here.
    connecting.LOCK_TIMEOUT = connecting.ANSWER_TIMEOUT = 0.3
    database: Any = connecting.connect_to(url)
    models.database.initialize(database)
    database.connect()
    print("connected", flush=True)
    if count:
        database.execute = dying(database.execute, int(count))
        versions = migrations.upgrade(database, board.schema)
    else:
        versions = migrations.upgrade(database, board.schema, 2, {2: add_row})
    print(*(each.framework for each in versions))


if __name__ == "__main__":
    main(*sys.argv[1:])
