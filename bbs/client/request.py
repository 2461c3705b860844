"""Requests to a service: a line as a person types it, the command that it names, and its bytes.

A service says by `commands` (`docs/protocol.md`, section 3) what it has, so a client handles
commands that it was not written for. What a server says of them is foreign text: malformed usages
are passed over, and there are bounds for the rest.

A person types names where the wire wants access tokens. Which words are such names depends on the
command, and which commands there are on the service.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bbs.protocols.commands import Command, Role

MOST_OFFERS = 1000
"""Commands that are taken from a server; what follows in its list is passed over."""

MOST_USAGE = 1000
"""Characters in the longest usage that is taken."""


@dataclass(frozen=True)
class CommandInfo:
    """A command that a service has. `harmless`: twice is as good as once, so that it may be sent
    again when its answer was lost."""

    command: Command
    harmless: bool = False

    @property
    def name(self) -> str:
        return self.command.name

    @property
    def usage(self) -> str:
        return self.command.usage

    def is_same(self, other: Command) -> bool:
        """Whether it is used as another command is."""
        ours = self.command
        return (ours.usage, ours.role, ours.rest) == (other.usage, other.role, other.rest)


def command_infos(*commands: Command) -> Mapping[str, CommandInfo]:
    """Commands by name, as a client has them."""
    return {command.name: CommandInfo(command, command.harmless) for command in commands}


BASICS: Mapping[str, CommandInfo] = command_infos(
    Command("register <id> <password>", Role.LOGIN),
    Command("login <id> <password>", Role.LOGIN, harmless=True),
    Command("logout <user>", Role.LOGIN),
    Command("delete <user>", Role.LOGIN),
    Command("locate <user>", Role.LOGIN, harmless=True),
    Command("listen <user> [<id>]", Role.APP, harmless=True),
    Command("help", Role.EITHER, harmless=True),
    Command("ping", Role.EITHER, harmless=True),
    Command("quit", Role.EITHER, harmless=True),
    Command("events", Role.EITHER, harmless=True),
)
"""The commands that services of every version list."""

FRAMEWORK: Mapping[str, CommandInfo] = {
    **BASICS,
    **command_infos(
        Command("change-password <user> <old> <new>", Role.LOGIN),
        Command("more <user> <cursor>", Role.APP, harmless=True, listed=False),
    ),
}
"""The framework's commands in this version."""

EVERY_SERVICE = frozenset((*BASICS, "commands"))
"""The commands of every service; a client need not ask for them."""

WAITING = frozenset(("login", "locate"))
"""The commands that may take as long as an app server takes to start. Each has a connection of its
own, and delays nothing else."""

REPEATABLE = EVERY_SERVICE - {"register", "logout", "delete"}
"""The commands that a client may repeat after a lost reply. `login` is one: a user who is online
keeps the place "whoever asks and however often"."""


def read_command_infos(value: object) -> Mapping[str, CommandInfo] | None:
    """The commands in the member `commands` of an answer, by name; None when it is no list.

    Those of the login server come first, then the app servers', then either's, as in every help.
    """
    if not isinstance(value, list):
        return None
    commands: dict[str, CommandInfo] = {}
    for told in value[:MOST_OFFERS]:
        info = _read(told)
        if info is not None:
            commands.setdefault(info.name, info)
    return in_order(commands)


def in_order(commands: Mapping[str, CommandInfo]) -> Mapping[str, CommandInfo]:
    """Commands as every help has them: the login server's, the app servers', then either's."""
    servers = [*Role]
    ordered = sorted(commands.values(), key=lambda info: servers.index(info.command.role))
    return {info.name: info for info in ordered}


def _read(told: object) -> CommandInfo | None:
    if not isinstance(told, dict):
        return None
    usage, server = told.get("usage"), told.get("server")
    if not isinstance(usage, str) or not isinstance(server, str) or len(usage) > MOST_USAGE:
        return None
    try:
        command = Command(usage, Role(server), rest=told.get("rest") is True)
    except ValueError:
        return None
    return CommandInfo(command, told.get("harmless") is True)


