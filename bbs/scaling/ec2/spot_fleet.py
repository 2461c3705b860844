"""Asks EC2 for the best of several Spot pools at once: CreateFleet of the type `instant`.

EC2 then chooses by price and by how likely it is to want the capacity back, which nobody else
knows. The answer names the instance, or says for each pool why there is none.

CreateFleet takes what an instance is from a launch template. Each launch has its own, `bbs-` and
the launch's id, which is deleted once the fleet has answered or is refused: it holds the launch's
user data and tags, and what the operator's template says. Those of a controller that died are found
by their tags and deleted (`sweep`), as EC2 has room for 5,000 in a region. EC2 may not know for a
moment a template that it has made; then it is asked again, and not pool by pool.

The request itself has nothing that could differ between controllers, so asked again under its
ClientToken EC2 gives the same answer, also that there was no capacity. EC2 refuses credits for
types that have none, so these have a template of theirs.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.config import EC2
from bbs.scaling.ec2.client import EC2Client
from bbs.scaling.ec2.errors import LACKS, LATER, EC2Error, Verdict, judge
from bbs.scaling.ec2.launch_request import (
    FLEET_ID_TAG,
    LAUNCH_TAG,
    Data,
    LaunchStrategy,
    is_burstable,
    strategies,
)
from bbs.scaling.ec2.throttle import Refusals

MOST_POOLS = 300  # EC2's limit for a fleet's overrides

SPREADS = 60.0
"""Seconds after which EC2 knows a template everywhere. EC2 promises no time ("Eventual consistency
for the Amazon EC2 API"), and asks callers to try again for some minutes; a launch has less."""

SWEEP_INTERVAL = 300.0
"""Seconds between looks for templates that were left. After two looks a template cannot be that
of another controller's launch: one that has lost the lease makes calls for seconds only."""

PAGE = 200  # EC2's limit for templates in an answer

_UNKNOWN = re.compile(r"InvalidLaunchTemplate\w+\.\w*NotFound")
"""In codes that say that EC2 does not know a template, or its version."""

_NAME = re.compile(r"the best of \d+ pools as Spot \((?P<mask>[0-9a-f]+)/(?P<among>[0-9a-f]{8})\)")

_log = Logger()


@dataclass(frozen=True)
class SpotFleet:
    """The strategy to take the best of some Spot `pools`. Its text has which of the configuration's
    they are, as bits, and a digest of all of them: it means nothing to another configuration."""

    pools: tuple[LaunchStrategy, ...]
    name: str

    def __str__(self) -> str:
        return self.name

    @property
    def home(self) -> str:
        """The subnet in which the instance certainly is; "" if EC2 chooses."""
        subnets = {pool.subnet or "" for pool in self.pools}
        return subnets.pop() if len(subnets) == 1 else ""


def spot_pools(config: EC2) -> list[LaunchStrategy]:
    """All Spot pools, in the configuration's order."""
    return [each for each in strategies(config) if each.spot][:MOST_POOLS]


def fleet_of(config: EC2, pools: Sequence[LaunchStrategy]) -> SpotFleet:
    every = spot_pools(config)
    own = tuple(pool for pool in every if pool in pools)
    mask = sum(1 << number for number, pool in enumerate(every) if pool in own)
    return SpotFleet(
        own, f"the best of {len(own)} pools as Spot ({mask:x}/{_digest(map(str, every))[:8]})"
    )


def parse(config: EC2, name: str) -> SpotFleet | None:
    """The fleet of a stored strategy; None if it is of another configuration, or none."""
    every, found = spot_pools(config), _NAME.fullmatch(name)
    if not found:
        return None
    mask = int(found["mask"], 16)
    fleet = fleet_of(config, [pool for number, pool in enumerate(every) if mask >> number & 1])
    return fleet if fleet.name == name else None


def token(launch_id: str, fleet: SpotFleet, turn: int = 0) -> str:
    """The ClientToken, as `launch_request.token` has it. `turn`: how many answers have said that
    the template is unknown, each of which is the answer to its token for ever."""
    parts = (launch_id, "fleet", *map(str, fleet.pools), *([str(turn)] if turn else []))
    return f"{launch_id[:39]}-{_digest(parts)[:24]}"


def _digest(parts: Any) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()


def by_template(launch_id: str, fleet: SpotFleet) -> Mapping[str, list[LaunchStrategy]]:
    """The fleet's pools by the names of the launch's templates."""
    found: dict[str, list[LaunchStrategy]] = {}
    plain, with_credits = template_names(launch_id)
    for pool in fleet.pools:
        name = with_credits if is_burstable(pool.kind) else plain
        found.setdefault(name, []).append(pool)
    return found


def template_names(launch_id: str) -> tuple[str, str]:
    """The names of a launch's templates: for types without CPU credits, and for those with."""
    return f"bbs-{launch_id}", f"bbs-{launch_id}-credits"


def create_fleet(launch_id: str, fleet: SpotFleet, turn: int = 0) -> dict[str, Any]:
    """The parameters of CreateFleet; `turn` as `token` has it."""
    return {
        "Type": "instant",
        "ClientToken": token(launch_id, fleet, turn),
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": 1,
            "DefaultTargetCapacityType": "spot",
        },
        "SpotOptions": {"AllocationStrategy": "price-capacity-optimized"},
        "LaunchTemplateConfigs": [
            {
                "LaunchTemplateSpecification": {"LaunchTemplateName": name, "Version": "1"},
                "Overrides": [_override(pool) for pool in pools],
            }
            for name, pools in by_template(launch_id, fleet).items()
        ],
    }


