"""The editors of the input line: on prompt_toolkit, and for a terminal that edits lines itself.

prompt_toolkit runs on asyncio, whose loop the reactor shares. Emacs' shell and some screen readers
are terminals that can only write lines (`TERM=dumb`). Both send a line at Enter; a message
interrupts the line being typed, and the prompt is then shown again.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import termios
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import KW_ONLY, dataclass
from typing import Any, NoReturn, TypeVar

from prompt_toolkit.application import Application, get_app
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.clipboard import Clipboard, DummyClipboard
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.data_structures import Size
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, is_done
from prompt_toolkit.formatted_text import (
    AnyFormattedText,
    FormattedText,
    StyleAndTextTuples,
    split_lines,
)
from prompt_toolkit.history import DummyHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindingsBase
from prompt_toolkit.layout import (
    BufferControl,
    ConditionalContainer,
    FormattedTextControl,
    HSplit,
    Layout,
    SearchBufferControl,
    Window,
)
from prompt_toolkit.layout.processors import (
    HighlightIncrementalSearchProcessor,
    HighlightSelectionProcessor,
    Processor,
)
from prompt_toolkit.output import Output
from prompt_toolkit.renderer import print_formatted_text
from prompt_toolkit.styles import BaseStyle
from prompt_toolkit.widgets import CompletionsToolbar, SearchToolbar
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.ui.output import visible
from bbs.ui.process import STDIN, LineReader, start_reader
from bbs.ui.terminal.history import History
from bbs.ui.terminal.history_view import HistoryView, more_application, view_application
from bbs.ui.terminal.interfaces import Fragments, IEditor, ITerminal, ITerminalApp, More, SetAside
from bbs.ui.terminal.keys import password_keys
from bbs.ui.terminal.resize import ResizablePrompt
from bbs.ui.terminal.theme import PasswordMask, Sanitizer, as_text, wrapped

FEW_COLUMNS = 30
FEW_ROWS = 6  # a smaller window has no room for hints

T = TypeVar("T")

MOST_UNDONE = 100  # edits that can be undone; each needs a copy of the text

MOST_KEPT = 256 * 1024
"""Characters in all of these copies, of up to 4 bytes each; the latest copy is always kept."""

_SET_ASIDE: Any = object()
"""The result of a prompt that is set aside. An exception in its place would be logged as never
retrieved if the loop ends before prompt_toolkit reads it."""


class _Completer(Completer):
    def __init__(self, app: ITerminalApp) -> None:
        self._app = app

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        before = document.text_before_cursor
        for found in self._app.completions(before):
            start = found.start - len(before)
            yield Completion(found.text, start, display=visible(found.text))


class _Line(Buffer):
    """A line whose undo takes little memory; prompt_toolkit's own copies the text at each key."""

    def save_to_undo_stack(self, clear_redo_stack: bool = True) -> None:
        super().save_to_undo_stack(clear_redo_stack)
        copies = self._undo_stack
        size = sum(len(text) for text, _ in copies)
        while len(copies) > 1 and (len(copies) > MOST_UNDONE or size > MOST_KEPT):
            size -= len(copies.pop(0)[0])


