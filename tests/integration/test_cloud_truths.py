"""What the real EC2 does beyond moto, and the tests' cloud too: held with boto3 as its client."""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers

from tests.cloud import APP_SERVER, BOOT, CAPACITY, LOGIN_SERVER, METADATA, Rule, error, hold, lost
from tests.integration.cloud_case import SLEEPS, CloudCase, tagged
from tests.integration.service import eventually, lives, run

ENCODED_SLEEPS = b64encode(SLEEPS.encode()).decode()

SAYS_WHERE = """#!/bin/sh
echo $AWS_EC2_METADATA_SERVICE_ENDPOINT
exec sleep 1000
"""

BOOTS = """#!/bin/sh
echo first
printf '#!/bin/sh\\necho again\\nexec sleep 1000\\n' > boot
chmod 700 boot
trap 'sleep 1; exit' TERM
sleep 1000 &
wait
"""


class Templates(CloudCase):
    """Launch templates."""

    async def make(self, name: str = "app", **data: Any) -> str:
        data.setdefault("ImageId", self.cloud.image_id)
        made = await self.call(
            "create_launch_template", LaunchTemplateName=name, LaunchTemplateData=data
        )
        return str(made["LaunchTemplate"]["LaunchTemplateId"])

    async def add(self, **data: Any) -> None:
        """Another version, which is the latest."""
        data.setdefault("ImageId", self.cloud.image_id)
        await self.call(
            "create_launch_template_version", LaunchTemplateName="app", LaunchTemplateData=data
        )

    async def from_template(self, version: str | None = None, **parameters: Any) -> Any:
        template = {"LaunchTemplateName": "app", **({"Version": version} if version else {})}
        answer = await self.call(
            "run_instances", LaunchTemplate=template, MinCount=1, MaxCount=1, **parameters
        )
        return answer["Instances"][0]

    async def test_versions(self) -> None:
        """By name and id, the default one, the latest one, and by number."""
        id = await self.make(InstanceType="t3.micro")
        await self.add(InstanceType="t3.small")
        await self.add(InstanceType="t3.medium")
        await self.call("modify_launch_template", LaunchTemplateId=id, DefaultVersion="2")
        for version, number, kind in (
            ("$Default", 2, "t3.small"),
            ("$Latest", 3, "t3.medium"),
            ("1", 1, "t3.micro"),
        ):
            for by in ({"LaunchTemplateName": "app"}, {"LaunchTemplateId": id}):
                answer = await self.call(
                    "describe_launch_template_versions", Versions=[version], **by
                )
                (told,) = answer["LaunchTemplateVersions"]
                self.assertEqual(told["VersionNumber"], number)
                self.assertEqual(told["LaunchTemplateData"]["InstanceType"], kind)
                self.assertEqual(told["DefaultVersion"], number == 2)
            self.assertEqual((await self.from_template(version))["InstanceType"], kind)
        self.assertEqual((await self.from_template())["InstanceType"], "t3.small")

    async def test_unknown(self) -> None:
        await self.make()
        describe = "describe_launch_template_versions"
        for code, by in (
            ("InvalidLaunchTemplateId.NotFound", {"LaunchTemplateId": "lt-0123456789abcdef0"}),
            ("InvalidLaunchTemplateName.NotFoundException", {"LaunchTemplateName": "other"}),
        ):
            await self.refused(code, self.call(describe, Versions=["$Latest"], **by))
            launch = self.call("run_instances", LaunchTemplate=by, MinCount=1, MaxCount=1)
            await self.refused(code, launch)
        code, by = "InvalidLaunchTemplateId.VersionNotFound", {"LaunchTemplateName": "app"}
        await self.refused(code, self.call(describe, Versions=["9"], **by))
        self.assertEqual(self.cloud.instances(), [])

    async def test_exclusions(self) -> None:
        """What the template has and what is asked, together."""
        groups: Any = {"SecurityGroupIds": [self.cloud.security_group_id]}
        subnet = {"SubnetId": self.cloud.subnet_ids[0]}
        interface: Any = {"NetworkInterfaces": [{"DeviceIndex": 0, **subnet}]}
        await self.make(**groups)
        words = "an instance-level security groups may not be specified on the same request"
        self.assertIn(words, await self.denied("1", **interface))
        await self.from_template(**subnet)
        await self.add(**interface)
        for asked in (groups, subnet):
            self.assertIn("Network interfaces and", await self.denied("$Latest", **asked))
        self.assertIn("subnet ID may not be", await self.denied("$Latest", **subnet))
        await self.from_template("$Latest")
        self.assertEqual(len(self.cloud.instances()), 2)

    async def denied(self, version: str, **parameters: Any) -> str:
        asked: Any = {"LaunchTemplateName": "app", "Version": version}
        call = self.call(
            "run_instances", LaunchTemplate=asked, MinCount=1, MaxCount=1, **parameters
        )
        return await self.refused("InvalidParameterCombination", call)

    async def test_changed_under_way(self) -> None:
        """What the default version is when the launch is carried out counts."""
        id = await self.make()
        self.rules(Rule("RunInstances", hold()))
        launched = run(self.from_template(SubnetId=self.cloud.subnet_ids[0]))
        (held,) = await eventually(lambda: self.cloud.holding, "it is held")
        await self.add(NetworkInterfaces=[{"DeviceIndex": 0}])
        await self.call("modify_launch_template", LaunchTemplateId=id, DefaultVersion="2")
        held.release()
        await self.refused("InvalidParameterCombination", launched)

    async def test_merged(self) -> None:
        """Volumes by their device, tags by their key, and all else as a whole."""
        volume = {"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True, "VolumeSize": 20}}
        tags = [{"Key": "team", "Value": "a"}, {"Key": "bbs", "Value": "theirs"}]
        await self.make(
            BlockDeviceMappings=[volume],
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
            IamInstanceProfile={},
        )
        asked = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeType": "gp3"}}]
        instance = await self.from_template(
            SubnetId=self.cloud.subnet_ids[0],
            BlockDeviceMappings=asked,
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": [{"Key": "bbs", "Value": "ours"}]},
                {"ResourceType": "volume", "Tags": [{"Key": "bbs", "Value": "ours"}]},
            ],
        )
        machine = self.truly(instance["InstanceId"])
        self.assertEqual(
            machine.volumes,
            {"/dev/xvda": {"Encrypted": "true", "VolumeSize": "20", "VolumeType": "gp3"}},
        )
        self.assertEqual((machine.tags["team"], machine.tags["bbs"]), ("a", "ours"))
        self.assertEqual(machine.volume_tags, {"bbs": "ours"})


