"""How times are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from twisted.trial.unittest import SynchronousTestCase

from bbs.ui.times import Stamp, Times

NOON = datetime(2026, 11, 26, 12, 0, tzinfo=UTC).timestamp()
HOUR, DAY = 3600.0, 86400.0


class TimesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = NOON
        self.times = Times(lambda: self.now, UTC)

    def test_today_needs_no_day(self) -> None:
        self.assertEqual(self.times.stamp(NOON - 3 * HOUR + 59.9), Stamp("", "09:00"))

    def test_another_day_is_said_once(self) -> None:
        stamps = [self.times.stamp(NOON + after) for after in (-DAY, -DAY + 60, 0, 60)]
        self.assertEqual(
            stamps,
            [
                Stamp("Wednesday 25 November 2026", "12:00"),
                Stamp("", "12:01"),
                Stamp("Thursday 26 November 2026", "12:00"),
                Stamp("", "12:01"),
            ],
        )

    def test_midnight(self) -> None:
        self.now = NOON + 12 * HOUR
        self.assertEqual(self.times.now(), Stamp("Friday 27 November 2026", "00:00"))

    def test_where_the_reader_is(self) -> None:
        times = Times(lambda: NOON, timezone(timedelta(hours=13)))
        self.assertEqual(times.stamp(NOON - 2 * HOUR), Stamp("Thursday 26 November 2026", "23:00"))
        self.assertEqual(times.stamp(NOON), Stamp("Friday 27 November 2026", "01:00"))

    def test_no_time(self) -> None:
        for seconds in (None, 1e300, float("nan"), -1e20):
            self.assertEqual(self.times.stamp(seconds), Stamp())
        self.assertEqual(self.times.stamp(NOON), Stamp("", "12:00"))

    def test_since(self) -> None:
        for seconds, words in (
            (NOON - HOUR, "11:00"),
            (NOON - DAY, "25 November 12:00"),
            (NOON - 366 * DAY, "25 November 2025"),
            (NOON + 366 * DAY, "27 November 2027"),
            (1e300, ""),
        ):
            self.assertEqual(self.times.since(seconds), words)

    def test_a_clock_that_is_beyond_the_calendar(self) -> None:
        times = Times(lambda: 1e300, UTC)
        self.assertEqual(times.stamp(NOON).time, "12:00")
        self.assertEqual(times.since(NOON), "26 November 2026")
        self.assertEqual(times.now(), Stamp())
