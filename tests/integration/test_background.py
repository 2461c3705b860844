"""`twistd bbs-…` in the background: its exit code says whether the service has started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from bbs.protocols.stomp.broker import BrokerService, Credential, EmbeddedBroker
from tests.integration.service import (
    BIN,
    START_TIMEOUT,
    STOP_TIMEOUT,
    Process,
    Service,
    ServiceCase,
    connect,
    eventually,
    run,
)
from tests.services.servers import free_port


class Background(ServiceCase):
    async def start(self, service: Service, name: str, *options: str) -> Process:
        """What began the daemon `name`, over."""
        service.data.mkdir(exist_ok=True)
        self.pidfile = service.folder / f"{name}.pid"
        process = service.start(
            *(BIN / "twistd", f"--pidfile={self.pidfile}"),
            *(f"--logfile={service.folder / name}.log", name, "--config", service.config),
            *options,
        )
        self.addCleanup(self.kill, self.pidfile)
        await process.ended(START_TIMEOUT)
        return process

    def has_pidfile(self) -> bool:
        """Whether the daemon has written who it is."""
        return self.pidfile.exists() and bool(self.pidfile.read_text())

    def kill(self, pidfile: Path) -> None:
        if pidfile.exists():
            os.kill(int(pidfile.read_text()), signal.SIGKILL)

    async def stop(self) -> None:
        """End the daemon, and wait until it has."""
        os.kill(int(self.pidfile.read_text()), signal.SIGTERM)
        await eventually(lambda: not self.pidfile.exists(), "it ends", STOP_TIMEOUT)

    async def broker(self, password: str = "right") -> str:
        """The URL of a broker, with a password that may be wrong."""
        factory = EmbeddedBroker(Credential("bbs", "right"), reactor)
        broker = BrokerService(reactor, "tcp:0:interface=127.0.0.1", factory)
        broker.startService()
        self.addCleanup(broker.stopService)
        return (await broker.when_listening()).replace(":right@", f":{password}@")

    async def refused(self, service: Service, name: str, *words: str) -> None:
        process = await self.start(service, name)
        self.assertEqual(process.exit_code, 1, process.errors)
        self.assertEqual(len(process.errors.splitlines()), 1, process.errors)
        self.assertTrue(process.errors.startswith(f"{name}: "), process.errors)
        for word in words:
            self.assertIn(word, process.errors)
        self.assertEqual(process.output, "")
        self.assertFalse(self.pidfile.exists())

    async def test_well(self) -> None:
        """It serves when its starter ends, and nothing is said."""
        service = self.service()
        gate = free_port()
        service.write_config(
            broker__url=await self.broker(),
            fleet__provider="none",
            app__listen=f"tcp:{free_port()}:interface=127.0.0.1",
            telnet__listen=f"tcp:{gate}:interface=127.0.0.1",
        )
        for name, port in (("bbs-login", service.port), ("bbs-app", 0), ("bbs-telnet", gate)):
            process = await self.start(service, name)
            self.assertEqual((process.exit_code, process.output, process.errors), (0, "", ""))
            if port:
                (await connect(port)).close()
            await self.stop()

    async def test_port_taken(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            place = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            service = self.service(
                login={"listen": place},
                app={"listen": place},
                telnet={"listen": place},
                broker={"url": await self.broker()},
                fleet={"provider": "none"},
            )
            for name in ("bbs-login", "bbs-app", "bbs-telnet"):
                await self.refused(service, name, "cannot listen on", "in use")

    async def test_a_database_and_a_broker_that_refuse(self) -> None:
        service = self.service(database={"url": f"mysql://bbs:x@127.0.0.1:{free_port()}/bbs"})
        await self.refused(service, "bbs-login", "mysql://bbs:***@", "refused")
        service = self.service(broker={"url": await self.broker("wrong")})
        await self.refused(service, "bbs-app", "broker.url")

    async def test_a_configuration_that_is_none(self) -> None:
        service = self.service()
        service.config.write_text("[fleet]\nminmum = 1\n")
        await self.refused(service, "bbs-telnet", "fleet.minmum")

    async def test_killed_before_it_has_started(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            service = self.service(database={"url": f"mysql://bbs:x@127.0.0.1:{port}/bbs"})
            process = run(self.start(service, "bbs-login"))
            await eventually(self.has_pidfile, "it is in the background", START_TIMEOUT)
            # It waits for the database.
            await deferToThread(silent.accept)
            self.kill(self.pidfile)
            ended = await process
            self.pidfile.unlink()
            self.assertEqual(ended.exit_code, 1)
            self.assertEqual(
                ended.errors, "bbs-login: ended before it had started; its log has more\n"
            )


class OntoAFullDisk(ServiceCase):
    """What is printed goes nowhere: standard error may be a log on a disk that is full."""

    async def test_a_server_that_cannot_start_ends_all_the_same(self) -> None:
        service = self.service(database={"url": "sqlite:////nowhere/bbs.sqlite3"})
        service.data.mkdir(exist_ok=True)
        config = ("--config", str(service.config))
        for command in (
            (BIN / "twistd", "--nodaemon", "--pidfile=", "bbs-login", *config),
            (BIN / "bbs", "up", "--data", str(service.data), *config),
        ):
            with open("/dev/full", "w") as full:
                ended = await deferToThread(
                    subprocess.run, command, stdout=full, stderr=full, timeout=START_TIMEOUT
                )
            self.assertEqual(ended.returncode, 1, command)
