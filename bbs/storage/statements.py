"""Prepared statements: queries written in peewee's language, and made into SQL once.

    @statement
    def _names(user: int, kind: str) -> peewee.Select:
        return (
            Relationship.select(User.name)
            .join(User, on=(Relationship.other == User.id))
            .where((Relationship.user == user) & (Relationship.kind == kind))
        )

    _names(caller.id, Relationship.FRIEND)  # [("bob",), ("carol",)]

peewee takes some hundred microseconds to turn such a query into SQL and its rows into objects; the
database itself needs ten. Therefore the function is called with a placeholder for each argument,
once for each kind of database, and the result is kept: the SQL, the places of the arguments, and
peewee's conversions of values in both directions.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from threading import Lock
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar, cast, overload

import peewee

from bbs.storage import models

Row = tuple[Any, ...]
Convert = Callable[[Any], Any]

P = ParamSpec("P")
T = TypeVar("T")
Q = TypeVar("Q", bound=peewee.SelectBase)

MOST_LENGTHS = 64  # Plans that a statement keeps, for lists of different lengths.

_plans_lock = Lock()  # Held while a new plan is stored in place of the oldest.

_SETS = (set, frozenset)
_SEVERAL = (list, tuple, *_SETS)  # Types of arguments that stand for several values.


@dataclass(frozen=True)
class Bound:
    """A statement with its arguments, for `together`."""

    plan: CompiledStatement
    values: Sequence[Any]


class Statement(Generic[P, T]):
    """A query with parameters; `statement` makes one. A call executes it in the caller's
    transaction. A query that selects returns its rows, as tuples; an insertion the new key; other
    changes the number of changed rows. A list argument is for `in_`; None is equal to nothing, as
    in SQL."""

    def __init__(
        self,
        build: Callable[P, Any],
        signature: inspect.Signature | None = None,
        packed: bool = False,
    ) -> None:
        update_wrapper(self, build)
        self._build = build
        self._signature = signature or inspect.signature(build)
        self._length = len(self._signature.parameters)
        self._packed = packed
        self._plans: dict[Any, CompiledStatement] = {}

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        plan, values = self._bind(args, kwargs)
        cursor = models.database.obj.carry_out(plan.sql, values, plan.writes)
        return cast("T", plan.result(cursor))

    def of(self, *args: P.args, **kwargs: P.kwargs) -> Bound:
        """Bind the statement to arguments, for `together`."""
        return Bound(*self._bind(args, kwargs))

    def many(self, each: Iterable[Sequence[Any]]) -> None:
        """Execute a change once for each tuple of arguments."""
        rows = [*each]
        if len(rows) == 1 or any(isinstance(value, _SEVERAL) for value in (rows or [()])[0]):
            for row in rows:  # Lists may have different lengths in each row.
                self(*row)  # type: ignore[call-arg]
        elif rows:
            plan, _ = self._bind(rows[0], {})
            models.database.obj.carry_out_many(plan.sql, [plan.bind(row) for row in rows])

    def _bind(
        self, args: Sequence[Any], named: Mapping[str, Any]
    ) -> tuple[CompiledStatement, list[Any]]:
        """Find the plan for these arguments, and the values for its SQL."""
        if named or len(args) != self._length:
            bound = self._signature.bind(*args, **named)
            bound.apply_defaults()
            args = [*bound.arguments.values()]
        key: Any = type(models.database.obj)
        for index, value in enumerate(args):
            if isinstance(value, _SEVERAL):
                if isinstance(value, _SETS):
                    args = [*args[:index], [*value], *args[index + 1 :]]
                key = (key, index, len(value))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._compile(key, args)
        return plan, plan.bind(args)

    def _compile(self, key: Any, args: Sequence[Any]) -> CompiledStatement:
        # Two threads may do this at once: their plans are equal.
        plan = compile_query(self._build, args, self._packed and models.database.obj.packs)
        with _plans_lock:
            while len(self._plans) >= MOST_LENGTHS:
                self._plans.pop(next(iter(self._plans)))
            self._plans[key] = plan
        return plan


@overload
def statement(build: Callable[P, peewee.SelectBase]) -> Statement[P, list[Row]]: ...
@overload
def statement(build: Callable[P, peewee._WriteQuery]) -> Statement[P, int]: ...
def statement(build: Callable[P, Any]) -> Statement[P, Any]:
    """Make a statement of `build`, which returns a peewee query for its arguments.

    `build` is called with placeholders, so it can only put its arguments into the query.
    """
    return Statement(build)


def together(*statements: Bound) -> list[Any]:
    """Execute statements one after the other, in one round trip to a MySQL; returns the result of
    each. No statement can use what another found."""
    results: list[Any] = models.database.obj.carry_out_together(
        [(each.plan.sql, each.values, each.plan.writes) for each in statements],
        [each.plan.result for each in statements],
    )
    return results


def by_index(query: Q, *fields: peewee.Field) -> Q:
    """Make `query`, which selects from one table, find its rows by the index of these columns.

    This is for the latest few rows of a large table: for `ORDER BY id DESC LIMIT n`, MariaDB would
    read the table from its end until it has found enough. SQLite uses the index by itself.

    :raises LookupError: the table has no such index.
    """
    model: Any = fields[0].model
    columns = [field.column_name for field in fields]
    for index in model._meta.fields_to_index():
        if [field.column_name for field in index._expressions] == columns:
            break
    else:
        raise LookupError(f"{model._meta.table_name} has no index of {columns}")
    if isinstance(models.database.obj, peewee.SqliteDatabase):
        return query
    forced: Any = peewee.NodeList((model, peewee.SQL(f"FORCE INDEX (`{index._name}`)")))
    selected: Any = query
    found: Q = selected.from_(forced)
    return found


_from_json = json.JSONDecoder().decode

_PLAIN: tuple[tuple[type[peewee.Field], type], ...] = (
    (peewee.IntegerField, int),
    (peewee.FloatField, float),
    (peewee.CharField, str),
    (peewee.TextField, str),
)
"""Types of columns, each with the type of values that neither peewee nor a driver converts."""


class _Parameter(NamedTuple):
    """The argument at `position`, or its `item`. `convert` is for values not of type `plain`."""

    position: int
    item: int | None
    convert: Convert | None
    plain: type | None


class _Fresh(NamedTuple):
    """A value that a column's default makes anew for each execution."""

    make: Callable[[], Any]
    convert: Convert


