"""Events for everybody: what operators announce, for example.

An operator's program may know no broker, so an app server looks into the database for such events.
The look is one short query. A hint, which the operators' page sends, makes all app servers look at
once. Each connection that listens and said `events` is sent each current event once, also if it
came later than the event.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from bbs.core.errors import Unavailable
from bbs.delivery.bus import Bus
from bbs.delivery.feed import Stored
from bbs.delivery.listeners import Listeners
from bbs.protocols.line import IConnection
from bbs.storage.database import Database

LOOK_INTERVAL = 2.0  # Seconds between looks, as between heartbeats.
CHANNEL = "broadcast.look"  # Of hints that there may be another event.

_log = Logger()


@dataclass(frozen=True)
class Broadcast:
    """The events of a service for everybody who is there, by two rules that only read.

    `current(now)` returns the ids of the events that are told at that time (seconds since the
    epoch), of which there must be few. `fetch(ids)` returns the events with these ids; those that
    are gone may be missing. An id is never used again.
    """

    current: Callable[[float], Sequence[int]]
    fetch: Callable[[Sequence[int]], Sequence[Stored]]


def hint(bus: Bus) -> None:
    """Have all app servers look at once."""
    bus.tell(CHANNEL, {"event": "broadcast"})


class Broadcaster(Service):
    """Looks for events of a `broadcast` on one app server, and sends them.

    :param watchers: the connections that said `events`.
    """

    def __init__(
        self,
        broadcast: Broadcast | None,
        database: Database,
        bus: Bus,
        listeners: Listeners,
        watchers: Container[IConnection],
        reactor: IReactorTime,
        wall: Callable[[], float],
    ) -> None:
        self._broadcast = broadcast
        self._database = database
        self._bus = bus
        self._listeners = listeners
        self._watchers = watchers
        self._reactor = reactor
        self._wall = wall
        self._events: Mapping[int, Stored] = {}  # The current ones, by id.
        self._sent: Mapping[IConnection, frozenset[int]] = {}
        """The ids that were current when each connection was sent the last of its events."""
        self._next: Any = None
        self._looking: Deferred[None] | None = None

    def startService(self) -> None:
        Service.startService(self)
        if self._broadcast is not None:
            self._next = self._reactor.callLater(LOOK_INTERVAL, self._look, self._broadcast)
            self._bus.hear(CHANNEL, self._on_hint)

    def stopService(self) -> Deferred[None] | None:
        """Fires when no look is under way."""
        Service.stopService(self)
        if self._next is not None:
            self._next.cancel()
        return self._looking

    def _on_hint(self, hint: Mapping[str, Any], after: Mapping[str, int], is_proved: bool) -> None:
        if is_proved and self.running and self._broadcast is not None:
            self._next.cancel()
            self._look(self._broadcast)

    def _look(self, broadcast: Broadcast) -> None:
        self._next = self._reactor.callLater(LOOK_INTERVAL, self._look, broadcast)
        if self._looking is None:
            looking = self._looking = Deferred.fromCoroutine(self._send_current(broadcast))
            looking.addErrback(lambda failure: _log.failure("a broadcast failed", failure=failure))
            looking.addCallback(self._looked)

    def _looked(self, _: object) -> None:
        self._looking = None

    async def _send_current(self, broadcast: Broadcast) -> None:
        try:
            ids = await self._database.run(broadcast.current, self._wall())
            unknown = [id for id in ids if id not in self._events]
            fetched = await self._database.run(broadcast.fetch, unknown) if unknown else ()
        except Unavailable:
            return  # The next look tries again.
        known = {**self._events, **{event.id: event for event in fetched}}
        self._events = {id: known[id] for id in ids if id in known}
        self._send()

    def _send(self) -> None:
        """Send each connection the current events that it has not been sent. One that does not read
        now gets them after a later look."""
        current = frozenset(self._events)
        sent = {each: had for each, had in self._sent.items() if each in self._watchers}
        for connection in self._listeners.connections if current else ():
            if connection in self._watchers and connection.writable:
                for id in sorted(current - sent.get(connection, frozenset())):
                    connection.send_line(self._events[id].line)
                sent[connection] = current
        self._sent = sent
