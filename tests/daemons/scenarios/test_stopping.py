"""A login server that stops: who waits there for a place asks another, and hardly notices."""

from __future__ import annotations

from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.config import Configuration
from bbs.config.sections import Login
from bbs.core.clock import IReactor
from bbs.daemons.composition import LoginServing, Runtime
from bbs.daemons.login import LoginServerDaemon
from bbs.limits.password_hashing import Hasher
from bbs.rules import membership
from bbs.rules.servers import new_id
from bbs.storage.models import Waiter
from bbs.testing import MemoryService, Peer
from bbs.testing.service import HINT_KEY, QUICK
from bbs.testing.threads import Inline
from tests.client.case import APP_1, ClientTestCase

STOPPING = {"status": 1, "message": "Service unavailable, try again", "code": "stopping"}


class AtTheServer(SynchronousTestCase):
    def setUp(self) -> None:
        self.service = MemoryService(board)
        self.addCleanup(self.service.close)
        self.service.boots = False
        self.assertEqual(self.service.peer().ask("register ann pw")["status"], 0)

    def waiting(self, *before: str) -> Peer:
        """A connection that has asked for these, and whose `login` waits."""
        peer = self.service.peer()
        for line in before:
            peer.ask(line)
        peer.say("login ann pw")
        self.service.settle()
        return peer

    def test_who_asks_once_is_told(self) -> None:
        peer = self.waiting()
        self.assertEqual(peer.heard(), [])
        self.assertEqual(Waiter.select().count(), 1)
        self.service.login.room.close()
        self.service.settle()
        self.assertEqual(peer.heard(), [STOPPING])
        self.assertEqual(Waiter.select().count(), 0)

    def test_who_said_events_asks_again(self) -> None:
        """And is told nothing: that might be shown to somebody."""
        peer = self.waiting("events")
        peer.events()
        self.service.login.room.close()
        self.service.settle()
        self.assertEqual(peer.heard(), [])
        self.assertTrue(peer.protocol.closed)
        self.assertEqual(Waiter.select().count(), 0)

    def test_nobody_waits_from_then_on(self) -> None:
        self.service.login.room.close()
        self.assertEqual(self.waiting().heard(), [STOPPING])
        self.assertEqual(Waiter.select().count(), 0)

    def test_who_finds_a_place_at_once_is_let_in(self) -> None:
        self.service.login.room.close()
        for server in self.service.provider.launched:
            self.service.boot(server)
        self.service.settle()
        (reply,) = self.waiting().heard()
        self.assertEqual(reply["status"], 0, reply)


class AtTheClient(ClientTestCase):
    """It waits on, at whoever answers at the same name."""

    def log_in_while_it_stops(self) -> None:
        self.service.boots = False
        self.network.kill(APP_1)
        self.network.advance(1.0)
        self.register("ann")
        login = self.client.login("ann", "1")
        self.network.advance(1.0)
        self.assertNoResult(login)
        self.service.login.room.close()
        # As long as it takes until another one is there.
        self.network.advance(3.0)
        self.assertNoResult(login)
        self.begin_another()
        self.boot()
        self.network.advance(3.0)
        self.result(login)
        self.assertGreater(len(self.asked("login")), 1)

    def begin_another(self) -> None:
        """Another login server answers at the same name."""
        service, me = self.service, membership.Member(new_id(), "host:another:1")
        ground = Runtime(
            board,
            service.config,
            service.database,
            service.broker.client(),
            service.clock,
            service.wall,
            HINT_KEY,
        )
        self.successResultOf(service.database.run(membership.enroll, me))
        service.login = LoginServing(
            ground,
            me=me,
            hasher=Hasher(Inline(), QUICK),
            provider=service.provider,
            workers=Inline(),
        )

    def test_one_that_says_events(self) -> None:
        self.client.on_waiting(lambda waiting: None)
        self.log_in_while_it_stops()

    def test_one_that_does_not(self) -> None:
        self.log_in_while_it_stops()


class ServingOn(SynchronousTestCase):
    def stopped(self, delay: float) -> tuple[Clock, Deferred[None] | None]:
        clock = Clock()
        config = Configuration(login=Login(drain_delay=delay))
        server = LoginServerDaemon(board, config, self.mktemp(), cast("IReactor", clock), self.fail)
        return clock, server.serve_on()

    def test_for_as_long_as_a_balancer_needs(self) -> None:
        clock, served = self.stopped(15.0)
        assert served is not None
        clock.advance(14.9)
        self.assertNoResult(served)
        clock.advance(0.2)
        self.successResultOf(served)

    def test_no_longer_than_need_be(self) -> None:
        _, served = self.stopped(0.0)
        self.assertIsNone(served)
