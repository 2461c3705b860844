"""Long lists, a window at a time. Pure: it says what is to be shown, and keeps the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

FEWEST_ROWS = 4
"""Rows of the smallest window in which something is shown by pages."""

PROMPT = "-- more -- any key goes on, q leaves "


class Pager:
    """What is left of a list. `rows` tells how many rows the window has, 0 where it has no pages,
    and `height` how many a line takes there."""

    __slots__ = ("_height", "_left", "_rows")

    def __init__(self, rows: Callable[[], int], height: Callable[[str], int]) -> None:
        self._rows = rows
        self._height = height
        # The last comes first, so that a page is taken off the end.
        self._left: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._left)

    def begin(self, lines: Sequence[str]) -> Sequence[str]:
        """What to show of these lines at first; what is left waits for `turn`. Behind a list that
        is not shown to its end nothing is shown at all."""
        if self._left:
            self._left[:0] = reversed(lines)
            return ()
        room = self._rows()
        if room < FEWEST_ROWS or self._fitting(lines, room) == len(lines):
            return lines
        self._left = [*reversed(lines)]
        return self.turn()

    def turn(self) -> Sequence[str]:
        """The next page; all that is left, where the window has no pages any more."""
        room = self._rows()
        count = len(self._left)
        if room >= FEWEST_ROWS:
            count = max(1, self._fitting([*reversed(self._left[-room:])], room))
        page = [self._left.pop() for _ in range(min(count, len(self._left)))]
        return page

    def leave(self) -> None:
        """Nobody wants to see the rest."""
        self._left.clear()

    def _fitting(self, lines: Sequence[str], rows: int) -> int:
        """How many lines fit in a window, whose last row is the prompt's."""
        room = rows - 1
        for count, line in enumerate(lines):
            room -= self._height(line)
            if room < 0:
                return count
        return len(lines)
