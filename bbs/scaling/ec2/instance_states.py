"""Remembers the fleet's instances on EC2, from answers that can be late or stale. Also has prices,
for orientation; `prices.json` says as of when."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from twisted.internet.interfaces import IReactorTime

from bbs.core.addresses import PRIVATE, fill_name
from bbs.core.values import Instance
from bbs.scaling.ec2.launch_request import (
    BATCH_TAG,
    FLEET_ID_TAG,
    FLEET_TAG,
    LAUNCH_TAG,
    VERSION_TAG,
    LaunchStrategy,
    member,
)

REMEMBERED = 60.0  # seconds for which an answer counts that EC2's descriptions do not confirm yet
LONGEST_REASON = 200  # characters
ADDRESS_GRACE = 15.0  # seconds for which an instance may run before EC2 tells its address
_HOSTS = {"public": "PublicIpAddress", "dns": "PublicDnsName"}


@dataclass(frozen=True)
class EC2Instance:
    """An instance, as EC2 described it. `fleet_id` and `fleet` are tags: the fleet it belongs to,
    and its name for people. `reason`: why it is in its state, in one line; "" if EC2 does not
    say. `is_named`: it is tagged with its launch, and not only with its batch."""

    id: str
    launch_id: str
    state: str
    kind: str = ""
    host: str | None = None
    launched: float | None = None
    reason: str = ""
    subnet: str = ""
    spot: bool = False
    fleet_id: str = ""
    fleet: str = ""
    version: str = ""
    is_named: bool = True

    @property
    def ends(self) -> bool:
        """Whether the instance is ending or has ended, for good."""
        return self.state in ("shutting-down", "terminated")

    @property
    def stopped(self) -> bool:
        return self.state in ("stopping", "stopped")

    @property
    def alive(self) -> bool:
        """Whether the instance boots or runs."""
        return self.state in ("pending", "running")


def machines(answer: Mapping[str, Any], address: str) -> Iterator[EC2Instance]:
    """The instances in an answer of RunInstances or DescribeInstances. `address`: the
    configuration's."""
    for reservation in answer.get("Reservations", [answer]):
        for described in reservation["Instances"]:
            tags = {tag["Key"]: tag["Value"] for tag in described.get("Tags", [])}
            launched = described.get("LaunchTime")
            launch_id = tags.get(LAUNCH_TAG, "")
            is_named = LAUNCH_TAG in tags or BATCH_TAG not in tags
            if not is_named:
                launch_id = member(tags[BATCH_TAG], described.get("AmiLaunchIndex", 0))
            yield EC2Instance(
                id=described["InstanceId"],
                launch_id=launch_id,
                state=described["State"]["Name"],
                kind=described.get("InstanceType", ""),
                host=_host(described, address),
                launched=launched.timestamp() if launched else None,
                reason=_reason(described),
                subnet=described.get("SubnetId", ""),
                spot=described.get("InstanceLifecycle") == "spot",
                fleet_id=tags.get(FLEET_ID_TAG, ""),
                fleet=tags.get(FLEET_TAG, ""),
                version=tags.get(VERSION_TAG, ""),
                is_named=is_named,
            )


def unseen(id: str, kind: str, subnet: str, tags: Iterable[Mapping[str, str]]) -> EC2Instance:
    """A Spot instance of which CreateFleet's answer tells the id."""
    values = {tag["Key"]: tag["Value"] for tag in tags}
    return EC2Instance(
        id,
        values.get(LAUNCH_TAG, ""),
        "pending",
        kind,
        subnet=subnet,
        spot=True,
        fleet_id=values.get(FLEET_ID_TAG, ""),
        fleet=values.get(FLEET_TAG, ""),
        version=values.get(VERSION_TAG, ""),
    )


def _host(described: Mapping[str, Any], address: str) -> str | None:
    host = described.get(_HOSTS.get(address, "PrivateIpAddress"))
    return fill_name(address, host) if host and PRIVATE in address else host or None


def _reason(described: Mapping[str, Any]) -> str:
    """Who caused the state of an instance, and how. EC2 says only how if it could not boot."""
    state = described.get("StateReason", {})
    code, message = state.get("Code", ""), state.get("Message", "")
    if code == described["State"]["Name"]:
        code = message = ""
    parts = (
        described.get("StateTransitionReason", ""),
        message if code in message else f"{code}: {message}" if message else code,
    )
    lines = filter(None, (" ".join(each.split()) for each in parts))
    return "; ".join(dict.fromkeys(lines))[:LONGEST_REASON]


