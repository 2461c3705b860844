"""Completion of the `bbs` command, in shells that not every machine has: fish and zsh."""

from __future__ import annotations

import os

import pexpect
from twisted.trial.unittest import SynchronousTestCase

from tests.cli.completion_case import FILES, CompletionCase, output


class Fish(CompletionCase, SynchronousTestCase):
    deterministic = True

    def complete(self, line: str) -> set[str]:
        script = f"source {FILES}/bbs.fish; complete -C '{line}'"
        found = output("fish", "--no-config", "-c", script).splitlines()
        return {each.partition("\t")[0] for each in found}


class Zsh(CompletionCase, SynchronousTestCase):
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
