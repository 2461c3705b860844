"""What becomes of people when the database is away for a while, or a controller of the fleet
dies."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import ParamSpec, TypeVar
from weakref import ref

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.board.messages import messages
from bbs.core.errors import Unavailable
from bbs.core.values import State
from bbs.daemons.composition import LoginServing, Runtime
from bbs.limits.password_hashing import Hasher
from bbs.rules import membership, servers
from bbs.scaling.controller import FleetController
from bbs.scaling.identity import process_identity
from bbs.storage.models import Lease, Server
from bbs.testing.provider import MemoryProvider
from bbs.testing.service import HINT_KEY, QUICK
from bbs.testing.threads import Inline
from tests.faulty_database import Disk
from tests.memory_service import POLICY, another_controller, configuration
from tests.slow_service import SlowService

P = ParamSpec("P")
T = TypeVar("T")


class BadDaysCase(SynchronousTestCase):
    """A service whose database is on a disk that can be taken away."""

    def setUp(self) -> None:
        self.disk = Disk(self.mktemp())
        self.service = self.make_service()
        self.addCleanup(self.service.close)
        self.service.start()

    def make_service(self) -> SlowService:
        return SlowService(url=self.disk.url)

    def database_away(self) -> None:
        """Nothing can be asked of the database."""
        self.disk.take_away(self.service.database)

    def database_back(self) -> None:
        self.disk.bring_back()

    def count(self, table: str) -> int:
        query = f"SELECT count(*) FROM {table}"
        (found,) = self.service.database.peewee.execute_sql(query).fetchone()
        return int(found)


class Listening(BadDaysCase):
    def setUp(self) -> None:
        super().setUp()
        self.tokens = self.service.people("ann", "bob")
        self.home = self.service.serving(self.tokens["ann"])
        peer = self.home.peer()
        peer.ask(f"invite {self.tokens['ann']} bob")
        peer.ask(f"accept-invite {self.tokens['bob']} ann")
        self.listener = self.home.peer()
        self.listener.ask(f"listen {self.tokens['bob']}")

    def send(self, text: str) -> None:
        self.home.peer().ask(f"send {self.tokens['ann']} bob {text}")

    def test_what_was_stored_comes_when_the_database_is_back(self) -> None:
        self.listener.protocol.pauseProducing()
        self.send("hello")
        self.database_away()
        self.listener.protocol.resumeProducing()
        self.service.clock.advance(2)
        self.assertEqual(self.listener.heard(), [])
        self.database_back()
        self.service.clock.advance(2)
        self.assertEqual([event["message"] for event in self.listener.heard()], ["hello"])

    def test_what_was_delivered_is_written_down_later(self) -> None:
        self.send("hello")
        self.database_away()
        self.service.clock.advance(1)
        self.database_back()
        self.service.clock.advance(2)
        query = "SELECT max(delivered) FROM inbox"
        self.assertEqual(self.service.database.peewee.execute_sql(query).fetchone(), (1,))

    def test_what_was_delivered_is_written_down_one_after_the_other(self) -> None:
        """While it is written down more is delivered; and then the database is away for a while."""
        slow = self.service.slow
        slow.hold(messages.note_delivered)
        for text in ("one", "two"):
            self.send(text)
            self.service.clock.advance(0.2)
        self.listener.protocol.connectionLost(Failure(ConnectionDone()))
        for served in (True, False, True):
            (noting,) = slow.waiting
            slow.waiting.clear()
            if served:
                noting.go_on()
            else:
                noting.fail(Unavailable())
            self.service.clock.advance(3)
        self.assertEqual(slow.waiting, [])
        query = "SELECT max(delivered) FROM inbox"
        self.assertEqual(self.service.database.peewee.execute_sql(query).fetchone(), (2,))

    def test_who_leaves_while_the_database_is_away_is_forgotten(self) -> None:
        gc.freeze()  # To look through all that other tests have left takes a while.
        self.addCleanup(gc.unfreeze)
        gone = self.service.listening(self.tokens["bob"])
        connection = ref(gone.transport)
        slow = self.service.slow
        slow.hold(messages.fetch)
        self.service.broker.away()
        gone.protocol.connectionLost(Failure(ConnectionDone()))
        slow.hold_no_more()
        slow.waiting.pop().fail(Unavailable())
        self.send("hello")
        self.service.advance(3)
        self.assertEqual([event["message"] for event in self.listener.heard()], ["hello"])
        del gone
        gc.collect()
        self.assertIsNone(connection())

    def test_stopping_writes_down_what_was_delivered(self) -> None:
        self.send("hello")
        self.successResultOf(self.home.serving.listeners.stopService())
        query = "SELECT max(delivered) FROM inbox"
        self.assertEqual(self.service.database.peewee.execute_sql(query).fetchone(), (1,))

    def test_a_server_that_stops_waits_for_those_who_listen(self) -> None:
        dismissed = Deferred.fromCoroutine(self.home.serving.listeners.dismiss(2.0))
        self.assertNoResult(dismissed)
        self.listener.protocol.connectionLost(Failure(ConnectionDone()))
        self.successResultOf(dismissed)

    def test_but_not_for_long(self) -> None:
        dismissed = Deferred.fromCoroutine(self.home.serving.listeners.dismiss(2.0))
        self.service.clock.advance(2)
        self.successResultOf(dismissed)


class Waiting(BadDaysCase):
    def setUp(self) -> None:
        super().setUp()
        self.service.people("ann", "bob")
        self.service.boots = False
        self.peer = self.service.peer()
        self.peer.ask("register cat pw")

    def boot(self) -> None:
        self.service.boot(self.service.provider.launched[1])

    def test_waiting_outlasts_an_outage(self) -> None:
        self.peer.ask("events")
        self.peer.say("login cat pw")
        self.service.settle()
        self.database_away()
        for _ in range(5):
            self.service.clock.advance(1)
        self.database_back()
        self.boot()
        self.service.clock.advance(2)
        self.service.settle()
        self.assertEqual(self.peer.heard()[-1]["status"], 0)

    def test_giving_up_in_an_outage_is_written_down_later(self) -> None:
        self.peer.say("login cat pw")
        self.service.settle()
        self.assertEqual(self.count("waiter"), 1)
        self.database_away()
        self.peer.protocol.connectionLost(Failure(ConnectionDone()))
        self.service.clock.advance(1)
        self.database_back()
        self.assertEqual(self.count("waiter"), 1)
        self.service.clock.advance(1)
        self.assertEqual(self.count("waiter"), 0)

    def test_somebody_deleted_while_waiting_is_told(self) -> None:
        self.peer.say("login cat pw")
        self.service.settle()
        self.service.database.peewee.execute_sql("DELETE FROM user WHERE name = 'cat'")
        self.service.clock.advance(1)
        self.assertEqual(
            [reply["message"] for reply in self.peer.heard()], ["No such user or password error"]
        )


class Threads(Inline):
    """They count what is asked of them."""

    asked = 0

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        self.asked += 1
        return super().run(work, *args, **kwargs)


@cache
def dead_identity() -> str:
    """The identity of a process that has ended."""
    program = "from bbs.scaling.identity import process_identity; print(process_identity())"
    return subprocess.check_output([sys.executable, "-c", program], text=True).strip()


class ControllersCase(BadDaysCase):
    """Two login servers over one database; the first keeps the fleet, by the clock of a process
    that can be stopped."""

    retention = 1000.0

    def make_service(self) -> SlowService:
        config = configuration(POLICY)
        messages = replace(config.messages, message_retention=self.retention)
        service = SlowService(config=replace(config, messages=messages), url=self.disk.url)
        self.process = Clock()
        self.process.advance(service.clock.seconds())
        self.is_stopped = False
        self.threads = Threads()
        service.login = LoginServing(
            Runtime(
                board,
                service.config,
                service.database,
                service.broker.client(),
                self.process,
                service.wall,
                HINT_KEY,
            ),
            me=service.me,
            hasher=Hasher(Inline(), QUICK),
            provider=service.provider,
            workers=self.threads,
        )
        return service

    def setUp(self) -> None:
        super().setUp()
        self.pass_time(0.2)
        self.provider = MemoryProvider("memory of the second")
        self.second = another_controller(
            self.service, "host:elsewhere:1", self.provider, replace(POLICY, minimum=0)
        )
        self.second.startService()
        self.addCleanup(self.stop, self.second)
        self.pass_time(0.2)

    @property
    def first(self) -> FleetController:
        return self.service.login.controller

    def stop(self, controller: FleetController) -> None:
        if controller.running:
            controller.stopService()

    def pass_time(self, seconds: float) -> None:
        """Let a moment pass for both, unless the process of the first is stopped."""
        for _ in range(10):
            if not self.is_stopped:
                self.process.advance(seconds / 10)
            self.service.clock.advance(seconds / 10)

    def rounds(self, seconds: int) -> None:
        for _ in range(seconds):
            self.service.beat()
            self.pass_time(1)

    def go_on(self) -> None:
        """The process of the first goes on, and finds that time has passed."""
        self.is_stopped = False
        self.process.advance(self.service.clock.seconds() - self.process.seconds())


class Controllers(ControllersCase):
    def test_one_at_a_time(self) -> None:
        self.rounds(60)
        self.assertEqual((self.first.is_leader, self.second.is_leader), (True, False))

    def test_one_that_stops_hands_over(self) -> None:
        self.first.stopService()
        self.rounds(3)
        self.assertTrue(self.second.is_leader)

    def test_one_that_falls_silent_is_succeeded_and_finds_out(self) -> None:
        self.is_stopped = True
        self.rounds(9)
        self.assertFalse(self.second.is_leader)
        self.rounds(5)
        self.assertTrue(self.second.is_leader)
        self.go_on()
        self.rounds(3)
        self.assertFalse(self.first.is_leader)

    def test_an_outage_is_held_against_nobody(self) -> None:
        (server,) = self.service.servers
        self.database_away()
        for _ in range(60):
            self.pass_time(1)
        self.database_back()
        self.pass_time(1)
        self.rounds(20)
        self.assertEqual(self.service.provider.alive(), {server})
        self.assertTrue(self.first.is_leader)

    def test_people_who_wait_at_a_dead_login_server_are_not_launched_for(self) -> None:
        dead = membership.Member(servers.new_id(), "host:elsewhere:2")
        self.service.database.run(membership.enroll, dead)
        self.service.database.run(membership.wait, dead, servers.new_id(), "somebody", 0.0)
        self.rounds(30)
        self.assertEqual(self.count("waiter"), 0)

    def test_one_whose_process_is_dead_is_succeeded_at_once(self) -> None:
        self.is_stopped = True
        Lease.update(identity=dead_identity()).execute()
        self.rounds(3)
        self.assertTrue(self.second.is_leader)

    def test_a_login_server_whose_process_is_dead_is_forgotten_at_once(self) -> None:
        """And nobody is launched for who waited there."""
        dead = membership.Member(servers.new_id(), dead_identity())
        self.service.database.run(membership.enroll, dead)
        self.service.database.run(membership.wait, dead, servers.new_id(), "somebody", 0.0)
        self.rounds(3)
        self.assertEqual((self.count("waiter"), self.count("login_server")), (0, 2))

    def test_servers_that_ended_with_their_launcher_are_lost_at_once(self) -> None:
        dead, now = dead_identity(), self.service.clock.seconds()
        scopes = (f"local:{dead}", "local:host:elsewhere:3", f"local:{process_identity()}")
        for scope in scopes:
            server = servers.add(scope, 2, now)
            Server.update(state=State.READY, port=1, host="h").where(Server.id == server).execute()
        self.rounds(3)
        ended = Server.select(Server.scope).where(Server.state.in_([State.LOST, State.GONE]))
        self.assertEqual([row.scope for row in ended], [f"local:{dead}"])

    def test_no_thread_is_asked_about_oneself(self) -> None:
        self.second.stopService()
        self.rounds(3)
        servers.add(f"local:{self.service.me.identity}", 2, self.service.wall())
        self.threads.asked = 0
        self.rounds(3)
        self.assertTrue(self.first.is_leader)
        self.assertEqual(self.threads.asked, 0)


class Sweeping(ControllersCase):
    retention = 10.0

    def test_what_has_expired_is_swept_away(self) -> None:
        token = self.service.people("ann")["ann"]
        peer = self.service.serving(token).peer()
        peer.ask(f"create-group {token} chess")
        peer.ask(f"send-group {token} chess hello")
        self.assertEqual(self.count("message"), 1)
        self.rounds(80)
        self.assertEqual(self.count("message"), 0)
