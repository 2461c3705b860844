"""Reading back in a conversation: what has come of it so far, and where in it somebody reads.

A conversation may have 100,000 messages. They come in parts, from the latest on, and a part is
asked for when somebody gets near the oldest that is there, or searches. What is kept has a bound:
beyond it the latest are let go, and asked for again when somebody wants them.

Nothing here knows a terminal: it is asked for rows, and told what was pressed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prompt_toolkit.utils import get_cwidth
from twisted.internet.defer import CancelledError, Deferred

from bbs.client.terminal.interfaces import Fragments
from bbs.client.text import visible
from bbs.client.values import ChatMessage, ClientError

MOST_MESSAGES = 2_000
MOST_CHARACTERS = 4 * 1024 * 1024
"""What is kept of a conversation, whichever is reached first."""


@dataclass(frozen=True)
class Part:
    """Messages, oldest first, and by which `cursor` those before them are asked for; None where
    there are none."""

    messages: Sequence[ChatMessage]
    cursor: str | None


Draw = Callable[[], Callable[[ChatMessage], tuple[str, Fragments]]]
"""Begins to draw messages in their order: of each the line of its day (empty where that is the
same as before) and the message, which are harmless."""


class View:
    """`fetch` gets the part that a cursor is for, `first` is the latest. `title` is whose
    conversation it is; `changed` is called when there is something new to see. It begins at the
    end, in a window of such a size."""

    def __init__(
        self,
        title: str,
        first: Part,
        fetch: Callable[[str | None], Deferred[Part]],
        draw: Draw,
        columns: int,
        height: int,
    ) -> None:
        self.changed: Callable[[], object] = lambda: None
        self.is_searching = False
        self._title = title
        self._fetch = fetch
        self._draw = draw
        self._messages = [*first.messages]
        self._cursor = first.cursor
        self._lacks_latest = False
        self._columns, self._height, self._top = columns, height, 0
        self._wrapped: dict[int, Sequence[Fragments]] = {}
        self._rows: list[tuple[int, Fragments]] = []
        self._is_loading = False
        self._loading: Deferred[None] | None = None
        self._wanted, self._towards = "", -1
        self._found: int | None = None
        self._note = ""
        self._lay_out()
        self._top = max(0, len(self._rows) - height)

    # What is seen

    def shown(self, columns: int, height: int) -> Sequence[Fragments]:
        """The rows in a window of such a size, whose last row is the window's."""
        if (columns, height) != (self._columns, self._height):
            bottom = self._at(self._top + self._height - 1)
            if columns != self._columns:
                self._columns = columns
                self._wrapped.clear()
                self._lay_out()
            self._height = height
            last = max((row for row, (at, _) in enumerate(self._rows) if at <= bottom), default=0)
            self._go_to(last + 1 - height)
        rows = self._rows[self._top : self._top + height]
        blank: list[Fragments] = [[]] * (height - len(rows))
        return [
            *blank,
            *(self._marked(row) if at == self._found else row for at, row in rows),
        ]

    def status(self, columns: int) -> str:
        """Where one is, in as many words as there is room for."""
        count = len(self._messages)
        if self.is_searching:
            state = f"searching, {count} so far"
        elif self._note:
            state = self._note
        elif self._is_loading:
            state = "more is coming"
        elif self._top == 0 and self._cursor is None:
            state = "the beginning"
        elif self._is_at_end:
            state = "newer ones: G" if self._lacks_latest else "the end"
        else:
            state = f"{len(self._rows) - self._top - self._height} rows below"
        for keys in ("  / searches, n goes on, g G ends, q leaves", "  / searches, q leaves", ""):
            line = f"{self._title}: {state}{keys}"
            if get_cwidth(line) <= columns:
                break
        return line[:columns]

    # What is pressed

    def move(self, rows: int) -> None:
        """Go down, or up where that is negative."""
        self._note = ""
        self._go_to(self._top + rows)

    def page(self, pages: int) -> None:
        """The same by windows, of which one row stays."""
        self.move(pages * max(1, self._height - 1))

    def oldest(self) -> None:
        """To the first that is there; what is before it is asked for."""
        self.move(-len(self._rows))

    def latest(self) -> None:
        """To the end of the conversation."""
        if self._lacks_latest:
            self._load(latest=True)
        self.move(len(self._rows))

    def search(self, text: str, older: bool) -> None:
        """Look for text, from what is on the screen on; capitals count where there are any."""
        self._wanted, self._towards, self._found = text, -1 if older else 1, None
        self.again(older=True)

    def again(self, older: bool) -> None:
        """Look further in the direction of the search, or in the other one."""
        if not self._wanted:
            return
        step = self._towards if older else -self._towards
        if self._found is not None:
            start = self._found + step
        else:
            start = self._at(self._top if step > 0 else self._top + self._height - 1)
        self._note = ""
        self._seek(start, step)

    def stop(self) -> None:
        """Search no further."""
        self.is_searching = False

    def close(self) -> None:
        """Nobody looks any more."""
        self.stop()
        self.changed = lambda: None
        if self._loading is not None:
            self._loading.cancel()

    # Where one is

    @property
    def _is_at_end(self) -> bool:
        return self._top + self._height >= len(self._rows)

    def _at(self, row: int) -> int:
        """Which message is in a row."""
        if not self._rows:
            return 0
        return self._rows[max(0, min(row, len(self._rows) - 1))][0]

    def _go_to(self, top: int) -> None:
        self._top = max(0, min(top, len(self._rows) - self._height))
        if self._top < self._height:
            self._load()

    # Searching

    def _seek(self, start: int, step: int) -> None:
        at = start
        while 0 <= at < len(self._messages):
            if self._matches(self._messages[at]):
                return self._show_found(at)
            at += step
        if step < 0 and self._cursor is not None:
            self.is_searching = True
            self._load()
        else:
            self.is_searching = False
            self._note = f"no {visible(self._wanted)!r}"
        return None

    def _matches(self, message: ChatMessage) -> bool:
        text, wanted = f"{message.sender}: {message.text}", self._wanted
        return wanted in (text.lower() if wanted == wanted.lower() else text)

    def _show_found(self, at: int) -> None:
        self.is_searching = False
        self._found = at
        row = next(row for row, (each, _) in enumerate(self._rows) if each == at)
        if not self._top <= row < self._top + self._height:
            self._go_to(row - self._height // 3)

    def _marked(self, row: Fragments) -> Fragments:
        return [(f"{fragment[0]} class:found", fragment[1]) for fragment in row]

    # Parts

    def _load(self, latest: bool = False) -> None:
        """Have older ones come, or the latest again; while somebody searches, one part after the
        other."""
        if not self._is_loading and (latest or self._cursor is not None):
            self._loading = Deferred.fromCoroutine(self._bring(latest))

    async def _bring(self, latest: bool) -> None:
        self._is_loading = True
        try:
            while latest or self._cursor is not None:
                part = await self._fetch(None if latest else self._cursor)
                if latest:
                    self._has_latest(part)
                else:
                    self._has_older(part)
                latest = False
                self.changed()
                if not self.is_searching:
                    break
        except ClientError as problem:
            self.is_searching = False
            self._note = visible(str(problem))
        except CancelledError:
            pass  # It was left.
        finally:
            self._is_loading = False
            self.changed()

    def _has_older(self, part: Part) -> None:
        rows, count = len(self._rows), len(part.messages)
        self._messages[:0] = part.messages
        self._cursor = part.cursor
        self._found = None if self._found is None else self._found + count
        self._let_go()
        self._lay_out()
        self._top += max(0, len(self._rows) - rows)
        self._go_to(self._top)
        if self.is_searching:
            self._seek(count - 1, -1)

    def _has_latest(self, part: Part) -> None:
        self._messages = [*part.messages]
        self._cursor = part.cursor
        self._lacks_latest, self._found = False, None
        self._lay_out()
        self._go_to(len(self._rows))

    def _let_go(self) -> None:
        """Keep no more than is read in: the latest go, as somebody reads towards the oldest."""
        size = 0
        for count, message in enumerate(self._messages):
            size += len(message.text)
            if count == MOST_MESSAGES or (size > MOST_CHARACTERS and count):
                for each in self._messages[count:]:
                    self._wrapped.pop(each.id, None)
                del self._messages[count:]
                self._lacks_latest = True
                break

    # Rows

    def _lay_out(self) -> None:
        self._rows = []
        draw = self._draw()
        for at, message in enumerate(self._messages):
            day, line = draw(message)
            if day:
                self._rows += [(at, row) for row in wrapped([("class:day", day)], self._columns)]
            rows = self._wrapped.get(message.id)
            if rows is None:
                rows = self._wrapped[message.id] = wrapped(line, self._columns)
            self._rows += [(at, row) for row in rows]


def wrapped(line: Fragments, columns: int) -> Sequence[Fragments]:
    """A line broken into rows of so many columns at most."""
    rows: list[list[tuple[str, str]]] = [[]]
    room = columns
    for style, text, *_ in line:
        begin = 0
        for at, character in enumerate(text):
            width = get_cwidth(character)
            if width > room and room < columns:
                rows[-1].append((style, text[begin:at]))
                rows.append([])
                begin, room = at, columns
            room -= width
        rows[-1].append((style, text[begin:]))
    return rows
