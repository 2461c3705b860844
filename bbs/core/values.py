"""Plain values that several rooms deal in, and what lets connections in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum, StrEnum, auto
from inspect import iscoroutinefunction

from zope.interface import Attribute, Interface

NAME_LENGTH = 100
"""Characters in the longest name of a user or a group (`docs/protocol.md`, section 3)."""

RESERVED_EVENTS = ("logout", "moved", "problem", "waiting")
"""Events that no service tells: those of the framework (`docs/protocol.md`, section 4), and one
that clients make themselves for programs (`docs/terminal.md`)."""

PASSWORD_BYTES = 1024
"""Bytes in the longest password, in UTF-8."""

UNITS: Mapping[str, float] = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
"""The periods that a rate can be written in, in seconds."""


def is_for_threads(work: object) -> bool:
    """Whether `work` can be done on a thread: what a coroutine function returns, nobody runs."""
    return callable(work) and not iscoroutinefunction(work)


def version_order(version: str) -> tuple[bool, tuple[int, ...], bool, str]:
    """By what versions are sorted, older ones first: "" is older than any, and what has letters
    behind its numbers (`0.3.0rc1`) is older than what has none."""
    matched = re.match(r"\d+(?:\.\d+)*", version, re.ASCII)
    numbers = matched[0] if matched else ""
    rest = version[len(numbers) :]
    return bool(version), tuple(map(int, numbers.split("."))) if numbers else (), not rest, rest


class State(StrEnum):
    """Where an app server is in its life, as the database has it."""

    LAUNCHING = "launching"
    WARM = "warm"
    READY = "ready"
    DRAINING = "draining"
    LOST = "lost"
    GONE = "gone"


class Urgency(Enum):
    """How soon people leave a server that is given up."""

    NOW = auto()
    """At once: the server has to go."""
    WHEN_QUIET = auto()
    """A few at a time, while nothing else is going on: the server could stay."""


class DrainCause(StrEnum):
    """Why a server is given up, as stored in the database."""

    OPERATOR = "operator"
    """An operator wants the server empty."""
    WARNED = "warned"
    """The provider will take the server away soon."""
    IDLE = "idle"
    """The server is empty, and its places are not needed."""
    CONSOLIDATION = "consolidation"
    """The people of the server fit on others."""
    REPLACEMENT = "replacement"
    """Operators asked for another server in its place."""
    OUTDATED = "outdated"
    """The server is warm, and another version launched it."""
    SURPLUS = "surplus"
    """The server is warm, and there are more than `fleet.warm` asks for."""
    UNSTOPPABLE = "unstoppable"
    """The server is warm, but its machine does not stop."""

    @property
    def urgency(self) -> Urgency:
        """How soon its people leave."""
        return Urgency.WHEN_QUIET if self in _CAN_WAIT else Urgency.NOW


_CAN_WAIT = (DrainCause.CONSOLIDATION, DrainCause.REPLACEMENT)


class LossCause(StrEnum):
    """Why a server is lost, as stored in the database."""

    ENDED = "ended"
    """The machine has ended."""
    LEFT = "left"
    """The server said that it stops."""
    SILENT = "silent"
    """The heartbeat stopped."""
    FAILED = "failed"
    """The launch failed."""
    LATE = "late"
    """The launch was not ready in time."""
    REFUSED = "refused"
    """The provider refused the launch: an operator has to act."""
    UNSTARTABLE = "unstartable"
    """The server was warm, and cannot be started."""


Cause = DrainCause | LossCause
"""Why a server goes."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What an operator wants of the fleet: `[fleet]` and `[app] capacity` of the configuration.

    `minimum`, `maximum` count servers; `spare` counts free places kept ahead of demand; `capacity`
    is the places of a server that is yet to report. The rest are seconds: how long an empty server
    beyond need lives on, until when a launch must be ready, and how long one may be silent.

    With `foresees`, `spare` is found anew in each round, so that who comes waits `wait_target`
    seconds at the most. `consolidate_after`: seconds for which places beyond need would fill a
    server until the emptiest drains; 0 for never. `warm` counts stopped instances that are kept.
    """

    minimum: int
    maximum: int
    spare: int
    capacity: int
    idle_grace: float
    launch_timeout: float
    lost_after: float
    foresees: bool = False
    wait_target: float = 1.0
    consolidate_after: float = 0.0
    warm: int = 0


@dataclass(frozen=True)
class Instance:
    """One launch as its provider sees it.

    `instance_id` and `kind` are the provider's own words for it: on EC2 the instance's id and type;
    empty where there are none. `launched` is when it was launched, in seconds since the epoch, by
    the provider's clock; None where that is not known.

    `alive` is True from the moment the launch was accepted, while it boots too, and False once its
    end is certain. `host` is the address at which people reach it, None while that is not known.
    `detail` is for operators: a process or instance id, or how it ended. `stopped`: it is there,
    and does not run until it is started; it is not `alive` then. `ours`: it is certain that this
    fleet launched it; else it is ended only where a row of this fleet's says that it did.
    `version`: of this package, that of whoever launched it, where the provider notes that.
    """

    launch_id: str
    host: str | None
    alive: bool
    detail: str
    instance_id: str = ""
    kind: str = ""
    launched: float | None = None
    stopped: bool = False
    ours: bool = True
    version: str = ""


@dataclass(frozen=True)
class Rate:
    """So many attempts in so long: `count` in each `period` seconds."""

    count: int
    period: float

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Read `"20/minute"`; ValueError when it is nothing like that."""
        matched = re.fullmatch(r"([1-9][0-9]{0,8})/(\w+)", text, re.ASCII)
        if matched is None or matched[2] not in UNITS:
            raise ValueError(text)
        return cls(int(matched[1]), UNITS[matched[2]])

    def __str__(self) -> str:
        unit = next(unit for unit, period in UNITS.items() if period == self.period)
        return f"{self.count}/{unit}"


