"""The IAM policies of `docs/aws/`, held against the calls that bbs makes.

The calls are recorded as botocore makes them, in front of moto;
`tests/deploy/aws_policies.py` says what each asks of a policy.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar
from unittest import mock

from botocore import xform_name
from botocore.serialize import create_serializer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.config import EC2, Configuration
from bbs.config import references as stores
from bbs.scaling.ec2.client import EC2Client
from bbs.scaling.ec2.provider import EC2Provider
from bbs.scaling.interfaces import LaunchFailed
from bbs.testing.threads import Inline
from tests.cloud.templates import Template, Templates
from tests.deploy.aws_policies import (
    ACCOUNT,
    Account,
    Call,
    Request,
    allowing,
    arn,
    holds,
    launch_requests,
    like,
    pass_role,
    policy,
    requests,
    together,
    with_launch_templates,
)
from tests.deploy.moto_case import MotoCase, client
from tests.scaling.ec2.tools import FLEET_ID, MemoryApi

OURS = {"bbs:fleet": "bbs"}
LAUNCH = "0123456789abcdef0123456789abcdef"
SECRETS = {"database": "mysql://u:p@h/bbs", "broker": "stomp://u:p@h:61613"}

APP, SPOT = policy("app-server-policy.json"), policy("spot-policy.json")
SPOT_FLEET = policy("spot-fleet-policy.json")

SPOTS_ROLE = (
    f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot"
)


@dataclass(frozen=True)
class Documented:
    """An account as `docs/aws.md` makes it: what it has for app servers, and what its login servers
    may."""

    config: EC2
    login: Mapping[str, Any]
    template: Template
    """A launch template that says all of what is launched."""


def query(action: str, **parameters: Any) -> dict[str, str]:
    """A call's parameters as EC2 gets them."""
    model = client("ec2").meta.service_model.operation_model(action)
    made = create_serializer("ec2").serialize_to_request(parameters, model)["body"]
    del made["Action"], made["Version"]
    return {name: str(value) for name, value in made.items()}


def a_template(**data: Any) -> Template:
    """Make a launch template in moto."""
    asked: dict[str, Any] = {"LaunchTemplateName": "bbs", "LaunchTemplateData": data}
    id = client("ec2").create_launch_template(**asked)["LaunchTemplate"]["LaunchTemplateId"]
    said = query("CreateLaunchTemplate", **asked)
    del said["LaunchTemplateName"]
    first = {name.removeprefix("LaunchTemplateData."): value for name, value in said.items()}
    return Template(id, "bbs", {1: first})


def an_account() -> Documented:
    """Make one in moto."""
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.50.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.50.1.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="bbs-app", Description="-", VpcId=vpc)["GroupId"]
    client("iam").create_instance_profile(InstanceProfileName="bbs-app")
    config = EC2(
        image_id=ec2.register_image(Name="bbs", RootDeviceName="/dev/sda1")["ImageId"],
        subnet_ids=(subnet,),
        security_group_ids=(group,),
        iam_instance_profile="bbs-app",
    )
    for name, url in SECRETS.items():
        client("ssm").put_parameter(Name=f"/bbs/{name}", Value=url, Type="SecureString")
        client("secretsmanager").create_secret(Name=f"bbs/{name}", SecretString=url)
    places = {"SUBNET_A": subnet, "SUBNET_B": "subnet-b", "APP_GROUP": group}
    template = a_template(
        ImageId=config.image_id,
        SecurityGroupIds=[group],
        IamInstanceProfile={"Name": config.iam_instance_profile},
    )
    return Documented(config, policy("login-server-policy.json", **places), template)


