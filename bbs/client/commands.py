"""The commands as a person types them, and as they go over the wire.

A person types names where the wire wants access tokens. Which commands have a name in that place,
and which server they are for, is in the table here: the usage columns of `docs/protocol.md`. What
is not in it goes to the login server as typed, and that answers for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bbs.protocols.commands import Role


@dataclass(frozen=True)
class Command:
    """One row of the protocol's tables.

    `harmless`: doing it twice is as good as doing it once, so that it may be sent again where it
    is not known whether it was carried out. `login` is: a user who is online keeps the place
    "whoever asks and however often". `waits`: the answer may take as long as an app server takes
    to start, so it goes on a connection of its own and delays nothing else.
    """

    usage: str
    role: Role
    harmless: bool = False
    waits: bool = False

    @property
    def name(self) -> str:
        return self.usage.split()[0]

    @property
    def parameters(self) -> list[str]:
        return self.usage.split()[1:]

    @property
    def user(self) -> bool:
        """Whether the first parameter is a name that goes over the wire as a token."""
        return self.parameters[:1] == ["<user>"]

    @property
    def text(self) -> bool:
        """Whether the last parameter is the rest of the line, exactly as typed."""
        return self.parameters[-1:] == ["<message>"]


TABLE: tuple[Command, ...] = (
    Command("register <id> <password>", Role.LOGIN),
    Command("login <id> <password>", Role.LOGIN, harmless=True, waits=True),
    Command("logout <user>", Role.LOGIN),
    Command("delete <user>", Role.LOGIN),
    Command("locate <user>", Role.LOGIN, harmless=True, waits=True),
    Command("invite <user> <id>", Role.APP),
    Command("list-invite <user>", Role.APP, harmless=True),
    Command("accept-invite <user> <id>", Role.APP),
    Command("list-friend <user>", Role.APP, harmless=True),
    Command("post <user> <message>", Role.APP),
    Command("receive-post <user>", Role.APP, harmless=True),
    Command("send <user> <friend> <message>", Role.APP),
    Command("create-group <user> <group>", Role.APP),
    Command("list-group <user>", Role.APP, harmless=True),
    Command("list-joined <user>", Role.APP, harmless=True),
    Command("join-group <user> <group>", Role.APP),
    Command("send-group <user> <group> <message>", Role.APP),
    Command("listen <user> [<id>]", Role.APP, harmless=True),
    Command("help", Role.EITHER, harmless=True),
    Command("ping", Role.EITHER, harmless=True),
    Command("quit", Role.EITHER, harmless=True),
    Command("events", Role.EITHER, harmless=True),
)

COMMANDS: Mapping[str, Command] = {command.name: command for command in TABLE}

_WORD = re.compile(r" *([^ ]+)")
_WITH_PASSWORD = re.compile(r"\A([ /]*(?:login|register) +[^ ]+) .*", re.DOTALL)


@dataclass(frozen=True)
class Typed:
    """A line as typed, understood as far as the client needs to.

    `words` are the command's name and its arguments; of a command that ends in a message, those
    before it, and `text` is the message. A line may hold surrogate escapes for bytes that are not
    UTF-8; they go out as the bytes that they were, so that the server answers for them.
    """

    line: str
    command: Command
    words: tuple[str, ...]
    text: str
    _name: slice

    @classmethod
    def parse(cls, line: str) -> Typed:
        """Understand a line; ValueError for a blank one and for one that is not one line."""
        if "\n" in line or line.endswith("\r"):
            raise ValueError("a request is one line")
        first = _WORD.match(line)
        if first is None:
            raise ValueError("a blank line is no request")
        command = COMMANDS.get(first[1]) or Command(first[1], Role.LOGIN)
        most = len(command.parameters) if command.text else len(line)
        words, end, name = [first[1]], first.end(), slice(0, 0)
        while len(words) < most and (word := _WORD.match(line, end)):
            if len(words) == 1 and command.user:
                name = slice(word.start(1), word.end(1))
            words.append(word[1])
            end = word.end()
        return cls(line, command, tuple(words), line[end + 1 :], name)

    @property
    def user(self) -> str:
        """The name in the place of `<user>`; empty when there is none."""
        return self.line[self._name]

    @property
    def is_complete(self) -> bool:
        """Whether everything that the command needs was typed."""
        needed = sum(not parameter.startswith("[") for parameter in self.command.parameters)
        return len(self.words) - 1 + bool(self.text.strip()) >= needed

    def wire(self, token: str) -> bytes:
        """The request, with `token` (empty: none is held) in the place of the name."""
        line = self.line
        if self._name.stop:
            line = line[: self._name.start] + token + line[self._name.stop :]
        # 0xFF begins a telnet command; doubled it stands for itself, and is answered.
        return line.encode("utf-8", "surrogateescape").replace(b"\xff", b"\xff\xff") + b"\n"


def typed(name: str, *arguments: str) -> Typed:
    """A request of a command in the table, from its arguments; ValueError when one cannot be sent.

    An argument that is not the message at the end must be one word: it could not be told apart.
    """
    words = arguments[:-1] if COMMANDS[name].text else arguments
    for word in words:
        if not word or " " in word:
            raise ValueError("a name or password is one word, without spaces")
    return Typed.parse(" ".join((name, *arguments)))


def without_password(line: str) -> str:
    """What may be kept of a line as typed: `login` and `register` without what follows the name."""
    return _WITH_PASSWORD.sub(r"\1", line)
