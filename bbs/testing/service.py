"""A whole service within one test, composed as the daemons compose it: its real rules on SQLite,
with a clock, a broker, a provider and connections in memory.

    service = MemoryService(lobby)
    ann, bob = service.people("ann", "bob").values()
    peer = service.at_home(ann)
    peer.ask(f"join {ann} chess")

Time passes only by `advance`, and a moment of it by `settle`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from argon2 import PasswordHasher
from twisted.application.service import IService
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from bbs import __version__
from bbs.commands import declared
from bbs.commands.background import start_daemons
from bbs.commands.extensions import extended
from bbs.commands.service import Service
from bbs.commands.strictness import check_questions
from bbs.config import Configuration, Limits
from bbs.core.clock import ServiceClock
from bbs.core.threads import ILanes
from bbs.core.values import Rate
from bbs.daemons.composition import AppServing, LoginServing, Runtime
from bbs.limits.password_hashing import Hasher
from bbs.protocols.commands import Command, CommandTable
from bbs.protocols.line import LineFactory
from bbs.rules import auth, membership, placement
from bbs.rules.auth import asked_by
from bbs.rules.servers import new_id
from bbs.storage import clock, models
from bbs.storage.database import Database
from bbs.storage.migrations import upgrade
from bbs.storage.schema import Schema
from bbs.testing.broker import MemoryBroker
from bbs.testing.provider import MemoryProvider
from bbs.testing.reactor import GuardedClock, GuardedHandler, GuardedLanes, ReactorGuard
from bbs.testing.threads import Inline

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""A fast password hash, for tests of everything else."""

START = 1_000_000.0  # the default time at the start of a test, in seconds since the epoch

IN_MEMORY = "sqlite:///:memory:"

STEP, STEPS = 0.02, 10  # how `settle` lets time pass: in seconds, and how often

ALL_AT_ONCE = Rate(10**9, 1.0)

MOST_ANSWERS = 1000  # that are kept until they are compared

HINT_KEY = b"not a secret"  # with which the servers sign their hints

_checked: set[object] = {None}
"""Questions that find their rows by an index, and None for a rule without one."""

_prepared: dict[tuple[object, ...], sqlite3.Connection] = {}
"""Databases that only have the tables of a schema."""


class _Wire(StringTransport):
    """A `StringTransport` with the methods that it lacks."""

    protocol: Any

    def setTcpKeepAlive(self, enabled: bool) -> None: ...

    def setTcpNoDelay(self, enabled: bool) -> None: ...

    def abortConnection(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionAborted()))


class Peer:
    """The other end of a connection from `host` to `factory` at `local_host`. A `line` is without
    its end."""

    def __init__(
        self, factory: LineFactory, local_host: str = "127.0.0.1", host: str = "127.0.0.1"
    ) -> None:
        there = IPv4Address("TCP", host, 50000)
        connection = factory.buildProtocol(there)
        assert connection is not None, "the service has stopped"
        self.protocol: Any = connection
        self.transport: Any = _Wire(
            hostAddress=IPv4Address("TCP", local_host, 22222), peerAddress=there
        )
        self.transport.protocol = connection
        connection.makeConnection(self.transport)
        self._seen = 0
        self._unread: list[dict[str, Any]] = []

    def say(self, line: str) -> None:
        """Send one request."""
        self.protocol.dataReceived(line.encode() + b"\n")

    def hang_up(self) -> None:
        """Lose the connection."""
        self.protocol.connectionLost(Failure(ConnectionAborted()))

    def heard(self) -> list[dict[str, Any]]:
        """The replies and events since the last look."""
        lines = self.transport.value().split(b"\n")[:-1]  # Texts may hold other ends of lines.
        new, self._seen = lines[self._seen :], len(lines)
        unread, self._unread = self._unread, []
        return unread + [json.loads(line) for line in new]

    def events(self) -> list[dict[str, Any]]:
        """The events since the last look."""
        return [each for each in self.heard() if "event" in each]

    def ask(self, line: str) -> dict[str, Any]:
        """Send a request, and return its reply, which is there at once. Events stay for `heard`."""
        self.say(line)
        heard = self.heard()
        replies = [each for each in heard if "status" in each]
        self._unread = [each for each in heard if "status" not in each]
        assert len(replies) == 1, replies
        return replies[0]


