"""The real `bbs client` on a real pseudo-terminal, with the real service behind it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import stat
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.integration.service import (
    START_TIMEOUT,
    Person,
    Service,
    eventually,
    together,
)
from tests.integration.shared import SharedCase
from tests.integration.terminal import CTRL_C, CTRL_D, TAB, UP, Terminal
from tests.integration.tmux import TMUX, Tmux

MANY = int(os.environ.get("BBS_TEST_MESSAGES", "1000"))
"""Messages to somebody who is away, by the hundred."""

SOCKET = re.compile(r"socket:\[(\d+)\]")
"""How /proc has an open socket."""

TOLD = 0.6
"""Seconds within which tmux tells a client that its window has another size; it takes 0.25 s."""

KILL_LINE, PAGE_UP = "\x15", "\x1b[5~"


class TerminalCase(SharedCase):
    """A service with ann and bob, who are friends; bob is here by wire, ann at the terminal."""

    service_up: Service
    bob: Person

    async def begin(self, *arguments: str, **options: Any) -> Terminal:
        """A terminal at which ann is logged in."""
        await self.friends()
        terminal = self.terminal(*arguments, **options)
        await terminal.log_in("ann")
        return terminal

    async def serve(self) -> None:
        """Have the service there."""
        self.service_up = await self.shared()

    async def friends(self) -> None:
        await self.serve()
        await self.service_up.register("ann", "bob")
        self.bob = await self.service_up.person("bob")
        ann = await self.service_up.person("ann")
        await self.service_up.befriend(ann, self.bob)
        ann.wire.close()

    def terminal(self, *arguments: str, **options: Any) -> Terminal:
        return Terminal(self.service_up, *arguments, **options)

    def count(self, terminal: Terminal, text: str) -> int:
        """How many lines have `text` in them."""
        return sum(text in line for line in terminal.lines)

    async def writes(self, text: str, *more: str) -> None:
        """bob writes to ann."""
        for reply in await together(self.bob.asks("send", "ann", each) for each in (text, *more)):
            self.assertEqual(reply["status"], 0, reply)


class Typing(TerminalCase):
    async def test_completion_and_hint(self) -> None:
        """Commands and friends are completed by Tab, and the usage stands under the line."""
        terminal = await self.begin()
        terminal.type("sen")
        await terminal.shows("send-group")
        terminal.type(TAB)
        await terminal.prompts(".*> send")
        await terminal.shows("send <friend> <message>")
        terminal.type(" b")
        await terminal.shows("   bob")
        terminal.type(TAB)
        await terminal.prompts(".*> send bob")
        terminal.enter(" hello")
        await terminal.shows("Sent to bob.")
        # Where the cursor is is never asked: the answer could be about another screen.
        self.assertNotIn(b"\x1b[6n", terminal.raw)

    async def test_passwords_are_hidden(self) -> None:
        """A password is neither on the screen nor in the history, however it is typed."""
        await self.serve()
        terminal = self.terminal()
        await terminal.prompts(">")
        terminal.enter("register eve")
        await terminal.prompts("Password for eve:")
        terminal.enter("hunter2")
        await terminal.prompts("Repeat the password:")
        terminal.enter("hunter2")
        await terminal.shows("Made the account eve.")
        terminal.enter("login eve")
        await terminal.prompts("Password for eve:")
        # All in one piece, as somebody fast or a clipboard would have it.
        terminal.enter("hunter2\rping")
        await terminal.shows("Pong!")
        self.assertNotIn(b"hunter2", terminal.raw)
        terminal.enter("register mallory swordfish")
        await terminal.shows("> register mallory swordfish")
        terminal.type(UP)
        await terminal.prompts(".*> register mallory")
        terminal.type(KILL_LINE)
        terminal.enter("exit")
        await terminal.ended()
        self.assertEqual(terminal.exit_code, 0)
        history = terminal.state / "bbs" / "history"
        self.assertEqual(
            history.read_text(), "register eve\nlogin eve\nping\nregister mallory\nexit\n"
        )
        self.assertEqual(stat.S_IMODE(history.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(history.parent.stat().st_mode), 0o700)
        again = self.terminal()
        await again.prompts(">")
        again.type(UP * 3)
        await again.prompts(".*> ping")

    async def test_a_password_that_is_not_said(self) -> None:
        terminal = await self.begin()
        terminal.enter("login bob")
        await terminal.prompts("Password for bob:")
        terminal.type(CTRL_C)
        await terminal.shows("Given up.")
        terminal.enter("login bob")
        await terminal.prompts("Password for bob:")
        terminal.enter("wrong")
        await terminal.shows("Wrong name or password")
        await terminal.prompts("ann>")

    async def test_password_file(self) -> None:
        await self.friends()
        file = self.service_up.folder / "password"
        file.write_text("ann\n")
        file.chmod(0o600)
        terminal = self.terminal("--password-file", str(file))
        await terminal.prompts(">")
        terminal.enter("login ann")
        await terminal.prompts("ann>", START_TIMEOUT)

    async def test_a_history_that_cannot_be_kept(self) -> None:
        """It is said once, and nothing else fails."""
        await self.friends()
        blocked = self.service_up.folder / "blocked"
        blocked.write_text("")
        terminal = self.terminal(environ={"XDG_STATE_HOME": str(blocked)})
        await terminal.shows("The history is not saved: Not a directory")
        await terminal.log_in("ann")
        terminal.type(UP)
        await terminal.prompts(".*> login ann")
        self.assertEqual(sum("not saved" in line for line in terminal.lines), 1)

    async def test_interrupt_and_end(self) -> None:
        """Ctrl-C and Ctrl-D ask before a line is lost."""
        terminal = await self.begin()
        terminal.type("half a line" + CTRL_C)
        await terminal.shows("Ctrl-C again clears the line.")
        await terminal.prompts(".*> half a line")
        terminal.type(" more" + CTRL_C)
        await eventually(lambda: self.count(terminal, "again clears") == 2, "asked again")
        await terminal.prompts(".*> half a line more")
        terminal.type(CTRL_C)
        await terminal.prompts("ann>")
        terminal.type(CTRL_C)
        await terminal.shows("To leave, type exit or press Ctrl-D.")
        terminal.type("unsent" + CTRL_D)
        await terminal.shows("Ctrl-D again ends all the same: the line is not sent.")
        terminal.type(KILL_LINE + CTRL_D)
        await terminal.ended()
        self.assertEqual(terminal.exit_code, 0)

    async def test_several_lines_pasted(self) -> None:
        """Commands need Enter twice; in a talk the lines are one message."""
        terminal = await self.begin()
        terminal.paste("ping\r\nlist-friend\r\n")
        await terminal.prompts("list-friend")
        self.assertNotIn("Pong!", terminal.lines)
        terminal.type("\r")
        await terminal.shows("Enter again carries out 2 lines as commands.")
        terminal.type("\r")
        await terminal.shows("Pong!")
        await terminal.shows("bob")
        terminal.enter("talk bob")
        await terminal.talks_to("bob")
        await self.bob.asks("listen")
        terminal.paste("one\nlogin two three")
        await terminal.prompts("login two three")
        terminal.type("\r")
        await eventually(lambda: self.bob.wire.events, "bob has them")
        (event,) = self.bob.wire.events
        self.assertEqual(event["message"], "one\u2028login two three")

    async def test_too_much_pasted(self) -> None:
        """A megabyte is refused at once, as a whole; what fits is sent as one line."""
        terminal = await self.begin()
        await self.bob.asks("listen")
        terminal.type("send bob ")
        terminal.paste("x" * 1_048_576)
        await terminal.shows("Not sent: send bob xxx", 10)
        await terminal.prompts(".*> send bob")
        terminal.paste("x" * 60_000)
        terminal.type(" end\r")
        await eventually(lambda: self.bob.wire.events, "bob has it")
        self.assertEqual(self.bob.wire.events[0]["message"], "x" * 60_000 + " end")

    async def test_plain_terminal(self) -> None:
        """`TERM=dumb`: no escape sequence at all, and passwords are hidden all the same."""
        await self.friends()
        terminal = self.terminal(environ={"TERM": "dumb", "PYTHONIOENCODING": "ascii"})
        await terminal.prompts(">")
        terminal.type(CTRL_C)
        await terminal.shows("To leave, type exit or press Ctrl-D.")
        terminal.type("pi" + CTRL_C)
        await eventually(lambda: self.count(terminal, "press Ctrl-D.") == 2, "it is said again")
        terminal.type("ng\n")
        await terminal.shows("Pong!")
        # Typed before the prompt, it would have the question behind it in one line.
        await terminal.prompts(">")
        terminal.type("login ann\n")
        await terminal.prompts("Password for ann:")
        terminal.type("ann\n")
        await terminal.prompts("ann>")
        await self.writes("hello")
        await terminal.shows("bob  hello")
        await terminal.prompts(r"ann \[bob 1\]>")
        terminal.type("talk bob\n")
        await terminal.prompts(r"ann\?bob>")
        terminal.type("/login bob\n")
        await terminal.prompts("Password for bob:")
        terminal.type(CTRL_D)
        await terminal.ended()
        self.assertEqual(terminal.exit_code, 0)
        self.assertNotIn(b"\x1b", terminal.raw)
        self.assertEqual(terminal.raw.count(b"ann\r\n"), 1)


class Programs(TerminalCase):
    async def test_json_at_a_terminal(self) -> None:
        """No prompt and no editing; an exit code."""
        await self.friends()
        terminal = self.terminal("--json", columns=200)
        terminal.type("login ann ann\n")
        await terminal.shows('{"status": 0, "message": "Success!", "app_server": ')
        await self.writes("hi\x1b")
        await terminal.shows('"from": "bob", "to": "ann", "message": "hi\\u001b", "user": "ann"}')
        terminal.type("nonsense\n\x04")
        await terminal.ended()
        self.assertEqual(terminal.exit_code, 1)
        await terminal.shows("bbs client: Unknown command nonsense")
        self.assertNotIn(b"\x1b", terminal.raw)
        kept = {path.name for path in (terminal.state / "bbs").iterdir()}
        self.assertEqual(kept, {"last-host", "devices"}, "a program's lines are in a history")

    async def test_output_to_a_pipe(self) -> None:
        """With a terminal on its standard input alone it is the script client."""
        await self.friends()
        out = self.service_up.folder / "out"
        terminal = self.terminal(output=out)
        terminal.type("login ann ann\nlist-friend ann\nexit\n")
        await terminal.ended()
        self.assertEqual(terminal.exit_code, 0)
        self.assertEqual(out.read_text(), "Success!\nbob\n")


class Reading(TerminalCase):
    async def test_a_message_while_typing(self) -> None:
        """It stands above the line, which is as it was, with its cursor where it was."""
        terminal = await self.begin()
        terminal.type("send bob half-typed\x1b[D\x1b[D\x1b[D")
        await terminal.prompts(".*> send bob half-typed")
        await self.writes("hello from far away")
        await terminal.shows("bob  hello from far away")
        await terminal.prompts("ann> send bob half-typed")
        terminal.type("X")
        await terminal.prompts(".*> send bob half-tyXped")

    async def test_resized_while_messages_come(self) -> None:
        """Wide, narrow, and 20 columns, where it still works."""
        terminal = await self.begin("--no-times")
        terminal.type("ping")
        for columns in (40, 100, 20, 80, 20):
            terminal.resize(columns)
            await self.writes(f"at {columns}")
            await terminal.shows(f"bob  at {columns}")
            await terminal.prompts(".*> ping")
        await terminal.prompts(r"ann \[5\]> ping")
        terminal.type("\r")
        await terminal.shows("Pong!")
        terminal.enter("talk bob")
        await terminal.prompts("ann→bob>")

    async def test_many_messages(self) -> None:
        """All at once, and keys that are typed meanwhile are on the screen before the last is."""
        await self.friends()
        for begin in range(0, MANY, 100):
            await self.writes(*(f"message {begin + each}" for each in range(100)))
        terminal = self.terminal()
        await terminal.prompts(">")
        terminal.enter("login ann ann")
        await terminal.shows("bob  message 0")
        typed = ""
        while b"message %d" % (MANY - 1) not in terminal.raw:
            typed += "abcdefghij"[len(typed) % 10]
            terminal.type(typed[-1])
            await terminal.prompts(f".*> {typed}")
            if len(typed) == 20:
                terminal.type(KILL_LINE)
                typed = ""
            await deferLater(reactor, 0.1)
        self.assertRegex(terminal.raw, rb"(?s)ann>(\x1b\[[\d;]*m| )*a.*message %d" % (MANY - 1))
        await terminal.prompts(f"ann> {typed}")
        await terminal.shows(f"new: bob {MANY}")
        shown = re.findall(rb"bob\x1b\S*  \S*message (\d+)", terminal.raw)
        self.assertEqual([int(number) for number in shown], list(range(MANY)))

    async def test_what_a_peer_writes_does_nothing(self) -> None:
        """Escape sequences and reversed writing are shown; one's own line is as harmless."""
        terminal = await self.begin()
        await self.writes("\x1b[2J\x1b]0;owned\x07\u202egnp.exe\x9b1m")
        await terminal.shows(r"bob  \x1b[2J\x1b]0;owned\x07\u202egnp.exe\x9b1m")
        self.assertNotIn("owned", terminal.screen.title)
        self.assertNotIn("\u202e".encode(), terminal.raw)
        terminal.paste("ping \u202eabc")
        await terminal.prompts(r".*> ping \\u202eabc")

    async def test_columns(self) -> None:
        """Wide characters, combining marks and emoji: the cursor is where the text is."""
        terminal = await self.begin()
        await self.bob.asks("listen")
        prompt = len(terminal.line) + 1
        text = "send bob 你好 e\u0301 👩\u200d🚀"
        terminal.type(text)
        await eventually(lambda: "🚀" in terminal.line, "typed")
        # 9 for `send bob `, two each for the wide ones; the joiner takes no column anywhere.
        self.assertEqual(terminal.screen.cursor.x, prompt + 9 + 4 + 1 + 1 + 1 + 4)
        terminal.type("\x02" * 3 + "\x7f")
        terminal.type("\r")
        await eventually(lambda: self.bob.wire.events, "sent")
        self.assertEqual(self.bob.wire.events[0]["message"], "你好 e\u0301👩\u200d🚀")

    async def test_colours(self) -> None:
        """A sender has one; with `NO_COLOR` nobody has."""
        terminal = await self.begin()
        await self.writes("in colour")
        await terminal.shows("bob  in colour")
        self.assertIn(b"38;5;", terminal.raw)
        plain = self.terminal(environ={"NO_COLOR": "1"})
        await plain.log_in("ann")
        await self.writes("without")
        await plain.shows("bob  without")
        self.assertNotIn(b"38;5;", plain.raw)

    async def test_times(self) -> None:
        """The time stands before each message, unless somebody wants none."""
        terminal = await self.begin()
        await self.writes("in time")
        await terminal.shows("bob  in time")
        (line,) = [line for line in terminal.lines if "in time" in line]
        self.assertRegex(line, r"^\d\d:\d\d bob  in time$")
        without = self.terminal("--no-times")
        await without.log_in("ann")
        await self.writes("timeless")
        await without.shows("bob  timeless")
        self.assertIn("bob  timeless", without.lines)

    async def test_settings(self) -> None:
        """A file has them; a mistake in it is said with its name, and the rest counts."""
        await self.friends()
        file = self.service_up.folder / "config" / "bbs" / "client.toml"
        file.parent.mkdir(parents=True)
        file.write_text(
            'times = false\nbell = "both"\ntimez = 1\n[colours]\nsenders = false\n'
            '[keys]\nhistory = "c-o"\n'
        )
        environ = {"XDG_CONFIG_HOME": str(self.service_up.folder / "config")}
        terminal = self.terminal(environ=environ, columns=200)
        await terminal.shows("client.toml: timez: no such setting")
        await terminal.log_in("ann")
        await self.writes("hello")
        await terminal.shows("bob  hello")
        self.assertIn("bob  hello", terminal.lines)
        self.assertIn(b"\a", terminal.raw)
        self.assertNotIn(b"38;5;", terminal.raw)
        terminal.enter("talk bob")
        await terminal.talks_to("bob")
        terminal.type("\x0f")
        await terminal.shows("bob: the beginning")

    async def test_what_is_said_is_in_no_file(self) -> None:
        """The arrow keys bring it back in that talk only."""
        terminal = await self.begin()
        # All in one piece: the talk has not begun when the next line is entered.
        terminal.enter("talk bob\rquickly said")
        await terminal.talks_to("bob")
        terminal.enter("said before\r/ping")
        await terminal.shows("Pong!")
        terminal.type(UP * 2)
        await terminal.prompts("ann> said before")
        terminal.type(KILL_LINE)
        terminal.enter("end")
        await terminal.prompts("ann>")
        terminal.type(UP * 2)
        await terminal.prompts("ann> /ping")
        terminal.type(KILL_LINE)
        terminal.enter("exit")
        await terminal.ended()
        history = (terminal.state / "bbs" / "history").read_text()
        self.assertEqual(history, "login ann\ntalk bob\n/ping\nend\nexit\n")

    async def test_unread_and_talk(self) -> None:
        """Unread messages are counted until somebody talks with their author."""
        terminal = await self.begin()
        await self.writes("one", "two")
        await terminal.shows("new: bob 2")
        terminal.enter("talk bob")
        await terminal.talks_to("bob")
        await self.writes("three")
        await terminal.shows("bob  three")
        await terminal.talks_to("bob")
        terminal.enter("end")
        await terminal.prompts("ann>")


