"""What the fleet's keeper looks for each second: notices of what operators did to people, and
whether people wait for places.

What operators did is in the database, with a notice beside it, and whoever did it may know no
broker. So whoever keeps the fleet looks for notices, has the app servers look whose sessions have
ended, and removes them. A keeper that dies between the two is followed by one that tells the same
again, which does no harm; where the broker is away the app servers look by themselves.

Whether people wait is nobody's own doing: they come, go and are seated at every server. So the
keeper stores for the operators' pages when that begins, in the round in which it sees to it, and
when it ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from bbs.core.errors import Unavailable
from bbs.rules import fleet_transitions

if TYPE_CHECKING:
    from bbs.scaling.controller import FleetContext

INTERVAL = 1.0
"""Seconds between looks, at the most: an empty look is one read of an index."""

_log = Logger()


class Outbox(Service):
    """Takes notices while this login server keeps the fleet.

    :param is_keeping: whether it does.
    """

    def __init__(self, context: FleetContext, is_keeping: Callable[[], bool]) -> None:
        self._me = context.me
        self._database = context.database
        self._news = context.news
        self._wall = context.wall
        self._is_keeping = is_keeping
        self._reactor = context.reactor
        self._next: Any = None
        self._looking: Deferred[None] | None = None
        self._waiting = False
        """Whether people wait, or did when this looked last."""

    def startService(self) -> None:
        Service.startService(self)
        self._next = self._reactor.callLater(INTERVAL, self._look)

    def stopService(self) -> Deferred[None] | None:
        """Fires when no look is under way."""
        Service.stopService(self)
        self._next.cancel()
        return self._looking

    def look_now(self, waiting: bool = False) -> None:
        """There may be some, and people may be `waiting`."""
        self._waiting |= waiting
        if self.running and self._looking is None:
            self._next.reset(0)

    def _look(self) -> None:
        self._next = self._reactor.callLater(INTERVAL, self._look)
        if self._looking is None and self._is_keeping():
            self._looking = Deferred.fromCoroutine(self._take())
            self._looking.addErrback(
                lambda failure: _log.failure("taking notices went wrong", failure=failure)
            )
            self._looking.addCallback(self._looked)

    def _looked(self, _: object) -> None:
        self._looking = None

    async def _take(self) -> None:
        try:
            while found := await self._database.run(fleet_transitions.notices):
                self._news.ended(dict.fromkeys(channel for _, channel in found))
                await self._database.run(fleet_transitions.forget_notices, [id for id, _ in found])
            if self._waiting:
                now = self._wall()
                self._waiting = await self._database.run(
                    fleet_transitions.note_waiting, self._me, now
                )
        except Unavailable:
            pass  # There will be another look.
        except fleet_transitions.NotLeader:
            self._waiting = False
