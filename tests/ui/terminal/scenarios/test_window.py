"""A screenful at a time, and a view of the whole window, by the keys that are pressed in them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from prompt_toolkit.input import PipeInput
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from bbs.client.replies import ChatMessage
from bbs.ui.terminal.editor import LineEditor
from bbs.ui.terminal.history_view import HistoryPart, HistoryView, IHistorySource
from bbs.ui.terminal.interfaces import Fragments, More, SetAside
from tests.ui.terminal.test_editor import CTRL_C, UP, EditorCase

PAGE_UP, PAGE_DOWN, HOME, ESCAPE = "\x1b[5~", "\x1b[6~", "\x1b[H", "\x1b"

LEAVES = " · / search · q back"


def told(deferred: Deferred[Any]) -> asyncio.Future[Any]:
    return deferred.asFuture(asyncio.get_running_loop())


class WindowCase(EditorCase):
    async def no_more_keys(self) -> None:
        """So much time passes that an Escape is a key, and no beginning of another."""
        for _ in range(2):  # first for the input, then for its bindings
            await self.turns()
            self.loop.skip(1.1)
        await self.turns()


class MoreTests(WindowCase):
    def test_keys(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            for pressed, wanted in (
                (" ", More.SCREEN),
                (PAGE_DOWN, More.SCREEN),
                ("\r", More.LINE),
                ("q", More.LEAVE),
                (CTRL_C, More.LEAVE),
                (ESCAPE, More.LEAVE),
                ("x", More.LEAVE),
                (UP, More.LEAVE),
            ):
                more = told(editor.more("-- more: 1 of 2 --"))
                await self.until("-- more: 1 of 2 --")
                keys.send_text(pressed)
                await self.no_more_keys()
                self.assertEqual(await more, wanted, repr(pressed))
                self.assertEqual(self.shown(), [])

        self.play(scenario)

    def test_what_is_typed_is_not_lost(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = told(editor.line())
            keys.send_text("post one")
            await self.until("ann> post one", "hint for post one")
            editor.set_aside()
            with self.assertRaises(SetAside):
                await line
            more = told(editor.more("-- more --"))
            await self.until("-- more --")
            keys.send_text("!\x1b[200~ and two\x1b[201~")
            self.assertEqual(await more, More.LEAVE)
            line = told(editor.line())
            keys.send_text("\r")
            self.assertEqual(await line, "post one! and two")

        self.play(scenario)

    def test_lines_that_are_pasted_are_not_lost(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            more = told(editor.more("-- more --"))
            await self.until("-- more --")
            keys.send_text("\x1b[200~post one\rpost two\r\x1b[201~")
            self.assertEqual(await more, More.LEAVE)
            line = told(editor.line())
            keys.send_text("\r\r")
            self.assertEqual(await line, "post one\npost two")

        self.play(scenario)

    def test_a_late_answer_about_the_cursor_is_no_key(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            more = told(editor.more("-- more --"))
            await self.until("-- more --")
            keys.send_text("\x1b[3;7R")
            await self.turns()
            self.assertFalse(more.done())
            keys.send_text(" ")
            self.assertEqual(await more, More.SCREEN)

        self.play(scenario)


@implementer(IHistorySource)
class Source:
    def __init__(self, part: Callable[[str | None], Deferred[HistoryPart]]) -> None:
        self._part = part

    def part(self, cursor: str | None) -> Deferred[HistoryPart]:
        return self._part(cursor)


class ViewTests(WindowCase):
    def view(self) -> HistoryView:
        def part(cursor: str | None) -> Deferred[HistoryPart]:
            end = int(cursor or 40)
            begin = max(0, end - 20)
            messages = [ChatMessage(each, "bob", f"number {each}.") for each in range(begin, end)]
            return succeed(HistoryPart(messages, str(begin) if begin else None))

        first = HistoryPart([*self.successResultOf(part(None)).messages], "20")
        return HistoryView("bob", first, Source(part), lambda: self.draw, 40, 9)

    def numbers(self, *numbers: int) -> list[str]:
        return [f"number {number}." for number in numbers]

    def test_keys(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            left = told(editor.look_back(self.view()))
            end = f"bob: the end{LEAVES}"
            await self.until(*self.numbers(*range(31, 40)), end)
            keys.send_text("k")
            below = f"below{LEAVES}"
            await self.until(*self.numbers(*range(30, 39)), f"bob: 1 row {below}")
            keys.send_text(PAGE_UP)
            await self.until(*self.numbers(*range(22, 31)), f"bob: 9 rows {below}")
            keys.send_text(" ")
            await self.until(*self.numbers(*range(30, 39)), f"bob: 1 row {below}")
            keys.send_text(HOME * 2)
            await self.until(*self.numbers(*range(9)), f"bob: the beginning{LEAVES}")
            keys.send_text("x\x1b[3;7RG")
            await self.until(*self.numbers(*range(31, 40)), end)
            keys.send_text("q")
            await left

        self.play(scenario)

    def test_searched(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            left = told(editor.look_back(self.view()))
            keys.send_text("/er 1")
            await self.until(*self.numbers(*range(31, 40)), "/er 1")
            keys.send_text("\r")
            await self.until(*self.numbers(*range(16, 25)), f"bob: 15 rows below{LEAVES}")
            keys.send_text("/q" + ESCAPE)
            await self.no_more_keys()
            self.assertFalse(left.done())
            keys.send_text("?39.\r")
            await self.until(*self.numbers(*range(31, 40)), f"bob: the end{LEAVES}")
            keys.send_text("/nothing\r")
            await self.until(*self.numbers(*range(31, 40)), f"bob: no 'nothing'{LEAVES}")
            keys.send_text(CTRL_C)
            await left

        self.play(scenario)

    def test_any_key_ends_a_search(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            first = HistoryPart([ChatMessage(1, "bob", "number 1.")], "1")
            never: Deferred[HistoryPart] = Deferred()
            view = HistoryView("bob", first, Source(lambda cursor: never), lambda: self.draw, 40, 9)
            left = told(editor.look_back(view))
            keys.send_text("/nowhere\r")
            await self.until("number 1.", "bob: searching, 1 so far")
            keys.send_text("x")
            await self.until("number 1.", f"bob: more is coming{LEAVES}")
            keys.send_text("q")
            await left

        self.play(scenario)

    def draw(self, message: ChatMessage) -> tuple[str, Fragments]:
        return "", [("", message.text)]


class OwnKeysTests(EditorCase):
    def test_page_up_looks_back(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = told(editor.line())
            keys.send_text(f"hi{PAGE_UP}\r")
            self.assertEqual(await line, "hi")

        self.play(scenario)
        self.assertEqual(self.looks_back, 1)

    def test_rebound(self) -> None:
        self.own_keys = {
            "history": [("c-o",), ("escape", "h")],
            "complete": [],
            "backward-kill-word": [("c-x", "w")],
        }

        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = told(editor.line())
            keys.send_text("one two\x18w\x0f\x1bh\r")
            self.assertEqual(await line, "one ")

        self.play(scenario)
        self.assertEqual(self.looks_back, 2)


class TalkTests(EditorCase):
    def test_the_arrow_keys_know_when_a_talk_begins(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = told(editor.line())
            keys.send_text("half")
            await self.until("ann> half", "hint for half")
            self.talk = "bob"
            editor.redraw()
            keys.send_text(UP)
            await self.turns()
            self.assertEqual(self.shown()[0], "ann> half")
            keys.send_text(" said\r")
            self.assertEqual(await line, "half said")
            line = told(editor.line())
            keys.send_text(UP)
            await self.until("ann> half said", "ann> half said", "hint for half said")
            self.talk = None
            editor.redraw()
            keys.send_text("\x15")
            await self.until("ann> half said", "ann>")
            keys.send_text(UP)
            await self.until("ann> half said", "ann> old line", "hint for old line")
            keys.send_text("\r")
            await line

        self.play(scenario)
