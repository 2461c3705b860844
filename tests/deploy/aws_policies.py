"""IAM policies, and what a call of an API asks of them.

A call is asked of a policy as AWS would ask: one request for every resource that it touches, with
what conditions can look at. The evaluator knows as much of the policy language as the files of
`docs/aws` use, and refuses the rest.
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html says what a
call touches.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.cloud.fleets import overrides
from tests.cloud.templates import Template, Templates, items
from tests.cloud.templates import tags as tags_of
from tests.paths import CHECKOUT

FOLDER = CHECKOUT / "docs/aws"
REGION, ACCOUNT = "us-east-1", "123456789012"

Context = Mapping[str, str | Sequence[str]]


# The policy language


@dataclass(frozen=True)
class Request:
    """One thing that somebody wants to do to one resource; the region is always known."""

    action: str
    resource: str
    context: Context = field(default_factory=dict)


def allowing(policy: Mapping[str, Any], request: Request) -> list[str]:
    """The statements that allow a request, by their Sid; none if it is denied."""
    statements = [each for each in policy["Statement"] if matches(each, request)]
    if any(each["Effect"] == "Deny" for each in statements):
        return []
    return [each["Sid"] for each in statements]


def matches(statement: Mapping[str, Any], request: Request) -> bool:
    """Whether a statement speaks of a request."""
    unknown = statement.keys() - {"Sid", "Effect", "Action", "Resource", "Condition"}
    assert not unknown, unknown
    return (
        any(like(each.lower(), request.action.lower()) for each in several(statement["Action"]))
        and any(like(each, request.resource) for each in several(statement["Resource"]))
        and all(
            holds(
                operator, key, several(wanted), {"aws:RequestedRegion": REGION, **request.context}
            )
            for operator, conditions in statement.get("Condition", {}).items()
            for key, wanted in conditions.items()
        )
    )


def holds(operator: str, key: str, wanted: Sequence[str], context: Context) -> bool:
    """Whether one condition holds. For a key that is not there none does, but for `Null`, and for
    `ForAllValues`, which holds for no value too."""
    value = context.get(key)
    if operator == "Null":
        return (value is None) == (wanted[0] == "true")
    quantifier, _, plain = operator.rpartition(":")
    if quantifier == "ForAllValues":
        return all(compares(plain, each, wanted) for each in several(value or ()))
    assert not quantifier, operator
    return isinstance(value, str) and compares(operator, value, wanted)


def compares(operator: str, value: str, wanted: Sequence[str]) -> bool:
    """Whether a value is as one of those wanted."""
    return {
        "StringEquals": lambda: value in wanted,
        "StringLike": lambda: any(like(each, value) for each in wanted),
        "Bool": lambda: value.lower() in [each.lower() for each in wanted],
    }[operator]()


def like(pattern: str, text: str) -> bool:
    """Whether a text is as a pattern with `*` and `?`."""
    assert "${" not in pattern, "the evaluator has no policy variables"
    escaped = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(escaped, text, re.DOTALL) is not None


def several(value: str | Sequence[str]) -> Sequence[str]:
    """A list, where one may stand alone."""
    return [value] if isinstance(value, str) else value


def policy(name: str, **places: str) -> Any:
    """A policy of the documentation, its placeholders filled in as there: `SUBNET_A` and others,
    which stay as they are where they are not given."""
    text = (FOLDER / name).read_text("utf-8")
    for place, value in {"REGION": REGION, "ACCOUNT": ACCOUNT, **places}.items():
        text = text.replace(place, value)
    return json.loads(text)


def together(*policies: Mapping[str, Any]) -> dict[str, Any]:
    """What a role may that has several policies."""
    return {"Statement": [each for policy in policies for each in policy["Statement"]]}


# What a call asks for


@dataclass(frozen=True)
class Call:
    """One call of an API. Its parameters are those of the query for EC2, as `tests/cloud` records
    it (`SecurityGroupId.1`), and JSON's for others."""

    service: str
    action: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Account:
    """What there is: the tags of its own resources, by their ids, and its launch templates."""

    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    templates: Templates = field(default_factory=Templates)

    def context(self, id: str) -> dict[str, str]:
        """What conditions see of a resource: of somebody else's no tags."""
        return {
            "ec2:Owner": ACCOUNT if id in self.tags else "999999999999",
            **{f"aws:ResourceTag/{key}": value for key, value in self.tags.get(id, {}).items()},
        }


