"""Token buckets."""

from __future__ import annotations

from typing import Any
from weakref import ref

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.errors import TooManyAttempts
from bbs.core.values import Rate
from bbs.limits.buckets import MOST_OF_A_KEY, Buckets


class Key:
    """One of which is seen whether anybody keeps it."""


class BucketTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1e9)

    def make(self, rate: str = "20/minute", **options: Any) -> Buckets:
        return Buckets(Rate.parse(rate), self.clock, **options)

    def refused(self, made: Buckets, key: object = "ann", cost: float = 1.0) -> int:
        error = self.assertRaises(TooManyAttempts, made.claim, key, cost)
        return int(error.args[0])

    def test_so_many_at_once_and_then_one_by_one(self) -> None:
        made = self.make()
        for _ in range(20):
            made.claim("ann")
        self.assertEqual(self.refused(made), 3)
        made.claim("bob")
        self.clock.advance(2)
        self.assertEqual(self.refused(made), 1)
        self.clock.advance(1)
        made.claim("ann")
        self.assertEqual(self.refused(made), 3)

    def test_times(self) -> None:
        made = self.make(times=10)
        for _ in range(200):
            made.claim("ann")
        self.assertEqual(self.refused(made), 1)

    def test_burst(self) -> None:
        made = self.make("200/second", burst=1000)
        self.assertEqual(made.take("ann", 1000), 0.0)
        self.assertAlmostEqual(made.take("ann", 1), 0.005, 5)
        self.assertAlmostEqual(made.take("ann", 1), 0.01, 5)
        self.clock.advance(5.02)
        self.assertEqual(made.take("ann", 1000), 0.0)

    def test_who_comes_later_waits_behind(self) -> None:
        made = self.make("1/second")
        self.assertEqual([made.take("ann") for _ in range(4)], [0.0, 1.0, 2.0, 3.0])

    def test_more_than_a_full_bucket_needs_a_full_one(self) -> None:
        made = self.make("10/second")
        self.assertEqual(made.take("ann", 25), 0.0)
        self.assertAlmostEqual(made.wait("ann", 0), 1.5, 5)
        self.assertAlmostEqual(made.wait("ann", 25), 2.5, 5)
        self.clock.advance(2.5)
        self.assertEqual(made.wait("ann", 25), 0.0)

    def test_given_back(self) -> None:
        made = self.make("1/minute")
        for _ in range(50):
            made.claim("ann")
            made.give_back("ann")
        made.give_back("bob")
        made.claim("bob")
        self.refused(made, "bob")

    def test_a_long_key_is_cut(self) -> None:
        made = self.make("1/minute")
        made.claim("x" * 65536)
        self.refused(made, "x" * 65536)
        self.refused(made, "x" * (MOST_OF_A_KEY + 1))
        made.claim("x" * (MOST_OF_A_KEY - 1))

    def test_pairs(self) -> None:
        made = self.make("1/minute")
        made.claim(("ann", "192.0.2.1"))
        made.claim(("ann", "192.0.2.2"))
        self.refused(made, ("ann", "192.0.2.1"))

    def test_memory_is_bounded(self) -> None:
        made = self.make("1/minute", most=100)
        for number in range(101):
            made.claim(number)
        self.refused(made, 1)
        self.refused(made, 100)
        made.claim(0)  # It was forgotten for the last one.

    def test_nothing_is_kept_of_who_may_do_all_again(self) -> None:
        made = self.make()
        key = Key()
        made.claim(key)
        kept = ref(key)
        del key
        self.assertIsNotNone(kept())
        self.clock.advance(60)
        made.claim("ann")
        self.assertIsNone(kept())

    @given(
        st.integers(1, 50),
        st.floats(1, 100),
        st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 20)), max_size=30),
    )
    def test_never_more_than_is_allowed(
        self, count: int, burst: float, asked: list[tuple[float, float]]
    ) -> None:
        """In no span of time does anybody get more than a full bucket and what came in since, but
        for the last, which may cost more than a bucket holds."""
        clock = Clock()
        made = Buckets(Rate(count, 1.0), clock, burst=burst)
        got: list[tuple[float, float]] = []
        for pause, cost in asked:
            clock.advance(pause)
            got.append((clock.seconds() + made.take("ann", cost), cost))
        times = [at for at, _ in got]
        self.assertEqual(times, sorted(times))
        for first in range(len(got)):
            for last in range(first, len(got)):
                span = got[last][0] - got[first][0]
                spent = sum(cost for _, cost in got[first : last + 1])
                most = max([burst, *(cost for _, cost in got[first : last + 1])])
                self.assertLessEqual(spent, most + span * count + got[first][1] + 1e-6)