def _override(pool: LaunchStrategy) -> dict[str, str]:
    where = {"SubnetId": pool.subnet} if pool.subnet else {}
    return {"InstanceType": pool.kind, **where}


_OF_THE_FLEET = (
    *("ClientToken", "InstanceMarketOptions", "InstanceType", "LaunchTemplate"),
    *("MaxCount", "MinCount", "SubnetId"),
)

_NOT_TAKEN = ("InstanceMarketOptions", "InstanceRequirements", "InstanceType", "Operator")
"""The fields that a launch never takes from the operator's template."""


def create_template(name: str, run: Mapping[str, Any], template: Data) -> dict[str, Any]:
    """The parameters of CreateLaunchTemplate. `run`: those of RunInstances for one of the pools;
    `template`: the data of the operator's template, which EC2 would add to these."""
    own = {key: value for key, value in run.items() if key not in _OF_THE_FLEET}
    own["UserData"] = base64.b64encode(own["UserData"].encode()).decode("ascii")
    if interfaces := own.get("NetworkInterfaces"):
        own["NetworkInterfaces"] = [
            {key: value for key, value in each.items() if key != "SubnetId"} for each in interfaces
        ]
    taken = {key: value for key, value in template.items() if key not in _NOT_TAKEN}
    devices = {each["DeviceName"] for each in own.get("BlockDeviceMappings", [])}
    mappings = [
        *own.get("BlockDeviceMappings", []),
        *(m for m in taken.get("BlockDeviceMappings", []) if m.get("DeviceName") not in devices),
    ]
    tags = [*own["TagSpecifications"], *taken.get("TagSpecifications", [])]
    data = {**taken, **own, "BlockDeviceMappings": mappings, "TagSpecifications": [*_merged(tags)]}
    return {
        "LaunchTemplateName": name,
        "LaunchTemplateData": {key: value for key, value in data.items() if value != []},
        "TagSpecifications": [
            {"ResourceType": "launch-template", "Tags": own["TagSpecifications"][0]["Tags"]}
        ],
    }


def _merged(specifications: Sequence[Data]) -> Iterator[dict[str, Any]]:
    """The tags by type of resource; the first value of a key wins."""
    for resource in dict.fromkeys(each["ResourceType"] for each in specifications):
        tags: dict[str, str] = {}
        for each in specifications:
            if each["ResourceType"] == resource:
                tags = {tag["Key"]: tag["Value"] for tag in each["Tags"]} | tags
        yield {
            "ResourceType": resource,
            "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
        }


class NoSpot(EC2Error):
    """A fleet's answer without an instance: why, by pool."""

    def __init__(self, by_pool: Mapping[LaunchStrategy, EC2Error]) -> None:
        why = ", ".join(f"{pool} ({error.code})" for pool, error in by_pool.items())
        super().__init__(Verdict.ELSEWHERE, "NoSpot", f"EC2 has no capacity: {why}")
        self.by_pool = by_pool


