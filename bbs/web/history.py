"""The last hour, a point each ten seconds: what the page's small plots are drawn from.

It is what a process has in mind; `memory.py` keeps it over restarts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

STEP = 10.0
"""Seconds between points."""

POINTS = 360
"""Points in an hour."""

SERVERS = 20
"""App servers that have plots of their own at the most: 20 of the board's are 7,200 pairs of
numbers in an hour, with which it takes 2 MB here and 440 KB in the database. One that has begun
goes on for as long as it lives."""

OF_FLEET = (
    "logins_per_minute",
    "failed_logins_per_minute",
    "errors_per_minute",
    "free_places",
    "connected",
    "waiting",
    "longest_wait",
    "servers",
    "launches",
    "launch_seconds",
)
"""The whole service's, whatever it counts."""

OWN = ("reactor_lag", "database_time")
"""This login server's."""

FIGURES = (*OF_FLEET, *OWN)
"""What there is a series of, whatever a service counts."""

PEOPLE = "people"
"""The first of each server's own series: places that are taken."""

Point = Mapping[str, float | None]
"""The value of each series; None where there is none."""

ServerPoint = Sequence[float | None]
"""One server's values: `PEOPLE`, and of each counter how much a second."""


def series_of(counter: str) -> str:
    """The name of the series of what is counted as `counter`."""
    return f"{counter}_per_second"


def chosen(before: Mapping[str, object], living: Sequence[str]) -> list[str]:
    """Which of the `living` servers have plots: those that had them `before`, then the first."""
    going_on = [id for id in living if id in before]
    return [*going_on, *(id for id in living if id not in before)][:SERVERS]


class LastHour:
    """The points of the last hour, of a service that counts `counters`."""

    def __init__(self, counters: Sequence[str]) -> None:
        of_counters = tuple(map(series_of, counters))
        self._series = (*FIGURES, *of_counters)
        self._of_server = (PEOPLE, *of_counters)
        self._points: deque[tuple[Point, Mapping[str, ServerPoint]]] = deque(maxlen=POINTS)
        self._now = self._end = 0.0

    def add(
        self, now: float, at: float, point: Point, servers: Mapping[str, ServerPoint] | None = None
    ) -> dict[str, object]:
        """One more point, measured at `now` and shown as of `at` (seconds since the epoch), with
        what each of some `servers` did; returns it as the page gets it."""
        # Where the process could not measure there are gaps, and no line across them.
        for _ in range(self._missed(now)):
            self._points.append(({}, {}))
        self._points.append((point, servers or {}))
        self._now, self._end = now, at
        series = {name: point.get(name) for name in self._series}
        return {"end": round(at, 1), "series": series}

    @property
    def servers(self) -> Mapping[str, ServerPoint]:
        """The servers in the latest point."""
        return self._points[-1][1] if self._points else {}

    def age(self, now: float) -> float:
        """Seconds since the latest point; a whole hour where there is none."""
        return now - self._now if self._points else STEP * POINTS

    def sum(self, name: str) -> float:
        """The sum of a series, of the points that have a value."""
        return sum(point.get(name) or 0 for point, _ in self._points)

    def as_json(self) -> dict[str, object]:
        """All of it, oldest first, `POINTS` for each series."""
        return self._as_json(
            {name: [point.get(name) for point, _ in self._points] for name in self._series}
        )

    def of_server(self, server: str) -> dict[str, object] | None:
        """The hour of one server; None where it has none."""
        if not any(server in servers for _, servers in self._points):
            return None
        nothing = (None,) * len(self._of_server)
        rows = [
            # As of a version that counted something else.
            row if len(row := servers.get(server, nothing)) == len(nothing) else nothing
            for _, servers in self._points
        ]
        return self._as_json(
            {name: [row[at] for row in rows] for at, name in enumerate(self._of_server)}
        )

    def _as_json(self, series: Mapping[str, list[float | None]]) -> dict[str, object]:
        before: list[float | None] = [None] * (POINTS - len(self._points))
        return {
            "step": STEP,
            "end": round(self._end, 1),
            "series": {name: before + values for name, values in series.items()},
        }

    def _missed(self, now: float) -> int:
        if not self._points:
            return 0
        return max(0, min(POINTS, round((now - self._now) / STEP) - 1))
