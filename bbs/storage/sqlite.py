"""SQLite: how its transactions begin, and how processes take turns."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from typing import Any

import peewee

from bbs.storage.turns import Turn
from bbs.storage.watched import EXCEPTIONS, Doing, Watched


class SqliteDatabase(Watched, peewee.SqliteDatabase):
    """SQLite, whose transactions take the lock for writing as they begin: to take it at the first
    write instead would fail where two that have read both write. Processes take turns."""

    def __init__(self, database: str, **options: Any) -> None:
        self.doing = Doing()
        self._turns = threading.local()
        super().__init__(database, **options)

    def take_turn(self) -> None:
        """Wait until nobody else writes, as long as it takes, on a thread that may."""
        if threading.current_thread() is not threading.main_thread():
            self._turn.take(None)

    def begin(self, lock_type: str | None = None) -> None:
        """Begin a transaction; one that only reads may be `DEFERRED`, and waits for nobody."""
        self.check_end()
        if lock_type == "DEFERRED":
            super().begin(lock_type)
            return
        if not self._turn.take(self.timeout):
            with EXCEPTIONS:
                raise _busy()
        try:
            super().begin(lock_type or "IMMEDIATE")
        except BaseException:
            self._turn.give_back()
            raise

    def commit(self) -> None:
        """End a transaction, and the turn."""
        super().commit()
        self._turn.give_back()

    def rollback(self) -> None:
        """Undo a transaction, and end the turn."""
        self.check_end()
        try:
            super().rollback()
        finally:
            self._turn.give_back()

    def _close(self, connection: Any) -> None:
        super()._close(connection)  # type: ignore[misc]
        self._turn.give_back()

    @property
    def _turn(self) -> Turn:
        try:
            turn: Turn = self._turns.own
        except AttributeError:
            shared = self.database not in ("", ":memory:")
            turn = self._turns.own = Turn(self.database if shared else None)
        return turn

    def carry_out(self, sql: str, values: Sequence[Any], writes: bool) -> Any:
        """Carry out a statement; gives the cursor, with all that the database has to say."""
        if self.query_hooks:
            return super().carry_out(sql, values, writes)
        self.watch(writes)
        connection: Any = self._state.conn  # type: ignore[attr-defined]
        with EXCEPTIONS:
            return connection.execute(sql, values)

    def carry_out_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Carry out a change for each of the rows of values."""
        self.watch(True)
        connection: Any = self._state.conn  # type: ignore[attr-defined]
        with EXCEPTIONS:
            connection.executemany(sql, rows)


def _busy() -> sqlite3.OperationalError:
    """What SQLite raises when a lock was not to be had in time."""
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    return error
