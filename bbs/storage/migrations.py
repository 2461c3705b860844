"""Versions of the schema, and the way from one to the next.

An empty database gets today's tables from the models at once; an older one is taken there step by
step. Both happen under a lock, so that servers which start together do it once. This is a module of
its own, and not a library, because servers must refuse a newer schema, wait for each other, and do
the same on SQLite and MySQL; the steps themselves use peewee's `playhouse.migrate`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import peewee
from playhouse.migrate import MySQLMigrator, SqliteMigrator, migrate

from bbs.storage.connecting import DatabaseRefused
from bbs.storage.models import MODELS, Action, Table

VERSION = 3
"""The schema that this code works on."""


def _add_columns(database: Any, table: str, **columns: peewee.Field) -> None:
    """Add to `table` those of `columns` that it has not got."""
    there = {column.name for column in database.get_columns(table)}
    mysql = isinstance(database, peewee.MySQLDatabase)
    migrator = (MySQLMigrator if mysql else SqliteMigrator)(database)
    for name, field in columns.items():
        if name not in there:
            migrate(migrator.add_column(table, name, field))


def _to_2(database: peewee.Database) -> None:
    """What a provider calls an app server, and why it launches none."""
    _add_columns(
        database,
        "server",
        instance_id=peewee.CharField(64, null=True),
        kind=peewee.CharField(64, null=True),
    )
    _add_columns(
        database,
        "lease",
        refusal=peewee.TextField(null=True),
        refused_until=peewee.DoubleField(null=True),
    )


def _to_3(database: peewee.Database) -> None:
    """What operators see and do. Counts and times are null where a server of an older version,
    which may go on running meanwhile, writes none."""
    _add_columns(database, "server", messages=peewee.BigIntegerField(null=True))
    _add_columns(database, "login_server", logins=peewee.BigIntegerField(null=True))
    _add_columns(database, "waiter", since=peewee.DoubleField(null=True))
    _create_table(database, Action)


STEPS: Mapping[int, Callable[[peewee.Database], None]] = {2: _to_2, 3: _to_3}
"""From version n - 1 to n. A step must bear being run again after it was cut off half-way, as MySQL
commits each change of the schema by itself."""

MYSQL_TABLES = ("ENGINE=InnoDB", "CHARSET=utf8mb4", "COLLATE=utf8mb4_bin")
"""Rows with transactions, and names that compare byte for byte."""

LOCK_TIMEOUT = 60
"""Seconds to wait for another server's upgrade."""

WAL_ATTEMPTS, WAL_INTERVAL = 100, 0.05
"""How often to try to turn an SQLite file to WAL, and the seconds between."""


class SchemaVersion(Table):
    """One row: the version that the tables are of."""

    version = peewee.IntegerField()


def current(database: peewee.Database) -> int:
    """The version of the tables in `database`, 0 for none."""
    if not database.table_exists(SchemaVersion._meta.table_name):
        return 0
    row = SchemaVersion.select().first()
    return row.version if row else 0


def upgrade(
    database: peewee.Database,
    version: int = VERSION,
    steps: Mapping[int, Callable[[peewee.Database], None]] = STEPS,
) -> tuple[int, int]:
    """Bring `database`, which is connected, to `version`; returns the versions before and after.

    :raises DatabaseRefused: the schema is newer than `version`.
    """
    locked = _sqlite if isinstance(database, peewee.SqliteDatabase) else _mysql
    with locked(database):
        before = current(database)
        if before > version:
            raise DatabaseRefused(
                f"the database has schema {before}, newer than this program's {version}:"
                " upgrade bbs"
            )
        if before == 0:
            _create(database)
            _stamp(version)
        for number in range(before + 1, version + 1) if before else ():
            steps[number](database)
            _stamp(number)
        return before, version


def _create(database: Any) -> None:
    tables: tuple[Any, ...] = (*MODELS, SchemaVersion)
    for table in tables:
        _create_table(database, table)


def _create_table(database: Any, table: Any) -> None:
    mysql = isinstance(database, peewee.MySQLDatabase)
    table._meta.table_settings = MYSQL_TABLES if mysql else None
    table._schema.create_table(safe=True)
    # One by one: of a creation that was cut off, a table may be there without its indexes.
    there = {index.name for index in database.get_indexes(table._meta.table_name)}
    for index in table._meta.fields_to_index():
        if index._name not in there:
            database.execute(index.safe(False))


def _stamp(version: int) -> None:
    if not SchemaVersion.update(version=version).execute() and not SchemaVersion.select().count():
        SchemaVersion.insert(version=version).execute()


@contextmanager
def _sqlite(database: Any) -> Iterator[None]:
    """One transaction, for which other servers are waited for."""
    _turn_to_wal(database)
    hurried, database.timeout = database.timeout, LOCK_TIMEOUT
    # Or a step that rebuilds a table would take along the rows that refer to it. SQLite heeds this
    # outside of transactions only.
    database.pragma("foreign_keys", 0)
    try:
        with database.atomic():
            yield
    finally:
        database.pragma("foreign_keys", 1)
        database.timeout = hurried


def _turn_to_wal(database: Any) -> None:
    """Let readers and a writer not wait for each other; it stays with the file."""
    for attempt in range(1, WAL_ATTEMPTS + 1):
        try:
            database.pragma("journal_mode", "wal")
            return
        except peewee.OperationalError as error:
            # While another server does it SQLite does not wait, whatever the time-out.
            busy = getattr(error.__context__, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            if not busy or attempt == WAL_ATTEMPTS:
                raise
            time.sleep(WAL_INTERVAL)


@contextmanager
def _mysql(database: Any) -> Iterator[None]:
    """A named lock, on a connection without the deadlines of commands."""
    hurried = database.connect_params
    database.close()
    database.connect_params = {**hurried, "read_timeout": None, "write_timeout": None}
    try:
        database.connect()
        with _named_lock(database, f"bbs.schema.{database.database}"[:64]):
            yield
    finally:
        database.close()
        database.connect_params = hurried
    database.connect()


@contextmanager
def _named_lock(database: Any, name: str) -> Iterator[None]:
    (got,) = database.execute_sql("SELECT GET_LOCK(%s, %s)", (name, LOCK_TIMEOUT)).fetchone()
    if not got:
        raise DatabaseRefused(f"another server has been upgrading the schema for {LOCK_TIMEOUT} s")
    try:
        yield
    finally:
        database.execute_sql("SELECT RELEASE_LOCK(%s)", (name,))
