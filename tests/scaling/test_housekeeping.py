"""What has expired is removed beside the rounds of the controller, and in nobody's way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.errors import Unavailable
from bbs.core.values import Tally
from bbs.rules import fleets, membership
from bbs.rules.membership import Member
from bbs.scaling.controller import HOUSEKEEPING_INTERVAL, LEAST_PAUSE, Housekeeping, Sweep
from bbs.scaling.events import FleetContext
from bbs.scaling.interfaces import IFleetController
from bbs.storage.models import HeartbeatRow, Lease
from tests.database_case import DatabaseCase
from tests.memory_service import POLICY, memory_service

ME = Member("1" * 32, "host:here:1")


class Leader:
    is_leader = True


class Slow:
    """A database whose transactions end only when the test says so, by `answer`."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self.waiting: list[tuple[Deferred[Any], Callable[[], Deferred[Any]]]] = []
        self.is_away = False

    def run(self, rule: Any, *arguments: Any) -> Deferred[Any]:
        if rule is fleets.fleet_id:
            answer: Deferred[Any] = self._database.run(rule)
            return answer
        if self.is_away:
            return fail(Unavailable())
        answer = Deferred()
        self.waiting.append((answer, lambda: self._database.run(rule, *arguments)))
        return answer

    def answer(self) -> None:
        """Carry out the one transaction that waits."""
        [(answer, run)] = self.waiting
        self.waiting.clear()
        run().chainDeferred(answer)


