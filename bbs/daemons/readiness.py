"""Whether people who log in find an app server, or will without anybody's help."""

from __future__ import annotations

from typing import Any

from twisted.application.internet import TimerService
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from bbs.errors import Unavailable
from bbs.rules import places
from bbs.storage.database import Database

LOOK_INTERVAL = 2.0
"""Seconds between looks where nothing is launched: who ends an app server by hand tells nobody else
of it, and whoever asks whether this one is ready asks every few seconds."""

_log = Logger()


class Readiness(Service):
    """What a login server knows of it. Servers that are full count: people wait for a place there,
    in their order.

    Where the provider launches servers it is so for good from when there has been one, as it
    launches more when they are gone; and from the start where it is to keep none, as it launches
    one when somebody comes. Where it launches nothing, it is so while there is one.

    :param launches: whether the provider ever launches anything.
    :param minimum: app servers that the fleet is to have.
    """

    def __init__(self, database: Database, reactor: Any, *, launches: bool, minimum: int) -> None:
        self.there = False
        """Whether it is so, as far as was seen."""
        self.first: Deferred[None] = Deferred()
        """Fires when it is so for the first time."""
        self._database = database
        self._launches = launches
        self._on_demand = launches and not minimum
        self._ticking: Any = TimerService(
            LOOK_INTERVAL, lambda: Deferred.fromCoroutine(self._look())
        )
        self._ticking.clock = reactor

    # Service

    def startService(self) -> None:
        Service.startService(self)
        if self._on_demand:
            self._is(True)
        elif self._launches:
            # One that joins a fleet at rest hears nothing of the app servers that there are.
            self.look()
        else:
            self._ticking.startService()

    def stopService(self) -> Any:
        Service.stopService(self)
        return self._ticking.stopService() if self._ticking.running else None

    # What it looks at

    def look(self) -> None:
        """There may be an app server, or none any more."""
        if self.running and not (self._launches and self.there):
            Deferred.fromCoroutine(self._look())

    async def _look(self) -> None:
        try:
            there = await self._database.run(places.any_ready)
        except Unavailable:
            return  # That the database is away is somebody else's to say.
        except Exception:
            _log.failure("a look for app servers went wrong")
            return
        if self.running:
            self._is(there)

    def _is(self, there: bool) -> None:
        self.there = there
        if there and not self.first.called:
            self.first.callback(None)
