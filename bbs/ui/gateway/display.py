"""What is on a person's screen: text, and below it the line being typed. Pure: it writes texts.

Where the terminal leaves editing to the gateway, the line is one row, in which a long line moves
sideways; so it can be taken away and drawn again whenever something else is to be shown. Where a
terminal (or a pipe) edits lines itself, nothing but the prompt is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from bbs.ui.gateway.editor import Editor
from bbs.ui.gateway.encodings import UTF8, Encoding, is_plain

USUAL_COLUMNS = 80
"""What a terminal has that does not say (RFC 1073 has 0 for that)."""

FEWEST_COLUMNS = 4
"""A narrower line is drawn as if it had so many: there is nothing to be seen in it anyway."""

MOST_IN_COLUMN = 3
"""Characters, on average, that share a column: marks without an end are no writing."""

_CLEAR_TO_END = "\x1b[K"
_CLEAR_BELOW = "\x1b[J"
_CLEAR_SCREEN = "\x1b[H\x1b[2J"


class Display:
    """One screen. `write` gets what is to appear there, with LF for the end of a line."""

    __slots__ = ("_column", "_drawn", "_start", "_write", "columns", "edits", "encoding")

    def __init__(self, write: Callable[[str], None]) -> None:
        self.columns = 0
        self.edits = False
        """Whether the line being typed is drawn here."""
        self.encoding: Encoding = UTF8
        self._write = write
        self._drawn = ""
        self._column = 0
        self._start = 0

    def show(self, text: str) -> None:
        """Show lines above the line being typed, which is away until it is drawn again."""
        self.clear()
        self._write(f"{text}\n")

    def clear(self) -> None:
        """Take the line being typed away."""
        if self._drawn:
            self._write(f"\r{_CLEAR_TO_END}" if self.edits else "\n")
        self._forget()

    def entered(self) -> None:
        """The line being typed was ended: it stays, and what follows is below it."""
        if self.edits:
            self._write("\n")
        self._forget()

    def resized(self, columns: int) -> None:
        """The screen has so many columns now; what a terminal made of the old row is taken away."""
        self.columns = columns
        if self._drawn and self.edits:
            self._write(f"\r{_CLEAR_BELOW}")
            self._forget()

    def clear_screen(self) -> None:
        if self.edits:
            self._write(_CLEAR_SCREEN)
            self._forget()

    def draw(self, prompt: str, line: Editor | None) -> None:
        """Draw the line being typed, where it is not drawn like that already; None: one of which
        there is nothing to see."""
        if not self.edits:
            if not self._drawn:
                self._write(prompt)
                self._drawn = prompt
            return
        row, column = self._row(prompt, line)
        if (row, column) == (self._drawn, self._column):
            return
        if row.startswith(self._drawn) and self._column == self._width(self._drawn):
            self._write(row[len(self._drawn) :])
        else:
            self._write(f"\r{row}{_CLEAR_TO_END}")
        self._drawn, self._column = row, column
        if column < self._width(row):
            self._write(f"\r\x1b[{column}C" if column else "\r")

    def height(self, line: str) -> int:
        """How many rows a line takes."""
        columns = max(FEWEST_COLUMNS, self.columns or USUAL_COLUMNS)
        return max(1, -(-self._width(line) // columns))

    def _forget(self) -> None:
        self._drawn, self._column = "", 0

    def _row(self, prompt: str, line: Editor | None) -> tuple[str, int]:
        """The row, and the column of the cursor in it."""
        # The last column stays empty: a character there leaves the cursor in one of two places.
        room = max(FEWEST_COLUMNS, self.columns or USUAL_COLUMNS) - 1
        # What is typed has half of the row, if it needs that much; of a long prompt the end says
        # more.
        typed = line.text if line else ""
        if len(prompt) + len(typed) <= room and is_plain(prompt) and is_plain(typed):
            if line is None:
                return prompt, len(prompt)
            self._start = 0
            return prompt + typed, len(prompt) + line.position
        typed_room = self._width("".join(self._fitting(typed, room // 2)))
        prompt = "".join(reversed(self._fitting(reversed(prompt), room - typed_room)))
        if line is None:
            return prompt, self._width(prompt)
        text, position = line.text, line.position
        room -= self._width(prompt)
        if self._fits(text, room):
            self._start = 0
        elif not self._in_sight(text, position, room):
            seen = self._fitting(reversed(text[:position]), room // 2)
            self._start = position - len(seen)
        before = prompt + "".join(self._fitting(text[self._start : position], room))
        column = self._width(before)
        room -= column - self._width(prompt)
        return before + "".join(self._fitting(text[position:], room)), column

    def _in_sight(self, text: str, position: int, room: int) -> bool:
        """Whether the cursor is in a row that begins where the last one did, and something that is
        before it too."""
        before = text[self._start : position]
        return bool(before) and self._fits(before, room)

    def _fits(self, text: str, room: int) -> bool:
        return len(self._fitting(text, room)) == len(text)

    def _fitting(self, characters: Iterable[str], room: int) -> list[str]:
        """How the first of some characters look, as many as fit in so many columns."""
        looks = []
        for character in islice(characters, MOST_IN_COLUMN * room):
            look = self.encoding.shown(character)
            room -= self._width(look)
            if room < 0:
                break
            looks.append(look)
        return looks

    def _width(self, text: str) -> int:
        return self.encoding.width(text)
