"""Prepared statements: queries written in peewee's language, and made into SQL once.

    @statement
    def _names(user: int, kind: str) -> peewee.Select:
        return (
            Relationship.select(User.name)
            .join(User, on=(Relationship.other == User.id))
            .where((Relationship.user == user) & (Relationship.kind == kind))
        )

    _names(caller.id, Relationship.FRIEND)  # [("bob",), ("carol",)]
    _names.each([(1, Relationship.FRIEND), (2, Relationship.FRIEND)])  # both lists, by one query

peewee takes some hundred microseconds to turn such a query into SQL and its rows into objects; the
database itself needs ten. Therefore the function is called with a placeholder for each argument,
once for each kind of database, and the result is kept: the SQL, the places of the arguments, and
peewee's conversions of values in both directions.

A database takes most of its time for the statement, and little for what it finds: on MariaDB the
sixteen lists of sixteen callers, found by one query, cost a sixth of sixteen queries in one packet.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial, update_wrapper
from itertools import chain, islice
from operator import attrgetter, itemgetter, methodcaller
from threading import Lock
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar, cast, overload

import peewee

from bbs.storage import models
from bbs.storage.transaction_guard import Prepared, rising_table

Row = tuple[Any, ...]
Convert = Callable[[Any], Any]

P = ParamSpec("P")
T = TypeVar("T")
Q = TypeVar("Q", bound=peewee.SelectBase)

MOST_LENGTHS = 64  # Plans that a statement keeps, for lists of different lengths.

MOST_AT_ONCE = 256  # Tuples of arguments in one statement at most; SQLite allows it 500 parts.

_plans_lock = Lock()  # Held while a new plan is stored in place of the oldest.

_SETS = (set, frozenset)
_SEVERAL = (list, tuple, *_SETS)  # Types of arguments that stand for several values.


class Bound(NamedTuple):
    """A statement with its arguments, for `together`. Some take several statements of the database;
    `gather` makes one result of theirs."""

    parts: Sequence[Prepared]
    readers: Sequence[Callable[[Any], Any]]  # Read the result of each part from its cursor.
    gather: Callable[[list[Any]], Any] | None = None


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
        """Keys are the types of the arguments, and for lists the lengths too."""
        self._bulk_plans: dict[Any, _BulkInsertion | _BulkSelect | None] = {}

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        plan, values = self._bind(args, kwargs)
        cursor = models.database.obj.carry_out(plan.sql, values, plan.writes)
        return cast("T", plan.read(cursor))

    def compiled(self, *args: P.args, **kwargs: P.kwargs) -> tuple[str, Sequence[Any]]:
        """The SQL that a call would execute, and its values."""
        plan, values = self._bind(args, kwargs)
        return plan.sql, values

    def of(self, *args: P.args, **kwargs: P.kwargs) -> Bound:
        """Bind the statement to arguments, for `together`."""
        plan, values = self._bind(args, kwargs)
        return Bound(((plan.sql, values, plan.writes),), (plan.read,))

    def each(self, rows: Iterable[Sequence[Any]]) -> list[T]:
        """Execute the statement for each tuple of arguments, and return the result of each, as so
        many calls would: by one statement of the database, if there is one that does it."""
        rows = [*rows]
        if len(rows) == 1:
            return [self(*rows[0])]  # type: ignore[call-arg]
        return cast("list[T]", together(self.of_each(rows))[0]) if rows else []

    def of_each(self, rows: Sequence[Sequence[Any]]) -> Bound:
        """Bind the statement to several tuples of arguments, for `together`."""
        bulk = self._bulk_plan(rows) if len(rows) > 1 else None
        if bulk is not None:
            starts = range(0, len(rows), MOST_AT_ONCE)
            bound = [bulk.bind(rows[start : start + MOST_AT_ONCE]) for start in starts]
            if len(bound) == 1:
                return bound[0]
            return Bound(
                [part for each in bound for part in each.parts],
                [reader for each in bound for reader in each.readers],
                lambda found: [*chain.from_iterable(found)],
            )
        several = [self._bind(row, {}) for row in rows]
        parts = [(plan.sql, values, plan.writes) for plan, values in several]
        return Bound(parts, [plan.read for plan, _ in several], list)

    def many(self, each: Iterable[Sequence[Any]]) -> None:
        """Execute a change once for each tuple of arguments, if nobody needs the results."""
        rows = [*each]
        if len(rows) == 1 or any(isinstance(value, _SEVERAL) for value in (rows or [()])[0]):
            for row in rows:  # Lists may have different lengths in each row.
                self(*row)  # type: ignore[call-arg]
        elif rows:
            plan, _ = self._bind(rows[0], {})
            values = [self._bind(row, {})[1] for row in rows]
            models.database.obj.carry_out_many(plan.sql, values)

    def _bind(
        self, args: Sequence[Any], named: Mapping[str, Any]
    ) -> tuple[CompiledStatement, Sequence[Any]]:
        """Find the plan for these arguments, and the values for its SQL."""
        if named or len(args) != self._length:
            bound = self._signature.bind(*args, **named)
            bound.apply_defaults()
            args = [*bound.arguments.values()]
        key: Any = (type(models.database.obj), *map(type, args))
        plan = self._plans.get(key)
        if plan is None:
            plan, args = self._find_plan(key, args)
        return plan, plan.bind(args)

    def _find_plan(self, key: Any, args: Sequence[Any]) -> tuple[CompiledStatement, Sequence[Any]]:
        """Find or make the plan for arguments of which some may be lists, and flatten these."""
        if any(isinstance(value, _SEVERAL) for value in args):
            lengths = [len(value) if isinstance(value, _SEVERAL) else None for value in args]
            flat: Sequence[Any] = [
                each
                for value in args
                for each in (value if isinstance(value, _SEVERAL) else (value,))
            ]
            key = (*key, *lengths, *map(type, flat))
            plan = self._plans.get(key)
        else:
            flat, plan = args, None
        if plan is None:
            packed = self._packed and models.database.obj.packs
            plan = _compile(self._build, args, flat, packed)
            self._keep(self._plans, key, plan)
        return plan, flat

    def _bulk_plan(self, rows: Sequence[Sequence[Any]]) -> _BulkInsertion | _BulkSelect | None:
        """Find or make the plan for several tuples of arguments at once; None if there is none."""
        if len(rows) < models.database.obj.fewest_in_bulk:
            return None
        kinds = {(*map(type, row),) for row in rows}
        if len(kinds) > 1:
            return None
        key = (type(models.database.obj), *kinds.pop())
        try:
            bulk = self._bulk_plans[key]
        except KeyError:
            packed = self._packed and models.database.obj.packs
            bulk = _compile_bulk(self._build, rows[0], packed)
            self._keep(self._bulk_plans, key, bulk)
        return bulk

    @staticmethod
    def _keep(plans: dict[Any, Any], key: Any, plan: Any) -> None:
        # Two threads may compile the same at once: their plans are equal.
        with _plans_lock:
            while len(plans) >= MOST_LENGTHS:
                plans.pop(next(iter(plans)))
            plans[key] = plan


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
    parts = [part for bound in statements for part in bound.parts]
    readers = [reader for bound in statements for reader in bound.readers]
    results = iter(models.database.obj.carry_out_together(parts, readers))
    return [
        next(results)
        if bound.gather is None
        else bound.gather([*islice(results, len(bound.parts))])
        for bound in statements
    ]


def by_index(query: Q, *fields: peewee.Field) -> Q:
    """Make `query`, which selects from one table, find its rows by the index of these `fields`.

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
    """The argument at `position`. `convert` is for values not of type `plain`."""

    position: int
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

    position: int
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
        return self._write(_Parameter(self.position, convert, plain), ctx)

    def _write(self, parameter: _Parameter, ctx: Any) -> Any:
        return ctx.value(parameter, converter=False)


