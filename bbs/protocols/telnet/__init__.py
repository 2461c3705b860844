"""Telnet's sequences in a byte stream (RFC 854), and the negotiation of options (RFC 1143).

A telnet client says what it can do with sequences that begin with IAC (0xFF). `TelnetReader`
separates them from text. The telnet gateway negotiates. The line protocol only removes the
sequences, so that people can reach a line server with telnet.

An option is something that a side may do; it is on when that side said WILL and the other said DO.
`Options` negotiates by RFC 1143's Q method: each option has a state for either side, and a request
for the present state gets no answer, so that two sides never answer each other for ever. The
method's states WANTNO and its queue bits are for a side that takes a request back. This side does
not, so three states are left: off, asked for, and on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache

IAC = 0xFF
DONT, DO, WONT, WILL = 0xFE, 0xFD, 0xFC, 0xFB
SB, SE = 0xFA, 0xF0
_LOWEST_COMMAND = 0xEC  # end of file (RFC 1184)


@dataclass(frozen=True)
class Negotiation:
    """WILL, WONT, DO or DONT, and the option."""

    verb: int
    option: int


@dataclass(frozen=True)
class Subnegotiation:
    """Data about an option that both sides use; doubled IACs are single."""

    option: int
    data: bytes


@dataclass(frozen=True)
class TelnetCommand:
    """A command without an option, such as interrupt process."""

    code: int


Token = bytes | Negotiation | Subnegotiation | TelnetCommand  # text, or a sequence


class TelnetReader:
    """Separates text from sequences in one connection's byte stream, wherever it is cut.

    A subnegotiation of more than `most` bytes, with its option, is dropped. Text is not held back,
    except an IAC whose meaning depends on the next byte.
    """

    __slots__ = ("_after_iac", "_most", "_subnegotiation", "_verb")

    def __init__(self, most: int) -> None:
        self._most = most
        self._after_iac = False
        self._verb = 0
        self._subnegotiation: bytearray | None = None

    def read(self, data: bytes) -> Iterator[Token]:
        """Yield the tokens that the next bytes complete; the caller must read all of them.

        IAC IAC is the literal byte 0xFF. If no telnet command follows an IAC, both bytes are text.
        """
        position = 0
        while position < len(data):
            if self._verb:
                verb, self._verb = self._verb, 0
                yield Negotiation(verb, data[position])
                position += 1
            elif self._after_iac:
                self._after_iac = False
                yield from self._command(data[position])
                position += 1
            else:
                found = data.find(IAC, position)
                end = len(data) if found < 0 else found
                if self._subnegotiation is not None:
                    self._keep(self._subnegotiation, data[position:end])
                elif position < end:
                    yield data[position:end]
                self._after_iac = found >= 0
                position = end + 1

    def text(self, data: bytes) -> bytes:
        """The text in `data`, the next bytes, without sequences."""
        return b"".join(token for token in self.read(data) if isinstance(token, bytes))

    def _command(self, code: int) -> Iterator[Token]:
        kept = self._subnegotiation
        if kept is not None:
            if code == IAC:
                self._keep(kept, bytes((IAC,)))
            elif code == SE:
                self._subnegotiation = None
                if 0 < len(kept) <= self._most:
                    yield Subnegotiation(kept[0], bytes(kept[1:]))
        elif code in (DONT, DO, WONT, WILL):
            self._verb = code
        elif code == SB:
            self._subnegotiation = bytearray()
        elif code == IAC:
            yield bytes((IAC,))
        elif code < _LOWEST_COMMAND:
            yield bytes((IAC, code))
        else:
            yield TelnetCommand(code)

    def _keep(self, kept: bytearray, data: bytes) -> None:
        # One byte over the limit shows that it was too long.
        kept += data[: self._most + 1 - len(kept)]


BINARY = 0  # RFC 856: bytes of eight bits, and no meaning in a CR
ECHO = 1  # RFC 857
SUPPRESS_GO_AHEAD = 3  # RFC 858; with ECHO it makes a client send each key as it is pressed
NAWS = 31  # RFC 1073: the size of the window
CHARSET = 42  # RFC 2066


class Side(Enum):
    """The side that does what an option is about."""

    OURS = "ours"
    THEIRS = "theirs"


@cache
def _willing(ours: Sequence[int], theirs: Sequence[int]) -> Sequence[tuple[Side, int]]:
    """The options that this side offers and asks for. All connections share the pairs."""
    pairs = [(Side.OURS, option) for option in ours]
    return [*pairs, *((Side.THEIRS, option) for option in theirs)]


class Options:
    """The options of one connection: this side is ready to do `ours`, and the other side may do
    `theirs`. All others are refused."""

    __slots__ = ("_is_on", "_ours", "_theirs")

    def __init__(self, ours: Sequence[int], theirs: Sequence[int]) -> None:
        self._ours = ours
        self._theirs = theirs
        self._is_on: dict[tuple[Side, int], bool] = {}  # False while only asked for

    def offer(self) -> bytes:
        """Ask for all of them that are not on or asked for."""
        willing = _willing(tuple(self._ours), tuple(self._theirs))
        asked = [each for each in willing if each not in self._is_on]
        self._is_on |= dict.fromkeys(asked, False)
        return b"".join(_say(side, True, option) for side, option in asked)

    def receive(self, said: Negotiation) -> bytes:
        """Take a word of the other side; return the answer, which may be empty."""
        side = Side.THEIRS if said.verb in (WILL, WONT) else Side.OURS
        which = (side, said.option)
        is_on = self._is_on.pop(which, None)
        if said.verb in (WILL, DO):
            if said.option not in (self._ours if side is Side.OURS else self._theirs):
                return _say(side, False, said.option)
            self._is_on[which] = True
            return _say(side, True, said.option) if is_on is None else b""
        return _say(side, False, said.option) if is_on else b""

    def on(self, side: Side, option: int) -> bool:
        return self._is_on.get((side, option), False)

    @property
    def settled(self) -> bool:
        """Whether all requests have been answered."""
        return all(self._is_on.values())


def _say(side: Side, yes: bool, option: int) -> bytes:
    verbs = {Side.OURS: (WONT, WILL), Side.THEIRS: (DONT, DO)}
    return bytes((IAC, verbs[side][yes], option))


def subnegotiation(option: int, data: bytes) -> bytes:
    return bytes((IAC, SB, option)) + escaped(data) + bytes((IAC, SE))


def escaped(data: bytes) -> bytes:
    """Double each IAC in `data`, so that it is not read as a sequence (RFC 854)."""
    return data.replace(b"\xff", b"\xff\xff")
