"""App servers as instances on EC2.

A launch is one instance, tagged with the fleet's own id (`bbs:fleet-id`) and the launch's
(`bbs:launch`). What has another fleet's id, or none, is never looked at, counted or ended.
`launches.py` launches, `InstanceLifecycle` ends, stops and starts, and `instance_states.py` knows
what there is. A list describes the whole fleet, one call for each `PAGE` instances.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
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
from bbs.scaling.ec2.launch_request import (
    FLEET_ID_TAG,
    FLEET_TAG,
    LAUNCH_TAG,
    Basis,
    LaunchStrategy,
)
from bbs.scaling.ec2.launches import ILaunchOwner, InstanceLauncher
from bbs.scaling.interfaces import (
    IEndsUnlisted,
    IHasStrategies,
    IKeepsWarm,
    IProvider,
    LaunchFailed,
    LaunchRefused,
    ProviderUnavailable,
)

PAGE = 50
"""Instances in an answer: so few that each is there well before a call's deadline, also where much
else is going on, and one that is lost is soon asked for again."""

_NOT_DONE = {
    Verdict.REFUSED: LaunchRefused,
    Verdict.NO_SPOT: LaunchRefused,
    Verdict.ELSEWHERE: LaunchFailed,
}
# No launch id has a blank in it.
_FLEET = "the fleet"

_log = Logger()


@implementer(IProvider, IKeepsWarm, IHasStrategies, IEndsUnlisted, ILaunchOwner)
class EC2Provider(Service):
    """Launches app servers as instances, which live on when this stops.

    What has ended stays listed for as long as EC2 shows it: about an hour.

    :param client: its calls; a service of its own.
    :param user_data: makes the user data of a launch from the launch's id.
    :param version: this version, for the tag `bbs:version`.
    :param fleet_id: the fleet's own id, for the tag `bbs:fleet-id`.
    :param other_ids: other ids whose instances are this fleet's too; nothing is launched under
        them.
    :param former: whether the fleet may have instances from before it had an id. Instances with its
        name and without an id are listed too, and one of these is ended if its launch is to end.
    """

    shared = True
    when_changed: Callable[[], None] | None = None
    write_strategy: Callable[[str, str | None, str], Deferred[None]] | None = None

    def __init__(
        self,
        reactor: IReactorTime,
        client: EC2Client,
        config: EC2,
        user_data: Callable[[str], str],
        version: str,
        *,
        fleet_id: str,
        other_ids: Sequence[str] = (),
        former: bool = False,
    ) -> None:
        self.scope = f"ec2:{config.region}:{fleet_id}"
        self.former_scope = f"ec2:{config.region}:{config.name}"
        """What `scope` was before a fleet had an id."""
        self._reactor = reactor
        self._client = client
        self._config = config
        self._user_data = user_data
        self._version = version
        self._ids = [fleet_id, *other_ids]
        self._former = former
        self._machines = InstanceStates(reactor, self._ids, config.name if former else "")
        self._alive: set[str] = set()
        self._shared = SingleFlight()
        self._find = Batch(reactor, self._describe_launches)
        self._lifecycle = InstanceLifecycle(reactor, client, self._machines)
        self._launches = InstanceLauncher(client, config, self._machines, reactor, self)
        self._without_address = False
        self._unseen: set[str] = set()
        """Launches that were looked for in vain."""
        self._first_list, self._last_list = 0.0, float("-inf")
        """When the fleet was first and last listed without a gap, by the reactor's clock."""

    # IProvider

    def launch(self, launch_id: str) -> Deferred[None]:
        """Run an instance. Fires when EC2 has accepted it."""
        return self._ask(launch_id, spot=True)

    def _ask(self, launch_id: str, spot: bool) -> Deferred[None]:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", launch_id):
            raise ValueError(f"not a launch id: {launch_id!r}")
        if not self.running:
            return fail(LaunchFailed("the provider is not running"))
        if self._machines.of(launch_id):
            return succeed(None)
        return self._shared.join(launch_id, lambda: _in_our_words(self._launch(launch_id, spot)))

    def list(self) -> Deferred[Mapping[str, Instance]]:
        """What EC2 shows now."""
        return Deferred.fromCoroutine(self._list())

    def terminate(self, launch_id: str) -> Deferred[None]:
        """Terminate the instance of a launch. Fires when EC2 has accepted that: it stops by itself
        from then on. Several that are asked for together are one call."""
        return Deferred.fromCoroutine(_in_our_words(self._end_launch(launch_id), {}))

    # IEndsUnlisted

    def end_unlisted(self, instance_id: str) -> Deferred[None]:
        """Terminate an instance that descriptions lack."""
        return Deferred.fromCoroutine(_in_our_words(self._lifecycle.end.add(instance_id), {}))

    # IKeepsWarm

    def launch_to_stop(self, launch_id: str) -> Deferred[None]:
        """Run an instance on demand: a Spot instance that was asked for once cannot be stopped."""
        return self._ask(launch_id, spot=False)

    def stop(self, launch_id: str) -> Deferred[None]:
        """Stop the instance of a launch. Fires when EC2 has accepted that. One that still boots
        cannot be stopped yet: `ProviderUnavailable`."""
        return Deferred.fromCoroutine(_in_our_words(self._stop_launch(launch_id)))

    def start(self, launch_id: str) -> Deferred[None]:
        """Start it again. Fires when EC2 has accepted that. One that is still stopping cannot be
        started yet: `ProviderUnavailable`. Where capacity lacks: `LaunchFailed`."""
        if not self.running:
            return fail(LaunchFailed("the provider is not running"))
        return Deferred.fromCoroutine(_in_our_words(self._start_launch(launch_id)))

    # IHasStrategies

    def choose_strategies(self, count: int, to_stop: bool = False) -> Sequence[str]:
        """By balance, and not where capacity lacked a moment ago."""
        return self._launches.choose(count, spot=not to_stop)

    def know_strategies(self, written: Mapping[str, str], asked: Collection[str]) -> None:
        """Those that the configuration has no more are not known: such a launch is looked for."""
        self._launches.know(written, asked)

    def forget_strategies(self, kept: Collection[str] = ()) -> None:
        """Forget all but those that are `kept`."""
        self._launches.forget_strategies(kept)

    # ILaunchOwner

    def parameters_of(
        self, launch_id: str, strategy: LaunchStrategy, basis: Basis
    ) -> dict[str, Any]:
        user_data = self._user_data(launch_id)
        return launch_request.run_instances(
            self._config, launch_id, strategy, user_data, basis, self._version, self._ids[0]
        )

    def describe_launch(self, launch_id: str) -> Deferred[None]:
        return self._find.add(launch_id)

    def record_strategy(self, launch_id: str, before: str | None, after: str) -> Deferred[None]:
        return (
            self.write_strategy(launch_id, before, after) if self.write_strategy else succeed(None)
        )

    # Beneath

    async def _stop_launch(self, launch_id: str) -> None:
        machine = await self._standing(launch_id)
        if not machine.stopped:
            await self._lifecycle.stop.add(machine.id)
        self._tell()

    async def _start_launch(self, launch_id: str) -> None:
        machine = await self._standing(launch_id)
        if not machine.alive:
            await self._lifecycle.start.add(machine.id)
        self._tell()

    async def _standing(self, launch_id: str) -> EC2Instance:
        """The instance of a launch.

        :raises LaunchFailed: there is none, or it has ended.
        """
        await self._shared.settled(launch_id)
        own = await self._own(launch_id)
        if not own or own[0].ends:
            raise LaunchFailed("its instance has ended" if own else "it has no instance")
        return own[0]

    async def _own(self, launch_id: str) -> Sequence[EC2Instance]:
        """The instances of a launch, the one that counts first."""
        if not self._machines.of(launch_id):
            await self._find.add(launch_id)
        return self._machines.of(launch_id)

    # Launching

    async def _launch(self, launch_id: str, spot: bool) -> None:
        if not self._launches.has_strategy(launch_id) and self._may_be_anothers():
            await self._look_for(launch_id)
        if not self._machines.of(launch_id):
            await self._launches.launch(launch_id, spot)
        self._tell()

    async def _look_for(self, launch_id: str) -> None:
        """Look for an instance of a launch; the second time that it cannot be looked for that is
        let be, as launches may work where descriptions do not."""
        try:
            await self._find.add(launch_id)
        except EC2Error:
            if launch_id not in self._unseen:
                self._unseen.add(launch_id)
                raise
        self._unseen.discard(launch_id)

    def _may_be_anothers(self) -> bool:
        """Whether another controller may have made a launch of which no strategy is known, and no
        list have shown it yet: until this provider has seen the fleet for so long without a gap."""
        now = self._reactor.seconds()
        seen = self._last_list - self._first_list
        return seen < REMEMBERED or now - self._last_list > REMEMBERED

    # Looking

    async def _list(self) -> Mapping[str, Instance]:
        await self._shared.join(_FLEET, lambda: _in_our_words(self._describe_fleet(), {}))
        return self._machines.instances()

    async def _describe_fleet(self) -> None:
        self._machines.described_all(await self._describe())
        now = self._reactor.seconds()
        if now - self._last_list > REMEMBERED:
            self._first_list = now
        self._last_list = now
        self._tell()
        for id in self._machines.surplus():
            _log.warn("{instance} is the second of its launch, and is ended", instance=id)
            self._end_unasked(id)
        if self._config.address != "private":
            self._end_those_without_address()

    def _end_those_without_address(self) -> None:
        """People cannot reach them, and no waiting changes that."""
        for machine in self._machines.without_address():
            why = launch_request.no_address(self._config, machine.subnet)
            say = _log.warn if self._without_address else _log.critical
            say("{instance} is ended: {why}", instance=machine.id, why=why)
            self._without_address = True
            self._machines.explain(machine.id, why)
            self._end_unasked(machine.id)

    def _end_unasked(self, id: str) -> None:
        self._lifecycle.end.add(id).addCallbacks(
            lambda _: self._tell(), _log_unended, errbackArgs=(id,)
        )

    async def _describe(self, *filters: tuple[str, Sequence[str]]) -> Sequence[EC2Instance]:
        """Every instance of this fleet that the filters let through."""
        found = await self._pages((f"tag:{FLEET_ID_TAG}", self._ids), *filters)
        if self._former:
            # Among them are those that have an id, and fleets of the same name.
            named = await self._pages((f"tag:{FLEET_TAG}", [self._config.name]), *filters)
            found = [*found, *(machine for machine in named if not machine.fleet_id)]
        return found

    async def _pages(self, *filters: tuple[str, Sequence[str]]) -> Sequence[EC2Instance]:
        parameters: dict[str, Any] = {
            "Filters": [{"Name": name, "Values": values} for name, values in filters],
            "MaxResults": PAGE,
        }
        found: list[EC2Instance] = []
        while True:
            answer = await self._client.describe_instances(**parameters)
            found += machines(answer, self._config.address)
            if not answer.get("NextToken"):
                return found
            parameters["NextToken"] = answer["NextToken"]

    async def _describe_launches(self, launch_ids: Sequence[str]) -> Mapping[str, Exception]:
        self._machines.described(await self._describe((f"tag:{LAUNCH_TAG}", launch_ids)))
        return {}

    # Ending

    async def _end_launch(self, launch_id: str) -> None:
        await self._shared.settled(launch_id)
        own = await self._own(launch_id)
        self._launches.forget(launch_id)
        self._unseen.discard(launch_id)
        for machine in own:
            if not machine.ends:
                await self._lifecycle.end.add(machine.id)
        self._tell()

    def _tell(self) -> None:
        """Tell of instances that have started or ended."""
        before, self._alive = self._alive, self._machines.alive()
        if self._alive != before and self.when_changed:
            with _log.failuresHandled("when_changed of the EC2 provider failed"):
                self.when_changed()


