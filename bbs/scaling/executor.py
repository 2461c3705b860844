"""Carries plans out.

Each decision is one transaction, which checks the lease again. Then the provider is asked, in the
background: nobody waits for a slow or a dead provider. The database always says what is wanted
before the provider hears of it: a server is launching before it is launched or started, and warm
before it is stopped. So a later round can ask again for whatever the provider has not confirmed.

A provider may have several launch strategies (`IHasStrategies`). A launch's row says by which one
it is asked for before the provider is asked, and again before another one is tried.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from functools import singledispatchmethod
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.core import tracing
from bbs.core.errors import Unavailable
from bbs.core.values import Cause, DrainCause, LossCause, Policy, State
from bbs.rules import fleet_transitions, membership
from bbs.rules.servers import ServerRow
from bbs.scaling.backoff import LaunchBreaker, Retries
from bbs.scaling.demand import DemandTracker
from bbs.scaling.fleet_view import FleetView, Health, Machine, Owner, ServerView
from bbs.scaling.interfaces import (
    IEndsUnlisted,
    IFleetController,
    IHasStrategies,
    IKeepsWarm,
    LaunchFailed,
    LaunchRefused,
    ProviderUnavailable,
)
from bbs.scaling.observer import Ages, Inventory
from bbs.scaling.planner import (
    Adopt,
    Drain,
    End,
    EndOrphan,
    FillPool,
    Keep,
    Launch,
    Lose,
    MarkReady,
    Park,
    Plan,
    Resume,
    Step,
    Stop,
)

if TYPE_CHECKING:
    from bbs.scaling.controller import FleetContext

_log = Logger()


class Executor:
    """Takes the steps of plans.

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
        warms = IKeepsWarm.providedBy(context.provider)
        self._warm_provider = cast("IKeepsWarm", context.provider) if warms else None
        chooses = IHasStrategies.providedBy(context.provider)
        self._strategies = LaunchStrategies(context) if chooses else None
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
        self._explained: set[str] = set()
        """Orphans whose end the log has explained."""
        if self._strategies:
            self._strategies.read((), ())

    async def carry_out(self, plan: Plan, fleet: FleetView, began: float) -> None:
        """Take the steps of `plan`, which was made for `fleet` in a round that `began` then."""
        self._began = began
        for step in plan.steps:
            await self._take(step, fleet)

    def ask_again(self, fleet: FleetView, rows: Iterable[ServerRow]) -> None:
        """Ask for every launch in `rows` that the provider has not confirmed: a controller may have
        died before it asked, or before the answer."""
        self._forget_all_but({*fleet.servers, *(orphan.id for orphan in fleet.orphans)})
        listed = self._inventory.instances
        launching = [row for row in rows if row.state is State.LAUNCHING]
        self._traces.update((row.id, row.trace) for row in launching if row.trace)
        if self._strategies:
            unconfirmed = (row for row in launching if row.id not in self._accepted)
            # The machine of a lost server may have to be found, though its launch was confirmed.
            lost = (r for r in rows if r.state is State.LOST and r.instance_id is None)
            unlisted = [row for row in (*unconfirmed, *lost) if row.id not in listed]
            self._strategies.read(unlisted, self._sure)
        for row in launching:
            server = fleet.servers[row.id]
            if server.owner is not Owner.PROVIDER:
                continue
            if self._warm_provider and self._is_to_start(server):
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

    @singledispatchmethod
    async def _take(self, step: Step, fleet: FleetView) -> None:
        """Take one step of a plan for `fleet`."""
        raise NotImplementedError(step)

    @_take.register
    async def _adopt(self, step: Adopt, fleet: FleetView) -> None:
        strategies = self._strategies.choose(step.count) if self._strategies else ()
        ids = await self._run(
            fleet_transitions.adopt, self._me, self._provider.scope, step.count, strategies
        )
        self._launch_all(ids, strategies)

    @_take.register
    async def _launch_for_people(self, step: Launch, fleet: FleetView) -> None:
        # A launch for the warm pool is part of nobody's trace.
        trace = await self._run(membership.oldest_waiter_trace) if tracing.is_on() else ""
        if trace:
            tracing.past("plan", self._reactor.seconds() - self._began, trace)
        await self._add(step.count, fleet.beside, trace=trace)

    @_take.register
    async def _fill_pool(self, step: FillPool, fleet: FleetView) -> None:
        await self._add(step.count, fleet.beside, pooled=True)

    async def _add(self, count: int, beside: int, pooled: bool = False, trace: str = "") -> None:
        """Write down launches, and ask for them."""
        strategies = self._strategies.choose(count, pooled) if self._strategies else ()
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
        self, ids: Collection[str], strategies: Iterable[str], pooled: bool = False
    ) -> None:
        if self._strategies:
            self._strategies.know(ids, strategies)
        for id in ids:
            self._ages.began(id)
            self._ask(id, pooled)

    @_take.register
    async def _mark_ready(self, step: MarkReady, fleet: FleetView) -> None:
        took = {id: self._ages.age(id) for id in step.ids}
        booted = []
        for id, seconds in took.items():
            instance = self._inventory.instances.get(id)
            # Not by the wall clock: the difference of the two stamps is how long a launch took.
            ready = fleet.servers[id].created + seconds
            booted.append((id, instance.host if instance else None, ready))
        moves = await self._run(fleet_transitions.mark_ready, self._me, booted)
        self._breaker.succeeded()
        self._demand.booted(took.values())
        for id, seconds in took.items():
            if trace := self._traces.get(id):
                tracing.past("boot", seconds, trace)
            _log.info("server {server} is ready", server=id)
        self._news.moved(moves)
        self._news.ready()
        if fleet.is_replacing:
            self._controller.look_soon()

    @_take.register
    async def _park(self, step: Park, fleet: FleetView) -> None:
        if await self._run(fleet_transitions.park, self._me, step.id, self._wall()):
            _log.info("server {server} has booted, and is stopped to stand by", server=step.id)
            self._ages.begin_anew(step.id)
            self._begin(step.id, self._stop, step.id)

    @_take.register
    async def _stop_again(self, step: Stop, fleet: FleetView) -> None:
        self._begin(step.id, self._stop, step.id)

    @_take.register
    async def _resume(self, step: Resume, fleet: FleetView) -> None:
        server, most = fleet.servers[step.id], self._policy.maximum - fleet.beside
        if await self._run(fleet_transitions.resume, self._me, server.id, most, self._wall()):
            _log.info("server {server} comes out of the warm pool", server=server.id)
            if server.state is State.WARM:
                self._ages.begin_anew(server.id)
                self._retries.forget(server.id)
                self._begin(server.id, self._start, server.id)

    @_take.register
    async def _drain(self, step: Drain, fleet: FleetView) -> None:
        server, cause = fleet.servers[step.id], step.cause
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

    @_take.register
    async def _keep(self, step: Keep, fleet: FleetView) -> None:
        moves = await self._run(fleet_transitions.keep, self._me, step.id, self._wall())
        _log.info("server {server} is needed after all", server=step.id)
        self._news.moved(moves)
        self._news.ready()

    @_take.register
    async def _lose(self, step: Lose, fleet: FleetView) -> None:
        reason = words(step.cause, fleet.servers[step.id], self._policy)
        _log.warn("server {server} is lost: {reason}", server=step.id, reason=reason)
        now = self._wall()
        self._news.moved(
            await self._run(fleet_transitions.lose, self._me, step.id, step.cause, reason, now)
        )
        self._controller.look_soon()

    @_take.register
    async def _end(self, step: End, fleet: FleetView) -> None:
        server, cause = fleet.servers[step.id], step.cause
        reason = words(cause, server, self._policy)
        if cause and server.state is State.LAUNCHING:
            if server.owner is Owner.NOBODY:  # No provider was asked: that holds no others back.
                given_up = await self._give_up(server.id, cause, reason)
            else:
                given_up = await self._fail(server.id, cause, reason)
            if not given_up:
                return
        elif cause and server.state is State.WARM:
            # A lost server is not started again meanwhile.
            now = self._wall()
            await self._run(fleet_transitions.lose, self._me, server.id, cause, reason, now)
        self._begin(server.id, self._close, server, cause, reason)

    @_take.register
    async def _end_orphan(self, step: EndOrphan, fleet: FleetView) -> None:
        self._begin(step.id, self._terminate_orphan, step.id)

    # Launches, in the background

    def _is_to_start(self, server: ServerView) -> bool:
        """Whether a launch has a machine that only has to be started: it came out of the warm pool,
        or somebody has stopped it. Launching again could make a second one, as EC2 forgets a
        launch's token sooner than its machine."""
        is_listed = server.id in self._inventory.instances
        is_known = server.instance_id is not None and not is_listed
        return is_known or server.machine is Machine.STOPPED

    def _ask(self, id: str, pooled: bool) -> None:
        """Ask for a launch, unless the provider has confirmed it or it has failed."""
        is_answered = id in self._accepted or id in self._given_up
        if not is_answered and self._retries.due(id):
            self._begin(id, self._launch, id, pooled)

    async def _launch(self, id: str, pooled: bool) -> None:
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
            await self._fail(id, LossCause.REFUSED, f"refused: {failure}")
            await self._breaker.hold(str(failure))
        elif id not in self._given_up:
            await self._fail(id, LossCause.FAILED, f"failed: {failure}")

    async def _fail(self, id: str, cause: Cause, reason: str) -> bool:
        """Note that a launch has failed. Its row stays until its end is certain. Returns False if
        the launch was only late, and serves after all."""
        began = self._ages.began(id)
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
            await self._fail(id, LossCause.FAILED, reason)
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

    async def _close(self, server: ServerView, cause: Cause | None, reason: str) -> None:
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

    async def _find_and_terminate(self, id: str) -> None:
        """End the machine of a server that has served, and whose instance nobody has noted: asked
        for the launch again, the provider finds which machine it has."""
        self._inventory.asking(id)
        try:
            await self._provider.launch(id)
        except LaunchRefused:
            raise  # The provider may not even have looked for it.
        except LaunchFailed:
            pass  # There is none, or nobody knows any more by which strategy it was launched.
        finally:
            self._inventory.asked(id)
        await self._provider.terminate(id)

    async def _terminate_orphan(self, id: str) -> None:
        """End an instance that belongs to no server, and log why."""
        if id not in self._explained:
            stands = await self._run(fleet_transitions.ownership, id)
            if stands is fleet_transitions.Ownership.LIVES:
                return  # Another controller has launched it meanwhile.
            instance = self._inventory.instances.get(id)
            self._explained.add(id)
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
        self, id: str, terminate: Callable[[str], Awaitable[None]], what: str
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

    def _forget_all_but(self, kept: set[str]) -> None:
        """Forget everything about launches that are not `kept`."""
        self._retries.keep(kept)
        self._accepted &= kept
        self._sure &= kept
        self._given_up &= kept
        self._explained &= kept
        for id in self._traces.keys() - kept:
            del self._traces[id]


