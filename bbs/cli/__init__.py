"""The command line of a service; each part is imported when it runs."""

from __future__ import annotations

import argparse
import difflib
import errno
import os
import re
import signal
import stat
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from bbs.core.plugins import PluginUnusable
from bbs.core.values import named_version

if TYPE_CHECKING:
    from bbs.commands.extensions import Extension
    from bbs.commands.service import Service

PARTS = {
    "up": ("bbs.cli.up:main", "run the whole service here"),
    "client": ("bbs.cli.client:main", "talk to a service"),
    "fleet": ("bbs.cli.fleet:main", "show the app servers, launch one, drain one"),
    "user": ("bbs.cli.user:main", "show people, suspend one, give one another password"),
    "stubs": ("bbs.cli.description:stubs", "print a typed client in Python"),
    "spec": ("bbs.cli.description:spec", "print a description of commands, replies and events"),
    "run": ("bbs.cli.subcommands:run_rule_command", "run a rule of the service"),
    "shell": ("bbs.cli.shell:main", "a Python prompt with the service's models and rules"),
    "manhole": ("bbs.cli.manhole:main", "a Python prompt in a running server"),
    "backup": ("bbs.cli.database:backup", "copy the database of a running service into a file"),
    "restore": ("bbs.cli.database:restore", "put such a copy in the database's place"),
    "db": ("bbs.cli.database:db", "upgrade the database's schema, or show its version"),
    "config": ("bbs.cli.config:main", "check a configuration file"),
    "new": ("bbs.cli.new:main", "begin a package of your own"),
}

MOST_READ = 64 * 1024  # bytes of a password file that are read

INTERRUPTED = 130  # 128 + SIGINT: what a shell has for a command that Ctrl-C ended
PIPE_CLOSED = 128 + signal.SIGPIPE  # the same, for one whose output nobody reads any more


class PasswordFileError(Exception):
    """The file cannot be used, for the reason in the text, which is one line."""


