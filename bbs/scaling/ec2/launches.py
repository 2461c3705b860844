"""Launches instances: one for each launch, by one strategy after the other, even if answers are
lost.

A strategy is a type in a subnet, on demand or as Spot. Each has a ClientToken of its own, made from
the launch's id, so asking again finds an existing instance. The next strategy is tried after a
clear answer that capacity lacks, and is written down first (`IHasStrategies`), so a controller that
continues the launch uses the strategy by which there may be an instance. If the answer to an
earlier try is unknown, or another controller's try may be under way, the next strategy waits for
`SETTLES`, and EC2 is first asked for instances of the launch. If a call is carried out even later,
the later instance is ended when both are seen.

If there are several Spot pools, the first strategy is the best of them that are not in doubt
(`spot_fleet.py`), in the subnets that keep the fleet in several zones. Many launches by one
strategy are asked for together (`launch_batches.py`), all or none of them; if none is made, all
fail, and the fleet asks for others by the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import Interface

from bbs.config import EC2
from bbs.core.batching import SingleFlight
from bbs.scaling.ec2 import launch_batches, launch_request, spot_fleet
from bbs.scaling.ec2.client import EC2Client
from bbs.scaling.ec2.errors import LACKS, LATER, EC2Error, Verdict, family, quota
from bbs.scaling.ec2.instance_states import EC2Instance, InstanceStates, machines, unseen
from bbs.scaling.ec2.launch_batches import LaunchBatch
from bbs.scaling.ec2.launch_request import Basis, Data, LaunchStrategy, strategies
from bbs.scaling.ec2.spot_fleet import NoSpot, SpotFleet, SpotFleets
from bbs.scaling.ec2.throttle import Refusals
from bbs.scaling.pools import DOUBTFUL

SETTLES = 30.0
"""Seconds for which an abandoned call may still be carried out. Its connection is closed at once
(`client.DEADLINE`); EC2 does not document the time."""

LISTED_AFTER_END = 3600.0
"""Seconds after which EC2 may not list an ended instance any more: "about an hour"."""

LACK_REMEMBERED = 180.0
"""Seconds for which a strategy that lacked capacity is not tried again; as long as in Karpenter
(`UnavailableOfferingsTTL`)."""

TEMPLATE_REMEMBERED = 300.0  # seconds; a template may get another default version

Strategy = LaunchStrategy | SpotFleet | LaunchBatch

_log = Logger()


@dataclass(eq=False, repr=False)
class InstanceLauncher:
    """Makes launches of the fleet `fleet_id` for `owner`. `known` learns the instances."""

    client: EC2Client
    config: EC2
    known: InstanceStates
    clock: IReactorTime
    owner: ILaunchOwner
    fleet_id: str

    def __post_init__(self) -> None:
        self._seconds = self.clock.seconds
        self._sources = LaunchSources(self.client, self.config, self.clock)
        self._fleets = SpotFleets(self.client, self.clock, self.fleet_id)
        self._placement = LaunchPlacement(self.config, self.clock, self._fleets)
        self._staying: Counter[str] | None = None  # The servers in each subnet; else all living.
        self._written: dict[str, Strategy] = {}
        """The strategy that is written down, by launch id, while no instance is known: the only one
        by which there may be an instance."""
        self._doubts: dict[str, float] = {}  # when last asked for without a known answer
        self._missed: dict[str, float] = {}  # since when lists lack one of a batch
        self._void: dict[str, EC2Error] = {}  # why batches of which none is launched have failed
        self._shared = SingleFlight()
        self._batch_refusals = Refusals(self.clock)

    @property
    def lacking_pools(self) -> Collection[str]:
        return {str(strategy) for strategy in self._placement.lacking()}

    def prefer(
        self, doubts: Mapping[str, float], staying: Mapping[str, int], in_two_zones: bool
    ) -> None:
        """As `IHasPools` has it."""
        self._placement.doubts, self._placement.in_two_zones = doubts, in_two_zones
        self._staying = Counter(staying)

    def choose(self, count: int, spot: bool) -> list[str]:
        """The best strategy for each of `count` launches made at once."""
        living = self._living() if self._staying is None else self._staying
        chosen = []
        for _ in range(count):
            if strategy := self._placement.next(living, (), spot):
                living[strategy.home] += 1
                chosen.append(str(strategy))
        return chosen

    def batches(self, strategies: Collection[str]) -> list[tuple[str, str]]:
        """As `IMakesBatches` has it."""
        if self._batch_refusals.is_recent:
            return []
        return [*launch_batches.batches(strategies, self.config, self.lacking_pools)]

    def batch_of(self, launch_id: str) -> str:
        """The id of the batch of a launch that is asked for; "" if there is none."""
        strategy = self._written.get(launch_id)
        return strategy.id if isinstance(strategy, LaunchBatch) else ""

    def know(self, written: Mapping[str, str], asked: Collection[str]) -> None:
        """Learn the strategies that are `written` down, by launch id. Another controller may have
        asked for the launches in `asked`. Strategies that have left the configuration are
        ignored."""
        by_name = {str(each): each for each in strategies(self.config)}
        for id, way in written.items():
            if id in self._written or self.known.of(id):
                continue
            name = strategy_of(way)
            if strategy := (
                launch_batches.parse(by_name, way)
                or by_name.get(name)
                or spot_fleet.parse(self.config, name)
            ):
                self._written[id] = strategy
                if id in asked:
                    self._doubts[id] = self._seconds()

    def has_strategy(self, launch_id: str) -> bool:
        return launch_id in self._written

    def forget_strategies(self, kept: Collection[str]) -> None:
        for id in {*self._written, *self._doubts, *self._missed} - {*kept}:
            self.forget(id)
        if self._void:
            left = set(map(self.batch_of, self._written))
            self._void = {id: error for id, error in self._void.items() if id in left}

    async def launch(self, launch_id: str, spot: bool = True) -> None:
        """Make an instance of the launch, or learn that it had one; as Spot only with `spot`.
        `EC2Error`: there is none, or it is unknown whether there is."""
        basis = await self._sources.get()
        asked_anew = False
        tried: list[Strategy] = []
        strategy = self._written.get(launch_id)
        if isinstance(strategy, LaunchBatch):
            return await self._launch_member(launch_id, strategy, basis)
        if strategy is None:
            strategy = self._placement.next(self._living(launch_id), tried, spot)
            await self._take(launch_id, strategy)
        while strategy:
            try:
                await self._run([launch_id], strategy, basis)
                self.forget(launch_id)
                return
            except EC2Error as error:
                if await self._is_settled(launch_id, error):
                    return
                is_refused = isinstance(strategy, SpotFleet) and error.verdict is Verdict.REFUSED
                if is_refused:
                    self._fleets.refused(error)
                if is_refused or error.verdict in LACKS:
                    _log.info("no {way}: {error}", way=str(strategy), error=str(error))
                    if isinstance(strategy, LaunchStrategy):
                        self._placement.lacks(strategy, error)
                    elif isinstance(error, NoSpot):
                        for pool, why in error.by_pool.items():
                            self._placement.lacks(pool, why)
                    tried.append(strategy)
                    strategy = self._placement.next(self._living(launch_id), tried, spot)
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

    async def _launch_member(self, launch_id: str, batch: LaunchBatch, basis: Basis) -> None:
        """Make an instance of a launch by its batch: once for all that wait for it."""
        try:
            await self._shared.join(batch.id, lambda: self._launch_batch(launch_id, batch, basis))
        except EC2Error as error:
            if error.verdict in LACKS:
                self.forget(launch_id)
            if error.verdict is Verdict.TOKEN_ENDED:
                self._check_member(launch_id, batch)
            elif not self.known.of(launch_id):
                raise
        self.forget(launch_id)
        if not self.known.of(launch_id):
            self._batch_refusals.note()
            raise EC2Error(Verdict.ELSEWHERE, "NoInstance", f"EC2 gave no instance of {batch}")

    async def _launch_batch(self, launch_id: str, batch: LaunchBatch, basis: Basis) -> None:
        """Ask for the instances of a batch, for one of its launches and all that wait with it.
        `EC2Error`: for launches whose instance is unknown."""
        ids = batch.members
        if batch.id in self._void:
            # Others have failed by this: asked for now, they would be launched after all.
            raise self._void[batch.id].with_traceback(None)
        try:
            if any(machine.ends for id in ids for machine in self.known.of(id)):
                # So EC2 would say, or have forgotten the token, and launch all of them again.
                raise EC2Error(Verdict.TOKEN_ENDED, "Ended", f"some of {batch} have ended")
            await self._run(ids, batch, basis)
        except EC2Error as error:
            if error.verdict in LATER:
                raise
            # The end of any other may have been asked for meanwhile, so this one stands for all.
            if error.verdict is Verdict.TOKEN_ENDED or not self._doubts.keys().isdisjoint(ids):
                await self.owner.describe_launch(launch_id)
            if not self.known.launches.isdisjoint(ids):
                raise
            if error.verdict not in (*LACKS, Verdict.REFUSED):
                raise
            if error.verdict in LACKS:
                self._placement.lacks(batch.strategy, error)
            if error.verdict in (Verdict.QUOTA, Verdict.REFUSED):
                # A quota may have room for some, and the login server no right to a batch.
                _log.info("launches are made one by one: {error}", error=str(error))
                self._batch_refusals.note()
            if any(map(self._may_still_come, ids)):
                raise _undecided(error) from None
            # By the next strategy, or one by one, it may work.
            self._void[batch.id] = EC2Error(Verdict.ELSEWHERE, error.code, str(error))
            raise self._void[batch.id] from None

    def _check_member(self, launch_id: str, batch: LaunchBatch) -> None:
        """Raise `EC2Error` if it is unknown what became of a launch, of whose batch others have
        ended. Once it has ended as well, it is listed for about an hour."""
        if not self.known.of(launch_id):
            missing = self._seconds() - self._missed.setdefault(launch_id, self._seconds())
            if missing < LISTED_AFTER_END:
                text = f"it is not listed, and others of {batch.count} that were launched with it"
                raise EC2Error(Verdict.AGAIN, "NotListed", f"{text} have ended")
            self.known.has_ended(launch_id)

    def forget(self, launch_id: str) -> None:
        for known in (self._written, self._doubts, self._missed):
            known.pop(launch_id, None)

    def give_up(self, launch_id: str) -> None:
        """Forget a launch that nobody asks for again."""
        self.forget(launch_id)
        self._fleets.forget(launch_id)

    def sweep(self) -> None:
        """Delete what launches by CreateFleet have left behind, if there are any."""
        if len(spot_fleet.spot_pools(self.config)) > 1:
            self._fleets.sweep(self._written)

    async def _take(self, launch_id: str, strategy: Strategy | None) -> None:
        """Have it written down that the launch is asked for by this strategy."""
        if strategy is None:
            return
        before = self._written.pop(launch_id, None)
        # If that fails, nobody here knows what is written down.
        await self.owner.record_strategy(launch_id, str(before) if before else None, str(strategy))
        self._doubts.pop(launch_id, None)
        self._written[launch_id] = strategy

    def _living(self, beside: str = "") -> Counter[str]:
        """How many instances `beside` a launch live in each subnet, or are being asked for."""
        living = self.known.living()
        living.update(each.home for id, each in self._written.items() if id != beside)
        return living

    def _may_still_come(self, launch_id: str) -> bool:
        """Whether an earlier call may be carried out after a later one was answered."""
        doubt = self._doubts.get(launch_id)
        return doubt is not None and self._seconds() - doubt < SETTLES

    async def _run(self, ids: Sequence[str], strategy: Strategy, basis: Basis) -> None:
        """Ask for launches; all that wait for the call share its doubts."""
        before = {id: self._doubts[id] for id in ids if id in self._doubts}
        self._doubts |= dict.fromkeys(ids, self._seconds())
        try:
            launched = await self._ask(ids[0], strategy, basis)
        except NoSpot:
            # The answer to every call under this token.
            self._settle(ids)
            raise
        except EC2Error as error:
            if not error.doubtful and error.verdict is not Verdict.TOKEN_USED:
                self._settle(ids)
                self._doubts |= before
            raise
        self._settle(ids)
        for machine, pool in launched:
            self._placement.works(pool)
            self.known.launched(machine)
            _log.info(
                "launched {server}: {instance}, {way}",
                server=machine.launch_id,
                instance=machine.id,
                way=str(pool),
            )

    def _settle(self, ids: Iterable[str]) -> None:
        for id in ids:
            self._doubts.pop(id, None)

    async def _ask(
        self, launch_id: str, strategy: Strategy, basis: Basis
    ) -> list[tuple[EC2Instance, LaunchStrategy]]:
        if isinstance(strategy, SpotFleet):
            return await self._run_fleet(launch_id, strategy, basis)
        if isinstance(strategy, LaunchBatch):
            pool, count, launch_id = strategy.strategy, strategy.count, strategy.id
        else:
            pool, count = strategy, 1
        parameters = self.owner.parameters_of(launch_id, pool, basis, count)
        answer = await self.client.run_instances(**parameters)
        return [(each, pool) for each in machines(answer, self.config.address)]

    async def _run_fleet(
        self, launch_id: str, fleet: SpotFleet, basis: Basis
    ) -> list[tuple[EC2Instance, LaunchStrategy]]:
        runs = {
            name: self.owner.parameters_of(launch_id, pools[0], basis)
            for name, pools in spot_fleet.by_template(launch_id, fleet).items()
        }
        launched = await self._fleets.run(launch_id, fleet, runs, basis.template)
        tags = next(iter(runs.values()))["TagSpecifications"][0]["Tags"]
        # The answer does not say what became of an instance: what is known of it stays.
        known = {machine.id for machine in self.known.of(launch_id)}
        return [
            (unseen(id, pool.kind, pool.subnet or "", tags), pool)
            for id, pool in launched
            if id not in known
        ]

    async def _is_settled(self, launch_id: str, error: EC2Error) -> bool:
        """Whether the launch has an instance, or had, although a call failed. Raises `error` if
        that says nothing about the launch."""
        if error.verdict is Verdict.TOKEN_ENDED:
            self.known.has_ended(launch_id)
        elif error.verdict in LATER:
            raise error
        elif launch_id in self._doubts:
            await self.owner.describe_launch(launch_id)
        settled = bool(self.known.of(launch_id))
        if settled:
            self.forget(launch_id)
        return settled

    def lacking(self, strategy: LaunchStrategy, error: EC2Error) -> EC2Error:
        """Note that an instance cannot be launched or started by this strategy; returns the error
        for it, which is final only if no other is left."""
        self._placement.lacks(strategy, error)
        if len(self._placement.lacking()) == len(strategies(self.config)):
            return self._nowhere(error)
        return EC2Error(Verdict.ELSEWHERE, error.code, str(error))

    def _nowhere(self, last: EC2Error) -> EC2Error:
        """The error for a launch that is possible by no strategy. Capacity comes back by itself; if
        only quotas are in the way, an operator must act."""
        lacking = self._placement.lacking()
        text = str(last)
        if len(lacking) > 1:
            each = ", ".join(f"{strategy} ({why.code})" for strategy, why in lacking.items())
            text = f"EC2 has no capacity: {each}"
        verdicts = {why.verdict for why in lacking.values()}
        if Verdict.QUOTA not in verdicts:
            return EC2Error(last.verdict, last.code, text)
        full = (each for each in lacking if lacking[each].verdict is Verdict.QUOTA)
        names = dict.fromkeys(quota(each.kind, each.spot) or f"of {each}" for each in full)
        verdict = Verdict.ELSEWHERE if Verdict.ELSEWHERE in verdicts else Verdict.QUOTA
        return EC2Error(verdict, last.code, f"{text}; the quota is reached: {', '.join(names)}")


def strategy_of(way: str) -> str:
    """The strategy in a launch's row, which may have the pool of its instance before it."""
    return way.rpartition(", ")[2]


