"""The whole service within one test: real rules on SQLite, a clock, a broker and a provider in
memory, and connections over in-memory transports."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from argon2 import PasswordHasher
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from bbs.board import messages
from bbs.commands.desks import AppDesk, LoginDesk
from bbs.commands.dispatch import Dispatcher
from bbs.delivery.bus import Bus
from bbs.delivery.listeners import Listeners
from bbs.limits.attempts import Attempts
from bbs.passwords import Hasher
from bbs.protocols.commands import CommandTable
from bbs.protocols.line import LineFactory, LineLimits
from bbs.rules import accounts, members
from bbs.rules.servers import new_id
from bbs.scaling.interfaces import IProvider
from bbs.scaling.keeper import FleetKeeper
from bbs.scaling.news import FleetNews
from bbs.scaling.steps import Means
from bbs.scaling.waiting import WaitingRoom
from bbs.storage import migrations, models
from bbs.storage.database import Database
from bbs.testing import MemoryBroker
from bbs.testing.provider import MemoryProvider
from bbs.values import Policy, Rate
from bbs.workers import Inline

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""For tests of everything but the hash."""

POLICY = Policy(
    minimum=1,
    maximum=20,
    spare=0,
    capacity=2,
    idle_grace=120.0,
    launch_timeout=180.0,
    lost_after=10.0,
)


class Peer:
    """Somebody at the other end of a connection."""

    def __init__(self, factory: LineFactory, local_host: str = "127.0.0.1") -> None:
        self.protocol: Any = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 50000))
        self.transport = StringTransport(
            hostAddress=IPv4Address("TCP", local_host, 22222),
            peerAddress=IPv4Address("TCP", "127.0.0.1", 50000),
        )
        # What real transports have beside, and StringTransport lacks.
        for name in ("setTcpKeepAlive", "setTcpNoDelay"):
            setattr(self.transport, name, lambda enabled: None)
        self.protocol.makeConnection(self.transport)
        self._seen = 0

    def say(self, line: str) -> None:
        """Send one request."""
        self.protocol.dataReceived(line.encode() + b"\n")

    def heard(self) -> list[dict[str, Any]]:
        """What has come since the last look."""
        lines = self.transport.value().decode().splitlines()
        new, self._seen = lines[self._seen :], len(lines)
        return [json.loads(line) for line in new]

    def ask(self, line: str) -> dict[str, Any]:
        """Send one request, and give its reply, which is there at once."""
        self.say(line)
        replies = [one for one in self.heard() if "status" in one]
        assert len(replies) == 1, replies
        return replies[0]


class AppServerInMemory:
    """One app server, as `bbs.daemons.app` puts it together."""

    def __init__(self, service: MemoryService, server_id: str) -> None:
        self.id = server_id
        self.desk = AppDesk(
            table=service.table,
            database=service.database,
            bus=Bus(service.broker.client()),
            sessions=service.sessions,
            seconds=service.clock.seconds,
            watchers=set(),
            server_id=server_id,
        )
        self.desk.listeners = Listeners(
            service.database, self.desk.bus, lambda: server_id, 2.0, service.clock
        )
        self.desk.listeners.startService()
        self.factory = LineFactory(service.clock, Dispatcher(self.desk), LineLimits())

    def peer(self) -> Peer:
        """Connect."""
        return Peer(self.factory)


