"""Follows how many people there are, and were: more than the servers show now."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from twisted.internet.interfaces import IReactorTime

from bbs.rules.members import Observation
from bbs.rules.servers import ServerRow
from bbs.scaling.fleet_view import Demand
from bbs.scaling.forecast import Forecast, Peak
from bbs.values import Policy


class DemandTracker:
    """Follows what rounds see.

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

    def booted(self, seconds: float) -> None:
        """Learn that a launch took so many `seconds` until people could be placed."""
        if self._forecast:
            self._forecast.booted([seconds])

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