class Spot(CloudCase):
    """Capacity that may be taken away."""

    def spot(self, **options: Any) -> Deferred[Any]:
        market = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time", **options}}
        return self.launch(InstanceMarketOptions=market)

    async def test_launched(self) -> None:
        instance = await self.spot()
        id = instance["InstanceId"]
        self.assertEqual(instance["InstanceLifecycle"], "spot")
        self.assertTrue(instance["SpotInstanceRequestId"].startswith("sir-"))
        self.assertTrue(self.truly(id).spot)
        await self.is_(id, "running")
        await self.refused("UnsupportedOperation", self.call("stop_instances", InstanceIds=[id]))
        self.assertNotIn("InstanceLifecycle", await self.launch())

    async def test_refused(self) -> None:
        self.cloud.launches.spot_price = 0.004
        await self.refused("SpotMaxPriceTooLow", self.spot(MaxPrice="0.001"))
        await self.spot(MaxPrice="0.004")
        self.cloud.launches.spot_limit = 1
        await self.refused("MaxSpotInstanceCountExceeded", self.spot())
        self.cloud.launches.spot_limit = None
        lack = error("InsufficientInstanceCapacity")
        self.rules(Rule(CAPACITY, lack, where={"Market": "spot", "InstanceType": "t3.*"}))
        await self.refused("InsufficientInstanceCapacity", self.spot())
        await self.launch()
        self.assertEqual(len(self.cloud.instances()), 2)