class PolicyTestCase(MotoCase):
    """A record of the calls to an account, which there is once for all tests."""

    made: ClassVar[Documented | None] = None
    lives: ClassVar[dict[EC2, tuple[Sequence[Call], Mapping[str, Mapping[str, str]]]]] = {}
    """The calls of a life by each configuration, and the tags of its instances."""

    def setUp(self) -> None:
        self.enter()
        self.begin()
        if self.made is None or not self.is_there(self.made.config.image_id):
            self.moto.reset()
            PolicyTestCase.made = an_account()
        assert self.made is not None
        self.config, self.login = self.made.config, self.made.login
        made = self.made.template
        self.template = Template(made.id, made.name, {**made.versions})
        self.templates.by_id[made.id] = self.template
        self.tags |= {self.config.image_id: OURS, made.id: OURS}

    def begin(self) -> None:
        """Nothing has been recorded yet."""
        self.clock = Clock()
        self.calls: list[Call] = []
        self.ec2 = client("ec2")
        self.tags: dict[str, Mapping[str, str]] = {}
        self.templates = Templates()

    def is_there(self, image: str) -> bool:
        """Whether the account is the one that was made, and no test has begun another since."""
        found = self.ec2.describe_images(Filters=[{"Name": "image-id", "Values": [image]}])
        return bool(found["Images"])

    def client(self, service: str) -> Any:
        """A client whose calls are recorded."""
        recorded = client(service, "recorded")
        events, moment = recorded.meta.events, "before-parameter-build"
        events.register(moment, self.record, "record")
        self.addCleanup(events.unregister, moment, unique_id="record")
        return recorded

    def record(self, params: Any, model: Any, **_: object) -> None:
        # What EC2 gets, not what it was before: the user data in base64 for one.
        service = model.service_model.endpoint_prefix
        asked = query(model.name, **params) if service == "ec2" else dict(params)
        self.calls.append(Call(service, model.name, asked))

    def ask(self, action: str, parameters: Mapping[str, Any]) -> Any:
        return getattr(self.client("ec2"), xform_name(action))(**parameters)

    def provider(self, config: EC2) -> EC2Provider:
        """A provider that asks in this thread."""
        api = MemoryApi(self.ask, lambda action: Inline())
        client = EC2Client(self.clock, api)
        provider = EC2Provider(
            self.clock,
            client,
            config,
            lambda server: f"#!{server}",
            "0",
            fleet_id=FLEET_ID,
            batch_user_data=lambda batch: f"#!{batch}",
        )
        for service in (client, provider):
            service.startService()
            self.addCleanup(service.stopService)
        return provider

    def a_life(self, config: EC2) -> None:
        """Launch an instance, look at it, stop, start and end it; another controller ends another
        one's. What that asks for is recorded once for all tests."""
        if config not in self.lives:
            before, self.calls = self.calls, []
            own = self.live(config)
            self.lives[config] = self.calls, own
            self.calls = before
        calls, tags = self.lives[config]
        self.calls += calls
        self.tags |= tags

    def live(self, config: EC2) -> dict[str, Mapping[str, str]]:
        """Such a life; the tags of its instances."""
        provider = self.provider(config)
        # A launch that was there before is found, and not made again.
        one, other = (f"{LAUNCH}{len(self.lives)}{which}" for which in "ab")
        self.wait_for(provider.launch(one), provider.launch(other))
        tags: dict[str, Mapping[str, str]] = {
            each["InstanceId"]: {tag["Key"]: tag["Value"] for tag in each["Tags"]}
            for reservation in self.ec2.describe_instances()["Reservations"]
            for each in reservation["Instances"]
        }
        (listed,) = self.wait_for(provider.list())
        self.assertEqual(sum(instance.alive for instance in listed.values()), 2)
        if not config.spot:
            for change in (provider.stop, provider.start):
                self.wait_for(change(one))
        self.wait_for(provider.terminate(one), self.provider(config).terminate(other))
        return tags

    def a_batch(self) -> None:
        """Launch several that are alike by one call; each is tagged with its launch afterwards."""
        provider = self.provider(self.config)
        written = dict(provider.batches(provider.choose_strategies(6)))
        provider.know_strategies(written, ())
        launches = [provider.launch(id) for id in written]
        for launch in launches:
            # moto gives all of them the same number.
            launch.addErrback(lambda failure: failure.trap(LaunchFailed) and None)
        self.wait_for(*launches)
        (listed,) = self.wait_for(provider.list())
        for instance in listed.values():
            if instance.launch_id in written and instance.instance_id:
                self.tags[instance.instance_id] = {**OURS, "bbs:batch": "b"}
                self.wait_for(provider.terminate(instance.launch_id))

    def wait_for(self, *answers: Any) -> list[Any]:
        self.clock.pump([0.1] * 50)
        return [self.successResultOf(each) for each in answers]

    def account(self) -> Account:
        """What there is, and the launch templates that there were."""
        return with_launch_templates(Account(self.tags, self.templates), self.calls)

    def reveal(self) -> None:
        """Ask both stores for both secrets."""
        asking = mock.Mock(client=lambda service, **_: self.client(service))
        with mock.patch("boto3.session.Session", lambda: asking):
            for name in SECRETS:
                references = (f"ssm:/bbs/{name}", f"secretsmanager:bbs/{name}")
                stores.reveal(f"{name}.url", references, Configuration(ec2=self.config))

    def asked(self) -> list[Request]:
        """What was asked for so far."""
        return [request for call in self.calls for request in requests(call, self.account())]

    def launch(self) -> dict[str, str]:
        """The first launch so far."""
        return dict(next(c.parameters for c in self.calls if c.action == "RunInstances"))

    def denied(self, policy: Mapping[str, Any], launch: Mapping[str, str]) -> list[Request]:
        """What of a launch a policy does not allow."""
        found = launch_requests(launch, self.account())
        return [request for request in found if not allowing(policy, request)]

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
        """Every call that a controller of the fleet makes, and no statement is there for
        nothing."""
        self.a_life(self.config)
        self.a_batch()
        self.a_life(replace(self.config, address="private"))
        self.from_a_template()
        self.reveal()
        used = self.assert_allowed(self.login)
        self.assertEqual(used, {each["Sid"] for each in self.login["Statement"]})

    def from_a_template(self) -> None:
        """A life of instances that a launch template of ours says all of."""
        config = replace(
            self.config,
            launch_template=self.template.id,
            image_id="",
            security_group_ids=(),
            iam_instance_profile="",
        )
        self.a_life(config)

    def test_spot(self) -> None:
        """Takes another policy; Spot's own role is made by the first launch in an account."""
        self.a_life(replace(self.config, spot=True))
        self.assertNotEqual(self.denied(self.login, self.launch()), [])
        used = self.assert_allowed(together(self.login, SPOT))
        asked = Request(
            "iam:CreateServiceLinkedRole", SPOTS_ROLE, {"iam:AWSServiceName": "spot.amazonaws.com"}
        )
        self.assertEqual(allowing(self.login, asked), [])
        used.update(allowing(SPOT, asked))
        self.assertLessEqual({each["Sid"] for each in SPOT["Statement"]}, used)

    def of_several_pools(self) -> EC2:
        """A configuration whose Spot instances come of fleets."""
        return replace(self.config, spot=True, instance_type=("t3.micro", "t3a.micro"))

    def test_fleets_of_spot(self) -> None:
        """Take one more policy, of which nothing is there for nothing."""
        self.a_life(self.of_several_pools())
        used = self.assert_allowed(together(self.login, SPOT, SPOT_FLEET))
        self.assertLessEqual({each["Sid"] for each in SPOT_FLEET["Statement"]}, used)
        without = together(self.login, SPOT)
        denied = {each.action for each in self.asked() if not allowing(without, each)}
        self.assertEqual(
            denied,
            {
                "ec2:CreateFleet",
                "ec2:CreateLaunchTemplate",
                "ec2:DeleteLaunchTemplate",
                "ec2:DescribeLaunchTemplates",
                "ec2:CreateTags",
            },
        )

    def test_every_call_was_recorded(self) -> None:
        """What the client can ask is what was recorded: bbs asks all of it."""
        self.a_life(self.config)
        self.a_life(self.of_several_pools())
        self.a_batch()
        self.from_a_template()
        own = {name for name in vars(EC2Client) if not name.startswith("_") and "_" in name}
        actions = {"".join(map(str.capitalize, name.split("_"))) for name in own}
        self.assertEqual({call.action for call in self.calls}, actions)

    def test_launch_template(self) -> None:
        """One with our tag; what is in it counts as if the request said it."""
        self.from_a_template()
        launch = self.launch()
        id = launch["LaunchTemplate.LaunchTemplateId"]
        self.assertEqual(self.denied(self.login, launch), [])
        data = self.templates.by_id[id].versions[1]
        for change in (
            {"ImageId": "ami-other"},
            {"SecurityGroupId.1": "sg-other"},
            {"IamInstanceProfile.Name": "administrator"},
            {"KeyName": "mine"},
            {"TagSpecification.1.ResourceType": "instance", **_tag(1, "team", "a")},
        ):
            self.templates.by_id[id].versions[1] = {**data, **change}
            self.assertNotEqual(self.denied(self.login, launch), [], change)
        self.templates.by_id[id].versions[1] = data
        del self.tags[id]
        self.assertNotEqual(self.denied(self.login, launch), [])

    def other_launches(self) -> Iterator[list[Request]]:
        """Launches untagged, of another fleet, with other tags, of another size, with the old
        metadata service, a volume that is not encrypted or dear, or somewhere else: what of each
        is not allowed."""
        self.a_life(self.config)
        launch = self.launch()
        self.assertEqual(self.denied(self.login, launch), [])
        first = "BlockDeviceMapping.1.Ebs."
        network = "NetworkInterface.1."
        self.assertEqual(launch["TagSpecification.1.Tag.2.Key"], "bbs:fleet")
        self.assertEqual(launch["TagSpecification.1.Tag.3.Key"], "bbs:fleet-id")
        changes: tuple[tuple[str, Mapping[str, str]], ...] = (
            ("TagSpecification.", {}),
            ("TagSpecification.2.", {}),
            ("TagSpecification.1.Tag.2.", {}),
            ("TagSpecification.1.Tag.3.", {}),
            ("", {"TagSpecification.1.Tag.2.Value": "other"}),
            ("", {"TagSpecification.2.Tag.2.Value": "other"}),
            ("", _tag(9, "team", "a")),
            ("", {"InstanceType": "t3.small"}),
            ("", {"InstanceType": "p5.48xlarge"}),
            ("MetadataOptions.", {}),
            ("BlockDeviceMapping.", {}),
            ("", {f"{first}Encrypted": "false"}),
            ("", {f"{first}VolumeType": "io2"}),
            ("", {"BlockDeviceMapping.2.Ebs.VolumeType": "gp3"}),
            ("", {"ImageId": "ami-other"}),
            ("", {f"{network}SubnetId": "subnet-other"}),
            ("", {f"{network}SecurityGroupId.1": "sg-other"}),
            ("", {f"{network}SecurityGroupId.2": "sg-other"}),
            ("", {"IamInstanceProfile.Name": "administrator"}),
            ("", {"KeyName": "mine"}),
            ("", {"InstanceMarketOptions.MarketType": "spot"}),
        )
        for without, change in changes:
            kept = {
                name: value
                for name, value in launch.items()
                if not without or not name.startswith(without)
            }
            self.assertNotEqual({**kept, **change}, launch, (without, change))
            denied = self.denied(self.login, {**kept, **change})
            self.assertNotEqual(denied, [], (without, change))
            yield denied

    def test_denies_other_launches(self) -> None:
        self.assertEqual(len(list(self.other_launches())), 21)

    def test_every_condition_is_needed(self) -> None:
        """Without any of them something is allowed that is not."""
        denied = [request for found in self.other_launches() for request in found]
        denied += self.none_of_its_business()
        for whole in (self.login, SPOT, SPOT_FLEET):
            for number, key, without in weakened(whole):
                sid = whole["Statement"][number]["Sid"]
                allowed = [request for request in denied if allowing(without, request)]
                self.assertNotEqual(allowed, [], f"{sid} without {key}")

    def none_of_its_business(self) -> list[Request]:
        """What nobody of ours asks for."""
        instance = arn("ec2", "instance/i-1")
        ours = {"aws:ResourceTag/bbs:fleet": "bbs"}
        other = {"aws:ResourceTag/bbs:fleet": "other"}
        requested = {"aws:RequestTag/bbs:fleet": "bbs", "aws:TagKeys": ["bbs:fleet"]}
        foreign = tuple(
            Request(f"ec2:{action}Instances", instance, context)
            for action in ("Terminate", "Stop", "Start")
            for context in ({}, other, requested)
        )
        image = arn("ec2", "image/ami-1", "")
        return [
            *foreign,
            # It says that it is ours.
            Request("ec2:RunInstances", image, {**ours, "ec2:Owner": "136693071363"}),
            Request("ec2:RunInstances", image, {"ec2:Owner": ACCOUNT}),
            Request("ec2:RunInstances", arn("ec2", "launch-template/lt-1"), other),
            Request("iam:CreateServiceLinkedRole", SPOTS_ROLE, {"iam:AWSServiceName": "x"}),
            Request("ec2:RebootInstances", instance, ours),
            Request("ec2:CreateTags", instance, requested),
            Request("ec2:CreateTags", instance, {**requested, **ours}),
            *self.other_names(),
            Request(
                "ec2:CreateTags",
                instance,
                {
                    "aws:RequestTag/bbs:fleet": "bbs",
                    "aws:TagKeys": ["bbs:fleet", "team"],
                    "ec2:CreateAction": "CreateFleet",
                },
            ),
            Request(
                "ec2:CreateTags",
                arn("ec2", "launch-template/lt-1"),
                {"aws:TagKeys": ["bbs:fleet"], "ec2:CreateAction": "CreateLaunchTemplate"},
            ),
            Request("ec2:CreateTags", arn("ec2", "launch-template/lt-1"), requested),
            Request("ec2:DeleteTags", instance, ours),
            # An operator's template, and another fleet's.
            *(
                Request(f"ec2:{action}", arn("ec2", "launch-template/lt-1"), context)
                for action in ("CreateFleet", "DeleteLaunchTemplate")
                for context in (ours, {**other, "aws:ResourceTag/bbs:launch": "l"})
            ),
            *(
                Request("ec2:CreateLaunchTemplate", arn("ec2", "launch-template/*"), context)
                for context in (requested, {"aws:RequestTag/bbs:launch": "l"})
            ),
            Request("ec2:ModifyInstanceAttribute", instance, ours),
            *(
                Request(f"ec2:Describe{what}", "*", {"aws:RequestedRegion": "eu-north-1"})
                for what in ("Instances", "LaunchTemplates")
            ),
            Request("ec2:DescribeInstanceAttribute", instance, ours),
            Request("ec2:CreateLaunchTemplateVersion", arn("ec2", "launch-template/lt-1"), ours),
            Request("ssm:GetParameter", arn("ssm", "parameter/bbs/other")),
            Request("ssm:PutParameter", arn("ssm", "parameter/bbs/database")),
            Request("secretsmanager:GetSecretValue", arn("secretsmanager", "secret:bbs/x-AbCdEf")),
            pass_role("bbs-login"),
            pass_role("bbs-app", "lambda.amazonaws.com"),
        ]

    def other_names(self) -> Iterator[Request]:
        """Tags for what is not ours, or was not launched in a batch, or is no instance; and others
        than that of its launch."""
        launch, batch = ("bbs:launch",), {"aws:ResourceTag/bbs:batch": "b"}
        ours = {"aws:ResourceTag/bbs:fleet": "bbs", **batch}
        for resource, keys, tags in (
            ("instance/i-1", launch, batch),
            ("instance/i-1", launch, {"aws:ResourceTag/bbs:fleet": "other", **batch}),
            ("instance/i-1", launch, {"aws:ResourceTag/bbs:fleet": "bbs"}),
            ("instance/i-1", (*launch, "bbs:fleet-id"), ours),
            ("instance/i-1", ("bbs:batch",), ours),
            ("volume/vol-1", launch, ours),
            ("image/ami-1", launch, ours),
            ("launch-template/lt-1", launch, ours),
        ):
            yield Request("ec2:CreateTags", arn("ec2", resource), {"aws:TagKeys": keys, **tags})

    def test_denies_what_is_none_of_its_business(self) -> None:
        whole = together(self.login, SPOT, SPOT_FLEET)
        for request in self.none_of_its_business():
            self.assertEqual(allowing(whole, request), [], request)


