"""Servers that people wait for: they are started by twistd, but sooner."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import bbs

SOON = "from bbs.daemons.run import run; run()"
TWISTD = "from twisted.scripts.twistd import run; run()"
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
        code, said, errors = self.end(SOON, "--nodaemon", "--pidfile=", f"--python={path}")
        self.assertEqual((code, errors), (0, ""))
        return [line.partition("] ")[2] for line in said.splitlines() if "stdout#info" in line]

    def test_what_twistd_says(self) -> None:
        """Its help, its refusals and its exit codes, and those of the servers."""
        for arguments in (
            ("--help",),
            ("--no-such-option",),
            ("bbs-app", "--help"),
            ("no-such-server",),
            ("portforward", "--help"),
            ("--nodaemon", "--pidfile=", "bbs-app", "--config=/no/such/file"),
        ):
            self.assertEqual(self.end(SOON, *arguments), self.end(TWISTD, *arguments))

    def test_garbage_is_collected_once_it_runs(self) -> None:
        self.assertEqual(
            self.shown("print(gc.isenabled(), gc.get_freeze_count(), gc.get_count()[0] < 700)"),
            ["True 0 True"],
        )

    def test_what_is_hardly_ever_used_is_loaded_when_it_is_used(self) -> None:
        used = "import http.cookiejar; jar = http.cookiejar.CookieJar()"
        loaded = "print('urllib.request' in sys.modules)"
        self.assertEqual(self.shown(f"{loaded}; {used}; {loaded}"), ["False", "True"])
        self.assertEqual(self.shown("from pdb import Pdb; print(Pdb.__name__)"), ["Pdb"])
