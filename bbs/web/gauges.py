"""What this process measures of itself: how late its reactor is, how long the database takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service

LAG_INTERVAL = 0.1
"""Seconds between measurements of the reactor's lag: whatever blocks it for longer is seen."""


class Spans:
    """Durations in seconds, of the present interval and the one before."""

    def __init__(self) -> None:
        self._count, self._sum, self._most = 0, 0.0, 0.0
        self._ended: tuple[float | None, float] = (None, 0.0)

    def note(self, seconds: float) -> None:
        """Something took so long."""
        self._count += 1
        self._sum += seconds
        self._most = max(self._most, seconds)

    def next_interval(self) -> None:
        """The present interval ends."""
        self._ended = (self._sum / self._count if self._count else None, self._most)
        self._count, self._sum, self._most = 0, 0.0, 0.0

    def mean(self) -> float | None:
        """The mean of the last interval that has ended; None if nothing was noted in it."""
        return self._ended[0]

    def most(self) -> float:
        """The longest of the last interval that has ended."""
        return self._ended[1]

    def most_lately(self) -> float:
        """The longest since that interval began."""
        return max(self._ended[1], self._most)


class ReactorLag(Service):
    """Measures how much later than asked the reactor does something.

    :param tell: called with each measurement, in seconds.
    """

    def __init__(self, reactor: Any, tell: Callable[[float], None]) -> None:
        self._reactor = reactor
        self._tell = tell
        # No TimerService: it does not say when a call was due.
        self._next: Any = None

    # Service

    def startService(self) -> None:
        Service.startService(self)
        self._wait()

    def stopService(self) -> None:
        Service.stopService(self)
        self._next.cancel()

    def _wait(self) -> None:
        due = self._reactor.seconds() + LAG_INTERVAL
        self._next = self._reactor.callLater(LAG_INTERVAL, self._measure, due)

    def _measure(self, due: float) -> None:
        # Not below nought: a clock that was set back would make it so.
        self._tell(max(0.0, self._reactor.seconds() - due))
        self._wait()
