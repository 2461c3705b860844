"""The history of the page: its last hour, and its events. Each login server has the same.

Both are kept in this process, to be shown at once, and in the database, to survive a restart. The
hour has a point each ten seconds, of which the small plots are drawn. The first page that is due
writes a point of the fleet. While the database is away points are lost.

The transaction that brings an event about stores it (`bbs.rules.page_history`), and each page reads
the events behind the last that it has. A page stores what only a login server sees, that its
database or its broker is away, unless another page has stored that. While the database is away a
page's own readers get such events from here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from zope.interface import Interface

from bbs.core.errors import Unavailable
from bbs.rules import page_history
from bbs.rules.page_history import NEWS_KEPT, EventKind, FleetEvent, Moment, StoredEvent, sentence
from bbs.web.context import PageContext

STEP = 10.0  # seconds between points
POINTS = 360  # points in an hour

MOST_PLOTTED = 20
"""App servers that have plots of their own. On the board 20 of them are 7,200 pairs of numbers an
hour, which take 2 MB here and 440 KB in the database. A server that has plots keeps them."""

OF_FLEET = (
    "logins_per_minute",
    "failed_logins_per_minute",
    "errors_per_minute",
    "people",
    "free_places",
    "connected",
    "waiting",
    "longest_wait",
    "servers",
    "launches",
    "launch_seconds",
)
"""The series of the fleet, whatever a service counts."""

OWN = ("reactor_lag", "database_time")
"""The series of this login server."""

PEOPLE = "people"
"""The first series of each server: places that are taken. Those of the counters follow."""

Point = Mapping[str, float | None]
"""The value of each series, None for a gap."""

ServerPoint = Sequence[float | None]
"""The values of one server, in the order of its series."""

_SERVERS = "servers_own"  # the member of a stored point that has the points of servers

_CONNECTIONS = (
    (EventKind.DATABASE_AWAY, EventKind.DATABASE_BACK),
    (EventKind.BROKER_AWAY, EventKind.BROKER_BACK),
)
"""The events of each connection: that it is lost, and that it is back."""


def series_of(counter: str) -> str:
    return f"{counter}_per_second"


def chosen(before: Mapping[str, object], living: Sequence[str]) -> list[str]:
    """The `living` servers that have plots: those that had them `before`, then the first."""
    going_on = [id for id in living if id in before]
    return [*going_on, *(id for id in living if id not in before)][:MOST_PLOTTED]


class LastHour:
    """The points of the last hour, of a service that counts `counters`."""

    def __init__(self, counters: Sequence[str]) -> None:
        of_counters = tuple(map(series_of, counters))
        self._series = (*OF_FLEET, *OWN, *of_counters)
        self._of_server = (PEOPLE, *of_counters)
        self._points: deque[tuple[Point, Mapping[str, ServerPoint]]] = deque(maxlen=POINTS)
        self._now = self._end = 0.0

    def add(
        self, now: float, at: float, point: Point, servers: Mapping[str, ServerPoint] | None = None
    ) -> dict[str, object]:
        """Add a point, measured at `now` and shown as of `at` (seconds since the epoch), with the
        points of some `servers`; returns it as the page gets it."""
        # A gap for each point that the process could not measure.
        missed = round((now - self._now) / STEP) - 1 if self._points else 0
        for _ in range(min(POINTS, missed)):
            self._points.append(({}, {}))
        self._points.append((point, servers or {}))
        self._now, self._end = now, at
        series = {name: point.get(name) for name in self._series}
        return {"end": round(at, 1), "series": series}

    @property
    def servers(self) -> Mapping[str, ServerPoint]:
        return self._points[-1][1] if self._points else {}

    def age(self, now: float) -> float:
        """Seconds since the latest point; a whole hour where there is none."""
        return now - self._now if self._points else STEP * POINTS

    def sum(self, name: str) -> float:
        return sum(point.get(name) or 0 for point, _ in self._points)

    def as_json(self) -> dict[str, object]:
        """The whole hour, oldest first, `POINTS` values for each series."""
        return self._as_json(
            {name: [point.get(name) for point, _ in self._points] for name in self._series}
        )

    def has(self, server: str) -> bool:
        """Whether a server has plots."""
        return any(server in servers for _, servers in self._points)

    def of_server(self, server: str) -> dict[str, object]:
        """The hour of one server."""
        nothing = (None,) * len(self._of_server)
        rows = [
            # A point of another version may have other counters.
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


@dataclass(frozen=True)
class PageEvent:
    """An event in words, of a `kind` ("" if only another version knows it), about a `server`, if it
    is about one. Ids rise, also over a restart. Where it is not `stored`, only the readers of this
    page have it."""

    id: int
    at: float
    text: str
    kind: str = ""
    server: str = ""
    stored: bool = True

    def as_json(self) -> dict[str, object]:
        about = {"kind": self.kind or None, "server": self.server or None}
        return {"id": self.id, "at": round(self.at, 1), "text": self.text, **about}


class IWatchers(Interface):
    """The people who watch the page."""

    def watched() -> tuple[bool, bool]:
        """Whether anybody watches, and whether an operator does, who may see people's names."""

    def state(view: Any) -> None:
        """Show them the present, a `PageView`."""

    def point(point: dict[str, object]) -> None:
        """Show them another point of the last hour."""

    def news(news: Sequence[PageEvent]) -> None:
        """Show them events."""


