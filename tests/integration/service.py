"""The service as real processes: what the end-to-end tests start, talk to and end.

    class Talk(ServiceCase):
        async def test_it(self):
            service = self.service(fleet={"minimum": 1})
            await service.up()
            ann = await service.person("ann")

Everything is in a temporary folder and on free ports of 127.0.0.1, and every process that a test
starts is ended, by its pid, at the end of the test.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast
from unittest import mock
from urllib.parse import urlsplit

import pymysql
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError, ProcessExitedAlready
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.internet.task import LoopingCall, deferLater
from twisted.protocols.basic import LineOnlyReceiver
from twisted.trial.unittest import TestCase

from bbs.__main__ import main
from bbs.commands.declared import COMPARE
from bbs.config import load, to_toml
from bbs.storage.engines import IN_C
from tests.database_case import by_driver
from tests.services import needed
from tests.services.servers import free_port

T = TypeVar("T")

BIN = Path(sys.executable).parent
"""Where this Python's `bbs` and `twistd` are."""

POLL = 0.02
"""Seconds between looks at a condition."""

LOOK = 0.1
"""The same where a look takes a while: at the database, or by a process."""

START_TIMEOUT = 60.0
"""Seconds that a process has until it is ready, on a machine that may have much else to do."""

STOP_TIMEOUT = 30.0
"""The same until it has ended: three times what `docs/operating.md` promises of a quiet machine."""

ANY_RATE = "100000/minute"


def run(coroutine: Any) -> Deferred[Any]:
    """Begin `coroutine` now."""
    return Deferred.fromCoroutine(coroutine)


def together(coroutines: Iterable[Any]) -> Deferred[list[Any]]:
    """The results of `coroutines`, which run at the same time; when all have ended, the first
    failure fails it."""

    def results(outcomes: list[tuple[bool, Any]]) -> Any:
        failed = [result for success, result in outcomes if not success]
        return failed[0] if failed else [result for _, result in outcomes]

    return DeferredList([run(each) for each in coroutines], consumeErrors=True).addCallback(results)


def eventually(
    condition: Callable[[], Any], what: str, within: float = 20.0, every: float = POLL
) -> Deferred[Any]:
    """The condition's first answer that counts as true, of a look `every` so many seconds; an
    AssertionError if there is none `within` so many seconds."""
    answer: Deferred[Any] = Deferred()
    deadline = reactor.seconds() + within

    async def look() -> None:
        found: Any = condition()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            polling.stop()
            answer.callback(found)
        elif reactor.seconds() > deadline:
            raise AssertionError(f"not within {within:g} s: {what}")

    polling = LoopingCall(lambda: run(look()))
    polling.start(every).addErrback(answer.errback)
    return answer


def inherited() -> dict[str, str]:
    """What a service's environment has of this one: nothing that configures it."""
    return {key: value for key, value in os.environ.items() if not key.startswith("BBS_")}