class Paging(TerminalCase):
    """A list that is longer than the window."""

    async def posted(self, **environ: str) -> Terminal:
        """A terminal at which ann asks for the 200 posts of bob's."""
        terminal = await self.begin(environ=environ)
        await together(self.bob.asks("post", f"post {number}.") for number in range(200))
        terminal.enter("receive-post")
        return terminal

    async def test_by_screenfuls(self) -> None:
        terminal = await self.posted()
        await terminal.prompts("-- more: 23 of 200 --.*")
        self.assertRegex(terminal.lines[-2], r"^\d\d:\d\d bob: post 22\.$")
        await self.writes("hello")
        terminal.type(" ")
        await terminal.prompts("-- more: 46 of 200 --.*")
        self.assertEqual(self.count(terminal, "hello"), 0)
        self.assertEqual(self.count(terminal, "-- more"), 1)
        terminal.type("ping\r")
        await terminal.shows("Pong!")
        await terminal.shows("bob  hello")
        self.assertEqual(self.count(terminal, "-- more"), 0)
        self.assertEqual(self.count(terminal, "bob: post 46."), 0)

    async def test_by_a_pager(self) -> None:
        """It has the terminal and Ctrl-C; messages are shown afterwards."""
        pager = "sed -n 's/post 77/& is here/p; $='; read answer < /dev/tty; echo got $answer"
        terminal = await self.posted(PAGER=pager)
        await terminal.shows("bob: post 77 is here.")
        await self.writes("hello")
        terminal.type("all of it\r")
        await terminal.shows("got all of it")
        await terminal.shows("bob  hello")
        await terminal.shows("new: bob 1")
        shown = [line for line in terminal.lines if "got" in line or "hello" in line]
        self.assertEqual(len(shown), 2)
        self.assertIn("got", shown[0])
        self.assertIn("200", terminal.lines)
        self.assertFalse(terminal.echoes)

    async def test_a_pager_is_interrupted(self) -> None:
        """Ctrl-C is the pager's, and the client goes on."""
        terminal = await self.posted(PAGER="echo begun; sleep 100")
        await terminal.shows("begun")
        terminal.type(CTRL_C)
        await terminal.prompts("ann>")
        terminal.enter("ping")
        await terminal.shows("Pong!")

    async def test_a_pager_that_does_not_exist(self) -> None:
        terminal = await self.posted(PAGER="no-such-pager")
        await terminal.shows("PAGER no-such-pager: exit code 127. Lists are shown without it.")
        await terminal.prompts("-- more: 23 of 200 --.*")
        terminal.type("q")
        await terminal.prompts("ann>")
        terminal.enter("receive-post")
        await terminal.prompts("-- more: 23 of 200 --.*")

    async def test_ended_while_a_pager_is_there(self) -> None:
        """The pager ends too, and the terminal is as it was."""
        terminal = await self.posted(PAGER="echo begun; exec sleep 100")
        await terminal.shows("begun")
        os.kill(terminal.pid, signal.SIGTERM)
        await terminal.ended()
        self.assertEqual(terminal.exit_code, 1)
        self.assertTrue(terminal.echoes)

    async def test_a_plain_terminal(self) -> None:
        """`TERM=dumb` has no window to fill."""
        await self.friends()
        await together(self.bob.asks("post", f"post {number}.") for number in range(200))
        terminal = self.terminal(environ={"TERM": "dumb", "PAGER": "no-such-pager"})
        await terminal.prompts(">")
        terminal.type("login ann ann\nreceive-post\n")
        await terminal.shows("bob: post 199.", START_TIMEOUT)
        self.assertNotIn(b"\x1b", terminal.raw)

    async def test_back_in_a_conversation(self) -> None:
        """Page Up reads on towards its beginning, and `/` searches there."""
        terminal = await self.begin()
        for block in range(0, 300, 50):
            await self.writes(*(f"number {block + each}." for each in range(50)))
        await terminal.shows("number 299.")
        terminal.enter("talk bob")
        await terminal.shows("(older ones: Page Up)")
        terminal.type("half" + PAGE_UP)
        await terminal.shows("rows below · / search")
        self.assertNotIn("ann> half", terminal.screen.display[-1])
        terminal.type("/number 3.\r")
        await terminal.shows("bob  number 3.")
        await self.writes("hello")
        terminal.type("q")
        await terminal.shows("bob  hello")
        await terminal.prompts("ann> half")