@dataclass(eq=False, repr=False)
class _Default(peewee.Node):
    """A placeholder for a value that a column's default makes."""

    fresh: _Fresh

    def __sql__(self, ctx: Any) -> Any:
        return ctx.value(self.fresh, converter=False)


Binder = Callable[[Sequence[Any]], Sequence[Any]]
"""Makes the values of a statement from its arguments."""


class _Binder:
    """Makes the values of a statement from its arguments, whose types are known: so it is decided
    once which of them peewee converts.

    :param values: constants, and placeholders where an argument or a default belongs.
    :param kinds: the types of the arguments.
    :ivar pick: takes the values from the arguments, with the constants behind them.
    :ivar picks_only: there are no constants, and nothing is converted: `pick` does it all.
    """

    def __init__(self, values: Sequence[Any], kinds: Sequence[type]) -> None:
        self._constants = tuple(
            None if isinstance(value, (_Parameter, _Fresh)) else value for value in values
        )
        self._converted: list[tuple[int, Convert]] = []
        self._fresh: list[tuple[int, _Fresh]] = []
        places = []
        for place, value in enumerate(values):
            places.append(len(kinds) + place)
            if isinstance(value, _Parameter):
                places[-1] = value.position
                if value.convert is not None and kinds[value.position] is not value.plain:
                    self._converted.append((place, value.convert))
            elif isinstance(value, _Fresh):
                self._fresh.append((place, value))
        self.pick: Binder
        if len(places) > 1:
            self.pick = itemgetter(*places)
        else:  # An `itemgetter` of one place would give the value alone.
            self.pick = itemgetter(slice(places[0], places[0] + 1) if places else slice(0))
        has_constants = any(place >= len(kinds) for place in places)
        self.picks_only = not (has_constants or self._converted or self._fresh)

    def __call__(self, arguments: Sequence[Any]) -> Sequence[Any]:
        """Fill in `arguments`, which are of the same types as ever."""
        values: Any = self.pick((*arguments, *self._constants))
        if self._converted or self._fresh:
            values = [*values]
            for place, convert in self._converted:
                values[place] = convert(values[place])
            for place, (make, convert) in self._fresh:
                values[place] = convert(make())
        return values  # type: ignore[no-any-return]