def requests(call: Call, account: Account) -> Iterator[Request]:
    """What a call asks for."""
    action = f"{call.service}:{call.action}"
    asked = call.parameters
    if action == "ec2:RunInstances":
        yield from launch_requests(asked, account)
    elif action == "ec2:CreateFleet":
        yield from fleet_requests(asked, account)
    elif action == "ec2:CreateLaunchTemplate":
        given = _tags_given(asked)["launch-template"]
        template = arn("ec2", "launch-template/*")
        yield Request(action, template, given)
        yield Request("ec2:CreateTags", template, {"ec2:CreateAction": call.action, **given})
    elif action == "ec2:DeleteLaunchTemplate":
        id = account.templates.find(None, asked["LaunchTemplateName"]).id
        yield Request(action, arn("ec2", f"launch-template/{id}"), account.context(id))
    elif call.action in ("TerminateInstances", "StartInstances", "StopInstances"):
        for name, id in asked.items():
            if name.startswith("InstanceId."):
                yield Request(action, arn("ec2", f"instance/{id}"), account.context(id))
    elif action == "ec2:CreateTags":
        given = _seen({tag["Key"]: tag["Value"] for _, tag in items(asked, "Tag")})
        for name, id in asked.items():
            if name.startswith("ResourceId."):
                assert id.startswith("i-"), id
                context = {**account.context(id), **given}
                yield Request(action, arn("ec2", f"instance/{id}"), context)
    elif call.action.startswith("Describe"):
        yield Request(action, "*")
    elif action == "ssm:GetParameter":
        yield Request(action, arn("ssm", f"parameter{asked['Name']}"))
    elif action == "secretsmanager:GetSecretValue":
        yield Request(action, arn("secretsmanager", f"secret:{asked['SecretId']}-AbCdEf"))
    else:
        raise AssertionError(f"what does {action} ask for?")


def with_launch_templates(account: Account, calls: Iterable[Call]) -> Account:
    """The account with the launch templates that calls have made, which may be gone since."""
    tags, templates = {**account.tags}, Templates({**account.templates.by_id})
    for call in calls:
        if call.action == "CreateLaunchTemplate":
            name = call.parameters["LaunchTemplateName"]
            data = {
                key.removeprefix("LaunchTemplateData."): value
                for key, value in call.parameters.items()
                if key.startswith("LaunchTemplateData.")
            }
            templates.by_id[f"lt-{name}"] = Template(f"lt-{name}", name, {1: data})
            tags[f"lt-{name}"] = tags_of(call.parameters, "launch-template")
    return Account(tags, templates)


def fleet_requests(parameters: Mapping[str, str], account: Account) -> Iterator[Request]:
    """What CreateFleet asks for: each launch that may come of it, and itself what these touch."""
    fleet = "ec2:CreateFleet"
    yield Request(fleet, arn("ec2", "fleet/*"))
    for way in overrides(parameters):
        launch = {
            "LaunchTemplate.LaunchTemplateName": way[
                "LaunchTemplateSpecification.LaunchTemplateName"
            ],
            "LaunchTemplate.Version": way["LaunchTemplateSpecification.Version"],
            "InstanceType": way["InstanceType"],
            "InstanceMarketOptions.MarketType": "spot",
        }
        whole = account.templates.in_full(launch)
        if subnet := way.get("SubnetId"):
            interface = any(name.startswith("NetworkInterface.") for name in whole)
            launch["NetworkInterface.1.SubnetId" if interface else "SubnetId"] = subnet
            if interface:
                launch |= {n: v for n, v in whole.items() if n.startswith("NetworkInterface.")}
        for request in launch_requests(launch, account, by="CreateFleet"):
            yield request
            if request.action == "ec2:RunInstances":
                seen = {
                    key: value
                    for key, value in request.context.items()
                    if key.startswith("aws:ResourceTag/") or key == "ec2:Owner"
                }
                yield Request(fleet, request.resource, seen)


