"""The tutorial's code is followed step by step, and is the example in the end.

What needs a server that runs is in `tests.integration.test_tutorial`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.tutorial import TUTORIAL, Block, Project, Pythons, blocks, changed, comparable
from tests.paths import CHECKOUT

LOBBY = CHECKOUT / "examples/lobby"


class Tutorial(SynchronousTestCase):
    def test_step_by_step(self) -> None:
        project = Project(Path(self.mktemp()).absolute())
        pythons = Pythons(project.folder, project.environ)
        self.addCleanup(pythons.stop)
        for block in blocks():
            if block.file:
                project.write(block)
            for command, printed in block.commands() if block.kind == "console" else ():
                if command.startswith("python "):
                    _, option, *module = command.split()
                    self.assertEqual(option, "-m")
                    self.assertEqual(comparable(pythons.run(*module)), comparable(printed))
        made = {each.relative_to(project.folder) for each in project.folder.rglob("*.py")}
        for file in (LOBBY / "src").rglob("*.py"):
            name = file.relative_to(LOBBY)
            self.assertEqual((project.folder / name).read_text(), file.read_text(), name)
            made.remove(name)
        self.assertEqual(made, {Path("test_lobby.py")})
        ours, theirs = (
            tomllib.loads((folder / "pyproject.toml").read_text())
            for folder in (project.folder, LOBBY)
        )
        self.assertEqual(ours, theirs)

    def test_every_block_is_of_a_kind(self) -> None:
        fences = TUTORIAL.read_text().count("\n```") // 2
        self.assertEqual(len(blocks()), fences)
        for block in blocks():
            known = block.file or block.kind == "console" or "'s terminal" in block.head
            self.assertTrue(known, block)


class Following(SynchronousTestCase):
    def test_a_change(self) -> None:
        self.assertEqual(changed("a\n\nb\nc\n", " a\n\n-b\n+d\n"), "a\n\nd\nc\n")
        for diff in ("-x\n", "-a\n"):
            self.assertRaises(AssertionError, changed, "a\na\n", diff)

    def test_commands(self) -> None:
        block = Block("", "console", "$ one\n$ two 2\nsays\nmore\n")
        self.assertEqual([*block.commands()], [("one", ""), ("two 2", "says\nmore\n")])