class CompiledStatement:
    """The plan of a statement on one kind of database, for arguments of certain types. `bind` makes
    its values from the arguments, and `read` its result from the cursor."""

    def __init__(
        self, query: Any, sql: str, values: Sequence[Any], kinds: Sequence[type], packed: bool
    ) -> None:
        self.sql = sql
        self.writes = not isinstance(query, peewee.SelectBase)
        binder = _Binder(values, kinds)
        self.bind: Binder = binder.pick if binder.picks_only else binder
        self.read: Callable[[Any], Any] = attrgetter("rowcount")
        if not self.writes:
            self.read = _row_reader(query._returning, packed)
        elif sql.startswith(("INSERT", "REPLACE")):
            self.read = attrgetter("lastrowid")
            table = rising_table(query) if isinstance(query, peewee.Insert) else None
            if table is not None:
                self.read = partial(_read_id, table)


def _read_id(table: str, cursor: Any) -> int:
    """Read the id that `table` gave to a new row from the cursor."""
    id: int = cursor.lastrowid
    models.database.obj.note_id(table, id)
    return id


def _read_ids(table: str, read: Callable[[Any], list[int]], cursor: Any) -> list[int]:
    """Read the ids that `table` gave to several rows by `read`."""
    ids = read(cursor)
    models.database.obj.note_id(table, min(ids))
    models.database.obj.note_id(table, max(ids))
    return ids


def _row_reader(columns: Sequence[Any], packed: bool) -> Callable[[Any], list[Row]]:
    reader = _RowReader(columns, packed)
    # SQLite's driver makes what a reader of plain columns would: a list of tuples.
    is_made = isinstance(models.database.obj, peewee.SqliteDatabase) and reader.is_plain
    return methodcaller("fetchall") if is_made else reader


class _RowReader:
    """Reads the rows that a query has found, with peewee's conversions."""

    def __init__(self, columns: Sequence[Any], packed: bool) -> None:
        self._packed = packed  # The result is one column, with all of them in JSON.
        converters = [(index, _converter(column)) for index, column in enumerate(columns)]
        self._converters = [(index, convert) for index, convert in converters if convert]
        self.is_plain = not (packed or self._converters)

    def __call__(self, cursor: Any) -> list[Row]:
        rows = cursor.fetchall()
        if self._packed:
            rows = [_from_json(row) for (row,) in rows]
        elif self._converters:
            rows = [[*row] for row in rows]
        else:
            return [*rows]
        for index, convert in self._converters:
            for row in rows:
                row[index] = convert(row[index])
        return [*map(tuple, rows)]


def _compile(
    build: Callable[..., Any], args: Sequence[Any], flat: Sequence[Any], packed: bool
) -> CompiledStatement:
    """Compile the query that `build` makes of placeholders, on the database that peewee's models
    are bound to. Of `args` only the lengths of lists matter; of `flat`, where the elements of lists
    are arguments of their own, the types."""
    positions = iter(range(len(flat)))
    query: Any = _build(
        build,
        [
            [_Argument(next(positions)) for _ in value]
            if isinstance(value, _SEVERAL)
            else _Argument(next(positions))
            for value in args
        ],
    )
    if isinstance(query, peewee.Insert):
        _prepare_insertion(query)
    elif isinstance(query, peewee.Update):
        changes: Any = query
        _set_columns(changes._update, query.table)
    selected: Any = query
    packed = packed and isinstance(query, peewee.SelectBase) and _is_packable(selected._returning)
    compiled = selected.select(peewee.fn.JSON_ARRAY(*query._returning)) if packed else query
    sql, values = compiled.sql()
    return CompiledStatement(query, sql, values, [*map(type, flat)], packed)


