"""Looks at the service for everybody who watches: once, however many they are.

While somebody watches there is a look each second, else one every ten for the last hour's plots.
Each look is one transaction that only reads. When the database is away the last fleet known stays,
and the view says since when.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.application.internet import TimerService
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from bbs.errors import Unavailable
from bbs.gathering import Shared
from bbs.rules.members import Watch
from bbs.rules.overview import Overview, overview
from bbs.storage.database import Database
from bbs.values import State
from bbs.web import history
from bbs.web.counts import Counts
from bbs.web.gauges import ReactorLag, Spans
from bbs.web.history import LastHour, series_of
from bbs.web.narrate import Scene, narrate, newly_failed, newly_ready
from bbs.web.snapshot import Measured, View, free_places, longest_wait

LOOK_INTERVAL = 1.0
"""Seconds between looks while somebody watches."""

NEWS_KEPT = 100
"""Sentences that somebody gets who comes later."""

WITH_NAMES, WITHOUT = "with names", "without names"
"""Kinds of looks: whoever needs no names takes part in one that has them."""

LOGINS_WINDOW, COUNTED_WINDOW = 60.0, 10.0
"""Seconds over which logins a minute, and what a service counts a second, are counted."""

NOTHING = Overview(
    servers=(),
    login_servers=(),
    waiting=0,
    waiting_since=None,
    refusal=None,
    usual=None,
    actions=(),
    who=None,
)
"""What is known before the first look."""

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

    def state(self, view: View) -> None:
        """The present."""

    def point(self, point: dict[str, object]) -> None:
        """One more point of the last hour's plots."""

    def news(self, news: Sequence[News]) -> None:
        """What has happened."""


class Meter(Protocol):
    """What is measured for monitoring systems."""

    def launched(self, took: Sequence[float], failed: int) -> None:
        """Launches have succeeded, after so many seconds, and failed."""

    def lagged(self, seconds: float) -> None:
        """The reactor was so late."""

    def answered(self, seconds: float) -> None:
        """The database took so long for a call."""


