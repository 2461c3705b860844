"""The `bbs` command as a whole, and a service's own: which parts there are, and what each says of
itself."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs import cli
from bbs.__main__ import main
from bbs.board import board
from bbs.board.daemons import app, fleet, login, telnet
from bbs.cli import PasswordFileError, read_password, subcommands
from bbs.framework import Refusal, Service, User
from bbs.operators import Operator, Subcommand
from bbs.rules import fleet_admin
from tests.cli.case import CommandCase

DAEMONS = (login, app, fleet, telnet)
"""What `twistd bbs-login`, `bbs-app`, `bbs-fleet` and `bbs-telnet` are."""


class Parts(SynchronousTestCase):
    def said(self, line: str) -> tuple[int, str, str]:
        """What `bbs LINE` ends with, and says on each stream."""
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                code = main(line.split())
            except SystemExit as end:
                code = int(end.code or 0)
        return code, output.getvalue(), errors.getvalue()

    def commands(self) -> list[str]:
        """Every command and sub-command, as the usage of each tells what there is below it."""
        parts = [*cli.PARTS, *subcommands.names(board)]
        found = ["", *parts, "config check", "config keys"]
        for part in parts:
            usage = self.said(f"{part} --help")[1].partition("\n\n")[0]
            if choices := re.search(r"\{([a-z,]+)\}", usage):
                found += [f"{part} {action}" for action in choices[1].split(",")]
        return found

    def test_there_are_some(self) -> None:
        expected = {"fleet list", "fleet drain", "db status", "user suspend", "up", "config check"}
        expected |= {"announce", "group list", "group remove", "post remove"}
        self.assertEqual(expected - {*self.commands()}, set())

    def test_each_knows_its_version(self) -> None:
        whole = self.said("--version")
        self.assertRegex(whole[1], r"\Abbs \d+\.\d+\.\d+\n\Z")
        for command in self.commands():
            self.assertEqual(self.said(f"{command} --version"), (0, whole[1], ""))

    def test_each_helps(self) -> None:
        for command in self.commands():
            code, output, errors = self.said(f"{command} --help")
            self.assertEqual((code, errors), (0, ""))
            self.assertIn("usage: bbs", output)

    def test_wrong_usage(self) -> None:
        for command in self.commands():
            code, output, errors = self.said(f"{command} --no-such-option")
            self.assertEqual((code, output), (2, ""), command)
            self.assertIn("usage: bbs", errors)

    def daemon(self, made: Any, *arguments: str) -> tuple[int, str, str]:
        """What a daemon ends with under twistd, before it begins."""
        output, errors = io.StringIO(), io.StringIO()
        options = made.Options()
        options.parent = SimpleNamespace(subCommand="bbs-x", getSynopsis=lambda: "Usage: twistd")
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            ended = self.assertRaises(SystemExit, options.parseOptions, [*arguments])
        return int(ended.code or 0), output.getvalue(), errors.getvalue()

    def test_daemons(self) -> None:
        version = self.said("--version")
        for made in DAEMONS:
            self.assertEqual(self.daemon(made, "--version"), version)
            for wrong in ("--no-such-option", "word"):
                code, output, errors = self.daemon(made, wrong)
                self.assertEqual((code, output), (2, ""))
                self.assertRegex(errors, r"\nbbs-(login|app|fleet|telnet): [^\n]+\n\Z")

    def test_daemons_help(self) -> None:
        """By twistd itself, which is asked by real processes elsewhere."""
        for made in DAEMONS:
            code, output, errors = self.daemon(made, "--help")
            self.assertEqual((code, errors), (0, ""))
            self.assertIn("--config=", output)

    def test_what_is_no_part(self) -> None:
        for line, told in (
            ("", "says more.\n"),
            ("down", "\nbbs: there is no command 'down'\n"),
            ("flet list", "\nbbs: there is no command 'flet': did you mean fleet?\n"),
        ):
            code, output, errors = self.said(line)
            self.assertEqual((code, output), (2, ""))
            self.assertIn("usage: bbs COMMAND", errors)
            self.assertTrue(errors.endswith(told), errors)

    def test_of_another_service(self) -> None:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            self.assertEqual(cli.run(cli.Program("lobby", lambda: Service("lobby")), ["--help"]), 0)
        self.assertIn("usage: lobby COMMAND", output.getvalue())
        self.assertNotIn("bbs", output.getvalue())


class Nobody(Refusal):
    text = "Nobody is called {}"


def rename(old: str, new: str) -> int:
    """A rule of a service's own."""
    changed: int = User.update(name=new).where(User.name == old).execute()
    if not changed:
        raise Nobody(old)
    return changed


def run_rename(operator: Operator, options: argparse.Namespace) -> None:
    changed = operator.act("rename", options.old, rename, options.old, options.new)
    operator.say(f"{options.old} is {options.new}", {"changed": changed})


