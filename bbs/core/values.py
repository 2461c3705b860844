"""Plain values that several packages use, and the interfaces that admit connections."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum, StrEnum, auto
from inspect import iscoroutinefunction
from math import inf

from zope.interface import Attribute, Interface

from bbs import __version__

NAME_LENGTH = 100
"""Characters in the longest name of a user or a group (`docs/protocol.md`, section 3)."""

MAX_REPLY = 4 * 1024 * 1024  # bytes of a reply: clients take no more, and servers send no more

RESERVED_EVENTS = ("logout", "moved", "problem", "waiting")
"""Events that no service may send: those of the framework (`docs/protocol.md`, section 4), and one
that clients make for programs (`docs/terminal.md`)."""

PASSWORD_BYTES = 1024  # Bytes in the longest password, in UTF-8.
# Periods of rates, in seconds.
UNITS: Mapping[str, float] = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}


def is_for_threads(work: object) -> bool:
    """Whether `work` can be done on a thread: nothing would await a coroutine there."""
    return callable(work) and not iscoroutinefunction(work)


def named_version(name: str, release: str) -> str:
    """What `--version` says of a service called `name`, with a `release` of its own or none."""
    return f"{name} {release} (bbs {__version__})" if release else f"bbs {__version__}"


VersionOrder = tuple[bool, tuple[int, ...], bool, str]


def version_order(version: str) -> tuple[VersionOrder, VersionOrder]:
    """A sort key for versions, older ones first: "" is the oldest, and a version with letters
    behind its numbers (`0.3.0rc1`) is older than one without. Behind a `+` stands the release of
    the service."""
    own, _, release = version.partition("+")
    return _order_of(own), _order_of(release)


def _order_of(version: str) -> VersionOrder:
    matched = re.match(r"\d+(?:\.\d+)*", version, re.ASCII)
    numbers = matched[0] if matched else ""
    rest = version[len(numbers) :]
    return bool(version), tuple(map(int, numbers.split("."))) if numbers else (), not rest, rest


class State(StrEnum):
    """The state of an app server, as stored in the database."""

    LAUNCHING = "launching"
    WARM = "warm"
    READY = "ready"
    DRAINING = "draining"
    LOST = "lost"
    GONE = "gone"


class Urgency(Enum):
    """How soon users are moved off a server that drains."""

    NOW = auto()  # At once: the server has to go.
    WHEN_QUIET = auto()  # A few at a time, while nothing else is going on: the server could stay.


class DrainCause(StrEnum):
    """Why a server drains, as stored in the database."""

    OPERATOR = "operator"  # An operator wants the server empty.
    WARNED = "warned"  # The provider will take the server away soon.
    IDLE = "idle"  # The server is empty, and its places are not needed.
    CONSOLIDATION = "consolidation"  # The users of the server fit on others.
    REPLACEMENT = "replacement"  # Operators asked for another server in its place.
    OUTDATED = "outdated"  # The server is warm, and another version launched it.
    SURPLUS = "surplus"  # The server is warm, and there are more than `fleet.warm` asks for.
    UNSTOPPABLE = "unstoppable"  # The server is warm, but its machine does not stop.
    RECOMMENDED = "recommended"  # The provider may want the server back, and says so ahead.

    @property
    def urgency(self) -> Urgency:
        """How soon users are moved off the server."""
        return Urgency.WHEN_QUIET if self in _CAN_WAIT else Urgency.NOW


_CAN_WAIT = (DrainCause.CONSOLIDATION, DrainCause.REPLACEMENT, DrainCause.RECOMMENDED)

REBALANCE = "spot: rebalance recommended"
"""The warning of a server that its provider may want back: a hint. Any other warning is certain."""


class LossCause(StrEnum):
    """Why a server is lost, as stored in the database."""

    ENDED = "ended"  # The machine has ended.
    LEFT = "left"  # The server reported that it stops.
    SILENT = "silent"  # The heartbeat stopped.
    FAILED = "failed"  # The launch failed.
    LATE = "late"  # The launch was not ready in time.
    REFUSED = "refused"  # The provider refused the launch: an operator has to act.
    UNSTARTABLE = "unstartable"  # The server was warm, and cannot be started.


Cause = DrainCause | LossCause  # Why a server ends.


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How an operator wants the fleet: `[fleet]` and `[app] capacity` of the configuration."""

    minimum: int  # In servers.
    maximum: int  # In servers.
    spare: int  # Free places that are kept ahead of demand.
    capacity: int  # Places of a server that has not reported yet.
    idle_grace: float  # Seconds that an empty server lives on that is not needed.
    launch_timeout: float  # Seconds that a launch may take.
    lost_after: float  # Seconds that a server may be silent.
    foresees: bool = False  # Each round computes `spare` anew, for `wait_target`.
    wait_target: float = 1.0  # Seconds that users wait at most.
    # Seconds for which places beyond need would fill a server until the emptiest drains; 0: never.
    consolidate_after: float = 0.0
    warm: int = 0  # Stopped instances that are kept.
    # Seconds after which a launch is late, and another pool is asked as well; each round's own.
    hedge_after: float = inf


