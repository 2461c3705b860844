"""Requests to a service: the line that a person types, its command, and its bytes on the wire.

A service lists its commands in its reply to `commands` (`docs/protocol.md`, section 3), so clients
handle commands that they were not written for. Clients do not trust that list: they ignore
malformed usages, and limit the rest.

A person types names where the wire has access tokens. The command says which word is such a name,
and the service which commands there are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bbs.protocols.commands import Command, Role

MOST_OFFERS = 1000  # commands that are taken from a server; later ones in its list are ignored
MOST_USAGE = 1000  # characters of a usage; commands with longer ones are ignored


@dataclass(frozen=True)
class CommandInfo:
    """A command of a service; a `harmless` one may be sent again if its reply was lost."""

    command: Command
    harmless: bool = False

    @property
    def name(self) -> str:
        return self.command.name

    @property
    def usage(self) -> str:
        return self.command.usage

    def is_same(self, other: Command) -> bool:
        """Whether it is used like another command."""
        ours = self.command
        return (ours.usage, ours.role, ours.rest) == (other.usage, other.role, other.rest)


def command_infos(*commands: Command) -> Mapping[str, CommandInfo]:
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
"""The commands of every service, for which a client need not ask."""

WAITING = frozenset(("login", "locate"))
"""The commands that may have to wait for the start of an app server. Each has a connection of its
own, so that it does not delay other requests."""

REPEATABLE = EVERY_SERVICE - {"register", "logout", "delete"}
"""Commands that a client may repeat after a lost reply. `login` is one: a user who is online keeps
the place "whoever asks and however often"."""


def read_command_infos(value: object) -> Mapping[str, CommandInfo] | None:
    """Read the list of commands in a reply, by name and in order; None if it is not a list."""
    if not isinstance(value, list):
        return None
    commands: dict[str, CommandInfo] = {}
    for entry in value[:MOST_OFFERS]:
        if info := _read_info(entry):
            commands.setdefault(info.name, info)
    return in_order(commands)


def in_order(commands: Mapping[str, CommandInfo]) -> Mapping[str, CommandInfo]:
    """Sort commands as every help does: the login server's, the app servers', then either's."""
    servers = [*Role]
    ordered = sorted(commands.values(), key=lambda info: servers.index(info.command.role))
    return {info.name: info for info in ordered}


def _read_info(entry: object) -> CommandInfo | None:
    if not isinstance(entry, dict):
        return None
    usage, server = entry.get("usage"), entry.get("server")
    if not isinstance(usage, str) or not isinstance(server, str) or len(usage) > MOST_USAGE:
        return None
    try:
        command = Command(usage, Role(server), rest=entry.get("rest") is True)
    except ValueError:
        return None
    return CommandInfo(command, entry.get("harmless") is True)


_WORD = re.compile(r" *([^ ]+)")


def first_word(line: str) -> str:
    """The name of a line's command; ValueError for a blank line and for several lines."""
    if "\n" in line or line.endswith("\r"):
        raise ValueError("a request is one line")
    first = _WORD.match(line)
    if first is None:
        raise ValueError("the line is blank")
    return first[1]


@dataclass(frozen=True)
class ClientRequest:
    """A line as typed, parsed as far as the client needs it.

    `info` is None for an unknown command: the line goes to the login server as typed, which
    answers. `words` are the command's name and its arguments. If the last parameter is the rest of
    the line, `words` are those before it, and `text` is the rest. A line may have surrogate escapes
    for bytes that are not UTF-8; these bytes are sent as they were, and the server answers.
    """

    line: str
    name: str
    info: CommandInfo | None
    words: tuple[str, ...]
    text: str
    _user: slice

    @classmethod
    def parse(cls, line: str, commands: Mapping[str, CommandInfo]) -> ClientRequest:
        """Parse a line with these commands; ValueError as in `first_word`."""
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
        """The name in the place of `<user>`; empty without one."""
        return self.line[self._user]

    @property
    def takes_user(self) -> bool:
        """Whether the user's name is the first argument."""
        return self.info is not None and self.info.command.takes_user

    @property
    def role(self) -> Role:
        return Role.LOGIN if self.info is None else self.info.command.role

    @property
    def waits(self) -> bool:
        """Whether the reply may have to wait for the start of an app server."""
        return self.name in WAITING

    @property
    def harmless(self) -> bool:
        """Whether it may be sent again if its reply was lost."""
        return self.name in REPEATABLE or (self.info is not None and self.info.harmless)

    @property
    def is_complete(self) -> bool:
        """Whether the line has all arguments that the command needs."""
        if self.info is None:
            return True
        needed = self.info.command.takes_user + self.info.command.minimum
        return len(self.words) - 1 + bool(self.text.strip()) >= needed

    @property
    def argument(self) -> str | None:
        """The first argument after the user, which may be the rest of the line."""
        return self.words[2] if len(self.words) > 2 else self.text or None

    def wire(self, token: str) -> bytes:
        """The bytes of the request, with `token` (empty if there is none) in place of the name."""
        line = self.line
        if self._user.stop:
            line = line[: self._user.start] + token + line[self._user.stop :]
        # 0xFF begins a telnet command; doubled it stands for itself.
        return line.encode("utf-8", "surrogateescape").replace(b"\xff", b"\xff\xff") + b"\n"


def make_request(info: CommandInfo, *arguments: str) -> ClientRequest:
    """Make a request; ValueError if an argument, except the text at the end, is not one word."""
    words = arguments[:-1] if info.command.rest else arguments
    for word in words:
        if not word or " " in word:
            raise ValueError("a name or password is one word, without spaces")
    return ClientRequest.parse(" ".join((info.name, *arguments)), {info.name: info})


def framework_request(name: str, *arguments: str) -> ClientRequest:
    """Make a request of one of the framework's commands, as `make_request` does."""
    return make_request(FRAMEWORK[name], *arguments)
