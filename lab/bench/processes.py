"""What the benchmarks start, and end again: the service in its two forms, and single processes."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

import pymysql

from bbs.core.database_urls import BY_ANY, IN_C
from tests.paths import CHECKOUT
from tests.services.servers import free_port, write_private

TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")

PATIENCE = 60.0
"""Seconds until a process that does not answer has failed."""

CONFIGURATION = """\
[login]
listen = "tcp:{port}:interface=127.0.0.1"
[app]
listen = "tcp:0:interface=127.0.0.1"
capacity = {capacity}
[database]
url = "{database}"
[broker]
url = "{broker}"
[fleet]
provider = "{provider}"
minimum = {servers}
maximum = {servers}
spare = 0
heartbeat_interval = {heartbeat}
[limits]
{limits}
[telnet]
listen = ""
[web]
listen = ""
"""
"""Nobody is turned away for asking too often, and nothing runs beside what is measured."""

RATES = ("registrations", "failed_logins", "logins", "commands", "deliveries")
MUCH = "99999999/second"
"""Far beyond what is measured; the limits themselves are there, and cost what they cost."""


@dataclass(frozen=True)
class Form:
    """How the service is started: from the code in `root`, with so many app servers, each of so
    many places; `heartbeat` in seconds, as in `[fleet] heartbeat_interval`."""

    servers: int = 1
    capacity: int = 1000
    heartbeat: float = 2.0
    root: Path = CHECKOUT
    more: str = ""
    """What its configuration has beside."""

    server: str = ""
    """The URL of a MySQL that has its database in the place of the tests'."""

    def configuration(self, port: int, database: str, broker: str, provider: str = "local") -> str:
        """The text of its configuration file."""
        return (
            CONFIGURATION.format(
                port=port,
                limits="\n".join(f'{key} = "{MUCH}"' for key in self._rates()),
                capacity=self.capacity,
                database=database,
                broker=broker,
                provider=provider,
                servers=self.servers,
                heartbeat=self.heartbeat,
            )
            + self.more
        )

    def _rates(self) -> Iterator[str]:
        """The limits that another load than people's would meet, of those that its code knows."""
        sections = (self.root / "bbs/config/sections.py").read_text("utf-8")
        return (key for key in RATES if f"    {key}: Rate" in sections)

    def scheme(self, driver: str) -> str:
        """The scheme of a URL by which its code reaches a MySQL by that driver. One that knows none
        for PyMySQL has no other driver for the plain one."""
        # Later versions have them in the first of these.
        names = "bbs/core/database_urls.py", "bbs/storage/engines.py"
        files = [file for name in names if (file := self.root / name).exists()]
        return driver if f'"{driver}"' in files[0].read_text("utf-8") else BY_ANY

    def environment(self) -> dict[str, str]:
        """What its processes are started with. By the one path Python finds the code, and twistd
        the plugins."""
        return environment(PYTHONPATH=str(self.root))


ORDINARY = Form()
"""One app server for everybody, of this checkout."""


@dataclass(frozen=True)
class Running:
    """Somebody who listens: the port, and the process, whose children are of the family."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """What it and its children have used of the processors until now."""
        return sum(_cpu_seconds(pid) for pid in self._family())

    def _family(self) -> Iterator[int]:
        waiting = [self.pid]
        while waiting:
            pid = waiting.pop()
            yield pid
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(*_ENDED):
                    waiting += map(int, (task / "children").read_text().split())


_ENDED = (FileNotFoundError, ProcessLookupError)
"""What is raised when a thread or process is read that has ended meanwhile."""


def _cpu_seconds(pid: int) -> float:
    used = 0
    with contextlib.suppress(*_ENDED):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(*_ENDED):
                used += int((task / "schedstat").read_text().split()[0])
    return used / 1e9


class Failed(Exception):
    """A process did not do what it was started for; the text says what is known."""


def run_program(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """End with what `main` says of this process's arguments, or with a line on what failed."""
    try:
        sys.exit(main(sys.argv[1:]))
    except Failed as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def environment(**more: str) -> dict[str, str]:
    """This process's, without what would configure the service; paths lead to this checkout."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("BBS_")}
    return {**own, "PYTHONPATH": str(CHECKOUT), **more}


@contextlib.contextmanager
def process(
    command: Sequence[str], log: Path, environ: Mapping[str, str] | None = None, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """A process that ends with the block, by SIGTERM; its standard error goes to `log`."""
    with log.open("a") as errors:
        child = subprocess.Popen(
            command,
            env=environment() if environ is None else environ,
            stderr=errors,
            text=True,
            **{"stdin": subprocess.DEVNULL, "stdout": errors, **options},
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


class Tool:
    """A process that answers each line of JSON with another, such as `lab.bench.load`."""

    def __init__(self, child: subprocess.Popen[str], log: Path) -> None:
        self._child = child
        self._log = log

    def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Have it do `job`, and return what came of it."""
        self.begin(job)
        return self.finish()

    def begin(self, job: Mapping[str, Any]) -> None:
        """Have it do `job`, while this process does something else."""
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(job) + "\n")
        self._child.stdin.flush()

    def finish(self) -> dict[str, Any]:
        """What came of the job that was begun."""
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise Failed(f"{self._log.stem} ended early:\n{self._log.read_text()[-2000:]}")
        result: dict[str, Any] = json.loads(line)
        return result


