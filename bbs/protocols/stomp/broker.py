"""The embedded STOMP broker: topics in memory, for the default that needs no installation.

`EmbeddedBroker` is the factory and holds the topics, `BrokerService` listens with it:

    factory = EmbeddedBroker(Credential("bbs", secrets.token_urlsafe()), reactor)
    service = BrokerService(reactor, "tcp:0:interface=127.0.0.1", factory)
    service.startService()
    url = await service.when_listening()

It serves any client of STOMP 1.0, 1.1 or 1.2 that knows the credential, and keeps nothing: a
message reaches whoever is subscribed when it is sent. Each kind of excess ends one connection and
no other: a subscriber that reads too slowly, a frame too large, a login that does not come, a
heart-beat that stops.
"""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import quote

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, gatherResults, maybeDeferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocol, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.errors import TooManyConnections
from bbs.protocols.closing import TurnedAway
from bbs.protocols.doors import Door, OpenDoor
from bbs.protocols.sockets import host_of
from bbs.protocols.stomp.broker_connection import BrokerConnection, BrokerLimits, Credential
from bbs.protocols.stomp.broker_topics import Topics
from bbs.protocols.stomp.frames import Frame, encode
from bbs.protocols.stomp.subscription import Waiters

__all__ = ["BrokerLimits", "BrokerService", "Credential", "EmbeddedBroker"]

TOLD_EVERY = 60.0
"""Seconds between lines in the log that say that connections are too many."""

_LIMITS = BrokerLimits()

_TOO_MANY = encode(Frame("ERROR", {"message": TooManyConnections.text}), "1.2")


class EmbeddedBroker(Factory):
    """Makes the connections of one broker, which share its topics.

    :param door: who is let in, of those for whom `limits` have room; everybody, unless it is given.
        One that is too many is told so by an ERROR frame.
    """

    noisy = False
    log = Logger()

    def __init__(
        self,
        credential: Credential,
        clock: IReactorTime,
        limits: BrokerLimits = _LIMITS,
        door: Door | None = None,
    ) -> None:
        self.credential = credential
        self.topics = Topics()
        self._clock = clock
        self._limits = limits
        self._door: Door = door or OpenDoor()
        self._connections: set[BrokerConnection] = set()
        self._turned_away: set[TurnedAway] = set()
        self._told_at = float("-inf")

    @property
    def connections(self) -> int:
        """How many connections there are, logged in or not."""
        return len(self._connections)

    def buildProtocol(self, addr: IAddress | None) -> IProtocol | None:  # type: ignore[override]
        full = len(self._connections) >= self._limits.max_connections
        entry = None if full else self._door.enter(host_of(addr))
        if entry is None:
            return self._turn_away()
        connection = BrokerConnection(self._clock, self.credential, self._limits, self.topics)
        connection.logged_in.addCallback(lambda _: entry.has_asked())
        self._connections.add(connection)

        def ended(_: None) -> None:
            self._connections.discard(connection)
            entry.leave()

        connection.ended.addCallback(ended)
        entry.watch(connection.make_room)
        return connection

    def _turn_away(self) -> IProtocol | None:
        now = self._clock.seconds()
        if now - self._told_at >= TOLD_EVERY:
            self._told_at = now
            self.log.warn("too many connections to the broker: one more is turned away")
        if self._door.is_jammed:
            return None
        return TurnedAway(self._clock, _TOO_MANY, self._turned_away)

    def drop_connections(self) -> Deferred[None]:
        """End every connection at once; fires when they have ended."""
        for turned_away in tuple(self._turned_away):
            turned_away.abort()
        ended = []
        for connection in tuple(self._connections):
            gone: Deferred[None] = Deferred()
            connection.ended.chainDeferred(gone)
            ended.append(gone)
            connection.abort()
        return gatherResults(ended).addCallback(lambda _: None)


class BrokerService(Service):
    """Listens on `endpoint` (an endpoint string) with `factory`."""

    def __init__(self, reactor: Any, endpoint: str, factory: EmbeddedBroker) -> None:
        self.url: str | None = None
        """Where the broker is, credential and all, once it listens; None before and after."""
        self._scheme = "stomp+ssl" if endpoint.startswith("ssl:") else "stomp"
        self._endpoint = serverFromString(reactor, endpoint)
        self._factory = factory
        self._listening: Deferred[None] = succeed(None)
        self._port: IListeningPort | None = None
        self._failure: Failure | None = None
        self._waiters = Waiters()

    def when_listening(self) -> Deferred[str]:
        """Fires with `url` once the broker listens; fails with what the endpoint fails with, such
        as CannotListenError."""
        if self._failure is not None:
            return fail(self._failure)
        listens = succeed(None) if self.url is not None else self._waiters.wait()
        return listens.addCallback(lambda _: cast("str", self.url))

    def startService(self) -> None:
        Service.startService(self)
        self._failure = None
        self._listening = self._endpoint.listen(self._factory).addCallbacks(
            self._listens, self._failed
        )

    async def _stop(self) -> None:
        self._listening.cancel()
        await self._listening
        self.url = None
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
            self._port = None
        await self._factory.drop_connections()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    def _listens(self, port: IListeningPort) -> None:
        self._port = port
        address = cast("IPv4Address | IPv6Address", port.getHost())
        credential = self._factory.credential
        user = f"{quote(credential.login, safe='')}:{quote(credential.passcode, safe='')}"
        host = f"[{address.host}]" if ":" in address.host else address.host
        self.url = f"{self._scheme}://{user}@{host}:{address.port}"
        self._waiters.fire(None)

    def _failed(self, failure: Failure) -> None:
        self._failure = failure
        self._waiters.fire(failure)
