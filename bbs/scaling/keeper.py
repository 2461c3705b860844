"""The fleet's keeper: look, plan, act.

Every login server runs one of these, and one of them at a time keeps the fleet: whoever holds the
lease in the database. A round looks at everything, has `bbs.scaling.plan` decide, and acts; it can
be cut off between any two steps, and the next one, of this keeper or its successor, goes on. A
launch is written down before the provider is asked, and asking again under the same id is harmless.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from bbs import __version__
from bbs.errors import Unavailable
from bbs.rules import keeping, members, reseating
from bbs.rules.members import LeaseSeen, Observation, PeerSeen, Watch
from bbs.rules.replacing import BROKER_AWAY, DELAY, number_of
from bbs.rules.servers import MOVED, NOT_RUNNING, SPARE, ServerRow
from bbs.scaling import plan, shelf
from bbs.scaling.ages import Ages
from bbs.scaling.delays import Delays
from bbs.scaling.housekeeping import Housekeeping, Sweep
from bbs.scaling.identity import certainly_dead
from bbs.scaling.looking import Looking
from bbs.scaling.means import Means
from bbs.scaling.moving import Mover
from bbs.scaling.needs import Needs
from bbs.scaling.notices import Notices
from bbs.scaling.replacing import Wait, with_replacements
from bbs.scaling.shelving import Shelving
from bbs.scaling.sight import Sight
from bbs.scaling.steps import Steps
from bbs.values import State, Tally
from bbs.workers import IWorkers

GATHER = 0.02
"""Seconds at least from one round's beginning to the next one's, so that many people make few. A
reason to look that comes alone is looked at at once."""

GATHER_EACH = 40e-6
"""The same for each server of a large fleet: five times what it costs of a processor, so that the
login server has time for people while many of them come."""

KNOWN_FOR = 60.0
"""Seconds after which all of every server's row is read, and not only what changes while it serves:
somebody may have mended it by hand."""

_log = Logger()


class FleetKeeper(Service):
    """Keeps the fleet while it holds the lease; else watches whoever does.

    :param workers: has a thread for what would block, however shortly.
    :param sweeps: what to sweep away, beside what the fleet leaves.
    :param heartbeat_interval: seconds between rounds, when nothing asks for one sooner.
    :param tally: what this login server has counted, to tell the others.
    """

    def __init__(
        self,
        means: Means,
        *,
        workers: IWorkers,
        sweeps: Sequence[Sweep],
        heartbeat_interval: float,
        tally: Tally,
    ) -> None:
        self.me = means.me
        self.keeping = False
        self._database = means.database
        self._provider = means.provider
        self._policy = means.policy
        self._news = means.news
        self._reactor = means.reactor
        self._wall = means.wall
        self._workers = workers
        self._interval = heartbeat_interval
        self._tally = tally
        self._watch = Watch()
        self._serving: Mapping[str, ServerRow] = {}
        self._read_anew = 0.0
        self._begun, self._gather = float("-inf"), GATHER
        self._last_round: float | None = None
        # No TimerService: a round can be called for sooner than it is due.
        self._next: Any = None
        self._round: Deferred[None] | None = None
        self._again = False
        self._delays = Delays(self._reactor)
        self._sight = Sight(self._provider, self.look_soon, self._reactor)
        # Half of a launch's time is left at least to what another keeper began.
        self._ages = Ages(self._reactor, self._wall, self._policy.launch_timeout / 2)
        self._needs = Needs(self._policy, heartbeat_interval, self._reactor)
        self._steps = Steps(means, self._sight, self._ages, self._needs, self.look_soon)
        self._shelving = Shelving(means, self._sight, self._ages, self._steps, __version__)
        self._mover = Mover(means)
        self._looking = Looking(means, self._sight, self._ages, self._shelving, heartbeat_interval)
        self._housekeeping = Housekeeping(means, sweeps)
        self._notices = Notices(means.database, means.news, lambda: self.keeping, self._reactor)

    # Service

    def startService(self) -> None:
        Service.startService(self)
        self._provider.when_changed = self.look_soon
        self._provider.startService()
        self._news.hear(self)
        self._notices.startService()
        self._next = self._reactor.callLater(0, self._begin)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        if self._next:
            self._next.cancel()
        return Deferred.fromCoroutine(self._finish())

    async def _finish(self) -> None:
        if self._round:
            await self._round
        await maybeDeferred(self._notices.stopService)
        await self._steps.finish()
        await maybeDeferred(self._provider.stopService)
        if self.keeping and not self._provider.shared:
            await self._close_children()
        with suppress(Unavailable):  # Else the lease lapses by itself.
            await self._database.run(members.resign, self.me)
        self._news.gone()

    # Rounds

    def look_soon(self) -> None:
        """Something has changed: look at once, or again after the present round."""
        if self._next is None:
            self._again = True
        elif self.running:
            soon = self._soon()
            if self._next.getTime() > self._reactor.seconds() + soon:
                self._next.reset(soon)

    def _soon(self) -> float:
        """Seconds until a round may begin."""
        return max(0.0, self._begun + self._gather - float(self._reactor.seconds()))

    def _begin(self) -> None:
        self._next, self._again = None, False
        self._begun = self._steps.round_began = self._reactor.seconds()
        self._round = Deferred.fromCoroutine(self._one_round())
        self._round.addErrback(
            lambda failure: _log.failure("a round of the fleet went wrong", failure=failure)
        )
        self._round.addCallback(lambda _: self._ended())

    def _ended(self) -> None:
        self._round = None
        if self.running:
            self._next = self._reactor.callLater(
                self._soon() if self._again else self._pause(), self._begin
            )

    def _pause(self) -> float:
        """Seconds until a round that nothing asks for: people may be on their way elsewhere."""
        pause = self._mover.pause
        return min(pause, self._interval) if pause else self._interval

    async def _one_round(self) -> None:
        try:
            seen = await self._database.run(members.observe, self.me, self._tally, self._known())
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
        except keeping.NotKeeper:
            self._deposed()

    def _known(self) -> Mapping[str, ServerRow]:
        """The servers of which only what changes is read."""
        now = self._reactor.seconds()
        if now >= self._read_anew:
            self._read_anew = now + KNOWN_FOR
            self._serving = {}
        return self._serving

    def _elapsed(self) -> float:
        """Seconds since the last look, as far as they may be held against those who were silent."""
        now = self._reactor.seconds()
        last, self._last_round = self._last_round, now
        return 0.0 if last is None else min(now - last, 2 * self._interval)

    async def _watch_keeper(self, lease: LeaseSeen, elapsed: float) -> None:
        if self.keeping:
            self._deposed()
        silent = self._watch.silence(lease.holder, lease.beats, elapsed)
        dead = silent > self._policy.lost_after or bool(await self._dead([lease.identity]))
        if dead and await self._database.run(members.seize, self.me, lease):
            _log.warn("the fleet's keeper is dead; this login server takes over")
            self._again = True

    def _deposed(self) -> None:
        self.keeping = False
        self._serving = {}
        self._sight.forget()
        self._shelving.forget()
        self._ages.forget()
        self._needs.begin_anew()
        for name in (SPARE, DELAY):
            self._tally.figures.pop(name, None)
        self._steps.forget()
        _log.warn("another login server keeps the fleet now")

    async def _keep(self, seen: Observation, elapsed: float) -> None:
        self._notices.look_now()
        self._serving = seen.serving
        self._gather = max(GATHER, GATHER_EACH * len(seen.servers))
        rows = {row.id: row for row in seen.servers}
        launchers = {scope.partition(":")[2] for scope in {row.scope for row in seen.servers}}
        dead = await self._dead([*launchers, *(peer.identity for peer in seen.peers)])
        await self._looking.look(seen, elapsed, self._steps.strays)
        now = self._reactor.seconds()
        self._ages.see(seen.servers)
        self._needs.see(seen)
        await self._forget_dead_peers(seen.peers, dead, elapsed)
        self._watch.keep({peer.id for peer in seen.peers})
        await self._looking.note_instances(seen.servers)
        self._end_strays(rows)
        strays = self._steps.strays
        self._steps.strays += self._shelving.running(seen.servers)
        await self._launch_again(seen.servers)
        demand = plan.Demand(
            waiting=seen.waiting,
            failures=self._steps.failures,
            since_failure=now - self._steps.last_failure,
            strays=strays,
            refused=self._steps.holding.holds,
            peak=self._needs.peak,
            trouble=self._trouble(),
        )
        servers = self._looking.servers(seen.servers, dead)
        policy, figures = self._needs.policy, self._tally.figures
        figures[SPARE] = policy.spare
        steps = with_replacements(servers, demand, policy)
        waits = "".join(step.reason for step in steps if isinstance(step, Wait))
        figures[DELAY] = number_of(self._delays.lasting(waits))
        for step in steps:
            adds = isinstance(step, plan.Launch | shelf.Fill | shelf.Wake)
            if adds and not self._sight.may_count:
                continue
            if isinstance(step, shelf.Fill | shelf.Shelve | shelf.Stop | shelf.Wake):
                await self._shelving.take(step)
            elif not isinstance(step, Wait):
                await self._steps.take(step, rows)
                if isinstance(step, plan.MarkReady) and any(s.replace_asked for s in servers):
                    self.look_soon()  # It may be for the people of one of these.
        moved = await self._mover.move(seen.others)
        figures[MOVED] = figures.get(MOVED, 0) + moved
        if seen.waiting:
            moves = await self._database.run(keeping.settle, self.me)
            self._news.moved(moves)
            if len(moves) == reseating.SETTLED_AT_ONCE:
                self.look_soon()  # There may be places for more.
        await self._steps.holding.stamp_again()
        await self._housekeeping.keep()

    def _trouble(self) -> str:
        """Why nothing is begun now that can wait, "" where nothing is the matter."""
        return self._sight.trouble or ("" if self._news.travels else BROKER_AWAY)

    async def _dead(self, identities: Sequence[str]) -> Collection[str]:
        """Those whose processes are known to be dead, of this machine's. That takes some reads of
        /proc: made in memory, yet files, which are for a thread; and no database thread's, where
        people's transactions would wait for them. Where nobody else is, no thread is asked."""
        others = {*identities} - {"", self.me.identity}
        return await self._workers.run(certainly_dead, others) if others else ()

    async def _forget_dead_peers(
        self, peers: Sequence[PeerSeen], dead: Collection[str], elapsed: float
    ) -> None:
        for peer in peers:
            silent = self._watch.silence(peer.id, peer.beats, elapsed)
            if peer.identity in dead or silent > self._policy.lost_after:
                _log.warn("login server {login_server} is dead", login_server=peer.id)
                await self._database.run(keeping.forget_peer, self.me, peer.id)

    # Steps

    async def _launch_again(self, rows: tuple[ServerRow, ...]) -> None:
        """Launches that were written down, by an operator or before somebody died, and not made."""
        launching = [row for row in rows if row.state is State.LAUNCHING]
        unlisted = [row for row in launching if row.id not in self._sight.instances]
        self._steps.read_ways(unlisted)
        started = self._shelving.start_again(launching)
        missing = {
            row.id: self._ages.began(row.id)
            for row in launching
            if row.scope == self._provider.scope and row.id not in self._sight.instances
            if row.id not in started
        }
        asked = sum(not row.scope for row in launching)
        running = sum(row.state not in NOT_RUNNING for row in rows) if asked else 0
        if asked and self._sight.may_count and running + self._steps.strays <= self._policy.maximum:
            ids = await self._steps.adopt(asked)
            missing |= {id: self._ages.began(id) for id in ids}
        self._steps.launch(missing, {row.id for row in launching if row.shelved})

    def _end_strays(self, rows: Mapping[str, ServerRow]) -> None:
        """End the instances of this fleet that no server has, and has not had for long."""
        strays = self._sight.strays(rows)
        self._steps.keep([*rows, *strays])
        self._steps.strays = sum(self._sight.instances[id].alive for id in strays)
        self._steps.end_strays(id for id, overdue in strays.items() if overdue)

    async def _close_children(self) -> None:
        """The servers of a provider of this process alone have ended with it: say so at once."""
        instances = await self._provider.list()
        for id in instances:
            try:
                await self._database.run(keeping.close, self.me, id, "stopped", self._wall())
            except (Unavailable, keeping.NotKeeper):
                return