class MemoryService:
    """A login server with its fleet; app servers appear as they are launched, if `boots`."""

    def __init__(
        self,
        folder: str,
        table: CommandTable,
        policy: Policy = POLICY,
        provider: MemoryProvider | None = None,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.table = table
        self.database = Database(
            f"sqlite:///{os.path.join(folder, 'bbs.sqlite3')}", Inline(), self.clock
        )
        self.database.peewee.connect(reuse_if_open=True)
        migrations.upgrade(self.database.peewee)
        self.broker = MemoryBroker()
        self.sessions = accounts.Sessions(604800.0)
        self.boots = True
        self.servers: dict[str, AppServerInMemory] = {}
        self.provider = provider or MemoryProvider()
        self.provider.on_launch = self._launched
        self.me = members.Member(new_id(), "host:nowhere:1")
        self.watchers: set[Any] = set()
        bus = Bus(self.broker.client())
        self.news = FleetNews(bus)
        self.room = WaitingRoom(
            me=self.me,
            database=self.database,
            reactor=self.clock,
            patience=policy.launch_timeout,
            watchers=self.watchers,
            news=self.news,
        )
        self.keeper = self.make_keeper(
            self.me, self.provider, policy, self.news, lambda: self.desk.tally.logins
        )
        seconds = self.clock.seconds
        self.desk = LoginDesk(
            table=self.table,
            database=self.database,
            bus=bus,
            sessions=self.sessions,
            seconds=seconds,
            hasher=Hasher(Inline(), QUICK),
            registrations=Attempts(Rate(1000, 60.0), seconds),
            failed_by_account=Attempts(Rate(3, 60.0), seconds),
            failed_by_address=Attempts(Rate(3, 60.0), seconds, 10),
            waiting_room=self.room,
            watchers=self.watchers,
        )
        self.factory = LineFactory(self.clock, Dispatcher(self.desk), LineLimits())

    def make_keeper(
        self,
        me: members.Member,
        provider: IProvider,
        policy: Policy,
        news: FleetNews,
        logins: Callable[[], int],
    ) -> FleetKeeper:
        """A keeper over this service's database."""
        means = Means(
            me=me,
            database=self.database,
            provider=provider,
            policy=policy,
            news=news,
            reactor=self.clock,
        )
        sweeps = (
            partial(accounts.end_stale_sessions, self.sessions),
            lambda now: messages.expire(now - 1000.0),
        )
        return FleetKeeper(
            means, workers=Inline(), sweeps=sweeps, heartbeat_interval=2.0, logins=logins
        )

    def another_keeper(
        self, identity: str, provider: IProvider, policy: Policy = POLICY
    ) -> FleetKeeper:
        """The keeper of another login server, where nobody waits."""
        news = FleetNews(Bus(self.broker.client()))
        me = members.Member(new_id(), identity)
        return self.make_keeper(me, provider, policy, news, lambda: 0)

    def start(self) -> None:
        """Enroll the login server, and let the fleet begin."""
        self.database.run(members.enroll, self.me)
        self.keeper.startService()
        self.settle()

    def close(self) -> None:
        """Let go of whoever still waits for something, and of the database."""
        for factory in (self.factory, *(server.factory for server in self.servers.values())):
            factory.close_all()
            self.clock.advance(2.0)
        self.database.peewee.close()
        models.database.initialize(None)

    def settle(self) -> None:
        """Let everything happen that was asked for a moment ago."""
        for _ in range(10):
            self.clock.advance(0.02)

    def peer(self) -> Peer:
        """Connect to the login server."""
        return Peer(self.factory)

    def boot(self, server_id: str) -> None:
        """A launched app server begins to serve."""
        self.servers[server_id] = AppServerInMemory(self, server_id)
        self.database.run(members.report, server_id, 20000 + len(self.servers))
        self.servers[server_id].desk.bus.tell_fleet("ready")

    def beat(self) -> None:
        """Every app server shows that it lives."""
        for server_id, server in self.servers.items():
            self.database.run(members.beat, server_id, server.desk.tally.messages)

    def people(self, *names: str) -> dict[str, str]:
        """Register and log in `names`; their tokens by name."""
        peer, tokens = self.peer(), {}
        for name in names:
            peer.ask(f"register {name} pw")
            peer.say(f"login {name} pw")
            self.settle()
            (reply,) = peer.heard()
            tokens[name] = reply["token"]
        return tokens

    def serving(self, token: str) -> AppServerInMemory:
        """The app server that serves whoever has `token`."""
        caller: Any = []
        self.database.run(
            accounts.identify, token, self.sessions, self.clock.seconds()
        ).addCallback(caller.append)
        return self.servers[caller[0].seat.server]

    def _launched(self, server_id: str) -> None:
        if self.boots:
            self.clock.callLater(0, self.boot, server_id)
