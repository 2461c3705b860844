"""The last hour, a point each ten seconds: what the page's small plots are drawn from.

It is this process's memory of what it saw, some 30 KB, and begins anew with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

STEP = 10.0
"""Seconds between points."""

POINTS = 360
"""Points in an hour."""

FIGURES = (
    "logins_per_minute",
    "free_places",
    "waiting",
    "longest_wait",
    "servers",
    "launches",
    "launch_seconds",
    "reactor_lag",
    "database_time",
)
"""What there is a series of, whatever a service counts."""

Point = Mapping[str, float | None]
"""The value of each series; None where there is none."""


def series_of(counter: str) -> str:
    """The name of the series of what is counted as `counter`."""
    return f"{counter}_per_second"


class LastHour:
    """The points of the last hour, of a service that counts `counters`."""

    def __init__(self, counters: Sequence[str]) -> None:
        self._series = (*FIGURES, *map(series_of, counters))
        self._points: deque[Point] = deque(maxlen=POINTS)
        self._now = self._end = 0.0

    def add(self, now: float, at: float, point: Point) -> dict[str, object]:
        """One more point, measured at `now` and shown as of `at` (seconds since the epoch); returns
        it as the page gets it."""
        # Where the process could not measure there are gaps, and no line across them.
        for _ in range(self._missed(now)):
            self._points.append(dict.fromkeys(self._series))
        self._points.append(point)
        self._now, self._end = now, at
        return {"end": round(at, 1), "series": {name: point[name] for name in self._series}}

    def sum(self, name: str) -> float:
        """The sum of a series, of the points that have a value."""
        return sum(point[name] or 0 for point in self._points)

    def as_json(self) -> dict[str, object]:
        """All of it, oldest first, `POINTS` for each series."""
        before: list[float | None] = [None] * (POINTS - len(self._points))
        return {
            "step": STEP,
            "end": round(self._end, 1),
            "series": {
                name: before + [point[name] for point in self._points] for name in self._series
            },
        }

    def _missed(self, now: float) -> int:
        if not self._points:
            return 0
        return max(0, min(POINTS, round((now - self._now) / STEP) - 1))