class Process(ProcessProtocol):
    """A process that a test started, with all that it said.

    :ivar alive: whether it has not ended yet.
    :ivar heard: whether that is all, also from whoever it left behind.
    """

    transport: Any

    def __init__(
        self,
        argv: Sequence[str | Path],
        folder: Path,
        environ: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
    ) -> None:
        self.output = ""
        self.errors = ""
        self.exit_code: int | None = None
        self.signal: int | None = None
        self.alive = True
        self.heard = False
        self._stdin = stdin
        self.command = " ".join(map(str, argv))
        reactor.spawnProcess(
            self,
            str(argv[0]),
            [str(word) for word in argv],
            env={
                **inherited(),
                "PYTHONUNBUFFERED": "1",
                COMPARE: "1",
                "XDG_STATE_HOME": str(folder / "state"),
                **(environ or {}),
            },
            path=str(folder),
        )
        self.pid: int = self.transport.pid

    # ProcessProtocol

    def connectionMade(self) -> None:
        if self._stdin is not None:
            self.transport.write(self._stdin)
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        self.output += data.decode("utf-8", "replace")

    def errReceived(self, data: bytes) -> None:
        self.errors += data.decode("utf-8", "replace")

    def processExited(self, reason: Any) -> None:
        self.alive = False
        self.exit_code = reason.value.exitCode
        self.signal = reason.value.signal

    def processEnded(self, reason: Any) -> None:
        self.processExited(reason)
        self.heard = True

    # For the tests

    def says(self, text: str, within: float = START_TIMEOUT) -> Deferred[bool]:
        """Wait until `text` is in its output."""

        def said() -> bool:
            if text not in self.output and not self.alive:
                raise AssertionError(f"{self.command} ended: {self.errors or self.output[-2000:]}")
            return text in self.output

        return eventually(said, f"{self.command} says {text!r}", within)

    def ended(self, within: float = STOP_TIMEOUT) -> Deferred[bool]:
        """Wait until it has ended by itself."""
        return eventually(lambda: not self.alive, f"{self.command} ends", within)

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it lives."""
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(number)

    async def end(self, number: int = signal.SIGTERM, within: float = STOP_TIMEOUT) -> float:
        """End it by a signal; the seconds that it took."""
        began = reactor.seconds()
        self.send_signal(number)
        await self.ended(within)
        return reactor.seconds() - began

    def kill(self) -> Deferred[bool]:
        """End it by SIGKILL."""
        self.send_signal(signal.SIGKILL)
        return self.ended()

    def children(self) -> list[int]:
        """The pids of its children that live."""
        return children_of(self.pid)


def children_of(pid: int) -> list[int]:
    """The pids of the children of a process that live."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, (task / "children").read_text().split())
    return [child for child in found if lives(child)]


def lives(pid: int) -> bool:
    """Whether a process of this pid runs: not one that has ended and is waited for."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


class Wire(LineOnlyReceiver):
    """A connection that speaks the protocol as `docs/protocol.md` has it, and nothing more."""

    delimiter = b"\n"
    MAX_LENGTH = 1 << 24
    transport: Any

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.open = True
        self._asked: list[Deferred[dict[str, Any]]] = []

    def ask(self, *words: object) -> Deferred[dict[str, Any]]:
        """The reply to a request; fails with ConnectionError when the connection ends first."""
        reply: Deferred[dict[str, Any]] = Deferred()
        if self.open:
            self._asked.append(reply)
            self.sendLine(" ".join(map(str, words)).encode())
        else:
            reply.errback(ConnectionError("the connection had ended"))
        return reply

    def lineReceived(self, line: bytes) -> None:
        body = json.loads(line)
        if "event" in body:
            self.events.append(body)
        else:
            self._asked.pop(0).callback(body)

    def connectionLost(self, reason: Any = None) -> None:
        self.open = False
        while self._asked:
            self._asked.pop(0).errback(ConnectionError("the connection ended"))

    def close(self) -> None:
        if self.open:
            self.transport.abortConnection()


def connect(port: int) -> Deferred[Wire]:
    """A connection to the server at `port`."""
    return wire_to("127.0.0.1", port)


def wire_to(host: str, port: int, timeout: int = 30) -> Deferred[Wire]:
    """A connection to the server at `port` of `host`."""
    endpoint = TCP4ClientEndpoint(reactor, host, port, timeout=timeout)
    return cast("Deferred[Wire]", endpoint.connect(Factory.forProtocol(Wire)))


@dataclass
class Person:
    """Somebody who is logged in, and where."""

    name: str
    token: str
    port: int
    wire: Wire
    """To the app server."""

    async def asks(self, command: str, *arguments: object) -> dict[str, Any]:
        """The reply of the app server to a command of this person's."""
        return await self.wire.ask(command, self.token, *arguments)


class ICase(Protocol):
    """What a service needs of the test whose it is."""

    def mktemp(self) -> str: ...

    def assertEqual(self, first: Any, second: Any, msg: Any = None) -> Any: ...


