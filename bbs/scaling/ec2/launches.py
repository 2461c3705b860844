"""Launches instances: one for each launch, by one strategy after the other, whatever answers are
lost.

A strategy is a type in a subnet, on demand or as Spot. Each has a ClientToken of its own, made from
the launch's id: whoever asks again for what may exist finds it. The next strategy is tried after a
clear answer that capacity lacks, and it is written down first (`IHasStrategies`). So whoever goes
on with the launch asks by the strategy by which there may be an instance. The next strategy waits
for `SETTLES` where the answer to an earlier try is not known, or another controller's try may be on
its way still, and EC2 is asked for instances of the launch before. Should a call be carried out
later than that, and another strategy have been taken, the later instance is ended when both are
seen.

Spot is asked of RunInstances, not of CreateFleet: that would need a launch template in every
account, another shape of answers and errors, and gives nothing here for one instance at a time.
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
from bbs.scaling.ec2.launch_request import Basis, Data, LaunchStrategy, strategies

SETTLES = 30.0
"""Seconds for which a call that was given up may still be carried out. Its connection is closed as
it is given up (`client.DEADLINE`); EC2 does not document it."""

LACK_REMEMBERED = 180.0
"""Seconds for which a strategy is not tried again that lacked capacity; as long as Karpenter
remembers it (`UnavailableOfferingsTTL`)."""

TEMPLATE_REMEMBERED = 300.0
"""Seconds after which a launch asks for the template anew: it may have another default version."""

_LACKS = (Verdict.ELSEWHERE, Verdict.NO_SPOT)

_log = Logger()


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
        self._sources = LaunchSources(client, config, clock)
        self._placement = LaunchPlacement(config, clock)
        self._written: dict[str, LaunchStrategy] = {}
        """By launch id, of those of which no instance is known: the strategy that is written down,
        by which alone there may be one."""
        self._doubts: dict[str, float] = {}
        """When somebody last asked for such a launch who did not hear the answer, or may have."""

    def choose(self, count: int, spot: bool) -> list[str]:
        """The best strategy for each of so many launches, where others are made at once."""
        living, chosen = self._living(), []
        for _ in range(count):
            if strategy := self._placement.next(living, (), spot):
                living[strategy.subnet or ""] += 1
                chosen.append(str(strategy))
        return chosen

    def know(self, written: Mapping[str, str], asked: Collection[str]) -> None:
        """Learn the strategies that are `written` down of launches, by id; for those that are
        `asked` another controller may have asked. A strategy that the configuration has no more is
        not known."""
        by_name = {str(strategy): strategy for strategy in strategies(self._config)}
        for id, name in written.items():
            if id not in self._written and name in by_name and not self._known.of(id):
                self._written[id] = by_name[name]
                if id in asked:
                    self._doubts[id] = self._seconds()

    def has_strategy(self, launch_id: str) -> bool:
        """Whether it is known by which strategy there may be an instance of the launch."""
        return launch_id in self._written

    def forget_strategies(self, kept: Collection[str]) -> None:
        """Forget all but those that are `kept`."""
        for id in {*self._written, *self._doubts} - {*kept}:
            self.forget(id)

    async def launch(self, launch_id: str, spot: bool = True) -> None:
        """Have an instance of the launch, or know that there was one; as Spot only with `spot`.

        :raises EC2Error: it is not known whether there is one, or there is none.
        """
        basis = await self._sources.get()
        asked_anew = False
        tried: list[LaunchStrategy] = []
        strategy = self._written.get(launch_id)
        if strategy is None:
            strategy = self._placement.next(self._living(), tried, spot)
            await self._take(launch_id, strategy)
        while strategy:
            try:
                await self._run(launch_id, strategy, basis)
                return
            except EC2Error as error:
                if await self._is_settled(launch_id, error):
                    return
                if error.verdict in _LACKS:
                    _log.info("no {way}: {error}", way=str(strategy), error=str(error))
                    self._placement.lacks(strategy, error)
                    tried.append(strategy)
                    strategy = self._placement.next(self._living(), tried, spot)
                    if strategy is None:
                        self.forget(launch_id)
                        raise self._nowhere(error) from None
                    if self._may_still_come(launch_id):
                        raise _undecided(error) from None
                    await self._take(launch_id, strategy)
                elif error.verdict is Verdict.REFUSED and not asked_anew:
                    asked_anew = True
                    if not await self._sources.changed():
                        raise
                    _log.info("the launch template has changed")
                    basis = await self._sources.get()
                else:
                    raise

    def forget(self, launch_id: str) -> None:
        """Forget a launch that is ended, or made, or failed."""
        self._written.pop(launch_id, None)
        self._doubts.pop(launch_id, None)

    async def _take(self, launch_id: str, strategy: LaunchStrategy | None) -> None:
        """Have it written down that the launch is asked for by this strategy."""
        if strategy is None:
            return
        before = self._written.pop(launch_id, None)
        # Should that fail, it is not known here what is written down.
        await self._owner.record_strategy(launch_id, str(before) if before else None, str(strategy))
        self._doubts.pop(launch_id, None)
        self._written[launch_id] = strategy

    def _living(self) -> Counter[str]:
        """How many live in each subnet, or are asked for there at this moment: they spread."""
        living = self._known.living()
        living.update(strategy.subnet or "" for strategy in self._written.values())
        return living

    def _may_still_come(self, launch_id: str) -> bool:
        """Whether an earlier call may be carried out after a later one was answered."""
        doubt = self._doubts.get(launch_id)
        return doubt is not None and self._seconds() - doubt < SETTLES

    async def _run(self, launch_id: str, strategy: LaunchStrategy, basis: Basis) -> None:
        parameters = self._owner.parameters_of(launch_id, strategy, basis)
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
        self._placement.works(strategy)
        for machine in machines(answer, self._config.address):
            self._known.launched(machine)
            _log.info(
                "launched {server}: {instance}, {way}",
                server=launch_id,
                instance=machine.id,
                way=str(strategy),
            )

    async def _is_settled(self, launch_id: str, error: EC2Error) -> bool:
        """Whether there is or was an instance of the launch, though a call for it failed.

        :raises EC2Error: `error`, unless it says something about the launch.
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
        """The error for a launch when capacity lacks for every strategy."""
        lacking = self._placement.lacking()
        if "," not in lacking:
            return last
        text = f"EC2 has no capacity: {lacking}"
        return EC2Error(last.verdict, last.code, text)