class MemoryAppServer:
    """An app server of a `MemoryService`, which makes it with its `runtime`, launched under
    `server_id`; it has that as `id`, and reports `port`."""

    set_ahead = 0.0
    """Seconds by which somebody has set the wall clock of this server alone ahead."""

    def __init__(self, runtime: Runtime, server_id: str) -> None:
        self.id = server_id
        self.port = 0
        self.clock = runtime.clock
        own = self.clock.own
        self.clock.own = lambda: own() + self.set_ahead
        self.serving = AppServing(runtime, Inline())
        self.serving.joined(membership.Member(server_id, f"host:nowhere:{server_id}"))
        self.serving.topics.startService()
        self.serving.listeners.startService()
        self.serving.presence.startService()
        self.serving.broadcaster.startService()
        for each in self.serving.others:
            each.startService()
        self.serving.scheduler.startService()
        self._others = start_daemons(self.serving.home)

    def peer(self) -> Peer:
        """Connect to this server."""
        return Peer(self.serving.factory)

    def halt(self) -> None:
        """Begin nothing more, as a process does that is killed."""
        self.serving.scheduler.halt()
        for daemon in (*self.serving.others, *self._others):
            daemon.stopService()


class MemoryService:
    """A login server of `service` with its fleet. App servers appear as they are launched, unless a
    test sets `boots` to False. Each reports the port that `listen` returns for its factory, by
    default 20001 and so on; a test may let it listen there. An answer that its command does not
    declare (`Command.reply`, `Command.refuses`) is an error of `close`. Handlers, daemons and
    timers are refused the database outside of rules, as on a server; the test itself may use it.

    :param config: by default `Configuration`'s defaults, but without rates of commands, deliveries
        and logins: a test asks everything in one moment of the clock.
    :param provider: launches the app servers; by default a new one.
    :param url: the database, by default a new one in memory. One of an older version is upgraded.
        Only one at a time may be open.
    :param start: the time at the start, in seconds since the epoch (by default 1,000,000), for a
        database with a history.
    :param workers: the threads of the database; by default there are none, and each call is carried
        out at once.
    :ivar set_ahead: seconds by which somebody has set the wall clock ahead of `clock` (below 0:
        back).
    :ivar database_ahead: the same of the database's own clock; None for a database without one, as
        an SQLite file.
    """

    compares = True  # Answers with what commands declare.

    def __init__(
        self,
        service: Service,
        *,
        config: Configuration | None = None,
        provider: MemoryProvider | None = None,
        url: str = IN_MEMORY,
        start: float = START,
        workers: ILanes | None = None,
    ) -> None:
        self.config = config or Configuration(
            limits=Limits(logins=ALL_AT_ONCE, commands=ALL_AT_ONCE, deliveries=ALL_AT_ONCE)
        )
        service = extended(service)
        self._guard = ReactorGuard()
        self.clock: Clock = GuardedClock(self._guard)
        self.clock.advance(start)
        self.database = Database(url, GuardedLanes(self._guard, workers or Inline()), self.clock)
        self._guard.watch(self.database)
        self.database.peewee.connect(reuse_if_open=True)
        if url == IN_MEMORY:
            _make_tables(self.database.peewee, service.schema)
        else:
            upgrade(self.database.peewee, service.schema)
        self._answers: list[
            tuple[Command | declared.Events, declared.Answer | Mapping[str, object]]
        ] = []
        self._differences: dict[str, None] = {}  # Lines, each once, in their order.
        self.set_ahead = 0.0
        self.database_ahead: float | None = None
        self.broker = MemoryBroker()
        self.boots = True
        self.listen: Callable[[LineFactory], int] = lambda factory: next(ports)
        ports = count(20001)
        self.servers: dict[str, MemoryAppServer] = {}
        self.provider = provider or MemoryProvider()
        self.provider.on_launch = self._launched
        self.me = membership.Member(new_id(), "host:nowhere:1", __version__)
        self._service = service
        hasher = Hasher(Inline(), QUICK)
        self.login = LoginServing(
            self._runtime(), me=self.me, hasher=hasher, provider=self.provider, workers=Inline()
        )
        self._watch(self.login.factory)
        unknown = [each for each in self.login.home.table if asked_by(each.rule) not in _checked]
        check_questions(service, CommandTable(*unknown))
        _checked.update(asked_by(each.rule) for each in unknown)
        self._started = False
        self._others: Sequence[IService] = ()

    def start(self) -> MemoryService:
        """Start the fleet, unless it runs; every connection does so."""
        if not self._started:
            self._started = True
            self.database.run(membership.enroll, self.me)
            self.login.topics.startService()
            self.login.controller.startService()
            self.login.scheduler.startService()
            self._others = start_daemons(self.login.home)
            self.settle()
        return self

    def close(self) -> None:
        """Close all connections and the database; then check the answers."""
        self.login.scheduler.halt()
        for daemon in self._others:
            daemon.stopService()
        for server in self.servers.values():
            server.halt()
        app_servers = [each.serving.factory for each in self.servers.values()]
        for factory in (self.login.factory, *app_servers):
            factory.close_all()
            self.clock.advance(2.0)
        self.database.close()
        models.database.initialize(None)
        self.check_answers()

    def check_answers(self) -> None:
        """Compare the answers and events since the last look with what is declared of them.

        :raises Undeclared: one differs; `close` raises it, too.
        """
        self._compare_answers()
        lines, self._differences = self._differences, {}
        if lines:
            raise declared.Undeclared("\n".join(lines))

    def _note_answer(
        self,
        of: Command | declared.Events,
        answer: declared.Answer | Mapping[str, object],
    ) -> None:
        self._answers.append((of, answer))
        if len(self._answers) >= MOST_ANSWERS:
            self._compare_answers()

    def _compare_answers(self) -> None:
        for each in self._answers:
            if line := declared.difference(*each):
                self._differences[line] = None
        self._answers.clear()

    def wall(self) -> float:
        """The time of the wall clock, in seconds since the epoch."""
        return self.clock.seconds() + self.set_ahead

    def now(self) -> float:
        """The time by the service's clock, which stamps what is stored."""
        return self.login.home.wall()

    def settle(self) -> None:
        """Let 0.2 s pass, in which all that was asked for happens."""
        for _ in range(STEPS):
            self.clock.advance(STEP)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass, in which all app servers send heartbeats."""
        for step in (*[1.0] * int(seconds), seconds % 1.0):
            self.beat()
            self.clock.advance(step)

    def peer(self) -> Peer:
        """Connect to the login server."""
        self.start()
        return Peer(self.login.factory)

    def people(self, *names: str) -> Mapping[str, str]:
        """Register those of `names` who are new, and log all in; returns their tokens by name."""
        peer, tokens = self.peer(), {}
        for name in names:
            registered = peer.ask(f"register {name} pw")
            peer.say(f"login {name} pw")
            self.settle()
            (reply,) = peer.heard()
            assert reply["status"] == 0, (registered, reply)
            tokens[name] = reply["token"]
        return tokens

    def at_home(self, token: str) -> Peer:
        """Connect to the app server of the user with `token`."""
        return self.serving(token).peer()

    def listening(self, token: str) -> Peer:
        """Connect to that server, and listen for the user with `token`."""
        peer = self.at_home(token)
        reply = peer.ask(f"listen {token}")
        assert reply["status"] == 0, reply
        return peer

    def serving(self, token: str) -> MemoryAppServer:
        """The app server of the user with `token`; a new one if they were away."""
        user: auth.Caller = self._call(auth.identify, token, self.login.home.sessions, self.now())
        server = user.server
        if user.away:
            seat: placement.Seat | None = self._call(placement.come_back, user.id, None)
            server = seat.server if seat else None
        assert server is not None, "nobody serves them"
        return self.servers[server]

    def boot(self, server_id: str) -> None:
        """Let the app server launched under `server_id` begin to serve."""
        self.servers[server_id] = server = MemoryAppServer(self._runtime(), server_id)
        self._watch(server.serving.factory)
        server.port = self.listen(server.serving.factory)
        self.database.run(membership.report, server_id, server.port)
        server.serving.home.bus.tell_fleet("ready")

    def kill(self, port: int) -> None:
        """Let the app server with `port` die, as its provider sees."""
        (dead,) = (server.id for server in self.servers.values() if server.port == port)
        self.servers.pop(dead).halt()
        self.provider.end(dead, "killed")

    def beat(self) -> None:
        """Let all app servers send heartbeats."""
        for server_id, server in self.servers.items():
            tally, clock = server.serving.tally(), server.clock
            clock.note(tally.figures)
            beat = server.serving.lineage.beat
            written = beat(membership.beat, server_id, tally.counts, tally.figures)
            answer = Deferred.fromCoroutine(written)
            answer.addCallback(clock.hear, self.clock.seconds())

    def _watch(self, factory: LineFactory) -> None:
        factory.handler = GuardedHandler(self._guard, factory.handler)

    def _call(self, rule: Callable[..., Any], *arguments: object) -> Any:
        results: list[Any] = []
        self.database.run(rule, *arguments).addCallback(results.append)
        return results[0]

    def _launched(self, server_id: str) -> None:
        if self.boots:
            self.clock.callLater(0, self.boot, server_id)

    def _runtime(self) -> Runtime:
        stomp, seconds = self.broker.client(), self.clock.seconds
        wall = ServiceClock(self.wall, seconds, self._database_time)
        self.database.run(clock.read).addCallback(wall.hear, seconds())
        return Runtime(
            self._service,
            self.config,
            self.database,
            stomp,
            self.clock,
            wall,
            HINT_KEY,
            answered=self._note_answer if self.compares else None,
        )

    def _database_time(self) -> float | None:
        ahead = self.database_ahead
        return None if ahead is None else self.clock.seconds() + ahead


def _make_tables(database: Any, schema: Schema) -> None:
    """Bring a new database in memory to `schema`. To make the tables takes 2 ms, half the time of a
    new service; to copy them takes 0.01 ms."""
    key = (schema.name, schema.version, schema.all_models, schema.seed)
    if key in _prepared:
        _prepared[key].backup(database.connection())
    else:
        upgrade(database, schema)
        _prepared[key] = sqlite3.connect(":memory:")
        database.connection().backup(_prepared[key])
