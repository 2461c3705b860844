"""Makes a gateway's connections, and ends them when it stops.

All its people are on one service, so what one of their clients learns of that all of them know.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.client.connection import endpoint_to
from bbs.client.library import ServiceClient
from bbs.client.strangers import NotSecure
from bbs.client.values import ChatMessage, NotTrusted, Origin, ServiceReply, TurnedAway
from bbs.client.vocabulary import Vocabulary
from bbs.core.addresses import Address
from bbs.core.errors import TooManyConnections, Unavailable
from bbs.limits.connections import Door, Entry
from bbs.protocols import connection_state
from bbs.protocols.line.interfaces import LineLimits
from bbs.protocols.sockets import host_of
from bbs.ui.gateway.connection import GatewayConnection
from bbs.ui.gateway.session import Host
from bbs.ui.gateway.valve import Valve

STOPPING = "The gateway stops. Bye!"

DESCRIPTORS = 4
"""That a visit takes once somebody is logged in: for the person, for requests to the login server
and to an app server, and for what is listened to."""

MOST_BYTES = 4 * 1024 * 1024
"""Bytes of one reply for one person, all parts together: many people share the memory here."""

_TOO_MANY = TooManyConnections().message


class GatewayClient(ServiceClient):
    """The service for one person at the gateway."""

    _log = Logger()

    def request(self, line: str, *, whole: bool = True) -> Deferred[ServiceReply]:
        """As any client's, but where that fails with `NotTrusted` or `NotSecure` the log has why,
        as that is the operator's affair, and the reply is that the service is not available."""
        asking = ServiceClient.request(self, line, whole=whole)
        return asking.addErrback(self._not_trusted)

    def listen(
        self,
        user: str,
        on_message: Callable[[str, ChatMessage], None],
        *,
        after: int | None = None,
    ) -> Deferred[None]:
        """As any client's; the log has it where an app server has no room for the gateway."""
        listening = ServiceClient.listen(self, user, on_message, after=after)
        return listening.addErrback(self._turned_away)

    def _turned_away(self, failure: Failure) -> Failure:
        problem = failure.value
        if isinstance(problem, TurnedAway) and problem.reply.code == TooManyConnections.code:
            self._log.warn(
                "{server} turns this gateway away, as its people are one address to it: its"
                " limits.trusted or connections_per_address should be others (docs/telnet.md,"
                " Limits)",
                server=problem.server,
            )
        return failure

    def _not_trusted(self, failure: Failure) -> ServiceReply:
        if failure.trap(NotTrusted, NotSecure) is NotTrusted:
            self._log.critical("telnet.secret is wrong: {problem}", problem=str(failure.value))
        else:
            self._log.critical("no TLS to the service: {problem}", problem=str(failure.value))
        unavailable = Unavailable()
        return ServiceReply({"status": 1, "message": unavailable.message, "code": unavailable.code})


class GatewayFactory(Factory):
    """`secret` is what the login server at `server` believes this gateway by; empty: it is not
    told for whom the gateway speaks. `endpoint` makes what clients connect through: plain TCP
    unless given. `door` says who may come in; without one everybody may. `wall` is the clock that
    people's days go by."""

    noisy = False

    def __init__(
        self,
        reactor: IReactorTime,
        host: Host,
        server: Address,
        secret: str,
        limits: LineLimits,
        endpoint: Callable[[Address], IStreamClientEndpoint] | None = None,
        door: Door | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._reactor = reactor
        self._host = host
        self._server = server
        self._secret = secret
        self._limits = limits
        self._endpoint = endpoint or partial(endpoint_to, reactor)
        self._vocabulary = Vocabulary(host.presentation)
        self._door = door
        self._wall = wall
        self._connections: dict[GatewayConnection, Entry | None] = {}
        self._turned_away: set[connection_state.RejectedConnection] = set()
        self._stopping = False
        self._departure = connection_state.ConnectionShutdown(reactor, self._connections)

    def buildProtocol(  # type: ignore[override]
        self, addr: IAddress | None
    ) -> GatewayConnection | connection_state.RejectedConnection | None:
        """A connection, or what tells the peer that it is one too many; None once `close_all` was
        called, and where there is room for neither."""
        if self._stopping:
            return None
        entry = self._door.enter(host_of(addr), DESCRIPTORS) if self._door else None
        if self._door and entry is None:
            if self._door.is_jammed:
                return None
            return connection_state.RejectedConnection(
                self._reactor, f"{_TOO_MANY}\n".encode(), self._turned_away
            )
        valve = Valve(self._endpoint)
        client = GatewayClient(
            self._reactor,
            self._server,
            valve.endpoint,
            origin=self._origin(addr),
            vocabulary=self._vocabulary,
            most=MOST_BYTES,
        )
        connection = GatewayConnection(
            self._reactor, client, self._host, valve, self._limits, self._gone, self._wall
        )
        self._connections[connection] = entry
        if entry is not None:
            entry.watch(lambda: connection.make_room(_TOO_MANY))
            connection.on_asked = entry.has_asked
        return connection

    def close_all(self, grace: float) -> Deferred[None]:
        """Take no new connections, and end those there are, in words; those that are still open
        after `grace` seconds are aborted. Fires when all are gone."""
        self._stopping = True
        for turned_away in list(self._turned_away):
            turned_away.abort()
        for connection in list(self._connections):
            connection.end(STOPPING)
        return self._departure.wait(grace)

    def _gone(self, connection: GatewayConnection) -> None:
        entry = self._connections.pop(connection)
        if entry is not None:
            entry.leave()
        if not self._connections:
            self._departure.all_gone()

    def _origin(self, addr: IAddress | None) -> Origin | None:
        host = host_of(addr)
        return Origin(host, self._secret) if self._secret and host else None
