"""Telnet sequences are told from text, or stripped from it, wherever the stream is cut."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bbs.protocols.telnet import (
    WILL,
    Negotiation,
    Subnegotiation,
    TelnetCommand,
    TelnetReader,
    Token,
)
from tests.retained import retained

WILL_ECHO = b"\xff\xfb\x01"
DONT_LINE_MODE = b"\xff\xfe\x22"
ARE_YOU_THERE = b"\xff\xf6"
WINDOW_SIZE = b"\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0"
WIDE_WINDOW = b"\xff\xfa\x1f\xff\xff\x00\x18\xff\xf0"  # a doubled IAC is a byte of the size

sequences = st.sampled_from([WILL_ECHO, DONT_LINE_MODE, ARE_YOU_THERE, WINDOW_SIZE, WIDE_WINDOW])
plain = st.binary(max_size=6).map(lambda data: data.replace(b"\xff", b""))
literal = st.just(b"\xff\xff")
streams = st.lists(st.one_of(sequences, plain, literal), max_size=8)


def strip(*pieces: bytes) -> bytes:
    telnet = TelnetReader(0)
    return b"".join(telnet.text(piece) for piece in pieces)


def text_of(piece: bytes) -> bytes:
    """What a piece of a stream is once stripped."""
    if piece == b"\xff\xff":
        return b"\xff"
    return b"" if piece.startswith(b"\xff") else piece


class TelnetTests(SynchronousTestCase):
    def test_plain_text_is_left_alone(self) -> None:
        self.assertEqual(strip(b"ping\r\n"), b"ping\r\n")

    def test_each_kind_of_sequence(self) -> None:
        for sequence in (WILL_ECHO, DONT_LINE_MODE, ARE_YOU_THERE, WINDOW_SIZE, WIDE_WINDOW):
            self.assertEqual(strip(b"pi" + sequence + b"ng"), b"ping", sequence)

    def test_every_negotiation_of_every_option(self) -> None:
        for verb in (0xFB, 0xFC, 0xFD, 0xFE):
            for option in range(256):
                self.assertEqual(strip(bytes((0xFF, verb, option)) + b"x"), b"x")

    def test_doubled_is_literal(self) -> None:
        self.assertEqual(strip(b"a\xff\xffb"), b"a\xffb")
        self.assertEqual(strip(b"a\xff", b"\xffb"), b"a\xffb")

    def test_before_a_byte_that_is_no_command_it_is_text(self) -> None:
        self.assertEqual(strip(b"a\xff\nb"), b"a\xff\nb")
        self.assertEqual(strip(b"a\xff", b"\nb"), b"a\xff\nb")
        self.assertEqual(strip(b"\xff\xeb"), b"\xff\xeb")
        self.assertEqual(strip(b"\xff\xec"), b"")

    def test_every_cut_of_every_two_sequences(self) -> None:
        kinds = (WILL_ECHO, ARE_YOU_THERE, WINDOW_SIZE, WIDE_WINDOW, b"\xff\xff")
        for first in kinds:
            for second in kinds:
                stream = b"a" + first + b"b" + second + b"c"
                expected = b"a" + text_of(first) + b"b" + text_of(second) + b"c"
                for cut in range(len(stream) + 1):
                    self.assertEqual(strip(stream[:cut], stream[cut:]), expected)
                self.assertEqual(strip(*(bytes([byte]) for byte in stream)), expected)

    @given(streams, st.lists(st.integers(0, 80)))
    def test_any_stream_in_any_pieces(self, stream: list[bytes], cuts: list[int]) -> None:
        data = b"".join(stream)
        edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        pieces = [data[start:end] for start, end in pairwise(edges)]
        self.assertEqual(strip(*pieces), b"".join(map(text_of, stream)))

    def test_a_subnegotiation_without_end_holds_nothing(self) -> None:
        telnet = TelnetReader(0)
        telnet.text(b"\xff\xfa\x18")
        for _ in range(30):
            self.assertEqual(telnet.text(b"\xff\xfax" * 1000), b"")
        self.assertLessEqual(retained(telnet), 1)
        self.assertEqual(telnet.text(b"\xff\xf0ping"), b"ping")


class ReaderTests(SynchronousTestCase):
    def read(self, *pieces: bytes, most: int = 100) -> list[Token]:
        reader = TelnetReader(most)
        return [token for piece in pieces for token in reader.read(piece)]

    def test_each_kind_of_token(self) -> None:
        stream = b"a" + WILL_ECHO + ARE_YOU_THERE + WIDE_WINDOW + b"b"
        self.assertEqual(
            self.read(stream),
            [
                b"a",
                Negotiation(WILL, 1),
                TelnetCommand(0xF6),
                Subnegotiation(31, b"\xff\0\x18"),
                b"b",
            ],
        )

    def test_a_subnegotiation_is_as_long_as_it_may_be(self) -> None:
        whole = b"\xff\xfa\x2a" + b"x" * 99 + b"\xff\xf0"
        self.assertEqual(self.read(whole), [Subnegotiation(42, b"x" * 99)])
        self.assertEqual(self.read(*(bytes([byte]) for byte in whole)), self.read(whole))

    def test_a_longer_or_empty_one_is_passed_over(self) -> None:
        self.assertEqual(self.read(b"\xff\xfa\x2a" + b"x" * 100 + b"\xff\xf0b"), [b"b"])
        self.assertEqual(self.read(b"\xff\xfa\xff\xf0b"), [b"b"])

    def test_one_without_an_end_keeps_no_more(self) -> None:
        reader = TelnetReader(100)
        for _ in range(100):
            self.assertEqual(list(reader.read(b"\xff\xfa" + b"x\xff\xff" * 1000)), [])
        self.assertLessEqual(retained(reader), 101)

    def test_what_is_no_command_within_one_is_passed_over(self) -> None:
        self.assertEqual(self.read(b"\xff\xfa\x1fa\xff\xf6b\xff\xf0"), [Subnegotiation(31, b"ab")])
