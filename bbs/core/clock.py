"""The reactor, and the clocks of a process: one for durations, and one for timestamps.

`reactor.seconds` measures durations and time-outs, and nobody sets it. Twisted's own is
`time.time`, which an operator or NTP can set, and with it all timers of the process: set back an
hour, every `callLater` comes an hour late, and every limit and time-out lasts an hour longer.
`measure_steadily` gives the reactor the machine's monotonic clock.

The service's clock (`ServiceClock`: `Daemon.wall`, `Runtime.wall`, `ServerContext.wall`) makes
timestamps: when a message was stored, or a session used. All servers take the time from the
database, so that one whose own wall clock is wrong stamps nothing wrong and ends nothing too soon.
Use this clock only for times that are stored, shown, or compared with stored ones.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any, Literal, NamedTuple
from weakref import WeakSet

from twisted.internet import interfaces
from twisted.internet.base import ReactorBase

_steady: WeakSet[ReactorBase] = WeakSet()
"""Reactors that use the monotonic clock already: `bbs up` has two daemons on one reactor."""


class IReactor(
    interfaces.IReactorCore,
    interfaces.IReactorFDSet,
    interfaces.IReactorPluggableNameResolver,
    interfaces.IReactorProcess,
    interfaces.IReactorTCP,
    interfaces.IReactorThreads,
    interfaces.IReactorTime,
):
    """Several of Twisted's reactor interfaces in one, for type checkers: Twisted's reactors provide
    each of these interfaces, but do not declare this one."""


def measure_steadily(reactor: interfaces.IReactorTime) -> None:
    """Give `reactor` the monotonic clock, from now on.

    All of Twisted's reactors (epoll, poll, select, asyncio) take the time from their own `seconds`
    alone, for `callLater`, `timeout`, `runUntilCurrent` and every `LoopingCall`. The new clock
    begins at the old one's time, so that scheduled calls and noted times stay right. This does
    nothing when called again, or with a test's clock.
    """
    if not isinstance(reactor, ReactorBase) or reactor in _steady:
        return
    _steady.add(reactor)
    base, monotonic = reactor.seconds() - time.monotonic(), time.monotonic

    def seconds() -> float:
        return base + monotonic()

    pending: Any = reactor.getDelayedCalls()
    reactor.seconds = seconds
    for call in pending:  # A call uses it when it is delayed.
        call.seconds = seconds


def process_age() -> float | None:
    """Seconds since this process was started, to 10 ms; None where Linux does not say (proc(5),
    `/proc/PID/stat`: `starttime`, in ticks since the boot)."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, ValueError, IndexError, AttributeError):
        return None


TOLERANCE = 300.0
"""Seconds by which clocks may differ. Kerberos and AWS refuse more; machines whose clocks are set
by NTP are within a second of each other."""

SLEW = 0.01
"""Seconds by which the service's clock follows the database's in each second, up to the tolerance.
A clock that goes too fast, or is set again and again, thus leaves the tolerance, and is noticed."""

DAY = 86400.0
"""Seconds for which a service may be off: longer, and nobody can tell whether its machine was off
or its clock is wrong. Also the most that a running service accepts by itself."""

AHEAD, DATABASE_AHEAD, UNPROVED = "clock_ahead", "database_ahead", "clock_unproved"
"""The figures of a server whose clock, or whose database's, is off by so many seconds (below 0:
behind), and of one that does not know yet whether its clock is right."""


class Reading(NamedTuple):
    """What a server reads in the database, all in seconds since the epoch.

    :ivar database: the time by the database's own clock; None if it has none, as an SQLite file.
    :ivar checked: the service's time when the fleet's leader last checked it; None: never.
    :ivar apart: how many seconds the database was ahead of the service's clock then.
    :ivar used: the last use of a session, if nobody ever checked the time: a service that was
        upgraded has been running until then.
    """

    database: float | None
    checked: float | None = None
    apart: float = 0.0
    used: float | None = None

    @property
    def last(self) -> float | None:
        """A time that the service has certainly reached; None: it has just begun."""
        return self.used if self.checked is None else self.checked