class Resizing(TerminalCase):
    """In a terminal that breaks lines anew and tells where the cursor is."""

    if TMUX is None:
        skip = "tmux is not installed"

    async def test_no_copies(self) -> None:
        """However often a window gets narrower and wider while a line is typed, it is there once,
        and all above it stays."""
        await self.friends()
        terminal = Tmux(self.service_up)
        await terminal.begin()
        await terminal.shows("login NAME · register NAME · help")
        await terminal.enter("login ann ann")
        await terminal.shows("ann>", "talk NAME · help")
        # Else tmux has lines scroll away for what has room below.
        await self.writes(*(f"line {number}" for number in range(24)), "read this first")
        await terminal.shows("read this first", "ann>", "new: bob 25 · talk NAME · help")
        # The first answer of a terminal is not waited for as long as those behind it.
        for columns in (40, 80):
            await terminal.resize(columns)
            await self.prompts(terminal, "ann>")
        await terminal.type(f"post BEGIN{'x' * 55}END")
        await self.redrawn(terminal, 80)
        for number, columns in enumerate((40, 80, 40, 57, 100, 20, 80, 40, 80)):
            await terminal.resize(columns)
            await self.redrawn(terminal, columns)
            await self.writes(f"{number}-at-{columns}")
            await self.has(terminal, f"{number}-at-{columns}")
            await self.redrawn(terminal, columns)
        # As by a mouse that draws at the window's edge.
        for columns in (*range(80, 40, -3), *range(40, 100, 7), 33, 90, 80):
            await terminal.resize(columns)
        await self.redrawn(terminal, 80)
        text = "".join(terminal.lines)
        self.assertEqual((text.count("BEGIN"), text.count("END")), (1, 1))
        self.assertEqual(text.count("read this first"), 1)
        self.assertEqual(text.count("login ann ann"), 1)

    async def has(self, terminal: Tmux, text: str) -> None:
        async def look() -> bool:
            return text in "".join(await terminal.look())

        await eventually(look, f"{text} on the screen")

    async def prompts(self, terminal: Tmux, begin: str) -> None:
        async def look() -> bool:
            return any(line.startswith(begin) for line in (await terminal.look())[-2:])

        await eventually(look, f"a prompt that begins with {begin}")

    async def redrawn(self, terminal: Tmux, columns: int) -> None:
        """Wait until the prompt is the one for such a window."""

        # What tmux has broken by itself looks the same until it tells the client of its new size.
        await deferLater(reactor, TOLD)
        prompt = "ann>" if columns >= 30 else "ann ["

        async def look() -> bool:
            lines = await terminal.look()
            at = [each for each, line in enumerate(lines) if line.startswith(prompt)]
            whole = "".join(lines[at[-1] :]).partition("END")[0] if at else ""
            return bool(at) and len(lines[at[-1]]) == min(columns, len(whole) + 3)

        await eventually(look, f"a prompt of {columns} columns: {terminal.dump()}")


