"""The service's clock, as one process knows it: it follows the database's, and no clock that is
wrong."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.clock import (
    AHEAD,
    DATABASE_AHEAD,
    DAY,
    SLEW,
    TOLERANCE,
    UNPROVED,
    Reading,
    ServiceClock,
)

NOW = 1_000_000_000.0
HOUR = 3600.0


class Case(SynchronousTestCase):
    """A process on a database; whatever is set ahead is ahead of what is true."""

    def setUp(self) -> None:
        self.steady = Clock()
        self.steady.advance(7.0)  # Since the boot, and nobody knows when that was.
        self.own_ahead = 0.0
        self.database_ahead: float | None = 0.0
        self.checked: float | None = NOW
        self.apart = 0.0
        self.used: float | None = None
        self.clock = self.process()

    def process(self) -> ServiceClock:
        """Another process."""
        return ServiceClock(lambda: self.true + self.own_ahead, self.steady.seconds)

    @property
    def true(self) -> float:
        """The time."""
        return NOW - 7.0 + self.steady.seconds()

    def hear(self, took: float = 0.0) -> None:
        """Ask the database, which answers after `took` seconds: it has read its clock at once."""
        ahead = self.database_ahead
        said = None if ahead is None else self.true + ahead
        asked = self.steady.seconds()
        self.steady.advance(took)
        self.clock.hear(Reading(said, self.checked, self.apart, self.used), asked)

    def live(self, seconds: float) -> None:
        """Ask each second."""
        for _ in range(int(seconds)):
            self.steady.advance(1.0)
            self.hear()

    def off(self) -> float:
        """How wrong the service's clock is here."""
        return round(self.clock() - self.true, 3)

    def figures(self) -> dict[str, int]:
        """What the next heartbeat says is wrong."""
        figures: dict[str, int] = {}
        self.clock.note(figures)
        return figures


class Following(Case):
    def test_before_the_database_is_asked_it_is_its_own(self) -> None:
        self.own_ahead = 40 * DAY
        self.assertEqual(self.off(), 40 * DAY)

    def test_its_own_may_be_wrong(self) -> None:
        self.own_ahead = 40 * DAY
        self.hear()
        self.assertEqual(self.off(), 0.0)
        self.steady.advance(3.0)
        self.assertEqual(self.off(), 0.0)
        self.assertEqual(self.figures(), {AHEAD: 40 * DAY})
        self.own_ahead = TOLERANCE / 2
        self.assertEqual(self.figures(), {})

    def test_an_answer_that_takes_long_does_not_set_it_back(self) -> None:
        self.hear()
        for _ in range(5):
            self.hear(took=1.3)
            self.assertEqual(self.off(), 0.0)

    def test_who_began_with_a_late_answer_knows_better_later(self) -> None:
        self.hear(took=4.0)
        self.assertEqual(self.off(), -4.0)
        self.live(1)
        self.assertEqual(self.off(), 0.0)

    def test_a_little_is_followed_slowly(self) -> None:
        self.hear()
        self.database_ahead = 100.0
        self.live(60)
        self.assertAlmostEqual(self.off(), 60 * SLEW, 1)
        self.assertEqual(self.figures(), {})

    def test_a_clock_that_goes_too_fast_is_not_followed_for_ever(self) -> None:
        self.hear()
        for _ in range(100):
            assert self.database_ahead is not None
            self.database_ahead += 0.5 * TOLERANCE
            self.live(1)
        self.assertLess(self.off(), TOLERANCE)
        self.assertIn(DATABASE_AHEAD, self.figures())


