"""What a launch template and an image mean for a launch: pure functions of what EC2 says of them.

RunInstances lays its own parameters over the template's, and then refuses some combinations: a
network interface beside a subnet or security groups of the instance itself, wherever either stands.
So a request has to know the template. An interface is given whole, with what the template says of
it, and so means the same whether EC2 merges it or replaces the template's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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


def misfit(config: EC2, template: Data) -> str:
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
