"""Lines as a window of some width has them: how many rows they take, and these rows."""

from __future__ import annotations

from collections.abc import Sequence

from prompt_toolkit.formatted_text import fragment_list_to_text
from prompt_toolkit.utils import get_cwidth

from bbs.ui.terminal.interfaces import Fragments, Size
from bbs.ui.terminal.prompt import width


def rows(line: Fragments, size: Size) -> int:
    """The rows that a line takes in a window of such a size."""
    return max(1, -(-width(fragment_list_to_text(list(line))) // size.columns))


def wrapped(line: Fragments, columns: int) -> Sequence[Fragments]:
    """A line broken into rows of so many columns at most."""
    rows: list[list[tuple[str, str]]] = [[]]
    room = columns
    for style, text, *_ in line:
        begin = 0
        for at, character in enumerate(text):
            width = get_cwidth(character)
            if width > room and room < columns:
                rows[-1].append((style, text[begin:at]))
                rows.append([])
                begin, room = at, columns
            room -= width
        rows[-1].append((style, text[begin:]))
    return rows
