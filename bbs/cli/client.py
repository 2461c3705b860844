"""`bbs client HOST PORT`: the client as a command.

Exit codes: 0 well; 1 with one line on standard error when the service cannot be reached or was
lost for good, the command was interrupted, or with `--json` the last command was refused; 2 wrong
usage; 130 interrupted before it began (`bbs.cli`).
"""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.addresses import Address
from bbs.cli import Program, port
from bbs.client.forms import ForPeople, ForPrograms
from bbs.client.library import BBSClient
from bbs.client.lines import InputError, Lines, reader
from bbs.client.script import Script
from bbs.client.text import visible
from bbs.client.values import ClientError
from bbs.clock import measure_steadily

STDIN, STDOUT = 0, 1

MOST_READ = 64 * 1024
"""Bytes of a password file that are looked at."""


class PasswordFileError(Exception):
    """The file cannot be used; the text is one line that says why."""


def main(argv: Sequence[str], program: Program) -> int:
    """Run the client on standard input and output; returns the exit code."""
    try:
        options = parser(program).parse_args(argv)
    except SystemExit as end:  # argparse has said why, or shown the help that was asked for
        return int(end.code or 0)
    if sys.stdin is None or sys.stdout is None:
        # Their numbers may be somebody else's by now: the reactor's own, for one.
        return _exit_code(program.name, "standard input or output is closed")
    login_server = Address(options.host, options.port)
    try:
        password = read_password(options.password_file) if options.password_file else None
    except PasswordFileError as problem:
        return _exit_code(program.name, str(problem))
    if not options.json and sys.stdin.isatty() and sys.stdout.isatty():
        from bbs.client.terminal.start import run as talk

        return _exit_code(program.name, talk(login_server, password, times=not options.no_times))
    return _exit_code(program.name, _run_script(login_server, password, options.json))


def parser(program: Program) -> argparse.ArgumentParser:
    """The options of `bbs client`."""
    parser = program.parser(
        "client",
        "Talk to a service: at a terminal, or by commands from standard input, one a line; `help` "
        "lists them.",
    )
    parser.add_argument("host", metavar="HOST", help="where a login server is")
    parser.add_argument("port", metavar="PORT", type=port, help="the port that it listens on")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--no-times", action="store_true", help="show no times, at a terminal")
    parser.add_argument(
        "--password-file", metavar="FILE", help="has the password of who logs in without typing one"
    )
    return parser


def read_password(path: str) -> str:
    """The password of `--password-file`: the first line of a file that its owner alone may read, as
    ssh wants it of its keys.

    A pipe (`/dev/fd/…`) has no such rule: nobody else can open it. Raises `PasswordFileError`.
    """
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


def _run_script(login_server: Address, password: str | None, for_programs: bool) -> str:
    # Here, so that importing this module chooses no reactor for anybody.
    from twisted.internet import reactor

    measure_steadily(reactor)
    client = BBSClient(reactor, login_server)
    read = reader(IReactorFromThreads(reactor), STDIN)
    run = Run(
        reactor,
        client,
        read=read,
        output=STDOUT,
        stop_reactor=reactor.stop,
        password=password,
        for_programs=for_programs,
    )
    reactor.callWhenRunning(run.start)
    reactor.run()
    return run.problem


def _exit_code(name: str, problem: str) -> int:
    if problem:
        sys.stderr.write(f"{name} client: {visible(problem)}\n")
    return 1 if problem else 0


class Run:
    """One script from its first line to the end of the reactor.

    `problem` says in a line why it ended before its end, or (`for_programs`) that its last command
    was refused; it is empty when all is well.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        client: BBSClient,
        *,
        read: Callable[[], Deferred[bytes]],
        output: int,
        stop_reactor: Callable[[], None],
        password: str | None = None,
        for_programs: bool = False,
    ) -> None:
        self.problem = "interrupted"
        self._stop_reactor = stop_reactor
        self._client = client
        self._output = output
        self._for_programs = for_programs
        self._script = Script(
            clock,
            client,
            next_line=Lines(read).next,
            write=self._write,
            form=ForPrograms() if for_programs else ForPeople(),
            password=password,
        )
        self._ending = False

    def start(self) -> None:
        Deferred.fromCoroutine(self._script.run()).addCallbacks(
            lambda _: self._end(self._script.refusal if self._for_programs else ""), self._failed
        )

    def _failed(self, failure: Failure) -> None:
        if not isinstance(failure.value, (ClientError, InputError)):
            self._log.failure("the script broke off", failure)
        self._end(str(failure.value))

    def _write(self, line: str) -> None:
        """Write a line at once; whoever waits for it sees it before the next command goes out."""
        left = line.encode() + b"\n"
        try:
            while left:
                left = left[os.write(self._output, left) :]
        except OSError as problem:
            self._end(f"standard output: {problem.strerror}")

    def _end(self, problem: str) -> None:
        if not self._ending:
            self._ending = True
            self.problem = problem
            self._client.close().addCallback(lambda _: self._stop_reactor())
