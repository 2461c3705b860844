"""How clients present a service: its help, completion, chat and words, as data.

A service declares a `Presentation`. Its servers send it as JSON in their reply to `commands`, so a
client that was written before the service existed can present it (`docs/protocol.md`, section 3).
Clients do not trust what a server sends: they drop malformed parts and references to missing parts,
and keep the rest. Paths of members and keys of events are as in `bbs.protocols.forms`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from importlib import import_module
from itertools import islice
from typing import Any, TypeVar

from bbs.core.values import RESERVED_EVENTS
from bbs.protocols.commands import Command
from bbs.protocols.forms import (
    CHECKS,
    ENTRIES,
    MOST_ITEMS,
    MOST_LINES,
    Line,
    Listing,
    check,
    check_form,
    instance_of,
    is_text,
    list_of,
    mapping_of,
    of_event,
    places,
)

WITH_PASSWORDS = ("register", "login", "change-password")
"""The framework's commands with passwords, which clients keep out of the history of lines."""

CLIENTS_OWN = ("use", "talk", "end", "help", "exit", "quit")
"""Commands that clients have themselves, and that a service's words may name as the next step."""

WORD = re.compile(r"[^\s/?][^\s]*")
"""A word that people can type for a command or a kind of partner."""

_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")

T = TypeVar("T")


class PresentationUnusable(Exception):
    """A presentation cannot be loaded; the text is one line for the author of the service."""


@dataclass(frozen=True)
class Choices:
    """Names that people type and clients complete: friends, for example, or rooms.

    A client learns them from the replies and events that it sees. At login it asks once.

    :param name: the word for one of them: `friend`. Completion shows it beside each name.
    :param label: the word that completion shows instead of `name`.
    :param lists: commands that list all names, each with the member of its reply that holds the
        list. An entry is a name, or a mapping with the name in its member `key`.
    :param ask: the command of `lists` that a client sends by itself at login; it must change
        nothing.
    :param key: see `lists`.
    :param parameters: parameters that take these names, in any command.
    :param added_by: commands whose first argument becomes one of these names.
    :param removed_by: commands whose first argument is removed from these names. A command without
        arguments removes all names.
    :param added_by_events: events that add a name, each with the member that holds the name; by
        `"EVENT MEMBER"` for those with a member, and with an empty one for those that add none.
    :param removed_by_events: events that remove a name, each with the member that holds the name.
    :param lookalike_events: events, each with the member that holds a name: clients warn if the
        name looks like one of these, and is another.
    :param lookalike_lists: commands, each with the member of its reply that holds a list of such
        names.
    :param within: larger choices: a name that is added here is added there too.
    :param shared: the names are the same for all users of a client.
    :param recent: numbers that people have seen, rather than all names: each list and event adds
        some, and a client keeps the latest. A member in `lists` may be one number instead.
    :raises ValueError: a parameter is malformed.
    """

    name: str
    label: str = ""
    lists: Mapping[str, str] = field(default_factory=dict)
    ask: str = ""
    key: str = "id"
    parameters: Sequence[str] = ()
    added_by: Sequence[str] = ()
    removed_by: Sequence[str] = ()
    added_by_events: Mapping[str, str] = field(default_factory=dict)
    removed_by_events: Mapping[str, str] = field(default_factory=dict)
    lookalike_events: Mapping[str, str] = field(default_factory=dict)
    lookalike_lists: Mapping[str, str] = field(default_factory=dict)
    within: str = ""
    shared: bool = False
    recent: bool = False

    def __post_init__(self) -> None:
        _check(self, "name")
        if self.ask and self.ask not in self.lists:
            raise ValueError(f"choices {self.name}: lists has no {self.ask}, which ask names")