class Setting(Case):
    """The database's clock is set while the process runs."""

    ahead = 40 * DAY

    def test_it_goes_on_as_before(self) -> None:
        self.hear()
        self.live(3)
        self.database_ahead = self.ahead
        self.live(3)
        self.assertEqual(self.off(), 0.0)
        self.assertEqual(self.figures(), {DATABASE_AHEAD: self.ahead})
        self.database_ahead = 0.0
        self.live(1)
        self.assertEqual((self.off(), self.figures()), (0.0, {}))

    def test_without_a_clock_of_the_database_it_is_the_processes_own(self) -> None:
        self.database_ahead = None
        self.hear()
        self.own_ahead = self.ahead
        self.live(3)
        self.assertEqual(self.off(), 0.0)
        self.assertEqual(self.figures(), {AHEAD: self.ahead})

    def test_an_operator_says_that_it_is_right(self) -> None:
        self.hear()
        self.own_ahead = self.database_ahead = self.ahead
        self.live(1)
        self.checked = self.true + self.ahead
        self.live(1)
        self.assertEqual(round(self.off() - self.ahead), -1)
        self.assertEqual(self.figures(), {})

    def test_who_starts_then_goes_by_the_last_check(self) -> None:
        """The leader has stored by how much the database is wrong."""
        self.database_ahead = self.apart = self.ahead
        self.hear()
        self.assertEqual(self.off(), 0.0)
        self.assertEqual(self.figures(), {DATABASE_AHEAD: self.ahead})

    def test_who_starts_too_early_is_told(self) -> None:
        self.database_ahead = self.ahead
        self.hear()
        self.steady.advance(9.0)
        self.checked, self.apart = self.true, self.ahead
        self.live(1)
        self.assertLessEqual(abs(self.off()), 1.0)  # It was checked a second ago.


class SettingBack(Setting):
    """By as much."""

    ahead = -40 * DAY


class Starting(Case):
    """After a while in which no process ran."""

    def test_a_short_one(self) -> None:
        self.checked = NOW - 0.9 * DAY
        self.hear()
        self.assertEqual((self.off(), self.figures()), (0.0, {}))

    def test_a_long_one(self) -> None:
        self.checked = NOW - 31 * DAY
        self.hear()
        self.assertEqual((self.off(), self.figures()), (0.0, {UNPROVED: 1}))
        self.live(60)
        self.assertEqual(self.figures(), {UNPROVED: 1})
        self.clock.accept()
        self.assertEqual((self.off(), self.figures()), (0.0, {}))

    def test_with_a_wrong_clock_that_is_put_right(self) -> None:
        """What it was set to is not believed more than what it is."""
        self.checked, self.database_ahead = NOW - 60.0, 40 * DAY
        self.hear()
        self.assertEqual(self.figures(), {AHEAD: -40 * DAY, UNPROVED: 1})
        self.database_ahead = 0.0
        self.live(1)
        self.assertEqual((self.off(), self.figures()), (0.0, {}))

    def test_with_a_clock_behind_the_last_check(self) -> None:
        """Nothing is stored as if it were older than what is there."""
        self.checked, self.database_ahead = NOW - 60.0, -40 * DAY
        self.hear()
        self.assertEqual(self.off(), -60.0)
        self.live(30)
        self.assertEqual(self.off(), -60.0)
        self.assertEqual(self.figures()[DATABASE_AHEAD], -40 * DAY + 60)
        self.database_ahead = 0.0
        self.live(1)
        self.assertEqual((self.off(), self.figures()), (0.0, {}))

    def test_from_far_ahead_to_far_behind(self) -> None:
        self.checked, self.database_ahead = NOW - 60.0, 40 * DAY
        self.hear()
        self.database_ahead = -40 * DAY
        self.live(1)
        self.assertEqual(round(self.off()), -61)

    def test_nobody_has_checked_yet(self) -> None:
        self.checked = None
        self.hear()
        self.assertEqual((self.off(), self.figures()), (0.0, {}))

    def test_nobody_has_checked_and_sessions_are_old(self) -> None:
        self.checked, self.used = None, NOW - 31 * DAY
        self.hear()
        self.assertEqual((self.off(), self.figures()), (0.0, {UNPROVED: 1}))
        self.live(3)
        self.assertEqual(self.figures(), {UNPROVED: 1})

    def test_nobody_has_checked_and_a_session_was_used_later(self) -> None:
        """What is stored now must not seem older than that use: the sweeps would remove it once
        the clock is right."""
        self.checked, self.used = None, NOW + 40 * DAY
        self.hear()
        self.assertEqual((self.off(), self.clock.unproved), (40 * DAY, True))
        self.live(3)
        self.assertEqual((self.off(), self.clock.unproved), (40 * DAY, True))

        self.database_ahead = self.own_ahead = 40 * DAY
        self.live(1)
        self.assertEqual((self.off(), self.clock.unproved), (40 * DAY, False))

    def test_nobody_has_checked_and_sessions_are_new(self) -> None:
        self.checked, self.used = None, NOW - HOUR
        self.hear()
        self.assertEqual((self.off(), self.figures()), (0.0, {}))
