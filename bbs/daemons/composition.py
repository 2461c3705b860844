"""Composes app servers, login servers and the fleet's own processes from their parts.

Neither knows its database, broker and clock: the daemons and the service in memory for tests
(`bbs.testing`) both compose them here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from twisted.application.service import IService
from twisted.internet.interfaces import IReactorTime

from bbs.commands.accounts import tell
from bbs.commands.background import STANDBY, Look, Scheduler
from bbs.commands.common import all_commands
from bbs.commands.context import (
    AccountLimits,
    AppServerParts,
    LoadedExtension,
    LoginServerParts,
    ServerContext,
)
from bbs.commands.cost_limits import CostLimits
from bbs.commands.declared import Answered
from bbs.commands.dispatch import Dispatcher
from bbs.commands.extensions import Every, Extension
from bbs.commands.service import Service, described, new_account_rule
from bbs.commands.strictness import check_declaration
from bbs.commands.timers import Timers
from bbs.config import Configuration, Limits
from bbs.config.sections import AUTO
from bbs.core.clock import ServiceClock, service_clock
from bbs.core.threads import IWorkers
from bbs.core.values import Policy, Tally, Timing, Trouble
from bbs.delivery.attendance import Attendance, Lapses
from bbs.delivery.broadcast import Broadcaster
from bbs.delivery.bus import Bus
from bbs.delivery.channels import TopicCheck
from bbs.delivery.listeners import Listeners
from bbs.delivery.presence import PresenceTracker
from bbs.limits.connections import Admission, Networks
from bbs.limits.fair_queue import FairQueue
from bbs.limits.password_hashing import Hasher, threads
from bbs.limits.rate_limits import FACTOR, Buckets, LoginLimits
from bbs.protocols.line import IConnection, LineFactory, LineLimits
from bbs.protocols.stomp import IStomp
from bbs.rules import accounts, auth, placement
from bbs.rules.membership import Member
from bbs.rules.servers import CONNECTED, FLEET_ONLY
from bbs.scaling.controller import FleetController, Follower
from bbs.scaling.events import FleetContext, FleetEvents
from bbs.scaling.housekeeping import Sweep
from bbs.scaling.identity import certainly_dead
from bbs.scaling.interfaces import IProvider
from bbs.scaling.lineage import Lineage
from bbs.scaling.waiting_room import WaitingRoom
from bbs.storage.database import Database
from bbs.storage.partitions import Retention


@dataclass(frozen=True)
class Runtime:
    """The base of every server.

    :ivar stomp: a client of the broker.
    :ivar reactor: its `seconds` is a steady clock to measure by.
    :ivar wall: stamps what is stored, in seconds since the epoch: the service's clock (`clock`).
    :ivar hint_key: signs the hints of all servers of the service.
    :ivar admission: decides who may connect to the process; None: a server has one of its own.
    :ivar answered: as `ServerContext` has it.
    """

    service: Service
    config: Configuration
    database: Database
    stomp: IStomp
    reactor: IReactorTime
    wall: Callable[[], float]
    hint_key: bytes
    admission: Admission | None = None
    answered: Answered | None = None

    def __post_init__(self) -> None:
        self.database.tell_settings(self.service.loaded(self.config.settings))

    @cached_property
    def clock(self) -> ServiceClock:
        """The service's clock."""
        return service_clock(self.wall, self.reactor.seconds)

    @property
    def settings(self) -> object:
        """The section that the service declares; None without one."""
        return self.settings_of(self.service)

    def settings_of(self, declared: Service | Extension) -> object:
        """The section that the service or an extension declares; None without one."""
        section = declared.settings
        return None if section is None else self.config.settings(section)

    def bus(self) -> Bus:
        return Bus(
            self.stomp,
            self.service.name,
            self.hint_key,
            self.reactor.seconds,
            self.clock,
            self.service.placed,
        )

    def topic_check(self, bus: Bus) -> TopicCheck:
        return TopicCheck(self.database, bus, self.reactor)


