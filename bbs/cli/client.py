"""`bbs client [HOST [PORT]]`: the client as a command.

Exit codes: 0 success; 1 with one line on standard error if the service was not found or was lost
for good, the client was interrupted, or the last command (with `--json`) or any command (with
`--strict`) was refused; 2 wrong usage; 130 interrupted before it began (`bbs.cli`).
"""

from __future__ import annotations

import argparse
import os
import signal
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

from bbs.cli import PasswordFileError, Program, port, read_password
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

SAVE_DEADLINE = 1.0  # seconds that the end waits for the last server to be saved


def main(argv: Sequence[str], program: Program) -> int:
    """Run the client on standard input and output; returns the exit code."""
    try:
        options = parser(program).parse_args(argv)
        if options.ca and not options.tls:
            parser(program).error("argument --ca: needs --tls")
        if options.host is not None and not options.host.strip("[] "):
            parser(program).error("argument HOST: is empty, so it names no server")
        if options.host and options.port is None and _is_malformed(options.host):
            reason = "is not HOST:PORT, with a port from 1 to 65535"
            parser(program).error(f"argument HOST: {options.host!r} {reason}")
    except SystemExit as end:  # argparse has printed the error, or the help
        return int(end.code or 0)
    if sys.stdin is None or sys.stdout is None:
        # Another file may have got their descriptors, such as one of the reactor's.
        return _exit_code(program.name, "standard input or output is closed")
    path = process.state_file(os.environ, "last-host")
    try:
        service = choose_service(options, path)
        own = load(program.client) if program.client else Presentation()
        # A thread saves, so that a slow disk does not hold up the client.
        saving = threading.Thread(
            target=process.save_last_server, args=(path, service), daemon=True
        )
        devices = process.DeviceTokens(path.with_name("devices"), str(service.address))
        make = _client_factory(service, own, saving, devices)
        password = read_password(options.password_file) if options.password_file else None
    except (PasswordFileError, PresentationUnusable, TrustUnusable) as problem:
        return _exit_code(program.name, str(problem))
    if untraced := _begin_tracing(program.name):
        return _exit_code(program.name, untraced)
    if not options.json and sys.stdin.isatty() and sys.stdout.isatty():
        from bbs.ui.terminal.main import run as talk

        ended = talk(
            service.address,
            password,
            make,
            times=not options.no_times,
            name=devices.last_name,
            # What was sent by TLS is not to be sent without.
            server=f"{service.address}{' by TLS' if service.tls else ''}",
            is_secure=lambda: service.is_secure,
            next_step=next_step(program.name, service),
        )
    else:
        ended = _run_script(service.address, password, options, make)
    if saving.ident is not None:
        saving.join(SAVE_DEADLINE)
    devices.wait(SAVE_DEADLINE)
    tracing.end()
    return _exit_code(program.name, ended)


def _begin_tracing(name: str) -> str:
    """Trace requests, if the environment names an endpoint; returns the error."""
    if not os.environ.get("BBS_TRACING_ENDPOINT"):
        return ""
    from bbs.config import ConfigError, load

    environ = {key: value for key, value in os.environ.items() if key.startswith("BBS_TRACING_")}
    try:
        settings = load(None, environ).tracing
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
    add = parser.add_argument
    help = (
        "a login server, also as HOST:PORT; the default is the last one used, at first "
        f"{process.DEFAULT_HOST}"
    )
    add("host", metavar="HOST", nargs="?", help=help)
    help = f"the port that it listens on ({process.DEFAULT_PORT})"
    add("port", metavar="PORT", nargs="?", type=port, help=help)
    add("--tls", action="store_true", help="talk by TLS to all its servers")
    help = "certificates that --tls trusts (PEM), instead of the system's authorities"
    add("--ca", metavar="FILE", help=help)
    add("--json", action="store_true", help="for programs")
    add("--no-times", action="store_true", help="show no times, at a terminal")
    add("--strict", action="store_true", help="end a script with 1 if any command was refused")
    help = "file with the password for logins and registrations that are typed without one"
    add("--password-file", metavar="FILE", help=help)
    return parser


