"""Looks at the service for everybody who watches: once, however many they are.

While somebody watches there is a look each second, else one every ten for the last hour's plots.
Each look is one transaction that only reads. When the database is away the last fleet known stays,
and the view says since when.

`ReactorLag` and `Spans` measure this process. A `TTLCache` has answers that cost something, made
once in a while and given to everybody who asks.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

from twisted.application.internet import TimerService
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import Interface

from bbs.core.batching import SingleFlight
from bbs.core.errors import Unavailable
from bbs.core.values import Counter
from bbs.rules.membership import Watch
from bbs.rules.overview import Overview, overview
from bbs.rules.servers import NOT_RUNNING
from bbs.storage.database import Database
from bbs.web import history
from bbs.web.history import IWatchers, Memory, chosen, series_of
from bbs.web.rates import Launched, ServiceRates, newly_failed, newly_ready
from bbs.web.snapshot import Measured, PageView, Scene, free_places, longest_wait

__all__ = ["NOTHING", "IMeter", "Poller"]

LAG_INTERVAL = 0.1
"""Seconds between measurements of the reactor's lag: whatever blocks it for longer is seen."""


class Spans:
    """Durations in seconds, of the present interval and the one before."""

    def __init__(self) -> None:
        self._count, self._sum, self._most = 0, 0.0, 0.0
        self._ended: tuple[float | None, float] = (None, 0.0)

    def note(self, seconds: float) -> None:
        """Something took so long."""
        self._count += 1
        self._sum += seconds
        self._most = max(self._most, seconds)

    def next_interval(self) -> None:
        """The present interval ends."""
        self._ended = (self._sum / self._count if self._count else None, self._most)
        self._count, self._sum, self._most = 0, 0.0, 0.0

    def mean(self) -> float | None:
        """The mean of the last interval that has ended; None if nothing was noted in it."""
        return self._ended[0]

    def most(self) -> float:
        """The longest of the last interval that has ended."""
        return self._ended[1]

    def most_lately(self) -> float:
        """The longest since that interval began."""
        return max(self._ended[1], self._most)


class ReactorLag(Service):
    """Measures how much later than asked the reactor does something.

    :param tell: called with each measurement, in seconds.
    """

    def __init__(self, reactor: IReactorTime, tell: Callable[[float], None]) -> None:
        self._reactor = reactor
        self._tell = tell
        # No TimerService: it does not say when a call was due.
        self._next: Any = None

    # Service

    def startService(self) -> None:
        Service.startService(self)
        self._wait()

    def stopService(self) -> None:
        Service.stopService(self)
        self._next.cancel()

    def _wait(self) -> None:
        due = self._reactor.seconds() + LAG_INTERVAL
        self._next = self._reactor.callLater(LAG_INTERVAL, self._measure, due)

    def _measure(self, due: float) -> None:
        # Not below nought: a clock that was set back would make it so.
        self._tell(max(0.0, self._reactor.seconds() - due))
        self._wait()


LOOK_INTERVAL = 1.0
"""Seconds between looks while somebody watches."""

WITH_NAMES, WITHOUT = "with names", "without names"
REMEMBERING = "remembering"
"""Kinds of looks: whoever needs no names takes part in one that has them."""

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

KEEPER = "keeper"
"""What the fleet's keeper is watched as, beside servers by their ids."""

_log = Logger()


class IMeter(Interface):
    """What is measured for monitoring systems."""

    def launched(ready: Sequence[Launched], failed: int) -> None:
        """Launches have succeeded, and so many failed."""

    def lagged(seconds: float) -> None:
        """The reactor was so late."""

    def answered(seconds: float) -> None:
        """The database took so long for a call."""