class Service:
    """One service, with a configuration and a folder of its own, and the processes that are it.

    :param sections: of the configuration, beside what makes it a service of tests: many people
        come from one address.
    """

    def __init__(self, case: ICase, sections: Mapping[str, Mapping[str, object]]) -> None:
        self.case: Any = case
        self.folder = Path(case.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.data = self.folder / "data"
        self.port = free_port()
        self.processes: list[Process] = []
        options: dict[str, object] = {
            "login.listen": f"tcp:{self.port}:interface=127.0.0.1",
            # Where `bbs up` keeps it anyway; said, so that `bbs fleet` finds it too.
            "database.url": f"sqlite:///{self.data}/bbs.sqlite3",
            "limits.failed_logins": ANY_RATE,
            "limits.logins": ANY_RATE,
            "limits.registrations": ANY_RATE,
        }
        for section, keys in sections.items():
            options |= {f"{section}.{key}": value for key, value in keys.items()}
        self.options = options
        self.config = self.folder / "bbs.toml"
        self.write_config()

    def write_config(self, **changed: object) -> Path:
        """Write the configuration file; `changed` has its keys with two underlines for the dot."""
        self.options |= {key.replace("__", "."): value for key, value in changed.items()}
        self.config.write_text(as_toml(self.options))
        return self.config

    def another_port(self) -> int:
        """A port for another login server."""
        return free_port()

    # Processes

    def start(self, *argv: str | Path, **options: Any) -> Process:
        """A process in this service's folder; it ends with the test."""
        process = Process(argv, self.folder, **options)
        self.processes.append(process)
        return process

    def bbs(self, *arguments: str | Path, **options: Any) -> Process:
        """`bbs …`"""
        return self.start(BIN / "bbs", *arguments, **options)

    async def up(self, *arguments: str | Path, **options: Any) -> Process:
        """`bbs up`, ready."""
        process = self.start_up(*arguments, **options)
        await process.says(f"bbs is ready: bbs client 127.0.0.1 {self.port}\n")
        return process

    def start_up(self, *arguments: str | Path, **options: Any) -> Process:
        """`bbs up`, at its beginning."""
        place = ("--port", str(self.port), "--data", self.data, "--config", self.config)
        return self.bbs("up", *place, *arguments, **options)

    async def login_server(self, port: int | None = None, **options: Any) -> Process:
        """`twistd bbs-login`, listening."""
        port = port or self.port
        self.data.mkdir(exist_ok=True)
        data = self.folder / f"data-{port}"
        process = self.start(
            *(BIN / "twistd", "--nodaemon", "--pidfile=", "bbs-login"),
            *("--config", self.config, "--data", data),
            *("--listen", f"tcp:{port}:interface=127.0.0.1"),
            **options,
        )
        await process.says(f"LineFactory starting on {port}\n")
        return process

    async def fleet_process(self, **options: Any) -> Process:
        """`twistd bbs-fleet`, which controls the fleet or waits until it may."""
        self.data.mkdir(exist_ok=True)
        data = self.folder / f"data-{len(self.processes)}"
        process = self.start(
            *(BIN / "twistd", "--nodaemon", "--pidfile=", "bbs-fleet"),
            *("--config", self.config, "--data", data),
            **options,
        )
        await process.says("this is fleet process")
        return process

    def app_server(self, **options: Any) -> Process:
        """`twistd bbs-app`, as an operator runs it, at its beginning."""
        argv = (BIN / "twistd", "--nodaemon", "--pidfile=", "bbs-app", "--config", self.config)
        return self.start(*argv, **options)

    def slow_launches(self, seconds: float) -> dict[str, str]:
        """An environment for a login server in which app servers take so much longer to start."""
        return slow_launches(self.folder, seconds)

    def held_launches(self) -> dict[str, str]:
        """An environment for a login server in which app servers do not start while launches are
        held; at first they are."""
        return held_launches(self.folder)

    def hold_launches(self) -> None:
        """Hold those that are launched from now on."""
        (self.folder / RELEASED).unlink(missing_ok=True)

    def release_launches(self) -> None:
        """Let all start that are held, and those that are launched from now on."""
        (self.folder / RELEASED).touch()

    async def command(self, *arguments: str) -> Any:
        """What `bbs fleet …` or the like says, by its --json; it must succeed."""
        process = self.bbs(*arguments, "--config", self.config, "--json")
        await process.ended(START_TIMEOUT)
        self.case.assertEqual((process.exit_code, process.errors), (0, ""))
        return json.loads(process.output)

    async def fleet(self) -> list[dict[str, Any]]:
        """The app servers that live, as `bbs fleet list` has them."""
        listed: list[dict[str, Any]] = json.loads(self.fleet_list("--json"))
        return listed

    def fleet_list(self, *options: str) -> str:
        """What `bbs fleet list` prints.

        It runs in this process: one of its own takes a third of a second of a processor, and who
        waits for something looks often.
        """
        said, complaints = StringIO(), StringIO()
        with (
            mock.patch.dict(os.environ, inherited(), clear=True),
            redirect_stdout(said),
            redirect_stderr(complaints),
        ):
            code = main(["fleet", "list", "--config", str(self.config), *options])
        self.case.assertEqual((code, complaints.getvalue()), (0, ""))
        return said.getvalue()

    async def fleet_is(
        self,
        condition: Callable[[list[dict[str, Any]]], Any],
        what: str,
        within: float = START_TIMEOUT,
    ) -> list[dict[str, Any]]:
        """The fleet, once it is as `condition` wants it."""

        async def look() -> tuple[list[dict[str, Any]]] | None:
            servers = await self.fleet()
            return (servers,) if condition(servers) else None

        (found,) = await eventually(look, what, within, every=LOOK)
        return found

    def log(self) -> str:
        """What the service has logged, on whatever login server."""
        path = self.data / "bbs.log"
        ours = path.read_text() if path.is_file() else ""
        return ours + "".join(process.output for process in self.processes)

    def pid_of(self, server: str) -> int:
        """The process of an app server, by the log."""
        found = re.search(rf"launched {server}: process (\d+)", self.log())
        assert found is not None, f"{server} was not launched"
        return int(found[1])

    def launches(self) -> int:
        """How many app servers have been launched, by the log."""
        return sum(map(int, re.findall(r"launching (\d+) servers?\b", self.log())))

    # People

    def connect(self, port: int) -> Deferred[Wire]:
        """A connection to the server at `port`."""
        return connect(port)

    async def register(self, *names: str) -> None:
        """Make accounts; the password is the name."""
        wire = await self.connect(self.port)
        for reply in await gatherResults([wire.ask("register", name, name) for name in names]):
            self.case.assertEqual(reply, {"status": 0, "message": "Success!"})
        wire.close()

    async def person(self, name: str, port: int | None = None) -> Person:
        """Log somebody in who has registered, and connect to the app server."""
        login = await self.connect(port or self.port)
        reply = await login.ask("login", name, name)
        login.close()
        self.case.assertEqual(reply["status"], 0, reply)
        at = reply["app_server"]
        self.case.assertEqual(at["host"], "127.0.0.1")
        return Person(name, reply["token"], at["port"], await self.connect(at["port"]))

    async def find_again(self, person: Person, within: float = START_TIMEOUT) -> None:
        """Connect to where the person is served now, as a client does whose server has gone."""
        person.wire.close()

        async def found() -> bool:
            try:
                login = await self.connect(self.port)
                reply = await login.ask("locate", person.token)
                login.close()
                self.case.assertEqual(reply["status"], 0, reply)
                person.port = reply["app_server"]["port"]
                person.wire = await self.connect(person.port)
                await person.wire.ask("ping")
            except (ConnectError, ConnectionError):
                return False
            return True

        await eventually(found, f"{person.name} is served again", within)

    async def befriend(self, one: Person, other: Person) -> None:
        """Make two people friends."""
        for reply in (
            await one.asks("invite", other.name),
            await other.asks("accept-invite", one.name),
        ):
            self.case.assertEqual(reply["status"], 0, reply)

    async def serves(self, within: float = START_TIMEOUT) -> None:
        """Wait until somebody listens at the login server's port."""

        async def answers() -> bool:
            try:
                wire = await self.connect(self.port)
                answer = await wire.ask("ping")
                wire.close()
            except (ConnectError, ConnectionError):
                return False
            return bool(answer == {"status": 0, "message": "Pong!"})

        await eventually(answers, "the login server answers", within)

    async def remove(self) -> None:
        """End everything that this service started, by SIGKILL where asking does not do."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        await DeferredList([process.ended() for process in self.processes], consumeErrors=True)
        await gatherResults([process.kill() for process in self.processes])
        # For whoever wonders why a test failed.
        for number, process in enumerate(self.processes):
            said = f"{process.command}\n{process.output}\n{process.errors}"
            (self.folder / f"process-{number}.log").write_text(said)


def as_toml(options: Mapping[str, object]) -> str:
    """A configuration file that has nothing but `options` in it."""
    config = load(None, {}, options)
    wanted: dict[str, list[str]] = {}
    section = ""
    for line in to_toml(config).splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif f"{section}.{line.partition(' = ')[0]}" in options:
            wanted.setdefault(section, []).append(line)
    return "\n".join("\n".join((f"[{section}]", *lines)) for section, lines in wanted.items())


RELEASED = "released"
"""The file in a service's folder that app servers wait for which are held."""


def slow_launches(folder: Path, seconds: float) -> dict[str, str]:
    """An environment in which Python waits before it runs an app server that the fleet launched."""
    return _before_app_servers(folder, f"time.sleep({seconds})")


def held_launches(folder: Path) -> dict[str, str]:
    """An environment in which Python waits for the file `RELEASED` in `folder` before it does."""
    path = str(folder / RELEASED)
    return _before_app_servers(folder, f"while not os.path.exists({path!r}): time.sleep(0.02)")


def _before_app_servers(folder: Path, what: str) -> dict[str, str]:
    """It does `what` in a `sitecustomize` of its own, in `folder`: nothing in the service knows of
    it."""
    (folder / "sitecustomize.py").write_text(
        "import os, sys, time\n"
        "if any(word.startswith('--server-id') for word in sys.orig_argv):\n"
        f"    {what}\n"
    )
    path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(path)}


