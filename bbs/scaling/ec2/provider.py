"""App servers as instances on EC2.

A launch is one instance, tagged with the fleet's id (`bbs:fleet-id`) and the launch's
(`bbs:launch`). Instances of another fleet, or without a fleet, are never read, counted or ended.
`launches.py` launches, `InstanceLifecycle` ends, stops and starts, and `instance_states.py`
remembers the instances. A list describes the whole fleet, one call for each `PAGE` instances.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence, Set
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.config import EC2
from bbs.core.batching import Batch, SingleFlight
from bbs.core.values import Instance
from bbs.scaling.ec2 import launch_request
from bbs.scaling.ec2.client import Answer, EC2Client
from bbs.scaling.ec2.errors import LATER, EC2Error, Verdict
from bbs.scaling.ec2.instance_states import REMEMBERED, EC2Instance, InstanceStates, machines
from bbs.scaling.ec2.launch_batches import BatchNames
from bbs.scaling.ec2.launch_request import BATCH_TAG, LAUNCH_TAG, Basis, LaunchStrategy
from bbs.scaling.ec2.launches import ILaunchOwner, InstanceLauncher
from bbs.scaling.interfaces import (
    IEndsUnlisted,
    IHasPools,
    IKeepsWarm,
    IKnowsInstances,
    IMakesBatches,
    IProvider,
    LaunchFailed,
    LaunchRefused,
    ProviderUnavailable,
)

PAGE, SHORTEST_PAGE = 1000, 50
"""Instances in an answer: as many as EC2 gives, but after each call without an answer half as many,
down to so few that an answer comes before a call's deadline even on a busy machine."""

_NOT_DONE = {
    Verdict.REFUSED: LaunchRefused,
    Verdict.NO_SPOT: LaunchRefused,
    Verdict.QUOTA: LaunchRefused,
    Verdict.ELSEWHERE: LaunchFailed,
}
# No launch id has a blank in it.
_FLEET = "the fleet"

_log = Logger()


