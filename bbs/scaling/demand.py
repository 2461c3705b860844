"""Follows how many people need places: now, at the most lately, and soon.

`Forecast` says how many places to keep spare, so that nearly nobody waits long. A launch takes a
boot, say 45 s. A server launched for people who come now serves those who come then, so the fleet
keeps places for people who may come meanwhile. That is an old question of stocks, with the boot as
lead time and launches as orders: a person waits if, in the boot before, demand grew by at least the
spare places (the base-stock model; Hadley and Whitin, Analysis of Inventory Systems, 1963; Silver,
Pyke and Thomas, Inventory and Production Management, 2017, ch. 6). If demand grows by `rate` a
second, varies by `variance` a second, and boots take `lead` seconds, give or take `spread`, its
growth has

    mean = rate * lead      variance = variance * lead + rate**2 * spread**2

and the spare places cover all but 1 of 100 of a normal distribution with these. Its third moment,
that of arrivals less that of departures (Skellam, 1946), bends the normal if few people come
(Cornish and Fisher, 1938).

Nothing counts arrivals and departures by themselves: several login servers let people in, places
are freed by presence, and the controller may be new. Each round only sees how many people are
there. If people come and go independently of each other, the square of the change in a short while
is on average the number of arrivals and departures, as a Poisson process has its mean for its
variance; if they come in groups it is greater by the size of the groups, as it should be. The rate
is followed by exponential smoothing, as the trend in Holt's method (1957), with weights by time, as
rounds are irregular; its level needs none, as people are counted.

A daily profile is not needed: within a boot of a minute, a day's slope is a few people, which the
trend covers. Nothing predicts a crowd that comes at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import replace
from math import ceil, exp, inf, sqrt
from statistics import NormalDist, quantiles
from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime

from bbs.core.values import Policy, State
from bbs.rules.membership import Observation
from bbs.rules.servers import ServerRow
from bbs.scaling.fleet_view import Demand

SERVED = 0.99  # the share of people who are to wait no longer than wished for
UNKNOWN = 5  # spare places at the least while little is known: the default of `[fleet] spare`
FAMILIAR = 120.0  # seconds of watching after which `UNKNOWN` no longer counts
STEP = 5.0  # the shortest time in seconds over which a change is measured: groups arrive within it

MEMORY = 300.0
"""Seconds in which an observation loses two thirds of its weight. A rate averaged like this is as
uncertain as one counted over twice the time."""

USUAL_STAY = 600.0  # seconds that people are assumed to stay, until it is seen
PRIOR = 60.0  # seconds of watching that this assumption is worth

STRANGE = 4.0
"""Standard deviations at which a change is cut off: one crowd says little about the next, and a
crowd that comes again and again becomes known all the same."""

UNSEEN_BOOT = 60.0  # seconds that a launch is assumed to need before one was seen
BOOTS, FEW_BOOTS = 20, 5  # how many of the latest boots are remembered; how many say too little
PROMPT = 0.95  # the share of boots that are not late
_NORMAL = NormalDist()


class Boot(NamedTuple):
    """A launch that was `decided` then (seconds since the epoch) and served after `seconds`."""

    decided: float
    seconds: float


class DemandTracker:
    """Follows the demand. `policy`: the operator's wishes. `interval`: seconds between rounds."""

    def __init__(self, policy: Policy, interval: float, reactor: IReactorTime) -> None:
        self._wanted = policy
        self._interval = interval
        self._reactor = reactor
        self.forget()

    def forget(self) -> None:
        self._peak = Peak(self._wanted.consolidate_after)
        self._forecast: Forecast | None = None
        self._boots: deque[float] | None = None
        self._early: list[Boot] = []
        """Boots that came before others which were decided with them: the first ones of many are
        fast, and would let all others seem late."""

    def see(self, seen: Observation) -> Demand:
        """The demand now; `seen` has all servers, and everybody who waits."""
        now = self._reactor.seconds()
        people = seen.waiting + sum(row.taken for row in seen.servers)
        self._peak.see(people, now)
        if self._boots is None:
            self._boots = deque(maxlen=BOOTS)
            self._early = _boots(seen.servers, self._wanted.launch_timeout)
        under_way = {row.created for row in seen.servers if row.state is State.LAUNCHING}
        self._boots.extend(b.seconds for b in self._early if b.decided not in under_way)
        self._early = [boot for boot in self._early if boot.decided in under_way]
        if self._wanted.foresees:
            if self._forecast is None:
                self._forecast = Forecast(self._wanted.wait_target, self._interval)
                self._forecast.booted([*self._boots, *(boot.seconds for boot in self._early)])
            self._forecast.see(people, now)
        return Demand(seen.waiting, self._peak.most if self._wanted.consolidate_after else None)

    def booted(self, boots: Collection[Boot]) -> None:
        self._early.extend(boots)
        if self._forecast:
            self._forecast.booted([boot.seconds for boot in boots])

    @property
    def late_after(self) -> float:
        """Seconds in which `PROMPT` of the latest launches served, of those decided together once
        none is under way any more. While few are known, twice as long as the slowest of them;
        infinite while none is."""
        boots = self._boots or ()
        if len(boots) < FEW_BOOTS:
            return 2 * max(boots, default=inf)
        return quantiles(boots, n=100, method="inclusive")[round(PROMPT * 100) - 1]

    def reset_peak(self) -> None:
        """Watch the peak anew: a server could not be given up, and stays for as long again."""
        self._peak.begin_anew()

    @property
    def policy(self) -> Policy:
        """The operator's policy, with as many spare places as the forecast asks for."""
        if self._forecast is None:
            return self._wanted
        return replace(self._wanted, spare=self._forecast.spare())