@dataclass(frozen=True)
class Talk:
    """A kind of conversation: after `talk NAME`, each line that is typed goes to that name.

    :param name: the word for a partner: `friend`. People type it (`talk friend NAME`) if a name
        belongs to two kinds.
    :param send: the command that sends a line. Its parameters are `<user> <partner> <text>`;
        without `choices` they are `<user> <text>`, and `name` is the only partner. The text is the
        rest of the line. Without `send`, people can only read.
    :param choices: the names that one can talk to. A command or an event that removes the name ends
        the conversation.
    :param history: the command for earlier messages, which must change nothing: `<user> <partner>`,
        or without `choices` `<user>`.
    :param ended_by: commands that end the conversation, whoever the partner is.
    :param room: several people hear a line. At a terminal, `#` stands before the partner's name.
    :param line: the form in which scripts print a message, with `{sender}`, `{to}` (the partner)
        and `{text}`.
    :param sent_by: other commands that send a line, with the parameters of `send`.
    :param presence: the command that lists who is there, `<user>`, which must change nothing: an
        entry has the partner's name in `id`, and a word for people in `state`, or true or false in
        `online`. A client asks when a conversation begins, and at most once a minute in it.
    :raises ValueError: a parameter is malformed.
    """

    name: str
    send: str = ""
    choices: str = ""
    history: str = ""
    ended_by: Sequence[str] = ()
    room: bool = False
    line: str = ""
    sent_by: Sequence[str] = ()
    presence: str = ""

    def __post_init__(self) -> None:
        _check(self, "name")
        if not WORD.fullmatch(self.name):
            raise ValueError(f"talk {self.name!r}: its name is not a word that people can type")
        if not self.line:
            usual = "#{to} {sender}: {text}" if self.room else "{sender} to {to}: {text}"
            object.__setattr__(self, "line", usual)
        check_form("Talk: line", self.line)
        members = {f"{path}{kind}" for path, kind in places(self.line)}
        if unknown := members - {"sender", "to", "text"}:
            allowed = "its line may have {sender}, {to} and {text}"
            raise ValueError(f"talk {self.name}: {allowed}, not {{{min(unknown)}}}")

    def is_sent_by(self, command: Command) -> bool:
        """Whether a command fits as `send`, or in `sent_by`."""
        fits = command.minimum == len(command.parameters) == 1 + bool(self.choices)
        return command.takes_user and command.rest and fits

    def is_recalled_by(self, command: Command) -> bool:
        """Whether a command fits as `history`."""
        return command.takes_user and len(command.parameters) == bool(self.choices)


@dataclass(frozen=True)
class ChatEvent:
    """An event that brings a message. The other parameters name the event's members.

    :param event: the name of the event.
    :param sender: the name of the author.
    :param text: the text of the message.
    :param to: the reader's name. An event has either this member or `room`.
    :param room: the room's name.
    :param talk: the `Talk` that the message belongs to. By default that is the first one for a
        room, or the first one that is not for a room.
    :param id: a number that rises. A client shows each message once, and after a failure goes on
        behind the last one. Empty if the events have no such number.
    :param time: seconds since the epoch.
    :param former: true if the account behind a name in the message is gone.
    :param own: the user sent this message on another connection. Clients say `events` to get it.
    :raises ValueError: a parameter is malformed.
    """

    event: str
    sender: str = "from"
    text: str = "message"
    to: str = "to"
    room: str = "group"
    talk: str = ""
    id: str = "id"
    time: str = "time"
    former: str = "former"
    own: bool = False

    def __post_init__(self) -> None:
        _check(self, "event", "sender", "text")
        if self.event in RESERVED_EVENTS:
            raise ValueError(f"chat event {self.event}: that event is the framework's own")
        if not self.to and not self.room:
            raise ValueError(f"chat event {self.event}: to and room are both empty")


@dataclass(frozen=True)
class Notice:
    """A number in the reply to `login` or `notices_by` that clients tell people, unless it is 0.

    :param member: the member that holds the number.
    :param one: the words for 1; `{}` stands for the number.
    :param many: the words for any other number.
    :param most: the service counts no further; from this number on, clients write "or more".
    """

    member: str
    one: str
    many: str
    most: int = 0

    def __post_init__(self) -> None:
        _check(self, "member", "one", "many")


