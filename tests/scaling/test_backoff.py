"""When a provider is asked again, and when nothing is launched for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.rules import fleet_transitions
from bbs.rules.fleet_admin import LONGEST_HOLD
from bbs.rules.membership import Member
from bbs.scaling.backoff import (
    FAILED_LATELY,
    REFUSED_RETRY,
    STAMP_SLACK,
    LaunchBreaker,
    Retries,
    back_off,
)
from bbs.scaling.events import FleetContext, FleetEvents
from bbs.scaling.fleet_view import Launches
from bbs.storage.database import Database
from bbs.testing.provider import MemoryProvider
from tests.memory_service import POLICY
from tests.scaling.test_events import RecordingBus

ME = Member("1" * 32, "host:here:1")


class BackOffTests(SynchronousTestCase):
    def test_back_off_values(self) -> None:
        for failures, seconds in ((0, 0), (1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (100, 60)):
            with self.subTest(failures=failures):
                self.assertEqual(back_off(failures), seconds)


class RetryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.retries = Retries(self.clock)

    def wait(self, id: str) -> float:
        """Seconds until it is due."""
        seconds = 0.0
        while not self.retries.is_due(id):
            self.clock.advance(0.5)
            seconds += 0.5
        return seconds

    def test_ever_later_up_to_a_minute(self) -> None:
        waits = []
        for _ in range(9):
            waits.append(self.wait("a"))
            self.retries.postpone("a")
        self.assertEqual(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60])

    def test_each_for_itself(self) -> None:
        self.retries.postpone("a")
        self.assertEqual([self.retries.is_due("a"), self.retries.is_due("b")], [False, True])

    def test_forgetting(self) -> None:
        for id in ("a", "b"):
            self.retries.postpone(id)
        self.retries.forget_all_but({"b"})
        self.assertEqual([self.retries.is_due("a"), self.retries.is_due("b")], [True, False])

    def test_something_else_is_asked(self) -> None:
        for _ in range(5):
            self.retries.postpone("a")
        self.retries.forget("a")
        self.retries.forget("b")  # Of which nothing was asked.
        self.assertTrue(self.retries.is_due("a"))
        self.retries.postpone("a")
        self.assertEqual(self.wait("a"), 1)


class Stamps:
    """A database that remembers what it was told of refusals: why, and until when."""

    def __init__(self) -> None:
        self.told: list[tuple[str | None, float | None]] = []

    def run(
        self,
        rule: Callable[..., None],
        me: Member,
        reason: str | None,
        until: float | None,
        now: float,
    ) -> Deferred[None]:
        assert (rule, me) == (fleet_transitions.refuse, ME)
        self.told.append((reason, until))
        return succeed(None)


class BreakerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.set_ahead = 0.0
        self.stamps = Stamps()
        self.bus = RecordingBus()
        self.breaker = LaunchBreaker(
            FleetContext(
                me=ME,
                database=cast("Database", self.stamps),
                provider=MemoryProvider(),
                policy=POLICY,
                news=FleetEvents(self.bus),
                reactor=self.clock,
                wall=lambda: self.clock.seconds() + self.set_ahead,
            )
        )

    def fail_once(self) -> None:
        """A launch fails a second after it was decided."""
        began = self.clock.seconds()
        self.clock.advance(1.0)
        self.breaker.failed(began)

    def hold(self, reason: str = "quota") -> None:
        self.successResultOf(Deferred.fromCoroutine(self.breaker.hold(reason)))

    def accepted(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.breaker.accepted()))

    def stamp_again(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.breaker.stamp_again()))

    def assert_launches(self, launches: Launches) -> None:
        self.assertIs(self.breaker.launches, launches)

    def held(self) -> float:
        """For how long nothing is launched; all that passes."""
        began = self.clock.seconds()
        while self.breaker.launches is Launches.REFUSED:
            self.clock.advance(1.0)
        return self.clock.seconds() - began


class Failures(BreakerCase):
    def test_at_first_launches_work(self) -> None:
        self.assert_launches(Launches.WORK)

    def test_one_that_failed_holds_the_next_back_for_a_moment(self) -> None:
        self.fail_once()
        self.assert_launches(Launches.BACK_OFF)
        self.clock.advance(1.0)
        self.assert_launches(Launches.FAILED_LATELY)
        self.clock.advance(FAILED_LATELY - 1.5)
        self.assert_launches(Launches.FAILED_LATELY)
        self.clock.advance(0.5)
        self.assert_launches(Launches.WORK)

    def test_ever_longer(self) -> None:
        waits = []
        for _ in range(8):
            self.fail_once()
            began = self.clock.seconds()
            while self.breaker.launches is Launches.BACK_OFF:
                self.clock.advance(0.5)
            waits.append(self.clock.seconds() - began)
        self.assertEqual(waits, [1, 2, 4, 8, 16, 32, 60, 60])

    def test_those_made_together_count_once(self) -> None:
        began = self.clock.seconds()
        for _ in range(5):
            self.clock.advance(0.1)
            self.breaker.failed(began)
        self.assertEqual(self.breaker.failures, 1)
        self.fail_once()
        self.assertEqual(self.breaker.failures, 2)

    def test_one_that_works_ends_it(self) -> None:
        self.fail_once()
        self.fail_once()
        self.breaker.succeeded()
        self.assert_launches(Launches.WORK)
        self.fail_once()
        self.assertEqual(self.breaker.failures, 1)

    def test_another_controller_begins_anew(self) -> None:
        self.fail_once()
        self.breaker.forget()
        self.assert_launches(Launches.WORK)
        self.assertEqual(self.breaker.failures, 0)


class Refusals(BreakerCase):
    def test_ever_longer_up_to_the_longest(self) -> None:
        holds = []
        for _ in range(6):
            self.breaker.refused()
            self.assert_launches(Launches.REFUSED)
            holds.append(self.held())
        self.assertEqual(holds, [60, 120, 240, 480, 600, 600])
        self.assertEqual((holds[0], holds[-1]), (REFUSED_RETRY, LONGEST_HOLD))

    def test_of_those_made_together_the_first_counts(self) -> None:
        for _ in range(5):
            self.breaker.refused()
        self.assertEqual(self.held(), 60)

    def test_a_refusal_comes_before_failures(self) -> None:
        self.fail_once()
        self.breaker.refused()
        self.assert_launches(Launches.REFUSED)
        self.held()
        self.assert_launches(Launches.FAILED_LATELY)

    def test_one_that_is_accepted_ends_it(self) -> None:
        self.hold()
        self.accepted()
        self.assert_launches(Launches.WORK)
        self.assertEqual(self.stamps.told[-1], (None, None))
        self.breaker.refused()
        self.assertEqual(self.held(), 60)

    def test_another_controller_begins_anew(self) -> None:
        self.hold()
        self.breaker.forget()
        self.assert_launches(Launches.WORK)
        # What is stored is another's by now.
        stamped = len(self.stamps.told)
        self.accepted()
        self.set_ahead = 3600.0
        self.stamp_again()
        self.assertEqual(len(self.stamps.told), stamped)
        self.breaker.refused()
        self.assertEqual(self.held(), 60)


class Told(BreakerCase):
    """What the fleet is told of a refusal, by the wall clock."""

    def test_until_when_and_who_waits_hears_of_it(self) -> None:
        self.set_ahead = 5.0
        self.hold("quota")
        until = self.clock.seconds() + 5.0 + REFUSED_RETRY
        self.assertEqual(self.stamps.told, [("quota", until)])
        self.assertEqual(self.bus.told, ["refused"])

    def test_one_that_is_held_already_is_not_held_longer(self) -> None:
        self.breaker.refused()
        self.clock.advance(10.0)
        self.hold()
        self.assertEqual(self.stamps.told, [("quota", self.clock.seconds() + 50.0)])

    def test_launches_that_work_tell_nothing(self) -> None:
        self.accepted()
        self.stamp_again()
        self.assertEqual((self.stamps.told, self.bus.told), ([], []))

    def test_anew_when_the_wall_clock_was_set(self) -> None:
        self.hold()
        self.clock.advance(10.0)
        for ahead in (0.0, STAMP_SLACK):
            self.set_ahead = ahead
            self.stamp_again()
        self.assertEqual(len(self.stamps.told), 1)
        self.set_ahead = -3600.0
        self.stamp_again()
        self.stamp_again()
        until = self.clock.seconds() - 3600.0 + 50.0
        self.assertEqual(self.stamps.told[1:], [("quota", until)])

    def test_nothing_more_once_it_was_accepted(self) -> None:
        self.hold()
        self.accepted()
        told = len(self.stamps.told)
        self.accepted()
        self.set_ahead = 3600.0
        self.stamp_again()
        self.assertEqual(len(self.stamps.told), told)