def _build(build: Callable[..., Any], placeholders: Sequence[Any]) -> Any:
    query = build(*placeholders)
    if not hasattr(query, "sql"):
        kind = type(query).__name__
        raise TypeError(f"{build.__qualname__} must return a query of peewee, not {kind}")
    return query


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
            values[key] = _Argument(value.position, column.db_value)


def _is_packable(columns: Sequence[Any]) -> bool:
    """Whether the values of all columns are unchanged after JSON."""
    nodes = map(_unwrapped, columns)
    return all(isinstance(node, peewee.BooleanField) or _plain_type(node) for node in nodes)


def _unwrapped(column: Any) -> Any:
    if isinstance(column, peewee.WrappedNode):
        return _unwrapped(column.unwrap())  # type: ignore[no-untyped-call]
    if isinstance(column, peewee.FieldAlias):  # A column of a table that has another name.
        return column.field
    return column


def _converter(column: Any) -> Convert | None:
    """Return peewee's conversion for a column that a query selects."""
    node = _unwrapped(column)
    called: Any = node if isinstance(node, peewee.Function) else None
    if called and called._python_value:
        return cast("Convert", called._python_value)
    if called and called._coerce and called.arguments:
        node = _unwrapped(node.arguments[0])
    if not isinstance(node, peewee.Field) or _plain_type(node):
        return None
    convert: Convert = node.python_value
    return convert


def _plain_type(field: Any) -> type | None:
    """Return the type of the values of `field`, if peewee does not convert these."""
    field = _unwrapped(field)
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


def _compile_bulk(
    build: Callable[..., Any], row: Sequence[Any], packed: bool
) -> _BulkInsertion | _BulkSelect | None:
    """Compile the query that `build` makes for several tuples of arguments of the types of `row`;
    None if these have to be executed one by one."""
    if any(isinstance(value, _SEVERAL) for value in row):
        return None
    database = models.database.obj
    asked = _AskedColumns()
    query = _build(build, [_AskedArgument(position, asked) for position in range(len(row))])
    made: Any = query
    if isinstance(query, peewee.Insert) and database.inserts_in_bulk:
        plan = _compile(build, row, row, False)
        head, _, values = plan.sql.rpartition(" VALUES ")
        key = made.table._meta.primary_key
        is_plain = made._on_conflict is None and head and isinstance(key, peewee.AutoField)
        if is_plain and _makes_one_key(made, key):
            return _BulkInsertion(head, values, plan.bind, key.column_name, rising_table(made))
    if isinstance(query, peewee.Select) and _is_joinable(query):
        kinds = [*map(type, row)]
        with suppress(_NoColumnHere):
            return _BulkSelect(query, asked, kinds, packed and _is_packable(made._returning))
    return None


def _makes_one_key(query: Any, key: peewee.Field) -> bool:
    """Whether an insertion is of one row, whose `key` the database makes."""
    rows = [query._insert] if isinstance(query._insert, Mapping) else [*query._insert]
    columns = rows[0] if isinstance(rows[0], Mapping) else query._columns
    names = [getattr(column, "name", column) for column in columns]
    return len(rows) == 1 and key.name not in names


def _is_joinable(query: Any) -> bool:
    """Whether a query that is joined to another table finds the same rows for each row of that: it
    must not count, cut or lock what it finds."""
    limits = (query._limit, query._offset, query._group_by, query._having, query._windows)
    others = (query._distinct, query._simple_distinct, query._for_update, query._cte_list)
    plain = (peewee.Field, peewee.Select)
    return (
        not any(each is not None and each is not False for each in (*limits, *others))
        and len(query._from_list) == 1
        and _keeps_first(query._from_list[0])
        and all(isinstance(_unwrapped(column), plain) for column in query._returning)
    )


def _keeps_first(source: Any) -> bool:
    """Whether each row of a join has one of its first table, which right joins do not promise."""
    if not isinstance(source, peewee.Join):
        return True
    sides: Any = source
    kept = (peewee.JOIN.INNER, peewee.JOIN.LEFT_OUTER, peewee.JOIN.CROSS)
    return sides.join_type in kept and _keeps_first(sides.lhs) and _keeps_first(sides.rhs)


