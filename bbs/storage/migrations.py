"""Migrations: versions of the schema, the way from one to the next, and what changes it in a step.

There are two parts, each with a version of its own: the framework's tables, and those of the one
service whose database this is. An empty database gets today's tables from the models at once; an
older one is taken there step by step. A newer one says which programs can work on it all the same,
so that servers of two versions run side by side during an upgrade.

All of it happens under a lock, so that servers which start together do it once. A look without the
lock is enough where there is nothing to do, as at nearly every start: people wait for it. No
library does this: servers must know which newer schema they can work on, wait for each other, and
do the same on SQLite and MySQL. The steps themselves use peewee's `playhouse.migrate`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ParamSpec

import peewee
from playhouse.migrate import MySQLMigrator as PlayhouseMySQL
from playhouse.migrate import SchemaMigrator, migrate
from playhouse.migrate import SqliteMigrator as PlayhouseSqlite

from bbs.storage.engines import DatabaseRefused
from bbs.storage.framework_migrations import FIRST_SERVICE, STEPS
from bbs.storage.models import MODELS, Table
from bbs.storage.schema import Schema, SchemaVersion, ServiceVersion, Step, create_table

P = ParamSpec("P")

VERSION = 10
"""The framework's schema that this code works on."""

OLDEST = 7
"""The oldest version of the framework's schema whose programs can work on this one. The versions
between have only added to it, with defaults in SQL. A step that takes something away, or has
something mean another thing, raises it to its own number: then servers of before are to be stopped
before it is taken."""

LOCK_TIMEOUT = 60
"""Seconds to wait for another server's upgrade, and for locks on tables that servers work on."""

TABLE_TIMEOUT = 1
"""Seconds that one change of MySQL's schema waits for those who are at work on the table.
Statements that come to the table meanwhile wait behind the change, and no longer than for an answer
(1.4 s). Therefore the change gives up and tries again."""

AGAIN = 0.2
"""Seconds until it tries again: in these the others get on."""

_IN_THE_WAY = (1205, 1213)
"""MySQL's error numbers of a lock that did not come in time, and of a deadlock."""

WAL_ATTEMPTS, WAL_INTERVAL = 100, 0.05
"""How often to try to turn an SQLite file to WAL, and the seconds between."""

NAMED = 4
"""The version from which on a row says whose a database is: `FIRST_SERVICE`'s, where none does."""

REACHED = 8
"""The version from which on rows say both which one was reached and for whom that is good."""


@dataclass(frozen=True)
class Versions:
    """The versions of the framework's tables and of the service's, whose name is empty while there
    is none; and from which versions on programs can work on each."""

    framework: int
    service: int
    name: str = ""
    framework_from: int = field(default=0, compare=False)
    service_from: int = field(default=0, compare=False)


def current(database: peewee.Database) -> Versions:
    """The versions of the tables in `database`, 0 for none."""
    return _versions(_tables(database))


def _versions(tables: Mapping[str, Collection[str]]) -> Versions:
    """The versions that these tables say."""
    framework, service = _row(tables, SchemaVersion), _row(tables, ServiceVersion)
    if framework is None:
        return Versions(0, 0)
    reached = max(framework.version, framework.reached or 0)
    if reached < NAMED:
        return Versions(reached, 1, FIRST_SERVICE, reached, 1)
    if service is None:  # A server was killed while it made the tables.
        return Versions(reached, 0, framework_from=framework.version)
    return Versions(
        reached,
        max(service.version, service.reached or 0),
        service.name,
        framework.version,
        service.version,
    )


def upgrade(
    database: peewee.Database,
    schema: Schema,
    version: int = VERSION,
    steps: Mapping[int, Step] = STEPS,
    oldest: int = OLDEST,
    *,
    patience: float = LOCK_TIMEOUT,
    sleep: Callable[[float], object] = time.sleep,
) -> tuple[Versions, Versions]:
    """Bring `database`, which is connected, to the framework's `version` and to `schema`, unless it
    is newer and good for them; returns the versions before and after.

    :param oldest: from which version on programs can work on `version`.
    :param patience: how long to wait for another server's upgrade, and for locks on tables that
        servers work on, in seconds.
    :raises DatabaseRefused: one of them is newer and not for programs of this one, or the database
        is another service's, or a step fails, or it lacks what the service's models have: no step
        has made it.
    """
    sqlite = isinstance(database, peewee.SqliteDatabase)
    if sqlite:
        _turn_to_wal(database, sleep)
    if there := _ready(database, schema, version):
        return there, there
    migrator = migrator_of(database)
    patiently = _Patience(patience, sleep).take
    with (_sqlite if sqlite else _mysql)(database, patience):
        before = current(database)
        check(before, schema, version)
        if before.framework == 0:
            for model in (*MODELS, SchemaVersion, ServiceVersion):
                create_table(database, model)
            _stamp(version, oldest)
        for number in range(before.framework + 1, version + 1) if before.framework else ():
            patiently(steps[number], migrator)
            patiently(_stamp, number, oldest)
        if before.service == 0:
            for model in schema.models:
                create_table(database, model)
            _stamp_service(schema, schema.version)
        for number in range(before.service + 1, schema.version + 1) if before.service else ():
            patiently(_step, schema, number, migrator)
            patiently(_stamp_service, schema, number)
        _check_tables(database, schema)
        return before, current(database)


