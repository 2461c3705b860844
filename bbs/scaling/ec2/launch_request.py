"""The requests for a launch: pure functions of the configuration, the launch template and image as
EC2 describes them, and the launch's id.

RunInstances lays its own parameters over the template's, and then refuses some combinations: a
network interface beside a subnet or security groups of the instance itself, wherever either comes
from. A request therefore gives a network interface as a whole, with the template's settings, and so
means the same whether EC2 merges it or replaces the template's.

An instance boots with user data, made from a template: a text in which `${server_id}`, `${fleet}`,
`${service}`, `${config}`, `${config_base64}`, `${region}`, `${log_group}` and `${traceparent}` are
filled in, and `$$` is a dollar sign; a dollar sign before anything else stays. The built-in
template is `app-server.sh` in this package, for Debian and Ubuntu; `ec2.user_data` names an
operator's own. User data can be read on the instance, and by everybody who may describe instances
in the account. References to secrets therefore go into it as they are (`bbs/config/references.py`),
and the instance resolves them.
"""

from __future__ import annotations

import base64
import hashlib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from twisted.logger import Logger

from bbs.config import EC2, ConfigError
from bbs.config.kinds import is_reference, mask
from bbs.scaling.providers import LaunchKit

DEFAULT_VERSION = "$Default"

Data = Mapping[str, Any]

FLEET_TAG, LAUNCH_TAG, VERSION_TAG = "bbs:fleet", "bbs:launch", "bbs:version"

FLEET_ID_TAG = "bbs:fleet-id"
"""The tag with the id of the fleet. `FLEET_TAG` has its configured name, for people to read: a copy
of the database is another fleet of the same name."""

BATCH_TAG = "bbs:batch"
"""The tag with the id of a batch: many instances of one call, with a launch for each."""

MAX_BYTES = 16384  # EC2's limit for user data, before base64
BUILT_IN = "app-server.sh"

_log = Logger()


class LaunchStrategy(NamedTuple):
    """A type, in a subnet (None: the default or the template's), as Spot or on demand."""

    kind: str
    subnet: str | None
    spot: bool = False

    def __str__(self) -> str:
        where = f"{self.kind} in {self.subnet}" if self.subnet else self.kind
        return f"{where} as Spot" if self.spot else where

    @property
    def home(self) -> str:
        """The subnet in which the instance certainly is; "" if none is named."""
        return self.subnet or ""


def strategies(config: EC2, living: Mapping[str, int] | None = None) -> list[LaunchStrategy]:
    """The strategies in the order in which they are tried: each type in every subnet, then the next
    type; first all of them as Spot, if configured. Types keep the order of the configuration, whose
    author knows their price. The subnet with the fewest `living` instances comes first. There
    should be a subnet for each zone: a zone that fails is left subnet by subnet."""
    subnets: tuple[str | None, ...] = config.subnet_ids or (None,)
    balanced = sorted(subnets, key=lambda subnet: (living or {}).get(subnet or "", 0))
    return [
        LaunchStrategy(kind, subnet, spot)
        for spot in ((True, False) if config.spot else (False,))
        for kind in config.instance_type
        for subnet in balanced
    ]


def token(launch_id: str, strategy: LaunchStrategy) -> str:
    """The ClientToken, at most 64 characters, beginning with the launch's id. EC2 refuses a token
    with other parameters than before, so each strategy has its own. Parameters that may differ
    between controllers, such as the user data, do not change it: a second controller then learns
    that the launch exists, instead of making another."""
    parts = (strategy.kind, strategy.subnet, "spot" if strategy.spot else None)
    digest = hashlib.sha256("/".join((launch_id, *filter(None, parts))).encode()).hexdigest()
    return f"{launch_id[:39]}-{digest[:24]}"


def member(batch_id: str, number: int) -> str:
    """The launch id of an instance of a batch, by its AmiLaunchIndex; `app-server.sh` has this
    too."""
    return hashlib.sha256(f"{batch_id}:{number}".encode()).hexdigest()[:32]


def run_instances(
    config: EC2,
    launch_id: str,
    strategy: LaunchStrategy,
    user_data: str,
    basis: Basis,
    version: str,
    fleet_id: str,
    count: int = 1,
) -> dict[str, Any]:
    """The parameters of RunInstances; for a `count` of more, all or none, `launch_id` is a batch's.
    The launch template decides what the configuration leaves open, but never the instance type, the
    user data, or what becomes of an instance that powers off."""
    values = {"Name": config.name, FLEET_TAG: config.name, FLEET_ID_TAG: fleet_id}
    values |= {LAUNCH_TAG if count == 1 else BATCH_TAG: launch_id, VERSION_TAG: version}
    tags = [{"Key": key, "Value": value} for key, value in values.items()]
    wanted: dict[str, Any] = {
        "MinCount": count,
        "MaxCount": count,
        "ClientToken": token(launch_id, strategy),
        "InstanceType": strategy.kind,
        "UserData": user_data,
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": metadata(basis.template),
        "TagSpecifications": [
            {"ResourceType": resource, "Tags": tags} for resource in ("instance", "volume")
        ],
        "BlockDeviceMappings": volumes(basis),
        "ImageId": config.image_id,
        "KeyName": config.key_name,
        "CreditSpecification": credit_specification(config, strategy.kind, basis.template),
        "InstanceMarketOptions": _SPOT if strategy.spot else None,
        "LaunchTemplate": named(config) if config.launch_template else None,
        **network(config, basis.template, strategy.subnet),
    }
    if profile := config.iam_instance_profile:
        wanted["IamInstanceProfile"] = {"Arn" if profile.startswith("arn:") else "Name": profile}
    wanted = {key: value for key, value in wanted.items() if value}
    if basis.template.get("DisableApiTermination"):
        wanted["DisableApiTermination"] = False  # The fleet ends its own instances.
    return wanted


