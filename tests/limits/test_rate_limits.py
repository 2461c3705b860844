"""Token buckets, and limits on login attempts, on a clock."""

from __future__ import annotations

from typing import Any
from weakref import ref

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.errors import TooManyAttempts, Unavailable, WrongCredentials
from bbs.core.values import PasswordVerdict, Rate
from bbs.limits.connections import Networks
from bbs.limits.fair_queue import FairQueue
from bbs.limits.rate_limits import GUESS_DELAY, MOST_OF_A_KEY, Buckets, LoginLimits

HERE, ELSEWHERE = "192.0.2.1", "203.0.113.7"


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


class LimitsCase(SynchronousTestCase):
    """Three wrong passwords a minute for a name from one address, and five right ones."""

    right: Rate | None = Rate(5, 60.0)

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[tuple[str, str, str]] = []
        self.limits = LoginLimits(
            Rate(3, 60.0),
            self.right,
            self.clock,
            FairQueue(100, 200, Networks(()), self.clock),
            lambda *told: self.told.append(told),
        )
        self.verified = 0

    def begin(
        self, name: str, host: str, matches: bool | Deferred[bool], known: str = ""
    ) -> Deferred[PasswordVerdict]:
        """An attempt with a password that is right or wrong, which may take a while to know."""

        async def verify() -> PasswordVerdict:
            self.verified += 1
            return PasswordVerdict(await matches if isinstance(matches, Deferred) else matches)

        return Deferred.fromCoroutine(self.limits.attempt(name, host, verify, known=known))

    def attempt(
        self, name: str = "bob", host: str = HERE, matches: bool = False, known: str = ""
    ) -> str:
        """How an attempt ends: right, wrong, or after how many seconds there may be another."""
        attempt = self.begin(name, host, matches, known)
        outcome: list[str] = []

        def failed(failure: Failure) -> None:
            error = failure.value
            assert isinstance(error, WrongCredentials | TooManyAttempts), error
            outcome.append(str(error.args[0]) if error.args else "wrong")

        attempt.addCallbacks(lambda verdict: outcome.append("right"), failed)
        (ended,) = outcome
        return ended

    def attempts(self, number: int, name: str = "bob", host: str = HERE) -> set[str]:
        """How so many with wrong passwords end."""
        return {self.attempt(name, host) for _ in range(number)}


