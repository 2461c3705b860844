"""Launching instances: one for each launch, by one way after the other, whatever answers are lost.

Each way to launch, a type in a subnet, on demand or as Spot, has a ClientToken of its own, made
from the launch's id: whoever asks again for what may exist finds it. The next way is tried after a
clear answer that capacity lacks, and it is written down first (`IHasWays`): so whoever goes on with
the launch asks by the way by which there may be an instance. Where the answer to an earlier try is
not known, or another keeper's try may be on its way still, the next way waits for `SETTLES`, and
EC2 is asked for instances of the launch before. Should a call be carried out later than that, and
another way have been taken, the later instance is ended when both are seen.

Spot is asked of RunInstances, not of CreateFleet: that would need a launch template in every
account, another shape of answers and errors, and gives nothing here for one instance at a time.

The launch template and the image that launches are built on, asked of EC2 and remembered.

Where the next instance is launched: by balance, and not where capacity lacked a moment ago.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import Interface

from bbs.config import EC2
from bbs.core.batching import SingleFlight
from bbs.scaling.ec2 import launch_request
from bbs.scaling.ec2.client import EC2Client
from bbs.scaling.ec2.errors import LATER, EC2Error, Verdict
from bbs.scaling.ec2.instance_states import InstanceStates, machines
from bbs.scaling.ec2.launch_request import Attempt, Basis, Data, attempts

TEMPLATE_REMEMBERED = 300.0
"""Seconds after which a launch asks for the template anew: it may have another default version."""

# Keys of what is asked for together.
_BASIS = "the basis"

_log = Logger()


class LaunchSources:
    """What launches are built on now. An image stays as it is for ever, a template does not."""

    def __init__(self, client: EC2Client, config: EC2, clock: IReactorTime) -> None:
        self._client = client
        self._config = config
        self._seconds = clock.seconds
        self._shared = SingleFlight()
        self._basis: Basis | None = None
        self._asked = 0.0
        self._images: dict[str, Data] = {}

    async def get(self) -> Basis:
        """The basis of a launch. Where EC2 cannot say it again, it is as it was.

        :raises EC2Error: it cannot be had, or nothing can be launched on it.
        """
        if self._basis is None or self._is_old():
            try:
                await self._shared.join(_BASIS, self._ask)
            except EC2Error as error:
                if self._basis is None or error.verdict is Verdict.REFUSED:
                    raise
                _log.warn("the launch template may have changed: {error}", error=str(error))
        assert self._basis is not None
        return self._basis

    async def changed(self) -> bool:
        """Ask for the template anew, as a launch on it was refused; whether it is another now."""
        before = self._basis
        if not self._config.launch_template:
            return False
        await self._shared.join(_BASIS, self._ask)
        return self._basis != before

    def _is_old(self) -> bool:
        age = self._seconds() - self._asked
        return bool(self._config.launch_template) and age >= TEMPLATE_REMEMBERED

    async def _ask(self) -> None:
        data = await self._template()
        image = await self._image(launch_request.image_id(self._config, data))
        self._basis, self._asked = Basis(data, image), self._seconds()

    async def _template(self) -> Data:
        if not self._config.launch_template:
            return {}
        spoken = launch_request.named(self._config)
        answer = await self._client.describe_launch_template_versions(
            Versions=[spoken.pop("Version")], **spoken
        )
        versions = answer.get("LaunchTemplateVersions")
        if not versions:
            raise self._refusal("there is no such version of it")
        data: Data = versions[0]["LaunchTemplateData"]
        if misfit := launch_request.mismatch(self._config, data):
            raise self._refusal(misfit)
        return data

    async def _image(self, image: str) -> Data:
        if image not in self._images and image.startswith("ami-"):
            answer = await self._client.describe_images(ImageIds=[image])
            if not answer["Images"]:
                where = "ec2.launch_template" if not self._config.image_id else "ec2.image_id"
                text = f"there is no image {image}: {where}"
                raise EC2Error(Verdict.REFUSED, "NoImage", text)
            self._images[image] = answer["Images"][0]
        return self._images.get(image, {})

    def _refusal(self, why: str) -> EC2Error:
        text = f"the launch template {self._config.launch_template}: {why}"
        return EC2Error(Verdict.REFUSED, "LaunchTemplate", text)


LACK_REMEMBERED = 180.0
"""Seconds for which a way is not tried again that lacked capacity; as long as Karpenter remembers
it (`UnavailableOfferingsTTL`)."""


class LaunchPlacement:
    """The ways to launch, and which of them lack capacity."""

    def __init__(self, config: EC2, clock: IReactorTime) -> None:
        self._config = config
        self._seconds = clock.seconds
        self._lacks: dict[Attempt, tuple[float, str]] = {}
        """When each of these was last refused, by the reactor's clock, and how."""

    def next(
        self, living: Mapping[str, int], tried: Collection[Attempt], spot: bool = True
    ) -> Attempt | None:
        """What a launch tries next that has tried these in vain, as Spot or not; None when there is
        nothing left. Where everything lacks, the way that did so longest ago is tried."""
        ways = [way for way in attempts(self._config, living) if spot or not way.spot]
        for way in ways:
            if way not in tried and not self._lacks_now(way):
                return way
        return None if tried else min(ways, key=lambda way: self._lacks[way][0])

    def lacks(self, way: Attempt, error: EC2Error) -> None:
        """There is nothing to be had by this way now, and by no other that fails for the same."""
        for other in attempts(self._config):
            same_market = error.verdict is Verdict.NO_SPOT and other.spot
            same_subnet = (
                error.code.endswith("InsufficientFreeAddressesInSubnet")
                and other.subnet == way.subnet
            )
            if other == way or same_market or same_subnet:
                self._lacks[other] = self._seconds(), error.code

    def works(self, way: Attempt) -> None:
        """Something was launched by this way."""
        self._lacks.pop(way, None)

    def lacking(self) -> str:
        """Every way that lacks now, and why, in a line."""
        said = (
            f"{way} ({self._lacks[way][1]})"
            for way in attempts(self._config)
            if self._lacks_now(way)
        )
        return ", ".join(said)

    def _lacks_now(self, way: Attempt) -> bool:
        lacked = self._lacks.get(way)
        return lacked is not None and self._seconds() - lacked[0] < LACK_REMEMBERED


