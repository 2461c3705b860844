"""A prompt that is redrawn in its place when the window gets narrower or wider.

Most terminals rewrap the lines on the screen: a prompt of one row of 80 columns becomes two rows of
40, and a redraw that starts one row up leaves a copy behind. Other terminals cut the lines off. The
cursor's column, which a terminal reports on request (CPR), tells which happened, and with the width
and the drawn text the number of rows that the prompt takes now.

An answer describes the screen at the time of the question, so nothing is drawn in between, for at
most `PATIENCE`. Then the prompt is drawn without an answer, and a late answer is ignored. A
terminal that has answered before gets longer (`TRUST`), as drawing without its answer may leave a
copy of the prompt behind.

A terminal's width may have changed before it reports that: tmux rewraps lines at once and reports a
quarter of a second later. Therefore the question asks for the width too, as resize(1) does, by the
cursor's position at the end of the screen. If it is new, a report is on its way: the prompt waits.

A window that is dragged with the mouse may change again between an answer and the drawing that
relies on it. Therefore the terminal is asked only when its width has been the same for `REST`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from prompt_toolkit.application import Application
from prompt_toolkit.data_structures import Point
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent, merge_key_bindings
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout.screen import Screen

REST = 0.3
"""Seconds between the last report of a size and the question: tmux reports every quarter second."""

PATIENCE = 0.3
"""Seconds to wait for an answer: a terminal on the other side of the world takes about as long."""

TRUST = 4.0
"""Seconds to wait for a terminal that has answered before: by satellite, or on a busy machine."""

FORGOTTEN = 5.0  # seconds after which an answer is no longer expected
MOST_UNANSWERED = 3  # unanswered questions after which the terminal is asked no more

ASK = "\x1b[6n\x1b7\x1b[999;999H\x1b[6n\x1b8"
"""Asks for the cursor's position, and for that of the screen's end; then restores the cursor."""

ANSWERS = 2  # answers to `ASK`


@dataclass(eq=False, repr=False)
class CursorQueries:
    """Matches answers, which come in order, to the latest question by how many are expected."""

    _waiting: int = 0
    _unanswered: int = 0
    _asked_at: float = 0.0
    patience: float = PATIENCE

    @property
    def may_be_asked(self) -> bool:
        return self._unanswered < MOST_UNANSWERED

    def ask(self, now: float) -> None:
        if now - self._asked_at > FORGOTTEN:
            self._waiting = 0
        self._waiting += ANSWERS
        self._unanswered += 1
        self._asked_at = now

    def answered(self) -> int | None:
        """Note an answer. Returns how many to the latest question are still expected; None if this
        one is to an earlier question, or to none."""
        self._unanswered = 0
        self.patience = TRUST
        if not self._waiting:
            return None
        self._waiting -= 1
        return self._waiting if self._waiting < ANSWERS else None


class ResizablePrompt(Application[str]):
    """An application below the lines of the screen; `ask`: the terminal may be asked. While it is
    `held`, nothing may be written; `on_release` is called afterwards."""

    def __init__(
        self, *, ask: bool, on_release: Callable[[], None], key_bindings: Any, **options: Any
    ) -> None:
        self.held = False
        self._asks = ask
        self._on_release = on_release
        self._questions = CursorQueries()
        self._timer: asyncio.TimerHandle | None = None
        self._column = 0
        answers = KeyBindings()
        answers.add(Keys.CPRResponse, save_before=lambda event: False)(self._answered)
        # A pasted colour, ESC[31m, looks like a mouse event, on which prompt_toolkit would fail.
        answers.add(Keys.Vt100MouseEvent)(lambda event: None)
        super().__init__(key_bindings=merge_key_bindings([key_bindings, answers]), **options)

    # prompt_toolkit's Application

    def _on_resize(self) -> None:
        drawn, size = self.renderer.last_rendered_screen, self.output.get_size()
        if not self.held and drawn is not None and self.renderer._last_size == size:
            return self.invalidate()
        if not self._asks or drawn is None or not self._questions.may_be_asked or self.is_done:
            return super()._on_resize()
        self.held = True
        self._wait(REST, self._ask)
        return None

    def _ask(self) -> None:
        self._questions.ask(asyncio.get_running_loop().time())
        self._wait(self._questions.patience, lambda: self._settle(None))
        self.output.write_raw(ASK)
        self.output.flush()

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        """Do this after some seconds, in place of what was to be done."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, then)

    def _redraw(self, render_as_done: bool = False) -> None:
        if self.held and render_as_done:
            self._settle(None)
        if not self.held:
            super()._redraw(render_as_done)

    def _answered(self, event: KeyPressEvent) -> None:
        column = int(event.data[2:-1].partition(";")[2]) - 1
        left = self._questions.answered()
        if left:
            self._column = column
        drawn = self.renderer.last_rendered_screen
        if left != 0 or not self.held or drawn is None:
            return
        columns = self.output.get_size().columns
        if column + 1 == columns:
            cursor = self.renderer._cursor_pos
            self._settle(rows_above(row_widths(drawn), cursor, columns, self._column))

    def _settle(self, above: int | None) -> None:
        """Draw the prompt again; `above` is the number of rows above the cursor's, if known."""
        if self._timer is not None:
            self._timer.cancel()
        self.held = False
        if above is not None:
            self._erase(above)
        self.renderer.erase(leave_alternate_screen=False)
        self._on_release()
        self._redraw()

    def _erase(self, above: int) -> None:
        output, renderer = self.output, self.renderer
        output.cursor_backward(renderer._cursor_pos.x)
        output.cursor_up(above)
        # Clearing the whole screen from its first row on would make tmux keep it as scrollback.
        output.erase_end_of_line()
        output.cursor_down(1)
        output.erase_down()
        output.cursor_up(1)
        renderer._cursor_pos = Point(0, 0)


def row_widths(screen: Screen) -> Sequence[Sequence[int]]:
    """For each drawn row, the widths of its characters up to the last visible one."""

    def shown(row: int) -> Iterator[int]:
        cells = screen.data_buffer[row]
        last = max((x for x, cell in cells.items() if cell.char.strip(" ")), default=-1)
        return (cells[x].width for x in range(last + 1) if cells[x].width)

    return [[*shown(row)] for row in range(screen.height)]


def rows_above(rows: Sequence[Sequence[int]], cursor: Point, columns: int, column: int) -> int:
    """The number of rows above the cursor's in a window of `columns`, given the cursor's reported
    `column`; `rows` and `cursor` are as they were drawn. Unchanged if the terminal cut lines off,
    or if the column fits neither case."""
    above = sum(len(_wrap(row, columns)) for row in rows[: cursor.y])
    here = rows[cursor.y] if cursor.y < len(rows) else []
    # Terminals differ for a cursor after the last character: it goes there, or keeps its distance.
    behind = cursor.x - sum(here)
    starts = accumulate(here, initial=0)
    ends = _wrap([width for width, at in zip(here, starts, strict=False) if at < cursor.x], columns)
    used = ends[-1]
    places = [
        (len(ends) - 1, min(used, columns - 1)),
        (len(ends) - 1, min(used + max(0, behind), columns - 1)),
        (cursor.x // columns, cursor.x % columns),
    ]
    for more, place in places:
        if place == column:
            return above + more
    return cursor.y


def _wrap(widths: Sequence[int], columns: int) -> Sequence[int]:
    """The columns used in each row when characters of these widths are wrapped."""
    rows = [0]
    for width in widths:
        if rows[-1] + width > columns and rows[-1]:
            rows.append(0)
        rows[-1] += width
    return rows
