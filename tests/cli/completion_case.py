"""What completion of `bbs` has to do in each shell: offer what help lists, and no more."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.cli import PARTS, subcommands
from tests.in_process import run_here
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


class CompletionCase(Base):
    """A shell's completion; `complete` gives what may follow a line."""

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
