"""The database engines: how to connect to each, with which time-outs, what their errors mean, and
how to tell a database from a copy of it.

`sqlite.py` and `mysql.py` have the other differences between them.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit

import peewee
import pymysql.constants.ER as mysql_errors
from pymysql.constants import CLIENT
from twisted.logger import Logger

from bbs.core.addresses import is_loopback
from bbs.core.database_urls import IN_C, IN_PYTHON, SCHEMES, MySQLURL
from bbs.storage.mysql import (
    CLIENT_ERRORS,
    READ_ONLY_MODE,
    ROLLED_BACK_AT_COMMIT,
    MySQLDatabase,
)
from bbs.storage.mysql_servers import Servers
from bbs.storage.sqlite import WAL_PRAGMAS, SqliteDatabase

LOCK_TIMEOUT = 1.4  # Seconds that SQLite waits for the lock of another process.
ANSWER_TIMEOUT = 1.8  # Seconds to wait for an answer of MySQL.
CONNECT_TIMEOUT = 1  # Whole seconds to connect to MySQL, as pymysql counts them.

_SESSION = "SET SESSION innodb_lock_wait_timeout = 1, group_concat_max_len = 16777216"
"""Waits for locks are shorter than the deadline of a command. MariaDB cuts JSON_ARRAYAGG silently
at a length that is 1 MiB by default, and less where somebody has set it (`gathered`)."""

_TROUBLE_NAMES = """
    CON_COUNT_ERROR OUT_OF_RESOURCES OUTOFMEMORY OUT_OF_SORTMEMORY DISK_FULL RECORD_FILE_FULL
    GET_ERRNO ERROR_ON_WRITE ERROR_ON_READ CANT_LOCK CANT_CREATE_THREAD OPEN_AS_READONLY
    OPTION_PREVENTS_STATEMENT HANDSHAKE_ERROR BAD_HOST_ERROR ACCESS_DENIED_ERROR
    DBACCESS_DENIED_ERROR BAD_DB_ERROR HOST_IS_BLOCKED HOST_NOT_PRIVILEGED SERVER_SHUTDOWN
    NORMAL_SHUTDOWN SHUTDOWN_COMPLETE FORCING_CLOSE ABORTING_CONNECTION NEW_ABORTING_CONNECTION
    NET_READ_ERROR NET_READ_INTERRUPTED NET_ERROR_ON_WRITE NET_WRITE_INTERRUPTED
    NET_READ_ERROR_FROM_PIPE NET_FCNTL_ERROR ERROR_DURING_COMMIT ERROR_DURING_ROLLBACK
    TOO_MANY_USER_CONNECTIONS USER_LIMIT_REACHED LOCK_WAIT_TIMEOUT LOCK_TABLE_FULL LOCK_DEADLOCK
    CHECKREAD QUERY_INTERRUPTED UNKNOWN_COM_ERROR SERVER_IS_IN_SECURE_AUTH_MODE
"""
_TROUBLE = frozenset(getattr(mysql_errors, name) for name in _TROUBLE_NAMES.split()) | {
    READ_ONLY_MODE,
    ROLLED_BACK_AT_COMMIT,
    1637,  # too many transactions at once
    1927,  # MariaDB: this connection was killed
    1969,  # MariaDB: max_statement_time
    3024,  # MySQL: max_execution_time
    4031,  # MySQL: the connection was idle for too long
}
"""Error numbers of a server that has a problem or is away, while the statement is valid."""

_FULL = (mysql_errors.DISK_FULL, mysql_errors.RECORD_FILE_FULL)
_SQLITE_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
"""The second one is that the file beside the WAL could not grow, which SQLite calls "disk I/O
error": the "volume is out of space" (sqlite.org/rescode.html)."""

_CERTAIN = (
    mysql_errors.LOCK_DEADLOCK,  # Galera: a transaction of another node was first.
    mysql_errors.OPTION_PREVENTS_STATEMENT,  # The server became read-only before it.
    ROLLED_BACK_AT_COMMIT,
)
"""Errors of a COMMIT that was not carried out."""

