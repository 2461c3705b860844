"""Queries that are written once in peewee's language, and made into SQL once.

    @statement
    def _names(user: int, kind: str) -> peewee.Select:
        return (
            Relationship.select(User.name)
            .join(User, on=(Relationship.other == User.id))
            .where((Relationship.user == user) & (Relationship.kind == kind))
        )

    _names(caller.id, Relationship.FRIEND)  # [("bob",), ("carol",)]

peewee takes some hundred microseconds to make SQL of such a query and objects of its rows, of which
the database itself needs ten. So the function is called with a stand-in for each argument, once for
each kind of database, and what comes of it is kept.

How a query with stand-ins for its arguments becomes SQL, and what peewee does with values on
their way in and out.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

import peewee

from bbs.storage import models

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
class _Parameter:
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
        return ctx.value(_Parameter(self.index, self.item, convert, plain), converter=False)


class _Default(peewee.Node):
    """Stands in an insertion for what a column's default makes."""

    def __init__(self, fresh: _Fresh) -> None:
        self.fresh = fresh

    def __sql__(self, ctx: Any) -> Any:
        return ctx.value(self.fresh, converter=False)


@dataclass(frozen=True)
class CompiledStatement:
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
            value.value(arguments) if isinstance(value, (_Parameter, _Fresh)) else value
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
) -> CompiledStatement:
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
    return CompiledStatement(
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


P = ParamSpec("P")
T = TypeVar("T")
Q = TypeVar("Q", bound=peewee.SelectBase)

MOST_LENGTHS = 64
"""For how many lengths of its lists a statement is kept; with one more the oldest goes."""

_keeping = Lock()
"""Held for a moment when a plan is kept, and another goes for it."""

_SETS = (set, frozenset)


@dataclass(frozen=True)
class Bound:
    """A statement with its arguments, to be carried out: see `together`."""

    plan: CompiledStatement
    values: Sequence[Any]


class Statement(Generic[P, T]):
    """A query whose arguments are left open; `statement` makes one.

    Called with them it is carried out in the transaction of whoever calls. A query that selects
    gives its rows, as tuples; an insertion the new key; any other change the number of rows that it
    changed. A list among the arguments is one for `in_`; None is equal to nothing, as in SQL.
    """

    def __init__(
        self,
        build: Callable[P, Any],
        signature: inspect.Signature | None = None,
        packed: bool = False,
    ) -> None:
        self.__doc__ = build.__doc__
        self.__name__ = build.__name__
        self.__qualname__ = build.__qualname__
        self.__module__ = build.__module__
        self.__wrapped__ = build
        self._build = build
        self._signature = signature or inspect.signature(build)
        self._length = len(self._signature.parameters)
        self._packed = packed
        self._plans: dict[Any, CompiledStatement] = {}

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        database: Any = models.database.obj
        arguments = self._arguments(args, kwargs)
        plan = self._plan(database, arguments)
        cursor = database.carry_out(plan.sql, plan.bind(arguments), plan.writes)
        return cast("T", plan.result(cursor))

    def of(self, *args: P.args, **kwargs: P.kwargs) -> Bound:
        """This statement with these arguments, for `together`."""
        arguments = self._arguments(args, kwargs)
        plan = self._plan(models.database.obj, arguments)
        return Bound(plan, plan.bind(arguments))

    def many(self, each: Iterable[Sequence[Any]]) -> None:
        """Carry out a change once for each of these tuples of arguments."""
        rows = [*each]
        if rows and any(isinstance(value, (*LISTS, *_SETS)) for value in rows[0]):
            for row in rows:  # The lists of another may be of other lengths.
                self(*row)  # type: ignore[call-arg]
        elif rows:
            database: Any = models.database.obj
            plan = self._plan(database, rows[0])
            if len(rows) == 1:
                database.carry_out(plan.sql, plan.bind(rows[0]), True)
            else:
                database.carry_out_many(plan.sql, [plan.bind(row) for row in rows])

    def _arguments(self, args: Sequence[Any], named: Mapping[str, Any]) -> Sequence[Any]:
        if named or len(args) != self._length:
            bound = self._signature.bind(*args, **named)
            bound.apply_defaults()
            args = [*bound.arguments.values()]
        for value in args:
            if isinstance(value, _SETS):
                return [[*each] if isinstance(each, _SETS) else each for each in args]
        return args

    def _plan(self, database: Any, arguments: Sequence[Any]) -> CompiledStatement:
        key: Any = type(database)
        for index, value in enumerate(arguments):
            if isinstance(value, LISTS):
                key = (key, index, len(value))
        plan = self._plans.get(key)
        if plan is None:
            # Two threads may both come here at first: they come to the same.
            plan = compile_query(self._build, arguments, self._packed and database.packs)
            with _keeping:
                while len(self._plans) >= MOST_LENGTHS:
                    self._plans.pop(next(iter(self._plans)))
                self._plans[key] = plan
        return plan


@overload
def statement(build: Callable[P, peewee.SelectBase]) -> Statement[P, list[Row]]: ...
@overload
def statement(build: Callable[P, peewee._WriteQuery]) -> Statement[P, int]: ...
def statement(build: Callable[P, Any]) -> Statement[P, Any]:
    """Make a statement of `build`, which gives a peewee query for its arguments.

    It is called with stand-ins, so it may only place its arguments, never look at them.
    """
    return Statement(build)


def together(*statements: Bound) -> list[Any]:
    """Carry out statements one after the other, in one round trip where the database is far; gives
    the result of each. None of them knows what another found."""
    database: Any = models.database.obj
    plans = [each.plan for each in statements]
    results: list[Any] = database.carry_out_together(
        [
            (plan.sql, each.values, plan.writes)
            for plan, each in zip(plans, statements, strict=True)
        ],
        [plan.result for plan in plans],
    )
    return results


def by_index(query: Q, *fields: peewee.Field) -> Q:
    """Have `query`, which selects from one table, find its rows by the index of these columns.

    For the latest of few among many: where `ORDER BY id DESC LIMIT n` is asked for, MariaDB would
    rather read all of the table from its end until it has found as many, whatever is in it. SQLite
    takes the index without being told.

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
