"""How a query with stand-ins for its arguments becomes SQL, and what peewee does with values on
their way in and out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import peewee

Row = tuple[Any, ...]
Convert = Callable[[Any], Any]

LISTS = (list, tuple)
"""What among the arguments of a query stands for several values."""

_from_json = json.JSONDecoder().decode

_PLAIN: tuple[tuple[type[peewee.Field], type], ...] = (
    (peewee.IntegerField, int),
    (peewee.FloatField, float),
    (peewee.CharField, str),
    (peewee.TextField, str),
)
"""Kinds of columns whose values peewee leaves as they are when they are of this type, and as every
driver gives them."""


@dataclass(frozen=True)
class _Given:
    """A value that an argument gives: the one at `index`, or the `item` of a list there. It goes
    through `convert` unless it is of the type `plain`."""

    index: int
    item: int | None
    convert: Convert | None
    plain: type | None

    def value(self, arguments: Sequence[Any]) -> Any:
        value = arguments[self.index]
        if self.item is not None:
            value = value[self.item]
        if self.convert is None or type(value) is self.plain:
            return value
        return self.convert(value)


@dataclass(frozen=True)
class _Fresh:
    """A value that a column's default makes, each time anew."""

    make: Callable[[], Any]
    convert: Convert

    def value(self, arguments: Sequence[Any]) -> Any:
        return self.convert(self.make())


class _Argument(peewee.Node):
    """Stands in a query for an argument.

    peewee says what a value goes through on its way into the database; where it would ask the value
    itself, `convert` says so.
    """

    def __init__(self, index: int, item: int | None = None, convert: Convert | None = None) -> None:
        self.index = index
        self.item = item
        self.convert = convert

    def __bool__(self) -> bool:
        raise TypeError("a statement places its arguments, and does not look at them")

    def __str__(self) -> str:
        raise TypeError("a statement places its arguments, and makes no text of them")

    def __format__(self, how: str) -> str:
        return str(self)

    def __sql__(self, ctx: Any) -> Any:
        convert = self.convert or ctx.state.converter
        plain = _plain_type(getattr(convert, "__self__", None))
        return ctx.value(_Given(self.index, self.item, convert, plain), converter=False)


class _Default(peewee.Node):
    """Stands in an insertion for what a column's default makes."""

    def __init__(self, fresh: _Fresh) -> None:
        self.fresh = fresh

    def __sql__(self, ctx: Any) -> Any:
        return ctx.value(self.fresh, converter=False)


@dataclass(frozen=True)
class Plan:
    """What a statement is on one kind of database, for lists of certain lengths.

    `values` are constants, and what gives those that differ. `converters` are for the columns of
    the result that drivers do not give as peewee would. A `packed` result has one column, which is
    all of them in JSON.
    """

    sql: str
    values: tuple[Any, ...]
    writes: bool
    converters: tuple[tuple[int, Convert], ...]
    packed: bool

    def bind(self, arguments: Sequence[Any]) -> list[Any]:
        return [
            value.value(arguments) if isinstance(value, (_Given, _Fresh)) else value
            for value in self.values
        ]

    def result(self, cursor: Any) -> Any:
        """What whoever calls the statement is given."""
        if not self.writes:
            found = cursor.fetchall()
            if self.packed:
                found = [tuple(_from_json(row)) for (row,) in found]
            return [*(self._converted(found) if self.converters else found)]
        return cursor.lastrowid if self.sql.startswith(("INSERT", "REPLACE")) else cursor.rowcount

    def _converted(self, found: Iterable[Row]) -> Iterator[Row]:
        for row in found:
            values = [*row]
            for index, convert in self.converters:
                values[index] = convert(values[index])
            yield tuple(values)


def compile_query(
    build: Callable[..., Any], arguments: Sequence[Any], packed: bool = False
) -> Plan:
    """What `build` makes of stand-ins for `arguments`, of which only the lists are looked at, for
    their lengths; on the database that peewee's models are bound to."""
    query: Any = build(
        *(
            [_Argument(index, item) for item in range(len(value))]
            if isinstance(value, LISTS)
            else _Argument(index)
            for index, value in enumerate(arguments)
        )
    )
    if not hasattr(query, "sql"):
        raise TypeError(f"{build.__qualname__} gives no query of peewee's: {type(query).__name__}")
    if isinstance(query, peewee.Insert):
        _prepare_insertion(query)
    elif isinstance(query, peewee.Update):
        changes: Any = query
        _tell_columns(changes._update, query.table)
    writes = not isinstance(query, peewee.SelectBase)
    columns: Sequence[Any] = () if writes else query._returning
    packed = packed and all(map(_is_same_in_json, columns))
    if packed:
        query = query.select(peewee.fn.JSON_ARRAY(*columns))
    sql, values = query.sql()
    converters = [(index, _converter(column)) for index, column in enumerate(columns)]
    return Plan(
        sql,
        tuple(values),
        writes,
        tuple((index, convert) for index, convert in converters if convert),
        packed,
    )


def _prepare_insertion(query: Any) -> None:
    """Say of each value in an insertion which column it is for, and of each that is missing and is
    to be made anew each time how it is made."""
    conflict = query._on_conflict
    if conflict is not None and isinstance(conflict._update, MutableMapping):
        _tell_columns(conflict._update, query.table)
    if isinstance(query._insert, (peewee.SelectBase, peewee.SQL)):
        return  # It inserts what another query selects.
    rows: Any = query._insert
    if isinstance(rows, Mapping):
        rows = [rows]
    else:
        rows = query._insert = [
            row if isinstance(row, Mapping) else dict(zip(query._columns, row, strict=True))
            for row in rows
        ]
    for row in rows:
        _tell_columns(row, query.table)
        for field, default in query.get_default_data().items():
            if callable(default) and field not in row and field.name not in row:
                row[field] = _Default(_Fresh(default, field.db_value))


def _tell_columns(values: MutableMapping[Any, Any], table: Any) -> None:
    for key, value in values.items():
        if isinstance(value, _Argument):
            column = getattr(table, key) if isinstance(key, str) else key
            values[key] = _Argument(value.index, value.item, column.db_value)


def _is_same_in_json(column: Any) -> bool:
    """Whether the values of a column come back from JSON as they are."""
    node = _unwrapped(column)
    return isinstance(node, peewee.BooleanField) or _plain_type(node) is not None


def _unwrapped(column: Any) -> Any:
    if isinstance(column, peewee.WrappedNode):
        return column.unwrap()  # type: ignore[no-untyped-call]
    return column


def _converter(column: Any) -> Convert | None:
    """What peewee would do with the values of a column that a query selects."""
    node = _unwrapped(column)
    called: Any = node if isinstance(node, peewee.Function) else None
    if called and called._coerce and called.arguments:
        node = node.arguments[0]
    if not isinstance(node, peewee.Field) or _plain_type(node):
        return None
    convert: Convert = node.python_value
    return convert


def _plain_type(field: Any) -> type | None:
    """The type of the values of `field`, if peewee leaves those as they are."""
    while isinstance(field, peewee.ForeignKeyField):
        field = field.rel_field
    kind: Any = type(field)
    for known, plain in _PLAIN:
        if isinstance(field, known) and all(
            getattr(kind, method) is getattr(known, method)
            for method in ("adapt", "db_value", "python_value")
        ):
            return plain
    return None
