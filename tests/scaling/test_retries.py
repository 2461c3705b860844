"""When a provider is asked again."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.scaling.retries import LONGEST_REFUSED_RETRY, REFUSED_RETRY, Refusals, Retries


class RetryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.retries = Retries(self.clock)

    def wait(self, id: str) -> float:
        """Seconds until it is due."""
        seconds = 0.0
        while not self.retries.due(id):
            self.clock.advance(0.5)
            seconds += 0.5
        return seconds

    def test_ever_later_up_to_a_minute(self) -> None:
        waits = []
        for _ in range(9):
            waits.append(self.wait("a"))
            self.retries.later("a")
        self.assertEqual(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60])

    def test_each_for_itself(self) -> None:
        self.retries.later("a")
        self.assertEqual([self.retries.due("a"), self.retries.due("b")], [False, True])

    def test_forgetting(self) -> None:
        for id in ("a", "b"):
            self.retries.later(id)
        self.retries.keep({"b"})
        self.assertEqual([self.retries.due("a"), self.retries.due("b")], [True, False])


class RefusalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.refusals = Refusals(self.clock)

    def test_at_first(self) -> None:
        self.assertFalse(self.refusals.hold)

    def test_ever_longer_up_to_ten_minutes(self) -> None:
        holds = []
        for _ in range(6):
            self.refusals.add()
            self.assertTrue(self.refusals.hold)
            holds.append(self.refusals.until - self.clock.seconds())
            self.clock.advance(holds[-1])
            self.assertFalse(self.refusals.hold)
        self.assertEqual(holds, [60, 120, 240, 480, 600, 600])
        self.assertEqual((holds[0], holds[-1]), (REFUSED_RETRY, LONGEST_REFUSED_RETRY))

    def test_of_launches_made_together_the_first_counts(self) -> None:
        for _ in range(5):
            self.refusals.add()
        self.assertEqual(self.refusals.until - self.clock.seconds(), 60)

    def test_a_launch_that_works_ends_it(self) -> None:
        self.refusals.add()
        self.refusals.clear()
        self.assertFalse(self.refusals.hold)
        self.refusals.add()
        self.assertEqual(self.refusals.until - self.clock.seconds(), 60)
