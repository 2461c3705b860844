"""The PROXY protocol before the line protocol: who is believed, and who is counted."""

import struct
from ipaddress import ip_address, ip_network
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from bbs.limits.connections import Admission, Networks
from bbs.protocols.line import LineFactory, LineLimits
from bbs.protocols.proxy_protocol import DEADLINE, SIGNATURE, ProxiedFactory, parse
from tests.protocols.line.tools import AtOnce, SocketWire


def header(source: str, command: int = 0x21, more: bytes = b"") -> bytes:
    address = ip_address(source)
    own = address.packed + address.packed + struct.pack("!HH", 5000, 22223) + more
    family = 0x11 if address.version == 4 else 0x21
    return SIGNATURE + struct.pack("!BBH", command, family, len(own)) + own


class Socket(SocketWire):
    aborting = False
    protocol: Any

    def abortConnection(self) -> None:
        self.aborting = True


LOCAL = SIGNATURE + b"\x20\0\0\0"


class Parsing(SynchronousTestCase):
    def test_whose_it_is(self) -> None:
        for source in ("192.0.2.7", "2001:db8::7"):
            data = header(source, more=b"\x04\0\1x")
            found = parse(data + b"ping\n")
            assert found is not None and found.peer is not None
            self.assertEqual((found.peer.host, found.peer.port), (source, 5000))
            self.assertEqual(found.length, len(data))
            self.assertEqual({parse(data[:cut]) for cut in range(len(data))}, {None})

    def test_of_the_proxy_itself(self) -> None:
        unknown = SIGNATURE + b"\x21\0\0\0"
        for data in (LOCAL, unknown, header("192.0.2.7", 0x20)):
            self.assertEqual(parse(data), (None, len(data)))

    def test_malformed(self) -> None:
        for data in (
            b"ping\n",
            b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n",
            b"\x16\x03\x01",
            SIGNATURE[:3] + b"x",
            SIGNATURE + b"\x11\x11\0\x0c" + bytes(12),  # version 1
            SIGNATURE + b"\x22\x11\0\x0c" + bytes(12),  # no such command
            SIGNATURE + b"\x21\x11\0\x0b" + bytes(11),  # too short for its family
            SIGNATURE + b"\x21\x11\xff\xff",
        ):
            self.assertRaises(ValueError, parse, data)


class Proxied(SynchronousTestCase):
    """A port for people at 10.0.0.0/8's proxy, of whom each address has two connections."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.handler = AtOnce()
        self.admission = Admission(9, Networks([ip_network("127.0.0.0/8")]), None)
        door = self.admission.door(2)
        self.lines = LineFactory(self.clock, self.handler, LineLimits(), door)
        self.factory = ProxiedFactory(self.lines, Networks([ip_network("10.0.0.0/8")]), self.clock)

    def come(self, host: str, data: bytes) -> Socket:
        wire = Socket(None, IPv4Address("TCP", host, 1))
        connection = self.factory.buildProtocol(wire.getPeer())
        assert connection is not None
        connection.makeConnection(wire)
        wire.protocol = connection
        for byte in data:
            connection.dataReceived(bytes([byte]))
        return wire

    def said(self, wire: Socket) -> object:
        (reply,) = wire.replies()
        return reply.get("line", reply.get("message"))

    def test_people_are_counted_and_not_their_proxy(self) -> None:
        """A third connection of one is refused; others come by the same proxy, and directly."""
        ann = [self.come("10.0.0.1", header("192.0.2.7") + b"hi\n") for _ in range(3)]
        said = [self.said(wire) for wire in ann]
        self.assertEqual(said, ["hi", "hi", "Too many connections"])
        self.assertEqual(self.said(self.come("10.0.0.1", header("192.0.2.8") + b"hi\n")), "hi")
        self.assertEqual(self.said(self.come("192.0.2.9", b"hi\n")), "hi")
        self.assertEqual(
            self.said(self.come("192.0.2.7", b"hi\n")), "Too many connections", "the same as ann"
        )

    def test_the_proxys_own(self) -> None:
        self.assertEqual(self.said(self.come("10.0.0.1", LOCAL + b"hi\n")), "hi")
        self.assertEqual(self.admission.used_by["10.0.0.1"], 1)

    def test_a_strangers_header(self) -> None:
        """It is a line like any other, and counts for whoever sent it."""
        wire = self.come("192.0.2.9", header("127.0.0.1") + b"\n")
        self.assertEqual([*self.admission.used_by], ["192.0.2.9"])
        self.assertNotIn("hi", self.handler.seen)
        self.assertTrue(wire.replies())

    def test_a_second_header(self) -> None:
        """What a person sends behind the proxy's own is not believed."""
        self.come("10.0.0.1", header("192.0.2.9") + header("127.0.0.1") + b"\n")
        self.assertEqual([*self.admission.used_by], ["192.0.2.9"])

    def test_a_proxy_without_a_header(self) -> None:
        logged: list[object] = []
        observer: Any = logged.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for _ in range(2):
            wire = self.come("10.0.0.1", b"p")
            self.assertTrue(wire.aborting)
        self.assertEqual(len(logged), 1)
        self.assertEqual([*self.admission.used_by], [])

    def test_a_proxy_that_says_nothing(self) -> None:
        wire = self.come("10.0.0.1", SIGNATURE)
        self.clock.advance(DEADLINE - 0.1)
        self.assertFalse(wire.aborting)
        self.clock.advance(0.2)
        self.assertTrue(wire.aborting)

    def test_a_proxy_that_goes(self) -> None:
        wire = self.come("10.0.0.1", SIGNATURE)
        wire.protocol.connectionLost(Failure(ConnectionError()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ends(self) -> None:
        """As without a proxy: half of a connection may end, and its place is free then."""
        wire = self.come("10.0.0.1", header("192.0.2.7") + b"hi")
        self.assertTrue(IHalfCloseableProtocol.providedBy(wire.protocol))
        wire.protocol.readConnectionLost()
        self.assertEqual(self.said(wire), "hi")
        wire.protocol.connectionLost(Failure(ConnectionError()))
        self.assertEqual([*self.admission.used_by], [])

    def test_stopping(self) -> None:
        self.lines.close_all()
        wire = self.come("10.0.0.1", header("192.0.2.7"))
        self.assertTrue(wire.aborting)
