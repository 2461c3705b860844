"""Follows how many people need places: now, at the most lately, and soon.

`Forecast` says how many places to keep spare, so that nearly nobody waits long. A launch takes a
boot, say 45 s. A server that is launched for people who come now serves those who come then, so the
fleet keeps places for people who may come meanwhile. That is an old question of stocks, with the
boot as lead time and launches as orders: one who comes waits if, in the boot before, the demand
grew by at least as much as was spare (the base-stock model; Hadley and Whitin, Analysis of
Inventory Systems, 1963; Silver, Pyke and Thomas, Inventory and Production Management, 2017, ch. 6).
With demand that grows by `rate` a second, varies by `variance` a second, and boots of `lead`
seconds, give or take `spread`, what it grows by has

    mean = rate * lead      variance = variance * lead + rate**2 * spread**2

and the spare places are where all but 1 of 100 of a normal distribution of these lie. Its third
moment, that of comers less that of goers (Skellam, 1946), bends the normal where few come
(Cornish and Fisher, 1938).

Nothing counts comers and goers by themselves. Several login servers let people in, places go back
by presence, and whoever keeps the fleet may be new; what each round sees is how many people are
there. If they come and go independently of each other, the square of its change in a short while is
on average the number of those who came and of those who went, as a Poisson process has its mean for
its variance; and if they come in groups it is as much more as the groups are large, as it should
be. The rate is followed by exponential smoothing as the trend of Holt's method (1957) is, with
weights by time, as rounds come when they come; its level needs none, as people are counted.

A daily profile is not kept: boots take a minute, and a day's slope in it is a few people, which the
trend has. Nothing foresees a crowd that comes at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from math import ceil, exp, sqrt
from statistics import NormalDist

from twisted.internet.interfaces import IReactorTime

from bbs.core.values import Policy
from bbs.rules.membership import Observation
from bbs.rules.servers import ServerRow
from bbs.scaling.fleet_view import Demand

SERVED = 0.99
"""The share of those who come that is to wait no longer than wished for."""

UNKNOWN = 5
"""Spare places at the least while little is known: the number that `[fleet] spare` has else."""

FAMILIAR = 120.0
"""Seconds of watching after which `UNKNOWN` no longer counts."""

STEP = 5.0
"""Seconds at least over which a change is measured: groups come together in it."""

MEMORY = 300.0
"""Seconds in which what was seen loses two thirds of its weight. A rate that was averaged so is as
uncertain as one that was counted over twice the time."""

USUAL_STAY = 600.0
"""Seconds for which somebody is taken to stay, before it has been seen how people come and go."""

PRIOR = 60.0
"""Seconds of watching that this guess is worth."""

STRANGE = 4.0
"""Standard deviations beyond which a change counts as so many: one crowd says little of the next,
and a crowd that comes again and again becomes known all the same."""

UNSEEN_BOOT = 60.0
"""Seconds that a launch is taken to need where none has been seen."""

BOOTS = 20
"""How many of the latest boots are remembered."""

_NORMAL = NormalDist()


class DemandTracker:
    """Follows the demand, round after round.

    :param policy: what the operator wants.
    :param interval: seconds between rounds, at the most.
    """

    def __init__(self, policy: Policy, interval: float, reactor: IReactorTime) -> None:
        self._wanted = policy
        self._interval = interval
        self._reactor = reactor
        self.forget()

    def forget(self) -> None:
        """Begin anew: another controller has kept the fleet, and saw what this one did not."""
        self._peak = Peak(self._wanted.consolidate_after)
        self._forecast: Forecast | None = None

    def see(self, seen: Observation) -> Demand:
        """The demand now; `seen` has all servers, and everybody who waits."""
        now = self._reactor.seconds()
        people = seen.waiting + sum(row.taken for row in seen.servers)
        self._peak.see(people, now)
        if self._wanted.foresees:
            if self._forecast is None:
                self._forecast = Forecast(self._wanted.wait_target, self._interval)
                self._forecast.booted(_boots(seen.servers, self._wanted.launch_timeout))
            self._forecast.see(people, now)
        return Demand(seen.waiting, self._peak.most if self._wanted.consolidate_after else None)

    def booted(self, seconds: Iterable[float]) -> None:
        """Learn that launches took so many `seconds` each until people could be placed."""
        if self._forecast:
            self._forecast.booted(seconds)

    def reset_peak(self) -> None:
        """Watch the peak anew: a server could not be given up, and is let be for as long again."""
        self._peak.begin_anew()

    @property
    def policy(self) -> Policy:
        """The operator's policy, with as many spare places as the forecast asks for."""
        if self._forecast is None:
            return self._wanted
        return replace(self._wanted, spare=self._forecast.spare())


