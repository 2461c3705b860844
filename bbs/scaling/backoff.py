"""Decides when to ask a provider again after a call that failed, or whose answer was lost."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from bbs.rules import fleet_transitions
from bbs.rules.fleet_admin import LONGEST_HOLD
from bbs.scaling.fleet_view import Launches

if TYPE_CHECKING:
    from bbs.scaling.controller import FleetContext

LONGEST_BACK_OFF = 60.0
"""Seconds between two tries at the most."""

FAILED_LATELY = 600.0
"""Seconds after a failed launch in which nothing that can wait is begun: places may be hard to come
by."""

REFUSED_RETRY = 60.0
"""Seconds for which nothing is launched after a launch was refused; doubled each time in a row."""

STAMP_SLACK = 1.0
"""Seconds by which what is stored of a refusal may be wrong."""

_log = Logger()


def back_off(failures: int) -> float:
    """Seconds to wait after so many failures in a row: 0, 1, 2, 4, … at most 60."""
    return min(2.0 ** min(failures - 1, 10), LONGEST_BACK_OFF) if failures else 0.0


class Retries:
    """Says when to ask about a launch again that was asked about in vain: 1 s later, 2, 4, … at
    most 60."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._asked: dict[str, int] = {}
        self._next: dict[str, float] = {}

    def due(self, id: str) -> bool:
        """Whether it is time to ask about `id`."""
        return bool(self._reactor.seconds() >= self._next.get(id, 0.0))

    def later(self, id: str) -> None:
        """Note that `id` was asked about, and may have to be again."""
        self._asked[id] = self._asked.get(id, 0) + 1
        self._next[id] = self._reactor.seconds() + back_off(self._asked[id])

    def forget(self, id: str) -> None:
        """Let `id` be asked about at once: something else is asked from now on."""
        self._asked.pop(id, None)
        self._next.pop(id, None)

    def keep(self, ids: Collection[str]) -> None:
        """Forget all but `ids`."""
        self._asked = {id: asked for id, asked in self._asked.items() if id in ids}
        self._next = {id: moment for id, moment in self._next.items() if id in ids}


class LaunchBreaker:
    """Holds launches back after failures, like a circuit breaker: a moment after a failed launch,
    and longer after a refused one, which an operator has to act on. The database has the refusal
    too, so that people who wait are told."""

    def __init__(self, context: FleetContext) -> None:
        self._me = context.me
        self._run = context.database.run
        self._news = context.news
        self._reactor = context.reactor
        self._wall = context.wall
        self.forget()

    def forget(self) -> None:
        """Begin anew: another controller has kept the fleet."""
        self.failures = 0
        """Launches that failed in a row."""
        self._failed_at = float("-inf")
        self._refusals = 0
        self._held_until = 0.0
        self._reason, self._stamped = "", 0.0

    @property
    def launches(self) -> Launches:
        """Whether launches work."""
        if self._left > 0:
            return Launches.REFUSED
        if not self.failures:
            return Launches.WORK
        since = self._reactor.seconds() - self._failed_at
        if since < back_off(self.failures):
            return Launches.BACK_OFF
        return Launches.FAILED_LATELY if since < FAILED_LATELY else Launches.WORK

    def failed(self, began: float) -> None:
        """Note that a launch has failed that was decided at `began`. Launches that were made
        together count once."""
        if began > self._failed_at:
            self.failures += 1
            self._failed_at = self._reactor.seconds()

    def succeeded(self) -> None:
        """Note that a launch has brought a server that serves, or is warm."""
        self.failures = 0

    def refused(self) -> None:
        """Hold launches from now on, as one was refused. Launches that were made together count
        once."""
        if self._left <= 0:
            self._refusals += 1
            doubled = REFUSED_RETRY * 2.0 ** min(self._refusals - 1, 10)
            self._held_until = self._reactor.seconds() + min(doubled, LONGEST_HOLD)

    async def hold(self, reason: str) -> None:
        """Write down that launches are refused, for this `reason`, and tell people who wait."""
        self.refused()
        _log.critical("nothing can be launched: {reason}", reason=reason)
        self._reason = reason
        await self._stamp()
        self._news.refused()

    async def accepted(self) -> None:
        """Note that the provider has accepted a launch or a start."""
        if self._refusals:
            self._refusals, self._held_until = 0, 0.0
            await self._run(fleet_transitions.refuse, self._me, None, None, self._wall())

    async def stamp_again(self) -> None:
        """Write down again until when launches are held, if the wall clock has been set since:
        people are sent away until then."""
        if self._refusals and abs(self._until() - self._stamped) > STAMP_SLACK:
            await self._stamp()

    async def _stamp(self) -> None:
        until = self._until()
        await self._run(fleet_transitions.refuse, self._me, self._reason, until, self._wall())
        self._stamped = until

    @property
    def _left(self) -> float:
        """Seconds until something may be launched; below 0 once it may."""
        return self._held_until - self._reactor.seconds()

    def _until(self) -> float:
        return self._wall() + self._left
