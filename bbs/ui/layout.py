"""The layout of a text in rows: words stay whole, and rows stand under the text's left edge.

A person's text may have line ends of its own, U+2028. Further rows of it never begin at the first
column, so none of them can pass for another person's message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

LINE_END = "\u2028"  # of a person's text

MOST_COLUMNS = 1_000_000  # of a terminal that does not say how many it has

LEAST_INDENT = 2  # columns before every row but the first of a text with an edge

Width = Callable[[str], int]
"""The columns of a character."""

_TABLE = re.compile(r"  \S.*?\S {2,}(?=\S)")


def table_edge(line: str) -> int | None:
    """Where the second column of an indented line begins, which has a term and its explanation."""
    found = _TABLE.match(line)
    return found.end() if found else None


def wrap(
    text: str, columns: int, width: Width, edge: int | None = None, cut: bool = False
) -> tuple[Sequence[tuple[int, int]], int]:
    """Wrap a visible text between words: the beginning and end of each row in it, and the columns
    of blanks before each row but the first. The rows stand under the `edge`, the place in the text
    where it is. A word that is longer than a row stays whole, so that people can copy an address,
    or is `cut`. A row may end at any character of two columns, as in Chinese."""
    if len(text) <= columns and text.isascii():  # Most lines; they have no line ends either.
        return [(0, len(text))], 0
    if edge is None and LINE_END in text:
        edge = 0
    indent = _indent(text, columns, width, edge)
    rows = _Rows(columns, max(1, columns - indent))
    # Only a word that has nothing like a blank in it may go on at the first column of a terminal:
    # else it could look like another message there.
    most = rows.further if cut else MOST_COLUMNS
    for begin, end in _pieces(text, edge or 0, width, most, rows.further):
        piece = text[begin:end]
        if piece == LINE_END:
            rows.begin(end)
        elif not piece.strip(" "):
            rows.blank(len(piece))
        else:
            rows.add(begin, end, _columns(piece, width))
    rows.begin(len(text))
    return rows.rows, indent


def wrapped_text(text: str, columns: int, width: Width, edge: int | None = None) -> str:
    """A visible text with the line ends and blanks that `wrap` gives it."""
    rows, indent = wrap(text, columns, width, edge)
    return f"\n{' ' * indent}".join(text[begin:end] for begin, end in rows)


def _columns(text: str, width: Width) -> int:
    """The columns of a visible text; most have one for each character, which is soon counted."""
    return len(text) if text.isascii() else sum(map(width, text))


def _indent(text: str, columns: int, width: Width, edge: int | None) -> int:
    if edge is None:
        return 0
    before = _columns(text[:edge], width)
    return max(LEAST_INDENT, before if before <= columns // 2 else 0)


@dataclass
class _Rows:
    """Rows that are filled with words and blanks: the first has `room` columns, the others have
    `further`."""

    room: int
    further: int
    rows: list[tuple[int, int]] = field(default_factory=list)
    _start: int = 0
    _end: int = 0
    _used: int = 0
    _blanks: int = 0

    def add(self, begin: int, end: int, columns: int) -> None:
        """Add a word, in a new row if it does not fit."""
        before = self._used + self._blanks
        if before and before + columns > self.room:
            self._blanks = 0  # where a row ends between words
            self.begin(begin)
        self._used += self._blanks + columns
        self._blanks = 0
        self._end = end

    def blank(self, columns: int) -> None:
        self._blanks += columns

    def begin(self, begin: int) -> None:
        """End the row, with its last blanks if they fit, and begin another."""
        fits = self._used + self._blanks <= self.room
        self.rows.append((self._start, self._end + (self._blanks if fits else 0)))
        self._start = self._end = begin
        self._used = self._blanks = 0
        self.room = self.further


_TOKEN = re.compile(f"{LINE_END}| +|[^ {LINE_END}]+")


def _pieces(
    text: str, edge: int, width: Width, most: int, most_of_others: int
) -> Iterator[tuple[int, int]]:
    """The pieces of a text between which a row may end: line ends, blanks and words. Text before
    the edge joins the word after it. A word has `most` columns, and one that is not ASCII
    `most_of_others`."""
    names = 0 < _columns(text[:edge], width) < most  # else they are pieces as the rest is
    for found in _TOKEN.finditer(text, edge if names else 0):
        begin, end = found.span()
        if text[begin] in (" ", LINE_END):
            if names:
                yield 0, edge
            yield begin, end
        else:
            word = text[begin:end]
            for length in _word_ends(word, width, most if word.isascii() else most_of_others):
                yield 0 if names else begin, found.start() + length
                begin, names = found.start() + length, False
        names = False
    if names:
        yield 0, edge


def _word_ends(word: str, width: Width, most: int) -> Sequence[int]:
    """Where a row may end in a word: beside a character of two columns, and anywhere if the word
    has over `most` columns; never before a mark, which stands on the character before it."""
    if word.isascii() and len(word) <= most:
        return [len(word)]
    widths = [*map(width, word)]
    if sum(widths) <= most and max(widths) < 2:
        return [len(word)]
    is_long = sum(widths) > most
    within = (
        at
        for at in range(1, len(word))
        if widths[at] and (is_long or widths[at] > 1 or widths[at - 1] > 1)
    )
    return [*within, len(word)]
