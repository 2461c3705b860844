"""Replies and lines of servers, as values; with these goes what they tell (`told`) and what can go
wrong in asking them (`problems`).

`docs/protocol.md` is the source of every member named here. Members that are not known are left
alone; a known one of a wrong type is a `BadReply`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

from bbs.client import oldest
from bbs.client.problems import (
    BadReply,
    ClientError,
    Incomplete,
    Lost,
    NotTrusted,
    Refused,
    TurnedAway,
    Unreachable,
)
from bbs.client.told import ChatMessage, ServiceEvent, Waiting
from bbs.core.addresses import Address

__all__ = [
    "BadReply",
    "ChatMessage",
    "ClientError",
    "Incomplete",
    "Lost",
    "NotTrusted",
    "Origin",
    "Refused",
    "ServiceEvent",
    "ServiceReply",
    "TurnedAway",
    "Unreachable",
    "Waiting",
    "read_address",
    "read_line",
]

DEEPEST = 100
"""Lists and objects within each other in a line of a server's: more could not be shown again."""

LONGEST_CURSOR = 1000
"""Characters in the longest cursor of a list that is sent back."""

_TOKEN = re.compile("[!-~]+")


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
class ServiceReply:
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
        lists = [*self.lists]
        return lists[0] if len(lists) == 1 else None

    @property
    def has_more(self) -> bool:
        """Whether its list has others that are not there."""
        more = self.members.get("more")
        told = self.ok and isinstance(more, str) and more != "" and bool(self.lists)
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
    def lists(self) -> Mapping[str, Sequence[object]]:
        """The members that are lists."""
        return {
            name: value
            for name, value in self.members.items()
            if isinstance(value, list) and name != "more"
        }

    def names(self, member: str) -> tuple[str, ...]:
        """The list of texts in a member; `BadReply` when there is none."""
        names = self.members.get(member)
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return tuple(names)
        raise BadReply(f"The server gave no usable list under {member!r}")


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


def read_line(
    line: bytes, reply_class: type[ServiceReply] = ServiceReply
) -> ServiceReply | Mapping[str, object]:
    """One line from a server: a reply, or an event as its members. ValueError if neither.

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
            return reply_class(members, len(line))
    raise ValueError("neither a reply nor an event")
