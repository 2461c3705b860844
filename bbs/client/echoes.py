"""What was said here and comes back: a person who saw it typed need not read it once more.

A group's message reaches its sender too, and `sent` tells of what a user has said on another
connection; a client that asks on one and listens on another hears of its own lines so.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime

from bbs.client.typed import Typed
from bbs.client.values import ChatMessage

EXPECTED = 60.0
"""Seconds in which a line comes back that was said here. By then its connection has moved to
another server, if it has to; afterwards it is taken for somebody else's, who typed the same."""

MOST_EXPECTED = 1000
"""Lines that are expected at a time; of more the oldest are shown when they come."""

SENDING = ("send", "send-group")
"""Commands by which something is said."""


@dataclass(frozen=True)
class Line:
    """Something that `user` says, to a friend or in a group."""

    user: str
    partner: str
    group: bool
    text: str

    @classmethod
    def of_request(cls, request: Typed) -> Line | None:
        if request.name not in SENDING or not request.familiar:
            return None
        partner, group = request.words[2], request.name == "send-group"
        return cls(_name(request.user), _name(partner), group, request.text)

    @classmethod
    def of_message(cls, message: ChatMessage) -> Line:
        group = message.group is not None
        partner = message.group if message.group is not None else message.to or ""
        return cls(_name(message.sender), _name(partner), group, message.text)


class Echoes:
    """Lines that were said here and have not come back yet, each once."""

    __slots__ = ("_clock", "_expected")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        # No deque: an empty one takes ten times the memory, and most are empty.
        self._expected: list[tuple[float, Line]] = []

    def expect(self, request: Typed) -> None:
        """A request goes out. It may come back before its answer does."""
        line = Line.of_request(request)
        if line is not None:
            self._forget()
            self._expected.append((self._clock.seconds() + EXPECTED, line))

    def withdraw(self, request: Typed) -> None:
        """It was refused, or nobody knows whether it was carried out: if it comes back, that says
        so."""
        line = Line.of_request(request)
        if line is not None:
            self._take(line)

    def was_said_here(self, message: ChatMessage) -> bool:
        """Whether a message is such a line; then it has come back."""
        self._forget()
        return self._take(Line.of_message(message))

    def _take(self, line: Line) -> bool:
        for place, (_, expected) in enumerate(self._expected):
            if expected == line:
                del self._expected[place]
                return True
        return False

    def _forget(self) -> None:
        now = self._clock.seconds()
        while self._expected and (
            self._expected[0][0] <= now or len(self._expected) >= MOST_EXPECTED
        ):
            del self._expected[0]


def _name(name: str) -> str:
    """A name as the service has it that was typed in another form of Unicode."""
    return unicodedata.normalize("NFC", name)