def _undecided(error: EC2Error) -> EC2Error:
    """The error for a launch that was refused while an earlier call may still be carried out."""
    text = f"{error}; an earlier call may still be carried out"
    return EC2Error(Verdict.AGAIN, error.code, text)


class ILaunchOwner(Interface):
    def parameters_of(
        launch_id: str, strategy: LaunchStrategy, basis: Basis, count: int = 1
    ) -> dict[str, Any]:
        """The parameters of RunInstances for a launch, or a batch of `count`. `EC2Error`: the user
        data is not for batches."""

    def describe_launch(launch_id: str) -> Deferred[None]:
        """Describe the instances of a launch, or of its batch."""

    def record_strategy(launch_id: str, before: str | None, after: str) -> Deferred[None]:
        """Write down the strategy of a launch, and the one `before`."""


class LaunchPlacement:
    """Chooses where to launch next: by balance, and not where capacity lacked a moment ago."""

    def __init__(self, config: EC2, clock: IReactorTime, fleets: SpotFleets | None = None) -> None:
        self._config = config
        self._fleets = fleets
        self._seconds = clock.seconds
        self._lacks: dict[LaunchStrategy, tuple[float, EC2Error]] = {}  # when refused, and how
        self.doubts: Mapping[str, float] = {}
        self.in_two_zones = False

    def next(
        self, living: Mapping[str, int], tried: Collection[Strategy], spot: bool = True
    ) -> Strategy | None:
        """The next strategy for a launch that has `tried` these in vain; None if none is left.
        Pools that may not boot come last, the least doubtful of them first. While all living are in
        one subnet, those in others come before it, if that is asked for. If all lack capacity, the
        one that was refused longest ago is tried."""
        crowded = {home for home, count in living.items() if home and count}
        if not self.in_two_zones or len(crowded) != 1:
            crowded = set()
        if spot and self._fleets and self._fleets.are_asked:
            best = self._best(living)
            if best and best not in tried and best.home not in crowded:
                return best
        found = [each for each in strategies(self._config, living) if spot or not each.spot]
        for strategy in sorted(found, key=lambda each: (self._doubt(each), each.home in crowded)):
            if strategy not in tried and not self._lacks_now(strategy):
                return strategy
        return None if tried else min(found, key=lambda each: self._lacks[each][0])

    def _best(self, living: Mapping[str, int]) -> Strategy | None:
        """The best of the Spot pools that neither lack capacity nor are in doubt; None if there are
        not several. EC2 may take any of them. For a fleet in several zones it is only asked for
        subnets that have less than twice as many servers as the emptiest then, wherever those are
        whose subnet is not known yet; otherwise, for the emptiest alone."""
        pools = [
            each
            for each in spot_fleet.spot_pools(self._config)
            if not self._lacks_now(each) and not self._doubt(each)
        ]
        if len(pools) < 2:
            return None
        unknown = living.get("", 0)
        count = {each.subnet: living.get(each.home, 0) for each in pools}
        emptiest = min(count, key=lambda subnet: count[subnet])
        least = 2 * count[emptiest]
        wanted = {subnet for subnet in count if count[subnet] + unknown < least} or {emptiest}
        chosen = [each for each in pools if each.subnet in wanted]
        return spot_fleet.fleet_of(self._config, chosen) if len(chosen) > 1 else chosen[0]

    def _doubt(self, strategy: LaunchStrategy) -> float:
        doubt = self.doubts.get(str(strategy), 0.0)
        return doubt if doubt >= DOUBTFUL else 0.0

    def lacks(self, strategy: LaunchStrategy, error: EC2Error) -> None:
        """Note that capacity lacks for this strategy, and for all that fail for the same reason."""
        for other in strategies(self._config):
            same_market = error.verdict is Verdict.NO_SPOT and other.spot
            same_quota = (
                error.verdict is Verdict.QUOTA
                and other.spot == strategy.spot
                and family(other.kind) == family(strategy.kind)
            )
            same_subnet = (
                error.code.endswith("InsufficientFreeAddressesInSubnet")
                and other.subnet == strategy.subnet
            )
            if other == strategy or same_market or same_quota or same_subnet:
                self._lacks[other] = self._seconds(), error

    def works(self, strategy: LaunchStrategy) -> None:
        self._lacks.pop(strategy, None)

    def lacking(self) -> Mapping[LaunchStrategy, EC2Error]:
        """Every strategy that lacks capacity now, and why."""
        lacking = filter(self._lacks_now, strategies(self._config))
        return {strategy: self._lacks[strategy][1] for strategy in lacking}

    def _lacks_now(self, strategy: LaunchStrategy) -> bool:
        lacked = self._lacks.get(strategy)
        return lacked is not None and self._seconds() - lacked[0] < LACK_REMEMBERED


