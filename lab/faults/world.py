"""The service that is broken: its parts, its disks and clocks, and where people find it.

On SQLite it is one `bbs up`: login server, embedded broker and telnet gateway in one process, app
servers beside it. On MySQL there are two login servers, each with a clock and app servers of its
own, a gateway, a MariaDB and an ActiveMQ.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from bbs.client import Address
from bbs.storage.engines import IN_C, IN_PYTHON
from lab.faults.figures import Figures
from lab.faults.machine import Clock, Disk
from lab.faults.parts import AppServers, Cluster, Daemon, Own
from tests.database_case import by_driver
from tests.integration.service import ANY_RATE, BIN, Process, Service, eventually, run
from tests.services import OwnActiveMQ, OwnGalera, OwnGaleraOfDefaults, OwnMariaDB
from tests.services.servers import free_port

SERVICE_DISK, DATABASE_DISK = 192, 2048
"""MiB; a MariaDB begins with some 150, and a Galera with three times as many."""

ORPHANS_END = 10.0
"""Seconds within which app servers end whose login server has."""

SECTIONS: Mapping[str, Mapping[str, object]] = {
    "app": {"capacity": 8},
    # Freezes of some seconds are to be on both sides of what counts as a death.
    "fleet": {
        "minimum": 2,
        "spare": 2,
        "maximum": 8,
        "heartbeat_interval": 0.5,
        "lost_after": 3.0,
    },
    # Nobody here types: limits are the attackers' business.
    "limits": {"logins": ANY_RATE, "posts": 10_000_000, "commands": "100000/second"},
}


class Scene:
    """What a `Service` asks of its test case."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def mktemp(self) -> str:
        return str(self._folder / "service")

    def assertEqual(self, first: object, second: object, *what: object) -> None:
        if first != second:
            raise AssertionError(f"{first!r} is not {second!r} {what}")


GALERAS = {"galera": OwnGalera, "galera-of-defaults": OwnGaleraOfDefaults}
"""Clusters whose nodes have addresses, and those that have none."""

DRIVERS = {"mysql": IN_C, "mysql-in-python": IN_PYTHON, **dict.fromkeys(GALERAS, IN_C)}
"""How a service reaches its MariaDB, for each name of such a database."""


class World:
    """Everything that runs, in a folder of its own."""

    def __init__(self, database: str, folder: Path, figures: Figures) -> None:
        self.figures = figures
        self._folder = folder
        big = database in DRIVERS
        self.disk = Disk(folder / "disk", SERVICE_DISK)
        self.database_disk = Disk(folder / "database", DATABASE_DISK) if big else self.disk
        self.clocks = [Clock(folder / f"clock-{number}") for number in range(2 if big else 1)]
        self.database: Own | None = None
        if big:
            own_galera, own_folder = GALERAS.get(database), folder / "database" / "own"
            self.database = (
                Cluster("the database", own_galera(own_folder))
                if own_galera
                else Own("the database", OwnMariaDB(own_folder))
            )
        self.broker = Own("the broker", OwnActiveMQ(folder / "broker")) if big else None
        self.gateway_port = free_port()
        own: dict[str, Mapping[str, object]] = {
            "telnet": {
                "listen": f"tcp:{self.gateway_port}:interface=127.0.0.1",
                "secret": secrets.token_hex(16),
            },
            "web": {"listen": f"tcp:{free_port()}:interface=127.0.0.1"} if not big else {},
        }
        if self.database and self.broker:
            own["database"] = {"url": by_driver(self.database.own.url, DRIVERS[database])}
            own["broker"] = {"url": self.broker.own.url}
        self.service = Service(Scene(self.disk.folder), {**SECTIONS, **own})
        if self.database:
            self.service.write_config(telnet__server=f"127.0.0.1:{self.service.port}")
        ports = [self.service.port, *(free_port() for _ in self.clocks[1:])]
        self.addresses = [Address("127.0.0.1", port) for port in ports]
        self.logins = [
            self._login(port, clock, big) for port, clock in zip(ports, self.clocks, strict=True)
        ]
        self.app_servers = AppServers(self.logins)
        self.gateway = self._gateway() if big else None
        self._shutdown = reactor.addSystemEventTrigger(
            "before", "shutdown", lambda: run(self._end())
        )
        self._removed = False

    @property
    def data_folders(self) -> list[Path]:
        """The data folder of each login server."""
        if self.database is None:
            return [self.service.data]
        return [self.service.folder / f"data-{address.port}" for address in self.addresses]

    def _login(self, port: int, clock: Clock, big: bool) -> Daemon:
        def up() -> Process:
            return self.service.start_up(environ=clock.environment)

        def login() -> Process:
            return self.service.start(
                *(BIN / "twistd", "--nodaemon", "--pidfile=", "bbs-login"),
                *("--config", self.service.config),
                *("--data", self.service.folder / f"data-{port}"),
                *("--listen", f"tcp:{port}:interface=127.0.0.1"),
                environ=clock.environment,
            )

        if big:
            return Daemon(f"login server {port}", login, f"starting on {port}\n", self.figures)
        return Daemon("bbs up", up, "bbs is ready", self.figures)

    def _gateway(self) -> Daemon:
        def gateway() -> Process:
            return self.service.start(
                *(BIN / "twistd", "--nodaemon", "--pidfile=", "bbs-telnet"),
                *("--config", self.service.config),
            )

        return Daemon("the gateway", gateway, f"starting on {self.gateway_port}\n", self.figures)

    async def start(self) -> None:
        if self.database and self.broker:
            await gatherResults([part.own.start() for part in (self.database, self.broker)])
        for login in self.logins:
            await login.start()
        if self.gateway:
            await self.gateway.start()

    async def stop(self) -> None:
        """End the service in an orderly way; database and broker go on."""
        for daemon in (self.gateway, *self.logins):
            if daemon:
                await daemon.stop()
        try:
            await eventually(lambda: not self._left(), "no process is left", ORPHANS_END)
        except AssertionError as problem:
            self.figures.complain(f"{problem}: {self._left()}")

    def _left(self) -> list[str]:
        """The commands of processes that work in the service's folder."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(FileNotFoundError, ProcessLookupError):
                command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if str(self.service.folder) in command:
                    found.append(command)
        return found

    async def remove(self) -> None:
        """End all that is left, and forget it."""
        if not self._removed:
            reactor.removeSystemEventTrigger(self._shutdown)
            await self._end()

    async def _end(self) -> None:
        self._removed = True
        await self.service.remove()
        for part in (self.database, self.broker):
            if part:
                await part.own.kill()
        self.disk.remove()
        self.database_disk.remove()
        shutil.rmtree(self._folder, ignore_errors=True)

    def keep_logs(self, folder: Path) -> None:
        """Put what was logged into a folder."""
        for source in (self.service.folder, self._folder / "database", self._folder / "broker"):
            for path in source.glob("**/*.log*"):
                to = folder / path.relative_to(self._folder)
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, to)
        for number, process in enumerate(self.service.processes):
            said = f"{process.command}\n{process.output}\n{process.errors}"
            (folder / f"process-{number}.log").write_text(said)

    def log(self) -> str:
        """All that all processes of the service have logged."""
        logs = sorted(self.service.folder.glob("**/*.log*"))
        return "\n".join(
            (
                *(path.read_text(errors="replace") for path in logs if path.is_file()),
                *(process.output for process in self.service.processes),
            )
        )
