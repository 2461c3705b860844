"""The editor for a terminal that can only write lines (`TERM=dumb`).

Emacs' shell and some screen readers are such terminals. They edit a line themselves, and send it at
Enter. A message interrupts the line being typed; the prompt is then shown again.
"""

from __future__ import annotations

import signal
import sys
import termios
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import NoReturn

from prompt_toolkit.formatted_text import fragment_list_to_text
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.ui.process import STDIN, LineReader, start_reader
from bbs.ui.terminal.history_view import HistoryView
from bbs.ui.terminal.interfaces import Fragments, IEditor, ITerminal, ITerminalApp, SetAside

PLAIN_COLUMNS = 80  # the assumed width, as such a terminal often does not report its own


def set_mode(descriptor: int, mode: int, on: bool) -> None:
    """Switch a local mode of a terminal, such as `ECHO` (termios(3))."""
    modes = termios.tcgetattr(descriptor)
    modes[3] = modes[3] | mode if on else modes[3] & ~mode
    termios.tcsetattr(descriptor, termios.TCSADRAIN, modes)


@implementer(ITerminal)
class Terminal:
    """The terminal on standard input and output, whose Ctrl-C interrupts `app`."""

    def __init__(self, reactor: IReactorFromThreads, app: ITerminalApp) -> None:
        self._reactor = reactor
        self._app = app
        self._lines = LineReader(start_reader(reactor, STDIN))

    def next_line(self) -> Awaitable[str | None]:
        return self._lines.next()

    def write(self, text: str) -> None:
        # The terminal's locale may lack some characters.
        sys.stdout.buffer.write(text.encode(sys.stdout.encoding, "replace"))
        sys.stdout.flush()

    def echo(self, on: bool) -> None:
        set_mode(STDIN, termios.ECHO, on)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        def interrupt(number: int, frame: object) -> None:
            self._reactor.callFromThread(self._app.interrupt)

        before = signal.signal(signal.SIGINT, interrupt)
        set_mode(STDIN, termios.NOFLSH, True)  # else Ctrl-C makes the terminal forget the line
        try:
            yield
        finally:
            set_mode(STDIN, termios.NOFLSH, False)
            signal.signal(signal.SIGINT, before)


@implementer(IEditor)
class PlainEditor:
    """An editor for `app` on a `terminal` that edits lines itself."""

    def __init__(self, terminal: ITerminal, app: ITerminalApp) -> None:
        self._terminal = terminal
        self._app = app
        self._reading = self._hidden = False
        self._words = ""
        self._prompt: Callable[[], str] = str
        self._asked: Deferred[str] | None = None

    # IEditor

    def raw(self) -> AbstractContextManager[None]:
        return self._terminal.interruptible()

    def line(self) -> Deferred[str]:
        return self._ask(lambda: self._app.prompt(PLAIN_COLUMNS))

    def password(self, prompt: Callable[[], str]) -> Deferred[str]:
        self._terminal.echo(False)
        self._hidden = True

        def typed(result: str | Failure) -> str | Failure:
            self._terminal.echo(True)
            self._hidden = False
            self._terminal.write("\n")
            return result

        return self._ask(prompt).addBoth(typed)

    def set_aside(self) -> None:
        self._stop()

    def end(self) -> None:
        self._stop()

    def redraw(self) -> None:
        """Show a changed question; any other prompt is shown with the next message."""
        if self._hidden and self._prompt() != self._words:
            self._terminal.write("\n")
            self._show_prompt()

    def print(self, lines: Sequence[Fragments]) -> None:
        text = "".join(f"{fragment_list_to_text(list(line))}\n" for line in lines)
        self._terminal.write(f"\n{text}" if self._asked else text)
        if self._asked:
            self._show_prompt()

    def bell(self) -> None:
        self._terminal.write("\a")

    def size(self) -> None:
        """Return None: such a terminal only writes lines."""

    def more(self, words: str) -> NoReturn:
        raise NotImplementedError

    def look_back(self, view: HistoryView) -> NoReturn:
        raise NotImplementedError

    def lent(self) -> NoReturn:
        raise NotImplementedError

    def _ask(self, prompt: Callable[[], str]) -> Deferred[str]:
        self._prompt = prompt
        self._show_prompt()
        asked: Deferred[str] = Deferred()
        self._asked = asked
        if not self._reading:
            # A line that was begun for an earlier prompt goes to the present one.
            self._reading = True
            Deferred.fromCoroutine(self._read()).addErrback(self._failed)
        return asked

    def _show_prompt(self) -> None:
        self._words = self._prompt()
        self._terminal.write(self._words)

    async def _read(self) -> None:
        line = await self._terminal.next_line()
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
            self._terminal.write("\n")
            asked.errback(SetAside())