def _ready(database: peewee.Database, schema: Schema, version: int) -> Versions | None:
    """The versions that are there, if there is certainly nothing to do; None if there may be."""
    try:
        tables = _tables(database)
        there = _versions(tables)
        enough = there.framework >= version and there.service >= schema.version
        if not enough or _lacking(tables, schema) is not None:
            return None
        check(there, schema, version)
    except (peewee.OperationalError, DatabaseRefused):
        return None  # The lock is waited for longer than a command is.
    return there


@dataclass(frozen=True)
class _Patience:
    """How long steps are waited for, and how."""

    seconds: float
    sleep: Callable[[float], object]

    def take(self, step: Callable[P, object], *arguments: P.args, **keywords: P.kwargs) -> None:
        """Take a step, as often as it takes while servers of before are at work on the tables."""
        until = time.monotonic() + self.seconds
        while True:
            try:
                step(*arguments, **keywords)
                return
            except peewee.OperationalError as error:
                in_the_way = error.args[:1] in [(code,) for code in _IN_THE_WAY]
                if not in_the_way or time.monotonic() > until:
                    raise
            self.sleep(AGAIN)


def _step(schema: Schema, number: int, migrator: Migrator) -> None:
    try:
        schema.steps[number](migrator)
    except peewee.PeeweeException:
        raise  # It may be the database's fault.
    except Exception as error:
        raise DatabaseRefused(
            f"the step to version {number} of {schema.name} failed: {type(error).__name__}: {error}"
        ) from error


def check_owner(there: Versions, schema: Schema) -> None:
    """DatabaseRefused when the database is another service's."""
    if there.name and there.name != schema.name:
        raise DatabaseRefused(
            f"the database is the service {there.name}'s, and {schema.name} needs one of its own"
        )


def check(there: Versions, schema: Schema, version: int = VERSION) -> None:
    """DatabaseRefused when the database is another service's, or newer than this program and not
    good for it."""
    check_owner(there, schema)
    if there.framework > version and there.framework_from > version:
        raise DatabaseRefused(
            f"the database has schema {there.framework}, newer than this program's {version}:"
            " upgrade bbs"
        )
    if there.service > schema.version and there.service_from > schema.version:
        raise DatabaseRefused(
            f"the database has version {there.service} of {schema.name}, newer than this program's"
            f" {schema.version}: upgrade {schema.name}"
        )


def newer(there: Versions, schema: Schema) -> str:
    """In which way the database is newer than this program, which can work on it; "" if it is
    not."""
    parts = ("schema", there.framework, VERSION), (schema.name, there.service, schema.version)
    return "; ".join(
        f"{what} {number}, this program's is {own}" for what, number, own in parts if number > own
    )


def _check_tables(database: peewee.Database, schema: Schema) -> None:
    """Refuse a database that lacks what a model has: its version was not raised with the model."""
    lacking = _lacking(_tables(database), schema)
    if lacking is not None:
        raise DatabaseRefused(
            f"the database is of version {schema.version} of {schema.name}, and has no {lacking}:"
            " a change of the models needs a new version and a step to it"
        )


def _lacking(tables: Mapping[str, Collection[str]], schema: Schema) -> str | None:
    """The first table, or column, of the service's models that is not among `tables`."""
    for model in schema.models:
        table = _name(model)
        if table not in tables:
            return f"table {table}"
        for column in model._meta.columns:
            if column not in tables[table]:
                return f"column {column} in the table {table}"
    return None


def _tables(database: Any) -> Mapping[str, Collection[str]]:
    """The columns of every table, in one question."""
    sqlite = isinstance(database, peewee.SqliteDatabase)
    tables: dict[str, set[str]] = {}
    for table, column in database.execute_sql(_SQLITE_COLUMNS if sqlite else _MYSQL_COLUMNS):
        tables.setdefault(table, set()).add(column)
    return tables


_SQLITE_COLUMNS = """\
SELECT made.name, had.name FROM sqlite_master AS made JOIN pragma_table_info(made.name) AS had
WHERE made.type = 'table'"""
_MYSQL_COLUMNS = """\
SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE()"""


def _name(model: type[Table]) -> str:
    name: str = model._meta.table_name
    return name


