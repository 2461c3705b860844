"""The fleet on a cloud: calls that hang, fail or lose their answers, and lists that lag."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping
from copy import copy
from dataclasses import replace
from typing import Any

from peewee import chunked
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides, implementer
from zope.interface.verify import verifyObject

from bbs.core.values import Instance, Policy, State
from bbs.delivery.bus import Bus
from bbs.rules import fleet_admin, fleets, membership, overview
from bbs.rules.placement import SETTLED_AT_ONCE
from bbs.scaling.controller import FleetController
from bbs.scaling.housekeeping import HOUSEKEEPING_INTERVAL
from bbs.scaling.interfaces import (
    IEndsUnlisted,
    IHasStrategies,
    LaunchFailed,
    LaunchRefused,
    ProviderUnavailable,
)
from bbs.scaling.observer import CONSISTENCY_GRACE, FIRST_LIST, SETTLED_INTERVAL, UNSETTLED_INTERVAL
from bbs.storage.database import rows
from bbs.storage.models import Lease, Place, Secret, Server, User
from bbs.testing import Peer
from bbs.testing.provider import MemoryProvider
from tests.memory_service import POLICY, another_controller, memory_service

UNAVAILABLE = {
    "status": 1,
    "message": "Service unavailable, try again",
    "code": "unavailable",
}


class CloudInMemory(MemoryProvider):
    """A provider that others share. `trouble` says what becomes of calls, by their kind: "hangs",
    "lost" (done, and no answer), "ignored" (answered, and not done), or an exception. `hidden` are
    ids that no list shows, `anothers` those of which it is not certain that this fleet launched
    them.

    :param account: all instances, by their ids: the same for all who share them.
    """

    shared = True
    on_list: Callable[[], None] = staticmethod(lambda: None)
    """Called when somebody asks for a list."""

    def __init__(self, account: dict[str, Instance] | None = None) -> None:
        super().__init__("ec2:here:bbs")
        self.account = self._instances = {} if account is None else account
        self.trouble: dict[str, Any] = {}
        self.hidden: set[str] = set()
        self.anothers: set[str] = set()
        self.calls: list[tuple[str, ...]] = []
        self.hanging: list[Deferred[Any]] = []
        self.host: str | None = "127.0.0.1"

    def launch(self, launch_id: str) -> Deferred[None]:
        self.calls.append(("launch", launch_id))
        return self._troubled("launch", lambda: super(CloudInMemory, self).launch(launch_id))

    def list(self) -> Deferred[Mapping[str, Instance]]:
        self.calls.append(("list",))
        self.on_list()
        return self._troubled("list", self._list)

    def terminate(self, launch_id: str) -> Deferred[None]:
        self.calls.append(("terminate", launch_id))
        return self._troubled("terminate", lambda: super(CloudInMemory, self).terminate(launch_id))

    def end_quietly(self, launch_id: str) -> None:
        """As a cloud does: it tells nobody."""
        told, self.when_changed = self.when_changed, None
        self.end(launch_id)
        self.when_changed = told

    def count(self, kind: str) -> int:
        """How often it was asked to."""
        return sum(call[0] == kind for call in self.calls)

    def _list(self) -> Deferred[Mapping[str, Instance]]:
        return succeed(
            {
                id: replace(
                    one,
                    host=self.host,
                    instance_id=f"i-{id[:4]}",
                    kind="t3.micro",
                    ours=id not in self.anothers,
                )
                for id, one in self.account.items()
                if id not in self.hidden
            }
        )

    def _troubled(self, kind: str, call: Any) -> Deferred[Any]:
        trouble = self.trouble.get(kind)
        if isinstance(trouble, Exception):
            return fail(copy(trouble))  # Each raise of the same one makes its traceback longer.
        if trouble == "hangs":
            self.hanging.append(Deferred())
            return self.hanging[-1]
        if trouble == "ignored":
            return succeed(None)
        if trouble == "lost":
            call()
            return fail(ProviderUnavailable("no answer"))
        return call()


AWAY = ProviderUnavailable("throttled")


class CloudCase(SynchronousTestCase):
    """A service on a cloud, with one app server."""

    policy: Policy = POLICY
    controller: FleetController | None = None
    """The login server that has followed the service's own."""
    numbers = itertools.count(2)

    def setUp(self) -> None:
        self.cloud = CloudInMemory()
        self.service = memory_service(policy=self.policy, provider=self.cloud)
        self.addCleanup(self.service.close)
        self.service.start()

    def launch_unseen(self, *ids: str) -> None:
        """Instances that run, and of which no server knows."""
        boots, self.cloud.on_launch = self.cloud.on_launch, None
        for id in ids:
            self.successResultOf(self.cloud.launch(id))
        self.cloud.on_launch = boots

    def succeed_by(self, successor: CloudInMemory) -> FleetController:
        """Another login server, which asks `successor`, keeps the fleet from now on."""
        before = self.controller or self.service.login.controller
        before.stopService()
        identity = f"host:nowhere:{next(self.numbers)}"
        self.controller = another_controller(self.service, identity, successor, self.policy)
        self.controller.startService()
        return self.controller

    def pass_time(self, seconds: float) -> None:
        """Every server that runs beats meanwhile."""
        for _ in range(round(seconds / 2)):
            for id in self.cloud.alive() & set(self.service.servers):
                self.service.database.run(membership.beat, id, {})
            self.service.clock.advance(1.8)
            self.service.settle()

    def waiting(self, name: str) -> Peer:
        """Somebody who logs in and finds no room."""
        peer = self.service.peer()
        self.addCleanup(peer.protocol.connectionLost, Failure(ConnectionDone()))
        peer.ask(f"register {name} pw")
        peer.say(f"login {name} pw")
        self.service.settle()
        return peer

    def states(self) -> list[str]:
        """Of the servers that are not gone, the oldest first."""
        rows = Server.select().where(Server.state != State.GONE).order_by(Server.created)
        return [str(row.state) for row in rows]

    def port(self, token: str) -> int:
        """Where somebody is served."""
        port: int = self.service.peer().ask(f"locate {token}")["app_server"]["port"]
        return port


