"""Lines on a terminal that can do nothing but write them (`TERM=dumb`).

Editing is the terminal's own, and a line comes when Enter is pressed: what Emacs' shell and some
screen readers have. A message breaks the line being typed; the prompt is then shown again.
"""

from __future__ import annotations

import termios
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import NoReturn

from prompt_toolkit.formatted_text import fragment_list_to_text
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.ui.terminal.history_view import View
from bbs.ui.terminal.interfaces import Fragments, IEditor, SetAside

PLAIN_COLUMNS = 80
"""The width that prompts are made for: such a terminal often does not say its own."""


def set_mode(descriptor: int, mode: int, on: bool) -> None:
    """Have the terminal at `descriptor` be in a local mode, as `ECHO`, or not (termios(3))."""
    modes = termios.tcgetattr(descriptor)
    modes[3] = modes[3] | mode if on else modes[3] & ~mode
    termios.tcsetattr(descriptor, termios.TCSADRAIN, modes)


@implementer(IEditor)
class PlainEditor:
    """`next_line` reads a line (None at the end), `write` writes text, `echo` shows or hides what
    is typed, `prompt` gives the words before the line. While `interruptible` lasts Ctrl-C is a
    wish, and not the end."""

    def __init__(
        self,
        *,
        next_line: Callable[[], Awaitable[str | None]],
        write: Callable[[str], None],
        echo: Callable[[bool], None],
        prompt: Callable[[int], str],
        interruptible: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._next_line = next_line
        self._write = write
        self._echo = echo
        self._prompt = prompt
        self._interruptible = interruptible
        self._reading = self._hidden = False
        self._words = ""
        self._before: Callable[[], str] = str
        self._asked: Deferred[str] | None = None

    # IEditor

    def raw(self) -> AbstractContextManager[None]:
        return self._interruptible()

    def line(self) -> Deferred[str]:
        return self._ask(lambda: self._prompt(PLAIN_COLUMNS))

    def password(self, prompt: Callable[[], str]) -> Deferred[str]:
        self._echo(False)
        self._hidden = True

        def typed(result: str | Failure) -> str | Failure:
            self._echo(True)
            self._hidden = False
            self._write("\n")
            return result

        return self._ask(prompt).addBoth(typed)

    def set_aside(self) -> None:
        self._stop()

    def end(self) -> None:
        self._stop()

    def redraw(self) -> None:
        """Not alone: the prompt is shown anew with what is printed next. But a question is one."""
        if self._hidden and self._before() != self._words:
            self._write("\n")
            self._show_prompt()

    def print(self, lines: Sequence[Fragments]) -> None:
        text = "".join(f"{fragment_list_to_text(list(line))}\n" for line in lines)
        self._write(f"\n{text}" if self._asked else text)
        if self._asked:
            self._show_prompt()

    def bell(self) -> None:
        self._write("\a")

    def size(self) -> None:
        """It only writes lines: nobody asks for more of them, and none is drawn again."""

    def more(self, words: str) -> NoReturn:
        raise NotImplementedError

    def look_back(self, view: View) -> NoReturn:
        raise NotImplementedError

    def lent(self) -> NoReturn:
        raise NotImplementedError

    # Own

    def _ask(self, before: Callable[[], str]) -> Deferred[str]:
        self._before = before
        self._show_prompt()
        asked: Deferred[str] = Deferred()
        self._asked = asked
        if not self._reading:
            # A line that was begun for a prompt that is gone is for the one that is there.
            self._reading = True
            Deferred.fromCoroutine(self._read()).addErrback(self._failed)
        return asked

    def _show_prompt(self) -> None:
        self._words = self._before()
        self._write(self._words)

    async def _read(self) -> None:
        line = await self._next_line()
        self._reading = False
        asked, self._asked = self._asked, None
        if asked is None:
            return
        if line is None:
            asked.errback(EOFError())
        else:
            asked.callback(line)

    def _failed(self, failure: Failure) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.errback(failure)

    def _stop(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            self._write("\n")
            asked.errback(SetAside())