@dataclass(frozen=True)
class Program:
    """The command `name` of a service. Parts that do not need the service, such as the client, do
    not load it. `client` is the place of its presentation (`Service.client`), `release` its own."""

    name: str
    service: Callable[[], Service]
    client: str = ""
    release: str = ""

    @property
    def version(self) -> str:
        return named_version(self.name, self.release)

    @property
    def settings(self) -> Sequence[type]:
        """The sections of the configuration that the service declares."""
        return self.service().sections

    def parser(self, part: str, description: str | None) -> argparse.ArgumentParser:
        """A parser for the arguments behind `NAME PART`."""
        parser = argparse.ArgumentParser(prog=f"{self.name} {part}", description=description)
        self.add_version(parser)
        return parser

    def fail(self, part: str, reason: object) -> int:
        """Print why a part failed, as one line; returns the exit code. A reason may quote a file,
        and nothing in it may act on the terminal."""
        from bbs.ui.output import visible  # Only commands that fail need it.

        command = f"{self.name} {part}".rstrip()
        print(visible(f"{command}: {reason}"), file=sys.stderr)
        return 1

    def add_database(self, parser: argparse.ArgumentParser) -> None:
        """Add the options that name the database (`bbs.cli.offline.configuration`)."""
        parser.add_argument("--config", metavar="FILE", help="configuration file (TOML)")
        help = f"folder of a {self.name} up; the default is {self.name}-data, if it is here"
        parser.add_argument("--data", metavar="FOLDER", help=help)

    def add_version(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--version", action="version", version=self.version)


def command_line(service: Service) -> Callable[[], int]:
    """The function for the console script of `service` (`up`, `client`, `fleet` and so on), which
    takes the process's arguments, or those given, and returns the exit code.

    :raises ValueError: a subcommand has the name of a command that every service has.
    """
    from bbs.commands.extensions import extended
    from bbs.commands.service import UNDECLARED

    def load() -> Service:
        found = extended(service)
        for each in found.extensions:
            if problem := _clash(each):
                raise PluginUnusable(f"extension {each.name}: {problem}")
        return found

    if problem := _clash(service):
        raise ValueError(f"{service.name}: {problem}")
    program = Program(service.name, load, service.client or UNDECLARED, service.release)
    return CommandLine(program)


def _clash(part: Service | Extension) -> str:
    """What is wrong with the names of a part's subcommands; "" if nothing is."""
    taken = PARTS.keys() & {name.split(" ")[0] for name in part.subcommands}
    return f"every service has a command {min(taken)} already" if taken else ""


@dataclass(frozen=True)
class CommandLine:
    """The function of a console script; `bbs stubs NAME` finds the service by it."""

    program: Program

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        return run(self.program, sys.argv[1:] if argv is None else argv)


def run(program: Program, arguments: Sequence[str]) -> int:
    """Run the part that the first argument names; returns the exit code (2 for wrong usage). If
    nobody reads the output any more, the process ends as by SIGPIPE, which Python ignores."""
    try:
        try:
            return _run_part(program, arguments)
        except PluginUnusable as error:
            return program.fail("", error)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        return _end_by_sigpipe()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _leave_output()
        return program.fail("", f"cannot write the output: {error.strerror}")
    except KeyboardInterrupt:  # before the part itself handles Ctrl-C
        return INTERRUPTED


def _run_part(program: Program, arguments: Sequence[str]) -> int:
    part, *rest = arguments or [""]
    if part in ("--help", "-h"):
        print(_usage(program))
        return 0
    if part == "--version":
        print(program.version)
        return 0
    run_part = _find(part, program)
    if run_part is None:
        print(_usage(program), file=sys.stderr)
        if part:
            program.fail("", f"there is no command {part!r}{_suggestion(part, program)}")
        return 2
    code: int = run_part(rest, program)
    return code


def _find(part: str, program: Program) -> Callable[[Sequence[str], Program], int] | None:
    """The function of a part of the command line: one that every service has, or one of the
    service's own, which only then is loaded."""
    if part in PARTS:
        module, _, function = PARTS[part][0].partition(":")
        found: Callable[[Sequence[str], Program], int] = getattr(import_module(module), function)
        return found
    from bbs.cli import subcommands

    return partial(subcommands.run, part) if part in subcommands.names(program.service()) else None


def _suggestion(part: str, program: Program) -> str:
    known = [*PARTS, *(name.partition(" ")[0] for name in program.service().all_subcommands)]
    close = difflib.get_close_matches(part, known, 1)
    return f": did you mean {close[0]}?" if close else ""


def _end_by_sigpipe() -> int:
    """End the process by SIGPIPE; returns its exit code where the signal is blocked."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
    _leave_output()
    return PIPE_CLOSED


def _leave_output() -> None:
    """Drop the text that cannot be written: Python would try again as it ends, and complain."""
    with suppress(AttributeError, OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def port(text: str) -> int:
    """The argparse type of a port."""
    if text.isascii() and text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port: a number from 1 to 65535")


SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}  # the units of a duration


def duration(text: str) -> float:
    """The argparse type of a duration, `7d` for example: its seconds."""
    found = re.fullmatch(r"([1-9][0-9]{0,5})([smhdw])", text, re.ASCII)
    if not found:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time: write a number and s, m, h, d or w, such as 7d"
        )
    return float(int(found[1]) * SECONDS[found[2]])


def text(argument: str) -> str:
    """The argparse type of a text for the database, or for SQLite."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("not UTF-8") from None
    return argument


def read_password(path: str) -> str:
    """Read `--password-file`: the first line of a file that only its owner can read, as ssh
    requires it of its keys. A pipe (`/dev/fd/…`) needs no such rule, as nobody else can open it.
    Raises `PasswordFileError`."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise PasswordFileError(f"{path}: others may read it; chmod 600 {path}")
            content = file.read(MOST_READ)
    except OSError as problem:
        raise PasswordFileError(f"{path}: {problem.strerror}") from problem
    try:
        password = content.decode().partition("\n")[0].rstrip("\r")
    except UnicodeDecodeError:
        raise PasswordFileError(f"{path}: not UTF-8") from None
    if not password or " " in password:
        raise PasswordFileError(f"{path}: a password is one word, in the first line")
    return password


def _usage(program: Program) -> str:
    helps = {name: help for name, (_, help) in PARTS.items()}
    helps |= {name: each.help for name, each in program.service().all_subcommands.items()}
    width = max(map(len, helps))
    parts = "\n".join(f"  {name:{width}} {help}" for name, help in helps.items())
    name = program.name
    return f"usage: {name} COMMAND [...]\n\n{parts}\n\n{name} COMMAND --help says more."
