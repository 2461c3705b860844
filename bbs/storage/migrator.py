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
