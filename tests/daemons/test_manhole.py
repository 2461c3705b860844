"""The manhole of a server, over a real socket: who may connect, what is shown and recorded."""

from __future__ import annotations

import os
import socket
import stat
from typing import Any
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from bbs.cli.manhole import NoManhole, find
from bbs.core import audit
from bbs.daemons import manhole
from bbs.daemons.manhole import MOST_SESSIONS, Manhole


class Terminal(Protocol):
    """The other end of a session."""

    transport: Any

    def __init__(self) -> None:
        self.shown = ""
        self.ended: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.shown += data.decode()

    def connectionLost(self, reason: Any = None) -> None:
        self.ended.callback(None)


class Sessions(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.path = os.path.relpath(self.mktemp())
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        self.waits: Deferred[int] = Deferred()
        names = {"server": "a server", "wait": lambda: self.waits}
        self.manhole = Manhole(self.path, names, "app server abc", reactor)
        self.manhole.startService()
        self.addCleanup(self.manhole.stopService)
        self.recorded: list[tuple[str, str, str]] = []
        observe: Any = self._observe
        audit.publisher.addObserver(observe)
        self.addCleanup(audit.publisher.removeObserver, observe)

    def _observe(self, event: dict[str, str]) -> None:
        self.recorded.append((event["what"], event["outcome"], event["name"]))

    async def attach(self) -> Terminal:
        endpoint = UNIXClientEndpoint(reactor, self.path)
        terminal: Any = await endpoint.connect(Factory.forProtocol(Terminal))
        return terminal

    async def until(self, terminal: Terminal, text: str) -> None:
        while text not in terminal.shown:
            await deferLater(reactor, 0.005)

    async def test_lines(self) -> None:
        terminal = await self.attach()
        for typed, shown in (
            ("server", "'a server'\n>>> "),
            ("server = 'mine'", ">>> "),
            ("print('hi'); 1 + 1", "hi\n2\n>>> "),
            ("if True:\n    6 * 7\n", "... ... 42\n>>> "),
            ("1 / 0", "ZeroDivisionError"),
            ("raise SystemExit", "Ctrl-D"),
            ("wait()", "<waits: #1>\n>>> "),
        ):
            await self.until(terminal, ">>> ")
            terminal.shown = ""
            terminal.transport.write(f"{typed}\n".encode())
            await self.until(terminal, shown)
        self.waits.callback(43)
        await self.until(terminal, "#1: 43\n")
        terminal.transport.loseConnection()
        await terminal.ended
        other = await self.attach()
        other.transport.write(b"server\n")
        await self.until(other, "'a server'")  # Sessions share no names.
        other.transport.loseConnection()
        await other.ended
        self.assertEqual(self.recorded[0], ("manhole", "opened", "app server abc"))
        self.assertIn(("manhole-line", "done", "print('hi'); 1 + 1"), self.recorded)
        self.assertNotIn("42", str(self.recorded))
        while self.manhole.sessions:
            await deferLater(reactor, 0.005)

    async def test_the_end_of_the_input(self) -> None:
        """What is waited for is shown before the session ends."""
        terminal = await self.attach()
        terminal.transport.write(b"wait()\n")
        await self.until(terminal, "<waits: #1>")
        terminal.transport.loseWriteConnection()
        await deferLater(reactor, 0.02)
        self.waits.errback(ValueError("why"))
        await terminal.ended
        self.assertIn("ValueError: why", terminal.shown)

    async def test_a_long_line_is_recorded_whole(self) -> None:
        terminal = await self.attach()
        line = f"1;{' ' * 250}'what matters'"
        terminal.transport.write(f"{line}\n".encode())
        await self.until(terminal, "what matters")
        parts = [name for what, _, name in self.recorded if what == "manhole-line"]
        self.assertEqual("".join(parts), line)
        terminal.transport.loseConnection()
        await terminal.ended

    async def test_only_its_own_user(self) -> None:
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        self.patch(manhole, "peer_user", lambda connection: os.geteuid() + 1)
        terminal = await self.attach()
        terminal.transport.write(b"server\n")
        await terminal.ended
        self.assertEqual(terminal.shown, "")
        self.assertEqual(self.recorded, [("manhole", "refused", "app server abc")])

    async def test_few_sessions(self) -> None:
        terminals = [await self.attach() for _ in range(MOST_SESSIONS)]
        for terminal in terminals:
            await self.until(terminal, ">>> ")
        refused = await self.attach()
        await refused.ended
        for terminal in terminals:
            terminal.transport.loseConnection()
            await terminal.ended

    async def test_one_that_is_in_use(self) -> None:
        """The server serves on without a manhole."""
        other = Manhole(self.path, {}, "other", reactor)
        other.startService()
        self.addCleanup(other.stopService)
        terminal = await self.attach()
        await self.until(terminal, "app server abc, with server, wait.")
        terminal.transport.loseConnection()
        await terminal.ended

    def test_who_connects(self) -> None:
        here, there = socket.socketpair()
        self.addCleanup(here.close)
        self.addCleanup(there.close)
        self.assertEqual(manhole.peer_user(here), os.geteuid())


class Finding(SynchronousTestCase):
    def test_by_the_beginning_of_an_id(self) -> None:
        folder = self.mktemp()
        os.makedirs(folder)
        for name in ("a1.sock", "a2.sock", "b1.sock"):
            with open(os.path.join(folder, name), "w"):
                pass
        pattern = f"{folder}/{{server}}.sock"
        self.assertEqual(find(pattern, "a2"), f"{folder}/a2.sock")
        self.assertEqual(find("/one.sock", "a"), "/one.sock")
        for wanted, beginning in ((pattern, "a"), (pattern, "c"), ("", "a")):
            self.assertRaises(NoManhole, find, wanted, beginning)

    def test_paths(self) -> None:
        self.assertEqual(manhole.socket_of("/run/{server}.s", "abc"), "/run/abc.s")
        with mock.patch.object(manhole.pwd, "getpwuid", side_effect=KeyError):
            self.assertEqual(manhole._name_of(77), "77")
