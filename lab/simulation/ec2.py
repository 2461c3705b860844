"""EC2's API as the simulated cloud has it: what `EC2Client` would give the real provider.

Parameters and answers are those of boto3. A call fails with `EC2Error`, by the code that EC2 has
for it, so the table of verdicts is the real one. What a client would try again by itself has been
tried.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred

from bbs.scaling.ec2 import errors
from bbs.scaling.ec2.errors import EC2Error
from bbs.scaling.ec2.launch_request import member
from lab.simulation.cloud import ADDRESS_AFTER, Cloud, Machine

LAUNCH_TAG, BATCH_TAG = "bbs:launch", "bbs:batch"

TRANSITION = 3.0
"""Seconds that an instance is stopping, or shutting down."""

KINDS = {
    "CreateFleet": "run",
    "CreateLaunchTemplate": "run",
    "CreateTags": "terminate",
    "RunInstances": "run",
    "StartInstances": "run",
    "DeleteLaunchTemplate": "terminate",
    "TerminateInstances": "terminate",
    "StopInstances": "terminate",
}
"""Which faults an action has; those of `describe`, if it is none of these."""

DAY = 86400.0

UNKNOWN = 0.1
"""The share of fleets for which EC2 does not know yet a template that was made a moment ago."""

THROTTLED = 0.7
"""The share of calls that are too many, while calls are throttled and have been tried again."""


def refusal(
    action: str, code: str, message: str = "", status: int = 400, behind: float = 0.0
) -> EC2Error:
    """What the client makes of EC2's answer to a machine whose clock is so many seconds behind."""
    return errors.judge(action, code, message or code, status, behind)


