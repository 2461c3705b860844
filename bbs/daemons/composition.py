"""The composition of servers: an app server and a login server, put together of their parts.

Neither knows which database, broker and clock it stands on: the daemons and the service in memory
for tests (`bbs.testing`) both take it from here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from twisted.internet.interfaces import IReactorTime

from bbs.commands.accounts import tell
from bbs.commands.common import all_commands
from bbs.commands.context import AccountLimits, AppServerParts, LoginServerParts, ServerContext
from bbs.commands.dispatch import CostLimits, Dispatcher
from bbs.commands.service import Service, described
from bbs.config import Configuration, Limits
from bbs.config.sections import AUTO
from bbs.core.threads import IWorkers
from bbs.core.values import Policy, Quotas, Tally, Timing, Trouble
from bbs.delivery.bus import Bus
from bbs.delivery.listeners import Listeners
from bbs.delivery.presence import PresenceTracker
from bbs.limits.buckets import Buckets
from bbs.limits.connections import Admission, Networks
from bbs.limits.fair_queue import FairQueue
from bbs.limits.logins import LoginLimits
from bbs.limits.password_hashing import Hasher, threads
from bbs.protocols.line import IConnection, LineFactory, LineLimits
from bbs.protocols.stomp import IStomp
from bbs.rules import accounts, auth
from bbs.rules.membership import Member
from bbs.rules.servers import CONNECTED
from bbs.scaling.controller import FleetContext, FleetController, Sweep
from bbs.scaling.events import FleetEvents
from bbs.scaling.interfaces import IProvider
from bbs.scaling.waiting_room import WaitingRoom
from bbs.storage.database import Database


@dataclass(frozen=True)
class Runtime:
    """The base of every server. `stomp` is a client of the broker. All servers of the
    service prove their hints by `hint_key`. `reactor.seconds` is the clock to measure by, which
    nobody sets, and `wall` (seconds since the epoch) stamps what is stored."""

    service: Service
    config: Configuration
    database: Database
    stomp: IStomp
    reactor: IReactorTime
    wall: Callable[[], float]
    hint_key: bytes

    def bus(self) -> Bus:
        """Tells and hears the service's hints."""
        return Bus(self.stomp, self.service.name, self.hint_key, self.reactor.seconds)


class AppServing:
    """An app server: its listeners, and the factory of its connections."""

    def __init__(self, runtime: Runtime, admission: Admission | None = None) -> None:
        config, reactor = runtime.config, runtime.reactor
        bus = runtime.bus()
        watchers: set[IConnection] = set()
        self.listeners = Listeners(
            database=runtime.database,
            bus=bus,
            feed=runtime.service.feed,
            poll_interval=config.messages.poll_interval,
            reactor=reactor,
            watchers=watchers,
        )
        self.presence = PresenceTracker(
            database=runtime.database,
            bus=bus,
            listeners=self.listeners,
            place_ttl=config.app.place_ttl,
            session_ttl=config.limits.session_ttl,
            reactor=reactor,
            wall=runtime.wall,
        )
        self._parts = AppServerParts(self.listeners, self.presence)
        self.home = home_of(runtime, bus, self._parts, watchers)
        self.factory = line_factory(reactor, self.home, config.limits, admission)

    def joined(self, server_id: str) -> None:
        """Serve under this id from now on, as a member of the fleet."""
        self._parts.server_id = self.listeners.relocation.server_id = server_id
        self.presence.server_id = server_id

    def tally(self) -> Tally:
        """Counts since the start, and how many are connected now."""
        tally = self.home.tally
        tally.figures[CONNECTED] = self.listeners.connected
        return tally


