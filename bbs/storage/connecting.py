"""The databases that there are, and how to connect to each.

Everything in which SQLite and MySQL differ for their callers is here: how long they wait, how a
transaction begins, and what their errors mean.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import peewee
import pymysql
import pymysql.constants.ER as mysql_errors
from pymysql.constants import CLIENT

from bbs.addresses import is_loopback
from bbs.storage.turns import Turn

LOCK_TIMEOUT = 1.4
"""Seconds that SQLite waits for the lock of another process."""

ANSWER_TIMEOUT = 1.8
"""Seconds that MySQL is waited for, with a command under way."""

LOCAL = "127.0.0.1"
"""Where MySQL is, if the URL says no host."""

CONNECT_TIMEOUT = 1
"""Whole seconds to connect to MySQL, as pymysql counts them."""

IN_C = "mysql+mysqlconnector"
"""The scheme of a URL for MySQL by the driver in C, as SQLAlchemy has it."""

EXCEPTIONS: Any = vars(peewee)["__exception_wrapper__"]
"""Makes of a driver's errors what peewee makes of them."""

_CHANGE = re.compile(
    r"[(\s]*(?:WITH\b.*?\b)?(?:INSERT|REPLACE|UPDATE|DELETE|CREATE|ALTER|DROP|TRUNCATE)\b",
    re.IGNORECASE | re.DOTALL,
)
"""How a statement begins that changes something."""

_ON_DUPLICATE = " ON DUPLICATE KEY UPDATE "

_TROUBLE = frozenset(
    (
        mysql_errors.CON_COUNT_ERROR,
        mysql_errors.OUT_OF_RESOURCES,
        mysql_errors.OUTOFMEMORY,
        mysql_errors.OUT_OF_SORTMEMORY,
        mysql_errors.DISK_FULL,
        mysql_errors.RECORD_FILE_FULL,
        mysql_errors.GET_ERRNO,
        mysql_errors.ERROR_ON_WRITE,
        mysql_errors.ERROR_ON_READ,
        mysql_errors.CANT_LOCK,
        mysql_errors.CANT_CREATE_THREAD,
        mysql_errors.OPEN_AS_READONLY,
        mysql_errors.OPTION_PREVENTS_STATEMENT,
        mysql_errors.HANDSHAKE_ERROR,
        mysql_errors.BAD_HOST_ERROR,
        mysql_errors.ACCESS_DENIED_ERROR,
        mysql_errors.DBACCESS_DENIED_ERROR,
        mysql_errors.BAD_DB_ERROR,
        mysql_errors.HOST_IS_BLOCKED,
        mysql_errors.HOST_NOT_PRIVILEGED,
        mysql_errors.SERVER_SHUTDOWN,
        mysql_errors.NORMAL_SHUTDOWN,
        mysql_errors.SHUTDOWN_COMPLETE,
        mysql_errors.FORCING_CLOSE,
        mysql_errors.ABORTING_CONNECTION,
        mysql_errors.NEW_ABORTING_CONNECTION,
        mysql_errors.NET_READ_ERROR,
        mysql_errors.NET_READ_INTERRUPTED,
        mysql_errors.NET_ERROR_ON_WRITE,
        mysql_errors.NET_WRITE_INTERRUPTED,
        mysql_errors.NET_READ_ERROR_FROM_PIPE,
        mysql_errors.NET_FCNTL_ERROR,
        mysql_errors.ERROR_DURING_COMMIT,
        mysql_errors.ERROR_DURING_ROLLBACK,
        mysql_errors.TOO_MANY_USER_CONNECTIONS,
        mysql_errors.USER_LIMIT_REACHED,
        mysql_errors.LOCK_WAIT_TIMEOUT,
        mysql_errors.LOCK_TABLE_FULL,
        mysql_errors.LOCK_DEADLOCK,
        mysql_errors.QUERY_INTERRUPTED,
        mysql_errors.UNKNOWN_COM_ERROR,
        mysql_errors.SERVER_IS_IN_SECURE_AUTH_MODE,
        1637,  # too many transactions at once
        1836,  # a server that serves readers only
        1927,  # MariaDB: this connection was killed
        1969,  # MariaDB: max_statement_time
        3024,  # MySQL: max_execution_time
        4031,  # MySQL: nothing was said for too long
    )
)
"""What servers say when a statement is in order and they, or the way there, are not."""

_CLIENT_ERRORS = range(2000, 3000)
"""What the driver itself says of a connection."""

_WANTS_TLS = 2061
"""What the driver in C says, for one, of a password that may not go over a plain connection."""

_NOT_COMMITTED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL)
"""What SQLite says of a commit that has certainly not happened."""


Prepared = tuple[str, Sequence[Any], bool]
"""A statement as SQL, its values, and whether it changes anything."""


class DatabaseRefused(Exception):
    """The database cannot be used, for a reason that an operator must mend; one line, no secret."""


class WritesWhileReading(Exception):
    """A rule that is marked `read_only` writes; its author must mend that."""


class _Doing(threading.local):
    """What a thread does with its connection."""

    reading = False
    """A rule that says of itself that it writes nothing."""
    wrote = False
    """Whether anything was changed since this was last set False."""


