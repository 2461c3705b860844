"""How many events a server deals with in one turn of its reactor."""

from __future__ import annotations

import select
import socket
from collections import Counter
from typing import Any
from unittest import skipUnless

from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from bbs.board import board
from bbs.config import Configuration
from bbs.daemons.daemon import MOST_EVENTS, Daemon, bound_turns

CROWD = 3 * MOST_EVENTS + 5


@implementer(IReadDescriptor)
class Reader:
    """Something that can be read for ever."""

    def __init__(self, readable: socket.socket, seen: Counter[Reader]) -> None:
        self.fileno = readable.fileno
        self._seen = seen

    def doRead(self) -> None:
        self._seen[self] += 1

    def connectionLost(self, reason: object) -> None:
        """Never."""

    def logPrefix(self) -> str:
        return "reader"


@skipUnless(hasattr(select, "epoll"), "there is no epoll here")
class TurnTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.seen: Counter[Reader] = Counter()

    def readable(self) -> socket.socket:
        here, there = socket.socketpair()
        self.addCleanup(here.close)
        self.addCleanup(there.close)
        there.send(b"x")
        return here

    def reactor(self) -> Any:
        """A reactor that does not run, with a crowd of readers."""
        from twisted.internet.epollreactor import EPollReactor

        crowd = [self.readable() for _ in range(CROWD)]
        reactor: Any = EPollReactor()  # type: ignore[no-untyped-call]
        self.addCleanup(reactor.removeAll)
        for each in crowd:
            reactor.addReader(Reader(each, self.seen))
        return reactor

    def test_a_turn_takes_a_few(self) -> None:
        reactor = self.reactor()
        bound_turns(reactor)
        reactor.doIteration(0)
        self.assertEqual(sum(self.seen.values()), MOST_EVENTS)

    def test_nobody_is_passed_over(self) -> None:
        reactor = self.reactor()
        bound_turns(reactor)
        for _ in range(CROWD):
            reactor.doIteration(0)
        self.assertEqual(set(self.seen.values()), {MOST_EVENTS})
        self.assertEqual(len(self.seen), CROWD)

    def test_those_that_go_are_not_asked_for_any_more(self) -> None:
        reactor = self.reactor()
        bound_turns(reactor)
        gone = reactor.getReaders()[: CROWD // 2]
        for reader in gone:
            reactor.removeReader(reader)
        for _ in range(CROWD):
            reactor.doIteration(0)
        self.assertEqual(set(self.seen) & set(gone), set())

    def test_twice_is_as_good_as_once(self) -> None:
        reactor = self.reactor()
        bound_turns(reactor)
        bound_turns(reactor)
        reactor.doIteration(0)
        self.assertEqual(sum(self.seen.values()), MOST_EVENTS)

    def test_another_reactor_stays_as_it_is(self) -> None:
        bound_turns(MemoryReactorClock())

    def test_servers_do_so(self) -> None:
        class Idle(Daemon):
            kind = "idle"

            async def start(self) -> None:
                """There is nothing to start."""

        reactor = self.reactor()
        daemon = Idle(board, Configuration(), reactor, self.fail)
        daemon.startService()
        reactor.doIteration(0)
        self.successResultOf(daemon.stopService())
        self.assertEqual(sum(self.seen.values()), MOST_EVENTS)
