"""Extensions: what other packages add to a service, with tables and settings of their own.

The entry-point group `NAME.extensions` names the extensions of the service NAME. Servers, tests and
the command line work with `extended(service)`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from inspect import iscoroutinefunction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from bbs.core.plugins import Plugin, plugins
from bbs.core.values import Counter, is_for_threads
from bbs.protocols.commands import CommandTable
from bbs.protocols.events import Event
from bbs.protocols.presentation import is_reference
from bbs.rules.attendance import Hook
from bbs.rules.service_admin import OperatorAct, OperatorList
from bbs.rules.timers import Timed, declare_timer
from bbs.storage.models import JOB_NAME_LENGTH, MODELS, Table
from bbs.storage.schema import Schema, Step

if TYPE_CHECKING:
    from bbs.commands.context import Ask
    from bbs.commands.service import Service
    from bbs.rules.accounts import OnLogin
    from bbs.rules.user_admin import OfPerson

T = TypeVar("T")

_TIMER = re.compile("[a-zA-Z][a-zA-Z0-9_-]*")
_SUBCOMMAND = re.compile("[a-z][a-z-]*( [a-z][a-z-]*)?")

NAME = re.compile("[a-z][a-z0-9]{0,31}")
"""The form of the name of a service or an extension."""


@dataclass(frozen=True)
class Every:
    """A handler that runs every so many `seconds`, on one server of the fleet at a time.

    `handler` is a coroutine function. Its `Ask` belongs to no request: it has `database`, `now`,
    `settings`, `tell` and `count`, but no `user`. The last run is stored under `name`, by default
    that of the handler with its module. Runs never overlap. Runs that were missed, as
    nobody held the lease or one took too long, are not made up for.

    :raises ValueError: `seconds` is not above 0, or `handler` is not a coroutine function.
    """

    seconds: float
    handler: Callable[[Ask], Awaitable[object]]
    name: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.seconds, bool) or not isinstance(self.seconds, int | float):
            raise ValueError(f"every {self.seconds!r}: seconds are a number")
        if not 0 < self.seconds < float("inf"):
            raise ValueError(f"every {self.seconds}: seconds must be above 0")
        if not iscoroutinefunction(self.handler):
            raise ValueError(f"every {self.seconds:g} s: {self.handler!r} is not an async function")
        where = getattr(self.handler, "__module__", ""), getattr(self.handler, "__qualname__", "")
        name = self.name or ".".join(where)
        if not all(where) and not self.name:
            raise ValueError(f"every {self.seconds:g} s: {self.handler!r} needs a name=")
        object.__setattr__(self, "name", name[-JOB_NAME_LENGTH:])


@dataclass(frozen=True)
class Subcommand:
    """A command for operators, `NAME SUBCOMMAND`, that works on the database.

    :param help: a phrase that says what it does.
    :param run: called with a `bbs.operators.Operator` and the parsed options; does it, and prints.
    :param arguments: called with an `argparse.ArgumentParser`, to which it adds arguments; all
        subcommands have `--config`, `--data` and `--json`.
    """

    help: str
    run: Callable[[Any, Any], None]
    arguments: Callable[[Any], object] = lambda parser: None


@dataclass(frozen=True)
class Extension:
    """What a package adds to the service of another package.

    :param name: a word in lower case, which begins the names of its tables: a model `Vote` of the
        extension `poll` is stored in `poll_vote`. Its schema has a version under this name.
    :param commands: tables of its commands.
    :param models: its tables, in an order in which they can be made. Its tables may refer to those
        of the framework. An extension that is not installed any more leaves its tables.
    :param version: the version of these tables, a number of its own from 1 on.
    :param steps: `{2: step(migrator), …}`, the steps to each version from the one before.
    :param feed_events: names of its events that the service's feed stores: the only ones that its
        handlers may tell with an `id`.
    :param on_register: as the service's. A refusal that it raises refuses the registration.
    :param on_login: as the service's, with members of the reply to `login` that no other part has.
    :param on_connect: as the service's; called after that.
    :param on_disconnect: as the service's; called after that.
    :param on_delete: as the service's; called before that.
    :param sweep: as the service's.
    :param every: its work in the background.
    :param timers: rules that `at` has run at a time, by names: `{"close": rules.close}`.
    :param counters: names that its handlers count by `ask.count(name)`.
    :param person: as the service's, with numbers of names that no other part has.
    :param subcommands: what it adds to the service's command line, as the service's.
    :param lists: its lists on the operators' page.
    :param acts: acts that its subcommands have and no list has.
    :param settings: a section of the configuration. Its handlers have it as `ask.settings`.
    :param client: the place of a `Presentation` with what clients need to know of it, which is
        added to the service's.
    :param events: the events that it tells.
    :ivar schema: its tables.
    :raises ValueError: one of these is malformed.
    """

    name: str
    _: KW_ONLY
    commands: Sequence[CommandTable] = ()
    models: Sequence[type[Table]] = ()
    version: int = 1
    steps: Mapping[int, Step] = field(default_factory=lambda: MappingProxyType({}))
    feed_events: Sequence[str] = ()
    on_register: Callable[..., object] | None = None
    on_login: OnLogin | None = None
    on_connect: Hook | None = None
    on_disconnect: Hook | None = None
    on_delete: Callable[[int], int] | None = None
    sweep: Callable[[float], int] | None = None
    every: Sequence[Every] = ()
    timers: Mapping[str, Timed] = field(default_factory=lambda: MappingProxyType({}))
    counters: Sequence[str | Counter] = ()
    settings: type[Any] | None = None
    client: str = ""
    events: Sequence[Event] = ()
    person: OfPerson | None = None
    subcommands: Mapping[str, Subcommand] = field(default_factory=lambda: MappingProxyType({}))
    lists: Sequence[OperatorList] = ()
    acts: Sequence[OperatorAct] = ()
    schema: Schema = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is not a name of an extension: {NAME.pattern}")
        check_values(
            self.name,
            (are(self.commands, CommandTable), "commands are tables, (table,) if one"),
            (are(self.models, type), "models are classes of tables, (Table,) if one"),
            (are(self.counters, (str, Counter)), "counters are names or Counters, (name,) if one"),
            (are(self.every, Every), EVERY),
            (are_timers(self.timers), TIMERS),
            *operators_conditions(self),
            (are_events(self.events), EVENTS),
            (are(self.feed_events, str), "feed_events are names of events, (name,) if one"),
            (all(map(is_for_threads, rules_of(self))), RULES),
            (self.client == "" or is_reference(self.client), client_form(self.client)),
        )
        if self.settings is not None:
            # Imported here, as plugins of services without settings load no configuration.
            from bbs.config.settings import keys_of

            try:
                keys_of(self.settings)
            except TypeError as error:
                raise ValueError(f"{self.name}: {error}") from error
        declare_timers(self, f"{self.name}.")
        for model in self.models:
            _add_prefix(model, f"{self.name}_")
            _check_keys(self.name, model)
        schema = Schema(self.name, tuple(self.models), self.version, self.steps)
        object.__setattr__(self, "schema", schema)

    def commands_of(self) -> Iterator[str]:
        """The names of its commands."""
        return (command.name for table in self.commands for command in table)


EVENTS = "events are Events of different names, (Event(name, record),) if one"
EVERY = "every is Every values, (Every(seconds, handler),) if one"
RULES = "rules are plain functions"
TIMERS = 'timers are plain functions by names of letters, digits and -, {"close": rule} if one'


def client_form(client: object) -> str:
    return f'client is {client!r}, and not "package.module:name"'


def are(values: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(values, (tuple, list)) and all(isinstance(value, kind) for value in values)


def are_timers(timers: object) -> bool:
    return isinstance(timers, Mapping) and all(
        isinstance(name, str) and _TIMER.fullmatch(name) and is_for_threads(rule)
        for name, rule in timers.items()
    )


def declare_timers(part: Service | Extension, prefix: str = "") -> None:
    """Let `at` know the timers of a service or an extension. Raises ValueError as it does."""
    for name, rule in part.timers.items():
        try:
            declare_timer(prefix + name, rule)
        except ValueError as error:
            raise ValueError(f"{part.name}: {error}") from error


def rules_of(part: Service | Extension) -> Sequence[Callable[..., object]]:
    """The rules that a service or an extension has beside those of its commands."""
    rules: tuple[Callable[..., object] | None, ...]
    rules = (part.on_register, part.on_login, part.on_connect, part.on_disconnect)
    rules += (part.on_delete, part.sweep, part.person)
    return [rule for rule in rules if rule is not None]


def operators_conditions(part: Service | Extension) -> Sequence[tuple[bool, str]]:
    """The conditions for what operators have of a service or an extension."""
    names, subcommands = part.subcommands, (*part.subcommands.values(),)
    return [
        (
            all(map(_SUBCOMMAND.fullmatch, names)) and are(subcommands, Subcommand),
            "subcommands are Subcommands, by one word or two in lower case",
        ),
        (are(part.lists, OperatorList), "lists are OperatorLists, (list,) if one"),
        (are(part.acts, OperatorAct), "acts are OperatorActs, (act,) if one"),
    ]


def merged(rules: Sequence[Callable[..., Mapping[str, T]] | None]) -> Any:
    """One rule for several, which returns what each of them does; None without any."""
    given = [rule for rule in rules if rule is not None]
    if len(given) < 2:
        return given[0] if given else None

    def call_all(*arguments: object) -> Mapping[str, T]:
        found: dict[str, T] = {}
        for rule in given:
            members = rule(*arguments)
            if taken := found.keys() & members.keys():
                raise ValueError(f"two parts of the service return {min(taken)}")
            found |= members
        return found

    return call_all


def are_events(values: object) -> bool:
    """Whether these are events of a service or an extension, each of another name."""
    return are(values, Event) and len({each.name for each in values}) == len(values)  # type: ignore


def check_values(name: str, *conditions: tuple[bool, str]) -> None:
    """Raise ValueError with the text of the first condition that does not hold."""
    for is_right, needed in conditions:
        if not is_right:
            raise ValueError(f"{name}: {needed}")


def _add_prefix(model: Any, prefix: str) -> None:
    if issubclass(model, Table) and not model._meta.table_name.startswith(prefix):
        model._meta.set_table_name(prefix + model._meta.table_name)


def _check_keys(name: str, model: Any) -> None:
    """Check that rows of an extension that is not installed any more keep nothing from going."""
    for key in model._meta.refs if issubclass(model, Table) else ():
        action = (key.on_delete or "").upper()
        if key.rel_model in MODELS and action not in ("CASCADE", "SET NULL"):
            raise ValueError(
                f'{name}: {model.__name__}.{key.name} needs on_delete="CASCADE" or "SET NULL":'
                " without the extension, nobody could delete an account"
            )


def extended(service: Service) -> Service:
    """The service with the installed extensions, besides those that it has.

    :raises PluginUnusable: an extension does not import, or does not fit the service.
    """
    declared = {each.name for each in service.extensions}
    for plugin in plugins(f"{service.name}.extensions"):
        extension = plugin.use(_extension)
        if extension.name not in declared:
            service = _with(service, plugin, extension)
    return service


def _extension(found: object) -> Extension:
    if not isinstance(found, Extension):
        raise TypeError("it is not an Extension")
    return found


def _with(service: Service, plugin: Plugin, extension: Extension) -> Service:
    try:
        return replace(service, extensions=(*service.extensions, extension))
    except ValueError as error:
        raise plugin.unusable(str(error)) from error