SIZES: Mapping[str, int] = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10}
"""The units that a size can be written in, in bytes."""


@dataclass(frozen=True)
class Size:
    """So many `bytes`."""

    bytes: int

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read `"10 MiB"`; ValueError when it is nothing like that."""
        matched = re.fullmatch(r"([1-9][0-9]{0,5}) (\w+)", text, re.ASCII)
        if matched is None or matched[2] not in SIZES:
            raise ValueError(text)
        return cls(int(matched[1]) * SIZES[matched[2]])

    def __str__(self) -> str:
        unit = next(unit for unit, length in SIZES.items() if self.bytes % length == 0)
        return f"{self.bytes // SIZES[unit]} {unit}"


@dataclass(frozen=True)
class Quotas:
    """What the service keeps of one user at the most, from `[limits]` of the configuration:
    `friends`, `groups` made, `members` of one group, bytes of messages that wait in an `inbox`, and
    `posts`, the latest. `post_bytes`, those of all posts, is no key of it."""

    friends: int = 1000
    groups: int = 100
    members: int = 1000
    inbox: int = 16 * 2**20
    posts: int = 10_000
    post_bytes: int = 16 * 2**20


_COUNTER = re.compile("[a-z][a-z0-9_]{0,31}")
_METRIC = re.compile("[a-z][a-z0-9_]{0,99}(?<!_total)")
_MEMBER = re.compile("[a-z][a-z0-9_]{0,49}_per_second")
_LONGEST_TEXT = 200


@dataclass(frozen=True)
class Counter:
    """Something that a service counts, and what it has beside what every counter has.

    :param name: what `ask.count(name)` counts: a word in lower case, with digits and `_`.
    :param metric: the name of a counter of its own in `/metrics`; `_total` is put behind it. Begin
        it with the service's name, so that it is nobody else's.
    :param help: what `/metrics` says of that, in a line.
    :param member: a member of the page's JSON, beside `counters`, that has the rate of the service
        and of each server. Its name ends in `_per_second`.
    :param arrival: what comes late while the broker is away, such as "waves arrive". The news then
        say "waves arrive later", and the page "waves arrive, seconds later than usual".
    :raises ValueError: one of these is not as it says here.
    """

    name: str
    _: KW_ONLY
    metric: str = ""
    help: str = ""
    member: str = ""
    arrival: str = ""

    def __post_init__(self) -> None:
        if not _is_like(_COUNTER, self.name):
            raise ValueError(f"{self.name!r} is no name to count by")
        if self.metric != "" and not _is_like(_METRIC, self.metric):
            raise ValueError(f"{self.name}: {self.metric!r} is no name of a metric without _total")
        if self.member != "" and not _is_like(_MEMBER, self.member):
            raise ValueError(f"{self.name}: {self.member!r} is no name like waves_per_second")
        for text in (self.help, self.arrival):
            if not (isinstance(text, str) and text.isprintable() and len(text) <= _LONGEST_TEXT):
                raise ValueError(f"{self.name}: {text!r} is no text of one short line")
        if bool(self.metric) != bool(self.help):
            raise ValueError(f"{self.name}: a metric and its help come together")


def _is_like(pattern: re.Pattern[str], text: object) -> bool:
    return isinstance(text, str) and pattern.fullmatch(text) is not None


@dataclass
class Tally:
    """What a server has done since it started: the people it let in, and what its service counts by
    names of its own, each of which begins at 0. `figures` are others that every server has: how
    many are connected, and what went wrong. Heartbeats tell the others."""

    logins: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    figures: dict[str, int] = field(default_factory=dict)

    def note(self, figure: str) -> None:
        """One more of `figure`."""
        self.figures[figure] = self.figures.get(figure, 0) + 1


@dataclass
class Timing:
    """Whom a server tells how long things take, by the clock `seconds`, which nobody sets; nobody
    (None), unless there is something that measures. The trace of what took so long is then what is
    being done (`bbs.core.tracing.current`)."""

    seconds: Callable[[], float]
    requests: Callable[[str, float], None] | None = None
    """Told of each request that was answered: its command by name, and seconds."""
    places: Callable[[float], None] | None = None
    """Told of each who was given a place, after so many seconds."""


class Trouble(StrEnum):
    """What goes wrong on servers of both kinds, by the names of the figures in which they count it
    since they started."""

    FAILED_LOGINS = "failed_logins"
    """Passwords that were wrong."""
    INTERNAL = "errors_internal"
    """Bugs: `Internal error` with a reference."""
    UNAVAILABLE = "errors_unavailable"
    """`Service unavailable, try again`."""
    ATTEMPTS = "errors_attempts"
    """`Too many attempts`: who is over a rate."""
    CONNECTIONS = "errors_connections"
    """`Too many connections`: who was not let in."""


ERRORS: Mapping[Trouble, str] = {
    Trouble.INTERNAL: "internal",
    Trouble.UNAVAILABLE: "unavailable",
    Trouble.ATTEMPTS: "too-many-attempts",
    Trouble.CONNECTIONS: "too-many-connections",
}
"""Those that are no wrong password, by a kind for people and programs."""


@dataclass(frozen=True)
class PasswordVerdict:
    """Whether a password matches, and the hash to store instead if today's parameters rose."""

    matches: bool
    new_hash: str | None = None


class IEntry(Interface):
    """One connection that was let in."""

    def watch(end: Callable[[], None]) -> None:
        """It has asked nothing yet; `end` is called if room is needed before it has."""

    def has_asked() -> None:
        """It is somebody who wants something."""

    def vouch() -> None:
        """It is trusted, and not counted by its address from now on."""

    def leave() -> None:
        """The connection has ended. Called once."""


class IDoor(Interface):
    """One kind of port of a process."""

    is_jammed: bool = Attribute(
        "Whether there is not even room for a connection that is told so and closed."
    )

    def enter(host: str, descriptors: int = 1) -> IEntry | None:
        """A connection from `host` (in its usual form, "" where there is none), which takes so many
        descriptors in all; None where that is one too many."""