class PageHistory:
    """The history of one login server's page, shown to `watchers`.

    :ivar news: the latest events, in the order in which they were shown.
    :ivar last_id: the highest id of a stored event; 0 before there is one.
    """

    def __init__(self, context: PageContext, watchers: IWatchers) -> None:
        self.last_hour = LastHour([each.name for each in context.counters])
        self.news: deque[PageEvent] = deque(maxlen=NEWS_KEPT)
        self.last_id = 0
        self._is_loaded = False
        self._me = context.login_server
        self._counters = context.counters
        self._database = context.database
        self._reactor = context.reactor
        self._wall = context.wall
        self._watchers = watchers
        # Whether the database and the broker were there; None before both have been.
        self._connected: tuple[bool, bool] | None = None
        self._unstored: list[FleetEvent] = []
        self._shown_unstored = 0  # How many of these the readers have.
        self._shown_ids: set[int] = set()  # Ids of rows that readers have had before.
        self._last_moment = 0

    async def load(self) -> None:
        """Read what is stored, unless that is done; if the database is away, the next call will."""
        if self._is_loaded:
            return
        try:
            found = await self._database.run(page_history.recall, self._me, self._wall())
        except Unavailable:
            return
        self._is_loaded = True
        own = {_step(moment.at): moment.series for moment in found.own}
        for moment in found.fleet:
            self._add(moment, {name: own.get(_step(moment.at), {}).get(name) for name in OWN})
        self.news.extend(self._new_events(found.news))

    async def add_point(
        self, fleet: Point | None, own: Point, servers: Mapping[str, ServerPoint]
    ) -> None:
        """Add what was measured just now; `fleet` is None while the fleet is not seen."""
        if not self._is_loaded:
            return  # What is stored comes first.
        at = self._wall()
        written = fleet if fleet is None else {**fleet, _SERVERS: servers}
        moments: Sequence[Moment] = ()
        with suppress(Unavailable):
            moments = await self._database.run(
                page_history.write_points, self._me, self._last_moment, at, written, own
            )
        for moment in moments:
            self._watchers.point(self._add(moment, own))
        if not moments:
            self._watchers.point(self.last_hour.add(self._reactor.seconds(), at, own))

    def _add(self, moment: Moment, own: Point) -> dict[str, object]:
        self._last_moment = moment.id
        series = dict(moment.series)
        servers = series.pop(_SERVERS, {})
        ago = max(0.0, self._wall() - moment.at)
        return self.last_hour.add(
            self._reactor.seconds() - ago, moment.at, {**series, **own}, servers
        )

    def add_stored(self, stored: Sequence[StoredEvent]) -> None:
        self._show(self._new_events(stored))

    def note_connections(self, *, database: bool, broker: bool) -> None:
        """Note whether the database and the broker are there."""
        before, now = self._connected, (database, broker)
        if before is None:
            # A page that begins shows no event of what was so before.
            self._connected = now if database and self._is_loaded else None
            return
        self._connected = now
        for was, there, (away, back) in zip(before, now, _CONNECTIONS, strict=True):
            if was != there:
                self._unstored.append(FleetEvent(back if there else away, self._wall()))
        if self._shown_unstored or not database:
            self._show_unstored()

    async def store(self) -> None:
        """Store the events seen here, if the database is there."""
        events, shown = [*self._unstored], self._shown_unstored
        if not events or not self._database.available:
            return
        try:
            ids = await self._database.run(page_history.add_seen, events, self.last_id)
        except Unavailable:
            return
        self._shown_ids.update(ids[:shown])
        del self._unstored[: len(events)]
        self._shown_unstored -= shown

    def _show_unstored(self) -> None:
        for event in self._unstored[self._shown_unstored :]:
            # The id with which it will be stored, unless the clocks differ.
            id = max(int(event.at * 1000), *(news.id + 1 for news in self.news), 1)
            self._show([self._in_words(id, event, stored=False)])
        self._shown_unstored = len(self._unstored)

    def _new_events(self, stored: Sequence[StoredEvent]) -> list[PageEvent]:
        self.last_id = max((self.last_id, *(each.id for each in stored)))
        news = [
            self._in_words(each.id, each.event)
            if each.event
            else PageEvent(each.id, each.at, each.text)
            for each in stored
            if each.id not in self._shown_ids
        ]
        self._shown_ids.difference_update(each.id for each in stored)
        return news

    def _in_words(self, id: int, event: FleetEvent, stored: bool = True) -> PageEvent:
        text = sentence(event, self._counters)
        return PageEvent(id, event.at, text, event.kind, event.server, stored)

    def _show(self, news: Sequence[PageEvent]) -> None:
        self.news.extend(news)
        if news:
            self._watchers.news(news)


def _step(at: float) -> int:
    """The step of the clock that a point belongs to: a login server's own points are written with
    those of the fleet, by this clock or another."""
    return round(at / STEP)
