"""The editor of the input line at the gateway; it draws nothing.

A terminal sends characters and keys. The escape sequences are those of VT100 and its descendants
(ECMA-48), in either cursor mode. Unknown ones are swallowed whole, so that no part of them appears
as text. Linux's console has some of its own, `ESC [ [` and a letter. An escape before a control
character stands alone: Alt with Enter or an arrow is that key.

A position in the line is between characters; characters without a column of their own, such as
combining marks, stay with the one before them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from wcwidth import wcwidth

EditKey = Enum(
    "EditKey",
    "ENTER TAB BACKSPACE DELETE LEFT RIGHT HOME END UP DOWN"
    " KILL_LINE KILL_REST KILL_WORD REDRAW INTERRUPT END_OF_INPUT ARE_YOU_THERE",
)

_SENT: Mapping[EditKey, Sequence[str]] = {
    EditKey.ENTER: ("\n",),
    EditKey.TAB: ("\t",),
    EditKey.BACKSPACE: ("\b", "\x7f"),
    EditKey.DELETE: ("\x1b3~",),
    EditKey.LEFT: ("\x02", "\x1bD"),
    EditKey.RIGHT: ("\x06", "\x1bC"),
    EditKey.HOME: ("\x01", "\x1bH", "\x1b1~", "\x1b7~"),
    EditKey.END: ("\x05", "\x1bF", "\x1b4~", "\x1b8~"),
    EditKey.UP: ("\x10", "\x1bA"),
    EditKey.DOWN: ("\x0e", "\x1bB"),
    EditKey.KILL_LINE: ("\x15",),
    EditKey.KILL_REST: ("\x0b",),
    EditKey.KILL_WORD: ("\x17",),
    EditKey.REDRAW: ("\x0c",),
    EditKey.INTERRUPT: ("\x03",),
    EditKey.END_OF_INPUT: ("\x04",),
}
"""The characters that terminals send for each key, without the `[` or `O` after an escape."""

_KEYS = {sent: key for key, each in _SENT.items() for sent in each}

_LONGEST = 32  # characters of an escape sequence; no terminal has a key with more

_TOKEN = re.compile(
    r"(?P<text>[^\x00-\x1f\x7f]+)"
    r"|\x1b(?:\[\[[ -~]|(?!\[\[)[\[O](?P<sequence>[0-?]*[ -/]*[@-~])|[^\[O\x00-\x1f\x7f])"
    r"|\x1b(?=[\x00-\x1f\x7f])"
    r"|(?P<control>[\x00-\x1a\x1c-\x1f\x7f])"
    r"|\x1b(?:\[\[|[\[O][0-?]*[ -/]*)(?=[^ -~])"
)


@dataclass(slots=True, eq=False, repr=False)
class KeyReader:
    """Reads keys from pieces of a terminal's output, which may be cut anywhere."""

    _begun: str = ""

    def read(self, text: str) -> Iterator[str | EditKey]:
        """The keys, and the text between them, which has no control characters."""
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


MOST_LINES = 100  # lines in a session's history
MOST_CHARACTERS = 16 * 1024  # of all these lines, so that a history cannot fill the memory
MOST_MARKS = 32  # characters without a column that join one character


@dataclass(slots=True, eq=False, repr=False)
class EditBuffer:
    """One line of at most `_most` bytes as UTF-8, as servers count them, with its history."""

    _most: int
    text: str = ""
    position: int = 0
    overlong: bool = False  # more was typed than the line takes, so it must not be used
    _history: list[str] = field(default_factory=list)
    _place: int = 0
    _newer: str = ""

    def insert(self, typed: str) -> None:
        """Insert text at the position, as far as it fits."""
        if self.overlong:
            return
        room = self._most - len(self.text.encode())
        fitting = typed.encode()[:room].decode(errors="ignore")
        self.overlong = len(fitting) < len(typed)
        before, behind = self.text[: self.position], self.text[self.position :]
        self._set(before + fitting + behind, self.position + len(fitting))

    def press(self, key: EditKey) -> None:
        """Carry out an editing key; others do nothing."""
        text, position = self.text, self.position
        match key:
            case EditKey.LEFT:
                self.position = self._before(position)
            case EditKey.RIGHT:
                self.position = self._behind(position)
            case EditKey.HOME:
                self.position = 0
            case EditKey.END:
                self.position = len(text)
            case EditKey.BACKSPACE:
                self._cut(self._before(position), position)
            case EditKey.DELETE:
                self._cut(position, self._behind(position))
            case EditKey.KILL_LINE:
                self._cut(0, position)
            case EditKey.KILL_REST:
                self._cut(position, len(text))
            case EditKey.KILL_WORD:
                self._cut(text[:position].rstrip().rfind(" ") + 1, position)
            case EditKey.UP:
                self._recall(self._place - 1)
            case EditKey.DOWN:
                self._recall(self._place + 1)

    def take(self) -> str:
        """Return the line and begin an empty one."""
        text = self.text
        self._set("", 0)
        self.overlong = False
        self._place, self._newer = len(self._history), ""
        return text

    def remember(self, line: str) -> None:
        """Add a line to the history."""
        back = len(self._history) - self._place
        if line.strip() and self._history[-1:] != [line]:
            self._history.append(line)
            back += back > 0
        while len(self._history) > MOST_LINES or sum(map(len, self._history)) > MOST_CHARACTERS:
            del self._history[0]
        self._place = max(0, len(self._history) - back)

    def _recall(self, place: int) -> None:
        if not 0 <= place <= len(self._history):
            return
        if self._place == len(self._history):
            self._newer = "" if self.overlong else self.text
        self._place = place
        self.overlong = False
        text = self._newer if place == len(self._history) else self._history[place]
        self._set(text, len(text))

    def _cut(self, start: int, end: int) -> None:
        self._set(self.text[:start] + self.text[end:], start)
        if not self.text:
            self.overlong = False

    def _set(self, text: str, position: int) -> None:
        self.text, self.position = text, position

    def _before(self, position: int) -> int:
        position = max(0, position - 1)
        first = max(0, position - MOST_MARKS)
        while position > first and _joins(self.text[position]):
            position -= 1
        return position

    def _behind(self, position: int) -> int:
        position = min(len(self.text), position + 1)
        last = min(len(self.text), position + MOST_MARKS)
        while position < last and _joins(self.text[position]):
            position += 1
        return position


def _joins(character: str) -> bool:
    return wcwidth(character) == 0