class Unavailable(CloudCase):
    def test_nothing_is_ended_for_a_list_that_cannot_be_had(self) -> None:
        token = self.service.people("ann")["ann"]
        self.cloud.trouble["list"] = AWAY
        self.pass_time(300)
        self.assertEqual((self.states(), self.port(token)), (["ready"], 20001))
        self.assertEqual(self.cloud.count("terminate"), 0)

    def test_the_fleet_goes_on_with_the_database(self) -> None:
        """Heartbeats say who is dead, and what people wait for is launched."""
        tokens = self.service.people("ann", "bob")
        self.cloud.trouble["list"] = AWAY
        peer = self.waiting("cat")
        self.assertEqual(len(self.cloud.launched), 2)
        self.cloud.trouble.clear()
        self.pass_time(10)
        self.assertEqual([reply["status"] for reply in peer.heard()], [0])
        self.cloud.trouble["list"] = AWAY
        del self.service.servers[self.cloud.launched[0]]  # It beats no more.
        self.pass_time(20)
        self.assertEqual(self.port(tokens["ann"]), 20002)

    def test_a_server_is_ready_when_its_address_is_known(self) -> None:
        self.service.people("ann", "bob")
        self.cloud.host = None
        peer = self.waiting("cat")
        self.pass_time(10)
        self.assertEqual((self.states(), peer.heard()), (["ready", "launching"], []))
        self.cloud.host = "203.0.113.7"
        self.pass_time(4)
        self.assertEqual(peer.heard()[0]["app_server"]["host"], "203.0.113.7")

    def test_an_address_that_was_told_is_kept(self) -> None:
        self.service.people("ann", "bob")
        self.service.boots = False
        peer = self.waiting("cat")
        self.pass_time(10)
        self.cloud.trouble["list"] = AWAY
        self.service.boot(self.cloud.launched[1])
        self.service.settle()
        self.assertEqual(peer.heard()[0]["app_server"]["port"], 20002)

    def test_a_list_that_hangs_holds_nothing_up(self) -> None:
        tokens = self.service.people("ann", "bob")
        self.cloud.trouble["list"] = "hangs"
        beats, lists = Lease.get().beats, self.cloud.count("list")
        peer = self.waiting("cat")
        self.service.clock.advance(2.0)
        self.assertEqual(len(self.cloud.launched), 2)
        self.pass_time(60)
        self.assertEqual(self.cloud.count("list"), lists + 1)
        self.assertGreater(Lease.get().beats, beats + 25)
        self.assertEqual(self.service.peer().ask("login ann pw")["status"], 0)
        self.assertEqual(self.port(tokens["ann"]), 20001)
        # It comes in the end, and is heard at once.
        self.cloud.trouble.clear()
        self.cloud.hanging[0].callback(self.successResultOf(self.cloud.list()))
        self.service.settle()
        self.assertEqual(peer.heard()[0]["status"], 0)

    def test_where_it_is_is_asked_when_it_was_launched(self) -> None:
        self.service.people("ann", "bob")
        self.service.boots = False
        lists = self.cloud.count("list")
        peer = self.waiting("cat")
        self.assertEqual(self.cloud.count("list"), lists + 1)
        self.service.boot(self.cloud.launched[1])
        self.service.settle()
        self.assertEqual(peer.heard()[0]["app_server"]["port"], 20002)
        self.assertEqual(self.cloud.count("list"), lists + 1)

    def test_who_waits_does_not_wait_for_a_list(self) -> None:
        """A server that has said where it is takes people, also when a new list is due."""
        self.service.people("ann", "bob")
        self.service.boots = False
        peer = self.waiting("cat")
        lists = self.cloud.count("list")
        while self.cloud.count("list") == lists:
            self.service.advance(0.25)
        lists = self.cloud.count("list")
        self.cloud.trouble["list"] = "hangs"
        for _ in range(round(UNSETTLED_INTERVAL / 0.25)):
            self.service.advance(0.25)
        self.assertEqual((self.cloud.count("list"), peer.heard()), (lists, []))
        self.service.boot(self.cloud.launched[1])
        self.service.clock.pump([0.01] * 10)
        self.assertEqual(self.cloud.count("list"), lists + 1)
        self.assertEqual(peer.heard()[0]["app_server"]["port"], 20002)

    def test_a_list_that_cannot_be_had_is_not_asked_for_again_at_once(self) -> None:
        self.service.people("ann", "bob")
        self.service.boots = False
        self.waiting("cat")
        self.cloud.trouble["list"] = AWAY
        lists = self.cloud.count("list")
        self.pass_time(60)
        self.assertLessEqual(self.cloud.count("list") - lists, 31)

    def test_many_who_come_make_few_rounds(self) -> None:
        self.pass_time(4)
        beats = Lease.get().beats
        for _ in range(20):
            self.service.login.controller.look_soon()
            self.service.clock.advance(0.001)
        self.assertIn(Lease.get().beats - beats, (1, 2))
        self.service.clock.advance(0.05)
        self.assertLessEqual(Lease.get().beats - beats, 3)

    def test_nonsense_of_every_kind(self) -> None:
        """Whatever a provider raises, those who have a place are served, and rounds go on."""
        tokens = self.service.people("ann", "bob")
        self.cloud.trouble = dict.fromkeys(("launch", "list", "terminate"), RuntimeError("bug"))
        self.waiting("cat")
        self.pass_time(60)
        self.assertEqual(self.port(tokens["ann"]), 20001)
        self.assertEqual(self.service.peer().ask("login bob pw")["status"], 0)
        self.assertTrue(self.flushLoggedErrors(RuntimeError))
        self.cloud.trouble.clear()
        self.pass_time(60)
        self.assertEqual(self.states(), ["ready", "ready"])

    def test_stopping_waits_for_no_call(self) -> None:
        self.service.people("ann", "bob")
        self.cloud.trouble = dict.fromkeys(("launch", "list", "terminate"), "hangs")
        self.waiting("cat")
        self.service.clock.advance(2.0)
        stopped = self.service.login.controller.stopService()
        self.service.clock.advance(2.0)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(Lease.select().count(), 0)

    def test_a_fleet_that_is_well_lists_rarely(self) -> None:
        self.pass_time(60)
        before = self.cloud.count("list")
        self.pass_time(10 * SETTLED_INTERVAL)
        self.assertLessEqual(self.cloud.count("list") - before, 10)


