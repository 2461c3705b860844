"""Checks of what a service declares, made when one of its servers starts, and by any test with a
`MemoryService`: mistakes that would otherwise be silent, or be found by people.

Each is one line that names the mistake and what would be right.
"""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.metadata import entry_points
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import peewee

from bbs.commands.extensions import rules_of
from bbs.commands.service import Service, ServiceUnusable
from bbs.config.sections import PROVIDERS
from bbs.protocols.commands import Command, CommandTable
from bbs.rules.auth import Question, asked_by
from bbs.rules.pagination import part_of
from bbs.storage.database import BulkRule
from bbs.storage.models import MODELS, Table, User, database
from bbs.storage.statements import Statement

RESERVED = ("talk", "use", "end", "exit")
"""Words that people at a terminal type for the client's own commands."""

_ANY = object()


def check_declaration(service: Service, table: CommandTable) -> None:
    """Check the commands, tables and entry points of a service.

    :raises ServiceUnusable: one is wrong.
    """
    for mistake in _mistakes(service, table):
        raise ServiceUnusable(f"the service {service.name}: {mistake}")


def _mistakes(service: Service, table: CommandTable) -> Iterator[str]:
    for command in table:
        if command.name in RESERVED:
            yield (
                f"{command.usage}: at a terminal {command.name} is the client's own command: choose"
                " another name"
            )
        yield from _misfits(command)
    yield from _undeclared(service, table)
    yield from _mistyped_groups(service.name)


# Functions


def _misfits(command: Command) -> Iterator[str]:
    """How the functions of a command do not fit its usage text."""
    counts = range(command.minimum, command.maximum + 1)
    rule, handler = command.rule, command.handler
    if rule is not None:
        before = ["the caller", "the page"] if part_of(rule) else ["the caller"]
        for count in counts:
            if not _takes(rule, len(before) + count):
                yield (
                    f"{command.usage}: the rule {_shown(rule)} does not take"
                    f" {' and '.join(before)}{_and_arguments(count)}"
                )
    if handler is None:
        return
    is_plain = inspect.isfunction(handler) or inspect.ismethod(handler)
    if is_plain and not _is_asynchronous(handler):
        yield f"{command.usage}: the handler {_shown(handler)} must be a coroutine function"
    elif rule is not None and not _takes(handler, 2):
        yield f"{command.usage}: the handler {_shown(handler)} does not take the ask and a result"
    for count in counts if rule is None else ():
        if not _takes(handler, 1 + count):
            yield (
                f"{command.usage}: the handler {_shown(handler)} does not take"
                f" the ask{_and_arguments(count)}"
            )


def _is_asynchronous(handler: Callable[..., object]) -> bool:
    # A decorator such as inlineCallbacks makes a plain function, which says what it wraps.
    return inspect.iscoroutinefunction(handler) or hasattr(handler, "__wrapped__")


def _takes(function: Callable[..., object], count: int) -> bool:
    try:
        _signature(function).bind(*[_ANY] * count)
    except TypeError:
        return False
    except ValueError:  # It has no signature that Python could tell.
        return True
    return True


def _signature(function: Any) -> inspect.Signature:
    """The signature of what is called. A wrapper of the framework's takes what it wraps does; one
    of the service's may add arguments or take some away."""
    while hasattr(function, "__wrapped__") and _is_ours(function):
        function = function.__wrapped__
    return inspect.signature(function, follow_wrapped=False)


def _is_ours(function: Any) -> bool:
    where = getattr(function, "__globals__", {}).get("__name__") or type(function).__module__
    return str(where).startswith("bbs.")


def _shown(function: Callable[..., object]) -> str:
    name = getattr(function, "__qualname__", repr(function))
    return f"{name}({', '.join(_signature(function).parameters)})"


def _and_arguments(count: int) -> str:
    return f" and {count} argument{'s' * (count != 1)}" if count else " alone"


# Tables


def _undeclared(service: Service, table: CommandTable) -> Iterator[str]:
    """Tables that rules use, and nobody declares: they would be missing in the database."""
    declared = {model._meta.table_name for model in (*MODELS, *service.schema.all_models)}
    for model in _used(_functions(service, table)):
        name = model._meta.table_name
        if name not in declared:
            where = f"{model.__module__}.{model.__qualname__}"
            yield f"the table {name} ({where}) is used by a rule, but is not in models"


def _functions(service: Service, table: CommandTable) -> Iterator[object]:
    """The rules and handlers that a service declares."""
    for command in table:
        yield from (command.rule, command.handler)
    for part in service.parts:
        yield from rules_of(part)
        yield from (every.handler for every in part.every)
    yield from (service.seed, *service.daemons)
    if feed := service.feed:
        yield from (feed.open, feed.fetch, feed.note, feed.expire, feed.channels)
    if broadcast := service.broadcast:
        yield from (broadcast.current, broadcast.fetch)


