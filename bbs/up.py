"""`bbs up`: the whole service in one process, with its app servers as children."""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import secrets
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import IO, Any

from bbs.cli import port
from bbs.config import ConfigError, Configuration
from bbs.offline import as_written

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 22222
TELNET_PORT = 2323
WEB_PORT = 22280
LOOPBACK = "127.0.0.1"
PASSWORD_FILE = "operator-password"


def main(argv: Sequence[str]) -> int:
    """Run with the arguments behind `bbs up` until SIGINT or SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(prog="bbs up", description=__doc__)
    parser.add_argument("--host", default=DEFAULT_HOST, help="address to listen on (%(default)s)")
    parser.add_argument("--port", default=DEFAULT_PORT, type=port, help="port (%(default)s)")
    parser.add_argument("--data", default="bbs-data", help="folder of the data (%(default)s)")
    parser.add_argument("--config", help="configuration file (TOML)")
    options = parser.parse_args(argv)
    try:
        config = as_written(options.config, options.data, _overrides(options))
        lock, log = _open_data(options.data)
        config = _with_faces(config, options)
    except (ConfigError, _Unusable) as error:
        print(f"bbs up: {error}", file=sys.stderr)
        return 1
    with lock, log:
        return _run(config, options, log)


class _Unusable(Exception):
    """The data folder cannot be used; the text says why."""


def _overrides(options: argparse.Namespace) -> dict[str, object]:
    return {
        "login.listen": _endpoint(options.host, options.port),
        "app.listen": _endpoint(options.host, 0),
    }


def _endpoint(host: str, port: int) -> str:
    kind = "tcp6" if ":" in host else "tcp"
    escaped = host.replace(":", "\\:")
    return f"{kind}:{port}:interface={escaped}"


def _with_faces(config: Configuration, options: argparse.Namespace) -> Configuration:
    """`config` with what a `bbs up` has beside: a telnet gateway that the login server believes,
    and the operators' page on loopback, each where the configuration does not say otherwise.

    :raises _Unusable: the operators' password cannot be kept in the data folder.
    """
    given = {key for key, source in config.sources.items() if source != "default"}
    telnet = replace(
        config.telnet,
        server=_place(_reached_at(options.host), options.port),
        secret=config.telnet.secret or secrets.token_urlsafe(),
    )
    if "telnet.listen" not in given:
        port = _free_port(options.host, TELNET_PORT)
        telnet = replace(telnet, listen=(_endpoint(options.host, port),))
    web = config.web
    if "web.listen" not in given:
        web = replace(web, listen=(_endpoint(LOOPBACK, _free_port(LOOPBACK, WEB_PORT)),))
    if web.listen and "web.password_file" not in given:
        web = replace(web, password_file=_operators_password(options.data))
    return replace(config, telnet=telnet, web=web)


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reached_at(host: str) -> str:
    """Where this machine itself reaches what listens on `host`."""
    return {"0.0.0.0": LOOPBACK, "": LOOPBACK, "::": "::1"}.get(host, host)


def _free_port(host: str, wanted: int) -> int:
    """`wanted`, or where somebody has that already, as another `bbs up` may, any free port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for number in (wanted, 0):
        # What cannot be bound at all is for the listener to say.
        with suppress(OSError), socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, number))
            found: int = probe.getsockname()[1]
            return found
    return wanted


def _operators_password(folder: str) -> str:
    """The path of the operators' password, which is made up once."""
    path = os.path.join(folder, PASSWORD_FILE)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path
    except OSError as error:
        raise _cannot_write(folder, error) from error
    with os.fdopen(file, "w") as new:
        new.write(secrets.token_urlsafe(12) + "\n")
    return path


def _open_data(folder: str) -> tuple[IO[str], IO[str]]:
    """Make the data folder, for this process alone: the lock, and the log.

    :raises _Unusable: it cannot be written, or another `bbs up` has it.
    """
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        lock = _append_to(os.path.join(folder, "lock"))
        log = _append_to(os.path.join(folder, "bbs.log"))
    except OSError as error:
        raise _cannot_write(folder, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        log.close()
        raise _Unusable(f"another bbs up uses the data folder {folder}") from error
    return lock, log


def _cannot_write(folder: str, error: OSError) -> _Unusable:
    return _Unusable(f"cannot write to the data folder {folder}: {error.strerror}")


def _append_to(path: str) -> IO[str]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a")


def _run(config: Configuration, options: argparse.Namespace, log: IO[str]) -> int:
    from twisted.internet import reactor as installed
    from twisted.logger import globalLogBeginner, textFileLogObserver

    from bbs.login_tap import LoginServer
    from bbs.telnet_tap import TelnetGateway

    reactor: Any = installed
    globalLogBeginner.beginLoggingTo([textFileLogObserver(log)], redirectStandardIO=False)
    failures: list[str] = []

    def fail(reason: str) -> None:
        failures.append(reason)
        print(reason, file=sys.stderr)
        reactor.callLater(0, reactor.stop)

    login_server = LoginServer(config, options.data, reactor, fail)
    servers: list[Any] = [login_server]
    if config.telnet.listen:
        servers.append(TelnetGateway(config, reactor, fail))

    def ready(_: object) -> None:
        if login_server.page_address:
            password = config.web.password_file
            hint = f" (password in {password})" if password else ""
            print(f"operators' page: {login_server.page_address}{hint}")
        for host, port in filter(None, map(_reached, config.telnet.listen)):
            print(f"without a client: telnet {host} {port}")
        print(f"bbs is ready: bbs client {options.host} {options.port}", flush=True)

    login_server.serving.addCallback(ready)
    for server in servers:
        server.name = "bbs up"
        reactor.callWhenRunning(server.startService)
        reactor.addSystemEventTrigger("before", "shutdown", server.stopService)
    print(f"bbs keeps its data and its log in {os.path.abspath(options.data)}", flush=True)
    reactor.run()
    return 1 if failures else 0


def _reached(endpoint: str) -> tuple[str, int] | None:
    """Where this machine reaches what listens on a TCP endpoint; None for one of another kind."""
    from bbs.daemon import interface_of

    matched = re.match(r"tcp6?:(?:port=)?(\d+)", endpoint)
    return (_reached_at(interface_of(endpoint)), int(matched[1])) if matched else None
