"""A service's own release: in versions of its programs, and of its servers."""

from __future__ import annotations

import contextlib
import io
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs import __version__
from bbs.cli import command_line
from bbs.core.values import version_order
from bbs.daemons.plugin import app_server
from bbs.framework import Service

RELEASED = Service("hall", release="1.2")


class Release(SynchronousTestCase):
    def test_of_the_programs(self) -> None:
        self.assertEqual(RELEASED.program_version, f"{__version__}+1.2")
        self.assertEqual(Service("hall").program_version, __version__)

    def test_what_the_command_line_says(self) -> None:
        main: Any = command_line(RELEASED)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            main(["--version"])
            self.assertRaises(SystemExit, main, ["up", "--version"])
            self.assertRaises(SystemExit, app_server(RELEASED).Options().opt_version)
        self.assertEqual(said.getvalue(), f"hall 1.2 (bbs {__version__})\n" * 3)

    def test_the_order_of_versions(self) -> None:
        in_order = ["", "0.3.0", "0.4.0rc1", "0.4.0", "0.4.0+1.2", "0.4.0+1.10", "0.5.0", "0.5.0+1"]
        mixed = [*in_order[4:], *in_order[:4]]
        self.assertEqual(sorted(mixed, key=version_order), in_order)

    def test_what_is_no_release(self) -> None:
        for release in ("1 2", "1+2", "x" * 21, 3):
            given: Any = release
            error = self.assertRaises(ValueError, Service, "hall", release=given)
            self.assertTrue(str(error).startswith(f"hall: {release!r} is not a release"))