class _Watched:
    """A database that knows what is done with each of its connections, one for each thread."""

    doing: _Doing

    packs = False
    """Whether rows of many columns are had sooner as a text in JSON."""

    def watch(self, writes: bool) -> None:
        """Note that a statement is to be carried out."""
        if writes:
            if self.doing.reading:
                raise WritesWhileReading
            self.doing.wrote = True

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Carry out a statement of peewee's own making."""
        self.watch(_CHANGE.match(sql) is not None)
        return super().execute_sql(sql, params)  # type: ignore[misc]

    def carry_out(self, sql: str, values: Sequence[Any], writes: bool) -> Any:
        """Carry out a statement; gives the cursor, with all that the database has to say."""
        self.watch(writes)
        return super().execute_sql(sql, values)  # type: ignore[misc]

    def carry_out_together(
        self, statements: Sequence[Prepared], results: Sequence[Callable[[Any], Any]]
    ) -> list[Any]:
        """Carry out statements in turn; what `results` make of their cursors."""
        return [
            result(self.carry_out(*each)) for each, result in zip(statements, results, strict=True)
        ]


class SqliteDatabase(_Watched, peewee.SqliteDatabase):
    """SQLite, whose transactions take the lock for writing as they begin: to take it at the first
    write instead would fail where two that have read both write. Processes take turns."""

    def __init__(self, database: str, **options: Any) -> None:
        self.doing = _Doing()
        self._turns = threading.local()
        super().__init__(database, **options)

    def take_turn(self) -> None:
        """Wait until nobody else writes, as long as it takes, on a thread that may."""
        if threading.current_thread() is not threading.main_thread():
            self._turn.take(None)

    def begin(self, lock_type: str | None = None) -> None:
        """Begin a transaction; one that only reads may be `DEFERRED`, and waits for nobody."""
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


class MySQLDatabase(_Watched, peewee.MySQLDatabase):
    """MySQL or MariaDB. A message may pass 64 KiB as UTF-8, where MySQL's TEXT ends."""

    field_types = peewee.MySQLDatabase.field_types | {"TEXT": "MEDIUMTEXT"}

    packs = True  # The driver takes 4 µs for the description of each column of a result.

    def __init__(self, database: str, **options: Any) -> None:
        self.doing = _Doing()
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
            away = code in _CLIENT_ERRORS and code != _WANTS_TLS
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


def _busy() -> sqlite3.OperationalError:
    """What SQLite raises when a lock was not to be had in time."""
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    return error


def connect_to(url: str) -> peewee.Database:
    """The peewee database at `url` (`sqlite:///FILE`, `mysql://user:password@host:port/name`, or
    `mysql+mysqlconnector://…` for the same by a driver in C).

    :raises DatabaseRefused: `url` is none of these, or the driver is not installed.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return SqliteDatabase(
            unquote(parts.path[1:]),
            pragmas={
                # In WAL, which migrations turn on, NORMAL survives the end of any process; only a
                # power cut may take the last transactions, and never leaves half of one.
                "synchronous": "normal",
                "foreign_keys": 1,
            },
            timeout=LOCK_TIMEOUT,
        )
    if parts.scheme in ("mysql", IN_C):
        options: dict[str, Any] = {}
        tls_ca = parse_qs(parts.query).get("tls_ca")
        if tls_ca:
            options["ssl"] = {"ca": tls_ca[0]}
        elif is_loopback(parts.hostname or LOCAL):
            options["ssl_disabled"] = True
        return _mysql(parts.scheme)(
            unquote(parts.path[1:]),
            host=parts.hostname or LOCAL,
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            charset="utf8mb4",
            # For `carry_out_together`; values are never put into statements by hand.
            client_flag=CLIENT.MULTI_STATEMENTS,
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=ANSWER_TIMEOUT,
            write_timeout=ANSWER_TIMEOUT,
            # A lock is waited for within the deadline of a command.
            init_command="SET SESSION innodb_lock_wait_timeout = 1",
            **options,
        )
    raise DatabaseRefused(f"database.url: neither sqlite:/// nor mysql://, but {parts.scheme!r}")


def _mysql(scheme: str) -> type[MySQLDatabase]:
    """The kind of database that a URL's scheme asks for; nobody loads a driver for nothing."""
    if scheme != IN_C:
        return MySQLDatabase
    try:
        from bbs.storage.mysql_in_c import MySQLInC
    except ImportError as error:
        raise DatabaseRefused(
            f"database.url: {IN_C}:// needs a driver in C: pip install 'bbs[fast-mysql]' ({error})"
        ) from error
    return MySQLInC


def without_password(url: str) -> str:
    """`url` as it may be shown."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    netloc = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{parts.username}:***@{netloc}").geturl()


def refusal(url: str, error: Exception) -> DatabaseRefused:
    """What to tell an operator of a database that cannot be used."""
    return DatabaseRefused(f"database {without_password(url)}: {summary(error)}")


def is_bug(error: BaseException) -> bool:
    """Whether the statement itself is at fault, and not the database: both call it operational."""
    code = error.args[0] if error.args else None
    if isinstance(error, peewee.OperationalError) and isinstance(code, int) and code > 0:
        return code not in _TROUBLE and code not in _CLIENT_ERRORS
    return getattr(error.__context__, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR


def has_not_committed(error: BaseException) -> bool:
    """Whether `error`, which a commit raised, says that it has certainly not happened."""
    if isinstance(error, peewee.IntegrityError):
        return True
    return getattr(error.__context__, "sqlite_errorcode", None) in _NOT_COMMITTED


def summary(error: BaseException | None) -> str:
    """What went wrong, in one line, for the log."""
    reason = error.args[-1] if error is not None and error.args else type(error).__name__
    return " ".join(str(reason).split())
