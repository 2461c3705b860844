"""The fleet's controller: observe, plan, carry out.

Every login server runs a controller; the one that holds the lease in the database leads the fleet.
With `fleet.controller = "own"` other processes do, and login servers have a `Follower`.

Each round observes everything, has `bbs.scaling.planner` decide, and acts. A round can be cut off
between any two steps: the next one, of this controller or its successor, goes on. A launch is
written down before the provider is asked, and asking again under the same id is harmless.

A round also moves people off draining servers (`Drainer`), which serve on meanwhile. Sweeping away
expired rows can take minutes, so it is done beside the rounds (`Housekeeping`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, replace

from twisted.application.internet import TimerService
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from bbs.core.clock import ServiceClock
from bbs.core.errors import Unavailable
from bbs.core.threads import IWorkers
from bbs.core.values import DrainCause, State, Tally
from bbs.rules import fleet_transitions, membership, placement, servers
from bbs.rules.fleet_admin import DELAY, Blocker
from bbs.rules.membership import LeaseSeen, Member, Observation, PeerSeen, Watch
from bbs.rules.servers import FOLLOWS, MOVED, SPARE, ServerRow
from bbs.scaling.backoff import LaunchBreaker
from bbs.scaling.clock_check import ClockCheck
from bbs.scaling.demand import DemandTracker
from bbs.scaling.events import FleetContext, FleetEvents, Outbox
from bbs.scaling.executor import Executor
from bbs.scaling.fleet_view import ServerView
from bbs.scaling.housekeeping import Housekeeping, Sweep
from bbs.scaling.identity import certainly_dead
from bbs.scaling.interfaces import IFleetController
from bbs.scaling.lineage import Lineage
from bbs.scaling.observer import Ages, FleetObserver, Inventory
from bbs.scaling.planner import ZONES, Effect, plan
from bbs.scaling.pools import PoolMemory, guide, lacking_pools, pools_of
from bbs.storage.database import Database
from bbs.storage.partitions import Retention

ROUND_SPACING = 0.02
"""Seconds at least between the starts of two rounds, so that many people cause few rounds. After a
quiet time a round begins at once."""

ROUND_SPACING_PER_SERVER = 40e-6
"""Seconds between rounds for each server of a large fleet: five times a round's cost for each, so
that the login server has time for people while many of them come."""

REREAD_INTERVAL = 60.0
"""Seconds after which every server's whole row is read again, and not only what changes while it
serves: an operator may have edited it."""

DELAY_NOTICE = 10.0
"""Seconds for which a replacement waits before operators are told: in any busy service people wait
for a moment now and then."""

MOVES_AT_ONCE = 2
"""People who are moved at once if nothing is urgent: so few that a server does not feel their new
connections, and that few suffer if something goes wrong."""

MOVE_PAUSE = 1.0
"""Seconds between two such moves: by then people have usually arrived. A server of a hundred people
is empty within a minute."""

RECALLED = 7200.0  # seconds for which launches of earlier controllers are of interest

_log = Logger()


@implementer(IFleetController)
@dataclass(eq=False, repr=False)
class FleetController(Service):
    """Leads the fleet while it holds the lease; else watches the controller that does.

    :param sweeps: rules for expired rows, by what they remove, in addition to the fleet's own.
    :param retention: of tables whose rows expire together.
    :param heartbeat_interval: seconds between rounds, if nothing asks for one sooner.
    :param tally: this server's counts, for the others.
    :param kind: what kind of server this is, for the log.
    """

    context: FleetContext
    _: KW_ONLY
    workers: IWorkers
    sweeps: Mapping[str, Sweep]
    heartbeat_interval: float
    tally: Tally
    kind: str = "login server"
    retention: Retention | None = None

    def __post_init__(self) -> None:
        context, interval = self.context, self.heartbeat_interval
        self.me = context.me
        self.is_leader = False
        self._database = context.database
        self._run = context.database.run
        self._provider = context.provider
        self._policy = context.policy
        self._news = context.news
        self._reactor = context.reactor
        self._wall = context.wall
        self._lineage = Lineage(self._database, self.me.id, self._wall)
        self._watch = Watch()
        self._serving: Mapping[str, ServerRow] = {}
        """The servers whose rows are known, but for what changes while they serve."""
        self._reread_at = 0.0
        self._began, self._spacing = float("-inf"), ROUND_SPACING
        self._last_round = float("inf")
        # No TimerService: a round can be asked for sooner than it is due.
        self._next: IDelayedCall | None = None
        self._round: Deferred[None] | None = None
        self._wants_another = False
        self._delay = _Delay()
        self._inventory = Inventory(self._provider, self, self._reactor)
        # A launch that another controller began has at least half of its time left.
        self._ages = Ages(self._reactor, self._wall, self._policy.launch_timeout / 2)
        self._demand = DemandTracker(self._policy, interval, self._reactor)
        self._breaker = LaunchBreaker(context)
        self._pools = PoolMemory(pools_of(self._provider), self._reactor)
        self._observer = FleetObserver(context, self._inventory, self._ages, interval)
        self._executor = Executor(
            context, self._inventory, self._ages, self._breaker, self._pools, self._demand, self
        )
        self._drainer = Drainer(context)
        self._check = ClockCheck(context)
        self._housekeeping = Housekeeping(context, self.sweeps, self, self.retention, self._check)
        self._outbox = Outbox(context, self)

    def startService(self) -> None:
        Service.startService(self)
        self._provider.when_changed = self.look_soon
        self._provider.startService()
        self._news.hear(self)
        self._outbox.startService()
        self._housekeeping.startService()
        self._next = self._reactor.callLater(0, self._begin)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        if self._next:
            self._next.cancel()
        return Deferred.fromCoroutine(self._finish())

    async def _finish(self) -> None:
        if self._round:
            await self._round
        await maybeDeferred(self._outbox.stopService)
        await maybeDeferred(self._housekeeping.stopService)
        await self._executor.finish()
        await maybeDeferred(self._provider.stopService)
        if self.is_leader and not self._provider.shared:
            await self._close_children()
        with suppress(Unavailable):  # Without the database the lease lapses by itself.
            await self._run(membership.resign, self.me)
        self._news.gone()

    async def _close_children(self) -> None:
        for id in await self._provider.list():
            try:
                await self._run(fleet_transitions.close, self.me, id, None, "stopped", self._wall())
            except (Unavailable, fleet_transitions.NotLeader):
                return

    @property
    def provider_away(self) -> str:
        """Why the provider does not answer; "" if it does, or if this controller does not lead."""
        return self._inventory.away

    def look_soon(self) -> None:
        if self._next is None:
            self._wants_another = True
        elif self.running:
            soon = self._earliest()
            if self._next.getTime() > self._reactor.seconds() + soon:
                self._next.reset(soon)

    def _earliest(self) -> float:
        return max(0.0, self._began + self._spacing - self._reactor.seconds())

    def _begin(self) -> None:
        self._next, self._wants_another = None, False
        self._began = self._reactor.seconds()
        self._round = Deferred.fromCoroutine(self._one_round())
        self._round.addErrback(
            lambda failure: _log.failure("a round of the fleet failed", failure=failure)
        )
        self._round.addCallback(lambda _: self._ended())

    def _ended(self) -> None:
        self._round = None
        if not self.running:
            return
        if self._wants_another:
            pause = self._earliest()
        else:  # Sooner while people are moved.
            pause = min(self._drainer.pause or self.heartbeat_interval, self.heartbeat_interval)
        self._next = self._reactor.callLater(pause, self._begin)

    async def _one_round(self) -> None:
        try:
            if self._began >= self._reread_at:
                self._reread_at = self._began + REREAD_INTERVAL
                self._serving = {}
            clock = self.context.clock
            clock.note(self.tally.figures)
            asked = clock.steady()
            seen = await self._lineage.beat(
                membership.observe, self.me, self.tally, self._serving, self._database.node
            )
            clock.hear(seen.reading, asked)
            now = self._reactor.seconds()
            # As far as this time counts as silence of others.
            elapsed = max(0.0, min(now - self._last_round, 2 * self.heartbeat_interval))
            self._last_round = now
            if seen.lease.holder != self.me.id:
                await self._watch_leader(seen.lease, elapsed)
                return
            if not self.is_leader:
                await self._run(fleet_transitions.begin, self.me, self._wall())
                await self._recall()
                self.is_leader = True
                _log.info("this {kind} leads the fleet", kind=self.kind)
            await self._check.look()
            await self._lead(seen, elapsed)
        except Unavailable:
            _log.debug("a round without the database")
        except fleet_transitions.NotLeader:
            self._step_down()

    async def _watch_leader(self, lease: LeaseSeen, elapsed: float) -> None:
        if self.is_leader:
            self._step_down()
        silent = self._watch.silence(lease.holder, lease.beats, elapsed)
        dead = silent > self._policy.lost_after or bool(await self._dead([lease.identity]))
        if dead and await self._run(membership.take_lease, self.me, lease):
            _log.warn("the fleet's controller is dead; this {kind} takes over", kind=self.kind)
            self._wants_another = True

    async def _recall(self) -> None:
        """Learn how the launches of earlier controllers went."""
        wall = self._wall()
        for launch in await self._run(servers.past_launches, wall - RECALLED):
            if launch.served:
                self._pools.served(launch.strategy)
            else:
                self._pools.failed(launch.strategy, ago=max(0.0, wall - launch.at))

    def _step_down(self) -> None:
        self.is_leader = False
        self._serving = {}
        knowing = (self._demand, self._breaker, self._pools, self._check)
        for part in (self._inventory, self._observer, self._ages, *knowing):
            part.forget()
        self._executor.forget()
        for name in (SPARE, DELAY):
            self.tally.figures.pop(name, None)
        _log.warn("another {kind} leads the fleet now", kind=self.kind)

    async def _dead(self, identities: Sequence[str]) -> Collection[str]:
        """The `identities` whose processes, on this machine, are certainly dead. A thread reads the
        files of /proc; not a database thread, where people's transactions would wait."""
        others = {*identities} - {"", self.me.identity}
        return await self.workers.run(certainly_dead, others) if others else ()

    async def _forget_dead_peers(
        self, peers: Sequence[PeerSeen], dead: Collection[str], elapsed: float
    ) -> None:
        for peer in peers:
            silent = self._watch.silence(peer.id, peer.beats, elapsed)
            if peer.identity in dead or silent > self._policy.lost_after:
                _log.warn("login server {login_server} is dead", login_server=peer.id)
                await self._run(fleet_transitions.forget_peer, self.me, peer.id)
        self._watch.keep({peer.id for peer in peers})

    async def _lead(self, seen: Observation, elapsed: float) -> None:
        self._outbox.look_now(bool(seen.waiting))
        self._serving = seen.serving
        self._spacing = max(ROUND_SPACING, ROUND_SPACING_PER_SERVER * len(seen.servers))
        launchers = {scope.partition(":")[2] for scope in {row.scope for row in seen.servers}}
        dead = await self._dead([*launchers, *(peer.identity for peer in seen.peers)])
        await self._forget_dead_peers(seen.peers, dead, elapsed)

        fleet = await self._observer.look(seen, elapsed, dead, lambda: self._breaker.launches)
        demand = self._demand.see(seen)
        self._executor.ask_again(fleet, seen.others)
        policy = self._demand.policy
        if self._pools.are_several:
            late_after = self._demand.late_after
            self._pools.see(fleet.servers.values(), late_after)
            zones = self._pools.trusted_zones(lacking_pools(self._provider))
            fleet = replace(fleet, zones=zones)
            policy = replace(policy, hedge_after=late_after)
        planned = plan(fleet, demand, policy)
        if any(step.effect is Effect.ADDS for step in planned.steps):
            in_two_zones = policy.minimum >= ZONES
            guide(self._provider, self._pools, fleet.servers.values(), in_two_zones)
        await self._executor.carry_out(planned, fleet, self._began)

        figures = self.tally.figures
        figures[SPARE] = policy.spare
        figures[DELAY] = self._delay.note(planned.blocker, self._reactor.seconds())
        moved = await self._drainer.move(fleet.servers.values())
        figures[MOVED] = figures.get(MOVED, 0) + moved
        if seen.homeless:
            moves = await self._run(fleet_transitions.settle, self.me)
            self._news.moved(moves)
            if len(moves) == placement.SETTLED_AT_ONCE:
                self.look_soon()  # More people may find places.
        await self._breaker.stamp_again()


