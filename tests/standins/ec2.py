"""EC2's rules, once, for all that stands in for it.

`EC2` is the API of one account in memory: parameters and answers are boto3's, and an error is an
`APIError`. All happens at once and nothing goes wrong, by the clock that is passed in. Two speeds
are made of it: `tests.scaling.ec2.tools.MemoryEC2`, where tests plant what goes wrong, and
`lab.simulation.cloud.Cloud`, whose network delays and loses calls by chance. `tests.cloud`, which
stands on moto, takes from here what moto does not do.

It is in `tests/`, as the laboratory imports from there, and seldom the other way.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from tests.standins.instances import BY_USER, ENDED, Instance

Answer = Mapping[str, Any]
Asked = Mapping[str, Any]
T = TypeVar("T", bound=Instance)

STATUS: Mapping[str, int] = {
    "AuthFailure": 401,
    "InsufficientInstanceCapacity": 500,
    "InternalError": 500,
    "RequestLimitExceeded": 503,
    "SignatureDoesNotMatch": 403,
    "Unavailable": 503,
    "UnauthorizedOperation": 403,
}
"""The HTTP status with which EC2 sends an error; 400 for all others."""

TOKEN_MEMORY = 24 * 3600.0
"""Seconds for which a ClientToken outlives its instances: EC2 says at least a day."""

NO_TEMPLATE = "InvalidLaunchTemplateName.NotFoundException"


class APIError(Exception):
    """An answer that is an error: its code, its words and its HTTP status."""

    def __init__(self, code: str, message: str = "because", status: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status or STATUS.get(code, 400)


@dataclass(frozen=True)
class Call:
    """What a ClientToken stands for: a call that launched."""

    asked: Asked
    answer: Any
    instances: Sequence[Instance]
    time: float

    def outlived(self, now: float) -> float:
        """Seconds since the last of its instances began to end; negative if one has not."""
        if not all(each.ended is not None for each in self.instances):
            return -1.0
        return now - max((each.ended or 0.0 for each in self.instances), default=self.time)


class ClientTokens:
    """The calls that launched, by their actions, tokens and zones: such tokens hold in a zone."""

    def __init__(self) -> None:
        self.memory = TOKEN_MEMORY
        self.refuses_ended = True
        """Whether a token whose instance has ended is refused (since January 2025), or tells of
        that instance (before)."""
        self._calls: dict[tuple[str, str, str], Call] = {}

    def recall(self, action: str, asked: Asked, now: float, zone: str = "") -> Call | None:
        """The call that had this token; None: there was none, or it is forgotten.

        :raises APIError: it asked for something else, or, but for a fleet, what it launched has
            ended.
        """
        key = action, asked.get("ClientToken", ""), zone
        call = self._calls.get(key)
        if call is None or call.outlived(now) > self.memory:
            return None
        if call.asked != asked:
            raise APIError(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in"
                " previous request(s).",
            )
        ended = not all(each.there for each in call.instances)
        if ended and self.refuses_ended and action == "RunInstances":
            raise APIError(
                "IdempotentInstanceTerminated",
                "The client token you have provided is associated with a terminated instance."
                " Please use a different client token.",
            )
        return call

    def note(self, action: str, call: Call, zone: str = "") -> None:
        """It was carried out, and launched."""
        if token := call.asked.get("ClientToken"):
            self._calls[action, token, zone] = call

    def forget(self, token: str | None = None) -> None:
        """EC2 remembers a ClientToken no longer; None for all of them."""
        for key in [*self._calls]:
            if token in (None, key[1]):
                del self._calls[key]


def check_stop(instance: Instance, now: float) -> None:
    """Raise the `APIError` of StopInstances, if it cannot be stopped."""
    if instance.spot:
        raise APIError(
            "UnsupportedOperation",
            f"You can't stop the Spot Instance '{instance.instance_id}' because it is associated"
            " with a one-time Spot Instance request. You can only stop Spot Instances associated"
            " with persistent Spot Instance requests.",
        )
    _check_state(instance, now, ("pending", *ENDED), "stopped")


def check_start(instance: Instance, now: float) -> None:
    """Raise the `APIError` of StartInstances, if it cannot be started."""
    _check_state(instance, now, ("stopping", *ENDED), "started")


def _check_state(instance: Instance, now: float, unfit: Collection[str], wanted: str) -> None:
    if instance.state_at(now) in unfit:
        raise APIError(
            "IncorrectInstanceState",
            f"The instance '{instance.instance_id}' is not in a state from which it can be"
            f" {wanted}.",
        )


def no_instance(id: str) -> APIError:
    """There is none, or it was described for the last time."""
    return APIError("InvalidInstanceID.NotFound", f"The instance ID '{id}' does not exist")


def check_combination(names: Iterable[str]) -> None:
    """Raise the `APIError` of a launch that says by these parameters what excludes each other; a
    list may be in the singular, as a query has it."""
    said = {name.removesuffix("s") for name in names}
    for alone, words in (
        ({"SecurityGroupId", "SecurityGroup"}, "security groups"),
        ({"SubnetId"}, "subnet ID"),
    ):
        if "NetworkInterface" in said and said & alone:
            raise APIError(
                "InvalidParameterCombination",
                f"Network interfaces and an instance-level {words} may not be specified on the"
                " same request",
            )


def tags_of(specifications: Sequence[Asked], resource: str) -> dict[str, str]:
    """The tags that are asked for, of a type of resource."""
    return {
        tag["Key"]: tag["Value"]
        for each in specifications
        if each["ResourceType"] == resource
        for tag in each["Tags"]
    }


def subnet_of(asked: Asked) -> str:
    """The subnet of a launch; "" for the default."""
    interfaces = asked.get("NetworkInterfaces", [])
    places = [asked.get("SubnetId"), *(each.get("SubnetId") for each in interfaces)]
    return next(filter(None, places), "")


class EC2(Generic[T]):
    """The API of one account. `clock` has `seconds`."""

    ID = "i-{}"

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.instances: dict[str, T] = {}
        """Every instance that ever was, by its id."""
        self.tokens = ClientTokens()
        root = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8}}
        self.images: list[Answer] = [
            {"ImageId": "ami-1", "RootDeviceName": "/dev/xvda", "BlockDeviceMappings": [root]}
        ]
        self.template: Mapping[str, Any] = {}
        """The data of the operator's launch template, of which there is one, in its default
        version."""
        self.template_version = 1
        self.templates: dict[str, Asked] = {}
        """The parameters of the launch templates that were created, by name."""
        self.private_subnets: set[str] = set()
        """Those that give no public address unless a launch asks for one."""
        self.lacks: set[tuple[str, str | None, bool]] = set()
        """Where capacity lacks: types, in subnets, as Spot or not."""
        self.most = {"DescribeInstances": 1000, "DescribeLaunchTemplates": 200}
        """How many items a page has at the most."""

    def ask(self, action: str, parameters: Asked) -> Answer:
        """Carry out a call, by EC2's name of it."""
        name = re.sub("(?<!^)(?=[A-Z])", "_", action).lower()
        answer: Answer = getattr(self, name)(**parameters)
        return answer

    # What may be otherwise

    def make(self, **fields: Any) -> T:
        """A new instance."""
        number = len(self.instances) + 1
        return cast(T, Instance(address=f"127.50.{number >> 8}.{number & 255}", **fields))

    def lack_of(self, kind: str, subnet: str, spot: bool) -> str:
        """The code by which a pool refuses a launch; "" if it does not."""
        lacks = (kind, subnet or None, spot) in self.lacks
        return "InsufficientInstanceCapacity" if lacks else ""

    def listed(self) -> Iterable[tuple[T, float]]:
        """The instances that a description has, and as of which moment each."""
        now = self.clock.seconds()
        return [(each, now) for each in self.instances.values() if each.is_known(now)]

    def recall(self, action: str, asked: Asked) -> Call | None:
        """The call that had this ClientToken."""
        return self.tokens.recall(action, asked, self.clock.seconds())

    def find_template(self, name: str) -> Asked:
        """The data of a launch template that was created."""
        self._check_template(name)
        data: Asked = self.templates[name]["LaunchTemplateData"]
        return data

    def in_order(self, ways: list[tuple[Asked, Asked]]) -> list[tuple[Asked, Asked]]:
        """In which order a fleet tries its pools, each with the data of its template."""
        return ways

    def touches(self, instance: T, how: str) -> None:
        """A call ends, stops or starts an instance."""

    # Instances

    def run_instances(self, **asked: Any) -> Answer:
        """All or none."""
        call = self.recall("RunInstances", asked)
        if call is None:
            whole = {**(self.template if "LaunchTemplate" in asked else {}), **asked}
            check_combination(whole)
            self._check_capacity(whole)
            numbers = range(asked.get("MaxCount", 1))
            call = self._called(asked, None, [self.add(whole, number) for number in numbers])
            self.tokens.note("RunInstances", call)
        now = self.clock.seconds()
        return {"Instances": [each.described(now) for each in call.instances]}

    def add(self, whole: Asked, number: int = 0) -> T:
        """One more instance, as a launch in full asks for it."""
        id, subnet = self.ID.format(len(self.instances) + 1), subnet_of(whole)
        (first, *_) = whole.get("NetworkInterfaces") or [{}]
        self.instances[id] = instance = self.make(
            instance_id=id,
            kind=whole["InstanceType"],
            subnet_id=subnet,
            token=whole.get("ClientToken", ""),
            tags=tags_of(whole.get("TagSpecifications", []), "instance"),
            number=number,
            spot="InstanceMarketOptions" in whole,
            public=first.get("AssociatePublicIpAddress", subnet not in self.private_subnets),
            history=[(self.clock.seconds(), "pending")],
        )
        return instance

    def describe_instances(self, **asked: Any) -> Answer:
        """A page of those that pass all filters."""
        described = [self._described(each, moment) for each, moment in self.listed()]
        found = [each for each in described if self._passes(each, asked.get("Filters", []))]
        page, more = self._page("DescribeInstances", asked, found)
        return {"Reservations": [{"Instances": [each]} for each in page], **more}

    def terminate_instances(self, **asked: Any) -> Answer:
        """Whatever their states are."""
        return {"TerminatingInstances": self._change(asked, "ends", self.end)}

    def stop_instances(self, **asked: Any) -> Answer:
        """Those that run, all or none; one that is stopped stays so."""

        def stop(instance: T) -> None:
            if instance.state != "stopped":
                instance.becomes("stopping", self.clock.seconds(), BY_USER)

        return {"StoppingInstances": self._change(asked, "stops", stop, check_stop)}

    def start_instances(self, **asked: Any) -> Answer:
        """Those that are stopped, all or none; takes capacity, as a launch does."""

        def start(instance: T) -> None:
            if instance.state in ("stopping", "stopped"):
                self.start(instance)

        return {"StartingInstances": self._change(asked, "starts", start, self._check_start)}

    def end(self, instance: T) -> None:
        """It ends, whoever ended it."""
        if instance.there:
            instance.becomes("shutting-down", self.clock.seconds(), BY_USER)

    def start(self, instance: T) -> None:
        """It boots again."""
        instance.becomes("pending", self.clock.seconds(), "")

    def create_tags(self, **asked: Any) -> Answer:
        """On instances."""
        for instance in self._named(asked["Resources"]):
            instance.tags = {**instance.tags, **{tag["Key"]: tag["Value"] for tag in asked["Tags"]}}
        return {}

    def describe_images(self, **asked: Any) -> Answer:
        """Those that there are."""
        return {"Images": [each for each in self.images if each["ImageId"] in asked["ImageIds"]]}

    # Launch templates and fleets

    def create_launch_template(self, **asked: Any) -> Answer:
        """Of one version."""
        name = asked["LaunchTemplateName"]
        if name in self.templates:
            raise APIError("InvalidLaunchTemplateName.AlreadyExistsException", name)
        self.templates[name] = asked
        return {"LaunchTemplate": self._template(name)}

    def delete_launch_template(self, **asked: Any) -> Answer:
        """By its name."""
        name = asked["LaunchTemplateName"]
        self._check_template(name)
        del self.templates[name]
        return {"LaunchTemplate": {"LaunchTemplateName": name}}

    def describe_launch_templates(self, **asked: Any) -> Answer:
        """A page of those that pass all filters."""
        described = [self._template(name) for name in self.templates]
        found = [each for each in described if self._passes(each, asked.get("Filters", []))]
        page, more = self._page("DescribeLaunchTemplates", asked, found)
        return {"LaunchTemplates": page, **more}

    def describe_launch_template_versions(self, **asked: Any) -> Answer:
        """The one of the operator's template."""
        version = {
            "VersionNumber": self.template_version,
            "DefaultVersion": True,
            "LaunchTemplateData": dict(self.template),
        }
        return {"LaunchTemplateVersions": [version]}

    def create_fleet(self, **asked: Any) -> Answer:
        """One Spot instance, in the first pool that has capacity. A token that is known gets the
        answer that it got before, whatever has become of the instance."""
        call = self.recall("CreateFleet", asked)
        if call is None:
            call = self._launch_fleet(asked)
            self.tokens.note("CreateFleet", call)
        answer: Answer = call.answer
        return answer

    def _launch_fleet(self, asked: Asked) -> Call:
        errors: list[Answer] = []
        for data, override in self.in_order(self._ways(asked)):
            spot = {"InstanceMarketOptions": {"MarketType": "spot"}}
            whole = {**data, **override, **spot, "ClientToken": asked["ClientToken"]}
            told = {"LaunchTemplateAndOverrides": {"Overrides": override}, "Lifecycle": "spot"}
            try:
                self._check_capacity(whole)
            except APIError as error:
                errors.append({**told, "ErrorCode": error.code, "ErrorMessage": error.message})
                continue
            instance = self.add(whole)
            made = {"InstanceIds": [instance.instance_id], "InstanceType": instance.kind}
            return self._called(asked, {"Errors": errors, "Instances": [told | made]}, [instance])
        return self._called(asked, {"Errors": errors, "Instances": []}, [])

    def _ways(self, asked: Asked) -> list[tuple[Asked, Asked]]:
        ways: list[tuple[Asked, Asked]] = []
        for config in asked["LaunchTemplateConfigs"]:
            data = self.find_template(config["LaunchTemplateSpecification"]["LaunchTemplateName"])
            ways += [(data, override) for override in config["Overrides"]]
        return ways

    # Beneath

    def _described(self, instance: T, moment: float) -> Answer:
        return instance.described(moment)

    def _check_template(self, name: str) -> None:
        if name not in self.templates:
            raise APIError(NO_TEMPLATE, f"There is no launch template {name}")

    def _template(self, name: str) -> Answer:
        tags = self.templates[name].get("TagSpecifications", [{"Tags": []}])[0]["Tags"]
        return {"LaunchTemplateName": name, "Tags": tags}

    def _called(self, asked: Asked, answer: Any, instances: Sequence[Instance]) -> Call:
        return Call(asked, answer, instances, self.clock.seconds())

    def _check_capacity(self, whole: Asked) -> None:
        spot = "InstanceMarketOptions" in whole
        if code := self.lack_of(whole["InstanceType"], subnet_of(whole), spot):
            raise APIError(code)

    def _check_start(self, instance: T, now: float) -> None:
        check_start(instance, now)
        if code := self.lack_of(instance.kind, instance.subnet_id, instance.spot):
            raise APIError(code)

    def _named(self, ids: Sequence[str]) -> list[T]:
        now = self.clock.seconds()
        for id in ids:
            if id not in self.instances or not self.instances[id].is_known(now):
                raise no_instance(id)
        return [self.instances[id] for id in ids]

    def _change(
        self, asked: Asked, how: str, change: Any, check: Any = lambda instance, now: None
    ) -> list[Answer]:
        """Change the instances that are named, and say from which state to which."""
        named, now = self._named(asked["InstanceIds"]), self.clock.seconds()
        before = [instance.described(now)["State"] for instance in named]
        for instance in named:
            self.touches(instance, how)
            check(instance, now)
        for instance in named:
            change(instance)
        return [
            {
                "InstanceId": instance.instance_id,
                "PreviousState": state,
                "CurrentState": instance.described(now)["State"],
            }
            for instance, state in zip(named, before, strict=True)
        ]

    def _passes(self, described: Answer, filters: Sequence[Asked]) -> bool:
        tags = described["Tags"]
        said = {(f"tag:{tag['Key']}", tag["Value"]) for tag in tags}
        said |= {("tag-key", tag["Key"]) for tag in tags}
        said.add(("instance-state-name", described.get("State", {}).get("Name", "")))
        return all(said & {(each["Name"], v) for v in each["Values"]} for each in filters)

    def _page(
        self, action: str, asked: Asked, found: Sequence[Answer]
    ) -> tuple[Sequence[Answer], Mapping[str, str]]:
        size, start = self.most[action], int(asked.get("NextToken", 0))
        end = start + min(asked.get("MaxResults", size), size)
        return found[start:end], {"NextToken": str(end)} if found[end:] else {}