class LaunchStrategies:
    """Has the strategies of a provider's launches written down, as long as this login server keeps
    the fleet."""

    def __init__(self, context: FleetContext) -> None:
        self._provider = cast("IHasStrategies", context.provider)
        self._provider.write_strategy = lambda *change: Deferred.fromCoroutine(self._write(*change))
        self._scope = context.provider.scope
        self._run = context.database.run
        self._me = context.me
        self._lost: set[str] = set()
        """Launches that are given up, and of which a machine may have to be found."""

    def choose(self, count: int, pooled: bool = False) -> Sequence[str]:
        """The strategy of each of `count` launches to come."""
        return self._provider.choose_strategies(count, pooled)

    def know(self, ids: Iterable[str], strategies: Iterable[str]) -> None:
        """Tell the provider what is written down of launches that nobody has asked for yet."""
        self._provider.know_strategies(dict(zip(ids, strategies, strict=False)), ())

    def read(self, launches: Collection[ServerRow], sure: Collection[str]) -> None:
        """Tell the provider the strategies of all launches that it may be asked for, from their
        rows. Nobody else can have asked for those that are `sure`."""
        ours = {row.id: row.way for row in launches if row.way and row.scope == self._scope}
        self._lost = {row.id for row in launches if row.state is State.LOST}
        self._provider.forget_strategies(ours)
        self._provider.know_strategies(ours, ours.keys() - set(sure))

    async def _write(self, launch_id: str, before: str | None, strategy: str) -> None:
        try:
            if await self._run(
                fleet_transitions.note_strategy, self._me, launch_id, before, strategy
            ):
                return
            if launch_id in self._lost:
                # The ones before have been refused, or are unknown by now, which does not change.
                raise LaunchFailed("it is given up, and not asked for in another way")
        except (Unavailable, fleet_transitions.NotLeader):
            pass
        raise ProviderUnavailable("another way to launch it could not be written down")


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
