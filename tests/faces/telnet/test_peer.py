"""Bytes are text and back, telnet is told from a pipe, and its options are negotiated."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from bbs.faces.telnet.peer import (
    MOST_COLUMNS,
    MOST_NEGOTIATIONS,
    OBTRUSIVE,
    PeerKind,
    TelnetPeer,
)
from bbs.ui.gateway.editor import EditKey
from bbs.ui.gateway.encodings import BIG5, UTF8
from bbs.ui.gateway.interfaces import ITerminal, IWire

OFFER = (
    b"\xff\xfb\x01\xff\xfb\x03\xff\xfb\x00\xff\xfb\x2a"  # WILL ECHO, SGA, BINARY, CHARSET
    b"\xff\xfd\x03\xff\xfd\x00\xff\xfd\x1f\xff\xfd\x2a"  # DO SGA, BINARY, NAWS, CHARSET
)
DO_ECHO = b"\xff\xfd\x01"
AYT = b"\xff\xf6"
DO_CHARSET, WILL_CHARSET = b"\xff\xfd\x2a", b"\xff\xfb\x2a"
REQUEST = b"\xff\xfa\x2a\x01 UTF-8 BIG5\xff\xf0"


def charset(said: bytes) -> bytes:
    return b"\xff\xfa\x2a" + said + b"\xff\xf0"


@implementer(IWire)
class PeerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sent = b""
        self.peer = self.new_peer()

    def new_peer(self) -> TelnetPeer:
        return TelnetPeer(self, 100, self.clock)

    def write(self, data: bytes) -> None:
        self.sent += data

    def close(self) -> None:
        """Nobody closes it here."""

    has_asked = close

    def unread(self) -> bytes:
        return b""

    def receive(self, *pieces: bytes) -> bytes:
        """The text among what comes."""
        found = [each for piece in pieces for each in self.peer.receive(piece)]
        return b"".join(each for each in found if isinstance(each, bytes))

    def answers(self, data: bytes) -> bytes:
        self.sent = b""
        self.receive(data)
        return self.sent


class KindTests(PeerCase):
    def test_interface(self) -> None:
        verifyObject(ITerminal, self.peer)

    def test_what_it_is_says_how_it_is_read(self) -> None:
        for line, keys, pipe in (
            (b"x", False, False),
            (b"x\r\n", True, False),
            (b"x\n", False, True),
        ):
            self.setUp()
            self.receive(line)
            self.assertEqual((self.peer.sends_keys, self.peer.is_pipe), (keys, pipe))
            self.assertIs(self.peer.settled, pipe)

    def test_nothing_is_sent_before_it_is_known(self) -> None:
        self.assertEqual(self.receive(b"login ann"), b"login ann")
        self.assertIs(self.peer.kind, PeerKind.UNKNOWN)
        self.assertEqual(self.sent, b"")

    def test_a_bare_lf_is_a_pipe_for_good(self) -> None:
        self.receive(b"ping\n")
        self.assertIs(self.peer.kind, PeerKind.PIPE)
        self.assertEqual(self.receive(DO_ECHO + b"pong\r\n" + AYT), b"pong\n")
        self.assertIs(self.peer.kind, PeerKind.PIPE)
        self.assertEqual(self.sent, b"")

    def test_a_cr_is_telnet(self) -> None:
        for line in (b"ping\r\n", b"ping\r\0", b"ping\r"):
            self.setUp()
            self.assertEqual(self.receive(line), b"ping\n")
            self.assertIs(self.peer.kind, PeerKind.TELNET)
            self.assertEqual(self.sent, OFFER)

    def test_a_long_line_is_a_pipe(self) -> None:
        self.receive(b"x" * 60, b"x" * 40)
        self.assertIs(self.peer.kind, PeerKind.UNKNOWN)
        self.receive(b"x\r\n")
        self.assertIs(self.peer.kind, PeerKind.PIPE)

    def test_a_sequence_is_telnet(self) -> None:
        for sequence in (b"\xff\xfb\x18", AYT, charset(b"\x03")):
            self.setUp()
            self.receive(sequence)
            self.assertIs(self.peer.kind, PeerKind.TELNET)
            self.assertTrue(self.sent.startswith(OFFER))

    def test_text_for_either(self) -> None:
        self.peer.write("né\n")
        self.receive(b"\n")
        self.peer.write("né\n")
        self.assertEqual(self.sent, "né\nné\n".encode())
        self.setUp()
        self.receive(b"\r")
        self.sent = b""
        self.peer.write("né\n")
        self.assertEqual(self.sent, "né\r\n".encode())


class LineEndTests(PeerCase):
    def test_each_end_of_a_line_is_one(self) -> None:
        self.assertEqual(self.receive(b"a\r\nb\r\0c\rd\ne\r\rf\n\r"), b"a\nb\nc\nd\ne\n\nf\n\n")

    def test_cut_in_the_middle_it_is_one_too(self) -> None:
        self.assertEqual(
            self.receive(b"a\r", b"\nb\r", b"\0c\r", b"d\r", b"\r\n"), b"a\nb\nc\nd\n\n"
        )
        self.setUp()
        self.assertEqual(self.receive(b"a\r", DO_ECHO, b"\nb"), b"a\nb")
        self.assertEqual(self.receive(b"\r", b"\n", b"\n"), b"\n\n")

    @given(st.text("a\r\n\0", max_size=20), st.lists(st.integers(0, 20)))
    def test_cut_anywhere(self, text: str, cuts: list[int]) -> None:
        data = text.encode()
        edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        whole = self.new_peer()
        expected = b"".join(each for each in whole.receive(data) if isinstance(each, bytes))
        self.peer = self.new_peer()
        found = self.receive(*(data[start:end] for start, end in pairwise(edges)))
        self.assertEqual(found, expected)


class NegotiationTests(PeerCase):
    def setUp(self) -> None:
        super().setUp()
        self.receive(b"\r\n")

    def test_it_leaves_echo_to_us_or_not(self) -> None:
        self.assertFalse(self.peer.edits_here)
        self.assertEqual(self.answers(DO_ECHO), b"")
        self.assertTrue(self.peer.edits_here)
        self.assertEqual(self.answers(b"\xff\xfe\x01"), b"\xff\xfc\x01")
        self.assertFalse(self.peer.edits_here)

    def test_it_settles(self) -> None:
        self.assertFalse(self.peer.settled)
        self.receive(bytes(OFFER).translate(bytes.maketrans(b"\xfb\xfd", b"\xfe\xfc")))
        self.assertTrue(self.peer.settled)

    def test_window_size(self) -> None:
        self.assertEqual(self.peer.columns, 0)
        self.receive(b"\xff\xfa\x1f\x01\x04\0\x18\xff\xf0")
        self.assertEqual(self.peer.columns, 260)
        self.receive(b"\xff\xfa\x1f\x01\x04\0\xff\xf0")
        self.receive(b"\xff\xfa\x18\0\x50\0\x18\xff\xf0")
        self.assertEqual(self.peer.columns, 260)

    def test_a_window_is_not_wider_than_a_screen(self) -> None:
        self.receive(b"\xff\xfa\x1f\xff\xff\xff\xff\0\x18\xff\xf0")
        self.assertEqual(self.peer.columns, MOST_COLUMNS)

    def test_it_chooses_among_our_character_sets(self) -> None:
        self.assertEqual(self.answers(DO_CHARSET), REQUEST)
        self.receive(charset(b"\x02big5"))
        self.assertIs(self.peer.encoding, BIG5)

    def test_it_will_have_none_of_them(self) -> None:
        self.receive(DO_CHARSET)
        self.assertEqual(self.answers(charset(b"\x03")), b"")
        self.assertIs(self.peer.encoding, UTF8)

    def test_what_nobody_asked_for_is_not_accepted(self) -> None:
        self.receive(charset(b"\x02BIG5"))
        self.receive(DO_CHARSET + charset(b"\x02KOI8-R"))
        self.assertIs(self.peer.encoding, UTF8)

    def test_we_choose_among_its_character_sets(self) -> None:
        self.assertEqual(self.answers(WILL_CHARSET), b"")
        self.assertEqual(self.answers(charset(b"\x01;KOI8-R;Big5;UTF-8")), charset(b"\x02Big5"))
        self.assertIs(self.peer.encoding, BIG5)
        self.assertEqual(self.answers(charset(b"\x01;KOI8-R")), charset(b"\x03"))
        self.assertEqual(self.answers(charset(b"\x01")), charset(b"\x03"))
        self.assertEqual(self.answers(charset(b"\x01[TTABLE]\x01;UTF-8")), charset(b"\x02UTF-8"))
        self.assertIs(self.peer.encoding, UTF8)

    def test_of_two_requests_ours_stands(self) -> None:
        self.receive(DO_CHARSET)
        self.assertEqual(self.answers(charset(b"\x01;BIG5")), charset(b"\x03"))
        self.receive(charset(b"\x02UTF-8"))
        self.assertEqual(self.answers(charset(b"\x01;BIG5")), charset(b"\x02BIG5"))

    def test_commands_are_keys(self) -> None:
        came = self.peer.receive(b"a" + AYT + b"b\xff\xf1\xff\xf8")
        self.assertEqual([*came], [b"a", EditKey.ARE_YOU_THERE, b"b", EditKey.KILL_LINE])

    def test_without_an_end_it_is_not_listened_to(self) -> None:
        answers = self.answers(b"\xff\xfd\x18" * (MOST_NEGOTIATIONS + 10) + b"text")
        self.assertEqual(self.peer.refused, OBTRUSIVE)
        self.assertEqual(len(answers), 3 * (MOST_NEGOTIATIONS + 1))
        self.clock.advance(60)
        self.assertEqual(self.receive(b"text"), b"")

    def test_a_minute_later_it_may_go_on(self) -> None:
        for _ in range(3):
            self.receive(b"\xff\xfd\x18" * (MOST_NEGOTIATIONS - 1))
            self.clock.advance(60)
        self.receive(b"\xff\xfd\x18" * MOST_NEGOTIATIONS)
        self.assertEqual(self.peer.refused, "")
        self.clock.advance(59)
        self.receive(AYT)
        self.assertEqual(self.peer.refused, OBTRUSIVE)
