"""Connections that are one too many: what they are told, and how they end."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from bbs.protocols.connection_state import LINGER, MOST_LINGERING, RejectedConnection
from tests.protocols.line.tools import SocketWire

WORDS = b"Too many connections\n"


class Wire(SocketWire):
    """A transport that says how it was closed."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class TurnedAwayTests(SynchronousTestCase):
    has_socket = True

    def setUp(self) -> None:
        self.clock = Clock()
        self.lingering: set[RejectedConnection] = set()

    def come(self) -> tuple[RejectedConnection, Any]:
        wire = Wire(has_socket=self.has_socket)
        connection = RejectedConnection(self.clock, WORDS, self.lingering)
        connection.makeConnection(wire)
        return connection, wire

    def go(self, connection: RejectedConnection) -> None:
        connection.connectionLost(Failure(ConnectionDone()))

    def test_it_is_told_why_and_may_read_that(self) -> None:
        connection, wire = self.come()
        self.assertEqual(wire.value(), WORDS)
        self.assertTrue(wire.write_closed)
        self.assertFalse(wire.disconnecting)
        connection.dataReceived(b"login ann 1\n" * 1000)
        self.assertEqual(wire.value(), WORDS)
        connection.readConnectionLost()
        self.assertTrue(wire.disconnecting)

    def test_one_that_stays_is_cut_off(self) -> None:
        _, wire = self.come()
        self.clock.advance(LINGER - 0.1)
        self.assertFalse(wire.aborted)
        self.clock.advance(0.1)
        self.assertTrue(wire.aborted)

    def test_nothing_is_left_of_one_that_has_gone(self) -> None:
        connection, wire = self.come()
        self.assertEqual(self.lingering, {connection})
        self.go(connection)
        self.assertEqual(self.lingering, set())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertFalse(wire.aborted)

    def test_no_second_crowd_stays(self) -> None:
        crowd = [self.come()[0] for _ in range(MOST_LINGERING)]
        last, wire = self.come()
        self.assertEqual(wire.value(), WORDS)
        self.assertTrue(wire.disconnecting)
        self.assertEqual(len(self.lingering), MOST_LINGERING)
        self.assertEqual(len(self.clock.getDelayedCalls()), MOST_LINGERING)
        self.go(last)
        self.go(crowd[0])
        _, wire = self.come()
        self.assertFalse(wire.disconnecting)

    def test_by_tls_the_peer_has_the_same_time(self) -> None:
        self.has_socket = False
        _, wire = self.come()
        self.assertEqual(wire.value(), WORDS)
        self.assertTrue(wire.disconnecting)  # once that is sent, which takes the peer's part
        self.assertFalse(wire.aborted)
        self.clock.advance(LINGER)
        self.assertTrue(wire.aborted)

    def test_by_tls_there_is_no_second_crowd_either(self) -> None:
        self.has_socket = False
        for _ in range(MOST_LINGERING):
            self.come()
        _, wire = self.come()
        self.assertTrue(wire.aborted)
        self.assertEqual(len(self.clock.getDelayedCalls()), MOST_LINGERING)


class _Full(Factory):
    noisy = False

    def __init__(self) -> None:
        self.lingering: set[RejectedConnection] = set()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return RejectedConnection(reactor, WORDS, self.lingering)  # type: ignore[arg-type]


class SocketTests(TestCase):
    """By real sockets, where unread input makes a careless close a reset."""

    async def test_who_talks_on_reads_it(self) -> None:
        factory: Any = _Full()
        port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)

        def talk() -> bytes:
            with socket.create_connection(("127.0.0.1", port.getHost().port), 10) as peer:
                peer.sendall(b"ping\n" * 10_000)
                received = b""
                while data := peer.recv(4096):
                    received += data
            return received

        for _ in range(5):
            self.assertEqual(await deferToThread(talk), WORDS)
        while factory.lingering:
            wait: Deferred[None] = Deferred()
            reactor.callLater(0.01, wait.callback, None)  # type: ignore[attr-defined]
            await wait
