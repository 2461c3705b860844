"""Polls the service for everybody who watches the page: once, however many they are.

While somebody watches there is a look each second, else one every ten for the last hour's plots.
Each look is one transaction that only reads. While the database is away the page shows the fleet as
last known, and since when.

`ReactorLag` and `Durations` measure this process. A `TTLCache` keeps answers that cost something.
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
from bbs.core.values import DiskState
from bbs.rules.membership import Watch
from bbs.rules.overview import Overview, overview
from bbs.rules.servers import NOT_RUNNING
from bbs.web import history
from bbs.web.context import PageContext
from bbs.web.history import IWatchers, PageHistory, chosen, series_of
from bbs.web.lacks import Shortage, is_short
from bbs.web.rates import Launched, ServiceRates, newly_failed, newly_ready
from bbs.web.snapshot import Measured, PageView, free_places, longest_wait, people

LAG_INTERVAL = 0.1  # seconds between measurements of the reactor's lag
LOOK_INTERVAL = 1.0  # seconds between looks while somebody watches
ANSWER_TTL = 1.0  # seconds for which a `TTLCache` gives an answer again

MOST_ANSWERS = 200
"""Answers in a `TTLCache`. Strangers have about 25 different ones to ask for; each search of an
operator is one more. Those that are too old are looked for at each request, in 10 µs."""

WITH_NAMES, WITHOUT_NAMES = "with names", "without names"
SYNCING = "syncing"
"""The kinds of looks: a caller who needs no names takes part in a look that has them."""

NOTHING_SEEN = Overview(
    servers=(),
    login_servers=(),
    waiting=0,
    waiting_since=None,
    refusal=None,
    usual=None,
    actions=(),
    who=None,
)

_log = Logger()


class Durations:
    """Durations in seconds, of the present interval and the one before."""

    def __init__(self) -> None:
        self._count, self._sum, self._longest = 0, 0.0, 0.0
        self._ended: tuple[float | None, float] = (None, 0.0)

    def note(self, seconds: float) -> None:
        self._count += 1
        self._sum += seconds
        self._longest = max(self._longest, seconds)

    def next_interval(self) -> None:
        self._ended = (self._sum / self._count if self._count else None, self._longest)
        self._count, self._sum, self._longest = 0, 0.0, 0.0

    def mean(self) -> float | None:
        """The mean of the last interval that has ended; None if it has no durations."""
        return self._ended[0]

    def longest(self) -> float:
        return self._ended[1]

    def longest_lately(self) -> float:
        """The longest since that interval began."""
        return max(self._ended[1], self._longest)


class ReactorLag(Service):
    """Measures how late the reactor is.

    :param tell: called with each measurement, in seconds.
    """

    def __init__(self, reactor: IReactorTime, tell: Callable[[float], None]) -> None:
        self._reactor = reactor
        self._tell = tell
        # No TimerService: it does not say when a call was due.
        self._next: Any = None

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
        # A clock that was set back would make it negative.
        self._tell(max(0.0, self._reactor.seconds() - due))
        self._wait()


class IMeter(Interface):
    """Measurements for monitoring systems."""

    def launched(ready: Sequence[Launched], failed: int) -> None:
        """Note launches that succeeded, and the number of those that failed."""

    def lagged(seconds: float) -> None:
        """Note how late the reactor was."""

    def answered(seconds: float) -> None:
        """Note how long the database took for a call."""


class Poller(Service):
    """The present, the events and the last hour of the service, for `watchers` and `meter`."""

    def __init__(self, context: PageContext, watchers: IWatchers, meter: IMeter) -> None:
        self.rates = ServiceRates([each.name for each in context.counters])
        self.page_history = PageHistory(context, watchers)
        self._database = context.database
        self._brokers = context.brokers
        self._reactor = reactor = context.reactor
        self._wall = context.wall
        self._watchers = watchers
        self._meter = meter
        self._lags, self._call_times = Durations(), Durations()
        self._overview: Overview | None = None
        self._seen_at = 0.0
        self._looked_at = self._point_at = float("-inf")
        self._controller_silence = 0.0
        self._controller_watch, self._server_watch = Watch(), Watch()
        self._policy = context.policy
        self._shortage = Shortage()
        self._leases: dict[str, float] = {}
        self._launch_times: list[float] = []
        self._flights = SingleFlight()
        self._reactor_lag = ReactorLag(reactor, self._note_lag)
        self._timer: Any = TimerService(LOOK_INTERVAL, lambda: Deferred.fromCoroutine(self._tick()))
        self._timer.clock = reactor

    def startService(self) -> None:
        Service.startService(self)
        self._database.on_answer = self._note_call
        self._point_at = self._reactor.seconds()
        self._reactor_lag.startService()
        self._timer.startService()

    def stopService(self) -> Deferred[Any]:
        Service.stopService(self)
        self._reactor_lag.stopService()
        stopped: Deferred[Any] = self._timer.stopService()
        return stopped

    def view(self) -> PageView:
        """The present as last seen."""
        return PageView(
            at=self._wall(),
            seen_at=self._seen_at,
            overview=self._overview or NOTHING_SEEN,
            database=self._database.answers,
            brokers=self._brokers(),
            measured=self._measured(),
            room=self._database.disk,
            disk=self._database.space,
        )

    async def look(self, names: bool = False, oldest: float = LOOK_INTERVAL) -> PageView:
        """The present, at most `oldest` seconds old, with people's `names` if asked for.

        There is one look at a time, however many ask.
        """
        if names:
            await self._flights.settled(WITHOUT_NAMES)
        is_old = self._reactor.seconds() - self._looked_at >= oldest
        lacks_names = names and (self._overview is None or self._overview.who is None)
        if is_old or lacks_names:
            names = names or self._flights.runs(WITH_NAMES)
            kind = WITH_NAMES if names else WITHOUT_NAMES
            await self._flights.join(kind, lambda: self._look(names))
        return self.view()

    async def _tick(self) -> None:
        try:
            now = self._reactor.seconds()
            anybody, operator = self._watchers.watched()
            # A tick that comes a little early will do.
            is_due = now - self._point_at >= history.STEP - LOOK_INTERVAL / 2
            if anybody or is_due or self._overview is None:
                await self.look(operator, LOOK_INTERVAL / 2)
            if is_due:
                await self._add_point(now)
        except Exception:
            _log.failure("a look at the service went wrong")

    async def _look(self, names: bool) -> None:
        now = self._reactor.seconds()
        try:
            # Also for a caller who needs no names, so that operators have them all the time.
            names = names or self._watchers.watched()[1]
            await self._flights.join(SYNCING, self._sync_history)
            last = self.page_history.last_id
            seen = await self._database.run(overview, self._wall(), names, last)
        except Unavailable:
            self._looked_at = now
        else:
            self._update(seen, now)
        self._note_connections()
        self._watchers.state(self.view())

    async def _sync_history(self) -> None:
        await self.page_history.load()
        self._note_connections()
        await self.page_history.store()

    def _note_connections(self) -> None:
        database, broker = self._database.answers, self._brokers().connected > 0
        self.page_history.note_connections(database=database, broker=broker)

    def _update(self, seen: Overview, now: float) -> None:
        # Time in which nothing could be seen, or no server could write that it lives, is not held
        # against any.
        can_write = self._database.disk is not DiskState.FULL
        elapsed = now - self._looked_at if self._overview and can_write else 0.0
        beats = {
            server.id: server.beats for server in seen.servers if server.state not in NOT_RUNNING
        }
        silences = self._server_watch.silences(beats, elapsed)
        self._leases = {id: silences.get(id, 0.0) for id in beats}
        controller = -1 if seen.leader is None else seen.leader.beats
        self._controller_silence = self._controller_watch.silence("controller", controller, elapsed)
        self._shortage.note(is_short(seen, self._policy), elapsed)
        self.rates.look(now, seen)
        if self._overview:
            ready = newly_ready(self._overview, seen)
            self._launch_times += [each.seconds for each in ready]
            self._meter.launched(ready, newly_failed(self._overview, seen))
        self._overview, self._seen_at, self._looked_at = seen, self._wall(), now
        self.page_history.add_stored(seen.news)

    def _measured(self) -> Measured:
        rates, last_hour = self.rates, self.page_history.last_hour
        return Measured(
            logins_per_minute=rates.logins.grown(),
            failed_logins=rates.failed_logins(),
            errors=rates.errors(),
            per_second=rates.per_second(),
            rates_of_server=rates.rates_of,
            leases=self._leases,
            controller_silence=self._controller_silence,
            short_for=self._shortage.lasted,
            launches=int(last_hour.sum("launches")) + len(self._launch_times),
            reactor_lag=self._lags.longest_lately(),
            database_time=self._call_times.mean(),
        )

    def _note_lag(self, seconds: float) -> None:
        self._lags.note(seconds)
        self._meter.lagged(seconds)

    def _note_call(self, seconds: float) -> None:
        self._call_times.note(seconds)
        self._meter.answered(seconds)

    async def _add_point(self, now: float) -> None:
        self._point_at = now
        self._lags.next_interval()
        self._call_times.next_interval()
        view, launches = self.view(), self._launch_times
        self._launch_times = []
        seen, measured = view.overview, view.measured
        fleet: dict[str, float | None] = {
            "logins_per_minute": measured.logins_per_minute,
            "failed_logins_per_minute": measured.failed_logins,
            "errors_per_minute": sum(measured.errors.values()),
            "people": people(view),
            "free_places": free_places(view),
            "connected": seen.connected,
            "waiting": seen.waiting,
            "longest_wait": longest_wait(view),
            "servers": sum(server.state not in NOT_RUNNING for server in seen.servers),
            "launches": len(launches),
            "launch_seconds": round(sum(launches) / len(launches), 1) if launches else None,
            **{series_of(name): round(rate, 2) for name, rate in measured.per_second.items()},
        }
        call_time = measured.database_time
        own = {
            "reactor_lag": round(self._lags.longest(), 4),
            "database_time": None if call_time is None else round(call_time, 5),
        }
        if view.database:
            await self.page_history.add_point(fleet, own, self._servers_point(view))
        else:
            await self.page_history.add_point(None, own, {})

    def _servers_point(self, view: PageView) -> dict[str, list[float | None]]:
        """The values of the servers that have plots."""
        living = {each.id: each for each in view.overview.servers if each.id in self._leases}
        return {
            id: [
                living[id].taken,
                *(
                    None if rate is None else round(rate, 2)
                    for rate in view.measured.rates_of_server(id).values()
                ),
            ]
            for id in chosen(self.page_history.last_hour.servers, [*living])
        }


T = TypeVar("T")

Key = tuple[str | None, ...]
"""What an answer depends on: everything by which two readers may see different things."""


class TTLCache(Generic[T]):
    """Answers by key, each kept for `ANSWER_TTL` seconds, and at most `MOST_ANSWERS`. While one is
    made, all wait for it."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._made: dict[Key, tuple[float, T]] = {}
        self._flights = SingleFlight()

    async def get(self, key: Key, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The answer for `key`, made if there is none; fails as `make` does."""
        now = self._clock.seconds()
        # A clock that was set back must not keep anything for longer.
        self._made = {
            each: made for each, made in self._made.items() if 0 <= now - made[0] < ANSWER_TTL
        }
        if key not in self._made:
            await self._flights.join(repr(key), lambda: self._make(key, make))
        return self._made[key][1]

    async def _make(self, key: Key, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        made = await make()
        while len(self._made) >= MOST_ANSWERS:
            del self._made[next(iter(self._made))]
        self._made[key] = (self._clock.seconds(), made)