SETTLES = 30.0
"""Seconds for which a call that was given up may still be carried out. Its connection is closed as
it is given up (`client.DEADLINE`); EC2 itself says nothing of it."""

_LACKS = (Verdict.ELSEWHERE, Verdict.NO_SPOT)


class ILaunchOwner(Interface):
    """The provider that launches are made for."""

    def parameters_of(launch_id: str, way: Attempt, basis: Basis) -> dict[str, Any]:
        """The parameters of RunInstances for a launch, by a way, on a basis."""

    def describe_launch(launch_id: str) -> Deferred[None]:
        """Describe the instances of a launch."""

    def record_way(launch_id: str, before: str | None, way: str) -> Deferred[None]:
        """Write down by which way a launch is asked for, and by which it was `before`."""


class InstanceLauncher:
    """Makes launches.

    :param known: gets the instances that are launched, and learns of those that `owner` describes.
    """

    def __init__(
        self,
        client: EC2Client,
        config: EC2,
        known: InstanceStates,
        clock: IReactorTime,
        owner: ILaunchOwner,
    ) -> None:
        self._client = client
        self._config = config
        self._known = known
        self._owner = owner
        self._seconds = clock.seconds
        self._bases = LaunchSources(client, config, clock)
        self._where = LaunchPlacement(config, clock)
        self._ways: dict[str, Attempt] = {}
        """By launch id, of those of which no instance is known: the way that is written down, by
        which alone there may be one."""
        self._doubts: dict[str, float] = {}
        """When somebody last asked for such a launch who did not hear the answer, or may have."""

    def ways(self, count: int, spot: bool) -> list[str]:
        """By which way each of so many launches is best made, where others are made at once."""
        living, chosen = self._living(), []
        for _ in range(count):
            if way := self._where.next(living, (), spot):
                living[way.subnet or ""] += 1
                chosen.append(str(way))
        return chosen

    def know(self, ways: Mapping[str, str], asked: Collection[str]) -> None:
        """What is written down of launches, by id; for those that are `asked` another keeper may
        have asked. One that the configuration has no more is not known."""
        by_name = {str(way): way for way in attempts(self._config)}
        for id, name in ways.items():
            if id not in self._ways and name in by_name and not self._known.of(id):
                self._ways[id] = by_name[name]
                if id in asked:
                    self._doubts[id] = self._seconds()

    def has_way(self, launch_id: str) -> bool:
        """Whether it is known by which way there may be an instance of the launch."""
        return launch_id in self._ways

    def forget_ways(self, kept: Collection[str]) -> None:
        """All but those that are `kept`."""
        for id in {*self._ways, *self._doubts} - {*kept}:
            self.forget(id)

    async def launch(self, launch_id: str, spot: bool = True) -> None:
        """Have an instance of the launch, or know that there was one. Not by a way that is Spot,
        unless `spot`.

        :raises EC2Error: it is not known whether there is one, or there is none.
        """
        basis = await self._bases.get()
        asked_anew = False
        tried: list[Attempt] = []
        way = self._ways.get(launch_id)
        if way is None:
            way = self._where.next(self._living(), tried, spot)
            await self._take(launch_id, way)
        while way:
            try:
                await self._run(launch_id, way, basis)
                return
            except EC2Error as error:
                if await self._is_settled(launch_id, error):
                    return
                if error.verdict in _LACKS:
                    _log.info("no {way}: {error}", way=str(way), error=str(error))
                    self._where.lacks(way, error)
                    tried.append(way)
                    way = self._where.next(self._living(), tried, spot)
                    if way is None:
                        self.forget(launch_id)
                        raise self._nowhere(error) from None
                    if self._may_still_come(launch_id):
                        raise _undecided(error) from None
                    await self._take(launch_id, way)
                elif error.verdict is Verdict.REFUSED and not asked_anew:
                    asked_anew = True
                    if not await self._bases.changed():
                        raise
                    _log.info("the launch template has changed")
                    basis = await self._bases.get()
                else:
                    raise

    def forget(self, launch_id: str) -> None:
        """The launch is ended, or made, or failed: nobody doubts any more."""
        self._ways.pop(launch_id, None)
        self._doubts.pop(launch_id, None)

    async def _take(self, launch_id: str, way: Attempt | None) -> None:
        """Have it written down that the launch is asked for by this way."""
        if way is None:
            return
        before = self._ways.pop(launch_id, None)
        # Should that fail, it is not known here what is written down.
        await self._owner.record_way(launch_id, str(before) if before else None, str(way))
        self._doubts.pop(launch_id, None)
        self._ways[launch_id] = way

    def _living(self) -> Counter[str]:
        """How many live in each subnet, or are asked for there at this moment: they spread."""
        living = self._known.living()
        living.update(way.subnet or "" for way in self._ways.values())
        return living

    def _may_still_come(self, launch_id: str) -> bool:
        """Whether an earlier call may be carried out after a later one was answered."""
        doubt = self._doubts.get(launch_id)
        return doubt is not None and self._seconds() - doubt < SETTLES

    async def _run(self, launch_id: str, way: Attempt, basis: Basis) -> None:
        parameters = self._owner.parameters_of(launch_id, way, basis)
        before = self._doubts.get(launch_id)
        self._doubts[launch_id] = self._seconds()
        try:
            answer = await self._client.run_instances(**parameters)
        except EC2Error as error:
            if not error.doubtful and error.verdict is not Verdict.TOKEN_USED:
                self._doubts.pop(launch_id, None)
                if before is not None:
                    self._doubts[launch_id] = before
            raise
        self.forget(launch_id)
        self._where.works(way)
        for machine in machines(answer, self._config.address):
            self._known.launched(machine)
            _log.info(
                "launched {server}: {instance}, {way}",
                server=launch_id,
                instance=machine.id,
                way=str(way),
            )

    async def _is_settled(self, launch_id: str, error: EC2Error) -> bool:
        """Whether there is or was an instance of the launch, though a call for it failed.

        :raises EC2Error: `error`, where it says nothing of the launch.
        """
        if error.verdict is Verdict.TOKEN_ENDED:
            self._known.has_ended(launch_id)
        elif error.verdict in LATER:
            raise error
        elif launch_id in self._doubts:
            await self._owner.describe_launch(launch_id)
        settled = bool(self._known.of(launch_id))
        if settled:
            self.forget(launch_id)
        return settled

    def _nowhere(self, last: EC2Error) -> EC2Error:
        """What is said when capacity lacks in every way there is."""
        lacking = self._where.lacking()
        if "," not in lacking:
            return last
        text = f"EC2 has no capacity: {lacking}"
        return EC2Error(last.verdict, last.code, text)


def _undecided(error: EC2Error) -> EC2Error:
    """It was refused now, and an earlier call for the same may still be carried out."""
    text = f"{error}; an earlier call may still be carried out"
    return EC2Error(Verdict.AGAIN, error.code, text)
