"""Clients of a `MemoryService`: connections in memory to its servers, which a test can break.

    service = MemoryService(lobby)
    network = MemoryNetwork(service)
    client = BBSClient(service.clock, network.login_server, network.endpoint)
    registered = client.register("ann", "pw")
    network.flush()

Bytes move when the network is flushed, and time passes when it is advanced.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import LoopingCall
from twisted.test.iosim import FakeTransport
from zope.interface import implementer

from bbs.core.addresses import Address
from bbs.protocols.line import LineFactory
from bbs.testing.service import MemoryService

__all__ = ["Link", "MemoryNetwork"]

HOST = "127.0.0.1"  # of all servers and clients

Meddler = Callable[["Link", str], "str | None"]
"""Returns the line to pass on instead of a line (without its end); None for none."""


def _pass_on(link: Link, line: str) -> str:
    return line


class MemoryNetwork:
    """Connects clients to the servers of `service`.

    `to_servers` and `to_clients` are called with each line on its way, and return the line to pass
    on instead: a test can lose, change and add lines. A test can also hold a line back, and send it
    later by the connection's `Link`. An `address` is that of a server.

    :ivar down: servers that refuse connections.
    :ivar away: servers that do not answer attempts to connect.
    :ivar connected: the servers that connections were made to, in order.
    :ivar requests: every request of a client, with the server that it was for.
    :ivar links: the open connections, in the order in which they were made.
    """

    login_server = Address(HOST, 22222)

    def __init__(self, service: MemoryService) -> None:
        self.service = service.start()
        self.clock = service.clock
        self.to_servers: Meddler = _pass_on
        self.to_clients: Meddler = _pass_on
        self.down: set[Address] = set()
        self.away: set[Address] = set()
        self.connected: list[Address] = []
        self.requests: list[tuple[Address, str]] = []
        self.links: list[Link] = []
        beats = LoopingCall(service.beat)
        beats.clock = self.clock
        beats.start(service.config.fleet.heartbeat_interval)

    def endpoint(self, address: Address) -> IStreamClientEndpoint:
        """The endpoint of a server; pass this method to `BBSClient` as `endpoint`."""
        return _MemoryEndpoint(self, address)

    def flush(self) -> None:
        """Move bytes until none are left to move. Time does not pass."""
        moved = True
        while moved:
            self.clock.advance(0)
            # Each time on all links: so no reply overtakes the events on another link.
            moved = True in [link._pump() for link in self.links]
            self.links = [link for link in self.links if link.open]

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass, in which bytes move and all app servers send heartbeats."""
        end = self.clock.seconds() + seconds
        while True:
            self.flush()
            due = min((call.getTime() for call in self.clock.getDelayedCalls()), default=end)
            if due > end:
                break
            self.clock.advance(due - self.clock.seconds())
        self.clock.advance(end - self.clock.seconds())
        self.flush()

    def to(self, address: Address) -> list[Link]:
        """The connections to a server."""
        return [link for link in self.links if link.address == address]

    def cut(self, address: Address) -> None:
        """End every connection to a server, and lose what is on its way."""
        for link in self.to(address):
            link.cut()
        self.flush()

    def unplug(self, address: Address) -> None:
        """Make a live server unreachable; `plug` undoes that."""
        self.down.add(address)
        self.cut(address)

    def plug(self, address: Address) -> None:
        """Make a server reachable again."""
        self.down.discard(address)

    def kill(self, address: Address) -> None:
        """Let an app server die, as its provider sees."""
        self.unplug(address)
        self.service.kill(address.port)

    def _connect(self, factory: IProtocolFactory, address: Address) -> Deferred[IProtocol]:
        if address in self.away:
            return Deferred()
        served = None if address in self.down else self._factory(address)
        server = None if served is None else served.buildProtocol(_at(50000))
        if server is None:
            return fail(ConnectionRefusedError())
        client = factory.buildProtocol(_at(address.port))
        assert client is not None, "the client has stopped"
        self.connected.append(address)
        self.links.append(Link(self, address, client, server))
        connected: Deferred[IProtocol] = Deferred()
        # As with sockets, never before connect returns.
        self.clock.callLater(0, connected.callback, client)
        return connected

    def _factory(self, address: Address) -> LineFactory | None:
        if address == self.login_server:
            return self.service.login.factory
        for server in self.service.servers.values():
            if address == Address(HOST, server.port):
                return server.serving.factory
        return None


