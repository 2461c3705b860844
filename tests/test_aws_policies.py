"""The IAM policies of `docs/aws/`, held against the calls that bbs makes.

The calls are recorded as botocore makes them, in front of moto. Each is then asked of the policy as
AWS would ask: one request for every resource that it touches, with what conditions can look at.
The evaluator knows as much of the policy language as the files use, and refuses the rest.
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html says what a
call touches.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
from moto import mock_aws
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.config import EC2
from bbs.config import references as stores
from bbs.scaling.ec2.client import EC2Client
from bbs.scaling.ec2.provider import EC2Provider
from bbs.workers import Inline
from tests.ec2_tools import FLEET_ID, MemoryApi

FOLDER = Path(__file__).absolute().parent.parent / "docs/aws"
REGION, ACCOUNT = "us-east-1", "123456789012"
OURS = {"bbs:fleet": "bbs"}
LAUNCH = "0123456789abcdef0123456789abcdef"


# The policy language


@dataclass(frozen=True)
class Request:
    """One thing that somebody wants to do to one resource; the region is always known."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


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


def holds(operator: str, key: str, wanted: Sequence[str], context: Mapping[str, str]) -> bool:
    """Whether one condition holds. Of these operators none does for a key that is not there."""
    value = context.get(key)
    if value is None:
        return False
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


def policy(name: str) -> Any:
    """A policy of the documentation, its placeholders filled in as there."""
    text = (FOLDER / name).read_text("utf-8")
    return json.loads(text.replace("REGION", REGION).replace("ACCOUNT", ACCOUNT))


LOGIN, APP = policy("login-server-policy.json"), policy("app-server-policy.json")


# What a call asks for


@dataclass(frozen=True)
class Call:
    """One call of an API, as botocore has it."""

    service: str
    action: str
    parameters: Mapping[str, Any]


def requests(call: Call, tags: Mapping[str, Mapping[str, str]]) -> Iterator[Request]:
    """What a call asks for; `tags` has those of the resources that there are, by their id."""
    action = f"{call.service}:{call.action}"
    asked = call.parameters
    if action == "ec2:RunInstances":
        yield from launch_requests(asked, tags)
    elif action == "ec2:TerminateInstances":
        for id in asked["InstanceIds"]:
            yield Request(action, arn("ec2", f"instance/{id}"), resource_tags(tags.get(id, {})))
    elif call.action.startswith("Describe"):
        yield Request(action, "*")
    elif action == "ssm:GetParameter":
        yield Request(action, arn("ssm", f"parameter{asked['Name']}"))
    elif action == "secretsmanager:GetSecretValue":
        yield Request(action, arn("secretsmanager", f"secret:{asked['SecretId']}-AbCdEf"))
    else:
        raise AssertionError(f"what does {action} ask for?")


def launch_requests(
    asked: Mapping[str, Any], tags: Mapping[str, Mapping[str, str]]
) -> Iterator[Request]:
    run = "ec2:RunInstances"
    given = {
        each["ResourceType"]: {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in each["Tags"]}
        for each in asked.get("TagSpecifications", [])
    }
    volumes = [each["Ebs"] for each in asked.get("BlockDeviceMappings", []) if "Ebs" in each]
    encrypted = bool(volumes) and all(each.get("Encrypted") for each in volumes)
    of = {
        "instance": {
            "ec2:InstanceType": asked["InstanceType"],
            "ec2:MetadataHttpTokens": asked.get("MetadataOptions", {}).get(
                "HttpTokens", "optional"
            ),
        },
        "volume": {"ec2:Encrypted": str(encrypted).lower()},
        "network-interface": {},
    }
    for kind, context in of.items():
        yield Request(run, arn("ec2", f"{kind}/*"), {**context, **given.get(kind, {})})
    (interface,) = asked.get("NetworkInterfaces", [{}])
    ids = [
        ("image", asked.get("ImageId")),
        ("subnet", asked.get("SubnetId", interface.get("SubnetId"))),
        ("key-pair", asked.get("KeyName")),
        ("launch-template", asked.get("LaunchTemplate", {}).get("LaunchTemplateId")),
    ]
    for group in asked.get("SecurityGroupIds", interface.get("Groups", [])):
        ids.append(("security-group", group))
    for kind, id in ids:
        if id is not None:
            account = "" if kind == "image" else ACCOUNT
            context = resource_tags(tags.get(id, {}))
            yield Request(run, arn("ec2", f"{kind}/{id}", account), context)
    for kind, context in given.items():
        created = {"ec2:CreateAction": "RunInstances", **context}
        yield Request("ec2:CreateTags", arn("ec2", f"{kind}/*"), created)
    if "IamInstanceProfile" in asked:
        # Its role has its name.
        yield pass_role(asked["IamInstanceProfile"]["Name"])


