"""`bbs up`: the whole service in one process, and its app servers as children."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Sequence
from typing import IO, Any

from bbs.cli import port
from bbs.config import ConfigError, Configuration
from bbs.offline import as_written

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 22222


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
    except (ConfigError, _Unusable) as error:
        print(f"bbs up: {error}", file=sys.stderr)
        return 1
    with lock, log:
        return _run(config, options, log)


class _Unusable(Exception):
    """The data folder cannot be used; the text says why."""


def _overrides(options: argparse.Namespace) -> dict[str, object]:
    host = options.host.replace(":", "\\:")
    kind = "tcp6" if ":" in options.host else "tcp"
    return {
        "login.listen": f"{kind}:{options.port}:interface={host}",
        "app.listen": f"{kind}:0:interface={host}",
    }


def _open_data(folder: str) -> tuple[IO[str], IO[str]]:
    """Make the data folder, for this process alone: the lock, and the log.

    :raises _Unusable: it cannot be written, or another `bbs up` has it.
    """
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        lock = _append_to(os.path.join(folder, "lock"))
        log = _append_to(os.path.join(folder, "bbs.log"))
    except OSError as error:
        raise _Unusable(f"cannot write to the data folder {folder}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        log.close()
        raise _Unusable(f"another bbs up uses the data folder {folder}") from error
    return lock, log


def _append_to(path: str) -> IO[str]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a")


def _run(config: Configuration, options: argparse.Namespace, log: IO[str]) -> int:
    from twisted.internet import reactor as installed
    from twisted.logger import globalLogBeginner, textFileLogObserver

    from bbs.login_tap import LoginServer

    reactor: Any = installed
    globalLogBeginner.beginLoggingTo([textFileLogObserver(log)], redirectStandardIO=False)
    failures: list[str] = []

    def fail(reason: str) -> None:
        failures.append(reason)
        print(reason, file=sys.stderr)
        reactor.callLater(0, reactor.stop)

    def ready(_: object) -> None:
        print(f"bbs is ready: bbs client {options.host} {options.port}", flush=True)

    server = LoginServer(config, options.data, reactor, fail)
    server.name = "bbs up"
    server.serving.addCallback(ready)
    reactor.callWhenRunning(server.startService)
    reactor.addSystemEventTrigger("before", "shutdown", server.stopService)
    print(f"bbs keeps its data and its log in {os.path.abspath(options.data)}", flush=True)
    reactor.run()
    return 1 if failures else 0
