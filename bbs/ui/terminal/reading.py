"""What somebody reads in who does not type: a long list a screenful at a time, and a view that
fills the window. The keys are those of more, less and WeeChat."""

from __future__ import annotations

from collections.abc import Callable

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.clipboard import DummyClipboard
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import (
    BufferControl,
    ConditionalContainer,
    FormattedTextControl,
    HSplit,
    Layout,
    Window,
)
from prompt_toolkit.output import Output
from prompt_toolkit.styles import BaseStyle

from bbs.ui.terminal.harmless import Harmless
from bbs.ui.terminal.interfaces import More
from bbs.ui.terminal.keys import pasted
from bbs.ui.terminal.view import View

_SCREEN = (" ", "pagedown", "c-v", "c-f")
_LINE = ("enter", "down")
_LEAVE = ("q", "Q", "escape", "c-c", "c-d", "c-z")


def more_application(
    words: str, input: Input, output: Output, style: BaseStyle, type: Callable[[str], None]
) -> Application[More]:
    """Asks whether to go on; a character that is none of the keys leaves, and is given to `type`:
    somebody has begun with the next line."""
    keys = KeyBindings()

    def leads_to(answer: More) -> Callable[[KeyPressEvent], None]:
        return lambda event: event.app.exit(result=answer)

    for names, answer in ((_SCREEN, More.SCREEN), (_LINE, More.LINE), (_LEAVE, More.LEAVE)):
        for name in names:
            keys.add(name, eager=True)(leads_to(answer))

    @keys.add(Keys.BracketedPaste)
    def paste(event: KeyPressEvent) -> None:
        type(pasted(event.data))
        event.app.exit(result=More.LEAVE)

    @keys.add("<any>")
    def other(event: KeyPressEvent) -> None:
        if event.data.isprintable():
            type(event.data)
        event.app.exit(result=More.LEAVE)

    @keys.add(Keys.CPRResponse)
    def late(event: KeyPressEvent) -> None:
        """An answer that nobody waits for any more; no key."""

    line = Window(FormattedTextControl([("class:status", words)]), height=1)
    return Application(
        layout=Layout(line),
        style=style,
        include_default_pygments_style=False,
        key_bindings=keys,
        input=input,
        output=output,
        erase_when_done=True,
    )


def view_application(
    view: View, input: Input, output: Output, style: BaseStyle
) -> Application[None]:
    """Shows a view in the whole window, with a line below that says where one is."""
    wanted = Buffer(multiline=False)
    wanted_control = BufferControl(wanted, input_processors=[Harmless()])
    direction = ["/"]

    def rows() -> StyleAndTextTuples:
        size = output.get_size()
        shown: StyleAndTextTuples = []
        for row in view.shown(size.columns, max(1, size.rows - 1)):
            shown += [*row, ("", "\n")]
        return shown

    def status() -> StyleAndTextTuples:
        return [("class:status", view.status(output.get_size().columns))]

    def mark(line: int, wraps: int) -> StyleAndTextTuples:
        return [("", direction[0])]

    text = Window(FormattedTextControl(rows, focusable=True, show_cursor=False), wrap_lines=False)
    search = Window(wanted_control, height=1, get_line_prefix=mark)
    layout = Layout(
        HSplit(
            [
                text,
                ConditionalContainer(search, Condition(lambda: searching())),
                ConditionalContainer(
                    Window(FormattedTextControl(status), height=1),
                    Condition(lambda: not searching()),
                ),
            ]
        ),
        text,
    )

    def searching() -> bool:
        return layout.has_focus(wanted_control)

    application: Application[None] = Application(
        layout=layout,
        style=style,
        include_default_pygments_style=False,
        clipboard=DummyClipboard(),
        key_bindings=_view_keys(view, layout, wanted, text, direction),
        input=input,
        output=output,
        full_screen=True,
    )
    view.changed = application.invalidate
    return application


def _view_keys(
    view: View, layout: Layout, wanted: Buffer, text: Window, direction: list[str]
) -> KeyBindings:
    keys = KeyBindings()
    typing = Condition(lambda: layout.has_focus(wanted))

    def reads(*names: str) -> Callable[[Callable[[KeyPressEvent], object]], None]:
        def bind(act: Callable[[KeyPressEvent], object]) -> None:
            def pressed(event: KeyPressEvent) -> None:
                # Whatever is pressed ends a search that takes long.
                view.stop()
                act(event)

            for name in names:
                keys.add(name, filter=~typing, eager=True)(pressed)

        return bind

    reads("up", "k", "y", "c-p")(lambda event: view.move(-1))
    reads("down", "j", "e", "enter", "c-n")(lambda event: view.move(1))
    reads(
        "pageup",
        "b",
        "c-b",
    )(lambda event: view.page(-1))
    reads("pagedown", "f", " ", "c-f", "c-v")(lambda event: view.page(1))
    reads("home", "g", "<")(lambda event: view.oldest())
    reads("end", "G", ">")(lambda event: view.latest())
    reads("n")(lambda event: view.again(older=True))
    reads("N")(lambda event: view.again(older=False))
    reads("q", "Q", "c-c", "c-d", "c-g")(lambda event: event.app.exit())
    reads("c-l")(lambda event: event.app.renderer.clear())
    reads("c-z")(lambda event: event.app.suspend_to_background())
    reads("<any>")(lambda event: None)

    @reads("/", "?", "c-r")
    def ask(event: KeyPressEvent) -> None:
        direction[0] = "?" if event.data == "?" else "/"
        wanted.reset()
        layout.focus(wanted)

    @keys.add("enter", filter=typing)
    def look(event: KeyPressEvent) -> None:
        layout.focus(text)
        if wanted.text:
            view.search(wanted.text, older=direction[0] == "/")

    @keys.add("c-c", filter=typing)
    @keys.add("c-g", filter=typing)
    @keys.add("escape", filter=typing)
    @keys.add("backspace", filter=typing & Condition(lambda: not wanted.text))
    def leave(event: KeyPressEvent) -> None:
        layout.focus(text)

    keys.add("<cursor-position-response>")(lambda event: None)
    return keys