@implementer(IEditor)
@dataclass(eq=False, repr=False)
class LineEditor:
    """The editor on prompt_toolkit. `ask`: the terminal may be asked for the cursor's position."""

    _input: Input
    _output: Output
    _app: ITerminalApp
    _: KW_ONLY
    history: History
    keys: KeyBindingsBase
    style: BaseStyle
    ask: bool
    _question: Callable[[], str] = str
    _task: asyncio.Task[Any] | None = None

    def __post_init__(self) -> None:
        self._options: dict[str, Any] = {
            "input": self._input,
            "output": self._output,
            "style": self.style,
            "include_default_pygments_style": False,
        }
        app, history, keys = self._app, self.history, self.keys
        self._talk = history.talk
        self._waiting: list[Fragments] = []
        self._draft = Document()
        self._line = _Line(
            name=DEFAULT_BUFFER,
            history=history,
            completer=_Completer(app),
            complete_while_typing=Condition(lambda: app.is_command(self._before_cursor())),
            multiline=False,
            accept_handler=self._accept,
        )
        self._password = _Line(
            name=DEFAULT_BUFFER, history=DummyHistory(), multiline=False, accept_handler=_accept
        )
        search = SearchToolbar()

        def prompt() -> str:
            return app.prompt(self.size().columns, _has_room(self.size()))

        line = _line_window(self._line, prompt, Sanitizer(), search.control)
        self._lines = self._prompt(line, search, lambda: app.hint(self._before_cursor()), keys)
        password = _line_window(self._password, lambda: self._question(), PasswordMask(), None)
        # What is cut out of a password cannot be pasted again.
        clipboard = DummyClipboard()
        self._passwords = self._prompt(password, SearchToolbar(), str, password_keys(), clipboard)
        self._asked: Application[Any] = self._lines

    # IEditor

    def raw(self) -> AbstractContextManager[None]:
        return self._input.raw_mode()

    def line(self) -> Deferred[str]:
        draft, self._draft = self._draft, Document()
        self._line.reset(draft)
        return self._ask(self._lines)

    def password(self, prompt: Callable[[], str]) -> Deferred[str]:
        self._question = prompt
        self._password.reset()
        return self._ask(self._passwords)

    def set_aside(self) -> None:
        text = self._line.document
        if self._leave(erase=True) and self._asked is self._lines:
            self._draft = text

    def draft(self) -> str:
        is_typing = self._asked is self._lines and self._asked.is_running
        return self._line.text if is_typing else self._draft.text

    def end(self) -> None:
        self._leave(erase=False)

    def redraw(self) -> None:
        if self.history.talk != self._talk:
            # The arrow keys go through other lines from now on.
            self._talk = self.history.talk
            self._line.reset(self._line.document)
        self._asked.invalidate()

    def print(self, lines: Sequence[Fragments]) -> None:
        if isinstance(self._asked, ResizablePrompt) and self._asked.held:
            self._waiting += lines
            return
        columns = self.size().columns
        rows = (
            row for line in lines for each in split_lines(line) for row in wrapped(each, columns)
        )
        text = FormattedText(fragment for row in rows for fragment in (*row, ("", "\n")))
        # run_in_terminal would let the terminal show and interpret keys meanwhile.
        if self._asked.is_running:
            self._asked.renderer.erase()
        print_formatted_text(self._output, text, self.style, color_depth=self._lines.color_depth)
        self._asked.invalidate()

    def bell(self) -> None:
        self._output.bell()
        self._output.flush()

    def size(self) -> Size:
        return self._output.get_size()

    def more(self, words: str) -> Deferred[More]:
        return self._ask(more_application(words, self._type, **self._options))

    def look_back(self, view: HistoryView) -> Deferred[None]:
        return self._ask(view_application(view, **self._options))

    @contextmanager
    def lent(self) -> Iterator[None]:
        with self._input.cooked_mode():
            yield
        # The program may have left the cursor inside the last row.
        self._output.write_raw("\r")
        self._output.flush()

    def _prompt(
        self,
        line: Window,
        search: SearchToolbar,
        hint: Callable[[], str],
        keys: KeyBindingsBase,
        clipboard: Clipboard | None = None,
    ) -> ResizablePrompt:
        """A prompt with `line`; its result is the text at Enter."""

        def below() -> AnyFormattedText:
            return [("class:hint", hint())]

        @Condition
        def has_room() -> bool:
            return _has_room(get_app().output.get_size())

        hints = Window(FormattedTextControl(below), height=1, dont_extend_height=True)
        help = HSplit([CompletionsToolbar(), hints])
        rows = [
            line,
            ConditionalContainer(search, filter=~is_done),
            ConditionalContainer(help, filter=has_room & ~is_done),
        ]
        return ResizablePrompt(
            ask=self.ask,
            on_release=self._print_held,
            layout=Layout(HSplit(rows), line),
            clipboard=clipboard,
            key_bindings=keys,
            **self._options,
        )

    def _print_held(self) -> None:
        lines, self._waiting = self._waiting, []
        if lines:
            self.print(lines)

    def _type(self, text: str) -> None:
        """Insert text into the draft of the next `line`."""
        draft = self._draft
        whole = draft.text_before_cursor + text + draft.text_after_cursor
        self._draft = Document(whole, draft.cursor_position + len(text))

    def _ask(self, application: Application[T]) -> Deferred[T]:
        if isinstance(application, ResizablePrompt):
            application.erase_when_done = False
        self._asked = application
        # The reactor handles signals and stray exceptions.
        text = application.run_async(handle_sigint=False, set_exception_handler=False)
        self._task = asyncio.ensure_future(text)
        return Deferred.fromFuture(self._task).addBoth(_raise_if_set_aside)

    def _leave(self, erase: bool) -> bool:
        """Make the prompt fail with `SetAside`; False if there is none, or Enter came first."""
        if self._task is None or self._task.done() or self._asked.is_done:
            return False
        if self._asked.is_running:
            self._asked.erase_when_done = erase
            self._asked.exit(result=_SET_ASIDE)
        else:
            self._task.cancel()
        return True

    def _accept(self, buffer: Buffer) -> bool:
        # A message is shown above, with its time.
        self._lines.erase_when_done = self._app.show_own(buffer.text)
        return _accept(buffer)

    def _before_cursor(self) -> str:
        return self._line.document.text_before_cursor