@dataclass(frozen=True)
class Legacy:
    """The commands of older servers, which send no presentation.

    With such a server, a client uses its own presentation for the commands that have one of these
    usages. Servers never send this.

    :param first: the commands of servers that do not know `commands` (version 0.1.0).
    :param later: the commands that later servers have too.
    """

    first: Sequence[Command] = ()
    later: Sequence[Command] = ()

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True)
class Presentation:
    """How clients present a service. Each part is optional.

    :param help: a sentence for each command, which says what the command does.
    :param groups: the headings of the list of commands, each with its commands.
    :param aliases: short names of commands, but not of those with passwords.
    :param choices: the names that clients complete.
    :param complete: the choices that a parameter takes, by `"COMMAND PARAMETER"`. A `-` before a
        name takes those choices away.
    :param lists: the lists of replies.
    :param lines: at most 100 forms for the entries of lists that are not texts; a client takes
        the first that fits. An entry that is an event of `chats` or `events` has its form.
    :param chats: the events that bring messages.
    :param events: forms for other events, by `"EVENT MEMBER"` for those with a member. A form
        without a text shows the event's member `text`.
    :param talks: the kinds of conversation.
    :param notices: numbers that clients tell people at login.
    :param notices_by: the command with these numbers in its reply, `<user>`, which must change
        nothing: a client sends it where a session goes on without a login.
    :param after: the member of the reply to `login` with the id behind which clients listen.
    :param legacy: the commands of older servers.
    :param done: what people read after a command's success, in place of the reply's message:
        `{}` stands for the command's first argument, `{PARAMETER}` for that of this name, `{user}`
        for the user, and `{PATH}` for a text or number of the reply. `"COMMAND -PARAMETER"` is for
        the command without that argument.
    :param failures: what people read instead of the message of a failure, by its code, or by
        `"COMMAND CODE"` where the code needs other words. Places are as in `done`; the message is
        shown if one of them stands for nothing. Scripts print the message.
    :param next_steps: what people may type next (`talk NAME`), shown after a login without notices.
    :raises ValueError: a part is malformed, or contradicts another.
    """

    help: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    choices: Sequence[Choices] = ()
    complete: Mapping[str, Sequence[str]] = field(default_factory=dict)
    lists: Sequence[Listing] = ()
    lines: Sequence[Line] = ()
    chats: Sequence[ChatEvent] = ()
    events: Mapping[str, Line] = field(default_factory=dict)
    talks: Sequence[Talk] = ()
    notices: Sequence[Notice] = ()
    notices_by: str = ""
    after: str = ""
    legacy: Legacy | None = None
    done: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    next_steps: Sequence[str] = ()

    def __post_init__(self) -> None:
        _check(self)
        for problem in self._contradictions():
            raise ValueError(problem)

    def _contradictions(self) -> Iterator[str]:
        for where, name in _NAMES.items():
            counted = Counter(getattr(each, name) for each in getattr(self, where))
            twice = next((each for each, count in counted.items() if count > 1), None)
            if twice is not None:
                yield f"{where}: there are two {twice}"
        if len(self.lines) > MOST_LINES:
            yield f"lines: there are over {MOST_LINES}"
        choices = {each.name for each in self.choices}
        talks = {each.name for each in self.talks}
        for each in self.choices:
            if each.within and each.within not in choices:
                yield f"choices {each.name}: there are no choices {each.within}, which within names"
        for talk in self.talks:
            if talk.choices and talk.choices not in choices:
                yield f"talk {talk.name}: there are no choices {talk.choices}"
        for chat in self.chats:
            if chat.talk and chat.talk not in talks:
                yield f"chat event {chat.event}: there is no talk {chat.talk}"
        for alias in self.aliases:
            if not WORD.fullmatch(alias):
                yield f"aliases: {alias!r} is not a word that people can type"
        for event in (each.split(" ")[0] for each in self.events):
            if event in RESERVED_EVENTS:
                yield f"events: {event}: that event is the framework's own"
            if self.chat(event) is not None:
                yield f"events: {event}: chats has it, too"
        for where, names in self.complete.items():
            if len(where.split(" ")) != 2:
                yield f'complete: {where!r} is not "COMMAND PARAMETER"'
            for name in names:
                if name.removeprefix("-") not in choices:
                    yield f"complete: {where}: there are no choices {name.removeprefix('-')}"

    def listing(self, name: str | None) -> Listing:
        """How to show the list in a member of a reply."""
        found = next((each for each in self.lists if each.name == name), None)
        return found or Listing("list")  # The member's name may be too long for a `Listing`.

    def chat(self, event: object) -> ChatEvent | None:
        """The chat event of that name."""
        return next((each for each in self.chats if each.event == event), None)

    def talk(self, name: str, room: bool) -> Talk:
        """The talk of a message: the one of this name, or by default the first one for a `room` or
        for a person."""
        for each in self.talks:
            if each.name == name or (not name and each.room == room):
                return each
        return Talk("room" if room else "message", room=room)

    def event(self, event: Mapping[str, object]) -> Line:
        """The form of an event; an empty one if the service declares none."""
        return of_event(self.events, event, None) or Line()

    def sends(self, command: str) -> Talk | None:
        """The talk to whose partners a command sends lines."""
        found = (each for each in self.talks if command in (each.send, *each.sent_by))
        return next(found, None) if command else None

    @property
    def open_talks(self) -> Sequence[Talk]:
        """The talks that people can begin: those with a command that sends lines."""
        return [each for each in self.talks if each.send]

    @property
    def histories(self) -> Sequence[str]:
        """The commands for earlier messages."""
        return [each.history for each in self.talks if each.history]

    def joined(self, other: Presentation) -> Presentation:
        """A copy with what an extension adds. Where both say something, this one's counts.

        :raises ValueError: together they contradict each other.
        """
        groups = {name: [*self.groups.get(name, ()), *more] for name, more in other.groups.items()}
        parts: dict[str, Any] = {"groups": {**self.groups, **groups}}
        for each in fields(self):
            own, added = getattr(self, each.name), getattr(other, each.name)
            if each.name not in parts and isinstance(own, Mapping):
                parts[each.name] = {**added, **own}
            elif isinstance(own, list | tuple):
                parts[each.name] = [*own, *added]
        return replace(self, **parts)

    def only(self, commands: Mapping[str, Command], harmless: Container[str]) -> Presentation:
        """A copy for a service with only these commands, of which `harmless` change nothing: a
        client sends no others by itself."""
        has = commands.__contains__
        safe = {name: command for name, command in commands.items() if name in harmless}
        words = {name: _without_unknown_steps(text, has) for name, text in self.done.items()}
        failures = {code: _without_unknown_steps(text, has) for code, text in self.failures.items()}
        return replace(
            self,
            help=_of(self.help, has),
            done=_of(words, lambda name: has(name.split(" ")[0])),
            failures=failures,
            groups={name: [*filter(has, group)] for name, group in self.groups.items()},
            aliases={
                alias: name
                for alias, name in self.aliases.items()
                if has(name) and name not in WITH_PASSWORDS
            },
            complete=_of(self.complete, lambda where: has(where.split(" ")[0])),
            choices=[
                replace(
                    each,
                    ask=_if(each.ask, safe, is_list),
                    lists=_of(each.lists, has),
                    added_by=[*filter(has, each.added_by)],
                    removed_by=[*filter(has, each.removed_by)],
                    lookalike_lists=_of(each.lookalike_lists, has),
                )
                for each in self.choices
            ],
            # A talk stays without its command: messages may come, and have its form.
            talks=[
                replace(
                    each,
                    send=_if(each.send, commands, each.is_sent_by),
                    history=_if(each.history, safe, each.is_recalled_by),
                    sent_by=[
                        name
                        for name in each.sent_by
                        if has(name) and each.is_sent_by(commands[name])
                    ],
                    presence=_if(each.presence, safe, is_list),
                    ended_by=[*filter(has, each.ended_by)],
                )
                for each in self.talks
            ],
            notices_by=_if(self.notices_by, safe, is_list),
        )


