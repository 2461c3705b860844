"""Migrations: versions of the schema, the upgrade from one to the next, and tools for its steps.

Each part has a version of its own: the framework's tables, those of the one service that the
database belongs to, and those of each extension. An empty database gets today's tables from the
models at once; an older one is upgraded step by step. A newer one says which programs can work on
it all the same, so that servers of two versions run side by side during an upgrade.

All of it happens under a lock, so that servers which start together do it once. At nearly every
start there is nothing to do, and a look without the lock is enough: users wait for the start. No
library does this: servers must know which newer schema they can work on, wait for each other, and
do the same on SQLite and MySQL. The steps themselves use peewee's `playhouse.migrate`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import peewee
import pymysql
from playhouse.migrate import MySQLMigrator as PlayhouseMySQL
from playhouse.migrate import SchemaMigrator, migrate
from playhouse.migrate import SqliteMigrator as PlayhouseSqlite

from bbs.core.values import NAME_LENGTH
from bbs.storage.database import rows
from bbs.storage.engines import DatabaseRefused
from bbs.storage.framework_migrations import FIRST_SERVICE, STEPS
from bbs.storage.models import MODELS, DatabaseWriter, Table, User
from bbs.storage.mysql_servers import UPGRADING
from bbs.storage.partitions import (
    NARROWEST,
    TABLE_TIMEOUT,
    bounds_of,
    partition_clause,
    partition_indexes,
)
from bbs.storage.schema import (
    ExtensionVersion,
    Schema,
    SchemaVersion,
    ServiceVersion,
    Step,
    create_table,
)
from bbs.storage.transaction_guard import EXCEPTIONS

VERSION = 15  # The framework's schema that this code works on.

OLDEST = 7
"""The oldest version of the framework's schema whose programs can work on this one. The versions
since then have only added to it, with defaults in SQL. A step that removes something, or changes a
meaning, raises this to its own number: older servers must then be stopped before the upgrade."""

LOCK_TIMEOUT = 60  # Seconds to wait for another server's upgrade, and for locks on tables.

UPGRADE = "upgrade"  # The name of the row of `DatabaseWriter` that is locked during an upgrade.
RETRY_DELAY = 0.2  # Seconds until it is tried again: in these the other statements go on.
_LOCKED = (1205, 1213)  # MySQL's error numbers of a lock time-out and of a deadlock.
WAL_ATTEMPTS, WAL_INTERVAL = 100, 0.05  # Attempts to turn an SQLite file to WAL, with a pause (s).
LARGEST_VERSION = 2**31 - 1  # That the columns have room for on MySQL.
NAMED = 4  # The first version with a row that names the service, once always `FIRST_SERVICE`.
REACHED = 8  # The first version whose rows have the reached and the oldest usable version.


@dataclass(frozen=True)
class Versions:
    """The versions of the framework's tables and of the service's."""

    framework: int
    service: int
    name: str = ""  # Of the service, if there is one yet.
    # The oldest versions whose programs can work on each.
    framework_from: int = field(default=0, compare=False)
    service_from: int = field(default=0, compare=False)
    extensions: Mapping[str, int] = field(default_factory=dict)  # By name, also of those gone.


def current(database: peewee.Database) -> Versions:
    """Read the versions of the tables in `database`, 0 for none. DatabaseRefused if they are
    malformed."""
    return _versions(database, _tables(database))


def _versions(database: peewee.Database, tables: Mapping[str, Collection[str]]) -> Versions:
    framework = _stored(database, tables, SchemaVersion)
    if framework is None:
        return Versions(0, 0)
    _, version, reached = framework
    reached = max(version, reached)
    if reached < NAMED:
        return Versions(reached, 1, FIRST_SERVICE, reached, 1)
    service = _stored(database, tables, ServiceVersion)
    if service is None:  # A server was killed while it made the tables.
        return Versions(reached, 0, framework_from=version)
    name, oldest, latest = service
    extensions = _extensions() if ExtensionVersion._meta.table_name in tables else {}
    return Versions(reached, max(oldest, latest), name, version, oldest, extensions)


def _extensions() -> Mapping[str, int]:
    columns = (ExtensionVersion.name, ExtensionVersion.version)
    rows: Any = ExtensionVersion.select(*columns).order_by(ExtensionVersion.name).tuples()
    return dict(rows)


def _stored(
    database: Any, tables: Mapping[str, Collection[str]], model: type[Table]
) -> tuple[str, int, int] | None:
    """The one row of a table of versions, as a name ("" if the table has none), the oldest usable
    version and the reached one (0 if it is not stored); None without a row. SQLite stores any value
    in any column, and a model would fail at one of another type."""
    table = model._meta.table_name
    if table not in tables:
        return None
    columns = [each for each in ("name", "version", "reached") if each in tables[table]]
    stored = peewee.Table(table)
    wanted = [getattr(stored.c, each) for each in columns] or [peewee.SQL("NULL")]
    rows = [*stored.select(*wanted).limit(2).tuples().execute(database)]
    if not rows:
        return None
    row = dict(zip(columns, rows[0], strict=False))
    name, version, reached = row.get("name", ""), row.get("version"), row.get("reached") or 0
    if (
        len(rows) > 1
        or not (isinstance(name, str) and name.isprintable() and len(name) <= NAME_LENGTH)
        or not (type(version) is int and 1 <= version <= LARGEST_VERSION)
        or not (type(reached) is int and 0 <= reached <= LARGEST_VERSION)
    ):
        found = f"{rows[0]!r:.60}" if len(rows) == 1 else "several rows"
        raise DatabaseRefused(f"the database has a malformed version in {table}: {found}")
    return name, version, reached


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
    """Upgrade `database`, which is connected, to the framework's `version` and to `schema`, unless
    it is newer and programs of these can work on it; returns the versions before and after.

    :param oldest: the oldest version whose programs can work on `version`.
    :param patience: seconds to wait for another server's upgrade, and for locks on tables that
        servers work on.
    :raises DatabaseRefused: the database is too new for this program, or belongs to another
        service, or a step fails, or no step has made a table or column of the service's models.
    """
    sqlite = isinstance(database, peewee.SqliteDatabase)
    if sqlite:
        _turn_to_wal(database, sleep)
    if there := _ready(database, schema, version):
        return there, there
    migrator = migrator_of(database)
    with (_lock_sqlite if sqlite else _lock_mysql)(database, patience) as check_lock:
        run_step = partial(_run_patiently, patience, sleep, check_lock)
        before = current(database)
        check(before, schema, version)
        if not (before.framework and before.service):
            _check_empty(database)
        if before.framework == 0:
            for model in (*MODELS, SchemaVersion, ServiceVersion):
                create_table(database, model)
            _stamp(version, oldest)
        for number in range(before.framework + 1, version + 1) if before.framework else ():
            run_step(steps[number], migrator)
            run_step(_stamp, number, oldest)
        if before.service == 0:
            for model in schema.models:
                create_table(database, model)
            with database.atomic():
                _seed(schema)
                _stamp_service(schema, schema.version)
        for number in range(before.service + 1, schema.version + 1) if before.service else ():
            run_step(_run_service_step, schema, number, migrator)
            run_step(_stamp_service, schema, number)
        for part in schema.parts:
            _upgrade_extension(database, part, before.extensions.get(part.name, 0), run_step)
        _check_tables(database, schema)
        return before, current(database)


def _upgrade_extension(
    database: peewee.Database, schema: Schema, there: int, run_step: Callable[..., None]
) -> None:
    """Upgrade the tables of an extension from the version that is `there`, 0 for none."""
    if not there:
        for model in (ExtensionVersion, *schema.models):
            create_table(database, model)
        _stamp_extension(schema, schema.version)
    for number in range(there + 1, schema.version + 1) if there else ():
        run_step(_run_service_step, schema, number, migrator_of(database))
        run_step(_stamp_extension, schema, number)


def _ready(database: peewee.Database, schema: Schema, version: int) -> Versions | None:
    """The versions in `database` if there is certainly nothing to do; otherwise None."""
    try:
        tables = _tables(database)
        there = _versions(database, tables)
        enough = (
            there.framework >= version
            and there.service >= schema.version
            and all(there.extensions.get(each.name, 0) >= each.version for each in schema.parts)
        )
        if not enough or _lacking(tables, schema.all_models) is not None:
            return None
        check(there, schema, version)
        _remove_mark(tables)
    except (peewee.OperationalError, DatabaseRefused):
        return None  # The upgrade waits longer for the lock than a command does.
    return there


def _remove_mark(tables: Mapping[str, Collection[str]]) -> None:
    """Remove the mark of an upgrade on MySQL that was killed, unless one is at work."""
    if DatabaseWriter._meta.table_name not in tables:
        return
    mark = DatabaseWriter.name == UPGRADING
    if not DatabaseWriter.select().where(mark).exists():
        return
    lock = DatabaseWriter.select().where(DatabaseWriter.name == UPGRADE)
    with suppress(peewee.OperationalError), DatabaseWriter._meta.database.atomic():
        [*lock.for_update(nowait=True)]
        DatabaseWriter.delete().where(mark).execute()


def _run_patiently(
    patience: float,
    sleep: Callable[[float], object],
    check_lock: Callable[[], None],
    step: Callable[..., object],
    *arguments: Any,
) -> None:
    """Run a step, with retries for `patience` seconds while older servers work on the tables."""
    until = time.monotonic() + patience
    while True:
        check_lock()
        try:
            step(*arguments)
            return
        except peewee.OperationalError as error:
            is_locked = error.args[:1] in [(code,) for code in _LOCKED]
            if not is_locked or time.monotonic() > until:
                raise
        sleep(RETRY_DELAY)


def _seed(schema: Schema) -> None:
    if schema.seed is not None:
        _call(f"the seed of {schema.name}", schema.seed)


def _run_service_step(schema: Schema, number: int, migrator: Migrator) -> None:
    _call(f"the step to version {number} of {schema.name}", schema.steps[number], migrator)


def _call(what: str, function: Callable[..., object], *arguments: object) -> None:
    """Call a function of the service's; DatabaseRefused, which names `what` it is, if it fails."""
    try:
        function(*arguments)
    except peewee.PeeweeException:
        raise  # The database may be at fault.
    except Exception as error:
        raise DatabaseRefused(f"{what} failed: {type(error).__name__}: {error}") from error