class WithoutLists(CloudCase):
    """A zone in trouble: launches work, and lists are refused."""

    def setUp(self) -> None:
        super().setUp()
        self.service.people("ann", "bob")
        self.service.boots = False
        self.cloud.trouble["list"] = AWAY
        self.logged: list[Any] = []
        observer: Any = self.logged.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def boot(self, host: str | None) -> None:
        """The last launch serves, and knows where, or does not."""
        id = self.cloud.launched[-1]
        self.service.boot(id)
        self.service.database.run(membership.report, id, self.service.servers[id].port, host)

    def said(self) -> int:
        """How often it is said that nobody knows where a server is."""
        return sum("its address is unknown" in event["log_format"] for event in self.logged)

    def test_ready_at_its_own_word(self) -> None:
        peer = self.waiting("cat")
        self.boot("198.51.100.7")
        self.pass_time(4)
        self.assertEqual(peer.heard()[0]["app_server"], {"host": "198.51.100.7", "port": 20002})
        self.pass_time(300)
        self.assertEqual((self.states(), self.said()), (["ready", "ready"], 0))

    def test_the_list_wins(self) -> None:
        self.cloud.trouble.clear()
        self.cloud.host = "203.0.113.7"
        peer = self.waiting("cat")
        self.pass_time(2 * UNSETTLED_INTERVAL)
        self.boot("198.51.100.7")
        self.pass_time(4)
        self.assertEqual(peer.heard()[0]["app_server"]["host"], "203.0.113.7")

    def test_where_it_is_nobody_knows(self) -> None:
        """It is neither ended nor launched again, and that is said once."""
        self.waiting("cat")
        self.boot(None)
        self.pass_time(900)
        self.assertEqual(self.states(), ["ready", "launching"])
        self.assertEqual((len(self.cloud.launched), self.cloud.count("terminate")), (2, 0))
        self.assertEqual(self.said(), 1)
        self.cloud.trouble.clear()
        self.cloud.host = None
        lists = self.cloud.count("list")
        self.pass_time(60)
        self.assertLessEqual(self.cloud.count("list") - lists, 60 / UNSETTLED_INTERVAL + 1)
        self.cloud.host = "203.0.113.7"
        self.pass_time(2 * UNSETTLED_INTERVAL)
        self.assertEqual(self.waiting("dog").heard()[0]["app_server"]["port"], 20002)

    def test_where_it_is_nobody_knows_and_it_falls_silent(self) -> None:
        self.waiting("cat")
        self.boot(None)
        self.pass_time(300)
        self.service.servers.pop(self.cloud.launched[-1])
        self.pass_time(20)
        self.assertRegex(Server.get_by_id(self.cloud.launched[1]).reason, "^failed: silent for")


class Warned(CloudCase):
    """Servers that the cloud will take away."""

    WHY = "spot: interrupted at 12:34 UTC"

    def warn(self, id: str) -> None:
        self.service.database.run(membership.warn, id, self.WHY)

    def test_people_go_over_without_logging_in(self) -> None:
        tokens = self.service.people("ann", "bob")
        old = self.cloud.launched[0]
        self.warn(old)
        self.pass_time(6)
        self.assertEqual({self.port(token) for token in tokens.values()}, {20002})
        self.assertEqual(self.states(), ["ready"])
        self.assertEqual(Server.get_by_id(old).reason, self.WHY)
        self.assertEqual(len(self.cloud.launched), 2)

    def test_nobody_is_placed_there(self) -> None:
        """While it waits for another, too."""
        tokens = self.service.people("ann")
        self.service.boots = False
        self.warn(self.cloud.launched[0])
        self.pass_time(6)
        peer = self.waiting("bob")
        self.pass_time(60)
        self.assertEqual((peer.heard(), self.port(tokens["ann"])), ([], 20001))
        self.service.boot(self.cloud.launched[1])
        self.pass_time(6)
        self.assertEqual(peer.heard()[0]["app_server"]["port"], 20002)
        self.assertEqual(self.port(tokens["ann"]), 20002)

    def test_one_that_boots(self) -> None:
        self.service.people("ann", "bob")
        self.service.boots = False
        self.waiting("cat")
        self.warn(self.cloud.launched[1])
        self.service.boots = True
        self.pass_time(10)
        self.assertNotIn(self.cloud.launched[1], self.cloud.alive())
        self.assertEqual(self.states(), ["ready", "ready"])

    def test_half_of_the_fleet_at_once(self) -> None:
        names = [f"p{n}" for n in range(12)]
        tokens = self.service.people(*names)
        self.assertEqual(len(self.cloud.launched), 6)
        for id in self.cloud.launched[::2]:
            self.warn(id)
        self.pass_time(2)
        self.assertEqual(len(self.cloud.launched), 9)
        self.pass_time(8)
        taken = {20000 + number for number in (1, 3, 5)}
        self.assertFalse({self.port(token) for token in tokens.values()} & taken)
        self.assertEqual(self.states(), ["ready"] * 6)


