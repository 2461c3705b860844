"""A service, as one frozen value, and its description for clients: the reply to `commands`.

Clients can do without a description, but people see its mistakes. A server therefore compares the
presentation with the commands when it starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from types import MappingProxyType

from bbs.core.values import Counter, is_for_threads
from bbs.delivery.feed import Feed
from bbs.protocols.commands import Command, CommandTable
from bbs.protocols.presentation import (
    WITH_PASSWORDS,
    Presentation,
    PresentationUnusable,
    is_list,
    is_reference,
    load,
)
from bbs.protocols.presentation_json import to_json
from bbs.storage.database import is_read_only
from bbs.storage.models import Table
from bbs.storage.schema import Schema, Step

_NAME = re.compile("[a-z][a-z0-9]{0,31}")


UNDECLARED = "bbs.board.client.face:face"
"""The presentation of services that declare none. Up to version 0.3.0 all clients were written for
the board, and other services were built on what these clients show."""


class ServiceUnusable(Exception):
    """A service cannot be served; its text is one line for whoever wrote it."""


@dataclass(frozen=True)
class Service:
    """A service, on which the framework's login servers, app servers and faces are put together.

    :param name: a word in lower case. The daemons are called `NAME-login`, `NAME-app` and
        `NAME-telnet`, its topics begin with it, the entry-point group `NAME.commands` adds to it.
    :param commands: tables of its commands, beside those that every service has.
    :param models: its tables, in an order in which they can be made.
    :param version: the version of these tables, a number of its own from 1 on.
    :param steps: `{2: step(migrator), …}`, which lead there from the versions before.
    :param oldest: the oldest version whose programs can work on today's tables, and so run beside
        today's while a service is upgraded server by server; 0: none but today's.
    :param feed: its durable events.
    :param on_register: called with the id of a new user, in the transaction that makes the account.
    :param on_login: called with the id of a user who logs in, and when that user was last there
        before (seconds since the epoch; None where nobody knows), in the transaction that begins
        the session: returns members of the reply to `login`, by names that `login` does not use
        (`protocol.md`, section 3).
    :param on_delete: called with the id of a user who deletes the account, each time in a
        transaction of its own, until it returns 0: it removes a part of what is the user's and too
        much for one transaction. The account goes in the last of them, and the foreign keys take
        the rest along. The user is logged out by then; should it end half-way, the account stays,
        with what is left, until its user deletes it again.
    :param sweep: called with the time (seconds since the epoch) every minute, each time in a
        transaction of its own, until it returns 0: it removes a part of what has expired.
    :param person: called with a user's id, on a thread for what takes long; returns what there is
        of the user's, by name, for operators: numbers, never a text. It only reads.
    :param greeting: what people read first who come by telnet, a line.
    :param client: where its `Presentation` is: `"package.module:name"`. Servers and clients load it
        when they start, so that module should import little.
    :param counters: what `ask.count(name)` counts, shown on the operators' page and in `/metrics`:
        names, or a `Counter` where there is more to say of one than its name.
    :ivar counted: these counters by their names, each a `Counter`.
    :raises ValueError: one of these is not as it says here.
    """

    name: str
    _: KW_ONLY
    commands: Sequence[CommandTable] = ()
    models: Sequence[type[Table]] = ()
    version: int = 1
    steps: Mapping[int, Step] = field(default_factory=lambda: MappingProxyType({}))
    oldest: int = 0
    feed: Feed | None = None
    on_register: Callable[[int], object] | None = None
    on_login: Callable[[int, float | None], Mapping[str, object]] | None = None
    on_delete: Callable[[int], int] | None = None
    sweep: Callable[[float], int] | None = None
    person: Callable[[int], Mapping[str, int]] | None = None
    greeting: str = ""
    client: str = ""
    counters: Sequence[str | Counter] = ()
    counted: Mapping[str, Counter] = field(init=False, repr=False, compare=False)
    schema: Schema = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of a service: {_NAME.pattern}")
        counted = {each.name: each for each in self._read_counters()}
        feed = self.feed
        rules: list[object] = [self.on_register, self.on_login, self.on_delete]
        rules += [self.sweep, self.person]
        if isinstance(feed, Feed):
            rules += (feed.open, feed.fetch, feed.note, feed.expire)
        self._expect(_are(self.commands, CommandTable), "commands are tables, (table,) if one")
        self._expect(_are(self.models, type), "models are classes of tables, (Table,) if one")
        self._expect(feed is None or isinstance(feed, Feed), "a feed is a Feed")
        self._expect(
            all(rule is None or is_for_threads(rule) for rule in rules), "rules are plain functions"
        )
        self._expect(isinstance(self.greeting, str), "a greeting is a text")
        self._expect(
            self.client == "" or is_reference(self.client),
            f'client is {self.client!r}, and not "package.module:name"',
        )
        schema = Schema(self.name, tuple(self.models), self.version, self.steps, self.oldest)
        # Frozen for everybody else.
        object.__setattr__(self, "counted", MappingProxyType(counted))
        object.__setattr__(self, "schema", schema)

    def _read_counters(self) -> Sequence[Counter]:
        """The counters, with a `Counter` for each that is a mere name."""
        self._expect(
            _are(self.counters, (str, Counter)), "counters are names or Counters, (name,) if one"
        )
        try:
            read = [Counter(each) if isinstance(each, str) else each for each in self.counters]
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None
        for what in ("name", "metric", "member"):
            given = [value for each in read if (value := getattr(each, what))]
            self._expect(len({*given}) == len(given), f"two counters have the same {what}")
        return read

    def presentation(self) -> Presentation:
        """Load how clients present it; for a service that declares nothing, as they did it up to
        version 0.3.0.

        :raises ServiceUnusable: it cannot be loaded.
        """
        try:
            return load(self.client or UNDECLARED)
        except PresentationUnusable as error:
            raise ServiceUnusable(f"the service {self.name}: {error}") from error

    def _expect(self, right: bool, what: str) -> None:
        if not right:
            raise ValueError(f"{self.name}: {what}")


def _are(values: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(values, (tuple, list)) and all(isinstance(value, kind) for value in values)


def usage_of(command: Command) -> dict[str, object]:
    """Describe a command, as the reply to `commands` does."""
    return {
        "usage": command.usage,
        "server": command.role.value,
        "rest": command.rest,
        "harmless": is_harmless(command),
    }


def is_harmless(command: Command) -> bool:
    """Whether a command may be sent again when its answer was lost."""
    return command.harmless or is_read_only(command.rule)


def described(service: Service, table: CommandTable) -> Mapping[str, object]:
    """Make the members of the reply to `commands` that hold the service's presentation.

    :raises ServiceUnusable: it cannot be loaded, or does not fit the commands.
    """
    if not service.client:
        return {}
    presentation, commands = service.presentation(), {each.name: each for each in table}
    try:
        check(presentation, commands, {each.name for each in table if is_harmless(each)})
    except ValueError as error:
        raise ServiceUnusable(
            f"the service {service.name}: client {service.client}: {error}"
        ) from error
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
    for name, where in _asked(presentation):
        if name not in harmless:
            raise ValueError(
                f"{where}: clients send {name} by themselves, so it must change nothing:"
                " mark its rule with @read_only, or declare it with harmless=True"
            )
    for check_part in (_check_words, _check_choices, _check_talks):
        check_part(presentation, commands)


def _check_words(presentation: Presentation, commands: Mapping[str, Command]) -> None:
    for alias, name in presentation.aliases.items():
        if name in WITH_PASSWORDS:
            raise ValueError(f"aliases: {alias}: clients hide passwords by the name {name}")
    headings: dict[str, str] = {}
    for heading, group in presentation.groups.items():
        for name in group:
            if headings.setdefault(name, heading) != heading:
                raise ValueError(f"groups: {name} is in {headings[name]} and in {heading}")
    for where in presentation.complete:
        name, parameter = where.split(" ")
        if parameter not in commands[name].parameters:
            raise ValueError(f"complete: {commands[name].usage} has no <{parameter}>")


def _check_choices(presentation: Presentation, commands: Mapping[str, Command]) -> None:
    parameters = {each for command in commands.values() for each in command.parameters}
    for choices in presentation.choices:
        where = f"choices {choices.name}"
        if unknown := {*choices.parameters} - parameters:
            raise ValueError(f"{where}: no command has a parameter <{min(unknown)}>")
        for name in choices.added_by:
            if not commands[name].parameters:
                raise ValueError(f"{where}: {commands[name].usage} adds no name")
        if choices.ask and not is_list(commands[choices.ask]):
            usage = commands[choices.ask].usage
            raise ValueError(f"{where}: {usage} is not {choices.ask} <user>")


def _check_talks(presentation: Presentation, commands: Mapping[str, Command]) -> None:
    for talk in presentation.talks:
        where, partner = f"talk {talk.name}", " <partner>" if talk.choices else ""
        send, history = commands.get(talk.send), commands.get(talk.history)
        if send and not talk.is_sent_by(send):
            wanted = f"{talk.send} <user>{partner} <text>, with rest=True"
            raise ValueError(f"{where}: {send.usage} is not {wanted}")
        if history and not talk.is_recalled_by(history):
            raise ValueError(f"{where}: {history.usage} is not {talk.history} <user>{partner}")


def _asked(presentation: Presentation) -> Iterator[tuple[str, str]]:
    """Yield each command that clients send by themselves, and where that is said."""
    yield from ((each.ask, f"choices {each.name}") for each in presentation.choices if each.ask)
    yield from ((each.history, f"talk {each.name}") for each in presentation.talks if each.history)


def _commands(presentation: Presentation) -> Iterator[tuple[str, str]]:
    """Yield each command that is named here, and where."""
    for name in presentation.help:
        yield name, "help"
    for heading, group in presentation.groups.items():
        yield from ((name, f"groups: {heading}") for name in group)
    for alias, name in presentation.aliases.items():
        yield name, f"aliases: {alias}"
    for where in presentation.complete:
        yield where.split(" ")[0], "complete"
    for each in presentation.choices:
        names = (*each.lists, *each.added_by, *each.removed_by)
        yield from ((name, f"choices {each.name}") for name in names)
    for talk in presentation.talks:
        names = (talk.send, talk.history, *talk.ended_by)
        yield from ((name, f"talk {talk.name}") for name in names if name)
