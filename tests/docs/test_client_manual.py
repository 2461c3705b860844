"""The manual page of `bbs client` says what the program does, and renders without complaint."""

from __future__ import annotations

import re
import subprocess

from twisted.trial.unittest import SynchronousTestCase

from bbs.cli.client import parser
from bbs.ui.terminal.history import KEPT
from tests.cli.case import BOARD
from tests.paths import CHECKOUT

PAGE = CHECKOUT / "docs" / "bbs-client.1"


class ManualTests(SynchronousTestCase):
    def rendered(self) -> str:
        """The page as man shows it, on one line; its warnings fail the test."""
        done = subprocess.run(
            ["man", "--warnings", "-E", "UTF-8", "-l", str(PAGE)],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "MANWIDTH": "200", "TERM": "dumb"},
        )
        self.assertEqual(done.stderr, "")
        return " ".join(done.stdout.split())

    def test_it_has_the_options_of_the_program_and_no_others(self) -> None:
        usage = parser(BOARD).format_help()
        options = set(re.findall(r"--[a-z-]+", usage))
        self.assertEqual(set(re.findall(r"--[a-z-]+", self.rendered())), options)

    def test_its_synopsis_is_the_usage(self) -> None:
        (synopsis,) = re.findall("SYNOPSIS (.*) DESCRIPTION", self.rendered())
        usage = " ".join(parser(BOARD).format_usage().removeprefix("usage: ").split())
        self.assertEqual(synopsis.replace("-h | --help", "-h"), usage)

    def test_it_is_true_of_the_history(self) -> None:
        self.assertEqual(KEPT, 1000)
        self.assertIn("The last thousand lines that were typed", self.rendered())

    def test_mandoc_has_nothing_to_say(self) -> None:
        lint = subprocess.run(["mandoc", "-T", "lint", str(PAGE)], capture_output=True, text=True)
        self.assertEqual((lint.stdout, lint.returncode), ("", 0))
