"""MySQL by a driver in C, if `txbbs[fast-mysql]` is installed: `mysql://` prefers it, and
`mysql+mysqlconnector://` demands it.

The driver is the extension module of mysql-connector-python, taken directly, as its manual offers
"for performance reasons" (chapters 8.2 and 11): in processor time a row of six columns by its key
takes 13 µs, where PyMySQL takes 35 and mysql-connector's own cursor 31; ten rows 16, 64 and 40.

Callers see PyMySQL's interface: its errors, with their numbers, its counts of rows, and `%s` and
`%%` in statements. This is a module of its own, as the driver need not be installed: importing it
raises ImportError without the driver, and with one that is too old.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import _mysql_connector as driver
import pymysql
from pymysql.err import error_map

from bbs.storage.mysql import MySQLDatabase

_NAME = "mysql-connector-python"
_VERSION = version(_NAME)
_OLDEST = (9, 2)  # As in setup.cfg: from it on, connections stop waiting for an answer.
if tuple(map(int, _VERSION.split(".")[:2])) < _OLDEST:
    raise ImportError(f"{_NAME} {_VERSION} is older than {'.'.join(map(str, _OLDEST))}")

_PLUGINS = os.path.join(os.path.dirname(driver.__file__), "mysql", "vendor", "plugin")
"""The folder in the driver's wheel with authentication plugins that are not built in, such as
`mysql_native_password`, which most users of a MariaDB need."""

_MORE_RESULTS = 8  # A flag of the status: more results follow (SERVER_MORE_RESULTS_EXISTS).
_NOT_NULL = 1  # A flag of a column.
_SAME_LITERALS = frozenset((str, int, bool, type(None)))  # The driver writes these as PyMySQL does.
_LONGEST_INSERTION = 1024000  # Approximate bytes of a statement with many rows, as in PyMySQL.

_INSERTION = re.compile(
    r"(\s*(?:INSERT|REPLACE)\b[^%]+\bVALUES?\s*)(\(\s*%s\s*(?:,\s*%s\s*)*\))([^%]*)\Z",
    re.IGNORECASE | re.DOTALL,
)
"""A statement that inserts one row of values: the text before the values, they, the text behind."""

_SYSTEM_ERROR = re.compile(r"\((\d+)\)\Z")  # The number of a system error, in messages.


class NativeMySQLDatabase(MySQLDatabase):
    """MySQL or MariaDB, by the driver in C."""

    driver = f"{_NAME} {_VERSION}"

    # A row of 14 columns as a text saves 3 µs here, and costs the server 5.
    packs = False

    def _open(self, options: Mapping[str, Any]) -> NativeConnection:
        return NativeConnection(self.database, options)


class NativeConnection:
    """A connection as peewee needs it, for one thread, with `options` by PyMySQL's names."""

    def __init__(self, database: str, options: Mapping[str, Any]) -> None:
        self.session: Any = driver.MySQL(
            buffered=True,
            charset_name=options["charset"],
            connection_timeout=options["connect_timeout"],
            use_unicode=True,
            plugin_dir=_PLUGINS,
        )
        self.has_more = False  # Whether another result waits to be read.
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
                # In whole seconds, 0 without limit: 1 s would end before a wait for a lock does.
                read_timeout=math.ceil(options["read_timeout"] or 0),
                write_timeout=math.ceil(options["write_timeout"] or 0),
                ssl_disabled=options.get("ssl_disabled", False),
                local_infile=0,  # Otherwise a server may ask a client for its files.
                **tls,
            )
        try:
            with self.cursor() as cursor:
                # The driver asks for a collation of MySQL that MariaDB does not know.
                cursor.execute(f"SET NAMES {options['charset']}")
                cursor.execute("SET SESSION autocommit = 1")
                cursor.execute(options["init_command"])
        except BaseException:
            self.close()
            raise

    def cursor(self) -> NativeCursor:
        """Make a cursor, which executes statements."""
        return NativeCursor(self)

    # The driver's own `commit` held the interpreter's lock for the disk, in older versions.

    def commit(self) -> None:
        self.cursor().execute("COMMIT")

    def rollback(self) -> None:
        self.cursor().execute("ROLLBACK")

    def close(self) -> None:
        with _Errors():
            self.session.close()

    def get_server_info(self) -> str:
        version: str = self.session.get_server_info()
        return version


