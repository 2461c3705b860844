"""The database engines: how to connect to each, how long one is waited for, what its errors mean,
and how to tell a database from a copy of it.

`sqlite.py` and `mysql.py` have the rest in which they differ for their callers.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import peewee
import pymysql.constants.ER as mysql_errors
from pymysql.constants import CLIENT

from bbs.core.addresses import is_loopback
from bbs.storage.mysql import CLIENT_ERRORS, MySQLDatabase
from bbs.storage.sqlite import SqliteDatabase

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
        mysql_errors.CHECKREAD,
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
"""Error numbers of a server that is in trouble, or cannot be reached, while the statement is in
order."""

_NOT_COMMITTED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL)
"""SQLite's error codes of a commit that has certainly not happened."""


class DatabaseRefused(Exception):
    """The database cannot be used, for a reason that an operator must mend; one line, no secret."""


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


def prepare_file(url: str) -> str | None:
    """See that a file of SQLite's that `url` names, and what SQLite puts beside it, is for its
    owner alone: a new one is made so. Returns what an operator is to be warned of."""
    parts = urlsplit(url)
    path = unquote(parts.path[1:])
    if parts.scheme != "sqlite" or path in ("", ":memory:"):
        return None
    with suppress(OSError):  # SQLite says what is wrong with it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with suppress(OSError):
        if os.stat(path).st_mode & 0o007:
            return f"everybody on this machine can open the database: chmod 600 {path}"
    return None


def _mysql(scheme: str) -> type[MySQLDatabase]:
    """The kind of database that a URL's scheme asks for; the driver in C need not be installed."""
    if scheme != IN_C:
        return MySQLDatabase
    try:
        from bbs.storage.mysql_native import NativeMySQLDatabase
    except ImportError as error:
        raise DatabaseRefused(
            f"database.url: {IN_C}:// needs a driver in C: pip install '.[fast-mysql]' in a"
            f" checkout of bbs ({error})"
        ) from error
    return NativeMySQLDatabase


def without_password(url: str) -> str:
    """`url` as it may be shown."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    netloc = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{parts.username}:***@{netloc}").geturl()


def refusal(url: str, error: Exception) -> DatabaseRefused:
    """The refusal that tells an operator why a database cannot be used."""
    return DatabaseRefused(f"database {without_password(url)}: {summary(error)}")


def is_bug(error: BaseException) -> bool:
    """Whether the statement itself is at fault, and not the database: both call it operational."""
    code = error.args[0] if error.args else None
    if isinstance(error, peewee.OperationalError) and isinstance(code, int) and code > 0:
        return code not in _TROUBLE and code not in CLIENT_ERRORS
    return getattr(error.__context__, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR


def has_not_committed(error: BaseException) -> bool:
    """Whether `error`, which a commit raised, says that it has certainly not happened."""
    if isinstance(error, peewee.IntegrityError):
        return True
    return getattr(error.__context__, "sqlite_errorcode", None) in _NOT_COMMITTED


def summary(error: BaseException | None) -> str:
    """The text of an error in one line, for the log."""
    reason = error.args[-1] if error is not None and error.args else type(error).__name__
    return " ".join(str(reason).split())


_MYSQL, _MARIADB = ("server_uuid",), ("server_uid", "hostname", "port", "datadir")
"""Variables that tell a server of MySQL from others, and one of MariaDB."""


def home_of(database: Any) -> str:
    """A digest (SHA-256, hex) of where `database`, which is connected, is.

    A file of SQLite's is where its path, its device and its inode are. MySQL's server has a random
    UUID in its data directory, which goes where that goes, also to the other machine of an RDS with
    two. MariaDB has none: its `server_uid`, of late versions, is made of the machine's network card
    and the port (11.8, `calculate_server_uid` in sql/mysqld.cc). It is the same in containers that
    have the same address, and `unknown` without a card. Therefore all that MariaDB says counts.
    """
    return hashlib.sha256("\n".join(_words(database)).encode()).hexdigest()


def _words(database: Any) -> tuple[str, ...]:
    name = str(database.database)
    if isinstance(database, peewee.SqliteDatabase):
        if name in ("", ":memory:"):
            return ("memory",)
        status = os.stat(name)
        return ("file", os.path.realpath(name), str(status.st_dev), str(status.st_ino))
    wanted = ", ".join(f"'{each}'" for each in (*_MYSQL, *_MARIADB))
    cursor = database.execute_sql(f"SHOW VARIABLES WHERE Variable_name IN ({wanted})")
    said = {str(key): str(value) for key, value in cursor.fetchall()}
    tells = _MYSQL if said.get(_MYSQL[0]) else _MARIADB
    return ("server", *(said.get(key, "") for key in tells), name)
