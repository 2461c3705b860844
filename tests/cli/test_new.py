"""`bbs new`: names, and the text of what it makes. `tests.integration.test_new` runs it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from configparser import ConfigParser
from fnmatch import fnmatch
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bbs.cli import new
from bbs.config import Configuration
from tests.cli.case import BOARD
from tests.paths import CHECKOUT

BIN = Path(sys.executable).parent

RULES = "B,C4,E4,E7,E9,F,I,PIE,RUF,SIM,UP,W"
"""What ruff checks in this project, but for the length of lines: that is up to the name."""

TEMPLATES = CHECKOUT / "bbs/cli/templates"


class NewCase(SynchronousTestCase):
    """Each test is in an empty folder."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)

    def new(self, *arguments: str) -> tuple[int, str, str]:
        """Run `bbs new`; returns the exit code, and what it says on each stream."""
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = new.main(arguments, BOARD)
        return code, output.getvalue(), errors.getvalue()

    def made(self) -> Iterator[Path]:
        """One project of each kind with a short name, and one with a longer one."""
        for kind in new.KINDS:
            for name in (f"z{kind[0]}", f"auctions{kind}"):
                code, _, errors = self.new(name, "--kind", kind)
                self.assertEqual((code, errors), (0, ""))
                yield Path(name)


class Made(NewCase):
    def test_the_name_is_everywhere(self) -> None:
        for project in self.made():
            for each in project.rglob("*"):
                self.assertNotIn(new.PLACEHOLDER, str(each))
                if each.is_file():
                    self.assertNotIn(new.PLACEHOLDER, each.read_text(), each)
            described = tomllib.loads((project / "pyproject.toml").read_text())["project"]
            self.assertEqual(described["name"], project.name)
            self.assertIn("txbbs >= 0.4", described["dependencies"])
            self.assertTrue((project / f"tests/test_{project.name}.py").exists())
            self.assertTrue((project / "tests/__init__.py").exists())
            plugin = project / f"src/twisted/plugins/{project.name}_plugin.py"
            self.assertEqual(plugin.exists(), "scripts" in described)

    def test_ruff_finds_nothing(self) -> None:
        for project in self.made():
            for words in (("check", "--select", RULES), ("format", "--diff")):
                argv = (BIN / "ruff", *words, "--quiet", "--isolated", "--no-cache", ".")
                done = subprocess.run(argv, cwd=project, capture_output=True, text=True)
                self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""), project)

    def test_each_file_of_a_template(self) -> None:
        for kind in new.KINDS:
            there = {
                str(each.relative_to(TEMPLATES / kind))
                for each in (TEMPLATES / kind).rglob("*")
                if each.is_file() and "__pycache__" not in each.parts
            }
            self.assertEqual({*dict(new.contents_of(kind))}, there)

    def test_on_public_names_alone(self) -> None:
        public = {"bbs.board", "bbs.framework", "bbs.providers", "bbs.testing"}
        for file in TEMPLATES.rglob("*.py"):
            imported = {*re.findall(r"^\s*(?:from|import) (bbs[\w.]*)", file.read_text(), re.M)}
            self.assertLessEqual(imported, public, file)

    def test_the_documents_that_a_readme_names_are_installed(self) -> None:
        setup = ConfigParser()
        setup.read(CHECKOUT / "setup.cfg")
        installed = setup["options.data_files"]["share/doc/txbbs/developers"].split()
        for readme in TEMPLATES.glob("*/README.md"):
            text = readme.read_text()
            self.assertIn("share/doc/txbbs", text)
            named = re.findall(r"developers/\w+\.md", text)
            self.assertIn("developers/framework.md", named)
            for each in named:
                self.assertTrue(any(fnmatch(f"docs/{each}", path) for path in installed), each)
                self.assertTrue((CHECKOUT / "docs" / each).exists(), each)
                self.assertTrue((CHECKOUT / "docs" / each).exists(), each)

    def test_a_failure_leaves_nothing(self) -> None:
        contents = {"file": "", "file/below": ""}
        self.assertRaises(OSError, new.make_project, Path("auctions"), contents)
        self.assertEqual([*self.folder.iterdir()], [])

    def test_a_folder_that_cannot_be_made(self) -> None:
        self.patch(new, "make_project", self.refuse)
        failed = "bbs new: cannot make auctions: No space left on device\n"
        self.assertEqual(self.new("auctions"), (1, "", failed))

    def refuse(self, folder: Path, contents: object) -> None:
        raise OSError(28, "No space left on device", str(folder))


