"""A prompt in a window that gets another size: which of the rows above are its own."""

from __future__ import annotations

import asyncio
import signal

from prompt_toolkit.data_structures import Point
from prompt_toolkit.input import PipeInput
from twisted.trial.unittest import SynchronousTestCase

from bbs.ui.terminal.editor import LineEditor
from bbs.ui.terminal.resize import (
    ASK,
    FORGOTTEN,
    MOST_UNANSWERED,
    PATIENCE,
    REST,
    TRUST,
    CursorQueries,
    rows_above,
)
from tests.ui.terminal.test_editor import EditorCase, answer


class RowsTests(SynchronousTestCase):
    """What a prompt of such rows of single columns takes in a narrower window."""

    def above(self, rows: list[int], cursor: tuple[int, int], columns: int, column: int) -> int:
        return rows_above([[1] * row for row in rows], Point(*cursor), columns, column)

    def test_one_row_that_was_broken(self) -> None:
        self.assertEqual(self.above([60], (60, 0), 40, 20), 1)
        self.assertEqual(self.above([60], (10, 0), 40, 10), 0)
        self.assertEqual(self.above([75], (75, 0), 20, 15), 3)

    def test_rows_above_and_below(self) -> None:
        self.assertEqual(self.above([80, 30, 70], (30, 1), 40, 30), 2)
        self.assertEqual(self.above([80, 80, 5], (5, 2), 40, 5), 4)

    def test_a_cursor_behind_the_text(self) -> None:
        self.assertEqual(self.above([5], (6, 0), 40, 6), 0, "it keeps its distance")
        self.assertEqual(self.above([5], (6, 0), 40, 5), 0, "or goes to the end")
        self.assertEqual(self.above([80], (80, 0), 40, 39), 1)
        self.assertEqual(self.above([39], (40, 0), 40, 39), 0)
        self.assertEqual(self.above([39], (40, 0), 40, 0), 1)

    def test_a_cursor_where_a_row_begins(self) -> None:
        self.assertEqual(self.above([60], (40, 0), 40, 0), 1)
        self.assertEqual(self.above([60], (39, 0), 40, 39), 0)

    def test_a_terminal_that_cuts_lines_off(self) -> None:
        self.assertEqual(self.above([60], (60, 0), 40, 39), 0)
        self.assertEqual(self.above([80, 60], (60, 1), 40, 39), 1)

    def test_wider(self) -> None:
        self.assertEqual(self.above([40, 20], (20, 1), 80, 20), 1)

    def test_wide_characters_go_to_the_next_row(self) -> None:
        self.assertEqual(rows_above([[2] * 9], Point(18, 0), 5, 2), 4)


class QuestionsTests(SynchronousTestCase):
    def test_the_answer_to_the_latest_counts(self) -> None:
        questions = CursorQueries()
        questions.ask(0.0)
        questions.ask(0.1)
        answers = [questions.answered() for _ in range(5)]
        self.assertEqual(answers, [None, None, 1, 0, None])

    def test_one_that_never_comes_is_forgotten(self) -> None:
        questions = CursorQueries()
        questions.ask(0.0)
        questions.ask(FORGOTTEN + 0.1)
        self.assertEqual(questions.answered(), 1)

    def test_who_never_answers_is_asked_no_more(self) -> None:
        questions = CursorQueries()
        for time in range(MOST_UNANSWERED):
            self.assertTrue(questions.may_be_asked)
            questions.ask(float(time))
        self.assertFalse(questions.may_be_asked)
        questions.answered()
        self.assertTrue(questions.may_be_asked)

    def test_who_has_answered_is_waited_for_longer(self) -> None:
        questions = CursorQueries()
        self.assertEqual(questions.patience, PATIENCE)
        questions.ask(0.0)
        questions.answered()
        self.assertEqual(questions.patience, TRUST)