def _boots(rows: Collection[ServerRow], longest: float) -> Sequence[float]:
    """How long the launches of these servers took, the latest last; not of those that stood by."""
    took = [(row.ready, row.launch_time) for row in rows if row.ready is not None]
    return [time for _, time in sorted(took, key=lambda each: each[0]) if time and time <= longest]


class Peak:
    """Follows the most people that were there at once in the last `window` seconds."""

    def __init__(self, window: float) -> None:
        self._window = window
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget all peaks."""
        self._since: float | None = None
        self._last = 0.0
        self._peaks: deque[tuple[float, int]] = deque()
        """What may yet be the most: falling, each with when it was seen."""

    def see(self, people: int, now: float) -> None:
        """Learn how many `people` are there `now`."""
        if self._since is None or now - self._last > self._window:
            self.begin_anew()
            self._since = now
        self._last = now
        while self._peaks and self._peaks[-1][1] <= people:
            self._peaks.pop()
        # Few are kept, however often somebody looks.
        if self._peaks and now - self._peaks[-1][0] < self._window / 60:
            self._peaks[-1] = now, self._peaks[-1][1]
        else:
            self._peaks.append((now, people))
        while now - self._peaks[0][0] > self._window:
            self._peaks.popleft()

    @property
    def most(self) -> int | None:
        """The most people in the window; None while the window is not over yet."""
        if self._since is None or self._last - self._since < self._window:
            return None
        return self._peaks[0][1]


class Forecast:
    """Learns how demand moves from how many people there are; times in seconds, of a clock that
    nobody sets.

    :param wait_target: seconds that nearly all wait at the most.
    :param interval: between rounds; what is needed is seen so late at the most.
    """

    def __init__(self, wait_target: float, interval: float) -> None:
        self._wait_target = wait_target
        self._interval = interval
        self._boots: deque[float] = deque(maxlen=BOOTS)
        self._last: tuple[float, int] | None = None
        self._watched = 0.0
        self._rate = self._variance = 0.0

    def booted(self, seconds: Iterable[float]) -> None:
        """Learn how many `seconds` launches took, the latest last."""
        self._boots.extend(seconds)

    def see(self, people: int, now: float) -> None:
        """Learn how many `people` are there `now`, with a place or waiting for one."""
        if self._last is None:
            self._last = now, people
            self._variance = 2 * people / USUAL_STAY
            return
        since, before = self._last
        elapsed = now - since
        if elapsed < STEP:
            return
        self._last = now, people
        self._learn(people - before, elapsed)

    def _learn(self, change: int, elapsed: float) -> None:
        most = 1.0 + STRANGE * sqrt(self._variance * elapsed)
        surprise = max(-most, min(most, change - self._rate * elapsed))
        self._watched += elapsed
        # Evenly weighted in the beginning, when there is little else.
        share = max(1 - exp(-elapsed / MEMORY), elapsed / (self._watched + PRIOR))
        self._variance += share * (surprise**2 / elapsed - self._variance)
        self._rate += share * surprise / elapsed

    def spare(self) -> int:
        """Places to keep beside those that people have or wait for."""
        lead, spread = self._lead()
        if lead <= 0:
            return 0
        mean = self._rate * lead
        # The rate itself is known only as well as it was counted.
        known = min(2 * MEMORY, self._watched + PRIOR)
        variance = self._variance * (lead + lead**2 / known) + (self._rate * spread) ** 2
        deviation = sqrt(variance)
        z = _NORMAL.inv_cdf(SERVED)
        skew = mean / deviation**3 if deviation else 0.0
        bend = (z**2 - 1) / 6 * max(-0.5, min(0.5, skew))
        # Half a place, as people come whole; and a place for whoever comes.
        foreseen = ceil(mean + deviation * (z + bend) + 0.5)
        return max(1, foreseen, UNKNOWN if self._watched < FAMILIAR else 0)

    def _lead(self) -> tuple[float, float]:
        """How long a place takes from when it is wanted, beyond what people may wait; and how much
        longer or shorter that is."""
        boots = self._boots or (UNSEEN_BOOT,)
        usual = sum(boots) / len(boots)
        spread = sqrt(sum((boot - usual) ** 2 for boot in boots) / len(boots))
        return usual + self._interval - self._wait_target, spread
