"""App servers as instances on EC2.

A launch is one instance, tagged with the fleet's own id (`bbs:fleet-id`) and the launch's
(`bbs:launch`). What has another fleet's id, or none, is never looked at, counted or ended. Each way
to launch, a type in a subnet, has a ClientToken of its own, made from the launch's id: whoever asks
again for what may exist finds it. The next way is tried after a clear answer that capacity lacks;
where the answer to an earlier try is not known, EC2 is first asked for instances of the launch.
Should two keepers of the fleet have launched by different ways all the same, the later instance is
ended when both are seen.

A list describes the whole fleet, one call for each `PAGE` instances.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.config import EC2
from bbs.gathering import Batch, Shared
from bbs.scaling.ec2 import request
from bbs.scaling.ec2.client import EC2Client
from bbs.scaling.ec2.errors import EC2Error, Verdict
from bbs.scaling.ec2.machines import Machine, Machines, machines
from bbs.scaling.ec2.request import FLEET_ID_TAG, FLEET_TAG, LAUNCH_TAG, Attempt
from bbs.scaling.interfaces import IProvider, LaunchFailed, LaunchRefused, ProviderUnavailable
from bbs.values import Instance

PAGE = 50
"""Instances in an answer. One of 200 takes 98 ms to parse by boto3 and 23 by a lean parser, and the
reactor hears nothing meanwhile; it stood still for 320 ms on botocore's own parser."""

_LATER = (Verdict.UNASKED, Verdict.AGAIN, Verdict.THROTTLED)
_NOT_LAUNCHED = {Verdict.REFUSED: LaunchRefused, Verdict.ELSEWHERE: LaunchFailed}
# No launch id has a blank in it.
_IMAGE, _FLEET = "the image", "the fleet"

_log = Logger()