class FleetsOfAnInstant(CloudCase):
    """CreateFleet."""

    async def create(self, *kinds: str, token: str = "t", **parameters: Any) -> Any:
        subnet = self.cloud.subnet_ids[0]
        config = {
            "LaunchTemplateSpecification": {"LaunchTemplateName": "app", "Version": "$Default"},
            "Overrides": [
                {"InstanceType": kind, "SubnetId": subnet, "Priority": float(number)}
                for number, kind in enumerate(kinds)
            ],
        }
        asked: dict[str, Any] = {
            "Type": "instant",
            "ClientToken": token,
            "LaunchTemplateConfigs": [config],
            "TargetCapacitySpecification": {
                "TotalTargetCapacity": 1,
                "DefaultTargetCapacityType": "spot",
            },
            "SpotOptions": {"AllocationStrategy": "capacity-optimized-prioritized"},
            **parameters,
        }
        return await self.call("create_fleet", **asked)

    async def begin(self) -> None:
        await super().begin()
        await self.call(
            "create_launch_template",
            LaunchTemplateName="app",
            LaunchTemplateData={"ImageId": self.cloud.image_id, "UserData": ENCODED_SLEEPS},
        )

    async def test_first_with_capacity(self) -> None:
        """What was tried before is told."""
        lack = error("InsufficientInstanceCapacity")
        self.rules(Rule(CAPACITY, lack, where={"InstanceType": "t3.micro"}))
        answer = await self.create(
            "t3.micro", "t3.small", "t3.medium", TagSpecifications=tagged("one")
        )
        (failed,) = answer["Errors"]
        self.assertEqual(failed["ErrorCode"], "InsufficientInstanceCapacity")
        overrides = failed["LaunchTemplateAndOverrides"]["Overrides"]
        self.assertEqual(overrides["InstanceType"], "t3.micro")
        (made,) = answer["Instances"]
        self.assertEqual((made["InstanceType"], made["Lifecycle"]), ("t3.small", "spot"))
        (id,) = made["InstanceIds"]
        machine = self.truly(id)
        self.assertTrue(machine.spot)
        self.assertEqual(machine.tags["bbs"], "one")
        await self.is_(id, "running")
        await eventually(lambda: machine.pid, "it boots")

    async def test_nowhere(self) -> None:
        """That is an answer too."""
        self.rules(Rule(CAPACITY, error("InsufficientInstanceCapacity")))
        answer = await self.create("t3.micro", "t3.small")
        self.assertEqual((len(answer["Errors"]), answer["Instances"]), (2, []))
        self.assertEqual(self.cloud.instances(), [])

    async def test_once(self) -> None:
        """For a token; also when the answer was lost, or the instance has ended."""
        self.rules(Rule("CreateFleet", lost(), times=1))
        await self.assertFailure(run(self.create("t3.micro")), BotoCoreError)
        first, second = [await self.create("t3.micro") for _ in range(2)]
        self.assertEqual(first["Instances"], second["Instances"])
        (machine,) = self.cloud.instances()
        await self.cloud.terminate(machine.instance_id)
        again = await self.create("t3.micro")
        self.assertEqual(again["Instances"], first["Instances"])
        await self.refused("IdempotentParameterMismatch", run(self.create("t3.small")))
        await self.create("t3.micro", token="u")
        self.assertEqual(len(self.cloud.instances()), 2)

    async def test_refused(self) -> None:
        unknown = [{"LaunchTemplateSpecification": {"LaunchTemplateName": "other", "Version": "1"}}]
        asked = run(self.create(LaunchTemplateConfigs=unknown))
        await self.refused("InvalidLaunchTemplateName.NotFoundException", asked)
        none: list[Any] = [{"Overrides": []}]
        await self.refused("MissingParameter", run(self.create(LaunchTemplateConfigs=none)))