def _undecided(error: EC2Error) -> EC2Error:
    """A launch was refused now, and an earlier call for it may still be carried out."""
    text = f"{error}; an earlier call may still be carried out"
    return EC2Error(Verdict.AGAIN, error.code, text)


class ILaunchOwner(Interface):
    """The provider that launches are made for."""

    def parameters_of(launch_id: str, strategy: LaunchStrategy, basis: Basis) -> dict[str, Any]:
        """The parameters of RunInstances for a launch, by a strategy, on a basis."""

    def describe_launch(launch_id: str) -> Deferred[None]:
        """Describe the instances of a launch."""

    def record_strategy(launch_id: str, before: str | None, after: str) -> Deferred[None]:
        """Write down by which strategy a launch is asked for, and by which it was `before`."""


class LaunchPlacement:
    """Chooses where the next instance is launched: by balance, and not where capacity lacked a
    moment ago."""

    def __init__(self, config: EC2, clock: IReactorTime) -> None:
        self._config = config
        self._seconds = clock.seconds
        self._lacks: dict[LaunchStrategy, tuple[float, str]] = {}
        """When each of these was last refused, by the reactor's clock, and how."""

    def next(
        self, living: Mapping[str, int], tried: Collection[LaunchStrategy], spot: bool = True
    ) -> LaunchStrategy | None:
        """The next strategy for a launch that has `tried` these in vain; None when nothing is left.
        If capacity lacks for all of them, the one that was refused longest ago is tried."""
        found = [each for each in strategies(self._config, living) if spot or not each.spot]
        for strategy in found:
            if strategy not in tried and not self._lacks_now(strategy):
                return strategy
        return None if tried else min(found, key=lambda each: self._lacks[each][0])

    def lacks(self, strategy: LaunchStrategy, error: EC2Error) -> None:
        """Note that nothing is to be had by this strategy now, nor by another that fails for the
        same reason."""
        for other in strategies(self._config):
            same_market = error.verdict is Verdict.NO_SPOT and other.spot
            same_subnet = (
                error.code.endswith("InsufficientFreeAddressesInSubnet")
                and other.subnet == strategy.subnet
            )
            if other == strategy or same_market or same_subnet:
                self._lacks[other] = self._seconds(), error.code

    def works(self, strategy: LaunchStrategy) -> None:
        """Note that something was launched by this strategy."""
        self._lacks.pop(strategy, None)

    def lacking(self) -> str:
        """Every strategy that lacks now, and why, in a line."""
        said = (
            f"{strategy} ({self._lacks[strategy][1]})"
            for strategy in strategies(self._config)
            if self._lacks_now(strategy)
        )
        return ", ".join(said)

    def _lacks_now(self, strategy: LaunchStrategy) -> bool:
        lacked = self._lacks.get(strategy)
        return lacked is not None and self._seconds() - lacked[0] < LACK_REMEMBERED


class LaunchSources:
    """The launch template and the image that launches are built on, asked of EC2 and remembered. An
    image stays as it is for ever, a template does not."""

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
                await self._shared.join("basis", self._ask)
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
        await self._shared.join("basis", self._ask)
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
