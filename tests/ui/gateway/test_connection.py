"""A connection's limits, and how it ends."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from bbs.client import Address
from bbs.protocols.connection_state import LINGER
from bbs.protocols.line.interfaces import LineLimits
from bbs.ui.gateway.connection import PIECE, SETTLING_DEADLINE, STOPPING, Backpressure
from bbs.ui.gateway.session import BURST
from tests.client.case import APP_1, OwnClock
from tests.protocols.line.tools import WireSocket
from tests.ui.gateway.case import GatewayCase, Visitor, window

FEW = PIECE // len("help\n") + 1
"""Lines of help that may be carried out in one turn: what comes in a piece of input."""


class TurnClock(OwnClock):
    """A clock that tells `turned` whenever something is over that was due."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.turned: Callable[[], None] = lambda: None

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> IDelayedCall:
        def turn() -> None:
            callable(*args, **kw)
            self.turned()

        return super().callLater(delay, turn)


class LimitTests(GatewayCase):
    clock_class = TurnClock
    clock: TurnClock
    limits = LineLimits(max_line=200, idle_timeout=60.0, write_timeout=30.0)

    def test_who_is_silent_is_told_and_left(self) -> None:
        nc = self.pipe()
        self.network.advance(59.0)
        self.assertFalse(nc.is_over)
        self.network.advance(1.1)
        self.assertTrue(nc.text.endswith("Nothing was typed for 60 s. Bye!\n"))
        self.assertTrue(nc.is_over)

    def test_so_is_who_says_no_password(self) -> None:
        nc = self.pipe("login ann")
        self.network.advance(60.1)
        self.assertTrue(nc.is_over)

    def test_a_byte_now_and_then_is_enough(self) -> None:
        nc = self.pipe()
        for byte in "login ann 1\n":
            self.network.advance(30.0)
            nc.send(byte)
        self.assertTrue(nc.text.endswith("Success!\nann> "))

    def test_what_nobody_types_is_not(self) -> None:
        for said in (b"\xff\xf1", b"\xff\xf6", b"\xff\xfb\x1f", window(80)):
            telnet = self.telnet()
            for _ in range(3):
                self.network.advance(25.0)
                telnet.send(said)
            self.assertTrue(telnet.is_over, said)

    def test_a_key_of_telnets_own_is(self) -> None:
        telnet = self.telnet()
        for _ in range(5):
            self.network.advance(25.0)
            telnet.send(b"\xff\xf7")
        self.assertFalse(telnet.is_over)

    def test_who_is_logged_in_listens(self) -> None:
        nc = self.pipe("login ann 1")
        self.network.advance(200.0)
        self.assertFalse(nc.is_over)
        nc.send("logout\n")
        self.network.advance(120.1)
        self.assertTrue(nc.is_over)

    def test_much_is_taken_in_pieces(self) -> None:
        nc = self.pipe("login ann 1")
        nc.connection.dataReceived(b"\n" * 250 + b"ping")
        self.assertFalse(nc.socket.reading)
        IHalfCloseableProtocol(nc.connection).readConnectionLost()
        nc.settle()
        self.assertTrue(nc.text.endswith("Pong!\nBye!\n"))

    def watch_turns(self, visitor: Visitor) -> list[int]:
        """In how many lines of help each turn of the reactor results from now on."""
        visitor.forget()
        shown: list[int] = []
        self.clock.turned = lambda: shown.append(visitor.new.count(b"register"))
        return shown

    def test_what_waits_for_telnet_is_not_carried_out_in_one_turn(self) -> None:
        telnet = self.visitor()
        telnet.send(b"\xff\xfb\x1f")
        shown = self.watch_turns(telnet)
        telnet.send(b"help\r\0" * 100)
        self.assertEqual(sum(shown), 0)
        self.network.advance(SETTLING_DEADLINE)
        self.assertEqual(sum(shown), 100)
        self.assertLessEqual(max(shown), FEW)

    def test_what_waits_for_telnet_has_a_bound(self) -> None:
        telnet = self.visitor()
        telnet.send(b"\r\n" + b"nonsense\r\n" * 2000)
        self.assertFalse(telnet.socket.reading)
        self.assertNotIn(b"nonsense", telnet.new)
        self.network.advance(SETTLING_DEADLINE)
        self.network.advance(60.0)
        self.assertTrue(telnet.socket.reading)
        self.assertEqual(telnet.new.count(b"Unknown command nonsense."), 2000)

    def test_nor_is_what_waits_for_a_reply(self) -> None:
        go_on = self.hold("ping")
        nc = self.pipe("login ann 1")
        nc.send("ping\n" + "help\n" * 100)
        shown = self.watch_turns(nc)
        go_on()
        nc.settle()
        self.assertEqual(sum(shown), 100)
        self.assertLessEqual(max(shown), FEW)

    def test_nor_is_what_waits_for_output(self) -> None:
        nc = self.pipe("login ann 1")
        IPushProducer(nc.connection).pauseProducing()
        nc.connection.dataReceived(b"help\n" * 100)
        shown = self.watch_turns(nc)
        IPushProducer(nc.connection).resumeProducing()
        nc.settle()
        self.assertEqual(sum(shown), 100)
        self.assertLessEqual(max(shown), FEW * 2)  # the first turn is not counted by itself

    def test_a_page_of_lines_waits_for_nothing(self) -> None:
        nc = self.pipe("login ann 1")
        nc.send("nonsense\n" * 200)
        self.assertEqual(nc.text.count("nonsense"), 200)

    def test_beyond_that_lines_keep_a_pace(self) -> None:
        nc = self.pipe()
        nc.forget()
        nc.send("nonsense\n" * (BURST + 150) + "exit\n")
        self.assertEqual(nc.text.count("nonsense"), BURST + 1)
        self.network.advance(1.99)
        self.assertEqual(nc.text.count("nonsense"), 99)
        self.assertFalse(nc.is_over)
        self.network.advance(1.1)
        self.assertTrue(nc.text.endswith("Bye!\n"))

    def test_who_leaves_meanwhile_is_gone(self) -> None:
        nc = self.pipe()
        nc.send("nonsense\n" * (BURST + 150))
        nc.leave()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_waits_for_its_turn_can_be_given_up(self) -> None:
        telnet = self.telnet()
        telnet.send("nonsense\r\0" * (BURST + 10))
        telnet.forget()
        telnet.send("\x03")
        self.assertEqual(telnet.text.count("Not sent: nonsense"), 10)
        self.network.advance(10.0)
        self.assertEqual(telnet.new, b"")
        telnet.send("ping\r\0")
        self.assertIn("Pong!", telnet.text)

    def test_few_keys_are_taken_at_a_time(self) -> None:
        telnet = self.telnet("ping")
        telnet.forget()
        telnet.connection.dataReceived(b"\x10\r" * 512)
        self.assertLess(telnet.new.count(b"\n"), 50)

    def test_what_is_left_of_it_is_nobodys(self) -> None:
        nc = self.pipe("login ann 1")
        nc.connection.dataReceived(b"exit\n" + b"\n" * 3000)
        nc.settle()
        self.assertTrue(nc.is_over)
        nc.leave()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_line_is_carried_out_while_the_answers_are_not_taken(self) -> None:
        nc = self.pipe("login ann 1")
        producer = IPushProducer(nc.connection)
        nc.send("help\n" * 10)
        nc.forget()
        nc.send("help\n")
        producer.pauseProducing()
        nc.send("help\n")
        self.assertEqual(nc.text.count("register"), 1)
        producer.resumeProducing()
        nc.settle()
        self.assertEqual(nc.text.count("register"), 1)

    def test_nor_those_that_wait_already(self) -> None:
        nc = self.pipe()
        nc.send("encoding\n" * (BURST + 10))
        IPushProducer(nc.connection).pauseProducing()
        nc.forget()
        self.network.advance(10.0)
        self.assertEqual(nc.new, b"")
        IPushProducer(nc.connection).resumeProducing()
        self.network.advance(10.0)
        self.assertEqual(nc.text.count("Encoding"), 9)

    def test_many_lines_at_once_stop_the_reading(self) -> None:
        go_on = self.hold("ping")
        nc = self.pipe("login ann 1")
        nc.send("ping\n" * 70)
        self.assertFalse(nc.socket.reading)
        go_on()
        nc.settle()
        self.assertTrue(nc.socket.reading)
        self.assertEqual(nc.text.count("Pong!"), 70)