class Link:
    """A client's connection to the server at `address`, which the `network` makes between `client`
    and `server`; `requests` has the client's requests, in order. A `line` is without its end."""

    def __init__(
        self, network: MemoryNetwork, address: Address, client: IProtocol, server: IProtocol
    ) -> None:
        self.address = address
        self.requests: list[str] = []
        self._network = network
        self._to_client: deque[str] = deque()
        here, there = _at(50000), _at(address.port)
        self._client = _Transport(client, False, here, there)
        self._server = _Transport(server, True, there, here)
        server.makeConnection(self._server)
        client.makeConnection(self._client)

    @property
    def open(self) -> bool:
        """Whether one of the two ends is still open."""
        return not (self._client.disconnected and self._server.disconnected)

    @property
    def held_up(self) -> bool:
        """Whether the client reads nothing at present, not even the end of the connection."""
        return self._client.paused and not self._client.disconnecting

    def tell(self, line: str | Mapping[str, object]) -> None:
        """Send the client a line, behind what the server has sent."""
        self._receive()
        self._to_client.append(line if isinstance(line, str) else json.dumps(line))

    def ask(self, line: str) -> None:
        """Send the server a request."""
        self._server.protocol.dataReceived(_bytes(line))

    def hang_up(self) -> None:
        """Close the connection from the server's side, behind what the server has sent."""
        self._server.loseConnection()

    def cut(self) -> None:
        """End the connection, and lose what is on its way."""
        self._receive()
        self._to_client.clear()
        self._client.lines()
        self._client.disconnecting = self._server.disconnecting = True

    def _pump(self) -> bool:
        """Move bytes, else the end of the connection; returns whether there was anything to
        move."""
        self._receive()
        moved = bool(self._to_client) and not self.held_up and not self._client.disconnected
        if moved:
            lines = [*self._to_client]
            self._to_client.clear()
            self._client.protocol.dataReceived(b"".join(map(_bytes, lines)))
        moved = self._send() or moved
        if moved:
            return True
        server, client = self._server, self._client
        if server.disconnecting and not server.disconnected and not self.held_up:
            server.disconnected = client.disconnecting = True
            client.reportDisconnect()
            return True
        if client.disconnecting and not client.disconnected:
            client.disconnected = server.disconnecting = True
            server.reportDisconnect()
            return True
        return False

    def _send(self) -> bool:
        """Move what the client has sent."""
        lines = [] if self._server.paused else [*self._client.lines()]
        for line in lines:
            self.requests.append(line)
            self._network.requests.append((self.address, line))
            passed = self._network.to_servers(self, line)
            if passed is not None and not self._server.disconnecting:
                self.ask(passed)
        return bool(lines)

    def _receive(self) -> None:
        """Take up what the server has sent."""
        for line in self._server.lines():
            passed = self._network.to_clients(self, line)
            if passed is not None:
                self._to_client.append(passed)


class _Transport(FakeTransport):
    """One end of a link; `paused` while its protocol reads nothing."""

    paused = False
    _rest = b""

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def lines(self) -> Iterator[str]:
        """Take the whole lines that were written."""
        *lines, self._rest = (self._rest + (self.getOutBuffer() or b"")).split(b"\n")
        return (line.decode("utf-8", "surrogateescape") for line in lines)


def _at(port: int) -> IPv4Address:
    return IPv4Address("TCP", HOST, port)


def _bytes(line: str) -> bytes:
    return line.encode("utf-8", "surrogateescape") + b"\n"


@implementer(IStreamClientEndpoint)
@dataclass(frozen=True)
class _MemoryEndpoint:
    network: MemoryNetwork
    address: Address

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return self.network._connect(protocolFactory, self.address)