def add_names(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old")
    parser.add_argument("new")


def run_count(operator: Operator, options: argparse.Namespace) -> None:
    count = operator.call(User.select().count)
    operator.say_all([f"{count}", "\x1b"], [{"count": count}, {}])


class OfAService(CommandCase):
    """The subcommands that a service declares."""

    declared = Service(
        board.name,
        models=board.models,
        version=board.version,
        steps=board.steps,
        oldest=board.oldest,
        subcommands={
            "rename": Subcommand("give somebody another name", run_rename, add_names),
            "people count": Subcommand("count people", run_count),
        },
    )
    program = cli.Program("bbs", lambda: OfAService.declared)

    @staticmethod
    def main(argv: Sequence[str], program: cli.Program, /) -> int:
        return cli.run(program, argv)

    def setUp(self) -> None:
        super().setUp()
        self.patch(getpass, "getuser", lambda: "liz")
        User.insert(name="ann", password_hash="", channel="x", created=0.0).execute()

    def deeds(self) -> list[Any]:
        found = self.call(fleet_admin.actions, 9)
        return [(each.operator, each.address, each.action, each.detail) for each in found]

    def test_its_help(self) -> None:
        code, output, _ = self.bbs("--help")
        self.assertEqual(code, 0)
        self.assertRegex(output, r"\n  rename +give somebody another name\n")
        self.assertRegex(output, r"\n  people count +count people\n")
        self.assertIn("{count}", self.bbs("people", "--help")[1])

    def test_an_act(self) -> None:
        log = Path(self.mktemp()) / "logs" / "security.log"
        log.parent.mkdir(parents=True)
        log.touch()
        os.environ["BBS_LOG_SECURITY"] = str(log.absolute())
        self.assertEqual(self.bbs("rename", "ann", "bea"), (0, "ann is bea\n", ""))
        self.assertEqual(User.get().name, "bea")
        self.assertEqual(self.deeds(), [("liz", "bbs rename", "rename", "ann")])
        self.assertIn('what=rename outcome=done address=- name="ann" by="liz"', log.read_text())
        self.assertEqual(self.bbs("rename", "bea", "eve", "--json"), (0, '{"changed": 1}\n', ""))

    def test_a_refusal(self) -> None:
        refused = self.bbs("rename", "bob\x1b", "eve")
        self.assertEqual(refused, (1, "", "bbs rename: Nobody is called bob\\x1b\n"))
        self.assertEqual(self.deeds(), [])

    def test_a_list(self) -> None:
        self.assertEqual(self.bbs("people", "count"), (0, "1\n\\x1b\n", ""))
        self.assertEqual(self.bbs("people", "count", "--json"), (0, '[{"count": 1},\n {}]\n', ""))

    def test_one_that_every_service_has(self) -> None:
        service = Service("lobby", subcommands={"run all": Subcommand("run all", run_count)})
        error = self.assertRaises(ValueError, cli.command_line, service)
        self.assertEqual(str(error), "lobby: every service has a command run already")

    def test_wrong_usage(self) -> None:
        for line in (("rename", "ann"), ("people",), ("people", "kick"), ("count",)):
            code, output, errors = self.bbs(*line)
            self.assertEqual((code, output), (2, ""))
            self.assertIn("usage: bbs", errors)

    def test_no_database(self) -> None:
        os.environ["BBS_DATABASE_URL"] = f"sqlite:///{os.path.abspath(self.mktemp())}"
        code, output, errors = self.bbs("people", "count")
        self.assertEqual((code, output), (1, ""))
        self.assertIn("no such file", errors)

    def test_a_malformed_declaration(self) -> None:
        count = self.declared.subcommands["people count"]
        for wrong in ({"": count}, {"a b c": count}, {"--x": count}, {"count": run_count}):
            declared: Any = wrong
            with self.assertRaisesRegex(ValueError, "subcommands are Subcommands"):
                Service("lobby", subcommands=declared)


class Unread(SynchronousTestCase):
    """Output that nobody reads any more, as behind `bbs config keys | head -1`."""

    def run_it(self, *arguments: str, blocked: bool = False) -> tuple[int, bytes]:
        """The exit code of a real process, and what it says on standard error."""
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb") as output:
            ended = subprocess.run(
                [sys.executable, "-m", "bbs", *arguments],
                stdout=output,
                stderr=subprocess.PIPE,
                preexec_fn=_block_sigpipe if blocked else None,
                check=False,
            )
        return ended.returncode, ended.stderr

    def test_it_ends_as_by_sigpipe(self) -> None:
        for line in ("config keys", "--help"):
            self.assertEqual(self.run_it(*line.split()), (-signal.SIGPIPE, b""))

    def test_a_full_disk(self) -> None:
        with open("/dev/full", "wb") as full:
            ended = subprocess.run(
                [sys.executable, "-m", "bbs", "config", "keys"],
                stdout=full,
                stderr=subprocess.PIPE,
                check=False,
            )
        told = b"bbs: cannot write the output: No space left on device\n"
        self.assertEqual((ended.returncode, ended.stderr), (1, told))

    def test_where_the_signal_is_blocked(self) -> None:
        self.assertEqual(self.run_it("config", "keys", blocked=True), (cli.PIPE_CLOSED, b""))


def _block_sigpipe() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})


class PasswordFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def write(self, content: bytes, mode: int = 0o600) -> str:
        self.path.write_bytes(content)
        self.path.chmod(mode)
        return str(self.path)

    def refusal(self, path: str) -> str:
        return str(self.assertRaises(PasswordFileError, read_password, path))

    def test_its_first_line(self) -> None:
        for content in (b"secr\xc3\xa9t", b"secr\xc3\xa9t\n", b"secr\xc3\xa9t\r\nmore\n"):
            self.assertEqual(read_password(self.write(content)), "secrét")

    def test_only_its_owner_may_read_it(self) -> None:
        for mode in (0o640, 0o604, 0o602, 0o610):
            path = self.write(b"secret", mode)
            self.assertEqual(self.refusal(path), f"{path}: others may read it; chmod 600 {path}")

    def test_no_password_in_it(self) -> None:
        for content in (b"", b"\nsecret", b"two words"):
            self.assertIn("a password is one word", self.refusal(self.write(content)))
        self.assertIn("not UTF-8", self.refusal(self.write(b"\xff")))

    def test_no_file(self) -> None:
        self.assertIn("No such file", self.refusal(str(self.path)))

    def test_a_pipe(self) -> None:
        end, start = os.pipe()
        self.addCleanup(os.close, end)
        os.write(start, b"secret\n")
        os.close(start)
        self.assertEqual(read_password(f"/dev/fd/{end}"), "secret")