class Launching(CloudCase):
    def test_a_launch_without_an_answer_is_asked_for_again_under_its_id(self) -> None:
        self.service.people("ann", "bob")
        self.cloud.trouble["launch"] = AWAY
        self.waiting("cat")
        self.pass_time(20)
        ids = {call[1] for call in self.cloud.calls if call[0] == "launch"}
        self.assertEqual(len(ids), 2)
        # At once, and then 1, 2, 4, 8 s after the one before.
        self.assertEqual(self.cloud.count("launch"), 1 + 5)
        self.cloud.trouble.clear()
        self.pass_time(20)
        self.assertEqual((self.states(), set(self.cloud.launched)), (["ready", "ready"], ids))

    def test_one_that_was_launched_without_an_answer_is_not_launched_twice(self) -> None:
        self.service.people("ann", "bob")
        self.cloud.trouble["launch"] = "lost"
        peer = self.waiting("cat")
        self.pass_time(10)
        self.assertEqual([reply["status"] for reply in peer.heard()], [0])
        self.assertEqual(len(self.cloud.launched), 2)

    def test_a_successor_asks_for_what_was_written_down(self) -> None:
        self.service.people("ann", "bob")
        self.cloud.trouble["launch"] = "hangs"
        self.waiting("cat")
        [id] = {row.id for row in Server.select().where(Server.state == State.LAUNCHING)}
        successor = CloudInMemory(self.cloud.account)
        successor.on_launch = self.cloud.on_launch
        controller = self.succeed_by(successor)
        self.pass_time(10)
        self.assertTrue(controller.is_leader)
        self.assertEqual(successor.launched, [id])
        self.assertEqual(self.states(), ["ready", "ready"])

    def test_no_capacity_backs_off_and_makes_room_at_once(self) -> None:
        """Nothing was started, so nothing is left to count to the maximum."""
        self.service.people("ann", "bob")
        self.cloud.refusal = LaunchFailed("no capacity")
        peer = self.waiting("cat")
        self.service.settle()
        self.assertEqual(self.states(), ["ready"])
        self.cloud.refusal = None
        self.pass_time(4)
        self.assertEqual([reply["status"] for reply in peer.heard()], [0])

    def test_a_call_that_takes_too_long_and_fails_then(self) -> None:
        """Why it was given up is known already, and nothing came of it."""
        self.service.people("ann", "bob")
        self.cloud.trouble["launch"] = "hangs"
        self.waiting("cat")
        late = Server.get(Server.state == State.LAUNCHING)
        self.pass_time(184)
        self.assertEqual(Server.get_by_id(late.id).state, State.LOST)
        self.cloud.hanging[0].errback(LaunchFailed("no capacity"))
        self.pass_time(4)
        row = Server.get_by_id(late.id)
        self.assertEqual((row.state, row.reason), (State.GONE, "failed: not ready in 180 s"))

    def test_a_boot_that_takes_too_long_is_ended_and_replaced(self) -> None:
        self.service.people("ann", "bob")
        self.service.boots = False
        self.waiting("cat")
        self.pass_time(150)
        slow = self.cloud.launched[1]
        self.waiting("dog")
        self.service.boots = True
        self.pass_time(42)
        self.assertNotIn(slow, self.cloud.alive())
        self.assertEqual(len(self.cloud.launched), 3)
        self.assertEqual(self.states(), ["ready", "ready"])
        self.assertRegex(Server.get_by_id(slow).reason, "^failed: not ready in 180 s")


class Refused(CloudCase):
    REASON = "over quota: ask for more in Service Quotas"

    def setUp(self) -> None:
        super().setUp()
        self.tokens = self.service.people("ann", "bob")
        self.cloud.refusal = LaunchRefused(self.REASON)

    def test_who_waits_is_answered_at_once_and_who_comes_too(self) -> None:
        self.assertEqual(self.waiting("cat").heard(), [UNAVAILABLE])
        asked = self.cloud.count("launch")
        for name in ("dog", "eve"):
            self.assertEqual(self.waiting(name).heard(), [UNAVAILABLE])
        self.assertEqual(self.cloud.count("launch"), asked)

    def test_who_has_a_place_notices_nothing(self) -> None:
        self.waiting("cat")
        self.assertEqual(self.port(self.tokens["ann"]), 20001)
        self.assertEqual(self.service.peer().ask("login ann pw")["status"], 0)

    def test_operators_see_why(self) -> None:
        self.waiting("cat")
        refusal = self.successResultOf(self.service.database.run(fleet_admin.refusal))
        assert refusal is not None
        self.assertEqual(refusal.reason, self.REASON)
        self.assertIn(round(refusal.until - self.service.clock.seconds()), (59, 60))

    def test_it_is_tried_again_later(self) -> None:
        self.waiting("cat")
        asked = self.cloud.count("launch")
        self.pass_time(58)
        self.assertEqual(self.cloud.count("launch"), asked)
        self.pass_time(4)
        self.waiting("cat")  # Nobody had waited any more.
        self.assertEqual(self.cloud.count("launch"), asked + 1)
        self.pass_time(116)
        self.assertEqual(self.waiting("dog").heard(), [UNAVAILABLE])
        self.assertEqual(self.cloud.count("launch"), asked + 1)
        self.cloud.refusal = None
        self.pass_time(6)
        self.assertEqual([reply["status"] for reply in self.waiting("eve").heard()], [0])
        self.assertIsNone(self.successResultOf(self.service.database.run(fleet_admin.refusal)))

    def test_none_is_launched_by_a_round_that_waits_for_a_list_meanwhile(self) -> None:
        self.cloud.refusal = None
        self.waiting("cat")
        first, second = self.cloud.launched
        self.cloud.trouble["launch"] = "hangs"
        self.service.database.run(membership.warn, first, "soon")
        lists = self.cloud.count("list")
        while self.cloud.count("list") == lists:
            self.service.advance(0.25)
        self.service.advance(UNSETTLED_INTERVAL - 0.75)
        asked, lists = self.cloud.count("launch"), self.cloud.count("list")
        self.assertEqual(asked, 3)
        self.cloud.trouble["list"] = "hangs"
        # The round that finds this out waits for the list.
        self.service.database.run(membership.warn, second, "soon")
        while self.cloud.count("list") == lists:
            self.service.clock.advance(0.25)
            self.assertEqual(self.cloud.count("launch"), asked)
        self.cloud.hanging[0].errback(LaunchRefused(self.REASON))
        self.service.clock.advance(1.0)
        self.assertEqual(self.cloud.count("launch"), asked)

    def test_people_of_other_login_servers_are_answered_at_once(self) -> None:
        """They hear of it through the broker, and find it in the database."""
        other = Bus(self.service.broker.client(), "bbs")
        heard: list[Any] = []
        other.hear_fleet(lambda hint: heard.append(hint["event"]))
        self.waiting("cat")
        self.assertIn("refused", heard)


