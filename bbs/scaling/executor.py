"""Carries plans out.

Each decision is one transaction, which checks the lease again. Then the provider is asked, in the
background: nobody waits for a slow or a dead provider. The database always says what is wanted
before the provider hears of it: a server is launching before it is launched or started, and warm
before it is stopped. So a later round can ask again for whatever the provider has not confirmed.

Keeps the way in which each launch is asked for, if its provider has several (`IHasWays`). A
launch's row says its way before the provider is asked, and again before another way is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.core import tracing
from bbs.core.errors import Unavailable
from bbs.core.values import Cause, DrainCause, LossCause, Policy, State
from bbs.rules import fleet_transitions, membership
from bbs.rules.servers import ServerRow
from bbs.scaling.backoff import LaunchBreaker, Retries
from bbs.scaling.context import FleetContext
from bbs.scaling.demand import DemandTracker
from bbs.scaling.fleet_view import FleetView, Health, Machine, Owner, ServerView
from bbs.scaling.interfaces import (
    IEndsUnlisted,
    IFleetController,
    IHasWays,
    IKeepsWarm,
    LaunchFailed,
    LaunchRefused,
    ProviderUnavailable,
)
from bbs.scaling.inventory import Inventory
from bbs.scaling.observer import Ages
from bbs.scaling.planner import Plan


class LaunchStrategies:
    """The ways of the launches of `context.provider`, as long as this login server keeps the
    fleet."""

    def __init__(self, context: FleetContext) -> None:
        able = IHasWays.providedBy(context.provider)
        self._provider = cast("IHasWays", context.provider) if able else None
        self._scope = context.provider.scope
        self._run = context.database.run
        self._me = context.me
        self._lost: set[str] = set()
        """Launches that are given up, and of which a machine may have to be found."""
        if self._provider:
            self._provider.write_way = self._write

    def first(self, count: int, pooled: bool = False) -> Sequence[str]:
        """The way of each of `count` launches to come; empty if the provider has only one way."""
        return self._provider.ways(count, pooled) if self._provider else ()

    def know(self, ways: Mapping[str, str], asked: Collection[str] = ()) -> None:
        """Tell the provider which ways are written down, by launch id. Another controller may have
        asked for those in `asked`."""
        if self._provider:
            self._provider.know_ways(ways, asked)

    def read(self, launches: Collection[ServerRow], sure: Collection[str]) -> None:
        """Tell the provider the ways of all launches that it may be asked for, from their rows.
        Nobody else can have asked for those that are `sure`."""
        ours = {row.id: row.way for row in launches if row.way and row.scope == self._scope}
        self._lost = {row.id for row in launches if row.state is State.LOST}
        self.forget(ours)
        self.know(ours, ours.keys() - set(sure))

    def forget(self, kept: Collection[str] = ()) -> None:
        """Forget the ways of all launches but those `kept`."""
        if self._provider:
            self._provider.forget_ways(kept)

    def _write(self, launch_id: str, before: str | None, way: str) -> Deferred[None]:
        return Deferred.fromCoroutine(self._written(launch_id, before, way))

    async def _written(self, launch_id: str, before: str | None, way: str) -> None:
        try:
            if await self._run(fleet_transitions.note_strategy, self._me, launch_id, before, way):
                return
            if launch_id in self._lost:
                # The ways before have been refused, or are unknown by now, which does not change.
                raise LaunchFailed("it is given up, and not asked for in another way")
        except (Unavailable, fleet_transitions.NotLeader):
            pass
        raise ProviderUnavailable("another way to launch it could not be written down")


_log = Logger()


class Executor:
    """Has a method for each step.

    :param inventory: what the provider has.
    :param ages: since when the controller knows of each launch.
    :param breaker: is told how launches go.
    :param demand: is told how long launches took, and what is not to be given up yet.
    :param controller: is asked for another round soon, when a step wants one.
    """

    def __init__(
        self,
        context: FleetContext,
        inventory: Inventory,
        ages: Ages,
        breaker: LaunchBreaker,
        demand: DemandTracker,
        controller: IFleetController,
    ) -> None:
        self._me = context.me
        self._run = context.database.run
        self._provider = context.provider
        able = IKeepsWarm.providedBy(context.provider)
        self._warm_provider = cast("IKeepsWarm", context.provider) if able else None
        self._policy = context.policy
        self._news = context.news
        self._reactor = context.reactor
        self._wall = context.wall
        self._traces = context.traces
        self._inventory = inventory
        self._ages = ages
        self._breaker = breaker
        self._demand = demand
        self._controller = controller
        self._calls: dict[str, Deferred[Any]] = {}
        self._strategies = LaunchStrategies(context)
        self._began = 0.0
        self.forget()

    def forget(self) -> None:
        """Begin anew: somebody else has kept the fleet."""
        self._retries = Retries(self._reactor)
        self._accepted: set[str] = set()
        """Launches that the provider is known to have."""
        self._sure: set[str] = set()
        """Launches that only this controller can have asked for."""
        self._given_up: set[str] = set()
        """Launches that failed. The round under way may have seen them before."""
        self._told: set[str] = set()
        """Orphans whose end the log has explained."""
        self._strategies.forget()

    async def carry_out(self, plan: Plan, fleet: FleetView, began: float) -> None:
        """Take the steps of `plan`, which was made for `fleet` in a round that `began` then."""
        self._began = began
        for step in plan.steps:
            await step.carry_out(self, fleet)

    def ask_again(self, fleet: FleetView, rows: Iterable[ServerRow]) -> None:
        """Ask for every launch in `rows` that the provider has not confirmed: a controller may have
        died before it asked, or before the answer."""
        self._keep([*fleet.servers, *(orphan.id for orphan in fleet.orphans)])
        launching = [row for row in rows if row.state is State.LAUNCHING]
        self._traces.update((row.id, row.trace) for row in launching if row.trace)
        lost = [row for row in rows if row.state is State.LOST and row.instance_id is None]
        listed = self._inventory.instances
        unconfirmed = (row for row in launching if row.id not in self._accepted)
        # The machine of a lost server may have to be found by its way, though it was confirmed.
        unlisted = [row for row in (*unconfirmed, *lost) if row.id not in listed]
        self._strategies.read(unlisted, self._sure)
        for row in launching:
            server = fleet.servers[row.id]
            if server.owner is not Owner.PROVIDER:
                continue
            if self._is_to_start(server):
                self._begin(row.id, self._start, row.id)
            elif row.id not in listed:
                self._ask(row.id, server.pooled)

    async def finish(self) -> None:
        """Wait for the calls under way. If others share the provider, cancel them: they ask
        again."""
        if self._provider.shared:
            for call in list(self._calls.values()):
                call.cancel()
        await DeferredList(list(self._calls.values()))

    # Steps

    async def adopt(self, count: int) -> None:
        """Take on launches that operators asked for."""
        strategies = self._strategies.first(count)
        ids = await self._run(
            fleet_transitions.adopt, self._me, self._provider.scope, count, strategies
        )
        self._launch_all(ids, strategies)

    async def launch(self, count: int, beside: int) -> None:
        """Launch servers for people."""
        # A launch for the warm pool is part of nobody's trace.
        trace = await self._run(membership.trace_of_who_waits) if tracing.is_on() else ""
        if trace:
            tracing.past("plan", self._reactor.seconds() - self._began, trace)
        await self._add(count, beside, trace=trace)

    async def fill_pool(self, count: int, beside: int) -> None:
        """Launch servers for the warm pool."""
        await self._add(count, beside, pooled=True)

    async def _add(self, count: int, beside: int, pooled: bool = False, trace: str = "") -> None:
        """Write down launches, and ask for them."""
        strategies = self._strategies.first(count, pooled)
        ids: list[str] = await self._run(
            fleet_transitions.add_launches,
            self._me,
            count,
            self._provider.scope,
            self._policy.capacity,
            self._policy.maximum - beside,
            self._wall(),
            pooled,
            strategies,
            trace,
        )
        what = "server" if len(ids) == 1 else "servers"
        why = " to stand by" if pooled else ""
        _log.info("launching {count} {what}{why}", count=len(ids), what=what, why=why)
        # Nobody else can have asked for these.
        self._sure.update(ids)
        if trace:
            self._traces.update(dict.fromkeys(ids, trace))
        self._launch_all(ids, strategies, pooled)

    def _launch_all(
        self, ids: Iterable[str], strategies: Iterable[str], pooled: bool = False
    ) -> None:
        self._strategies.know(dict(zip(ids, strategies, strict=False)))
        for id in ids:
            self._ages.began(id)
            self._ask(id, pooled)

    async def mark_ready(self, server: ServerView, replaces: bool) -> None:
        """Place people on a server, perhaps those of a server that it `replaces`."""
        instance = self._inventory.instances.get(server.id)
        host = instance.host if instance else None
        took = self._ages.age(server.id)
        # Not by the wall clock: the difference of the two stamps is how long a launch took.
        ready = server.created + took
        moves = await self._run(fleet_transitions.mark_ready, self._me, server.id, host, ready)
        self._breaker.succeeded()
        self._demand.booted(took)
        if trace := self._traces.get(server.id):
            tracing.past("boot", took, trace)
        _log.info("server {server} is ready", server=server.id)
        self._news.moved(moves)
        self._news.ready()
        if replaces:
            self._controller.look_soon()

    async def park(self, server: ServerView) -> None:
        """Make a server warm that has booted for the pool, and stop its machine."""
        if await self._run(fleet_transitions.park, self._me, server.id, self._wall()):
            _log.info("server {server} has booted, and is stopped to stand by", server=server.id)
            self._ages.begin_anew(server.id)
            self._begin(server.id, self._stop, server.id)

    async def stop(self, server: ServerView) -> None:
        """Ask again for the machine of a warm server to be stopped."""
        self._begin(server.id, self._stop, server.id)

    async def resume(self, server: ServerView, beside: int) -> None:
        """Take a server out of the warm pool, and start its machine if that is stopped."""
        most = self._policy.maximum - beside
        if await self._run(fleet_transitions.resume, self._me, server.id, most, self._wall()):
            _log.info("server {server} comes out of the warm pool", server=server.id)
            if server.state is State.WARM:
                self._ages.begin_anew(server.id)
                self._retries.forget(server.id)
                self._begin(server.id, self._start, server.id)

    async def drain(self, server: ServerView, cause: DrainCause) -> None:
        """Place nobody on a server any more, and move its people."""
        reason = words(cause, server, self._policy)
        moves = await self._run(
            fleet_transitions.drain, self._me, server.id, cause, reason, server.taken, self._wall()
        )
        if moves is not None:
            _log.info("server {server} drains: {reason}", server=server.id, reason=reason)
            self._news.moved(moves)
            self._controller.look_soon()
        elif cause is DrainCause.CONSOLIDATION:
            self._demand.reset_peak()
        elif cause is DrainCause.REPLACEMENT:
            self._controller.look_soon()  # Somebody has just come: their place counts by now.

    async def keep(self, server: ServerView) -> None:
        """Place people again on a server that drains."""
        moves = await self._run(fleet_transitions.keep, self._me, server.id, self._wall())
        _log.info("server {server} is needed after all", server=server.id)
        self._news.moved(moves)
        self._news.ready()

    async def lose(self, server: ServerView, cause: LossCause) -> None:
        """Give the people of a dead server other places."""
        reason = words(cause, server, self._policy)
        _log.warn("server {server} is lost: {reason}", server=server.id, reason=reason)
        now = self._wall()
        self._news.moved(
            await self._run(fleet_transitions.lose, self._me, server.id, cause, reason, now)
        )
        self._controller.look_soon()

    async def end(self, server: ServerView, cause: Cause | None) -> None:
        """End the machine of a server, and close its row once that is certain."""
        reason = words(cause, server, self._policy)
        if cause and server.state is State.LAUNCHING:
            if server.owner is Owner.NOBODY:  # No provider was asked: that holds no others back.
                given_up = await self._give_up(server.id, cause, reason)
            else:
                began = self._ages.began(server.id)
                given_up = await self._fail(server.id, cause, reason, began)
            if not given_up:
                return
        elif cause and server.state is State.WARM:
            # A lost server is not started again meanwhile.
            now = self._wall()
            await self._run(fleet_transitions.lose, self._me, server.id, cause, reason, now)
        self._begin(server.id, self._end, server, cause, reason)

    async def end_orphan(self, id: str) -> None:
        """End an instance that no server has."""
        self._begin(id, self._end_orphan, id)

    # Launches, in the background

    def _is_to_start(self, server: ServerView) -> bool:
        """Whether a launch has a machine that only has to be started: it came out of the warm pool,
        or somebody has stopped it. Launching again could make a second one, as EC2 forgets a
        launch's token sooner than its machine."""
        if self._warm_provider is None:
            return False
        is_listed = server.id in self._inventory.instances
        is_known = server.instance_id is not None and not is_listed
        return is_known or server.machine is Machine.STOPPED

    def _ask(self, id: str, pooled: bool) -> None:
        """Ask for a launch, unless the provider has confirmed it or it has failed."""
        is_answered = id in self._accepted or id in self._given_up
        if not is_answered and self._retries.due(id):
            self._begin(id, self._launch, id, self._ages.began(id), pooled)

    async def _launch(self, id: str, began: float, pooled: bool) -> None:
        failure: LaunchFailed | None = None
        self._inventory.asking(id)
        try:
            with tracing.span("launch", self._traces.get(id)):
                if pooled and self._warm_provider:
                    await self._warm_provider.launch_to_stop(id)
                else:
                    await self._provider.launch(id)
            self._accepted.add(id)
        except LaunchFailed as error:
            failure = error
        except Exception as error:
            # The launch may have happened all the same: asking again under this id tells.
            self._sure.discard(id)
            self._retries.later(id)
            _in_vain("launch", id, error)
            return
        finally:
            nothing = id in self._sure and id not in self._accepted
            self._inventory.asked(id, nothing)
        if failure is None:
            await self._breaker.accepted()
        elif isinstance(failure, LaunchRefused):
            self._breaker.refused()
            await self._fail(id, LossCause.REFUSED, f"refused: {failure}", began)
            await self._breaker.hold(str(failure))
        elif id not in self._given_up:
            await self._fail(id, LossCause.FAILED, f"failed: {failure}", began)

    async def _fail(self, id: str, cause: Cause, reason: str, began: float) -> bool:
        """Note that a launch has failed. Its row stays until its end is certain. Returns False if
        the launch was only late, and serves after all."""
        if not await self._give_up(id, cause, reason):
            return False
        self._breaker.failed(began)
        return True

    async def _give_up(self, id: str, cause: Cause, reason: str) -> bool:
        """Give up one launch, without holding others back. Returns False if it serves after
        all."""
        if cause is LossCause.LATE:
            moves = await self._run(fleet_transitions.give_up, self._me, id, reason, self._wall())
        else:
            moves = await self._run(
                fleet_transitions.lose, self._me, id, cause, reason, self._wall()
            )
        self._controller.look_soon()
        if moves is None:
            return False
        self._given_up.add(id)
        _log.error("server {server} {reason}", server=id, reason=reason)
        self._news.moved(moves)
        return True

    # The warm pool, in the background

    async def _stop(self, id: str) -> None:
        if not self._warm_provider or not self._is_due(id):
            return
        try:
            await self._warm_provider.stop(id)
        except LaunchFailed as error:
            reason = f"failed: cannot be stopped: {error}"
            await self._fail(id, LossCause.FAILED, reason, self._ages.began(id))
        except Exception as error:
            _in_vain("stop", id, error)
        else:
            self._breaker.succeeded()
            self._inventory.stopped(id)

    async def _start(self, id: str) -> None:
        if not self._warm_provider or not self._is_due(id):
            return
        try:
            await self._warm_provider.start(id)
        except LaunchRefused as error:
            await self._run(fleet_transitions.put_back, self._me, id, self._wall())
            await self._breaker.hold(f"cannot start what stands by: {error}")
        except LaunchFailed as error:
            # Another is launched at once: a launch may well work.
            await self._give_up(id, LossCause.UNSTARTABLE, f"cannot be started: {error}")
        except Exception as error:
            _in_vain("start", id, error)
        else:
            await self._breaker.accepted()

    # Ends, in the background

    async def _end(self, server: ServerView, cause: Cause | None, reason: str) -> None:
        """End the machine of a server, if this provider launched it, and close the row."""
        if server.owner is Owner.PROVIDER and not await self._has_ended(server):
            return
        moves = await self._run(
            fleet_transitions.close, self._me, server.id, cause, reason, self._wall()
        )
        self._news.moved(moves)
        _log.info("server {server} is gone: {reason}", server=server.id, reason=reason)
        self._controller.look_soon()

    async def _has_ended(self, server: ServerView) -> bool:
        """End the machine of a server; returns whether its end is certain by now. Until then the
        server counts to the maximum: its machine may run, whatever lists say."""
        id, provider = server.id, self._provider
        if not provider.shared:
            return await self._terminate(id, provider.terminate, id)
        machine = self._inventory.machine(id)
        if machine not in (Machine.ENDED, Machine.MISSING):
            # Accepted is not done: a list will tell.
            await self._terminate(id, provider.terminate, id)
            return False
        if machine is Machine.ENDED and not self._inventory.is_another(id, server.instance_id):
            return True
        # Lists may be wrong about it for long.
        if server.instance_id and IEndsUnlisted.providedBy(provider):
            end_unlisted = cast("IEndsUnlisted", provider).end_unlisted
            return await self._terminate(id, end_unlisted, server.instance_id)
        if server.instance_id is None and server.health is not Health.UNHEARD:
            return await self._terminate(id, self._find_and_terminate, id)
        return await self._terminate(id, provider.terminate, id)

    def _find_and_terminate(self, id: str) -> Deferred[None]:
        """End the machine of a server that has served, and whose instance nobody has noted: asked
        for the launch again, the provider finds which machine it has."""
        return Deferred.fromCoroutine(self._found_and_terminated(id))

    async def _found_and_terminated(self, id: str) -> None:
        self._inventory.asking(id)
        try:
            await self._provider.launch(id)
        except LaunchRefused:
            raise  # The provider may not even have looked for it.
        except LaunchFailed:
            pass  # There is none, or nobody knows any more in which way it was launched.
        finally:
            self._inventory.asked(id)
        await self._provider.terminate(id)

    async def _end_orphan(self, id: str) -> None:
        """End an instance that belongs to no server, and log why."""
        if id not in self._told:
            stands = await self._run(fleet_transitions.stands, id)
            if stands is fleet_transitions.Stands.LIVES:
                return  # Another controller has launched it meanwhile.
            instance = self._inventory.instances.get(id)
            self._told.add(id)
            _log.warn(
                "ending {instance} of launch {server}, which has run without a server for"
                " {seconds} s: {why}",
                server=id,
                instance=(instance.instance_id or instance.detail) if instance else "an instance",
                launched=instance.launched if instance else None,
                seconds=round(self._inventory.orphaned(id)),
                why=stands,
            )
        await self._terminate(id, self._provider.terminate, id)

    async def _terminate(
        self, id: str, terminate: Callable[[str], Deferred[None]], what: str
    ) -> bool:
        """Have the provider `terminate(what)`, a machine of the launch `id`; returns whether it
        has."""
        if not self._is_due(id):
            return False
        try:
            await terminate(what)
        except Exception as error:
            _in_vain("terminate", id, error)
            return False
        return True

    # Calls

    def _is_due(self, id: str) -> bool:
        """Whether it is time to ask the provider about `id`; if so it counts as asked. The next
        time waits even if the provider agrees: it also agrees to end an instance that it does not
        see yet."""
        due = self._retries.due(id)
        if due:
            self._retries.later(id)
        return due

    def _begin(self, id: str, call: Callable[..., Coroutine[Any, Any, object]], *rest: Any) -> None:
        """Run `call(*rest)` in the background, unless a call about `id` is under way."""

        def done(result: object) -> None:
            del self._calls[id]
            if isinstance(result, Failure) and not result.check(
                Unavailable, fleet_transitions.NotLeader, CancelledError
            ):
                _log.failure("server {server}: a step went wrong", failure=result, server=id)

        if id not in self._calls:
            self._calls[id] = Deferred.fromCoroutine(call(*rest))
            self._calls[id].addBoth(done)

    def _keep(self, ids: Collection[str]) -> None:
        """Forget everything about launches other than `ids`."""
        kept = set(ids)
        self._retries.keep(kept)
        self._accepted &= kept
        self._sure &= kept
        self._given_up &= kept
        self._told &= kept
        for id in self._traces.keys() - kept:
            del self._traces[id]


