"""Requests in, replies out: framing, order and limits of a connection (protocol.md, section 1)."""

from functools import partial
from itertools import combinations, pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from bbs.protocols.line import IConnection, LineLimits, Reply
from tests.protocols.line.tools import AtOnce, LineCase, Slow, Wire, echo
from tests.retained import retained


class RequestTests(LineCase, SynchronousTestCase):
    def test_line_ends(self) -> None:
        self.connect()
        self.receive(b"ping\nping all\r\n")
        self.assertEqual(self.answered(), ["ping", "ping all"])

    def test_reply_is_one_line_of_json_in_utf8(self) -> None:
        self.connect()
        self.receive("grüß \u2028 dich\n".encode())
        self.assertEqual(self.wire.value(), '{"status": 0, "line": "grüß \u2028 dich"}\n'.encode())

    def test_what_is_typed_is_kept(self) -> None:
        self.connect()
        self.receive(b"  post  a \t b  \r\n")
        self.assertEqual(self.handler.seen, ["  post  a \t b  "])

    def test_blank_lines_are_ignored(self) -> None:
        self.connect()
        self.receive(b"\n\r\n   \n  \r\nping\n")
        self.receive(b"   ")
        self.silence()
        self.assertEqual(self.handler.seen, ["ping"])

    def test_invalid_utf8_is_answered_in_its_turn(self) -> None:
        self.connect(Slow())
        self.receive(b"a\nb\x80\nc\n")
        self.assertEqual(self.answered(), [])
        self.handler.answer()
        self.assertEqual(self.answered(), ["a", "Invalid UTF-8"])
        self.handler.answer()
        self.assertEqual(self.answered(), ["a", "Invalid UTF-8", "c"])
        self.assertFalse(self.wire.disconnecting)

    def test_every_kind_of_invalid_utf8(self) -> None:
        for wrong in (b"\xc3\x28", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5\x80\x80\x80", b"\xff\xff"):
            self.connect()
            self.receive(b"post " + wrong + b"\n")
            self.assertEqual(
                self.wire.replies(),
                [{"status": 1, "message": "Invalid UTF-8", "code": "invalid-utf-8"}],
                wrong,
            )

    def test_telnet_negotiation_is_no_part_of_a_request(self) -> None:
        self.connect()
        self.receive(b"\xff\xfb\x03\xff\xfd\x01pi\xff\xfa\x18\x00xterm\n\xff\xf0ng\r\n")
        self.assertEqual(self.answered(), ["ping"])

    def test_negotiation_alone_is_no_request(self) -> None:
        self.connect()
        self.receive(b"\xff\xfb\x03")
        self.silence()
        self.assertEqual(self.handler.seen, [])

    def test_connection_is_what_its_interface_says(self) -> None:
        verifyObject(IConnection, self.connect())

    def test_addresses(self) -> None:
        connection = self.connect()
        self.assertEqual(connection.peer_host, "192.168.1.1")
        self.assertEqual(connection.local_host, "10.0.0.1")

    def test_no_addresses_on_a_unix_socket(self) -> None:
        self.connect()
        wire = Wire(UNIXAddress("/run/bbs"), UNIXAddress(None))
        connection: Any = self.factory.buildProtocol(wire.getPeer())
        connection.makeConnection(wire)
        self.assertEqual((connection.peer_host, connection.local_host), ("", ""))


class SegmentationTests(LineCase, SynchronousTestCase):
    limits = LineLimits(max_line=10)

    stream = b"a\r\n\n\xff\xfb\x01b \x80\nc\n" + b"x" * 11 + b"\nd\n"
    replies = ("a", "Invalid UTF-8", "c", "Line too long")

    def converse(self, pieces: list[bytes], pause: float = 0) -> list[object]:
        self.connect()
        for piece in pieces:
            self.receive(piece)
            self.clock.advance(pause)
        self.silence()
        return self.answered()

    def test_every_two_cuts(self) -> None:
        for first, second in combinations(range(len(self.stream) + 1), 2):
            pieces = [self.stream[:first], self.stream[first:second], self.stream[second:]]
            self.assertEqual(self.converse(pieces, 0.049), list(self.replies), pieces)

    def test_byte_by_byte(self) -> None:
        pieces = [bytes([byte]) for byte in self.stream]
        self.assertEqual(self.converse(pieces, 0.049), list(self.replies))

    def test_every_segmentation_of_a_short_stream(self) -> None:
        stream = b"a\r\n\xff\xf6b\n\x80\nc"
        for mask in range(2 ** (len(stream) - 1)):
            pieces = [b""]
            for place, byte in enumerate(stream):
                pieces[-1] += bytes([byte])
                if mask >> place & 1:
                    pieces.append(b"")
            self.assertEqual(self.converse(pieces), ["a", "b", "Invalid UTF-8", "c"], pieces)

    requests = st.one_of(
        st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=4)
        .map(str.encode)
        .filter(lambda line: len(line) <= 10),
        st.sampled_from([b"\x80", b"  ", b"", b"x" * 10, b"x" * 11]),
    )

    @given(
        st.lists(st.tuples(requests, st.sampled_from([b"\n", b"\r\n", b"\xff\xfd\x18\n"]))),
        st.lists(st.integers(0, 100)),
        st.data(),
    )
    def test_any_requests_in_any_pieces_with_slow_answers(
        self, requests: list[tuple[bytes, bytes]], cuts: list[int], data: st.DataObject
    ) -> None:
        stream = b"".join(line + end for line, end in requests)
        expected: list[object] = []
        for line, _ in requests:
            if len(line) > 10:
                expected.append("Line too long")
                break
            if line == b"\x80":
                expected.append("Invalid UTF-8")
            elif line.strip(b" "):
                expected.append(line.decode())
        edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        self.connect(Slow())
        for start, end in pairwise(edges):
            if not self.wire.disconnecting:
                self.receive(stream[start:end])
            while self.handler.waiting and data.draw(st.booleans()):
                self.handler.answer()
        while self.handler.waiting:
            self.handler.answer()
        self.assertEqual(self.answered(), expected)


