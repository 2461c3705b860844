"""How connections wait, are pushed back, and end (protocol.md, section 1)."""

import gc
import socket
import weakref

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from bbs.protocols.connection_state import LINGER
from bbs.protocols.line import LineLimits, Reply
from bbs.protocols.line.connection import LineBuffer
from tests.protocols.line.tools import AtOnce, Echo, LineCase, Slow, SocketWire, echo


class IdleTests(LineCase, SynchronousTestCase):
    limits = LineLimits(idle_timeout=600, first_request=1e6)

    def test_a_silent_connection_ends(self) -> None:
        self.connect()
        self.clock.advance(599)
        self.assertFalse(self.wire.disconnecting)
        self.clock.advance(1)
        self.assertTrue(self.wire.disconnecting)
        self.assertEqual(self.wire.value(), b"")

    def test_requests_are_no_silence(self) -> None:
        self.connect()
        for _ in range(5):
            self.clock.advance(599)
            self.receive(b"a\n")
        self.assertFalse(self.wire.disconnecting)
        self.clock.advance(600)
        self.assertTrue(self.wire.disconnecting)

    def test_a_request_in_progress_is_not_idle(self) -> None:
        self.connect(Slow())
        self.receive(b"a\n")
        self.clock.advance(599)
        self.clock.advance(6000)
        self.assertFalse(self.wire.disconnecting)
        self.handler.answer()
        self.clock.advance(599)
        self.assertFalse(self.wire.disconnecting)
        self.clock.advance(1)
        self.assertTrue(self.wire.disconnecting)

    def test_time_begins_with_the_reply(self) -> None:
        self.connect(Slow())
        self.receive(b"a\n")
        self.clock.advance(600)
        self.clock.advance(300)
        self.handler.answer()
        self.clock.advance(599)
        self.assertFalse(self.wire.disconnecting)
        self.clock.advance(1)
        self.assertTrue(self.wire.disconnecting)

    def test_time_begins_when_the_peer_has_taken_everything(self) -> None:
        self.connect()
        self.clock.advance(590)
        self.wire.fill()
        self.clock.advance(9)
        self.wire.drain()
        self.clock.advance(599)
        self.assertFalse(self.wire.disconnecting)
        self.clock.advance(1)
        self.assertTrue(self.wire.disconnecting)

    def test_what_is_answered_in_a_later_turn_is_no_silence(self) -> None:
        for self.handler_class in (Echo, AtOnce):
            self.connect()
            self.receive(b"x\n" * 65)
            self.clock.advance(599)
            self.assertEqual(len(self.answered()), 65)
            self.clock.advance(599)
            self.assertFalse(self.wire.disconnecting)
            self.clock.advance(1)
            self.assertTrue(self.wire.disconnecting)

    def test_a_persistent_connection_never_idles_out(self) -> None:
        self.connect().persistent = True
        for _ in range(100):
            self.clock.advance(600)
        self.assertFalse(self.wire.disconnecting)

    def test_each_connection_has_its_own_time(self) -> None:
        wires = []
        self.connect()
        wires.append(self.wire)
        for _ in range(5):
            self.clock.advance(100)
            self.another()
            wires.append(self.wire)
        for ended in range(1, 7):
            self.clock.advance(100)
            self.assertEqual(
                [wire.disconnecting for wire in wires], [True] * ended + [False] * (6 - ended)
            )

    def test_two_timers_for_all(self) -> None:
        self.connect()
        for _ in range(100):
            self.another()
        self.assertEqual(len(self.clock.getDelayedCalls()), 2)

    def test_a_transport_that_closes_at_once(self) -> None:
        connection = self.connect()
        self.wire.loseConnection = lambda: connection.connectionLost(None)
        self.clock.advance(600)
        self.assertEqual(self.handler.lost, [connection])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_timer_without_connections(self) -> None:
        first = self.connect()
        second = self.another()
        first.connectionLost(None)
        second.connectionLost(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.another()
        self.clock.advance(600)
        self.assertTrue(self.wire.disconnecting)


class BackPressureTests(LineCase, SynchronousTestCase):
    limits = LineLimits(write_timeout=30, first_request=1e6)

    def test_reading_and_dispatch_stop_until_the_peer_reads(self) -> None:
        self.connect(Slow())
        self.receive(b"a\nb\n")
        self.wire.fill()
        self.assertFalse(self.wire.reading)
        self.handler.answer()
        self.assertEqual(self.handler.seen, ["a"])
        self.wire.drain()
        self.assertEqual(self.handler.seen, ["a", "b"])
        self.assertTrue(self.wire.reading)

    def test_a_reply_that_fills_the_transport_stops_the_next(self) -> None:
        self.connect()
        written = self.wire.write
        self.wire.write = lambda data: (written(data), self.wire.fill(), self.wire.fill())
        self.receive(b"a\nb\nc\n")
        self.assertEqual(self.handler.seen, ["a"])
        self.wire.drain()
        self.assertEqual(self.handler.seen, ["a", "b"])

    def test_writable(self) -> None:
        connection = self.connect()
        calls: list[bool] = []
        connection.on_writable = lambda: calls.append(connection.writable)
        self.assertTrue(connection.writable)
        self.wire.fill()
        self.assertFalse(connection.writable)
        self.assertEqual(calls, [])
        self.wire.drain()
        self.assertEqual(calls, [True])
        self.wire.drain()
        self.assertEqual(calls, [True])

    def test_not_told_when_a_waiting_reply_filled_it_again(self) -> None:
        connection = self.connect()
        connection.on_writable = lambda: self.fail("not writable")
        self.wire.fill()
        self.receive(b"a\n")
        self.handler.reply = lambda line: Reply(echo(line), after=self.wire.fill)
        self.wire.drain()
        self.assertEqual(self.answered(), ["a"])

    def test_nobody_need_want_to_know(self) -> None:
        self.connect()
        self.wire.fill()
        self.wire.drain()
        self.assertTrue(self.connection.writable)

    def test_events_are_still_taken(self) -> None:
        self.connect()
        self.wire.fill()
        self.connection.send_event(echo("event"))
        self.assertEqual(self.answered(), ["event"])

    def test_a_peer_that_takes_nothing_is_cut_off(self) -> None:
        self.connect()
        self.wire.fill()
        self.clock.advance(29)
        self.wire.fill()
        self.assertFalse(self.wire.disconnected)
        self.clock.advance(1)
        self.assertTrue(self.wire.disconnected)
        self.connection.connectionLost(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_peer_that_takes_all_in_time_is_not(self) -> None:
        self.connect()
        for _ in range(3):
            self.wire.fill()
            self.clock.advance(29)
            self.wire.drain()
        self.clock.advance(29)
        self.assertFalse(self.wire.disconnected)

    def test_a_peer_that_takes_a_little_is_not(self) -> None:
        self.wire_class = SocketWire
        self.connect()
        self.wire.fill()
        for _ in range(3):
            self.wire.socket.acknowledged += 1
            self.clock.advance(30)
        self.assertFalse(self.wire.disconnected)
        self.clock.advance(30)
        self.assertTrue(self.wire.disconnected)

    def test_what_was_taken_before_does_not_count(self) -> None:
        self.wire_class = SocketWire
        self.connect()
        self.wire.socket.acknowledged = 5
        self.wire.fill()
        self.clock.advance(30)
        self.assertTrue(self.wire.disconnected)

    def test_the_transport_pushes_back(self) -> None:
        self.connect()
        self.assertTrue(self.wire.streaming)

    def test_a_tail_is_not_ended_while_nobody_reads_on(self) -> None:
        self.connect()
        self.receive(b"pi")
        self.wire.fill()
        self.clock.advance(1)
        self.wire.drain()
        self.receive(b"ng\n")
        self.assertEqual(self.answered(), ["ping"])

    def test_a_pushed_back_connection_is_not_idle(self) -> None:
        self.limits = LineLimits(write_timeout=1000, idle_timeout=600, first_request=1e6)
        self.connect()
        self.wire.fill()
        self.clock.advance(601)
        self.assertFalse(self.wire.disconnecting)


class AtOnceBackPressureTests(BackPressureTests):
    handler_class = AtOnce


class HalfCloseTests(LineCase, SynchronousTestCase):
    def test_the_rest_is_a_request_and_everything_is_answered(self) -> None:
        self.connect()
        self.receive(b"a\nb")
        self.connection.readConnectionLost()
        self.assertEqual(self.answered(), ["a", "b"])
        self.assertTrue(self.wire.disconnecting)

    def test_requests_that_wait_are_answered_before_the_end(self) -> None:
        self.connect(Slow())
        self.receive(b"a\nb\nc")
        self.connection.readConnectionLost()
        for _ in range(3):
            self.assertFalse(self.wire.disconnecting)
            self.handler.answer()
        self.assertEqual(self.answered(), ["a", "b", "c"])
        self.assertTrue(self.wire.disconnecting)

    def test_with_nothing_to_do_it_ends(self) -> None:
        self.connect()
        self.connection.readConnectionLost()
        self.assertTrue(self.wire.disconnecting)

    def test_a_pushed_back_one_gets_its_replies_first(self) -> None:
        self.connect()
        self.wire.fill()
        self.receive(b"a\nb")
        self.connection.readConnectionLost()
        self.assertFalse(self.wire.disconnecting)
        self.wire.drain()
        self.assertEqual(self.answered(), ["a", "b"])
        self.assertTrue(self.wire.disconnecting)

    def test_a_persistent_one_ends_too(self) -> None:
        self.connect().persistent = True
        self.receive(b"listen")
        self.connection.readConnectionLost()
        self.assertEqual(self.answered(), ["listen"])
        self.assertTrue(self.wire.disconnecting)

    def test_no_timer_is_left(self) -> None:
        connection = self.connect(Slow())
        self.receive(b"a\nb")
        connection.readConnectionLost()
        connection.connectionLost(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_while_a_request_is_in_progress_nothing_is_read(self) -> None:
        connection = self.connect(Slow())
        self.receive(b"a\n")
        connection.readConnectionLost()
        self.wire.fill()
        self.assertTrue(self.wire.reading)  # there is nothing to stop reading, nor to resume


class EndTests(LineCase, SynchronousTestCase):
    """On a socket of its own, a connection closes one side at a time."""

    wire_class = SocketWire
    limits = LineLimits(write_timeout=30, max_pipelined=4)

    def test_options_of_the_socket(self) -> None:
        self.connect()
        self.assertTrue(self.wire.keep_alive)
        self.assertTrue(self.wire.no_delay)
        self.assertIn(socket.TCP_KEEPIDLE, self.wire.socket.options)

    def test_its_side_first_and_input_is_thrown_away(self) -> None:
        self.connect()
        self.handler.reply = lambda line: Reply(echo(line), close=True)
        self.receive(b"quit\na\nb\n")
        self.assertTrue(self.wire.write_closed)
        self.assertTrue(self.connection.closed)
        self.assertFalse(self.connection.writable)
        self.assertFalse(self.wire.disconnecting)
        self.assertIsNone(self.wire.producer)
        self.receive(b"c\n")
        self.assertEqual(self.answered(), ["quit"])

    def test_ends_when_the_peer_closes_too(self) -> None:
        self.connect().close()
        self.connection.writeConnectionLost()
        self.clock.advance(LINGER / 2)
        self.assertFalse(self.wire.disconnecting)
        self.connection.readConnectionLost()
        self.assertTrue(self.wire.disconnecting)
        self.connection.connectionLost(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ends_after_the_last_byte_when_the_peer_has_closed_before(self) -> None:
        self.connect().close()
        self.connection.readConnectionLost()
        self.assertFalse(self.wire.disconnecting)
        self.connection.writeConnectionLost()
        self.assertTrue(self.wire.disconnecting)

    def test_ends_when_the_peer_does_not_close(self) -> None:
        self.connect().close()
        self.connection.writeConnectionLost()
        self.clock.advance(LINGER)
        self.assertTrue(self.wire.disconnecting)

    def test_is_cut_off_when_the_peer_does_not_take_the_last_bytes(self) -> None:
        self.connect().close()
        self.clock.advance(30)
        self.assertTrue(self.wire.disconnected)

    def test_reads_on_so_that_input_can_be_thrown_away(self) -> None:
        self.connect(Slow())
        self.receive(b"a\n" * 9)
        self.assertFalse(self.wire.reading)
        self.handler.reply = lambda line: Reply(echo(line), close=True)
        self.handler.answer()
        self.assertTrue(self.wire.reading)
        self.assertTrue(self.wire.write_closed)

    def test_after_a_half_close_there_is_nothing_to_wait_for(self) -> None:
        self.connect()
        self.receive(b"a")
        self.connection.readConnectionLost()
        self.assertFalse(self.wire.write_closed)
        self.assertTrue(self.wire.disconnecting)


class CloseTests(LineCase, SynchronousTestCase):
    def test_the_request_in_progress_is_answered_and_no_other_begun(self) -> None:
        self.connect(Slow())
        self.receive(b"a\nb\n")
        self.connection.close()
        self.assertFalse(self.connection.closed)
        self.handler.answer()
        self.assertTrue(self.connection.closed)
        self.assertEqual(self.answered(), ["a"])
        self.assertEqual(self.handler.seen, ["a"])
        self.assertTrue(self.wire.disconnecting)

    def test_twice(self) -> None:
        self.connect().close()
        self.connection.close()
        self.connection.send_event(echo("event"))
        self.assertEqual(self.wire.value(), b"")

    def test_a_pushed_back_one_leaves_no_timer(self) -> None:
        self.connect()
        self.receive(b"a")
        self.wire.fill()
        self.connection.close()
        self.assertTrue(self.wire.disconnecting)
        self.connection.connectionLost(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_from_within_a_request(self) -> None:
        self.connect()

        def reply(line: str) -> Reply:
            self.connection.close()
            return Reply(echo(line))

        self.handler.reply = reply
        self.receive(b"a\nb\n")
        self.assertEqual(self.answered(), ["a"])
        self.assertTrue(self.wire.disconnecting)

    def test_once_lost(self) -> None:
        self.connect().connectionLost(None)
        self.connection.close()
        self.assertFalse(self.wire.disconnecting)


class CloseAllTests(LineCase, SynchronousTestCase):
    def test_fires_when_the_last_is_gone(self) -> None:
        first = self.connect()
        second = self.another()
        gone = self.factory.close_all()
        self.assertTrue(first.closed and second.closed)
        first.connectionLost(None)
        self.assertNoResult(gone)
        second.connectionLost(None)
        self.assertIsNone(self.successResultOf(gone))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_fires_at_once_without_connections(self) -> None:
        self.connect().connectionLost(None)
        self.assertIsNone(self.successResultOf(self.factory.close_all()))

    def test_takes_no_new_ones(self) -> None:
        self.connect()
        self.factory.close_all()
        self.assertIsNone(self.factory.buildProtocol(self.wire.getPeer()))

    def test_waits_for_requests_in_progress(self) -> None:
        self.connect(Slow())
        self.receive(b"a\n")
        self.factory.close_all()
        self.assertFalse(self.wire.disconnecting)
        self.handler.answer()
        self.assertEqual(self.answered(), ["a"])
        self.assertTrue(self.wire.disconnecting)

    def test_aborts_who_does_not_leave(self) -> None:
        self.connect(Slow())
        self.receive(b"a\n")
        gone = self.factory.close_all(grace=3)
        self.clock.advance(2)
        self.assertFalse(self.wire.disconnected)
        self.clock.advance(1)
        self.assertTrue(self.wire.disconnected)
        self.connection.connectionLost(None)
        self.assertEqual(self.handler.cancelled, ["a"])
        self.successResultOf(gone)

    def test_each_caller_is_told(self) -> None:
        self.connect()
        calls: list[Deferred[None]] = [self.factory.close_all(), self.factory.close_all()]
        self.connection.connectionLost(None)
        for gone in calls:
            self.successResultOf(gone)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class MemoryTests(LineCase, SynchronousTestCase):
    def test_a_connection_has_no_dictionary(self) -> None:
        for each in (self.connect(), LineBuffer(self.limits)):
            self.assertFalse(hasattr(each, "__dict__"))

    def test_a_lost_connection_is_kept_by_nobody(self) -> None:
        gc.freeze()  # What was there before need not be looked through.
        self.addCleanup(gc.unfreeze)
        self.connect()
        self.receive(b"a\nb")
        wire = weakref.ref(self.wire)
        self.connection.connectionLost(None)
        self.handler.lost.clear()
        del self.connection, self.wire
        gc.collect()
        self.assertIsNone(wire())
