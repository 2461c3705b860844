"""Versions of the schema, and the way from one to the next.

An empty database gets today's tables from the models at once; an older one is taken there step by
step. Both happen under a lock, so that servers which start together do it once. This is a module of
its own, and not a library, because servers must refuse a newer schema, wait for each other, and do
the same on SQLite and MySQL; the steps themselves use peewee's `playhouse.migrate`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import peewee

from bbs.database import DatabaseRefused
from bbs.models import MODELS, Table

VERSION = 1
"""The schema that this code works on."""

STEPS: Mapping[int, Callable[[peewee.Database], None]] = {}
"""From version n - 1 to n. A step must bear being run again after it was cut off half-way, as MySQL
commits each change of the schema by itself."""

MYSQL_TABLES = ("ENGINE=InnoDB", "CHARSET=utf8mb4", "COLLATE=utf8mb4_bin")
"""Rows with transactions, and names that compare byte for byte."""

LOCK_TIMEOUT = 60
"""Seconds to wait for another server's upgrade."""


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
    with _lock(database):
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


def _create(database: peewee.Database) -> None:
    tables = [*MODELS, SchemaVersion]
    settings = MYSQL_TABLES if isinstance(database, peewee.MySQLDatabase) else None
    for table in tables:
        table._meta.table_settings = settings
    database.create_tables(tables, safe=True)


def _stamp(version: int) -> None:
    if not SchemaVersion.update(version=version).execute() and not SchemaVersion.select().count():
        SchemaVersion.insert(version=version).execute()


@contextmanager
def _lock(database: peewee.Database) -> Iterator[None]:
    if isinstance(database, peewee.SqliteDatabase):
        with database.atomic("IMMEDIATE"):
            yield
        return
    name = f"bbs.schema.{database.database}"[:64]
    (got,) = database.execute_sql("SELECT GET_LOCK(%s, %s)", (name, LOCK_TIMEOUT)).fetchone()
    if not got:
        raise DatabaseRefused(f"another server has been upgrading the schema for {LOCK_TIMEOUT} s")
    try:
        yield
    finally:
        database.execute_sql("SELECT RELEASE_LOCK(%s)", (name,))
