"""What a prompt consists of on the screen, from prompt_toolkit's parts.

    the line, after its prompt
    what its last word may become, while there is a choice
    how the command is used

It needs no answers from the terminal: where the cursor is is never asked, so that messages may be
written above at any time.
"""

from __future__ import annotations

from collections.abc import Callable

from prompt_toolkit.application import Application, get_app
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
from prompt_toolkit.styles import Style
from prompt_toolkit.widgets import CompletionsToolbar, SearchToolbar

STYLE = Style.from_dict(
    {
        "prompt": "bold",
        "notice": "italic",
        "problem": "bold",
        "group": "bold",
        "hint": "italic",
        "escape": "underline",
        "completion-toolbar.completion.current": "reverse",
    }
)
"""Without colours, which would have to read on every background; senders have theirs."""

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
    hidden: bool = False,
) -> Application[str]:
    """A prompt that edits `buffer`, shown by `processor`; its result is the text at Enter.

    Of one that is `hidden` nothing is searched for, and nothing cut out can be brought back.
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
    return Application(
        layout=Layout(HSplit([line, ConditionalContainer(search, filter=~is_done), help]), line),
        clipboard=DummyClipboard() if hidden else None,
        style=STYLE,
        include_default_pygments_style=False,
        key_bindings=keys,
        input=input,
        output=output,
    )
