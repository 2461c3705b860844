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
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.protocols.stomp.broker_connection import BrokerConnection, BrokerLimits, Credential
from bbs.protocols.stomp.broker_topics import Topics
from bbs.protocols.stomp.subscription import Waiters

__all__ = ["BrokerLimits", "BrokerService", "Credential", "EmbeddedBroker"]

_LIMITS = BrokerLimits()


class EmbeddedBroker(Factory):
    """Makes the connections of one broker, which share its topics."""

    noisy = False
    log = Logger()

    def __init__(
        self, credential: Credential, clock: IReactorTime, limits: BrokerLimits = _LIMITS
    ) -> None:
        self.credential = credential
        self.topics = Topics()
        self._clock = clock
        self._limits = limits
        self._connections: set[BrokerConnection] = set()

    @property
    def connections(self) -> int:
        """How many connections there are, logged in or not."""
        return len(self._connections)

    def buildProtocol(self, addr: IAddress | None) -> BrokerConnection | None:
        if len(self._connections) >= self._limits.max_connections:
            self.log.warn("a connection over {limit} is closed", limit=self._limits.max_connections)
            return None
        connection = BrokerConnection(self._clock, self.credential, self._limits, self.topics)
        self._connections.add(connection)
        connection.ended.addCallback(lambda _: self._connections.discard(connection))
        return connection

    def drop_connections(self) -> Deferred[None]:
        """End every connection at once; fires when they have ended."""
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