class WrongOnes(LimitsCase):
    def test_of_a_name_from_one_address(self) -> None:
        self.assertEqual(self.attempts(3), {"wrong"})
        self.assertEqual(self.attempt(), "20")
        self.assertEqual(self.attempt(matches=True), "20")
        self.assertEqual(self.verified, 3)
        self.clock.advance(20)
        self.assertEqual(self.attempt(matches=True), "right")

    def test_nobody_is_kept_out_from_elsewhere(self) -> None:
        """Not by any number from one address: what is refused counts for nobody."""
        self.attempts(500)
        self.assertEqual(self.attempt(host=ELSEWHERE, matches=True), "right")

    def test_of_a_name_from_all_addresses(self) -> None:
        for number in range(10):
            self.assertEqual(self.attempts(3, host=f"198.51.100.{number}"), {"wrong"})
        self.assertEqual(self.attempt(host=ELSEWHERE, matches=True), "2")
        self.assertEqual(self.attempt("ann", ELSEWHERE, matches=True), "right")
        self.clock.advance(2)
        self.assertEqual(self.attempt(host=ELSEWHERE, matches=True), "right")

    def test_of_an_address_with_all_names(self) -> None:
        self.assertEqual({self.attempt(f"name{number}") for number in range(30)}, {"wrong"})
        self.assertEqual(self.attempt("ann", matches=True), "2")
        self.assertEqual(self.attempt("ann", ELSEWHERE, matches=True), "right")

    def test_an_address_of_ipv6_is_its_network(self) -> None:
        for number in range(3):
            self.assertEqual(self.attempt(host=f"2001:db8::{number}"), "wrong")
        self.assertEqual(self.attempt(host="2001:db8::ffff"), "20")
        self.assertEqual(self.attempt(host="2001:db8:0:1::1"), "wrong")

    def test_many_at_once(self) -> None:
        """Of guesses that are all under way no more are looked at than are allowed."""
        answers: list[Deferred[bool]] = [Deferred() for _ in range(4)]
        guesses = [self.begin("bob", HERE, answer) for answer in answers]
        self.failureResultOf(guesses[3], TooManyAttempts)
        for answer in answers[:3]:
            answer.callback(False)
        for guess in guesses[:3]:
            self.failureResultOf(guess, WrongCredentials)
        self.assertEqual(self.verified, 3)

    def test_who_hangs_up_has_tried(self) -> None:
        for _ in range(3):
            answer: Deferred[bool] = Deferred()
            guess = self.begin("bob", HERE, answer)
            guess.cancel()
            self.failureResultOf(guess, CancelledError)
            answer.callback(False)
        self.assertEqual(self.attempt(), "20")
        self.assertEqual([outcome for outcome, *_ in self.told], ["wrong"] * 3 + ["refused"])

    def test_what_cannot_be_known_counts(self) -> None:
        for _ in range(3):
            answer: Deferred[bool] = Deferred()
            guess = self.begin("bob", HERE, answer)
            answer.errback(MemoryError())
            self.failureResultOf(guess, MemoryError)
        self.assertEqual(self.attempt(matches=True), "20")

    def test_other_secrets_count_for_the_address(self) -> None:
        for _ in range(30):
            self.limits.guess(HERE)
        self.assertRaises(TooManyAttempts, self.limits.guess, HERE)
        self.assertEqual(self.attempt(), "2")
        self.limits.guess(ELSEWHERE)


class KnownUsers(LimitsCase):
    def test_strangers_guesses_cost_them_nothing(self) -> None:
        for number in range(10):
            self.attempts(3, host=f"198.51.100.{number}")
        self.assertEqual(self.attempt(host=ELSEWHERE, matches=True), "2")
        self.assertEqual(self.attempt(host=ELSEWHERE, matches=True, known="home"), "right")

    def test_theirs_cost_strangers_nothing(self) -> None:
        for network in range(20):
            for _ in range(3):
                self.attempt(host=f"10.0.{network}.1", known=f"10.0.{network}.0/24")
        self.assertEqual(self.attempt(host=ELSEWHERE), "wrong")

    def test_a_thief_guesses_as_any_stranger_beyond_the_own_limit(self) -> None:
        for number in range(10):
            self.attempts(3, host=f"198.51.100.{number}")
        guesses = [self.attempt(host=f"203.7.{n}.1", known="home") for n in range(5)]
        self.assertEqual(guesses, ["wrong"] * 3 + ["2"] * 2)

    def test_a_neighbour_locks_nobody_out(self) -> None:
        for number in range(9):
            self.attempt(host=f"203.7.0.{number}", known="203.7.0.0/24")
        self.assertEqual(self.attempt(host=ELSEWHERE, matches=True, known="203.7.0.0/24"), "right")
        for number in range(100):
            self.attempt(host=f"203.7.0.{number}", known="203.7.0.0/24")
        self.assertEqual(self.attempt(host=ELSEWHERE, matches=True, known="a device"), "right")

    def test_an_address_has_its_limit_with_all_names(self) -> None:
        for number in range(30):
            self.attempt(f"name{number}", known="home")
        self.assertEqual(self.attempt(known="home", matches=True), "2")

    def test_they_wait_for_no_stranger(self) -> None:
        queue = FairQueue(1, 200, Networks(()), self.clock)
        self.limits = LoginLimits(Rate(3, 60.0), None, self.clock, queue, lambda *told: None)
        under_way: Deferred[bool] = Deferred()
        self.begin("ann", "10.0.0.1", under_way)
        waiting = [self.begin("ann", f"10.{number}.0.1", Deferred()) for number in range(1, 9)]
        known = self.begin("bob", HERE, True, known="home")
        under_way.callback(True)
        self.assertTrue(self.successResultOf(known).matches)
        self.assertEqual([each.called for each in waiting], [False] * 8)


