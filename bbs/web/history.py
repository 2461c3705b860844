"""The last hour, a point each ten seconds: what the page's small plots are drawn from.

It is what a process has in mind; `memory.py` keeps it over restarts.

The page's memory: its hour and its news, the same at each login server and after a restart.

They are kept here, to be shown at once, and in the database. One login server's page at a time
writes down what it sees of the fleet (`bbs.rules.page_history`); the others show what it wrote.
While the database is away it goes on from here alone: then points are lost, and news are written
later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from bbs.core.errors import Unavailable
from bbs.rules import page_history
from bbs.rules.membership import LeaseSeen, Watch
from bbs.rules.overview import Overview
from bbs.rules.page_history import NEWS_KEPT, Moment, Sentence
from bbs.storage.database import Database
from bbs.web.event_text import Told

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


LAPSE = 2.5 * STEP
"""Seconds without a heartbeat after which another login server's page goes on writing. (One that
stops, and one that is known to be dead, is followed at once.)"""

PENDING = 60.0
"""Seconds for which a page that does not write remembers what it would have written."""

_SERVERS = "servers_own"
"""The member of a point that has what each server did."""

_log = Logger()


@dataclass(frozen=True)
class News:
    """One sentence; ids rise, also over a restart."""

    id: int
    at: float
    text: str

    def as_json(self) -> dict[str, object]:
        """As the page gets it."""
        return {"id": self.id, "at": round(self.at, 1), "text": self.text}


class Watchers(Protocol):
    """Those who watch the page."""

    def watched(self) -> tuple[bool, bool]:
        """Whether anybody watches, and whether an operator does, who may see people's names."""

    def state(self, view: Any) -> None:
        """The present, a `View`."""

    def point(self, point: dict[str, object]) -> None:
        """One more point of the last hour's plots."""

    def news(self, news: Sequence[News]) -> None:
        """What has happened."""


