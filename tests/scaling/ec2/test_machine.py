"""The instance of an app server, as the metadata service describes it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase

from bbs.config import load
from bbs.scaling.ec2.machine import POLL, POLL_SCHEDULED, EC2Machine
from bbs.scaling.ec2.metadata import DISABLED_VARIABLE, Metadata
from bbs.scaling.interfaces import IMachine, MachineNotice, MachineUnavailable
from bbs.scaling.providers import MachineKit, make_machine, named
from bbs.testing import MachineContract
from tests.scaling.metadata_tools import MetadataReactor

INTERRUPTION = b'{"action": "terminate", "time": "2026-09-18T12:34:56Z"}'


def instance() -> MetadataReactor:
    """A reactor on an instance of Spot capacity."""
    reactor = MetadataReactor()
    reactor.service.paths |= {
        "instance-id": b"i-0123456789abcdef0",
        "instance-life-cycle": b"spot",
        "placement/availability-zone": b"us-east-1a",
        "public-ipv4": b"198.51.100.7",
    }
    return reactor


class Contract(MachineContract, TestCase):
    """It keeps the promises of every machine."""

    def setUp(self) -> None:
        self.reactor = instance()

    def make_machine(self) -> Any:
        return EC2Machine(Metadata(self.reactor), "public")

    def settle(self) -> None:
        self.reactor.settle()

    def announce(self, machine: Any) -> None:
        self.reactor.service.paths["spot/instance-action"] = INTERRUPTION

    def break_answers(self, machine: Any) -> None:
        self.reactor.service.broken = 503


class Own(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = instance()
        self.paths = self.reactor.service.paths
        self.machine = EC2Machine(Metadata(self.reactor), "public")

    def told(self, asked: Deferred[Any]) -> Any:
        self.reactor.settle()
        return self.successResultOf(asked)

    def test_answers(self) -> None:
        machine = self.machine
        self.assertEqual(self.told(machine.address()), "198.51.100.7")
        self.assertEqual(self.told(machine.instance_id()), "i-0123456789abcdef0")
        self.assertEqual(self.told(machine.zone()), "us-east-1a")

    def test_notices(self) -> None:
        self.paths["events/recommendations/rebalance"] = b"{}"
        hint = MachineNotice("spot: rebalance recommended", certain=False)
        self.assertEqual(self.told(self.machine.notice()), hint)
        self.paths["spot/instance-action"] = INTERRUPTION
        certain = MachineNotice("spot: interrupted at 12:34 UTC")
        self.assertEqual(self.told(self.machine.notice()), certain)

    def test_interval(self) -> None:
        """Only what is known not to be Spot capacity is looked at rarely."""
        self.assertEqual(self.machine.notice_interval, POLL)
        self.told(self.machine.notice())
        self.assertEqual(self.machine.notice_interval, POLL)
        on_demand = EC2Machine(Metadata(self.reactor), "public")
        self.paths["instance-life-cycle"] = b"on-demand"
        self.reactor.service.broken = 503
        asked = on_demand.notice()
        self.reactor.settle()
        self.failureResultOf(asked, MachineUnavailable)
        self.assertEqual(on_demand.notice_interval, POLL)
        self.reactor.service.broken = 0
        self.told(on_demand.notice())
        self.assertEqual(on_demand.notice_interval, POLL_SCHEDULED)

    def test_no_address(self) -> None:
        """The log says once which key asks for one."""
        del self.paths["public-ipv4"]
        with capturedLogs() as events:
            for _ in range(3):
                self.assertIs(self.told(self.machine.address()), None)
        lines = [formatEvent(each) for each in events]
        self.assertEqual(lines, ["this instance has no address (ec2.address: public)"])


class Made(SynchronousTestCase):
    """By the declaration of the provider."""

    def made(self, **environment: str) -> Any:
        section = load(None, {}, {"ec2.address": "private"}).sections()["ec2"]
        kit = MachineKit(MetadataReactor(), section, "a", environment, lambda stop: None)
        return make_machine(named("ec2")[1], kit)

    def test_made(self) -> None:
        self.assertTrue(IMachine.providedBy(self.made()))

    def test_metadata_that_are_disabled(self) -> None:
        self.assertIs(self.made(**{DISABLED_VARIABLE: "true"}), None)
