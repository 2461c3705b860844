"""Presence of the users who have a place on this app server.

A place is for users who use it. Each request notes its user here, in memory; a listener counts as
present. At intervals the server checks who holds its places, and gives back the places of users who
have neither sent a request nor listened for `place_ttl`. These users stay logged in, and their next
command finds a place for them again.

Sessions of listeners are kept alive, as a listener may send nothing for weeks. When a connection
that listened has gone, the time at which its user was last here is stored: commands store it to a
minute only, and a user who comes back at once would be shown again what they have answered.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from bbs.core.errors import NotLoggedIn, Refusal, Unavailable
from bbs.delivery.bus import Bus
from bbs.delivery.listeners import Listeners
from bbs.rules import auth, placement, presence
from bbs.storage.database import Database

CHECKS = 10  # Checks within `place_ttl`: a place goes back late by a tenth of that at most.
SHORTEST, LONGEST = 0.2, 30.0  # Seconds between two checks, whatever `place_ttl` is.
RENEWALS = 4  # Times that a session of a listener is noted as used within `session_ttl`.

RENEWAL_INTERVAL = 30.0
"""Seconds between these notes at most. The notes are ahead by as much, within `Sessions.slack`:
when a user has too many sessions, for example by a script that logs in each second, a listener's
session never seems to be the longest unused."""

STORED_AT_ONCE = 100  # Users whose last time here one transaction stores.

_log = Logger()


@dataclass(eq=False, repr=False, kw_only=True)
class PresenceTracker(Service):
    """Watches the places of one app server, and the sessions of its listeners."""

    database: Database
    bus: Bus
    listeners: Listeners
    place_ttl: float  # Seconds without a command and without listening, until a place goes back.
    session_ttl: float  # Seconds that a session lives unused.
    reactor: IReactorTime
    wall: Callable[[], float]

    def __post_init__(self) -> None:
        self._seconds = self.reactor.seconds
        self._ahead = min(auth.Sessions(self.session_ttl).slack / 2, RENEWAL_INTERVAL)
        self.server_id: str | None = None  # This app server's, once it has joined the fleet.
        self._asked: dict[int, float] = {}  # When users here last sent a request or listened.
        self._seen: dict[int, float] = {}  # When users themselves, not clients, last did.
        self._gone: dict[int, float] = {}  # When users who left were last seen, by `wall`.
        self._storing = False
        self._since: dict[int, tuple[int, float]] = {}  # `Place.asked` by user, and since when.
        self.listeners.on_leaving = self._note_leaving
        # No TimerService: its module loads a state machine for clients, 6 ms of a start.
        check_interval = min(max(self.place_ttl / CHECKS, SHORTEST), LONGEST)
        renewal_interval = min(self.session_ttl / RENEWALS, RENEWAL_INTERVAL)
        self._loops = [
            (self._make_loop(self._check_places, self.reactor), check_interval),
            (self._make_loop(self._renew_sessions, self.reactor), renewal_interval),
        ]
        self._ended: list[Deferred[LoopingCall]] = []

    def startService(self) -> None:
        Service.startService(self)
        self._ended = [loop.start(interval, now=False) for loop, interval in self._loops]

    def stopService(self) -> Deferred[Any]:
        """Stop; fires when checks that are under way have ended."""
        Service.stopService(self)
        for loop, _ in self._loops:
            loop.stop()
        return gatherResults(self._ended)

    def note(self, user: int) -> None:
        """Note that `user` has just sent a request; called for every request, on any thread."""
        self._asked[user] = self._seen[user] = self._seconds()

    def note_by_itself(self, user: int) -> None:
        """Note that the client of `user` has sent a request by itself."""
        self._asked[user] = self._seconds()

    def _note_leaving(self, user: int) -> None:
        """Note that `user` no longer listens on one of their connections."""
        self.note_by_itself(user)
        if user in self._seen:
            self._gone[user] = self.wall() - (self._seconds() - self._seen[user])
            if not self._storing:
                self._storing = True
                Deferred.fromCoroutine(self._store_seen()).addErrback(
                    lambda failure: _log.failure("last-seen times were not stored", failure=failure)
                )

    async def _store_seen(self) -> None:
        try:
            while self._gone:
                some = dict(islice(self._gone.items(), STORED_AT_ONCE))
                for user in some:
                    del self._gone[user]
                with suppress(Unavailable):  # Then the time is known to a minute.
                    await self.database.run(presence.note_seen, some)
        finally:
            self._storing = False

    async def _check_places(self) -> None:
        if self.server_id is None:
            return
        held = await self.database.run(presence.held_at, self.server_id)
        unused = self._find_unused(held)
        if not unused:
            return
        began = self._seconds()
        left = await self.database.run(placement.leave_unused, self.server_id, unused)
        await self._return_places(left, began)
        if left:
            _log.info("places given back of people who are away: {count}", count=len(left))
            self.bus.tell_fleet("free")

    def _find_unused(self, held: Mapping[int, int]) -> dict[int, int]:
        """Return those of the places in `held`, by user, that were not used for `place_ttl`."""
        now, before = self._seconds(), self._since
        # The time starts anew for a user who comes again, and for all users when the server starts.
        self._since = {
            user: before[user] if before.get(user, (None,))[0] == asked else (asked, now)
            for user, asked in held.items()
        }
        # Changed in place, from one copy of the keys: requests note users on other threads.
        for user in list(self._asked):
            if user not in held:
                self._asked.pop(user, None)
                self._seen.pop(user, None)
        return {
            user: asked
            for user, (asked, since) in self._since.items()
            if now - max(since, self._asked.get(user, since)) >= self.place_ttl
            and not self.listeners.listens(user)
        }

    async def _return_places(self, left: Collection[int], began: float) -> None:
        """Give places back to users who have sent a request or begun to listen since `began`,
        before others hear that there are free places."""
        for user in left:
            if self.listeners.listens(user):
                await self.listeners.relocation.check([user])
            elif self._asked.get(user, began - 1.0) >= began:
                # The request may have been to log out.
                with suppress(NotLoggedIn):
                    await self.database.run(placement.come_back, user, self.server_id)

    async def _renew_sessions(self) -> None:
        sessions = sorted(self.listeners.sessions)
        for begin in range(0, len(sessions), placement.AT_ONCE):
            some = sessions[begin : begin + placement.AT_ONCE]
            await self.database.run(presence.renew, some, self.wall() + self._ahead)

    @staticmethod
    def _make_loop(
        work: Callable[[], Coroutine[Any, Any, None]], reactor: IReactorTime
    ) -> LoopingCall:
        """Make a loop that continues when a call fails."""

        async def once() -> None:
            try:
                await work()
            except Refusal:
                pass  # The database is away, or a user has just logged out: the next call retries.
            except Exception:
                _log.failure("a check of presence failed")

        loop = LoopingCall(lambda: Deferred.fromCoroutine(once()))
        loop.clock = reactor
        return loop
