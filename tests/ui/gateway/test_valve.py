"""What is connected through a valve is held up with it."""

from __future__ import annotations

import weakref
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from bbs.client import Address
from bbs.ui.gateway.valve import Valve


class Client(Protocol):
    transport: Any

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.transport = None


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Connects at once."""

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        client = protocolFactory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
        assert client is not None
        client.makeConnection(StringTransport())
        return succeed(client)


class ValveTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.valve = Valve(lambda address: Endpoint())

    def connect(self) -> tuple[Client, StringTransport]:
        endpoint = self.valve.endpoint(Address("192.0.2.1", 1))
        client = self.successResultOf(endpoint.connect(Factory.forProtocol(Client)))
        assert isinstance(client, Client)
        return client, client.transport

    def test_open_it_lets_through(self) -> None:
        self.assertEqual(self.connect()[1].producerState, "producing")

    def test_shut_it_lets_nothing_through_until_it_is_opened(self) -> None:
        before = self.connect()[1]
        self.valve.shut()
        during = self.connect()[1]
        self.assertEqual([before.producerState, during.producerState], ["paused"] * 2)
        self.valve.open()
        after = self.connect()[1]
        for each in (before, during, after):
            self.assertEqual(each.producerState, "producing")

    def test_what_is_not_connected_any_more_is_left_alone_and_forgotten(self) -> None:
        gone: list[weakref.ref[Client]] = []
        for _ in range(5):
            client, stream = self.connect()
            client.connectionLost()
            self.valve.shut()
            self.assertEqual(stream.producerState, "producing")
            self.valve.open()
            gone.append(weakref.ref(client))
        self.assertEqual([client() for client in gone[:-1]], [None] * 4)
