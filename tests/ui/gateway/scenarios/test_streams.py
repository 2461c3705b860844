"""Whatever bytes come, cut wherever: nothing breaks, nothing loops, and little is kept.

Streams, BBS_TEST_STREAMS of them, are made of what telnet clients send and what they should not, by
a seed, so that one that breaks something can be had again. Each comes whole, in single bytes, and
cut in two at some place, one in twenty at each place; what comes of it must be the same.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from bbs.client.catalog import CommandCatalog
from bbs.client.replies import ServiceReply
from bbs.client.request import ClientRequest
from bbs.faces.telnet.peer import MOST_SUBNEGOTIATION, TelnetPeer
from bbs.ui.completion import Completion
from bbs.ui.gateway.editor import EditKey
from bbs.ui.gateway.interfaces import IWire
from bbs.ui.gateway.keyboard import InputLine, InputQueue, Keyboard
from bbs.ui.gateway.screen import GatewayScreen, IGatewaySession, LineDisplay
from bbs.ui.output import Timestamps
from tests.retained import retained
from tests.ui.gateway.case import GatewayCase

STREAMS = int(os.environ.get("BBS_TEST_STREAMS", "250"))
SESSIONS = STREAMS // 5
MOST = 40

PARTS = (
    *(b"\r\n", b"\r\0", b"\r", b"\n", b"\0"),
    *(b"a", b"login ann 1", b"ping", b"encoding big5", "né中\U0001f600".encode(), b"\xa4\xa4"),
    *(b"\x7f", b"\x03", b"\x04", b"\x15", b"\t", b"\x1b", b"\x1b[A", b"\x1b[D", b"\x1b[3~"),
    *(b"\xff", b"\xff\xff", b"\xff\xf0", b"\xff\xfa", b"\xff\xf4", b"\xff\xf6", b"\xff\xf7"),
    *(
        b"\xff" + bytes((verb, option))
        for verb in range(0xFB, 0xFF)
        for option in (1, 3, 31, 42, 99)
    ),
    *(
        b"\xff\xfa\x1f\0\x14\0\x18\xff\xf0",
        b"\xff\xfa\x1f\0\0\0\0\xff\xf0",
        b"\xff\xfa\x1f\xff\xf0",
    ),
    *(
        b"\xff\xfa\x2a\x01;BIG5\xff\xf0",
        b"\xff\xfa\x2a\x02BIG5\xff\xf0",
        b"\xff\xfa\x2a\x03\xff\xf0",
    ),
    b"\xff\xfa\x18" + b"x" * (2 * MOST_SUBNEGOTIATION),
    b"x" * (2 * MOST),
)


def streams(count: int) -> Iterator[bytes]:
    chance = random.Random(20_000)
    for _ in range(count):
        parts = chance.choices(PARTS, k=chance.randrange(12))
        if chance.random() < 0.3:
            parts.append(chance.randbytes(8))
        yield b"".join(parts)


@dataclass(frozen=True)
class Outcome:
    """What comes of a stream."""

    lines: Sequence[InputLine | None]
    columns: int
    encoding: str
    edits: bool
    sent: bytes
    said: Sequence[str]


class Screen(GatewayScreen):
    """One that draws nothing; `said` is what was to be shown."""

    def __init__(self, display: LineDisplay, session: IGatewaySession) -> None:
        times = Timestamps(lambda: 0.0)
        super().__init__(Clock(), CommandCatalog(), times, display, session)
        self.said: list[str] = []

    def show(self, text: str) -> None:
        self.said.append(text)

    def draw(self) -> None:
        """Nobody looks."""


@implementer(IGatewaySession, IWire)
class Typist:
    """A keyboard at a peer, with nobody who carries anything out."""

    is_busy = talks = is_pipe = False
    queued = 0

    def __init__(self) -> None:
        self.sent = b""
        self.peer = TelnetPeer(self, MOST, Clock())
        self.lines = InputQueue(MOST)
        self.screen = Screen(LineDisplay(self.peer.write), self)
        self.keyboard = Keyboard(self.peer, self.screen, self.lines, MOST, self)

    # IWire

    def write(self, data: bytes) -> None:
        self.sent += data

    # IGatewaySession

    def completions(self, line: str) -> Sequence[Completion]:
        return ()

    def prompt(self) -> tuple[str, None]:
        return "", None

    def replied(self, request: ClientRequest, reply: ServiceReply) -> None:
        """There is no service."""

    def ask_password(self, prompt: str) -> Deferred[str]:
        raise NotImplementedError

    ask_line = ask_password

    def unread(self) -> bytes:
        return b""

    def show_own(self, line: str) -> bool:
        return False

    def nothing(self) -> None:
        """Nobody wants to know."""

    close = has_asked = hold_lines = changed = give_up = leave = discard_lines = nothing

    def take(self, *pieces: bytes) -> None:
        for piece in pieces:
            for each in self.peer.receive(piece):
                if isinstance(each, EditKey):
                    self.keyboard.key(each)
                else:
                    self.keyboard.typed(each)

    def outcome(self) -> Outcome:
        """What came of it all, with an X and the end of a line behind it: they show what was typed
        before them, and where the cursor was."""
        self.take(b"X\r\0")
        self.lines.end()
        taken = [self.lines.next() for _ in range(len(self.lines) + 1)]
        lines: list[InputLine | None] = []
        for line in taken:
            line.addCallback(lines.append)
        return Outcome(
            lines,
            self.peer.columns,
            self.peer.encoding.name,
            self.peer.edits_here,
            self.sent,
            self.screen.said,
        )

    def retained(self) -> int:
        """How much of what came is still there."""
        return retained(self.peer, self.keyboard, self.lines)


class StreamTests(SynchronousTestCase):
    def outcome(self, *pieces: bytes) -> Outcome:
        typist = Typist()
        typist.take(*pieces)
        return typist.outcome()

    def test_whatever_the_cut_the_same_comes_of_it(self) -> None:
        chance = random.Random(1)
        for number, stream in enumerate(streams(STREAMS)):
            expected = self.outcome(stream)
            self.assertLessEqual(len(expected.sent), 24 + 8 * len(stream), stream)
            places = list(range(len(stream) + 1))
            single = [stream[at : at + 1] for at in places]
            self.assertEqual(self.outcome(*single), expected, stream)
            for cut in [chance.choice(places)] if number % 20 else places:
                found = self.outcome(stream[:cut], stream[cut:])
                self.assertEqual(found, expected, (stream, cut))

    def test_little_is_kept(self) -> None:
        before = Typist().retained()
        for stream in streams(STREAMS):
            typist = Typist()
            typist.take(stream)
            while len(typist.lines):  # They are held up elsewhere.
                typist.lines.next()
            kept = typist.retained() - before
            self.assertLessEqual(kept, MOST_SUBNEGOTIATION + 1 + 32 + 2 * MOST, stream)


class SessionTests(GatewayCase):
    def test_sessions_bear_it(self) -> None:
        for stream in streams(SESSIONS):
            visitor = self.visitor()
            for byte in stream:
                visitor.connection.dataReceived(bytes([byte]))
            visitor.settle()
            self.network.advance(1.1)
            self.assertLess(len(visitor.socket.value()), 2000 + 300 * len(stream))
            visitor.leave()
            self.assertEqual(self.flushLoggedErrors(), [], stream)
        self.assertEqual(self.network.links, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
