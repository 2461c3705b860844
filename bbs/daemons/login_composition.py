"""The composition of a login server; what both kinds of server have is in `composition.py`.

It is a module of its own, so that app servers, whose start people wait for, do not load the fleet.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from bbs.commands.accounts import tell
from bbs.commands.ask import AccountLimits, LoginServerParts
from bbs.config import Configuration, Limits
from bbs.config.sections import AUTO
from bbs.daemons.composition import Ground, home_of, line_factory
from bbs.limits.buckets import Buckets
from bbs.limits.connections import Admission, Networks
from bbs.limits.fair import FairQueue
from bbs.limits.logins import LoginLimits
from bbs.passwords import Hasher, threads
from bbs.protocols.line import IConnection
from bbs.rules import accounts, callers
from bbs.rules.members import Member
from bbs.scaling.context import FleetContext
from bbs.scaling.controller import FleetController
from bbs.scaling.housekeeping import Sweep
from bbs.scaling.interfaces import IProvider
from bbs.scaling.news import FleetNews
from bbs.scaling.waiting import WaitingRoom
from bbs.values import Policy, Timing
from bbs.workers import IWorkers


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
        ground: Ground,
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
        config, reactor = ground.config, ground.reactor
        bus = ground.bus()
        watchers: set[IConnection] = set()
        self.news = FleetNews(bus)
        self.policy = policy_of(config, launches)
        self.timing = Timing(reactor.seconds)
        self.room = WaitingRoom(
            me=me,
            database=ground.database,
            reactor=reactor,
            wall=ground.wall,
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
        self.home = home_of(ground, bus, parts, watchers, self.timing)
        self.keeper = FleetController(
            FleetContext(
                me=me,
                database=ground.database,
                provider=provider,
                policy=self.policy,
                news=self.news,
                reactor=reactor,
                wall=ground.wall,
                fleet_id=fleet_id,
                traces={} if traces is None else traces,
            ),
            workers=workers,
            sweeps=_sweeps(ground, self.home.sessions),
            heartbeat_interval=config.fleet.heartbeat_interval,
            tally=self.home.tally,
        )
        self.factory = line_factory(reactor, self.home, config.limits, admission)


def account_limits(limits: Limits, reactor: Any) -> AccountLimits:
    """What `[limits]` says of strangers who want in."""
    # So many that no thread waits for the reactor to hand it the next, and few enough that who
    # comes waits for few.
    queue = FairQueue(
        2 * threads(), limits.connections_per_address, Networks(limits.trusted), reactor
    )
    seconds = reactor.seconds
    return AccountLimits(
        queue,
        LoginLimits(limits.failed_logins, limits.logins, seconds, queue, partial(tell, "login")),
        Buckets(limits.registrations, seconds),
        limits.registration == "open",
        limits.password_minimum,
        limits.sessions_per_user,
    )


def policy_of(config: Configuration, launches: bool) -> Policy:
    """What the operator wants of the fleet, whose provider `launches` or never does."""
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