@implementer(IProvider, IKeepsWarm, IHasPools, IMakesBatches)
@implementer(IEndsUnlisted, IKnowsInstances, ILaunchOwner)
@dataclass(eq=False, repr=False)
class EC2Provider(Service):
    """Launches app servers as instances, which outlive this provider. Ended instances stay listed
    for as long as EC2 shows them: about an hour.

    `user_data` makes the user data of a launch from its id. `version` and `fleet_id` become tags.
    `other_ids`: other fleet ids whose instances belong to this fleet too; nothing is launched under
    them. `former`: the fleet may have instances from before it had an id. Instances with its name
    and without an id are then listed too, and ended if their launch is to end. `batch_user_data`
    makes the user data of a batch from its id; without it, launches are made one by one.
    """

    reactor: IReactorTime
    client: EC2Client
    config: EC2
    user_data: Callable[[str], str]
    version: str
    _: KW_ONLY
    fleet_id: str
    other_ids: Sequence[str] = ()
    former: bool = False
    batch_user_data: Callable[[str], str] | None = None

    when_changed: Callable[[], None] | None = field(default=None, init=False)
    write_strategy: Callable[[str, str | None, str], Deferred[None]] | None = field(
        default=None, init=False
    )
    shared = True

    def __post_init__(self) -> None:
        reactor, client, config = self.reactor, self.client, self.config
        self.scope = f"ec2:{config.region}:{self.fleet_id}"
        self.former_scope = f"ec2:{config.region}:{config.name}"  # from before fleets had ids
        self._ids = [self.fleet_id, *self.other_ids]
        self._machines = InstanceStates(
            reactor,
            self._ids,
            config.name if self.former else "",
            keeps_addresses=not config.is_public,
            has_subnets=bool(config.subnet_ids),
        )
        self._alive: Set[str] = frozenset()
        self._page = PAGE
        self._shared = SingleFlight()
        self._find = Batch(reactor, self._describe_launches)
        self._lifecycle = InstanceLifecycle(reactor, client, self._machines)
        self._launches = InstanceLauncher(
            client, config, self._machines, reactor, self, self.fleet_id
        )
        self._names = BatchNames(client, reactor)
        self._without_address = False
        self._unseen: set[str] = set()  # launches that were looked for in vain
        self._first_list, self._last_list = 0.0, float("-inf")
        """When the fleet was first and last listed without a gap, by the reactor's clock."""

    def launch(self, launch_id: str) -> Deferred[None]:
        return self._ask(launch_id, spot=True)

    def _ask(self, launch_id: str, spot: bool) -> Deferred[None]:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", launch_id):
            raise ValueError(f"not a launch id: {launch_id!r}")
        if not self.running:
            return fail(LaunchFailed("the provider is not running"))
        if self._machines.of(launch_id):
            return succeed(None)
        return self._shared.join(
            launch_id, lambda: _translate_errors(self._launch(launch_id, spot))
        )

    def list(self) -> Deferred[Mapping[str, Instance]]:
        return Deferred.fromCoroutine(self._list())

    def instance_of(self, launch_id: str) -> Instance | None:
        return self._machines.instance_of(launch_id)

    def terminate(self, launch_id: str) -> Deferred[None]:
        """Terminate the instance of a launch. Fires when EC2 has accepted that: the instance then
        stops by itself. Several calls made together are one call to EC2."""
        return Deferred.fromCoroutine(_translate_errors(self._end_launch(launch_id), {}))

    def end_unlisted(self, instance_id: str) -> Deferred[None]:
        return Deferred.fromCoroutine(_translate_errors(self._lifecycle.end.add(instance_id), {}))

    def launch_to_stop(self, launch_id: str) -> Deferred[None]:
        """Run an instance on demand: a one-time Spot instance cannot be stopped."""
        return self._ask(launch_id, spot=False)

    def stop(self, launch_id: str) -> Deferred[None]:
        """Stop the instance of a launch; `ProviderUnavailable` while it boots."""
        return Deferred.fromCoroutine(_translate_errors(self._stop_launch(launch_id)))

    def start(self, launch_id: str) -> Deferred[None]:
        """Start it again; `ProviderUnavailable` while it stops, `LaunchFailed` without capacity."""
        if not self.running:
            return fail(LaunchFailed("the provider is not running"))
        return Deferred.fromCoroutine(_translate_errors(self._start_launch(launch_id)))

    def choose_strategies(self, count: int, to_stop: bool = False) -> Sequence[str]:
        """Choose by balance, and not where capacity lacked a moment ago."""
        return self._launches.choose(count, spot=not to_stop)

    def batches(self, strategies: Collection[str]) -> Sequence[tuple[str, str]]:
        return self._launches.batches(strategies) if self.batch_user_data else []

    def know_strategies(self, written: Mapping[str, str], asked: Collection[str]) -> None:
        """A strategy that has left the configuration is ignored: the launch is looked for."""
        self._launches.know(written, asked)

    def forget_strategies(self, kept: Collection[str] = ()) -> None:
        self._launches.forget_strategies(kept)

    @property
    def pools(self) -> Mapping[str, str]:
        """The subnet of each strategy."""
        found = launch_request.strategies(self.config)
        return {str(strategy): strategy.subnet or "" for strategy in found}

    @property
    def lacking_pools(self) -> Collection[str]:
        """As `IHasPools` has it."""
        return self._launches.lacking_pools

    def prefer(
        self, doubts: Mapping[str, float], staying: Mapping[str, int], in_two_zones: bool
    ) -> None:
        self._launches.prefer(doubts, staying, in_two_zones)

    def parameters_of(
        self, launch_id: str, strategy: LaunchStrategy, basis: Basis, count: int = 1
    ) -> dict[str, Any]:
        make = self.user_data if count == 1 else self.batch_user_data
        if make is None:
            # Another controller has written the batch down.
            text = "ec2.user_data: a template without ${batch} is for one launch"
            raise EC2Error(Verdict.REFUSED, "NoBatches", text)
        return launch_request.run_instances(
            self.config,
            launch_id,
            strategy,
            make(launch_id),
            basis,
            self.version,
            self._ids[0],
            count,
        )

    def describe_launch(self, launch_id: str) -> Deferred[None]:
        return self._find.add(launch_id)

    def record_strategy(self, launch_id: str, before: str | None, after: str) -> Deferred[None]:
        write = self.write_strategy
        return write(launch_id, before, after) if write else succeed(None)

    async def _stop_launch(self, launch_id: str) -> None:
        machine = await self._usable_instance(launch_id)
        if not machine.stopped:
            await self._lifecycle.stop.add(machine.id)
        self._notify()

    async def _start_launch(self, launch_id: str) -> None:
        machine = await self._usable_instance(launch_id)
        if not machine.alive:
            try:
                await self._lifecycle.start.add(machine.id)
            except EC2Error as error:
                if error.verdict is not Verdict.QUOTA:
                    raise
                pool = LaunchStrategy(machine.kind, machine.subnet or None, machine.spot)
                raise self._launches.lacking(pool, error) from None
        self._notify()

    async def _usable_instance(self, launch_id: str) -> EC2Instance:
        """The instance of a launch. `LaunchFailed`: it is missing, or has ended."""
        await self._shared.settled(launch_id)
        own = await self._own(launch_id)
        if not own or own[0].ends:
            raise LaunchFailed("its instance has ended" if own else "it has no instance")
        return own[0]

    async def _own(self, launch_id: str) -> Sequence[EC2Instance]:
        if not self._machines.of(launch_id):
            await self._find.add(launch_id)
        return self._machines.of(launch_id)

    async def _launch(self, launch_id: str, spot: bool) -> None:
        if not self._launches.has_strategy(launch_id) and self._may_belong_to_another():
            await self._look_for(launch_id)
        if not self._machines.of(launch_id):
            await self._launches.launch(launch_id, spot)
        self._notify()

    async def _look_for(self, launch_id: str) -> None:
        """Look for an instance of a launch. A second failure in a row is ignored, as launches may
        work although descriptions do not."""
        try:
            await self._find.add(launch_id)
        except EC2Error:
            if launch_id not in self._unseen:
                self._unseen.add(launch_id)
                raise
        self._unseen.discard(launch_id)

    def _may_belong_to_another(self) -> bool:
        """Whether another controller may have made a launch that lists do not show yet: until this
        provider has seen the fleet for `REMEMBERED` seconds without a gap."""
        now = self.reactor.seconds()
        seen = self._last_list - self._first_list
        return seen < REMEMBERED or now - self._last_list > REMEMBERED

    async def _list(self) -> Mapping[str, Instance]:
        await self._shared.join(_FLEET, lambda: _translate_errors(self._describe_fleet(), {}))
        return self._machines.instances()

    async def _describe_fleet(self) -> None:
        shown = await self._describe()
        self._machines.described_all(shown)
        self._names.name(shown)
        self._launches.sweep()
        now = self.reactor.seconds()
        if now - self._last_list > REMEMBERED:
            self._first_list = now
        self._last_list = now
        self._notify()
        for id in self._machines.surplus():
            _log.warn("ending {instance}: its launch has another instance", instance=id)
            self._end_unasked(id)
        if self.config.is_public:
            self._end_unreachable()

    def _end_unreachable(self) -> None:
        """End instances that people cannot reach, however long they wait."""
        for machine in self._machines.without_address():
            why = launch_request.no_address(self.config, machine.subnet)
            say = _log.warn if self._without_address else _log.critical
            say("ending {instance}: {why}", instance=machine.id, why=why)
            self._without_address = True
            self._machines.explain(machine.id, why)
            self._end_unasked(machine.id)

    def _end_unasked(self, id: str) -> None:
        self._lifecycle.end.add(id).addCallbacks(
            lambda _: self._notify(), _log_unended, errbackArgs=(id,)
        )

    async def _describe(self, *filters: tuple[str, Sequence[str]]) -> Sequence[EC2Instance]:
        found = await self._pages((f"tag:{launch_request.FLEET_ID_TAG}", self._ids), *filters)
        if self.former:
            # These include instances with an id, and other fleets of the same name.
            named = await self._pages(
                (f"tag:{launch_request.FLEET_TAG}", [self.config.name]), *filters
            )
            found = [*found, *(machine for machine in named if not machine.fleet_id)]
        return found

    async def _pages(self, *filters: tuple[str, Sequence[str]]) -> Sequence[EC2Instance]:
        parameters: dict[str, Any] = {
            "Filters": [{"Name": name, "Values": values} for name, values in filters],
            "MaxResults": self._page,
        }
        found: list[EC2Instance] = []
        while True:
            try:
                answer = await self.client.describe_instances(**parameters)
            except EC2Error as error:
                if error.verdict is Verdict.AGAIN:
                    self._page = max(self._page // 2, SHORTEST_PAGE)
                raise
            found += machines(answer, self.config.address)
            if not answer.get("NextToken"):
                self._page = min(2 * self._page, PAGE)
                return found
            parameters["NextToken"] = answer["NextToken"]

    async def _describe_launches(self, launch_ids: Sequence[str]) -> Mapping[str, Exception]:
        batches = {id: self._launches.batch_of(id) for id in launch_ids}
        alone = [id for id, batch in batches.items() if not batch]
        together = list(dict.fromkeys(filter(None, batches.values())))
        for tag, ids in ((LAUNCH_TAG, alone), (BATCH_TAG, together)):
            if ids:
                self._machines.described(await self._describe((f"tag:{tag}", ids)))
        return {}

    async def _end_launch(self, launch_id: str) -> None:
        await self._shared.settled(launch_id)
        own = await self._own(launch_id)
        self._launches.give_up(launch_id)
        self._unseen.discard(launch_id)
        for machine in own:
            if not machine.ends:
                await self._lifecycle.end.add(machine.id)
        self._notify()

    def _notify(self) -> None:
        before, self._alive = self._alive, self._machines.alive()
        if self._alive is not before and self._alive != before and self.when_changed:
            with _log.failuresHandled("when_changed of the EC2 provider failed"):
                self.when_changed()


async def _translate_errors(
    work: Awaitable[None], kinds: Mapping[Verdict, type[Exception]] = _NOT_DONE
) -> None:
    """Do `work`, and translate its errors into `IProvider`'s."""
    try:
        await work
    except EC2Error as error:
        raise kinds.get(error.verdict, ProviderUnavailable)(str(error)) from None
    except CancelledError:
        raise ProviderUnavailable("the login server is stopping") from None


def _log_unended(failure: Failure, id: str) -> None:
    failure.trap(EC2Error, CancelledError)
    _log.warn("could not end {instance} yet: {error}", instance=id, error=str(failure.value))


class InstanceLifecycle:
    """Ends, stops and starts instances, several in a call, or each in its own if that fails. `add`
    an id to `end`, `stop` or `start`: it fires when EC2 has accepted."""

    def __init__(self, reactor: IReactorTime, client: EC2Client, machines: InstanceStates) -> None:
        self._client = client
        self._machines = machines
        self.end = Batch(reactor, self._end)
        self.stop = Batch(reactor, partial(self._each, client.stop_instances))
        self.start = Batch(reactor, partial(self._each, client.start_instances))

    async def _end(self, ids: Sequence[str]) -> Mapping[str, Exception]:
        failed = await self._each(self._client.terminate_instances, ids)
        for id, error in [*failed.items()]:
            if error.verdict is Verdict.NOT_FOUND and not self._machines.just_launched(id):
                self._machines.answered(id, "terminated")
                del failed[id]
        return failed

    async def _each(
        self, call: Callable[..., Deferred[Answer]], ids: Sequence[str]
    ) -> dict[str, EC2Error]:
        """Have `call` change instances; returns why it failed for some."""
        try:
            answer = await call(InstanceIds=ids)
        except EC2Error as error:
            if error.verdict in LATER:
                raise
            if len(ids) == 1:
                return {ids[0]: error}
            failed: dict[str, EC2Error] = {}
            for id in ids:
                failed |= await self._each(call, [id])
            return failed
        for key in ("TerminatingInstances", "StoppingInstances", "StartingInstances"):
            for changed in answer.get(key, ()):
                self._machines.answered(changed["InstanceId"], changed["CurrentState"]["Name"])
        return {}
