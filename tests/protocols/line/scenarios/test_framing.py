"""Every way to cut a stream of bytes gives the same lines."""

from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bbs.protocols.line import LineLimits
from bbs.protocols.line.connection import LineBuffer

LIMITS = LineLimits(max_line=12)
TOO_LONG = object()


def lines(*pieces: bytes, limits: LineLimits = LIMITS) -> list[object]:
    """The lines of a stream that comes in pieces, as a connection takes them."""
    buffer = LineBuffer(limits)
    found: list[object] = []

    def take() -> bool:
        while (line := buffer.take()) is not None:
            if len(line) > limits.max_line:
                found.append(TOO_LONG)
                return False
            found.append(line)
        return True

    for piece in pieces:
        buffer.add(piece)
        if not take():
            return found
    buffer.end_tail()
    take()
    return found


def segmentations(stream: bytes, at_most: int) -> list[list[bytes]]:
    """Every way to cut `stream` at up to `at_most` places."""
    ways = []
    for count in range(at_most + 1):
        for cuts in combinations(range(1, len(stream)), count):
            edges = (0, *cuts, len(stream))
            ways.append([stream[a:b] for a, b in pairwise(edges)])
    return ways


class LineBufferTests(SynchronousTestCase):
    def test_line_ends(self) -> None:
        self.assertEqual(lines(b"a\nb\r\nc\r\rd\n\n\r\n"), [b"a", b"b", b"c\r\rd", b"", b""])

    def test_only_one_carriage_return_belongs_to_the_end(self) -> None:
        self.assertEqual(lines(b"a\r\r\n"), [b"a\r"])

    def test_tail_becomes_a_line(self) -> None:
        self.assertEqual(lines(b"a\nb"), [b"a", b"b"])
        self.assertEqual(lines(b"a\r"), [b"a"])

    def test_the_tail_so_far(self) -> None:
        buffer = LineBuffer(LIMITS)
        found = []
        for piece in (b"a", b"b\n", b"c\xff", b"\xf6d"):
            buffer.add(piece)
            found.append(buffer.tail(1000))
        self.assertEqual(found, [b"a", b"", b"c", b"cd"])

    def test_no_tail_no_line(self) -> None:
        buffer = LineBuffer(LIMITS)
        buffer.end_tail()
        buffer.add(b"a\n")
        buffer.end_tail()
        self.assertEqual((buffer.waiting, buffer.has_tail), (1, False))

    def test_longest_line(self) -> None:
        longest = b"x" * LIMITS.max_line
        for end in (b"\n", b"\r\n", b"\r", b""):
            for way in segmentations(longest + end, 1):
                self.assertEqual(lines(*way), [longest], way)

    def test_one_byte_more_is_too_long(self) -> None:
        too_long = b"x" * (LIMITS.max_line + 1)
        for end in (b"\n", b"\r\n", b"\r", b"", b"\nping\n"):
            for way in segmentations(b"a\n" + too_long + end, 1):
                self.assertEqual(lines(*way), [b"a", TOO_LONG], way)

    def test_too_long_shows_before_the_end_of_the_line(self) -> None:
        buffer = LineBuffer(LIMITS)
        buffer.add(b"x" * (LIMITS.max_line + 2))
        self.assertTrue(buffer.is_full)
        self.assertGreater(len(buffer.take() or b""), LIMITS.max_line)

    def test_telnet_sequences_do_not_count(self) -> None:
        self.assertEqual(lines(b"\xff\xfb\x01" * 50 + b"ping\n"), [b"ping"])

    def test_full_of_lines(self) -> None:
        buffer = LineBuffer(LineLimits(max_pipelined=3))
        buffer.add(b"a\nb\n")
        self.assertFalse(buffer.is_full)
        buffer.add(b"c\n")
        self.assertTrue(buffer.is_full)
        buffer.take()
        self.assertFalse(buffer.is_full)

    def test_cleared(self) -> None:
        buffer = LineBuffer(LIMITS)
        buffer.add(b"a\nb")
        buffer.clear()
        self.assertEqual((buffer.take(), buffer.has_tail), (None, False))

    def test_every_segmentation_of_a_short_stream(self) -> None:
        stream = b"a\r\n\xff\xfb\nb\n\nc d\xff\xff\r"
        expected = [b"a", b"b", b"", b"c d\xff"]
        for way in segmentations(stream, len(stream)):
            self.assertEqual(lines(*way), expected, way)

    @given(
        st.lists(
            st.one_of(
                st.binary(max_size=14),
                st.sampled_from(
                    [b"\n", b"\r\n", b"\r", b"\xff\xff", b"\xff\xfa\n\xff\xf0", b"\xff"]
                ),
            )
        ),
        st.lists(st.integers(0, 200)),
    )
    def test_any_stream_in_any_pieces(self, parts: list[bytes], cuts: list[int]) -> None:
        stream = b"".join(parts)
        edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        pieces = [stream[a:b] for a, b in pairwise(edges)]
        self.assertEqual(lines(*pieces), lines(stream))