def check_owner(there: Versions, schema: Schema) -> None:
    """Raise DatabaseRefused if the database belongs to another service."""
    if there.name and there.name != schema.name:
        raise DatabaseRefused(
            f"the database is the service {there.name}'s, and {schema.name} needs one of its own"
        )


def check(there: Versions, schema: Schema, version: int = VERSION) -> None:
    """Raise DatabaseRefused if the database is another service's or too new for this program."""
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
    for part in schema.parts:
        if (stored := there.extensions.get(part.name, 0)) > part.version:
            raise DatabaseRefused(
                f"the database has version {stored} of the extension {part.name}, newer than the"
                f" installed {part.version}: upgrade {part.name}"
            )


def newer(there: Versions, schema: Schema) -> str:
    """Say how the database is newer than this program, which can work on it; "" if it is not."""
    parts = ("schema", there.framework, VERSION), (schema.name, there.service, schema.version)
    return "; ".join(
        f"{what} {number}, this program's is {own}" for what, number, own in parts if number > own
    )


def _check_empty(database: peewee.Database) -> None:
    """Refuse a database with users and without a version: today's would be wrong for its tables."""
    there = "user" in _tables(database)
    if there and User.select(peewee.SQL("1")).tuples().first():
        raise DatabaseRefused(
            "the database has a table user with rows, and no version of bbs: it is another"
            " program's, or damaged"
        )