class Memory:
    """The memory of the page of the login server `me`, of which `watchers` are told.

    :ivar kept: the latest news, in the order in which they were told.
    :ivar last_sign: when anybody last wrote something before this began (seconds since the epoch),
        None where nobody has.
    """

    def __init__(
        self,
        *,
        me: str,
        counters: Sequence[str],
        database: Database,
        watchers: Watchers,
        reactor: Any,
        wall: Callable[[], float],
    ) -> None:
        self.history = LastHour(counters)
        self.kept: deque[News] = deque(maxlen=NEWS_KEPT)
        self.narrates = False
        self.last_sign: float | None = None
        self._begun = False
        self._me = me
        self._database = database
        self._watchers = watchers
        self._reactor = reactor
        self._wall = wall
        self._unwritten: list[Sentence] = []
        """Told here, and not written down yet."""
        self._pending: deque[tuple[float, Told]] = deque(maxlen=NEWS_KEPT)
        """What somebody else is to tell, since when."""
        self._last_moment = 0
        self._watch = Watch()
        self._seen: LeaseSeen | None = None
        self._silence = 0.0
        self._writing: Deferred[None] | None = None

    @property
    def last_id(self) -> int:
        """The highest id of the news; 0 before there are any."""
        return max((news.id for news in self.kept), default=0)

    async def begin(self) -> None:
        """Remember what has been written down, once that can be had."""
        if self._begun:
            return
        try:
            narrates = await self._database.run(page_history.narrate, self._me, None)
            found = await self._database.run(page_history.recall, self._me, self._wall())
        except Unavailable:
            return
        self._begun = True
        self._take_in(found)
        self._set(narrates)

    def _take_in(self, found: page_history.Remembered) -> None:
        own = {_step(moment.at): moment.series for moment in found.own}
        for moment in found.fleet:
            self._remember(moment, {name: own.get(_step(moment.at), {}).get(name) for name in OWN})
        self.kept.extend(News(each.id, each.at, each.text) for each in found.news)
        signs = [each.at for each in (*found.fleet, *found.own)]
        signs += [each.at for each in found.news]
        self.last_sign = max(signs, default=None)

    # The hour

    async def add(
        self, fleet: Point | None, own: Point, servers: Mapping[str, ServerPoint]
    ) -> None:
        """One more point, of what was measured just now; `fleet` is None while that is not seen."""
        if not self._begun:
            return  # What is remembered comes first.
        at, narrated = self._wall(), self.narrates
        if narrated:
            self._show_point(at, {**(fleet or {}), **own}, servers)
        lapsed = self._seen if self._silence > LAPSE else None
        written = fleet if fleet is None else {**fleet, _SERVERS: servers}
        news = [*self._unwritten]
        try:
            point = await self._database.run(
                page_history.write_points, self._me, lapsed, at, written, own, news
            )
            if point is not None:
                self._written(news)
            if narrated:
                self._last_moment = max(self._last_moment, point or 0)
            else:
                await self._catch_up(own)
            self._set(point is not None)
        except Unavailable:
            if not narrated:
                self._show_point(at, own, {})  # Nobody else has told more, either.

    def _show_point(self, at: float, point: Point, servers: Mapping[str, ServerPoint]) -> None:
        now = self._reactor.seconds()
        self._watchers.point(self.history.add(now, at, point, servers))

    async def _catch_up(self, own: Point) -> None:
        """Show the fleet's points that somebody else has written."""
        moments = await self._database.run(
            page_history.moments_behind, self._last_moment, self._wall()
        )
        for moment in moments:
            self._watchers.point(self._remember(moment, own))

    def _remember(self, moment: Moment, own: Point) -> dict[str, object]:
        self._last_moment = moment.id
        series = dict(moment.series)
        servers = series.pop(_SERVERS, {})
        ago = max(0.0, self._wall() - moment.at)
        return self.history.add(
            self._reactor.seconds() - ago, moment.at, {**series, **own}, servers
        )

    # The news

    def tell(self, told: Sequence[Told]) -> None:
        """Something has been seen to happen."""
        if self.narrates:
            self._publish(told)
            return
        now, at = self._reactor.seconds(), self._wall()
        while self._pending and now - self._pending[0][0] > PENDING:
            self._pending.popleft()
        self._pending.extend((now, replace(one, at=one.at or at)) for one in told)

    def look(self, seen: Overview, elapsed: float) -> None:
        """See who narrates, and what was told, `elapsed` seconds after the last look."""
        self._seen = seen.narrator
        if seen.narrator is not None:
            self._silence = self._watch.silence(seen.narrator.holder, seen.narrator.beats, elapsed)
            self._watch.keep([seen.narrator.holder])
            self._set(seen.narrator.holder == self._me)
        known = {news.id for news in self.kept}
        self._show(
            [News(each.id, each.at, each.text) for each in seen.news if each.id not in known]
        )

    def _publish(self, told: Sequence[Told]) -> None:
        now = self._wall()
        # From the time, so that they go on rising whatever was lost.
        first = max(int(now * 1000), self.last_id + 1)
        news = [
            # A clock may have been set back since.
            News(first + number, now if one.at is None else min(one.at, now), one.text)
            for number, one in enumerate(told)
        ]
        self._show(news)
        self._unwritten += [Sentence(each.id, each.at, each.text) for each in news]
        del self._unwritten[:-NEWS_KEPT]
        self._write()

    def _show(self, news: Sequence[News]) -> None:
        self.kept.extend(news)
        if news:
            self._watchers.news(news)

    def _write(self) -> None:
        if self._unwritten and self._writing is None:
            self._writing = Deferred.fromCoroutine(self._write_all())
            self._writing.addErrback(lambda failure: _log.failure("news were not kept", failure))
            self._writing.addCallback(self._wrote)

    def _wrote(self, _: None) -> None:
        self._writing = None

    async def _write_all(self) -> None:
        try:
            while self._unwritten and self.narrates:
                news = [*self._unwritten]
                if not await self._database.run(page_history.write_news, self._me, news):
                    self._set(False)
                    return
                self._written(news)
        except Unavailable:
            return  # They come with the next point.

    def _written(self, news: Sequence[Sentence]) -> None:
        ids = {each.id for each in news}
        self._unwritten = [each for each in self._unwritten if each.id not in ids]

    def _set(self, narrates: bool) -> None:
        """This page narrates from now on, or another one does."""
        if narrates == self.narrates:
            return
        self.narrates = narrates
        if not narrates:
            self._unwritten.clear()
            return
        # What happened since the one before was heard of last, unless it has told that.
        known = {news.text for news in self.kept if news.at > self._wall() - 2 * PENDING}
        missed = [one for _, one in self._pending if one.text not in known]
        self._pending.clear()
        self._publish(missed)

    async def finish(self) -> None:
        """Nothing more is written after what is being written now."""
        if self._writing is not None:
            await self._writing


def _step(at: float) -> int:
    """Which step of the clock a point belongs to: a login server's own are written with those of
    the fleet, by this clock or another."""
    return round(at / STEP)