class Ending(CloudCase):
    policy = replace(POLICY, maximum=2)

    def two_servers(self) -> Mapping[str, str]:
        """Three people on two servers, which is the maximum."""
        return self.service.people("ann", "bob", "cat")

    def test_one_that_cannot_be_ended_counts_to_the_maximum_and_is_asked_again(self) -> None:
        self.two_servers()
        self.cloud.trouble["terminate"] = AWAY
        silent = self.cloud.launched[1]
        del self.service.servers[silent]
        self.pass_time(60)
        self.assertEqual(self.states(), ["ready", "lost"])
        self.assertEqual(len(self.cloud.launched), 2)
        self.assertGreaterEqual(self.cloud.count("terminate"), 5)
        self.assertLessEqual(self.cloud.count("terminate"), 8)
        self.cloud.trouble.clear()
        self.pass_time(80)
        self.assertNotIn(silent, self.cloud.alive())
        self.assertEqual(len(self.cloud.launched), 3)
        self.assertEqual(self.states(), ["ready", "ready"])

    def test_one_that_hangs_blocks_no_round(self) -> None:
        self.two_servers()
        self.cloud.trouble["terminate"] = "hangs"
        del self.service.servers[self.cloud.launched[1]]
        beats = Lease.get().beats
        self.pass_time(60)
        self.assertGreater(Lease.get().beats, beats + 25)
        self.assertEqual(self.cloud.count("terminate"), 1)

    def test_one_that_was_ended_from_outside_loses_its_people_at_once(self) -> None:
        tokens = self.two_servers()
        self.service.database.run(fleet_admin.ask_launch, 2, 5, self.service.clock.seconds())
        self.pass_time(10)
        self.cloud.end_quietly(self.cloud.launched[0])
        self.pass_time(8)
        self.assertNotEqual(self.port(tokens["ann"]), 20001)

    def test_one_that_no_list_shows_and_beats_lives(self) -> None:
        """Also where lists show nothing at all."""
        tokens = self.two_servers()
        self.cloud.hidden.update(self.cloud.launched)
        self.pass_time(10 * CONSISTENCY_GRACE)
        self.assertEqual((self.states(), self.port(tokens["ann"])), (["ready", "ready"], 20001))
        self.assertEqual((len(self.cloud.launched), self.cloud.count("terminate")), (2, 0))

    def test_one_that_no_list_shows_and_is_silent_is_gone_after_the_grace(self) -> None:
        tokens = self.two_servers()
        missing = self.cloud.launched[0]
        self.cloud.hidden.add(missing)
        self.pass_time(2 * CONSISTENCY_GRACE)
        del self.service.servers[missing]
        self.pass_time(8)
        self.assertEqual(Server.get_by_id(missing).state, State.GONE)
        self.assertEqual(Server.get_by_id(missing).reason, "ended")
        self.assertNotEqual(self.port(tokens["ann"]), 20001)

    def test_one_that_is_not_shown_for_a_while_is_left_alone(self) -> None:
        tokens = self.two_servers()
        for _ in range(3):
            self.cloud.hidden.add(self.cloud.launched[0])
            self.pass_time(CONSISTENCY_GRACE - 10)
            self.cloud.hidden.clear()
            self.pass_time(SETTLED_INTERVAL + 2)
        self.assertEqual((self.states(), self.port(tokens["ann"])), (["ready", "ready"], 20001))

    def test_what_is_not_shown_may_run_and_counts_until_the_grace_is_over(self) -> None:
        """A launch of which nothing was ever heard."""
        self.service.boots = False
        self.cloud.trouble["launch"] = "lost"
        tokens = self.service.people("ann", "bob")
        self.cloud.on_launch = self.cloud.hidden.add
        self.waiting("cat")
        self.pass_time(184)
        self.assertEqual(self.states()[-1], "lost")
        launched = len(self.cloud.launched)
        self.pass_time(CONSISTENCY_GRACE - 10)
        self.assertEqual(len(self.cloud.launched), launched)
        self.assertEqual(len(tokens), 2)