class AppServing:
    """An app server: its listeners, and the factory of its connections. The services `topics`,
    `listeners`, `presence`, `broadcaster` and those of `others` are to be started.

    :param workers: has a thread for work that would block the reactor.
    """

    scheduler: Scheduler
    lineage: Lineage

    def __init__(self, runtime: Runtime, workers: IWorkers) -> None:
        self._runtime, self._workers = runtime, workers
        config, reactor, bus = runtime.config, runtime.reactor, runtime.bus()
        watchers: set[IConnection] = set()
        self.topics = runtime.topic_check(bus)
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
            wall=runtime.clock,
        )
        self.broadcaster = Broadcaster(
            runtime.service.broadcast,
            runtime.database,
            bus,
            self.listeners,
            watchers,
            reactor,
            runtime.clock,
        )
        self.attendance = (
            Attendance(hooks, runtime.database, self.listeners, reactor, runtime.clock)
            if (hooks := runtime.service.hooks)
            else None
        )
        self._parts = AppServerParts(self.listeners, self.presence)
        self.home = make_context(runtime, bus, self._parts, watchers)
        self.listeners.charge = self.home.charges.charge_user
        self.factory = line_factory(runtime, self.home)

    def joined(self, member: Member) -> None:
        """Serve as a member of the fleet; then the service `scheduler` is to be started, and
        heartbeats are to be written by `lineage`."""
        server_id = member.id
        self._parts.server_id = self.listeners.relocation.server_id = server_id
        self.presence.server_id = server_id
        if self.attendance:
            self.attendance.server_id = server_id
        self.home.bus.serve(server_id)
        self.scheduler = make_scheduler(self._runtime, self.home, member, self._workers)
        runtime = self._runtime
        self.lineage = Lineage(runtime.database, server_id, runtime.wall, self.listeners.listening)
        self.listeners.look = self.lineage.look

    @property
    def others(self) -> Sequence[IService]:
        """Services that only some services need."""
        return [self.attendance] if self.attendance else []

    def tally(self) -> Tally:
        """The counts since the start, and how many people are connected now."""
        tally = self.home.tally
        tally.figures[CONNECTED] = self.listeners.connected
        return tally


@dataclass(frozen=True)
class Launching:
    """What the fleet's controller launches by: the `provider`, for the fleet `fleet_id`; `traces`
    as in `FleetContext`."""

    provider: IProvider
    fleet_id: str = ""
    traces: dict[str, str] = field(default_factory=dict)


class FollowingLogin:
    """A login server: the people who wait, the work in the background, the factory of its
    connections, and its membership in a fleet that processes of their own control.

    :param me: this login server, which is enrolled.
    :param workers: has a thread for work that would block the reactor.
    :param launches: whether the fleet's provider ever launches anything.
    :ivar member: to be started, before the other services.
    :ivar topics: to be started.
    """

    member: IService

    def __init__(
        self,
        runtime: Runtime,
        *,
        me: Member,
        hasher: Hasher,
        workers: IWorkers,
        launches: bool = True,
    ) -> None:
        config, reactor, bus = runtime.config, runtime.reactor, runtime.bus()
        watchers: set[IConnection] = set()
        self.topics = runtime.topic_check(bus)
        self.news = FleetEvents(bus)
        self.policy = policy_of(config, launches)
        self.timing = Timing(reactor.seconds)
        self.room = WaitingRoom(
            me=me,
            database=runtime.database,
            reactor=reactor,
            wall=runtime.clock,
            patience=config.fleet.launch_timeout,
            watchers=watchers,
            news=self.news,
            timing=self.timing,
            share=share_of_places(config),
            maximum=self.policy.maximum,
        )
        parts = LoginServerParts(
            hasher,
            account_limits(config.limits, reactor),
            self.room,
            accounts.DeviceTokens(runtime.hint_key),
            config.telnet.secret,
        )
        self.home = make_context(runtime, bus, parts, watchers, self.timing)
        self.member = self._make_member(runtime, me, workers)
        self.scheduler = make_scheduler(runtime, self.home, me, workers, STANDBY)
        self.factory = line_factory(runtime, self.home)

    def _make_member(self, runtime: Runtime, me: Member, workers: IWorkers) -> Any:
        return Follower(
            me=me,
            database=runtime.database,
            news=self.news,
            reactor=runtime.reactor,
            clock=runtime.clock,
            tally=self.home.tally,
            interval=runtime.config.fleet.heartbeat_interval,
        )


