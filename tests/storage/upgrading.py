"""Upgrades a database in a process of its own, for tests of several at once and of sudden ends.

    python -m tests.storage.upgrading URL          # to schema 2; its step waits until stdin ends
    python -m tests.storage.upgrading URL COUNT    # to today's; SIGKILL instead of statement COUNT
    python -m tests.storage.upgrading URL COUNT w  # the same, counting statements that change data

Prints `connected`, `upgrading` when the step has begun, and at the end the versions before and
after.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from typing import Any

from bbs.board import board
from bbs.storage import connecting, migrations, models
from bbs.storage.migrator import Migrator
from bbs.storage.models import User
from bbs.storage.schema import Schema


def add_row(migrator: Migrator) -> None:
    """A step that shows how often it was taken, and takes its time."""
    print("upgrading", flush=True)
    sys.stdin.read()
    User.insert(
        name=f"step {User.select().count()}", password_hash="", channel="", created=0.0
    ).execute()


def die_before(count: int) -> Callable[[object], None]:
    """To be told of statements: the process is killed before number `count` of them."""
    left = iter(range(count - 1, -1, -1))

    def told(statement: object) -> None:
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return told


def die_before_write(count: int) -> Callable[[object], None]:
    """The same of those alone that change something."""
    die = die_before(count)
    reads = re.compile("SELECT|SHOW|PRAGMA", re.IGNORECASE)

    def told(statement: object) -> None:
        if not reads.match(str(statement).strip()):
            die(statement)

    return told


def telling(told: Callable[[object], None], execute: Callable[..., Any]) -> Callable[..., Any]:
    """`execute`, which says before what it executes."""

    def execute_and_tell(*arguments: Any, **keywords: Any) -> Any:
        told(arguments[0] if arguments else execute.__name__)
        return execute(*arguments, **keywords)

    return execute_and_tell


def main(url: str, count: str | None = None, writes: str | None = None) -> None:
    # What would be too long for a command need not be long here.
    connecting.LOCK_TIMEOUT = connecting.ANSWER_TIMEOUT = 0.3
    database: Any = connecting.connect_to(url)
    models.database.initialize(database)
    database.connect()
    print("connected", flush=True)
    if count:
        if writes:
            die = die_before_write(int(count))
            database.execute_sql = telling(die, database.execute_sql)
            database.commit = telling(die, database.commit)
        else:
            database.execute = telling(die_before(int(count)), database.execute)
        versions = migrations.upgrade(database, board.schema)
    else:
        schema = Schema(board.name, tuple(board.models))
        versions = migrations.upgrade(database, schema, 2, {2: add_row})
    print(*(each.framework for each in versions))


if __name__ == "__main__":
    main(*sys.argv[1:])
