"""Logs of real servers: kept to a size, moved away under them, and there after a crash."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.core.tracing.spans import Collector
from tests.integration.service import BIN, Process, Service, ServiceCase, connect, eventually, run

TALKATIVE = """
import faulthandler, os, sys, threading, time

def talk():
    while "twisted.internet.reactor" not in sys.modules:
        time.sleep(0.05)
    from twisted.logger import Logger
    number = 0
    while not os.path.exists({crash!r}):
        time.sleep(0.002)
        Logger("talk").info("line {{number}}", number=number)
        number += 1
    os.abort()

if any(word.startswith("--server-id") for word in sys.orig_argv):
    faulthandler.enable()
    threading.Thread(target=talk, daemon=True).start()
"""
"""A `sitecustomize` by which app servers have much to say, and crash when a file is there."""


def sizes(folder: Path, pattern: str) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.glob(pattern)}


class Up(ServiceCase):
    async def test_logs_that_are_moved_away(self) -> None:
        """SIGHUP makes them anew and ends nothing, not even what was told so itself."""
        service = self.service()
        up = await service.up()
        log, moved = service.data / "bbs.log", service.data / "moved"
        (child_log,) = (service.data / "logs").glob("app-*.log")
        logs = (log, service.data / "logs" / "security.log", child_log)
        log.rename(moved)
        for each in logs[1:]:
            each.rename(f"{each}-moved")
        up.send_signal(signal.SIGHUP)
        for each in logs:
            await eventually(each.exists, f"{each} is there again")
            self.assertEqual(stat.S_IMODE(each.stat().st_mode), 0o600)
        (child,) = up.children()
        os.kill(child, signal.SIGHUP)
        before = moved.read_text()
        asked = await service.command("fleet", "launch", "--data", str(service.data))
        await eventually(lambda: "is ready" in log.read_text(), "the log goes on")
        # So does the one of what operators do, at the command line, too.
        self.assertIn(
            f' what=launch outcome=done address=- name="{asked["id"]}" by="', logs[1].read_text()
        )
        self.assertEqual(moved.read_text(), before)
        self.assertIn(child, up.children())
        await service.register("ann")
        await up.end()
        self.assertEqual((up.exit_code, up.errors), (0, ""))

    async def test_sighup_at_any_time(self) -> None:
        """Before anything is there, too."""
        service = self.service()
        up = service.start_up()
        await up.says("keeps its data")
        ready = up.says("bbs is ready")
        while not ready.called:
            up.send_signal(signal.SIGHUP)
            await deferLater(reactor, 0.005)
        self.assertEqual(service.launches(), 1)
        await up.end()
        self.assertEqual((up.exit_code, up.errors), (0, ""))

    async def test_an_app_server_keeps_its_log_to_its_size(self) -> None:
        """And what it says as it crashes is in it."""
        service = self.service(log={"rotate": "2 KiB", "keep": 2}, fleet={"spare": 0})
        crash = service.folder / "crash"
        (service.folder / "sitecustomize.py").write_text(TALKATIVE.format(crash=str(crash)))
        path = os.pathsep.join([str(service.folder), os.environ.get("PYTHONPATH", "")])
        up = await service.up(environ={"PYTHONPATH": path})
        logs = service.data / "logs"
        (first,) = logs.glob("app-*.log")
        await eventually(lambda: len(sizes(logs, f"{first.name}*")) == 3, "it is begun anew")
        for name, size in sizes(logs, f"{first.name}.*").items():
            self.assertTrue(2048 <= size < 2500, (name, size))
        crash.touch()
        await eventually(lambda: "Aborted" in first.read_text(), "the crash is in its log")
        crash.unlink()
        self.assertIn("Fatal Python error", first.read_text())
        self.assertEqual(len(sizes(logs, f"{first.name}*")), 3)
        await up.end()

    async def test_one_that_does_not_come_to_have_a_log(self) -> None:
        """What it says is in the file all the same."""
        service = self.service()
        (service.folder / "sitecustomize.py").write_text(
            "import sys\n"
            "if any(word.startswith('--server-id') for word in sys.orig_argv):\n"
            "    raise SystemExit('an early end')\n"
        )
        path = os.pathsep.join([str(service.folder), os.environ.get("PYTHONPATH", "")])
        service.start_up(environ={"PYTHONPATH": path})

        def is_said() -> bool:
            logs = (service.data / "logs").glob("app-*.log")
            return any("an early end" in log.read_text() for log in logs)

        await eventually(is_said, "the log has it")

    async def test_everything_is_its_owners(self) -> None:
        """Whatever the umask is, and what was there before."""
        self.addCleanup(os.umask, os.umask(0))
        service = self.service()
        service.data.mkdir()
        (service.data / "bbs.log").touch()
        up = await service.up()
        await service.register("ann")
        ann = await service.person("ann")
        await ann.asks("post", "hello")
        paths = [service.data, *service.data.rglob("*")]
        open_to_others = [path for path in paths if path.stat().st_mode & 0o077]
        self.assertEqual(open_to_others, [])
        names = {path.name for path in paths}
        self.assertLessEqual({"bbs.sqlite3-wal", "bbs.sqlite3-shm", "security.log"}, names)
        self.assertIn(f"others could read {service.data}, ", service.log())
        await up.end()


def objects(text: str) -> list[dict[str, Any]]:
    """The lines of a log, each of which is JSON."""
    return [json.loads(line) for line in text.splitlines()]


class Json(ServiceCase):
    """`[log] format = "json"`: every line of every server is an object, and says whose it is."""

    async def test_twistd(self) -> None:
        """To standard output and to files, as the file or the environment says it."""
        service = self.service(fleet={"provider": "none"})
        telnet_port = service.another_port()
        service.write_config(
            broker__url=await broker(self),
            telnet__server=f"127.0.0.1:{service.port}",
            telnet__listen=f"tcp:{telnet_port}:interface=127.0.0.1",
            app__listen=f"tcp:{service.another_port()}:interface=127.0.0.1",
        )
        service.data.mkdir()
        log = service.folder / "log"
        # Each by what it says last. By then the reactor runs, but for the gateway's: to be ended is
        # for Python before that, and not in the log.
        for kind, options, last in (
            ("login", (), "LineFactory starting on"),
            ("login", (f"--logfile={log}",), "LineFactory starting on"),
            ("app", ("--logfile=-",), "this is app server"),
            ("telnet", (), "GatewayFactory starting on"),
        ):
            server = service.start(
                *(BIN / "twistd", "--nodaemon", "--pidfile=", *options),
                *(f"bbs-{kind}", "--config", service.config),
                environ={"BBS_LOG_FORMAT": "json"},
            )

            def said(server: Process = server, in_file: bool = str(log) in str(options)) -> str:
                return log.read_text() if in_file and log.exists() else server.output

            def is_there(
                server: Process = server, said: Callable[[], str] = said, last: str = last
            ) -> bool:
                self.assertTrue(server.alive, server.errors)
                return last in said()

            await eventually(is_there, f"the {kind} server is there")
            await server.end()
            found = objects(said())
            self.assertEqual({each["server_kind"] for each in found}, {kind}, found)
            if kind == "telnet":
                self.assertNotIn("server_id", found[-1])
            else:
                self.assertEqual(found[-1]["message"], "Server Shut Down.")
                self.assertEqual(len(found[-1]["server_id"]), 32)

    async def test_what_it_cannot_start_with(self) -> None:
        """Is said in plain words, and the log's line is JSON."""
        service = self.service(log={"format": "json"}, fleet={"provider": "none"})
        service.data.mkdir()
        service.write_config(login__listen="ssl:1:privateKey=no-such:certKey=no-such")
        argv = (BIN / "twistd", "--nodaemon", "--pidfile=", "bbs-login", "--config", service.config)
        server = service.start(*argv)
        await server.ended()
        self.assertEqual(server.exit_code, 1)
        self.assertTrue(server.errors.startswith("bbs-login: cannot listen on"), server.errors)
        critical = [each for each in objects(server.output) if each["level"] == "critical"]
        self.assertEqual([each["fields"]["name"] for each in critical], ["bbs-login"])