class Poller(Service):
    """The present, the news and the last hour of the service, told to `watchers` and `meter`.

    :param me: the id of this login server.
    :param counters: what the service counts.
    :param broker: says whether the broker is there.
    :param wall: tells what time it is, for what is shown and compared with what was stored.
    """

    def __init__(
        self,
        *,
        me: str,
        counters: Sequence[Counter],
        database: Database,
        broker: Callable[[], bool],
        watchers: IWatchers,
        meter: IMeter,
        reactor: IReactorTime,
        wall: Callable[[], float],
    ) -> None:
        self.tallies = ServiceRates([each.name for each in counters])
        self.memory = Memory(
            me=me,
            counters=counters,
            database=database,
            watchers=watchers,
            reactor=reactor,
            wall=wall,
        )
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
        self._keeper_silence = 0.0
        self._watch, self._listening = Watch(), Watch()
        self._leases: dict[str, float] = {}
        self._launches: list[float] = []
        self._shared = SingleFlight()
        self._reactor_lag = ReactorLag(reactor, self._lagged)
        self._ticking: Any = TimerService(
            LOOK_INTERVAL, lambda: Deferred.fromCoroutine(self._tick())
        )
        self._ticking.clock = reactor

    # Service

    def startService(self) -> None:
        Service.startService(self)
        self._database.on_answer = self._answered
        self._point_at = self._reactor.seconds()
        self._reactor_lag.startService()
        self._ticking.startService()

    def stopService(self) -> Deferred[Any]:
        Service.stopService(self)
        self._reactor_lag.stopService()
        stopped: Deferred[Any] = self._ticking.stopService()
        return stopped

    # What is known

    def view(self) -> PageView:
        """The present as it was seen last."""
        scene = Scene(
            overview=self._overview or NOTHING,
            database=self._database.available,
            broker=self._broker(),
        )
        return PageView(
            at=self._wall(),
            seen_at=self._seen_at,
            scene=scene,
            measured=self._measured(),
        )

    async def look(self, names: bool = False, oldest: float = LOOK_INTERVAL) -> PageView:
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
            if anybody or due or self._overview is None:
                await self.look(operator, LOOK_INTERVAL / 2)
            if due:
                await self._add_point(now)
        except Exception:
            _log.failure("a look at the service went wrong")

    async def _look(self, names: bool) -> None:
        now = self._reactor.seconds()
        try:
            # Also for whoever needs none, so that operators have them all the time.
            names = names or self._watchers.watched()[1]
            await self._shared.join(REMEMBERING, self._remember)
            last = self.memory.last_id
            seen = await self._database.run(overview, self._wall(), names, last)
        except Unavailable:
            self._looked_at = now
        else:
            self._take_in(seen, now)
        self._see()
        self._watchers.state(self.view())

    async def _remember(self) -> None:
        await self.memory.begin()
        self._see()
        await self.memory.write()

    def _see(self) -> None:
        self.memory.see(database=self._database.available, broker=self._broker())

    def _take_in(self, seen: Overview, now: float) -> None:
        # Time in which nothing could be seen is not held against any server.
        elapsed = now - self._looked_at if self._overview else 0.0
        beats = {
            server.id: server.beats for server in seen.servers if server.state not in NOT_RUNNING
        }
        silences = self._listening.silences(beats, elapsed)
        self._leases = {id: silences.get(id, 0.0) for id in beats}
        keeper = -1 if seen.leader is None else seen.leader.beats
        self._keeper_silence = self._watch.silence(KEEPER, keeper, elapsed)
        self.tallies.look(now, seen)
        if self._overview:
            ready = newly_ready(self._overview, seen)
            self._launches += [each.seconds for each in ready]
            self._meter.launched(ready, newly_failed(self._overview, seen))
        self._overview, self._seen_at, self._looked_at = seen, self._wall(), now
        self.memory.show(seen.news)

    def _measured(self) -> Measured:
        tallies = self.tallies
        return Measured(
            logins_per_minute=tallies.logins.grown(),
            failed_logins=tallies.failed_logins(),
            errors=tallies.errors(),
            per_second=tallies.per_second(),
            per_second_of=tallies.rates(),
            leases=self._leases,
            keeper_silence=self._keeper_silence,
            launches=int(self.memory.history.sum("launches")) + len(self._launches),
            reactor_lag=self._lag.most_lately(),
            database_time=self._answers.mean(),
        )

    # The last hour

    async def _add_point(self, now: float) -> None:
        self._point_at = now
        self._lag.next_interval()
        self._answers.next_interval()
        view, launches = self.view(), self._launches
        self._launches = []
        seen, measured = view.scene.overview, view.measured
        of_fleet: dict[str, float | None] = {
            "logins_per_minute": measured.logins_per_minute,
            "failed_logins_per_minute": measured.failed_logins,
            "errors_per_minute": sum(measured.errors.values()),
            "free_places": free_places(view),
            "connected": seen.connected,
            "waiting": seen.waiting,
            "longest_wait": longest_wait(view),
            "servers": sum(server.state not in NOT_RUNNING for server in seen.servers),
            "launches": len(launches),
            "launch_seconds": round(sum(launches) / len(launches), 1) if launches else None,
            **{series_of(name): round(rate, 2) for name, rate in measured.per_second.items()},
        }
        took = measured.database_time
        own = {
            "reactor_lag": round(self._lag.most(), 4),
            "database_time": None if took is None else round(took, 5),
        }
        fleet = of_fleet if view.scene.database else None
        await self.memory.add(fleet, own, self._of_servers(view) if fleet else {})

    def _of_servers(self, view: PageView) -> dict[str, list[float | None]]:
        """What there is a plot of, of each of some servers."""
        living = {each.id: each for each in view.scene.overview.servers if each.id in self._leases}
        of_each = view.measured.per_second_of
        return {
            id: [
                living[id].taken,
                *(None if rate is None else round(rate, 2) for rate in of_each[id].values()),
            ]
            for id in chosen(self.memory.history.servers, [*living])
        }

    def _lagged(self, seconds: float) -> None:
        self._lag.note(seconds)
        self._meter.lagged(seconds)

    def _answered(self, seconds: float) -> None:
        self._answers.note(seconds)
        self._meter.answered(seconds)


MADE_EVERY = 1.0
"""Seconds for which an answer is given again."""

T = TypeVar("T")

Key = tuple[str | None, ...]
"""What an answer depends on; two that differ in anything that a reader may see have two keys."""


class TTLCache(Generic[T]):
    """What was made for a key, for `MADE_EVERY` seconds; while it is made, all wait for that."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._made: dict[Key, tuple[float, T]] = {}
        self._shared = SingleFlight()

    async def get(self, key: Key, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What is kept under `key`, made if nothing is; fails as `make` does."""
        self._forget()
        if key not in self._made:
            await self._shared.join(repr(key), lambda: self._make(key, make))
        return self._made[key][1]

    async def _make(self, key: Key, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        made = await make()
        self._made[key] = (self._clock.seconds(), made)

    def _forget(self) -> None:
        now = self._clock.seconds()
        # A clock that was set back must not keep anything for longer.
        self._made = {
            key: kept for key, kept in self._made.items() if 0 <= now - kept[0] < MADE_EVERY
        }
