"""A service, as one frozen value, and its description for clients: the reply to `commands`.

Clients work without a description, but people see its mistakes. A server therefore compares the
presentation with the commands when it starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import partial, reduce
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bbs import __version__
from bbs.commands.extensions import (
    EVENTS,
    EVERY,
    NAME,
    RULES,
    TIMERS,
    Every,
    Extension,
    Subcommand,
    are,
    are_events,
    are_timers,
    check_values,
    client_form,
    declare_timers,
    merged,
    operators_conditions,
    rules_of,
)
from bbs.commands.words import completed, has_words
from bbs.core.values import Counter, is_for_threads
from bbs.delivery.broadcast import Broadcast
from bbs.delivery.feed import Feed
from bbs.protocols.commands import Command, CommandTable
from bbs.protocols.events import Event
from bbs.protocols.presentation import (
    WITH_PASSWORDS,
    Presentation,
    PresentationUnusable,
    is_list,
    is_reference,
    load,
    to_json,
)
from bbs.rules.attendance import Hook, Hooks
from bbs.rules.service_admin import OperatorAct, OperatorList
from bbs.rules.timers import Timed
from bbs.storage.database import is_read_only
from bbs.storage.models import Table
from bbs.storage.schema import Schema, Step

if TYPE_CHECKING:
    from bbs.rules.accounts import OnLogin
    from bbs.rules.user_admin import OfPerson

_RELEASE = re.compile("[A-Za-z0-9._-]{0,20}")
_KIND = re.compile("[A-Za-z0-9]+")  # Of channels.

UNDECLARED = "bbs.board.client.face:face"
"""The presentation of services that declare none. Up to version 0.3.0 all clients were written for
the board, and other services relied on what these clients show."""


class ServiceUnusable(Exception):
    """A service cannot be served; the text is one line for its author."""


@dataclass(frozen=True)
class Service:
    """A service, from which the framework makes login servers, app servers and clients.

    :param name: a word in lower case. The daemons are called `NAME-login`, `NAME-app` and
        `NAME-telnet`, its topics begin with it, the entry-point group `NAME.commands` adds to it.
    :param commands: tables of its commands, in addition to those that every service has.
    :param models: its tables, in an order in which they can be made.
    :param version: the version of these tables, a number of its own from 1 on.
    :param steps: `{2: step(migrator), …}`, the steps to each version from the one before.
    :param oldest: the oldest version whose programs can work on today's tables, and so run together
        with today's while a service is upgraded server by server; 0: none but today's.
    :param feed: its durable events.
    :param placed: kinds of channels (`KIND.NAME`) that it tells with `servers=`: they have no
        topics at the broker, as users' channels have none.
    :param broadcast: its events for everybody who is there.
    :param settings: a section of the configuration: a frozen dataclass of `setting`s. The name of
        the section is that of the class in lower case. Handlers have it as `ask.settings`.
    :param on_register: called with the id of a new user, in the transaction that makes the account;
        of a service with settings, also with `settings=`, the loaded section. A refusal that it
        raises refuses the registration.
    :param on_login: called with the id of a user who logs in, and the time of the user's last visit
        (seconds since the epoch; None if unknown), in the transaction that begins the session.
        Returns members of the reply to `login`, with names that `login` does not use
        (`protocol.md`, section 3).
    :param on_connect: called with a user's id and the time (seconds since the epoch), in a
        transaction of its own, when the user connects: begins to listen, and listens nowhere else.
        If it raises, it is undone, and called again later.
    :param on_disconnect: in the same way, when the user has listened nowhere for five seconds, or
        at most 65 seconds after the user's app server was killed, if the user is not back by then.
        For each user the two are called by turns. Deleting the account does not count as going.
    :param on_delete: called with the id of a user who deletes the account, each time in a
        transaction of its own, until it returns 0. Each call removes a part of the user's data, if
        there is too much for one transaction. The last transaction removes the account, and foreign
        keys remove the rest. The user is already logged out. After an interruption, the account
        stays with the remaining data until its user deletes it again.
    :param sweep: called with the time (seconds since the epoch) every minute, each time in a
        transaction of its own, until it returns 0. Each call removes a part of what has expired.
    :param person: called with a user's id, on a thread for long work. Only reads, and returns
        numbers by name for operators, never texts: how much of each thing the user has.
    :param greeting: a line that people see first by telnet.
    :param client: the place of a `Presentation`: `"package.module:name"`. Servers and clients
        load it when they start, so that module should import little. It counts before what commands
        declare (`help`, `group`, …), which may be all that clients need to know.
    :param events: the events that its handlers tell. If it declares any, tests and `up --debug`
        compare with them what is told.
    :param counters: names that `ask.count(name)` counts, for the operators' page and `/metrics`; a
        `Counter` says more about a name.
    :param subcommands: what the service adds to its command line, by name: one word, or two, of
        which the first stands for a group (`{"post remove": Subcommand(…)}`).
    :param lists: its lists on the operators' page, where operators act on what is in them.
    :param acts: acts that its subcommands have and no list has, for the page to say what happened.
    :param limits: keys that it adds to `[limits]`: a frozen dataclass of `setting`s, derived from
        `bbs.framework.limits.Limits`. Rules have the section as `caller.quotas`.
    :param every: work in the background.
    :param timers: rules that `at` has run at a time, by names: `{"close": rules.close}`. A name
        stays as long as timers of it wait.
    :param daemons: each is called with an `Ask` that belongs to no request when a login server or
        app server starts (`ask.role` says which), and returns a Twisted service, which runs beside
        it until it stops, or None.
    :param release: the version of the service's program, up to 20 letters, digits and `.-_`.
        `--version`, the fleet, metrics and traces have it behind that of bbs.
    :param seed: called once, in the transaction that makes the tables of a new database: stores
        the rows that it begins with.
    :param extensions: what is added to it by others. Servers, `bbs.testing` and the command line
        also add those that are installed.
    :ivar own_acts: all acts by their names, also of extensions.
    :ivar all_subcommands: the subcommands, also of extensions.
    :ivar on_any_login: `on_login` of it and of its extensions, as one rule; None without any.
    :ivar any_person: `person` of it and of its extensions, as one rule; None without any.
    :ivar counted: the counters by their names, each a `Counter`.
    :ivar schema: the tables, also of extensions.
    :raises ValueError: one of these is malformed.
    """

    name: str
    _: KW_ONLY
    commands: Sequence[CommandTable] = ()
    models: Sequence[type[Table]] = ()
    version: int = 1
    steps: Mapping[int, Step] = field(default_factory=lambda: MappingProxyType({}))
    oldest: int = 0
    feed: Feed | None = None
    placed: Sequence[str] = ()
    broadcast: Broadcast | None = None
    on_register: Callable[..., object] | None = None
    on_login: OnLogin | None = None
    on_connect: Hook | None = None
    on_disconnect: Hook | None = None
    on_delete: Callable[[int], int] | None = None
    sweep: Callable[[float], int] | None = None
    person: OfPerson | None = None
    greeting: str = ""
    client: str = ""
    events: Sequence[Event] = ()
    counters: Sequence[str | Counter] = ()
    subcommands: Mapping[str, Subcommand] = field(default_factory=lambda: MappingProxyType({}))
    lists: Sequence[OperatorList] = ()
    acts: Sequence[OperatorAct] = ()
    settings: type[Any] | None = None
    limits: type[Any] | None = None
    every: Sequence[Every] = ()
    timers: Mapping[str, Timed] = field(default_factory=lambda: MappingProxyType({}))
    daemons: Sequence[Callable[[Any], object]] = ()
    seed: Callable[[], object] | None = None
    release: str = ""
    extensions: Sequence[Extension] = ()
    own_acts: Mapping[str, OperatorAct] = field(init=False, repr=False, compare=False)
    all_subcommands: Mapping[str, Subcommand] = field(init=False, repr=False, compare=False)
    on_any_login: OnLogin | None = field(init=False, repr=False, compare=False)
    any_person: OfPerson | None = field(init=False, repr=False, compare=False)
    counted: Mapping[str, Counter] = field(init=False, repr=False, compare=False)
    schema: Schema = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is not a name of a service: {NAME.pattern}")
        feed, broadcast = self.feed, self.broadcast
        rules: list[object] = [*rules_of(self), self.seed]
        if isinstance(feed, Feed):
            rules += (feed.open, feed.fetch, feed.note, feed.expire, feed.channels)
        if isinstance(broadcast, Broadcast):
            rules += (broadcast.current, broadcast.fetch)
        check_values(
            self.name,
            (are(self.counters, (str, Counter)), "counters are names or Counters, (name,) if one"),
            (are(self.commands, CommandTable), "commands are tables, (table,) if one"),
            (are(self.models, type), "models are classes of tables, (Table,) if one"),
            (are_events(self.events), EVENTS),
            (feed is None or isinstance(feed, Feed), "a feed is a Feed"),
            (
                are(self.placed, str) and all(map(_KIND.fullmatch, self.placed)),
                "placed are kinds of channels, of letters and digits, (kind,) if one",
            ),
            (broadcast is None or isinstance(broadcast, Broadcast), "a broadcast is a Broadcast"),
            *operators_conditions(self),
            (all(each is None or is_for_threads(each) for each in rules), RULES),
            (are(self.every, Every), EVERY),
            (are_timers(self.timers), TIMERS),
            (
                isinstance(self.daemons, (tuple, list)) and all(map(is_for_threads, self.daemons)),
                "daemons are plain functions, (make,) if one",
            ),
            (
                isinstance(self.release, str) and bool(_RELEASE.fullmatch(self.release)),
                f"{self.release!r} is not a release: {_RELEASE.pattern}",
            ),
            (isinstance(self.greeting, str), "a greeting is a text"),
            (self.client == "" or is_reference(self.client), client_form(self.client)),
            (are(self.extensions, Extension), "extensions are Extensions, (extension,) if one"),
        )
        self._check_settings()
        self._check_every()
        declare_timers(self)
        parts = tuple(each.schema for each in self.extensions)
        models, steps = tuple(self.models), self.steps
        own = Schema(self.name, models, self.version, steps, self.oldest, parts, self.seed)
        counted = MappingProxyType({each.name: each for each in self._read_counters()})
        derive = object.__setattr__  # the dataclass is frozen for everybody else
        derive(self, "counted", counted)
        derive(self, "schema", own)
        derive(self, "own_acts", MappingProxyType(self._collect_acts()))
        derive(self, "all_subcommands", MappingProxyType(self._collect_subcommands()))
        derive(self, "on_any_login", merged([each.on_login for each in self.parts]))
        derive(self, "any_person", merged([each.person for each in self.parts]))

    @property
    def program_version(self) -> str:
        """The version of the programs that run it: that of bbs, and its own release."""
        return f"{__version__}+{self.release}" if self.release else __version__

    @property
    def sections(self) -> Sequence[type[Any]]:
        """The sections of the configuration that it and its extensions declare."""
        settings = [each.settings for each in self.parts if each.settings is not None]
        return settings if self.limits is None else [*settings, self.limits]

    def _collect_acts(self) -> dict[str, OperatorAct]:
        """The acts by their names. Lists may share one."""
        lists = self.all_lists
        if len({each.name for each in lists}) < len(lists):
            raise ValueError(f"{self.name}: two lists have the same name")
        acts = [act for part in self.parts for act in part.acts]
        acts += [act for each in lists for act in (*each.acts, *each.adds)]
        named = {each.name: each for each in acts}
        if any(named[each.name] is not each for each in acts):
            raise ValueError(f"{self.name}: two acts have the same name")
        return named

    def _collect_subcommands(self) -> dict[str, Subcommand]:
        found: dict[str, Subcommand] = {}
        for part in self.parts:
            if taken := found.keys() & part.subcommands.keys():
                raise ValueError(f"{self.name}: two subcommands have the name {min(taken)}")
            found |= part.subcommands
        return found

    def _check_every(self) -> None:
        names = [every.name for part in self.parts for every in part.every]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{self.name}: every calls {min(twice)} twice")

    def _check_settings(self) -> None:
        if not self.sections:
            return
        # Imported here, as plugins of services without settings load no configuration.
        from bbs.config.sections import OWN_SECTIONS, Limits, section_name
        from bbs.config.settings import keys_of

        try:
            for section in self.sections:
                keys_of(section)
        except TypeError as error:
            raise ValueError(f"{self.name}: {error}") from error
        if self.limits is not None and not issubclass(self.limits, Limits):
            raise ValueError(f"{self.name}: limits are a class derived from Limits")
        sections = [each.settings for each in self.parts if each.settings is not None]
        names = [section_name(section) for section in sections]
        for number, name in enumerate(names):
            if name in OWN_SECTIONS:
                raise ValueError(f"{self.name}: the section [{name}] is the framework's own")
            if name in names[:number]:
                raise ValueError(f"{self.name}: there are two sections [{name}]")

    def _read_counters(self) -> Sequence[Counter]:
        """The counters, with a `Counter` for each name."""
        try:
            declared = [each for part in self.parts for each in part.counters]
            read = [Counter(each) if isinstance(each, str) else each for each in declared]
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None
        for what in ("name", "metric", "member"):
            given = [value for each in read if (value := getattr(each, what))]
            if len({*given}) < len(given):
                raise ValueError(f"{self.name}: two counters have the same {what}")
        return read

    @property
    def all_lists(self) -> Sequence[OperatorList]:
        """Its lists for operators, and those of its extensions."""
        return [each for part in self.parts for each in part.lists]

    @property
    def hooks(self) -> Hooks | None:
        """`on_connect` and `on_disconnect` of it and of its extensions; None without any."""
        parts = self.parts
        connect = tuple(each.on_connect for each in parts if each.on_connect is not None)
        gone = tuple(each.on_disconnect for each in parts if each.on_disconnect is not None)
        return Hooks(connect, gone) if connect or gone else None

    def loaded(self, section: Callable[[type[Any]], object]) -> Mapping[type[Any], object]:
        """Its sections of the configuration, and those of its extensions, by the classes that
        declare them; `section` has the settings that a class declares."""
        return {each: section(each) for each in self.sections}

    @property
    def all_timers(self) -> Mapping[str, Timed]:
        """Its timers by their names, and those of its extensions, behind theirs."""
        found = dict(self.timers)
        for part in self.extensions:
            found |= {f"{part.name}.{name}": rule for name, rule in part.timers.items()}
        return found

    @property
    def clients(self) -> Sequence[str]:
        """The places of its presentation, and of those of its extensions."""
        return [each.client for each in self.parts if each.client]

    @property
    def parts(self) -> Sequence[Service | Extension]:
        """The service, and then its extensions."""
        return [self, *self.extensions]

    @property
    def is_presented(self) -> bool:
        """Whether it or an extension says how clients present it."""
        return any(map(_has_words, self.parts))

    def presentation(self) -> Presentation:
        """Load the presentation, with those of the extensions, and with what their commands
        declare; the board's if there is nothing of all this.

        :raises ServiceUnusable: one cannot be loaded, or does not fit.
        """
        if not self.is_presented:
            return self.joined([UNDECLARED])
        commands = [each for part in self.parts for table in part.commands for each in table]
        try:
            own = self.joined(self.clients) if self.clients else Presentation()
            return completed(own, commands, [each for part in self.parts for each in part.events])
        except ValueError as error:
            raise ServiceUnusable(f"the service {self.name}: {error}") from error

    def joined(self, places: Iterable[str]) -> Presentation:
        """Load the presentations at `places`, and make one of them; at a contradiction the first
        counts.

        :raises ServiceUnusable: one cannot be loaded, or does not fit.
        """
        try:
            return reduce(Presentation.joined, map(load, places))
        except (PresentationUnusable, ValueError) as error:
            raise ServiceUnusable(f"the service {self.name}: {error}") from error

    def forget(self, user: int) -> int:
        """Remove a part of the data of a user who deletes the account, by the rules `on_delete`;
        returns how much, and 0 at the end."""
        for rule in (*(each.on_delete for each in self.extensions), self.on_delete):
            if rule is not None and (removed := rule(user)):
                return removed
        return 0


def _has_words(part: Service | Extension) -> bool:
    """Whether a service or an extension says how clients present it."""
    commands = (command for table in part.commands for command in table)
    return bool(part.client or part.events) or any(map(has_words, commands))


def new_account_rule(
    service: Service, section: Callable[[type[Any]], object]
) -> Callable[[int], object] | None:
    """The rule for new accounts, of the service and its extensions, each with its settings;
    `section` has the settings that a class declares. None without such rules."""
    rules = [
        rule if each.settings is None else partial(rule, settings=section(each.settings))
        for each in service.parts
        if (rule := each.on_register) is not None
    ]

    def call_all(user: int) -> None:
        for rule in rules:
            rule(user)

    return call_all if rules else None


def usage_of(command: Command) -> dict[str, object]:
    return {
        "usage": command.usage,
        "server": command.role.value,
        "rest": command.rest,
        "harmless": is_harmless(command),
    }


def is_harmless(command: Command) -> bool:
    """Whether a command may be sent again when its answer was lost. With a rule that only reads, a
    command may still change something by its handler."""
    return command.harmless or (command.handler is None and is_read_only(command.rule))


def described(service: Service, table: CommandTable) -> Mapping[str, object]:
    """The members of the reply to `commands` with the service's presentation.

    :raises ServiceUnusable: it cannot be loaded, or does not fit the commands.
    """
    if not service.is_presented:
        return {}
    presentation, commands = service.presentation(), {each.name: each for each in table}
    harmless = {each.name for each in table if is_harmless(each)}
    try:
        check(presentation, commands, harmless)
    except ValueError as error:
        where = f"client {', '.join(service.clients)}: " if service.clients else ""
        raise ServiceUnusable(f"the service {service.name}: {where}{error}") from error
    if not _has_words(service):
        # Clients that are told nothing of a service go by this.
        undeclared = service.joined([UNDECLARED]).only(commands, harmless)
        presentation = undeclared.joined(presentation)
    used = [commands[name] for name in presentation.histories]
    unlisted = [usage_of(command) for command in used if not command.listed]
    return {"unlisted": unlisted, "presentation": to_json(presentation)}


def check(
    presentation: Presentation, commands: Mapping[str, Command], harmless: Container[str]
) -> None:
    """Compare a presentation with the commands of its service, of which `harmless` change nothing.

    :raises ValueError: a command is missing or has other parameters, has a password and an alias,
        or is not harmless and would be sent by clients themselves.
    """
    for name, where in _commands(presentation):
        if name not in commands:
            raise ValueError(f"{where}: there is no command {name}")
    asked = [(each.ask, f"choices {each.name}") for each in presentation.choices if each.ask]
    asked += [(each.history, f"talk {each.name}") for each in presentation.talks if each.history]
    asked += [(each.presence, f"talk {each.name}") for each in presentation.talks if each.presence]
    for name, where in asked:
        if name not in harmless:
            raise ValueError(
                f"{where}: clients send {name} by themselves, so it must change nothing:"
                " mark its rule with @read_only, or declare it with harmless=True"
            )
    for mistake in _mistakes(presentation, commands):
        raise ValueError(mistake)


def _mistakes(presentation: Presentation, commands: Mapping[str, Command]) -> Iterator[str]:
    for alias, name in presentation.aliases.items():
        if name in WITH_PASSWORDS:
            yield f"aliases: {alias}: clients hide passwords by the name {name}"
    headings: dict[str, str] = {}
    for heading, group in presentation.groups.items():
        for name in group:
            if headings.setdefault(name, heading) != heading:
                yield f"groups: {name} is in {headings[name]} and in {heading}"
    for where in presentation.complete:
        name, parameter = where.split(" ")
        if parameter not in commands[name].parameters:
            yield f"complete: {commands[name].usage} has no <{parameter}>"
    for where in presentation.done:
        name, _, parameter = where.partition(" -")
        if where != name and parameter not in commands[name].parameters:
            yield f"done: {commands[name].usage} has no <{parameter}>"
    parameters = {each for command in commands.values() for each in command.parameters}
    for choices in presentation.choices:
        where = f"choices {choices.name}"
        if unknown := {*choices.parameters} - parameters:
            yield f"{where}: no command has a parameter <{min(unknown)}>"
        for name in choices.added_by:
            if not commands[name].parameters:
                yield f"{where}: {commands[name].usage} adds no name"
        if choices.ask and not is_list(commands[choices.ask]):
            yield f"{where}: {commands[choices.ask].usage} is not {choices.ask} <user>"
    for talk in presentation.talks:
        where, partner = f"talk {talk.name}", " <partner>" if talk.choices else ""
        history = commands.get(talk.history)
        for name in filter(None, (talk.send, *talk.sent_by)):
            if name in commands and not talk.is_sent_by(commands[name]):
                wanted = f"{name} <user>{partner} <text>, with rest=True"
                yield f"{where}: {commands[name].usage} is not {wanted}"
        if talk.presence and not is_list(commands[talk.presence]):
            yield f"{where}: {commands[talk.presence].usage} is not {talk.presence} <user>"
        if history and not talk.is_recalled_by(history):
            yield f"{where}: {history.usage} is not {talk.history} <user>{partner}"


def _commands(presentation: Presentation) -> Iterator[tuple[str, str]]:
    yield from ((name, "help") for name in presentation.help)
    yield from ((each.split(" ")[0], "done") for each in presentation.done)
    yield from ((each.split(" ")[0], "failures") for each in presentation.failures if " " in each)
    for heading, group in presentation.groups.items():
        yield from ((name, f"groups: {heading}") for name in group)
    yield from ((name, f"aliases: {alias}") for alias, name in presentation.aliases.items())
    yield from ((where.split(" ")[0], "complete") for where in presentation.complete)
    for listing in presentation.lists:
        yield from ((name, f"lists: {listing.name}") for name in listing.empties)
    for each in presentation.choices:
        names = (*each.lists, *each.added_by, *each.removed_by, *each.lookalike_lists)
        yield from ((name, f"choices {each.name}") for name in names)
    for talk in presentation.talks:
        names = (talk.send, talk.history, talk.presence, *talk.sent_by, *talk.ended_by)
        yield from ((name, f"talk {talk.name}") for name in names if name)