_SPOT = {
    "MarketType": "spot",
    "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
}


BURSTABLE = ("t2", "t3", "t3a", "t4g")


def is_burstable(kind: str) -> bool:
    """Whether a type has CPU credits. EC2 refuses a CreditSpecification for others."""
    return kind.partition(".")[0] in BURSTABLE


def credit_specification(config: EC2, kind: str, template: Data) -> Data | None:
    """What to say about CPU credits. EC2's own default can be set by account and region, and
    differs between T2 and later types."""
    if not is_burstable(kind) or template.get("CreditSpecification"):
        return None
    return {"CpuCredits": config.credits}


def no_address(config: EC2, subnet: str) -> str:
    """Why an instance has no address for people, and what to change."""
    where = subnet or "its subnet"
    if config.address == "dns":
        return f"no public address: {where} gives no names; switch on its VPC's DNS hostnames"
    return (
        f"no public address: switch on auto-assigned public IPv4 addresses for {where}, take the"
        ' security groups out of the launch template, or set ec2.address = "private"'
    )


@dataclass(frozen=True)
class Basis:
    """The basis of a launch: the launch template's data from DescribeLaunchTemplateVersions, and
    the image from DescribeImages. Empty if there is none, or if only the Systems Manager knows the
    image."""

    template: Data = field(default_factory=dict)
    image: Data = field(default_factory=dict)


def named(config: EC2) -> dict[str, str]:
    """The launch template and its version, for RunInstances. A template's name has no colon."""
    name, _, version = config.launch_template.partition(":")
    by = "LaunchTemplateId" if name.startswith("lt-") else "LaunchTemplateName"
    return {by: name, "Version": version or DEFAULT_VERSION}


def image_id(config: EC2, template: Data) -> str:
    return config.image_id or str(template.get("ImageId", ""))


def mismatch(config: EC2, template: Data) -> str:
    """Why the template and the configuration do not fit, and what to change; "" if they do."""
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
    if len(interfaces) > 1 and config.is_public:
        return (
            f"it has {len(interfaces)} network interfaces, and EC2 then gives no public address:"
            ' leave it one, or set ec2.address = "private"'
        )
    return ""


def network(config: EC2, template: Data, subnet: str | None) -> dict[str, Any]:
    """The parameters for the network; empty values are left out later. A template with security
    groups rules out an interface; an instance then has a public address if its subnet gives one."""
    groups = list(config.security_group_ids)
    public = config.is_public
    interfaces = template.get("NetworkInterfaces", [])
    if not interfaces and (not subnet or not public or _groups(template)):
        return {"SubnetId": subnet, "SecurityGroupIds": groups}
    primary = _primary(interfaces)
    own: dict[str, Any] = {"DeviceIndex": 0, "SubnetId": subnet or primary.get("SubnetId")}
    # A subnet that is not a default one gives a public address only if asked.
    own["AssociatePublicIpAddress"] = bool(public and own["SubnetId"])
    own["Groups"] = groups
    own = {key: value for key, value in own.items() if value or key == "DeviceIndex"}
    others = [dict(each) for each in interfaces if each is not primary]
    return {"NetworkInterfaces": [{**primary, **own}, *others]}


def _groups(template: Data) -> Any:
    return template.get("SecurityGroupIds") or template.get("SecurityGroups")


def _primary(interfaces: Sequence[Data]) -> Data:
    return next((each for each in interfaces if not each.get("DeviceIndex")), {})


def volumes(basis: Basis) -> list[dict[str, Any]]:
    """The block device mapping that makes the root volume a gp3, encrypted and deleted with its
    instance, otherwise as the image has it; the template's settings win. Empty for an instance
    store, which has no volume, and for an unknown image."""
    root = basis.image.get("RootDeviceName")
    image, template = (_mapping(each, root) for each in (basis.image, basis.template))
    if image is None or "Ebs" not in image or (template is not None and "Ebs" not in template):
        return []
    settings = template["Ebs"] if template else {}
    volume = {
        "VolumeType": "gp3",
        "Encrypted": True,
        "DeleteOnTermination": True,
        **_of_image(image["Ebs"], typed="VolumeType" not in settings),
        **settings,
    }
    return [{"DeviceName": root, "Ebs": volume}]


