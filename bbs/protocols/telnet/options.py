"""Which telnet options are in use, agreed on by the Q method (RFC 1143): without loops.

An option is something that a side may do. It is on when that side said WILL and the other said DO.
Each option has a state for either side, a request that asks for what is so already gets no answer,
and so two sides can never answer each other for ever.

The method's states WANTNO and its queue bits are for a side that takes back what it asked for.
This one does not, so there are three states left: off, asked for, and on.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from bbs.protocols.telnet.reader import DO, DONT, IAC, SB, SE, WILL, WONT, Negotiation

BINARY = 0  # RFC 856: bytes of eight bits, and no meaning in a CR
ECHO = 1  # RFC 857
SUPPRESS_GO_AHEAD = 3  # RFC 858; with ECHO it makes a client send each key as it is pressed
NAWS = 31  # RFC 1073: the size of the window
CHARSET = 42  # RFC 2066


class Side(Enum):
    """Who does what an option is about."""

    OURS = "ours"
    THEIRS = "theirs"


class _State(Enum):
    ASKED = "asked for"
    ON = "on"


class Options:
    """The options of one connection: `ours` are those that this side would do, `theirs` those
    that the other side may do. Every other one is refused."""

    __slots__ = ("_ours", "_states", "_theirs")

    def __init__(self, ours: Sequence[int], theirs: Sequence[int]) -> None:
        self._ours = ours
        self._theirs = theirs
        self._states: dict[tuple[Side, int], _State] = {}

    def offer(self) -> bytes:
        """What asks for all of them, but those that are on already."""
        willing = [(Side.OURS, option) for option in self._ours]
        willing += [(Side.THEIRS, option) for option in self._theirs]
        asked = [each for each in willing if each not in self._states]
        self._states |= dict.fromkeys(asked, _State.ASKED)
        return b"".join(_say(side, True, option) for side, option in asked)

    def receive(self, said: Negotiation) -> bytes:
        """Take what the other side said; the answer, empty for none."""
        side = Side.THEIRS if said.verb in (WILL, WONT) else Side.OURS
        which = (side, said.option)
        state = self._states.pop(which, None)
        if said.verb in (WILL, DO):
            if said.option not in (self._ours if side is Side.OURS else self._theirs):
                return _say(side, False, said.option)
            self._states[which] = _State.ON
            return b"" if state else _say(side, True, said.option)
        return _say(side, False, said.option) if state is _State.ON else b""

    def on(self, side: Side, option: int) -> bool:
        return self._states.get((side, option)) is _State.ON

    @property
    def settled(self) -> bool:
        """Whether everything that was asked for has been answered."""
        return _State.ASKED not in self._states.values()


def _say(side: Side, yes: bool, option: int) -> bytes:
    verbs = {Side.OURS: (WONT, WILL), Side.THEIRS: (DONT, DO)}
    return bytes((IAC, verbs[side][yes], option))


def subnegotiation(option: int, data: bytes) -> bytes:
    """What says `data` about an option."""
    return bytes((IAC, SB, option)) + escaped(data) + bytes((IAC, SE))


def escaped(data: bytes) -> bytes:
    """`data` so that none of it is taken for a sequence (RFC 854)."""
    return data.replace(b"\xff", b"\xff\xff")