def pass_role(name: str, service: str = "ec2.amazonaws.com") -> Request:
    role = f"arn:aws:iam::{ACCOUNT}:role/{name}"
    return Request("iam:PassRole", role, {"iam:PassedToService": service})


def resource_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {f"aws:ResourceTag/{key}": value for key, value in tags.items()}


def arn(service: str, resource: str, account: str = ACCOUNT) -> str:
    return f"arn:aws:{service}:{REGION}:{account}:{resource}"


# The tests


class PolicyTestCase(SynchronousTestCase):
    """An account as `docs/aws.md` makes it, and a record of the calls to it."""

    def setUp(self) -> None:
        environ = {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
        }
        for patched in (mock.patch.dict(os.environ, environ), mock_aws()):
            patched.start()
            self.addCleanup(patched.stop)
        self.clock = Clock()
        self.calls: list[Call] = []
        self.ec2 = boto3.client("ec2", region_name=REGION)
        vpc = self.ec2.create_vpc(CidrBlock="10.50.0.0/16")["Vpc"]["VpcId"]
        subnet = self.ec2.create_subnet(VpcId=vpc, CidrBlock="10.50.1.0/24")["Subnet"]
        group = self.ec2.create_security_group(GroupName="bbs-app", Description="-", VpcId=vpc)
        boto3.client("iam").create_instance_profile(InstanceProfileName="bbs-app")
        self.config = EC2(
            image_id=self.ec2.register_image(Name="bbs", RootDeviceName="/dev/sda1")["ImageId"],
            subnet_ids=(subnet["SubnetId"],),
            security_group_ids=(group["GroupId"],),
            iam_instance_profile="bbs-app",
        )
        self.tags = dict.fromkeys(
            (self.config.image_id, subnet["SubnetId"], group["GroupId"]), OURS
        )

    def client(self, service: str) -> Any:
        """A client whose calls are recorded."""
        client: Any = boto3.client(service, region_name=REGION)  # type: ignore[call-overload]
        client.meta.events.register("before-parameter-build", self.record)
        return client

    def record(self, params: Any, model: Any, **_: object) -> None:
        # What EC2 gets, not what it was before: the user data in base64 for one.
        service = model.service_model.endpoint_prefix
        self.calls.append(Call(service, model.name, dict(params)))

    def provider(self, config: EC2) -> EC2Provider:
        """A provider that asks in this thread."""
        api = MemoryApi(lambda: self.client("ec2"), lambda action: Inline())
        client = EC2Client(self.clock, api)
        provider = EC2Provider(
            self.clock, client, config, lambda server: f"#!{server}", "0", fleet_id=FLEET_ID
        )
        for service in (client, provider):
            service.startService()
            self.addCleanup(service.stopService)
        return provider

    def a_life(self, config: EC2) -> None:
        """Launch an instance, look at it, and end it; another keeper ends another one's."""
        provider = self.provider(config)
        launched = [provider.launch(LAUNCH), provider.launch("other")]
        self.clock.pump([0.1] * 50)
        for each in launched:
            self.successResultOf(each)
        self.tags |= {
            each["InstanceId"]: {tag["Key"]: tag["Value"] for tag in each["Tags"]}
            for reservation in self.ec2.describe_instances()["Reservations"]
            for each in reservation["Instances"]
        }
        listed = provider.list()
        self.clock.pump([0.1] * 50)
        self.assertEqual(len(self.successResultOf(listed)), 2)
        ended = [provider.terminate(LAUNCH), self.provider(config).terminate("other")]
        self.clock.pump([0.1] * 50)
        for each in ended:
            self.successResultOf(each)

    def reveal(self) -> None:
        """Ask both stores for both secrets."""
        kept = {"database": "mysql://u:p@h/bbs", "broker": "stomp://u:p@h:61613"}
        for name, url in kept.items():
            boto3.client("ssm", region_name=REGION).put_parameter(
                Name=f"/bbs/{name}", Value=url, Type="SecureString"
            )
            boto3.client("secretsmanager", region_name=REGION).create_secret(
                Name=f"bbs/{name}", SecretString=url
            )
            with mock.patch.object(stores, "_client", lambda service, ec2: self.client(service)):
                references = (f"ssm:/bbs/{name}", f"secretsmanager:bbs/{name}")
                stores.reveal(f"{name}.url", references, self.config)

    def asked(self) -> list[Request]:
        """What was asked for so far."""
        return [request for call in self.calls for request in requests(call, self.tags)]

    def assert_allowed(self, policy: Mapping[str, Any]) -> set[str]:
        """Every request so far is allowed; returns the statements that did."""
        used: set[str] = set()
        for request in self.asked():
            sids = allowing(policy, request)
            self.assertNotEqual(sids, [], request)
            used.update(sids)
        return used