class Lookout(Service):
    """The present, the news and the last hour of the service, told to `watchers` and `meter`.

    :param counters: what the service counts, by name.
    :param broker: says whether the broker is there.
    :param wall: tells what time it is, for what is shown and compared with what was stored.
    """

    def __init__(
        self,
        *,
        counters: Sequence[str],
        database: Database,
        broker: Callable[[], bool],
        watchers: Watchers,
        meter: Meter,
        reactor: Any,
        wall: Callable[[], float],
    ) -> None:
        self.logins = Counts(LOGINS_WINDOW)
        self.counted = {name: Counts(COUNTED_WINDOW) for name in counters}
        """What the service counts, on both kinds of servers."""
        self.history = LastHour(counters)
        self.kept: deque[News] = deque(maxlen=NEWS_KEPT)
        """The latest news, oldest first."""
        self._database = database
        self._broker = broker
        self._watchers = watchers
        self._meter = meter
        self._reactor = reactor
        self._wall = wall
        self._lag, self._answers = Spans(), Spans()
        self._overview: Overview | None = None
        self._seen_at = 0.0
        self._looked_at = self._point_at = float("-inf")
        self._told: Scene | None = None
        self._watch = Watch()
        self._leases: dict[str, float] = {}
        self._launches: list[float] = []
        self._shared = Shared()
        self._reactor_lag = ReactorLag(reactor, self._lagged)
        self._ticking: Any = TimerService(
            LOOK_INTERVAL, lambda: Deferred.fromCoroutine(self._tick())
        )
        self._ticking.clock = reactor

    # Service

    def startService(self) -> None:
        Service.startService(self)
        self._database.on_answer = self._answered
        self._reactor_lag.startService()
        self._ticking.startService()

    def stopService(self) -> Deferred[Any]:
        Service.stopService(self)
        self._reactor_lag.stopService()
        stopped: Deferred[Any] = self._ticking.stopService()
        return stopped

    # What is known

    def view(self) -> View:
        """The present as it was seen last."""
        scene = Scene(
            overview=self._overview or NOTHING,
            database=self._database.available,
            broker=self._broker(),
        )
        return View(
            at=self._wall(),
            seen_at=self._seen_at,
            scene=scene,
            measured=self._measured(),
        )

    async def look(self, names: bool = False, oldest: float = LOOK_INTERVAL) -> View:
        """The present, no more than `oldest` seconds old; with people's `names`, if so asked.

        There is one look at a time, however many ask.
        """
        if names:
            await self._shared.settled(WITHOUT)
        old = self._reactor.seconds() - self._looked_at >= oldest
        lacks = names and (self._overview is None or self._overview.who is None)
        if old or lacks:
            names = names or self._shared.runs(WITH_NAMES)
            kind = WITH_NAMES if names else WITHOUT
            await self._shared.join(kind, lambda: self._look(names))
        return self.view()

    async def _tick(self) -> None:
        try:
            now = self._reactor.seconds()
            anybody, operator = self._watchers.watched()
            # A tick that comes a little sooner after the last one is as good as any.
            due = now - self._point_at >= history.STEP - LOOK_INTERVAL / 2
            if anybody or due:
                await self.look(operator, LOOK_INTERVAL / 2)
            if due:
                self._add_point(now)
        except Exception:
            _log.failure("a look at the service went wrong")

    async def _look(self, names: bool) -> None:
        now = self._reactor.seconds()
        try:
            # Also for whoever needs none, so that operators have them all the time.
            names = names or self._watchers.watched()[1]
            seen = await self._database.run(overview, self._wall(), names)
        except Unavailable:
            self._looked_at = now
        else:
            self._take_in(seen, now)
        self._tell()

    def _take_in(self, seen: Overview, now: float) -> None:
        # Time in which nothing could be seen is not held against any server.
        elapsed = now - self._looked_at if self._overview else 0.0
        self._leases = {
            server.id: self._watch.silence(server.id, server.beats, elapsed)
            for server in seen.servers
            if server.state is not State.GONE
        }
        self._watch.keep(self._leases)
        self.logins.look(now, {each.id: each.logins for each in seen.login_servers})
        told = {each.id: each.counts for each in seen.servers}
        told |= {each.id: each.counts for each in seen.login_servers}
        for name, counted in self.counted.items():
            # A server of another version may not count it.
            counted.look(now, {id: counts[name] for id, counts in told.items() if name in counts})
        self._overview, self._seen_at, self._looked_at = seen, self._wall(), now

    def _measured(self) -> Measured:
        servers = self._overview.servers if self._overview else ()
        return Measured(
            logins_per_minute=self.logins.grown(),
            per_second={name: counted.rate() for name, counted in self.counted.items()},
            per_second_of={
                server.id: {
                    name: counted.rate_of(server.id) for name, counted in self.counted.items()
                }
                for server in servers
            },
            leases=self._leases,
            launches=int(self.history.sum("launches")) + len(self._launches),
            reactor_lag=self._lag.most_lately(),
            database_time=self._answers.mean(),
        )

    # What is told

    def _tell(self) -> None:
        view = self.view()
        before, self._told = self._told, view.scene
        if before is not None and before.overview is not NOTHING:
            took = newly_ready(before.overview, view.scene.overview)
            self._launches += took
            self._meter.launched(took, newly_failed(before.overview, view.scene.overview))
            self._report(narrate(before, view.scene, self.counted), view.at)
        self._watchers.state(view)

    def _report(self, sentences: Sequence[str], at: float) -> None:
        # From the time, so that they go on rising when the next process begins anew.
        first = max(int(at * 1000), self.kept[-1].id + 1 if self.kept else 0)
        news = [News(first + number, at, text) for number, text in enumerate(sentences)]
        self.kept.extend(news)
        if news:
            self._watchers.news(news)

    def _add_point(self, now: float) -> None:
        self._point_at = now
        self._lag.next_interval()
        self._answers.next_interval()
        view, launches = self.view(), self._launches
        self._launches = []
        seen, measured = view.scene.overview, view.measured
        of_fleet: dict[str, float | None] = {
            "logins_per_minute": measured.logins_per_minute,
            "free_places": free_places(view),
            "waiting": seen.waiting,
            "longest_wait": longest_wait(view),
            "servers": sum(server.state is not State.GONE for server in seen.servers),
            "launches": len(launches),
            "launch_seconds": round(sum(launches) / len(launches), 1) if launches else None,
            **{series_of(name): round(rate, 2) for name, rate in measured.per_second.items()},
        }
        if not view.scene.database:
            of_fleet = dict.fromkeys(of_fleet)
        took = measured.database_time
        own = {
            "reactor_lag": round(self._lag.most(), 4),
            "database_time": None if took is None else round(took, 5),
        }
        self._watchers.point(self.history.add(now, view.at, {**of_fleet, **own}))

    def _lagged(self, seconds: float) -> None:
        self._lag.note(seconds)
        self._meter.lagged(seconds)

    def _answered(self, seconds: float) -> None:
        self._answers.note(seconds)
        self._meter.answered(seconds)
