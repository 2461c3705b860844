"""The databases that there are, and how to connect to each.

Everything in which SQLite and MySQL differ for their callers is here: how long they wait, how a
transaction begins, and what their errors mean.
"""

from __future__ import annotations

import sqlite3
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import peewee
import pymysql.constants.ER as mysql_errors

LOCK_TIMEOUT = 1.4
"""Seconds that SQLite waits for the lock of another process."""

ANSWER_TIMEOUT = 1.8
"""Seconds that MySQL is waited for, with a command under way."""

CONNECT_TIMEOUT = 1
"""Whole seconds to connect to MySQL, as pymysql counts them."""

_FAULTY_STATEMENTS = (
    mysql_errors.BAD_FIELD_ERROR,
    mysql_errors.NON_UNIQ_ERROR,
    mysql_errors.WRONG_VALUE_COUNT_ON_ROW,
    mysql_errors.OPERAND_COLUMNS,
    mysql_errors.SUBQUERY_NO_1_ROW,
    mysql_errors.CANT_AGGREGATE_2COLLATIONS,
    mysql_errors.SP_DOES_NOT_EXIST,
)
"""What pymysql calls operational beside trouble with the server: it knows few errors by number."""


class DatabaseRefused(Exception):
    """The database cannot be used, for a reason that an operator must mend; one line, no secret."""


class SqliteDatabase(peewee.SqliteDatabase):
    """SQLite, whose transactions take the lock for writing as they begin: to take it at the first
    write instead would fail where two that have read both write."""

    def begin(self, lock_type: str | None = None) -> None:
        """Begin a transaction; one that only reads may be `DEFERRED`, and waits for nobody."""
        super().begin(lock_type or "IMMEDIATE")


class MySQLDatabase(peewee.MySQLDatabase):
    """MySQL or MariaDB. A message may pass 64 KiB as UTF-8, where MySQL's TEXT ends."""

    field_types = peewee.MySQLDatabase.field_types | {"TEXT": "MEDIUMTEXT"}

    def _connect(self) -> Any:
        connection = super()._connect()  # type: ignore[misc]
        try:
            with connection.cursor() as cursor:
                # A transaction that runs again must see what it lost to, and readers lock nothing.
                # (The variable for it has two names: MariaDB's was another before 11.1.)
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        except BaseException:
            connection.close()
            raise
        return connection


def connect_to(url: str) -> peewee.Database:
    """The peewee database at `url` (`sqlite:///FILE`, `mysql://user:password@host:port/name`).

    :raises DatabaseRefused: `url` is neither.
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
    if parts.scheme == "mysql":
        options: dict[str, Any] = {}
        tls_ca = parse_qs(parts.query).get("tls_ca")
        if tls_ca:
            options["ssl"] = {"ca": tls_ca[0]}
        return MySQLDatabase(
            unquote(parts.path[1:]),
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            charset="utf8mb4",
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=ANSWER_TIMEOUT,
            write_timeout=ANSWER_TIMEOUT,
            # A lock is waited for within the deadline of a command.
            init_command="SET SESSION innodb_lock_wait_timeout = 1",
            **options,
        )
    raise DatabaseRefused(f"database.url: neither sqlite:/// nor mysql://, but {parts.scheme!r}")


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


def is_bug(error: Exception) -> bool:
    """Whether the statement itself is at fault, and not the database: both call it operational."""
    if error.args and error.args[0] in _FAULTY_STATEMENTS:
        return True
    return getattr(error.__context__, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR


def summary(error: BaseException | None) -> str:
    """What went wrong, in one line, for the log."""
    reason = error.args[-1] if error is not None and error.args else type(error).__name__
    return " ".join(str(reason).split())