class Tokens:
    """What was launched under which ClientToken, with which parameters."""

    def __init__(self, cloud: Cloud) -> None:
        self.remembered = 3600.0
        """Seconds for which a token outlives its instance."""
        self._cloud = cloud
        self._known: dict[str, tuple[str, list[Machine]]] = {}
        self._fleets: dict[str, tuple[str, Mapping[str, Any], Machine | None]] = {}

    def fleet(self, parameters: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The answer that a fleet got under its token, whatever became of the instance since; None:
        there was none, or it is forgotten."""
        token = parameters["ClientToken"]
        if "token" in self._cloud.breaks or token not in self._fleets:
            return None
        before, answer, machine = self._fleets[token]
        ended = machine.ended if machine else None
        if ended is not None and self._cloud.clock.seconds() - ended > self.remembered:
            del self._fleets[token]
            return None
        if before != _digest(parameters):
            raise refusal("CreateFleet", "IdempotentParameterMismatch")
        return answer

    def note_fleet(
        self, parameters: Mapping[str, Any], answer: Mapping[str, Any], machine: Machine | None
    ) -> None:
        """It was answered so."""
        self._fleets[parameters["ClientToken"]] = _digest(parameters), answer, machine

    def find(self, action: str, parameters: Mapping[str, Any]) -> list[Machine]:
        """The machines that were launched so, which run; none, if there were none."""
        token = parameters["ClientToken"]
        if "token" in self._cloud.breaks or token not in self._known:
            return []
        before, machines = self._known[token]
        ends = [machine.ended for machine in machines if machine.ended is not None]
        if ends:
            now, over = self._cloud.clock.seconds(), len(ends) == len(machines)
            if over and now - max(ends) > self.remembered:
                del self._known[token]
                return []
            raise refusal(action, "IdempotentInstanceTerminated")
        if before != _digest(parameters):
            raise refusal(action, "IdempotentParameterMismatch")
        return machines

    def note(self, parameters: Mapping[str, Any], machines: list[Machine]) -> None:
        """They were launched."""
        self._known[parameters["ClientToken"]] = _digest(parameters), machines


def _digest(parameters: Mapping[str, Any]) -> str:
    return repr(sorted(parameters.items()))


class Client:
    """`EC2Client` of one login server.

    :param owner: the fleet whose login server it is.
    :param account: what all clients share.
    :param mortal: decides whether the login server lives to ask, and to hear.
    """

    def __init__(self, account: Account, owner: Any, mortal: Any) -> None:
        self.clock_is_off = False
        """Whether the machine's clock is off by a day, and so all signatures are refused."""
        self.running = True
        self._account = account
        self._owner = owner
        self._mortal = mortal

    def __getattr__(self, name: str) -> Callable[..., Deferred[Any]]:
        """A method under boto3's name for an action."""
        action = "".join(word.capitalize() for word in name.split("_"))
        does = getattr(self._account, name, None)
        if name.startswith("_") or does is None:
            raise AttributeError(name)

        def method(**parameters: Any) -> Deferred[Any]:
            def carry_out() -> Any:
                if self.clock_is_off:
                    raise refusal(action, self._account.clock_code, status=403, behind=DAY)
                if self._account.is_too_much():
                    raise refusal(action, "RequestLimitExceeded", status=503)
                return does(self._owner, **parameters)

            def call() -> Deferred[Any]:
                return self._account.cloud.call(
                    KINDS.get(action, "describe"),
                    carry_out,
                    lambda why: refusal(action, "RequestTimeout", why, 503),
                )

            answer: Deferred[Any] = self._mortal.ask(call)
            return answer

        return method


class Account:
    """The API of one account, for all fleets in it.

    :param touched: told when a fleet (the first argument) changes a machine by this action.
    """

    def __init__(self, cloud: Cloud, touched: Callable[[Any, Machine, str], None]) -> None:
        self.cloud = cloud
        self.tokens = Tokens(cloud)
        self.template_has_groups = False
        """Whether the launch template says security groups, outside of network interfaces."""
        self.template_version = 1
        self.knowing = 1.0
        """The share of app servers that can ask their machines where they are."""
        self.lacking: set[tuple[str, str]] = set()
        """Types and subnets without capacity."""
        self.spot_lacks = ""
        """The code by which Spot instances are refused, while they are."""
        self.throttles = False
        """Whether most calls are too many."""
        self.clock_code = "RequestExpired"
        self.allows_fleets = True
        """Whether the login servers may ask for fleets."""
        self.templates: dict[str, tuple[Mapping[str, Any], float]] = {}
        """The parameters of the launch templates that were made, and when, by name."""
        self._touched = touched
        self._chance = cloud.chance

    def is_too_much(self) -> bool:
        """Whether a call is throttled."""
        return self.throttles and self._chance.random() < THROTTLED

    # What the actions do, for whom

    def run_instances(self, owner: Any, **parameters: Any) -> Any:
        """RunInstances: all or none."""
        action = "RunInstances"
        machines = self.tokens.find(action, parameters)
        if not machines:
            self._check(action, parameters)
            numbers = range(parameters["MaxCount"])
            machines = [self._launch(owner, parameters, number) for number in numbers]
            self.tokens.note(parameters, machines)
        return {"Instances": [self._described(each, each.created) for each in machines]}

    def create_tags(self, owner: Any, **parameters: Any) -> Any:
        """CreateTags."""
        named = self._named("CreateTags", {"InstanceIds": parameters["Resources"]})
        for machine in named:
            machine.parameters["tags"].update(
                (tag["Key"], tag["Value"]) for tag in parameters["Tags"]
            )
        return {}

    def create_launch_template(self, owner: Any, **parameters: Any) -> Any:
        """CreateLaunchTemplate."""
        action, name = "CreateLaunchTemplate", parameters["LaunchTemplateName"]
        if not self.allows_fleets:
            raise refusal(action, "UnauthorizedOperation", status=403)
        if name in self.templates:
            raise refusal(action, "InvalidLaunchTemplateName.AlreadyExistsException")
        self.templates[name] = parameters, self.cloud.clock.seconds()
        return {"LaunchTemplate": {"LaunchTemplateName": name}}

    def delete_launch_template(self, owner: Any, **parameters: Any) -> Any:
        """DeleteLaunchTemplate."""
        if self.templates.pop(parameters["LaunchTemplateName"], None) is None:
            raise refusal("DeleteLaunchTemplate", "InvalidLaunchTemplateName.NotFoundException")
        return {}

    def describe_launch_templates(self, owner: Any, **parameters: Any) -> Any:
        """DescribeLaunchTemplates, all at once."""
        if not self.allows_fleets:
            raise refusal("DescribeLaunchTemplates", "UnauthorizedOperation", status=403)
        wanted = {each["Name"]: each["Values"] for each in parameters["Filters"]}
        return {
            "LaunchTemplates": [
                {"LaunchTemplateName": name, "Tags": tags}
                for name, tags in self.templates_with(wanted["tag:bbs:fleet-id"])
            ]
        }

    def templates_with(self, fleet_ids: Container[str]) -> list[tuple[str, list[dict[str, str]]]]:
        """The names and tags of the launch templates of these fleets."""
        return [
            (name, tags)
            for name, (made, _) in self.templates.items()
            for tags in [made["TagSpecifications"][0]["Tags"]]
            if any(tag["Key"] == "bbs:fleet-id" and tag["Value"] in fleet_ids for tag in tags)
        ]

    def create_fleet(self, owner: Any, **parameters: Any) -> Any:
        """CreateFleet of one Spot instance, in any pool that has capacity."""
        answer = self.tokens.fleet(parameters)
        if answer is None:
            answer, machine = self._create_fleet(owner, parameters)
            self.tokens.note_fleet(parameters, answer, machine)
        return answer

    def _create_fleet(
        self, owner: Any, parameters: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Machine | None]:
        action, errors, ways = "CreateFleet", [], []
        for config in parameters["LaunchTemplateConfigs"]:
            name = config["LaunchTemplateSpecification"]["LaunchTemplateName"]
            made, since = self.templates.get(name, ({}, 0.0))
            is_new = self.cloud.clock.seconds() - since < self.cloud.lag
            if not made or (is_new and self._chance.random() < UNKNOWN):
                raise refusal(action, "InvalidLaunchTemplateName.NotFoundException")
            ways += [(made["LaunchTemplateData"], each) for each in config["Overrides"]]
        self._chance.shuffle(ways)
        for data, override in ways:
            asked = {
                **data,
                **override,
                "ClientToken": parameters["ClientToken"],
                "InstanceMarketOptions": {"MarketType": "spot"},
            }
            told = {"LaunchTemplateAndOverrides": {"Overrides": override}, "Lifecycle": "spot"}
            try:
                self._check_capacity(action, asked)
            except EC2Error as error:
                errors.append({**told, "ErrorCode": error.code, "ErrorMessage": "because"})
                continue
            machine = self._launch(owner, asked)
            made = {**told, "InstanceIds": [machine.id], "InstanceType": override["InstanceType"]}
            return {"Errors": errors, "Instances": [made]}, machine
        return {"Errors": errors, "Instances": []}, None

    def describe_instances(self, owner: Any, **parameters: Any) -> Any:
        """DescribeInstances, a page of it."""
        cloud = self.cloud
        if cloud.lists == "refused":
            codes = ("UnauthorizedOperation", 403), ("ServiceUnavailable", 503)
            code, status = self._chance.choice(codes)
            raise refusal("DescribeInstances", code, status=status)
        filters = [(f["Name"], f["Values"]) for f in parameters.get("Filters", [])]
        shown = [
            (machine, moment)
            for machine, moment in cloud.listed()
            if all(_passes(machine, name, values) for name, values in filters)
        ]
        page = int(parameters.get("MaxResults", 1000))
        first = int(parameters.get("NextToken", 0))
        answer: dict[str, Any] = {
            "Reservations": [
                {"Instances": [self._described(machine, moment)]}
                for machine, moment in shown[first : first + page]
            ]
        }
        if len(shown) > first + page:
            answer["NextToken"] = str(first + page)
        return answer

    def describe_images(self, owner: Any, **parameters: Any) -> Any:
        """DescribeImages: each there may be."""
        root = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8}}
        return {
            "Images": [
                {"ImageId": id, "RootDeviceName": "/dev/xvda", "BlockDeviceMappings": [root]}
                for id in parameters["ImageIds"]
            ]
        }

    def describe_launch_template_versions(self, owner: Any, **parameters: Any) -> Any:
        """DescribeLaunchTemplateVersions: the one that there is."""
        return {
            "LaunchTemplateVersions": [
                {
                    "LaunchTemplateId": "lt-1",
                    "VersionNumber": self.template_version,
                    "DefaultVersion": True,
                    "LaunchTemplateData": {
                        "ImageId": "ami-1",
                        **({"SecurityGroupIds": ["sg-1"]} if self.template_has_groups else {}),
                    },
                }
            ]
        }

    def terminate_instances(self, owner: Any, **parameters: Any) -> Any:
        """TerminateInstances."""
        changed = []
        for machine in self._named("TerminateInstances", parameters):
            self._touched(owner, machine, "ends")
            self.cloud.end(machine)
            changed.append(self._changed(machine, "shutting-down"))
        return {"TerminatingInstances": changed}

    def stop_instances(self, owner: Any, **parameters: Any) -> Any:
        """StopInstances."""
        changed = []
        for machine in self._named("StopInstances", parameters):
            self._touched(owner, machine, "stops")
            if not machine.there:
                raise refusal("StopInstances", "IncorrectInstanceState")
            if machine.spot:
                raise refusal("StopInstances", "UnsupportedOperation", "a one-time Spot request")
            if machine.stopped is None:
                machine.stopped = self.cloud.clock.seconds()
            changed.append(self._changed(machine, "stopping"))
        return {"StoppingInstances": changed}

    def start_instances(self, owner: Any, **parameters: Any) -> Any:
        """StartInstances: takes capacity, as a launch does."""
        changed = []
        for machine in self._named("StartInstances", parameters):
            self._touched(owner, machine, "starts")
            if not machine.there:
                raise refusal("StartInstances", "IncorrectInstanceState")
            if self.cloud.lacks_capacity:
                raise refusal("StartInstances", "InsufficientInstanceCapacity", status=500)
            if machine.stopped is not None:
                machine.stopped, machine.frozen = None, False
                machine.started = self.cloud.clock.seconds()
                machine.starts += 1
                self.cloud.on_launch(machine)
            changed.append(self._changed(machine, "pending"))
        return {"StartingInstances": changed}

    # Beneath

    def _check(self, action: str, parameters: Mapping[str, Any]) -> None:
        """Refuse what cannot be, or not now."""
        interfaces = "NetworkInterfaces" in parameters
        groups = "LaunchTemplate" in parameters and self.template_has_groups
        if interfaces and (groups or {"SubnetId", "SecurityGroupIds"} & parameters.keys()):
            raise refusal(action, "InvalidParameterCombination", "network interfaces and groups")
        self._check_capacity(action, parameters)

    def _check_capacity(self, action: str, parameters: Mapping[str, Any]) -> None:
        if "InstanceMarketOptions" in parameters and self.spot_lacks:
            raise refusal(action, self.spot_lacks)
        if self.cloud.refuses:
            raise refusal(action, "VcpuLimitExceeded")
        pool = parameters["InstanceType"], subnet_of(parameters)
        if self.cloud.lacks_capacity or pool in self.lacking:
            raise refusal(action, "InsufficientInstanceCapacity", status=500)

    def _launch(self, owner: Any, parameters: Mapping[str, Any], number: int = 0) -> Machine:
        """Of the app servers some ask their machines where they are."""
        tags = {
            tag["Key"]: tag["Value"]
            for specified in parameters["TagSpecifications"]
            if specified["ResourceType"] == "instance"
            for tag in specified["Tags"]
        }
        machine = self.cloud.launch(
            tags.get(LAUNCH_TAG) or member(tags[BATCH_TAG], number),
            "tags" not in self.cloud.breaks,
            owner=owner,
            zone=subnet_of(parameters),
            knows_address=self._chance.random() < self.knowing,
            spot="InstanceMarketOptions" in parameters,
            parameters={**parameters, "tags": tags, "AmiLaunchIndex": number},
        )
        return machine

    def _named(self, action: str, parameters: Mapping[str, Any]) -> list[Machine]:
        ids = set(parameters["InstanceIds"])
        found = [machine for machine in self.cloud.machines if machine.id in ids]
        if len(found) < len(ids):
            raise refusal(action, "InvalidInstanceID.NotFound")
        return found

    @staticmethod
    def _changed(machine: Machine, state: str) -> Mapping[str, Any]:
        if machine.ended is not None:
            state = "shutting-down"
        return {"InstanceId": machine.id, "CurrentState": {"Name": state}}

    def _described(self, machine: Machine, moment: float) -> Mapping[str, Any]:
        """The machine as it was at this moment."""
        state, reason = _state(machine, moment)
        there = state in ("pending", "running")
        asked = machine.parameters
        described = {
            "InstanceId": machine.id,
            "InstanceType": asked["InstanceType"],
            "AmiLaunchIndex": asked["AmiLaunchIndex"],
            "State": {"Name": state},
            "Tags": [{"Key": key, "Value": value} for key, value in asked["tags"].items()],
            "LaunchTime": datetime.fromtimestamp(max(machine.created, machine.started), UTC),
            "StateTransitionReason": "User initiated" if reason else "",
        }
        if machine.spot:
            described["InstanceLifecycle"] = "spot"
        if machine.zone:
            described["SubnetId"] = machine.zone
        if there and max(machine.created, machine.started) + ADDRESS_AFTER <= moment:
            described["PublicIpAddress"] = machine.address
        if reason:
            described["StateReason"] = {"Code": reason, "Message": reason}
        return described


def subnet_of(parameters: Mapping[str, Any]) -> str:
    """The subnet of a RunInstances; "" for the default."""
    interfaces = parameters.get("NetworkInterfaces", [])
    subnet: str | None = parameters.get("SubnetId") or next(
        (each.get("SubnetId") for each in interfaces), None
    )
    return subnet or ""


def _state(machine: Machine, moment: float) -> tuple[str, str]:
    """The state at a moment, and the code of its reason."""
    if machine.ended is not None and machine.ended <= moment:
        over = moment - machine.ended >= TRANSITION
        return "terminated" if over else "shutting-down", "Client.UserInitiatedShutdown"
    if machine.stopped is not None and machine.stopped <= moment:
        over = moment - machine.stopped >= TRANSITION
        return "stopped" if over else "stopping", "Client.UserInitiatedShutdown"
    begun = max(machine.created, machine.started)
    return "running" if begun + ADDRESS_AFTER <= moment else "pending", ""


def _passes(machine: Machine, name: str, values: list[str]) -> bool:
    if name.startswith("tag:"):
        return machine.parameters["tags"].get(name[4:]) in values
    if name == "tag-key":
        return any(value in machine.parameters["tags"] for value in values)
    raise NotImplementedError(name)
