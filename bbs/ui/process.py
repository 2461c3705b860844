"""The client's process: its standard input, its signals, and the files of whoever runs it.

Lines come from a file descriptor of any kind, without holding up the reactor. Pipes and terminals
could be watched by the reactor, regular files and `/dev/null` cannot (epoll refuses them), and a
descriptor that is shared with a shell should not be made non-blocking. So a thread reads, one piece
for each time that a line is wanted and none is there: input that nobody has asked for stays where
it is.
"""

from __future__ import annotations

import json
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from bbs.client.client import ServiceClient
from bbs.client.errors import ClientError
from bbs.core.addresses import Address
from bbs.core.clock import IReactor

STDIN = 0

MAX_LINE = 16 * 1024 * 1024
"""Bytes in the longest line; servers take 64 KiB unless their operator wants more."""

_PIECE = 65536


class InputError(Exception):
    """The input cannot be read; the text is one line that says why."""


class _Daemon(Thread):
    """A thread that may be waiting for a terminal when the process ends, and lets it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options, daemon=True)


def start_reader(reactor: IReactorFromThreads, descriptor: int) -> Callable[[], Deferred[bytes]]:
    """A function that reads the next piece of a descriptor; the piece is empty at its end."""
    pool = ThreadPool(0, 1, "input")
    pool.threadFactory = _Daemon
    pool.start()
    return lambda: deferToThreadPool(reactor, pool, os.read, descriptor, _PIECE)


class LineReader:
    """Cuts pieces into lines; bytes that are not UTF-8 become surrogate escapes."""

    def __init__(self, read: Callable[[], Deferred[bytes]]) -> None:
        self._read = read
        self._lines: deque[bytes] = deque()
        self._parts: list[bytes] = []

    async def next(self) -> str | None:
        """The next line without its end (LF or CR LF), None after the last.

        The last may lack its end. Raises `InputError`.
        """
        while not self._lines:
            try:
                piece = await self._read()
            except OSError as problem:
                raise InputError(f"standard input: {problem.strerror}") from problem
            *ends, rest = piece.split(b"\n")
            for end in ends:
                self._lines.append(b"".join((*self._parts, end)))
                self._parts = []
            if rest:
                self._parts.append(rest)
            if not piece:
                if not self._parts:
                    return None
                self._lines.append(b"".join(self._parts))
                self._parts = []
            if sum(map(len, self._parts)) > MAX_LINE:
                raise InputError(f"standard input: a line of over {MAX_LINE} bytes")
        return self._lines.popleft().rstrip(b"\r").decode("utf-8", "surrogateescape")


class ClientRun:
    """A client from its start to the end of the reactor. `problem` says in a line why that came
    early; it is empty when all is well."""

    _log = Logger()

    def __init__(self, client: ServiceClient) -> None:
        self.problem = "interrupted"
        self.ended: Deferred[None] = Deferred()
        """Fires when all is over, and the client is closed."""
        self._client = client
        self._over = False

    async def run(self) -> None:
        """Do what the client is there for, and then `end`."""
        raise NotImplementedError

    def start(self) -> Deferred[None]:
        """Run; fires when that is over, however it went."""
        return Deferred.fromCoroutine(self.run()).addErrback(self._failed)

    def end(self, problem: str) -> None:
        """Close the client, unless it is over already."""
        if not self._over:
            self._over = True
            self.problem = problem
            self._client.close().chainDeferred(self.ended)

    def _failed(self, failure: Failure) -> None:
        if not self._over and not isinstance(failure.value, (ClientError, InputError)):
            self._log.failure("the client broke off", failure)
        self.end(str(failure.value))


def stop_at(reactor: IReactor, *signals: signal.Signals) -> None:
    """Have `reactor` stop in order at these signals, unless they are ignored as nohup has it."""
    for number in signals:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: reactor.callFromThread(reactor.stop))


def state_file(environ: Mapping[str, str], name: str) -> Path:
    """Where what the client remembers under `name` is."""
    return _place(environ, "XDG_STATE_HOME", ".local/state", name)


def settings_file(environ: Mapping[str, str], name: str) -> Path:
    """Where what somebody has set under `name` is."""
    return _place(environ, "XDG_CONFIG_HOME", ".config", name)


def _place(environ: Mapping[str, str], variable: str, otherwise: str, name: str) -> Path:
    """By the XDG Base Directory Specification (0.8): in the folder that `variable` names, which
    counts only when it is absolute, and else in one of the home's."""
    folder = environ.get(variable, "")
    home = environ.get("HOME") or os.path.expanduser("~")
    return Path(folder if os.path.isabs(folder) else f"{home}/{otherwise}") / "bbs" / name


DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 22222

MOST_READ = 64 * 1024
"""Bytes of the file that are looked at."""


@dataclass(frozen=True)
class LastServer:
    """A service as somebody named it: its login server, and whether by TLS, with the authorities of
    the file `ca` or (empty) the system's."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    tls: bool = False
    ca: str = ""

    @property
    def address(self) -> Address:
        return Address(self.host, self.port)


def last_server_file(environ: Mapping[str, str]) -> Path:
    """Where it is kept."""
    return state_file(environ, "last-host")


def read_last_server(path: Path) -> LastServer:
    """What is kept at `path`; this machine's where there is nothing, or nothing of use. It
    blocks."""
    try:
        with open(path, "rb") as file:
            members = json.loads(file.read(MOST_READ))
        address = Address.from_json(members)
        tls, ca = members.get("tls"), members.get("ca")
    except (OSError, ValueError, RecursionError):
        return LastServer()
    if not isinstance(tls, bool) or not isinstance(ca, str):
        return LastServer()
    return LastServer(address.host, address.port, tls, ca)


def keep_last_server(path: Path, service: LastServer) -> None:
    """Keep `service` at `path`, for its owner's eyes alone, if that can be. It blocks."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        if path.exists() and read_last_server(path) == service:
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(service), file)
        os.replace(new, path)
    except (OSError, ValueError):
        return  # Then it has to be named the next time, as it was this time.
