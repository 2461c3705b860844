"""The line being typed: keys go in through a pipe, a screen as a terminal shows it is read."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import pyte
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output.vt100 import Vt100_Output
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from bbs.ui.completion import Completion
from bbs.ui.interfaces import PromptCancelled
from bbs.ui.prompts import CLEAR
from bbs.ui.terminal.app import LineQueue, QueuedLine
from bbs.ui.terminal.editor import MOST_KEPT, MOST_UNDONE, LineEditor
from bbs.ui.terminal.history import History
from bbs.ui.terminal.interfaces import Fragments, IEditor, InputContext, ITerminalApp, SetAside
from bbs.ui.terminal.keys import FULL, MOST, Sequences, line_keys
from bbs.ui.terminal.theme import style

CTRL_C, CTRL_D, CTRL_P, CTRL_R, CTRL_U = "\x03", "\x04", "\x10", "\x12", "\x15"
CTRL_Y, CTRL_Z, UNDO, LEFT, UP = "\x19", "\x1a", "\x1f", "\x1b[D", "\x1b[A"


class Loop(asyncio.SelectorEventLoop):
    """A loop whose time a test may stop, and let pass."""

    _ahead = 0.0
    _stopped: float | None = None
    before_signal: Callable[[], None] | None = None
    """Called when a signal has come, before it is handled."""

    def add_signal_handler(  # type: ignore[override]
        self, sig: int, callback: Callable[..., Any], *args: Any
    ) -> None:
        def handle() -> None:
            if self.before_signal is not None:
                self.before_signal()
            callback(*args)

        super().add_signal_handler(sig, handle)

    def time(self) -> float:
        return super().time() + self._ahead if self._stopped is None else self._stopped

    def stop_time(self) -> None:
        """No time passes until `go_on`."""
        self._stopped = self.time()

    def go_on(self) -> None:
        """Time goes on from where it was stopped."""
        now, self._stopped = self.time(), None
        self._ahead += now - self.time()

    def skip(self, seconds: float) -> None:
        """So much time passes at once."""
        if self._stopped is None:
            self._ahead += seconds
        else:
            self._stopped += seconds


class Paper:
    """Standard output, as far as prompt_toolkit needs it."""

    encoding = "utf-8"

    def __init__(self, columns: int, rows: int) -> None:
        self.screen = pyte.Screen(columns, rows)
        self.raw = ""
        self._stream = pyte.Stream(self.screen)

    def write(self, text: str) -> None:
        self.raw += text
        self._stream.feed(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError


@implementer(ITerminalApp)
class EditorCase(SynchronousTestCase):
    columns, rows = 40, 10
    asks = False
    own_keys: Mapping[str, Sequences] = {}
    shows_own = False

    def setUp(self) -> None:
        self.said: list[str] = []
        self.left = self.interrupts = 0
        self.answer: Deferred[bool] = Deferred()
        self.queue = LineQueue(self)
        self.paper = Paper(self.columns, self.rows)
        self.who = "ann"
        self.talk: str | None = None
        self.looks_back = 0
        self.drawn = 0
        """How often the words before the line were asked for."""
        self.entered: list[str] = []
        """Of what the history has asked where it was typed."""

    def prompt(self, columns: int, has_hint: bool) -> str:
        self.drawn += 1
        return f"{self.who}> "

    def hint(self, line: str) -> str:
        return f"hint for {line}" if line else ""

    def show_own(self, line: str) -> bool:
        return self.shows_own

    def is_command(self, line: str) -> bool:
        return not line.startswith("talk")

    def carry_out(self, line: QueuedLine) -> Deferred[bool]:
        return self.answer

    def notice(self, text: str) -> None:
        self.said.append(text)

    problem = notice

    def context(self, line: str, as_text: bool) -> InputContext:
        self.entered.append(line)
        return InputContext(self.talk, self.talk is not None)

    def look_back(self) -> None:
        self.looks_back += 1

    def leave(self) -> None:
        self.left += 1

    def interrupt(self) -> None:
        self.interrupts += 1

    def completions(self, line: str) -> Sequence[Completion]:
        begun = line.rpartition(" ")[2]
        names = [name for name in ("send", "send-group") if name.startswith(begun)]
        return [Completion(name, len(line) - len(begun), "") for name in names]

    def play(
        self, scenario: Callable[[PipeInput, LineEditor], Coroutine[None, None, None]]
    ) -> None:
        """Run a scenario on a `Loop` of its own, as the reactor would."""
        paper: Any = self.paper

        async def run() -> None:
            with create_pipe_input() as keys:
                output = Vt100_Output(
                    paper, lambda: Size(self.rows, self.columns), "xterm", enable_cpr=False
                )
                editor = LineEditor(
                    keys,
                    output,
                    self,
                    history=History(["old line"], None, self),
                    keys=line_keys(self, self.own_keys),
                    style=style({}),
                    ask=self.asks,
                )
                verifyObject(IEditor, editor)
                with editor.raw():
                    await scenario(keys, editor)

        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(asyncio.wait_for(run(), 60))

    @property
    def loop(self) -> Loop:
        """That of the scenario which runs."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        return loop

    def suspensions(self) -> list[object]:
        """The signals by which the process would be suspended from now on, instead of that."""
        sent: list[object] = []
        self.patch(os, "kill", lambda process, number: sent.append(number))
        return sent

    def shown(self) -> list[str]:
        return [line.rstrip() for line in self.paper.screen.display if line.strip()]

    async def until(self, *lines: str) -> None:
        """Wait until these are all the lines on the screen."""
        for _ in range(1000):
            if self.shown() == [*lines]:
                return
            await asyncio.sleep(0.01)
        self.assertEqual(self.shown(), [*lines])

    async def turns(self) -> None:
        """Let all happen for which no time has to pass."""
        for _ in range(200):
            await asyncio.sleep(0)

    async def until_said(self, many: int = 1) -> None:
        """Wait until so much was said beside the line."""
        while len(self.said) < many:
            await asyncio.sleep(0.01)