@implementer(IFleetController)
class Follower(TimerService):
    """In a login server of a fleet that processes of their own control: shows them and operators
    that it lives, and never takes the lease.

    :param clock: the service's, which follows the database's with each heartbeat.
    :param tally: this login server's counts.
    :param interval: seconds between heartbeats.
    """

    is_leader = False

    def __init__(
        self,
        *,
        me: Member,
        database: Database,
        news: FleetEvents,
        reactor: IReactorTime,
        clock: ServiceClock,
        tally: Tally,
        interval: float,
    ) -> None:
        TimerService.__init__(self, interval, lambda: Deferred.fromCoroutine(self._beat()))
        self.clock = reactor
        self._clock = clock
        self._me = me
        self._database = database
        self._run = database.run
        self._lineage = Lineage(database, me.id, clock)
        self._news = news
        self._tally = tally
        tally.figures[FOLLOWS] = 1

    def startService(self) -> None:
        self._news.hear(self)
        TimerService.startService(self)

    def stopService(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._finish(maybeDeferred(TimerService.stopService, self)))

    async def _finish(self, stopped: Deferred[None]) -> None:
        await stopped
        with suppress(Unavailable):  # Without the database the row is found dead.
            await self._run(membership.resign, self._me)

    def look_soon(self) -> None:
        """Nothing: the process that controls the fleet hears the same hints."""

    async def _beat(self) -> None:
        try:
            node, asked = self._database.node, self._clock.steady()
            self._clock.note(self._tally.figures)
            read = await self._lineage.beat(membership.attend, self._me, self._tally, node)
            self._clock.hear(read, asked)
        except Unavailable:
            pass
        except Exception:  # After an error the timer would stop.
            _log.failure("a heartbeat failed")


