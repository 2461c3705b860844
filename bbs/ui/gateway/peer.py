"""The peer at the other end, telnet or a plain pipe such as nc, and its text as bytes.

Telnet clients begin to negotiate only on port 23, if at all, and a pipe must not get a byte of
negotiation. The first line end tells them apart, or a sequence with IAC before it: telnet ends a
line with CR LF or CR NUL, whatever it has agreed on (RFC 854, and 1123, section 3.3.1), and a pipe
with LF.

Text that a terminal cannot show, such as characters that Big5 lacks or malformed bytes, is shown as
an escape such as `\\U0001f600`, so that nothing is lost silently.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache, partial

from twisted.internet.interfaces import IReactorTime
from wcwidth import wcwidth
from zope.interface import Interface

from bbs.protocols import telnet
from bbs.protocols.telnet import Negotiation, Options, Side, Subnegotiation, TelnetReader
from bbs.ui.output import visible_in_line

_ERRORS = "backslashreplace"


@dataclass(frozen=True)
class Encoding:
    """An encoding: IANA's `name`, as in CHARSET (RFC 2066), and the `columns` of a character."""

    name: str
    codec: str
    columns: Callable[[str], int]

    def decoder(self) -> codecs.IncrementalDecoder:
        """A decoder of bytes that may be cut anywhere."""
        return codecs.getincrementaldecoder(self.codec)(_ERRORS)

    def decode(self, data: bytes) -> str:
        return data.decode(self.codec, _ERRORS)

    def encode(self, text: str) -> bytes:
        return text.encode(self.codec, _ERRORS)

    def shown(self, character: str) -> str:
        """A character as shown in a line that is edited."""
        return _shown(self.codec, character)

    def width(self, text: str) -> int:
        return len(text) if is_plain(text) else sum(map(self.columns, text))


def is_plain(text: str) -> bool:
    """Whether each character of a text shows as itself in one column, in any encoding. Most drawn
    text is so, and saves a look at each character."""
    return text.isascii() and text.isprintable()


@lru_cache(maxsize=4096)
def _shown(codec: str, character: str) -> str:
    # Cached, as drawing a line needs this for each character of a row.
    return visible_in_line(character).encode(codec, _ERRORS).decode(codec, _ERRORS)


UTF8 = Encoding("UTF-8", "utf-8", lambda character: max(0, wcwidth(character)))

BIG5 = Encoding("BIG5", "cp950", lambda character: len(character.encode("cp950", "replace")))
"""Code page 950 is Big5 with the characters that ETEN added and Windows kept (碁, 銹, 裏, and box
drawing), as today's terminals show it. Python's `big5` lacks these, and `big5hkscs` lacks ～ and €.
A terminal in Big5 draws every character of two bytes in two columns, box drawing too."""

_NAMES = {"utf-8": UTF8, "utf8": UTF8, "big5": BIG5, "big-5": BIG5, "cp950": BIG5, "csbig5": BIG5}


def named(name: str | bytes) -> Encoding | None:
    text = name if isinstance(name, str) else name.decode("ascii", "replace")
    return _NAMES.get(text.lower())


MOST_SUBNEGOTIATION = 1024
"""Bytes kept of a subnegotiation: enough for a terminal's character sets, not for all there are."""

MOST_NEGOTIATIONS = 500
"""Sequences in a minute: a client sends some twenty at first, and one for each step of a resize."""

REQUEST, ACCEPTED, REJECTED = b"\1", b"\2", b"\3"  # about CHARSET (RFC 2066)

MOST_COLUMNS = 500
"""Columns, and rows, at most that are believed: no screen has more, and each costs work to draw."""

_OURS = (telnet.ECHO, telnet.SUPPRESS_GO_AHEAD, telnet.BINARY, telnet.CHARSET)
_THEIRS = (telnet.SUPPRESS_GO_AHEAD, telnet.BINARY, telnet.NAWS, telnet.CHARSET)
_OFFER = b" UTF-8 BIG5"  # its first character separates the names (RFC 2066)
_LINE_END = re.compile(rb"[\r\n]")
_TABLE = b"[TTABLE]"  # offers a translation table, which is not taken


