"""The stand-in of EC2 (`tests/standins/ec2.py`) beside moto, where moto does what EC2 does.

It is here as these tests load moto anyway. Each call is made of both, and each member that the
stand-in answers has to be moto's too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from botocore import xform_name
from botocore.exceptions import ClientError
from twisted.internet.task import Clock

from tests.deploy.moto_case import MotoCase, client
from tests.standins.ec2 import EC2, NO_TEMPLATE, TOKEN_MEMORY, APIError
from tests.standins.instances import Instance

KIND = "t3.micro"
SETTLES = 1.0
PACE = dict.fromkeys(("pending", "shutting-down", "stopping"), SETTLES)

OWN = {
    *("AmiLaunchIndex", "InstanceId", "InstanceIds", "LaunchTime", "LaunchTemplateName"),
    *("PrivateIpAddress", "PublicDnsName", "PublicIpAddress", "StateTransitionReason"),
    *("ImageId", "RootDeviceName", "BlockDeviceMappings", "Message", "NextToken"),
}
"""Members whose values each side chooses: they are compared by their types."""


class Settling(EC2[Instance]):
    """The stand-in, whose instances go on by themselves, as moto's do."""

    def make(self, **fields: Any) -> Instance:
        instance = super().make(**fields)
        instance.pace = PACE
        return instance


def tagged(*keys: str, resource: str = "instance") -> list[dict[str, Any]]:
    tags = [{"Key": key, "Value": f"value of {key}"} for key in keys]
    return [{"ResourceType": resource, "Tags": tags}]


