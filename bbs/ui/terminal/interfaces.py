"""Interfaces between the app at a terminal, the line in which somebody types, and that terminal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from prompt_toolkit.formatted_text import OneStyleAndTextTuple
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from bbs.ui.completion import Completion
    from bbs.ui.terminal.app import LineQueue, QueuedLine
    from bbs.ui.terminal.history_view import HistoryView

Fragments = Sequence[OneStyleAndTextTuple]
"""One or more lines with their styles, without the end of the last."""


class SetAside(Exception):
    """The prompt was taken off the screen before Enter."""


@dataclass(frozen=True)
class WindowSize:
    """How much a window shows."""

    columns: int
    rows: int


class More(Enum):
    """The wish of a person who has read a screenful."""

    SCREEN = "screen"
    LINE = "line"
    LEAVE = "leave"


@dataclass(frozen=True)
class InputContext:
    """Where a line is typed: in `talk` (None: in none), and whether it is `said` there or is a
    command."""

    talk: Hashable = None
    said: bool = False


class ILineOwner(Interface):
    """For whom a `LineQueue` has lines carried out."""

    def carry_out(line: QueuedLine) -> Deferred[bool]:
        """Do what a line says; fires with False when that was the last."""

    def leave() -> None:
        """End, as the last line was carried out or the person wishes it."""


class IHistoryOwner(Interface):
    """For whom a `History` keeps lines."""

    def context(line: str, as_text: bool) -> InputContext:
        """Where a line is typed, alone or (`as_text`) pasted among others."""

    def problem(text: str) -> None:
        """Show what did not work, in a line."""


class ITerminalApp(ILineOwner, IHistoryOwner):
    """The app of an editor and its keys."""

    queue: LineQueue = Attribute("The lines that were entered.")

    def prompt(columns: int) -> str:
        """The words before the line, for a terminal of so many columns."""

    def hint(line: str) -> str:
        """How the command is used that the text before the cursor begins with."""

    def completions(line: str) -> Sequence[Completion]:
        """The completions of the text before the cursor."""

    def is_command(line: str) -> bool:
        """Whether a line is a command, and not what somebody says in a talk."""

    def notice(text: str) -> None:
        """Show words of the client's own."""

    def interrupt() -> None:
        """Give up what is under way."""

    def look_back() -> None:
        """Have somebody read in the conversation."""


class ITerminal(Interface):
    """A terminal that edits lines itself."""

    def next_line() -> Awaitable[str | None]:
        """The next line; None at the end."""

    def write(text: str) -> None:
        """Write text as it is."""

    def echo(on: bool) -> None:
        """Show what is typed from now on, or hide it."""

    def interruptible() -> AbstractContextManager[None]:
        """For as long as Ctrl-C is a wish, and not the end."""


class IPager(Interface):
    """The pager that a person has chosen."""

    command: str = Attribute("What is run.")

    def show(text: str) -> Deferred[None]:
        """Show text; fires when the pager is left, and fails with `PagerFailed`."""

    def end() -> None:
        """End the pager now, as the client ends."""


class IPrinter(Interface):
    """Where lines above the prompt are written."""

    def print(lines: Sequence[Fragments]) -> None:
        """Write lines above the prompt, which stays as it is."""


class IEditor(IPrinter):
    """Shows one prompt at a time, and lines above it."""

    def raw() -> AbstractContextManager[None]:
        """For as long as nothing but prompts is read: what is typed between two of them, a
        password perhaps, is not shown by the terminal itself."""

    def line() -> Deferred[str]:
        """What is typed until Enter. Fails with `SetAside`, and with EOFError when nothing can be
        typed any more."""

    def password(prompt: Callable[[], str]) -> Deferred[str]:
        """As `line`, hidden; fails with `PromptCancelled` too, when somebody will not say it.
        `prompt` gives the words before it, which `redraw` shows anew."""

    def set_aside() -> None:
        """Take the prompt away, if there is one; the next `line` goes on with the same text. What
        was typed of a password is forgotten."""

    def end() -> None:
        """Leave the prompt, if there is one, as it is: nothing more is asked for."""

    def redraw() -> None:
        """Draw the prompt anew, as what it tells of has changed."""

    def bell() -> None:
        """Have the terminal ring, or whatever it does instead."""

    def size() -> WindowSize | None:
        """Columns and rows; None for a terminal that only writes lines, without an end."""

    def more(words: str) -> Deferred[More]:
        """Ask, while lines are shown a screenful at a time, whether to go on; only where there is a
        `size`. A character that leaves and means nothing by itself is the first of the next
        `line`."""

    def look_back(view: HistoryView) -> Deferred[None]:
        """Have somebody read in a view of the whole window, until they leave it; only where there
        is a `size`."""

    def lent() -> AbstractContextManager[None]:
        """For as long as another program has the terminal, as it was before `raw`."""
