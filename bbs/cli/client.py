"""`bbs client [HOST [PORT]]`: the client as a command.

Exit codes: 0 well; 1 with one line on standard error when the service cannot be reached, is none or
was lost for good, the command was interrupted, with `--json` the last command was refused, or with
`--strict` any was; 2 wrong usage; 130 interrupted before it began (`bbs.cli`).
"""

from __future__ import annotations

import argparse
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IReactorFromThreads,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.cli import Program, port
from bbs.client.catalog import Vocabulary
from bbs.client.client import ServiceClient
from bbs.client.errors import ClientError
from bbs.client.tls import TrustUnusable, load_trust, tls_endpoints
from bbs.core import tracing
from bbs.core.addresses import Address
from bbs.core.clock import measure_steadily
from bbs.protocols.presentation import Presentation, PresentationUnusable, load
from bbs.ui import user_files
from bbs.ui.output import ForPeople, ForPrograms, visible
from bbs.ui.script import Script
from bbs.ui.stdin import InputError, Lines, reader

STDIN, STDOUT = 0, 1

KEEPING = 1.0
"""Seconds that the end waits until it is kept which service this was."""

MOST_READ = 64 * 1024
"""Bytes of a password file that are looked at."""


class PasswordFileError(Exception):
    """The file cannot be used; the text is one line that says why."""


def main(argv: Sequence[str], program: Program) -> int:
    """Run the client on standard input and output; returns the exit code."""
    try:
        options = parser(program).parse_args(argv)
        if options.ca and not options.tls:
            parser(program).error("argument --ca: says whom --tls trusts, so it needs --tls")
        if options.host is not None and not options.host.strip("[] "):
            parser(program).error("argument HOST: is empty, so it names no server")
    except SystemExit as end:  # argparse has said why, or shown the help that was asked for
        return int(end.code or 0)
    if sys.stdin is None or sys.stdout is None:
        # Their numbers may be somebody else's by now: the reactor's own, for one.
        return _exit_code(program.name, "standard input or output is closed")
    kept = user_files.last_server_file(os.environ)
    try:
        service = choose_service(options, kept)
        own = load(program.client) if program.client else Presentation()
        making = _Making(service, kept, own)
        password = read_password(options.password_file) if options.password_file else None
    except (PasswordFileError, PresentationUnusable, TrustUnusable) as problem:
        return _exit_code(program.name, str(problem))
    if untraced := _begin_tracing(program.name):
        return _exit_code(program.name, untraced)
    if not options.json and sys.stdin.isatty() and sys.stdout.isatty():
        from bbs.ui.terminal.main import run as talk

        ended = talk(service.address, password, making.client, times=not options.no_times)
    else:
        ended = _run_script(service.address, password, options, making.client)
    making.end()
    tracing.end()
    return _exit_code(program.name, ended)


def _begin_tracing(name: str) -> str:
    """Record what is asked, if the environment says where that goes; why not, where that cannot
    be."""
    if not os.environ.get("BBS_TRACING_ENDPOINT"):
        return ""
    from bbs.config import ConfigError, load

    told = {key: value for key, value in os.environ.items() if key.startswith("BBS_TRACING_")}
    try:
        settings = load(None, told).tracing
        tracing.start(f"{name}-client", settings.endpoint, settings.sample)
    except ConfigError as problem:
        return str(problem)
    except ImportError:
        return f"BBS_TRACING_ENDPOINT: {tracing.NEEDS}"
    return ""


