"""Lines from servers as values: replies, messages, and events of the service's own.

`docs/protocol.md` is the source of every member named here. Unknown members are ignored; a known
member of a wrong type is a `BadReply`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import isfinite
from typing import TypeGuard, TypeVar

from bbs.client.errors import BadReply
from bbs.core.addresses import Address
from bbs.core.errors import NotLoggedIn, WrongCredentials
from bbs.protocols.commands import UnknownCommand, WrongUsage
from bbs.protocols.forms import member
from bbs.protocols.presentation import ChatEvent

T = TypeVar("T")

LONGEST_WAIT = 366 * 24 * 3600.0  # s; a longer one may not even be a number to show
MOST_ID = 2**63 - 1  # the highest id of a message that a server takes after `listen`

LAST_TIME = 253_402_128_000.0
"""The last time that is accepted, in seconds since the epoch: a day, for time zones, before the
year 10,000, which calendars do not have."""

DEEPEST = 32  # lists and objects within each other: the deepest, a presentation, has five

MOST_VALUES = 1_000_000
"""Values in one line, and in all parts of one list: each takes up to 90 bytes of memory, and as few
as three on the wire. A list of 200,000 posts has as many."""

LONGEST_CURSOR = 1000  # characters
LONGEST_DEVICE = 200  # characters; a server takes no longer ones

_TOKEN = re.compile("[!-~]+")
_PLAIN = ChatEvent("chat")  # the usual names of a message's members (docs/protocol.md, section 4)
_own_ids = count(-1, -1)  # ids of messages without an id, only to tell them apart


@dataclass(frozen=True)
class ChatMessage:
    """A message with a `text` of the user `sender`, new or from a history: to one reader (`to`), or
    to a group (`group`); the other of these is None.

    `id` is negative if the service gives none. `time` is when the message was stored, in seconds
    since the epoch; None if the server does not say. `former`: an account named in it is gone.
    `members` is the event as it came, and `talk` the service's word for such a conversation.
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
        """Read an event whose members `form` names, by default as the board's are named; `BadReply`
        if it is malformed."""
        if not isinstance(event, Mapping):
            raise BadReply("Malformed message from the server")
        id = member(event, form.id) if form.id else next(_own_ids)
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
    """An event of the service's own, without a message: `members` has its name as `event`, and
    `times` is how many are shown as one (`Line.many`), of which this is the last."""

    members: Mapping[str, object] = field(repr=False)
    times: int = 1

    @property
    def text(self) -> str:
        """The text for people, if any."""
        text = self.members.get("text")
        return text if isinstance(text, str) else ""


@dataclass(frozen=True)
class Waiting:
    """The place of a waiting login or locate in the queue for an app server.

    `position` counts from 1; `seconds` estimates the wait, None without an estimate.
    """

    position: int
    seconds: float | None = None

    @classmethod
    def read(cls, event: Mapping[str, object]) -> Waiting:
        """Read an event; `BadReply` for a malformed one."""
        position, seconds = event.get("position"), event.get("seconds")
        if type(position) is int and position >= 1:
            if seconds is None:
                return cls(position)
            # Not a number (NaN) is not in any range either.
            if isinstance(seconds, (int, float)) and 0 <= seconds <= LONGEST_WAIT:
                return cls(position, seconds)
        raise BadReply("Malformed place in the queue from the server")


def read_id(value: object) -> int | None:
    """Read the id of a message; None if it is out of range or not a whole number."""
    return value if type(value) is int and 0 <= value <= MOST_ID else None


def read_time(value: object) -> float | None:
    """Read seconds since the epoch; None if malformed, as a message is of use without its time."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value if 0 <= value <= LAST_TIME else None
    return None


ASK_LOGIN_SERVER = "ask-login-server"
"""The code with which an app server refuses the login server's requests."""

_BEGINNINGS = (
    ("Ask the login server", ASK_LOGIN_SERVER),
    ("No such user or password error", WrongCredentials.code),
    ("Not login yet", NotLoggedIn.code),
    ("Unknown command ", UnknownCommand.code),
    ("Usage: ", WrongUsage.code),
)


def code_of(message: str) -> str | None:
    """The code of a failure from a server that sends no codes, if this client needs it."""
    return next((code for words, code in _BEGINNINGS if message.startswith(words)), None)


def is_device_token(value: object) -> TypeGuard[str]:
    """Whether a value can be a device token: it goes into a line as one word."""
    return isinstance(value, str) and len(value) <= LONGEST_DEVICE and bool(_TOKEN.fullmatch(value))


def read_address(value: object) -> Address:
    """The address in a member `app_server`; `BadReply` for a malformed one."""
    try:
        return Address.from_json(value)
    except ValueError:
        raise BadReply("The server gave no usable address of an app server") from None


@dataclass(frozen=True)
class Origin:
    """The address of a gateway's user, `host`, without a port, and the `secret` by which the server
    trusts the gateway (`[telnet] secret`)."""

    host: str
    secret: str = field(repr=False)

    @property
    def greeting(self) -> bytes:
        """The first request of a connection, with its end."""
        return f"forwarded-for {self.host} {self.secret}\n".encode()