class NotReadingTests(GatewayCase):
    def setUp(self) -> None:
        super().setUp()
        self.befriend("ann", "bob")
        self.nc = self.visitor()
        self.nc.socket.handle = WireSocket()
        self.nc.send("login ann 1\n")
        self.links = [*self.network.links]
        self.bob = self.pipe("login bob 1")
        self.producer = IPushProducer(self.nc.connection)

    def test_nothing_more_is_taken_from_peer_or_service(self) -> None:
        self.producer.pauseProducing()
        self.producer.pauseProducing()
        self.assertFalse(self.nc.socket.reading)
        self.assertEqual([link for link in self.network.links if link.held_up], self.links)
        self.bob.send("send ann hello\n")
        self.assertNotIn("hello", self.nc.text)
        self.producer.resumeProducing()
        self.producer.resumeProducing()
        self.assertTrue(self.nc.socket.reading)
        self.assertFalse(any(link.held_up for link in self.network.links))
        self.nc.settle()
        self.assertIn("hello", self.nc.text)

    def test_what_is_connected_meanwhile_is_held_up_too(self) -> None:
        self.network.cut(APP_1)
        self.producer.pauseProducing()
        before = len(self.network.connected)
        self.network.advance(3.0)
        self.assertGreater(len(self.network.connected), before)
        anns = [link for link in self.network.links if "listen token1 0" in link.requests]
        self.assertTrue(anns and all(link.held_up for link in anns))

    def test_who_takes_nothing_is_left(self) -> None:
        self.producer.pauseProducing()
        self.network.advance(29.0)
        self.assertFalse(self.nc.is_over)
        self.network.advance(1.1)
        self.assertTrue(self.nc.is_over)

    def test_who_takes_little_is_not(self) -> None:
        self.producer.pauseProducing()
        for _ in range(5):
            self.nc.socket.handle.acknowledged += 1
            self.network.advance(30.0)
        self.assertFalse(self.nc.is_over)
        self.producer.resumeProducing()
        self.network.advance(100.0)
        self.assertFalse(self.nc.is_over)


