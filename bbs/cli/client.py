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
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from bbs.cli import Program, port
from bbs.client.catalog import CommandCatalog
from bbs.client.client import ServiceClient
from bbs.client.tls import TrustUnusable, load_trust, tls_endpoints
from bbs.core import tracing
from bbs.core.addresses import Address
from bbs.core.clock import IReactor, measure_steadily
from bbs.protocols.presentation import Presentation, PresentationUnusable, load
from bbs.ui import process
from bbs.ui.output import JSONFormat, TextFormat, visible
from bbs.ui.process import STDIN, ClientRun, LineReader, start_reader, stop_at
from bbs.ui.script import IScriptConsole, Script

STDOUT = 1

KEEPING = 1.0  # seconds that the end waits until it is kept which service this was
MOST_READ = 64 * 1024  # bytes of a password file that are looked at


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
    kept = process.state_file(os.environ, "last-host")
    try:
        service = choose_service(options, kept)
        own = load(program.client) if program.client else Presentation()
        making = _ClientFactory(service, kept, own)
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
        f"{process.DEFAULT_HOST}",
    )
    parser.add_argument(
        "port",
        metavar="PORT",
        nargs="?",
        type=port,
        help=f"the port that it listens on ({process.DEFAULT_PORT})",
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


def choose_service(options: argparse.Namespace, kept: Path) -> process.LastServer:
    """The service that is meant: the one that is named, else the one at `kept`."""
    ca = os.path.abspath(options.ca) if options.ca else ""
    if options.host:
        host = options.host.strip("[]")  # As URLs have IPv6 addresses.
        return process.LastServer(host, options.port or process.DEFAULT_PORT, options.tls, ca)
    service = process.read_last_server(kept)
    if options.tls:
        service = replace(service, tls=True, ca=ca or service.ca)
    return service


class _ClientFactory:
    """Makes the client of `service`, which is remembered at `kept` once it has answered. `own` is
    the presentation that the command knows by itself.

    :raises TrustUnusable: TLS cannot be had as it was asked for.
    """

    def __init__(self, service: process.LastServer, kept: Path, own: Presentation) -> None:
        self._own = own
        self._trust = load_trust(service.ca) if service.tls else None
        # A thread of its own: a slow disk holds up nobody who talks.
        self._keeping = threading.Thread(
            target=process.keep_last_server, args=(kept, service), daemon=True
        )
        self._name = service.host

    def client(self, reactor: IReactor, login_server: Address) -> ServiceClient:
        """The client, by TLS if that is wanted."""
        endpoint = tls_endpoints(reactor, self._trust, self._name) if self._trust else None
        catalog = CommandCatalog(self._own)
        client = _Client(reactor, login_server, endpoint, vocabulary=catalog)
        client.keeping = self._keeping
        return client

    def end(self) -> None:
        """Let what is being kept be kept, if that does not take long."""
        if self._keeping.ident is not None:
            self._keeping.join(KEEPING)


class _Client(ServiceClient):
    """A client that finds out first whether it has come to the right place."""

    keeping: threading.Thread
    """Keeps which service this is."""

    def connect(self) -> Deferred[None]:
        return self.meet().addCallback(lambda _: self.keeping.start())


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
    make: Callable[[IReactor, Address], ServiceClient],
) -> str:
    # Here, so that importing this module chooses no reactor for anybody.
    from twisted.internet import reactor as installed

    reactor = cast("IReactor", installed)
    measure_steadily(reactor)
    client = make(reactor, login_server)
    run = ScriptRun(
        reactor,
        client,
        lines=LineReader(start_reader(reactor, STDIN)),
        output=STDOUT,
        password=password,
        for_programs=options.json,
        strict=options.strict,
    )
    run.ended.addCallback(lambda _: reactor.stop())
    reactor.callWhenRunning(run.start)
    # SIGINT and SIGTERM are the reactor's by itself.
    reactor.callWhenRunning(stop_at, reactor, signal.SIGHUP)
    reactor.run()
    return run.problem


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


@implementer(IScriptConsole)
class ScriptRun(ClientRun):
    """The run of a script. `problem` says too that its last command was refused (`for_programs`),
    or which was the first that was (`strict`)."""

    def __init__(
        self,
        clock: IReactorTime,
        client: ServiceClient,
        *,
        lines: LineReader,
        output: int,
        password: str | None = None,
        for_programs: bool = False,
        strict: bool = False,
    ) -> None:
        super().__init__(client)
        self._lines = lines
        self._output = output
        self._for_programs, self._strict = for_programs, strict
        self._script = Script(
            clock,
            client,
            self,
            form=JSONFormat() if for_programs else TextFormat(client.vocabulary),
            password=password,
        )

    async def run(self) -> None:
        await self._script.run()
        self.end(self._refusal())

    def _refusal(self) -> str:
        if self._strict and self._script.first_refusal:
            return self._script.first_refusal
        return self._script.refusal if self._for_programs else ""

    # IScriptConsole

    def next_line(self) -> Awaitable[str | None]:
        return self._lines.next()

    def write(self, line: str) -> None:
        """Write a line at once; whoever waits for it sees it before the next command goes out."""
        left = line.encode() + b"\n"
        try:
            while left:
                left = left[os.write(self._output, left) :]
        except OSError as problem:
            self.end(f"standard output: {problem.strerror}")