NO_ROOM = "its disk is full: delete old backups or other files on it, or enlarge it"

_NO_SPACE = re.compile(r"\b(?:error|errno|errcode):? 28\b", re.IGNORECASE)
"""How MySQL's other errors name ENOSPC, such as 1030 and 1026."""

_log = Logger()


class DatabaseRefused(Exception):
    """The database cannot be used, and an operator must act; the text is one line, no secret."""


def connect_to(url: str) -> peewee.Database:
    """Make the peewee database for `url`: `sqlite:///FILE` or a `MySQLURL`. DatabaseRefused for
    another scheme or a missing driver."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return SqliteDatabase(
            unquote(parts.path[1:]),
            pragmas={
                # In WAL mode, which migrations turn on, NORMAL loses nothing when a process ends.
                # A power cut may lose the last transactions, and never leaves half of one.
                "synchronous": "normal",
                "foreign_keys": 1,
                **WAL_PRAGMAS,
            },
            timeout=LOCK_TIMEOUT,
        )
    if parts.scheme in SCHEMES:
        named = MySQLURL.parse(url)
        options: dict[str, Any] = {}
        if named.tls_ca:
            options["ssl"] = {"ca": named.tls_ca}
        elif all(is_loopback(place.host) for place in named.places):
            options["ssl_disabled"] = True
        database = _mysql(named.scheme)(
            named.name,
            host=named.places[0].host,
            port=named.places[0].port,
            user=named.user,
            password=named.password,
            charset="utf8mb4",
            # For `carry_out_together`; values are always escaped by the driver.
            client_flag=CLIENT.MULTI_STATEMENTS,
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=ANSWER_TIMEOUT,
            write_timeout=ANSWER_TIMEOUT,
            init_command=_SESSION,
            **options,
        )
        database.servers = Servers(named.places)
        return database
    raise DatabaseRefused(f"database.url: neither sqlite:/// nor mysql://, but {parts.scheme!r}")


def file_of(url: str) -> str | None:
    """The path of the SQLite file that `url` names; None for another database."""
    parts = urlsplit(url)
    path = unquote(parts.path[1:])
    return path if parts.scheme == "sqlite" and path not in ("", ":memory:") else None


def prepare_file(url: str) -> str | None:
    """Make an SQLite file that `url` names, if it is missing, so that only its owner can open it
    and the files that SQLite puts next to it. Returns a warning for operators, if there is one."""
    path = file_of(url)
    if path is None:
        return None
    with suppress(OSError):  # SQLite will report what is wrong with the file.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with suppress(OSError):
        if os.stat(path).st_mode & 0o007:
            return f"everybody on this machine can open the database: chmod 600 {path}"
    return None


def _mysql(scheme: str) -> type[MySQLDatabase]:
    """The class of database for a URL's scheme; the driver in C need not be installed."""
    if scheme == IN_PYTHON:
        return MySQLDatabase
    try:
        from bbs.storage.mysql_native import NativeMySQLDatabase
    except Exception as error:  # A broken binary may raise anything.
        if scheme == IN_C:
            raise DatabaseRefused(
                f"database.url: {IN_C}:// needs a driver in C:"
                f" pip install 'txbbs[fast-mysql] >= 0.4' ({summary(error)})"
            ) from error
        if not isinstance(error, ModuleNotFoundError):
            _log.warn(
                "the driver in C is unusable, PyMySQL is used: {reason}", reason=summary(error)
            )
        return MySQLDatabase
    return NativeMySQLDatabase