class EndingTests(GatewayCase):
    def test_the_gateway_stops(self) -> None:
        visitors = [self.visitor(), self.pipe("login ann 1")]
        gone = self.factory.close_all(2.0)
        for visitor in visitors:
            self.assertTrue(visitor.text.endswith(f"{STOPPING}\n"))
            self.assertTrue(visitor.is_over)
            self.assertNoResult(gone)
            visitor.leave()
        self.successResultOf(gone)
        self.assertIsNone(self.factory.buildProtocol(IPv4Address("TCP", "192.0.2.7", 1)))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_does_not_wait_for_ever(self) -> None:
        nc = self.pipe("login ann 1")
        self.factory.close_all(1.0)
        self.assertEqual(nc.socket.aborted, 0)
        self.network.advance(1.1)
        self.assertEqual(nc.socket.aborted, 1)
        nc.leave()

    def test_nobody_is_there(self) -> None:
        self.successResultOf(self.factory.close_all(2.0))

    def test_what_comes_behind_the_end_is_not_read(self) -> None:
        nc = self.pipe("exit")
        nc.forget()
        nc.send("ping\n")
        self.assertEqual(nc.new, b"")

    def test_a_peer_that_stays_is_left(self) -> None:
        nc = self.pipe("exit")
        self.network.advance(20.0)
        IHalfCloseableProtocol(nc.connection).writeConnectionLost()
        self.network.advance(LINGER - 0.1)
        self.assertEqual(nc.socket.aborted, 0)
        self.network.advance(0.2)
        self.assertEqual(nc.socket.aborted, 1)
        self.network.advance(30.0)
        self.assertEqual(nc.socket.aborted, 1)

    def test_one_that_does_not_take_what_was_written_is_left(self) -> None:
        nc = self.pipe("exit")
        self.network.advance(30.1)
        self.assertEqual(nc.socket.aborted, 1)


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


class BackpressureTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.backpressure = Backpressure(lambda address: Endpoint())

    def connect(self) -> tuple[Client, StringTransport]:
        endpoint = self.backpressure.endpoint(Address("192.0.2.1", 1))
        client = self.successResultOf(endpoint.connect(Factory.forProtocol(Client)))
        assert isinstance(client, Client)
        return client, client.transport

    def test_at_first_it_lets_through(self) -> None:
        self.assertEqual(self.connect()[1].producerState, "producing")

    def test_paused_it_lets_nothing_through_until_it_is_resumed(self) -> None:
        before = self.connect()[1]
        self.backpressure.pause()
        during = self.connect()[1]
        self.assertEqual([before.producerState, during.producerState], ["paused"] * 2)
        self.backpressure.resume()
        after = self.connect()[1]
        for each in (before, during, after):
            self.assertEqual(each.producerState, "producing")

    def test_what_is_not_connected_any_more_is_left_alone_and_forgotten(self) -> None:
        gone: list[weakref.ref[Client]] = []
        for _ in range(5):
            client, stream = self.connect()
            client.connectionLost()
            self.backpressure.pause()
            self.assertEqual(stream.producerState, "producing")
            self.backpressure.resume()
            gone.append(weakref.ref(client))
        self.assertEqual([client() for client in gone[:-1]], [None] * 4)
