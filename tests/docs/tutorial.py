"""The tutorial as a machine follows it: `docs/developers/tutorial.md`, block by block.

A block belongs to the line before it. "`PATH`:" is a new file, or a change of one where the block
is a diff; "`PATH`, at the end:" is added to it. A `console` block has commands behind `$ `, and
what they print. "NAME's terminal:" is what somebody sees.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.paths import CHECKOUT

TUTORIAL = CHECKOUT / "docs/developers/tutorial.md"

_FENCE = re.compile(r"(?P<head>[^\n]*)\n\n```(?P<kind>\w+)\n(?P<text>.*?\n)```", re.S)
_FILE = re.compile("`(?P<path>[^`]+)`(?P<more>, at the end)?:")
_COMMAND = re.compile(r"^\$ (.*)\n", re.M)
_VARYING = ((r"Ran (\d+) tests in [\d.]+s", r"Ran \1 tests"),)


_PYTHONS = """
import importlib, json, os, runpy, sys
import bbs.framework, bbs.testing, twisted.scripts.trial
for name in bbs.testing.__all__:
    getattr(bbs.testing, name)
for line in sys.stdin:
    module, said, *arguments = json.loads(line)
    child = os.fork()
    if not child:
        for stream in (1, 2):
            os.dup2(os.open(said, os.O_CREAT | os.O_WRONLY | os.O_APPEND), stream)
        sys.argv[1:] = arguments
        importlib.invalidate_caches()  # What is in a folder now need not have been there.
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Pythons:
    """Runs modules in a folder, `python -m` with each list of arguments, in processes that have
    loaded Twisted and bbs already: that takes longer than what the tutorial does with them."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self._said = folder / "said"
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PYTHONS],
            cwd=folder,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, module: str, *arguments: str) -> str:
        """What it prints."""
        assert self._process.stdin and self._process.stdout
        self._said.unlink(missing_ok=True)
        told = json.dumps([module, str(self._said), *arguments])
        self._process.stdin.write(f"{told}\n")
        self._process.stdin.flush()
        status, said = self._process.stdout.readline(), self._said.read_text()
        assert status == "0\n", (module, arguments, status, said)
        return said

    def stop(self) -> None:
        """Run no more."""
        self._process.communicate()


@dataclass(frozen=True)
class Block:
    """One block: the line before it, its language and its text."""

    head: str
    kind: str
    text: str

    @property
    def file(self) -> re.Match[str] | None:
        """The file that it is of, if it is of one."""
        return _FILE.fullmatch(self.head)

    def commands(self) -> Iterator[tuple[str, str]]:
        """The commands of a console, with what each prints."""
        _, *parts = _COMMAND.split(self.text)
        return zip(parts[::2], parts[1::2], strict=True)


def blocks() -> list[Block]:
    """The tutorial's blocks, in their order."""
    return [Block(**found.groupdict()) for found in _FENCE.finditer(TUTORIAL.read_text())]


class Project:
    """The folder that a reader makes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True)

    def write(self, block: Block) -> None:
        """Make, change or continue a file as a block says."""
        assert block.file is not None
        path = self.folder / block.file["path"]
        if block.kind == "diff":
            path.write_text(changed(path.read_text(), block.text))
        elif block.file["more"]:
            apart = "\n" if block.text.startswith(" ") else "\n\n"
            path.write_text(path.read_text() + apart + block.text)
        else:
            assert not path.exists(), f"{path} is there already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)

    @property
    def environ(self) -> dict[str, str]:
        """As if it were installed."""
        return {"PYTHONPATH": str(self.folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}

    def script(self) -> list[str]:
        """Its console script, as `pip` would make it."""
        project = tomllib.loads((self.folder / "pyproject.toml").read_text())["project"]
        ((_, target),) = project["scripts"].items()
        module, _, name = target.partition(":")
        code = f"import sys; from {module} import {name}; sys.exit({name}())"
        return [sys.executable, "-c", code]

    def run(self, command: str) -> str:
        """What a command prints that ends by itself."""
        program, *arguments = shlex.split(command)
        argv = self.script() if program == "lobby" else [sys.executable]
        done = subprocess.run(
            [*argv, *arguments],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout


def changed(before: str, diff: str) -> str:
    """A text after a diff without line numbers: what goes must be there once."""
    # Editors take trailing blanks away: a line that is empty is one that stays.
    lines = [line or " " for line in diff.splitlines()]
    old, new = (
        "".join(f"{line[1:]}\n" for line in lines if line[0] in kept) for kept in (" -", " +")
    )
    assert before.count(old) == 1, f"{before.count(old)} times in the file:\n{old}"
    return before.replace(old, new)


def comparable(text: str) -> str:
    """What is printed, without what is never the same."""
    for pattern, usual in _VARYING:
        text = re.sub(pattern, usual, text)
    return text