class Names(NewCase):
    def refused(self, name: str, kind: str, reason: str) -> None:
        self.assertEqual(self.new(name, "--kind", kind), (1, "", f"bbs new: {reason}\n"))
        self.assertEqual([*self.folder.glob("*/pyproject.toml")], [])

    def test_names_of_no_kind(self) -> None:
        form = (
            "cannot be a name: use a lower-case letter, and then at most 31 lower-case letters"
            " and digits"
        )
        (self.folder / "here").mkdir()
        for kind in new.KINDS:
            for name in ("My-Shop", "9lives", "a" * 33, "", "../up", "a/b", "größe", "my_shop"):
                self.refused(name, kind, f"{name!r} {form}")
            self.refused("class", kind, "class is a word of Python: choose another name")
            self.refused("list", kind, "list is a word of Python: choose another name")
            self.refused("here", kind, "here is here already: remove it, or choose another name")
            for name in ("twisted", "bbs", "json", "sys", "txbbs"):
                self.refused(name, kind, f"{name} is installed here already: choose another name")
            for name in ("src", "caller" if kind != "provider" else "kit"):
                reason = f"{name} is a name in the code that would be made: choose another name"
                self.refused(name, kind, reason)

    def test_a_terminal_is_safe(self) -> None:
        self.assertNotIn("\x1b", self.new("\x1b[2J")[2])

    def test_a_name_that_two_programs_would_have(self) -> None:
        (self.folder / "deal").touch()
        self.patch(sys, "executable", str(self.folder / "python"))
        os.chdir(self.folder.parent)
        reason = f"the command deal would replace {self.folder}/deal: choose another name"
        self.refused("deal", "service", reason)
        self.assertEqual(self.new("deal", "--kind", "commands")[0], 0)

    def test_a_command_of_the_board(self) -> None:
        reason = "send is a command or extension of bbs: choose another name"
        self.refused("send", "commands", reason)

    def test_a_section_of_the_configuration(self) -> None:
        for name in (*Configuration().sections(), "ec2", "local"):
            reason = f"{name} is a section of the configuration: choose another name"
            self.refused(name, "provider", reason)


class Next(NewCase):
    def lines(self, kind: str = "service") -> list[str]:
        code, output, _ = self.new(f"auctions{kind[0]}", "--kind", kind)
        self.assertEqual(code, 0)
        return output.splitlines()

    def test_in_an_environment(self) -> None:
        self.patch(sys, "prefix", "/home/ann/env")
        self.patch(os, "environ", {"VIRTUAL_ENV": "/home/ann/env"})
        first = [
            "pip install --editable ./auctionss",
            "cd auctionss && python -m twisted.trial tests",
        ]
        last = "auctionss up    # then, elsewhere: auctionss client"
        self.assertEqual(self.lines(), [*first, last])

    def test_in_one_that_is_not_activated(self) -> None:
        self.patch(sys, "prefix", "/home/ann/env")
        self.patch(os, "environ", {})
        lines = self.lines("commands")
        self.assertEqual(lines[0], ". /home/ann/env/bin/activate")
        self.assertEqual(lines[-1], "bbs up    # then, elsewhere: bbs client, help auctionsc")

    def test_without_one(self) -> None:
        self.patch(sys, "prefix", sys.base_prefix)
        lines = self.lines("provider")
        made = (
            "python3 -m venv --system-site-packages auctionsp/env && . auctionsp/env/bin/activate"
        )
        self.assertEqual(lines[0], made)
        self.assertEqual(lines[-1], "BBS_FLEET_PROVIDER=auctionsp bbs up")
        self.assertLessEqual(len(lines), 5)
