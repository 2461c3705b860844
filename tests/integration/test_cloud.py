"""The tests' own cloud (`tests/cloud`), with boto3 as its client."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.cloud import (
    APP_SERVER,
    BOOT,
    LOGIN_SERVER,
    Cloud,
    Faults,
    Rule,
    cut,
    delay,
    empty,
    error,
    forget,
    hang,
    hold,
    hold_answer,
    lost,
    partial,
    slow,
    stale,
)
from tests.integration.cloud_case import SESSION, SLEEPS, CloudCase, tagged
from tests.integration.service import BIN, Process, children_of, eventually, lives, run, together
from tests.paths import CHECKOUT
from tests.services.servers import free_port


class Machines(CloudCase):
    """From launch to end."""

    async def test_life(self) -> None:
        instance = await self.launch(
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": [{"Key": "bbs", "Value": "one"}]},
                {"ResourceType": "volume", "Tags": [{"Key": "bbs", "Value": "one"}]},
            ],
            MetadataOptions={"HttpTokens": "required"},
            BlockDeviceMappings=[
                {
                    "DeviceName": "/dev/xvda",
                    "Ebs": {"Encrypted": True, "DeleteOnTermination": True},
                }
            ],
        )
        id = instance["InstanceId"]
        self.assertEqual(instance["State"], {"Code": 0, "Name": "pending"})
        self.assertTrue(instance["PrivateIpAddress"].startswith(f"{self.cloud.network}.0."))
        self.assertNotIn("PublicIpAddress", instance)
        self.assertEqual(await self.described(), {id: "pending"})
        await self.is_(id, "running")
        answer = await self.call("describe_instances", InstanceIds=[id])
        (running,) = answer["Reservations"][0]["Instances"]
        self.assertEqual(running["State"], {"Code": 16, "Name": "running"})
        self.assertEqual(running["PublicIpAddress"], instance["PrivateIpAddress"])
        self.assertEqual(running["PublicDnsName"], instance["PrivateIpAddress"])
        pid = self.truly(id).pid
        self.assertTrue(lives(pid))
        ending = await self.call("terminate_instances", InstanceIds=[id])
        (change,) = ending["TerminatingInstances"]
        self.assertEqual(change["PreviousState"]["Name"], "running")
        self.assertEqual(change["CurrentState"]["Name"], "shutting-down")
        await self.is_(id, "terminated")
        self.assertFalse(lives(pid))
        self.assertEqual(await self.described(), {id: "terminated"})
        again = await self.call("terminate_instances", InstanceIds=[id])
        self.assertEqual(again["TerminatingInstances"][0]["CurrentState"]["Name"], "terminated")

    async def test_user_data(self) -> None:
        """It has an address, a home and a PATH of its own; its output is kept."""
        script = "#!/bin/sh\nset -eu\nunset PWD\nenv\ncd ~\npwd\nwhich python\nsleep 1000\n"
        instance = await self.launch(UserData=script)
        id, address = instance["InstanceId"], instance["PrivateIpAddress"]
        await eventually(lambda: "/python\n" in self.cloud.console(id), "it prints")
        printed = self.cloud.console(id)
        self.assertIn(f"INSTANCE_ID={id}\n", printed)
        self.assertIn(f"INSTANCE_ADDRESS={address}\n", printed)
        self.assertIn(f"AWS_ACCESS_KEY_ID={APP_SERVER}\n", printed)
        # It imports what this process does.
        path = os.environ.get("PYTHONPATH")
        self.assertEqual("PYTHONPATH=" in printed, path is not None)
        self.assertRegex(printed, rf"HOME=.*/{id}\n")

    async def test_ends_by_itself(self) -> None:
        for behaviour, state in (("terminate", "terminated"), ("stop", "stopped")):
            instance = await self.launch(
                UserData="#!/bin/sh\nsleep 0.1\n", InstanceInitiatedShutdownBehavior=behaviour
            )
            id = instance["InstanceId"]
            await self.is_(id, state)
            self.assertEqual((await self.described(InstanceIds=[id])), {id: state})

    async def test_killed(self) -> None:
        id = (await self.launch())["InstanceId"]
        await self.is_(id, "running")
        self.cloud.kill(id)
        await self.is_(id, "terminated")
        other = (await self.launch())["InstanceId"]
        self.cloud.kill(other)
        await self.is_(other, "terminated")
        self.assertIsNone(self.truly(other).pid)

    async def test_ended_from_outside(self) -> None:
        id = (await self.launch())["InstanceId"]
        await self.is_(id, "running")
        await self.cloud.terminate(id)
        await self.is_(id, "terminated")
        self.assertEqual(self.cloud.instances(alive=True), [])

    async def test_ended_while_it_boots(self) -> None:
        id = (await self.launch())["InstanceId"]
        await self.call("terminate_instances", InstanceIds=[id])
        self.assertEqual(self.truly(id).state, "terminated")

    async def test_filters(self) -> None:
        one, two = [
            (await self.launch(TagSpecifications=tagged(name)))["InstanceId"] for name in "ab"
        ]
        named = [{"Name": "tag:bbs", "Values": ["b"]}]
        self.assertEqual([*await self.described(Filters=named)], [two])
        running = [
            {"Name": "instance-state-name", "Values": ["running"]},
            {"Name": "tag:bbs", "Values": ["a"]},
        ]
        await self.is_(one, "running")
        self.assertEqual(await self.described(Filters=running), {one: "running"})
        self.cloud.kill(one)
        await self.is_(one, "terminated")
        self.assertEqual(await self.described(Filters=running), {})

    async def test_pages(self) -> None:
        made = {(await self.launch())["InstanceId"] for _ in range(7)}
        pages = await deferToThread(
            lambda: list(
                self.client.get_paginator("describe_instances").paginate(
                    PaginationConfig={"PageSize": 5}
                )
            )
        )
        self.assertEqual([len(page["Reservations"]) for page in pages], [5, 2])
        found = {r["Instances"][0]["InstanceId"] for page in pages for r in page["Reservations"]}
        self.assertEqual(found, made)

    async def test_launch_template(self) -> None:
        await self.call(
            "create_launch_template",
            LaunchTemplateName="app",
            LaunchTemplateData={
                "ImageId": self.cloud.image_id,
                "InstanceType": "t3.small",
                "InstanceInitiatedShutdownBehavior": "terminate",
                "UserData": "IyEvYmluL3NoCmVjaG8gZnJvbSB0aGUgdGVtcGxhdGUK",
                "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True}}],
            },
        )
        answer = await self.call(
            "run_instances",
            LaunchTemplate={"LaunchTemplateName": "app"},
            SubnetId=self.cloud.subnet_ids[1],
            MinCount=1,
            MaxCount=1,
        )
        (instance,) = answer["Instances"]
        self.assertEqual(instance["InstanceType"], "t3.small")
        await self.is_(instance["InstanceId"], "terminated")
        self.assertEqual(self.cloud.console(instance["InstanceId"]), "from the template\n")

    async def test_refusals_of_its_own(self) -> None:
        await self.refused("InvalidAMIID.NotFound", self.launch(ImageId="ami-12345678"))
        await self.refused("InvalidParameterValue", self.launch(UserData="x" * 16385))
        await self.refused("InvalidSubnetID.NotFound", self.launch(SubnetId="subnet-1"))
        unknown = {"InstanceIds": ["i-0123456789abcdef0"]}
        for method in ("describe_instances", "terminate_instances"):
            await self.refused("InvalidInstanceID.NotFound", self.call(method, **unknown))
        await self.refused("InvalidInstanceID.NotFound", self.call("stop_instances", **unknown))
        malformed = self.call("describe_instances", InstanceIds=["i-1"])
        await self.refused("InvalidInstanceID.Malformed", malformed)
        self.assertEqual(self.cloud.instances(), [])

    async def test_two_clouds(self) -> None:
        """Their instances have different addresses."""
        other = Cloud()
        await other.start()
        self.addCleanup(other.stop)
        self.assertNotEqual(other.network, self.cloud.network)

    async def test_the_end(self) -> None:
        """Nothing is left when it stops, whatever goes on."""
        cloud = Cloud(boot_seconds=0.0)
        await cloud.start()
        self.cloud, ours = cloud, self.cloud
        self.client = self.a_client("ec2")
        id = (await self.launch())["InstanceId"]
        await self.is_(id, "running")
        pid = self.truly(id).pid
        cloud.faults = Faults(Rule("*", hang()))
        hanging = self.assertFailure(run(self.described()), BotoCoreError)
        await eventually(lambda: len(cloud.calls) == 2, "a call hangs")
        self.cloud = ours
        await cloud.stop()
        self.assertFalse(lives(pid))
        await hanging


class Stubborn(CloudCase):
    """A machine that does not want to end, and has little time for it."""

    grace = 0.5

    async def test_all_of_a_machine_ends(self) -> None:
        """Also what does not want to, and what it has started."""
        script = "#!/bin/sh\ntrap '' TERM\nsleep 1000 &\necho $! >child\necho up\nsleep 1000\n"
        id = (await self.launch(UserData=script))["InstanceId"]
        await eventually(lambda: "up" in self.cloud.console(id), "it is up")
        machine = self.truly(id)
        child = int((Path(f"/proc/{machine.pid}/cwd").resolve() / "child").read_text())
        await self.call("terminate_instances", InstanceIds=[id])
        self.assertEqual(machine.state, "shutting-down")
        await self.is_(id, "terminated")
        await eventually(lambda: not lives(child), "its child ends")


class Tokens(CloudCase):
    """ClientToken: one instance, however often it is asked for."""

    async def test_same(self) -> None:
        ids = {
            instance["InstanceId"]
            for instance in await together(self.launch_async("t") for _ in range(4))
        }
        self.assertEqual(len(ids), 1)
        self.assertEqual(len(self.cloud.instances()), 1)
        await self.launch("u")
        await self.launch()
        await self.launch()
        self.assertEqual(len(self.cloud.instances()), 4)

    async def launch_async(self, token: str) -> Any:
        return await self.launch(token)

    async def test_other_parameters(self) -> None:
        await self.launch("t")
        await self.refused("IdempotentParameterMismatch", self.launch("t", InstanceType="t3.small"))
        self.assertEqual(len(self.cloud.instances()), 1)

    async def test_whose_instance_has_ended(self) -> None:
        """It is refused; before January 2025 it told of the instance."""
        first = await self.launch("t")
        await self.call("terminate_instances", InstanceIds=[first["InstanceId"]])
        await self.refused("IdempotentInstanceTerminated", self.launch("t"))
        other = self.launch("t", InstanceType="t3.small")
        await self.refused("IdempotentParameterMismatch", other)
        self.assertEqual(len(self.cloud.instances()), 1)
        self.cloud.launches.tokens.refuses_ended = False
        again = await self.launch("t")
        self.assertEqual(again["InstanceId"], first["InstanceId"])
        self.assertEqual(again["State"]["Name"], "terminated")

    async def test_forgotten(self) -> None:
        """A while after its instance has ended, or where a rule says so, it launches anew."""
        await self.launch("t")
        self.rules(Rule("RunInstances", forget(), times=1))
        await self.launch("t")
        await self.launch("t")
        self.assertEqual(len(self.cloud.instances()), 2)
        self.cloud.launches.tokens.forget()
        third = await self.launch("t")
        self.cloud.launches.tokens.memory = 0.0
        await self.launch("t")
        self.assertEqual(len(self.cloud.instances()), 3)
        await self.call("terminate_instances", InstanceIds=[third["InstanceId"]])
        await self.launch("t")
        self.assertEqual(len(self.cloud.instances()), 4)

    async def test_in_another_zone(self) -> None:
        """It is another launch's: such tokens hold within a zone."""
        await self.launch("t")
        await self.launch("t", SubnetId=self.cloud.subnet_ids[1])
        self.assertEqual(len(self.cloud.instances()), 2)

    async def test_a_launch_that_failed_is_none(self) -> None:
        await self.refused("InvalidAMIID.NotFound", self.launch("t", ImageId="ami-12345678"))
        await self.launch("t")
        self.assertEqual(len(self.cloud.instances()), 1)

    async def test_retried_by_botocore(self) -> None:
        """An answer that is lost is asked for again, under the token that botocore makes."""
        self.client = self.a_client("ec2", attempts=3)
        self.rules(Rule("RunInstances", lost(), times=1))
        await self.launch()
        self.assertEqual(len(self.cloud.instances()), 1)
        first, second = self.cloud.calls
        self.assertEqual((first.answer, second.answer), (None, ""))
        self.assertEqual(first.parameters["ClientToken"], second.parameters["ClientToken"])


