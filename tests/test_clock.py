"""The clock that servers measure by: nobody sets it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.base import ReactorBase
from twisted.internet.pollreactor import PollReactor
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.clock import measure_steadily
from bbs.config import Configuration
from bbs.daemons.daemon import Daemon

HOUR = 3600.0

PATIENCE = 20.0
"""Seconds after which a reactor whose calls do not come is stopped."""


class Measuring(SynchronousTestCase):
    """Each kind of reactor, on a wall clock that is set while it runs."""

    def setUp(self) -> None:
        self.set_ahead = 0.0
        self.patch(ReactorBase, "seconds", staticmethod(lambda: time.time() + self.set_ahead))

    def reactors(self) -> list[Callable[[], Any]]:
        """Those that there are here."""
        kinds: list[Callable[[], Any]] = [
            SelectReactor,
            PollReactor,
            lambda: AsyncioSelectorReactor(asyncio.new_event_loop()),
        ]
        try:
            from twisted.internet.epollreactor import EPollReactor
        except ImportError:
            return kinds
        return [*kinds, EPollReactor]

    def run_through(self, reactor: Any, ahead: float) -> tuple[list[str], float]:
        """The calls that come after the wall clock is set, and for how long that took."""
        came: list[str] = []
        before = reactor.callLater(0.02, came.append, "due before")
        put_off = reactor.callLater(HOUR, came.append, "put off")
        measure_steadily(reactor)

        def set_clock() -> None:
            self.set_ahead = ahead
            put_off.reset(0.04)
            reactor.callLater(0.06, came.append, "later")
            reactor.callLater(0.08, reactor.stop)
            reactor.callLater(HOUR / 2, came.append, "too soon")

        reactor.callWhenRunning(set_clock)
        watch = threading.Timer(PATIENCE, reactor.callFromThread, (reactor.stop,))
        watch.start()
        began, monotonic = reactor.seconds(), time.monotonic()
        reactor.run(installSignalHandlers=False)
        watch.cancel()
        self.assertTrue(before.called)
        self.assertLess(abs(reactor.seconds() - began - (time.monotonic() - monotonic)), 1.0)
        return came, time.monotonic() - monotonic

    def test_calls_come_when_they_are_due(self) -> None:
        for make in self.reactors():
            for ahead in (-HOUR, HOUR):
                self.set_ahead = 0.0
                reactor = make()
                came, seconds = self.run_through(reactor, ahead)
                self.assertEqual(came, ["due before", "put off", "later"], type(reactor))
                self.assertLess(seconds, PATIENCE / 2)
                for call in reactor.getDelayedCalls():
                    call.cancel()
                reactor.removeAll()

    def test_it_goes_on_from_where_the_old_one_was(self) -> None:
        reactor: Any = SelectReactor()
        before = reactor.seconds()
        measure_steadily(reactor)
        self.assertLess(abs(reactor.seconds() - before), 1.0)
        self.set_ahead = -HOUR
        measure_steadily(reactor)  # Another daemon in the same process.
        self.assertLess(abs(reactor.seconds() - before), 1.0)

    def test_a_clock_of_tests_is_left_alone(self) -> None:
        clock = Clock()
        measure_steadily(clock)
        self.assertEqual(clock.seconds(), 0.0)


class Starting(SynchronousTestCase):
    def test_every_daemon_sees_to_it(self) -> None:
        reactor: Any = SelectReactor()
        ahead = [0.0]
        self.patch(ReactorBase, "seconds", staticmethod(lambda: time.time() + ahead[0]))

        class Nothing(Daemon):
            kind = "nothing"

            async def start(self) -> None:
                """It has no parts."""

        daemon = Nothing(board, Configuration(), reactor, self.fail)
        before = reactor.seconds()
        ahead[0] = -HOUR
        self.assertGreaterEqual(reactor.seconds(), before)
        self.assertLess(abs(daemon.wall() - time.time()), 60.0)