class LoginServing:
    """A login server: the fleet's keeper, those who wait, and the factory of its connections.

    :param me: this login server, which is enrolled.
    :param workers: has a thread for what the keeper must not do on the reactor.
    :param launches: whether the provider ever launches anything.
    :param admission: who may connect to the process.
    :param fleet_id: which fleet the provider launches for.
    :param traces: what the provider knows of traces: see `FleetContext`.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        me: Member,
        hasher: Hasher,
        provider: IProvider,
        workers: IWorkers,
        launches: bool = True,
        admission: Admission | None = None,
        fleet_id: str = "",
        traces: dict[str, str] | None = None,
    ) -> None:
        config, reactor = runtime.config, runtime.reactor
        bus = runtime.bus()
        watchers: set[IConnection] = set()
        self.news = FleetEvents(bus)
        self.policy = policy_of(config, launches)
        self.timing = Timing(reactor.seconds)
        self.room = WaitingRoom(
            me=me,
            database=runtime.database,
            reactor=reactor,
            wall=runtime.wall,
            patience=config.fleet.launch_timeout,
            watchers=watchers,
            news=self.news,
            timing=self.timing,
        )
        parts = LoginServerParts(
            hasher,
            account_limits(config.limits, reactor),
            self.room,
            config.telnet.secret,
        )
        self.home = home_of(runtime, bus, parts, watchers, self.timing)
        self.keeper = FleetController(
            FleetContext(
                me=me,
                database=runtime.database,
                provider=provider,
                policy=self.policy,
                news=self.news,
                reactor=reactor,
                wall=runtime.wall,
                fleet_id=fleet_id,
                traces={} if traces is None else traces,
            ),
            workers=workers,
            sweeps=_sweeps(runtime, self.home.sessions),
            heartbeat_interval=config.fleet.heartbeat_interval,
            tally=self.home.tally,
        )
        self.factory = line_factory(reactor, self.home, config.limits, admission)


def account_limits(limits: Limits, reactor: IReactorTime) -> AccountLimits:
    """Limits for strangers who register or log in, by `[limits]`."""
    # So many that no thread waits for the reactor to hand it the next, and few enough that a
    # newcomer waits for few.
    queue = FairQueue(
        2 * threads(), limits.connections_per_address, Networks(limits.trusted), reactor
    )
    return AccountLimits(
        queue,
        LoginLimits(limits.failed_logins, limits.logins, reactor, queue, partial(tell, "login")),
        Buckets(limits.registrations, reactor),
        limits.registration == "open",
        limits.password_minimum,
        limits.sessions_per_user,
    )


def policy_of(config: Configuration, launches: bool) -> Policy:
    """The operator's policy for the fleet, whose provider `launches` or never does."""
    wanted = config.fleet
    return Policy(
        minimum=wanted.minimum,
        maximum=wanted.maximum if launches else 0,
        # Where it is foreseen, each round says anew how many.
        spare=wanted.spare if isinstance(wanted.spare, int) else 0,
        capacity=config.app.capacity,
        idle_grace=wanted.idle_grace,
        launch_timeout=wanted.launch_timeout,
        lost_after=wanted.lost_after,
        foresees=wanted.spare == AUTO,
        warm=wanted.warm if launches else 0,
        wait_target=wanted.wait_target,
        consolidate_after=wanted.consolidate_after,
    )


def _sweeps(runtime: Runtime, sessions: auth.Sessions) -> Sequence[Sweep]:
    """The sweeps of unused sessions, of what has expired in the service's feed, and of the service
    itself."""
    service, retention = runtime.service, runtime.config.messages.message_retention
    sweeps: list[Sweep] = [partial(accounts.end_stale_sessions, sessions)]
    if service.feed and (expire := service.feed.expire):
        sweeps.append(lambda now: expire(now - retention))
    if service.sweep:
        sweeps.append(service.sweep)
    return sweeps


def home_of(
    runtime: Runtime,
    bus: Bus,
    parts: LoginServerParts | AppServerParts,
    watchers: set[IConnection] | None = None,
    timing: Timing | None = None,
) -> ServerContext:
    """The context that all commands of a server with these `parts` share."""
    limits = runtime.config.limits
    table = all_commands(runtime.service, runtime.hint_key)
    return ServerContext(
        service=runtime.service,
        table=table,
        described=described(runtime.service, table),
        database=runtime.database,
        bus=bus,
        sessions=sessions_of(limits),
        wall=runtime.wall,
        tally=Tally(counts=dict.fromkeys(runtime.service.counted, 0)),
        watchers=set() if watchers is None else watchers,
        charges=CostLimits(
            limits.commands, limits.deliveries, Networks(limits.trusted), runtime.reactor
        ),
        parts=parts,
        timing=timing or Timing(runtime.reactor.seconds),
    )


def sessions_of(limits: Limits) -> auth.Sessions:
    """How long sessions live, and what those may have whose they are."""
    quotas = Quotas(
        friends=limits.friends,
        groups=limits.groups,
        members=limits.members,
        inbox=limits.inbox,
        posts=limits.posts,
    )
    return auth.Sessions(limits.session_ttl, quotas)


def line_factory(
    reactor: IReactorTime, home: ServerContext, limits: Limits, admission: Admission | None
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


def admission_of(
    reactor: IReactorTime, limits: Limits, descriptors: int | None = None
) -> Admission:
    """The admission of a process, which may have so many `descriptors` open."""
    trusted = Networks(limits.trusted)
    return Admission(limits.connections, trusted, descriptors, reactor.seconds)
