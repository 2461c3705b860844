"""The schema of a service: its tables at a version, and the tables that store versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import peewee

from bbs.core.values import NAME_LENGTH, is_for_threads
from bbs.storage.models import MODELS, Table
from bbs.storage.partitions import NARROWEST, is_partitioned, partition_clause, partition_indexes

if TYPE_CHECKING:
    from bbs.storage.migrations import Migrator

MYSQL_TABLES = ("ENGINE=InnoDB", "CHARSET=utf8mb4", "COLLATE=utf8mb4_bin")
"""Transactions, and names that compare byte for byte."""


class SchemaVersion(Table):
    """One row: the version that the framework's tables have `reached`, and the oldest `version`
    whose programs can work on them.

    Programs older than 0.3.0 read `version` alone, and start if it is not newer than theirs.
    Therefore they run next to newer ones if they can work on the tables, and refuse them otherwise.
    Those programs leave `reached` as it is, 0 in a row that they made: then the tables have the
    version in `version`.
    """

    version = peewee.IntegerField()
    reached = peewee.IntegerField(default=0, constraints=[peewee.SQL("DEFAULT 0")])


class ServiceVersion(Table):
    """One row: the service that the database belongs to, and the two versions of its tables."""

    name = peewee.CharField(NAME_LENGTH, primary_key=True)
    version = peewee.IntegerField()
    reached = peewee.IntegerField(default=0, constraints=[peewee.SQL("DEFAULT 0")])


class ExtensionVersion(Table):
    """The version of the tables of each extension that has been installed. The table is made with
    the first of them."""

    name = peewee.CharField(NAME_LENGTH, primary_key=True)
    version = peewee.IntegerField()


Step = Callable[["Migrator"], None]  # Upgrades by one version. It is run again if interrupted.


@dataclass(frozen=True)
class Schema:
    """The tables of a service: `models`, in an order in which they can be made, at `version`.

    `steps` upgrade from each version to the next (`{2: step, …}`). Programs of the versions from
    `oldest` on can work on the tables too, and run next to those of `version`; 0: only the latter.
    `parts` are the schemas of extensions. `seed` stores the rows that a new database begins with.

    :raises ValueError: a version lacks its step or has one that is not a function, `oldest` is
        newer than `version`, or a table is taken or comes before one that it refers to.
    """

    name: str
    models: tuple[type[Table], ...] = ()
    version: int = 1
    steps: Mapping[int, Step] = field(default_factory=lambda: MappingProxyType({}))
    oldest: int = 0
    parts: tuple[Schema, ...] = ()
    seed: Callable[[], object] | None = None

    def __post_init__(self) -> None:
        missing = set(range(2, self.version + 1)) - set(self.steps)
        if self.version < 1 or missing:
            raise ValueError(
                f"{self.name}: schema {self.version} needs a step to each version from 2 on"
            )
        if not 0 <= self.oldest <= self.version:
            raise ValueError(f"{self.name}: oldest must be 0 to {self.version}: {self.oldest}")
        framework: tuple[type[Table], ...] = (
            *MODELS,
            SchemaVersion,
            ServiceVersion,
            ExtensionVersion,
        )
        there: list[type[Table]] = [*framework]
        for model in self.models:
            if not issubclass(model, Table):
                raise ValueError(f"{self.name}: {model.__name__} does not derive from Table")
            table = model._meta.table_name
            if table in {each._meta.table_name for each in there}:
                raise ValueError(f"{self.name}: the table {table} is taken")
            there.append(model)
            column = getattr(model._meta, "partitioned_by", None)
            if column is not None and column not in model._meta.columns:
                raise ValueError(f"{self.name}: {table} has no column {column}: partitioned_by")
            # By their tables: a test of a migration may have an older form of one.
            tables = {each._meta.table_name for each in there}
            others = model._meta.refs.values()
            lacking = [each for each in others if each._meta.table_name not in tables]
            if lacking:
                other = lacking[0].__name__
                raise ValueError(
                    f"{self.name}: {table} refers to {other}, which must come before it"
                )
        self._check_parts()
        for number, step in self.steps.items():
            if not is_for_threads(step):
                raise ValueError(f"{self.name}: migration {number} must be a plain function")

    def _check_parts(self) -> None:
        tables = {model._meta.table_name for model in self.models}
        for part in self.parts:
            if part.name in {self.name, *(each.name for each in self.parts if each is not part)}:
                raise ValueError(f"{self.name}: the name of the extension {part.name} is taken")
            for model in part.models:
                if model._meta.table_name in tables:
                    raise ValueError(f"{part.name}: the table {model._meta.table_name} is taken")
                tables.add(model._meta.table_name)

    @property
    def all_models(self) -> tuple[type[Table], ...]:
        """The models of the service and of its extensions."""
        return tuple(model for each in (self, *self.parts) for model in each.models)


def create_table(database: Any, table: Any) -> None:
    """Create a table and its indexes, unless they exist."""
    meta, has_partitions = table._meta, is_partitioned(database, table)
    settings = MYSQL_TABLES if isinstance(database, peewee.MySQLDatabase) else ()
    if has_partitions:
        settings = (*settings, partition_clause(table, [NARROWEST]))
    meta.table_settings = settings or None
    indexes = partition_indexes(table) if has_partitions else meta.fields_to_index()
    references = meta.refs if has_partitions else ()
    for reference in references:
        reference.deferred = True  # It gets no foreign key.
    table._schema.create_table(safe=True)
    for reference in references:
        reference.deferred = False
    # One by one: after an interrupted creation a table may exist without its indexes.
    there = {index.name for index in database.get_indexes(meta.table_name)}
    for index in indexes:
        if index._name not in there:
            database.execute(index.safe(False))
