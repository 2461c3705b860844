"""A provider of instances on an EC2 in memory, for its tests."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.config import EC2
from bbs.core.batching import GATHER
from bbs.scaling.ec2.instance_states import REMEMBERED
from bbs.scaling.ec2.provider import EC2Provider
from tests.scaling.ec2.tools import FLEET_ID, MemoryEC2, NoAnswer, Threads, client_of
from tests.standins.ec2 import APIError

CONFIG = EC2(
    image_id="ami-1",
    instance_type=("t3.micro", "t3.small"),
    subnet_ids=("s-1", "s-2"),
    address="private",
)


def no_answer():
    """EC2 is not heard."""
    return NoAnswer()


def no_capacity():
    """What EC2 answers where it has none."""
    return APIError("InsufficientInstanceCapacity")


class ProviderCase(SynchronousTestCase):
    """A provider with an EC2 in memory."""

    pools: dict[str, Threads]

    def setUp(self):
        self.clock = Clock()
        self.ec2 = MemoryEC2(self.clock)
        self.provider = self.controller()
        self.client = self.latest
        # It has kept the fleet for a while: no launch is another controller's.
        for _ in range(2):
            self.listed()
            self.clock.advance(REMEMBERED - GATHER)
        self.listed()
        self.ec2.calls.clear()

    def controller(
        self, *, fleet_id=FLEET_ID, other_ids=(), former=False, user_data="data of {}", **changes
    ):
        """One more provider of the fleet."""
        self.latest = client_of(self, self.clock, self.ec2)
        config = replace(CONFIG, **changes)
        provider = EC2Provider(
            self.clock,
            self.latest,
            config,
            user_data.format,
            "1.0",
            fleet_id=fleet_id,
            other_ids=other_ids,
            former=former,
            batch_user_data="batch {}".format,
        )
        provider.startService()
        return provider

    def launch(self, launch_id="a", provider=None):
        """Ask for a launch, and give it the time that three tries need."""
        launch = (provider or self.provider).launch(launch_id)
        self.clock.pump([GATHER, 0.05, 0.1, GATHER])
        return launch

    def launched(self, launch_id="a", provider=None):
        self.assertIs(self.successResultOf(self.launch(launch_id, provider)), None)

    def listed(self, provider=None):
        listed = self.successResultOf((provider or self.provider).list())
        self.clock.advance(GATHER)
        return listed

    def end(self, launch_id="a", provider=None):
        end = (provider or self.provider).terminate(launch_id)
        self.clock.pump([GATHER] * 3)
        return end

    def alive(self):
        return [
            id
            for id, instance in self.ec2.instances.items()
            if instance.state in ("pending", "running")
        ]

    def tried(self):
        """The types and subnets that were asked for, in order."""
        return [
            (parameters["InstanceType"], parameters["SubnetId"])
            for parameters in self.ec2.named("RunInstances")
        ]
