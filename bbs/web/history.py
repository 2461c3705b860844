"""The history of the page: its last hour, and its events, the same at each login server.

Both are kept in this process, to be shown at once, and in the database, to survive a restart. The
hour has a point each ten seconds, from which the small plots are drawn. The first page whose turn
it is writes a point of the fleet; while the database is away points are lost.

Whoever acts stores events (`bbs.rules.page_history`), and each page reads those behind the last
that it has. A page stores what only a login server sees, that its database or its broker is away,
unless another one has said so. While the database is away a page's own readers get that from here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IReactorTime
from zope.interface import Interface

from bbs.core.errors import Unavailable
from bbs.core.values import Counter
from bbs.rules import page_history
from bbs.rules.page_history import NEWS_KEPT, Event, EventKind, Moment, StoredEvent, sentence
from bbs.storage.database import Database

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


_SERVERS = "servers_own"
"""The member of a point that has what each server did."""

_CONNECTIONS = (
    (EventKind.DATABASE_AWAY, EventKind.DATABASE_BACK),
    (EventKind.BROKER_AWAY, EventKind.BROKER_BACK),
)
"""What is said of each connection that ends, and that is there again."""


@dataclass(frozen=True)
class PageEvent:
    """One sentence; ids rise, also over a restart. One that is not `stored` has been told here
    alone."""

    id: int
    at: float
    text: str
    stored: bool = True

    def as_json(self) -> dict[str, object]:
        """As the page gets it."""
        return {"id": self.id, "at": round(self.at, 1), "text": self.text}


class IWatchers(Interface):
    """Those who watch the page."""

    def watched() -> tuple[bool, bool]:
        """Whether anybody watches, and whether an operator does, who may see people's names."""

    def state(view: Any) -> None:
        """The present, a `PageView`."""

    def point(point: dict[str, object]) -> None:
        """One more point of the last hour's plots."""

    def news(news: Sequence[PageEvent]) -> None:
        """What has happened."""


class Memory:
    """The memory of the page of the login server `me`, of which `watchers` are told.

    :ivar kept: the latest news, in the order in which they were told.
    :ivar last_id: the highest id of those that are stored; 0 before there are any.
    """

    def __init__(
        self,
        *,
        me: str,
        counters: Sequence[Counter],
        database: Database,
        watchers: IWatchers,
        reactor: IReactorTime,
        wall: Callable[[], float],
    ) -> None:
        self.history = LastHour([each.name for each in counters])
        self.kept: deque[PageEvent] = deque(maxlen=NEWS_KEPT)
        self.last_id = 0
        self._begun = False
        self._me = me
        self._counters = counters
        self._database = database
        self._watchers = watchers
        self._reactor = reactor
        self._wall = wall
        self._connected: tuple[bool, bool] | None = None
        """Whether the database and the broker were there, None before both have been."""
        self._unwritten: list[Event] = []
        """Seen here, and not stored yet."""
        self._told = 0
        """How many of these the readers have."""
        self._known: set[int] = set()
        """Ids of rows that say what the readers have been told from here."""
        self._last_moment = 0

    async def begin(self) -> None:
        """Remember what has been written down, once that can be had."""
        if self._begun:
            return
        try:
            found = await self._database.run(page_history.recall, self._me, self._wall())
        except Unavailable:
            return
        self._begun = True
        own = {_step(moment.at): moment.series for moment in found.own}
        for moment in found.fleet:
            self._remember(moment, {name: own.get(_step(moment.at), {}).get(name) for name in OWN})
        self.kept.extend(self._read(found.news))

    # The hour

    async def add(
        self, fleet: Point | None, own: Point, servers: Mapping[str, ServerPoint]
    ) -> None:
        """One more point, of what was measured just now; `fleet` is None while that is not seen."""
        if not self._begun:
            return  # What is remembered comes first.
        at = self._wall()
        written = fleet if fleet is None else {**fleet, _SERVERS: servers}
        moments: Sequence[Moment] = ()
        with suppress(Unavailable):
            moments = await self._database.run(
                page_history.write_points, self._me, self._last_moment, at, written, own
            )
        for moment in moments:
            self._watchers.point(self._remember(moment, own))
        if not moments:
            self._watchers.point(self.history.add(self._reactor.seconds(), at, own))

    def _remember(self, moment: Moment, own: Point) -> dict[str, object]:
        self._last_moment = moment.id
        series = dict(moment.series)
        servers = series.pop(_SERVERS, {})
        ago = max(0.0, self._wall() - moment.at)
        return self.history.add(
            self._reactor.seconds() - ago, moment.at, {**series, **own}, servers
        )

    # The news

    def show(self, stored: Sequence[StoredEvent]) -> None:
        """Show what has been stored since the last time."""
        self._show(self._read(stored))

    def see(self, *, database: bool, broker: bool) -> None:
        """Note whether these connections are there."""
        before, now = self._connected, (database, broker)
        if before is None:
            # A page that begins tells nothing of what was so before.
            self._connected = now if database and self._begun else None
            return
        self._connected = now
        for was, there, (away, back) in zip(before, now, _CONNECTIONS, strict=True):
            if was != there:
                self._unwritten.append(Event(back if there else away, self._wall()))
        if self._told or not database:
            self._tell_unwritten()

    async def write(self) -> None:
        """Store what was seen, if the database is there."""
        events, told = [*self._unwritten], self._told
        if not events or not self._database.available:
            return
        try:
            ids = await self._database.run(page_history.add_seen, events, self.last_id)
        except Unavailable:
            return
        self._known.update(ids[:told])
        del self._unwritten[: len(events)]
        self._told -= told

    def _tell_unwritten(self) -> None:
        """Tell the readers what cannot be stored yet."""
        for event in self._unwritten[self._told :]:
            # The id with which it will be stored, unless the clocks differ.
            id = max(int(event.at * 1000), *(news.id + 1 for news in self.kept), 1)
            self._show([PageEvent(id, event.at, sentence(event, self._counters), stored=False)])
        self._told = len(self._unwritten)

    def _read(self, stored: Sequence[StoredEvent]) -> list[PageEvent]:
        self.last_id = max((self.last_id, *(each.id for each in stored)))
        news = [
            PageEvent(
                each.id, each.at, sentence(each.event, self._counters) if each.event else each.text
            )
            for each in stored
            if each.id not in self._known
        ]
        self._known.difference_update(each.id for each in stored)
        return news

    def _show(self, news: Sequence[PageEvent]) -> None:
        self.kept.extend(news)
        if news:
            self._watchers.news(news)


def _step(at: float) -> int:
    """Which step of the clock a point belongs to: a login server's own are written with those of
    the fleet, by this clock or another."""
    return round(at / STEP)