class Behind(CloudCase):
    """Descriptions that are not of now."""

    async def test_lag(self) -> None:
        self.rules(lag=1.0)
        id = (await self.launch())["InstanceId"]
        self.assertEqual(await self.described(), {})
        for method in ("describe_instances", "terminate_instances"):
            await self.refused("InvalidInstanceID.NotFound", self.call(method, InstanceIds=[id]))

        async def appears() -> bool:
            return await self.described() == {id: "pending"}

        await eventually(appears, "it appears")
        await self.is_(id, "running")
        await deferLater(reactor, 1.0)
        await self.call("terminate_instances", InstanceIds=[id])
        await self.is_(id, "terminated")
        self.assertEqual(await self.described(), {id: "running"})

    async def test_stale(self) -> None:
        id = (await self.launch())["InstanceId"]
        self.rules(Rule("DescribeInstances", stale(10.0), times=1))
        self.assertEqual(await self.described(), {})
        self.assertEqual(list(await self.described()), [id])

    async def test_empty(self) -> None:
        """Nothing is shown, and launches work."""
        self.rules(Rule("DescribeInstances", empty()))
        id = (await self.launch())["InstanceId"]
        self.assertEqual(await self.described(), {})
        self.rules()
        self.assertEqual(list(await self.described()), [id])

    async def test_partial(self) -> None:
        """A share of the instances lacks, each time another."""
        made = {(await self.launch())["InstanceId"] for _ in range(8)}
        self.rules(Rule("DescribeInstances", partial(0.5)))
        shown = [frozenset(await self.described()) for _ in range(4)]
        self.assertGreater(len(set(shown)), 1)
        self.assertTrue(all(0 < len(each) < 8 and each < made for each in shown), shown)