class Sweeping(DatabaseCase):
    """The service by itself."""

    def setUp(self) -> None:
        super().setUp()
        self.call(membership.enroll, ME)
        self.call(membership.observe, ME, Tally())
        self.clock = Clock()
        self.leader = Leader()
        self.slow = Slow(self.database)
        self.called: list[str] = []

    def sweeps(self, *sweeps: Sweep) -> Housekeeping:
        context = FleetContext(
            me=ME,
            database=cast("Any", self.slow),
            provider=cast("Any", None),
            policy=POLICY,
            news=cast("Any", None),
            reactor=self.clock,
            wall=self.clock.seconds,
        )
        self.housekeeping = Housekeeping(context, sweeps, cast("IFleetController", self.leader))
        self.housekeeping.startService()
        return self.housekeeping

    def finds(self, name: str, *found: int) -> Sweep:
        """A sweep that removes so much each time, and then nothing."""
        left = [*found]

        def sweep(now: float) -> int:
            self.called.append(name)
            return left.pop(0) if left else 0

        return sweep

    def finish(self) -> None:
        """Answer transactions until the next sweep is due."""
        while self.slow.waiting:
            self.slow.answer()
            self.clock.advance(0.01)

    def test_one_transaction_at_a_time_and_each_sweep_in_turn(self) -> None:
        self.sweeps(self.finds("a", 5, 5), self.finds("b"), self.finds("c", 1))
        self.clock.advance(HOUSEKEEPING_INTERVAL)
        self.finish()
        self.assertEqual(self.called, ["a", "b", "c", "a", "c", "a"])
        self.clock.advance(HOUSEKEEPING_INTERVAL - 1)
        self.assertEqual(self.slow.waiting, [])
        self.clock.advance(1)
        self.finish()
        self.assertEqual(self.called[6:], ["a", "b", "c"])

    def test_a_pause_as_long_as_the_transaction_took(self) -> None:
        self.sweeps(self.finds("a", 5, 5))
        self.clock.advance(HOUSEKEEPING_INTERVAL)
        for took, pause, others in ((0.5, 0.5, 3), (0.0, LEAST_PAUSE, 0)):
            self.clock.advance(took)
            self.slow.answer()
            self.clock.advance(0.9 * pause)
            self.assertEqual(self.slow.waiting, [])
            self.clock.advance(0.2 * pause)
            for _ in range(others):  # The framework's own find nothing, and there is no pause.
                self.slow.answer()
            self.assertEqual(len(self.slow.waiting), 1)
        self.assertEqual(self.called, ["a", "a"])

    def test_another_has_the_lease(self) -> None:
        """The transaction that comes after that is refused, also before a round has noticed."""
        self.sweeps(self.finds("a", 5, 5, 5))
        self.clock.advance(HOUSEKEEPING_INTERVAL)
        Lease.update(holder="2" * 32).execute()
        self.slow.answer()
        self.assertEqual((self.called, self.slow.waiting), ([], []))
        Lease.update(holder=ME.id).execute()
        self.clock.advance(HOUSEKEEPING_INTERVAL)
        self.slow.answer()
        self.leader.is_leader = False
        self.clock.advance(1)
        self.assertEqual((self.called, self.slow.waiting), (["a"], []))

    def test_who_does_not_lead_sweeps_nothing(self) -> None:
        self.leader.is_leader = False
        self.sweeps(self.finds("a"))
        self.clock.advance(HOUSEKEEPING_INTERVAL)
        self.assertEqual(self.slow.waiting, [])
        self.leader.is_leader = True
        self.clock.advance(HOUSEKEEPING_INTERVAL)
        self.finish()
        self.assertEqual(self.called, ["a"])

    def test_what_takes_longer_goes_on_with_all_anew(self) -> None:
        self.sweeps(self.finds("a"), self.finds("b", *[9] * 100))
        self.clock.advance(HOUSEKEEPING_INTERVAL)
        for _ in range(50):
            self.clock.advance(1)
            if self.slow.waiting:
                self.slow.answer()
        self.assertEqual(self.called.count("a"), 1)
        for _ in range(50):
            self.clock.advance(1)
            if self.slow.waiting:
                self.slow.answer()
        self.assertEqual(self.called.count("a"), 2)

    def test_the_end(self) -> None:
        """It waits for the transaction under way, and begins none."""
        self.sweeps(self.finds("a", 5, 5))
        self.clock.advance(HOUSEKEEPING_INTERVAL)
        stopped = maybeDeferred(self.housekeeping.stopService)
        self.assertNoResult(stopped)
        self.slow.answer()
        self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual((self.called, self.clock.getDelayedCalls()), (["a"], []))

    def test_the_end_in_a_pause(self) -> None:
        self.sweeps(self.finds("a", 5, 5))
        self.clock.advance(HOUSEKEEPING_INTERVAL)
        self.clock.advance(1)
        self.slow.answer()
        self.successResultOf(maybeDeferred(self.housekeeping.stopService))
        self.assertEqual((self.called, self.clock.getDelayedCalls()), (["a"], []))

    def test_the_end_before_the_beginning(self) -> None:
        self.sweeps()
        self.housekeeping.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_fails_is_not_in_the_way_of_the_others(self) -> None:
        def broken(now: float) -> int:
            raise ZeroDivisionError

        self.sweeps(broken, self.finds("a"))
        self.clock.advance(HOUSEKEEPING_INTERVAL)
        self.finish()
        self.assertEqual(self.called, ["a"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_without_a_database(self) -> None:
        self.sweeps(self.finds("a"))
        self.slow.is_away = True
        self.clock.advance(HOUSEKEEPING_INTERVAL)
        self.slow.is_away = False
        self.clock.advance(HOUSEKEEPING_INTERVAL)
        self.finish()
        self.assertEqual(self.called, ["a"])

    def test_heartbeats_of_those_who_are_gone(self) -> None:
        HeartbeatRow.insert(server="gone").execute()
        self.sweeps()
        self.clock.advance(HOUSEKEEPING_INTERVAL)
        self.finish()
        self.assertEqual([row.server for row in HeartbeatRow.select()], [ME.id])


class BesideRounds(SynchronousTestCase):
    def test_people_get_places_during_a_sweep_that_takes_long(self) -> None:
        service = memory_service()
        self.addCleanup(service.close)
        service.people("ann", "bob")
        slow: list[Deferred[Any]] = []
        run = service.database.run

        def run_slowly(rule: Any, *arguments: Any, **keywords: Any) -> Deferred[Any]:
            if getattr(rule, "stands_for", None) is None:
                return run(rule, *arguments, **keywords)
            slow.append(Deferred())
            return slow[-1]

        service.database.run = run_slowly  # type: ignore[method-assign]
        service.advance(HOUSEKEEPING_INTERVAL + 3)
        self.assertEqual(len(slow), 1)
        self.assertEqual(len(service.provider.launched), 1)
        self.assertIn("cat", service.people("cat"))
        self.assertEqual(len(service.provider.launched), 2)
        beats = Lease.get(Lease.name == membership.FLEET_LEASE).beats
        service.advance(20)
        self.assertGreaterEqual(Lease.get(Lease.name == membership.FLEET_LEASE).beats, beats + 10)
        self.assertEqual(len(slow), 1)