_STEP = re.compile(r"\.? Try: ([^\s.,]+)[^.]*\.?$")
"""The end of words that say what to type next: a command first."""


def _without_unknown_steps(words: str, has: Callable[[str], bool]) -> str:
    """Words without a next step that is neither a command of the service nor of the client."""
    step = _STEP.search(words)
    is_known = step is None or has(step[1]) or step[1] in CLIENTS_OWN
    return words if step is None or is_known else words[: step.start()]


_NAMES = {"choices": "name", "lists": "name", "chats": "event", "talks": "name"}
"""The parts with items that have names of their own, each with the field that is the name."""


def load(reference: str) -> Presentation:
    """The presentation at `package.module:name`.

    :raises PresentationUnusable: it cannot be imported, or is something else.
    """
    module, _, name = reference.partition(":")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:  # The module may raise anything.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise PresentationUnusable(f"client {reference}: {reason}") from error
    if not isinstance(found, Presentation):
        raise PresentationUnusable(f"client {reference}: it is not a Presentation")
    return found


def is_reference(text: object) -> bool:
    """Whether a text has the form of `package.module:name`."""
    return isinstance(text, str) and _REFERENCE.fullmatch(text) is not None


def _of(mapping: Mapping[str, T], has: Callable[[str], bool]) -> dict[str, T]:
    return {name: value for name, value in mapping.items() if has(name)}


