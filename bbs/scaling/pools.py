"""Remembers which pools of capacity have failed lately, so that launches go elsewhere.

A pool is what a launch strategy asks for: a type of machine in a zone, on demand or as Spot. A zone
may accept launches and boot nothing, so an accepted launch says little. Each launch that fails
after it was accepted marks its pool, and the other pools of its zone by half as much; so does, by
less, each server that dies. A mark loses half of its weight every `HALF_LIFE` (exponential decay).
A launch that serves removes the marks of its pool, and what others had brought upon its zone. A
pool whose marks weigh `DOUBTFUL` or more is chosen only if no other can be.

A new controller reads the failures before its time from the rows of servers that have ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from twisted.internet.interfaces import IReactorTime

from bbs.core.values import State
from bbs.scaling.fleet_view import Health, ServerView
from bbs.scaling.interfaces import IHasPools, IProvider

HALF_LIFE = 900.0
"""Seconds. A zone that failed once is tried again after half an hour. AWS's events of a whole zone
have lasted for hours, so a zone that fails again is left for longer."""

DOUBTFUL = 0.25
FAILED, LATE, WANTED_BACK = 1.0, 0.5, 0.5  # The weights of marks.
LOST = 0.2  # Of a server that served: one may die by itself, two of a zone make it doubtful.
MOST = 4.0  # The greatest weight of all marks of a pool: after an hour it is tried again.
ZONE_SHARE = 0.5  # The weight of a mark for the other pools of its zone.


@dataclass(frozen=True)
class _Mark:
    pool: str
    weight: float
    at: float
    for_zone: bool


class PoolMemory:
    """The marks of pools. `zones`: the zone of each pool."""

    def __init__(self, zones: Mapping[str, str], reactor: IReactorTime) -> None:
        self._zones = zones
        self._seconds = reactor.seconds
        self._late: list[str] = []
        self.forget()

    @property
    def are_several(self) -> bool:
        """Whether there is another pool than the one that a launch is in."""
        return len(self._zones) > 1

    def forget(self) -> None:
        """Forget everything: another controller leads the fleet."""
        self._marks: list[_Mark] = []
        self._warned: set[str] = set()

    def failed(self, pool: str, ago: float = 0.0) -> None:
        """Note that an accepted launch was late, or ended before it served, some seconds ago."""
        self._mark(_Mark(pool, FAILED, self._seconds() - ago, for_zone=True))

    def lost(self, pool: str) -> None:
        """Note that a server has ended by itself, or fallen silent."""
        self._mark(_Mark(pool, LOST, self._seconds(), for_zone=True))

    def wanted_back(self, pool: str) -> None:
        """Note that the provider wants capacity of a pool back: other pools may have enough."""
        self._mark(_Mark(pool, WANTED_BACK, self._seconds(), for_zone=False))

    def served(self, pool: str) -> None:
        """Note that a launch serves: its pool is well, and its zone is not down."""
        zone = self._zones.get(pool)
        self._marks = [
            mark
            for mark in self._marks
            if mark.pool != pool and not (mark.for_zone and self._zones.get(mark.pool) == zone)
        ]

    def see(self, servers: Collection[ServerView], late_after: float) -> None:
        """Learn which launches are late now, which count while they are, and which servers the
        provider wants back."""
        self._late = [each.pool for each in servers if is_late(each, late_after)]
        warned = {each.id: each.pool for each in servers if each.warning}
        for id in warned.keys() - self._warned:
            self.wanted_back(warned[id])
        self._warned = {*warned}

    def doubts(self) -> Mapping[str, float]:
        """The weight of the marks of each pool that has any."""
        now = self._seconds()
        marks = [*self._marks, *(_Mark(pool, LATE, now, for_zone=True) for pool in self._late)]
        doubts: dict[str, float] = {}
        for mark in marks:
            weight, zone = mark.weight * _left(mark, now), self._zones.get(mark.pool)
            for pool, other in self._zones.items():
                share = 1.0 if pool == mark.pool else ZONE_SHARE
                if pool == mark.pool or (mark.for_zone and other == zone):
                    doubts[pool] = min(MOST, doubts.get(pool, 0.0) + weight * share)
        return doubts

    def trusted_zones(self, lacking: Collection[str] = ()) -> frozenset[str]:
        """The zones with a pool that is not doubtful, nor among the `lacking` ones: a launch that
        wants such a zone comes out in it."""
        doubts = self.doubts()
        trusted = {pool for pool in self._zones if doubts.get(pool, 0.0) < DOUBTFUL}
        return frozenset(self._zones[pool] for pool in trusted.difference(lacking)) - {""}

    def _mark(self, mark: _Mark) -> None:
        if mark.pool in self._zones:
            now = self._seconds()
            # Marks that have nearly faded are forgotten.
            recent = [each for each in self._marks if _left(each, now) > 0.01]
            self._marks = [*recent, mark]


def _left(mark: _Mark, now: float) -> float:
    """The share of a mark's weight that is left."""
    return float(0.5 ** (max(0.0, now - mark.at) / HALF_LIFE))


def is_late(server: ServerView, late_after: float) -> bool:
    """Whether a launch has not been heard of for longer than nearly all need."""
    is_silent = server.state is State.LAUNCHING and server.health is Health.UNHEARD
    return is_silent and bool(server.pool) and server.age > late_after


def pools_of(provider: IProvider) -> Mapping[str, str]:
    """The zone of each pool of a provider, if it has pools."""
    return cast("IHasPools", provider).pools if IHasPools.providedBy(provider) else {}


def lacking_pools(provider: IProvider) -> Collection[str]:
    """The pools of a provider that had no capacity a moment ago."""
    return cast("IHasPools", provider).lacking_pools if IHasPools.providedBy(provider) else ()


def guide(
    provider: IProvider, memory: PoolMemory, servers: Iterable[ServerView], in_two_zones: bool
) -> None:
    """Tell a provider which pools to prefer for the launches of this round."""
    if not IHasPools.providedBy(provider):
        return
    states = (State.READY, State.LAUNCHING)
    staying = Counter(s.zone for s in servers if s.state in states and not s.causes)
    cast("IHasPools", provider).prefer(memory.doubts(), staying, in_two_zones)
