"""What was pressed: characters as a terminal sends them, told from keys.

The escape sequences are those of VT100 and its descendants (ECMA-48), in either cursor mode; those
that mean nothing here are swallowed whole, so that no part of them turns up as text. Linux's
console has some of its own, `ESC [ [` and a letter. An escape before a control character is by
itself: Alt with Enter or an arrow is that key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum, auto


class Key(Enum):
    ENTER = auto()
    TAB = auto()
    BACKSPACE = auto()
    DELETE = auto()
    LEFT = auto()
    RIGHT = auto()
    HOME = auto()
    END = auto()
    UP = auto()
    DOWN = auto()
    KILL_LINE = auto()
    KILL_REST = auto()
    KILL_WORD = auto()
    REDRAW = auto()
    INTERRUPT = auto()
    END_OF_INPUT = auto()


_KEYS: Mapping[str, Key] = {
    "\n": Key.ENTER,
    "\t": Key.TAB,
    "\b": Key.BACKSPACE,
    "\x7f": Key.BACKSPACE,
    "\x01": Key.HOME,
    "\x02": Key.LEFT,
    "\x03": Key.INTERRUPT,
    "\x04": Key.END_OF_INPUT,
    "\x05": Key.END,
    "\x06": Key.RIGHT,
    "\x0b": Key.KILL_REST,
    "\x0c": Key.REDRAW,
    "\x0e": Key.DOWN,
    "\x10": Key.UP,
    "\x15": Key.KILL_LINE,
    "\x17": Key.KILL_WORD,
    "\x1bA": Key.UP,
    "\x1bB": Key.DOWN,
    "\x1bC": Key.RIGHT,
    "\x1bD": Key.LEFT,
    "\x1bH": Key.HOME,
    "\x1bF": Key.END,
    "\x1b1~": Key.HOME,
    "\x1b7~": Key.HOME,
    "\x1b3~": Key.DELETE,
    "\x1b4~": Key.END,
    "\x1b8~": Key.END,
}
"""By what a terminal sends, less the `[` or `O` behind an escape."""

_LONGEST = 32
"""Characters that an escape sequence may have; more are no key of any terminal."""

_TOKEN = re.compile(
    r"(?P<text>[^\x00-\x1f\x7f]+)"
    r"|\x1b(?:\[\[[ -~]|(?!\[\[)[\[O](?P<sequence>[0-?]*[ -/]*[@-~])|[^\[O\x00-\x1f\x7f])"
    r"|\x1b(?=[\x00-\x1f\x7f])"
    r"|(?P<control>[\x00-\x1a\x1c-\x1f\x7f])"
    r"|\x1b(?:\[\[|[\[O][0-?]*[ -/]*)(?=[^ -~])"
)


class Keys:
    """Reads the characters of one terminal, however they are cut."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun = ""

    def read(self, text: str) -> Iterator[str | Key]:
        """The keys, and what was typed between them as text, which has no control characters."""
        text = self._begun + text
        position = 0
        while found := _TOKEN.match(text, position):
            position = found.end()
            if typed := found["text"]:
                yield typed
            elif sequence := found["sequence"]:
                if key := _KEYS.get(f"\x1b{sequence}"):
                    yield key
            elif (control := found["control"]) and control in _KEYS:
                yield _KEYS[control]
        rest = text[position:]
        self._begun = rest if len(rest) <= _LONGEST else ""
