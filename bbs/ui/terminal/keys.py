"""What Enter, Ctrl-C, Ctrl-D and a paste do in the line being typed.

A server takes lines of 64 KiB (`limits.max_line`), in which a token and two names stand beside the
text. Somebody may paste several lines at once; they are shown, and sent one after the other when
Enter is pressed, as a shell does. More than one line may hold is refused as a whole: half of a
text is nothing that anybody wants to have sent.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from prompt_toolkit.application.current import get_app
from prompt_toolkit.completion import CompleteEvent, get_common_complete_suffix
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, Filter, has_focus
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.key_binding.bindings.named_commands import get_by_name
from prompt_toolkit.keys import Keys

from bbs.ui.interfaces import PromptCancelled
from bbs.ui.prompts import CLEAR, KeyConfirmation, KeyPress
from bbs.ui.terminal.interfaces import ITerminalApp

Handler = Callable[[KeyPressEvent], None]

MOST = 64 * 1024 - 1024
"""Bytes that may be typed before Enter: a line of the server's less the command, token and names,
of which each has at most 100 characters."""

Sequences = Sequence[tuple[str, ...]]
"""Keys by prompt_toolkit's names: each a sequence of them that does the same."""

KEYS: Mapping[str, Sequences] = {
    "complete": [("tab",)],
    "interrupt": [("c-c",)],
    "end": [("c-d",)],
    "suspend": [("c-z",)],
    "history": [("pageup",)],
}
"""What keys do here beside what they do in readline, and which do so unless somebody says
otherwise."""

FULL = "The line is full; what is typed now is left out."


def line_keys(
    app: ITerminalApp, own: Mapping[str, Sequences] = MappingProxyType({})
) -> KeyBindings:
    """The bindings of the line being typed. `own` are somebody's keys for some of `KEYS`, and for
    readline's commands by name."""
    keys = KeyBindings()
    confirmation = KeyConfirmation()
    in_line = has_focus(DEFAULT_BUFFER)
    full = Condition(lambda: len(get_app().current_buffer.text) >= MOST)
    at_end = Condition(lambda: get_app().current_buffer.document.is_cursor_at_the_end)

    def does(name: str, when: Filter) -> Callable[[Handler], None]:
        def bind(handler: Handler) -> None:
            for sequence in own.get(name, KEYS[name]):
                keys.add(*sequence, filter=when)(handler)

        return bind

    for name, sequences in own.items():
        if name not in KEYS:
            for sequence in sequences:
                keys.add(*sequence, filter=in_line)(get_by_name(name))

    @keys.add("enter", filter=in_line)
    def enter(event: KeyPressEvent) -> None:
        if problem := too_much(event.current_buffer.text):
            app.notice(problem)
        else:
            event.current_buffer.validate_and_handle()

    @does("complete", in_line)
    def complete(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state and len(buffer.complete_state.completions) > 1:
            return buffer.complete_next()
        # At once, as prompt_toolkit's own would come too late for an Enter right behind it.
        asked = CompleteEvent(completion_requested=True)
        found = list(buffer.completer.get_completions(buffer.document, asked))
        buffer.insert_text(get_common_complete_suffix(buffer.document, found))
        if len(found) != 1:
            buffer.start_completion()
        elif buffer.document.current_char != " ":
            buffer.insert_text(" ")
        return None

    @keys.add(Keys.BracketedPaste, filter=in_line)
    def paste(event: KeyPressEvent) -> None:
        buffer, text = event.current_buffer, pasted(event.data)
        if problem := too_much(buffer.text + text):
            app.notice(problem)
        else:
            buffer.insert_text(text)

    @keys.add("<any>", filter=in_line & full)
    def refuse(event: KeyPressEvent) -> None:
        if confirmation.is_new(KeyPress("<any>", event.current_buffer.text)):
            app.notice(FULL)

    @does("interrupt", in_line)
    def give_up(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if app.queue.under_way or not buffer.text:
            app.interrupt()
        elif confirmation.confirms(KeyPress("c-c", buffer.text)):
            buffer.reset()
        else:
            app.notice(CLEAR)

    @does("end", in_line & at_end)
    def end(event: KeyPressEvent) -> None:
        press = KeyPress("c-d", event.current_buffer.text, app.queue.under_way)
        question = unsent_question(press.line, press.under_way, app.queue.unsent)
        if not question or confirmation.confirms(press):
            app.leave()
        else:
            app.notice(question)

    @does("history", in_line)
    def back(event: KeyPressEvent) -> None:
        app.look_back()

    does("suspend", in_line)(_suspend)
    return keys


def password_keys() -> KeyBindings:
    """The bindings while a password is typed."""
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
        """Else they accept, quote the next control character, and begin to keep what is typed."""

    keys.add("c-z")(_suspend)
    return keys


def _suspend(event: KeyPressEvent) -> None:
    event.app.suspend_to_background()


def unsent_question(line: str, under_way: str, unsent: int) -> str:
    """What is asked before an end that loses something; empty when nothing is lost."""
    lost = [
        *(["the line is not sent"] if line else []),
        *(["what is under way may not be carried out"] if under_way else []),
        *([f"{lines_of(unsent)} behind it not sent"] if unsent else []),
    ]
    return f"Ctrl-D again ends all the same: {', '.join(lost)}." if lost else ""


def lines_of(count: int) -> str:
    """A count of lines, in words."""
    return "1 line" if count == 1 else f"{count} lines"


def size(text: str) -> int:
    """Bytes of `text` on the wire."""
    return len(text.encode("utf-8", "surrogatepass"))


def pasted(text: str) -> str:
    """`text` from a terminal's clipboard with its line ends as LF, and without those at its end.

    Whoever copies a whole line copies its end too, and means the line.
    """
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")


def too_much(text: str) -> str:
    """Why `text` cannot be typed at once, in words; empty when it can."""
    found = size(text)
    if found <= MOST:
        return ""
    return f"That is {found:,} bytes; at most {MOST:,} go at once. Nothing was sent."