class TooLongTests(LineCase, SynchronousTestCase):
    limits = LineLimits(max_line=100)

    def test_the_longest_line(self) -> None:
        self.connect()
        self.receive(b"x" * 100 + b"\r\n")
        self.assertEqual(self.answered(), ["x" * 100])

    def test_one_byte_more(self) -> None:
        self.connect()
        self.receive(b"x" * 101 + b"\nping\n")
        self.assertEqual(
            self.wire.replies(),
            [{"status": 1, "message": "Line too long", "code": "line-too-long"}],
        )
        self.assertTrue(self.wire.disconnecting)
        self.assertEqual(self.handler.seen, [])

    def test_without_a_line_end(self) -> None:
        self.connect()
        self.receive(b"x" * 102)
        self.assertEqual(self.answered(), ["Line too long"])
        self.assertTrue(self.wire.disconnecting)

    def test_unterminated(self) -> None:
        self.connect()
        self.receive(b"x" * 101)
        self.silence()
        self.assertEqual(self.answered(), ["Line too long"])

    def test_behind_earlier_requests(self) -> None:
        self.connect(Slow())
        self.receive(b"a\nb\n" + b"x" * 500)
        self.assertFalse(self.wire.reading)
        self.handler.answer()
        self.assertEqual(self.answered(), ["a"])
        self.handler.answer()
        self.assertEqual(self.answered(), ["a", "b", "Line too long"])
        self.assertTrue(self.wire.disconnecting)

    def test_reading_stops_while_an_earlier_request_is_in_progress(self) -> None:
        self.connect(Slow())
        self.receive(b"a\n")
        read = 0
        while self.wire.reading and read < 1000:
            self.receive(b"x" * 10)
            read += 10
        self.assertEqual(read, 110)
        self.handler.answer()
        self.assertEqual(self.answered(), ["a", "Line too long"])

    def test_what_comes_behind_is_thrown_away(self) -> None:
        self.connect()
        before = retained(self.connection)
        self.receive(b"x" * 10_000)
        self.receive(b"y" * 10_000 + b"\nping\n")
        self.silence()
        self.assertEqual(self.answered(), ["Line too long"])
        self.assertLess(retained(self.connection) - before, 1000)


