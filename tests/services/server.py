"""A private server for tests, whatever it serves: a folder, a port, a password and its processes.

A server listens on loopback, on a port and with a password that are made when its folder is, and
stay. What it needs to be found again, by another process too, is in the folder's `server.json`.
Everything here blocks, and needs nothing but Python and the servers' Debian packages.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

START_TIMEOUT = 120.0
"""Seconds until a server that does not answer has failed to start."""

STOP_TIMEOUT = 30.0
"""Seconds until a server that was asked to stop is killed."""

MEMORY, ROOM = Path("/dev/shm"), 4 * 2**30
"""A file system in memory, and the size in bytes that it must have to be used."""


def database_folder(services: Path) -> Path:
    """Where databases are kept for the checkout whose servers are in `services`.

    That is in memory where the machine has room: MariaDB makes tables four times as fast there.
    What was committed survives a kill of the server, and tests end no machine.
    """
    try:
        system = os.statvfs(MEMORY)
    except OSError:
        return services
    if system.f_blocks * system.f_frsize < ROOM:
        return services
    return MEMORY / f"bbs-tests-{hashlib.sha256(os.fsencode(services)).hexdigest()[:16]}"


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody else may read, in one step."""
    new = path.with_name(f"{path.name}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    new.rename(path)


class ServerFailed(Exception):
    """A server that did not start; the text ends with the end of its log."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment.

    It is below those that the kernel gives to connections, so that nobody takes it from a server
    between its end and its next start, not even by connecting to it.
    """
    while True:
        port = random.randrange(10240, 32768)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Server:
    """One server. `start`, `stop` and `kill` may be called in any order and more than once."""

    name: ClassVar[str]
    packages: ClassVar[Sequence[str]]
    scheme: ClassVar[str]
    path: ClassVar[str] = ""
    ports_needed: ClassVar[int] = 1

    def __init__(self, folder: Path) -> None:
        """A server in `folder`, which is made unless it is there."""
        self.folder = folder.absolute()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = self.folder / "server.json"
        if state.exists():
            found = json.loads(state.read_text())
            self.ports: list[int] = found["ports"]
            self.password: str = found["password"]
            self._processes: list[tuple[int, str]] = [tuple(each) for each in found["processes"]]
        else:
            self.ports = [free_port() for _ in range(self.ports_needed)]
            self.password = secrets.token_hex(16)
            self._processes = []
            self._save()
        self.port = self.ports[0]
        self._children: list[subprocess.Popen[bytes]] = []

    @classmethod
    def installed(cls) -> bool:
        """Whether the programs of this server are on the machine."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Write what the server reads, before its every start."""
        raise NotImplementedError

    def commands(self) -> Sequence[Sequence[str]]:
        """The processes to start, the server itself last; none of them forks and leaves."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """Environment variables for the processes, beside `PATH` and `HOME`."""
        return {}

    def answers(self) -> bool:
        """Whether somebody who knows the password is served."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """As `database.url` or `broker.url` in the configuration."""
        return f"{self.scheme}://bbs:{self.password}@127.0.0.1:{self.port}{self.path}"

    @property
    def pid(self) -> int | None:
        """The server's process, None when it does not run."""
        running = [pid for pid, started in self._processes if _started(pid) == started]
        return running[-1] if running and len(running) == len(self._processes) else None

    def start(self) -> None:
        """Start it, unless it runs, and wait until it answers; raises `ServerFailed`."""
        if self.pid is not None and self.answers():
            return
        self.kill()
        self.prepare()
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), **self.environment()}
        for command in self.commands():
            with self._log.open("ab") as log:
                child = subprocess.Popen(
                    command,
                    cwd=self.folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self._children.append(child)
            self._processes.append((child.pid, _started(child.pid) or ""))
            self._save()
        self._wait_until_it_answers()

    def stop(self) -> None:
        """Ask it to stop, and wait until it has; kill it if that takes too long."""
        deadline = time.monotonic() + STOP_TIMEOUT
        for pid, started in reversed(self._processes):
            if _started(pid) == started:
                os.kill(pid, signal.SIGTERM)
            while _started(pid) == started and time.monotonic() < deadline:
                time.sleep(0.05)
        self.kill()

    def kill(self) -> None:
        """End it at once, by SIGKILL, and wait until it is gone."""
        for pid, started in self._processes:
            if _started(pid) == started:
                os.killpg(pid, signal.SIGKILL)  # each is the leader of a group of its own
            while _started(pid) == started:
                time.sleep(0.01)
        for child in self._children:
            child.wait()
        self._children, self._processes = [], []
        self._save()

    def remove(self) -> None:
        """End it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder)

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"

    def _save(self) -> None:
        state = {"ports": self.ports, "password": self.password, "processes": self._processes}
        self._write("server.json", json.dumps(state))

    def _write(self, name: str, text: str) -> None:
        write_private(self.folder / name, text)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self.answers():
            if self.pid is None or time.monotonic() > deadline:
                self.kill()
                end = self._log.read_text(errors="replace")[-2000:]
                raise ServerFailed(f"{self.name} in {self.folder} did not start:\n{end}")
            time.sleep(0.1)

    def _answers_stomp(self) -> bool:
        frame = f"CONNECT\naccept-version:1.2\nhost:/\nlogin:bbs\npasscode:{self.password}\n\n\0"
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
                connection.sendall(frame.encode())
                return connection.recv(4096).startswith(b"CONNECTED")
        except OSError:
            return False


def freeze(pid: int) -> None:
    """Let a process stand still, and wait until each of its threads does."""
    os.kill(pid, signal.SIGSTOP)
    while any(
        (thread / "stat").read_text().rpartition(") ")[2][0] != "T"
        for thread in Path(f"/proc/{pid}/task").iterdir()
    ):
        os.sched_yield()


def thaw(pid: int) -> None:
    """Let it go on."""
    os.kill(pid, signal.SIGCONT)


def _started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None for one that has ended.

    With it, a number that has been given to another process is not taken for the old one.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]
