"""What a server is put together from, whatever its database, its broker and its clock are: the
daemons and the service in memory for tests (`bbs.testing`) both take it from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bbs.commands import all_commands
from bbs.commands.ask import AppServerParts, Home, LoginServerParts
from bbs.commands.dispatch import Dispatcher
from bbs.commands.service import Service
from bbs.config import Configuration, Limits
from bbs.delivery.bus import Bus
from bbs.delivery.listeners import Listeners
from bbs.protocols.line import IConnection, IRequestHandler, LineFactory, LineLimits
from bbs.protocols.stomp import IStomp
from bbs.rules import callers
from bbs.storage.database import Database
from bbs.values import Quotas, Tally


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
        self.home = home_of(ground, bus, self._parts)
        self.factory = line_factory(reactor, Dispatcher(self.home), config.limits)

    def joined(self, server_id: str) -> None:
        """It is a member of the fleet, under this id."""
        self._parts.server_id = self.listeners.server_id = server_id


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


def sessions_of(limits: Limits) -> callers.Sessions:
    """How long sessions live, and what those may have whose they are."""
    quotas = Quotas(
        friends=limits.friends,
        groups=limits.groups,
        members=limits.members,
        inbox=limits.inbox,
        posts=limits.posts,
    )
    return callers.Sessions(limits.session_ttl, quotas)


def home_of(
    ground: Ground,
    bus: Bus,
    parts: LoginServerParts | AppServerParts,
    watchers: set[IConnection] | None = None,
) -> Home:
    """What the commands of a server that has `parts` have in common."""
    return Home(
        service=ground.service,
        table=all_commands(ground.service, ground.hint_key),
        database=ground.database,
        bus=bus,
        sessions=sessions_of(ground.config.limits),
        seconds=ground.reactor.seconds,
        tally=Tally(counts=dict.fromkeys(ground.service.counters, 0)),
        watchers=set() if watchers is None else watchers,
        parts=parts,
    )
