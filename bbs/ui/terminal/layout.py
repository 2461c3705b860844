"""What a prompt consists of on the screen, from prompt_toolkit's parts.

    the line, after its prompt
    what its last word may become, while there is a choice
    how the command is used

It needs no answers from the terminal, so that messages may be written above at any time; only when
the window has another size it may ask one (`resize.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prompt_toolkit.application import get_app
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.clipboard import DummyClipboard
from prompt_toolkit.filters import Condition, is_done
from prompt_toolkit.formatted_text import AnyFormattedText, StyleAndTextTuples
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindingsBase
from prompt_toolkit.layout import (
    BufferControl,
    ConditionalContainer,
    FormattedTextControl,
    HSplit,
    Layout,
    Window,
)
from prompt_toolkit.layout.processors import (
    HighlightIncrementalSearchProcessor,
    HighlightSelectionProcessor,
    Processor,
)
from prompt_toolkit.output import Output
from prompt_toolkit.styles import BaseStyle, Style
from prompt_toolkit.widgets import CompletionsToolbar, SearchToolbar

from bbs.ui.terminal.resize import Prompt

STYLES = {
    "prompt": "bold",
    "notice": "italic",
    "problem": "bold",
    "hint": "italic",
    "escape": "underline",
    "time": "dim",
    "day": "dim",
    "highlight": "reverse",
    "found": "reverse",
    "status": "reverse",
    "completion-toolbar.completion.current": "reverse",
}
"""Without colours, which would have to read on every background; senders have theirs."""


def style(own: Mapping[str, str]) -> Style:
    """All styles; those in `own` are somebody's own."""
    return Style.from_dict({**STYLES, **own})


FEW_COLUMNS = 30
FEW_ROWS = 6
"""In less than this there is no room for hints."""


def prompt_application(
    buffer: Buffer,
    input: Input,
    output: Output,
    *,
    prompt: Callable[[], str],
    hint: Callable[[], str],
    processor: Processor,
    keys: KeyBindingsBase,
    style: BaseStyle,
    ask: bool,
    let_go: Callable[[], None],
    hidden: bool = False,
) -> Prompt:
    """A prompt that edits `buffer`, shown by `processor`; its result is the text at Enter.

    Of one that is `hidden` nothing is searched for, and nothing cut out can be brought back. `ask`
    and `let_go` are `Prompt`'s.
    """

    def before(line: int, wraps: int) -> StyleAndTextTuples:
        return [("class:prompt", prompt())] if line == wraps == 0 else []

    def below() -> AnyFormattedText:
        return [("class:hint", hint())]

    @Condition
    def has_room() -> bool:
        size = get_app().output.get_size()
        return size.columns >= FEW_COLUMNS and size.rows >= FEW_ROWS

    search = SearchToolbar()
    line = Window(
        BufferControl(
            buffer,
            input_processors=[
                HighlightIncrementalSearchProcessor(),
                HighlightSelectionProcessor(),
                processor,
            ],
            include_default_input_processors=False,
            search_buffer_control=None if hidden else search.control,
            preview_search=True,
        ),
        get_line_prefix=before,
        wrap_lines=True,
        dont_extend_height=True,
    )
    help = ConditionalContainer(
        HSplit(
            [
                CompletionsToolbar(),
                Window(FormattedTextControl(below), height=1, dont_extend_height=True),
            ]
        ),
        filter=has_room & ~is_done,
    )
    return Prompt(
        ask=ask,
        let_go=let_go,
        layout=Layout(HSplit([line, ConditionalContainer(search, filter=~is_done), help]), line),
        clipboard=DummyClipboard() if hidden else None,
        style=style,
        include_default_pygments_style=False,
        key_bindings=keys,
        input=input,
        output=output,
    )
