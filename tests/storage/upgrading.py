"""Upgrades that are cut off after a change, and upgrades in processes of their own."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import peewee

from bbs.board import board
from bbs.storage import engines, migrations, models
from bbs.storage.migrations import Migrator
from bbs.storage.models import User
from bbs.storage.schema import Schema
from tests.storage.processes import Beside

SHORT = 0.3
"""Seconds that commands of such a process would wait for a lock, or for an answer."""

_READS = re.compile(r"\s*(SELECT|SHOW|PRAGMA)\b", re.IGNORECASE)


class CutOff(BaseException):
    """Ends an upgrade as a signal would: nothing after it is done."""


class _Cut:
    """Is told of statements, and cuts an upgrade off after so many `changes` that are not among
    `made`, those of the upgrades before."""

    def __init__(self, made: set[str], changes: int = 1) -> None:
        self._made = made
        self._left = changes

    def __call__(self, statement: Any) -> None:
        change = f"{statement.sql} {statement.params}"
        if self._left and not _READS.match(statement.sql) and change not in self._made:
            self._made.add(change)
            self._left -= 1
        if not self._left:
            raise CutOff(change)


EVERY = 5
"""Changes on SQLite behind which an upgrade is cut off: all that it made is undone, each time."""


def cut_off_after_each_change(database: Any, schema: Schema) -> Iterator[None]:
    """Upgrade, and be cut off after each change (on SQLite one of `EVERY`), whereupon the caller
    may look at what is there.

    The next upgrade takes up what was left, and makes one change more. So on MySQL all of them
    together change hardly more than a single one.
    """
    made: set[str] = set()
    every = EVERY if isinstance(database, peewee.SqliteDatabase) else 1
    while True:
        cut = _Cut(made, every)
        database.query_hooks.append(cut)
        try:
            migrations.upgrade(database, schema)
            return
        except CutOff:
            pass
        finally:
            database.query_hooks.remove(cut)
            database.close()
            database.connect()
        yield


class Upgrader(Beside):
    """A process that upgrades a database to version 2 of the framework, or to today's and the
    board's, but is killed after so many `changes`.

    It says `connected`; `upgrading` when its step has begun, which ends when it is told something;
    and at the end the framework's versions before and after.
    """

    def __init__(self, url: str, changes: int = 0) -> None:
        super().__init__(_upgrade, url, changes)


def _upgrade(url: str, changes: int, test: Connection) -> None:
    """What such a process does."""
    # What would be too long for a command need not be long here.
    engines.LOCK_TIMEOUT = engines.ANSWER_TIMEOUT = SHORT
    database: Any = engines.connect_to(url)
    models.database.initialize(database)
    database.connect()
    test.send("connected")
    if changes:
        cut = _Cut(set(), changes)

        def killed(statement: object) -> None:
            try:
                cut(statement)
            except CutOff:
                os.kill(os.getpid(), signal.SIGKILL)

        database.query_hooks.append(killed)
        migrations.upgrade(database, board.schema)
        return

    def add_row(migrator: Migrator) -> None:
        """A step that shows how often it was taken, and takes its time."""
        test.send("upgrading")
        test.recv()
        name = f"step {User.select().count()}"
        User.insert(name=name, password_hash="", channel="", created=0.0).execute()

    schema = Schema(board.name, tuple(board.models))
    before, after = migrations.upgrade(database, schema, 2, {2: add_row})
    test.send((before.framework, after.framework))
