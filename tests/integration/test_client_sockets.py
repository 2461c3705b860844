"""The client's connections on real sockets, which take no more than they can."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from bbs.client.connection import ConnectionPool, ServerConnection, endpoint_to
from bbs.client.errors import Lost
from bbs.core.addresses import Address

LONG = b"send ann bob " + b"x" * (16 << 20) + b"\n"
"""Longer than what a system keeps for a peer that does not read."""


class Slow(Protocol):
    """A server that does not read until it is told to, and answers each line."""

    transport: Any

    def __init__(self) -> None:
        self.received = bytearray()

    def connectionMade(self) -> None:
        self.transport.pauseProducing()

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.transport.write(b'{"status": 0, "message": "Success!"}\n' * data.count(b"\n"))


class ClientSocketTests(TestCase):
    """Requests that the system does not take at once."""

    async def setUp(self) -> None:  # type: ignore[override]
        self.server: Deferred[Slow] = Deferred()
        factory = Factory.forProtocol(Slow)
        factory.buildProtocol = self.build  # type: ignore[method-assign]
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        port: Any = await endpoint.listen(factory)
        self.addCleanup(port.stopListening)
        self.connections = ConnectionPool(reactor, lambda address: endpoint_to(reactor, address))
        self.addCleanup(self.connections.close)
        self.address = Address("127.0.0.1", port.getHost().port)

    def build(self, addr: object) -> Slow:
        made = Slow()
        reactor.callLater(0, self.server.callback, made)
        return made

    async def connect(self) -> tuple[ServerConnection, Slow]:
        connection = await self.connections.open(self.address)
        return connection, await self.server

    async def test_requests_arrive_whole_and_in_order(self) -> None:
        connection, server = await self.connect()
        requests = [b"ping\n", LONG, b"help\n"]
        replies = [connection.ask(request, 30.0) for request in requests]
        server.transport.resumeProducing()
        for reply in replies:
            self.assertTrue((await reply).ok)
        self.assertEqual(server.received, b"".join(requests))

    async def test_a_server_that_is_gone(self) -> None:
        connection, server = await self.connect()
        first = connection.ask(LONG, 30.0)
        server.transport.abortConnection()
        # It is not known here yet.
        second = connection.ask(b"ping\n", 30.0)
        await self.assertFailure(first, Lost)
        await self.assertFailure(second, Lost)
        self.assertFalse(connection.usable)