class Unlisted(CloudCase):
    """Lists lack an instance for longer than they should, and so does what is asked by them."""

    def setUp(self) -> None:
        super().setUp()
        self.ended: list[str] = []
        alsoProvides(self.cloud, IEndsUnlisted)
        self.cloud.end_unlisted = self.end_unlisted  # type: ignore[attr-defined]
        [self.server] = self.cloud.alive()
        self.pass_time(10)
        self.cloud.hidden.add(self.server)
        self.cloud.trouble["terminate"] = "ignored"
        self.service.database.run(fleet_admin.ask_drain, self.server)

    def end_unlisted(self, instance_id: str) -> Deferred[None]:
        self.ended.append(instance_id)
        if "end" in self.cloud.trouble:
            return fail(self.cloud.trouble["end"])
        self.cloud.end_quietly(self.server)
        return succeed(None)

    def test_it_is_ended_by_its_name(self) -> None:
        self.pass_time(CONSISTENCY_GRACE + SETTLED_INTERVAL)
        self.assertEqual(self.ended, [f"i-{self.server[:4]}"])
        self.assertNotIn(self.server, self.cloud.alive())
        self.assertEqual(Server.get_by_id(self.server).state, State.GONE)

    def test_until_it_is_it_counts(self) -> None:
        self.cloud.trouble["end"] = AWAY
        self.pass_time(CONSISTENCY_GRACE + SETTLED_INTERVAL + 60)
        self.assertGreater(len(self.ended), 1)
        self.assertEqual(Server.get_by_id(self.server).state, State.DRAINING)


class Orphans(CloudCase):
    policy = replace(POLICY, maximum=2)

    def setUp(self) -> None:
        super().setUp()
        self.launch_unseen("orphan")

    def test_an_instance_without_a_server_is_ended_after_the_grace(self) -> None:
        self.pass_time(CONSISTENCY_GRACE - 4)
        self.assertIn("orphan", self.cloud.alive())
        self.pass_time(SETTLED_INTERVAL + 10)
        self.assertNotIn("orphan", self.cloud.alive())
        self.assertEqual(self.states(), ["ready"])

    def test_until_then_it_counts_to_the_maximum(self) -> None:
        self.service.people("ann", "bob")
        self.pass_time(SETTLED_INTERVAL)
        peer = self.waiting("cat")
        self.service.database.run(fleet_admin.ask_launch, 2, 2, self.service.clock.seconds())
        self.pass_time(10)
        self.assertEqual((len(self.cloud.alive()), peer.heard()), (2, []))
        self.pass_time(CONSISTENCY_GRACE)
        self.assertEqual([reply["status"] for reply in peer.heard()], [0])
        self.assertEqual(len(self.cloud.alive()), 2)

    def test_of_each_that_is_ended_the_log_says_why(self) -> None:
        known = self.service.database.run(
            fleet_admin.ask_launch, 2, 2, self.service.clock.seconds()
        )
        closed = self.successResultOf(known)
        self.service.settle()
        Server.update(state=State.GONE, ended=self.service.clock.seconds()).where(
            Server.id == closed
        ).execute()
        told: list[Any] = []
        hear: Any = told.append
        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)
        self.cloud.trouble["terminate"] = AWAY
        self.pass_time(CONSISTENCY_GRACE + SETTLED_INTERVAL + 90)
        said = [formatEvent(event) for event in told if "without a server" in formatEvent(event)]
        self.assertEqual(len(said), 2, said)
        orphan, other = sorted(said, key=lambda line: closed in line)
        self.assertRegex(
            orphan,
            r"\Aending i-orph of launch orphan, which has run without a server for \d\d s:"
            r" no server of this fleet has it, or had it lately\Z",
        )
        self.assertIn(f"{closed}, which has run", other)
        self.assertTrue(other.endswith(": its server was closed"), other)

    def test_one_that_a_server_has_after_all_is_not_ended(self) -> None:
        """Its row is written in the very moment in which it is to be ended."""
        lists: list[float] = []

        def appear() -> None:
            lists.append(self.service.clock.seconds())
            if lists[-1] - lists[0] >= CONSISTENCY_GRACE:
                now = self.service.wall()
                row = Server(id="orphan", scope=self.cloud.scope, capacity=2, created=now)
                self.service.database.run(row.save, force_insert=True)
                self.cloud.on_list = lambda: None

        self.cloud.on_list = appear
        self.pass_time(CONSISTENCY_GRACE + SETTLED_INTERVAL + 10)
        self.assertEqual(self.states(), ["ready", "launching"])
        self.assertIn("orphan", self.cloud.alive())
        Server.delete().where(Server.id == "orphan").execute()
        self.pass_time(CONSISTENCY_GRACE + SETTLED_INTERVAL)
        self.assertNotIn("orphan", self.cloud.alive())

    def test_those_that_may_be_another_fleets_are_neither_counted_nor_ended(self) -> None:
        self.cloud.anothers.add("orphan")
        self.service.people("ann", "bob")
        self.pass_time(SETTLED_INTERVAL)
        peer = self.waiting("cat")
        self.pass_time(10)
        self.assertEqual([reply["status"] for reply in peer.heard()], [0])
        self.pass_time(2 * CONSISTENCY_GRACE)
        self.assertIn("orphan", self.cloud.alive())
        self.assertEqual(self.cloud.count("terminate"), 0)

    def test_one_that_cannot_be_ended_is_tried_again(self) -> None:
        self.cloud.trouble["terminate"] = AWAY
        self.pass_time(CONSISTENCY_GRACE + 60)
        self.assertIn("orphan", self.cloud.alive())
        self.cloud.trouble.clear()
        self.pass_time(60)
        self.assertNotIn("orphan", self.cloud.alive())