def instances_in(answer: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for reservation in answer["Reservations"]:
        yield from reservation["Instances"]


class Contract(MotoCase):
    """What both answer."""

    def setUp(self) -> None:
        self.enter(anew=True)
        self.clock = Clock()
        self.ours = Settling(self.clock)
        self.theirs = client("ec2")
        self.subnet = self.theirs.describe_subnets()["Subnets"][0]["SubnetId"]
        root = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8}}
        self.image = self.theirs.register_image(
            Name="image", RootDeviceName="/dev/xvda", BlockDeviceMappings=[root]
        )["ImageId"]
        self.ours.images[0] = {**self.ours.images[0], "ImageId": self.image}
        self.ids: list[tuple[str, str]] = []

    def ask(self, action: str, ids: Sequence[int] = (), **parameters: Any) -> tuple[Any, Any]:
        """The answers of both, the stand-in's first; `ids`: about which of the instances. An error
        is its code."""
        named = "Resources" if action == "CreateTags" else "InstanceIds"
        answers = []
        for side in range(2):
            own = {named: [self.ids[each][side] for each in ids]} if ids else {}
            answers.append(self.answer(side, action, {**parameters, **own}))
        self.clock.advance(SETTLES)
        return answers[0], answers[1]

    def answer(self, side: int, action: str, parameters: Mapping[str, Any]) -> Any:
        try:
            if side == 0:
                return self.ours.ask(action, parameters)
            return getattr(self.theirs, xform_name(action))(**parameters)
        except APIError as error:
            return error.code
        except ClientError as error:
            return error.response["Error"]["Code"]

    def same(self, action: str, ids: Sequence[int] = (), **parameters: Any) -> Any:
        """The stand-in's answer, of which each member is moto's."""
        ours, theirs = self.ask(action, ids, **parameters)
        self.compare(ours, theirs, action)
        return ours

    def compare(self, ours: Any, theirs: Any, path: str) -> None:
        if isinstance(ours, Mapping):
            for name, value in ours.items():
                # moto leaves out empty lists, and the addresses of a fleet's instances.
                if name not in theirs and (value == [] or name.startswith("Public")):
                    continue
                self.assertIn(name, theirs, f"{path} lacks {name}")
                if name in OWN:
                    self.assertIs(type(value), type(theirs[name]), f"{path} {name}")
                else:
                    self.compare(value, theirs[name], f"{path} {name}")
        elif isinstance(ours, Sequence) and not isinstance(ours, str):
            self.assertEqual(len(ours), len(theirs), path)
            for one, other in zip(ours, theirs, strict=True):
                self.compare(one, other, path)
        else:
            self.assertEqual(ours, theirs, path)

    def differs(self, ours: str, action: str, ids: Sequence[int] = (), **parameters: Any) -> None:
        """The stand-in answers with this code, by EC2's documentation; moto does not."""
        answers = self.ask(action, ids, **parameters)
        self.assertEqual(answers[0], ours)
        self.assertNotEqual(answers[1], ours, "moto does as EC2 now: compare the two")

    def request(self, *keys: str, token: str, **more: Any) -> dict[str, Any]:
        """The parameters of RunInstances."""
        return {
            "ImageId": self.image,
            "InstanceType": KIND,
            "SubnetId": self.subnet,
            "MinCount": 1,
            "MaxCount": 1,
            "ClientToken": token,
            "TagSpecifications": tagged(*keys),
            **more,
        }

    def launch(self, *keys: str, **more: Any) -> None:
        """One more of each."""
        asked = self.request(*keys, token=f"token {len(self.ids)}", **more)
        answers = self.ask("RunInstances", **asked)
        self.compare(*answers, "RunInstances")
        ours, theirs = (answer["Instances"][0]["InstanceId"] for answer in answers)
        self.ids.append((ours, theirs))

    def listed(self, **parameters: Any) -> list[str]:
        """The first tag's keys of what both list alike."""
        answer = self.same("DescribeInstances", **parameters)
        return [each["Tags"][0]["Key"] for each in instances_in(answer)]

    def template(self, name: str, *keys: str) -> Any:
        return self.same(
            "CreateLaunchTemplate",
            LaunchTemplateName=name,
            LaunchTemplateData={"ImageId": self.image, "TagSpecifications": tagged(*keys)},
            TagSpecifications=tagged(*keys, resource="launch-template"),
        )

    # Instances

    def test_images(self) -> None:
        self.assertEqual(len(self.same("DescribeImages", ImageIds=[self.image])["Images"]), 1)

    def test_a_life(self) -> None:
        """Each state that one comes to, and each answer on the way."""
        self.launch("a", "b")
        self.listed()
        for action in ("StopInstances", "StartInstances", "TerminateInstances"):
            self.same(action, [0])
            self.listed()

    def test_filters(self) -> None:
        for key in "abc":
            self.launch(key, "all")
        self.same("TerminateInstances", [2])
        for name, values, wanted in (
            ("tag:a", ["value of a"], ["a"]),
            ("tag:a", ["else"], []),
            ("tag-key", ["a", "c"], ["a", "c"]),
            ("instance-state-name", ["running"], ["a", "b"]),
            ("instance-state-name", ["stopped", "terminated"], ["c"]),
        ):
            one = {"Name": name, "Values": values}
            other = {"Name": "tag:all", "Values": ["value of all"]}
            self.assertEqual(self.listed(Filters=[one, other]), wanted, name)

    def test_pages(self) -> None:
        for key in "abcdefg":
            self.launch(key)
        ours, theirs = self.ask("DescribeInstances", MaxResults=5)
        self.compare(ours, theirs, "first")
        rest = [
            self.answer(
                side, "DescribeInstances", {"MaxResults": 5, "NextToken": each["NextToken"]}
            )
            for side, each in enumerate((ours, theirs))
        ]
        self.compare(rest[0], rest[1], "second")
        self.assertEqual((len([*instances_in(rest[0])]), "NextToken" in rest[0]), (2, False))

    def test_tags(self) -> None:
        self.launch("a")
        self.same("CreateTags", [0], Tags=tagged("a", "b")[0]["Tags"])
        self.listed()

    def test_as_spot(self) -> None:
        self.launch("a", InstanceMarketOptions={"MarketType": "spot"})
        self.listed()

    def test_unknown(self) -> None:
        for action in ("TerminateInstances", "StopInstances", "StartInstances"):
            code = self.same(action, InstanceIds=["i-0123456789abcdef0"])
            self.assertEqual(code, "InvalidInstanceID.NotFound")

    def test_what_excludes_each_other(self) -> None:
        interface = {"DeviceIndex": 0, "SubnetId": self.subnet}
        code = self.same(
            "RunInstances",
            ImageId=self.image,
            InstanceType=KIND,
            MinCount=1,
            MaxCount=1,
            SubnetId=self.subnet,
            NetworkInterfaces=[interface],
        )
        self.assertEqual(code, "InvalidParameterCombination")

    # Launch templates and fleets

    def test_templates(self) -> None:
        self.template("one", "a")
        self.template("two", "b")
        filters = [{"Name": "tag:b", "Values": ["value of b"]}]
        found = self.same("DescribeLaunchTemplates", Filters=filters)["LaunchTemplates"]
        self.assertEqual([each["LaunchTemplateName"] for each in found], ["two"])
        data = {"ImageId": self.image}
        code = self.same("CreateLaunchTemplate", LaunchTemplateName="one", LaunchTemplateData=data)
        self.assertEqual(code, "InvalidLaunchTemplateName.AlreadyExistsException")
        self.same("DeleteLaunchTemplate", LaunchTemplateName="one")
        # moto says MissingParameter; EC2's error codes have one for a name that is not there.
        self.differs(NO_TEMPLATE, "DeleteLaunchTemplate", LaunchTemplateName="one")

    def fleet(self, name: str) -> Any:
        overrides = [{"InstanceType": KIND, "SubnetId": self.subnet}]
        specification = {"LaunchTemplateName": name, "Version": "1"}
        return self.same(
            "CreateFleet",
            Type="instant",
            ClientToken="token",
            TargetCapacitySpecification={
                "TotalTargetCapacity": 1,
                "DefaultTargetCapacityType": "spot",
            },
            LaunchTemplateConfigs=[
                {"LaunchTemplateSpecification": specification, "Overrides": overrides}
            ],
        )

    def test_a_fleet(self) -> None:
        self.template("one", "a")
        self.fleet("one")
        self.listed()

    def test_a_fleet_of_no_template(self) -> None:
        self.assertEqual(self.fleet("none"), "InvalidLaunchTemplateName.NotFoundException")

    # What moto does otherwise, where EC2's documentation is right

    def test_what_has_ended(self) -> None:
        """moto brings it back to life. "IncorrectInstanceState: the instance is in an incorrect
        state for the requested action" (EC2's error codes)."""
        self.launch("a")
        self.same("TerminateInstances", [0])
        for action in ("StopInstances", "StartInstances"):
            self.differs("IncorrectInstanceState", action, [0])

    def test_spot_cannot_be_stopped(self) -> None:
        """moto stops it. A request has to be persistent for that (EC2's guide, "Stop a Spot
        Instance")."""
        self.launch("a", InstanceMarketOptions={"MarketType": "spot"})
        self.differs("UnsupportedOperation", "StopInstances", [0])

    def test_tokens(self) -> None:
        """moto knows none, and launches again ("Ensuring idempotency in Amazon EC2 API
        requests")."""
        request = self.request("a", token="token 0")
        self.launch("a")
        [launched] = self.ours.ask("RunInstances", request)["Instances"]
        self.assertEqual(launched["InstanceId"], self.ids[0][0])
        for other in ({"InstanceType": "t3.small"}, {"MaxCount": 2}):
            self.differs("IdempotentParameterMismatch", "RunInstances", **{**request, **other})
        self.same("TerminateInstances", [0])
        self.differs("IdempotentInstanceTerminated", "RunInstances", **request)
        self.clock.advance(TOKEN_MEMORY + SETTLES)
        [launched] = self.ours.ask("RunInstances", request)["Instances"]
        self.assertNotEqual(launched["InstanceId"], self.ids[0][0])

    def test_a_fleets_token(self) -> None:
        """moto launches again. The answer is the first one's, whatever has become of it."""
        self.template("one", "a")
        first, second = (self.fleet("one")["Instances"] for _ in range(2))
        self.assertEqual(first, second)
        self.assertEqual(len(self.ours.instances), 1)

    def test_what_is_so_already_stays_so(self) -> None:
        """moto says that what runs boots, what is stopped stops, and what has ended ends."""
        self.launch("a")
        for action, member, states in (
            ("StartInstances", "StartingInstances", ["running", "pending"]),
            ("StopInstances", "StoppingInstances", ["stopping", "stopping"]),
            ("StopInstances", "StoppingInstances", ["stopped", "stopping"]),
            ("TerminateInstances", "TerminatingInstances", ["shutting-down", "shutting-down"]),
            ("TerminateInstances", "TerminatingInstances", ["terminated", "shutting-down"]),
        ):
            answers = self.ask(action, [0])
            said = [each[member][0]["CurrentState"]["Name"] for each in answers]
            self.assertEqual(said, states)

    def test_two_filters_of_one_name(self) -> None:
        """moto heeds the last alone. "If you specify multiple filters, the filters are joined with
        an AND" (DescribeInstances)."""
        self.launch("a", "b")
        self.launch("b")
        filters = [{"Name": "tag-key", "Values": [key]} for key in "ab"]
        answers = self.ask("DescribeInstances", Filters=filters)
        self.assertEqual([len([*instances_in(each)]) for each in answers], [1, 2])

    def test_an_image_that_there_is_not(self) -> None:
        """moto says InvalidAMIID.NotFound, as EC2 does of one that never was. The stand-in answers
        as of one that was deregistered: "return empty results" (DescribeImages)."""
        ours, theirs = self.ask("DescribeImages", ImageIds=["ami-0123456789abcdef0"])
        self.assertEqual((ours, theirs), ({"Images": []}, "InvalidAMIID.NotFound"))
