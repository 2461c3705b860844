"""The line being typed, on prompt_toolkit: with history and completion, or hidden.

One prompt is on the screen at a time. `line` and `password` show one until Enter; `set_aside` takes
it away so that another may come first, and the next `line` has the same text again. prompt_toolkit
runs on asyncio, whose loop the reactor shares.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

from prompt_toolkit.application import Application, get_app
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import History
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindingsBase
from prompt_toolkit.output import Output
from prompt_toolkit.renderer import print_formatted_text
from twisted.internet.defer import Deferred

from bbs.client import completing
from bbs.client.terminal.above import Fragments
from bbs.client.terminal.harmless import Harmless, Hidden
from bbs.client.terminal.keys import password_keys
from bbs.client.terminal.layout import STYLE, prompt_application
from bbs.client.text import visible


class SetAside(Exception):
    """The prompt was taken off the screen before Enter."""


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


class Editor:
    """`prompt` gives the words before the line for a terminal of so many columns; `hint` and
    `completions` what goes with the text before the cursor, `commands` whether that is one."""

    def __init__(
        self,
        input: Input,
        output: Output,
        history: History,
        keys: KeyBindingsBase,
        prompt: Callable[[int], str],
        hint: Callable[[str], str],
        completions: Callable[[str], Sequence[completing.Completion]],
        commands: Callable[[str], bool],
    ) -> None:
        self._input = input
        self._output = output
        self._question = ""
        self._draft = Document()
        self._line = Buffer(
            name=DEFAULT_BUFFER,
            history=history,
            completer=_Completer(completions),
            complete_while_typing=Condition(lambda: commands(self._before_cursor())),
            multiline=False,
            accept_handler=_accept,
        )
        self._password = Buffer(name=DEFAULT_BUFFER, multiline=False, accept_handler=_accept)
        self._lines = prompt_application(
            self._line,
            lambda: prompt(output.get_size().columns),
            lambda: hint(self._before_cursor()),
            Harmless(),
            keys,
            input,
            output,
        )
        self._passwords = prompt_application(
            self._password,
            lambda: self._question,
            lambda: "",
            Hidden(),
            password_keys(),
            input,
            output,
        )

    def raw(self) -> AbstractContextManager[None]:
        """For as long as nothing but prompts is read: what is typed between two of them, a
        password perhaps, is not shown by the terminal itself."""
        return self._input.raw_mode()

    def line(self) -> Deferred[str]:
        """What is typed until Enter. Fails with `SetAside`, and with EOFError when the terminal
        has gone."""
        draft, self._draft = self._draft, Document()
        self._line.reset(draft)
        return _run(self._lines)

    def password(self, prompt: str) -> Deferred[str]:
        """The same, hidden; fails with `GivenUp` too, at Ctrl-C and Ctrl-D."""
        self._question = prompt
        self._password.reset()
        return _run(self._passwords)

    def set_aside(self) -> None:
        """Take the prompt off the screen, if there is one."""
        shown = self._shown()
        if shown is None:
            return
        if shown is self._lines:
            self._draft = self._line.document
        shown.erase_when_done = True
        shown.exit(exception=SetAside())

    def redraw(self) -> None:
        """Draw the prompt anew, as what it tells of has changed."""
        if (shown := self._shown()) is not None:
            shown.invalidate()

    def print(self, lines: Sequence[Fragments]) -> None:
        """Write lines above the prompt, which stays as it is."""
        text = FormattedText(fragment for line in lines for fragment in (*line, ("", "\n")))
        shown = self._shown()
        # Not by run_in_terminal: that lets the terminal show and interpret keys meanwhile.
        if shown is not None:
            shown.renderer.erase()
        print_formatted_text(self._output, text, STYLE, color_depth=self._lines.color_depth)
        if shown is not None:
            shown.invalidate()

    def _shown(self) -> Application[str] | None:
        for each in (self._lines, self._passwords):
            if each.is_running and not each.is_done:
                return each
        return None

    def _before_cursor(self) -> str:
        return self._line.document.text_before_cursor


def _accept(buffer: Buffer) -> bool:
    get_app().exit(result=buffer.text)
    return True  # The text stays, for it is drawn once more.


def _run(shown: Application[str]) -> Deferred[str]:
    shown.erase_when_done = False
    return Deferred.fromFuture(asyncio.ensure_future(shown.run_async(handle_sigint=False)))