@contextlib.contextmanager
def tool(folder: Path, name: str) -> Iterator[Tool]:
    """The process `lab.bench.NAME`: `load` makes the load, `hashing` hashes passwords."""
    command = [sys.executable, "-m", f"lab.bench.{name}"]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": CHECKOUT}
    log = folder / f"{name}.log"
    with process(command, log, **pipes) as child:
        yield Tool(child, log)


@contextlib.contextmanager
def echo(folder: Path) -> Iterator[Running]:
    """The yardstick."""
    command = [sys.executable, "-m", "lab.bench.echo"]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": CHECKOUT}
    with process(command, folder / "echo.log", **pipes) as child:
        assert child.stdout is not None
        yield Running(int(child.stdout.readline()), child.pid)


@contextlib.contextmanager
def embedded(folder: Path, form: Form = ORDINARY) -> Iterator[Running]:
    """`bbs up` on SQLite and its own broker; gives the login server."""
    port = free_port()
    write_private(folder / "bbs.toml", form.configuration(port, sqlite(folder), "embedded"))
    command = [sys.executable, "-m", "bbs", "up", "--port", str(port), "--data", str(folder)]
    command += ["--config", str(folder / "bbs.toml")]
    with process(command, folder / "up.log", form.environment(), cwd=folder) as child:
        await_reply(port, child, folder / "up.log")
        yield Running(port, child.pid)


def sqlite(folder: Path) -> str:
    """The URL of the database that `embedded` uses."""
    return f"sqlite:///{folder}/bbs.sqlite3"


@contextlib.contextmanager
def external(folder: Path, database: str, broker: str, form: Form = ORDINARY) -> Iterator[Running]:
    """`twistd bbs-login` on a MySQL or MariaDB and a broker; gives the login server."""
    port = free_port()
    write_private(folder / "bbs.toml", form.configuration(port, database, broker))
    command = [*TWISTD, "--nodaemon", "--pidfile=", "bbs-login"]
    command += [f"--config={folder}/bbs.toml", f"--data={folder}"]
    with process(command, folder / "login.log", form.environment(), cwd=folder) as child:
        await_reply(port, child, folder / "login.log")
        yield Running(port, child.pid)


def connect_directly(url: str) -> Any:
    """A connection to the database at `url`, which waits for answers without limit."""
    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=parts.path.strip("/") or None,
    )


@contextlib.contextmanager
def own_database(url: str, driver: str = IN_C) -> Iterator[str]:
    """The URL of a new database beside the one at `url`, which is dropped again; `driver` is its
    scheme."""
    parts = urlsplit(url)
    name = f"bbs_bench_{secrets.token_hex(6)}"
    with connect_directly(url) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
        try:
            yield parts._replace(scheme=driver, path=f"/{name}").geturl()
        finally:
            connection.ping(reconnect=True)
            cursor.execute(f"DROP DATABASE {name}")


def await_reply(port: int, child: subprocess.Popen[str], log: Path) -> None:
    """Wait until whoever listens on `port` answers a `ping`."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and child.poll() is None:
        with contextlib.suppress(ConnectionRefusedError), connect(port) as connection:
            connection.sendall(b"ping\n")
            if connection.recv(100):
                return
        time.sleep(0.002)
    raise Failed(f"{child.args!r} did not start:\n{log.read_text()[-2000:]}")


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE)
