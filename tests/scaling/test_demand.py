"""How many people there are, and were."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import inf

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.values import Policy, State
from bbs.rules.membership import LeaseSeen, Observation
from bbs.rules.servers import ServerRow
from bbs.scaling.demand import BOOTS, UNKNOWN, Boot, DemandTracker
from bbs.scaling.fleet_view import Demand
from tests.memory_service import POLICY

AFTER = 120.0
INTERVAL = 2.0

ROW = ServerRow(
    id="a",
    state=State.READY,
    scope="memory",
    host="host",
    port=22223,
    capacity=10,
    taken=0,
    created=0.0,
    ready=None,
    leaving=False,
    drain_asked=False,
    reason="",
    instance_id=None,
    kind=None,
)


class DemandCase(SynchronousTestCase):
    policy: Policy = replace(POLICY, consolidate_after=AFTER)

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000.0)
        self.tracker = self.another()

    def another(self, policy: Policy | None = None) -> DemandTracker:
        return DemandTracker(policy or self.policy, INTERVAL, self.clock)

    def see(self, *taken: int, waiting: int = 0, tracker: DemandTracker | None = None) -> Demand:
        """What is needed while so many have places on each server, and others wait."""
        rows = [replace(ROW, id=str(number), taken=each) for number, each in enumerate(taken)]
        return self.see_rows(rows, waiting, tracker)

    def see_rows(
        self, rows: Iterable[ServerRow], waiting: int = 0, tracker: DemandTracker | None = None
    ) -> Demand:
        seen = Observation(lease=LeaseSeen("", "", 0), servers=tuple(rows), waiting=waiting)
        return (tracker or self.tracker).see(seen)

    def see_for(self, seconds: float, *taken: int) -> Demand:
        """What is needed after so long, with so many on each server all the time."""
        for _ in range(round(seconds / INTERVAL)):
            self.clock.advance(INTERVAL)
            demand = self.see(*taken)
        return demand


class Waiting(DemandCase):
    def test_those_without_a_place(self) -> None:
        self.assertEqual(self.see(3, 1, waiting=4).waiting, 4)
        self.assertEqual(self.see(3, 1).waiting, 0)


class Most(DemandCase):
    def test_unknown_until_it_was_followed_for_long_enough(self) -> None:
        self.assertIsNone(self.see(5).peak)
        self.assertIsNone(self.see_for(AFTER - INTERVAL, 2).peak)
        self.assertEqual(self.see_for(INTERVAL, 2).peak, 5)
        self.assertEqual(self.see_for(INTERVAL, 2).peak, 2)

    def test_people_on_all_servers_and_those_who_wait(self) -> None:
        self.see(0)
        self.see_for(AFTER - INTERVAL, 0)
        self.assertEqual(self.see(3, 2, waiting=4).peak, None)
        self.assertEqual(self.see_for(INTERVAL, 0).peak, 9)

    def test_a_server_that_could_not_be_given_up_is_let_be_for_as_long_again(self) -> None:
        self.see(5)
        self.see_for(AFTER, 5)
        self.tracker.reset_peak()
        self.assertIsNone(self.see(5).peak)
        self.assertIsNone(self.see_for(AFTER - INTERVAL, 5).peak)
        self.assertEqual(self.see_for(INTERVAL, 5).peak, 5)

    def test_another_controller_begins_anew(self) -> None:
        self.see(9)
        self.see_for(AFTER, 5)
        self.tracker.forget()
        self.assertIsNone(self.see(5).peak)
        self.assertEqual(self.see_for(AFTER, 5).peak, 5)


class NeverConsolidates(DemandCase):
    policy = replace(POLICY, consolidate_after=0.0)

    def test_no_most_is_known(self) -> None:
        self.see(5)
        self.assertIsNone(self.see_for(AFTER, 5).peak)


class FixedSpare(DemandCase):
    policy = replace(POLICY, spare=3)

    def test_as_the_operator_says(self) -> None:
        self.see(100)
        self.tracker.booted([Boot(0.0, 45.0)])
        self.assertEqual(self.tracker.policy, self.policy)


class Late(DemandCase):
    """When a launch takes longer than others."""

    policy = replace(POLICY, launch_timeout=180.0)

    def rows(self, ready: int, launching: int, created: float = 0.0) -> list[ServerRow]:
        """Launches that were decided together; each boots for a second longer than the one
        before."""
        boots = [None if n >= ready else created + 20.0 + n for n in range(ready + launching)]
        states = (State.READY, State.LAUNCHING)
        return [
            replace(ROW, id=str(n), created=created, ready=at, state=states[at is None])
            for n, at in enumerate(boots)
        ]

    def test_the_first_ones_of_many_do_not_make_the_others_late(self) -> None:
        self.see_rows([], 0, self.tracker)
        self.tracker.booted([Boot(0.0, 20.0 + n) for n in range(10)])
        self.see_rows(self.rows(10, 10), 0, self.tracker)
        self.assertEqual(self.tracker.late_after, inf)
        self.tracker.booted([Boot(0.0, 30.0 + n) for n in range(9)])
        self.see_rows(self.rows(19, 0), 0, self.tracker)
        self.assertAlmostEqual(self.tracker.late_after, 37.1)

    def test_nor_for_a_controller_that_comes_then(self) -> None:
        tracker = self.another()
        self.see_rows(self.rows(10, 10), 0, tracker)
        self.assertEqual(tracker.late_after, inf)
        self.see_rows(self.rows(20, 0), 0, tracker)
        self.assertAlmostEqual(tracker.late_after, 28.55)

    def test_others_do(self) -> None:
        """Those that were decided before."""
        self.see_rows(self.rows(10, 0), 0, self.tracker)
        known = self.tracker.late_after
        self.see_rows([*self.rows(10, 0), *self.rows(0, 5, 100.0)], 0, self.tracker)
        self.assertEqual(self.tracker.late_after, known)
        self.assertLess(known, 30.0)


class ForeseenSpare(DemandCase):
    policy = replace(POLICY, spare=3, foresees=True, launch_timeout=180.0)

    def spare_after(self, boots: Iterable[float], people: int = 1000) -> int:
        """Of a controller that begins where servers took so long to boot, the latest last."""
        rows = [
            replace(ROW, id=str(number), created=1000.0 * number, ready=1000.0 * number + boot)
            for number, boot in enumerate(boots)
        ]
        # In no order.
        rows = [*rows[1::2], *rows[::2]]
        tracker = self.another()
        self.see_rows(rows, people, tracker)
        return tracker.policy.spare

    def test_as_the_operator_says_before_anything_was_seen(self) -> None:
        self.assertEqual(self.tracker.policy, self.policy)

    def test_and_nothing_else_of_what_the_operator_wants_changes(self) -> None:
        self.see(0)
        self.assertEqual(self.tracker.policy, replace(self.policy, spare=UNKNOWN))

    def test_people_with_a_place_and_those_who_wait_count(self) -> None:
        self.see(1000)
        self.assertGreater(self.tracker.policy.spare, UNKNOWN)
        other = self.another()
        self.see(600, 300, waiting=100, tracker=other)
        self.assertEqual(other.policy.spare, self.tracker.policy.spare)

    def test_where_nobody_comes_one_is_kept(self) -> None:
        self.see_for(600.0, 1)
        self.assertEqual(self.tracker.policy.spare, 1)

    def test_how_long_servers_took_that_are_there(self) -> None:
        self.assertGreater(self.spare_after([170.0]), self.spare_after([20.0]))

    def test_the_latest_count(self) -> None:
        short, long = self.spare_after([20.0]), self.spare_after([170.0])
        self.assertEqual(self.spare_after([170.0] * BOOTS + [20.0] * BOOTS), short)
        self.assertEqual(self.spare_after([20.0] * BOOTS + [170.0] * BOOTS), long)

    def test_not_how_long_some_stood_by(self) -> None:
        """A server of the warm pool was created long before it was ready."""
        self.assertEqual(self.spare_after([20.0, 50_000.0, 0.0]), self.spare_after([20.0]))
        self.assertEqual(self.spare_after([180.0]), self.spare_after([180.0, 180.1]))

    def test_one_that_has_booted(self) -> None:
        self.see(1000)
        before = self.tracker.policy.spare
        self.tracker.booted([Boot(0.0, 10.0)])
        self.assertLess(self.tracker.policy.spare, before)

    def test_who_may_wait_needs_none(self) -> None:
        tracker = self.another(replace(self.policy, wait_target=1000.0))
        self.see(1000, tracker=tracker)
        self.assertEqual(tracker.policy.spare, 0)

    def test_another_controller_begins_anew(self) -> None:
        self.see_for(600.0, 1)
        self.tracker.forget()
        self.assertEqual(self.tracker.policy, self.policy)
        self.see(1)
        self.assertEqual(self.tracker.policy.spare, UNKNOWN)
