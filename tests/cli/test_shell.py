"""`bbs shell`, with lines from a pipe."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import ClassVar

from bbs.board import board
from bbs.cli import shell
from bbs.storage.models import Action, User
from tests.cli.case import CommandCase, Main
from tests.database_case import RulesCase, on_both_databases

RENAME = "User.update(name='zoe').where(User.name == 'ann').execute()"


@on_both_databases
class Shell(CommandCase, RulesCase):
    main: ClassVar[Main] = staticmethod(shell.main)

    def says(self, *lines: str, options: tuple[str, ...] = ()) -> tuple[str, str]:
        """What a session says to these lines, on each stream."""
        self.patch(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        code, output, errors = self.bbs(*options)
        self.assertEqual(code, 0, errors)
        return output, errors

    def named(self) -> list[str]:
        return [user.name for user in User.select()]

    def test_reading(self) -> None:
        ann, bob = self.people("ann", "bob")
        self.befriend(ann, bob)
        output, errors = self.says(
            "[user.name for user in User.select()]",
            "run(friends, caller('ann'))",
            "run(lambda: PostRow.select().count())",
        )
        self.assertIn("['ann', 'bob']", output)
        self.assertIn("{'friend': ['bob']}", output)
        self.assertIn("0\n", output)
        self.assertRegex(errors, r"Models: [\w, \n]* User,")
        self.assertRegex(errors, r"Rules and statements: [\w, \n]* invite,")
        self.assertIn("Here nothing can be written: see --write", errors)

    def test_nothing_is_written(self) -> None:
        self.account("ann")
        for line in (RENAME, f"run(lambda: {RENAME})"):
            _, errors = self.says(line)
            self.assertIn("WritesWhileReading", errors)
        # What passes by our own guard, too.
        _, errors = self.says("_ = database.cursor().execute('DELETE FROM user')")
        self.assertIn("Error", errors)
        self.assertEqual(self.named(), ["ann"])
        self.assertEqual(Action.select().count(), 0)

    def test_writing(self) -> None:
        self.account("ann")
        log = Path(self.mktemp())
        log.touch()
        os.environ["BBS_LOG_SECURITY"] = str(log)
        _, errors = self.says(RENAME, options=("--write",))
        self.assertIn("WritesWhileReading", errors)
        self.says(f"def rename(): {RENAME}", "", "run(rename)", options=("--write",))
        self.assertEqual(self.named(), ["zoe"])
        [act] = Action.select()
        self.assertEqual((act.action, act.detail), ("shell", "shell.rename"))
        self.assertIn("what=shell outcome=done", log.read_text())

    def test_names(self) -> None:
        names = shell.names_of(board)
        for name in ("User", "PostRow", "send", "friends"):
            self.assertIn(name, names)
        self.assertFalse([name for name in names if name.startswith("_")])