class LaunchSources:
    """The launch template and the image, asked of EC2 and remembered. An image never changes, a
    template may."""

    def __init__(self, client: EC2Client, config: EC2, clock: IReactorTime) -> None:
        self._client = client
        self._config = config
        self._seconds = clock.seconds
        self._shared = SingleFlight()
        self._basis: Basis | None = None
        self._asked_at = 0.0
        self._images: dict[str, Data] = {}

    async def get(self) -> Basis:
        """The basis of a launch; an earlier one if EC2 cannot be asked again. `EC2Error`: there is
        none yet, or nothing can be launched on it."""
        age = self._seconds() - self._asked_at
        is_old = self._config.launch_template and age >= TEMPLATE_REMEMBERED
        if self._basis is None or is_old:
            try:
                await self._shared.join("basis", self._ask)
            except EC2Error as error:
                if self._basis is None or error.verdict is Verdict.REFUSED:
                    raise
                _log.warn("the launch template may have changed: {error}", error=str(error))
        assert self._basis is not None
        return self._basis

    async def changed(self) -> bool:
        """Read the template anew after a refused launch; returns whether it has changed."""
        before = self._basis
        if not self._config.launch_template:
            return False
        await self._shared.join("basis", self._ask)
        return self._basis != before

    async def _ask(self) -> None:
        data = await self._template()
        image = await self._image(launch_request.image_id(self._config, data))
        self._basis, self._asked_at = Basis(data, image), self._seconds()

    async def _template(self) -> Data:
        if not self._config.launch_template:
            return {}
        name = launch_request.named(self._config)
        answer = await self._client.describe_launch_template_versions(
            Versions=[name.pop("Version")], **name
        )
        versions = answer.get("LaunchTemplateVersions")
        if not versions:
            raise self._refusal("unknown version")
        data: Data = versions[0]["LaunchTemplateData"]
        if misfit := launch_request.mismatch(self._config, data):
            raise self._refusal(misfit)
        return data

    async def _image(self, image: str) -> Data:
        if image not in self._images and image.startswith("ami-"):
            answer = await self._client.describe_images(ImageIds=[image])
            if not answer["Images"]:
                key = "ec2.image_id" if self._config.image_id else "ec2.launch_template"
                raise EC2Error(Verdict.REFUSED, "NoImage", f"{key}: unknown image {image}")
            self._images[image] = answer["Images"][0]
        return self._images.get(image, {})

    def _refusal(self, why: str) -> EC2Error:
        text = f"the launch template {self._config.launch_template}: {why}"
        return EC2Error(Verdict.REFUSED, "LaunchTemplate", text)
