"""What the tests of the EC2 provider share: boto3's client, and EC2 itself, as far as they go."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.scaling.ec2.client import EC2Client, IApi
from bbs.scaling.ec2.errors import judge, no_answer


def client_error(code: str, status: int = 400, message: str = "because") -> ClientError:
    """What botocore raises for an error in an answer."""
    return ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {
                "HTTPStatusCode": status,
                "RequestId": "r",
                "HostId": "h",
                "HTTPHeaders": {},
                "RetryAttempts": 0,
            },
        },
        "RunInstances",
    )


FLEET_ID = "0123456789abcdef"


class Threads:
    """A pool whose work waits until the test lets it happen, or happens at once (`eager`)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.eager = False
        self.jobs: list[tuple[Deferred[Any], Any]] = []
        self.given_up = 0

    def run(self, work: Any, *args: Any) -> Deferred[Any]:
        """Work for a thread."""
        done: Deferred[Any] = Deferred(self._give_up)
        self.jobs.append((done, lambda: work(*args)))
        if self.eager:
            self.finish()
        return done

    def _give_up(self, done: Deferred[Any]) -> None:
        self.given_up += 1
        self.jobs = [job for job in self.jobs if job[0] is not done]

    def finish(self) -> None:
        """The oldest work is done."""
        done, work = self.jobs.pop(0)
        maybeDeferred(work).addBoth(done.callback)


