"""Carries plans out.

Each decision is one transaction, which checks the lease again. The provider is then asked in the
background, so nobody waits for a slow or dead provider. The database always says what is wanted
before the provider hears of it, so a later round can ask again for whatever the provider has not
confirmed: a server is launching before it is launched or started, and warm before it is stopped.

If a provider has several launch strategies (`IHasStrategies`), a launch's row names its strategy
before the provider is asked, and the next one before that is tried.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import singledispatchmethod
from itertools import chain, repeat
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.core import tracing
from bbs.core.errors import Unavailable
from bbs.core.values import Cause, DrainCause, LossCause, Policy, State
from bbs.rules import fleet_transitions, membership
from bbs.rules.servers import ServerRow
from bbs.scaling import planner
from bbs.scaling.backoff import LaunchBreaker, Retries
from bbs.scaling.demand import Boot, DemandTracker
from bbs.scaling.events import FleetContext
from bbs.scaling.fleet_view import FleetView, Machine, Owner, ServerView
from bbs.scaling.interfaces import (
    IEndsUnlisted,
    IFleetController,
    IHasStrategies,
    IKeepsWarm,
    IKnowsInstances,
    IMakesBatches,
    LaunchFailed,
    LaunchRefused,
    ProviderUnavailable,
)
from bbs.scaling.observer import Ages, Inventory
from bbs.scaling.pools import PoolMemory

_ENDING = (State.WARM, State.DRAINING, State.LOST)
"""States in which the machine of a server may have to be found, to be ended."""

_log = Logger()


@dataclass(eq=False, repr=False)
class Executor:
    """Takes the steps of plans. `breaker`, `pools` and `demand` learn how launches go, and
    `controller` begins another round soon when a step wants one."""

    context: FleetContext
    inventory: Inventory
    ages: Ages
    breaker: LaunchBreaker
    pools: PoolMemory
    demand: DemandTracker
    controller: IFleetController

    def __post_init__(self) -> None:
        context = self.context
        self._me, self._run, self._news = context.me, context.database.run, context.news
        self._policy, self._traces = context.policy, context.traces
        self._provider = context.provider
        warm: Any = self._provider if IKeepsWarm.providedBy(self._provider) else None
        self._warm_provider: IKeepsWarm | None = warm
        has_strategies = IHasStrategies.providedBy(self._provider)
        self._strategies = LaunchStrategies(context) if has_strategies else None
        self._calls: dict[str, Deferred[Any]] = {}
        self._began = 0.0
        self.forget()

    def forget(self) -> None:
        self._retries = Retries(self.context.reactor)
        self._accepted: set[str] = set()  # launches that the provider is known to have
        self._own: set[str] = set()  # launches that only this controller can have asked for
        self._given_up: set[str] = set()  # launches that failed, perhaps after this round saw them
        self._explained: set[str] = set()  # orphans whose end is in the log
        if self._strategies:
            self._strategies.read((), ())

    async def carry_out(self, plan: planner.Plan, fleet: FleetView, began: float) -> None:
        self._began = began
        for step in plan.steps:
            await self._take(step, fleet)

    def ask_again(self, fleet: FleetView, rows: Iterable[ServerRow]) -> None:
        """Ask for every launch in `rows` that the provider has not confirmed: a controller may have
        died before it asked, or before the answer."""
        known = {*fleet.servers, *(orphan.id for orphan in fleet.orphans)}
        self._retries.forget_all_but(known)
        for ids in (self._accepted, self._own, self._given_up, self._explained):
            ids.intersection_update(known)
        for id in self._traces.keys() - known:
            del self._traces[id]
        listed = self.inventory.instances
        launching = [row for row in rows if row.state is State.LAUNCHING]
        self._traces.update((row.id, row.trace) for row in launching if row.trace)
        if self._strategies:
            unconfirmed = (row for row in launching if row.id not in self._accepted)
            # The machine of a server that ends may have to be found even after a confirmed launch.
            ending = (r for r in rows if r.state in _ENDING and r.instance_id is None)
            unlisted = [row for row in (*unconfirmed, *ending) if row.id not in listed]
            self._strategies.read(unlisted, self._own)
        for row in launching:
            server = fleet.servers[row.id]
            if server.owner is not Owner.PROVIDER:
                continue
            if self._warm_provider and self._is_to_start(server):
                may_have_host = row.host is not None or server.machine is Machine.STOPPED
                self._begin(row.id, self._start, row.id, may_have_host)
            elif row.id not in listed:
                self._ask(row.id, server.pooled)

    async def finish(self) -> None:
        """Wait for the calls under way; cancel those that other login servers ask again."""
        if self._provider.shared:
            for call in list(self._calls.values()):
                call.cancel()
        await DeferredList(list(self._calls.values()))

    def _apply(self, rule: Callable[..., Any], *details: Any) -> Deferred[Any]:
        """Run a rule of the leader, now."""
        return self._run(rule, self._me, *details, self.context.wall())

    @singledispatchmethod
    async def _take(self, step: planner.Step, fleet: FleetView) -> None:
        raise NotImplementedError(step)

    @_take.register
    async def _adopt(self, step: planner.Adopt, fleet: FleetView) -> None:
        strategies, scope = self._choose_strategies(step.count), self._provider.scope
        ids = await self._run(fleet_transitions.adopt, self._me, scope, step.count, strategies)
        self._launch_all(dict(zip(ids, chain(strategies, repeat(None)), strict=False)))

    @_take.register
    async def _launch_for_people(self, step: planner.Launch, fleet: FleetView) -> None:
        # A launch for the warm pool is not part of any trace.
        trace = await self._run(membership.oldest_waiter_trace) if tracing.recording else ""
        if trace:
            tracing.past("plan", self.context.reactor.seconds() - self._began, trace)
        await self._add(step.count, fleet.other_machines, trace=trace)

    @_take.register
    async def _fill_pool(self, step: planner.FillPool, fleet: FleetView) -> None:
        await self._add(step.count, fleet.other_machines, pooled=True)

    async def _add(self, count: int, beside: int, pooled: bool = False, trace: str = "") -> None:
        strategies = self._choose_strategies(count, pooled)
        together: Sequence[tuple[str, str]] = ()
        if IMakesBatches.providedBy(self._provider):
            together = cast("IMakesBatches", self._provider).batches(strategies)
        added: Mapping[str, str | None] = await self._run(
            fleet_transitions.add_launches,
            self._me,
            count,
            self._provider.scope,
            self._policy.capacity,
            self._policy.maximum - beside,
            self.context.wall(),
            pooled,
            strategies,
            trace,
            together,
        )
        what = "server" if len(added) == 1 else "servers"
        why = " to stand by" if pooled else ""
        _log.info("launching {count} {what}{why}", count=len(added), what=what, why=why)
        self._own.update(added)
        if trace:
            self._traces.update(dict.fromkeys(added, trace))
        self._launch_all(added, pooled)

    def _choose_strategies(self, count: int, pooled: bool = False) -> Sequence[str]:
        found = self._strategies
        return found.provider.choose_strategies(count, pooled) if found else ()

    def _launch_all(self, added: Mapping[str, str | None], pooled: bool = False) -> None:
        if self._strategies:
            written = {id: strategy for id, strategy in added.items() if strategy}
            self._strategies.provider.know_strategies(written, ())
        for id in added:
            self.ages.began(id)
            self._ask(id, pooled)

    @_take.register
    async def _mark_ready(self, step: planner.MarkReady, fleet: FleetView) -> None:
        took = {id: self.ages.age(id) for id in step.ids}
        booted = []
        for id, seconds in took.items():
            instance = self.inventory.instances.get(id)
            # Not by the wall clock: the two stamps differ by the time that the launch took.
            ready = fleet.servers[id].created + seconds
            booted.append((id, instance.host if instance else None, ready))
        moves = await self._run(fleet_transitions.mark_ready, self._me, booted)
        self.breaker.succeeded()
        self.demand.booted([Boot(fleet.servers[id].created, took[id]) for id in took])
        for id, seconds in took.items():
            self.pools.served(fleet.servers[id].pool)
            if trace := self._traces.get(id):
                tracing.past("boot", seconds, trace)
            _log.info("server {server} is ready", server=id)
        self._news.moved(moves)
        self._news.ready()
        if fleet.is_replacing:
            self.controller.look_soon()

    @_take.register
    async def _park(self, step: planner.Park, fleet: FleetView) -> None:
        if await self._apply(fleet_transitions.park, step.id):
            _log.info("server {server} has booted, and is stopped to stand by", server=step.id)
            self.ages.begin_anew(step.id)
            self._begin(step.id, self._stop, step.id)

    @_take.register
    async def _stop_again(self, step: planner.Stop, fleet: FleetView) -> None:
        self._begin(step.id, self._stop, step.id)

    @_take.register
    async def _resume(self, step: planner.Resume, fleet: FleetView) -> None:
        server, most = fleet.servers[step.id], self._policy.maximum - fleet.other_machines
        if await self._apply(fleet_transitions.resume, server.id, most):
            _log.info("server {server} comes out of the warm pool", server=server.id)
            if server.state is State.WARM:
                self.ages.begin_anew(server.id)
                self._retries.forget(server.id)
                self._begin(server.id, self._start, server.id)

    @_take.register
    async def _drain(self, step: planner.Drain, fleet: FleetView) -> None:
        server, cause = fleet.servers[step.id], step.cause
        reason = words(cause, server, self._policy)
        moves = await self._apply(fleet_transitions.drain, server.id, cause, reason, server.taken)
        if moves is not None:
            _log.info("server {server} drains: {reason}", server=server.id, reason=reason)
            self._news.moved(moves)
            self.controller.look_soon()
        elif cause is DrainCause.CONSOLIDATION:
            self.demand.reset_peak()
        elif cause is DrainCause.REPLACEMENT:
            self.controller.look_soon()  # Somebody has just come, and counts from now on.

    @_take.register
    async def _keep(self, step: planner.Keep, fleet: FleetView) -> None:
        moves = await self._apply(fleet_transitions.keep, step.id)
        _log.info("server {server} is needed after all", server=step.id)
        self._news.moved(moves)
        self._news.ready()

    @_take.register
    async def _lose(self, step: planner.Lose, fleet: FleetView) -> None:
        reason = words(step.cause, fleet.servers[step.id], self._policy)
        _log.warn("server {server} is lost: {reason}", server=step.id, reason=reason)
        if step.cause is not LossCause.LEFT:
            self.pools.lost(fleet.servers[step.id].pool)
        self._news.moved(await self._apply(fleet_transitions.lose, step.id, step.cause, reason))
        self.controller.look_soon()

    @_take.register
    async def _end(self, step: planner.End, fleet: FleetView) -> None:
        server, cause = fleet.servers[step.id], step.cause
        reason = words(cause, server, self._policy)
        if cause and server.state is State.LAUNCHING:
            # A launch that nobody was asked for holds no other back, nor one that others overtook.
            holds_back = server.owner is not Owner.NOBODY and not _is_overtaken(
                cause, server, self._policy
            )
            if not await self._give_up(server.id, cause, reason, holds_back):
                return
            self.pools.failed(server.pool)
        elif cause and server.state is State.WARM:
            # Losing the server first keeps it from being started again meanwhile.
            await self._apply(fleet_transitions.lose, server.id, cause, reason)
        self._begin(server.id, self._close, server, cause, reason)

    @_take.register
    async def _end_orphan(self, step: planner.EndOrphan, fleet: FleetView) -> None:
        self._begin(step.id, self._terminate_orphan, step.id)

    def _is_to_start(self, server: ServerView) -> bool:
        """Whether a launch only needs its machine started: it was warm, or somebody has stopped it.
        A new launch could make a second machine, as a provider may forget the launch before its
        machine is gone."""
        is_listed = server.id in self.inventory.instances
        is_known = server.instance_id is not None and not is_listed
        return is_known or server.machine is Machine.STOPPED

    def _ask(self, id: str, pooled: bool) -> None:
        is_answered = id in self._accepted or id in self._given_up
        if not is_answered and self._retries.is_due(id):
            self._begin(id, self._launch, id, pooled)

    async def _launch(self, id: str, pooled: bool) -> None:
        failure: LaunchFailed | None = None
        self.inventory.asking(id)
        try:
            with tracing.span("launch", self._traces.get(id)):
                if pooled and self._warm_provider:
                    await self._warm_provider.launch_to_stop(id)
                else:
                    await self._provider.launch(id)
            self._accepted.add(id)
            await self._note_instance(id)
        except LaunchFailed as error:
            failure = error
        except Exception as error:
            # The launch may have happened all the same: asking again under this id shows it.
            self._own.discard(id)
            self._retries.postpone(id)
            _log_failed_call("launch", id, error)
            return
        finally:
            is_void = id in self._own and id not in self._accepted
            self.inventory.asked(id, is_void)
        if failure is None:
            await self.breaker.accepted()
        elif isinstance(failure, LaunchRefused):
            self.breaker.refused()
            await self._give_up(id, LossCause.REFUSED, f"refused: {failure}")
            await self.breaker.hold(str(failure))
        elif id not in self._given_up:
            await self._give_up(id, LossCause.FAILED, f"failed: {failure}")

    async def _note_instance(self, id: str) -> None:
        """Store the name of a launch's machine at once: lists may lack it for long, and then its
        end can be asked for by name alone. Its address may be that of an earlier start."""
        if not IKnowsInstances.providedBy(self._provider):
            return
        instance = cast("IKnowsInstances", self._provider).instance_of(id)
        if instance and instance.instance_id:
            with suppress(Unavailable):  # A list will have it too.
                named = replace(instance, host=None)
                await self._run(fleet_transitions.note_instances, self._me, [named])

    async def _give_up(self, id: str, cause: Cause, reason: str, holds_back: bool = True) -> bool:
        """Give up a launch. Its row stays until its end is certain. `holds_back`: the failure
        delays other launches. Returns False if the launch was only late, and serves after all."""
        began = self.ages.began(id)
        if cause is LossCause.LATE:
            moves = await self._apply(fleet_transitions.give_up, id, reason)
        else:
            moves = await self._apply(fleet_transitions.lose, id, cause, reason)
        self.controller.look_soon()
        if moves is None:
            return False
        self._given_up.add(id)
        _log.error("server {server} {reason}", server=id, reason=reason)
        self._news.moved(moves)
        if holds_back:
            self.breaker.failed(began)
        return True

    async def _stop(self, id: str) -> None:
        if not self._warm_provider or not self._take_turn(id):
            return
        try:
            await self._warm_provider.stop(id)
        except LaunchFailed as error:
            await self._give_up(id, LossCause.FAILED, f"failed: cannot be stopped: {error}")
        except Exception as error:
            _log_failed_call("stop", id, error)
        else:
            self.breaker.succeeded()
            self.inventory.stopped(id)

    async def _start(self, id: str, may_have_host: bool = True) -> None:
        if not self._warm_provider or not self._take_turn(id):
            return
        if may_have_host:  # Not for each of many launches that no list shows yet.
            await self._run(fleet_transitions.forget_host, self._me, id)
        try:
            await self._warm_provider.start(id)
        except LaunchRefused as error:
            await self._apply(fleet_transitions.put_back, id)
            await self.breaker.hold(f"cannot start a warm server: {error}")
        except LaunchFailed as error:
            # Another server is launched at once: a launch may well work.
            reason = f"cannot be started: {error}"
            await self._give_up(id, LossCause.UNSTARTABLE, reason, holds_back=False)
        except Exception as error:
            _log_failed_call("start", id, error)
        else:
            await self.breaker.accepted()

    async def _close(self, server: ServerView, cause: Cause | None, reason: str) -> None:
        if server.owner is Owner.PROVIDER and not await self._has_ended(server):
            return
        self._news.moved(await self._apply(fleet_transitions.close, server.id, cause, reason))
        _log.info("server {server} is gone: {reason}", server=server.id, reason=reason)
        self.controller.look_soon()

    async def _has_ended(self, server: ServerView) -> bool:
        """End the machine of a server; returns whether its end is certain. Until then the server
        counts to the maximum: its machine may run, whatever lists say."""
        id, provider = server.id, self._provider
        if not provider.shared:
            return await self._terminate(id, provider.terminate, id)
        machine = self.inventory.machine(id)
        if machine not in (Machine.ENDED, Machine.MISSING):
            # Accepted is not done: a later list will show the end.
            await self._terminate(id, provider.terminate, id)
            return False
        if machine is Machine.ENDED and not self.inventory.is_another(id, server.instance_id):
            return True
        # Lists may be wrong about the machine for long.
        if server.instance_id and IEndsUnlisted.providedBy(provider):
            end_unlisted = cast("IEndsUnlisted", provider).end_unlisted
            return await self._terminate(id, end_unlisted, server.instance_id)
        return await self._terminate(id, self._find_and_terminate, id)

    async def _find_and_terminate(self, id: str) -> None:
        """End the machine of a launch whose instance was never noted: asked for the launch again,
        the provider finds its machine, or makes one that ends at once. That lists lack it proves
        nothing."""
        self.inventory.asking(id)
        try:
            await self._provider.launch(id)
        except LaunchRefused:
            raise  # The provider may not even have looked for the machine.
        except LaunchFailed:
            pass  # No machine, or the strategy of its launch is forgotten.
        finally:
            self.inventory.asked(id)
        await self._provider.terminate(id)

    async def _terminate_orphan(self, id: str) -> None:
        """End an instance that belongs to no server, and log why."""
        if id not in self._explained:
            stands = await self._run(fleet_transitions.ownership, id)
            if stands is fleet_transitions.Ownership.LIVES:
                return  # Another controller has launched it.
            instance = self.inventory.instances.get(id)
            self._explained.add(id)
            _log.warn(
                "ending {instance} of launch {server}, which has run without a server for"
                " {seconds} s: {why}",
                server=id,
                instance=(instance.instance_id or instance.detail) if instance else "an instance",
                launched=instance.launched if instance else None,
                seconds=round(self.inventory.orphaned(id)),
                why=stands,
            )
        await self._terminate(id, self._provider.terminate, id)

    async def _terminate(
        self, id: str, terminate: Callable[[str], Awaitable[None]], what: str
    ) -> bool:
        """Call `terminate(what)` for a machine of the launch `id`; returns whether it succeeded."""
        if not self._take_turn(id):
            return False
        try:
            await terminate(what)
        except Exception as error:
            _log_failed_call("terminate", id, error)
            return False
        return True

    def _take_turn(self, id: str) -> bool:
        """Return whether it is time to ask the provider about `id`, and count that as asked. The
        next call waits even if the provider agrees: it also agrees to end an instance that it does
        not see yet."""
        is_due = self._retries.is_due(id)
        if is_due:
            self._retries.postpone(id)
        return is_due

    def _begin(self, id: str, call: Callable[..., Coroutine[Any, Any, object]], *rest: Any) -> None:
        """Run `call(*rest)` in the background, unless a call about `id` is under way."""

        def done(result: object) -> None:
            del self._calls[id]
            if isinstance(result, Failure) and not result.check(
                Unavailable, fleet_transitions.NotLeader, CancelledError
            ):
                _log.failure("server {server}: a step failed", failure=result, server=id)

        if id not in self._calls:
            self._calls[id] = Deferred.fromCoroutine(call(*rest))
            self._calls[id].addBoth(done)


class LaunchStrategies:
    """Has a provider's strategies written down while this login server leads the fleet."""

    def __init__(self, context: FleetContext) -> None:
        self.provider = cast("IHasStrategies", context.provider)
        self.provider.write_strategy = lambda *change: Deferred.fromCoroutine(self._write(*change))
        self._scope = context.provider.scope
        self._run = context.database.run
        self._me = context.me
        self._ending: set[str] = set()  # their machines may have to be found

    def read(self, launches: Collection[ServerRow], own: Collection[str]) -> None:
        """Tell the provider the strategies in the rows of `launches`. Nobody else can have asked
        for those that are `own`."""
        ours = {row.id: row.way for row in launches if row.way and row.scope == self._scope}
        self._ending = {row.id for row in launches if row.state in _ENDING}
        self.provider.forget_strategies(ours)
        self.provider.know_strategies(ours, ours.keys() - set(own))

    async def _write(self, launch_id: str, before: str | None, strategy: str) -> None:
        try:
            if await self._run(
                fleet_transitions.note_strategy, self._me, launch_id, before, strategy
            ):
                return
            if launch_id in self._ending:
                # Earlier strategies were refused or have become unknown, and stay so.
                raise LaunchFailed("it is given up, so no other strategy is tried")
        except (Unavailable, fleet_transitions.NotLeader):
            pass
        raise ProviderUnavailable("the next launch strategy could not be written down")