def _check_tables(database: peewee.Database, schema: Schema) -> None:
    """Refuse a database that lacks a column of a model: its version was not raised."""
    tables = _tables(database)
    for each in (schema, *schema.parts):
        lacking = _lacking(tables, each.models)
        if lacking is not None:
            raise DatabaseRefused(
                f"the database is of version {each.version} of {each.name}, and has no {lacking}:"
                " a change of the models needs a new version and a step to it"
            )


def _lacking(tables: Mapping[str, Collection[str]], models: Sequence[type[Table]]) -> str | None:
    """The first table or column of these models that `tables` lacks."""
    for model in models:
        table = model._meta.table_name
        if table not in tables:
            return f"table {table}"
        for column in model._meta.columns:
            if column not in tables[table]:
                return f"column {column} in the table {table}"
    return None


def _tables(database: Any) -> Mapping[str, Collection[str]]:
    """The columns of every table, by one query."""
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
_FOREIGN_KEYS = """\
SELECT constraint_name FROM information_schema.table_constraints
WHERE table_schema = DATABASE() AND table_name = %s AND constraint_type = 'FOREIGN KEY'"""


def _stamp(version: int, oldest: int) -> None:
    row = {"version": version}
    if version >= REACHED:
        row = {"version": min(version, oldest), "reached": version}
    if not SchemaVersion.update(**row).execute() and not SchemaVersion.select().count():
        SchemaVersion.insert(**row).execute()


def _stamp_service(schema: Schema, version: int) -> None:
    oldest = min(version, schema.oldest or version)
    stamp = ServiceVersion.insert(name=schema.name, version=oldest, reached=version)
    stamp.on_conflict_replace().execute()