def _has_room(size: Size) -> bool:
    """Whether a window has room for hints."""
    return size.columns >= FEW_COLUMNS and size.rows >= FEW_ROWS


def _line_window(
    buffer: Buffer,
    prompt: Callable[[], str],
    processor: Processor,
    search: SearchBufferControl | None,
) -> Window:
    """The window of the line in `buffer`, shown by `processor` after the text of `prompt`."""

    def prefix(line: int, wraps: int) -> StyleAndTextTuples:
        return [("class:prompt", prompt())] if line == wraps == 0 else []

    highlights = [HighlightIncrementalSearchProcessor(), HighlightSelectionProcessor()]
    control = BufferControl(
        buffer,
        input_processors=[*highlights, processor],
        include_default_input_processors=False,
        search_buffer_control=search,
        preview_search=True,
    )
    return Window(control, get_line_prefix=prefix, wrap_lines=True, dont_extend_height=True)


def _accept(buffer: Buffer) -> bool:
    get_app().exit(result=buffer.text)
    return True  # The text stays, as it is drawn once more.


def _raise_if_set_aside(result: T | Failure) -> T | Failure:
    # A prompt that was not shown yet is cancelled instead.
    cancelled = isinstance(result, Failure) and result.check(asyncio.CancelledError)
    if result is _SET_ASIDE or cancelled:
        raise SetAside()
    return result


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
@dataclass(eq=False, repr=False)
class PlainEditor:
    """An editor for an app on a terminal that edits lines itself."""

    _terminal: ITerminal
    _app: ITerminalApp
    _reading: bool = False
    _hidden: bool = False
    _words: str = ""
    _prompt: Callable[[], str] = str
    _asked: Deferred[str] | None = None

    # IEditor

    def raw(self) -> AbstractContextManager[None]:
        return self._terminal.interruptible()

    def line(self) -> Deferred[str]:
        return self._ask(lambda: self._app.prompt(PLAIN_COLUMNS, has_hint=False))

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
        asked, self._asked = self._asked, None
        if asked is not None:
            self._terminal.write("\n")
            asked.errback(SetAside())

    end = set_aside

    def draft(self) -> str:
        return ""  # The terminal has it.

    def redraw(self) -> None:
        """Show a changed question; any other prompt is shown with the next message."""
        if self._hidden and self._prompt() != self._words:
            self._terminal.write("\n")
            self._show_prompt()

    def print(self, lines: Sequence[Fragments]) -> None:
        text = "".join(f"{as_text(line)}\n" for line in lines)
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
