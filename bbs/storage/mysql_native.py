"""MySQL by a driver in C: `mysql+mysqlconnector://`, where `bbs[fast-mysql]` is installed.

The driver is the extension module of mysql-connector-python, taken directly, as its manual offers
"for performance reasons" (chapters 8.2 and 11): in processor time a row of six columns by its key
takes 13 µs, where PyMySQL takes 35 and mysql-connector's own cursor 31; ten rows 16, 64 and 40.

Callers see what PyMySQL shows them: its errors, with their numbers, its counts of rows, and `%s`
and `%%` in statements. This is a module of its own, as the driver need not be installed.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import _mysql_connector as driver
import pymysql
from pymysql.err import error_map

from bbs.storage.mysql import MySQLDatabase

_PLUGINS = os.path.join(os.path.dirname(driver.__file__), "mysql", "vendor", "plugin")
"""Where its wheel keeps ways to log in that are not built in: `mysql_native_password` is one, by
which MariaDB knows most of its users."""

_MORE_RESULTS = 8
"""In a server's status: another result follows (SERVER_MORE_RESULTS_EXISTS)."""

_NOT_NULL = 1
"""In a column's flags."""

_AS_IT_IS = frozenset((str, int, bool, type(None)))
"""Types of values that the driver writes into statements just as PyMySQL does."""

_LONGEST_INSERTION = 1024000
"""Bytes of a statement that inserts many rows, about: as PyMySQL has it."""

_INSERTION = re.compile(
    r"(\s*(?:INSERT|REPLACE)\b[^%]+\bVALUES?\s*)(\(\s*%s\s*(?:,\s*%s\s*)*\))([^%]*)\Z",
    re.IGNORECASE | re.DOTALL,
)
"""A statement that inserts one row of values: what is before them, they, what is behind them."""

_SYSTEM_ERROR = re.compile(r"\((\d+)\)\Z")
"""How messages end that say by a number why a server was not reached."""


class NativeMySQLDatabase(MySQLDatabase):
    """MySQL or MariaDB, by the driver in C."""

    def _open(self) -> NativeConnection:
        return NativeConnection(self.database, self.connect_params)


class NativeConnection:
    """A connection, as peewee takes one; whoever uses it is one thread.

    :param options: as PyMySQL calls them.
    """

    def __init__(self, database: str, options: Mapping[str, Any]) -> None:
        self.session: Any = driver.MySQL(
            buffered=True,
            charset_name=options["charset"],
            connection_timeout=options["connect_timeout"],
            use_unicode=True,
            plugin_dir=_PLUGINS,
        )
        self.more = False
        """Whether another result waits to be read."""
        tls: dict[str, Any] = {}
        if "ssl" in options:
            tls = {"ssl_verify_cert": True, "ssl_verify_identity": True}
            tls["ssl_ca"] = options["ssl"]["ca"]
        with _Errors():
            self.session.connect(
                host=options["host"],
                port=options["port"],
                user=options["user"],
                password=options["password"],
                database=database,
                client_flags=options["client_flag"],
                # It counts whole seconds, 0 without end. One would end while a lock is waited for.
                read_timeout=math.ceil(options["read_timeout"] or 0),
                write_timeout=math.ceil(options["write_timeout"] or 0),
                ssl_disabled=options.get("ssl_disabled", False),
                # A server may ask a client for its files.
                local_infile=0,
                **tls,
            )
        try:
            with self.cursor() as cursor:
                # It says who it is by a collation of MySQL's that MariaDB does not know.
                cursor.execute(f"SET NAMES {options['charset']}")
                cursor.execute("SET SESSION autocommit = 1")
                cursor.execute(options["init_command"])
        except BaseException:
            self.close()
            raise

    def cursor(self) -> NativeCursor:
        """A cursor, which carries out statements."""
        return NativeCursor(self)

    # Its own `commit` keeps the interpreter from all threads while the disk is waited for, in
    # older versions.

    def commit(self) -> None:
        """End a transaction."""
        self.cursor().execute("COMMIT")

    def rollback(self) -> None:
        """Undo a transaction."""
        self.cursor().execute("ROLLBACK")

    def close(self) -> None:
        """Hang up."""
        with _Errors():
            self.session.close()

    def get_server_info(self) -> str:
        """The server's version."""
        version: str = self.session.get_server_info()
        return version