class SpotFleets:
    """Asks for fleets, unless EC2 has just refused one for another reason than capacity: the login
    server may lack the rights. `fleet_id`: whose templates are deleted."""

    def __init__(self, client: EC2Client, clock: IReactorTime, fleet_id: str) -> None:
        self._client = client
        self._seconds = clock.seconds
        self._fleet_id = fleet_id
        self._refusals = Refusals(clock)
        self._said = False
        self._made: dict[str, float] = {}  # when each launch template was made that is there
        self._turns: Counter[str] = Counter()  # by launch id; see `token`
        self._undeleted: set[str] = set()  # launch templates that could not be deleted yet
        self._sweeps = Refusals(clock)
        self._said_of_sweeps = False
        self._swept_at = float("-inf")
        self._left: dict[str, float] = {}  # since when sweeps have shown a template

    @property
    def are_asked(self) -> bool:
        return not self._refusals.is_recent

    def refused(self, error: EC2Error) -> None:
        """Note that a fleet was refused, and say so once."""
        self._refusals.note()
        if not self._said:
            self._said = True
            _log.warn("Spot is asked for pool by pool: {error}", error=str(error))

    async def run(
        self,
        launch_id: str,
        fleet: SpotFleet,
        runs: Mapping[str, Mapping[str, Any]],
        template: Data,
    ) -> list[tuple[str, LaunchStrategy]]:
        """Ask for an instance; returns ids, each with its pool. `runs`: the parameters of
        RunInstances by the name of the template. `NoSpot`: there is none, and never will be under
        this token. Another `EC2Error`: as of RunInstances."""
        try:
            launched = await self._run(launch_id, fleet, runs, template)
        except EC2Error as error:
            if error.verdict not in LATER:
                self.forget(launch_id)
            raise
        self.forget(launch_id)
        self._said = False
        return launched

    async def _run(
        self,
        launch_id: str,
        fleet: SpotFleet,
        runs: Mapping[str, Mapping[str, Any]],
        template: Data,
    ) -> list[tuple[str, LaunchStrategy]]:
        for name, run in runs.items():
            await self._make_template(create_template(name, run, template))
            self._made.setdefault(name, self._seconds())
        is_new = self._seconds() - max(self._made[name] for name in runs) < SPREADS
        asked = create_fleet(launch_id, fleet, self._turns[launch_id])
        try:
            answer = await self._client.create_fleet(**asked)
        except EC2Error as error:
            if is_new and _UNKNOWN.search(error.code):
                raise _unknown_yet(error) from None
            raise
        launched = [
            (id, _pool(each, fleet))
            for each in answer.get("Instances", [])
            for id in each["InstanceIds"]
        ]
        if launched:
            return launched
        lack = self._lack(answer, fleet)
        if is_new and _UNKNOWN.search(lack.code):
            self._turns[launch_id] += 1
            raise _unknown_yet(lack)
        raise lack

    async def _make_template(self, parameters: Mapping[str, Any]) -> None:
        try:
            await self._client.create_launch_template(**parameters)
        except EC2Error as error:
            if not error.code.endswith("InvalidLaunchTemplateName.AlreadyExistsException"):
                error.doubtful = False  # No instance comes of it.
                raise
            # An earlier try, perhaps another controller's.

    def forget(self, launch_id: str) -> None:
        """Delete the templates of a launch that is not asked for any more, in the background. If
        that fails, they are deleted with those of the next one."""
        self._turns.pop(launch_id, None)
        own = [name for name in template_names(launch_id) if name in self._made]
        for name in {*own, *(self._undeleted if own else ())}:
            self._made.pop(name, None)
            self._delete_template(name)

    def _delete_template(self, name: str) -> None:
        self._undeleted.discard(name)

        def failed(failure: Failure) -> None:
            failure.trap(EC2Error, CancelledError)
            error = failure.value
            if not isinstance(error, EC2Error) or error.verdict in LATER:
                self._undeleted.add(name)

        self._client.delete_launch_template(LaunchTemplateName=name).addErrback(failed)

    def sweep(self, asked_for: Container[str]) -> None:
        """Delete templates that were left, in the background: by a controller that died, or that
        was not answered. Those of launches that are `asked_for` stay, and those of other fleets."""
        now = self._seconds()
        if now - self._swept_at < SWEEP_INTERVAL or self._sweeps.is_recent:
            return
        self._swept_at = now
        sweeping = Deferred.fromCoroutine(self._sweep(asked_for, now))
        sweeping.addErrback(self._not_swept)

    async def _sweep(self, asked_for: Container[str], now: float) -> None:
        found = [name for name in await self._templates() if name[1] not in asked_for]
        self._said_of_sweeps = False
        self._left = {name: self._left.get(name, now) for name, _ in found}
        old = [name for name, since in self._left.items() if since < now]
        for name in old:
            self._delete_template(name)
        if old:
            _log.info("deleting {count} launch templates that were left", count=len(old))

    async def _templates(self) -> list[tuple[str, str]]:
        """The names of this fleet's templates for one launch each, with the ids of the launches."""
        own = {"Name": f"tag:{FLEET_ID_TAG}", "Values": [self._fleet_id]}
        of_launches = {"Name": "tag-key", "Values": [LAUNCH_TAG]}
        asked: dict[str, Any] = {"Filters": [own, of_launches], "MaxResults": PAGE}
        found: list[tuple[str, str]] = []
        while True:
            answer = await self._client.describe_launch_templates(**asked)
            for each in answer.get("LaunchTemplates", ()):
                tags = {tag["Key"]: tag["Value"] for tag in each.get("Tags", ())}
                name, launch_id = each["LaunchTemplateName"], tags.get(LAUNCH_TAG, "")
                is_ours = tags.get(FLEET_ID_TAG) == self._fleet_id
                if is_ours and name in template_names(launch_id):
                    found.append((name, launch_id))
            if not answer.get("NextToken"):
                return found
            asked["NextToken"] = answer["NextToken"]

    def _not_swept(self, failure: Failure) -> None:
        failure.trap(EC2Error, CancelledError)
        error = failure.value
        if isinstance(error, EC2Error) and error.verdict not in LATER:
            self._sweeps.note()
            if not self._said_of_sweeps:
                self._said_of_sweeps = True
                _log.warn("launch templates that were left stay: {error}", error=str(error))

    def _lack(self, answer: Data, fleet: SpotFleet) -> EC2Error:
        """The error for an answer without an instance: a refusal, if there is one."""
        by_pool: dict[LaunchStrategy, EC2Error] = {}
        for each in answer.get("Errors", []):
            error = judge("CreateFleet", each.get("ErrorCode", ""), each.get("ErrorMessage", ""), 0)
            if error.verdict is Verdict.REFUSED:
                return error
            if error.verdict not in LACKS:
                # This token never gets what a later call could have got.
                error = EC2Error(Verdict.ELSEWHERE, error.code, str(error))
            by_pool.setdefault(_pool(each, fleet), error)
        unsaid = EC2Error(Verdict.ELSEWHERE, "NoSpot", "EC2 has no Spot capacity")
        first = next(iter(by_pool.values()), unsaid)
        return NoSpot({pool: by_pool.get(pool, first) for pool in fleet.pools})


def _unknown_yet(error: EC2Error) -> EC2Error:
    """The error for a fleet that was asked for by a template made a moment ago."""
    unknown = EC2Error(Verdict.NOT_YET, error.code, "EC2 does not know the new launch template yet")
    unknown.doubtful = error.doubtful
    return unknown


def _pool(told: Data, fleet: SpotFleet) -> LaunchStrategy:
    """The pool that an instance or an error of a fleet is of; the first one, if EC2 names none."""
    chosen = told.get("LaunchTemplateAndOverrides", {}).get("Overrides", {})
    kind = told.get("InstanceType") or chosen.get("InstanceType")
    subnet = told.get("SubnetId") or chosen.get("SubnetId")
    for pool in fleet.pools:
        if pool.kind == kind and pool.subnet in (subnet, None):
            return pool
    return fleet.pools[0]
