"""The page's memory: its hour and its news, the same at each login server and after a restart.

They are kept here, to be shown at once, and in the database. One login server's page at a time
writes down what it sees of the fleet (`bbs.rules.remembered`); the others show what it wrote. While
the database is away it goes on from here alone: then points are lost, and news are written later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from bbs.errors import Unavailable
from bbs.rules import remembered
from bbs.rules.members import LeaseSeen, Watch
from bbs.rules.overview import Overview
from bbs.rules.remembered import NEWS_KEPT, Moment, Sentence
from bbs.storage.database import Database
from bbs.web.history import OWN, STEP, LastHour, Point, ServerPoint
from bbs.web.narrate import Told

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
            narrates = await self._database.run(remembered.narrate, self._me, None)
            found = await self._database.run(remembered.recall, self._me, self._wall())
        except Unavailable:
            return
        self._begun = True
        self._take_in(found)
        self._set(narrates)

    def _take_in(self, found: remembered.Remembered) -> None:
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
                remembered.write_points, self._me, lapsed, at, written, own, news
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
            remembered.moments_behind, self._last_moment, self._wall()
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
                if not await self._database.run(remembered.write_news, self._me, news):
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