class PipeliningTests(LineCase, SynchronousTestCase):
    limits = LineLimits(max_pipelined=64)

    def test_one_request_at_a_time_in_order(self) -> None:
        self.connect(Slow())
        self.receive(b"a\nb\nc\n")
        self.assertEqual(self.handler.seen, ["a"])
        self.handler.answer()
        self.assertEqual(self.handler.seen, ["a", "b"])
        self.handler.answer()
        self.handler.answer()
        self.assertEqual(self.answered(), ["a", "b", "c"])

    def test_reading_stops_at_64_waiting_and_resumes_when_none_waits(self) -> None:
        self.connect(Slow())
        self.receive(b"first\n" + b"x\n" * 63)
        self.assertTrue(self.wire.reading)
        self.receive(b"x\n")
        self.assertFalse(self.wire.reading)
        for _ in range(63):
            self.handler.answer()
        self.assertFalse(self.wire.reading)
        self.handler.answer()
        self.assertTrue(self.wire.reading)
        self.assertEqual(self.handler.seen, ["first"] + ["x"] * 64)

    def test_a_tail_is_not_ended_while_nobody_reads_on(self) -> None:
        self.connect(Slow())
        self.receive(b"first\n" + b"x\n" * 64 + b"ta")
        self.clock.advance(10)
        for _ in range(64):
            self.handler.answer()
        self.assertTrue(self.wire.reading)
        self.clock.advance(0.049)
        self.receive(b"il\n")
        self.handler.answer()
        self.assertEqual(self.handler.seen[-1], "tail")

    def test_a_tail_is_ended_by_silence_once_read_on(self) -> None:
        self.connect(Slow())
        self.receive(b"first\n" + b"x\n" * 64 + b"tail")
        for _ in range(64):
            self.handler.answer()
        self.silence()
        self.handler.answer()
        self.assertEqual(self.handler.seen[-1], "tail")

    def test_much_that_is_answered_at_once_lets_others_have_their_turn(self) -> None:
        self.connect()
        self.receive(b"x\n" * 200)
        self.assertEqual(len(self.handler.seen), 64)
        self.assertFalse(self.wire.reading)
        self.clock.advance(0)
        self.assertEqual(len(self.handler.seen), 200)
        self.assertTrue(self.wire.reading)

    def test_a_handler_that_answers_at_once_does_not_nest(self) -> None:
        self.connect(Slow())
        self.receive(b"x\n" * 5000)
        self.handler.handle = self.handler_class.handle.__get__(self.handler)
        self.handler.answer()
        self.clock.pump([0] * 100)
        self.assertEqual(len(self.answered()), 5000)


class AtOncePipeliningTests(PipeliningTests):
    handler_class = AtOnce