class Traced(ServiceCase):
    """`bbs up` and its children: logs and figures lead to the traces that a collector has."""

    async def test_a_login_that_waits(self) -> None:
        collector = Collector()
        collector.start()
        self.addCleanup(lambda: run(collector.stop()))
        service = self.service(
            log={"format": "json"},
            tracing={"endpoint": collector.endpoint},
            fleet={"minimum": 0, "spare": 0},
        )
        up = await service.up()
        await service.register("ann")
        await service.person("ann")
        await eventually(lambda: collector.named("login"), "the collector has the login")
        (login,) = collector.named("login")
        lines = objects((service.data / "bbs.log").read_text())
        (waiting,) = [each for each in lines if each["message"] == "1 waiting for a place"]
        self.assertEqual(waiting["trace_id"], login.trace)
        self.assertIn(waiting["span_id"], [each.id for each in collector.trace_of(login)])
        (begun,) = [each for each in lines if "EmbeddedBroker starting" in each["message"]]
        self.assertNotIn("trace_id", begun)
        page = re.search(r"page: (http://\S+/)", up.output)
        assert page is not None
        figures = await deferToThread(openmetrics, f"{page[1]}metrics")
        for name in ("request", "place", "database_call"):
            found = re.findall(rf'bbs_{name}_seconds_bucket.* # .*trace_id="(\w+)"', figures)
            self.assertIn(login.trace, found, name)
        await up.end()
        self.assertEqual((up.exit_code, up.errors), (0, ""))
        self.check_lines(service, up)

    def check_lines(self, service: Service, up: Process) -> None:
        """Every line is an object and says whose it is, but what is said to people."""
        self.assertIn("bbs is ready: bbs client", up.output)
        ours = objects((service.data / "bbs.log").read_text())
        self.assertEqual({each["server_kind"] for each in ours}, {"up"})
        (log,) = (service.data / "logs").glob("app-*.log")
        theirs = objects(log.read_text())
        (launched,) = {each["server_id"] for each in theirs}
        self.assertEqual({each["server_kind"] for each in theirs}, {"app"})
        said = [each for each in ours if each["message"] == f"server {launched} is ready"]
        self.assertEqual([each["fields"] for each in said], [{"server": launched}])
        self.assertEqual(len(said[0]["server_id"]), 32)
        security = (service.data / "logs" / "security.log").read_text()
        self.assertNotIn("{", security)