async def _in_our_words(
    work: Awaitable[None], kinds: Mapping[Verdict, type[Exception]] = _NOT_DONE
) -> None:
    """Do `work`, and put its errors as `IProvider` has them."""
    try:
        await work
    except EC2Error as error:
        raise kinds.get(error.verdict, ProviderUnavailable)(str(error)) from None
    except CancelledError:
        raise ProviderUnavailable("the login server stops") from None


def _log_unended(failure: Failure, id: str) -> None:
    failure.trap(EC2Error, CancelledError)
    _log.warn("{instance} was not ended yet: {error}", instance=id, error=str(failure.value))


class InstanceLifecycle:
    """Ends, stops and starts instances: several in a call, and where one of them spoils it for all,
    each in its own. `add` to `end`, `stop` or `start` an instance's id: it fires when EC2 has
    accepted it."""

    def __init__(self, reactor: IReactorTime, client: EC2Client, machines: InstanceStates) -> None:
        self._client = client
        self._machines = machines
        self.end = Batch(reactor, self._end)
        self.stop = Batch(reactor, partial(self._each, client.stop_instances))
        self.start = Batch(reactor, partial(self._each, client.start_instances))

    async def _end(self, ids: Sequence[str]) -> Mapping[str, Exception]:
        failed = await self._each(self._client.terminate_instances, ids)
        still: dict[str, Exception] = {}
        for id, error in failed.items():
            unknown = error.verdict is Verdict.NOT_FOUND
            if unknown and not self._machines.just_launched(id):
                self._machines.answered(id, "terminated")
            else:
                still[id] = error
        return still

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
