"""Events as values: messages, events of the service's own, a place in the queue.

`docs/protocol.md` is the source of every member named here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count

from bbs.client.problems import BadReply
from bbs.protocols.presentation import ChatEvent, member

LONGEST_WAIT = 366 * 24 * 3600.0
"""Seconds in the longest wait that is believed; what is more may not even be a number to show."""

MOST_ID = 2**63 - 1
"""The highest id of a message that a server takes behind `listen`."""

LAST_TIME = 253_402_128_000.0
"""The last time that is believed, in seconds since the epoch: the calendar that people read it by
ends with the year 9999, and their zones a day before that."""


_PLAIN = ChatEvent("chat")
"""The members of a message, unless a service calls them otherwise (`docs/protocol.md`, section
4)."""

_unnumbered = count(-1, -1)
"""Ids of messages that have none: they tell one line from another, and nothing else."""


@dataclass(frozen=True)
class ChatMessage:
    """A message, pushed or from before: to one reader (`to`), or to a group (`group`); the other is
    None.

    `id` is negative if the service gives none. `time` is when the message was stored, in seconds
    since the epoch; None if the server does not say. `former`: the account behind a name in it is
    gone. `members` is the event as it came, and `talk` the service's word for such a conversation.
    """

    id: int
    sender: str
    text: str = field(repr=False)
    to: str | None = None
    group: str | None = None
    time: float | None = None
    former: bool = False
    members: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)
    talk: str = field(default="", repr=False, compare=False)

    @classmethod
    def read(cls, event: Mapping[str, object], form: ChatEvent = _PLAIN) -> ChatMessage:
        """The message in an event whose members `form` names; `BadReply` when it has none."""
        if not isinstance(event, Mapping):
            raise BadReply("Malformed message from the server")
        id = member(event, form.id) if form.id else next(_unnumbered)
        sender, text = member(event, form.sender), member(event, form.text)
        to, room = member(event, form.to), member(event, form.room)
        if type(id) is int and isinstance(sender, str) and isinstance(text, str):
            time, former = read_time(member(event, form.time)), member(event, form.former) is True
            if isinstance(to, str):
                return cls(id, sender, text, to, None, time, former, event, form.talk)
            if isinstance(room, str):
                return cls(id, sender, text, None, room, time, former, event, form.talk)
        raise BadReply("Malformed message from the server")


@dataclass(frozen=True)
class ServiceEvent:
    """An event that brings no message: one of the service's own."""

    members: Mapping[str, object] = field(repr=False)

    @property
    def text(self) -> str:
        """What the service has people read; empty when that is nothing."""
        text = self.members.get("text")
        return text if isinstance(text, str) else ""


@dataclass(frozen=True)
class Waiting:
    """Where a login or locate stands that waits for an app server.

    `position` counts from 1; `seconds` estimates the wait, None where there is nothing to go by.
    """

    position: int
    seconds: float | None = None

    @classmethod
    def read(cls, event: Mapping[str, object]) -> Waiting:
        """The place in an event; `BadReply` when it is none."""
        position, seconds = event.get("position"), event.get("seconds")
        if type(position) is int and position >= 1:
            if seconds is None:
                return cls(position)
            # Not a number (NaN) is not in any range either.
            if isinstance(seconds, (int, float)) and 0 <= seconds <= LONGEST_WAIT:
                return cls(position, seconds)
        raise BadReply("The server told a place in the queue that is none")


def read_id(value: object) -> int | None:
    """An id of a message; None if it is out of range or not a whole number."""
    return value if type(value) is int and 0 <= value <= MOST_ID else None


def read_time(value: object) -> float | None:
    """Seconds since the epoch. Without its time a message is still one, so a wrong one is none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value if 0 <= value <= LAST_TIME else None
    return None