def _of_image(ebs: Data, *, typed: bool) -> dict[str, Any]:
    """The settings of an image's root volume that a launch keeps; `typed`: its type too."""
    keys = ["VolumeSize", "KmsKeyId"]
    # Somebody has chosen these types for the image; others are old defaults.
    if typed and ebs.get("VolumeType") in ("gp3", "io1", "io2"):
        keys += ["VolumeType", "Iops", "Throughput"]
    return {key: ebs[key] for key in keys if key in ebs}


def _mapping(described: Data, device: str | None) -> Data | None:
    mappings = described.get("BlockDeviceMappings", [])
    return next((each for each in mappings if each.get("DeviceName") == device), None)


def metadata(template: Data) -> dict[str, Any]:
    """The options of the metadata service: tokens are required; the rest is from the template."""
    kept = ("HttpPutResponseHopLimit", "HttpProtocolIpv6", "InstanceMetadataTags")
    options = template.get("MetadataOptions", {})
    own = {"HttpTokens": "required", "HttpEndpoint": "enabled"}
    return {**{key: options[key] for key in kept if options.get(key)}, **own}


_FIELD = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>[^}\n]*)\}?)")
_LONGEST_ID = "i" * 64
_LONGEST_BATCH = "b" * 32
_LONGEST_TRACE = "t" * 55
_ONLY_HERE = {
    "database.url": "a file; name a mysql:// URL",
    "broker.url": "the embedded broker; name another",
}


@dataclass(frozen=True)
class UserData:
    """Makes user data from the id of a launch, and of a batch (None: one template is not for
    both)."""

    of_launch: Callable[[str], str]
    of_batch: Callable[[str], str] | None


def user_data_maker(kit: LaunchKit) -> UserData:
    """Read and try the template. `ConfigError`: an app server could not boot with it, or reach what
    only this machine can."""
    config: EC2 = kit.section
    # At another API's endpoint the instances may be on this machine too.
    if kit.only_here and not config.endpoint_url:
        key = kit.only_here[0]
        raise ConfigError(f"{key}: instances cannot reach {_ONLY_HERE[key]}")
    template = read_template(config.user_data)

    def fill(server_id: str, trace: str, batch: str = "") -> str:
        toml = kit.configuration(server_id)
        return fill_template(template, config, server_id, toml, kit.service_name, trace, batch)

    def of_batch(batch: str) -> str:
        first = member(batch, 0)
        return fill("", kit.traceparent(first), batch)

    fill(_LONGEST_ID, _LONGEST_TRACE)
    _warn_of_secrets(kit.configuration(_LONGEST_ID))
    is_for_both = any(field["name"] == "batch" for field in _FIELD.finditer(template))
    if is_for_both:
        fill("", _LONGEST_TRACE, _LONGEST_BATCH)
    return UserData(
        lambda server_id: fill(server_id, kit.traceparent(server_id)),
        of_batch if is_for_both else None,
    )


def read_template(path: str) -> str:
    """The operator's template at `path`, or the built-in one; `ConfigError` if it is unreadable."""
    if not path:
        return files("bbs.scaling.ec2").joinpath(BUILT_IN).read_text("utf-8")
    try:
        return Path(path).read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"ec2.user_data: {path}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or a NUL in the path
        raise ConfigError(f"ec2.user_data: {path!r} is not a text file") from error


def fill_template(
    template: str,
    config: EC2,
    server_id: str,
    toml: str,
    service_name: str = "bbs",
    traceparent: str = "",
    batch: str = "",
) -> str:
    """A filled-in template. `ConfigError`: it has an unknown field, or is too long for EC2."""
    values = {
        "server_id": server_id,
        "fleet": config.name,
        "service": service_name,
        "config": toml,
        "config_base64": base64.b64encode(toml.encode()).decode("ascii"),
        "region": config.region,
        "log_group": config.log_group,
        "traceparent": traceparent,
        "batch": batch,
    }
    place = config.user_data or BUILT_IN

    def value(field: re.Match[str]) -> str:
        if field["dollar"]:
            return "$"
        if field["name"] in values and field[0].endswith("}"):
            return values[field["name"]]
        line = template.count("\n", 0, field.start()) + 1
        known = ", ".join(f"${{{name}}}" for name in values)
        raise ConfigError(
            f"ec2.user_data: {place}, line {line}: unknown {field[0]}, there are {known}"
            " ($$ is a dollar sign)"
        )

    filled = _FIELD.sub(value, template)
    size = len(filled.encode())
    if size > MAX_BYTES:
        raise ConfigError(f"ec2.user_data: {place}: {size} bytes, and EC2 takes {MAX_BYTES}")
    return filled


def _warn_of_secrets(toml: str) -> None:
    config = tomllib.loads(toml)
    database, brokers = [config["database"]["url"]], config["broker"]["url"]
    for key, urls in (("database.url", database), ("broker.url", brokers)):
        if any(not is_reference(url) and mask(url) != url for url in urls):
            _log.warn(
                "the password in {key} is in the instances' user data, where others may read it;"
                " use ssm:/NAME or secretsmanager:NAME instead",
                key=key,
            )
