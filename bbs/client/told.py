"""What servers tell: messages, posts, who is there, what waits.

`docs/protocol.md` is the source of every member named here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bbs.client.problems import BadReply

LONGEST_WAIT = 366 * 24 * 3600.0
"""Seconds in the longest wait that is believed; what is more may not even be a number to show."""

MOST_ID = 2**63 - 1
"""The highest id of a message that a server takes behind `listen`."""

LAST_TIME = 253_402_128_000.0
"""The last time that is believed, in seconds since the epoch: the calendar that people read it by
ends with the year 9999, and their zones a day before that."""


@dataclass(frozen=True)
class Post:
    """A post as a friend of its author reads it; `time` is when it was stored, in seconds since the
    epoch, where the server says that."""

    author: str
    text: str
    time: float | None = None

    @classmethod
    def read(cls, value: object) -> Post:
        if isinstance(value, dict):
            author, text = value.get("id"), value.get("message")
            if isinstance(author, str) and isinstance(text, str):
                return cls(author, text, _time(value.get("time")))
        raise TypeError("not a post")


@dataclass(frozen=True)
class ChatMessage:
    """A message, pushed or from before: to one reader (`to`), or to a group (`group`); the other is
    None.

    `time` is when it was stored, in seconds since the epoch; None from servers that do not say. It
    is `former` where a name in it was somebody else's account then than it is now.
    """

    id: int
    sender: str
    text: str = field(repr=False)
    to: str | None = None
    group: str | None = None
    time: float | None = None
    former: bool = False

    @classmethod
    def read(cls, event: Mapping[str, object]) -> ChatMessage:
        """The message in an event; `BadReply` when it is none."""
        if not isinstance(event, Mapping):
            raise BadReply("The server sent a message that is none")
        id, sender, text = event.get("id"), event.get("from"), event.get("message")
        to, group = event.get("to"), event.get("group")
        if type(id) is int and isinstance(sender, str) and isinstance(text, str):
            time, former = _time(event.get("time")), event.get("former") is True
            if isinstance(to, str):
                return cls(id, sender, text, to, None, time, former)
            if isinstance(group, str):
                return cls(id, sender, text, None, group, time, former)
        raise BadReply("The server sent a message that is none")


@dataclass(frozen=True)
class Presence:
    """Whether a friend is online, and when they were here last, in seconds since the epoch; None
    where that is not known."""

    name: str
    online: bool
    last: float | None = None

    @classmethod
    def read(cls, value: object) -> Presence:
        if isinstance(value, dict):
            name, online = value.get("id"), value.get("online")
            if isinstance(name, str) and isinstance(online, bool) and "last" in value:
                return cls(name, online, _time(value.get("last")))
        raise TypeError("nobody's presence")


@dataclass(frozen=True)
class Missed:
    """What waits for a user who has just logged in: invitations, and messages that came while
    nobody was there. They begin behind the id `after`."""

    invitations: int
    messages: int
    after: int

    @classmethod
    def read(cls, value: object) -> Missed | None:
        """What a login says under `waiting`; None where that is nothing to go by."""
        if isinstance(value, dict):
            told = [value.get(name) for name in ("invitations", "messages", "after")]
            counts = [each for each in told if type(each) is int and 0 <= each <= MOST_ID]
            if len(counts) == len(told):
                return cls(*counts)
        return None


@dataclass(frozen=True)
class ServiceEvent:
    """An event that this client was not written for: one of the service's own."""

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


def _time(value: object) -> float | None:
    """Seconds since the epoch. Without its time a message is still one, so a wrong one is none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value if 0 <= value <= LAST_TIME else None
    return None
