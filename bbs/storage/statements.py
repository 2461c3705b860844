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
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

import peewee

from bbs.storage import models
from bbs.storage.compiling import LISTS, Plan, Row, compile_query

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

    plan: Plan
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
        self._plans: dict[Any, Plan] = {}

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

    def _plan(self, database: Any, arguments: Sequence[Any]) -> Plan:
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