@dataclass(eq=False, repr=False)
class _Argument(peewee.Node):
    """A placeholder for an argument in a query. peewee knows the conversion of most values. Where
    it would ask the value itself, `convert` has the conversion."""

    index: int
    item: int | None = None
    convert: Convert | None = None

    def __bool__(self) -> bool:
        raise TypeError("a statement cannot test its arguments, only put them into the query")

    def __str__(self) -> str:
        raise TypeError("a statement cannot format its arguments, only put them into the query")

    def __format__(self, how: str) -> str:
        return str(self)

    def __sql__(self, ctx: Any) -> Any:
        convert = self.convert or ctx.state.converter
        plain = _plain_type(getattr(convert, "__self__", None))
        return ctx.value(_Parameter(self.index, self.item, convert, plain), converter=False)


@dataclass(eq=False, repr=False)
class _Default(peewee.Node):
    """A placeholder for a value that a column's default makes."""

    fresh: _Fresh

    def __sql__(self, ctx: Any) -> Any:
        return ctx.value(self.fresh, converter=False)


@dataclass(frozen=True)
class CompiledStatement:
    """The plan of a statement on one kind of database, for lists of certain lengths."""

    sql: str
    values: Sequence[Any]  # The constant ones; the others are put among them.
    given: Sequence[tuple[int, _Parameter]]  # Places of arguments.
    fresh: Sequence[tuple[int, _Fresh]]  # Places of defaults.
    writes: bool
    converters: Sequence[tuple[int, Convert]]  # For columns that peewee converts after the driver.
    packed: bool  # The result is one column, with all of them in JSON.

    def bind(self, arguments: Sequence[Any]) -> list[Any]:
        """Fill in `arguments`."""
        values = [*self.values]
        for place, (position, item, convert, plain) in self.given:
            value = arguments[position] if item is None else arguments[position][item]
            if convert is not None and type(value) is not plain:
                value = convert(value)
            values[place] = value
        for place, (make, convert) in self.fresh:
            values[place] = convert(make())
        return values

    def result(self, cursor: Any) -> Any:
        """Read the statement's result."""
        if self.writes:
            is_insertion = self.sql.startswith(("INSERT", "REPLACE"))
            return cursor.lastrowid if is_insertion else cursor.rowcount
        rows = cursor.fetchall()
        if self.packed:
            rows = [_from_json(row) for (row,) in rows]
        elif self.converters:
            rows = [[*row] for row in rows]
        for index, convert in self.converters:
            for row in rows:
                row[index] = convert(row[index])
        return [*map(tuple, rows)]


