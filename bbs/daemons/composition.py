"""What a server is put together from, whatever its database, its broker and its clock are: the
daemons and the service in memory for tests (`bbs.testing`) both take it from here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from bbs.commands import all_commands
from bbs.commands.ask import AppServerParts, Home, LoginServerParts
from bbs.commands.charging import Charges
from bbs.commands.described import described
from bbs.commands.dispatch import Dispatcher
from bbs.commands.service import Service
from bbs.config import Configuration, Limits
from bbs.delivery.bus import Bus
from bbs.delivery.listeners import Listeners
from bbs.delivery.presence import Presence
from bbs.limits.connections import Admission, Networks
from bbs.protocols.line import IConnection, LineFactory, LineLimits
from bbs.protocols.stomp import IStomp
from bbs.rules import callers
from bbs.rules.servers import CONNECTED
from bbs.storage.database import Database
from bbs.values import Quotas, Tally, Timing, Trouble


@dataclass(frozen=True)
class Ground:
    """What every server stands on. `stomp` is a client of the broker, `hint_key` what all servers
    of the service prove their hints by. `reactor.seconds` is the clock to measure by, which nobody
    sets, and `wall` (seconds since the epoch) the one by which is stamped what is stored."""

    service: Service
    config: Configuration
    database: Database
    stomp: IStomp
    reactor: Any
    wall: Callable[[], float]
    hint_key: bytes

    def bus(self) -> Bus:
        """Tells and hears the service's hints."""
        return Bus(self.stomp, self.service.name, self.hint_key, self.reactor.seconds)


class AppServing:
    """An app server: its listeners, and the factory of its connections."""

    def __init__(self, ground: Ground, admission: Admission | None = None) -> None:
        config, reactor = ground.config, ground.reactor
        bus = ground.bus()
        watchers: set[IConnection] = set()
        self.listeners = Listeners(
            database=ground.database,
            bus=bus,
            feed=ground.service.feed,
            poll_interval=config.messages.poll_interval,
            reactor=reactor,
            watchers=watchers,
        )
        self.presence = Presence(
            database=ground.database,
            bus=bus,
            listeners=self.listeners,
            place_ttl=config.app.place_ttl,
            session_ttl=config.limits.session_ttl,
            reactor=reactor,
            wall=ground.wall,
        )
        self._parts = AppServerParts(self.listeners, self.presence)
        self.home = home_of(ground, bus, self._parts, watchers)
        self.factory = line_factory(reactor, self.home, config.limits, admission)

    def joined(self, server_id: str) -> None:
        """It is a member of the fleet, under this id."""
        self._parts.server_id = self.listeners.where.server_id = server_id
        self.presence.server_id = server_id

    def tally(self) -> Tally:
        """What it has counted, and how many are connected now."""
        tally = self.home.tally
        tally.figures[CONNECTED] = self.listeners.connected
        return tally


def admission_of(reactor: Any, limits: Limits, descriptors: int | None = None) -> Admission:
    """Who may connect to a process, which may have so many `descriptors` open."""
    trusted = Networks(limits.trusted)
    return Admission(limits.connections, trusted, descriptors, reactor.seconds)


def line_factory(
    reactor: Any, home: Home, limits: Limits, admission: Admission | None
) -> LineFactory:
    """Serves the commands of `home` by the line protocol, within `limits`, to whom `admission` lets
    in; without one it is the only port of its process. Those who are not let in are counted."""
    admission = admission or admission_of(reactor, limits)
    admission.when_refused = partial(home.tally.note, Trouble.CONNECTIONS)
    return LineFactory(
        reactor,
        Dispatcher(home),
        LineLimits(
            max_line=limits.max_line,
            idle_timeout=limits.idle_timeout,
            first_request=limits.first_request,
            unterminated_timeout=limits.unterminated_timeout,
        ),
        admission.door(limits.connections_per_address),
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
    timing: Timing | None = None,
) -> Home:
    """What the commands of a server that has `parts` have in common."""
    limits = ground.config.limits
    table = all_commands(ground.service, ground.hint_key)
    return Home(
        service=ground.service,
        table=table,
        described=described(ground.service, table),
        database=ground.database,
        bus=bus,
        sessions=sessions_of(limits),
        wall=ground.wall,
        tally=Tally(counts=dict.fromkeys(ground.service.counted, 0)),
        watchers=set() if watchers is None else watchers,
        charges=Charges(
            limits.commands, limits.deliveries, Networks(limits.trusted), ground.reactor
        ),
        parts=parts,
        timing=timing or Timing(ground.reactor.seconds),
    )
