"""What is known of the fleet's instances on EC2, from answers that can be late, or stale; and what
they cost, for orientation: `prices.json` beside this says as of when."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from bbs.scaling.ec2.request import LAUNCH_TAG
from bbs.values import Instance

REMEMBERED = 60.0
"""Seconds for which an answer counts that EC2's descriptions do not bear out yet."""

_HOSTS = {"public": "PublicIpAddress", "private": "PrivateIpAddress", "dns": "PublicDnsName"}


@dataclass(frozen=True)
class Machine:
    """An instance, as EC2 described it."""

    id: str
    launch_id: str
    state: str
    kind: str
    host: str | None
    launched: float | None
    reason: str

    @property
    def ends(self) -> bool:
        """It ends or has ended, for good."""
        return self.state in ("shutting-down", "terminated")

    @property
    def alive(self) -> bool:
        """It serves, or will: it boots or runs. One that somebody stopped does neither."""
        return self.state in ("pending", "running")


def machines(answer: Mapping[str, Any], address: str) -> Iterator[Machine]:
    """The instances in an answer of RunInstances or of DescribeInstances, which has it in
    reservations. `address` is the configuration's: public, private or dns."""
    for reservation in answer.get("Reservations", [answer]):
        for described in reservation["Instances"]:
            tags = {tag["Key"]: tag["Value"] for tag in described.get("Tags", [])}
            launched = described.get("LaunchTime")
            yield Machine(
                id=described["InstanceId"],
                launch_id=tags.get(LAUNCH_TAG, ""),
                state=described["State"]["Name"],
                kind=described.get("InstanceType", ""),
                host=described.get(_HOSTS[address]) or None,
                launched=launched.timestamp() if launched else None,
                reason=described.get("StateTransitionReason", ""),
            )


@dataclass(frozen=True)
class _Known:
    """`told`: when EC2 last said anything of it, by this machine's clock; `described`: it has shown
    it to DescribeInstances."""

    machine: Machine
    told: float
    described: bool


class Machines:
    """The instances known. One that was seen to end does not live again, and one that was launched
    is there, whatever a description says that is behind."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._known: dict[str, _Known] = {}

    # What is learned

    def launched(self, machine: Machine) -> None:
        """RunInstances answered with it."""
        self._learn(machine, described=False)

    def described(self, shown: Iterable[Machine]) -> None:
        """DescribeInstances showed these among others."""
        for machine in shown:
            self._learn(machine, described=True)

    def described_all(self, shown: Iterable[Machine]) -> None:
        """DescribeInstances showed these, and no others."""
        by_id = {machine.id: machine for machine in shown}
        self.described(by_id.values())
        remembered = self._seconds() - REMEMBERED
        for id in self._known.keys() - by_id.keys():
            known = self._known[id]
            lived = known.described and not known.machine.ends
            if lived or known.told <= remembered:
                del self._known[id]

    def ending(self, id: str, state: str) -> None:
        """TerminateInstances answered so."""
        known = self._known.get(id)
        if known:
            self._learn(replace(known.machine, state=state), described=False)

    def _learn(self, machine: Machine, described: bool) -> None:
        known = self._known.get(machine.id)
        if known and known.machine.ends and not machine.ends:
            machine = known.machine
        described = described or (known is not None and known.described)
        self._known[machine.id] = _Known(machine, self._seconds(), described)

    # What is asked

    def of(self, launch_id: str) -> list[Machine]:
        """The instances of a launch, the one that counts first: one, unless a keeper died at a bad
        moment."""
        own = [k.machine for k in self._known.values() if k.machine.launch_id == launch_id]
        return sorted(own, key=_rank)

    def just_launched(self, id: str) -> bool:
        """No description has shown it yet, and that means little."""
        known = self._known.get(id)
        return (
            known is not None and not known.described and self._seconds() - known.told < REMEMBERED
        )

    def surplus(self) -> list[str]:
        """The ids of instances whose launch has another one already."""
        groups = self._by_launch().values()
        return [m.id for group in groups for m in sorted(group, key=_rank)[1:] if not m.ends]

    def instances(self) -> dict[str, Instance]:
        """What `IProvider.list` tells."""
        return {id: _told(min(group, key=_rank)) for id, group in self._by_launch().items()}

    def _by_launch(self) -> dict[str, list[Machine]]:
        groups: dict[str, list[Machine]] = {}
        for known in self._known.values():
            if known.machine.launch_id:
                groups.setdefault(known.machine.launch_id, []).append(known.machine)
        return groups


def _rank(machine: Machine) -> tuple[bool, bool, float, str]:
    return machine.ends, not machine.alive, machine.launched or 0.0, machine.id


def _told(machine: Machine) -> Instance:
    detail = f"{machine.id} {machine.state}"
    if machine.reason:
        detail = f"{detail}: {machine.reason}"
    return Instance(
        machine.launch_id,
        machine.host,
        machine.alive,
        detail,
        machine.id,
        machine.kind,
        machine.launched,
    )


def price(kind: str, region: str) -> float | None:
    """US dollars for an hour of an instance type on demand; None for what the table lacks."""
    found: float | None = price_table()["regions"].get(region, {}).get(kind)
    return found


@cache
def price_table() -> Any:
    """The whole table: `date`, `source`, `unit`, and `regions` with a price for each type."""
    return json.loads(files("bbs.scaling.ec2").joinpath("prices.json").read_text("utf-8"))
