"""The board's replies as values. `docs/protocol.md` is the source of every member named here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from bbs.board.client.face import face
from bbs.client import BadReply, ChatMessage, ServiceReply
from bbs.client.told import MOST_ID, read_time

T = TypeVar("T")


@dataclass(frozen=True)
class Post:
    """A post as a friend of its author reads it; `time` is when it was stored, in seconds since the
    epoch, where the server says that."""

    author: str
    text: str
    time: float | None = None

    @classmethod
    def read(cls, value: object) -> Post:
        """Read a post from an entry of a list; TypeError if it is something else."""
        if isinstance(value, dict):
            author, text = value.get("id"), value.get("message")
            if isinstance(author, str) and isinstance(text, str):
                return cls(author, text, read_time(value.get("time")))
        raise TypeError("not a post")


@dataclass(frozen=True)
class Presence:
    """Whether a friend is online, and when they were here last, in seconds since the epoch; None
    where that is not known."""

    name: str
    online: bool
    last: float | None = None

    @classmethod
    def read(cls, value: object) -> Presence:
        """Read a presence from an entry of a list; TypeError if it is something else."""
        if isinstance(value, dict):
            name, online = value.get("id"), value.get("online")
            if isinstance(name, str) and isinstance(online, bool) and "last" in value:
                return cls(name, online, read_time(value.get("last")))
        raise TypeError("not a presence")


@dataclass(frozen=True)
class Missed:
    """The news for a user who has just logged in: the number of invitations, and of messages that
    came meanwhile. These messages begin behind the id `after`."""

    invitations: int
    messages: int
    after: int

    @classmethod
    def read(cls, value: object) -> Missed | None:
        """Read the member `waiting` of the reply to `login`; None if it is missing or malformed."""
        if isinstance(value, dict):
            told = [value.get(name) for name in ("invitations", "messages", "after")]
            counts = [each for each in told if type(each) is int and 0 <= each <= MOST_ID]
            if len(counts) == len(told):
                return cls(*counts)
        return None


@dataclass(frozen=True)
class Reply(ServiceReply):
    """A reply of the board's."""

    @property
    def is_backwards(self) -> bool:
        """Whether its list is of the latest, and others are older."""
        return face.listing(self.list_name).backwards

    @property
    def posts(self) -> tuple[Post, ...]:
        """The answer to `receive-post`."""
        return self._read("post", "posts", Post.read)

    @property
    def presences(self) -> tuple[Presence, ...]:
        """The answer to `who`: friends, and whether they are there."""
        return self._read("friend", "friends", Presence.read)

    @property
    def messages(self) -> tuple[ChatMessage, ...]:
        """The answer to `history`: messages of before, oldest first."""
        return self._read("history", "messages", ChatMessage.read)

    @property
    def missed(self) -> Missed | None:
        """The news in the reply to `login`; None from older servers."""
        return Missed.read(self.members.get("waiting"))

    def _read(self, member: str, what: str, read: Callable[[Any], T]) -> tuple[T, ...]:
        values = self.members.get(member)
        if isinstance(values, list):
            with suppress(TypeError, BadReply):
                return tuple(read(value) for value in values)
        raise BadReply(f"The server gave no usable list of {what}")