class NativeCursor:
    """Carries out statements on a connection, and has read the result when it has."""

    __slots__ = ("_connection", "_fields", "_rows", "lastrowid", "rowcount")

    def __init__(self, connection: NativeConnection) -> None:
        self._connection = connection
        self._fields: Sequence[Any] = ()
        self._rows: Iterator[tuple[Any, ...]] = iter(())
        self.lastrowid = 0
        self.rowcount = -1

    def execute(self, sql: str, values: Sequence[Any] | None = None) -> None:
        """Carry out a statement, or several with `;` between them, and read the first result."""
        with _ERRORS:
            self._carry_out(sql.encode() if values is None else self._with(sql.encode(), values))

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Carry out a statement for each of the rows of values: an insertion in one go."""
        insertion = _INSERTION.match(sql)
        if insertion is None:
            for row in rows:
                self.execute(sql, row)
            return
        head, each, tail = (part.encode() for part in insertion.groups())
        some: list[bytes] = []
        length = 0
        with _ERRORS:
            for row in rows:
                some.append(self._with(each, row))
                length += len(some[-1])
                if length > _LONGEST_INSERTION:
                    self._carry_out(head + b",".join(some) + tail)
                    some, length = [], 0
            if some:
                self._carry_out(head + b",".join(some) + tail)

    def nextset(self) -> bool | None:
        """Read the result of the next statement; None when there is none."""
        if not self._connection.more:
            return None
        with _ERRORS:
            self._next()
        return True

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row, if there is one."""
        return next(self._rows, None)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows that are left."""
        return [*self._rows]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self._rows

    @property
    def description(self) -> tuple[tuple[Any, ...], ...] | None:
        """The columns of the result, as any driver for Python describes them."""
        return (
            tuple(
                (field[4], field[8], None, None, None, None, not field[9] & _NOT_NULL)
                for field in self._fields
            )
            or None
        )

    def close(self) -> None:
        """There is nothing to let go of."""

    def __enter__(self) -> NativeCursor:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _with(self, statement: bytes, values: Sequence[Any]) -> bytes:
        """`statement` with its values, as PyMySQL writes them."""
        converted = self._connection.session.convert_to_mysql(*values)
        if not _AS_IT_IS.issuperset(map(type, values)):
            converted = tuple(map(_literal, values, converted))
        try:
            whole: bytes = statement % converted
        except TypeError as error:
            raise pymysql.ProgrammingError(str(error)) from error
        return whole

    def _carry_out(self, statement: bytes) -> None:
        while self._connection.more:  # Somebody failed before all results were read.
            self._next()
        self._connection.session.query(statement, buffered=True)
        self._read()

    def _next(self) -> None:
        self._connection.more = False
        self._connection.session.next_result()
        self._read()

    def _read(self) -> None:
        session = self._connection.session
        if session.have_result_set:
            rows = [*iter(session.fetch_row, None)]
            self._fields = session.fetch_fields()
            session.free_result()
            self._rows = iter(rows)
            self.rowcount = len(rows)
        else:
            self._fields = ()
            self._rows = iter(())
            self.rowcount = session.st_affected_rows()
            self.lastrowid = session.st_insert_id()
        self._connection.more = bool(session.st_server_status() & _MORE_RESULTS)


def _literal(value: Any, converted: bytes) -> bytes:
    """The literal for `value` where the driver's own would be of another kind."""
    if isinstance(value, float):  # It would be a decimal number.
        if not math.isfinite(value):
            raise pymysql.ProgrammingError(f"{value} can not be used with MySQL")
        return converted if b"e" in converted else converted + b"e0"
    if isinstance(value, (bytes, bytearray)):  # It would be a text, and no valid one.
        return b"_binary" + converted
    return converted


class _Errors:
    """Makes of the driver's errors PyMySQL's, which the rest of the storage knows."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, driver.MySQLError):
            raise _as_pymysql(error) from error


_ERRORS = _Errors()


def _as_pymysql(error: Any) -> pymysql.MySQLError:
    number: int = getattr(error, "errno", None) or -1
    if number < 0:  # It did not come to asking a server: a value that is none for a database.
        return pymysql.ProgrammingError(str(error))
    reason = _SYSTEM_ERROR.sub(
        lambda found: f"({os.strerror(int(found[1]))})", str(getattr(error, "msg", error))
    )
    kind = error_map.get(number, pymysql.OperationalError)
    return kind(number, reason)
