"""The tests' own cloud (`tests/cloud`): the parts that need no process."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.cloud import BOOT, Faults, Machine, Rule, cut, error, everything, hang, lost
from tests.cloud.agent import Agent
from tests.cloud.answers import failed
from tests.cloud.ec2 import without_state_filter
from tests.cloud.faults import Chances, Fault, delay, parse
from tests.cloud.launches import unpacked, with_volume_sizes
from tests.cloud.machines import show
from tests.cloud.metadata import Metadata
from tests.cloud.proxy import read
from tests.standins.ec2 import APIError
from tests.standins.instances import BY_ITSELF, BY_USER, POWER_LOST, TERMINATED_SHOWN


def a_machine(*history: tuple[float, str]) -> Machine:
    return Machine(
        instance_id="i-1",
        address="127.50.0.4",
        kind="t3.micro",
        image_id="ami-1",
        subnet_id="subnet-1",
        token="t",
        tags={},
        stops_as="terminated",
        history=list(history) or [(0.0, "pending")],
    )


class Rules(SynchronousTestCase):
    def take(self, faults: Faults, action: str = "RunInstances", **parameters: str) -> str | None:
        fault = faults.take(action, parameters, Chances(1).next(action))
        return fault.kind if fault else None

    def test_first_that_fits(self) -> None:
        faults = Faults(Rule("Describe*", cut()), Rule("*", lost()))
        self.assertEqual(self.take(faults), "lost")
        self.assertEqual(self.take(faults, "DescribeInstances"), "cut")
        faults.add(Rule("RunInstances", hang()))
        self.assertEqual(self.take(faults), "hang")

    def test_boots_are_no_calls(self) -> None:
        self.assertIsNone(self.take(Faults(Rule("*", cut())), BOOT))
        self.assertEqual(self.take(Faults(Rule(BOOT, cut())), BOOT), "cut")

    def test_parameters(self) -> None:
        faults = Faults(Rule("*", lost(), where={"InstanceType": "t3.*", "SubnetId": "s-1"}))
        self.assertEqual(self.take(faults, InstanceType="t3.micro", SubnetId="s-1"), "lost")
        self.assertIsNone(self.take(faults, InstanceType="t3.micro"))
        self.assertIsNone(self.take(faults, InstanceType="m5.large", SubnetId="s-1"))

    def test_times(self) -> None:
        faults = Faults(Rule("*", cut(), times=2), Rule("*", lost(), times=1))
        self.assertEqual([self.take(faults) for _ in range(4)], ["cut", "cut", "lost", None])
        self.assertEqual(faults.rules, ())

    def test_chance_replays(self) -> None:
        """Whatever calls of other actions there are in between."""
        faults = Faults(Rule("*", cut(), probability=0.3))
        chances, others = Chances(7), Chances(7)
        alone = [faults.take("A", {}, chances.next("A")) for _ in range(50)]
        among = []
        for _ in range(50):
            faults.take("B", {}, others.next("B"))
            among.append(faults.take("A", {}, others.next("A")))
        self.assertEqual(alone, among)
        self.assertEqual({fault and fault.kind for fault in alone}, {None, "cut"})

    def test_everything(self) -> None:
        """Each kind has the same share of the whole."""
        faults, chances = Faults(*everything(0.3)), Chances(3)
        for action, kinds in (("RunInstances", 6), (BOOT, 3)):
            taken = [faults.take(action, {}, chances.next(action)) for _ in range(6000)]
            counted = Counter(fault for fault in taken if fault)
            self.assertEqual(len(counted), kinds)
            for count in counted.values():
                self.assertLess(abs(count / 6000 - 0.3 / kinds), 0.012)

    def test_from_a_file(self) -> None:
        made = parse(
            [
                {"kind": "lost"},
                {
                    "action": BOOT,
                    "kind": "delay",
                    "seconds": 2,
                    "where": {"InstanceType": "t3.*"},
                    "probability": 0.5,
                    "times": 3,
                },
                {"action": "RunInstances", "kind": "error", "code": "VcpuLimitExceeded"},
            ]
        )
        self.assertEqual(
            made,
            [
                Rule("*", lost()),
                Rule(BOOT, delay(2.0), {"InstanceType": "t3.*"}, 0.5, 3),
                Rule("RunInstances", error("VcpuLimitExceeded")),
            ],
        )


LISTED = """<DescribeInstancesResponse xmlns="urn:ec2"><reservationSet><item><instancesSet><item>
<instanceId>i-1</instanceId><instanceState><code>16</code><name>running</name></instanceState>
<privateIpAddress>127.50.0.4</privateIpAddress>
</item></instancesSet></item></reservationSet></DescribeInstancesResponse>"""


class Shown(SynchronousTestCase):
    """What a description says of an instance."""

    machine = a_machine((10.0, "pending"), (13.0, "running"), (20.0, "shutting-down"))

    def at(self, time: float, wanted: tuple[str, ...] = ()) -> dict[str, str] | None:
        root = ElementTree.fromstring(LISTED)
        show(root, {"i-1": self.machine}, time, lambda state: not wanted or state in wanted)
        item = root.find("{*}reservationSet/{*}item/{*}instancesSet/{*}item")
        if item is None:
            self.assertEqual(len(root[0]), 0)
            return None
        names = ("instanceState/{*}name", "privateIpAddress", "ipAddress", "dnsName")
        return {name.partition("/")[0]: item.findtext(f"{{*}}{name}") or "" for name in names}

    def shows(self, state: str, private: str, public: str) -> dict[str, str]:
        return {
            "instanceState": state,
            "privateIpAddress": private,
            "ipAddress": public,
            "dnsName": public,
        }

    def test_states(self) -> None:
        address = "127.50.0.4"
        self.assertIsNone(self.at(9.9))
        self.assertEqual(self.at(10.0), self.shows("pending", address, ""))
        self.assertEqual(self.at(13.0), self.shows("running", address, address))
        self.assertEqual(self.at(25.0), self.shows("shutting-down", address, ""))

    def test_wanted(self) -> None:
        self.assertIsNone(self.at(11.0, ("running",)))
        self.assertIsNotNone(self.at(11.0, ("pending",)))

    def test_ended(self) -> None:
        machine = a_machine((0.0, "pending"), (5.0, "terminated"))
        self.assertTrue(machine.is_known(5.0 + TERMINATED_SHOWN))
        self.assertFalse(machine.is_known(5.1 + TERMINATED_SHOWN))
        machine.becomes("running", 6.0)
        self.assertEqual(machine.state, "terminated")
        self.assertFalse(machine.alive)


class Queries(SynchronousTestCase):
    def test_state_filter(self) -> None:
        rest, states = without_state_filter(
            {
                "Action": "DescribeInstances",
                "Filter.1.Name": "instance-state-name",
                "Filter.1.Value.1": "pending",
                "Filter.1.Value.2": "running",
                "Filter.2.Name": "tag:bbs",
                "Filter.2.Value.1": "a",
            }
        )
        self.assertEqual(states, {"pending", "running"})
        self.assertEqual(
            rest,
            {
                "Action": "DescribeInstances",
                "Filter.1.Name": "tag:bbs",
                "Filter.1.Value.1": "a",
            },
        )
        self.assertEqual(without_state_filter({"Action": "X"}), ({"Action": "X"}, None))

    def test_volume_sizes(self) -> None:
        device = "LaunchTemplateData.BlockDeviceMapping.1"
        given = {f"{device}.DeviceName": "/dev/xvda", f"{device}.Ebs.Encrypted": "true"}
        self.assertEqual(with_volume_sizes(given), {**given, f"{device}.Ebs.VolumeSize": "8"})
        for name in ("VolumeSize", "SnapshotId"):
            sized = {**given, f"{device}.Ebs.{name}": "20"}
            self.assertEqual(with_volume_sizes(sized), sized)

    def test_user_data(self) -> None:
        self.assertEqual(unpacked(""), "")
        self.assertEqual(unpacked("aGVsbG8="), "hello")
        self.assertEqual(unpacked("H4sIAAAAAAAC/8tIzcnJBwCGphA2BQAAAA=="), "hello")
        self.assertRaises(ValueError, unpacked, "not base64")
        self.assertRaises(ValueError, unpacked, "QUFB" * 5462)

    def test_read(self) -> None:
        call = read(
            5.0,
            b"Action=RunInstances&ClientToken=t&KeyName=",
            {"Authorization": "AWS4 Credential=KEY/20260101/us-east-1/ec2/aws4_request"},
        )
        self.assertEqual((call.service, call.action, call.identity), ("ec2", "RunInstances", "KEY"))
        self.assertEqual(call.parameters["ClientToken"], "t")
        self.assertEqual(call.parameters["KeyName"], "")
        for body in (b"\xff", b""):
            self.assertEqual(read(0.0, body, {}).action, "")

    def test_errors(self) -> None:
        answer = failed(APIError("Unsupported", "no such <type>"))
        self.assertEqual((answer.status, answer.code), (400, "Unsupported"))


class Boots(SynchronousTestCase):
    """The agent, for machines that run nothing."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.off: list[str] = []
        self.fault: Fault | None = None
        self.agent = Agent(
            self.clock,
            Path("/nonexistent"),
            {},
            3.0,
            1.0,
            5.0,
            lambda machine: self.fault,
            Metadata(self.clock, "us-east-1", lambda machine, path: None, lambda machine: {}),
            lambda machine: self.off.append(machine.reason),
        )
        self.machine = a_machine()

    def boot(self, fault: Fault | None = None) -> None:
        self.fault = fault
        self.agent.boot(self.machine)

    def test_pending_for_the_boot_time(self) -> None:
        self.boot()
        self.clock.advance(2.9)
        self.assertEqual(self.machine.state, "pending")
        self.clock.advance(0.1)
        self.assertEqual(self.machine.history, [(0.0, "pending"), (3.0, "running")])

    def test_late(self) -> None:
        self.boot(delay(2.0))
        self.clock.advance(4.9)
        self.assertEqual(self.machine.state, "pending")
        self.clock.advance(0.1)
        self.assertEqual(self.machine.state, "running")

    def test_never(self) -> None:
        self.machine.user_data = "#!/bin/sh\n"
        self.boot(hang())
        self.clock.advance(3.0)
        self.assertEqual((self.machine.state, self.off), ("running", []))

    def test_ends_by_itself(self) -> None:
        self.boot(cut())
        self.clock.advance(3.0)
        self.assertEqual((self.machine.state, self.off), ("terminated", [BY_ITSELF]))

    def test_comes_to_nothing(self) -> None:
        """From pending to terminated, with no word before."""
        self.boot(error("Server.InsufficientInstanceCapacity"))
        self.clock.advance(0.1)
        states = [state for _, state in self.machine.history]
        self.assertEqual(states, ["pending", "terminated"])
        self.assertEqual(self.off, ["Server.InsufficientInstanceCapacity"])

    def test_ended_or_killed_before(self) -> None:
        self.boot()
        self.agent.end(self.machine, BY_USER)
        self.assertEqual(self.machine.state, "terminated")
        other = a_machine()
        self.agent.boot(other)
        self.agent.kill(other)
        self.assertEqual(self.off, [BY_USER, POWER_LOST])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped_and_started(self) -> None:
        self.boot()
        self.clock.advance(3.0)
        self.agent.stop(self.machine, BY_USER)
        self.assertEqual((self.machine.state, self.machine.reason), ("stopped", BY_USER))
        self.agent.kill(self.machine)
        self.agent.start(self.machine)
        self.agent.start(self.machine)
        self.assertEqual((self.machine.state, self.machine.reason), ("pending", ""))
        self.clock.advance(1.0)
        self.assertEqual(self.machine.state, "running")
        self.assertEqual(self.clock.getDelayedCalls(), [])
