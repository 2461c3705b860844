"""What servers say, as values, and what can go wrong in asking them.

`docs/protocol.md` is the source of every member named here. Members that are not known are left
alone; a known one of a wrong type is a `BadReply`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, TypeVar

from bbs.addresses import Address
from bbs.client import oldest

LONGEST_WAIT = 366 * 24 * 3600.0
"""Seconds in the longest wait that is believed; what is more may not even be a number to show."""

MOST_ID = 2**63 - 1
"""The highest id of a message that a server takes behind `listen`."""

LAST_TIME = 253_402_128_000.0
"""The last time that is believed, in seconds since the epoch: the calendar that people read it by
ends with the year 9999, and their zones a day before that."""

DEEPEST = 100
"""Lists and objects within each other in a line of a server's: more could not be shown again."""

LONGEST_CURSOR = 1000
"""Characters in the longest cursor of a list that is sent back."""

BACKWARDS = ("post", "history")
"""Lists of which the latest come first, and by `more` what is older; of others what follows."""

T = TypeVar("T")

_TOKEN = re.compile("[!-~]+")


class ClientError(Exception):
    """A request got no usable answer; the text is one line for the person who asked."""


class Unreachable(ClientError):
    """No server could be reached; the request was not carried out, unless it was harmless."""


class Lost(ClientError):
    """The request was sent and no answer came: whether it was carried out is not known."""


class BadReply(ClientError):
    """The server carried the request out and told of it in a way that is not in the protocol."""


class NotTrusted(ClientError):
    """The login server does not take this gateway's word for whom it speaks (`Origin`)."""


class Incomplete(ClientError):
    """A list was to come whole, and has others that could not be had; `reply` has those that
    came."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"The list did not come whole: {reply.lacking or 'there are others'}")
        self.reply = reply


class Refused(ClientError):
    """The server said no; the request was not carried out. The text is the server's message."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.message or "")
        self.reply = reply


def read_address(value: object) -> Address:
    """The address in a member `app_server`; `BadReply` when it is none."""
    try:
        return Address.from_json(value)
    except ValueError:
        raise BadReply("The server gave no usable address of an app server") from None


@dataclass(frozen=True)
class Origin:
    """For whom a gateway speaks: their address, and the secret by which it is believed."""

    host: str
    secret: str = field(repr=False)

    @property
    def greeting(self) -> bytes:
        """The request that says so, with its end."""
        return f"forwarded-for {self.host} {self.secret}\n".encode()


@dataclass(frozen=True)
class Reply:
    """One reply. A login's members hold the token, so they are in no repr and no log.

    `size` is in bytes on the wire, 0 for one that did not come from there. Where the list of one
    has others that are not there (`has_more`), `lacking` says why, in a few words of anybody's.
    """

    members: Mapping[str, object] = field(repr=False)
    size: int = field(default=0, repr=False, compare=False)
    lacking: str = field(default="", repr=False, compare=False)

    @property
    def ok(self) -> bool:
        return self.members["status"] == 0

    @property
    def message(self) -> str | None:
        """What the server says to people, or None when it says it by a list."""
        message = self.members.get("message")
        return message if isinstance(message, str) else None

    @property
    def code(self) -> str | None:
        """Why the server said no, for programs; None when it said yes, or nothing to go by."""
        if self.ok:
            return None
        code = self.members.get("code")
        return code if isinstance(code, str) else oldest.code_of(self.message or "")

    @property
    def redirect(self) -> Address | None:
        """Where the server says that this request belongs, when it says so."""
        if self.ok or "app_server" not in self.members:
            return None
        return read_address(self.members["app_server"])

    @property
    def app_server(self) -> Address:
        return read_address(self.members.get("app_server"))

    @property
    def token(self) -> str:
        token = self.members.get("token")
        # It goes into a line as one word, so it is of what every line can hold.
        if isinstance(token, str) and _TOKEN.fullmatch(token):
            return token
        raise BadReply("The server gave no usable access token")

    @property
    def list_name(self) -> str | None:
        """The name of its list; None where it has none, or more than one."""
        lists = self._lists
        return lists[0] if len(lists) == 1 else None

    @property
    def is_backwards(self) -> bool:
        """Whether its list is of the latest, and others are older."""
        return self.list_name in BACKWARDS

    @property
    def has_more(self) -> bool:
        """Whether its list has others that are not there."""
        more = self.members.get("more")
        told = self.ok and isinstance(more, str) and more != "" and bool(self._lists)
        return told or bool(self.lacking)

    @property
    def cursor(self) -> str | None:
        """By which the others are asked for; None when there are none, or it cannot be used."""
        more = self.members.get("more")
        # It goes into a line as one word, so it is of what every line can hold.
        if self.ok and isinstance(more, str) and len(more) <= LONGEST_CURSOR:
            return more if _TOKEN.fullmatch(more) else None
        return None

    @property
    def _lists(self) -> list[str]:
        return [
            name
            for name, value in self.members.items()
            if isinstance(value, list) and name != "more"
        ]

    def names(self, member: str) -> tuple[str, ...]:
        """The list under `invite`, `friend` or `group`."""
        names = self.members.get(member)
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return tuple(names)
        raise BadReply(f"The server gave no usable list under {member!r}")

    @property
    def posts(self) -> tuple[Post, ...]:
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
        """What waits for who has just logged in; None from servers that do not say."""
        return Missed.read(self.members.get("waiting"))

    def _read(self, member: str, what: str, read: Callable[[Any], T]) -> tuple[T, ...]:
        values = self.members.get(member)
        if isinstance(values, list):
            with suppress(TypeError, BadReply):
                return tuple(read(value) for value in values)
        raise BadReply(f"The server gave no usable list of {what}")


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


def _is_deep(members: object) -> bool:
    level, depth = [members], 0
    while level and depth <= DEEPEST:
        depth += 1
        level = [
            inner
            for each in level
            if isinstance(each, (dict, list))
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return depth > DEEPEST


def _finite(text: str) -> float:
    number = float(text)
    if isfinite(number):
        return number
    raise ValueError("not a number of JSON's")


# What `json.loads` does with these arguments, but that it makes a decoder for every line.
_JSON = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)


def read_line(line: bytes) -> Reply | Mapping[str, object]:
    """One line from a server: a `Reply`, or an event as its members. ValueError if neither.

    JSON has no `NaN` and no `Infinity`. A line with one is neither, and so is a line with a number
    that Python takes for infinite, such as `1e999`: it could be told to nobody as JSON.
    """
    try:
        members = _JSON.decode(line.decode(json.detect_encoding(line), "surrogatepass"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if line.count(b"[") + line.count(b"{") > DEEPEST and _is_deep(members):
        raise ValueError("nested too deeply")
    if isinstance(members, dict):
        if isinstance(members.get("event"), str):
            return members
        if members.get("status") in (0, 1):
            return Reply(members, len(line))
    raise ValueError("neither a reply nor an event")
