"""Rate limits, on a clock."""

from __future__ import annotations

from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.errors import TooManyAttempts
from bbs.limits import attempts
from bbs.limits.attempts import Attempts
from bbs.values import Rate


class AttemptsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.attempts = Attempts(Rate(3, 60.0), self.clock.seconds)

    def note(self, key: str = "ann", times: int = 1) -> None:
        for _ in range(times):
            self.attempts.check(key)
            self.attempts.note(key)

    def wait(self, key: str = "ann") -> int:
        """The seconds that `key` is told to wait; 0 if it need not."""
        try:
            self.attempts.check(key)
        except TooManyAttempts as error:
            self.assertEqual(error.message, f"Too many attempts, try again in {error.args[0]} s")
            return int(error.args[0])
        return 0

    def test_as_many_as_the_rate_allows(self) -> None:
        self.note(times=3)
        self.assertEqual(self.wait(), 60)

    def test_checking_is_no_attempt(self) -> None:
        for _ in range(10):
            self.assertEqual(self.wait(), 0)

    def test_the_window_moves(self) -> None:
        for _ in range(3):
            self.note()
            self.clock.advance(10)
        self.assertEqual(self.wait(), 30)
        self.clock.advance(29.5)
        self.assertEqual(self.wait(), 1)
        self.clock.advance(0.5)
        self.note()
        self.assertEqual(self.wait(), 10)

    def test_waiting_as_told_is_enough(self) -> None:
        for _ in range(3):
            self.note()
            self.clock.advance(7.3)
        for _ in range(5):
            self.clock.advance(self.wait())
            self.note()

    def test_more_than_allowed_at_once(self) -> None:
        """Those that were under way together all count."""
        for _ in range(5):
            self.attempts.note("ann")
            self.clock.advance(1)
        self.assertEqual(self.wait(), 57)
        self.clock.advance(57)
        self.assertEqual(self.wait(), 0)

    def test_each_key_has_its_own(self) -> None:
        self.note("ann", times=3)
        self.note("Ann", times=2)
        self.assertEqual((self.wait("ann"), self.wait("Ann"), self.wait("bob")), (60, 0, 0))

    def test_times_as_many(self) -> None:
        self.attempts = Attempts(Rate(3, 60.0), self.clock.seconds, times=10)
        self.note(times=30)
        self.assertEqual(self.wait(), 60)

    def test_what_is_over_is_forgotten(self) -> None:
        for number in range(100):
            self.note(f"somebody {number}")
            self.clock.advance(1)
        self.assertEqual(len(self.attempts._made), 60)

    def test_no_key_costs_more_than_a_name(self) -> None:
        self.note("a" * 70_000, times=3)
        self.assertEqual([len(key) for key in self.attempts._made], [101])
        self.assertEqual(self.wait("a" * 70_000), 60)

    def test_memory_is_bounded(self) -> None:
        """The one longest quiet is forgotten."""
        with mock.patch.object(attempts, "MAX_KEYS", 2):
            for key in ("ann", "bob", "ann", "ann", "eve"):
                self.note(key)
        self.assertEqual(set(self.attempts._made), {"ann", "eve"})
        self.assertEqual(self.wait("ann"), 60)

    @given(st.lists(st.floats(0, 40), max_size=40))
    def test_never_more_than_allowed_in_any_window(self, pauses: list[float]) -> None:
        clock, made = Clock(), []
        limited = Attempts(Rate(3, 60.0), clock.seconds)
        for pause in pauses:
            clock.advance(pause)
            try:
                limited.check("ann")
            except TooManyAttempts:
                continue
            limited.note("ann")
            made.append(clock.seconds())
        for first, fourth in zip(made, made[3:], strict=False):
            self.assertGreaterEqual(fourth - first, 60.0)