def _stamp_extension(schema: Schema, version: int) -> None:
    stamp = ExtensionVersion.insert(name=schema.name, version=version)
    stamp.on_conflict_replace().execute()


@contextmanager
def _lock_sqlite(database: Any, patience: float) -> Iterator[Callable[[], None]]:
    """Begin one transaction, after those of other servers, which nobody else can end."""
    timeout, database.timeout = database.timeout, patience
    # Otherwise a step that rebuilds a table would delete the rows that refer to it. SQLite accepts
    # this outside of transactions only.
    database.pragma("foreign_keys", 0)
    try:
        with database.atomic():
            yield lambda: None
    finally:
        database.pragma("foreign_keys", 1)
        database.timeout = timeout


def _turn_to_wal(database: Any, sleep: Callable[[float], object]) -> None:
    """Let readers and a writer not wait for each other. The file stays in this mode."""
    for attempt in range(1, WAL_ATTEMPTS + 1):
        try:
            database.pragma("journal_mode", "wal")
            return
        except peewee.OperationalError as error:
            # While another server does it, SQLite does not wait for the time-out.
            busy = getattr(error.__context__, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            if not busy or attempt == WAL_ATTEMPTS:
                raise
            sleep(WAL_INTERVAL)


@contextmanager
def _lock_mysql(database: Any, patience: float) -> Iterator[Callable[[], None]]:
    """Lock a row of `DatabaseWriter`, with the database on a connection without the deadlines of
    commands. All servers write to one node of a cluster, so that the row's lock excludes them.
    (`GET_LOCK` is known to one node alone, also in the group's own products.)"""
    parameters = database.connect_params
    database.close()
    database.connect_params = {**parameters, "read_timeout": None, "write_timeout": None}
    try:
        database.connect()
        create_table(database, DatabaseWriter)
        if not DatabaseWriter.select().where(DatabaseWriter.name == UPGRADE).exists():
            # (An insertion would wait for the lock of another server's upgrade.)
            DatabaseWriter.insert(name=UPGRADE, node="").on_conflict_ignore().execute()
        database.close()
        database.connect()  # Now the writer can be told: another node's server ends here.
        for variable in ("lock_wait_timeout", "innodb_lock_wait_timeout"):
            database.execute_sql(f"SET SESSION {variable} = {TABLE_TIMEOUT}")
        with _locked_row(database, patience) as check:
            DatabaseWriter.insert(name=UPGRADING, node="").on_conflict_ignore().execute()
            try:
                yield check
            finally:
                # If this process is killed before, the next start removes the row: until then no
                # other node is taken because this one is silent.
                DatabaseWriter.delete().where(DatabaseWriter.name == UPGRADING).execute()
    finally:
        database.close()
        database.connect_params = parameters
    database.connect()


@contextmanager
def _locked_row(database: Any, patience: float) -> Iterator[Callable[[], None]]:
    """Hold the row's lock on a connection of its own, as each change of the schema commits. If this
    process dies, or is cut off, the server ends the connection and with it the lock. Yields a
    function that raises OperationalError if that has happened."""

    def ask(sql: str, *values: object) -> None:
        with EXCEPTIONS, connection.cursor() as cursor:
            cursor.execute(sql, values)

    connection = database.connection_apart()
    try:
        ask(f"SET SESSION innodb_lock_wait_timeout = {max(1, round(patience))}")
        ask("BEGIN")
        try:
            ask("SELECT node FROM database_writer WHERE name = %s FOR UPDATE", UPGRADE)
        except peewee.OperationalError as error:
            if error.args[0] not in _LOCKED:
                raise
            raise DatabaseRefused(
                f"another server has been upgrading the schema for {patience:g} s"
            ) from error
        yield partial(ask, "SELECT 1")
    finally:
        with suppress(pymysql.Error, OSError):
            connection.close()


class Migrator(SchemaMigrator):  # type: ignore[misc]
    """Changes the schema in a step: playhouse's migrator, with methods that every step needs.

    MySQL commits each change of the schema by itself, so a step may be interrupted half-way and is
    then run again. All methods that are defined here can be called twice.
    """

    def add_columns(self, table: str, **columns: peewee.Field) -> None:
        """Add to `table` those of `columns` that it lacks.

        A column that may be null, or has its default in SQL (`constraints=[SQL("DEFAULT 0")]`), is
        added by one statement, as a whole or not at all. Existing rows get the default, and so do
        the rows that servers of an older version go on to insert. A foreign key must be null at
        first, have the name of its column (`creator_id`) and the `field` that it refers to; its
        index comes from `create_table`.
        """
        there = {column.name for column in self.database.get_columns(table)}
        for name, column in columns.items():
            if name in there:
                continue
            if isinstance(column, peewee.ForeignKeyField):
                self._add_reference(table, name, column)
            else:
                not_null = bool(column.constraints)
                migrate(self.add_column(table, name, column, allow_not_null=not_null))

    def _add_reference(self, table: str, name: str, column: peewee.ForeignKeyField) -> None:
        migrate(self.alter_add_column(table, name, column))

    def allow_null(self, column: peewee.Field) -> None:
        """Let `column` be null in its table, whose other columns are as its model has them."""
        table = column.model._meta.table_name
        migrate(self.drop_not_null(table, column.column_name))

    def create_table(self, model: type[Table]) -> None:
        """Create the table of `model` and its indexes, unless they exist."""
        create_table(self.database, model)

    def rebuild_table(self, model: type[Table]) -> None:
        """Make the table of `model` anew with the same rows, where its columns are the same but for
        what SQLite cannot alter, such as `RisingIdField`. MySQL needs no change for that."""

    def partition(self, *models: type[Table]) -> None:
        """Divide the tables of `models`, each with `partitioned_by` in its `Meta`, into partitions:
        first those that refer to others. SQLite needs no change for that.

        It copies them. MariaDB from 11.2 on goes on to write to them meanwhile."""


class _SqliteMigrator(Migrator, PlayhouseSqlite):  # type: ignore[misc]
    def allow_null(self, column: peewee.Field) -> None:
        self.rebuild_table(column.model)

    def rebuild_table(self, model: type[Table]) -> None:
        table = model._meta.table_name
        for index in self.database.get_indexes(table):
            if index.sql:  # Not one that SQLite makes by itself.
                self.database.execute_sql(f'DROP INDEX "{index.name}"')
        names = [column.name for column in self.database.get_columns(table)]
        last = self._last_id(table)
        # Otherwise other tables would refer to the renamed one (sqlite.org/lang_altertable.html).
        self.database.pragma("legacy_alter_table", 1)
        self.database.execute_sql(f'ALTER TABLE "{table}" RENAME TO "{table}_before"')
        self.database.pragma("legacy_alter_table", 0)
        create_table(self.database, model)
        before = peewee.Table(f"{table}_before")
        rows = before.select(*[getattr(before.c, name) for name in names])
        model.insert_from(rows, [model._meta.columns[name] for name in names]).execute()
        self._keep_last_id(table, last)
        self.database.execute_sql(f'DROP TABLE "{table}_before"')

    def _last_id(self, table: str) -> int:
        """The highest id that the table has ever had, if no id is used again in it."""
        if "sqlite_sequence" not in self.database.get_tables():
            return 0
        query = "SELECT seq FROM sqlite_sequence WHERE name = ?"
        found = self.database.execute_sql(query, (table,)).fetchone()
        return int(found[0]) if found else 0

    def _keep_last_id(self, table: str, last: int) -> None:
        if last > self._last_id(table):
            self.database.execute_sql("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
            insert = "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)"
            self.database.execute_sql(insert, (table, last))


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

    def partition(self, *models: type[Table]) -> None:
        database, key = self.database, models[-1]._meta.primary_key
        [(highest,)] = rows(models[-1].select(peewee.fn.MAX(key)))
        there = [bounds_of(model) for model in models]
        bounds = next(filter(None, there), [(highest or 0) + NARROWEST])
        for model, done in zip(models, there, strict=True):
            if done:
                continue
            table = model._meta.table_name
            for (name,) in database.execute_sql(_FOREIGN_KEYS, (table,)).fetchall():
                database.execute_sql(f"ALTER TABLE `{table}` DROP FOREIGN KEY `{name}`")
            indexes = [
                f"DROP INDEX `{index._name}`, ADD INDEX `{index._name}` ({_columns_of(index)})"
                for index in partition_indexes(model)
            ]
            changes = f"{', '.join(indexes)} {partition_clause(model, bounds)}"
            database.execute_sql(f"ALTER TABLE `{table}` {changes}")


def _columns_of(index: Any) -> str:
    return ", ".join(f"`{field.column_name}`" for field in index._expressions)


def migrator_of(database: peewee.Database) -> Migrator:
    sqlite = isinstance(database, peewee.SqliteDatabase)
    return (_SqliteMigrator if sqlite else _MySQLMigrator)(database)