def parser(program: Program) -> argparse.ArgumentParser:
    """The options of `bbs client`."""
    parser = program.parser(
        "client",
        "Talk to a service: at a terminal, or by commands from standard input, one a line; `help` "
        "lists them.",
    )
    parser.add_argument(
        "host",
        metavar="HOST",
        nargs="?",
        help="where a login server is; without one the service that was talked to last, else "
        f"{user_files.DEFAULT_HOST}",
    )
    parser.add_argument(
        "port",
        metavar="PORT",
        nargs="?",
        type=port,
        help=f"the port that it listens on ({user_files.DEFAULT_PORT})",
    )
    parser.add_argument("--tls", action="store_true", help="talk by TLS to all its servers")
    parser.add_argument(
        "--ca", metavar="FILE", help="whom --tls trusts (PEM), instead of the system's authorities"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--no-times", action="store_true", help="show no times, at a terminal")
    parser.add_argument(
        "--strict", action="store_true", help="end a script with 1 when any command was refused"
    )
    parser.add_argument(
        "--password-file", metavar="FILE", help="has the password of who logs in without typing one"
    )
    return parser


def choose_service(options: argparse.Namespace, kept: Path) -> user_files.LastServer:
    """The service that is meant: the one that is named, else the one at `kept`."""
    ca = os.path.abspath(options.ca) if options.ca else ""
    if options.host:
        host = options.host.strip("[]")  # As URLs have IPv6 addresses.
        return user_files.LastServer(host, options.port or user_files.DEFAULT_PORT, options.tls, ca)
    service = user_files.read_last_server(kept)
    if options.tls:
        service = replace(service, tls=True, ca=ca or service.ca)
    return service


class _Making:
    """Makes the client of `service`, which is remembered at `kept` once it has answered. `own` is
    the presentation that the command knows by itself.

    :raises TrustUnusable: TLS cannot be had as it was asked for.
    """

    def __init__(self, service: user_files.LastServer, kept: Path, own: Presentation) -> None:
        self._own = own
        self._trust = load_trust(service.ca) if service.tls else None
        # A thread of its own: a slow disk holds up nobody who talks.
        self._keeping = threading.Thread(
            target=user_files.keep_last_server, args=(kept, service), daemon=True
        )
        self._name = service.host

    def client(self, reactor: Any, login_server: Address) -> ServiceClient:
        """The client, by TLS if that is wanted."""
        endpoint = tls_endpoints(reactor, self._trust, self._name) if self._trust else None
        return _Client(reactor, login_server, endpoint, Vocabulary(self._own), self._keeping.start)

    def end(self) -> None:
        """Let what is being kept be kept, if that does not take long."""
        if self._keeping.ident is not None:
            self._keeping.join(KEEPING)


class _Client(ServiceClient):
    """A client that finds out first whether it has come to the right place, and tells `met`."""

    def __init__(
        self,
        reactor: IReactorTime,
        login_server: Address,
        endpoint: Callable[[Address], IStreamClientEndpoint] | None,
        vocabulary: Vocabulary,
        met: Callable[[], None],
    ) -> None:
        super().__init__(reactor, login_server, endpoint, vocabulary=vocabulary)
        self._met = met

    def connect(self) -> Deferred[None]:
        return self.meet().addCallback(lambda _: self._met())


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


def _run_script(
    login_server: Address,
    password: str | None,
    options: argparse.Namespace,
    make: Callable[[Any, Address], ServiceClient],
) -> str:
    # Here, so that importing this module chooses no reactor for anybody.
    from twisted.internet import reactor

    measure_steadily(reactor)
    client = make(reactor, login_server)
    read = reader(IReactorFromThreads(reactor), STDIN)
    run = Run(
        reactor,
        client,
        read=read,
        output=STDOUT,
        stop_reactor=reactor.stop,
        password=password,
        for_programs=options.json,
        strict=options.strict,
    )
    reactor.callWhenRunning(run.start)
    reactor.callWhenRunning(_end_at_hangup, reactor)
    reactor.run()
    return run.problem


def _end_at_hangup(reactor: Any) -> None:
    """End in order when the terminal is closed; SIGINT and SIGTERM are the reactor's by itself."""
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, reactor.sigTerm)


def _exit_code(name: str, problem: str) -> int:
    if problem:
        with suppress(OSError):  # The terminal may be gone, which then is the problem.
            sys.stderr.write(f"{name} client: {visible(problem)}\n")
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:  # Else Python would fail in it as it ends, with an exit code of its own.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return 1 if problem else 0


class Run:
    """One script from its first line to the end of the reactor.

    `problem` says in a line why it ended before its end, or (`for_programs`) that its last command
    was refused, or (`strict`) which was the first that was; it is empty when all is well.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        client: ServiceClient,
        *,
        read: Callable[[], Deferred[bytes]],
        output: int,
        stop_reactor: Callable[[], None],
        password: str | None = None,
        for_programs: bool = False,
        strict: bool = False,
    ) -> None:
        self.problem = "interrupted"
        self._stop_reactor = stop_reactor
        self._client = client
        self._output = output
        self._for_programs, self._strict = for_programs, strict
        self._script = Script(
            clock,
            client,
            next_line=Lines(read).next,
            write=self._write,
            form=ForPrograms() if for_programs else ForPeople(client.vocabulary),
            password=password,
        )
        self._ending = False

    def start(self) -> None:
        Deferred.fromCoroutine(self._script.run()).addCallbacks(
            lambda _: self._end(self._refusal()), self._failed
        )

    def _refusal(self) -> str:
        if self._strict and self._script.first_refusal:
            return self._script.first_refusal
        return self._script.refusal if self._for_programs else ""

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
