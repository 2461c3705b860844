"""Who is at the other end: telnet, or a plain pipe such as nc; and bytes as text for either.

Neither says so. Telnet clients negotiate first on port 23 alone, if at all, and a pipe must not see
a byte of negotiation. But telnet ends a line with CR LF or CR NUL, whatever it has agreed on (RFC
854, and 1123, section 3.3.1), and a pipe sends the line as it was typed, which ends with LF. So the
first line end tells them apart, and before it a sequence that begins with IAC.

What a terminal cannot show is shown as an escape, such as `\\U0001f600`: nothing is lost silently,
neither what others wrote in characters that Big5 lacks, nor bytes that are no text.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from twisted.internet.interfaces import IReactorTime
from wcwidth import wcwidth
from zope.interface import Interface

from bbs.protocols import telnet as options
from bbs.protocols.telnet import (
    Negotiation,
    Options,
    Side,
    Subnegotiation,
    TelnetCommand,
    TelnetReader,
    escaped,
    subnegotiation,
)
from bbs.ui.output import visible_in_line

_ERRORS = "backslashreplace"


@dataclass(frozen=True)
class Encoding:
    """`name` is IANA's, which CHARSET has (RFC 2066); `columns` counts those of a character."""

    name: str
    codec: str
    columns: Callable[[str], int]

    def decoder(self) -> codecs.IncrementalDecoder:
        """Makes text of bytes that are cut anywhere."""
        return codecs.getincrementaldecoder(self.codec)(_ERRORS)

    def decode(self, data: bytes) -> str:
        return data.decode(self.codec, _ERRORS)

    def encode(self, text: str) -> bytes:
        return text.encode(self.codec, _ERRORS)

    def shown(self, character: str) -> str:
        """The characters that show one in a line that is edited."""
        return _shown(self.codec, character)

    def width(self, text: str) -> int:
        """The columns that `text` takes, as `shown` gives it."""
        return len(text) if is_plain(text) else sum(map(self.columns, text))


def is_plain(text: str) -> bool:
    """Whether all of a text is shown as itself, each character in a column, in any encoding: as
    most that is drawn is, so that nothing has to be asked about each of its characters."""
    return text.isascii() and text.isprintable()


@lru_cache(maxsize=4096)
def _shown(codec: str, character: str) -> str:
    # Whenever a line is drawn this is asked about each character of a row.
    return visible_in_line(character).encode(codec, _ERRORS).decode(codec, _ERRORS)


UTF8 = Encoding("UTF-8", "utf-8", lambda character: max(0, wcwidth(character)))

BIG5 = Encoding("BIG5", "cp950", lambda character: len(character.encode("cp950", "replace")))
"""Code page 950 is Big5 with the characters that ETEN added and Windows kept (碁, 銹, 裏, and the
lines of boxes), which is what the terminals show that people still have. Python's `big5` lacks
them, and `big5hkscs` lacks ～ and €. A terminal in Big5 draws whatever takes two bytes in two
columns, lines of boxes too."""

_NAMES = {"utf-8": UTF8, "utf8": UTF8, "big5": BIG5, "big-5": BIG5, "cp950": BIG5, "csbig5": BIG5}


def named(name: str) -> Encoding | None:
    """The encoding that somebody calls so, however it is written."""
    return _NAMES.get(name.lower())


MOST_SUBNEGOTIATION = 1024
"""Bytes of a subnegotiation that are kept; a list of all character sets there are is longer, but
those of one terminal are few."""

MOST_NEGOTIATIONS = 500
"""Sequences that are enough for a minute. A client has some twenty at the beginning,
and one for each step of a window that is pulled larger."""

REQUEST, ACCEPTED, REJECTED = 1, 2, 3
"""What is said about CHARSET (RFC 2066)."""

MOST_COLUMNS = 500
"""Columns, and rows, that are believed; no screen has more, and each column is work whenever a line
is drawn."""

_OURS = (options.ECHO, options.SUPPRESS_GO_AHEAD, options.BINARY, options.CHARSET)
_THEIRS = (options.SUPPRESS_GO_AHEAD, options.BINARY, options.NAWS, options.CHARSET)
_OFFER = b" UTF-8 BIG5"  # its first character separates the names (RFC 2066)
_LINE_END = re.compile(rb"[\r\n]")
_TABLE = b"[TTABLE]"  # offers a translation table, which is not taken


class PeerKind(Enum):
    """What is at the other end."""

    UNKNOWN = "unknown"
    TELNET = "telnet"
    PIPE = "a plain pipe"


class IGatewayTransport(Interface):
    """The connection to a peer, as what speaks to that peer uses it."""

    def write(data: bytes) -> None:
        """Send bytes, unless the connection has ended."""

    def close() -> None:
        """End the connection once all is sent."""

    def has_asked() -> None:
        """Note that the peer has asked for something."""


