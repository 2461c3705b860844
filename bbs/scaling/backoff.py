"""Decides when to ask a provider again after a call that failed or was not answered."""

from __future__ import annotations

from collections.abc import Collection

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from bbs.rules import fleet_transitions
from bbs.rules.fleet_admin import LONGEST_HOLD
from bbs.scaling.events import FleetContext
from bbs.scaling.fleet_view import Launches

LONGEST_BACK_OFF = 60.0  # the longest time in seconds between two tries
FAILED_LATELY = 600.0  # seconds after a failed launch in which nothing that can wait is begun
REFUSED_RETRY = 60.0  # seconds without launches after a refused one; doubled for each in a row
STAMP_SLACK = 1.0  # seconds by which the stored time of a hold may be wrong

_log = Logger()


def back_off(failures: int) -> float:
    """Seconds to wait after `failures` failures in a row: 0, 1, 2, 4, … at most 60."""
    return min(2.0 ** min(failures - 1, 10), LONGEST_BACK_OFF) if failures else 0.0


class Retries:
    """Says when to ask about a launch again after a failed call: 1 s later, 2, 4, … at most 60."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._asked: dict[str, tuple[int, float]] = {}  # how often, and until when not again

    def is_due(self, id: str) -> bool:
        return id not in self._asked or self._reactor.seconds() >= self._asked[id][1]

    def postpone(self, id: str) -> None:
        """Note that `id` was asked about, and may have to be again."""
        count = self._asked[id][0] + 1 if id in self._asked else 1
        self._asked[id] = count, self._reactor.seconds() + back_off(count)

    def forget(self, id: str) -> None:
        """Let `id` be asked about at once: the next call is a different one."""
        self._asked.pop(id, None)

    def forget_all_but(self, ids: Collection[str]) -> None:
        self._asked = {id: asked for id, asked in self._asked.items() if id in ids}


class LaunchBreaker:
    """Holds launches back after failures, like a circuit breaker: briefly after a failed launch,
    longer after a refused one, which needs an operator. The database has refusals too, for people
    who wait."""

    def __init__(self, context: FleetContext) -> None:
        self._me = context.me
        self._run = context.database.run
        self._news = context.news
        self._reactor = context.reactor
        self._wall = context.wall
        self.forget()

    def forget(self) -> None:
        self.failures = 0
        self._failed_at = float("-inf")
        self._refusals = 0
        self._held_until = 0.0
        self._reason, self._stamped = "", 0.0

    @property
    def launches(self) -> Launches:
        if self._left > 0:
            return Launches.REFUSED
        if not self.failures:
            return Launches.WORK
        since = self._reactor.seconds() - self._failed_at
        if since < back_off(self.failures):
            return Launches.BACK_OFF
        return Launches.FAILED_LATELY if since < FAILED_LATELY else Launches.WORK

    def failed(self, began: float) -> None:
        """Note that a launch failed, decided at `began`. Launches made together count once."""
        if began > self._failed_at:
            self.failures += 1
            self._failed_at = self._reactor.seconds()

    def succeeded(self) -> None:
        self.failures = 0

    def refused(self) -> None:
        """Hold launches from now on, as one was refused. Launches made together count once."""
        if self._left <= 0:
            self._refusals += 1
            doubled = REFUSED_RETRY * 2.0 ** min(self._refusals - 1, 10)
            self._held_until = self._reactor.seconds() + min(doubled, LONGEST_HOLD)

    async def hold(self, reason: str) -> None:
        """Write down that launches are refused for this `reason`, and tell people who wait."""
        self.refused()
        _log.critical("nothing can be launched: {reason}", reason=reason)
        self._reason = reason
        await self._stamp()
        self._news.refused()

    async def accepted(self) -> None:
        if self._refusals:
            self._refusals, self._held_until = 0, 0.0
            await self._run(fleet_transitions.refuse, self._me, None, None, self._wall())

    async def stamp_again(self) -> None:
        """Store the end of the hold again if the wall clock was set: people are sent away until
        then."""
        if self._refusals and abs(self._until() - self._stamped) > STAMP_SLACK:
            await self._stamp()

    async def _stamp(self) -> None:
        until = self._until()
        await self._run(fleet_transitions.refuse, self._me, self._reason, until, self._wall())
        self._stamped = until

    @property
    def _left(self) -> float:
        """Seconds until launches are allowed; negative once they are."""
        return self._held_until - self._reactor.seconds()

    def _until(self) -> float:
        return self._wall() + self._left