class Ends(CloudCase):
    """Why something ended."""

    async def reasons(self, id: str) -> tuple[str, str]:
        answer = await self.call("describe_instances", InstanceIds=[id])
        (instance,) = answer["Reservations"][0]["Instances"]
        reason = instance.get("StateReason", {"Code": "", "Message": ""})
        self.assertTrue(reason["Message"].startswith(reason["Code"]))
        return reason["Code"], instance["StateTransitionReason"]

    async def test_reasons(self) -> None:
        id = (await self.launch())["InstanceId"]
        self.assertEqual(await self.reasons(id), ("", ""))
        await self.call("terminate_instances", InstanceIds=[id])
        code, transition = await self.reasons(id)
        self.assertEqual(code, "Client.UserInitiatedShutdown")
        self.assertRegex(transition, r"^User initiated \(\d{4}-\d\d-\d\d [\d:]+ GMT\)$")
        id = (await self.launch(UserData="#!/bin/sh\n"))["InstanceId"]
        await self.is_(id, "terminated")
        self.assertEqual(await self.reasons(id), ("Client.InstanceInitiatedShutdown", ""))

    async def test_launches_that_come_to_nothing(self) -> None:
        for code in (
            "Server.InsufficientInstanceCapacity",
            "Client.VolumeLimitExceeded",
            "Client.InternalError",
        ):
            self.rules(Rule(BOOT, error(code)))
            instance = await self.launch()
            self.assertEqual(instance["State"]["Name"], "pending")
            await self.is_(instance["InstanceId"], "terminated")
            self.assertEqual(await self.reasons(instance["InstanceId"]), (code, ""))
            self.assertFalse(self.truly(instance["InstanceId"]).asked_to_end)

    async def test_no_public_address(self) -> None:
        """Where the subnet gives none, or none is asked for."""
        first, second = self.cloud.subnet_ids
        self.cloud.launches.private_subnets.add(first)
        interface = {"DeviceIndex": 0, "SubnetId": first, "AssociatePublicIpAddress": True}
        none: Any = {"SubnetId": None}
        for parameters, public in (
            ({"SubnetId": first}, False),
            ({"SubnetId": second}, True),
            ({"NetworkInterfaces": [interface]}, True),
            ({"NetworkInterfaces": [{**interface, "AssociatePublicIpAddress": False}]}, False),
        ):
            asked = parameters if "SubnetId" in parameters else {**none, **parameters}
            id = (await self.launch(**asked))["InstanceId"]
            await self.is_(id, "running")
            answer = await self.call("describe_instances", InstanceIds=[id])
            (instance,) = answer["Reservations"][0]["Instances"]
            self.assertEqual("PublicIpAddress" in instance, public)
            self.assertEqual(bool(instance.get("PublicDnsName")), public)


class Stopped(CloudCase):
    """Stopping and starting."""

    async def test_there_and_back(self) -> None:
        """What the user data left runs on the next boot, in the same folder; it itself does not."""
        id = (await self.launch(UserData=BOOTS))["InstanceId"]
        await eventually(lambda: "first" in self.cloud.console(id), "it boots")
        await self.is_(id, "running")
        pid = self.truly(id).pid
        (change,) = (await self.call("stop_instances", InstanceIds=[id]))["StoppingInstances"]
        self.assertEqual(change["PreviousState"], {"Code": 16, "Name": "running"})
        self.assertEqual(change["CurrentState"], {"Code": 64, "Name": "stopping"})
        await self.refused("IncorrectInstanceState", self.call("start_instances", InstanceIds=[id]))
        await self.is_(id, "stopped")
        self.assertFalse(lives(pid))
        self.assertEqual(await self.described(), {id: "stopped"})
        (change,) = (await self.call("start_instances", InstanceIds=[id]))["StartingInstances"]
        self.assertEqual(change["PreviousState"], {"Code": 80, "Name": "stopped"})
        self.assertEqual(change["CurrentState"], {"Code": 0, "Name": "pending"})
        await eventually(lambda: "again" in self.cloud.console(id), "it boots again")
        await self.is_(id, "running")
        self.assertEqual(self.cloud.console(id), "first\nagain\n")
        states = [state for _, state in self.truly(id).history]
        self.assertEqual(
            states, ["pending", "running", "stopping", "stopped", "pending", "running"]
        )
        await self.call("terminate_instances", InstanceIds=[id])
        await self.is_(id, "terminated")

    async def test_by_hand(self) -> None:
        """And ended while it is stopped."""
        id = (await self.launch())["InstanceId"]
        await self.refused("IncorrectInstanceState", self.call("stop_instances", InstanceIds=[id]))
        await self.is_(id, "running")
        await self.cloud.stop_instance(id)
        await self.is_(id, "stopped")
        await self.cloud.terminate(id)
        self.assertEqual(self.truly(id).state, "terminated")
        for method in ("start_instances", "stop_instances"):
            await self.refused("IncorrectInstanceState", self.call(method, InstanceIds=[id]))

    async def test_no_capacity_to_start(self) -> None:
        id = (await self.launch())["InstanceId"]
        await self.is_(id, "running")
        await self.cloud.stop_instance(id)
        await self.is_(id, "stopped")
        self.rules(Rule("StartInstances", error("InsufficientInstanceCapacity")))
        started = self.call("start_instances", InstanceIds=[id])
        await self.refused("InsufficientInstanceCapacity", started)
        self.assertEqual(self.truly(id).state, "stopped")


