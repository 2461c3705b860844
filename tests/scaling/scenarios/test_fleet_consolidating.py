"""The controller gives up servers whose people fit elsewhere, and moves those few by few."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs.config import Configuration, Fleet
from bbs.core.values import DrainCause, Policy, State
from bbs.daemons.composition import policy_of
from bbs.rules import fleet_admin, membership, overview
from bbs.rules.servers import MOVED, SPARE
from bbs.scaling.controller import MOVE_PAUSE, MOVES_AT_ONCE
from bbs.scaling.demand import UNKNOWN
from bbs.storage.models import Lease, Place, Server, User
from tests.memory_service import POLICY
from tests.scaling.scenarios.test_fleet_cloud import CloudCase, CloudInMemory

AFTER = 120.0
CAPACITY = 6


class ConsolidatingCase(CloudCase):
    policy = replace(POLICY, capacity=CAPACITY, consolidate_after=AFTER, idle_grace=10_000.0)

    def setUp(self) -> None:
        super().setUp()
        self.tokens = dict(self.service.people(*(f"p{number}" for number in range(CAPACITY))))

    def fill_another(self, count: int) -> list[str]:
        """More people than one server takes; their names."""
        names = [f"q{number}" for number in range(count)]
        peers = [self.waiting(name) for name in names]
        self.pass_time(4)
        for name, peer in zip(names, peers, strict=True):
            (reply,) = (each for each in peer.heard() if "token" in each)
            self.tokens[name] = reply["token"]
        return names

    def go(self, *names: str) -> None:
        for name in names:
            self.service.peer().ask(f"logout {self.tokens.pop(name)}")

    def taken(self) -> list[int]:
        """People on each server that is not gone, the oldest first."""
        rows = Server.select().where(Server.state != State.GONE).order_by(Server.created)
        return [row.taken for row in rows]

    def until_drains(self) -> float:
        """Seconds until one drains."""
        began = self.service.clock.seconds()
        while "draining" not in self.states():
            self.pass_time(2)
            self.assertLess(self.service.clock.seconds() - began, 10 * AFTER, "none drains")
        return float(self.service.clock.seconds() - began)


class Consolidating(ConsolidatingCase):
    def test_the_emptiest_drains_and_its_people_go_over_few_by_few(self) -> None:
        self.fill_another(4)
        self.assertEqual(self.taken(), [6, 4])
        self.go("p0", "p1", "p2", "p3")
        # The rest of two people is the smaller one now.
        listener = self.service.listening(self.tokens["p4"])
        self.assertGreaterEqual(self.until_drains(), AFTER - 4)
        [draining] = Server.select().where(Server.state == State.DRAINING)
        self.assertEqual(draining.cause, DrainCause.CONSOLIDATION)
        self.assertEqual(draining.reason, "consolidated: 2 people fit elsewhere")
        self.pass_time(60)
        self.assertEqual((self.states(), self.taken()), (["ready"], [6]))
        self.assertIn("moved", [event["event"] for event in listener.events()])
        # Nobody has logged in again: they are served where they are now.
        for token in self.tokens.values():
            self.assertEqual(self.service.at_home(token).ask(f"who {token}")["status"], 0)

    def test_never_more_than_a_few_at_once(self) -> None:
        """However many rounds there are meanwhile."""
        self.fill_another(5)
        self.go("p0", "p1", "p2", "q0", "q1")
        self.pass_time(AFTER - 20)
        counts: list[int] = []
        while len(counts) < 600 and sum(counts) < 3:
            before = self.moved()
            self.service.beat()
            self.service.login.controller.look_soon()
            self.service.clock.advance(0.1)
            counts.append(self.moved() - before)
        self.assertEqual(sum(counts), 3)
        in_a_pause = [sum(counts[at : at + int(MOVE_PAUSE / 0.1)]) for at in range(len(counts))]
        self.assertEqual(max(in_a_pause), MOVES_AT_ONCE)

    def moved(self) -> int:
        """How many people have been moved."""
        return int(Place.select().where(Place.moved.is_null(False)).count())

    def test_while_more_come_it_is_kept(self) -> None:
        self.fill_another(5)
        self.go("p0", "p1", "p2", "q0", "q1")
        self.until_drains()
        launched = len(self.cloud.launched)
        newcomers = [self.waiting(name) for name in ("new0", "new1", "new2")]
        self.pass_time(10)
        self.assertEqual(self.states(), ["ready", "ready"])
        self.assertEqual(len(self.cloud.launched), launched)
        for peer in newcomers:
            self.assertEqual([reply["status"] for reply in peer.heard()], [0])

    def test_nobody_is_moved_again_for_ten_minutes(self) -> None:
        self.fill_another(4)
        self.go("p0", "p1", "p2", "p3")
        moved_at = self.service.wall()
        Place.update(moved=moved_at).where(Place.user == User.get(User.name == "p5").id).execute()
        self.until_drains()
        self.assertGreaterEqual(self.service.wall() - moved_at, 600.0)
        self.pass_time(20)
        self.assertEqual(self.taken(), [6])

    def test_where_nobody_comes_or_goes_nobody_is_moved(self) -> None:
        self.fill_another(4)
        self.go("p0", "p1", "p2", "p3")
        self.until_drains()
        self.pass_time(60)
        rows = [*Place.select(Place.user, Place.server, Place.moved).tuples()]
        launched = len(self.cloud.launched)
        self.pass_time(600)
        self.assertEqual([*Place.select(Place.user, Place.server, Place.moved).tuples()], rows)
        self.assertEqual((self.states(), len(self.cloud.launched)), (["ready"], launched))

    def test_an_operator_who_wants_it_empty_has_it_at_once(self) -> None:
        self.fill_another(6)
        self.go("p0", "p1", "p2", "q0", "q1", "q2")
        self.until_drains()
        [draining] = Server.select().where(Server.state == State.DRAINING)
        self.service.database.run(fleet_admin.ask_drain, draining.id)
        self.pass_time(2)
        self.assertEqual(Server.get(Server.id == draining.id).taken, 0)

    def test_a_new_controller_waits_anew_and_goes_on_with_what_drains(self) -> None:
        self.fill_another(5)
        self.go("p0", "p1", "p2", "q0", "q1")
        self.pass_time(AFTER - 20)
        self.succeed_by(CloudInMemory(self.cloud.account))
        self.pass_time(AFTER - 20)
        self.assertEqual(self.states(), ["ready", "ready"])
        self.until_drains()
        self.succeed_by(CloudInMemory(self.cloud.account))
        self.pass_time(60)
        self.assertEqual(self.taken(), [6])


class Kept(ConsolidatingCase):
    policy = replace(ConsolidatingCase.policy, capacity=2 * CAPACITY)

    def test_nobody_is_moved_off_one_that_has_just_been_kept(self) -> None:
        """By the round that keeps it, which saw it drain."""
        names = self.fill_another(3 * CAPACITY)
        self.go(*names[: 2 * CAPACITY])
        self.until_drains()
        taken = self.taken()
        while self.taken() == taken:
            self.service.clock.advance(0.05)
        left = self.taken()[1]
        self.assertGreater(left, 0)
        for number in range(2 * CAPACITY):
            args = (self.service.me, f"w{number}", f"w{number}", self.service.wall())
            self.service.database.run(membership.wait, *args)
        self.service.clock.pump([0.05] * 25)
        self.assertEqual((self.states(), self.taken()[1]), (["ready", "ready"], left))


class Off(ConsolidatingCase):
    policy = replace(ConsolidatingCase.policy, consolidate_after=0.0)

    def test_never(self) -> None:
        self.fill_another(4)
        self.go("p0", "p1", "p2", "p3")
        self.pass_time(800)
        self.assertEqual(self.taken(), [2, 4])


class Foreseeing(CloudCase):
    """`spare = "auto"`: as many places are kept as is foreseen."""

    policy = replace(POLICY, foresees=True, maximum=100)

    def spare(self) -> int:
        [row] = overview.login_servers()
        return row.figures[SPARE]

    def test_a_fleet_of_which_nothing_is_known(self) -> None:
        self.pass_time(10)
        self.assertEqual(self.spare(), UNKNOWN)
        self.assertEqual(len(self.states()), 3)  # Of two places each.

    def test_where_nobody_comes_one_place_is_kept(self) -> None:
        self.service.people("ann", "bob")
        self.pass_time(600)
        self.assertEqual(self.spare(), 1)
        self.assertEqual(self.states(), ["ready", "ready"])

    def test_the_more_come_while_a_launch_boots_the_more_are_kept(self) -> None:
        def boot_later(id: str) -> None:
            self.service.clock.callLater(40.0, self.service.boot, id)

        self.cloud.on_launch = boot_later
        for number in range(40):
            self.waiting(f"p{number}")
            self.pass_time(4)
        # One each 4 s for 41 seconds, and what chance has of it.
        self.assertGreater(self.spare(), 10)
        self.assertLess(self.spare(), 25)

    def test_a_new_controller_knows_boots_and_how_many_there_are(self) -> None:
        self.service.people(*(f"p{number}" for number in range(16)))
        Server.update(ready=Server.created + 170.0).execute()
        successor = CloudInMemory(self.cloud.account)
        successor.on_launch = self.cloud.on_launch
        self.succeed_by(successor)
        self.pass_time(4)
        long_boots = self.spare()
        self.assertGreater(long_boots, UNKNOWN)

    def test_who_keeps_the_fleet_no_more_says_nothing_of_it(self) -> None:
        self.pass_time(4)
        controller = self.service.login.controller
        Lease.update(holder="f" * 32, identity="host:elsewhere:1").execute()
        self.service.clock.advance(2.5)
        self.service.settle()
        self.assertFalse(controller.is_leader)
        [row] = overview.login_servers()
        self.service.clock.advance(2.5)
        [row] = overview.login_servers()
        self.assertNotIn(SPARE, row.figures)


class Counted(ConsolidatingCase):
    def test_people_who_are_moved(self) -> None:
        self.fill_another(4)
        self.go("p0", "p1", "p2", "p3")
        self.until_drains()
        self.pass_time(60)
        [row] = overview.login_servers()
        self.assertEqual((row.figures[MOVED], row.figures[SPARE]), (2, 0))


class Policies(SynchronousTestCase):
    """What an operator says becomes what the fleet is kept by."""

    def policy(self, **fleet: Any) -> Policy:
        return policy_of(Configuration(fleet=Fleet(**fleet)), launches=True)

    def test_a_number_stays_a_number(self) -> None:
        policy = self.policy(spare=7)
        self.assertEqual((policy.spare, policy.foresees), (7, False))

    def test_auto(self) -> None:
        policy = self.policy(spare="auto", wait_target=2.5, consolidate_after=0.0)
        self.assertTrue(policy.foresees)
        self.assertEqual((policy.wait_target, policy.consolidate_after), (2.5, 0.0))

    def test_unless_told_otherwise(self) -> None:
        policy = self.policy()
        self.assertEqual(
            (policy.spare, policy.foresees, policy.wait_target, policy.consolidate_after),
            (5, False, 1.0, 120.0),
        )
