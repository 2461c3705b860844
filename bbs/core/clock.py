"""The reactor, and the two clocks of a process: one for durations, and one for timestamps.

`reactor.seconds` measures durations and time-outs, and nobody sets it. Twisted's own is
`time.time`, which an operator or NTP can set, and with it all timers of the process: set back an
hour, every `callLater` comes an hour late, and every limit and time-out lasts an hour longer.
`measure_steadily` gives the reactor the machine's monotonic clock.

The wall clock (`Daemon.wall`, `Runtime.wall`, `ServerContext.wall`) makes timestamps: when a
message was stored, or a session used. Use it only for times that are stored, shown, or compared
with stored ones. A stored time may come from another machine, or from before the clock was set.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
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