_WORDS: Mapping[Cause, str] = {
    DrainCause.OPERATOR: "asked for",
    DrainCause.WARNED: "{server.warning}",
    DrainCause.RECOMMENDED: "{server.warning}",
    DrainCause.IDLE: "idle for {policy.idle_grace:g} s",
    DrainCause.CONSOLIDATION: "consolidated: {server.taken} people fit elsewhere",
    DrainCause.OUTDATED: "of another version",
    DrainCause.SURPLUS: "beyond fleet.warm",
    DrainCause.UNSTOPPABLE: "runs on the shelf",
    LossCause.LEFT: "it has said that it stops",
    LossCause.SILENT: "silent for more than {policy.lost_after:g} s",
    LossCause.LATE: "failed: not ready in {policy.launch_timeout:g} s",
}


OVERTAKEN = "failed: not ready before others"
"""The words for a late launch in whose place others serve."""


def words(cause: Cause | None, server: ServerView, policy: Policy) -> str:
    """The words in which people read why `server` is given up, lost or ended.

    Login servers of 0.4.0 tell causes by how these texts begin, and those in `_launch`, `_stop`
    and `_start`, when they take the lease.
    """
    if _is_overtaken(cause, server, policy):
        return OVERTAKEN
    if cause is not None and cause in _WORDS:
        return _WORDS[cause].format(server=server, policy=policy)
    match cause, server.state:
        case DrainCause.REPLACEMENT, State.WARM:
            return "replaced: it stood by"
        case DrainCause.REPLACEMENT, State.DRAINING:
            return "replaced"
        case DrainCause.REPLACEMENT, _:
            people = "1 person goes" if server.taken == 1 else f"{server.taken} people go"
            return f"replaced: {people} over"
        case LossCause.ENDED, _:
            return f"ended: {server.evidence}" if server.evidence else "ended"
        case LossCause.FAILED, _:
            return f"failed: {words(server.loss, server, policy)}"
    return "lost" if server.state is State.LOST else "drained"


def _is_overtaken(cause: Cause | None, server: ServerView, policy: Policy) -> bool:
    """Whether a late launch is ended because others serve in its place, and not for its age."""
    return cause is LossCause.LATE and server.age <= policy.launch_timeout


def _log_failed_call(what: str, id: str, error: Exception) -> None:
    """Log that the provider refused or failed a call about a launch, or did not answer."""
    if isinstance(error, ProviderUnavailable | LaunchRefused | CancelledError):
        reason = str(error)
        _log.warn("no success yet: {what} {server}: {reason}", what=what, server=id, reason=reason)
    else:
        _log.failure("no success yet: {what} {server}", what=what, server=id)
