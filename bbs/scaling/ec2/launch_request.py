"""What is asked of EC2 for a launch: pure functions of the configuration and the launch's id.

What a launch template and an image mean for a launch: pure functions of what EC2 says of them.

RunInstances lays its own parameters over the template's, and then refuses some combinations: a
network interface beside a subnet or security groups of the instance itself, wherever either stands.
So a request has to know the template. An interface is given whole, with what the template says of
it, and so means the same whether EC2 merges it or replaces the template's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bbs.config import EC2

DEFAULT_VERSION = "$Default"

Data = Mapping[str, Any]


@dataclass(frozen=True)
class Basis:
    """What launches are built on: the launch template's data as DescribeLaunchTemplateVersions has
    it, and the image as DescribeImages has it; empty for none, and for an image that only a name in
    the Systems Manager says."""

    template: Data = field(default_factory=dict)
    image: Data = field(default_factory=dict)


def named(config: EC2) -> dict[str, str]:
    """The launch template and its version, as RunInstances wants them; `NAME:VERSION` in the
    configuration. No template's name has a colon."""
    name, _, version = config.launch_template.partition(":")
    by = "LaunchTemplateId" if name.startswith("lt-") else "LaunchTemplateName"
    return {by: name, "Version": version or DEFAULT_VERSION}


def image_id(config: EC2, template: Data) -> str:
    """What instances boot: the configuration's before the template's."""
    return config.image_id or str(template.get("ImageId", ""))


def mismatch(config: EC2, template: Data) -> str:
    """Why the template and the configuration cannot launch anything together, and what to change;
    an empty text where they can."""
    interfaces = template.get("NetworkInterfaces", [])
    primary = _primary(interfaces)
    if not image_id(config, template):
        return "it names no image: put one into it, or set ec2.image_id"
    if template.get("InstanceRequirements"):
        return (
            "it has InstanceRequirements, which RunInstances refuses: take them out of it, as"
            " ec2.instance_type says the types"
        )
    if interfaces and _groups(template):
        return (
            "it has security groups beside network interfaces, which EC2 refuses: move its groups"
            " into its first network interface"
        )
    for key, what in (("NetworkInterfaceId", "network interface"), ("PrivateIpAddress", "address")):
        if primary.get(key):
            return f"it has the {what} {primary[key]}, which one instance can have: take it out"
    if len(interfaces) > 1 and config.address != "private":
        return (
            f"it has {len(interfaces)} network interfaces, and EC2 then gives no public address:"
            ' leave it one, or set ec2.address = "private"'
        )
    return ""


def network(config: EC2, template: Data, subnet: str | None) -> dict[str, Any]:
    """The parameters of RunInstances for the network; values that are empty say nothing.

    A template with security groups rules out an interface, and an instance then has a public
    address where its subnet gives one.
    """
    groups = list(config.security_group_ids)
    public = config.address != "private"
    interfaces = template.get("NetworkInterfaces", [])
    if not interfaces and (not subnet or not public or _groups(template)):
        return {"SubnetId": subnet, "SecurityGroupIds": groups}
    primary = _primary(interfaces)
    own: dict[str, Any] = {"DeviceIndex": 0, "SubnetId": subnet or primary.get("SubnetId")}
    # A subnet of one's own gives no public address unless it is asked for.
    own["AssociatePublicIpAddress"] = bool(public and own["SubnetId"])
    own["Groups"] = groups
    own = {key: value for key, value in own.items() if value or key == "DeviceIndex"}
    others = [dict(each) for each in interfaces if each is not primary]
    return {"NetworkInterfaces": [{**primary, **own}, *others]}


def _groups(template: Data) -> Any:
    return template.get("SecurityGroupIds") or template.get("SecurityGroups")


def _primary(interfaces: Sequence[Data]) -> Data:
    """The first network interface, empty where there is none."""
    return next((each for each in interfaces if not each.get("DeviceIndex")), {})


def volumes(basis: Basis) -> list[dict[str, Any]]:
    """The block device mapping that has the root volume a gp3, encrypted and deleted with its
    instance, and else as the image says; what the template says of it wins. An instance store has
    no volume, and of an image that is not known nothing is said."""
    root = basis.image.get("RootDeviceName")
    image, template = (_mapping(each, root) for each in (basis.image, basis.template))
    if image is None or "Ebs" not in image or (template is not None and "Ebs" not in template):
        return []
    said = template["Ebs"] if template else {}
    volume = {
        "VolumeType": "gp3",
        "Encrypted": True,
        "DeleteOnTermination": True,
        **_of_image(image["Ebs"], typed="VolumeType" not in said),
        **said,
    }
    return [{"DeviceName": root, "Ebs": volume}]


_MEANT = ("gp3", "io1", "io2")
"""Types of volumes that somebody has chosen for an image: others are what images had for long."""


def _of_image(ebs: Data, *, typed: bool) -> dict[str, Any]:
    """What the image says of its root volume and a launch keeps; `typed`: its type too."""
    keys = ["VolumeSize", "KmsKeyId"]
    if typed and ebs.get("VolumeType") in _MEANT:
        keys += ["VolumeType", "Iops", "Throughput"]
    return {key: ebs[key] for key in keys if key in ebs}


def _mapping(described: Data, device: str | None) -> Data | None:
    """What an image or a template says of a device, if anything."""
    mappings = described.get("BlockDeviceMappings", [])
    return next((each for each in mappings if each.get("DeviceName") == device), None)


def metadata(template: Data) -> dict[str, Any]:
    """How an instance gets at its metadata: by tokens alone, and else as the template says."""
    kept = ("HttpPutResponseHopLimit", "HttpProtocolIpv6", "InstanceMetadataTags")
    said = template.get("MetadataOptions", {})
    own = {"HttpTokens": "required", "HttpEndpoint": "enabled"}
    return {**{key: said[key] for key in kept if said.get(key)}, **own}


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
        "MetadataOptions": metadata(basis.template),
        "TagSpecifications": [
            {"ResourceType": resource, "Tags": tags} for resource in ("instance", "volume")
        ],
        "BlockDeviceMappings": volumes(basis),
        "ImageId": config.image_id,
        "KeyName": config.key_name,
        **network(config, basis.template, attempt.subnet),
    }
    if attempt.spot:
        wanted["InstanceMarketOptions"] = _SPOT
    if config.launch_template:
        wanted["LaunchTemplate"] = named(config)
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
