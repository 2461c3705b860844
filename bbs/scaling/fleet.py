"""The fleet's keeper: look, plan, act.

Every login server runs one of these, and one of them at a time keeps the fleet: whoever holds the
lease in the database. A round looks at everything, has `bbs.scaling.plan` decide, and acts; it can
be cut off between any two steps, and the next one, of this keeper or its successor, goes on. A
launch is written down before the provider is asked, and asking again under the same id is harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from bbs.bus import Bus
from bbs.database import Database
from bbs.errors import Unavailable
from bbs.rules import accounts, fleet, messages
from bbs.scaling import plan
from bbs.scaling.interfaces import Instance, IProvider
from bbs.scaling.plan import State
from bbs.scaling.steps import Steps

GATHER = 0.02
"""Seconds in which reasons to look are gathered, so that many people make one round."""

HOUSEKEEPING_INTERVAL = 60.0
"""Seconds between sweeps for what has expired."""

GONE_KEPT = 86400.0
"""Seconds for which the rows of ended servers are kept: estimates are made from them."""

_log = Logger()


@dataclass(frozen=True)
class Upkeep:
    """What is swept away: unused sessions, and messages after `message_retention` seconds."""

    sessions: accounts.Sessions
    message_retention: float


class _Watch:
    """Since when a count of heartbeats has not moved, by the watcher's own clock.

    Time in which the watcher did not look is not held against anybody.
    """

    def __init__(self) -> None:
        self._beats: dict[str, int] = {}
        self._silence: dict[str, float] = {}

    def silence(self, key: str, beats: int, elapsed: float) -> float:
        """Seconds for which `key` has been silent, `elapsed` of them since the last look."""
        moved = self._beats.get(key) != beats
        self._beats[key] = beats
        self._silence[key] = 0.0 if moved else self._silence[key] + elapsed
        return self._silence[key]


class FleetKeeper(Service):
    """Keeps the fleet while it holds the lease; else watches whoever does.

    :param me: this login server.
    :param policy: what the operator wants.
    :param heartbeat_interval: seconds between rounds, when nothing asks for one sooner.
    :param on_places: called when there may be places for those who wait.
    """

    def __init__(
        self,
        me: fleet.Member,
        database: Database,
        provider: IProvider,
        policy: plan.Policy,
        bus: Bus,
        upkeep: Upkeep,
        heartbeat_interval: float,
        on_places: Callable[[], None],
        reactor: Any,
    ) -> None:
        self.me = me
        self.keeping = False
        self._database = database
        self._provider = provider
        self._policy = policy
        self._bus = bus
        self._upkeep = upkeep
        self._interval = heartbeat_interval
        self._on_places = on_places
        self._reactor = reactor
        self._watch = _Watch()
        self._idle_since: dict[str, float] = {}
        self._last_round: float | None = None
        self._last_housekeeping = 0.0
        self._next: Any = None
        self._round: Deferred[None] | None = None
        self._again = False
        self._steps = Steps(me, database, provider, policy, bus, on_places, self.look_soon, reactor)

    # Service

    def startService(self) -> None:
        Service.startService(self)
        self._provider.when_changed = self.look_soon
        self._provider.startService()
        self._bus.hear_fleet(self._hinted)
        self._next = self._reactor.callLater(0, self._begin)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        if self._next:
            self._next.cancel()
        return Deferred.fromCoroutine(self._finish())

    async def _finish(self) -> None:
        if self._round:
            await self._round
        await self._steps.finish()
        await maybeDeferred(self._provider.stopService)
        if self.keeping and self._provider.scope.startswith("local:"):
            await self._close_children()
        with suppress(Unavailable):  # Else the lease lapses by itself.
            await self._database.run(fleet.resign, self.me)
        self._bus.tell_fleet("gone")

    # Rounds

    def look_soon(self) -> None:
        """Something has changed: look at once, or again after the present round."""
        if self._round:
            self._again = True
        elif (
            self.running and self._next and self._next.getTime() > self._reactor.seconds() + GATHER
        ):
            self._next.reset(GATHER)

    def _hinted(self, hint: Mapping[str, Any]) -> None:
        self._on_places()
        self.look_soon()

    def _begin(self) -> None:
        self._next, self._again = None, False
        self._round = Deferred.fromCoroutine(self._one_round())
        self._round.addErrback(
            lambda failure: _log.failure("a round of the fleet went wrong", failure=failure)
        )
        self._round.addCallback(lambda _: self._ended())

    def _ended(self) -> None:
        self._round = None
        if self.running:
            self._next = self._reactor.callLater(
                GATHER if self._again else self._interval, self._begin
            )

    async def _one_round(self) -> None:
        try:
            seen = await self._database.run(fleet.observe, self.me)
            elapsed = self._elapsed()
            if seen.lease.holder != self.me.id:
                await self._watch_keeper(seen.lease, elapsed)
                return
            if not self.keeping:
                self.keeping = True
                _log.info("this login server keeps the fleet")
            await self._keep(seen, elapsed)
        except Unavailable:
            _log.debug("a round without the database")
        except fleet.NotKeeper:
            self._deposed()

    def _elapsed(self) -> float:
        """Seconds since the last look, as far as they may be held against those who were silent."""
        now = self._reactor.seconds()
        last, self._last_round = self._last_round, now
        return 0.0 if last is None else min(now - last, 2 * self._interval)

    async def _watch_keeper(self, lease: fleet.LeaseSeen, elapsed: float) -> None:
        if self.keeping:
            self._deposed()
        silent = self._watch.silence(lease.holder, lease.beats, elapsed)
        dead = lease.dead or silent > self._policy.lost_after
        if dead and await self._database.run(fleet.seize, self.me, lease):
            _log.warn("the fleet's keeper is dead; this login server takes over")
            self._again = True

    def _deposed(self) -> None:
        self.keeping = False
        _log.warn("another login server keeps the fleet now")

    async def _keep(self, seen: fleet.Observation, elapsed: float) -> None:
        instances = await self._provider.list()
        now = self._reactor.seconds()
        await self._forget_dead_peers(seen.peers, elapsed)
        await self._launch_again(seen.servers, instances)
        since_failure = now - self._steps.last_failure
        demand = plan.Demand(seen.waiting, self._steps.failures, since_failure, asked=0)
        servers = [self._as_seen(row, instances, elapsed, now) for row in seen.servers]
        rows = {row.id: row for row in seen.servers}
        self._idle_since = {id: since for id, since in self._idle_since.items() if id in rows}
        for step in plan.plan(servers, demand, self._policy):
            await self._steps.take(step, rows, instances)
        for row in seen.servers:
            if row.state is State.DRAINING and row.taken:
                self._steps.tell(await self._database.run(fleet.move_off, self.me, row.id))
        if seen.waiting:
            self._steps.tell(await self._database.run(fleet.settle, self.me))
        await self._keep_house(now)

    def _as_seen(
        self,
        row: fleet.ServerSeen,
        instances: Mapping[str, Instance],
        elapsed: float,
        now: float,
    ) -> plan.Seen:
        if row.taken or row.state is State.LAUNCHING:
            self._idle_since.pop(row.id, None)
        else:
            self._idle_since.setdefault(row.id, now)
        return plan.Seen(
            id=row.id,
            state=row.state,
            taken=row.taken,
            capacity=row.capacity,
            reported=row.port is not None,
            age=now - row.created,
            silence=self._watch.silence(row.id, row.beats, elapsed),
            # One that an operator runs is the operator's to end.
            idle=0.0 if row.scope == fleet.OPERATOR else now - self._idle_since.get(row.id, now),
            leaving=row.leaving,
            drain_asked=row.drain_asked,
            alive=self._alive(row, instances),
        )

    def _alive(self, row: fleet.ServerSeen, instances: Mapping[str, Instance]) -> bool | None:
        if row.orphan:
            return False
        if row.scope != self._provider.scope:
            return None
        instance = instances.get(row.id)
        return instance.alive if instance else None

    async def _forget_dead_peers(self, peers: tuple[fleet.PeerSeen, ...], elapsed: float) -> None:
        for peer in peers:
            silent = self._watch.silence(peer.id, peer.beats, elapsed)
            if peer.dead or silent > self._policy.lost_after:
                _log.warn("login server {peer} is dead", peer=peer.id)
                await self._database.run(fleet.forget_peer, self.me, peer.id)

    # Steps

    async def _launch_again(
        self, servers: tuple[fleet.ServerSeen, ...], instances: Mapping[str, Instance]
    ) -> None:
        """Launches that were written down, by an operator or before somebody died, and not made."""
        missing = [
            row.id
            for row in servers
            if row.state is State.LAUNCHING
            and row.scope == self._provider.scope
            and row.id not in instances
        ]
        if any(row.state is State.LAUNCHING and not row.scope for row in servers):
            missing += await self._database.run(fleet.adopt, self.me, self._provider.scope)
        await self._steps.launch(missing)

    async def _close_children(self) -> None:
        """The servers of a local provider have ended with it: say so, as nobody need find out."""
        instances = await self._provider.list()
        for id in instances:
            try:
                await self._database.run(
                    fleet.close, self.me, id, "stopped", self._reactor.seconds()
                )
            except (Unavailable, fleet.NotKeeper):
                return

    # Housekeeping

    async def _keep_house(self, now: float) -> None:
        if now - self._last_housekeeping < HOUSEKEEPING_INTERVAL:
            return
        self._last_housekeeping = now
        run = self._database.run
        while await run(accounts.end_stale_sessions, self._upkeep.sessions, now):
            pass
        while await run(messages.expire, now - self._upkeep.message_retention):
            pass
        await run(fleet.forget_gone, now - GONE_KEPT)
