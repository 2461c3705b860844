"""The `bbs` command as a whole, and a service's own: which parts there are, and what each says of
itself."""

from __future__ import annotations

import contextlib
import io

from twisted.trial.unittest import SynchronousTestCase

from bbs import cli
from bbs.framework import Service

COMMANDS = (
    *("", "up", "client", "fleet", "user", "backup", "restore", "db", "config"),
    *("fleet list", "fleet launch", "fleet drain", "config check", "config keys"),
)


class Parts(SynchronousTestCase):
    def said(self, line: str) -> tuple[int, str, str]:
        """What `bbs LINE` ends with, and says on each stream."""
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                code = cli.main(line.split())
            except SystemExit as end:
                code = int(end.code or 0)
        return code, output.getvalue(), errors.getvalue()

    def test_each_knows_its_version(self) -> None:
        whole = self.said("--version")
        self.assertRegex(whole[1], r"\Abbs \d+\.\d+\.\d+\n\Z")
        for command in COMMANDS:
            self.assertEqual(self.said(f"{command} --version"), (0, whole[1], ""))

    def test_each_helps(self) -> None:
        for command in COMMANDS:
            code, output, errors = self.said(f"{command} --help")
            self.assertEqual((code, errors), (0, ""))
            self.assertIn("usage: bbs", output)

    def test_what_is_no_part(self) -> None:
        for line in ("", "down"):
            code, output, errors = self.said(line)
            self.assertEqual((code, output), (2, ""))
            self.assertIn("usage: bbs COMMAND", errors)

    def test_of_another_service(self) -> None:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            self.assertEqual(cli.run(cli.Program("lobby", lambda: Service("lobby")), ["--help"]), 0)
        self.assertIn("usage: lobby COMMAND", output.getvalue())
        self.assertNotIn("bbs", output.getvalue())