def weakened(policy: Mapping[str, Any]) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """A policy without one condition, for each: with its statement's number, and its key."""
    for number, statement in enumerate(policy["Statement"]):
        for operator, conditions in statement.get("Condition", {}).items():
            for key in conditions:
                less = copy.deepcopy(dict(policy))
                del less["Statement"][number]["Condition"][operator][key]
                yield number, key, less


def _tag(number: int, key: str, value: str) -> dict[str, str]:
    tag = f"TagSpecification.1.Tag.{number}."
    return {f"{tag}Key": key, f"{tag}Value": value}


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

    def test_null(self) -> None:
        self.assertTrue(holds("Null", "k", ["false"], {"k": "x"}))
        self.assertFalse(holds("Null", "k", ["false"], {}))
        self.assertTrue(holds("Null", "k", ["true"], {}))

    def test_all_values(self) -> None:
        """Also of none."""
        operator = "ForAllValues:StringEquals"
        self.assertTrue(holds(operator, "k", ["a", "b"], {"k": ["b", "a"]}))
        self.assertFalse(holds(operator, "k", ["a", "b"], {"k": ["a", "c"]}))
        self.assertTrue(holds(operator, "k", ["a"], {}))
        self.assertFalse(holds("StringEquals", "k", ["a"], {"k": ["a"]}))
        self.assertRaises(AssertionError, holds, "ForAnyValue:Bool", "k", ["a"], {"k": ["a"]})

    def test_unknown_parts(self) -> None:
        self.assertRaises(AssertionError, self.evaluate, {"Effect": "Allow", "NotAction": "x"})
        self.assertRaises(AssertionError, like, "${aws:username}", "x")