def answer(deferred: Deferred[str]) -> asyncio.Future[str]:
    return deferred.asFuture(asyncio.get_running_loop())


class LineTests(EditorCase):
    def test_a_line(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            keys.send_text("ping 你好\r")
            self.assertEqual(await line, "ping 你好")
            self.assertEqual(self.shown(), ["ann> ping 你好"])
            line = answer(editor.line())
            keys.send_text("\x1b[A\x1b[A\r")
            self.assertEqual(await line, "old line")

        self.play(scenario)

    def test_a_pasted_colour_is_not_a_click(self) -> None:
        """ESC[31m begins as a report of the mouse does."""

        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            keys.send_text("a\x1b[31mb\x1b[0mc\r")
            self.assertEqual(await line, "abc")

        self.play(scenario)

    def test_completion_and_hint(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            keys.send_text("se")
            await self.until("ann> se", "   send send-group", "hint for se")
            keys.send_text("\t")
            await self.until("ann> send", "   send send-group", "hint for send")
            keys.send_text("\t\r")
            self.assertEqual(await line, "send-group")
            line = answer(editor.line())
            keys.send_text("talk se\r")
            await line

        self.play(scenario)

    def test_tab_and_enter_at_once(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            keys.send_text("s\t bob send-\t\r")
            self.assertEqual(await line, "send bob send-group ")

        self.play(scenario)

    def test_a_space_after_the_only_completion(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            keys.send_text("send-g")
            await self.until("ann> send-g", "   send-group", "hint for send-g")
            keys.send_text("\t")
            await self.until("ann> send-group", "   send send-group", "hint for send-group")
            keys.send_text("x\r")
            self.assertEqual(await line, "send-group x")
            line = answer(editor.line())
            keys.send_text("send-g x" + LEFT * 2 + "\t\r")
            self.assertEqual(await line, "send-group x")

        self.play(scenario)

    def test_undo_takes_little_memory(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            keys.send_text("-+" * MOST_UNDONE + UNDO * 2 * MOST_UNDONE + "\r")
            # One of the copies is of what is there before anything is undone.
            self.assertEqual(len(await line), MOST_UNDONE + 1)
            line = answer(editor.line())
            pasted = MOST_KEPT // 10
            keys.send_text(f"\x1b[200~{'x' * pasted}\x1b[201~{'-+' * 20}{UNDO * 40}\r")
            self.assertEqual(len(await line), pasted + 40 - 8)

        self.play(scenario)

    def test_no_room_for_hints(self) -> None:
        self.columns = 20
        self.paper = Paper(20, 10)

        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            keys.send_text("se")
            await self.until("ann> se")
            keys.send_text(CTRL_U + CTRL_R + "old")
            await self.until("ann> old line", "earch backward: old")
            keys.send_text("\r\r")
            self.assertEqual(await line, "old line")

        self.play(scenario)

    def test_search(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            keys.send_text("\x1b[A\x1b[B" + CTRL_R + "old")
            while "I-search backward: old" not in " ".join(self.shown()):
                await asyncio.sleep(0.01)
            keys.send_text("\r\r")
            self.assertEqual(await line, "old line")

        self.play(scenario)

    def test_printed_above(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            def shows(*lines: str) -> Sequence[Fragments]:
                return [[("bold", line)] for line in lines]

            editor.print(shows("before"))
            line = answer(editor.line())
            keys.send_text("pong" + LEFT * 3)
            await self.until("before", "ann> pong", "hint for p")
            editor.print(shows("one", "two\nlines"))
            await self.until("before", "one", "two", "lines", "ann> pong", "hint for p")
            keys.send_text("X\r")
            self.assertEqual(await line, "pXong")
            editor.print(shows("after"))
            self.assertEqual(self.shown()[-2:], ["ann> pXong", "after"])

        self.play(scenario)

    def test_drawn_anew(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            editor.redraw()
            line = answer(editor.line())
            await self.until("ann>")
            self.who = "bob"
            editor.redraw()
            await self.until("bob>")
            keys.send_text("\r")
            await line

        self.play(scenario)

    def test_set_aside_and_gone_on_with(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            editor.set_aside()
            line = answer(editor.line())
            keys.send_text("half" + LEFT)
            await self.until("ann> half", "hint for hal")
            editor.set_aside()
            with self.assertRaises(SetAside):
                await line
            self.assertEqual(self.shown(), [])
            line = answer(editor.line())
            keys.send_text("X\r")
            self.assertEqual(await line, "halXf")

        self.play(scenario)

    def test_set_aside_before_it_is_shown(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            keys.send_text("half")
            await self.until("ann> half", "hint for half")
            editor.set_aside()
            with self.assertRaises(SetAside):
                await line
            for _ in range(2):
                line = answer(editor.line())
                editor.set_aside()
                with self.assertRaises(SetAside):
                    await line
            password = answer(editor.password(lambda: "Password: "))
            editor.set_aside()
            with self.assertRaises(SetAside):
                await password
            line = answer(editor.line())
            keys.send_text("X\r")
            self.assertEqual(await line, "halfX")

        self.play(scenario)

    def test_set_aside_as_the_loop_ends(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            await self.until("ann>")
            prompt: Any = editor._asked
            editor.end()
            # Nobody may be left to retrieve an exception.
            self.assertIsNone(prompt.future.exception())
            with self.assertRaises(SetAside):
                await line

        self.play(scenario)

    def test_printed_just_when_enter_is_pressed(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            keys.send_text("ping")
            await self.until("ann> ping", "hint for ping")
            keys.send_text("\r")
            while "ping" not in self.entered:
                await asyncio.sleep(0)
            editor.set_aside()
            editor.print([[("", "a message")]])
            self.assertEqual(await line, "ping")
            self.assertEqual(self.shown(), ["a message", "ann> ping"])
            editor.set_aside()
            line = answer(editor.line())
            keys.send_text("\r")
            self.assertEqual(await line, "")

        self.play(scenario)

    def test_left_as_it_is_at_the_end(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            editor.end()
            line = answer(editor.line())
            keys.send_text("half")
            await self.until("ann> half", "hint for half")
            editor.end()
            with self.assertRaises(SetAside):
                await line
            self.assertEqual(self.shown(), ["ann> half"])

        self.play(scenario)

    def test_the_terminal_goes(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            keys.close()
            with self.assertRaises(EOFError):
                await line

        self.play(scenario)

    def test_a_stray_exception_is_not_the_prompts(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            await self.until("ann>")
            with self.assertLogs("asyncio"):
                asyncio.get_running_loop().call_exception_handler({"message": "stray"})
            keys.send_text("ping\r")
            self.assertEqual(await line, "ping")

        self.play(scenario)

    def test_suspended(self) -> None:
        suspended = self.suspensions()

        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            keys.send_text(CTRL_Z + "\r")
            await line

        self.play(scenario)
        self.assertEqual(suspended, [signal.SIGTSTP])


class PasswordTests(EditorCase):
    def test_hidden(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            password = answer(editor.password(lambda: "Password: "))
            keys.send_text("sec")
            await self.until("Password:")
            editor.print([[("", "a message")]])
            await self.until("a message", "Password:")
            keys.send_text("ret\r")
            self.assertEqual(await password, "secret")
            line = answer(editor.line())
            keys.send_text("\x1b[A\r")
            self.assertEqual(await line, "old line")

        self.play(scenario)
        self.assertNotIn("sec", self.paper.raw)

    def test_all_at_once(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            keys.send_text("login ann\rsecret\rping\r")
            self.assertEqual(await line, "login ann")
            self.assertEqual(await answer(editor.password(lambda: "Password: ")), "secret")
            self.assertEqual(await answer(editor.line()), "ping")

        self.play(scenario)
        self.assertNotIn("secret", self.paper.raw)

    def test_none_comes_back(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            for typed in ("secret", "killed" + CTRL_U, UP, CTRL_Y, CTRL_P, UNDO):
                password = answer(editor.password(lambda: "Password: "))
                keys.send_text(f"{typed}\r")
                self.assertEqual(await password, "secret" if typed == "secret" else "")

        self.play(scenario)

    def test_no_macro(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            for typed, meant in ("\x18(a\x18)", "(a)"), ("\x18e", "e"):
                password = answer(editor.password(lambda: "Password: "))
                keys.send_text(f"{typed}\r")
                self.assertEqual(await password, meant)

        self.play(scenario)

    def test_no_search(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            password = answer(editor.password(lambda: "Password: "))
            keys.send_text(CTRL_R + "secret")
            await self.until("Password:")
            keys.send_text("\r")
            self.assertEqual(await password, "secret")

        self.play(scenario)
        self.assertNotIn("secret", self.paper.raw)

    def test_control_characters(self) -> None:
        suspended = self.suspensions()

        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            password = answer(editor.password(lambda: "Password: "))
            keys.send_text(f"s{CTRL_Z}e\x11\x0f\x18c\x85r\x1cé\u00a0t\r")
            self.assertEqual(await password, "secré\u00a0t")

        self.play(scenario)
        self.assertEqual(suspended, [signal.SIGTSTP])

    def test_other_words_before_what_is_half_typed(self) -> None:
        words = ["Soon: "]

        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            password = answer(editor.password(lambda: words[-1]))
            keys.send_text("sec")
            await self.until("Soon:")
            words.append("Password: ")
            editor.redraw()
            await self.until("Password:")
            keys.send_text("ret\r")
            self.assertEqual(await password, "secret")

        self.play(scenario)

    def test_pasted(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            password = answer(editor.password(lambda: "Password: "))
            keys.send_text("\x1b[200~secret\r\n\x1b[201~\r")
            self.assertEqual(await password, "secret")

        self.play(scenario)

    def test_given_up(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            for key in (CTRL_C, CTRL_D):
                password = answer(editor.password(lambda: "Password: "))
                keys.send_text(f"sec{key}")
                with self.assertRaises(PromptCancelled):
                    await password

        self.play(scenario)


class KeyTests(EditorCase):
    def test_ctrl_c_asks_before_it_clears(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            keys.send_text("half" + CTRL_C)
            await self.until_said()
            self.assertEqual(self.said, [CLEAR])
            keys.send_text(CTRL_C + "whole\r")
            self.assertEqual(await line, "whole")

        self.play(scenario)

    def test_ctrl_c_gives_up_what_is_under_way(self) -> None:
        self.queue.add([QueuedLine("login ann")])

        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            keys.send_text("half" + CTRL_C + "\r")
            self.assertEqual(await line, "half")

        self.play(scenario)
        self.assertEqual((self.interrupts, self.said), (1, []))
        self.answer.callback(True)

    def test_ctrl_c_on_nothing(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            keys.send_text(CTRL_C + "\r")
            await line

        self.play(scenario)
        self.assertEqual(self.interrupts, 1)

    def test_ctrl_d(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            keys.send_text("halff" + LEFT + CTRL_D + CTRL_D)
            await self.until_said()
            self.assertIn("the line is not sent", self.said[0])
            self.assertEqual(self.left, 0)
            keys.send_text(CTRL_D + "\r")
            self.assertEqual(await line, "half")
            self.assertEqual(self.left, 1)
            line = answer(editor.line())
            keys.send_text(CTRL_D + "\r")
            await line
            self.assertEqual((self.left, len(self.said)), (2, 1))

        self.play(scenario)

    def test_pasted_lines_wait_for_enter(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            keys.send_text("\x1b[200~one\r\ntwo\r\n\x1b[201~")
            await self.until("ann> one", "two", "hint for one")
            keys.send_text("\r")
            await self.until_said()
            self.assertEqual(self.said, ["Enter again carries out 2 lines as commands."])
            keys.send_text("x\r")
            await self.until_said(2)
            keys.send_text("\r")
            self.assertEqual(await line, "one\ntwox")

        self.play(scenario)

    def test_lines_pasted_in_a_talk_are_one_message(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            self.talk = "bob"
            for pasted, sent in (("end\rtwo", "end\u2028two"), ("/one\ntwo", "//one\u2028two")):
                line = answer(editor.line())
                keys.send_text(f"\x1b[200~{pasted}\x1b[201~\r")
                self.assertEqual(await line, sent)

        self.play(scenario)
        self.assertEqual(self.said, [])

    def test_alt_enter_ends_a_line_of_a_message(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            keys.send_text("one\x1b\rtwo")
            await self.until("ann> one↵two", "hint for one")
            keys.send_text("\r")
            self.assertEqual(await line, "one\u2028two")

        self.play(scenario)

    def test_a_message_leaves_the_prompt(self) -> None:
        self.shows_own = True

        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            keys.send_text("hello\r")
            await line
            editor.print([[("", "21:55 ann  hello")]])
            await self.until("21:55 ann  hello")

        self.play(scenario)

    def test_too_much_pasted(self) -> None:
        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            keys.send_text("a\x1b[200~" + "x" * MOST + "\x1b[201~b\r")
            self.assertEqual(await line, "ab")
            self.assertEqual(len(self.said), 1)
            self.assertIn("at most 64,512", self.said[0])

        self.play(scenario)

    def test_too_much_typed(self) -> None:
        self.rows = 2

        async def scenario(keys: PipeInput, editor: LineEditor) -> None:
            line = answer(editor.line())
            keys.send_text("\x1b[200~" + "x" * (MOST - 1) + "\x1b[201~éyz\r")
            await self.until_said(2)
            self.assertEqual(self.said[0], FULL)
            self.assertIn("(64,513 bytes", self.said[1])
            keys.send_text("\x7fz\r")
            self.assertEqual(len(await line), MOST)

        self.play(scenario)