class Going(CloudCase):
    """Faults."""

    async def test_errors(self) -> None:
        for code, status in (
            ("InsufficientInstanceCapacity", 500),
            ("RequestLimitExceeded", 503),
            ("UnauthorizedOperation", 403),
            ("InstanceLimitExceeded", 400),
            ("VcpuLimitExceeded", 400),
            ("InvalidAMIID.NotFound", 400),
        ):
            self.rules(Rule("RunInstances", error(code)))
            failure = await self.assertFailure(self.launch(), ClientError)
            answer = failure.response
            self.assertEqual(answer["Error"]["Code"], code)
            self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], status)
            self.assertEqual(self.cloud.calls[-1].answer, code)
        self.assertEqual(self.cloud.instances(), [])
        self.assertEqual(await self.described(), {})

    async def test_by_parameter(self) -> None:
        self.rules(
            Rule("RunInstances", error("Unsupported"), where={"SubnetId": self.cloud.subnet_ids[0]})
        )
        await self.refused("Unsupported", self.launch())
        await self.launch(SubnetId=self.cloud.subnet_ids[1])

    async def test_lost(self) -> None:
        self.rules(Rule("RunInstances", lost()))
        await self.assertFailure(self.launch(), BotoCoreError)
        self.assertEqual(len(self.cloud.instances()), 1)

    async def test_cut(self) -> None:
        self.rules(Rule("RunInstances", cut()))
        await self.assertFailure(self.launch(), BotoCoreError)
        self.assertEqual(self.cloud.instances(), [])

    async def test_hang(self) -> None:
        self.client = self.a_client("ec2", timeout=0.5)
        self.rules(Rule("RunInstances", hang()))
        await self.assertFailure(self.launch(), BotoCoreError)
        self.assertEqual(self.cloud.instances(), [])

    async def took(self, function: Callable[[], Deferred[Any]]) -> float:
        began = reactor.seconds()
        await function()
        return reactor.seconds() - began

    async def test_delay(self) -> None:
        self.rules(Rule("RunInstances", delay(0.5), times=1), Rule("RunInstances", slow(0.5)))
        launched: Deferred[Any] = self.launch()
        await eventually(lambda: self.cloud.calls, "it is asked")
        self.assertEqual(self.cloud.instances(), [])
        await launched
        self.assertGreaterEqual(await self.took(self.launch), 0.5)
        self.assertEqual(len(self.cloud.instances()), 2)

    async def test_held(self) -> None:
        for fault, carried_out in ((hold(), 0), (hold_answer(), 1)):
            self.rules(Rule("RunInstances", fault))
            before = len(self.cloud.instances())
            launched = self.launch()
            (held,) = await eventually(lambda: self.cloud.holding, "it is held")
            self.assertEqual(held.call.action, "RunInstances")
            self.assertEqual(len(self.cloud.instances()) - before, carried_out)
            held.release()
            await launched
            self.assertEqual(self.cloud.holding, [])
            self.assertEqual(len(self.cloud.instances()) - before, 1)

    async def test_held_and_cut(self) -> None:
        self.rules(Rule("RunInstances", hold()))
        launched = self.assertFailure(self.launch(), BotoCoreError)
        (held,) = await eventually(lambda: self.cloud.holding, "it is held")
        held.cut()
        await launched
        self.assertEqual((self.cloud.holding, self.cloud.instances()), ([], []))

    async def test_client_that_has_gone(self) -> None:
        """Nobody waits for the answer, and the call is carried out all the same."""
        self.client = self.a_client("ec2", timeout=0.5)
        self.rules(Rule("RunInstances", delay(1.0)))
        await self.assertFailure(self.launch(), BotoCoreError)
        await eventually(self.cloud.instances, "it is launched")

    async def test_everything(self) -> None:
        self.rules(Rule("*", error("RequestLimitExceeded")))
        for method in ("describe_instances", "describe_subnets", "describe_images"):
            await self.refused("RequestLimitExceeded", self.call(method))

    async def test_boots(self) -> None:
        self.rules(
            Rule(BOOT, cut(), times=1),
            Rule(BOOT, hang(), times=1),
            Rule(BOOT, delay(1.0), times=1),
        )
        dead, silent, late, well = [(await self.launch())["InstanceId"] for _ in range(4)]
        await self.is_(dead, "terminated")
        await self.is_(well, "running")
        await self.is_(silent, "running")
        self.assertIsNone(self.truly(silent).pid)
        self.assertEqual(self.truly(late).state, "pending")
        await self.is_(late, "running")
        await self.call("terminate_instances", InstanceIds=[silent])
        self.assertEqual(self.truly(silent).state, "terminated")

    async def test_chance_replays(self) -> None:
        async def results() -> list[str | None]:
            cloud = Cloud(seed=11, faults=Faults(Rule("Describe*", cut(), probability=0.5)))
            await cloud.start()
            try:
                self.cloud, before = cloud, self.cloud
                self.client = self.a_client("ec2")
                self.cloud = before
                for _ in range(20):
                    await self.call("describe_instances").addErrback(lambda _: None)
                return [call.answer for call in cloud.calls]
            finally:
                await cloud.stop()

        once = await results()
        self.assertEqual(once, await results())
        self.assertEqual(set(once), {None, ""})


