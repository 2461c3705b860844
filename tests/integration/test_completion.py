"""Completion of the `bbs` command, in the shells themselves: what its help lists, and no more."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.cli import PARTS, subcommands
from tests.integration.in_process import run_here
from tests.paths import CHECKOUT

FILES = CHECKOUT / "bbs" / "cli" / "completion"

COMMANDS: Sequence[Sequence[str]] = (
    ("up",),
    ("client",),
    ("fleet", "list"),
    ("fleet", "launch"),
    ("fleet", "drain"),
    ("fleet", "replace"),
    ("run",),
    ("user", "list"),
    ("user", "show"),
    ("user", "password"),
    ("user", "suspend"),
    ("user", "resume"),
    ("user", "kick"),
    ("user", "delete"),
    ("announce",),
    ("group", "list"),
    ("group", "show"),
    ("group", "rename"),
    ("group", "give"),
    ("group", "remove"),
    ("post", "remove"),
    ("shell",),
    ("manhole",),
    ("backup",),
    ("restore",),
    ("db",),
    ("stubs",),
    ("spec",),
    ("new",),
)
"""Every command that has options."""

ACTIONS = {
    (): {*PARTS, *subcommands.names(board)},
    ("fleet",): {"adopt", "drain", "launch", "list", "replace"},
    ("user",): {"list", "show", "password", "suspend", "resume", "kick", "delete"},
    ("group",): {"list", "show", "rename", "give", "remove"},
    ("post",): {"remove"},
    ("db",): {"upgrade", "status", "clock"},
    ("db", "clock"): {"accept"},
    ("config",): {"check", "keys", "password"},
}


def output(*argv: str | Path) -> str:
    """What a command prints, which must succeed."""
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30).stdout


@cache
def options(command: Sequence[str]) -> set[str]:
    """The long options in a command's help."""
    return set(re.findall(r"--[a-z-]+", run_here(*command, "--help").output))


if TYPE_CHECKING:
    Base = SynchronousTestCase
else:
    Base = object


class Case(Base):
    """What each shell's completion has to do; `complete` gives what may follow a line."""

    def complete(self, line: str) -> set[str]:
        raise NotImplementedError

    def test_options(self) -> None:
        for command in COMMANDS:
            line = " ".join(("bbs", *command, "--"))
            with self.subTest(line):
                self.assertEqual(self.complete(line), options(command))

    def test_actions(self) -> None:
        for command, actions in ACTIONS.items():
            line = " ".join(("bbs", *command, ""))
            with self.subTest(line):
                found = {word for word in self.complete(line) if not word.startswith("-")}
                self.assertEqual(found, actions)

    def test_files(self) -> None:
        folder = Path(self.mktemp())
        (folder / "sub").mkdir(parents=True)
        (folder / "one.toml").touch()
        for line in (
            *("bbs up --config", "bbs client --password-file", "bbs config check"),
            *("bbs client --ca", "bbs backup", "bbs restore"),
        ):
            with self.subTest(line):
                found = self.complete(f"{line} {folder}/")
                self.assertEqual({Path(name).name for name in found}, {"one.toml", "sub"})
        found = self.complete(f"bbs up --data {folder}/")
        self.assertEqual({Path(name).name for name in found}, {"sub"})

    def test_an_action_is_named_once(self) -> None:
        self.assertEqual(self.complete("bbs db upgrade st"), set())


class Bash(Case, SynchronousTestCase):
    def complete(self, line: str) -> set[str]:
        words = line.split(" ")
        script = (
            f"source {FILES}/bbs.bash; COMP_WORDS=({' '.join(words[:-1])} '{words[-1]}'); "
            f'COMP_CWORD={len(words) - 1}; _bbs; printf "%s\\n" "${{COMPREPLY[@]}}"'
        )
        return {*output("bash", "--norc", "-c", script).splitlines()} - {""}

    def test_names_with_spaces(self) -> None:
        folder = Path(self.mktemp())
        (folder / "a folder").mkdir(parents=True)
        self.assertEqual(self.complete(f"bbs up --data {folder}/"), {f"{folder}/a folder"})
        (folder / "two words.toml").touch()
        for line in ("bbs up --config", "bbs config check"):
            found = self.complete(f"{line} {folder}/t")
            self.assertEqual(found, {f"{folder}/two words.toml"})

    def test_it_is_bound_to_the_command(self) -> None:
        self.assertIn("-F _bbs bbs", output("bash", "-c", f"source {FILES}/bbs.bash; complete -p"))


class Fish(Case, SynchronousTestCase):
    def complete(self, line: str) -> set[str]:
        script = f"source {FILES}/bbs.fish; complete -C '{line}'"
        found = output("fish", "--no-config", "-c", script).splitlines()
        return {each.partition("\t")[0] for each in found}


class Zsh(Case, SynchronousTestCase):
    """It completes for somebody at a terminal only."""

    def setUp(self) -> None:
        self.shell = pexpect.spawn(
            "zsh",
            ["-f", "-i"],
            env={"PATH": os.environ["PATH"], "TERM": "dumb", "LANG": "C.UTF-8", "PS1": "%% "},
            encoding="utf-8",
            dimensions=(100, 200),
            timeout=20,
        )
        self.addCleanup(self.shell.close)
        self.shell.sendline(
            f"PS1='READY%% '; fpath=({FILES} $fpath); autoload -U compinit; compinit -u -D; "
            "bindkey '^I' list-choices; bindkey '^U' kill-whole-line"
        )
        self.shell.expect_exact("READY% ")

    def complete(self, line: str) -> set[str]:
        self.shell.send(f"{line}\t")
        self.shell.expect_exact(line.split()[-1])
        # Either a list, and the line once more below it, or a bell.
        self.shell.expect_exact(["READY% ", "\x07"])
        _, _, listed = (self.shell.before or "").replace("\r", "").partition("\n")
        self.shell.sendline("\x15")
        self.shell.expect_exact("READY% ")
        found = set()
        for row in listed.splitlines():
            words, described, _ = row.partition(" -- ")
            found |= {words.split()[0]} if described else set(words.split())
        return found - {"-h"}