class ServiceCase(TestCase):
    """A test case whose services are real processes.

    Its tests begin inside the running reactor, so that a child's end is noticed from the start.
    """

    timeout = 300

    def setUp(self) -> Any:
        return deferLater(reactor, 0)

    def service(self, **sections: Mapping[str, object]) -> Service:
        """A service on SQLite and the embedded broker, unless the sections say otherwise."""
        service = Service(self, sections)
        self.addCleanup(lambda: run(service.remove()))
        return service

    def big_service(self, driver: str = IN_C, **sections: Mapping[str, object]) -> Service:
        """A service on MariaDB, in a database of its own, and ActiveMQ. `driver` is the scheme of
        the database's URL."""
        return self.service(
            **{
                "database": {"url": self.mysql_database(driver)},
                "broker": {"url": needed("BBS_TEST_ACTIVEMQ_URL")},
                **sections,
            }
        )

    def mysql_database(self, driver: str = IN_C) -> str:
        """The URL of an empty database at the shared server, removed at the end of the test."""
        url, name = needed("BBS_TEST_MYSQL_URL"), f"bbs_{secrets.token_hex(6)}"
        mysql(url, f"CREATE DATABASE {name}")
        self.addCleanup(mysql, url, f"DROP DATABASE {name}")
        return by_driver(url.rpartition("/")[0] + f"/{name}", driver)


def mysql(url: str, statement: str) -> tuple[Any, ...]:
    """Execute one statement at a MariaDB; its rows."""
    return tuple(tuple(row.values()) for row in mysql_rows(url, statement))


def mysql_rows(url: str, statement: str) -> list[dict[str, Any]]:
    """The same with rows by the names of their columns."""
    parts = urlsplit(url)
    connection = pymysql.connect(
        host=parts.hostname,
        port=parts.port or 3306,
        user=parts.username,
        password=parts.password or "",
        database=parts.path[1:],
        autocommit=True,
        cursorclass=pymysql.cursors.DictCursor,
    )
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return [*cursor.fetchall()]
    finally:
        connection.close()