def _boots(rows: Collection[ServerRow], longest: float) -> list[Boot]:
    """The boots of servers, the latest last; not of those from the warm pool."""
    took = [(row.ready, row.created, row.launch_time) for row in rows if row.ready is not None]
    latest = sorted(took, key=lambda each: each[0])
    return [Boot(decided, time) for _, decided, time in latest if time and time <= longest]


class Peak:
    """Follows the most people who were there at once in the last `window` seconds."""

    def __init__(self, window: float) -> None:
        self._window = window
        self.begin_anew()

    def begin_anew(self) -> None:
        self._since: float | None = None
        self._last = 0.0
        # Candidates for the peak, falling, with their times.
        self._peaks: deque[tuple[float, int]] = deque()

    def see(self, people: int, now: float) -> None:
        if self._since is None or now - self._last > self._window:
            self.begin_anew()
            self._since = now
        self._last = now
        while self._peaks and self._peaks[-1][1] <= people:
            self._peaks.pop()
        # Few are kept, however often this is called.
        if self._peaks and now - self._peaks[-1][0] < self._window / 60:
            self._peaks[-1] = now, self._peaks[-1][1]
        else:
            self._peaks.append((now, people))
        while now - self._peaks[0][0] > self._window:
            self._peaks.popleft()

    @property
    def most(self) -> int | None:
        """The most people in the window; None until the window is over."""
        if self._since is None or self._last - self._since < self._window:
            return None
        return self._peaks[0][1]


class Forecast:
    """Learns how demand moves from how many people there are; times in seconds, of a clock that
    nobody sets. Nearly all wait `wait_target` at the most; a need is noticed up to `interval`
    seconds late."""

    def __init__(self, wait_target: float, interval: float) -> None:
        self._wait_target = wait_target
        self._interval = interval
        self._boots: deque[float] = deque(maxlen=BOOTS)
        self._last: tuple[float, int] | None = None
        self._watched = 0.0
        self._rate = self._variance = 0.0

    def booted(self, seconds: Iterable[float]) -> None:
        self._boots.extend(seconds)

    def see(self, people: int, now: float) -> None:
        """Learn how many `people` are there `now`, with a place or waiting for one."""
        if self._last is None:
            self._last = now, people
            self._variance = 2 * people / USUAL_STAY
            return
        since, before = self._last
        change, elapsed = people - before, now - since
        if elapsed < STEP:
            return
        self._last = now, people
        most = 1.0 + STRANGE * sqrt(self._variance * elapsed)
        surprise = max(-most, min(most, change - self._rate * elapsed))
        self._watched += elapsed
        # In the beginning all observations have the same weight.
        share = max(1 - exp(-elapsed / MEMORY), elapsed / (self._watched + PRIOR))
        self._variance += share * (surprise**2 / elapsed - self._variance)
        self._rate += share * surprise / elapsed

    def spare(self) -> int:
        """Places to keep beside those that people have or wait for."""
        lead, spread = self._lead()
        if lead <= 0:
            return 0
        mean = self._rate * lead
        # The rate is only as certain as its observations.
        known = min(2 * MEMORY, self._watched + PRIOR)
        variance = self._variance * (lead + lead**2 / known) + (self._rate * spread) ** 2
        deviation = sqrt(variance)
        z = _NORMAL.inv_cdf(SERVED)
        skew = mean / deviation**3 if deviation else 0.0
        bend = (z**2 - 1) / 6 * max(-0.5, min(0.5, skew))
        # Half a place, as people come whole; and at least one place for the next person.
        foreseen = ceil(mean + deviation * (z + bend) + 0.5)
        return max(1, foreseen, UNKNOWN if self._watched < FAMILIAR else 0)

    def _lead(self) -> tuple[float, float]:
        """How long a place takes from when it is needed, beyond what people may wait; and how much
        longer or shorter that is."""
        boots = self._boots or (UNSEEN_BOOT,)
        usual = sum(boots) / len(boots)
        spread = sqrt(sum((boot - usual) ** 2 for boot in boots) / len(boots))
        return usual + self._interval - self._wait_target, spread