class PeerKind(Enum):
    """The kind of client at the other end."""

    UNKNOWN = "unknown"
    TELNET = "telnet"
    PIPE = "a plain pipe"


class IGatewayTransport(Interface):
    """The connection to a peer."""

    def write(data: bytes) -> None:
        """Send bytes, unless the connection has ended."""

    def close() -> None:
        """End the connection once all is sent."""

    def has_asked() -> None:
        """Note that the peer has sent a line that is not blank."""

    def unread() -> bytes:
        """The bytes that have come and were not looked at."""


@dataclass(slots=True, eq=False, repr=False)
class GatewayPeer:
    """The other end of one connection; a first line of more than `_room` bytes is not telnet's."""

    _transport: IGatewayTransport
    _room: int
    _clock: IReactorTime
    kind: PeerKind = PeerKind.UNKNOWN
    columns: int = 0  # of its window, at most `MOST_COLUMNS`; 0 if it has not said
    rows: int = 0
    encoding: Encoding = UTF8
    is_obtrusive: bool = False  # it negotiates without end, so nothing more is taken from it
    _minute: float = field(init=False)  # when the present minute began
    _sequences: int = 0  # in this minute
    _reader: TelnetReader = field(default_factory=partial(TelnetReader, MOST_SUBNEGOTIATION))
    _options: Options = field(default_factory=partial(Options, _OURS, _THEIRS))
    _asked_charset: bool = False
    _after_cr: bool = False

    def __post_init__(self) -> None:
        self._minute = self._clock.seconds()

    @property
    def edits_here(self) -> bool:
        """Whether the peer leaves echo and editing to this side."""
        return self._options.on(Side.OURS, telnet.ECHO)

    @property
    def settled(self) -> bool:
        return self._options.settled

    def write(self, text: str) -> None:
        """Send text, in which LF ends a line."""
        if self.kind is PeerKind.TELNET:
            data = telnet.escaped(self.encoding.encode(text.replace("\n", "\r\n")))
        else:
            data = self.encoding.encode(text)
        self._transport.write(data)

    def receive(self, data: bytes) -> Iterator[bytes | telnet.TelnetCommand]:
        """The peer's text, in which LF ends a line, and its commands; consume the iterator."""
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
        """Tell telnet from a pipe by the end of the first line."""
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
        could = self._options.on(Side.OURS, telnet.CHARSET)
        self._transport.write(self._options.receive(said))
        if self._options.on(Side.OURS, telnet.CHARSET) and not could:
            self._asked_charset = True
            self._transport.write(telnet.subnegotiation(telnet.CHARSET, REQUEST + _OFFER))

    def _subnegotiate(self, said: Subnegotiation) -> None:
        if said.option == telnet.NAWS and len(said.data) == 4:
            self.columns = min(MOST_COLUMNS, int.from_bytes(said.data[:2], "big"))
            self.rows = min(MOST_COLUMNS, int.from_bytes(said.data[2:], "big"))
        elif said.option == telnet.CHARSET:
            verb, names = said.data[:1], said.data[1:]
            if verb == ACCEPTED and self._asked_charset:
                self.encoding = named(names) or self.encoding
            if verb in (ACCEPTED, REJECTED):
                self._asked_charset = False
            elif verb == REQUEST:
                self._transport.write(telnet.subnegotiation(telnet.CHARSET, self._choose(names)))

    def _choose(self, names: bytes) -> bytes:
        """The answer to a request for one of some character sets."""
        if names.startswith(_TABLE):
            names = names[len(_TABLE) + 1 :]  # behind it is a version, of one byte
        separator, names = names[:1] or b" ", names[1:]
        for name in names.split(separator):
            encoding = named(name)
            # Of two requests at once the server's stands (RFC 2066).
            if encoding and not self._asked_charset:
                self.encoding = encoding
                return ACCEPTED + name
        return REJECTED
