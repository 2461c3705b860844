"""The view for reading back in a conversation: the messages loaded so far, and the position.

A conversation may have 100,000 messages, which are loaded in parts, latest first, when the person
gets near the oldest loaded one or searches. Past a limit, the view drops the latest messages and
loads them again when they are wanted. The view knows no terminal: it has rows, and a method for
each key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.clipboard import DummyClipboard
from prompt_toolkit.filters import Condition, has_focus
from prompt_toolkit.formatted_text import StyleAndTextTuples
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
from prompt_toolkit.utils import get_cwidth
from twisted.internet.defer import CancelledError, Deferred
from zope.interface import Interface

from bbs.client.errors import ClientError
from bbs.client.replies import ChatMessage
from bbs.ui.output import visible
from bbs.ui.terminal.interfaces import Fragments, More
from bbs.ui.terminal.keys import pasted
from bbs.ui.terminal.theme import Sanitizer, wrapped

MOST_MESSAGES = 2_000
MOST_CHARACTERS = 4 * 1024 * 1024  # messages and characters at most that stay loaded


@dataclass(frozen=True)
class HistoryPart:
    """Messages, oldest first, and the `cursor` of the part before them, if there is one."""

    messages: Sequence[ChatMessage]
    cursor: str | None


class IHistorySource(Interface):
    """The parts of a conversation."""

    def part(cursor: str | None) -> Deferred[HistoryPart]:
        """The part of a cursor, or the latest for None; fails with `ClientError`."""


DrawHistory = Callable[[], Callable[[ChatMessage], tuple[str, Fragments]]]
"""Makes a function that draws messages in their order, safe to show: for each, the line of its day
(empty if that is the same as before) and the message."""


class HistoryView:
    """A view of the parts of `source`, from the end of `first` (the latest) on, in a window.
    `title` is the partner; `changed` is called when there is something new."""

    def __init__(
        self,
        title: str,
        first: HistoryPart,
        source: IHistorySource,
        draw: DrawHistory,
        columns: int,
        height: int,
    ) -> None:
        self.changed: Callable[[], object] = lambda: None
        self.is_searching = False
        self._title = title
        self._source = source
        self._draw = draw
        self._messages = [*first.messages]
        self._cursor = first.cursor
        self._loaded = len(first.messages)
        self._lacks_latest = False
        self._columns, self._height, self._top = columns, height, 0
        self._wrapped: dict[int, Sequence[Fragments]] = {}
        self._rows: list[tuple[int, Fragments]] = []
        self._is_loading = False
        self._loading: Deferred[None] | None = None
        self._pattern, self._direction = "", -1
        self._found: int | None = None
        self._note = ""
        self._lay_out()
        self._top = max(0, len(self._rows) - height)

    def shown(self, columns: int, height: int) -> Sequence[Fragments]:
        """The rows for a window of this size, filled from the bottom."""
        if (columns, height) != (self._columns, self._height):
            bottom = self._at(self._top + self._height - 1)
            if columns != self._columns:
                self._columns = columns
                self._wrapped.clear()
                self._lay_out()
            self._height = height
            last = max((row for row, (id, _) in enumerate(self._rows) if id <= bottom), default=0)
            self._go_to(last + 1 - height)
        rows = self._rows[self._top : self._top + height]
        blank: list[Fragments] = [[]] * (height - len(rows))
        return [*blank, *(self._marked(row) if id == self._found else row for id, row in rows)]

    def status(self, columns: int) -> str:
        """The position, in as many words as fit."""
        if self.is_searching:
            state = f"searching, {self._loaded} so far"
        elif self._note:
            state = self._note
        elif self._is_loading:
            state = "more is coming"
        elif self._top == 0 and self._cursor is None:
            state = "the beginning"
        elif (below := len(self._rows) - self._top - self._height) <= 0:
            state = "newer ones: G" if self._lacks_latest else "the end"
        else:
            state = f"{below} {'row' if below == 1 else 'rows'} below"
        for keys in (
            " · / search · n next · g first · G last · q back",
            " · / search · q back",
            "",
        ):
            line = f"{self._title}: {state}{keys}"
            if get_cwidth(line) <= columns:
                break
        return line[:columns]

    def move(self, rows: int) -> None:
        """Go down, or up if `rows` is negative."""
        self._note = ""
        self._go_to(self._top + rows)

    def page(self, pages: int) -> None:
        """Go down by windows, or up; one row stays in view."""
        self.move(pages * max(1, self._height - 1))

    def oldest(self) -> None:
        self.move(-len(self._rows))

    def latest(self) -> None:
        if self._lacks_latest:
            self._load(latest=True)
        self.move(len(self._rows))

    def search(self, text: str, older: bool) -> None:
        """Search from the screen on; case counts if the text has capitals."""
        self._pattern, self._direction, self._found = text, -1 if older else 1, None
        self.again(older=True)

    def again(self, older: bool) -> None:
        """Search on in the direction of the search, or in the other one."""
        if not self._pattern:
            return
        step = self._direction if older else -self._direction
        start = self._index(self._found)
        if start is not None:
            start += step
        else:
            start = self._index(self._at(self._top if step > 0 else self._top + self._height - 1))
        self._note = ""
        self._seek(0 if start is None else start, step)

    def stop(self) -> None:
        if self.is_searching:
            self.is_searching = False
            self._lay_out()

    def close(self) -> None:
        self.stop()
        self.changed = lambda: None
        if self._loading is not None:
            self._loading.cancel()

    def _at(self, row: int) -> int:
        """The id of the message in a row."""
        if not self._rows:
            return 0
        return self._rows[max(0, min(row, len(self._rows) - 1))][0]

    def _index(self, id: int | None) -> int | None:
        """The index of a loaded message; None if it is not loaded."""
        return next((at for at, each in enumerate(self._messages) if each.id == id), None)

    def _go_to(self, top: int) -> None:
        self._top = max(0, min(top, len(self._rows) - self._height))
        if self._top < self._height:
            self._load()

    def _seek(self, start: int, step: int) -> None:
        at = start
        while 0 <= at < len(self._messages):
            if self._matches(self._messages[at]):
                self.stop()
                return self._show_found(self._messages[at].id)
            at += step
        if step < 0 and self._cursor is not None:
            self.is_searching = True
            self._load()
        else:
            self.stop()
            self._note = f"no {visible(self._pattern)!r}"
        return None

    def _matches(self, message: ChatMessage) -> bool:
        text, pattern = f"{message.sender}: {message.text}", self._pattern
        return pattern in (text.lower() if pattern == pattern.lower() else text)

    def _show_found(self, id: int) -> None:
        self._found = id
        row = next(row for row, (each, _) in enumerate(self._rows) if each == id)
        if not self._top <= row < self._top + self._height:
            self._go_to(row - self._height // 3)

    def _marked(self, row: Fragments) -> Fragments:
        return [(f"{fragment[0]} class:found", fragment[1]) for fragment in row]

    def _load(self, latest: bool = False) -> None:
        """Load older messages, or the latest again; during a search, one part after the other."""
        if not self._is_loading and (latest or self._cursor is not None):
            self._loading = Deferred.fromCoroutine(self._load_parts(latest))

    async def _load_parts(self, latest: bool) -> None:
        self._is_loading = True
        try:
            while latest or self._cursor is not None:
                part = await self._source.part(None if latest else self._cursor)
                if latest:
                    self._set_latest(part)
                else:
                    self._add_older(part)
                latest = False
                self.changed()
                if not self.is_searching:
                    break
        except ClientError as problem:
            self.stop()
            self._note = visible(str(problem))
        except CancelledError:
            pass  # The person left the view.
        finally:
            self._is_loading = False
            self.changed()

    def _add_older(self, part: HistoryPart) -> None:
        self._messages[:0] = part.messages
        self._cursor = part.cursor
        self._loaded += len(part.messages)
        self._drop_latest()
        # A search may take thousands of parts, so rows are made only at its end.
        if self.is_searching:
            self._seek(len(part.messages) - 1, -1)
        else:
            self._lay_out()

    def _set_latest(self, part: HistoryPart) -> None:
        self._messages = [*part.messages]
        self._cursor = part.cursor
        self._loaded = len(part.messages)
        self._lacks_latest, self._found = False, None
        self._lay_out()
        self._go_to(len(self._rows))

    def _drop_latest(self) -> None:
        """Drop the latest messages beyond the limits, as the person reads towards the oldest."""
        size = sum(len(message.text) for message in self._messages)
        while len(self._messages) > (MOST_MESSAGES if size <= MOST_CHARACTERS else 1):
            latest = self._messages.pop()
            size -= len(latest.text)
            self._wrapped.pop(latest.id, None)
            self._lacks_latest = True

    def _lay_out(self) -> None:
        """Make the rows of the loaded messages; the first row of the window stays the same."""
        before, first = self._at(self._top), self._top
        while first > 0 and self._rows[first - 1][0] == before:
            first -= 1
        self._rows = []
        draw = self._draw()
        for message in self._messages:
            day, line = draw(message)
            if day:
                line_of_day = wrapped([("class:day", day)], self._columns, cut=True)
                self._rows += [(message.id, row) for row in line_of_day]
            rows = self._wrapped.get(message.id)
            if rows is None:
                rows = self._wrapped[message.id] = wrapped(line, self._columns, cut=True)
            self._rows += [(message.id, row) for row in rows]
        same = [row for row, (id, _) in enumerate(self._rows) if id == before]
        self._go_to(same[0] + self._top - first if same else len(self._rows))


_MORE_KEYS = {
    More.SCREEN: (" ", "pagedown", "c-v", "c-f"),
    More.LINE: ("enter", "down"),
    More.LEAVE: ("q", "Q", "escape", "c-c", "c-d", "c-z"),
}


def more_application(words: str, type: Callable[[str], None], **options: Any) -> Application[More]:
    """A prompt whether to go on; any other character leaves, and begins the next line by `type`."""
    keys = KeyBindings()

    def leads_to(answer: More) -> Callable[[KeyPressEvent], None]:
        return lambda event: event.app.exit(result=answer)

    for answer, names in _MORE_KEYS.items():
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
        """Ignore a late answer."""

    layout = Layout(Window(FormattedTextControl([("class:status", words)]), height=1))
    return Application(layout=layout, key_bindings=keys, erase_when_done=True, **options)


def view_application(view: HistoryView, output: Output, **options: Any) -> Application[None]:
    """Shows a view in the whole window, above a line with the position."""
    pattern = Buffer(multiline=False)
    pattern_control = BufferControl(pattern, input_processors=[Sanitizer()])
    direction = ["/"]

    def rows() -> StyleAndTextTuples:
        size = output.get_size()
        shown: StyleAndTextTuples = []
        for row in view.shown(size.columns, max(1, size.rows - 1)):
            shown += [*row, ("", "\n")]
        return shown

    def status() -> StyleAndTextTuples:
        return [("class:status", view.status(output.get_size().columns))]

    def prefix(line: int, wraps: int) -> StyleAndTextTuples:
        return [("", direction[0])]

    text = Window(FormattedTextControl(rows, focusable=True, show_cursor=False), wrap_lines=False)
    search = Window(pattern_control, height=1, get_line_prefix=prefix)
    bar = Window(FormattedTextControl(status), height=1)
    typing = has_focus(pattern)
    below = [ConditionalContainer(search, typing), ConditionalContainer(bar, ~typing)]
    layout = Layout(HSplit([text, *below]), text)
    application: Application[None] = Application(
        layout=layout,
        clipboard=DummyClipboard(),
        key_bindings=_view_keys(view, layout, pattern, text, direction),
        full_screen=True,
        output=output,
        **options,
    )
    view.changed = application.invalidate
    return application


_VIEW_KEYS: Mapping[Sequence[str], Callable[[HistoryView, KeyPressEvent], object]] = {
    ("up", "k", "y", "c-p"): lambda view, event: view.move(-1),
    ("down", "j", "e", "enter", "c-n"): lambda view, event: view.move(1),
    ("pageup", "b", "c-b"): lambda view, event: view.page(-1),
    ("pagedown", "f", " ", "c-f", "c-v"): lambda view, event: view.page(1),
    ("home", "g", "<"): lambda view, event: view.oldest(),
    ("end", "G", ">"): lambda view, event: view.latest(),
    ("n",): lambda view, event: view.again(older=True),
    ("N",): lambda view, event: view.again(older=False),
    ("q", "Q", "c-c", "c-d", "c-g"): lambda view, event: event.app.exit(),
    ("c-l",): lambda view, event: event.app.renderer.clear(),
    ("c-z",): lambda view, event: event.app.suspend_to_background(),
    ("<any>",): lambda view, event: None,
}


def _view_keys(
    view: HistoryView, layout: Layout, pattern: Buffer, text: Window, direction: list[str]
) -> KeyBindings:
    keys = KeyBindings()
    typing = has_focus(pattern)

    def ask(view: HistoryView, event: KeyPressEvent) -> None:
        direction[0] = "?" if event.data == "?" else "/"
        pattern.reset()
        layout.focus(pattern)

    def press(act: Callable[[HistoryView, KeyPressEvent], object], event: KeyPressEvent) -> None:
        # Any key ends a search that takes long.
        view.stop()
        act(view, event)

    for names, act in {**_VIEW_KEYS, ("/", "?", "c-r"): ask}.items():
        for name in names:
            keys.add(name, filter=~typing, eager=True)(partial(press, act))

    @keys.add("enter", filter=typing)
    def look(event: KeyPressEvent) -> None:
        layout.focus(text)
        if pattern.text:
            view.search(pattern.text, older=direction[0] == "/")

    @keys.add("c-c", filter=typing)
    @keys.add("c-g", filter=typing)
    @keys.add("escape", filter=typing)
    @keys.add("backspace", filter=typing & Condition(lambda: not pattern.text))
    def leave(event: KeyPressEvent) -> None:
        layout.focus(text)

    keys.add("<cursor-position-response>")(lambda event: None)
    return keys