class Asked(CloudCase):
    """Operators ask for launches, while an instance runs of which no server knows."""

    policy = replace(POLICY, maximum=3, launch_timeout=FIRST_LIST - 2.0)

    def ask_launch(self) -> str:
        now = self.service.clock.seconds()
        run = self.service.database.run
        id: str = self.successResultOf(run(fleet_admin.ask_launch, 2, self.policy.maximum, now))
        return id

    def test_what_was_asked_for_while_a_round_looked_waits_for_the_next(self) -> None:
        """Where that would be one too many, until the instance has ended."""
        self.launch_unseen("orphan")
        self.cloud.trouble["terminate"] = AWAY
        self.pass_time(8)
        lists = self.cloud.count("list")
        while self.cloud.count("list") == lists:
            self.service.advance(0.25)
        self.service.advance(UNSETTLED_INTERVAL - 0.75)
        self.ask_launch()

        def ask_another() -> None:
            self.cloud.on_list = lambda: None
            self.ask_launch()

        self.cloud.on_list = ask_another
        self.pass_time(20)
        self.assertEqual(self.states(), ["ready", "ready", "launching"])
        self.assertEqual(len(self.cloud.alive()), 3)

    def test_one_that_is_given_up_is_not_launched(self) -> None:
        """Also where it could be from that very moment on."""
        self.cloud.trouble["list"] = AWAY
        me = self.service.me
        for id, identity in (("f" * 32, "host:elsewhere:1"), (me.id, me.identity)):
            Lease.update(holder=id, identity=identity).execute()
            self.pass_time(2)
        asked = self.ask_launch()
        self.pass_time(2 * FIRST_LIST)
        self.assertEqual(Server.get_by_id(asked).state, State.GONE)
        self.assertNotIn(asked, self.cloud.launched)
        # That says nothing of launches, which operators are told of and replacements wait for.
        self.assertEqual(overview.failures(self.service.wall()).count, 0)
        self.cloud.trouble.clear()
        by = fleet_admin.By("op", "here", self.service.wall())
        self.service.database.run(fleet_admin.replace, by, self.policy.maximum)
        self.pass_time(60)
        self.assertEqual(len(self.cloud.launched), 2)


@implementer(IHasStrategies)
class CloudWithWays(CloudInMemory):
    """It has two ways, and what it is told of them is noted."""

    write_strategy: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Mapping[str, str], set[str]]] = []
        self.kept: list[set[str]] = []

    def choose_strategies(self, count: int, to_stop: bool = False) -> list[str]:
        return ["this", "that"][:count]

    def know_strategies(self, ways: Mapping[str, str], asked: Collection[str]) -> None:
        self.told += [(dict(ways), set(asked))] if ways else []

    def forget_strategies(self, kept: Collection[str] = ()) -> None:
        self.kept.append(set(kept))


class SeveralWays(CloudCase):
    """By which way a launch is asked for is in its row before it is."""

    cloud: CloudWithWays

    def setUp(self) -> None:
        self.cloud = CloudWithWays()
        self.service = memory_service(policy=POLICY, provider=self.cloud)
        self.addCleanup(self.service.close)
        self.service.start()

    def test_with_the_launch(self) -> None:
        verifyObject(IHasStrategies, self.cloud)
        [server] = self.cloud.launched
        self.assertEqual(Server.get_by_id(server).way, "this")
        self.assertEqual(self.cloud.told, [({server: "this"}, set())])

    def test_what_an_operator_asked_for(self) -> None:
        asked = self.successResultOf(
            self.service.database.run(fleet_admin.ask_launch, 2, 9, self.service.clock.seconds())
        )
        self.pass_time(4)
        self.assertEqual(Server.get_by_id(asked).way, "this")
        self.assertIn(({asked: "this"}, set()), self.cloud.told)

    def test_before_another_is_tried(self) -> None:
        self.service.people("ann", "bob")
        self.service.boots = False
        self.cloud.trouble["launch"] = AWAY
        self.waiting("cat")
        server = Server.get(Server.state == State.LAUNCHING).id
        self.successResultOf(self.cloud.write_strategy(server, "this", "that"))
        self.assertEqual(Server.get_by_id(server).way, "that")
        self.failureResultOf(self.cloud.write_strategy(server, "this", "that"), ProviderUnavailable)
        # Whether that was asked for is not known, and so it is said in the next rounds.
        self.pass_time(4)
        self.assertEqual(self.cloud.told[-1], ({server: "that"}, {server}))
        self.assertEqual(self.cloud.kept[-1], {server})

    def lose_unnamed(self) -> str:
        """A server that served while no lists were had, and that none of them has shown since."""
        self.service.people("ann", "bob")
        self.service.boots = False
        self.cloud.trouble["list"] = AWAY
        self.waiting("cat")
        server = self.cloud.launched[-1]
        self.cloud.hidden.add(server)
        self.service.boot(server)
        port = self.service.servers[server].port
        self.service.database.run(membership.report, server, port, "198.51.100.7")
        self.pass_time(4)
        self.assertEqual(self.states(), ["ready", "ready"])
        self.service.boots = True
        self.cloud.trouble.clear()
        del self.service.servers[server]
        self.cloud.told.clear()
        return server

    def test_one_that_is_lost_is_found_by_its_way(self) -> None:
        """Though the provider had confirmed it."""
        server = self.lose_unnamed()
        self.pass_time(CONSISTENCY_GRACE + 2 * SETTLED_INTERVAL)
        self.assertIn(({server: "this"}, set()), self.cloud.told)
        self.assertEqual(Server.get_by_id(server).state, State.GONE)
        self.assertNotIn(server, self.cloud.alive())

    def test_one_that_is_lost_is_not_launched_in_another_way(self) -> None:
        """Its row does not stay for ever, where the provider knows its way no more."""
        server, launch = self.lose_unnamed(), self.cloud.launch

        def launch_otherwise(launch_id: str) -> Deferred[None]:
            if launch_id != server:
                return launch(launch_id)
            return self.cloud.write_strategy(launch_id, None, "that")

        self.cloud.launch = launch_otherwise  # type: ignore[method-assign]
        self.pass_time(CONSISTENCY_GRACE + 2 * SETTLED_INTERVAL)
        self.assertEqual(Server.get_by_id(server).state, State.GONE)
        self.assertEqual(Server.get_by_id(server).way, "this")
        self.assertIn(("terminate", server), self.cloud.calls)

    def test_one_that_drains_is_found_as_well(self) -> None:
        """It was drained before anybody noted its machine, which ended before a list showed it."""
        server, launch = self.lose_unnamed(), self.cloud.launch

        def launch_otherwise(launch_id: str) -> Deferred[None]:
            if launch_id != server or ({server: "this"}, set()) in self.cloud.told:
                return launch(launch_id)
            return self.cloud.write_strategy(launch_id, None, "that")

        self.cloud.launch = launch_otherwise  # type: ignore[method-assign]
        self.cloud.trouble["terminate"] = "ignored"
        self.cloud.end_quietly(server)
        self.service.database.run(fleet_admin.ask_drain, server)
        self.pass_time(CONSISTENCY_GRACE)
        self.assertEqual(Server.get_by_id(server).state, State.DRAINING)
        self.pass_time(2 * SETTLED_INTERVAL)
        self.assertEqual(Server.get_by_id(server).state, State.GONE)
        self.assertEqual(Server.get_by_id(server).way, "this")

    def test_who_keeps_the_fleet_no_more(self) -> None:
        self.cloud.kept.clear()
        Lease.update(holder="f" * 32, identity="host:elsewhere:1").execute()
        self.pass_time(2)
        self.assertEqual(self.cloud.kept, [set()])
        failed = self.cloud.write_strategy(self.cloud.launched[0], "this", "that")
        self.failureResultOf(failed, ProviderUnavailable)