@dataclass(frozen=True)
class _Known:
    """An instance, and since when it is known. `heard_at`: when EC2 last described it, by this
    machine's clock. `described`: DescribeInstances has shown it. `changed`: when this provider last
    stopped or started it, and `left`: the address that it had before. `unaddressed`: since when an
    instance that was seen to boot has run without an address. `why`: why this provider ends it."""

    machine: EC2Instance
    heard_at: float
    described: bool
    changed: float = float("-inf")
    left: str | None = None
    unaddressed: float = float("inf")
    why: str = ""


class InstanceStates:
    """Remembers instances. An instance that was seen to end does not live again, and one that was
    launched exists, whatever a stale description says. An instance keeps its tags, which EC2 may
    show late, one by one, and no longer once it has ended. Instances of other fleets are ignored,
    so they are never ended. `ids`: the fleet's own. `former`: its name, if it may have instances
    from before it had an id. `keeps_addresses`: a start does not change the addresses that count.
    `has_subnets`: launch strategies name subnets."""

    def __init__(
        self,
        clock: IReactorTime,
        ids: Collection[str],
        former: str = "",
        keeps_addresses: bool = False,
        has_subnets: bool = True,
    ) -> None:
        self._seconds = clock.seconds
        self._has_subnets = has_subnets
        self._keeps_addresses = keeps_addresses
        self._ids = ids
        self._former = former
        self._known: dict[str, _Known] = {}
        self._by_launch: dict[str, dict[str, _Known]] = {}
        self._alive: frozenset[str] | None = None  # until something changes

    def launched(self, machine: EC2Instance) -> None:
        """Learn an instance from an answer of RunInstances."""
        self._learn(machine, described=False)

    def described(self, shown: Iterable[EC2Instance]) -> None:
        """Learn some instances that DescribeInstances showed."""
        for machine in shown:
            self._learn(machine, described=True)

    def described_all(self, shown: Iterable[EC2Instance]) -> None:
        """Learn all instances that DescribeInstances showed."""
        by_id = {machine.id: machine for machine in shown}
        self.described(by_id.values())
        remembered = self._seconds() - REMEMBERED
        for id in self._known.keys() - by_id.keys():
            known = self._known[id]
            lived = known.described and not known.machine.ends
            if lived or known.heard_at <= remembered:
                self._forget(id)

    def answered(self, id: str, state: str) -> None:
        """Learn an instance's state from TerminateInstances, StopInstances or StartInstances."""
        known = self._known.get(id)
        if known:
            left = known.machine.host or known.left
            host = known.machine.host if self._keeps_addresses else None
            self._learn(replace(known.machine, state=state, host=host), described=False)
            self._know(id, replace(self._known[id], changed=self._seconds(), left=left))

    def has_ended(self, launch_id: str) -> None:
        """Learn from a launch's token that its instance has ended; EC2 need not show it."""
        if not self.of(launch_id):
            reason = "EC2 says that it has ended"
            ended = EC2Instance("", launch_id, "terminated", reason=reason)
            self._know(_ended(launch_id), _Known(ended, self._seconds(), described=False))

    def _learn(self, machine: EC2Instance, described: bool) -> None:
        now, known = self._seconds(), self._known.get(machine.id)
        if known:
            machine = _tagged_as(machine, known.machine)
        if not self._is_ours(machine):
            return
        self._forget(_ended(machine.launch_id))
        if known:
            recent = described and now - known.changed < REMEMBERED
            behind = recent and machine.stopped != known.machine.stopped
            if not machine.ends and (known.machine.ends or behind):
                machine = known.machine
            elif recent and machine.host == known.left and not self._keeps_addresses:
                machine = replace(machine, host=None)  # As it was before it was stopped.
            described = described or known.described
        fresh = _Known(machine, now, described)
        if known:
            unaddressed = _unaddressed_since(known, machine, now)
            fresh = replace(known, machine=machine, heard_at=now, described=described)
            fresh = replace(fresh, unaddressed=unaddressed)
        self._know(machine.id, fresh)

    def _know(self, key: str, known: _Known) -> None:
        before = self._known.get(key)
        if before and before.machine.launch_id != known.machine.launch_id:
            self._forget(key)
        self._alive = None
        self._known[key] = known
        self._by_launch.setdefault(known.machine.launch_id, {})[key] = known

    def _forget(self, key: str) -> None:
        if known := self._known.pop(key, None):
            self._alive = None
            own = self._by_launch[known.machine.launch_id]
            del own[key]
            if not own:
                del self._by_launch[known.machine.launch_id]

    def explain(self, id: str, why: str) -> None:
        self._know(id, replace(self._known[id], why=why))

    def _is_ours(self, machine: EC2Instance) -> bool:
        if machine.fleet_id:
            return machine.fleet_id in self._ids
        return bool(self._former) and machine.fleet == self._former

    def of(self, launch_id: str) -> list[EC2Instance]:
        """The instances of a launch, the one that counts first. Two if a controller died in
        between."""
        own = self._by_launch.get(launch_id, {}).values()
        return sorted((known.machine for known in own), key=_rank)

    @property
    def launches(self) -> Set[str]:
        """The ids of launches that have an instance, or had."""
        return self._by_launch.keys()

    def just_launched(self, id: str) -> bool:
        """Whether the instance is so new that descriptions may lack it."""
        known = self._known.get(id)
        if known is None or known.described:
            return False
        return self._seconds() - known.heard_at < REMEMBERED

    def surplus(self) -> list[str]:
        """The ids of instances whose launch has an earlier one. Instances without a fleet's id are
        left alone: they may belong to another fleet of the name."""
        groups = self._groups().values()
        later = (m for group in groups for m in sorted(group, key=_rank)[1:])
        return [m.id for m in later if m.fleet_id and not m.ends]

    def without_address(self) -> list[EC2Instance]:
        """The instances that have run too long without an address. An instance that already ran
        when first seen is left out: it may have had an address, and serve."""
        latest = self._seconds() - ADDRESS_GRACE
        return [known.machine for known in self._known.values() if known.unaddressed <= latest]

    def living(self) -> Counter[str]:
        """How many instances boot or run in each subnet."""
        return Counter(k.machine.subnet for k in self._known.values() if k.machine.alive)

    def alive(self) -> Set[str]:
        """The ids of launches with an instance that boots or runs. Counted anew only after a
        change, as each launch of a batch asks."""
        if self._alive is None:
            alive = (k.machine.launch_id for k in self._known.values() if k.machine.alive)
            self._alive = frozenset(filter(None, alive))
        return self._alive

    def instances(self) -> dict[str, Instance]:
        groups = self._groups().items()
        return {id: self._instance(min(group, key=_rank)) for id, group in groups}

    def instance_of(self, launch_id: str) -> Instance | None:
        own = self.of(launch_id)
        return self._instance(own[0]) if own else None

    def _instance(self, machine: EC2Instance) -> Instance:
        known = self._known.get(machine.id)
        subnet = (machine.subnet or None) if self._has_subnets else None
        state = f"{machine.id} {machine.state}".strip()
        if machine.spot:
            state = f"{state}, Spot"
        reason = known.why if known and known.why else machine.reason
        return Instance(
            machine.launch_id,
            machine.host if machine.alive or self._keeps_addresses else None,
            machine.alive,
            f"{state}: {reason}" if reason else state,
            machine.id,
            machine.kind,
            machine.launched,
            stopped=machine.stopped,
            ours=bool(machine.fleet_id),
            version=machine.version,
            zone=machine.subnet,
            pool=str(LaunchStrategy(machine.kind, subnet, machine.spot)) if machine.kind else "",
        )

    def _groups(self) -> Mapping[str, list[EC2Instance]]:
        return {
            id: [known.machine for known in own.values()]
            for id, own in self._by_launch.items()
            if id
        }