class OtherSecrets(LimitsCase):
    def test_after_too_many_all_there_wait(self) -> None:
        for _ in range(30):
            self.successResultOf(Deferred.fromCoroutine(self.limits.before_guess(HERE)))
            self.limits.guess(HERE)
        waits = Deferred.fromCoroutine(self.limits.before_guess(HERE))
        self.successResultOf(Deferred.fromCoroutine(self.limits.before_guess(ELSEWHERE)))
        self.clock.advance(GUESS_DELAY * 0.9)
        self.assertNoResult(waits)
        self.clock.advance(GUESS_DELAY * 0.1)
        self.successResultOf(waits)


class RightOnes(LimitsCase):
    def test_they_have_a_rate(self) -> None:
        self.assertEqual([self.attempt(matches=True) for _ in range(6)], ["right"] * 5 + ["12"])
        self.assertEqual(self.attempt("ann", matches=True), "right")
        self.assertEqual(self.attempt(host=ELSEWHERE, matches=True), "right")

    def test_they_are_no_wrong_ones(self) -> None:
        for _ in range(4):
            self.attempt(matches=True)
        self.assertEqual(self.attempts(3), {"wrong"})

    def test_wrong_ones_are_no_right_ones(self) -> None:
        self.attempts(3)
        self.clock.advance(20)
        self.assertEqual(self.attempt(), "wrong")
        for _ in range(5):
            self.clock.advance(20)
            self.assertEqual(self.attempt(matches=True), "right")

    def test_they_are_limited_at_once(self) -> None:
        self.limits = LoginLimits(
            Rate(100, 60.0),
            self.right,
            self.clock,
            FairQueue(100, 200, Networks(()), self.clock),
            lambda *told: None,
        )
        answers: list[Deferred[bool]] = [Deferred() for _ in range(2)]
        for answer in answers:
            self.begin("bob", HERE, answer)
        for _ in range(3):
            self.assertEqual(self.attempt(matches=True), "right")
        self.assertEqual(self.attempt(matches=True), "12")


class AllRightOnes(LimitsCase):
    right = None

    def test_as_many_as_come(self) -> None:
        self.assertEqual({self.attempt(matches=True) for _ in range(100)}, {"right"})


class Beforehand(LimitsCase):
    def test_what_would_be_refused_is(self) -> None:
        for _ in range(10):
            self.limits.check("bob", HERE)
        self.attempts(3)
        self.assertRaises(TooManyAttempts, self.limits.check, "bob", HERE)
        self.limits.check("bob", ELSEWHERE)
        self.limits.check("ann", HERE)


class Telling(LimitsCase):
    def test_of_each(self) -> None:
        self.attempt(matches=True)
        self.attempts(4)
        self.assertRaises(TooManyAttempts, self.limits.check, "bob", HERE)
        outcomes = ["right", "wrong", "wrong", "wrong", "refused", "refused"]
        self.assertEqual(self.told, [(outcome, HERE, "bob") for outcome in outcomes])

    def test_of_whom_no_turn_is_left_for(self) -> None:
        limits = LoginLimits(
            Rate(100, 60.0),
            None,
            self.clock,
            FairQueue(1, 1, Networks(()), self.clock),
            lambda *told: self.told.append(told),
        )
        self.limits = limits
        for _ in range(2):
            self.begin("bob", HERE, Deferred())
        self.failureResultOf(self.begin("bob", HERE, True), Unavailable)
        self.assertEqual(self.told, [("refused", HERE, "bob")])