def _tags_given(asked: Mapping[str, str]) -> dict[str, dict[str, str | Sequence[str]]]:
    """What conditions see of the tags that a request has, by type of resource."""
    given: dict[str, dict[str, str | Sequence[str]]] = {}
    for _, specification in items(asked, "TagSpecification"):
        tags = {tag["Key"]: tag["Value"] for _, tag in items(specification, "Tag")}
        given[specification["ResourceType"]] = _seen(tags)
    return given


def _seen(tags: Mapping[str, str]) -> dict[str, str | Sequence[str]]:
    """What conditions see of tags that a request gives."""
    return {
        "aws:TagKeys": list(tags),
        **{f"aws:RequestTag/{key}": value for key, value in tags.items()},
    }


def launch_requests(
    parameters: Mapping[str, str], account: Account, by: str = "RunInstances"
) -> Iterator[Request]:
    """What RunInstances asks for, with what its launch template adds. `by`: the call that has it
    launched."""
    run = "ec2:RunInstances"
    asked = account.templates.in_full(parameters)
    given = _tags_given(asked)
    tokens = asked.get("MetadataOptions.HttpTokens", "optional")
    market = asked.get("InstanceMarketOptions.MarketType", "on-demand")
    instance = {"ec2:InstanceType": asked["InstanceType"], "ec2:MetadataHttpTokens": tokens}
    yield Request(run, arn("ec2", "instance/*"), {**instance, **given.get("instance", {})})
    mappings = [mapping for _, mapping in items(asked, "BlockDeviceMapping")]
    # An image has a volume, of which a launch need not speak.
    for mapping in mappings or [{}]:
        volume = {
            "ec2:Encrypted": mapping.get("Ebs.Encrypted", "false"),
            "ec2:VolumeType": mapping.get("Ebs.VolumeType", "gp2"),
        }
        yield Request(run, arn("ec2", "volume/*"), {**volume, **given.get("volume", {})})
    yield Request(run, arn("ec2", "network-interface/*"), given.get("network-interface", {}))
    if market == "spot":
        yield Request(run, arn("ec2", "spot-instances-request/*"))
    for kind, id in named_in(asked):
        owner = "" if kind == "image" else ACCOUNT
        yield Request(run, arn("ec2", f"{kind}/{id}", owner), account.context(id))
    for kind, context in given.items():
        created = {"ec2:CreateAction": by, **context}
        yield Request("ec2:CreateTags", arn("ec2", f"{kind}/*"), created)
    if profile := asked.get("IamInstanceProfile.Name"):
        # Its role has its name.
        yield pass_role(profile)


_NAMED = {
    "ImageId": "image",
    "KeyName": "key-pair",
    "LaunchTemplate.LaunchTemplateId": "launch-template",
    r"(NetworkInterface\.\d+\.)?SubnetId": "subnet",
    r"(NetworkInterface\.\d+\.)?SecurityGroupId\.\d+": "security-group",
}


def named_in(asked: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The resources that a launch names, each with its kind."""
    for name, id in asked.items():
        for pattern, kind in _NAMED.items():
            if re.fullmatch(pattern, name):
                yield kind, id


def pass_role(name: str, service: str = "ec2.amazonaws.com") -> Request:
    """To give a role to a service."""
    role = f"arn:aws:iam::{ACCOUNT}:role/{name}"
    return Request("iam:PassRole", role, {"iam:PassedToService": service})


def arn(service: str, resource: str, account: str = ACCOUNT) -> str:
    """The name of a resource in the region."""
    return f"arn:aws:{service}:{REGION}:{account}:{resource}"
