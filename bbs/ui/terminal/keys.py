"""The keys of the line being typed: Enter, Ctrl-C, Ctrl-D and paste.

A server takes lines of 64 KiB (`limits.max_line`), with a token and two names besides the text.
Text that is too long for a line is refused as a whole, because nobody wants to send half of it.

A message may have several lines: Alt-Enter ends one of them, and lines that are pasted in a talk
are one message. Elsewhere pasted lines are commands, which are carried out one after the other if
the person presses Enter again.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from prompt_toolkit.application.current import get_app
from prompt_toolkit.completion import CompleteEvent, get_common_complete_suffix
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, has_focus
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.key_binding.bindings.named_commands import get_by_name
from prompt_toolkit.keys import Keys

from bbs.ui.interfaces import PromptCancelled
from bbs.ui.layout import LINE_END
from bbs.ui.prompts import CLEAR, KeyConfirmation
from bbs.ui.terminal.interfaces import ITerminalApp
from bbs.ui.unsent import overlong_line

MOST = 64 * 1024 - 1024
"""Bytes before Enter: a server's line without command, token and names of 100 characters each."""

Sequences = Sequence[tuple[str, ...]]
"""Alternative key sequences for one action, with prompt_toolkit's names of keys."""

KEYS: Mapping[str, Sequences] = {
    "complete": [("tab",)],
    "interrupt": [("c-c",)],
    "end": [("c-d",)],
    "history": [("pageup",)],
    "suspend": [("c-z",)],
}
"""The actions that readline lacks, and their default keys. If a person gives two of them the same
keys, the later one counts."""

FULL = "The line is full. It takes no more."


def line_keys(
    app: ITerminalApp, own: Mapping[str, Sequences] = MappingProxyType({})
) -> KeyBindings:
    """The bindings of the line being typed. `own` are the person's keys for some of `KEYS`, and for
    readline's commands by name."""
    keys = KeyBindings()
    actions = _LineActions(app)
    in_line = has_focus(DEFAULT_BUFFER)
    is_full = Condition(lambda: len(get_app().current_buffer.text) >= MOST)
    at_end = Condition(lambda: get_app().current_buffer.document.is_cursor_at_the_end)
    # Of two bindings of the same keys, the later one counts.
    for name in own:
        if name not in KEYS:
            for sequence in own[name]:
                keys.add(*sequence, filter=in_line)(get_by_name(name))
    keys.add("enter", filter=in_line)(actions.enter)
    keys.add("escape", "enter", filter=in_line)(actions.end_line)
    keys.add(Keys.BracketedPaste, filter=in_line)(actions.paste)
    keys.add("<any>", filter=in_line & is_full)(actions.refuse)
    for name in KEYS:
        for sequence in own.get(name, KEYS[name]):
            when = in_line & at_end if name == "end" else in_line
            keys.add(*sequence, filter=when)(getattr(actions, name))
    return keys


class _LineActions:
    """The actions of keys in the line of `app`; those in `KEYS` have their names there."""

    def __init__(self, app: ITerminalApp) -> None:
        self._app = app
        self._confirmation = KeyConfirmation()

    def enter(self, event: KeyPressEvent) -> None:
        buffer, lines = event.current_buffer, event.current_buffer.text.split("\n")
        text = buffer.text
        is_message = len(lines) > 1 and self._app.context(text, as_text=True).said
        if is_message:
            text = LINE_END.join(lines)
            text = f"/{text}" if text.startswith("/") else text  # no command
        if problem := too_much(text):
            self._app.notice(problem)
        elif len(lines) > 1 and not is_message and not self._confirmation.confirms("enter", text):
            self._app.notice(f"Enter again carries out {lines_of(len(lines))} as commands.")
        else:
            if text != buffer.text:
                buffer.text = text
            buffer.validate_and_handle()

    def end_line(self, event: KeyPressEvent) -> None:
        event.current_buffer.insert_text(LINE_END)

    def complete(self, event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state and len(buffer.complete_state.completions) > 1:
            return buffer.complete_next()
        # At once: prompt_toolkit's own completion would come too late for an Enter right after it.
        asked = CompleteEvent(completion_requested=True)
        found = list(buffer.completer.get_completions(buffer.document, asked))
        buffer.insert_text(get_common_complete_suffix(buffer.document, found))
        if len(found) != 1:
            buffer.start_completion()
        elif buffer.document.current_char != " ":
            buffer.insert_text(" ")
        return None

    def paste(self, event: KeyPressEvent) -> None:
        buffer, text = event.current_buffer, pasted(event.data)
        if problem := too_much(buffer.text + text):
            self._app.notice(problem)
        else:
            buffer.insert_text(text)

    def refuse(self, event: KeyPressEvent) -> None:
        if self._confirmation.is_new("<any>", event.current_buffer.text):
            self._app.notice(FULL)

    def interrupt(self, event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if self._app.queue.under_way or not buffer.text:
            self._app.interrupt()
        elif self._confirmation.confirms("c-c", buffer.text):
            buffer.reset()
        else:
            self._app.notice(CLEAR)

    def end(self, event: KeyPressEvent) -> None:
        line, queue = event.current_buffer.text, self._app.queue
        question = unsent_question(line, queue.under_way, queue.unsent)
        if not question or self._confirmation.confirms("c-d", line, queue.under_way):
            self._app.leave()
        else:
            self._app.notice(question)

    def history(self, event: KeyPressEvent) -> None:
        self._app.look_back()

    def suspend(self, event: KeyPressEvent) -> None:
        event.app.suspend_to_background()


def password_keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def enter(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add(Keys.BracketedPaste)
    def paste(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text(pasted(event.data))

    @keys.add("c-c")
    @keys.add("c-d")
    def give_up(event: KeyPressEvent) -> None:
        event.app.exit(exception=PromptCancelled())

    @keys.add("<any>")
    def insert(event: KeyPressEvent) -> None:
        if unicodedata.category(event.data[:1] or "\0") != "Cc":
            event.current_buffer.insert_text(event.data)

    @keys.add("c-o")
    @keys.add("c-q")
    @keys.add("c-x", eager=True)
    def ignore(event: KeyPressEvent) -> None:
        """Ignore readline's keys that would accept the line, quote the next control character, or
        record keys."""

    @keys.add("c-z")
    def suspend(event: KeyPressEvent) -> None:
        event.app.suspend_to_background()

    return keys


def unsent_question(line: str, under_way: str, unsent: int) -> str:
    """The question before an end that loses something; empty if nothing is lost."""
    lost = ["the line is not sent"] if line else []
    if under_way:
        lost.append("what is under way may not be carried out")
    if unsent:
        lost.append(f"{lines_of(unsent)} behind it not sent")
    return f"Ctrl-D again ends all the same: {', '.join(lost)}." if lost else ""


def lines_of(count: int) -> str:
    return "1 line" if count == 1 else f"{count} lines"


def pasted(text: str) -> str:
    """`text` from the clipboard with LF as line ends; that of a copied whole line is no Enter."""
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")


def too_much(text: str) -> str:
    """The error for a `text` that is too long for one line; empty if it is not."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size <= MOST:
        return ""
    return overlong_line(text, f"{size:,} bytes; at most {MOST:,} go at once")