class Records(CloudCase):
    """Who asked for what."""

    async def test_calls(self) -> None:
        await self.launch("t")
        await self.described()
        first, second = self.cloud.calls
        self.assertEqual((first.service, first.action), ("ec2", "RunInstances"))
        self.assertEqual(first.parameters["ClientToken"], "t")
        self.assertEqual(first.identity, LOGIN_SERVER)
        self.assertEqual((first.answer, second.answer), ("", ""))
        self.assertEqual(second.action, "DescribeInstances")

    async def test_other_services(self) -> None:
        """What instances read their secrets from."""
        ssm = self.a_client("ssm", AWS_ACCESS_KEY_ID=APP_SERVER)
        await deferToThread(ssm.put_parameter, Name="/bbs/x", Value="y", Type="SecureString")
        answer = await deferToThread(ssm.get_parameter, Name="/bbs/x", WithDecryption=True)
        self.assertEqual(answer["Parameter"]["Value"], "y")
        call = self.cloud.calls[-1]
        self.assertEqual((call.service, call.action), ("ssm", "GetParameter"))
        self.assertEqual(call.identity, APP_SERVER)
        self.assertEqual(call.parameters, {"Name": "/bbs/x", "WithDecryption": True})
        self.rules(Rule("GetParameter", error("AccessDeniedException")))
        await self.assertFailure(deferToThread(ssm.get_parameter, Name="/bbs/x"), ClientError)


