"""A line as a person types it, and as it goes over the wire.

A person types names where the wire wants access tokens. Which words are such names depends on the
command, and which commands there are on the service.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bbs.client.commands import FRAMEWORK, REPEATABLE, WAITING, Offer
from bbs.protocols.commands import Role

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
class Typed:
    """A line as typed, understood as far as the client needs to.

    `offer` is None when nobody knows the command: it goes to the login server as typed, which
    answers for it. `words` are the command's name and its arguments; of a command whose last
    parameter is the rest of the line, those before it, and `text` is that rest. A line may hold
    surrogate escapes for bytes that are not UTF-8; they go out as the bytes that they were, so
    that the server answers for them.
    """

    line: str
    name: str
    offer: Offer | None
    words: tuple[str, ...]
    text: str
    _user: slice

    @classmethod
    def parse(cls, line: str, offers: Mapping[str, Offer]) -> Typed:
        """Understand a line by what is offered; ValueError where `first_word` raises it."""
        name = first_word(line)
        offer = offers.get(name)
        most = len(line)
        if offer is not None and offer.command.rest:
            most = offer.command.takes_user + offer.command.maximum
        words, end, user = [name], line.index(name) + len(name), slice(0, 0)
        while len(words) < most and (word := _WORD.match(line, end)):
            if len(words) == 1 and offer is not None and offer.command.takes_user:
                user = slice(word.start(1), word.end(1))
            words.append(word[1])
            end = word.end()
        return cls(line, name, offer, tuple(words), line[end + 1 :], user)

    @property
    def user(self) -> str:
        """The name in the place of `<user>`; empty when there is none."""
        return self.line[self._user]

    @property
    def takes_user(self) -> bool:
        """Whether the command is somebody's, whose name comes first."""
        return self.offer is not None and self.offer.command.takes_user

    @property
    def role(self) -> Role:
        """Which kind of server it is for."""
        return Role.LOGIN if self.offer is None else self.offer.command.role

    @property
    def waits(self) -> bool:
        """Whether the answer may take as long as an app server takes to start."""
        return self.name in WAITING

    @property
    def harmless(self) -> bool:
        """Whether it may be sent again where it is not known whether it was carried out."""
        return self.name in REPEATABLE or (self.offer is not None and self.offer.harmless)

    @property
    def is_complete(self) -> bool:
        """Whether everything that the command needs was typed."""
        if self.offer is None:
            return True
        needed = self.offer.command.takes_user + self.offer.command.minimum
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


def typed(offer: Offer, *arguments: str) -> Typed:
    """A request of a command, from its arguments; ValueError when one cannot be sent.

    An argument that is not the text at the end must be one word: it could not be told apart.
    """
    words = arguments[:-1] if offer.command.rest else arguments
    for word in words:
        if not word or " " in word:
            raise ValueError("a name or password is one word, without spaces")
    return Typed.parse(" ".join((offer.name, *arguments)), {offer.name: offer})


def framework(name: str, *arguments: str) -> Typed:
    """A request of one of the framework's commands; ValueError when it cannot be sent."""
    return typed(FRAMEWORK[name], *arguments)
