"""What `up --debug` makes of changed source files."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.cli.debug import (
    SourceWatcher,
    kept_by_login_server,
    source_of,
    used_by_login_server,
)
from bbs.framework import Service
from tests.paths import CHECKOUT


class Watching(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.time = 1
        self.write("a.py", "A = 1\n")
        self.watcher = SourceWatcher([str(self.folder)], [])

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        self.time += 1
        os.utime(path, (self.time, self.time))
        return str(path)

    def test_once_nothing_changes_any_more(self) -> None:
        self.assertIsNone(self.watcher.look())
        paths = [self.write("a.py", "A = 2\n")]
        self.assertIsNone(self.watcher.look())
        paths.append(self.write("b.py", "B = 1\n"))
        self.write("notes.txt", "")
        self.assertIsNone(self.watcher.look())
        change = self.watcher.look()
        assert change is not None
        self.assertEqual((change.paths, change.mistake), (paths, ""))
        self.assertIsNone(self.watcher.look())

    def test_a_mistake(self) -> None:
        path = self.write("a.py", "A = 1\nB = = 2\n")
        self.watcher.look()
        change = self.watcher.look()
        assert change is not None
        self.assertEqual(change.mistake, f"{path}, line 2: invalid syntax")

    def test_what_is_watched(self) -> None:
        """The service's package, and nothing of the framework."""
        folders, files = source_of(board)
        self.assertEqual((folders, files), ({str(CHECKOUT / "bbs/board")}, set()))


LIMIT = 3


def check(user: int) -> None:
    if user > LIMIT:
        refuse()


def refuse() -> None:
    raise ValueError


class LoginServer(SynchronousTestCase):
    """What a login server would have to load again."""

    def kept(self, before: str, after: str) -> list[str]:
        used = used_by_login_server(Service("some", on_register=check))
        return [*kept_by_login_server(__file__, before, after, used)]

    def test_what_its_rules_use(self) -> None:
        for before, after, kept in (
            ("LIMIT = 3", "LIMIT = 4", ["LIMIT"]),
            ("def refuse(): pass", "def refuse(): return 1", ["refuse"]),
            ("def refuse(): pass", "# Why.\ndef refuse():\n    pass\n", []),
            ("def other(): pass", "def other(): return 1", []),
            ("class Model: pass", "class Model: x = 1", []),
        ):
            self.assertEqual(self.kept(before, after), kept, after)

    def test_declarations(self) -> None:
        command = "@commands.command('a <user>', 1)\nasync def a(ask): {}\n"
        for before, after in (
            ("some = Service('some')", "some = Service('some', version=2)"),
            (command, command.replace("a <user>", "b <user>")),
            ("", command),
            ("", "commands.declare(a)"),
        ):
            self.assertEqual(self.kept(before, after), ["its declarations"], after)
        self.assertEqual(self.kept(command.format(1), command.format(2)), [])
