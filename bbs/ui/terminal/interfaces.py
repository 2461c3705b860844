"""The seam between a conversation's face and the line in which somebody types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from prompt_toolkit.formatted_text import OneStyleAndTextTuple
from twisted.internet.defer import Deferred
from zope.interface import Interface

if TYPE_CHECKING:
    from bbs.ui.terminal.history_view import View

Fragments = Sequence[OneStyleAndTextTuple]
"""One or more lines with their styles, without the end of the last."""


class SetAside(Exception):
    """The prompt was taken off the screen before Enter."""


@dataclass(frozen=True)
class Size:
    """How much a window shows."""

    columns: int
    rows: int


class More(Enum):
    """What somebody wants who has read a screenful."""

    SCREEN = "screen"
    LINE = "line"
    LEAVE = "leave"


class IEditor(Interface):
    """Shows one prompt at a time, and lines above it."""

    def raw() -> AbstractContextManager[None]:
        """For as long as nothing but prompts is read: what is typed between two of them, a
        password perhaps, is not shown by the terminal itself."""

    def line() -> Deferred[str]:
        """What is typed until Enter. Fails with `SetAside`, and with EOFError when nothing can be
        typed any more."""

    def password(prompt: Callable[[], str]) -> Deferred[str]:
        """The same, hidden; fails with `GivenUp` too, when somebody will not say it. `prompt`
        gives the words before it, which `redraw` shows anew."""

    def set_aside() -> None:
        """Take the prompt away, if there is one; the next `line` goes on with the same text. What
        was typed of a password is forgotten."""

    def end() -> None:
        """Leave the prompt, if there is one, as it is: nothing more is asked for."""

    def redraw() -> None:
        """Draw the prompt anew, as what it tells of has changed."""

    def print(lines: Sequence[Fragments]) -> None:
        """Write lines above the prompt, which stays as it is."""

    def bell() -> None:
        """Have the terminal ring, or whatever it does instead."""

    def size() -> Size | None:
        """Columns and rows; None for a terminal that only writes lines, without an end."""

    def more(words: str) -> Deferred[More]:
        """Ask, while lines are shown a screenful at a time, whether to go on; only where there is a
        `size`. A character that leaves and means nothing by itself is the first of the next
        `line`."""

    def look_back(view: View) -> Deferred[None]:
        """Have somebody read in a view of the whole window, until they leave it; only where there
        is a `size`."""

    def lent() -> AbstractContextManager[None]:
        """For as long as another program has the terminal, as it was before `raw`."""
