"""What is asked of EC2 for a launch: pure functions of the configuration and the launch's id."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from bbs.config import EC2
from bbs.scaling.ec2 import template
from bbs.scaling.ec2.template import Basis

FLEET_TAG, LAUNCH_TAG, VERSION_TAG = "bbs:fleet", "bbs:launch", "bbs:version"

FLEET_ID_TAG = "bbs:fleet-id"
"""Whose an instance is. `FLEET_TAG` has the name that the configuration gives the fleet, for people
to read: a copy of a fleet's database has the same name, and is another fleet."""


class Attempt(NamedTuple):
    """One way to launch: a type, in a subnet (None: the default one, or the template's), as Spot or
    on demand."""

    kind: str
    subnet: str | None
    spot: bool = False

    def __str__(self) -> str:
        where = f"{self.kind} in {self.subnet}" if self.subnet else self.kind
        return f"{where} as Spot" if self.spot else where


def attempts(config: EC2, living: Mapping[str, int] | None = None) -> list[Attempt]:
    """What is tried in turn: each type in every subnet, then the next type; all of it as Spot
    first, where that is wanted.

    Types come as the configuration has them, as their price is its author's choice. Of the subnets
    the one with the fewest instances comes first; `living` says how many live in each.
    """
    subnets: tuple[str | None, ...] = config.subnet_ids or (None,)
    balanced = sorted(subnets, key=lambda subnet: (living or {}).get(subnet or "", 0))
    return [
        Attempt(kind, subnet, spot)
        for spot in ((True, False) if config.spot else (False,))
        for kind in config.instance_type
        for subnet in balanced
    ]


def token(launch_id: str, attempt: Attempt) -> str:
    """The ClientToken, at most 64 characters, which begins as the launch's id does.

    EC2 refuses a token that comes with other parameters than before, so each attempt has one. What
    may change between two keepers of the fleet, such as the user data, is not in it: the second
    then learns that the launch exists, instead of making another.
    """
    way = (attempt.kind, attempt.subnet, "spot" if attempt.spot else None)
    digest = hashlib.sha256("/".join((launch_id, *filter(None, way))).encode()).hexdigest()
    return f"{launch_id[:39]}-{digest[:24]}"


def run_instances(
    config: EC2,
    launch_id: str,
    attempt: Attempt,
    user_data: str,
    basis: Basis,
    version: str,
    fleet_id: str,
) -> dict[str, Any]:
    """The parameters of RunInstances. What a launch template has is left to it, where the
    configuration says nothing else; the instance type, the user data and what becomes of an
    instance that powers off are never the template's."""
    tags = [
        {"Key": key, "Value": value}
        for key, value in (
            ("Name", config.name),
            (FLEET_TAG, config.name),
            (FLEET_ID_TAG, fleet_id),
            (LAUNCH_TAG, launch_id),
            (VERSION_TAG, version),
        )
    ]
    wanted: dict[str, Any] = {
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": token(launch_id, attempt),
        "InstanceType": attempt.kind,
        "UserData": user_data,
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": template.metadata(basis.template),
        "TagSpecifications": [
            {"ResourceType": resource, "Tags": tags} for resource in ("instance", "volume")
        ],
        "BlockDeviceMappings": template.volumes(basis),
        "ImageId": config.image_id,
        "KeyName": config.key_name,
        **template.network(config, basis.template, attempt.subnet),
    }
    if attempt.spot:
        wanted["InstanceMarketOptions"] = _SPOT
    if config.launch_template:
        wanted["LaunchTemplate"] = template.named(config)
    if profile := config.iam_instance_profile:
        wanted["IamInstanceProfile"] = {"Arn" if profile.startswith("arn:") else "Name": profile}
    wanted = {key: value for key, value in wanted.items() if value}
    if basis.template.get("DisableApiTermination"):
        # The fleet ends what it launches.
        wanted["DisableApiTermination"] = False
    return wanted


_SPOT = {
    "MarketType": "spot",
    "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
}


def no_address(config: EC2, subnet: str) -> str:
    """What is said of an instance that runs, and has no address that people could be told."""
    where = subnet or "its subnet"
    if config.address == "dns":
        return f"no public address: {where} gives no names; switch on its VPC's DNS hostnames"
    return (
        f"no public address: switch on auto-assigned public IPv4 addresses for {where}, take the"
        ' security groups out of the launch template, or set ec2.address = "private"'
    )