@dataclass(frozen=True)
class ServiceReply:
    """One reply, by its `members`. Those of a login's reply hold the token, so they are in no repr
    and no log.

    `size` is in bytes on the wire, 0 if the reply did not come by it; `values` is how many values
    the members may have. If the list of a reply is not complete (`has_more`), `lacking` says why,
    in a few words.
    """

    members: Mapping[str, object] = field(repr=False)
    size: int = field(default=0, repr=False, compare=False)
    lacking: str = field(default="", repr=False, compare=False)
    values: int = field(default=0, repr=False, compare=False)

    @property
    def ok(self) -> bool:
        """Whether the request was carried out; otherwise `code` and `message` say why not."""
        return self.members["status"] == 0

    @property
    def message(self) -> str | None:
        """The text for people; None if the reply has a list instead."""
        message = self.members.get("message")
        return message if isinstance(message, str) else None

    @property
    def code(self) -> str | None:
        """The reason of a failure, for programs; None for a success or an unknown reason."""
        if self.ok:
            return None
        code = self.members.get("code")
        return code if isinstance(code, str) else code_of(self.message or "")

    @property
    def redirect(self) -> Address | None:
        """The server to which this request is redirected, if any; `BadReply` if it is malformed."""
        if self.ok or "app_server" not in self.members:
            return None
        return read_address(self.members["app_server"])

    @property
    def app_server(self) -> Address:
        """The user's server, in a reply to `login` or `locate`; `BadReply` without one."""
        return read_address(self.members.get("app_server"))

    @property
    def token(self) -> str:
        """The access token in a login's reply; `BadReply` if there is none that is usable."""
        token = self.members.get("token")
        # It goes into a line as one word.
        if isinstance(token, str) and _TOKEN.fullmatch(token):
            return token
        raise BadReply("The server gave no usable access token")

    @property
    def device(self) -> str:
        """The device token in a login's reply; "" if there is none, or none that is usable."""
        device = self.members.get("device")
        return device if is_device_token(device) else ""

    @property
    def list_name(self) -> str | None:
        """The name of its list; None if it has no list, or several."""
        lists = [*self.lists]
        return lists[0] if len(lists) == 1 else None

    @property
    def has_more(self) -> bool:
        """Whether its list has more entries that are not here."""
        more = self.members.get("more")
        said = self.ok and isinstance(more, str) and more != "" and bool(self.lists)
        return said or bool(self.lacking)

    @property
    def older_follow(self) -> bool:
        """Whether the server says that the next part of its list goes before this one."""
        return self.members.get("backwards") is True

    @property
    def cursor(self) -> str | None:
        """The cursor of the next part of its list; None if it is missing or unusable."""
        more = self.members.get("more")
        # It goes into a line as one word.
        if self.ok and isinstance(more, str) and len(more) <= LONGEST_CURSOR:
            return more if _TOKEN.fullmatch(more) else None
        return None

    @property
    def lists(self) -> Mapping[str, Sequence[object]]:
        """The members that are lists."""
        members = self.members.items()
        return {name: each for name, each in members if isinstance(each, list) and name != "more"}

    def names(self, member: str) -> tuple[str, ...]:
        """The list of texts in a member; `BadReply` if it is something else."""
        names = self.members.get(member)
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return tuple(names)
        raise BadReply(f"The server gave no usable list under {member!r}")

    def read_as(self, kind: type[T]) -> T:
        """The members as a `kind`, a dataclass with fields of their names, as `Command(reply=…)`
        takes one; `BadReply` if they do not fit."""
        from bbs.protocols.reply_types import read  # Only typed clients need it.

        try:
            return read(kind, self.members)
        except TypeError:
            raise BadReply(f"The server's reply is not a {kind.__name__}") from None


_OTHERS = bytes(set(range(256)) - set(b"[]{}"))
_SQUARE = bytes.maketrans(b"{}", b"[]")


def _outside_texts(line: str) -> str:
    """A line without its texts: without escaped quotation marks, every second piece between them
    is one."""
    return "".join(line.replace("\\\\", "").replace('\\"', "").split('"')[::2])


def _is_deep(line: str) -> bool:
    """Whether lists and objects are more than `DEEPEST` within each other, or have no end.

    This is asked before a line is decoded, as decoding takes the memory. No step looks at single
    characters in Python: 4 MiB take 20 to 120 ms.
    """
    if line.count("[") + line.count("{") <= DEEPEST:
        return False
    outside = _outside_texts(line)
    brackets = outside.encode("ascii", "ignore").translate(_SQUARE, _OTHERS)
    for _ in range(DEEPEST):
        brackets = brackets.replace(b"[]", b"")  # the innermost ones
        if not brackets:
            return False
    return True


def _count_values(line: str) -> int:
    """The values in a line, at most. People's texts may have these characters too, in a line that
    is long: then they do not count."""
    if len(line) > MOST_VALUES // 10:
        line = _outside_texts(line)
    return line.count(",") + line.count("[") + line.count("{")


def _finite(text: str) -> float:
    number = float(text)
    if isfinite(number):
        return number
    raise ValueError("not a number of JSON's")


# As `json.loads` does with these arguments; but it would make a decoder for every line.
_JSON = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)


def read_line(
    line: bytes, reply_class: type[ServiceReply] = ServiceReply
) -> ServiceReply | Mapping[str, object]:
    """Read a line from a server: a reply, or an event as its members. ValueError if neither.

    Too many values, or too deep ones, are malformed, and found before the line is decoded. JSON has
    no `NaN` and no `Infinity`. A line with one of them is malformed, and so is a line with
    a number that Python reads as infinite, such as `1e999`: it could not be written as JSON again.
    """
    text = line.decode(json.detect_encoding(line), "surrogatepass")
    values = _count_values(text)
    if values > MOST_VALUES:
        raise ValueError("too many values")
    if _is_deep(text):
        raise ValueError("nested too deeply")
    members = _JSON.decode(text)
    if isinstance(members, dict):
        if isinstance(members.get("event"), str):
            return members
        if members.get("status") in (0, 1):
            return reply_class(members, len(line), values=values)
    raise ValueError("neither a reply nor an event")
