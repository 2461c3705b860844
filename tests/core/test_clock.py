"""The clock that servers measure by: nobody sets it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.pollreactor import PollReactor
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementedBy

from bbs.board import board
from bbs.config import Configuration
from bbs.core.clock import IReactor, measure_steadily
from bbs.daemons.daemon import Daemon

HOUR = 3600.0

PATIENCE = 60.0
"""Seconds after which a reactor whose calls do not come is stopped."""


def on_wall_clock(kind: type[Any], wall: Callable[[], float]) -> Any:
    """A reactor of some kind, on a wall clock that can be set."""
    on_it = type(kind.__name__, (kind,), {"seconds": lambda self: wall()})
    arguments = (asyncio.new_event_loop(),) if kind is AsyncioSelectorReactor else ()
    return on_it(*arguments)


class ClockCase(SynchronousTestCase):
    """With a wall clock that is set: by so many seconds ahead."""

    set_ahead = 0.0

    def wall(self) -> float:
        return time.time() + self.set_ahead


class Measuring(ClockCase):
    """Each kind of reactor, on a wall clock that is set while it runs."""

    def kinds(self) -> list[type[Any]]:
        """Those that there are here."""
        kinds: list[type[Any]] = [SelectReactor, PollReactor, AsyncioSelectorReactor]
        try:
            from twisted.internet.epollreactor import EPollReactor
        except ImportError:
            return kinds
        return [*kinds, EPollReactor]

    def run_through(self, reactor: Any, ahead: float) -> list[str]:
        """The calls that come after the wall clock is set."""
        came: list[str] = []
        before = reactor.callLater(0.001, came.append, "due before")
        put_off = reactor.callLater(HOUR, came.append, "put off")
        measure_steadily(reactor)

        def set_clock() -> None:
            self.set_ahead = ahead
            put_off.reset(0.002)
            reactor.callLater(0.003, came.append, "later")
            reactor.callLater(0.004, reactor.stop)
            reactor.callLater(HOUR / 2, came.append, "too soon")

        reactor.callWhenRunning(set_clock)
        watch = threading.Timer(PATIENCE, reactor.callFromThread, (reactor.stop,))
        watch.start()
        began, monotonic = reactor.seconds(), time.monotonic()
        reactor.run(installSignalHandlers=False)
        watch.cancel()
        self.assertTrue(before.called)
        lasted = time.monotonic() - monotonic
        self.assertLess(abs(reactor.seconds() - began - lasted), HOUR / 2)
        return came

    def test_a_reactor_provides_all_that_ours_joins(self) -> None:
        for kind in self.kinds():
            provided = set(implementedBy(kind).flattened())
            self.assertEqual(set(IReactor.__bases__) - provided, set(), kind)

    def test_calls_come_when_they_are_due(self) -> None:
        for kind in self.kinds():
            for ahead in (-HOUR, HOUR):
                self.set_ahead = 0.0
                reactor = on_wall_clock(kind, self.wall)
                came = self.run_through(reactor, ahead)
                self.assertEqual(came, ["due before", "put off", "later"], kind)
                for call in reactor.getDelayedCalls():
                    call.cancel()
                reactor.removeAll()

    def test_it_goes_on_from_where_the_old_one_was(self) -> None:
        self.set_ahead = HOUR
        reactor = on_wall_clock(SelectReactor, self.wall)
        before = reactor.seconds()
        measure_steadily(reactor)
        self.assertLess(abs(reactor.seconds() - before), HOUR / 2)
        self.set_ahead = 0.0
        measure_steadily(reactor)  # Another daemon in the same process.
        self.assertLess(abs(reactor.seconds() - before), HOUR / 2)

    def test_a_clock_of_tests_is_left_alone(self) -> None:
        clock = Clock()
        measure_steadily(clock)
        self.assertEqual(clock.seconds(), 0.0)


class Starting(ClockCase):
    def test_every_daemon_sees_to_it(self) -> None:
        reactor = on_wall_clock(SelectReactor, self.wall)

        class Nothing(Daemon):
            kind = "nothing"

            async def start(self) -> None:
                """It has no parts."""

        daemon = Nothing(board, Configuration(), reactor, self.fail)
        before = reactor.seconds()
        self.set_ahead = -HOUR
        self.assertGreaterEqual(reactor.seconds(), before)
        self.assertLess(abs(daemon.wall() - time.time()), 60.0)