@implementer(IProvider)
class EC2Provider(Service):
    """Launches app servers as instances, which live on when this stops.

    What has ended stays listed for as long as EC2 shows it: about an hour.

    :param client: its calls; a service of its own.
    :param user_data: makes the user data of a launch from the launch's id.
    :param version: this version, for the tag `bbs:version`.
    :param fleet_id: the fleet's own id, for the tag `bbs:fleet-id`.
    :param former: whether the fleet may have instances from before it had an id. Of those that
        have its name and no id it is told too, and it ends the one of a launch that it is asked to.
    """

    shared = True
    when_changed: Callable[[], None] | None = None

    def __init__(
        self,
        reactor: Any,
        client: EC2Client,
        config: EC2,
        user_data: Callable[[str], str],
        version: str,
        *,
        fleet_id: str,
        former: bool = False,
    ) -> None:
        self.scope = f"ec2:{config.region}:{fleet_id}"
        self.former_scope = f"ec2:{config.region}:{config.name}"
        """What `scope` was before a fleet had an id."""
        self._fleet_id = fleet_id
        self._former = former
        self._client = client
        self._config = config
        self._user_data = user_data
        self._version = version
        self._machines = Machines(reactor.seconds, fleet_id, config.name if former else "")
        self._alive: set[str] = set()
        self._doubtful: dict[str, Attempt] = {}
        """By launch id: the way by which there may be an instance."""
        self._volumes: Sequence[dict[str, Any]] | None = None
        self._shared = Shared()
        self._find = Batch(reactor, self._describe_launches)
        self._end = Batch(reactor, self._terminate)

    # IProvider

    def launch(self, launch_id: str) -> Deferred[None]:
        """Run an instance. Fires when EC2 has accepted it."""
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", launch_id):
            raise ValueError(f"not a launch id: {launch_id!r}")
        if not self.running:
            return fail(LaunchFailed("the provider is not running"))
        if self._machines.of(launch_id):
            return succeed(None)
        return self._shared.join(
            launch_id, lambda: _in_our_words(self._launch(launch_id), _NOT_LAUNCHED)
        )

    def list(self) -> Deferred[Mapping[str, Instance]]:
        """What EC2 shows now."""
        return Deferred.fromCoroutine(self._list())

    def terminate(self, launch_id: str) -> Deferred[None]:
        """Terminate the instance of a launch. Fires when EC2 has accepted that: it stops by itself
        from then on. Several that are asked for together are one call."""
        return Deferred.fromCoroutine(_in_our_words(self._end_launch(launch_id), {}))

    # Launching

    async def _launch(self, launch_id: str) -> None:
        ways = request.attempts(self._config)
        if launch_id in self._doubtful:
            ways = ways[ways.index(self._doubtful[launch_id]) :]
        volumes = await self._root_volume()
        for way in ways:
            try:
                await self._run(launch_id, way, volumes)
                return
            except EC2Error as error:
                if error.verdict is Verdict.TOKEN_ENDED:
                    self._doubtful.pop(launch_id, None)
                    self._machines.has_ended(launch_id)
                    self._tell()
                    return
                if error.verdict in _LATER:
                    raise
                if launch_id in self._doubtful and await self._exists(launch_id):
                    return
                if error.verdict is not Verdict.ELSEWHERE or way is ways[-1]:
                    raise
                _log.info("no {way}: {error}", way=str(way), error=str(error))

    async def _run(self, launch_id: str, way: Attempt, volumes: Sequence[dict[str, Any]]) -> None:
        parameters = request.run_instances(
            self._config,
            launch_id,
            way,
            self._user_data(launch_id),
            volumes,
            self._version,
            self._fleet_id,
        )
        doubtful_before = launch_id in self._doubtful
        self._doubtful[launch_id] = way
        try:
            answer = await self._client.run_instances(**parameters)
        except EC2Error as error:
            clear = not error.doubtful and error.verdict is not Verdict.TOKEN_USED
            if clear and not doubtful_before:
                self._doubtful.pop(launch_id, None)
            raise
        self._doubtful.pop(launch_id, None)
        for machine in machines(answer, self._config.address):
            self._machines.launched(machine)
            _log.info("launched {id}: {instance}", id=launch_id, instance=f"{machine.id}, {way}")
        self._tell()

    async def _exists(self, launch_id: str) -> bool:
        """Whether EC2 shows an instance of a launch whose answer was lost."""
        await self._find.add(launch_id)
        if not self._machines.of(launch_id):
            return False
        self._doubtful.pop(launch_id, None)
        self._tell()
        return True

    async def _root_volume(self) -> Sequence[dict[str, Any]]:
        """How the root volume is to be; a launch template says it itself."""
        if self._volumes is None and not self._config.launch_template:
            await self._shared.join(_IMAGE, self._describe_image)
        return self._volumes or []

    async def _describe_image(self) -> None:
        image = self._config.image_id
        answer = await self._client.describe_images(ImageIds=[image])
        if not answer["Images"]:
            raise EC2Error(Verdict.REFUSED, "NoImage", f"there is no image {image}: ec2.image_id")
        self._volumes = request.root_volume(answer["Images"][0])

    # Looking

    async def _list(self) -> Mapping[str, Instance]:
        await self._shared.join(_FLEET, lambda: _in_our_words(self._describe_fleet(), {}))
        return self._machines.instances()

    async def _describe_fleet(self) -> None:
        self._machines.described_all(await self._describe())
        self._tell()
        for id in self._machines.surplus():
            _log.warn("{instance} is the second of its launch, and is ended", instance=id)
            self._end.add(id).addErrback(_log_surplus)

    async def _describe(self, *filters: tuple[str, Sequence[str]]) -> Sequence[Machine]:
        """Every instance of this fleet that the filters let through."""
        found = await self._pages((f"tag:{FLEET_ID_TAG}", [self._fleet_id]), *filters)
        if self._former:
            # Among them are those that have an id, and fleets of the same name.
            named = await self._pages((f"tag:{FLEET_TAG}", [self._config.name]), *filters)
            found = [*found, *(machine for machine in named if not machine.fleet_id)]
        return found

    async def _pages(self, *filters: tuple[str, Sequence[str]]) -> Sequence[Machine]:
        parameters: dict[str, Any] = {
            "Filters": [{"Name": name, "Values": values} for name, values in filters],
            "MaxResults": PAGE,
        }
        found: list[Machine] = []
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
        if not self._machines.of(launch_id):
            await self._find.add(launch_id)
        own = self._machines.of(launch_id)
        self._doubtful.pop(launch_id, None)
        for machine in own:
            if not machine.ends:
                await self._end.add(machine.id)
        self._tell()

    async def _terminate(self, ids: Sequence[str]) -> Mapping[str, Exception]:
        """End instances in one call; where one of them spoils it for all, each in its own."""
        try:
            answer = await self._client.terminate_instances(InstanceIds=ids)
        except EC2Error as error:
            if error.verdict not in (Verdict.NOT_FOUND, Verdict.REFUSED):
                raise
            if len(ids) > 1:
                failed: dict[str, Exception] = {}
                for id in ids:
                    failed |= await self._terminate([id])
                return failed
            if error.verdict is Verdict.REFUSED or self._machines.just_launched(ids[0]):
                return {ids[0]: error}
            self._machines.answered(ids[0], "terminated")
            return {}
        for ended in answer["TerminatingInstances"]:
            self._machines.answered(ended["InstanceId"], ended["CurrentState"]["Name"])
        return {}

    def _tell(self) -> None:
        """Tell of instances that have started or ended."""
        alive = {id for id, instance in self._machines.instances().items() if instance.alive}
        before, self._alive = self._alive, alive
        if alive != before and self.when_changed:
            with _log.failuresHandled("when_changed of the EC2 provider failed"):
                self.when_changed()


async def _in_our_words(
    work: Coroutine[Any, Any, None], kinds: Mapping[Verdict, type[Exception]]
) -> None:
    """Do `work`, and put its errors as `IProvider` has them."""
    try:
        await work
    except EC2Error as error:
        raise kinds.get(error.verdict, ProviderUnavailable)(str(error)) from None
    except CancelledError:
        raise ProviderUnavailable("the login server stops") from None


def _log_surplus(failure: Failure) -> None:
    failure.trap(EC2Error, CancelledError)
    _log.warn("an instance too many was not ended yet: {error}", error=str(failure.value))