class NotSeenYet(CloudCase):
    """A controller that has just come, to a fleet that may have more than its rows say."""

    policy = replace(POLICY, maximum=2)

    def setUp(self) -> None:
        super().setUp()
        self.service.people("ann", "bob")
        self.launch_unseen("s1", "s2")
        self.cloud.trouble["list"] = AWAY
        # Another one keeps it, and then this one again.
        me = self.service.me
        for id, identity in (("f" * 32, "host:elsewhere:1"), (me.id, me.identity)):
            Lease.update(holder=id, identity=identity).execute()
            self.pass_time(2)
        self.launched = self.cloud.count("launch")

    def test_nothing_is_launched_before_the_first_list(self) -> None:
        peer = self.waiting("cat")
        self.service.database.run(fleet_admin.ask_launch, 2, 2, self.service.clock.seconds())
        self.pass_time(FIRST_LIST - 6)
        self.assertEqual((self.cloud.count("launch"), peer.heard()), (self.launched, []))
        self.cloud.trouble.clear()
        self.pass_time(10)
        self.assertEqual(self.cloud.count("launch"), self.launched)

    def test_but_not_for_ever(self) -> None:
        """Who waits is served, though lists are refused for an hour."""
        self.cloud.host = None
        self.waiting("cat")
        self.pass_time(FIRST_LIST + 6)
        self.assertEqual(self.cloud.count("launch"), self.launched + 1)


class Another(CloudCase):
    """An operator has adopted a fleet meanwhile, and this login server launches for another."""

    def test_the_log_says_that_it_is_to_be_started_again(self) -> None:
        told: list[Any] = []
        hear: Any = told.append
        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)
        self.pass_time(HOUSEKEEPING_INTERVAL + 4)
        self.assertEqual([each for each in told if "restart it" in formatEvent(each)], [])
        Secret.insert(name=fleets.FLEET, value="0123456789abcdef").execute()
        self.pass_time(HOUSEKEEPING_INTERVAL + 4)
        [said] = [each for each in told if "restart it" in formatEvent(each)]
        self.assertIn("this is fleet 0123456789abcdef now", formatEvent(said))
        self.assertEqual(self.states(), ["ready"])


class Noted(CloudCase):
    def test_operators_see_what_the_cloud_calls_it(self) -> None:
        self.pass_time(2)
        [listed] = self.successResultOf(self.service.database.run(fleet_admin.listing))
        server = listed.server
        self.assertEqual((server.instance_id, server.kind), (f"i-{server.id[:4]}", "t3.micro"))
        self.assertGreaterEqual(server.launch_time or -1.0, 0.0)


class Large(CloudCase):
    """What matters where there are many servers."""

    def rounds(self) -> int:
        """How many there have been."""
        [(beats,)] = rows(Lease.select(Lease.beats))
        return int(beats)

    def test_rounds_are_further_apart(self) -> None:
        """The more servers there are: with a few, many who come make one each 20 ms."""
        self.pass_time(4)
        known: Any = Server.select().dicts().get()
        self.assertGreaterEqual(self.rounds_in_a_while(), 4)
        many = [{**known, "id": f"{number:032x}", "taken": 2} for number in range(3000)]
        for batch in chunked(many, 500):
            Server.insert_many(batch).execute()
        self.service.clock.advance(1.0)
        self.assertLessEqual(self.rounds_in_a_while(), 2)

    def rounds_in_a_while(self) -> int:
        """How many there are in 0.1 s in which somebody comes every 5 ms."""
        before = self.rounds()
        for _ in range(20):
            self.service.login.controller.look_soon()
            self.service.clock.advance(0.005)
        return self.rounds() - before


class Crowded(CloudCase):
    policy = replace(POLICY, capacity=1000)

    def test_people_find_places_in_a_row(self) -> None:
        """Not so many a round, where there are places."""
        self.pass_time(2)
        User.insert_many(
            {"name": f"p{n}", "password_hash": "", "channel": f"c{n}", "created": 0.0}
            for n in range(2 * SETTLED_AT_ONCE + 1)
        ).execute()
        Place.insert_many({"user": user.id, "server": None} for user in User.select()).execute()
        self.service.login.controller.look_soon()
        for _ in range(10):
            self.service.clock.advance(0.03)
        self.assertEqual(Place.select().where(Place.server.is_null()).count(), 0)