class AsksItself(CloudCase):
    """The metadata service, as an instance sees it."""

    async def an_instance(self, **parameters: Any) -> tuple[str, str]:
        """Its id, and its endpoint."""
        id = (await self.launch(UserData=SAYS_WHERE, **parameters))["InstanceId"]
        await eventually(lambda: "\n" in self.cloud.console(id), "it says where")
        return id, self.cloud.console(id).strip()

    async def ask(self, method: str, endpoint: str, path: str, **headers: str) -> tuple[int, str]:
        names = {"ttl": "X-aws-ec2-metadata-token-ttl-seconds", "token": "X-aws-ec2-metadata-token"}
        response = await Agent(reactor).request(
            method.encode(),
            f"{endpoint}/latest/{path}".encode(),
            Headers({names[name]: [value] for name, value in headers.items()}),
        )
        return response.code, (await readBody(response)).decode()

    async def token(self, endpoint: str) -> str:
        status, token = await self.ask("PUT", endpoint, "api/token", ttl="60")
        self.assertEqual(status, 200)
        return token

    async def test_tokens(self) -> None:
        id, endpoint = await self.an_instance()
        self.assertTrue(endpoint.startswith(f"http://{self.truly(id).address}:"), endpoint)
        for ttl in ("0", "21601", "x"):
            status, _ = await self.ask("PUT", endpoint, "api/token", ttl=ttl)
            self.assertEqual(status, 400)
        path = "meta-data/instance-id"
        for headers in ({}, {"token": "x"}):
            self.assertEqual((await self.ask("GET", endpoint, path, **headers))[0], 401)
        told = await self.ask("GET", endpoint, path, token=await self.token(endpoint))
        self.assertEqual(told, (200, id))
        _, brief = await self.ask("PUT", endpoint, "api/token", ttl="1")
        await deferLater(reactor, 1.0)
        self.assertEqual((await self.ask("GET", endpoint, path, token=brief))[0], 401)

    async def test_what_it_says(self) -> None:
        self.cloud.launches.private_subnets.add(self.cloud.subnet_ids[1])
        for subnet, public in zip(self.cloud.subnet_ids, (True, False), strict=True):
            id, endpoint = await self.an_instance(SubnetId=subnet)
            token = await self.token(endpoint)

            async def says(path: str, where: str = endpoint, by: str = token) -> tuple[int, str]:
                return await self.ask("GET", where, f"meta-data/{path}", token=by)

            address = self.truly(id).address
            self.assertEqual(await says("local-ipv4"), (200, address))
            for path in ("public-ipv4", "public-hostname"):
                told = await says(path)
                self.assertEqual(told if public else told[0], (200, address) if public else 404)
            zone = "us-east-1a" if public else "us-east-1b"
            self.assertEqual(await says("placement/availability-zone"), (200, zone))
            self.assertEqual(await says("placement"), (200, "availability-zone\nregion"))
            self.assertEqual((await says("spot/instance-action"))[0], 404)
            self.assertEqual((await says("nothing"))[0], 404)

    async def test_interrupted(self) -> None:
        """First a recommendation, then a notice, then the end."""
        id, endpoint = await self.an_instance()
        token = await self.token(endpoint)
        rebalance = "meta-data/events/recommendations/rebalance"
        action = "meta-data/spot/instance-action"
        self.assertEqual((await self.ask("GET", endpoint, rebalance, token=token))[0], 404)
        self.cloud.recommend_rebalance(id)
        _, told = await self.ask("GET", endpoint, rebalance, token=token)
        self.assertRegex(json.loads(told)["noticeTime"], r"^\d{4}-\d\d-\d\dT[\d:]{8}Z$")
        self.cloud.interrupt(id, seconds=0.5)
        _, told = await self.ask("GET", endpoint, action, token=token)
        self.assertEqual(json.loads(told)["action"], "terminate")
        self.assertEqual(self.truly(id).state, "running")
        await self.is_(id, "terminated")
        answer = await self.call("describe_instances", InstanceIds=[id])
        (instance,) = answer["Reservations"][0]["Instances"]
        self.assertEqual(instance["StateReason"]["Code"], "Server.SpotInstanceTermination")
        self.assertTrue(instance["StateTransitionReason"].startswith("Service initiated ("))

    async def test_faults(self) -> None:
        """Only rules that name it speak of it."""
        id, endpoint = await self.an_instance()
        self.rules(Rule("*", error("InternalError")))
        await self.token(endpoint)
        self.rules(Rule(METADATA, error("503"), where={"InstanceId": id}, times=1))
        status, _ = await self.ask("PUT", endpoint, "api/token", ttl="60")
        self.assertEqual(status, 503)
        await self.token(endpoint)