class LoginServer(PolicyTestCase):
    """The role of the login server."""

    def test_allows_what_it_does(self) -> None:
        """Every call that a keeper of the fleet makes, and no statement is there for nothing."""
        self.a_life(self.config)
        self.a_life(replace(self.config, address="private"))
        self.reveal()
        used = self.assert_allowed(LOGIN)
        self.assertEqual(used, {each["Sid"] for each in LOGIN["Statement"]})

    def test_every_call_was_recorded(self) -> None:
        """What the client can ask is what was recorded."""
        self.a_life(self.config)
        own = [name for name in vars(EC2Client) if name.startswith(("describe_", "run_", "term"))]
        actions = {"".join(map(str.capitalize, name.split("_"))) for name in own}
        self.assertEqual({call.action for call in self.calls}, actions)

    def test_launch_template(self) -> None:
        """One with our tag, that names the image."""
        self.a_life(self.config)
        launch = next(call for call in self.calls if call.action == "RunInstances")
        asked = dict(launch.parameters, LaunchTemplate={"LaunchTemplateId": "lt-1"})
        del asked["ImageId"]
        for tags, allowed in ((OURS, True), ({}, False)):
            found = launch_requests(asked, {**self.tags, "lt-1": tags})
            self.assertEqual(all(allowing(LOGIN, each) for each in found), allowed)

    def test_denies_other_launches(self) -> None:
        """Untagged, of another fleet, big, with the old metadata service, not encrypted, or
        somewhere else."""
        self.a_life(self.config)
        launch = next(call for call in self.calls if call.action == "RunInstances").parameters
        other = [{"Key": "bbs:fleet", "Value": "other"}]
        changes: tuple[dict[str, Any], ...] = (
            {"TagSpecifications": []},
            {"TagSpecifications": launch["TagSpecifications"][:1]},
            {"TagSpecifications": [{"ResourceType": "instance", "Tags": other}]},
            {"InstanceType": "p5.48xlarge"},
            {"MetadataOptions": {}},
            {"BlockDeviceMappings": []},
            {"ImageId": "ami-other"},
            {"NetworkInterfaces": [{"SubnetId": "subnet-other"}]},
            {"NetworkInterfaces": [{"SubnetId": self.config.subnet_ids[0], "Groups": ["sg-1"]}]},
            {"IamInstanceProfile": {"Name": "administrator"}},
            {"KeyName": "mine"},
        )
        for change in changes:
            denied = [
                request
                for request in launch_requests({**launch, **change}, self.tags)
                if not allowing(LOGIN, request)
            ]
            self.assertNotEqual(denied, [], change)

    def test_denies_what_is_none_of_its_business(self) -> None:
        instance = arn("ec2", "instance/i-1")
        other = resource_tags({"bbs:fleet": "other"})
        requested = {"aws:RequestTag/bbs:fleet": "bbs"}
        for request in (
            Request("ec2:TerminateInstances", instance),
            Request("ec2:TerminateInstances", instance, other),
            Request("ec2:TerminateInstances", instance, requested),
            Request("ec2:StopInstances", instance, resource_tags(OURS)),
            Request("ec2:CreateTags", instance, requested),
            Request("ec2:DeleteTags", instance, resource_tags(OURS)),
            Request("ec2:DescribeInstances", "*", {"aws:RequestedRegion": "eu-north-1"}),
            Request("ec2:DescribeInstanceAttribute", instance, resource_tags(OURS)),
            Request("ssm:GetParameter", arn("ssm", "parameter/bbs/other")),
            Request("ssm:PutParameter", arn("ssm", "parameter/bbs/database")),
            Request("secretsmanager:GetSecretValue", arn("secretsmanager", "secret:bbs/x-AbCdEf")),
            pass_role("bbs-login"),
            pass_role("bbs-app", "lambda.amazonaws.com"),
        ):
            self.assertEqual(allowing(LOGIN, request), [], request)


