"""Presence of the people who have a place on this app server.

A place is for people who use it. Each request notes its user here, in memory; listeners are there
as long as they listen. Every so often the server looks who holds its places, and gives back those
of people who have done neither for `place_ttl`. These stay logged in, and their next command finds
a place for them again.

Sessions of listeners are kept alive, as a listener may say nothing for weeks. When a connection
that listened has gone, the moment is written down at which its user was last here: commands note it
to a minute only, and a user who comes back at once would be shown again what they have answered.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import suppress
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

LOOKS = 10
"""Looks within `place_ttl`: a place goes back late by a tenth of that at the most."""

SHORTEST, LONGEST = 0.2, 30.0
"""Seconds between two looks, whatever `place_ttl` is."""

KEPT = 4
"""Times that a session of a listener is noted as used within `session_ttl`."""

SELDOM = 30.0
"""Seconds between these notes at the most. They are ahead by as much, within what they may be wrong
by: so a listener's session is never the one that seems longest unused, of the too many sessions of
a script that logs in each second, say."""

STORED_AT_ONCE = 100
"""People whose last moment here one transaction stores."""

_log = Logger()


class PresenceTracker(Service):
    """The places of one app server, and the sessions of those who listen there.

    :param place_ttl: seconds without a command and without a connection that listens, after which a
        place goes back.
    :param session_ttl: seconds that a session lives unused.
    """

    def __init__(
        self,
        *,
        database: Database,
        bus: Bus,
        listeners: Listeners,
        place_ttl: float,
        session_ttl: float,
        reactor: IReactorTime,
        wall: Callable[[], float],
    ) -> None:
        self._database = database
        self._bus = bus
        self._listeners = listeners
        self._ttl = place_ttl
        self._seconds = reactor.seconds
        self._wall = wall
        self._ahead = min(auth.Sessions(session_ttl).slack / 2, SELDOM)
        self.server_id: str | None = None
        """This app server's, once it has joined the fleet."""
        self._asked: dict[int, float] = {}
        """When users here last asked something, or ceased to listen."""
        self._seen: dict[int, float] = {}
        """When users themselves last asked something, and not their client."""
        self._gone: dict[int, float] = {}
        """When users who have just left were last seen, by `wall`, until it is stored."""
        self._storing = False
        self._since: dict[int, tuple[int, float]] = {}
        """`Place.asked` of each user with a place here, and since when it is so."""
        listeners.on_leaving = self._leaves
        # No TimerService: its module loads a state machine for clients, 6 ms of a start.
        self._loops = [
            (self._every(self._look, reactor), min(max(place_ttl / LOOKS, SHORTEST), LONGEST)),
            (self._every(self._keep_sessions, reactor), min(session_ttl / KEPT, SELDOM)),
        ]
        self._ended: list[Deferred[LoopingCall]] = []

    # Service

    def startService(self) -> None:
        Service.startService(self)
        self._ended = [loop.start(interval, now=False) for loop, interval in self._loops]

    def stopService(self) -> Deferred[Any]:
        """Fires once a look that is under way, if any, is over."""
        Service.stopService(self)
        for loop, _ in self._loops:
            loop.stop()
        return gatherResults(self._ended)

    # For the commands

    def note(self, user: int) -> None:
        """Note that `user` has just asked something; called for every request, on any thread."""
        self._asked[user] = self._seen[user] = self._seconds()

    def note_by_itself(self, user: int) -> None:
        """Note that the client of `user` has, by itself."""
        self._asked[user] = self._seconds()

    # When people were last seen

    def _leaves(self, user: int) -> None:
        """Note that `user` no longer listens on one of their connections."""
        self.note_by_itself(user)
        if user in self._seen:
            self._gone[user] = self._wall() - (self._seconds() - self._seen[user])
            if not self._storing:
                self._storing = True
                Deferred.fromCoroutine(self._store()).addErrback(
                    lambda failure: _log.failure("it was not noted who was here", failure=failure)
                )

    async def _store(self) -> None:
        try:
            while self._gone:
                some = dict(islice(self._gone.items(), STORED_AT_ONCE))
                for user in some:
                    del self._gone[user]
                with suppress(Unavailable):  # Then it is known to a minute.
                    await self._database.run(presence.note_seen, some)
        finally:
            self._storing = False

    # Places

    async def _look(self) -> None:
        if self.server_id is None:
            return
        held = await self._database.run(presence.held_at, self.server_id)
        unused = self._unused(held)
        if not unused:
            return
        began = self._seconds()
        left = await self._database.run(presence.leave_unused, self.server_id, unused)
        await self._take_back(left, began)
        if left:
            _log.info("places given back of people who are away: {count}", count=len(left))
            self._bus.tell_fleet("free")

    def _unused(self, held: Mapping[int, int]) -> dict[int, int]:
        """Return the places among those `held`, by users, that nobody has used for long."""
        now, before = self._seconds(), self._since
        # A user who comes, or comes again, has the whole time, as has everybody when this begins.
        self._since = {
            user: before[user] if before.get(user, (None,))[0] == asked else (asked, now)
            for user, asked in held.items()
        }
        # In place, and asked for at one stroke: requests note their users on other threads.
        for user in list(self._asked):
            if user not in held:
                self._asked.pop(user, None)
                self._seen.pop(user, None)
        return {
            user: asked
            for user, (asked, since) in self._since.items()
            if now - max(since, self._asked.get(user, since)) >= self._ttl
            and not self._listeners.listens(user)
        }

    async def _take_back(self, left: Collection[int], began: float) -> None:
        """Give users who have asked or begun to listen since `began` their places back, before
        others hear that there are any."""
        for user in left:
            if self._listeners.listens(user):
                await self._listeners.where.look([user])
            elif self._asked.get(user, began - 1.0) >= began:
                # Somebody may have asked to log out.
                with suppress(NotLoggedIn):
                    await self._database.run(placement.come_back, user, self.server_id)

    # Sessions

    async def _keep_sessions(self) -> None:
        sessions = sorted(self._listeners.sessions)
        for begin in range(0, len(sessions), presence.AT_ONCE):
            some = sessions[begin : begin + presence.AT_ONCE]
            await self._database.run(presence.keep, some, self._wall() + self._ahead)

    @staticmethod
    def _every(work: Callable[[], Coroutine[Any, Any, None]], reactor: IReactorTime) -> LoopingCall:
        """Make a loop that goes on whatever becomes of one of its calls."""

        async def once() -> None:
            try:
                await work()
            except Refusal:
                pass  # The database is away, or somebody has just logged out: there is a next time.
            except Exception:
                _log.failure("looking who is there went wrong")

        loop = LoopingCall(lambda: Deferred.fromCoroutine(once()))
        loop.clock = reactor
        return loop