class MemoryEC2:
    """Stands for boto3's client: EC2 in memory, which knows its tokens.

    `errors` has, by method, what is raised instead of answers, in turn; an `Exception` in `lost` is
    raised although the call was carried out. `hidden`: ids that are not there for calls.
    `unlisted`: ids that are not described, and are there. `untagged`: the tags that descriptions
    lack, by id. `frozen`: what is described in place of
    the truth, by id. `heeds`: whether descriptions are of what was asked for alone.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.errors: dict[str, list[Exception | None]] = {}
        self.lost: dict[str, list[Exception]] = {}
        self.instances: dict[str, dict[str, Any]] = {}
        self.hidden: set[str] = set()
        self.unlisted: set[str] = set()
        self.untagged: dict[str, set[str]] = {}
        self.heeds = True
        self.frozen: dict[str, str] = {}
        self.page = 1000
        self.images = [
            {
                "ImageId": "ami-1",
                "RootDeviceName": "/dev/xvda",
                "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8}}],
            }
        ]
        self.template: dict[str, Any] = {}
        """The data of the launch template, of which there is one, in its default version."""
        self.lacks: set[tuple[str, str | None, bool]] = set()
        """Where capacity lacks: types, in subnets, as Spot or not."""
        self.room = 1000
        """How many instances one call gets at the most."""
        self.refuses: dict[tuple[str, str | None], str] = {}
        """How a fleet's answer refuses a type in a subnet."""
        self.templates: dict[str, dict[str, Any]] = {}
        """The parameters of the launch templates that were created, by name."""
        self.is_behind = False
        """Whether CreateFleet knows no template yet."""
        self._tokens: dict[str, tuple[dict[str, Any], list[str]]] = {}
        self._fleets: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}

    def named(self, name: str) -> list[dict[str, Any]]:
        """The parameters of the calls of a method."""
        return [parameters for called, parameters in self.calls if called == name]

    def launch(
        self, launch_id: str, fleet: str = "bbs", kind: str = "t3.micro", fleet_id: str = FLEET_ID
    ) -> str:
        """An instance that somebody else launched; its id. One from before fleets had ids: `""`."""
        number = len(self.instances) + 1
        id = f"i-{number}"
        self.instances[id] = {
            "InstanceId": id,
            "InstanceType": kind,
            "State": {"Name": "pending"},
            "PrivateIpAddress": f"127.50.0.{number}",
            "LaunchTime": datetime.fromtimestamp(1000 + number, UTC),
            "Tags": [
                {"Key": "bbs:fleet", "Value": fleet},
                {"Key": "bbs:launch", "Value": launch_id},
                *([{"Key": "bbs:fleet-id", "Value": fleet_id}] if fleet_id else []),
            ],
        }
        return id

    def become(self, id: str, state: str, reason: str = "", **more: Any) -> None:
        """An instance changes its state."""
        self.instances[id] |= {"State": {"Name": state}, "StateTransitionReason": reason, **more}

    def forget_tokens(self) -> None:
        """What was launched is not remembered any more."""
        self._tokens.clear()

    # boto3's

    def describe_images(self, **parameters: Any) -> Mapping[str, Any]:
        self._called("describe_images", parameters)
        return {"Images": self.images}

    def describe_instances(self, **parameters: Any) -> Mapping[str, Any]:
        self._called("describe_instances", parameters)
        filters = parameters["Filters"] if self.heeds else ()
        wanted = {each["Name"]: set(each["Values"]) for each in filters}
        shown = [
            instance
            | ({"State": {"Name": self.frozen[id]}} if id in self.frozen else {})
            | {"Tags": [t for t in instance["Tags"] if t["Key"] not in self.untagged.get(id, ())]}
            for id, instance in self.instances.items()
            if id not in self.hidden | self.unlisted
        ]
        found = [
            instance
            for instance in shown
            if all(
                {
                    tag["Value"]
                    for tag in instance["Tags"]
                    if tag["Key"] == name.removeprefix("tag:")
                }
                & values
                for name, values in wanted.items()
            )
        ]
        start = int(parameters.get("NextToken", 0))
        page = found[start : start + self.page]
        more = {"NextToken": str(start + self.page)} if found[start + self.page :] else {}
        return {"Reservations": [{"Instances": [instance]} for instance in page], **more}

    def run_instances(self, **parameters: Any) -> Mapping[str, Any]:
        self._called("run_instances", parameters)
        spot = "InstanceMarketOptions" in parameters
        subnet = self._subnet(parameters)
        token = parameters["ClientToken"]
        if token in self._tokens:
            before, ids = self._tokens[token]
            if before != parameters:
                raise client_error("IdempotentParameterMismatch")
            if any(self.instances[id]["State"]["Name"] == "terminated" for id in ids):
                raise client_error("IdempotentInstanceTerminated")
        elif self._lacks(parameters, subnet, spot):
            raise client_error("InsufficientInstanceCapacity", 500)
        else:
            ids = [
                self._run(parameters, number, subnet, spot)
                for number in range(parameters.get("MaxCount", 1))
            ]
            self._tokens[token] = dict(parameters), ids
        self._answer_lost("run_instances")
        return {"Instances": [self.instances[id] for id in ids]}

    def _lacks(self, parameters: Mapping[str, Any], subnet: str | None, spot: bool) -> bool:
        pool = parameters["InstanceType"], subnet, spot
        return pool in self.lacks or parameters.get("MinCount", 1) > self.room

    def _run(
        self, parameters: Mapping[str, Any], number: int, subnet: str | None, spot: bool
    ) -> str:
        tags = {tag["Key"]: tag["Value"] for tag in parameters["TagSpecifications"][0]["Tags"]}
        id = self.launch(
            tags.get("bbs:launch", ""),
            tags["bbs:fleet"],
            parameters["InstanceType"],
            tags.get("bbs:fleet-id", ""),
        )
        self.instances[id] |= {
            "AmiLaunchIndex": number,
            "Tags": list(parameters["TagSpecifications"][0]["Tags"]),
            **({"SubnetId": subnet} if subnet else {}),
            **({"InstanceLifecycle": "spot"} if spot else {}),
        }
        return id

    def create_tags(self, **parameters: Any) -> Mapping[str, Any]:
        self._called("create_tags", parameters)
        for id in parameters["Resources"]:
            self.instances[id]["Tags"] = [*self.instances[id]["Tags"], *parameters["Tags"]]
        return {}

    def create_launch_template(self, **parameters: Any) -> Mapping[str, Any]:
        self._called("create_launch_template", parameters)
        name = parameters["LaunchTemplateName"]
        if name in self.templates:
            raise client_error("InvalidLaunchTemplateName.AlreadyExistsException")
        self.templates[name] = parameters
        self._answer_lost("create_launch_template")
        return {"LaunchTemplate": {"LaunchTemplateName": name}}

    def delete_launch_template(self, **parameters: Any) -> Mapping[str, Any]:
        self._called("delete_launch_template", parameters)
        if self.templates.pop(parameters["LaunchTemplateName"], None) is None:
            raise client_error("InvalidLaunchTemplateName.NotFoundException")
        return {}

    def describe_launch_templates(self, **parameters: Any) -> Mapping[str, Any]:
        """Those with the tags that are asked for, three at a time."""
        self._called("describe_launch_templates", parameters)
        found = []
        for name, made in self.templates.items():
            tags = made["TagSpecifications"][0]["Tags"]
            held = {(f"tag:{tag['Key']}", tag["Value"]) for tag in tags}
            held |= {("tag-key", tag["Key"]) for tag in tags}
            wanted = [{(f["Name"], v) for v in f["Values"]} for f in parameters["Filters"]]
            if not self.heeds or all(each & held for each in wanted):
                found.append({"LaunchTemplateName": name, "Tags": tags})
        start = int(parameters.get("NextToken", 0))
        more = {"NextToken": str(start + 3)} if found[start + 3 :] else {}
        return {"LaunchTemplates": found[start : start + 3], **more}

    def create_fleet(self, **parameters: Any) -> Mapping[str, Any]:
        """The first override that has capacity; asked again, the same answer."""
        self._called("create_fleet", parameters)
        before, answer = self._fleets.get(parameters["ClientToken"], (parameters, None))
        if before != parameters:
            raise client_error("IdempotentParameterMismatch")
        if answer is None:
            answer = self._fleet(parameters)
            self._fleets[parameters["ClientToken"]] = parameters, answer
        self._answer_lost("create_fleet")
        return answer

    def _fleet(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        errors = []
        for config in parameters["LaunchTemplateConfigs"]:
            name = config["LaunchTemplateSpecification"]["LaunchTemplateName"]
            if name not in self.templates or self.is_behind:
                raise client_error("InvalidLaunchTemplateName.NotFoundException")
            data = self.templates[name]["LaunchTemplateData"]
            for override in config["Overrides"]:
                kind, subnet = override["InstanceType"], override.get("SubnetId")
                chosen = {"LaunchTemplateAndOverrides": {"Overrides": override}}
                if (code := self.refuses.get((kind, subnet))) or (kind, subnet, True) in self.lacks:
                    code = code or "InsufficientInstanceCapacity"
                    errors.append({**chosen, "ErrorCode": code, "ErrorMessage": "because"})
                    continue
                described = data["TagSpecifications"][0]["Tags"]
                tags = {tag["Key"]: tag["Value"] for tag in described}
                id = self.launch(tags["bbs:launch"], tags["bbs:fleet"], kind)
                self.instances[id] |= {"Tags": described, "InstanceLifecycle": "spot"}
                self.instances[id] |= {"SubnetId": subnet} if subnet else {}
                return {
                    "Errors": errors,
                    "Instances": [{**chosen, "InstanceIds": [id], "InstanceType": kind}],
                }
        return {"Errors": errors, "Instances": []}

    def terminate_instances(self, **parameters: Any) -> Mapping[str, Any]:
        self._called("terminate_instances", parameters)
        ids = parameters["InstanceIds"]
        if not all(id in self.instances for id in ids) or self.hidden.intersection(ids):
            raise client_error("InvalidInstanceID.NotFound")
        for id in ids:
            self.become(id, "shutting-down", "User initiated")
        self._answer_lost("terminate_instances")
        return {
            "TerminatingInstances": [
                {"InstanceId": id, "CurrentState": self.instances[id]["State"]} for id in ids
            ]
        }

    def _subnet(self, parameters: Mapping[str, Any]) -> str | None:
        """Where an instance is launched, by what the request and the template say together."""
        template = self.template if "LaunchTemplate" in parameters else {}
        interfaces = parameters.get("NetworkInterfaces") or template.get("NetworkInterfaces")
        groups = parameters.get("SecurityGroupIds") or template.get("SecurityGroupIds")
        if interfaces and (groups or parameters.get("SubnetId")):
            raise client_error("InvalidParameterCombination")
        subnet: str | None = (interfaces or [parameters])[0].get("SubnetId")
        return subnet

    def describe_launch_template_versions(self, **parameters: Any) -> Mapping[str, Any]:
        self._called("describe_launch_template_versions", parameters)
        version = {"VersionNumber": 1, "LaunchTemplateData": dict(self.template)}
        return {"LaunchTemplateVersions": [version]}

    def stop_instances(self, **parameters: Any) -> Mapping[str, Any]:
        return self._changed("stop_instances", parameters, ("running",), "stopping")

    def start_instances(self, **parameters: Any) -> Mapping[str, Any]:
        return self._changed("start_instances", parameters, ("stopped",), "pending")

    def _changed(
        self, name: str, parameters: dict[str, Any], states: tuple[str, ...], to: str
    ) -> Mapping[str, Any]:
        self._called(name, parameters)
        ids = parameters["InstanceIds"]
        if any(self.instances[id]["State"]["Name"] not in (*states, to) for id in ids):
            raise client_error("IncorrectInstanceState")
        for id in ids:
            self.become(id, to)
        key = "StoppingInstances" if to == "stopping" else "StartingInstances"
        return {
            key: [{"InstanceId": id, "CurrentState": self.instances[id]["State"]} for id in ids]
        }

    def _called(self, name: str, parameters: dict[str, Any]) -> None:
        self.calls.append((name, parameters))
        error = (self.errors.get(name) or [None]).pop(0)
        if error:
            raise error

    def _answer_lost(self, name: str) -> None:
        if self.lost.get(name):
            raise self.lost[name].pop(0)


@implementer(IApi)
class MemoryApi(Service):
    """Asks what stands for boto3's client, one method for each action, in pools of threads.

    `has_credentials`: whether they have come.

    :param pool: the pool for an action.
    """

    has_credentials = True

    def __init__(self, make_client: Callable[[], Any], pool: Callable[[str], Any]) -> None:
        self._make_client = make_client
        self._pool = pool

    def ready(self, action: str) -> Deferred[None]:
        return succeed(None) if self.has_credentials else Deferred()

    def ask(self, action: str, parameters: Mapping[str, Any]) -> Deferred[Any]:
        name = re.sub("(?<!^)(?=[A-Z])", "_", action).lower()
        work = getattr(self._make_client(), name)
        answer: Deferred[Any] = self._pool(action).run(lambda: work(**parameters))
        return answer.addErrback(lambda failure: self._judged(action, failure))

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return succeed(None)

    def _judged(self, action: str, failure: Failure) -> Failure:
        error: Any = failure.value
        if isinstance(error, ClientError):
            said, metadata = error.response["Error"], error.response["ResponseMetadata"]
            status = metadata["HTTPStatusCode"]
            return Failure(judge(action, said["Code"], said["Message"], status))
        if isinstance(error, HTTPClientError | ConnectionError):
            return Failure(no_answer(action, type(error).__name__))
        return failure


def client_of(test: Any, clock: Any, ec2: MemoryEC2, eager: bool = True) -> EC2Client:
    """A client of `ec2` that runs; what it asks is `test.api`, whose pools are `test.pools`,
    by name."""
    test.pools = {name: Threads(name) for name in ("ec2-describing", "ec2-changing")}
    for pool in test.pools.values():
        pool.eager = eager

    def pool_of(action: str) -> Threads:
        pool: Threads = test.pools[
            "ec2-describing" if action.startswith("Describe") else "ec2-changing"
        ]
        return pool

    test.api = MemoryApi(lambda: ec2, pool_of)
    client = EC2Client(clock, test.api, jitter=lambda: 1.0)
    client.startService()
    return client
