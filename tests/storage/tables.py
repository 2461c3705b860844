"""What peewee's models say of their tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def name_of(model: Any) -> str:
    """What the model's table is called."""
    name: str = model._meta.table_name
    return name


def indexes_of(model: Any) -> Iterator[tuple[list[Any], bool]]:
    """The fields of each index that the model declares, and whether it is unique; its primary key
    apart."""
    for field in model._meta.sorted_fields:
        if (field.index or field.unique) and not field.primary_key:
            yield [field], bool(field.unique)
    for names, unique in model._meta.indexes:
        yield [model._meta.fields[name] for name in names], unique
