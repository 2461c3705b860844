"""What the line protocol does with peers that say nothing, say it slowly, or are too many."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.limits.connections import Admission, Networks
from bbs.protocols.line import LineFactory, LineLimits, Reply
from bbs.protocols.line.connection import AT_ONCE, PAUSE, IdleTimeouts
from tests.protocols.line.tools import Echo, LineCase, Slow, Wire

TIMED_OUT = {"status": 1, "message": "Request timed out", "code": "request-timed-out"}
TOO_MANY = {"status": 1, "message": "Too many connections", "code": "too-many-connections"}


class FirstRequestTests(LineCase, SynchronousTestCase):
    limits = LineLimits(first_request=60)

    def test_who_asks_nothing_is_told_so(self) -> None:
        self.connect()
        self.clock.advance(59)
        self.assertEqual(self.wire.replies(), [])
        self.clock.advance(1)
        self.assertEqual(self.wire.replies(), [TIMED_OUT])
        self.assertTrue(self.wire.disconnecting)

    def test_blank_lines_ask_nothing(self) -> None:
        self.connect()
        for _ in range(6):
            self.receive(b"\n \r\n")
            self.clock.advance(10)
        self.assertEqual(self.wire.replies(), [TIMED_OUT])

    def test_one_request_is_enough(self) -> None:
        self.connect()
        self.clock.advance(59)
        self.receive(b"a\n")
        self.clock.advance(500)
        self.assertEqual(self.answered(), ["a"])
        self.assertFalse(self.wire.disconnecting)

    def test_each_has_its_own_time(self) -> None:
        self.connect()
        first = self.wire
        self.clock.advance(30)
        self.another()
        self.clock.advance(30)
        self.assertTrue(first.disconnecting)
        self.assertFalse(self.wire.disconnecting)
        self.clock.advance(30)
        self.assertTrue(self.wire.disconnecting)

    def test_nothing_is_left_of_those_that_have_gone(self) -> None:
        self.connect().connectionLost(None)
        self.another().connectionLost(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class SlowLineTests(LineCase, SynchronousTestCase):
    limits = LineLimits(line_timeout=10, unterminated_timeout=0.05, idle_timeout=600)

    def drip(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.04)):
            if self.wire.disconnecting:
                return
            self.receive(b"x")
            self.clock.advance(0.04)

    def test_a_line_that_goes_on_and_on(self) -> None:
        self.connect()
        self.drip(9.9)
        self.assertEqual(self.wire.replies(), [])
        self.drip(0.2)
        self.assertEqual(self.wire.replies(), [TIMED_OUT])
        self.assertTrue(self.wire.disconnecting)

    def test_each_line_has_its_own_time(self) -> None:
        self.connect()
        for _ in range(5):
            self.drip(9)
            self.receive(b"\n")
        self.assertEqual(len(self.answered()), 5)
        self.assertFalse(self.wire.disconnecting)

    def test_while_the_server_is_behind_nobody_is_late(self) -> None:
        self.connect(Slow())
        self.receive(b"a\n")
        self.drip(30)
        self.assertFalse(self.wire.disconnecting)
        self.handler.answer()
        self.clock.advance(1)
        self.assertEqual(self.answered()[0], "a")

    def test_a_byte_alone_renews_nothing(self) -> None:
        self.limits = LineLimits(idle_timeout=60, unterminated_timeout=30, line_timeout=1e6)
        self.connect()
        self.receive(b"a\n")
        for _ in range(6):
            self.receive(b"x")
            self.clock.advance(10)
        self.assertTrue(self.wire.disconnecting)


class BlankLineTests(LineCase, SynchronousTestCase):
    """They are ignored, and so is whoever sends nothing else for a while."""

    limits = LineLimits(max_pipelined=64, first_request=1e6)

    def test_thousands_of_them_wait(self) -> None:
        self.connect()
        self.receive(b"\n" * 1000 + b"a\n")
        self.clock.pump([0] * 100)
        self.assertEqual(self.answered(), [])
        self.assertFalse(self.wire.reading)
        self.clock.pump([PAUSE] * 16)
        self.assertEqual(self.answered(), ["a"])
        self.assertTrue(self.wire.reading)

    def test_a_few_do_not(self) -> None:
        self.connect()
        self.receive(b"\n" * 60 + b"a\n")
        self.assertEqual(self.answered(), ["a"])


class DoorTests(LineCase, SynchronousTestCase):
    def let_in(self, most: int = 100, per_address: int = 2, descriptors: int | None = None) -> None:
        self.admission = Admission(most, Networks(()), descriptors)
        self.door = self.admission.door(per_address)
        self.connect()

    def come(self, host: str) -> Any:
        self.wire = Wire(peerAddress=IPv4Address("TCP", host, 50000))
        connection = self.factory.buildProtocol(self.wire.getPeer())
        if connection is not None:
            connection.makeConnection(self.wire)
        return connection

    def test_one_too_many_from_an_address(self) -> None:
        self.let_in()
        first = self.come("192.0.2.1")
        self.come("192.0.2.1")
        self.come("192.0.2.1")
        self.assertEqual(self.wire.replies(), [TOO_MANY])
        self.assertTrue(self.wire.disconnecting)
        self.come("192.0.2.2")
        self.assertEqual(self.wire.replies(), [])
        first.connectionLost(None)
        self.come("192.0.2.1")
        self.assertEqual(self.wire.replies(), [])

    def test_one_too_many_for_the_process(self) -> None:
        self.let_in(most=3)
        self.come("192.0.2.1")
        self.come("192.0.2.2")
        self.come("192.0.2.3")
        self.assertEqual(self.wire.replies(), [TOO_MANY])

    def test_who_is_trusted_is_not_counted(self) -> None:
        self.let_in()
        for _ in range(10):
            self.come("192.0.2.1").vouch()
            self.assertEqual(self.wire.replies(), [])

    def test_who_asked_nothing_makes_room(self) -> None:
        """Where descriptors run out, the oldest connection that has asked nothing goes."""
        self.let_in(per_address=100, descriptors=8)
        self.connection.dataReceived(b"a\n")
        self.come("192.0.2.1")
        oldest = self.wire
        self.come("192.0.2.2")
        self.assertEqual(oldest.replies(), [])
        self.come("192.0.2.3")
        self.assertEqual(oldest.replies(), [TOO_MANY])
        self.assertTrue(oldest.disconnecting)
        self.assertFalse(self.wire.disconnecting)

    def crowd(self, handler: Slow | None = None) -> list[Any]:
        """Take all three places, by one address that asks something on each connection."""
        self.admission = Admission(3, Networks(()))
        self.door = self.admission.door(10)
        self.factory = LineFactory(Clock(), handler or Echo(), self.limits, self.door)
        wires = []
        for _ in range(3):
            self.come("192.0.2.1").dataReceived(b"a\n")
            wires.append(self.wire)
        return wires

    def test_who_is_idle_makes_room_for_another_network(self) -> None:
        first, *others = self.crowd()
        self.come("198.51.100.1").dataReceived(b"b\n")
        self.assertEqual(self.wire.replies(), [{"status": 0, "line": "b"}])
        self.assertEqual(first.replies(), [{"status": 0, "line": "a"}, TOO_MANY])
        self.assertTrue(first.disconnecting)
        self.assertFalse(any(wire.disconnecting for wire in others))
        self.come("192.0.2.1")
        self.assertEqual(self.wire.replies(), [TOO_MANY])

    def test_who_awaits_an_answer_does_so_last(self) -> None:
        slow = Slow()
        first, second, third = self.crowd(slow)
        slow.waiting[1].callback(Reply({"status": 0}))
        self.come("198.51.100.1")
        self.assertEqual(self.wire.replies(), [])
        self.assertEqual((first.disconnecting, second.disconnecting), (False, True))
        self.come("203.0.113.1")
        self.assertEqual((first.disconnecting, third.disconnecting), (True, False))
        self.assertEqual(first.replies(), [TOO_MANY])

    def test_nor_does_who_has_a_session(self) -> None:
        wires = self.crowd()
        for connection in [*self.factory.connections]:
            connection.has_session()
            connection.dataReceived(b"c\n")
        self.come("198.51.100.1")
        self.assertEqual(self.wire.replies(), [TOO_MANY])
        self.assertFalse(any(wire.disconnecting for wire in wires))


class OverdueTests(SynchronousTestCase):
    def test_thousands_at_once_take_turns(self) -> None:
        clock = Clock()
        over: list[int] = []
        turns: list[int] = []
        call_later = clock.callLater

        def count(*arguments: Any) -> Any:
            turns.append(len(over))
            return call_later(*arguments)

        clock.callLater = count  # type: ignore[assignment,method-assign]
        overdue = IdleTimeouts[int](clock, 10, over.append)
        for number in range(3 * AT_ONCE):
            overdue.renew(number)
        clock.advance(10)
        self.assertEqual(over, [*range(3 * AT_ONCE)])
        self.assertEqual(turns, [0, AT_ONCE, 2 * AT_ONCE])
        self.assertEqual(clock.getDelayedCalls(), [])