@dataclass(frozen=True)
class Instance:
    """The launch `launch_id` as its provider sees it.

    `instance_id` and `kind` are the provider's own id and type of the machine; empty if there are
    none. `launched` is when it was launched, in seconds since the epoch by the provider's
    clock; None if that is not known.

    `alive` is True from the moment the launch was accepted, while it boots too, and False once its
    end is certain. `host` is the address at which users reach it, None while that is not known.
    `detail` is for operators: a process or instance id, or how it ended. `stopped`: it is there,
    and does not run until it is started; it is not `alive` then. `ours`: this fleet certainly
    launched it; otherwise it is ended only if a row of this fleet says so. `version`: that of bbs
    on the server that launched it, if the provider notes it. `zone` is the part of the provider's
    capacity in which it runs, and which may fail by itself; empty if there are none. `pool` is the
    launch strategy that asks for the capacity which it takes, if the provider has strategies.
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
    zone: str = ""
    pool: str = ""


@dataclass(frozen=True)
class Rate:
    """A limit of `count` attempts in each `period`, in seconds; in configurations `"20/minute"`."""

    count: int
    period: float

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Parse `"20/minute"`; ValueError for a malformed text."""
        matched = re.fullmatch(r"([1-9][0-9]{0,8})/(\w+)", text, re.ASCII)
        if matched is None or matched[2] not in UNITS:
            raise ValueError(text)
        return cls(int(matched[1]), UNITS[matched[2]])

    def __str__(self) -> str:
        unit = next(unit for unit, period in UNITS.items() if period == self.period)
        return f"{self.count}/{unit}"


SIZES: Mapping[str, int] = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10}  # Units of sizes.


@dataclass(frozen=True)
class Size:
    """A size in `bytes`."""

    bytes: int

    @classmethod
    def parse(cls, text: str) -> Size:
        """Parse `"10 MiB"`; ValueError for a malformed text."""
        matched = re.fullmatch(r"([1-9][0-9]{0,5}) (\w+)", text, re.ASCII)
        if matched is None or matched[2] not in SIZES:
            raise ValueError(text)
        return cls(int(matched[1]) * SIZES[matched[2]])

    def __str__(self) -> str:
        unit = next(unit for unit, length in SIZES.items() if self.bytes % length == 0)
        return f"{self.bytes // SIZES[unit]} {unit}"


@dataclass(frozen=True)
class Bound:
    """The bound of a table's rows, for `bbs.testing.undeclared_limits` and people who read:

        class Meta:
            bound = Bound("1,000", of="account")

    `rows` is a phrase that says how many there are at most of each `of`. An account's rows are its
    own. For anything else, `share` says how much one person can fill, or that people cannot. In
    these phrases a name like `this` is a key of `[limits]`."""

    rows: str
    _: KW_ONLY
    of: str
    share: str = ""


_COUNTER = re.compile("[a-z][a-z0-9_]{0,31}")
_METRIC = re.compile("[a-z][a-z0-9_]{0,99}(?<!_total)")
_MEMBER = re.compile("[a-z][a-z0-9_]{0,49}_per_second")


@dataclass(frozen=True)
class Counter:
    """A counter of a service.

    :param name: what `ask.count(name)` counts: a word in lower case, with digits and `_`.
    :param metric: the name of a counter of its own in `/metrics`, without the `_total` that is
        added. Begin it with the service's name, so that it is unique.
    :param help: one line for `/metrics` that says what the metric counts.
    :param member: a member of the page's JSON, in addition to `counters`, with the rate of the
        service and of each server. Its name ends in `_per_second`.
    :param arrival: what comes late while the broker is away, such as "waves arrive". The news then
        say "waves arrive later", and the page "waves arrive, seconds later than usual".
    :raises ValueError: an argument has another form.
    """

    name: str
    _: KW_ONLY
    metric: str = ""
    help: str = ""
    member: str = ""
    arrival: str = ""

    def __post_init__(self) -> None:
        if not _is_like(_COUNTER, self.name):
            raise ValueError(f"malformed name of a counter: {self.name!r}")
        if self.metric != "" and not _is_like(_METRIC, self.metric):
            raise ValueError(f"{self.name}: malformed metric, without _total: {self.metric!r}")
        if self.member != "" and not _is_like(_MEMBER, self.member):
            raise ValueError(f"{self.name}: member must be like waves_per_second: {self.member!r}")
        for text in (self.help, self.arrival):
            if not (isinstance(text, str) and text.isprintable() and len(text) <= 200):
                raise ValueError(
                    f"{self.name}: help and arrival must be one line of at most 200 characters:"
                    f" {text!r}"
                )
        if bool(self.metric) != bool(self.help):
            raise ValueError(f"{self.name}: a metric needs a help, and a help a metric")


