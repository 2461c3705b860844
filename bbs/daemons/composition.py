"""What a server is put together from, whatever its database, its broker and its clock are: the
daemons and the service in memory for tests (`bbs.testing`) both take it from here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bbs.commands import all_commands
from bbs.commands.ask import AppServerParts, Home, LoginLimits, LoginServerParts
from bbs.commands.dispatch import Dispatcher
from bbs.commands.service import Service
from bbs.config import Configuration, Limits
from bbs.delivery.bus import Bus
from bbs.delivery.listeners import Listeners
from bbs.limits.attempts import ADDRESS_FACTOR, Attempts
from bbs.passwords import Hasher
from bbs.protocols.line import IConnection, IRequestHandler, LineFactory, LineLimits
from bbs.protocols.stomp import IStomp
from bbs.rules import accounts, callers
from bbs.rules.members import Member
from bbs.scaling.interfaces import IProvider
from bbs.scaling.keeper import FleetKeeper, Sweep
from bbs.scaling.news import FleetNews
from bbs.scaling.steps import Means
from bbs.scaling.waiting import WaitingRoom
from bbs.storage.database import Database
from bbs.values import Policy, Tally
from bbs.workers import IWorkers


@dataclass(frozen=True)
class Ground:
    """What every server stands on. `stomp` is a client of the broker, `hint_key` what all servers
    of the service prove their hints by."""

    service: Service
    config: Configuration
    database: Database
    stomp: IStomp
    reactor: Any
    hint_key: bytes

    def bus(self) -> Bus:
        """Tells and hears the service's hints."""
        return Bus(self.stomp, self.service.name, self.hint_key)


class AppServing:
    """An app server: its listeners, and the factory of its connections."""

    def __init__(self, ground: Ground) -> None:
        config, reactor = ground.config, ground.reactor
        bus = ground.bus()
        self.listeners = Listeners(
            database=ground.database,
            bus=bus,
            feed=ground.service.feed,
            poll_interval=config.messages.poll_interval,
            reactor=reactor,
        )
        self._parts = AppServerParts(self.listeners)
        self.home = _home(ground, bus, self._parts)
        self.factory = line_factory(reactor, Dispatcher(self.home), config.limits)

    def joined(self, server_id: str) -> None:
        """It is a member of the fleet, under this id."""
        self._parts.server_id = self.listeners.server_id = server_id


class LoginServing:
    """A login server: the fleet's keeper, those who wait, and the factory of its connections.

    :param me: this login server, which is enrolled.
    :param workers: has a thread for what the keeper must not do on the reactor.
    :param launches: whether the provider ever launches anything.
    """

    def __init__(
        self,
        ground: Ground,
        *,
        me: Member,
        hasher: Hasher,
        provider: IProvider,
        workers: IWorkers,
        launches: bool = True,
    ) -> None:
        config, reactor = ground.config, ground.reactor
        limits, seconds = config.limits, reactor.seconds
        bus = ground.bus()
        watchers: set[IConnection] = set()
        self.news = FleetNews(bus)
        self.policy = policy_of(config, launches)
        self.room = WaitingRoom(
            me=me,
            database=ground.database,
            reactor=reactor,
            patience=config.fleet.launch_timeout,
            watchers=watchers,
            news=self.news,
        )
        parts = LoginServerParts(
            hasher,
            LoginLimits(
                registrations=Attempts(limits.registrations, seconds),
                failed_by_account=Attempts(limits.failed_logins, seconds),
                failed_by_address=Attempts(limits.failed_logins, seconds, ADDRESS_FACTOR),
            ),
            self.room,
            config.telnet.secret,
        )
        self.home = _home(ground, bus, parts, watchers)
        self.keeper = FleetKeeper(
            Means(
                me=me,
                database=ground.database,
                provider=provider,
                policy=self.policy,
                news=self.news,
                reactor=reactor,
            ),
            workers=workers,
            sweeps=_sweeps(ground, self.home.sessions),
            heartbeat_interval=config.fleet.heartbeat_interval,
            tally=self.home.tally,
        )
        self.factory = line_factory(reactor, Dispatcher(self.home), limits)


def policy_of(config: Configuration, launches: bool) -> Policy:
    """What the operator wants of the fleet, whose provider `launches` or never does."""
    wanted = config.fleet
    return Policy(
        minimum=wanted.minimum,
        maximum=wanted.maximum if launches else 0,
        spare=wanted.spare,
        capacity=config.app.capacity,
        idle_grace=wanted.idle_grace,
        launch_timeout=wanted.launch_timeout,
        lost_after=wanted.lost_after,
    )


def line_factory(reactor: Any, handler: IRequestHandler, limits: Limits) -> LineFactory:
    """Serves the line protocol within `limits`."""
    return LineFactory(
        reactor,
        handler,
        LineLimits(
            max_line=limits.max_line,
            idle_timeout=limits.idle_timeout,
            unterminated_timeout=limits.unterminated_timeout,
        ),
    )


def _sweeps(ground: Ground, sessions: callers.Sessions) -> Sequence[Sweep]:
    """What is swept: unused sessions, what has expired in the service's feed, and what the service
    sweeps itself."""
    service, retention = ground.service, ground.config.messages.message_retention
    sweeps: list[Sweep] = [partial(accounts.end_stale_sessions, sessions)]
    if service.feed and (expire := service.feed.expire):
        sweeps.append(lambda now: expire(now - retention))
    if service.sweep:
        sweeps.append(service.sweep)
    return sweeps


def _home(
    ground: Ground,
    bus: Bus,
    parts: LoginServerParts | AppServerParts,
    watchers: set[IConnection] | None = None,
) -> Home:
    return Home(
        service=ground.service,
        table=all_commands(ground.service),
        database=ground.database,
        bus=bus,
        sessions=callers.Sessions(ground.config.limits.session_ttl),
        seconds=ground.reactor.seconds,
        tally=Tally(counts=dict.fromkeys(ground.service.counters, 0)),
        watchers=set() if watchers is None else watchers,
        parts=parts,
    )