class LoginServing(FollowingLogin):
    """A login server with the fleet controller, which is its `member`. Arguments as those of
    `FollowingLogin` and `Launching`."""

    controller: FleetController

    def __init__(
        self,
        runtime: Runtime,
        *,
        me: Member,
        hasher: Hasher,
        provider: IProvider,
        workers: IWorkers,
        launches: bool = True,
        fleet_id: str = "",
        traces: dict[str, str] | None = None,
    ) -> None:
        self._launching = Launching(provider, fleet_id, {} if traces is None else traces)
        super().__init__(runtime, me=me, hasher=hasher, workers=workers, launches=launches)

    def _make_member(self, runtime: Runtime, me: Member, workers: IWorkers) -> Any:
        self.controller = make_controller(
            runtime, me, workers, self._launching, self.policy, self.news, self.home.tally
        )
        return self.controller


class FleetServing:
    """A process that controls the fleet and does nothing else: the services `controller` and
    `topics` are to be started. Arguments as those of `LoginServing`."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        me: Member,
        workers: IWorkers,
        launching: Launching,
        launches: bool = True,
    ) -> None:
        policy = policy_of(runtime.config, launches)
        tally = Tally(counts=dict.fromkeys(runtime.service.counted, 0))
        tally.figures[FLEET_ONLY] = 1
        bus = runtime.bus()
        self.topics = runtime.topic_check(bus)
        news = FleetEvents(bus)
        self.controller = make_controller(runtime, me, workers, launching, policy, news, tally)
        self.controller.kind = "process"


def make_controller(
    runtime: Runtime,
    me: Member,
    workers: IWorkers,
    launching: Launching,
    policy: Policy,
    news: FleetEvents,
    tally: Tally,
) -> FleetController:
    config = runtime.config
    return FleetController(
        FleetContext(
            me=me,
            database=runtime.database,
            provider=launching.provider,
            policy=policy,
            news=news,
            reactor=runtime.reactor,
            wall=runtime.clock,
            fleet_id=launching.fleet_id,
            traces=launching.traces,
        ),
        workers=workers,
        sweeps=sweeps_of(
            runtime.service, config.messages.message_retention, sessions_of(runtime.service, config)
        ),
        retention=_retention(runtime),
        heartbeat_interval=config.fleet.heartbeat_interval,
        tally=tally,
    )


def make_scheduler(
    runtime: Runtime, home: ServerContext, me: Member, workers: IWorkers, standby: float = 0.0
) -> Scheduler:
    jobs: list[tuple[Every, LoadedExtension | None]]
    jobs = [(every, None) for every in runtime.service.every]
    jobs += [
        (every, LoadedExtension(each, runtime.settings_of(each)))
        for each in runtime.service.extensions
        for every in each.every
    ]
    looks: list[Look] = []
    if rules := runtime.service.all_timers:
        looks.append(Timers(rules, runtime.database, home.wall).run_due)
    if hooks := runtime.service.hooks:
        looks.append(Lapses(hooks, runtime.database, home.wall).run_due)
    return Scheduler(home, jobs, me, runtime.reactor, workers.run, certainly_dead, standby, looks)


def account_limits(limits: Limits, reactor: IReactorTime) -> AccountLimits:
    # Enough that no thread waits for the reactor, and few enough that a newcomer waits for few.
    running, trusted = 2 * threads(), Networks(limits.trusted)
    queue = FairQueue(running, limits.connections_per_address, trusted, reactor)
    return AccountLimits(
        queue,
        LoginLimits(limits.failed_logins, limits.logins, reactor, queue, partial(tell, "login")),
        Buckets(limits.registrations, reactor),
        Buckets(limits.logins, reactor, times=FACTOR),
        limits.registration == "open",
        limits.password_minimum,
        limits.sessions_per_user,
    )


def share_of_places(config: Configuration) -> int:
    """The places that the people of one network may have, of all that the fleet can have."""
    most = config.fleet.maximum * config.app.capacity
    return max(placement.LEAST_SHARE, int(config.limits.places_per_address * most))


def policy_of(config: Configuration, launches: bool) -> Policy:
    """The operator's policy for the fleet; whether its provider ever `launches` anything."""
    wanted = config.fleet
    return Policy(
        minimum=wanted.minimum,
        maximum=wanted.maximum if launches else 0,
        # With a forecast, each round finds a new number.
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


def sweeps_of(service: Service, retention: float, sessions: auth.Sessions) -> Mapping[str, Sweep]:
    """The sweeps, by what they remove: unused sessions, messages that have been kept for
    `retention` seconds, and what `service` and its extensions have."""
    sweeps: dict[str, Sweep] = {"sessions": partial(accounts.end_stale_sessions, sessions)}
    if service.feed and (expire := service.feed.expire):
        sweeps["messages"] = lambda now: expire(now - retention)
    parts: list[Service | Extension] = [*service.extensions, service]
    sweeps.update((f"rows of {each.name}", each.sweep) for each in parts if each.sweep)
    return sweeps


def _retention(runtime: Runtime) -> Retention | None:
    feed = runtime.service.feed
    if feed is None or feed.partitions is None:
        return None
    return Retention(feed.partitions, runtime.config.messages.message_retention)


def make_context(
    runtime: Runtime,
    bus: Bus,
    parts: LoginServerParts | AppServerParts,
    watchers: set[IConnection],
    timing: Timing | None = None,
) -> ServerContext:
    limits = runtime.config.limits
    table = all_commands(runtime.service, runtime.hint_key)
    check_declaration(runtime.service, table)
    return ServerContext(
        service=runtime.service,
        table=table,
        described=described(runtime.service, table),
        settings=runtime.settings,
        extensions={
            name: LoadedExtension(each, runtime.settings_of(each))
            for each in runtime.service.extensions
            for name in each.commands_of()
        },
        on_register=new_account_rule(runtime.service, runtime.config.settings),
        database=runtime.database,
        bus=bus,
        sessions=sessions_of(runtime.service, runtime.config),
        wall=runtime.clock,
        tally=Tally(counts=dict.fromkeys(runtime.service.counted, 0)),
        watchers=watchers,
        charges=CostLimits(
            limits.commands, limits.deliveries, Networks(limits.trusted), runtime.reactor
        ),
        parts=parts,
        timing=timing or Timing(runtime.reactor.seconds),
        answered=runtime.answered,
    )


def sessions_of(service: Service, config: Configuration) -> auth.Sessions:
    """How long sessions live, and the limits for each user."""
    limits = config.limits_of(service.limits)
    return auth.Sessions(limits.session_ttl, limits)


def line_factory(runtime: Runtime, home: ServerContext) -> LineFactory:
    """The factory that serves the commands of `home` by the line protocol, and counts refused
    connections."""
    reactor, limits = runtime.reactor, runtime.config.limits
    admission = runtime.admission or admission_of(reactor, limits)
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
    trusted = Networks(limits.trusted)
    return Admission(limits.connections, trusted, descriptors, reactor.seconds)