class AppServer(PolicyTestCase):
    """The role of the app servers."""

    def test_allows_what_it_does(self) -> None:
        self.reveal()
        self.assertEqual(self.assert_allowed(APP), {each["Sid"] for each in APP["Statement"]})

    def test_denies_the_rest(self) -> None:
        """Nothing of what the login server may, but for the secrets."""
        self.a_life(self.config)
        for request in self.asked():
            self.assertEqual(allowing(APP, request), [], request)
        other = arn("ssm", "parameter/bbs/other")
        self.assertEqual(allowing(APP, Request("ssm:GetParameter", other)), [])


class Evaluator(SynchronousTestCase):
    """The evaluator itself."""

    def evaluate(self, *statements: Mapping[str, Any], **context: str) -> bool:
        whole = [{"Sid": "x", "Action": "s:*", "Resource": "*", **each} for each in statements]
        return bool(allowing({"Statement": whole}, Request("s:Do", "r", context)))

    def test_default(self) -> None:
        self.assertFalse(self.evaluate())
        self.assertTrue(self.evaluate({"Effect": "Allow"}))
        self.assertTrue(self.evaluate({"Effect": "Allow", "Action": ["s:A", "S:dO"]}))
        self.assertFalse(self.evaluate({"Effect": "Allow", "Action": "s:D"}))
        self.assertFalse(self.evaluate({"Effect": "Allow", "Resource": "R"}))

    def test_deny(self) -> None:
        self.assertFalse(self.evaluate({"Effect": "Allow"}, {"Effect": "Deny"}))

    def test_conditions(self) -> None:
        def allowed(**condition: object) -> bool:
            return self.evaluate({"Effect": "Allow", "Condition": condition}, k="ab", b="True")

        self.assertTrue(allowed(StringEquals={"k": ["x", "ab"]}, Bool={"b": "true"}))
        self.assertFalse(allowed(StringEquals={"k": "a*"}))
        self.assertFalse(allowed(StringEquals={"k": "ab", "none": "ab"}))
        self.assertTrue(allowed(StringLike={"k": "a?"}))
        self.assertFalse(allowed(StringLike={"k": "a"}))
        self.assertRaises(KeyError, allowed, NumericEquals={"k": "1"})

    def test_unknown_parts(self) -> None:
        self.assertRaises(AssertionError, self.evaluate, {"Effect": "Allow", "NotAction": "x"})
        self.assertRaises(AssertionError, like, "${aws:username}", "x")
