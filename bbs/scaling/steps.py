"""What the fleet's keeper does about a step of the plan.

Each decision is one transaction, which checks the lease again; then the provider is asked. That
takes its time in the background: no round, and nobody else, waits for a slow or a dead provider.
What it did not do, or did not say that it did, is asked again in later rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs import tracing
from bbs.errors import Unavailable
from bbs.rules import keeping, members
from bbs.rules.servers import CONSOLIDATED, REPLACED, ServerRow
from bbs.scaling import plan
from bbs.scaling.ages import Ages
from bbs.scaling.holding import Holding
from bbs.scaling.interfaces import (
    IEndsUnlisted,
    IKeepsWarm,
    LaunchFailed,
    LaunchRefused,
    ProviderUnavailable,
)
from bbs.scaling.means import Means
from bbs.scaling.needs import Needs
from bbs.scaling.retries import Retries
from bbs.scaling.sight import Sight
from bbs.scaling.ways import Ways
from bbs.values import State

_log = Logger()


class Steps:
    """Takes steps for the keeper, and counts the launches that failed in a row.

    :param sight: what is known of the provider's launches.
    :param ages: since when the keeper knows of each launch.
    :param needs: is told how long launches took, and what is not to be given up yet.
    :param look_soon: called when a step wants another look to be taken soon.
    """

    def __init__(
        self,
        means: Means,
        sight: Sight,
        ages: Ages,
        needs: Needs,
        look_soon: Callable[[], None],
    ) -> None:
        self.round_began = 0.0
        """When the round began that takes steps now, by the reactor's clock."""
        self.strays = 0
        """Instances that count to the maximum beside the servers."""
        self._me = means.me
        self._database = means.database
        self._provider = means.provider
        self._policy = means.policy
        self._news = means.news
        self._reactor = means.reactor
        self._wall = means.wall
        self._sight = sight
        self._ages = ages
        self._needs = needs
        self._look_soon = look_soon
        self._traces = means.traces
        self.holding = Holding(means)
        self._calls: dict[str, Deferred[Any]] = {}
        self._ways = Ways(means.provider, means.database, means.me)
        self.forget()

    def forget(self) -> None:
        """Begin anew: somebody else has kept the fleet."""
        self.failures = 0
        self.last_failure = 0.0
        """When the last of them failed, by the reactor's clock."""
        self.holding.forget()
        self.retries = Retries(self._reactor)
        self._accepted: set[str] = set()
        self._sure: set[str] = set()
        self._told: set[str] = set()
        self._ways.forget()

    async def take(self, step: plan.Step, rows: Mapping[str, ServerRow]) -> None:
        """Take `step`; the plan was made from `rows`, by id."""
        run, me = self._database.run, self._me
        match step:
            case plan.Launch(count):
                await self.add(count)
            case plan.MarkReady(id):
                instance = self._sight.instances.get(id)
                host = instance.host if instance else None
                # Not the wall clock's: how long launches take is told from the two.
                ready = rows[id].created + self._ages.age(id)
                moves = await run(keeping.mark_ready, me, id, host, ready)
                self.failures = 0
                self._needs.booted(self._ages.age(id))
                if trace := rows[id].trace:
                    tracing.past("boot", self._ages.age(id), trace)
                _log.info("server {server} is ready", server=id)
                self._news.moved(moves)
                self._news.ready()
            case plan.Lose(id, reason):
                _log.warn("server {server} is lost: {reason}", server=id, reason=reason)
                self._news.moved(await run(keeping.lose, me, id, reason))
                self._look_soon()
            case plan.Drain(id, reason) if reason.startswith(CONSOLIDATED):
                if await run(
                    keeping.consolidate, me, id, reason[:200], rows[id].taken, self._wall()
                ):
                    _log.info("server {server} drains: {reason}", server=id, reason=reason)
                    self._look_soon()
                else:
                    self._needs.let_be()
            case plan.Drain(id, reason) if reason.startswith(REPLACED):
                if await run(keeping.replace, me, id, reason[:200], rows[id].taken):
                    _log.info("server {server} drains: {reason}", server=id, reason=reason)
                self._look_soon()
            case plan.Keep(id):
                moves = await run(keeping.keep, me, id)
                _log.info("server {server} is needed after all", server=id)
                self._news.moved(moves)
                self._news.ready()
            case plan.Drain(id, reason):
                drained = await run(keeping.drain, me, id, reason)
                if drained is not None:
                    _log.info("server {server} drains: {reason}", server=id, reason=reason)
                    self._news.moved(drained)
                    self._look_soon()
            case plan.End(id, reason, late):
                if rows[id].state is State.LAUNCHING:
                    if not await self.fail(id, reason, self._ages.began(id), late):
                        return
                elif rows[id].state is State.WARM:
                    # So that nobody starts it meanwhile.
                    await run(keeping.lose, me, id, reason[:200])
                ours = rows[id].scope == self._provider.scope
                self.begin(id, self._end, reason, ours, rows[id].instance_id)

    async def add(self, count: int, shelved: bool = False) -> None:
        """Write down launches, and ask for them; for the shelf, if they are to be `shelved`."""
        ways = self._ways.first(count, shelved)
        # What is for the shelf boots for nobody, and again each time that it is taken from there.
        trace = ""
        if tracing.is_on() and not shelved:
            trace = await self._database.run(members.trace_of_who_waits)
        ids = await self._database.run(
            keeping.add_launches,
            self._me,
            count,
            self._provider.scope,
            self._policy.capacity,
            self._policy.maximum - self.strays,
            self._wall(),
            shelved,
            ways,
            trace,
        )
        if trace:
            tracing.past("plan", self._reactor.seconds() - self.round_began, trace)
            self._traces.update(dict.fromkeys(ids, trace))
        what = "server" if len(ids) == 1 else "servers"
        for_the_shelf = " to stand by" if shelved else ""
        _log.info("launching {count} {what}{why}", count=len(ids), what=what, why=for_the_shelf)
        # Nobody has asked for them before.
        self._sure.update(ids)
        self._ways.know(dict(zip(ids, ways, strict=False)))
        self.launch({id: self._ages.began(id) for id in ids}, ids if shelved else ())

    async def adopt(self, count: int) -> list[str]:
        """Take on the launches, `count` or so, that an operator has written down; returns which."""
        ways = self._ways.first(count)
        ids = await self._database.run(keeping.adopt, self._me, self._provider.scope, ways)
        self._ways.know(dict(zip(ids, ways, strict=False)))
        return ids

    def read_ways(self, launching: Sequence[ServerRow]) -> None:
        """By which ways those are asked for of which no list tells, and as part of what, as their
        rows say."""
        self._traces.update((row.id, row.trace) for row in launching)
        self._ways.read((row for row in launching if row.id not in self._accepted), self._sure)

    def launch(self, began: Mapping[str, float], shelved: Collection[str] = ()) -> None:
        """Ask the provider for launches that are written down and that it is not known to have;
        `began` says when each was decided (`Ages.began`), by id, and `shelved` are those of them
        that are for the shelf."""
        for id, moment in began.items():
            if id not in self._accepted and self.retries.due(id):
                self.begin(id, self._launch, moment, id in shelved)

    def end_strays(self, ids: Iterable[str]) -> None:
        """End instances of this fleet that belong to no server."""
        for id in ids:
            self.begin(id, self._end_stray)

    async def finish(self) -> None:
        """Wait for what is under way; of a provider that others share, let them ask again."""
        if self._provider.shared:
            for call in list(self._calls.values()):
                call.cancel()
        await DeferredList(list(self._calls.values()))

    def keep(self, ids: Iterable[str]) -> None:
        """Forget what is known of all but `ids`."""
        kept = set(ids)
        self.retries.keep(kept)
        self._accepted &= kept
        self._sure &= kept
        self._told &= kept
        for id in self._traces.keys() - kept:
            del self._traces[id]

    def begin(self, id: str, call: Callable[..., Coroutine[Any, Any, object]], *rest: Any) -> None:
        """`call(id, *rest)` in the background, unless another call about `id` is under way."""

        def done(result: object) -> None:
            del self._calls[id]
            if isinstance(result, Failure) and not result.check(
                Unavailable, keeping.NotKeeper, CancelledError
            ):
                _log.failure("server {server}: a step went wrong", failure=result, server=id)

        if id not in self._calls:
            self._calls[id] = Deferred.fromCoroutine(call(id, *rest))
            self._calls[id].addBoth(done)

    async def _launch(self, id: str, began: float, shelved: bool) -> None:
        self._sight.asking(id)
        refused = failed = None
        try:
            with tracing.span("launch", self._traces.get(id)):
                if shelved and IKeepsWarm.providedBy(self._provider):
                    await cast("IKeepsWarm", self._provider).launch_to_stop(id)
                else:
                    await self._provider.launch(id)
            self._accepted.add(id)
        except LaunchRefused as error:
            refused = str(error)
        except LaunchFailed as error:
            failed = str(error)
        except Exception as error:
            # It may run all the same; whoever asks again under this id comes to know.
            self._sure.discard(id)
            self.retries.later(id)
            in_vain("launch", id, error)
            return
        finally:
            void = id in self._sure and id not in self._accepted
            self._sight.asked(id, void)
        if refused is not None:
            await self.refused(id, refused, began)
        elif failed is not None:
            await self.fail(id, f"failed: {failed}", began)
        else:
            await self.holding.accepted()

    async def fail(self, id: str, reason: str, began: float, late: bool = False) -> bool:
        """A launch has failed. Its row stays until it is certain that nothing runs under its id.
        False where it was only `late`, and serves after all."""
        if not await self.lose(id, reason, late):
            return False
        if began > self.last_failure:
            # Of launches made together the first counts for all.
            self.failures += 1
            self.last_failure = self._reactor.seconds()
        return True

    async def lose(self, id: str, reason: str, late: bool = False) -> bool:
        """The same of one that says nothing of other launches."""
        rule = keeping.give_up if late else keeping.lose
        moves = await self._database.run(rule, self._me, id, reason[:200])
        self._look_soon()
        if moves is None:
            return False
        _log.error("server {server} {reason}", server=id, reason=reason)
        self._news.moved(moves)
        return True

    async def refused(self, id: str, reason: str, began: float) -> None:
        """A launch was refused."""
        self.holding.add()
        await self.fail(id, f"refused: {reason}", began)
        await self.holding.hold(reason)

    async def _end(self, id: str, reason: str, ours: bool, instance_id: str | None) -> None:
        """End a server of which the provider can speak (`ours`), or close its row alone."""
        if ours and not await self._ended(id, instance_id):
            return
        moves = await self._database.run(keeping.close, self._me, id, reason[:200], self._wall())
        self._news.moved(moves)
        _log.info("server {server} is gone: {reason}", server=id, reason=reason)
        self._look_soon()

    async def _end_stray(self, id: str) -> None:
        """End an instance that no server has; the log says of each why."""
        if id not in self._told:
            stands = await self._database.run(keeping.stands, id)
            if stands is keeping.Stands.LIVES:
                return  # Somebody else has launched it meanwhile.
            instance = self._sight.instances.get(id)
            self._told.add(id)
            _log.warn(
                "ending {instance} of launch {server}, which has run without a server for"
                " {seconds} s: {why}",
                server=id,
                instance=(instance.instance_id or instance.detail) if instance else "an instance",
                launched=instance.launched if instance else None,
                seconds=round(self._sight.strayed(id)),
                why=stands,
            )
        await self._terminate(id, self._provider.terminate, id)

    async def _ended(self, id: str, instance_id: str | None) -> bool:
        """End the instance of a launch; whether it is certain by now that it has ended."""
        provider = self._provider
        if not (provider.shared and self._sight.gone(id)):
            return await self._terminate(id, provider.terminate, id) and not provider.shared
        listed = self._sight.instances.get(id)
        seen = listed is not None and listed.instance_id == instance_id
        if seen or not instance_id or not IEndsUnlisted.providedBy(provider):
            return True
        # Lists that have lacked it for long may be at fault, and it may run all the same.
        return await self._terminate(id, cast("IEndsUnlisted", provider).end_unlisted, instance_id)

    async def _terminate(
        self, id: str, terminate: Callable[[str], Deferred[None]], what: str
    ) -> bool:
        """Whether the provider has ended the instance (`terminate(what)`); it is not asked too
        often."""
        if not self.retries.due(id):
            return False
        # Also where it says yes: of an instance that it does not see yet it says the same.
        self.retries.later(id)
        try:
            await terminate(what)
        except Exception as error:
            in_vain("terminate", id, error)
            return False
        return True


def in_vain(what: str, id: str, error: Exception) -> None:
    """The provider did not do `what` it was asked to about a launch, or did not say so."""
    if isinstance(error, ProviderUnavailable | CancelledError):
        _log.warn("{what} {server}: {reason}", what=what, server=id, reason=str(error))
    else:
        _log.failure("{what} {server} went wrong", what=what, server=id)