class Foreground(TestCase):
    """`python -m tests.cloud`."""

    timeout = 300

    def setUp(self) -> Any:
        return deferLater(reactor, 0)

    def process(self, *arguments: str | Path) -> Process:
        """The cloud as a process, with a folder for what it may leave when it is killed."""
        temporary = Path(self.mktemp()).absolute()
        temporary.mkdir()
        argv = (sys.executable, "-m", "tests.cloud", *arguments)
        process = Process(argv, CHECKOUT, environ={"TMPDIR": str(temporary)})
        self.addCleanup(lambda: run(self.finish(process)))
        return process

    def client(self, process: Process) -> Callable[[], Deferred[Any]]:
        """Launches a machine, by what the process has said."""
        environ = dict(re.findall(r"^export (\w+)=(.*)$", process.output, re.M))
        section = tomllib.loads(process.output.partition("\n\n")[2].partition("\n\n")[0])["ec2"]
        client = SESSION.client(
            "ec2",
            aws_access_key_id=environ["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
            region_name=section["region"],
            endpoint_url=section["endpoint_url"],
        )
        return lambda: deferToThread(
            client.run_instances,
            ImageId=section["image_id"],
            SubnetId=section["subnet_ids"][0],
            UserData=SLEEPS,
            MinCount=1,
            MaxCount=1,
        )

    async def finish(self, process: Process) -> None:
        await process.end(signal.SIGKILL)
        # Its children have its output too, until they notice.
        await eventually(lambda: not process.transport.pipes, "its children end")

    async def test_faults_from_a_file_and_the_end(self) -> None:
        path = Path(self.mktemp()).absolute()
        path.write_text(
            '[[rule]]\naction = "RunInstances"\nkind = "error"\ncode = "Unsupported"\ntimes = 1\n'
        )
        process = self.process("--boot", "0", "--faults", path)
        await process.says("The cloud is ready")
        launch = self.client(process)
        failure = await self.assertFailure(launch(), ClientError)
        self.assertEqual(failure.response["Error"]["Code"], "Unsupported")
        await launch()
        await process.says(" is running at 127.")
        # moto, and the machine.
        children = children_of(process.pid)
        self.assertEqual(len(children), 2)
        await process.end(signal.SIGINT)
        self.assertEqual((process.exit_code, process.errors), (0, ""))
        self.assertFalse(any(map(lives, children)))

    async def test_up(self) -> None:
        """The whole service on it, as `make up-ec2` has it."""
        data, port = Path(self.mktemp()).absolute(), str(free_port())
        process = self.process("--boot", "1", "--up", "--data", data, "--", "--port", port)
        await process.says(f"bbs is ready: bbs client 127.0.0.1 {port}\n")
        children = children_of(process.pid)
        self.assertEqual(len(children), 3)
        listing = Process(
            [BIN / "bbs", "fleet", "list", "--json", "--config", data / "ec2.toml"], CHECKOUT
        )
        await listing.ended(60.0)
        self.assertEqual((listing.exit_code, listing.errors), (0, ""))
        (server,) = json.loads(listing.output)
        self.assertRegex(server["address"], r"127\.\d+\.0\.\d+:22223")
        self.assertIn(
            f"{server['instance']} is running at {server['address'][:-6]}\n", process.output
        )
        await process.end(signal.SIGINT)
        self.assertEqual((process.exit_code, process.errors), (0, ""))
        self.assertFalse(any(map(lives, children)))
        self.assertNotIn("Traceback", (data / "bbs.log").read_text())

    async def test_nothing_lives_on(self) -> None:
        """However it ends."""
        process = self.process("--boot", "0")
        await process.says("The cloud is ready")
        await self.client(process)()
        await process.says(" is running at 127.")
        children = children_of(process.pid)
        self.assertEqual(len(children), 2)
        await process.end(signal.SIGKILL)
        await eventually(lambda: not any(map(lives, children)), "they end")