@dataclass(frozen=True)
class _BulkInsertion:
    """Inserts several rows by one statement: `head` and for each row `values`. `key` is the name of
    the column that the database fills, and `table` that of the table if its ids rise."""

    head: str
    values: str
    bind_row: Binder
    key: str
    table: str | None

    def bind(self, rows: Sequence[Sequence[Any]]) -> Bound:
        sql = f"{self.head} VALUES {', '.join([self.values] * len(rows))}"
        values = [*chain.from_iterable(map(self.bind_row, rows))]
        database: Any = models.database.obj
        sql, read = database.returning_keys(sql, self.key, len(rows))
        if self.table is not None:
            read = partial(_read_ids, self.table, read)
        return Bound(((sql, values, True),), (read,))


class _AskedColumns(peewee.Node):
    """The table `asked` in a query: a number and the arguments of each of several calls. Its
    columns are those that the query uses, each converted in one way."""

    def __init__(self) -> None:
        self.parameters: list[_Parameter] = []

    def column(self, parameter: _Parameter) -> str:
        if parameter not in self.parameters:
            self.parameters.append(parameter)
        return f"asked.a{self.parameters.index(parameter)}"

    def __sql__(self, ctx: Any) -> Any:
        return ctx.literal(_ASKED).value(_ASKED, converter=False)


_ASKED = "/* asked */"  # In the place of the table's rows, whose number is not known yet.


class _AskedArgument(_Argument):
    """A placeholder for an argument which differs from call to call."""

    def __init__(self, position: int, asked: _AskedColumns) -> None:
        super().__init__(position)
        self.asked = asked

    def _write(self, parameter: _Parameter, ctx: Any) -> Any:
        if ctx._sql[-1] in _NUMBERS or _is_in_derived_table(ctx):
            raise _NoColumnHere()
        return ctx.literal(self.asked.column(parameter))


_NUMBERS = (" LIMIT ", " OFFSET ")  # A value follows, and no column.


class _NoColumnHere(Exception):
    """An argument is where a query cannot have a column of another table."""


def _is_in_derived_table(ctx: Any) -> bool:
    """Whether peewee is writing a subquery that is one of the tables of a join: such a subquery
    sees no other table of the join. A subquery in the condition of a join passes for one, too."""
    sources = [each for each in ctx.stack if each.scope == peewee.SCOPE_SOURCE]
    is_table = any(not each.in_projection for each in sources)
    return is_table and ctx.scope != peewee.SCOPE_SOURCE


class _BulkSelect:
    """Finds the rows for several tuples of arguments by one query: the tuples are a table of its
    own, to which the query's first table is joined. Each row comes with the number of its tuple."""

    def __init__(
        self, query: Any, asked: _AskedColumns, kinds: Sequence[type], packed: bool
    ) -> None:
        database: Any = models.database.obj
        query._from_list = [_join_to(asked, query._from_list[0], database.ordered_join)]
        columns = [peewee.SQL("asked.n"), *query._returning]
        self._read = _RowReader(columns, packed)
        sql, values = query.select(*([peewee.fn.JSON_ARRAY(*columns)] if packed else columns)).sql()
        self._mark = database.param
        self._head, self._tail = sql.split(_ASKED + self._mark)
        place = values.index(_ASKED)
        self._before, self._after = values[:place], values[place + 1 :]
        self._bind_row = _Binder(asked.parameters, kinds)
        self._width = len(asked.parameters)
        self._sql: dict[int, str] = {}  # By the number of tuples.

    def bind(self, rows: Sequence[Sequence[Any]]) -> Bound:
        count = len(rows)
        sql = self._sql.get(count)
        if sql is None:
            sql = self._sql[count] = self._write(count)
        values = [*self._before, *chain.from_iterable(map(self._bind_row, rows)), *self._after]
        return Bound(((sql, values, False),), (partial(self._distribute, count),))

    def _write(self, count: int) -> str:
        names = [f", {self._mark} AS a{number}" for number in range(self._width)]
        first = f"SELECT 0 AS n{''.join(names)}"
        others = [f"SELECT {number}{f', {self._mark}' * self._width}" for number in range(1, count)]
        return f"{self._head}({' UNION ALL '.join([first, *others])}) AS asked{self._tail}"

    def _distribute(self, count: int, cursor: Any) -> list[list[Row]]:
        found: list[list[Row]] = [[] for _ in range(count)]
        for row in self._read(cursor):
            found[row[0]].append(row[1:])
        return found


def _join_to(asked: _AskedColumns, source: Any, kind: str) -> peewee.Join:
    """Put `asked` before the first table of `source`; the others stay joined as they are."""
    if isinstance(source, peewee.Join):
        joined: Any = source
        first = _join_to(asked, joined.lhs, kind)
        return peewee.Join(first, joined.rhs, joined.join_type, joined._on)
    return peewee.Join(asked, source, kind)