class BadDays(TerminalCase):
    async def serve(self) -> None:
        """Have a service of the test's own there, with which it may do what it likes."""
        self.service_up = self.service()
        await self.service_up.up()

    async def test_waiting_is_given_up(self) -> None:
        """Who waits for an app server sees the place; Ctrl-C gives up, and loses nothing."""
        self.service_up = service = self.service(
            app={"capacity": 1}, fleet={"minimum": 1, "maximum": 1, "spare": 0}
        )
        await service.up()
        await service.register("ann", "bob")
        terminal = self.terminal()
        await terminal.log_in("ann")
        terminal.enter("login bob bob")
        await terminal.shows("the service is full, you are next")
        terminal.type("post I am" + CTRL_C)
        await terminal.shows("Given up waiting for a server.")
        await terminal.prompts("ann> post I am")
        terminal.enter(" still here")
        await terminal.shows("Posted to all your friends.")
        terminal.enter("use")
        await terminal.prompts("ann>")
        self.assertNotIn("bob", terminal.lines)

    async def test_end_while_waiting(self) -> None:
        """Ctrl-D asks, as something is under way."""
        self.service_up = service = self.service(
            app={"capacity": 1}, fleet={"minimum": 1, "maximum": 1, "spare": 0}
        )
        await service.up()
        await service.register("ann", "bob")
        await service.person("bob")
        terminal = self.terminal()
        await terminal.prompts(">")
        terminal.enter("login ann ann\rlist-friend")
        await terminal.shows("the service is full, you are next")
        # All in one piece: a password shows nothing before it is asked for either.
        terminal.enter("login eve\rhunter2")
        await terminal.shows("Password for eve, once asked:")
        await terminal.shows("the service is full, you are next")
        terminal.enter("register eve")
        await terminal.prompts("Password for eve, once asked:")
        terminal.type("hunter2" + CTRL_C)
        await terminal.shows("Not sent: register eve")
        self.assertNotIn(b"hunter2", terminal.raw)
        self.assertNotIn("hunter2", (terminal.state / "bbs" / "history").read_text())
        await terminal.prompts(">")
        terminal.enter("login ann ann")
        await terminal.shows("the service is full, you are next")
        terminal.type(CTRL_D)
        await terminal.shows("Ctrl-D again ends all the same: what is under way may not be")
        terminal.type(CTRL_D)
        await terminal.ended()
        self.assertEqual(terminal.exit_code, 0)

    async def test_a_server_is_killed(self) -> None:
        """It is said, another is found, and what bob wrote meanwhile comes."""
        terminal = await self.begin()
        (server,) = [each for each in await self.service_up.fleet() if "ann" in each["people"]]
        os.kill(self.service_up.pid_of(server["id"]), signal.SIGKILL)
        await terminal.shows("Connection lost. Reconnecting…")
        await terminal.prompts("ann>")
        terminal.type("ping")
        await terminal.shows("Reconnected.", START_TIMEOUT)
        await terminal.prompts("ann> ping", START_TIMEOUT)
        await self.service_up.find_again(self.bob)
        await self.writes("still here")
        await terminal.shows("bob  still here")

    async def test_moved(self) -> None:
        """Drained from one server to another: it is said, and nothing is lost."""
        terminal = await self.begin()
        (server,) = [each for each in await self.service_up.fleet() if "ann" in each["people"]]
        await self.service_up.command("fleet", "drain", server["id"])
        await terminal.shows("Reconnected.", START_TIMEOUT)
        await self.service_up.find_again(self.bob)
        await self.writes("here too")
        await terminal.shows("bob  here too")

    async def test_the_service_ends(self) -> None:
        """It goes and comes again, without anybody doing anything at the terminal."""
        terminal = await self.begin()
        (process,) = [each for each in self.service_up.processes if " up " in each.command][:1]
        await process.end()
        await terminal.shows("reconnecting")
        await self.service_up.up()
        await terminal.prompts("ann>", START_TIMEOUT)
        await self.service_up.find_again(self.bob)
        await self.writes("good morning")
        await terminal.shows("bob  good morning")

    async def test_no_service(self) -> None:
        """The reason, what to type, and the exit code 1."""
        self.service_up = self.service()
        terminal = self.terminal()
        await terminal.shows("bbs client: cannot reach 127.0.0.1:")
        await terminal.shows("bbs up --port")
        await terminal.ended()
        self.assertEqual(terminal.exit_code, 1)

    async def test_a_service_that_does_not_answer(self) -> None:
        """Ctrl-C does not have to wait for that."""
        self.service_up = self.service()
        with socket.create_server(("127.0.0.1", self.service_up.port), backlog=0) as deaf:
            others = [socket.socket() for _ in range(4)]
            for other in others:
                other.setblocking(False)
                other.connect_ex(deaf.getsockname())
            for environ in ({}, {"TERM": "dumb"}):
                terminal = self.terminal(environ=environ)
                begun = partial(connects, terminal.pid, self.service_up.port)
                await eventually(begun, "it connects", START_TIMEOUT)
                terminal.type(CTRL_C)
                await terminal.shows("bbs client: interrupted")
                await terminal.ended()
                self.assertEqual(terminal.exit_code, 1)
            for other in others:
                other.close()

    async def test_terminated(self) -> None:
        """Signals that end it give the terminal back as it was."""
        await self.friends()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            terminal = self.terminal()
            await terminal.prompts(">")
            terminal.type("half")
            await terminal.prompts(".*> half")
            self.assertFalse(terminal.echoes)
            os.kill(terminal.pid, number)
            await terminal.ended()
            self.assertEqual(terminal.exit_code, 1)
            await terminal.shows("bbs client: interrupted")
            self.assertTrue(terminal.echoes)


def connects(pid: int, port: int) -> bool:
    """Whether a process has begun to connect to `port`."""
    # Until it is the program that it will be, it has what this process has.
    own = sockets(pid) - sockets(os.getpid())
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines())
    return any(each[2].endswith(f":{port:04X}") and each[9] in own for each in lines)


def sockets(pid: int) -> set[str]:
    """The numbers of the sockets that a process has open."""
    links = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # It was closed meanwhile.
            links.append(os.readlink(each))
    return {found[1] for each in links if (found := SOCKET.fullmatch(each))}
