"""The line being typed, on prompt_toolkit: with history and completion, or hidden.

prompt_toolkit runs on asyncio, whose loop the reactor shares.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NoReturn

from prompt_toolkit.application import Application, get_app
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import DummyHistory, History
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindingsBase
from prompt_toolkit.output import Output
from prompt_toolkit.renderer import print_formatted_text
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.client import completing
from bbs.client.terminal.harmless import Harmless, Hidden
from bbs.client.terminal.interfaces import Fragments, IEditor, SetAside
from bbs.client.terminal.keys import password_keys
from bbs.client.terminal.layout import STYLE, prompt_application
from bbs.client.text import visible

MOST_UNDONE = 100
"""Edits that can be undone; each needs a copy of the text."""

MOST_KEPT = 256 * 1024
"""Characters in all of these copies, of up to 4 bytes each; the latest is kept anyway."""


class _Completer(Completer):
    def __init__(self, completions: Callable[[str], Sequence[completing.Completion]]) -> None:
        self._completions = completions

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        before = document.text_before_cursor
        for found in self._completions(before):
            start = found.start - len(before)
            yield Completion(found.text, start, display=visible(found.text))


class _Line(Buffer):
    """A line whose undo takes little memory; by itself it keeps a copy for each key."""

    def save_to_undo_stack(self, clear_redo_stack: bool = True) -> None:
        super().save_to_undo_stack(clear_redo_stack)
        copies = self._undo_stack
        size = sum(len(text) for text, _ in copies)
        while len(copies) > 1 and (len(copies) > MOST_UNDONE or size > MOST_KEPT):
            size -= len(copies.pop(0)[0])


@implementer(IEditor)
class Editor:
    """`prompt` gives the words before the line for a terminal of so many columns; `hint` and
    `completions` what goes with the text before the cursor, `commands` whether that is one."""

    def __init__(
        self,
        input: Input,
        output: Output,
        *,
        history: History,
        keys: KeyBindingsBase,
        prompt: Callable[[int], str],
        hint: Callable[[str], str],
        completions: Callable[[str], Sequence[completing.Completion]],
        commands: Callable[[str], bool],
    ) -> None:
        self._input = input
        self._output = output
        self._question: Callable[[], str] = str
        self._draft = Document()
        self._task: asyncio.Task[str] | None = None
        self._line = _Line(
            name=DEFAULT_BUFFER,
            history=history,
            completer=_Completer(completions),
            complete_while_typing=Condition(lambda: commands(self._before_cursor())),
            multiline=False,
            accept_handler=_accept,
        )
        self._password = _Line(
            name=DEFAULT_BUFFER,
            history=DummyHistory(),
            multiline=False,
            accept_handler=_accept,
        )
        self._lines = prompt_application(
            self._line,
            input,
            output,
            prompt=lambda: prompt(output.get_size().columns),
            hint=lambda: hint(self._before_cursor()),
            processor=Harmless(),
            keys=keys,
        )
        self._passwords = prompt_application(
            self._password,
            input,
            output,
            prompt=lambda: self._question(),
            hint=lambda: "",
            processor=Hidden(),
            keys=password_keys(),
            hidden=True,
        )
        self._asked = self._lines

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

    def end(self) -> None:
        self._leave(erase=False)

    def redraw(self) -> None:
        self._asked.invalidate()

    def print(self, lines: Sequence[Fragments]) -> None:
        text = FormattedText(fragment for line in lines for fragment in (*line, ("", "\n")))
        # Not by run_in_terminal: that lets the terminal show and interpret keys meanwhile.
        if self._asked.is_running:
            self._asked.renderer.erase()
        print_formatted_text(self._output, text, STYLE, color_depth=self._lines.color_depth)
        self._asked.invalidate()

    # Own

    def _ask(self, application: Application[str]) -> Deferred[str]:
        application.erase_when_done = False
        self._asked = application
        # Signals and stray exceptions are the reactor's affair.
        text = application.run_async(handle_sigint=False, set_exception_handler=False)
        self._task = asyncio.ensure_future(text)
        return Deferred.fromFuture(self._task).addErrback(_set_aside_before_it_was_shown)

    def _leave(self, erase: bool) -> bool:
        """Have what is asked for end with `SetAside`; False when nothing is, or Enter was first."""
        if self._task is None or self._task.done() or self._asked.is_done:
            return False
        if self._asked.is_running:
            self._asked.erase_when_done = erase
            self._asked.exit(exception=SetAside())
        else:
            self._task.cancel()
        return True

    def _before_cursor(self) -> str:
        return self._line.document.text_before_cursor


def _accept(buffer: Buffer) -> bool:
    get_app().exit(result=buffer.text)
    return True  # The text stays, for it is drawn once more.


def _set_aside_before_it_was_shown(failure: Failure) -> NoReturn:
    if failure.check(asyncio.CancelledError):
        raise SetAside() from None
    failure.raiseException()
