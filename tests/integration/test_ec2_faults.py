"""The EC2 provider with real calls, on an API that loses, delays, refuses and hangs them."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from bbs.config import EC2
from bbs.core.clock import IReactor
from bbs.scaling.ec2.client import client_for
from bbs.scaling.ec2.provider import EC2Provider
from bbs.scaling.interfaces import LaunchRefused, ProviderUnavailable
from tests.cloud import Cloud, Faults, Rule, cut, error, everything, hang, lost

SEED = 3

FLEET_ID = "0123456789abcdef"


class FaultsCase(TestCase):
    """A cloud in which nothing boots, and a provider on it."""

    timeout = 300
    boot_seconds = 1000.0
    user_data = "#!/bin/sh\n# {}"

    async def setUp(self):  # type: ignore[override]  # trial waits for it
        await deferLater(reactor, 0)
        self.cloud = Cloud(boot_seconds=self.boot_seconds, seed=SEED)
        await self.cloud.start()
        self.addCleanup(self.cloud.stop)
        self.patch(os, "environ", os.environ | self.cloud.environ)
        told: dict[str, Any] = {**self.cloud.ec2_config(), "user_data": ""}
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in told.items()
        }
        self.config = EC2(**values)
        self.provider = self.controller()
        self.assertEqual(await self.provider.list(), {})

    def controller(self, fleet_id=FLEET_ID, client=None, **changes):
        """One more provider of the fleet."""
        config = replace(self.config, **changes)
        client = client or self.client()
        provider = EC2Provider(
            reactor, client, config, self.user_data.format, "1.0", fleet_id=fleet_id
        )
        provider.startService()
        self.addCleanup(provider.stopService)
        return provider

    def client(self):
        """One more client of the cloud."""
        client = client_for(cast("IReactor", reactor), self.config)
        client.startService()
        self.addCleanup(lambda: client.running and client.stopService())
        return client

    def alive(self):
        """The launches of the instances that live, one for each instance."""
        return sorted(machine.tags["bbs:launch"] for machine in self.cloud.instances(alive=True))

    def called(self, action):
        return [call for call in self.cloud.calls if call.action == action]

    def until(self, ask, ids):
        """Ask for each id as the fleet's controller does: until there is an answer."""

        async def one(id):
            while True:
                try:
                    return await ask(id)
                except ProviderUnavailable:
                    await deferLater(reactor, 0.05)

        return gatherResults([Deferred.fromCoroutine(one(id)) for id in ids])


class Answers(FaultsCase):
    """Calls that go wrong."""

    async def test_lost(self):
        """A launch is one instance, however many answers are lost; so is its end one end."""
        self.cloud.faults = Faults(
            Rule("RunInstances", lost(), times=2), Rule("TerminateInstances", lost(), times=1)
        )
        await self.provider.launch("a")
        self.assertEqual(self.alive(), ["a"])
        self.assertEqual(len(self.called("RunInstances")), 3)
        await self.provider.terminate("a")
        self.assertEqual(self.alive(), [])

    async def test_successor(self):
        """The controller dies before it hears that it has launched; its successor asks again."""
        self.cloud.faults = Faults(Rule("RunInstances", lost(), times=3))
        with self.assertRaises(ProviderUnavailable):
            await self.provider.launch("a")
        await self.controller().launch("a")
        self.assertEqual(self.alive(), ["a"])

    async def test_no_capacity(self):
        """Capacity that lacks, which EC2 answers with HTTP 500, is asked for once."""
        self.cloud.faults = Faults(
            Rule(
                "RunInstances",
                error("InsufficientInstanceCapacity"),
                where={"InstanceType": "t3.micro"},
            )
        )
        await self.controller(instance_type=("t3.micro", "t3.small")).launch("a")
        (machine,) = self.cloud.instances(alive=True)
        self.assertEqual((machine.kind, machine.subnet_id), ("t3.small", self.cloud.subnet_ids[0]))
        self.assertEqual(len(self.called("RunInstances")), 3)

    async def test_refused(self):
        self.cloud.faults = Faults(Rule("RunInstances", error("UnauthorizedOperation")))
        with self.assertRaisesRegex(LaunchRefused, "UnauthorizedOperation.*lacks a right"):
            await self.provider.launch("a")
        self.assertEqual(len(self.called("RunInstances")), 1)

    async def test_throttled(self):
        """Throttling holds everything back; when it ends, all is done."""
        self.cloud.faults = Faults(Rule("*", error("RequestLimitExceeded"), times=2))
        began = reactor.seconds()
        await gatherResults([self.provider.launch("a"), self.provider.list()])
        self.assertEqual(self.alive(), ["a"])
        self.assertGreaterEqual(reactor.seconds() - began, 0.5)
        self.assertLessEqual(len(self.cloud.calls), 8)

    async def test_describing_hangs(self):
        """Lists that hang keep no instance from its end, and stopping waits for none."""
        client = self.client()
        provider = self.controller(client=client)
        await provider.launch("a")
        self.cloud.faults = Faults(Rule("DescribeInstances", hang()))
        hanging = [
            self.assertFailure(client.describe_instances(), CancelledError) for _ in range(20)
        ]
        await provider.terminate("a")
        self.assertEqual(self.alive(), [])
        # Each is given up, and does not come to its own end.
        await client.stopService()
        await gatherResults(hanging)

    async def test_stale(self):
        """Descriptions that are behind: what is launched is there, what ended is not."""
        self.cloud.faults = Faults(lag=2.0)
        await self.provider.launch("a")
        self.assertTrue((await self.provider.list())["a"].alive)
        await self.until(self.provider.terminate, ["a"])
        self.assertFalse((await self.provider.list())["a"].alive)
        await self.provider.launch("a")
        self.assertEqual(self.alive(), [])

    async def test_everything(self):
        """Every call fails, is late or loses its answer with a probability of 0.3, and between
        them controllers change: each launch is one instance, and each end an end."""
        self.cloud.faults = Faults(*everything(0.3))
        ids = [f"launch-{number}" for number in range(10)]
        for part in (ids[:5], ids[3:]):
            provider = self.controller()
            await self.until(provider.launch, part)
            self.assertEqual(self.alive(), sorted(set(ids[: ids.index(part[-1]) + 1])))
        provider = self.controller()
        await self.until(provider.terminate, ids)
        self.assertEqual(self.alive(), [])

    async def test_cut(self):
        """A call that never arrived is made again."""
        self.cloud.faults = Faults(Rule("*", cut(), times=2))
        await self.provider.launch("a")
        self.assertEqual(self.alive(), ["a"])