def choose_service(options: argparse.Namespace, path: Path) -> process.LastServer:
    """The server that the options name, else the last one, in the file at `path`."""
    ca = os.path.abspath(options.ca) if options.ca else ""
    if options.host:
        if options.port is None:
            with suppress(ValueError):
                address = Address.parse(options.host)
                return process.LastServer(address.host, address.port, options.tls, ca)
        host = options.host.strip("[]")  # IPv6 addresses, as in URLs
        return process.LastServer(host, options.port or process.DEFAULT_PORT, options.tls, ca)
    service = process.read_last_server(path)
    if options.tls:
        service = replace(service, tls=True, ca=ca or service.ca)
    return service


def next_step(name: str, service: process.LastServer) -> str:
    """What to type when `service` does not answer; `name` is the command's."""
    other = f"{name} client HOST PORT"
    if not service.is_here:
        return f"For another server, type: {other}"
    port = "" if service.port == process.DEFAULT_PORT else f" --port {service.port}"
    return f"To start one here, type: {name} up{port}. For a server elsewhere, type: {other}"


def _is_malformed(host: str) -> bool:
    """True if HOST contains a port, which it must not."""
    if host.count(":") != 1 and "]:" not in host:  # An IPv6 address has more.
        return False
    try:
        Address.parse(host)
    except ValueError:
        return True
    return False


def _client_factory(
    service: process.LastServer,
    own: Presentation,
    saving: threading.Thread,
    devices: process.DeviceTokens,
) -> Callable[[IReactor, Address], ServiceClient]:
    """A function that makes the client of `service`, with the command's own presentation. Raises
    `TrustUnusable`."""
    trust = load_trust(service.ca) if service.tls else None

    def make(reactor: IReactor, login_server: Address) -> ServiceClient:
        endpoint = tls_endpoints(reactor, trust, service.host) if trust else None
        vocabulary = CommandCatalog(own)
        client = _Client(reactor, login_server, endpoint, vocabulary=vocabulary, devices=devices)
        client.saving = saving
        return client

    return make


class _Client(ServiceClient):
    """A client that checks that it talks to a login server, and then saves which one this is."""

    saving: threading.Thread

    def connect(self) -> Deferred[None]:
        return self.meet().addCallback(lambda _: self.saving.start())


def _run_script(
    login_server: Address,
    password: str | None,
    options: argparse.Namespace,
    make: Callable[[IReactor, Address], ServiceClient],
) -> str:
    # Imported here, so that importing this module installs no reactor.
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
    # The reactor by itself handles SIGINT and SIGTERM.
    reactor.callWhenRunning(stop_at, reactor, signal.SIGHUP)
    reactor.addSystemEventTrigger("before", "shutdown", run.interrupt)
    reactor.run()
    return run.problem


def _exit_code(name: str, problem: str) -> int:
    if problem:
        with suppress(OSError):  # The problem may be that the terminal is gone.
            sys.stderr.write(f"{name} client: {visible(problem)}\n")
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:  # Python would fail here too as it ends, with an exit code of its own.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return 1 if problem else 0


@implementer(IScriptConsole)
class ScriptRun(ClientRun):
    """The run of a script. `problem` may also be the refusal of the last command (`for_programs`),
    or that of the first refused one (`strict`)."""

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

    def unsent(self, *, known: bool) -> str:
        return self._script.unsent(known=known)

    def interrupt(self) -> None:
        """Note what a signal that ends the process leaves undone."""
        if not self._over:
            self._over = True
            self.problem = f"interrupted{self.unsent(known=False)}"

    def _refusal(self) -> str:
        if self._strict and self._script.first_refusal:
            return self._script.first_refusal
        return self._script.refusal if self._for_programs else ""

    # IScriptConsole

    def next_line(self) -> Awaitable[str | None]:
        return self._lines.next()

    def write(self, line: str) -> None:
        """Write a line at once, so that it is visible before the next command is sent."""
        left = line.encode() + b"\n"
        try:
            while left:
                left = left[os.write(self._output, left) :]
        except OSError as problem:
            self.end(f"standard output: {problem.strerror}")
