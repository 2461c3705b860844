"""Tells a service who connects and who has gone (`Service(on_connect=…, on_disconnect=…)`).

Somebody is connected who listens at an app server, on one connection or several. Whoever listens
nowhere for `GRACE` has gone: a client that reconnects, or moves to another server, has not. An app
server holds a lease for each of its people. If the server is killed, the lease lapses, and the
server with the work in the background says that they have gone.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from bbs.core.errors import Unavailable
from bbs.delivery.listeners import Listeners
from bbs.rules import attendance
from bbs.rules.attendance import AT_ONCE, Hooks, named
from bbs.storage.database import Database

GRACE = 5.0  # Seconds without a connection after which somebody has gone.

LOOK_INTERVAL = 1.0  # Seconds between looks at who has gone.

RENEWAL_INTERVAL = 20.0
"""Seconds between renewals of the leases: two may fail before one lapses."""

_log = Logger()


class Attendance(Service):
    """Tells who connects to an app server and goes, by `hooks`.

    :param wall: the service's clock, in seconds since the epoch.
    :ivar server_id: this app server's, once it has joined the fleet.
    """

    def __init__(
        self,
        hooks: Hooks,
        database: Database,
        listeners: Listeners,
        reactor: IReactorTime,
        wall: Callable[[], float],
    ) -> None:
        self._hooks, self._database, self._listeners = hooks, database, listeners
        self._reactor, self._wall = reactor, wall
        self.server_id = ""
        self._due: dict[int, float] = {}  # Users to look at, and from when on.
        self._here: set[int] = set()  # Users whom the service knows of.
        self._renewed = reactor.seconds()
        self._next: IDelayedCall | None = None
        self._looking: Deferred[None] | None = None
        listeners.on_change = self._note

    def startService(self) -> None:
        Service.startService(self)
        self._next = self._reactor.callLater(LOOK_INTERVAL, self._tick)

    def stopService(self) -> Deferred[None] | None:
        """Look no more. People who are still here find another server, or their leases lapse."""
        Service.stopService(self)
        if self._next is not None:
            self._next.cancel()
            self._next = None
        return self._looking

    def _note(self, user: int) -> None:
        """Note that `user` begins to listen on a connection, or does so no more."""
        listens = self._listeners.listens(user)
        self._due[user] = self._reactor.seconds() + (0.0 if listens else GRACE)
        if listens:
            self._begin()

    def _tick(self) -> None:
        self._next = self._reactor.callLater(LOOK_INTERVAL, self._tick)
        self._begin()

    def _begin(self) -> None:
        if self._looking is None and self.running:
            self._looking = Deferred.fromCoroutine(self._look())
            self._looking.addErrback(
                lambda failure: _log.failure("looking at who is here failed", failure=failure)
            )
            self._looking.addCallback(self._looked)

    def _looked(self, _: object) -> None:
        self._looking = None

    async def _look(self) -> None:
        try:
            while due := self._take_due():
                for user in due:
                    await self._settle(user)
            if self._reactor.seconds() - self._renewed >= RENEWAL_INTERVAL:
                await self._renew()
        except Unavailable:
            return  # Those who are left are looked at again.

    def _take_due(self) -> list[int]:
        now = self._reactor.seconds()
        return [user for user, due in self._due.items() if due <= now]

    async def _settle(self, user: int) -> None:
        """Tell the service if `user` has come or gone."""
        if self._due[user] > self._reactor.seconds():  # The user has gone only just now.
            return
        due, listens = self._due.pop(user), self._listeners.listens(user)
        if listens == (user in self._here):
            return
        rule = self._hooks.connect if listens else self._hooks.disconnect
        hooks = self._hooks.on_connect if listens else self._hooks.on_disconnect
        try:
            await self._database.run(named(rule, hooks), user, self.server_id, self._wall())
        except Unavailable:
            self._due.setdefault(user, due)
            raise
        except Exception:  # A service's rule may raise anything. It is called again.
            _log.failure("a rule for who connects and goes failed")
        (self._here.add if listens else self._here.discard)(user)

    async def _renew(self) -> None:
        here = iter(sorted(self._here))
        while some := [*islice(here, AT_ONCE)]:
            gone = await self._database.run(attendance.renew, some, self.server_id, self._wall())
            for user in gone & self._here:
                self._here.discard(user)
                self._due.setdefault(user, self._reactor.seconds())
        self._renewed = self._reactor.seconds()


class Lapses:
    """Tells who has gone with a server that was killed, on the server with the background work.

    :param wall: the service's clock, in seconds since the epoch.
    """

    def __init__(self, hooks: Hooks, database: Database, wall: Callable[[], float]) -> None:
        self._hooks, self._database, self._wall = hooks, database, wall

    async def run_due(self, may_go_on: Callable[[], bool]) -> None:
        """Tell of those whose leases are over, while `may_go_on` says so."""
        for user in await self._database.run(attendance.lapsed, self._wall()):
            if not may_go_on():
                return
            rule = named(self._hooks.lapse, self._hooks.on_disconnect)
            try:
                await self._database.run(rule, user, self._wall())
            except Unavailable:
                raise
            except Exception:
                _log.failure("a rule for who has gone failed, and will be called again")
                await self._database.run(attendance.postpone, user, self._wall())
