"""Requests without a line end, as older clients send them (protocol.md, section 1)."""

from itertools import combinations
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs.protocols.line import LineLimits
from tests.protocols.line.tools import LineCase, Slow


class UnterminatedTests(LineCase, SynchronousTestCase):
    def test_silence_ends_a_request(self) -> None:
        self.connect()
        self.receive(b"ping")
        self.clock.advance(0.049)
        self.assertEqual(self.answered(), [])
        self.clock.advance(0.001)
        self.assertEqual(self.answered(), ["ping"])
        self.assertFalse(self.wire.disconnecting)

    def test_more_bytes_in_time_are_the_same_request(self) -> None:
        self.connect()
        for piece in (b"po", b"st a", b" b"):
            self.receive(piece)
            self.clock.advance(0.049)
        self.clock.advance(0.001)
        self.assertEqual(self.answered(), ["post a b"])

    def test_a_line_end_in_time_leaves_no_timer(self) -> None:
        self.connect()
        self.receive(b"ping")
        self.receive(b"\n")
        self.silence()
        self.assertEqual(self.answered(), ["ping"])

    def test_a_line_end_after_the_silence_is_blank(self) -> None:
        self.connect()
        self.receive(b"ping")
        self.silence()
        self.receive(b"\r\n")
        self.assertEqual(self.answered(), ["ping"])

    def test_a_character_cut_by_silence_is_invalid(self) -> None:
        self.connect()
        self.receive("ü".encode()[:1])
        self.silence()
        self.assertEqual(self.answered(), ["Invalid UTF-8"])

    def test_behind_whole_lines(self) -> None:
        self.connect()
        self.receive(b"a\nb")
        self.silence()
        self.assertEqual(self.answered(), ["a", "b"])

    def test_waits_for_its_turn(self) -> None:
        self.connect(Slow())
        self.receive(b"a\nb")
        self.silence()
        self.receive(b"c\n")
        for _ in range(3):
            self.handler.answer()
        self.assertEqual(self.handler.seen, ["a", "b", "c"])

    def test_bytes_that_a_busy_reactor_has_not_read_yet_are_not_silence(self) -> None:
        self.connect()
        self.receive(b"pi")
        # What the reactor does when it comes late: due timers first, then the sockets.
        due: Any = self.clock.getDelayedCalls()[0]
        self.clock.rightNow += 5
        self.clock.calls.remove(due)
        due.called = 1
        due.func()
        self.receive(b"ng\n")
        self.silence()
        self.assertEqual(self.answered(), ["ping"])


class WholeTests(LineCase, SynchronousTestCase):
    """What nothing can be added to is a request without a line end."""

    def no_timer(self) -> bool:
        """Whether none is there but the one for idle connections."""
        return len(self.clock.getDelayedCalls()) == 1

    def test_answered_at_once(self) -> None:
        self.connect()
        self.receive(b"a!")
        self.assertEqual(self.answered(), ["a!"])
        self.assertTrue(self.no_timer())
        self.assertFalse(self.wire.disconnecting)

    def test_in_any_pieces(self) -> None:
        stream = "x\n\xfc y!".encode()
        stream = stream[:1] + b"\xff\xfb\x01" + stream[1:-2] + b"\xff\xf6" + stream[-2:]
        for first, second in combinations(range(len(stream) + 1), 2):
            self.connect()
            for piece in (stream[:first], stream[first:second], stream[second:]):
                self.receive(piece)
            self.assertEqual(self.answered(), ["x", "\xfc y!"], (first, second))
            self.assertTrue(self.no_timer())

    def test_negotiation_behind_it_is_nothing_added(self) -> None:
        self.connect()
        self.receive(b"a!\xff\xfb")
        self.receive(b"\x01")
        self.assertEqual(self.answered(), ["a!"])
        self.assertTrue(self.no_timer())

    def test_a_line_end_that_comes_later_is_blank(self) -> None:
        for pieces in ((b"\n",), (b"\r\n",), (b"\r", b"\n")):
            self.connect()
            self.receive(b"a!")
            for piece in pieces:
                self.receive(piece)
            self.silence()
            self.receive(b"b\n")
            self.assertEqual(self.handler.seen, ["a!", "b"], pieces)
            self.assertEqual(self.answered(), ["a!", "b"], pieces)

    def test_a_carriage_return_is_one_that_has_begun(self) -> None:
        self.connect()
        self.receive(b"a!\r")
        self.assertEqual(self.answered(), [])
        self.receive(b"\n")
        self.assertEqual(self.answered(), ["a!"])

    def test_only_the_last_line_has_none(self) -> None:
        self.connect()
        self.receive(b"a!\nb")
        self.assertEqual(self.answered(), ["a!"])
        self.receive(b"!c\n")
        self.assertEqual(self.answered(), ["a!", "b!c"])

    def test_the_silence_before_it_is_over(self) -> None:
        self.connect()
        self.receive(b"a")
        self.clock.advance(0.049)
        self.receive(b"!")
        self.assertEqual(self.answered(), ["a!"])
        self.assertTrue(self.no_timer())

    def test_waits_for_its_turn(self) -> None:
        self.connect(Slow())
        self.receive(b"a\nb!")
        self.assertTrue(self.no_timer())
        self.receive(b"c!")
        self.assertEqual(self.handler.seen, ["a"])
        for _ in range(3):
            self.handler.answer()
        self.assertEqual(self.handler.seen, ["a", "b!", "c!"])

    def test_behind_more_than_may_wait(self) -> None:
        self.limits = LineLimits(max_pipelined=2)
        self.connect(Slow())
        self.receive(b"a\nb\nc\nd!")
        self.assertFalse(self.wire.reading)
        for _ in range(4):
            self.handler.answer()
        self.assertEqual(self.handler.seen, ["a", "b", "c", "d!"])
        self.assertTrue(self.wire.reading)

    def test_of_a_peer_that_does_not_read(self) -> None:
        self.connect()
        self.receive(b"a")
        self.wire.fill()
        self.receive(b"!")
        self.assertEqual(self.answered(), [])
        self.wire.drain()
        self.assertEqual(self.answered(), ["a!"])

    def test_then_the_peer_closes_its_side(self) -> None:
        self.connect(Slow())
        self.receive(b"a!")
        self.connection.readConnectionLost()
        self.handler.answer()
        self.assertEqual(self.answered(), ["a!"])
        self.assertTrue(self.wire.disconnecting)

    def test_a_long_line_waits_for_its_end(self) -> None:
        self.connect()
        self.handler.is_whole = lambda line: len(line) > 1000
        self.receive(b"x" * 10_000)
        self.assertEqual(self.answered(), [])
        self.silence()
        self.assertEqual(self.answered(), ["x" * 10_000])

    def test_what_is_no_utf8_waits(self) -> None:
        self.connect()
        self.receive(b"\x80!")
        self.assertEqual(self.answered(), [])
        self.silence()
        self.assertEqual(self.answered(), ["Invalid UTF-8"])