def without_password(url: str) -> str:
    """Hide the password in `url`."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    netloc = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{parts.username}:***@{netloc}").geturl()


def refusal(url: str, error: Exception) -> DatabaseRefused:
    """Make the refusal that tells an operator why a database cannot be used."""
    reason = NO_ROOM if is_disk_full(error) else summary(error)
    return DatabaseRefused(f"database {without_password(url)}: {reason}")


def is_bug(error: BaseException) -> bool:
    """Whether the statement is wrong, rather than the database away: both are OperationalErrors."""
    code = error.args[0] if error.args else None
    if isinstance(error, peewee.OperationalError) and isinstance(code, int) and code > 0:
        return code not in _TROUBLE and code not in CLIENT_ERRORS and not is_disk_full(error)
    return getattr(error.__context__, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR


def is_disk_full(error: BaseException | None) -> bool:
    """Whether the database could not write, for lack of room."""
    if error is None or not error.args:
        return False
    # The driver's own errors pass at a fetch; peewee's have them as their context.
    if any(
        getattr(each, "sqlite_errorcode", 0) in _SQLITE_FULL for each in (error, error.__context__)
    ):
        return True
    if not isinstance(error, (peewee.OperationalError, peewee.InternalError)):
        return False
    return error.args[0] in _FULL or _NO_SPACE.search(str(error.args[-1])) is not None


def has_not_committed(error: BaseException) -> bool:
    """Whether `error`, which a commit raised, proves that nothing was committed."""
    if isinstance(error, peewee.IntegrityError):
        return True
    if isinstance(error, peewee.DatabaseError) and error.args and error.args[0] in _CERTAIN:
        return True
    code = getattr(error.__context__, "sqlite_errorcode", None)
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL)


def summary(error: BaseException | None) -> str:
    """The text of an error, as one line for the log."""
    reason = error.args[-1] if error is not None and error.args else type(error).__name__
    return " ".join(str(reason).split())


_MYSQL, _MARIADB = ("server_uuid",), ("server_uid", "hostname", "port", "datadir")
_GALERA = ("wsrep_cluster_name", "wsrep_cluster_state_uuid")
"""Variables that identify a server of MySQL, one of MariaDB, and with a status a cluster."""


def location_digest(database: Any) -> str:
    """A digest (SHA-256, hex) of the place of `database`, which is connected.

    An SQLite file is identified by its path, its device and its inode. A MySQL server has a random
    UUID in its data directory, which moves with the directory, also to the other machine of an RDS
    with two. MariaDB has no such UUID: in late versions, `server_uid` is made of the machine's
    network card and the port (11.8, `calculate_server_uid` in sql/mysqld.cc). Containers with the
    same address have the same one, and without a card it is `unknown`. Therefore the digest of a
    MariaDB contains several variables. The nodes of a Galera are one place.
    """
    return hashlib.sha256("\n".join(_location(database)).encode()).hexdigest()


def _location(database: Any) -> tuple[str, ...]:
    name = str(database.database)
    if isinstance(database, peewee.SqliteDatabase):
        if name in ("", ":memory:"):
            return ("memory",)
        status = os.stat(name)
        return ("file", os.path.realpath(name), str(status.st_dev), str(status.st_ino))
    wanted = ", ".join(f"'{each}'" for each in (*_MYSQL, *_MARIADB, *_GALERA))
    variables: dict[str, str] = {}
    for what in ("VARIABLES", "STATUS"):
        cursor = database.execute_sql(f"SHOW {what} WHERE Variable_name IN ({wanted})")
        variables |= {str(key): str(value) for key, value in cursor.fetchall()}
    identifying: Sequence[str] = _MYSQL if variables.get(_MYSQL[0]) else _MARIADB
    if variables.get(_GALERA[1]):
        identifying = _GALERA
    return ("server", *(variables.get(key, "") for key in identifying), name)


def creation(database: Any, table: str) -> str:
    """Who made `table`, and when: a server of MySQL or MariaDB, and its time (seconds since the
    epoch). A table that was loaded from a dump, or whose file of MariaDB's was copied, has another.
    "" for SQLite, without such a table, and if the server does not tell."""
    if isinstance(database, peewee.SqliteDatabase):
        return ""
    asked = "SELECT @@hostname, @@port, @@datadir, UNIX_TIMESTAMP(create_time)"
    where = "table_schema = DATABASE() AND table_name = %s"
    sql = f"{asked} FROM information_schema.tables WHERE {where}"
    found = database.execute_sql(sql, (table,)).fetchone()
    if found is None:
        return ""
    *server, moment = found
    by = hashlib.sha256("\n".join(map(str, server)).encode()).hexdigest()
    return f"{by[:16]} {moment:.0f}" if moment else ""
