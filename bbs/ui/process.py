"""The client's process: its standard input, its signals, and the user's files.

A thread reads standard input, so that a file descriptor of any kind does not hold up the reactor.
The reactor could watch pipes and terminals, but not regular files or `/dev/null` (epoll refuses
them), and a descriptor that a shell shares should not become non-blocking. The thread reads one
piece whenever a line is wanted and none has been read, and leaves all further input unread.
"""

from __future__ import annotations

import json
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import mkstemp
from threading import Lock, Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from bbs.client.client import ServiceClient
from bbs.client.errors import ClientError
from bbs.client.replies import is_device_token
from bbs.core.addresses import Address, is_loopback
from bbs.core.clock import IReactor
from bbs.ui.listeners import is_ours

STDIN = 0

MAX_LINE = 16 * 1024 * 1024
"""Bytes in the longest line; servers take 64 KiB unless their operator wants more."""


class InputError(Exception):
    """The input cannot be read; the text is one line that says why."""


class DaemonThread(Thread):
    """A thread that does not keep the process alive while it waits for a person."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options, daemon=True)


def daemon_pool(name: str) -> ThreadPool:
    """A pool of one `DaemonThread`, which carries out calls one after the other."""
    pool = ThreadPool(0, 1, name)
    pool.threadFactory = DaemonThread
    pool.start()
    return pool


def start_reader(reactor: IReactorFromThreads, descriptor: int) -> Callable[[], Deferred[bytes]]:
    """A function that reads the next piece from a descriptor; an empty piece is the end."""
    pool = daemon_pool("input")
    return lambda: deferToThreadPool(reactor, pool, os.read, descriptor, 65536)


@dataclass(eq=False, repr=False)
class LineReader:
    """Cuts pieces of input into lines; bytes that are not UTF-8 become surrogate escapes."""

    _read: Callable[[], Deferred[bytes]]
    _lines: deque[bytes] = field(default_factory=deque)
    _parts: list[bytes] = field(default_factory=list)

    async def next(self) -> str | None:
        """The next line without LF or CR LF, which the last may lack; then None. Raises
        `InputError`."""
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
    """A client from its start to the end of the reactor. `problem` is one line that says why it
    ended early, and empty after a normal end."""

    _log = Logger()

    def __init__(self, client: ServiceClient) -> None:
        self.problem = "interrupted"
        self.ended: Deferred[None] = Deferred()  # when the client is closed
        self._client = client
        self._over = False

    async def run(self) -> None:
        raise NotImplementedError

    def start(self) -> Deferred[None]:
        """Run; fires after success and failure alike."""
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
        self.end(f"{failure.value}{self.unsent(known=isinstance(failure.value, ClientError))}")

    def unsent(self, *, known: bool) -> str:
        """What is said about the line under way after the reason of an early end."""
        return ""


def stop_at(reactor: IReactor, *signals: signal.Signals) -> None:
    """Stop `reactor` in order at these signals, unless they are ignored, as under nohup."""
    for number in signals:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: reactor.callFromThread(reactor.stop))


def _user_file(variable: str, default: str, environ: Mapping[str, str], name: str) -> Path:
    """A path by the XDG Base Directory Specification (0.8): below the folder in `variable` if that
    is absolute, else below the `default` folder in the home."""
    folder = environ.get(variable, "")
    home = environ.get("HOME") or os.path.expanduser("~")
    return Path(folder if os.path.isabs(folder) else f"{home}/{default}") / "bbs" / name


state_file = partial(_user_file, "XDG_STATE_HOME", ".local/state")
settings_file = partial(_user_file, "XDG_CONFIG_HOME", ".config")

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 22222

MOST_READ = 64 * 1024  # bytes of the file that are read


@dataclass(frozen=True)
class LastServer:
    """The last login server, and whether by TLS, with authorities in `ca` (empty: the system's)."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    tls: bool = False
    ca: str = ""

    @property
    def address(self) -> Address:
        return Address(self.host, self.port)

    @property
    def is_secure(self) -> bool:
        """Whether nobody on the way to it can read, or answer in its place. Without TLS that is so
        while a process of this user or of root listens on this machine."""
        return self.tls or (self.is_here and is_ours(self.port))

    @property
    def is_here(self) -> bool:
        """Whether its address is one that only this machine can reach."""
        return is_loopback(self.host) or self.host == "localhost"


MOST_ENTRIES = 100  # entries that a file keeps, of all servers; older ones are forgotten


class PrivateEntries:
    """Entries in a JSON file that only its owner can read, the latest last. The first `keys` items
    of an entry are texts, by which it is found: a server, for one. Its methods block."""

    def __init__(self, path: Path, keys: int) -> None:
        self.path = path
        self._keys = keys
        self._writing = Lock()

    def read(self) -> list[list[Any]]:
        """The entries; none if the file cannot be read."""
        try:
            entries = json.loads(self.path.read_bytes()[:MOST_READ])
        except (OSError, ValueError, RecursionError):
            return []
        entries = entries if isinstance(entries, list) else []
        return [
            each
            for each in entries
            if isinstance(each, list) and [*map(type, each[: self._keys])] == [str] * self._keys
        ]

    def put(self, *entry: object) -> bool:
        """Write an entry in place of the one with its keys; False if it cannot be written."""
        with self._writing:
            # Another client may have written meanwhile.
            keys = [*entry[: self._keys]]
            others = [each for each in self.read() if each[: self._keys] != keys]
            kept = [*others, entry][-MOST_ENTRIES:]
            while len(text := json.dumps(kept)) > MOST_READ:
                del kept[0]
            return write_private(self.path, text)


class DeviceTokens(dict[str, str]):
    """The device tokens of a login server's users, by name, kept in a file of all servers'.

    The file is read at once, which blocks, and written by a thread, so that a slow disk does not
    hold up the client. If it cannot be written, the tokens are forgotten.
    """

    def __init__(self, path: Path, server: str) -> None:
        self._file = PrivateEntries(path, 2)
        self._server = server
        self._thread: Thread | None = None
        whole = [each for each in self._file.read() if len(each) == 3]
        # The latest is last.
        super().__init__(
            {name: each for at, name, each in whole if at == server and is_device_token(each)}
        )

    @property
    def last_name(self) -> str:
        """The user who has logged in last here; empty if nobody has."""
        return next(reversed(self), "")

    def __setitem__(self, name: str, token: str) -> None:
        super().__setitem__(name, token)
        arguments = (self._server, name, token)
        self._thread = Thread(target=self._file.put, args=arguments, daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait until the latest token is written, at most for `seconds`."""
        if self._thread is not None:
            self._thread.join(seconds)


def write_private(path: Path, text: str) -> bool:
    """Replace the file at `path`, readable by its owner only; False if it cannot be. Blocks."""
    new = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, new = mkstemp(dir=path.parent, prefix=f"{path.name}.")
        with open(descriptor, "w") as file:
            file.write(text)
        os.replace(new, path)
    except (OSError, ValueError):
        with suppress(OSError):
            os.unlink(new or "")
        return False
    return True


def read_last_server(path: Path) -> LastServer:
    """Read `path`; a missing or malformed file gives this machine's. Blocks."""
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


def save_last_server(path: Path, service: LastServer) -> None:
    """Write `service` to `path`; without it the server has to be named again next time. Blocks."""
    with suppress(OSError, ValueError):
        if path.exists() and read_last_server(path) == service:
            return
    write_private(path, json.dumps(asdict(service)))