def _is_like(pattern: re.Pattern[str], text: object) -> bool:
    return isinstance(text, str) and pattern.fullmatch(text) is not None


@dataclass
class Tally:
    """The counts of a server since it started: `logins`, and those of its service by name, which
    begin at 0. `figures` are counts that every server has: how many users are connected, and what
    went wrong. Heartbeats carry all of them to the other servers."""

    logins: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    figures: dict[str, int] = field(default_factory=dict)

    def note(self, figure: str) -> None:
        """Count one more of `figure`."""
        self.figures[figure] = self.figures.get(figure, 0) + 1


@dataclass
class Timing:
    """Functions that are called with durations, unless they are None. `seconds` is the monotonic
    clock that measures them. The current trace is then that of the measured work
    (`bbs.core.tracing.current`)."""

    seconds: Callable[[], float]
    requests: Callable[[str, float], None] | None = None  # The command, and seconds to its reply.
    places: Callable[[float], None] | None = None  # Seconds until a user got a place.


class DiskState(Enum):
    """How much room the disk of the database has."""

    FREE = auto()  # Enough.
    LOW = auto()  # So little that texts are refused; all else is stored.
    FULL = auto()  # Nothing can be stored.


class Trouble(StrEnum):
    """Figures in which app servers and login servers count what went wrong since they started."""

    FAILED_LOGINS = "failed_logins"  # Passwords that were wrong.
    INTERNAL = "errors_internal"  # Bugs: `Internal error` with a reference.
    UNAVAILABLE = "errors_unavailable"  # `Service unavailable, try again`.
    ATTEMPTS = "errors_attempts"  # `Too many attempts`: requests over a rate.
    CONNECTIONS = "errors_connections"  # `Too many connections`: connections that were refused.


ERRORS: Mapping[Trouble, str] = {
    Trouble.INTERNAL: "internal",
    Trouble.UNAVAILABLE: "unavailable",
    Trouble.ATTEMPTS: "too-many-attempts",
    Trouble.CONNECTIONS: "too-many-connections",
}
"""The kinds of errors, as people and programs read them; a wrong password is not an error."""


@dataclass(frozen=True)
class PasswordVerdict:
    """Whether a password matches, and a new hash to store if the hash parameters have risen."""

    matches: bool
    new_hash: str | None = None


class IEntry(Interface):
    """One connection that was admitted."""

    is_busy: bool = Attribute(
        "Whether the connection awaits an answer; to be set. Then others give way before it."
    )
    end: Callable[[], None] | None = Attribute(
        "Ends the connection for a newcomer; None while, or once, none may take its place."
    )
    has_right: bool = Attribute("Whether `has_session` has been called.")

    def watch(end: Callable[[], None]) -> None:
        """Call `end` if room is needed before the connection has sent a request, or when it
        `may_give_way`."""

    def has_asked() -> None:
        """Note that the connection has sent a request."""

    def may_give_way() -> None:
        """Note that the connection has sent a request just now. While it has no session, it may be
        ended for a newcomer of another network when all places are taken. Connections that never
        call this are not."""

    def has_session() -> None:
        """Note that a right password or token has been used on the connection: its address is known
        from now on, and it is not ended for a newcomer, unless too many of the address have one."""

    def vouch() -> None:
        """Trust the connection: it no longer counts against the limit of its address."""

    def leave() -> None:
        """Note that the connection has ended. Called once."""


class IDoor(Interface):
    """Admits connections to one kind of port of a process."""

    is_jammed: bool = Attribute("Whether even a connection that is refused at once has no room.")

    def enter(host: str, descriptors: int = 1) -> IEntry | None:
        """Admit a connection from `host` (in its usual form; "" if it has none) that takes so many
        `descriptors` in all; None if that is one too many."""
