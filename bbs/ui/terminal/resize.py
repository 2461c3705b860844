"""A prompt that is drawn anew in its place when the window gets narrower or wider.

Most terminals break the lines on the screen anew: a prompt that was one row of 80 columns is two
rows of 40 then, and who goes up one row to draw it again leaves a copy behind. Some terminals cut
the lines off instead. Which of both it was, the terminal tells when it is asked for the column of
the cursor (CPR). From that, from the width and from what was drawn follows how many rows the prompt
takes now.

An answer is about the screen as it is when the terminal reads the question. So nothing is drawn
from the question to the answer, and for `PATIENCE` at most: from then on the prompt is drawn as if
nobody had been asked, and the answer, when it comes, is about another screen and goes nowhere. A
terminal that has answered before is waited for longer, `TRUST`: it will again, and what is drawn
without its answer may leave a copy of the prompt behind.

A terminal may have another width already than the one that it has told of: tmux breaks lines at
once, and tells a quarter of a second later. So it is asked for its width too, as resize(1) asks for
it: where is the cursor if it goes as far as it can? Where that is another width than is known, the
news of it is on its way, and the prompt waits for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from prompt_toolkit.application import Application
from prompt_toolkit.data_structures import Point
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent, merge_key_bindings
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout.screen import Screen

PATIENCE = 0.3
"""Seconds to wait for an answer: a terminal at the other side of the world takes about as long."""

TRUST = 2.0
"""The same of a terminal that has answered: by satellite, or on a machine that is busy."""

FORGOTTEN = 5.0
"""Seconds after which a question is not expected to be answered any more."""

MOST_UNANSWERED = 3
"""So many questions without any answer, and the terminal is one that does not answer."""


ASK = "\x1b[6n\x1b7\x1b[999;999H\x1b[6n\x1b8"
"""Where is the cursor? And where, at the end of the screen? It is put back behind that."""

ANSWERS = 2
"""How many come to that."""


class CursorQueries:
    """Which of the answers that come are those to the latest question.

    A terminal answers in order. So an answer counts by how many are still to come behind it.
    """

    def __init__(self) -> None:
        self._waiting = 0
        self._unanswered = 0
        self._asked_at = 0.0
        self.patience = PATIENCE

    @property
    def may_be_asked(self) -> bool:
        return self._unanswered < MOST_UNANSWERED

    def ask(self, now: float) -> None:
        since = now - self._asked_at
        if since > FORGOTTEN:
            self._waiting = 0
        self._waiting += ANSWERS
        # A window that is drawn to another size has many sizes before there can be an answer.
        if not self._unanswered or since >= self.patience:
            self._unanswered += 1
        self._asked_at = now

    def answered(self) -> int | None:
        """An answer has come: how many are still to come to the latest question; None where it is
        to one before, or to none."""
        self._unanswered = 0
        self.patience = TRUST
        if not self._waiting:
            return None
        self._waiting -= 1
        return self._waiting if self._waiting < ANSWERS else None


class ResizablePrompt(Application[str]):
    """An application below the lines of the screen; `ask` whether the terminal may be asked.

    While it is `held` nothing may be written; `let_go` is called when that is over.
    """

    def __init__(
        self, *, ask: bool, let_go: Callable[[], None], key_bindings: Any, **options: Any
    ) -> None:
        self.held = False
        self._asks = ask
        self._let_go = let_go
        self._questions = CursorQueries()
        self._given_up: asyncio.TimerHandle | None = None
        self._column = 0
        answers = KeyBindings()
        answers.add(Keys.CPRResponse, save_before=lambda event: False)(self._answered)
        # A pasted colour, ESC[31m, reads like a report of a mouse; prompt_toolkit would fail on it.
        answers.add(Keys.Vt100MouseEvent)(lambda event: None)
        super().__init__(key_bindings=merge_key_bindings([key_bindings, answers]), **options)

    # prompt_toolkit's Application

    def _on_resize(self) -> None:
        drawn, size = self.renderer.last_rendered_screen, self.output.get_size()
        if not self.held and drawn is not None and self.renderer._last_size == size:
            return self.invalidate()
        if not self._asks or drawn is None or not self._questions.may_be_asked or self.is_done:
            return super()._on_resize()
        if self._given_up is not None:
            self._given_up.cancel()
        loop = asyncio.get_running_loop()
        self.held = True
        self._questions.ask(loop.time())
        self._given_up = loop.call_later(self._questions.patience, self._settle, None)
        self.output.write_raw(ASK)
        self.output.flush()
        return None

    def _redraw(self, render_as_done: bool = False) -> None:
        if self.held and render_as_done:
            self._settle(None)
        if not self.held:
            super()._redraw(render_as_done)

    # Own

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
        """Draw the prompt anew, whose cursor has so many rows `above` its own; None if that is not
        known."""
        if self._given_up is not None:
            self._given_up.cancel()
            self._given_up = None
        self.held = False
        if above is not None:
            self._erase(above)
        self.renderer.erase(leave_alternate_screen=False)
        self._let_go()
        self._redraw()

    def _erase(self, above: int) -> None:
        output, renderer = self.output, self.renderer
        output.cursor_backward(renderer._cursor_pos.x)
        output.cursor_up(above)
        # Not all of the screen at once from its first row on: tmux keeps what is cleared so.
        output.erase_end_of_line()
        output.cursor_down(1)
        output.erase_down()
        output.cursor_up(1)
        renderer._cursor_pos = Point(0, 0)


def row_widths(screen: Screen) -> Sequence[Sequence[int]]:
    """Of each row that was drawn the widths of its characters, up to the last that shows."""

    def shown(row: int) -> Iterator[int]:
        cells = screen.data_buffer[row]
        last = max((x for x, cell in cells.items() if cell.char.strip(" ")), default=-1)
        return (cells[x].width for x in range(last + 1) if cells[x].width)

    return [[*shown(row)] for row in range(screen.height)]


def rows_above(rows: Sequence[Sequence[int]], cursor: Point, columns: int, column: int) -> int:
    """How many rows are above that of the cursor, in a window of `columns`, where the terminal
    tells the cursor's `column`; `rows` and `cursor` are as they were drawn.

    That is as many as before, where the terminal cut lines off, or tells what fits neither.
    """
    above = sum(len(_broken(row, columns)) for row in rows[: cursor.y])
    here = rows[cursor.y] if cursor.y < len(rows) else []
    # Behind the last character terminals differ: it may stay there, or keep its distance.
    behind = cursor.x - sum(here)
    ends = [*_broken(_until(here, cursor.x), columns)] if behind < 0 else [*_broken(here, columns)]
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


def _until(widths: Sequence[int], column: int) -> Sequence[int]:
    found, taken = 0, []
    for width in widths:
        if found >= column:
            break
        taken.append(width)
        found += width
    return taken


def _broken(widths: Sequence[int], columns: int) -> Sequence[int]:
    """The columns that each row takes when characters of such widths are broken into rows."""
    rows = [0]
    for width in widths:
        if rows[-1] + width > columns and rows[-1]:
            rows.append(0)
        rows[-1] += width
    return rows
