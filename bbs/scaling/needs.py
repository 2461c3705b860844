"""What the fleet's keeper knows of how many people there are, and were: what the plan is to hold
against servers, beyond what they show now."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from bbs.rules.members import Observation
from bbs.rules.servers import CONSOLIDATED, REPLACED, ServerRow
from bbs.scaling.foresight import Foresight, Peak
from bbs.values import Policy, State


class Needs:
    """Follows what rounds see.

    :param policy: what the operator wants.
    :param interval: seconds between rounds, at the most.
    """

    def __init__(self, policy: Policy, interval: float, reactor: Any) -> None:
        self._wanted = policy
        self._interval = interval
        self._reactor = reactor
        self.begin_anew()

    def begin_anew(self) -> None:
        """Somebody else has kept the fleet, and saw what this one did not."""
        self._peak = Peak(self._wanted.consolidate_after)
        self._foresight: Foresight | None = None

    def see(self, seen: Observation) -> None:
        """These are all servers, and all who wait."""
        now = self._reactor.seconds()
        people = seen.waiting + sum(row.taken for row in seen.servers)
        self._peak.see(people, now)
        if self._wanted.foresees:
            if self._foresight is None:
                self._foresight = Foresight(self._wanted.wait_target, self._interval)
                self._foresight.booted(_boots(seen.servers, self._wanted.launch_timeout))
            self._foresight.see(people, now)

    def booted(self, seconds: float) -> None:
        """A launch took so long until people could be placed."""
        if self._foresight:
            self._foresight.booted([seconds])

    def let_be(self) -> None:
        """A server could not be given up: let it be for as long again."""
        self._peak.begin_anew()

    @property
    def peak(self) -> int | None:
        """See `Demand.peak`."""
        return self._peak.most if self._wanted.consolidate_after else None

    @property
    def policy(self) -> Policy:
        """What the operator wants, with as many spare places as that takes now."""
        if self._foresight is None:
            return self._wanted
        return replace(self._wanted, spare=self._foresight.spare())


def is_consolidated(row: ServerRow) -> bool:
    """Whether a server drains only because its people fit elsewhere."""
    return _drains_only(row, CONSOLIDATED)


def is_replaced(row: ServerRow) -> bool:
    """Whether a server drains only because operators asked for another in its place."""
    return _drains_only(row, REPLACED)


def _drains_only(row: ServerRow, why: str) -> bool:
    drains = row.state is State.DRAINING and row.reason.startswith(why)
    return drains and not row.drain_asked and row.warned is None


def _boots(rows: Collection[ServerRow], longest: float) -> Sequence[float]:
    """How long the launches of these servers took, the latest last; not of those that stood by."""
    took = [(row.ready, row.launch_time) for row in rows if row.ready is not None]
    return [time for _, time in sorted(took, key=lambda each: each[0]) if time and time <= longest]
