"""The peer at the other end, telnet or a plain pipe such as nc, and its text as bytes.

Telnet clients begin to negotiate only on port 23, if at all, and a pipe must not get a byte of
negotiation. The first line end tells them apart, or a sequence with IAC before it: telnet ends a
line with CR LF or CR NUL, whatever it has agreed on (RFC 854, and 1123, section 3.3.1), and a pipe
with LF.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from socket import SO_OOBINLINE, SOL_SOCKET

from twisted.internet.interfaces import IReactorTime, ITCPTransport, ITransport
from zope.interface import implementer

from bbs.protocols import telnet
from bbs.protocols.connection_state import plain_socket
from bbs.protocols.telnet import Negotiation, Options, Side, Subnegotiation, TelnetReader
from bbs.ui.gateway.connection import Terminals
from bbs.ui.gateway.editor import EditKey
from bbs.ui.gateway.encodings import UTF8, Encoding, named
from bbs.ui.gateway.interfaces import ITerminal, IWire

MOST_SUBNEGOTIATION = 1024
"""Bytes kept of a subnegotiation: enough for a terminal's character sets, not for all there are."""

MOST_NEGOTIATIONS = 500
"""Sequences in a minute: a client sends some twenty at first, and one for each step of a resize."""

OBTRUSIVE = "Too much negotiation. Bye!"

REQUEST, ACCEPTED, REJECTED = b"\1", b"\2", b"\3"  # about CHARSET (RFC 2066)

MOST_COLUMNS = 500
"""Columns, and rows, at most that are believed: no screen has more, and each costs work to draw."""

_OURS = (telnet.ECHO, telnet.SUPPRESS_GO_AHEAD, telnet.BINARY, telnet.CHARSET)
_THEIRS = (telnet.SUPPRESS_GO_AHEAD, telnet.BINARY, telnet.NAWS, telnet.CHARSET)
_OFFER = b" UTF-8 BIG5"  # its first character separates the names (RFC 2066)
_LINE_END = re.compile(rb"[\r\n]")
_TABLE = b"[TTABLE]"  # offers a translation table, which is not taken


_KEYS: Mapping[int, EditKey] = {
    0xEC: EditKey.END_OF_INPUT,  # end of file (RFC 1184)
    0xF3: EditKey.INTERRUPT,  # break
    0xF4: EditKey.INTERRUPT,  # interrupt process
    0xF6: EditKey.ARE_YOU_THERE,
    0xF7: EditKey.BACKSPACE,  # erase character
    0xF8: EditKey.KILL_LINE,  # erase line
}
"""The keys that telnet's commands stand for (RFC 854)."""


class PeerKind(Enum):
    """The kind of client at the other end."""

    UNKNOWN = "unknown"
    TELNET = "telnet"
    PIPE = "a plain pipe"


@implementer(ITerminal)
@dataclass(slots=True, eq=False, repr=False)
class TelnetPeer:
    """The far end of one connection; a first line of more than `_room` bytes is not telnet's."""

    _wire: IWire
    _room: int
    _clock: IReactorTime
    kind: PeerKind = PeerKind.UNKNOWN
    columns: int = 0  # of its window, at most `MOST_COLUMNS`; 0 if it has not said
    rows: int = 0
    encoding: Encoding = UTF8
    refused: str = ""  # why nothing more is taken from it: it negotiates without end
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
        is_telnet = self.kind is PeerKind.TELNET and self._options.settled
        return is_telnet or self.kind is PeerKind.PIPE

    @property
    def sends_keys(self) -> bool:
        return self.kind is PeerKind.TELNET

    @property
    def is_pipe(self) -> bool:
        return self.kind is PeerKind.PIPE

    def write(self, text: str) -> None:
        """Send text, in which LF ends a line."""
        if self.kind is PeerKind.TELNET:
            data = telnet.escaped(self.encoding.encode(text.replace("\n", "\r\n")))
        else:
            data = self.encoding.encode(text)
        self._wire.write(data)

    def hang_up(self) -> None:
        self._wire.close()

    def receive(self, data: bytes) -> Iterator[bytes | EditKey]:
        for token in self._reader.read(data):
            if self.refused:
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
                elif key := _KEYS.get(token.code):
                    yield key

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
            self._wire.write(self._options.offer())

    def _count(self) -> None:
        now = self._clock.seconds()
        if now >= self._minute + 60:
            self._minute, self._sequences = now, 0
        self._sequences += 1
        if self._sequences > MOST_NEGOTIATIONS:
            self.refused = OBTRUSIVE

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
        self._wire.write(self._options.receive(said))
        if self._options.on(Side.OURS, telnet.CHARSET) and not could:
            self._asked_charset = True
            self._wire.write(telnet.subnegotiation(telnet.CHARSET, REQUEST + _OFFER))

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
                self._wire.write(telnet.subnegotiation(telnet.CHARSET, self._choose(names)))

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


_SHOWS = re.compile(rb"[\r\n\xff]")
"""Where a far end shows what it is: at the end of its first line, or where its telnet
negotiates."""


def terminals(max_line: int, clock: IReactorTime) -> Terminals:
    """The terminals of telnet; a line has at most `max_line` bytes."""
    return Terminals(lambda wire: TelnetPeer(wire, max_line, clock), _SHOWS, take_urgent_bytes)


def take_urgent_bytes(transport: ITransport) -> None:
    """Receive urgent bytes in line. Telnet's Synch sends the DM of IAC DM as one (RFC 854); without
    it, IAC would swallow the next byte."""
    handle = plain_socket(transport) if ITCPTransport.providedBy(transport) else None
    if handle is not None:
        handle.setsockopt(SOL_SOCKET, SO_OOBINLINE, 1)
