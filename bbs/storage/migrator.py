"""What a step changes the schema with. A module of its own, as most starts take no step."""

from __future__ import annotations

import peewee
from playhouse.migrate import MySQLMigrator as PlayhouseMySQL
from playhouse.migrate import SchemaMigrator, migrate
from playhouse.migrate import SqliteMigrator as PlayhouseSqlite

from bbs.storage.models import Table
from bbs.storage.schema import create_table


class Migrator(SchemaMigrator):  # type: ignore[misc]
    """What a step changes the schema with: playhouse's migrator, and what every step needs.

    MySQL commits each change of the schema by itself, so a step may be cut off half-way and is then
    run again. What is defined here may be done twice.
    """

    def add_columns(self, table: str, **columns: peewee.Field) -> None:
        """Add to `table` those of `columns` that it has not got."""
        there = {column.name for column in self.database.get_columns(table)}
        for name, column in columns.items():
            if name not in there:
                migrate(self.add_column(table, name, column))

    def create_table(self, model: type[Table]) -> None:
        """Make the table of `model` with its indexes, as far as they are not there."""
        create_table(self.database, model)


class _SqliteMigrator(Migrator, PlayhouseSqlite):  # type: ignore[misc]
    pass


class _MySQLMigrator(Migrator, PlayhouseMySQL):  # type: ignore[misc]
    pass


def migrator_of(database: peewee.Database) -> Migrator:
    """The migrator for `database`."""
    sqlite = isinstance(database, peewee.SqliteDatabase)
    return (_SqliteMigrator if sqlite else _MySQLMigrator)(database)