def compile_query(
    build: Callable[..., Any], arguments: Sequence[Any], packed: bool = False
) -> CompiledStatement:
    """Compile the query that `build` makes of placeholders, on the database that peewee's models
    are bound to. Only the lengths of lists matter in `arguments`."""
    query: Any = build(
        *(
            [_Argument(index, item) for item in range(len(value))]
            if isinstance(value, _SEVERAL)
            else _Argument(index)
            for index, value in enumerate(arguments)
        )
    )
    if not hasattr(query, "sql"):
        kind = type(query).__name__
        raise TypeError(f"{build.__qualname__} must return a query of peewee, not {kind}")
    if isinstance(query, peewee.Insert):
        _prepare_insertion(query)
    elif isinstance(query, peewee.Update):
        changes: Any = query
        _set_columns(changes._update, query.table)
    writes = not isinstance(query, peewee.SelectBase)
    columns: Sequence[Any] = () if writes else query._returning
    packed = packed and all(map(_is_same_in_json, columns))
    if packed:
        query = query.select(peewee.fn.JSON_ARRAY(*columns))
    sql, values = query.sql()
    converters = [(index, _converter(column)) for index, column in enumerate(columns)]
    return CompiledStatement(
        sql,
        values,
        [(place, value) for place, value in enumerate(values) if isinstance(value, _Parameter)],
        [(place, value) for place, value in enumerate(values) if isinstance(value, _Fresh)],
        writes,
        [(index, convert) for index, convert in converters if convert],
        packed,
    )


def _prepare_insertion(query: Any) -> None:
    """Set the column of each placeholder, and let missing defaults be made for each execution."""
    conflict = query._on_conflict
    if conflict is not None and isinstance(conflict._update, MutableMapping):
        _set_columns(conflict._update, query.table)
    if isinstance(query._insert, (peewee.SelectBase, peewee.SQL)):
        return  # The values come from another query.
    rows: Any = query._insert
    if isinstance(rows, Mapping):
        rows = [rows]
    else:
        rows = query._insert = [
            row if isinstance(row, Mapping) else dict(zip(query._columns, row, strict=True))
            for row in rows
        ]
    for row in rows:
        _set_columns(row, query.table)
        for field, default in query.get_default_data().items():
            if callable(default) and field not in row and field.name not in row:
                row[field] = _Default(_Fresh(default, field.db_value))


def _set_columns(values: MutableMapping[Any, Any], table: Any) -> None:
    for key, value in values.items():
        if isinstance(value, _Argument):
            column = getattr(table, key) if isinstance(key, str) else key
            values[key] = _Argument(value.index, value.item, column.db_value)


def _is_same_in_json(column: Any) -> bool:
    """Whether the values of a column are unchanged after JSON."""
    node = _unwrapped(column)
    return isinstance(node, peewee.BooleanField) or _plain_type(node) is not None


def _unwrapped(column: Any) -> Any:
    if isinstance(column, peewee.WrappedNode):
        return column.unwrap()  # type: ignore[no-untyped-call]
    return column


def _converter(column: Any) -> Convert | None:
    """Return peewee's conversion for a column that a query selects."""
    node = _unwrapped(column)
    called: Any = node if isinstance(node, peewee.Function) else None
    if called and called._coerce and called.arguments:
        node = node.arguments[0]
    if not isinstance(node, peewee.Field) or _plain_type(node):
        return None
    convert: Convert = node.python_value
    return convert


def _plain_type(field: Any) -> type | None:
    """Return the type of the values of `field`, if peewee does not convert these."""
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