def _tagged_as(machine: EC2Instance, known: EC2Instance) -> EC2Instance:
    return replace(
        machine,
        launch_id=machine.launch_id or known.launch_id,
        fleet_id=machine.fleet_id or known.fleet_id,
        fleet=machine.fleet or known.fleet,
        version=machine.version or known.version,
        is_named=machine.is_named if machine.launch_id else known.is_named,
    )


def _unaddressed_since(known: _Known, machine: EC2Instance, now: float) -> float:
    if machine.state != "running" or machine.host:
        return float("inf")
    return now if known.machine.state == "pending" else known.unaddressed


def _ended(launch_id: str) -> str:
    """The key of an ended launch without an instance; no instance id has a blank."""
    return f"launch {launch_id}"


def _rank(machine: EC2Instance) -> tuple[bool, bool, float, str]:
    return machine.ends, not machine.alive, machine.launched or 0.0, machine.id


def price(kind: str, region: str) -> float | None:
    """US dollars for an hour of an instance type on demand; None if the table lacks it."""
    found: float | None = price_table()["regions"].get(region, {}).get(kind)
    return found


@cache
def price_table() -> Any:
    """The whole table: `date`, `source`, `unit`, and `regions` with a price for each type."""
    return json.loads(files("bbs.scaling.ec2").joinpath("prices.json").read_text("utf-8"))
