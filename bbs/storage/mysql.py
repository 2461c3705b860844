"""MySQL and MariaDB: how to connect, and how to send several statements at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import peewee
import pymysql
import pymysql.constants.ER as mysql_errors

from bbs.storage.transaction_guard import (
    EXCEPTIONS,
    EndsTransaction,
    Prepared,
    TransactionGuard,
)

CLIENT_ERRORS = range(2000, 3000)  # The driver's own errors of a connection.

_WANT_TLS = (
    mysql_errors.ACCESS_DENIED_ERROR,  # The user needs TLS.
    2061,  # The driver in C may not send the password over a plain connection.
    3159,  # The server accepts no plain connections.
)
"""Errors of a server that requires TLS; 1045 (ACCESS_DENIED_ERROR) also means a wrong password."""

_RETURNING_SINCE = (10, 5)  # The version of MariaDB; MySQL has no version from 10 on.

_BEGIN = "BEGIN;"
_ON_DUPLICATE = " ON DUPLICATE KEY UPDATE "


class MySQLDatabase(TransactionGuard, peewee.MySQLDatabase):
    """MySQL or MariaDB, where each statement sees what was committed before it began."""

    # A message may pass 64 KiB as UTF-8, where MySQL's TEXT ends.
    field_types = peewee.MySQLDatabase.field_types | {"TEXT": "MEDIUMTEXT"}

    driver = f"PyMySQL {pymysql.VERSION_STRING}"
    packs = True  # The driver takes 4 µs for the description of each column of a result.
    ordered_join = "STRAIGHT_JOIN"
    inserts_in_bulk = True
    fewest_in_bulk = 2

    def begin(self) -> None:  # type: ignore[override]
        """Begin a transaction with the next statement, which saves a round trip."""
        if self.state.in_rule:
            raise EndsTransaction()
        self.connect(reuse_if_open=True)
        self.state.begins = True

    def commit(self) -> None:
        if self.state.in_rule or not self._take_begin():
            super().commit()

    def rollback(self) -> None:
        if self.state.in_rule or not self._take_begin():
            super().rollback()

    def _take_begin(self) -> bool:
        """Whether the transaction has still to begin, which its caller now sees to."""
        begins, self.state.begins = self.state.begins, False
        return begins

    def _begin_now(self) -> None:
        if self._take_begin():
            peewee.MySQLDatabase.begin(self)

    def _execute_first(self, cursor: Any, sql: str, values: Sequence[Any]) -> None:
        """Execute the first statements of a transaction, behind its beginning."""
        try:
            cursor.execute(_BEGIN + sql, values)
        except pymysql.Error:
            self.state.begins = False  # Other errors are of a value, and nothing was sent.
            raise
        self.state.begins = False
        cursor.nextset()

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Execute a statement that peewee has made."""
        self._begin_now()
        return super().execute_sql(sql, params)

    def _close(self, connection: Any) -> None:
        self.state.begins = False
        super()._close(connection)

    def take_turn(self) -> None:
        """Do nothing: writers wait at the server, for rows."""

    def begin_reading(self) -> None:
        """Do nothing: reading needs no transaction."""

    end_reading = begin_reading

    def _connect(self) -> Any:
        connection = self._connect_plainly()
        try:
            with connection.cursor() as cursor:
                # A transaction that runs again must see what the winner wrote, and readers lock
                # nothing. (The variable for it has another name in MariaDB before 11.1.)
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect_plainly(self) -> Any:
        """Connect without TLS if the options say so and the server allows it. By default the driver
        prefers TLS, which is useless on a connection within this machine."""
        plain = self.connect_params
        try:
            return self._open()
        except (RuntimeError, pymysql.OperationalError) as error:
            # (The driver raises a RuntimeError without a number if it cannot go on without TLS.)
            wants_tls = isinstance(error, RuntimeError) or error.args[0] in _WANT_TLS
            if not wants_tls or not plain.get("ssl_disabled"):
                raise
        self.connect_params = {key: plain[key] for key in plain if key != "ssl_disabled"}
        try:
            return self._open()
        except BaseException:
            self.connect_params = plain
            raise

    def _open(self) -> Any:
        return super()._connect()  # type: ignore[misc]

    def carry_out(self, sql: str, values: Sequence[Any], writes: bool) -> Any:
        """Execute a statement; returns the cursor with the whole result."""
        if self.query_hooks:
            self._begin_now()
            return super().carry_out(sql, values, writes)
        if writes:
            self.note_change()
        connection: Any = self._state.conn  # type: ignore[attr-defined]
        try:
            with self.state.activity:
                cursor = connection.cursor()
                if self.state.begins:
                    self._execute_first(cursor, sql, values)
                else:
                    cursor.execute(sql, values)
        except Exception:
            with EXCEPTIONS:
                raise
        return cursor

    def carry_out_together(
        self, statements: Sequence[Prepared], results: Sequence[Callable[[Any], Any]]
    ) -> list[Any]:
        """Execute statements in one round trip; returns what `results` read from the cursor."""
        if self.query_hooks:
            return super().carry_out_together(statements, results)
        if any(writes for _, _, writes in statements):
            self.note_change()
        whole = ";".join(sql for sql, _, _ in statements)
        values = [value for _, own, _ in statements for value in own]
        found = []
        with EXCEPTIONS, self.state.activity:
            cursor: Any = self.cursor()  # type: ignore[no-untyped-call]
            try:
                if self.state.begins:
                    self._execute_first(cursor, whole, values)
                else:
                    cursor.execute(whole, values)
                for result in results:
                    found.append(result(cursor))
                    cursor.nextset()
            except BaseException:
                # The next statement on this connection must not find the other results.
                with suppress(Exception):
                    while cursor.nextset():
                        pass
                raise
        return found

    def returning_keys(
        self, sql: str, key: str, count: int
    ) -> tuple[str, Callable[[Any], list[int]]]:
        """Extend an insertion of `count` rows, so that a function reads their keys (of the column
        `key`) from its cursor."""
        version: Any = self.server_version
        if version >= _RETURNING_SINCE:
            return f"{sql} RETURNING `{key}`", lambda cursor: [key for (key,) in cursor.fetchall()]
        # MySQL knows the number of rows before it inserts them, and gives them keys in steps of the
        # same size, without a gap (manual, "InnoDB AUTO_INCREMENT Lock Modes").
        [(step,)] = self.carry_out("SELECT @@auto_increment_increment", (), False).fetchall()
        return sql, lambda cursor: [cursor.lastrowid + step * row for row in range(count)]

    def carry_out_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Execute a change for each row of values; insertions become one statement."""
        self.note_change()
        self._begin_now()
        with EXCEPTIONS, self.state.activity:
            cursor: Any = self.cursor()  # type: ignore[no-untyped-call]
            if _ON_DUPLICATE in sql:  # The driver accepts no values behind those of a row.
                for row in rows:
                    cursor.execute(sql, row)
            else:
                cursor.executemany(sql, rows)