_WORD = re.compile(r" *([^ ]+)")


def first_word(line: str) -> str:
    """The name of a line's command; ValueError for a blank line and for what is not one line."""
    if "\n" in line or line.endswith("\r"):
        raise ValueError("a request is one line")
    first = _WORD.match(line)
    if first is None:
        raise ValueError("a blank line is no request")
    return first[1]


@dataclass(frozen=True)
class ClientRequest:
    """A line as typed, understood as far as the client needs to.

    `info` is None when nobody knows the command: it goes to the login server as typed, which
    answers for it. `words` are the command's name and its arguments; of a command whose last
    parameter is the rest of the line, those before it, and `text` is that rest. A line may hold
    surrogate escapes for bytes that are not UTF-8; they go out as the bytes that they were, so
    that the server answers for them.
    """

    line: str
    name: str
    info: CommandInfo | None
    words: tuple[str, ...]
    text: str
    _user: slice

    @classmethod
    def parse(cls, line: str, commands: Mapping[str, CommandInfo]) -> ClientRequest:
        """Understand a line by what is offered; ValueError where `first_word` raises it."""
        name = first_word(line)
        info = commands.get(name)
        most = len(line)
        if info is not None and info.command.rest:
            most = info.command.takes_user + info.command.maximum
        words, end, user = [name], line.index(name) + len(name), slice(0, 0)
        while len(words) < most and (word := _WORD.match(line, end)):
            if len(words) == 1 and info is not None and info.command.takes_user:
                user = slice(word.start(1), word.end(1))
            words.append(word[1])
            end = word.end()
        return cls(line, name, info, tuple(words), line[end + 1 :], user)

    @property
    def user(self) -> str:
        """The name in the place of `<user>`; empty when there is none."""
        return self.line[self._user]

    @property
    def takes_user(self) -> bool:
        """Whether the command is somebody's, whose name comes first."""
        return self.info is not None and self.info.command.takes_user

    @property
    def role(self) -> Role:
        """Which kind of server it is for."""
        return Role.LOGIN if self.info is None else self.info.command.role

    @property
    def waits(self) -> bool:
        """Whether the answer may take as long as an app server takes to start."""
        return self.name in WAITING

    @property
    def harmless(self) -> bool:
        """Whether it may be sent again where it is not known whether it was carried out."""
        return self.name in REPEATABLE or (self.info is not None and self.info.harmless)

    @property
    def is_complete(self) -> bool:
        """Whether everything that the command needs was typed."""
        if self.info is None:
            return True
        needed = self.info.command.takes_user + self.info.command.minimum
        return len(self.words) - 1 + bool(self.text.strip()) >= needed

    @property
    def argument(self) -> str | None:
        """The first argument behind the user, which may be the rest of the line."""
        return self.words[2] if len(self.words) > 2 else self.text or None

    def wire(self, token: str) -> bytes:
        """The request, with `token` (empty: none is held) in the place of the name."""
        line = self.line
        if self._user.stop:
            line = line[: self._user.start] + token + line[self._user.stop :]
        # 0xFF begins a telnet command; doubled it stands for itself, and is answered.
        return line.encode("utf-8", "surrogateescape").replace(b"\xff", b"\xff\xff") + b"\n"


def make_request(info: CommandInfo, *arguments: str) -> ClientRequest:
    """A request of a command, from its arguments; ValueError when one cannot be sent.

    An argument that is not the text at the end must be one word: it could not be told apart.
    """
    words = arguments[:-1] if info.command.rest else arguments
    for word in words:
        if not word or " " in word:
            raise ValueError("a name or password is one word, without spaces")
    return ClientRequest.parse(" ".join((info.name, *arguments)), {info.name: info})


def framework_request(name: str, *arguments: str) -> ClientRequest:
    """A request of one of the framework's commands; ValueError when it cannot be sent."""
    return make_request(FRAMEWORK[name], *arguments)