def openmetrics(url: str) -> str:
    """What is said of a server to who keeps exemplars. It blocks."""
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    with urlopen(Request(url, headers=accept)) as answer:
        return str(answer.read().decode())


class Twistd(ServiceCase):
    async def test_sighup(self) -> None:
        """Each server makes its log anew, and goes on."""
        service = self.service()
        login_port, telnet_port = service.port, service.another_port()
        service.write_config(
            broker__url=await broker(self),
            fleet__provider="none",
            telnet__server=f"127.0.0.1:{login_port}",
            telnet__listen=f"tcp:{telnet_port}:interface=127.0.0.1",
            app__listen=f"tcp:{service.another_port()}:interface=127.0.0.1",
        )
        names = ("bbs-login", "bbs-app", "bbs-telnet")
        servers = {name: self.server(service, name, True) for name in names}
        for name, server in servers.items():
            log = service.folder / f"{name}.log"
            await self.runs(log, server)
            log.rename(service.folder / f"{name}.moved")
            server.send_signal(signal.SIGHUP)
            await eventually(log.exists, f"{name} has made its log anew")
        wire = await connect(login_port)
        self.assertEqual(await wire.ask("ping"), {"status": 0, "message": "Pong!"})
        wire.close()
        for name in ("bbs-app", "bbs-telnet", "bbs-login"):
            await servers[name].end()
            self.assertIn("Server Shut Down", (service.folder / f"{name}.log").read_text())

    async def test_without_a_file(self) -> None:
        service = self.service(fleet={"provider": "none"})
        server = await service.login_server()
        server.send_signal(signal.SIGHUP)
        wire = await connect(service.port)
        self.assertEqual(await wire.ask("ping"), {"status": 0, "message": "Pong!"})
        wire.close()
        await server.end()
        self.assertIn("Server Shut Down", server.output)
        # Nobody asked for a page.
        self.assertNotIn("Site", server.output)

    async def test_what_cannot_be_written(self) -> None:
        service = self.service(fleet={"provider": "none"})
        log = self.server(service, "bbs-login", True, folder="no-such")
        service.write_config(log__security=str(service.folder / "no-such" / "security.log"))
        security = self.server(service, "bbs-login", False)
        await gatherResults([log.ended(), security.ended()])
        self.assertEqual((log.exit_code, security.exit_code), (1, 1))
        for server, words in ((log, "bbs-login.log"), (security, "log.security: cannot write")):
            self.assertEqual(len(server.errors.splitlines()), 1, server.errors)
            self.assertIn(words, server.errors)

    async def test_a_database_that_everybody_can_read(self) -> None:
        """One that is made is its owner's alone; one that is there is left as it is."""
        self.addCleanup(os.umask, os.umask(0o022))
        service = self.service(fleet={"provider": "none"})
        database = service.data / "bbs.sqlite3"
        server = await service.login_server()
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in service.data.iterdir()}
        self.assertEqual(set(modes.values()), {0o600}, modes)
        self.assertNotIn("everybody", service.log())
        await server.end()
        database.chmod(0o644)
        server = await service.login_server()
        await server.end()
        self.assertEqual(service.log().count("everybody on this machine can open"), 1)
        self.assertEqual(stat.S_IMODE(database.stat().st_mode), 0o644)

    def server(self, service: Service, name: str, with_file: bool, folder: str = "") -> Process:
        service.data.mkdir(exist_ok=True)
        log = (f"--logfile={service.folder / folder / name}.log",) if with_file else ()
        argv = (BIN / "twistd", "--nodaemon", "--pidfile=", *log, name, "--config", service.config)
        return service.start(*argv)

    async def runs(self, log: Path, server: Process) -> None:
        def is_there() -> bool:
            self.assertIsNone(server.exit_code, server.errors)
            return log.exists() and "Factory starting on" in log.read_text()

        await eventually(is_there, f"{log.name} says that it listens", 60)


async def broker(case: ServiceCase) -> str:
    """The URL of a broker in this process, which ends with the test."""
    from bbs.protocols.stomp.broker import BrokerService, Credential, EmbeddedBroker

    served = BrokerService(
        reactor, "tcp:0:interface=127.0.0.1", EmbeddedBroker(Credential("bbs", "secret"), reactor)
    )
    served.startService()
    case.addCleanup(served.stopService)
    return str(await served.when_listening())