class ServiceClock:
    """The service's clock, as this process knows it: the database's, which `hear` follows.

    In between it goes on by a clock that nobody sets. If the database's clock steps by more than
    `TOLERANCE`, this clock does not follow, and goes on as before: `apart` says how wrong the
    database's is. A process that starts has nothing to compare with but the last check of the
    fleet's leader. If that was more than a `DAY` ago, the clock is `unproved`.

    An SQLite file has no clock. There each process takes its own for the database's.

    :param own: the wall clock of this process, in seconds since the epoch.
    :param steady: measures seconds; nobody sets it.
    :param database: for tests, says what the database's clock does in place of the database; None
        for a database without one.
    """

    def __init__(
        self,
        own: Callable[[], float],
        steady: Callable[[], float],
        database: Callable[[], float | None] | None = None,
    ) -> None:
        self.own = own
        self.steady = steady
        self._database = database
        self._base: float | None = None
        """The service's time when `steady` was 0."""
        self._heard_at = 0.0
        self._doubt = 0.0  # Seconds by which the base may be wrong, as answers took so long.
        self._checked: float | None = None
        self._used: float | None = None
        self.unproved = False
        self.apart = 0.0
        """Seconds that the database's clock was ahead of this one when it was heard; 0.0 within
        the tolerance."""
        self.has_own = False
        """Whether the database has a clock of its own."""

    def __call__(self) -> float:
        """The time in seconds since the epoch."""
        return self.own() if self._base is None else self._base + self.steady()

    @property
    def ahead(self) -> float:
        """Seconds that the wall clock of this process is ahead of the service's; 0.0 within the
        tolerance."""
        return beyond(self.own() - self())

    def hear(self, reading: Reading | Literal[False] | None, asked: float) -> None:
        """Follow what the database said to a question that was `asked` then, by `steady`; nothing
        if it said nothing."""
        if not reading:
            return
        now = self.steady()
        said = reading.database if self._database is None else self._database()
        self.has_own = said is not None
        if said is None:
            said, asked = self.own(), now
        if self._base is None:
            self._begin(said, reading, now)
            self._doubt, self._used = now - asked, reading.used
        elif reading.checked is not None and reading.checked != self._checked:
            self._obey(reading.checked, now)
        elif self.unproved:
            self._begin_again(said, reading, now)
        self._checked = reading.checked
        self._follow(said, now - asked, now)
        self._heard_at = now

    def accept(self) -> None:
        """Take the database's clock for the service's as it is."""
        assert self._base is not None
        self._base += self.apart
        self.apart, self.unproved = 0.0, False

    def note(self, figures: MutableMapping[str, int]) -> None:
        """Note in the `figures` of this server's heartbeat what is wrong."""
        apart = self.apart if self.has_own else 0.0
        said = {AHEAD: self.ahead, DATABASE_AHEAD: apart, UNPROVED: self.unproved}
        for name, value in said.items():
            figures.pop(name, None)
            if value:
                figures[name] = round(value)

    def _begin(self, said: float, reading: Reading, now: float) -> None:
        """Begin with what the database says. Never before the last check, or the last use of a
        session: rows that were stored since would seem to have come before it, and would be removed
        too soon."""
        last = reading.last
        # The last check may have found by how much the database is wrong.
        for moment in (said, said - reading.apart):
            if last is None or _goes_on(moment, last):
                self.unproved = False
                self._base = moment - now
                return
        assert last is not None
        self.unproved = True
        self._base = max(said, last) - now

    def _begin_again(self, said: float, reading: Reading, now: float) -> None:
        """While nothing proves this clock, the database's may be put right at any moment."""
        reading = reading._replace(used=self._used)
        before, last = self(), reading.last
        is_proved = last is not None and _goes_on(said, last)
        if not is_proved and not beyond(said - before):
            return
        self._begin(said, reading, now)
        if last is not None and said < last and _goes_on(before, last):
            self._base = before - now  # It has gone on since then.

    def _obey(self, checked: float, now: float) -> None:
        """Follow the leader of the fleet, or an operator, who has just checked the time."""
        self.unproved = False
        if beyond(checked - self()):
            self._base = checked - now

    def _follow(self, said: float, took: float, now: float) -> None:
        """Follow the database, which said a time within the last `took` seconds."""
        here = self()
        early, late = said - here, here - said - took
        off = early if early > 0 else -late if late > 0 else 0.0
        self.apart = beyond(off)
        if not self.apart:
            most = max(self._doubt, SLEW * (now - self._heard_at))
            assert self._base is not None
            self._base += max(-most, min(most, off))
            self._doubt = min(self._doubt, took)


def beyond(seconds: float) -> float:
    """`seconds`, or 0.0 if they are within the tolerance."""
    return seconds if abs(seconds) > TOLERANCE else 0.0


def _goes_on(moment: float, before: float) -> bool:
    """Whether a clock that said `before` may say `moment` after an interruption of a day at
    most."""
    return -TOLERANCE <= moment - before <= DAY


def service_clock(wall: Callable[[], float], steady: Callable[[], float]) -> ServiceClock:
    """Make the service's clock of a process whose wall clock is `wall`, on a database without a
    clock, as in tests. One that is there already stays."""
    return wall if isinstance(wall, ServiceClock) else ServiceClock(wall, steady, lambda: None)


def since_boot() -> float:
    """Seconds by a clock that nobody sets, and that goes on while the machine sleeps, as far as
    the system has one."""
    return time.clock_gettime(_SINCE_BOOT)


_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