class Signed(CloudCase):
    """Who calls, and when."""

    def by(self, environ: Mapping[str, str], service: str = "ec2") -> Any:
        """A client with what this environment has, as botocore finds it."""
        with mock.patch.dict(os.environ, environ):
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                if name not in environ:
                    os.environ.pop(name, None)
            # A session looks for credentials when a client is made.
            make: Any = boto3.session.Session().client
            return make(service, config=Config(retries={"total_max_attempts": 1}))

    async def asks(self, client: Any) -> None:
        await deferToThread(client.describe_instances)

    async def test_secret(self) -> None:
        wrong = {**self.cloud.environ, "AWS_SECRET_ACCESS_KEY": "wrong"}
        await self.refused("SignatureDoesNotMatch", run(self.asks(self.by(wrong))))
        nobody = {**self.cloud.environ, "AWS_ACCESS_KEY_ID": "NOBODY"}
        await self.refused("AuthFailure", run(self.asks(self.by(nobody))))
        self.assertEqual(
            [call.answer for call in self.cloud.calls], ["SignatureDoesNotMatch", "AuthFailure"]
        )
        ssm = self.by(wrong, "ssm")
        asked = deferToThread(ssm.get_parameter, Name="/x")
        await self.refused("InvalidSignatureException", asked)

    async def test_clock(self) -> None:
        """A day off, either way; the answer is dated by the cloud's clock."""
        for offset in (-86400.0, 86400.0, -301.0, 301.0):
            self.cloud.clock_offset = offset
            failure = await self.assertFailure(self.call("describe_instances"), ClientError)
            answer = failure.response
            self.assertEqual(answer["Error"]["Code"], "RequestExpired")
            self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], 400)
            date = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
            self.assertLess(abs(date.timestamp() - self.cloud.now()), 30.0)
        self.cloud.clock_offset = 240.0
        await self.described()

    async def test_roles(self) -> None:
        """Temporary credentials: expired ones are refused, new ones can be fetched."""
        for environ in (self.cloud.role_environ, self.cloud.container_environ):
            client = await deferToThread(self.by, environ)
            await self.asks(client)
            call = self.cloud.calls[-1]
            self.assertEqual((call.identity, call.answer), (LOGIN_SERVER, ""))
            ssm = await deferToThread(self.by, environ, "ssm")
            self.cloud.expire_credentials()
            await self.refused("RequestExpired", run(self.asks(client)))
            asked = deferToThread(ssm.get_parameter, Name="/x")
            await self.refused("ExpiredTokenException", asked)
            await self.asks(await deferToThread(self.by, environ))
            self.assertEqual(self.cloud.calls[-1].answer, "")

    async def test_of_instances(self) -> None:
        """An instance's role is the app servers'."""
        id = (await self.launch(UserData=SAYS_WHERE))["InstanceId"]
        await eventually(lambda: "\n" in self.cloud.console(id), "it says where")
        where = self.cloud.console(id).strip()
        environ = {**self.cloud.role_environ, "AWS_EC2_METADATA_SERVICE_ENDPOINT": where}
        await self.asks(await deferToThread(self.by, environ))
        self.assertEqual(self.cloud.calls[-1].identity, APP_SERVER)


class Starts(CloudCase):
    """The user data of the tests."""

    async def test_template(self) -> None:
        """What it leaves for later boots is what it runs itself."""
        template = Path(str(self.cloud.ec2_config()["user_data"])).read_text()
        left = re.search(r"cat > boot <<'END'\n(.*?)END\n(.*)", template, re.S)
        assert left is not None
        self.assertIn('--server-id="$(cat server_id)"', left[1])
        self.assertEqual(left[2], "chmod 700 boot\nexec ./boot\n")