class GatewayPeer:
    """The other end of one connection, which `transport` leads to. `max_line` is in bytes; whoever
    begins with a longer line is no telnet at a terminal."""

    __slots__ = (
        "_after_cr",
        "_asked_charset",
        "_clock",
        "_minute",
        "_options",
        "_reader",
        "_room",
        "_sequences",
        "_transport",
        "columns",
        "encoding",
        "is_obtrusive",
        "kind",
        "rows",
    )

    def __init__(self, transport: IGatewayTransport, max_line: int, clock: IReactorTime) -> None:
        self.kind = PeerKind.UNKNOWN
        self.columns = 0
        """Those of its window, `MOST_COLUMNS` at most; 0 where it has not said."""
        self.rows = 0
        """The rows of its window, likewise."""
        self.encoding: Encoding = UTF8
        self.is_obtrusive = False
        """Whether it negotiates without an end; then nothing is taken from it any more."""
        self._transport = transport
        self._clock = clock
        self._minute = clock.seconds()  # when it began
        self._sequences = 0  # in that minute
        self._reader = TelnetReader(MOST_SUBNEGOTIATION)
        self._options = Options(_OURS, _THEIRS)
        self._asked_charset = False
        self._after_cr = False
        self._room = max_line  # of the first line, while it has no end

    @property
    def edits_here(self) -> bool:
        """Whether it leaves it to this side to show what is typed."""
        return self._options.on(Side.OURS, options.ECHO)

    @property
    def settled(self) -> bool:
        """Whether it has answered whatever it was asked."""
        return self._options.settled

    def write(self, text: str) -> None:
        """Send text, in which LF ends a line."""
        if self.kind is not PeerKind.TELNET:
            return self._transport.write(self.encoding.encode(text))
        return self._transport.write(escaped(self.encoding.encode(text.replace("\n", "\r\n"))))

    def receive(self, data: bytes) -> Iterator[bytes | TelnetCommand]:
        """Its text, in which LF ends a line, and its commands; to be read to the end."""
        for token in self._reader.read(data):
            if self.is_obtrusive:
                return
            if isinstance(token, bytes):
                if self.kind is PeerKind.UNKNOWN:
                    self._look_at(token)
                yield self._with_plain_ends(token)
            elif self.kind is not PeerKind.PIPE:
                self._is_telnet()
                self._count()
                if isinstance(token, Negotiation):
                    self._negotiate(token)
                elif isinstance(token, Subnegotiation):
                    self._subnegotiate(token)
                else:
                    yield token

    def _look_at(self, text: bytes) -> None:
        """Go by how the first line ends."""
        end = _LINE_END.search(text)
        self._room -= end.start() if end else len(text)
        if self._room < 0 or (end and end[0] == b"\n"):
            self.kind = PeerKind.PIPE
        elif end:
            self._is_telnet()

    def _is_telnet(self) -> None:
        if self.kind is PeerKind.UNKNOWN:
            self.kind = PeerKind.TELNET
            self._transport.write(self._options.offer())

    def _count(self) -> None:
        now = self._clock.seconds()
        if now >= self._minute + 60:
            self._minute, self._sequences = now, 0
        self._sequences += 1
        self.is_obtrusive = self._sequences > MOST_NEGOTIATIONS

    def _with_plain_ends(self, text: bytes) -> bytes:
        """CR LF, CR NUL, CR and LF are one line end each, wherever they are cut."""
        if self._after_cr and text[:1] in (b"\n", b"\0"):
            text = text[1:]
            self._after_cr = False
        if text:
            self._after_cr = text.endswith(b"\r")
        return text.replace(b"\r\n", b"\n").replace(b"\r\0", b"\n").replace(b"\r", b"\n")

    def _negotiate(self, said: Negotiation) -> None:
        could = self._options.on(Side.OURS, options.CHARSET)
        self._transport.write(self._options.receive(said))
        if self._options.on(Side.OURS, options.CHARSET) and not could:
            self._asked_charset = True
            self._transport.write(subnegotiation(options.CHARSET, bytes((REQUEST,)) + _OFFER))

    def _subnegotiate(self, said: Subnegotiation) -> None:
        if said.option == options.NAWS and len(said.data) == 4:
            self.columns = min(MOST_COLUMNS, int.from_bytes(said.data[:2], "big"))
            self.rows = min(MOST_COLUMNS, int.from_bytes(said.data[2:], "big"))
        elif said.option == options.CHARSET:
            verb, names = said.data[:1], said.data[1:]
            if verb == bytes((ACCEPTED,)) and self._asked_charset:
                self.encoding = _named(names) or self.encoding
            if verb in (bytes((ACCEPTED,)), bytes((REJECTED,))):
                self._asked_charset = False
            elif verb == bytes((REQUEST,)):
                self._transport.write(subnegotiation(options.CHARSET, self._choose(names)))

    def _choose(self, names: bytes) -> bytes:
        """The answer to a request for one of some character sets."""
        if names.startswith(_TABLE):
            names = names[len(_TABLE) + 1 :]  # behind it is a version, of one byte
        separator, names = names[:1] or b" ", names[1:]
        for name in names.split(separator):
            encoding = _named(name)
            # Of two requests at once the server's stands (RFC 2066).
            if encoding and not self._asked_charset:
                self.encoding = encoding
                return bytes((ACCEPTED,)) + name
        return bytes((REJECTED,))


def _named(name: bytes) -> Encoding | None:
    return named(name.decode("ascii", "replace"))