class _Delay:
    """Remembers what holds replacements up and since when, and logs it once it lasts."""

    def __init__(self) -> None:
        self._blocker: Blocker | None = None
        self._since = 0.0
        self._is_logged = False

    def note(self, blocker: Blocker | None, now: float) -> int:
        """Note the present `blocker`; returns its number if it has lasted, else 0."""
        if blocker is not self._blocker:
            self._blocker, self._since, self._is_logged = blocker, now, False
        if blocker is None or now - self._since < DELAY_NOTICE:
            return 0
        if not self._is_logged:
            self._is_logged = True
            _log.warn("replacing servers waits: {reason}", reason=blocker.text)
        return int(blocker)


class Drainer:
    """Moves people off servers: all at once if the server has to go, else a few at a time."""

    def __init__(self, context: FleetContext) -> None:
        self._context = context
        self._moved_at = float("-inf")

    async def move(self, servers: Iterable[ServerView]) -> int:
        """Move people off draining servers; returns how many were moved for a consolidation."""
        context, consolidated = self._context, 0
        run, news, me = context.database.run, context.news, context.me
        for server in servers:
            if server.state is not State.DRAINING or not server.taken:
                continue
            if not server.could_stay:
                news.moved(await run(fleet_transitions.move_off, me, server.id))
            elif self.pause <= 0:
                self._moved_at = context.reactor.seconds()
                needs_it = DrainCause.CONSOLIDATION not in server.causes
                moves = await run(
                    fleet_transitions.move_some_off,
                    me,
                    server.id,
                    MOVES_AT_ONCE,
                    context.wall(),
                    needs_it,
                )
                news.moved(moves)
                consolidated += 0 if needs_it else len(moves)
        return consolidated

    @property
    def pause(self) -> float:
        """Seconds until people may be moved again without need."""
        return max(0.0, self._moved_at + MOVE_PAUSE - self._context.reactor.seconds())
