"""Where those who listen are served, and whether their sessions live; and that they are told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from bbs.delivery.audience import Audience, Listener
from bbs.errors import NotLoggedIn, Unavailable
from bbs.rules import places, presence
from bbs.storage.database import Database


class Whereabouts:
    """Looks where the `audience` of one app server should be.

    :param drop: ends the listening of some of them.
    """

    def __init__(
        self, database: Database, audience: Audience, drop: Callable[[Iterable[Listener]], None]
    ) -> None:
        self._database = database
        self._audience = audience
        self._drop = drop
        self.server_id: str | None = None
        """This app server's, once it has joined the fleet."""

    async def look(self, users: Collection[int]) -> None:
        """Look where `users`, as far as they listen, are served, and whether the sessions live on
        which they do; tell those who should know. Nothing comes of it while the database is away:
        there is always another look."""
        listeners = self._audience.of(users)
        sessions = {listener.session for listener in listeners}
        try:
            found = await self._database.run(presence.standings, sessions)
            await self._bring_back(self._tell(listeners, found))
        except Unavailable:
            return

    def _tell(
        self, listeners: Iterable[Listener], found: dict[str, presence.Standing]
    ) -> Collection[int]:
        """Tell those whose session is gone, and those who are served elsewhere; returns the users
        who have no place and wait for none."""
        away: dict[int, None] = {}
        for listener in listeners:
            if listener not in self._audience:
                continue
            standing = found.get(listener.session)
            if standing is None:
                listener.connection.send_event({"event": "logout"})
                self._drop([listener])
            elif standing.away:
                away[listener.user] = None
            else:
                self._tell_where(listener, standing.seat)
        return away

    async def _bring_back(self, users: Iterable[int]) -> None:
        """These listen, and have no place as if they were away: they get one, or wait for one."""
        for user in users:
            try:
                seat = await self._database.run(places.come_back, user, self.server_id, stays=True)
            except NotLoggedIn:
                continue  # The next look tells of it.
            for listener in self._audience.of([user]):
                self._tell_where(listener, seat)

    def _tell_where(self, listener: Listener, seat: places.Seat | None) -> None:
        if seat and seat.server != self.server_id and seat != listener.told:
            listener.told = seat
            address = seat.address.seen_from(listener.connection.local_host)
            listener.connection.send_event({"event": "moved", "app_server": address.as_json()})
