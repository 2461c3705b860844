"""MySQL and MariaDB: how a connection is set up, and how statements go together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import peewee
import pymysql
import pymysql.constants.ER as mysql_errors

from bbs.storage.transaction_guard import EXCEPTIONS, Prepared, TransactionGuard

CLIENT_ERRORS = range(2000, 3000)
"""The driver's own errors of a connection."""

_WANT_TLS = (
    mysql_errors.ACCESS_DENIED_ERROR,  # to a user of whom TLS is required
    2061,  # by the driver in C: a password that may not go over a plain connection
    3159,  # a server where nothing may
)
"""Errors of a server that wants TLS; 1045 is a wrong password's too."""

_ON_DUPLICATE = " ON DUPLICATE KEY UPDATE "


class MySQLDatabase(TransactionGuard, peewee.MySQLDatabase):
    """MySQL or MariaDB, where each statement sees what is committed when it begins."""

    # A message may pass 64 KiB as UTF-8, where MySQL's TEXT ends.
    field_types = peewee.MySQLDatabase.field_types | {"TEXT": "MEDIUMTEXT"}

    packs = True  # The driver takes 4 µs for the description of each column of a result.

    def take_turn(self) -> None:
        """Do nothing: writers wait for rows, and at the server."""

    def begin_reading(self) -> None:
        """Do nothing: reading takes no transaction."""

    def end_reading(self) -> None:
        """Do nothing, likewise."""

    def _connect(self) -> Any:
        connection = self._connect_plainly()
        try:
            with connection.cursor() as cursor:
                # A transaction that runs again must see what it lost to, and readers lock nothing.
                # (The variable for it has two names: MariaDB's was another before 11.1.)
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect_plainly(self) -> Any:
        """Connect without TLS where the options say so, unless the server wants it: the driver
        prefers TLS, which is no use where nothing leaves this machine."""
        plain = self.connect_params
        try:
            return self._open()
        except (RuntimeError, pymysql.OperationalError) as error:
            # (The driver has no number for what it cannot do without TLS.)
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
        """Carry out a statement; gives the cursor, with all that the database has to say."""
        if self.query_hooks:
            return super().carry_out(sql, values, writes)
        if writes:
            self.note_change()
        connection: Any = self._state.conn  # type: ignore[attr-defined]
        with EXCEPTIONS:
            cursor = connection.cursor()
            cursor.execute(sql, values)
            return cursor

    def carry_out_together(
        self, statements: Sequence[Prepared], results: Sequence[Callable[[Any], Any]]
    ) -> list[Any]:
        """Carry out statements in one round trip; what `results` make of the cursor at each."""
        if self.query_hooks:
            return super().carry_out_together(statements, results)
        if any(writes for _, _, writes in statements):
            self.note_change()
        whole = ";".join(sql for sql, _, _ in statements)
        values = [value for _, own, _ in statements for value in own]
        found = []
        with EXCEPTIONS:
            cursor: Any = self.cursor()  # type: ignore[no-untyped-call]
            cursor.execute(whole, values)
            try:
                for result in results:
                    found.append(result(cursor))
                    cursor.nextset()
            except BaseException:
                # What is left must not be found by the next statement on this connection.
                with suppress(Exception):
                    while cursor.nextset():
                        pass
                raise
        return found

    def carry_out_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Carry out a change for each of the rows of values: an insertion in one statement."""
        self.note_change()
        with EXCEPTIONS:
            cursor: Any = self.cursor()  # type: ignore[no-untyped-call]
            if _ON_DUPLICATE in sql:  # The driver knows no values behind those of a row.
                for row in rows:
                    cursor.execute(sql, row)
            else:
                cursor.executemany(sql, rows)
