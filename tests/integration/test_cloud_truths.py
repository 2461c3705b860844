"""What the real EC2 does beyond moto, and the tests' cloud too: held with boto3 as its client."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers

from tests.cloud import BOOT, METADATA, Rule, error, hold
from tests.integration.cloud_case import CloudCase
from tests.integration.service import eventually, lives, run

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


class Starts(CloudCase):
    """The user data of the tests."""

    async def test_template(self) -> None:
        """What it leaves for later boots is what it runs itself."""
        template = Path(str(self.cloud.ec2_config()["user_data"])).read_text()
        left = re.search(r"cat > boot <<'END'\n(.*?)END\n(.*)", template, re.S)
        assert left is not None
        self.assertIn("--server-id='${server_id}'", left[1])
        self.assertEqual(left[2], "chmod 700 boot\nexec ./boot\n")