def _row(tables: Mapping[str, Collection[str]], model: type[Table]) -> Any:
    """The one row of a table, as far as the table has today's columns; None if there is none."""
    columns = tables.get(_name(model), ())
    there = [field for name, field in model._meta.columns.items() if name in columns]
    return model.select(*there).first() if there else None


def _stamp(version: int, oldest: int) -> None:
    said = {"version": version}
    if version >= REACHED:
        said = {"version": min(version, oldest), "reached": version}
    if not SchemaVersion.update(**said).execute() and not SchemaVersion.select().count():
        SchemaVersion.insert(**said).execute()


def _stamp_service(schema: Schema, version: int) -> None:
    oldest = min(version, schema.oldest or version)
    stamp = ServiceVersion.insert(name=schema.name, version=oldest, reached=version)
    stamp.on_conflict_replace().execute()


@contextmanager
def _sqlite(database: Any, patience: float) -> Iterator[None]:
    """One transaction, for which other servers are waited for."""
    hurried, database.timeout = database.timeout, patience
    # Or a step that rebuilds a table would take along the rows that refer to it. SQLite heeds this
    # outside of transactions only.
    database.pragma("foreign_keys", 0)
    try:
        with database.atomic():
            yield
    finally:
        database.pragma("foreign_keys", 1)
        database.timeout = hurried


def _turn_to_wal(database: Any, sleep: Callable[[float], object]) -> None:
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
            sleep(WAL_INTERVAL)


@contextmanager
def _mysql(database: Any, patience: float) -> Iterator[None]:
    """A named lock, on a connection without the deadlines of commands."""
    hurried = database.connect_params
    database.close()
    database.connect_params = {**hurried, "read_timeout": None, "write_timeout": None}
    try:
        database.connect()
        for variable in ("lock_wait_timeout", "innodb_lock_wait_timeout"):
            database.execute_sql(f"SET SESSION {variable} = {TABLE_TIMEOUT}")
        with _named_lock(database, f"bbs.schema.{database.database}"[:64], patience):
            yield
    finally:
        database.close()
        database.connect_params = hurried
    database.connect()


@contextmanager
def _named_lock(database: Any, name: str, patience: float) -> Iterator[None]:
    (got,) = database.execute_sql("SELECT GET_LOCK(%s, %s)", (name, patience)).fetchone()
    if not got:
        raise DatabaseRefused(f"another server has been upgrading the schema for {patience:g} s")
    try:
        yield
    finally:
        database.execute_sql("SELECT RELEASE_LOCK(%s)", (name,))


class Migrator(SchemaMigrator):  # type: ignore[misc]
    """Changes the schema for a step: playhouse's migrator, and what every step needs.

    MySQL commits each change of the schema by itself, so a step may be cut off half-way and is then
    run again. All that is defined here may be done twice.
    """

    def add_columns(self, table: str, **columns: peewee.Field) -> None:
        """Add to `table` those of `columns` that it has not got.

        One that is null at first, or has its default in SQL (`constraints=[SQL("DEFAULT 0")]`), is
        added by one statement, and is there as a whole or not at all. Rows that are there get the
        default, and so do those that servers of an older version go on making. One that refers to
        another table is null at first, is called as its column (`creator_id`), says the `field`
        that it refers to, and gets its index from `create_table`.
        """
        there = {column.name for column in self.database.get_columns(table)}
        for name, column in columns.items():
            if name in there:
                continue
            if isinstance(column, peewee.ForeignKeyField):
                self._add_reference(table, name, column)
            else:
                migrate(
                    self.add_column(table, name, column, allow_not_null=bool(column.constraints))
                )

    def _add_reference(self, table: str, name: str, column: peewee.ForeignKeyField) -> None:
        migrate(self.alter_add_column(table, name, column))

    def create_table(self, model: type[Table]) -> None:
        """Make the table of `model` with its indexes, as far as they are not there."""
        create_table(self.database, model)


class _SqliteMigrator(Migrator, PlayhouseSqlite):  # type: ignore[misc]
    pass


class _MySQLMigrator(Migrator, PlayhouseMySQL):  # type: ignore[misc]
    def _add_reference(self, table: str, name: str, column: peewee.ForeignKeyField) -> None:
        context = self.make_context()
        kind, _ = context.sql(column.ddl_datatype(context)).query()
        key, other = column.rel_field.column_name, column.rel_model._meta.table_name
        self.database.execute_sql(
            f"ALTER TABLE `{table}` ADD COLUMN `{name}` {kind} NULL,"
            f" ADD FOREIGN KEY (`{name}`) REFERENCES `{other}` (`{key}`)"
            f" ON DELETE {column.on_delete or 'RESTRICT'}"
        )


def migrator_of(database: peewee.Database) -> Migrator:
    """The migrator for `database`."""
    sqlite = isinstance(database, peewee.SqliteDatabase)
    return (_SqliteMigrator if sqlite else _MySQLMigrator)(database)
