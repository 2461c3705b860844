"""How the servers come to hear of what operators did to people.

It is in the database, with a notice beside it, and whoever did it may know no broker. So whoever
keeps the fleet looks for notices each second, has the app servers look whose sessions have ended,
and removes them. A keeper that dies between the two is followed by one that tells the same again,
which does no harm; where the broker is away the app servers look by themselves.
"""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from bbs.core.errors import Unavailable
from bbs.rules import fleet_transitions
from bbs.scaling.events import FleetEvents
from bbs.storage.database import Database

INTERVAL = 1.0
"""Seconds between looks, at the most: an empty look is one read of an index."""

_log = Logger()


class Outbox(Service):
    """Takes notices while this login server keeps the fleet.

    :param is_keeping: whether it does.
    """

    def __init__(
        self, database: Database, news: FleetEvents, is_keeping: Any, reactor: Any
    ) -> None:
        self._database = database
        self._news = news
        self._is_keeping = is_keeping
        self._reactor = reactor
        self._next: Any = None
        self._looking: Deferred[None] | None = None

    def startService(self) -> None:
        Service.startService(self)
        self._next = self._reactor.callLater(INTERVAL, self._look)

    def stopService(self) -> Deferred[None] | None:
        """Fires when no look is under way."""
        Service.stopService(self)
        self._next.cancel()
        return self._looking

    def look_now(self) -> None:
        """There may be some."""
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
        except Unavailable:
            pass  # There will be another look.