class HandlerTests(LineCase, SynchronousTestCase):
    def test_a_failure_is_answered_with_a_reference_that_the_log_has(self) -> None:
        logged: list[LogEvent] = []
        observer: Any = logged.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.connect()
        self.handler.handle = lambda line, connection: fail(RuntimeError("secret"))
        self.receive(b"register ann sesame\n")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        (reply,) = self.wire.replies()
        self.assertEqual(reply["status"], 1)
        self.assertRegex(str(reply["message"]), r"^Internal error [0-9a-f]{8}$")
        self.assertNotIn(b"secret", self.wire.value())
        (event,) = logged
        self.assertEqual(formatEvent(event), reply["message"])
        self.assertNotIn("sesame", str(event))
        self.assertFalse(self.wire.disconnecting)

    def test_references_differ(self) -> None:
        self.connect()
        self.handler.handle = lambda line, connection: 1 / 0
        self.receive(b"a\nb\n")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        first, second = self.answered()
        self.assertNotEqual(first, second)

    def test_a_reply_that_is_no_json_is_a_failure(self) -> None:
        self.connect()
        for body in ({"x": object()}, {"x": "\ud800"}):
            self.handler.reply = partial(lambda body, line: Reply(body), body)
            self.receive(b"a\n")
        self.assertEqual(len(self.flushLoggedErrors(TypeError, UnicodeEncodeError)), 2)
        self.assertEqual([str(a).split(" ")[0] for a in self.answered()], ["Internal"] * 2)

    def test_a_reply_that_closes(self) -> None:
        self.connect()
        self.handler.reply = lambda line: Reply(echo(line), close=line == "quit")
        self.receive(b"a\nquit\nb\n")
        self.assertEqual(self.answered(), ["a", "quit"])
        self.assertEqual(self.handler.seen, ["a", "quit"])
        self.assertTrue(self.wire.disconnecting)

    def test_after_comes_behind_the_reply_and_before_the_next(self) -> None:
        self.connect()

        def event() -> None:
            self.connection.send_event({"line": "event"})

        self.handler.reply = lambda line: Reply(echo(line), after=event)
        self.receive(b"a\nb\n")
        self.assertEqual(self.answered(), ["a", "event", "b", "event"])

    def test_a_failure_of_after_is_logged_and_not_answered(self) -> None:
        self.connect()
        after: Any = lambda: 1 / 0  # noqa: E731
        self.handler.reply = lambda line: Reply(echo(line), after=after)
        self.receive(b"a\nb\n")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual(self.answered(), ["a", "b"])

    def test_events_do_not_wait_for_replies(self) -> None:
        self.connect(Slow())
        self.receive(b"a\n")
        self.connection.send_event({"line": "event"})
        self.handler.answer()
        self.assertEqual(self.answered(), ["event", "a"])

    def test_connection_lost_cancels_what_is_in_progress_then_tells(self) -> None:
        self.connect(Slow())
        order: list[str] = []
        self.handler.handle = lambda line, connection: Deferred(lambda _: order.append("cancelled"))
        self.handler.connection_lost = lambda connection: order.append("lost")
        self.receive(b"a\nb\n")
        self.connection.connectionLost(None)
        self.assertEqual(order, ["cancelled", "lost"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_answer_after_the_connection_was_lost_goes_nowhere(self) -> None:
        self.connect()
        late: Deferred[Reply] = Deferred(lambda _: None)
        stubborn: Deferred[Reply] = Deferred()
        late.addErrback(lambda _: stubborn)
        self.handler.handle = lambda line, connection: late
        self.receive(b"a\nb\n")
        self.connection.connectionLost(None)
        stubborn.callback(Reply(echo("a"), after=lambda: self.fail("called")))
        self.connection.send_event(echo("event"))
        self.assertEqual(self.answered(), [])
        self.successResultOf(self.factory.close_all())

    def test_a_failure_after_the_connection_was_lost_is_logged(self) -> None:
        self.connect()
        broken: Deferred[Reply] = Deferred(lambda d: d.errback(ValueError()))
        self.handler.handle = lambda line, connection: broken
        self.receive(b"a\n")
        self.connection.connectionLost(None)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.answered(), [])

    def test_connection_lost_is_told_once_for_each(self) -> None:
        first = self.connect()
        second = self.another()
        first.connectionLost(None)
        self.assertEqual(self.handler.lost, [first])
        second.connectionLost(None)
        self.assertEqual(self.handler.lost, [first, second])

    def test_a_failure_of_connection_lost_is_logged(self) -> None:
        self.connect()
        self.handler.connection_lost = lambda connection: 1 / 0
        self.connection.connectionLost(None)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_what_is_no_answer_is_a_failure(self) -> None:
        self.connect()
        self.handler.handle = lambda line, connection: None
        self.receive(b"a\nb\n")
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 2)
        self.assertEqual([str(a).split(" ")[0] for a in self.answered()], ["Internal"] * 2)


class AtOnceHandlerTests(HandlerTests):
    handler_class = AtOnce

    def test_between_answers_that_wait(self) -> None:
        self.connect(Slow())
        later = self.handler.handle

        def handle(line: str, connection: IConnection) -> Reply | Deferred[Reply]:
            return Reply(echo(line)) if line == "now" else later(line, connection)

        self.handler.handle = handle
        self.receive(b"now\na\nnow\nb\nnow")
        self.connection.readConnectionLost()
        self.assertEqual(self.answered(), ["now"])
        self.handler.answer()
        self.assertEqual(self.answered(), ["now", "a", "now"])
        self.handler.answer()
        self.assertEqual(self.answered(), ["now", "a", "now", "b", "now"])
        self.assertTrue(self.wire.disconnecting)
