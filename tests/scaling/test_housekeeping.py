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
from bbs.scaling.events import FleetContext
from bbs.scaling.housekeeping import HOUSEKEEPING_INTERVAL, LEAST_PAUSE, Housekeeping, Sweep
from bbs.scaling.interfaces import IFleetController
from bbs.storage.database import long_read
from bbs.storage.models import HeartbeatRow, Lease
from bbs.storage.partitions import Change, Retention
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

    def run_untimed(self, work: Any, *arguments: Any) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        self.waiting.append((answer, lambda: maybeDeferred(work, *arguments)))
        return answer

    def answer(self) -> None:
        """Carry out the one transaction that waits."""
        [(answer, run)] = self.waiting
        self.waiting.clear()
        run().chainDeferred(answer)


class HousekeepingCase(DatabaseCase):
    """The service by itself."""

    def setUp(self) -> None:
        super().setUp()
        self.call(membership.enroll, ME)
        self.call(membership.observe, ME, Tally())
        self.clock = Clock()
        self.leader = Leader()
        self.slow = Slow(self.database)
        self.called: list[str] = []

    def sweeps(self, *sweeps: Sweep, retention: Any = None) -> Housekeeping:
        named = {f"sweep {number}": sweep for number, sweep in enumerate(sweeps)}
        context = FleetContext(
            me=ME,
            database=cast("Any", self.slow),
            provider=cast("Any", None),
            policy=POLICY,
            news=cast("Any", None),
            reactor=self.clock,
            wall=self.clock.seconds,
        )
        leader = cast("IFleetController", self.leader)
        self.housekeeping = Housekeeping(context, named, leader, retention)
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


class Sweeping(HousekeepingCase):
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


class Tables:
    """Tables that are to be changed so, and whose rows count in so many places."""

    def __init__(self, *changes: Change, places: int = 0) -> None:
        self.changes = [*changes]
        self.places = places
        self.log: list[object] = []
        self.error: Exception | None = None
        self.release = (self.release_first, self.release_last)

    @long_read
    def next_change(self, before: float, may_drop: bool = True) -> Change | None:
        self.log.append(before)
        return self.changes[0] if self.changes else None

    def release_first(self, bound: int, start: int) -> int | None:
        self.log.append(f"{bound} from {start}")
        return start + 1 if start < self.places else None

    def release_last(self, bound: int, start: int) -> int | None:
        if self.error is not None:
            raise self.error
        self.log.append("last")
        return None

    def carry_out(self, change: Change) -> None:
        self.log.append(self.changes.pop(0))


class Partitions(HousekeepingCase):
    def begin(self, *changes: Change, places: int = 0) -> Tables:
        tables = Tables(*changes, places=places)
        self.sweeps(self.finds("a"), retention=Retention(cast("Any", tables), 40.0))
        self.clock.advance(HOUSEKEEPING_INTERVAL)
        return tables

    def answer(self, times: int, pause: float = 0.01) -> None:
        for _ in range(times):
            self.slow.answer()
            self.clock.advance(pause)

    def test_what_counts_is_released_before_the_rows_go(self) -> None:
        made, dropped = Change(9), Change(5, drops=True)
        tables = self.begin(made, dropped, places=2)
        self.finish()
        before = HOUSEKEEPING_INTERVAL - 40.0
        self.assertEqual(tables.log[:2], [before, made])
        released = ["5 from 0", "5 from 1", "5 from 2", "last", dropped]
        self.assertEqual(tables.log[3:8], released)
        self.assertEqual((len(tables.log), self.called), (9, ["a"]))

    def test_the_sweeps_do_not_wait_for_it(self) -> None:
        """And it goes on where it was when the next minute begins."""
        tables = self.begin(Change(5, drops=True), places=100)
        self.answer(12, 1.0)
        self.assertEqual(self.called, ["a"])
        self.answer(60, 1.0)
        self.assertEqual(self.called, ["a", "a"])
        released = [each for each in tables.log if isinstance(each, str)]
        self.assertGreater(len(released), 20)
        self.assertEqual(released, [f"5 from {start}" for start in range(len(released))])

    def test_another_has_the_lease(self) -> None:
        tables = self.begin(Change(5, drops=True))
        self.slow.answer()
        Lease.update(holder="2" * 32).execute()
        self.finish()
        self.assertEqual((len(tables.log), self.called), (1, []))

    def test_without_a_database(self) -> None:
        tables = self.begin(Change(5, drops=True), places=3)
        self.answer(6)
        self.slow.is_away = True
        self.finish()
        self.slow.is_away = False
        self.clock.advance(HOUSEKEEPING_INTERVAL)
        self.finish()
        self.assertEqual(tables.log.count("5 from 0"), 1)
        self.assertIn(Change(5, drops=True), tables.log)

    def test_the_end_while_rows_are_released(self) -> None:
        tables = self.begin(Change(5, drops=True), places=9)
        while tables.log[1:] == []:
            self.slow.answer()
        self.successResultOf(maybeDeferred(self.housekeeping.stopService))
        self.assertEqual((tables.log[1:], self.slow.waiting), (["5 from 0"], []))

    def test_nothing_is_dropped_that_could_not_be_released(self) -> None:
        """Nor do the sweeps wait for it."""
        tables = self.begin(Change(5, drops=True))
        tables.error = ZeroDivisionError()
        self.finish()
        self.assertEqual((tables.log[1:], self.called), (["5 from 0"], ["a"]))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        tables.error = None
        self.clock.advance(HOUSEKEEPING_INTERVAL)
        self.finish()
        self.assertIn(Change(5, drops=True), tables.log)


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