def _if(name: str, commands: Mapping[str, Command], fits: Callable[[Command], bool]) -> str:
    """The name of a command if the command exists and fits; else nothing."""
    return name if name in commands and fits(commands[name]) else ""


def is_list(command: Command) -> bool:
    """Whether a client can send a command with nothing but its user."""
    return command.takes_user and not command.minimum


# Checks, by the type of a field

_ITEMS: Mapping[str, type[Any]] = {
    f"Sequence[{kind.__name__}]": kind
    for kind in (Choices, Listing, Line, ChatEvent, Talk, Notice, Command)
}

_ENTRIES: Mapping[str, Callable[[object], bool]] = {
    **ENTRIES,
    "Mapping[str, Line]": instance_of(Line),
}

_CHECKS: Mapping[str, Callable[[object], bool]] = {
    **CHECKS,
    "Legacy | None": lambda value: value is None or isinstance(value, Legacy),
    **{name: list_of(instance_of(kind)) for name, kind in _ITEMS.items()},
    **{name: mapping_of(is_good) for name, is_good in _ENTRIES.items()},
}


def _check(declared: Any, *needed: str) -> None:
    check(declared, *needed, checks=_CHECKS)


# As JSON: the member `presentation` of the reply to `commands` (`docs/protocol.md`, section 3)


def to_json(value: Any) -> Any:
    """A presentation, or a value in it, as JSON has it; without defaults."""
    if isinstance(value, Mapping):
        return {name: to_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    if isinstance(value, str | bool | int):
        return value
    return {
        each.name: to_json(getattr(value, each.name))
        for each in fields(value)
        if each.name != "legacy" and getattr(value, each.name) != default_of(each)
    }


def default_of(each: Any) -> object:
    """The default of a field of a dataclass."""
    return each.default if each.default_factory is MISSING else each.default_factory()


def from_json(members: object) -> Presentation | None:
    """Read a presentation; None if there is none."""
    if not isinstance(members, Mapping):
        return None
    parts: dict[str, Any] = {}
    for each in fields(Presentation):
        kind, value = str(each.type), members.get(each.name)
        if kind in _ITEMS:
            items = value[:MOST_ITEMS] if isinstance(value, list) else ()
            read = [_read(_ITEMS[kind], item) for item in items]
            parts[each.name] = [item for item in read if item is not None]
        elif kind in _ENTRIES:
            entries = islice(value.items(), MOST_ITEMS) if isinstance(value, Mapping) else ()
            named = {name: entry for name, entry in entries if is_text(name)}
            if each.name == "events":
                named = {name: _read(Line, entry) for name, entry in named.items()}
            parts[each.name] = {name: it for name, it in named.items() if _ENTRIES[kind](it)}
        elif kind == "Sequence[str]":
            texts = value[:MOST_ITEMS] if isinstance(value, list) else ()
            parts[each.name] = [text for text in texts if is_text(text)]
        elif kind == "str" and is_text(value):
            parts[each.name] = value
    del parts["lines"][MOST_LINES:]
    return Presentation(**_consistent(parts))


def _read(kind: type[T], members: object) -> T | None:
    if not isinstance(members, Mapping):
        return None
    names = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    try:
        return kind(**{name: members[name] for name in names if name in members})
    except (TypeError, ValueError):
        return None


def _consistent(parts: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parts without references to missing parts, and with one item of each name."""
    choices = {each.name for each in parts["choices"]}
    talks = [each for each in parts["talks"] if each.choices in ("", *choices)]
    names = {each.name for each in talks}
    chats = {each.event for each in parts["chats"]}
    consistent = {
        **parts,
        "choices": [
            replace(each, within=each.within if each.within in choices else "")
            for each in parts["choices"]
        ],
        "talks": talks,
        "chats": [
            each if each.talk in names else replace(each, talk="") for each in parts["chats"]
        ],
        "complete": {
            where: [*dict.fromkeys(name for name in given if name.removeprefix("-") in choices)]
            for where, given in parts["complete"].items()
            if len(where.split(" ")) == 2
        },
        "aliases": _of(parts["aliases"], lambda alias: WORD.fullmatch(alias) is not None),
        "events": _of(
            parts["events"], lambda key: key.split(" ")[0] not in {*chats, *RESERVED_EVENTS}
        ),
    }
    for part, name in _NAMES.items():  # The first of each name counts.
        named = {getattr(each, name): each for each in reversed(consistent[part])}
        consistent[part] = [*reversed(named.values())]
    return consistent
