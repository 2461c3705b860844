"""Servers that people wait for: they are started by twistd, but sooner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import bbs

SOON = "from bbs.daemons.run import run; run()"
TWISTD = "from twisted.scripts.twistd import run; run()"

EACH = """
import json, os, sys
from twisted.scripts import twistd
import bbs.daemons.app

folder, *runs = sys.argv[1:]
for number, (command, arguments) in enumerate(map(json.loads, runs)):
    child = os.fork()
    if not child:
        for stream in (1, 2):
            os.dup2(os.open(f"{folder}/{number}.{stream}", os.O_CREAT | os.O_WRONLY), stream)
        sys.argv[1:] = arguments
        exec(command)
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
"""Runs commands with their arguments one after the other, each in a process of its own that has
loaded already what takes longer than what the command does."""

APPLICATION = """
import gc, sys
from twisted.application.service import Application
from twisted.internet import reactor

def show():
    {}
    reactor.stop()

application = Application("shows something once the reactor runs")
reactor.callWhenRunning(reactor.callLater, 0, show)
"""


class Run(SynchronousTestCase):
    def end(self, program: str, *arguments: str) -> tuple[int, str, str]:
        """How a process ends: its exit code, and what it has said."""
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env={**os.environ, "PYTHONPATH": str(Path(bbs.__file__).absolute().parents[1])},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout, done.stderr

    def shown(self, statement: str) -> list[str]:
        """What a statement prints that is carried out while the reactor runs."""
        path = self.mktemp()
        Path(path).write_text(APPLICATION.format(statement))
        code, said, errors = self.end(
            f"{SOON}; run()", "--nodaemon", "--pidfile=", f"--python={path}"
        )
        self.assertEqual((code, errors), (0, ""))
        return [line.partition("] ")[2] for line in said.splitlines() if "stdout#info" in line]

    def ends(self, *runs: tuple[str, Sequence[str]]) -> list[tuple[str, str, str]]:
        """How each of these commands ends with its arguments."""
        folder = Path(self.mktemp())
        folder.mkdir()
        code, ended, errors = self.end(EACH, str(folder), *map(json.dumps, runs))
        self.assertEqual((code, errors), (0, ""))
        return [
            (exit_code, (folder / f"{number}.1").read_text(), (folder / f"{number}.2").read_text())
            for number, exit_code in enumerate(ended.split())
        ]

    def test_what_twistd_says(self) -> None:
        """Its help, its refusals and its exit codes, and those of the servers."""
        lists = (
            ("--help",),
            ("--no-such-option",),
            ("bbs-app", "--help"),
            ("no-such-server",),
            ("portforward", "--help"),
            ("--nodaemon", "--pidfile=", "bbs-app", "--config=/no/such/file"),
        )
        ends = self.ends(*((command, each) for command in (SOON, TWISTD) for each in lists))
        self.assertEqual([code for code, _, _ in ends[:6]], ["0", "1", "0", "1", "0", "1"])
        self.assertEqual(ends[:6], ends[6:])

    def test_garbage_is_collected_once_it_runs(self) -> None:
        self.assertEqual(
            self.shown("print(gc.isenabled(), gc.get_freeze_count(), gc.get_count()[0] < 700)"),
            ["True 0 True"],
        )

    def test_what_is_hardly_ever_used_is_loaded_when_it_is_used(self) -> None:
        used = "import http.cookiejar; jar = http.cookiejar.CookieJar()"
        loaded = "print('urllib.request' in sys.modules)"
        another = "from pdb import Pdb; print(Pdb.__name__)"
        self.assertEqual(
            self.shown(f"{loaded}; {used}; {loaded}; {another}"), ["False", "True", "Pdb"]
        )
