"""`NAME up`: the whole service in one process, with its app servers as children."""

from __future__ import annotations

import argparse
import fcntl
import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import IO, Any

from bbs.addresses import Address, ListeningPlace, reached_at
from bbs.cli import Program, port
from bbs.cli.offline import as_written
from bbs.commands.service import Service
from bbs.config import ConfigError, Configuration
from bbs.scaling.children import write_privately

DESCRIPTION = "Run the whole service in one process, with its app servers as children."

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 22222
TELNET_PORT = 2323
WEB_PORT = 22280
LOOPBACK = "127.0.0.1"
PASSWORD_FILE = "operator-password"  # nosec B105 # A file's name.


def main(argv: Sequence[str], program: Program) -> int:
    """Run with the arguments behind `bbs up` until SIGINT or SIGTERM; returns the exit code."""
    parser = program.parser("up", DESCRIPTION)
    parser.add_argument("--host", default=DEFAULT_HOST, help="address to listen on (%(default)s)")
    parser.add_argument("--port", default=DEFAULT_PORT, type=port, help="port (%(default)s)")
    parser.add_argument(
        "--data", default=f"{program.name}-data", help="folder of the data (%(default)s)"
    )
    parser.add_argument("--config", help="configuration file (TOML)")
    options = parser.parse_args(argv)
    options.host = options.host.strip("[]")  # As URLs have IPv6 addresses.
    try:
        config = as_written(options.config, options.data, _overrides(options), program.name)
        lock, log = _open_data(options.data, program.name)
        config = _with_faces(config, options)
    except (ConfigError, _Unusable) as error:
        print(f"{program.name} up: {error}", file=sys.stderr)
        return 1
    with lock, log:
        return _run(program.service(), config, options, log)


class _Unusable(Exception):
    """The data folder cannot be used; the text says why."""


def _overrides(options: argparse.Namespace) -> dict[str, object]:
    return {
        "login.listen": str(ListeningPlace.at(options.host, options.port)),
        "app.listen": str(ListeningPlace.at(options.host, 0)),
    }


def _with_faces(config: Configuration, options: argparse.Namespace) -> Configuration:
    """`config` with what a `bbs up` has beside: a telnet gateway to its own login server, which
    believes it, and the operators' page on loopback. Where the configuration has a `telnet.listen`
    or a `web.listen` of its own, that counts.

    :raises _Unusable: the operators' password cannot be kept in the data folder.
    """
    given = {key for key, source in config.sources.items() if source != "default"}
    telnet = replace(
        config.telnet,
        server=str(Address(reached_at(options.host), options.port)),
        secret=config.telnet.secret or secrets.token_urlsafe(),
    )
    if "telnet.listen" not in given:
        port = TELNET_PORT if options.port != TELNET_PORT else 0
        telnet = replace(telnet, listen=(ListeningPlace.at(options.host, port),))
    web = config.web
    if "web.listen" not in given:
        port = WEB_PORT if options.port != WEB_PORT else 0
        web = replace(web, listen=(ListeningPlace.at(LOOPBACK, port),))
    if web.listen and "web.password_file" not in given:
        web = replace(web, password_file=_operators_password(options.data))
    return replace(config, telnet=telnet, web=web)


def _second_choice(
    config: Configuration, options: argparse.Namespace
) -> dict[ListeningPlace, ListeningPlace]:
    """Where to listen instead of what nobody asked for, if somebody has it, as another `bbs up` on
    this machine may."""
    return {
        place: ListeningPlace.at(host, 0)
        for key, places, host in (
            ("telnet.listen", config.telnet.listen, options.host),
            ("web.listen", config.web.listen, LOOPBACK),
        )
        if config.sources[key] == "default"
        for place in places
    }


def _operators_password(folder: str) -> str:
    """The path of the operators' password, which is made up once."""
    path = os.path.join(folder, PASSWORD_FILE)
    try:
        if not os.path.exists(path):
            # Whole or not at all: half a password would keep every later start from its page.
            new = f"{path}.{os.getpid()}"
            write_privately(new, secrets.token_urlsafe(12) + "\n")
            os.replace(new, path)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    return path


def _open_data(folder: str, name: str) -> tuple[IO[str], IO[str]]:
    """Make the data folder, for this process alone: the lock, and the log.

    :raises _Unusable: it cannot be written, or another `bbs up` has it.
    """
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        lock = _append_to(os.path.join(folder, "lock"))
        log = _append_to(os.path.join(folder, f"{name}.log"))
    except OSError as error:
        raise _cannot_write(folder, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        log.close()
        raise _Unusable(f"another {name} up uses the data folder {folder}") from error
    return lock, log


def _cannot_write(folder: str, error: OSError) -> _Unusable:
    return _Unusable(f"cannot write to the data folder {folder}: {error.strerror}")


def _append_to(path: str) -> IO[str]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a")


def _run(service: Service, config: Configuration, options: argparse.Namespace, log: IO[str]) -> int:
    from twisted.internet import reactor as installed
    from twisted.logger import globalLogBeginner, textFileLogObserver

    from bbs.daemons.login import LoginServer
    from bbs.daemons.telnet import TelnetGateway

    reactor: Any = installed
    globalLogBeginner.beginLoggingTo([textFileLogObserver(log)], redirectStandardIO=False)
    failures: list[str] = []

    def fail(reason: str) -> None:
        failures.append(reason)
        print(reason, file=sys.stderr)
        reactor.callLater(0, reactor.stop)

    login_server = LoginServer(service, config, options.data, reactor, fail)
    gateway = TelnetGateway(service, config, reactor, fail)
    gateway.beside = login_server

    def ready(_: object) -> None:
        if failures:
            return
        if login_server.page_address:
            password = config.web.password_file
            hint = f" (password in {password})" if password else ""
            print(f"operators' page: {login_server.page_address}{hint}")
        if gateway.address:
            print("without a client: telnet {} {}".format(*gateway.address))
        print(
            f"{service.name} is ready: {service.name} client {options.host} {options.port}",
            flush=True,
        )

    login_server.serving.addCallback(ready)
    for server in (login_server, gateway):
        server.name = f"{service.name} up"
        server.second_choice = _second_choice(config, options)
        reactor.callWhenRunning(server.startService)
        reactor.addSystemEventTrigger("before", "shutdown", server.stopService)
    print(
        f"{service.name} keeps its data and its log in {os.path.abspath(options.data)}", flush=True
    )
    reactor.run()
    return 1 if failures else 0
