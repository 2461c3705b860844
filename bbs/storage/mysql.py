"""MySQL and MariaDB: how a connection is set up, and how statements go together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import peewee
import pymysql

from bbs.storage.watched import EXCEPTIONS, Doing, Prepared, Watched

CLIENT_ERRORS = range(2000, 3000)
"""What the driver itself says of a connection."""

_WANTS_TLS = 2061
"""What the driver in C says, for one, of a password that may not go over a plain connection."""

_ON_DUPLICATE = " ON DUPLICATE KEY UPDATE "


class MySQLDatabase(Watched, peewee.MySQLDatabase):
    """MySQL or MariaDB. A message may pass 64 KiB as UTF-8, where MySQL's TEXT ends."""

    field_types = peewee.MySQLDatabase.field_types | {"TEXT": "MEDIUMTEXT"}

    packs = True  # The driver takes 4 µs for the description of each column of a result.

    def __init__(self, database: str, **options: Any) -> None:
        self.doing = Doing()
        super().__init__(database, **options)

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
        """Without TLS where the options say so, unless the server wants it: the driver prefers it,
        and what never leaves this machine need not be encrypted."""
        try:
            return self._open()
        except (RuntimeError, pymysql.OperationalError) as error:
            code = error.args[0] if error.args else None
            away = code in CLIENT_ERRORS and code != _WANTS_TLS
            if away or not self.connect_params.pop("ssl_disabled", False):
                raise
            return self._open()

    def _open(self) -> Any:
        return super()._connect()  # type: ignore[misc]

    def carry_out(self, sql: str, values: Sequence[Any], writes: bool) -> Any:
        """Carry out a statement; gives the cursor, with all that the database has to say."""
        if self.query_hooks:
            return super().carry_out(sql, values, writes)
        self.watch(writes)
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
        for _, _, writes in statements:
            self.watch(writes)
        whole = ";".join(sql for sql, _, _ in statements)
        values = [value for _, own, _ in statements for value in own]
        found = []
        with EXCEPTIONS:
            cursor: Any = self.cursor()  # type: ignore[no-untyped-call]
            cursor.execute(whole, values)
            for result in results:
                found.append(result(cursor))
                cursor.nextset()
        return found

    def carry_out_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Carry out a change for each of the rows of values: an insertion in one statement."""
        self.watch(True)
        with EXCEPTIONS:
            cursor: Any = self.cursor()  # type: ignore[no-untyped-call]
            if _ON_DUPLICATE in sql:  # The driver knows no values behind those of a row.
                for row in rows:
                    cursor.execute(sql, row)
            else:
                cursor.executemany(sql, rows)