def words(cause: Cause | None, server: ServerView, policy: Policy) -> str:
    """The words in which people read why `server` is given up, lost or ended."""
    match cause:
        case DrainCause.OPERATOR:
            return "asked for"
        case DrainCause.WARNED:
            return server.warning
        case DrainCause.IDLE:
            return f"idle for {policy.idle_grace:g} s"
        case DrainCause.CONSOLIDATION:
            return f"consolidated: {server.taken} people fit elsewhere"
        case DrainCause.REPLACEMENT if server.state is State.WARM:
            return "replaced: it stood by"
        case DrainCause.REPLACEMENT if server.state is State.DRAINING:
            return "replaced"
        case DrainCause.REPLACEMENT:
            return f"replaced: {_people(server.taken)} over"
        case DrainCause.OUTDATED:
            return "of another version"
        case DrainCause.SURPLUS:
            return "beyond fleet.warm"
        case DrainCause.UNSTOPPABLE:
            return "runs on the shelf"
        case LossCause.ENDED:
            return f"ended: {server.evidence}" if server.evidence else "ended"
        case LossCause.LEFT:
            return "it has said that it stops"
        case LossCause.SILENT:
            return f"silent for more than {policy.lost_after:g} s"
        case LossCause.LATE:
            return f"failed: not ready in {policy.launch_timeout:g} s"
        case LossCause.FAILED:
            return f"failed: {words(server.loss, server, policy)}"
    return "lost" if server.state is State.LOST else "drained"


def _people(count: int) -> str:
    return "1 person goes" if count == 1 else f"{count} people go"


def _in_vain(what: str, id: str, error: Exception) -> None:
    """Log that the provider did not do `what` it was asked to about a launch, or did not say so."""
    if isinstance(error, ProviderUnavailable | LaunchRefused | CancelledError):
        _log.warn("{what} {server}: {reason}", what=what, server=id, reason=str(error))
    else:
        _log.failure("{what} {server} went wrong", what=what, server=id)
