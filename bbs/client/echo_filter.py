"""A filter for a client's own lines, which come back as events.

A message to a room reaches its sender too, and some events are about messages that the user sent on
another connection. A client sends on one connection and listens on another, so both come back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from unicodedata import normalize

from twisted.internet.interfaces import IReactorTime

from bbs.client.catalog import CommandCatalog
from bbs.client.replies import ChatMessage
from bbs.client.request import ClientRequest
from bbs.protocols.presentation import Presentation

EXPECTED = 60.0
"""Seconds in which a line from here comes back, even if its connection has to move to another
server. A later one counts as another person's, who typed the same."""

MOST_EXPECTED = 1000
"""Lines that are expected at a time. If there are more, the oldest are shown when they come."""


@dataclass(frozen=True)
class SentLine:
    """A line from `user` to a partner: one person, or a `room`."""

    user: str
    partner: str
    room: bool
    text: str

    @classmethod
    def by_request(cls, presentation: Presentation, request: ClientRequest) -> SentLine | None:
        """The line that a request sends; None if its command does not send lines."""
        talk = presentation.sends(request.name)
        # Without the usage it is unknown whether a request is complete.
        if talk is None or request.info is None or not request.is_complete:
            return None
        partner = request.words[2] if talk.choices else talk.name
        return cls(request.user, partner, talk.room, request.text)

    @classmethod
    def by_message(cls, presentation: Presentation, message: ChatMessage) -> SentLine:
        """The line in a message, as its sender said it."""
        partner = partner_name(presentation, message.sender, message)
        return cls(message.sender, partner, message.group is not None, message.text)

    @property
    def as_stored(self) -> SentLine:
        """This line with its names in NFC, the form in which services store them."""
        user, partner = (normalize("NFC", name) for name in (self.user, self.partner))
        return replace(self, user=user, partner=partner)


def partner_name(presentation: Presentation, user: str, message: ChatMessage) -> str:
    """The partner to whom `user` would reply: a person or a room."""
    talk = presentation.talk(message.talk, message.group is not None)
    if talk.send and not talk.choices:
        return talk.name
    if message.group is not None:
        return message.group
    return message.sender if message.sender != user else message.to or ""


class EchoFilter:
    """The lines that were sent from here and have not come back yet, each once."""

    __slots__ = ("_clock", "_expected", "_vocabulary")

    def __init__(self, clock: IReactorTime, vocabulary: CommandCatalog) -> None:
        self._clock = clock
        self._vocabulary = vocabulary
        # No deque: an empty one takes ten times the memory, and most are empty.
        self._expected: list[tuple[float, SentLine]] = []

    def expect(self, request: ClientRequest) -> None:
        """Expect the line of a request, which may come back before the reply."""
        line = SentLine.by_request(self._vocabulary.presentation, request)
        if line is not None:
            self._forget()
            self._expected.append((self._clock.seconds() + EXPECTED, line.as_stored))

    def withdraw(self, request: ClientRequest) -> None:
        """Stop expecting a line that was refused, or got no reply: its return shows its success."""
        line = SentLine.by_request(self._vocabulary.presentation, request)
        if line is not None:
            self._take(line.as_stored)

    def was_said_here(self, message: ChatMessage) -> bool:
        """Whether a message is an expected line, which has now come back."""
        self._forget()
        return self._take(SentLine.by_message(self._vocabulary.presentation, message).as_stored)

    def _take(self, line: SentLine) -> bool:
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
