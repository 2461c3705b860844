"""The schema of a service: its tables at a version, the versions that are stored, and how a table
is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import peewee

from bbs.core.values import NAME_LENGTH, is_for_threads
from bbs.storage.models import MODELS, Table

if TYPE_CHECKING:
    from bbs.storage.migrations import Migrator

MYSQL_TABLES = ("ENGINE=InnoDB", "CHARSET=utf8mb4", "COLLATE=utf8mb4_bin")
"""Rows with transactions, and names that compare byte for byte."""


def _reached() -> peewee.IntegerField:
    return peewee.IntegerField(default=0, constraints=[peewee.SQL("DEFAULT 0")])


class SchemaVersion(Table):
    """One row: which version the framework's tables have `reached`, and the oldest `version` whose
    programs can work on them.

    Programs older than 0.3.0 read `version` alone, and start where it is not newer than theirs. So
    older programs start, and run beside newer ones, on what they can work on, and refuse the rest.
    These programs leave `reached` as it is, at 0 in a row of their own: then the tables are of
    `version`.
    """

    version = peewee.IntegerField()
    reached = _reached()


class ServiceVersion(Table):
    """One row: whose database this is, and the two versions of that service's tables."""

    name = peewee.CharField(NAME_LENGTH, primary_key=True)
    version = peewee.IntegerField()
    reached = _reached()


Step = Callable[["Migrator"], None]
"""From version n - 1 to n. A step must bear being run again after it was cut off half-way."""


@dataclass(frozen=True)
class Schema:
    """The tables of a service: `models`, in an order in which they can be made, at `version`, to
    which `steps` lead from the versions before (`{2: step, …}`). Programs of the versions from
    `oldest` on can work on them, too, and run beside those of this one; 0: only this one's.

    :raises ValueError: a version lacks its step or has one that is not a function, `oldest` is
        newer than the version, or a table is taken, or stands before one that it refers to.
    """

    name: str
    models: tuple[type[Table], ...] = ()
    version: int = 1
    steps: Mapping[int, Step] = field(default_factory=lambda: MappingProxyType({}))
    oldest: int = 0

    def __post_init__(self) -> None:
        missing = set(range(2, self.version + 1)) - set(self.steps)
        if self.version < 1 or missing:
            raise ValueError(
                f"{self.name}: schema {self.version} needs a step to each version from 2 on"
            )
        if not 0 <= self.oldest <= self.version:
            raise ValueError(f"{self.name}: {self.oldest} is no version from 1 to {self.version}")
        framework: tuple[type[Table], ...] = (*MODELS, SchemaVersion, ServiceVersion)
        there: list[type[Table]] = [*framework]
        for model in self.models:
            if not issubclass(model, Table):
                raise ValueError(f"{self.name}: {model.__name__} does not derive from Table")
            table = model._meta.table_name
            if table in {each._meta.table_name for each in there}:
                raise ValueError(f"{self.name}: the table {table} is taken")
            there.append(model)
            lacking = [each for each in model._meta.refs.values() if each not in there]
            if lacking:
                other = lacking[0].__name__
                raise ValueError(f"{self.name}: {table} refers to {other}, which comes before it")
        for number, step in self.steps.items():
            if not is_for_threads(step):
                raise ValueError(f"{self.name}: the step to {number} is no plain function")


def create_table(database: Any, table: Any) -> None:
    """Make a table with its indexes, as far as they are not there."""
    mysql = isinstance(database, peewee.MySQLDatabase)
    table._meta.table_settings = MYSQL_TABLES if mysql else None
    table._schema.create_table(safe=True)
    # One by one: of a creation that was cut off, a table may be there without its indexes.
    there = {index.name for index in database.get_indexes(table._meta.table_name)}
    for index in table._meta.fields_to_index():
        if index._name not in there:
            database.execute(index.safe(False))
