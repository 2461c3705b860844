"""A real parent that is killed, and its real child that notices."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", *sys.argv[1:]], stdin=subprocess.PIPE)
child.wait()
"""

CHILD = """
import sys
from twisted.internet import {reactor}
{reactor}.install()
from twisted.internet import reactor
from bbs.daemons.app import ParentWatchdog

def cut(reason):
    print("cut", flush=True)
    reactor.callLater(0, reactor.stop)

watchdog = ParentWatchdog(reactor, 0, cut)
reactor.callWhenRunning(watchdog.startService)
reactor.callWhenRunning(print, "watching", flush=True)
reactor.run()
print("stopped", flush=True)
"""


class Parent(ProcessProtocol):
    """Tells when the child watches, and what it had said when it ended, which ends the output."""

    transport: Any

    def __init__(self):
        self.output = b""
        self.watching: Deferred[None] = Deferred()
        self.ended: Deferred[list[str]] = Deferred()

    def outReceived(self, data):
        self.output += data
        if b"watching\n" in self.output and not self.watching.called:
            self.watching.callback(None)

    def processEnded(self, reason):
        self.ended.callback(self.output.decode().split())


class LifelineTests(TestCase):
    timeout = 300

    async def killed_parent(self, which):
        parent = Parent()
        reactor.spawnProcess(
            parent,
            sys.executable,
            [sys.executable, "-c", PARENT, CHILD.format(reactor=which)],
            {"PYTHONPATH": os.pathsep.join(sys.path)},
            childFDs={0: "w", 1: "r", 2: 2},
        )
        await parent.watching
        parent.transport.signalProcess("KILL")
        self.assertEqual(await parent.ended, ["watching", "cut", "stopped"])

    async def test_epoll(self):
        await self.killed_parent("epollreactor")

    async def test_poll(self):
        await self.killed_parent("pollreactor")

    async def test_select(self):
        await self.killed_parent("selectreactor")


class Sessions(SynchronousTestCase):
    """An app server whose parent holds a lifeline, however the parent starts it."""

    def start(self, **options):
        """What it says of a configuration that it gets as far as to find useless."""
        folder = Path(self.mktemp())
        folder.mkdir()
        database = f"sqlite:///{folder.absolute()}/bbs.sqlite3"
        (folder / "app.toml").write_text(f'[database]\nurl = "{database}"\n')
        run = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
        with subprocess.Popen(
            [*run, "-n", "--pidfile=", "bbs-app", "--config=app.toml", "--lifeline=0"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        ) as process:
            assert process.stderr is not None
            process.wait(300)
            return process.returncode, process.stderr.read()

    def test_in_its_parents_session(self):
        code, said = self.start()
        self.assertEqual((code, said[:20]), (1, "bbs-app: broker.url:"), said)

    def test_in_a_session_of_its_own(self):
        """It leads its process group already, which is no error."""
        code, said = self.start(start_new_session=True)
        self.assertEqual((code, said[:20]), (1, "bbs-app: broker.url:"), said)