class PromptTests(EditorCase):
    """The screen breaks no line anew by itself; what a terminal does is done by hand."""

    asks = True

    async def begin(self, keys: PipeInput, editor: LineEditor) -> asyncio.Future[str]:
        line = answer(editor.line())
        keys.send_text("a line of thirty columns")
        await self.until("ann> a line of thirty columns", self.hinted)
        return line

    async def until(self, *lines: str) -> None:
        await self.turns()
        self.loop.go_on()
        await super().until(*lines)

    hinted = "hint for a line of thirty columns"

    async def resize(self, columns: int | None = None, rest: float = REST) -> None:
        """The terminal tells the process that its window has another size, or the same, and so many
        seconds pass. Time stands still from then on: however slow this machine is, there may be an
        answer in time."""
        self.loop.stop_time()
        before: list[tuple[str, int]] = []

        def before_signal() -> None:
            # What was to be drawn anyhow may be drawn until now, by the size of before.
            self.columns = columns or self.columns
            before.append((self.paper.raw, self.drawn))

        self.loop.before_signal = before_signal
        signal.raise_signal(signal.SIGWINCH)
        while not before:
            await asyncio.sleep(0)
        self.loop.skip(rest)
        await self.turns()

    async def narrow(self, breaks: bool) -> None:
        """The window has 20 columns, and the terminal has broken its lines, or cut them off."""
        self.paper.screen.reset()
        self.paper.screen.resize(self.rows, 20)
        if breaks:
            self.paper.write("ann> a line of thirty columns")  # and goes on in the next row
        else:
            self.paper.write("ann> a line of thirt\x1b[1;20H")
        await self.resize(20)

    def tell(self, keys: PipeInput, columns: int = 20) -> None:
        """The terminal, whose window has so many columns, answers."""
        cursor = self.paper.screen.cursor
        keys.send_text(f"\x1b[{cursor.y + 1};{cursor.x + 1}R\x1b[{self.rows};{columns}R")

    narrowed = ("ann> a line of thirt", "y columns")

    def test_lines_that_are_broken_anew(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = await self.begin(keys, editor)
            await self.narrow(breaks=True)
            self.assertTrue(self.paper.raw.endswith(ASK))
            self.tell(keys)
            await self.until(*self.narrowed)
            keys.send_text("\r")
            self.assertEqual(await line, "a line of thirty columns")

        self.play(scenario)

    def test_lines_that_are_cut_off(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = await self.begin(keys, editor)
            await self.narrow(breaks=False)
            self.tell(keys)
            await self.until(*self.narrowed)
            keys.send_text("\r")
            await line

        self.play(scenario)

    def test_nothing_is_written_before_the_answer(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = await self.begin(keys, editor)
            await self.narrow(breaks=True)
            keys.send_text("!")
            editor.print([[("", "a message")]])
            editor.redraw()
            await self.turns()
            self.assertTrue(self.paper.raw.endswith(ASK))
            self.tell(keys)
            await self.until("a message", self.narrowed[0], "y columns!")
            keys.send_text("\r")
            await line

        self.play(scenario)

    def test_a_window_that_is_dragged_is_asked_once_it_rests(self) -> None:
        """An answer is about the size of its time: the next would come before the drawing."""

        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = await self.begin(keys, editor)
            for columns in (38, 33, 27):
                await self.resize(columns, rest=REST * 0.9)
                self.assertNotIn(ASK, self.paper.raw)
            await self.narrow(breaks=True)
            self.assertEqual(self.paper.raw.count(ASK), 1)
            self.tell(keys)
            await self.until(*self.narrowed)
            keys.send_text("\r")
            await line

        self.play(scenario)

    def test_an_answer_from_the_next_size(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = await self.begin(keys, editor)
            await self.resize(39)
            self.tell(keys, columns=20)
            await self.turns()
            self.assertTrue(self.paper.raw.endswith(ASK), "the next size has not been told of")
            await self.narrow(breaks=True)
            self.tell(keys)
            await self.until(*self.narrowed)
            keys.send_text("\r")
            await line

        self.play(scenario)

    def test_no_answer(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = await self.begin(keys, editor)
            await self.narrow(breaks=False)
            editor.print([[("", "a message")]])
            self.assertNotIn("a message", self.shown())
            self.loop.go_on()
            self.loop.skip(PATIENCE)
            await self.until("a message", *self.narrowed)
            self.tell(keys)  # Too late: it is about another screen, and no key.
            keys.send_text("!")
            await self.until("a message", self.narrowed[0], "y columns!")
            keys.send_text("\r")
            await line

        self.play(scenario)

    def test_enter_does_not_wait_for_it(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = await self.begin(keys, editor)
            await self.narrow(breaks=False)
            editor.print([[("", "a message")]])
            keys.send_text("\r")
            await self.turns()
            self.assertTrue(line.done())
            self.assertEqual(await line, "a line of thirty columns")
            self.assertIn("a message", self.shown())
            self.assertIn("y columns", self.shown())

        self.play(scenario)

    def test_the_same_size_is_no_question(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = await self.begin(keys, editor)
            await self.resize()
            self.assertNotIn(ASK, self.paper.raw)
            keys.send_text("\r")
            await line

        self.play(scenario)

    def test_a_terminal_that_may_not_be_asked(self) -> None:
        self.asks = False

        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = await self.begin(keys, editor)
            await self.narrow(breaks=False)
            await self.until(*self.narrowed)
            self.assertNotIn(ASK, self.paper.raw)
            keys.send_text("\r")
            await line

        self.play(scenario)