class NativeCursor:
    """Executes statements on a connection, and reads each result at once."""

    __slots__ = ("_connection", "_fields", "_rows", "lastrowid", "rowcount")

    def __init__(self, connection: NativeConnection) -> None:
        self._connection = connection
        self._fields: Sequence[Any] = ()
        self._rows: Iterator[tuple[Any, ...]] = iter(())
        self.lastrowid = 0
        self.rowcount = -1

    def execute(self, sql: str, values: Sequence[Any] | None = None) -> None:
        """Execute a statement, or several with `;` between them, and read the first result."""
        try:  # A `with` would cost 0.1 µs where nothing is raised.
            self._query(sql.encode() if values is None else self._fill_in(sql.encode(), values))
        except driver.MySQLError as error:
            raise _as_pymysql(error) from error

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Execute a statement for each row of values; insertions become one statement."""
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
                some.append(self._fill_in(each, row))
                length += len(some[-1])
                if length > _LONGEST_INSERTION:
                    self._query(head + b",".join(some) + tail)
                    some, length = [], 0
            if some:
                self._query(head + b",".join(some) + tail)

    def nextset(self) -> bool | None:
        """Read the result of the next statement; None after the last."""
        if not self._connection.has_more:
            return None
        try:
            self._read_next()
        except driver.MySQLError as error:
            raise _as_pymysql(error) from error
        return True

    def fetchone(self) -> tuple[Any, ...] | None:
        return next(self._rows, None)

    def fetchall(self) -> list[tuple[Any, ...]]:
        return [*self._rows]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self._rows

    @property
    def description(self) -> tuple[tuple[Any, ...], ...] | None:
        """The columns of the result, as described in PEP 249."""
        columns = (
            (field[4], field[8], None, None, None, None, not field[9] & _NOT_NULL)
            for field in self._fields
        )
        return tuple(columns) or None

    def close(self) -> None:
        """Do nothing: the result has been read."""

    def __enter__(self) -> NativeCursor:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _fill_in(self, statement: bytes, values: Sequence[Any]) -> bytes:
        """Put `values` into `statement`, written as by PyMySQL."""
        converted = self._connection.session.convert_to_mysql(*values)
        if not _SAME_LITERALS.issuperset(map(type, values)):
            converted = tuple(map(_literal, values, converted))
        try:
            whole: bytes = statement % converted
        except TypeError as error:
            raise pymysql.ProgrammingError(str(error)) from error
        return whole

    def _query(self, statement: bytes) -> None:
        while self._connection.has_more:  # A caller failed before all results were read.
            self._read_next()
        self._connection.session.query(statement, buffered=True)
        self._read()

    def _read_next(self) -> None:
        self._connection.has_more = False
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
        self._connection.has_more = bool(session.st_server_status() & _MORE_RESULTS)


def _literal(value: Any, converted: bytes) -> bytes:
    """The literal for `value`, where the driver's own would have another type."""
    if isinstance(value, float):  # The driver writes a decimal number.
        if not math.isfinite(value):
            raise pymysql.ProgrammingError(f"{value} can not be used with MySQL")
        return converted if b"e" in converted else converted + b"e0"
    if isinstance(value, (bytes, bytearray)):  # The driver writes a text, which may be invalid.
        return b"_binary" + converted
    return converted


class _Errors:
    """Turns the driver's errors into PyMySQL's, which the rest of the storage handles."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, driver.MySQLError):
            raise _as_pymysql(error) from error


_ERRORS = _Errors()


def _as_pymysql(error: Any) -> pymysql.MySQLError:
    number: int = getattr(error, "errno", None) or -1
    if number < 0:  # The server was not asked: a value has the wrong type.
        return pymysql.ProgrammingError(str(error))
    reason = _SYSTEM_ERROR.sub(
        lambda found: f"({os.strerror(int(found[1]))})", str(getattr(error, "msg", error))
    )
    kind = error_map.get(number, pymysql.OperationalError)
    return kind(number, reason)
