"""Interfaces between the app at a terminal, the editor of its input line, and the terminal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from prompt_toolkit.data_structures import Size
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


class More(Enum):
    """A person's answer after a screenful: another screen, another line, or no more."""

    SCREEN = "screen"
    LINE = "line"
    LEAVE = "leave"


@dataclass(frozen=True)
class InputContext:
    """The `talk` in which a line is typed, if any, and whether it is `said` there or a command."""

    talk: Hashable = None
    said: bool = False


class ILineOwner(Interface):
    """The owner of a `LineQueue`, which carries out its lines."""

    def carry_out(line: QueuedLine) -> Deferred[bool]:
        """Carry out a line; fires with False if it was the last."""

    def leave() -> None:
        """End the app, after the last line or as the person wishes."""


class IHistoryOwner(Interface):
    """The owner of a `History`."""

    def context(line: str, as_text: bool) -> InputContext:
        """The context of a line that is typed alone, or pasted among others (`as_text`)."""

    def problem(text: str) -> None:
        """Show one line about a failure."""


class ITerminalApp(ILineOwner, IHistoryOwner):
    """The app of an editor and its keys."""

    queue: LineQueue = Attribute("The lines that were entered.")

    def prompt(columns: int, has_hint: bool) -> str:
        """The text before the line, for a terminal of this width, with the `hint` or without."""

    def hint(line: str) -> str:
        """The line below: the usage of the command that the text before the cursor begins with,
        else who is there and what helps."""

    def show_own(line: str) -> bool:
        """Show a line that was entered as a message, if it goes to the partner at once; returns
        whether it does, so that it leaves the prompt."""

    def completions(line: str) -> Sequence[Completion]:
        """The completions of the text before the cursor."""

    def is_command(line: str) -> bool:
        """Whether a line is a command, not a message in a talk."""

    def notice(text: str) -> None:
        """Show one or more lines of the client's own."""

    def interrupt() -> None:
        """Cancel the line that is being carried out."""

    def look_back() -> None:
        """Open the history of the conversation."""


class ITerminal(Interface):
    """A terminal that edits lines itself."""

    def next_line() -> Awaitable[str | None]:
        """The next line; None at the end."""

    def write(text: str) -> None:
        """Write text unchanged."""

    def echo(on: bool) -> None:
        """Show or hide the text that is typed from now on."""

    def interruptible() -> AbstractContextManager[None]:
        """Make Ctrl-C interrupt the app instead of ending the process."""


class IPager(Interface):
    """The pager that a person has chosen."""

    command: str = Attribute("The shell command.")

    def show(text: str) -> Deferred[None]:
        """Show text; fires when the person leaves the pager, and fails with `PagerFailed`."""

    def end() -> None:
        """End the pager, as the client ends."""


class IPrinter(Interface):
    """Writes lines above the prompt."""

    def print(lines: Sequence[Fragments]) -> None:
        """Write lines above the prompt, which stays unchanged."""


class IEditor(IPrinter):
    """Shows one prompt at a time, and lines above it."""

    def raw() -> AbstractContextManager[None]:
        """Stop the terminal's own echo, which would show a password typed between two prompts."""

    def line() -> Deferred[str]:
        """Read until Enter. Fails with `SetAside`, and with EOFError at the end of input."""

    def password(prompt: Callable[[], str]) -> Deferred[str]:
        """Read a hidden line; fails with `PromptCancelled` too. `redraw` calls `prompt` again."""

    def set_aside() -> None:
        """Remove the prompt, if there is one. The next `line` goes on with its text; a partly typed
        password is forgotten."""

    def draft() -> str:
        """The text that is typed and not entered; never that of a password."""

    def end() -> None:
        """Leave the prompt, if there is one, on the screen, and read no more."""

    def redraw() -> None:
        """Draw the prompt again, as its text has changed."""

    def bell() -> None:
        """Ring the terminal's bell."""

    def size() -> Size | None:
        """The window's size; None for a terminal that only writes lines."""

    def more(words: str) -> Deferred[More]:
        """Ask whether to show another screenful; only where there is a `size`. A character that
        has no meaning here leaves, and begins the next `line`."""

    def look_back(view: HistoryView) -> Deferred[None]:
        """Show a view in the whole window until the person leaves it; only with a `size`."""

    def lent() -> AbstractContextManager[None]:
        """Lend the terminal to another program, in the state before `raw`."""