def _used(functions: Iterable[object]) -> Iterator[Any]:
    """The tables that the code of these functions names, and the code that it calls by name."""
    seen: set[int] = set()
    waiting = [*functions]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        # One with subclasses may be their base alone.
        if isinstance(thing, type) and issubclass(thing, Table) and not thing.__subclasses__():
            yield thing
        for function in functions_of(thing):
            if function.__globals__.get("__name__", "").startswith("bbs."):
                continue
            names = names_in(function.__code__)
            for name in names & {*function.__globals__}:
                found = function.__globals__[name]
                waiting.append(found)
                if isinstance(found, ModuleType):
                    waiting += [vars(found)[each] for each in names & {*vars(found)}]


def functions_of(thing: Any) -> Iterator[FunctionType]:
    """The plain functions that a rule, a handler or a query was made of."""
    if isinstance(thing, Question):
        thing = thing.extend
    elif isinstance(thing, Statement | BulkRule):
        thing = thing.__wrapped__  # type: ignore[union-attr]
    elif isinstance(thing, MethodType):
        thing = thing.__func__
    while isinstance(thing, FunctionType):
        yield thing
        thing = vars(thing).get("__wrapped__")


def function_of(thing: Any) -> FunctionType | None:
    """The innermost of `functions_of`; None if there is none."""
    return next(iter([*functions_of(thing)][-1:]), None)


def names_in(code: CodeType) -> set[str]:
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    return {*code.co_names}.union(*map(names_in, inner))


def check_questions(service: Service, table: CommandTable) -> None:
    """Check that every question of a rule finds its rows by an index: each command that asks it
    would read a whole table otherwise. A rule, for a transaction on a database with the tables.

    :raises ServiceUnusable: one reads a whole table of the service's.
    """
    own = {model._meta.table_name for model in service.schema.all_models}
    asked = {question for command in table if (question := asked_by(command.rule))}
    for question in sorted(asked, key=lambda each: each.name):
        for name in scanned(question):
            if name in own:
                raise ServiceUnusable(
                    f"the service {service.name}: the question {question.name} reads the whole"
                    f" table {name}: its model needs an index for the columns that it is found by"
                )


def scanned(question: Question[Any]) -> Sequence[str]:
    """The tables that a question reads from beginning to end, as no index helps."""
    connected: Any = database.obj
    # Of every user: MySQL has no plan for one who does not exist.
    asked = question.extend(User.select(User.id), *[""] * question.length)
    sql, values = asked.sql()
    is_sqlite = isinstance(connected, peewee.SqliteDatabase)
    explain = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN"
    rows = connected.execute_sql(f"{explain} {sql}", values).fetchall()
    if is_sqlite:
        # A subquery may look for the first rows in the table's own order.
        within = {row[0] for row in rows if "SCALAR SUBQUERY" in row[3]}
        found = read_whole(sql, [row[3] for row in rows if row[1] not in within])
    else:
        # MySQL may read a small table as a whole though it has an index.
        found = _tables(sql, [row[2] for row in rows if row[3] == "ALL" and row[4] is None])
    return [name for name in found if name != User._meta.table_name]


def read_whole(sql: str, plan: Sequence[str]) -> Sequence[str]:
    """The tables that a statement reads from beginning to end, by SQLite's plan of it. One that
    only looks for the first rows in the table's own order does not count."""
    if _LIMITED.search(sql) and " WHERE " not in sql and not any("TEMP" in each for each in plan):
        return ()
    return _tables(sql, [match[1] or match[2] for each in plan if (match := _SCAN.match(each))])


def _tables(sql: str, aliases: Iterable[str]) -> Sequence[str]:
    tables = {alias: name for name, alias in _ALIAS.findall(sql)}
    return [tables.get(each, each) for each in aliases]


_ALIAS = re.compile(r'["`](\w+)["`] AS ["`](\w+)["`]')
_LIMITED = re.compile(r"\bLIMIT\b")
_SCAN = re.compile(r"SCAN (\w+)\b(?! USING (?:COVERING )?INDEX)|SEARCH (\w+) USING AUTOMATIC")


# Entry points


def _mistyped_groups(name: str) -> Iterator[str]:
    """Entry-point groups of installed packages that nothing reads, but look like one that is."""
    known = {f"{name}.commands", f"{name}.extensions", PROVIDERS}
    for group in _groups(tuple(sys.path)):
        begins = group.startswith((f"{name}.", "bbs."))
        close = difflib.get_close_matches(group, known, 1, 0.85) if begins else ()
        # The board is installed beside every service, and may have plugins of its own.
        if close and group not in known | {"bbs.commands", "bbs.extensions"}:
            point = next(iter(entry_points(group=group)))
            package = point.dist.name if point.dist else "a package"
            yield (
                f"the package {package} has entry points in {group}, which nothing reads: did"
                f" you mean {close[0]}?"
            )


@lru_cache(maxsize=1)
def _groups(path: tuple[str, ...]) -> Collection[str]:
    """Every entry-point group. To ask for the distributions too takes 40 ms, for which people would
    wait while a server starts."""
    return frozenset(entry_points().groups)
