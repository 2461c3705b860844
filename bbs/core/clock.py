"""The reactor, and the two clocks of a process: one to measure by, and one to stamp by.

`reactor.seconds` is to measure by: how long something has lasted, and when something is due. Nobody
sets it. Twisted's own is `time.time`, which an operator or NTP can set, and with it all timers of
the process: set back an hour, every `callLater` comes an hour late, and every limit and time-out
lasts an hour longer. `measure_steadily` gives the reactor one that goes by the machine's monotonic
clock.

The wall clock (`Daemon.wall`, `Runtime.wall`, `ServerContext.wall`) is to stamp by: when a message
was stored, or a session used. It is only for what is stored, shown, or compared with what was
stored; whoever compares bears in mind that it may have been set since, or be another machine's.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from weakref import WeakSet

from twisted.internet.base import ReactorBase
from twisted.internet.interfaces import (
    IReactorCore,
    IReactorFDSet,
    IReactorPluggableNameResolver,
    IReactorProcess,
    IReactorTCP,
    IReactorThreads,
    IReactorTime,
)

_steady: WeakSet[ReactorBase] = WeakSet()
"""Reactors that go by a clock that nobody sets; `bbs up` has two daemons on its one."""


class IReactor(
    IReactorCore,
    IReactorFDSet,
    IReactorPluggableNameResolver,
    IReactorProcess,
    IReactorTCP,
    IReactorThreads,
    IReactorTime,
):
    """A reactor for what needs more than one of Twisted's interfaces.

    It is for type checkers: Twisted's reactors provide each of these interfaces, but do not declare
    this one, so nothing asks for it when the program runs.
    """


def measure_steadily(reactor: IReactorTime) -> None:
    """Have `reactor` go by a clock that nobody sets, from now on.

    All of Twisted's reactors (epoll, poll, select, asyncio) ask their own `seconds` and nothing
    else for the time: `ReactorBase.callLater`, `timeout` and `runUntilCurrent`, and with them each
    `LoopingCall` and time-out. The new clock begins where the old one is, so that calls which are
    due already, and moments that were noted, stay right. Again, or for a clock of tests', it does
    nothing.
    """
    if not isinstance(reactor, ReactorBase) or reactor in _steady:
        return
    _steady.add(reactor)
    base, monotonic = reactor.seconds() - time.monotonic(), time.monotonic

    def seconds() -> float:
        return base + monotonic()

    pending: Any = reactor.getDelayedCalls()
    reactor.seconds = seconds
    for call in pending:  # They ask it when they are put off.
        call.seconds = seconds


def lived() -> float | None:
    """Seconds since this process was started, to 10 ms; None where Linux does not tell (proc(5),
    `/proc/PID/stat`: `starttime`, in ticks since the boot)."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, ValueError, IndexError, AttributeError):
        return None
