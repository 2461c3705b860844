"""What is asked of EC2 for a launch: pure functions of the configuration and the launch's id."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bbs.config import EC2

FLEET_TAG, LAUNCH_TAG, VERSION_TAG = "bbs:fleet", "bbs:launch", "bbs:version"

FLEET_ID_TAG = "bbs:fleet-id"
"""Whose an instance is. `FLEET_TAG` has the name that the configuration gives the fleet, for people
to read: a copy of a fleet's database has the same name, and is another fleet."""


class Attempt(NamedTuple):
    """One way to launch: a type, in a subnet (None: the default one, or the template's)."""

    kind: str
    subnet: str | None

    def __str__(self) -> str:
        return f"{self.kind} in {self.subnet}" if self.subnet else self.kind


def attempts(config: EC2) -> list[Attempt]:
    """What is tried in turn: each type in every subnet, then the next type."""
    subnets: tuple[str | None, ...] = config.subnet_ids or (None,)
    return [Attempt(kind, subnet) for kind in config.instance_type for subnet in subnets]


def token(launch_id: str, attempt: Attempt) -> str:
    """The ClientToken, at most 64 characters, which begins as the launch's id does.

    EC2 refuses a token that comes with other parameters than before, so each attempt has one. What
    may change between two keepers of the fleet, such as the user data, is not in it: the second
    then learns that the launch exists, instead of making another.
    """
    digest = hashlib.sha256("/".join((launch_id, *filter(None, attempt))).encode()).hexdigest()
    return f"{launch_id[:39]}-{digest[:24]}"


def root_volume(image: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The block device mapping that has the root volume of `image` encrypted, and deleted with its
    instance; `image` is one of DescribeImages' answer. An instance store has no volume."""
    root = image.get("RootDeviceName")
    for mapping in image.get("BlockDeviceMappings", []):
        if mapping.get("DeviceName") == root and "Ebs" in mapping:
            kept = {key: mapping["Ebs"][key] for key in ("VolumeSize",) if key in mapping["Ebs"]}
            volume = {**kept, "Encrypted": True, "DeleteOnTermination": True}
            return [{"DeviceName": root, "Ebs": volume}]
    return []


def run_instances(
    config: EC2,
    launch_id: str,
    attempt: Attempt,
    user_data: str,
    volumes: Sequence[dict[str, Any]],
    version: str,
    fleet_id: str,
) -> dict[str, Any]:
    """The parameters of RunInstances. What a launch template has is left to it, where the
    configuration says nothing else; the instance type is always the configuration's."""
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
        "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled"},
        "TagSpecifications": [
            {"ResourceType": resource, "Tags": tags} for resource in ("instance", "volume")
        ],
        "BlockDeviceMappings": volumes,
        "ImageId": config.image_id,
        "KeyName": config.key_name,
        **_network(config, attempt.subnet),
    }
    if template := config.launch_template:
        by = "LaunchTemplateId" if template.startswith("lt-") else "LaunchTemplateName"
        wanted["LaunchTemplate"] = {by: template}
    if profile := config.iam_instance_profile:
        wanted["IamInstanceProfile"] = {"Arn" if profile.startswith("arn:") else "Name": profile}
    return {key: value for key, value in wanted.items() if value}


def _network(config: EC2, subnet: str | None) -> dict[str, Any]:
    groups = list(config.security_group_ids)
    if not subnet or config.address == "private":
        return {"SubnetId": subnet, "SecurityGroupIds": groups}
    # A subnet of one's own gives no public address unless it is asked for.
    interface = {"DeviceIndex": 0, "SubnetId": subnet, "AssociatePublicIpAddress": True}
    return {"NetworkInterfaces": [interface | ({"Groups": groups} if groups else {})]}
