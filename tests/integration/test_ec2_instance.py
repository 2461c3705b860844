"""App servers on instances that are asked about themselves (`tests/cloud`): servers that find out
where they are, and that they will be taken away."""

from __future__ import annotations

from tests.cloud import Faults, Rule, error, hang
from tests.integration.service import connect, eventually, wire_to
from tests.integration.test_ec2_service import CloudService, CloudServiceCase


class OwnAddress(CloudServiceCase):
    """Servers that say themselves where people reach them."""

    async def kept(self, launch_timeout: float) -> CloudService:
        """A service whose keeper has seen its fleet, which is empty, and sees nothing any more."""
        service = await self.on_cloud(
            boot_seconds=0.5, fleet={"minimum": 0, "spare": 0, "launch_timeout": launch_timeout}
        )
        await service.login_server()
        calls = service.cloud.calls
        await eventually(
            lambda: any(each.action == "DescribeInstances" and each.answer == "" for each in calls),
            "it has seen it",
            60.0,
        )
        service.cloud.faults = Faults(Rule("DescribeInstances", error("RequestLimitExceeded")))
        return service

    async def test_lists_that_fail_while_launches_work(self) -> None:
        """People are let in, and nothing is ended or launched twice."""
        service = await self.kept(launch_timeout=60.0)
        await service.register("ann")
        ann = await service.person("ann")
        self.assertEqual((await ann.asks("list-friend"))["status"], 0)
        self.assertEqual([each["state"] for each in await service.fleet()], ["ready"])
        self.assertEqual(len(service.cloud.instances(alive=True)), len(service.instances()))

    async def test_metadata_that_hang(self) -> None:
        """The provider's list says where the server is."""
        service = await self.on_cloud(boot_seconds=0.5, fleet={"minimum": 0})
        service.cloud.faults = Faults(Rule("Metadata", hang()))
        await service.login_server()
        await service.register("ann")
        ann = await service.person("ann")
        self.assertEqual((await ann.asks("list-friend"))["status"], 0)

    async def test_neither(self) -> None:
        """A server that serves where nobody knows is waited for, longer than a launch may take."""
        service = await self.kept(launch_timeout=12.0)
        cloud = service.cloud
        cloud.faults = Faults(
            Rule("DescribeInstances", error("RequestLimitExceeded")), Rule("Metadata", hang())
        )
        await service.command("fleet", "launch")
        await eventually(
            lambda: "nobody knows at which address" in service.log(), "it is said", 120.0
        )
        self.assertEqual([each["state"] for each in await service.fleet()], ["launching"])
        cloud.faults = Faults(Rule("DescribeInstances", error("RequestLimitExceeded")))
        await service.fleet_is(
            lambda servers: [each["state"] for each in servers] == ["ready"], "it is ready", 120.0
        )
        self.assertEqual(len(cloud.instances()), 1)


class Spot(CloudServiceCase):
    """Instances that EC2 takes away."""

    async def test_interrupted(self) -> None:
        """Another is launched within seconds, and people go over without logging in."""
        service = await self.on_cloud(boot_seconds=0.5, fleet={"minimum": 1, "spare": 0})
        cloud = service.cloud
        service.write_config(ec2__spot=True)
        await service.login_server()
        await service.register("ann")
        ann = await service.person("ann")
        (first,) = cloud.instances(alive=True)
        self.assertTrue(first.spot)
        cloud.interrupt(first.instance_id, seconds=120.0)
        await eventually(lambda: not first.alive, "it has ended", 120.0)
        login = await connect(service.port)
        place = (await login.ask("locate", ann.token))["app_server"]
        (second,) = cloud.instances(alive=True)
        self.assertEqual(place["host"], second.address)
        wire = await wire_to(place["host"], place["port"])
        self.assertEqual((await wire.ask("list-friend", ann.token))["status"], 0)
        self.assertRegex(service.log(), "drains: spot: interrupted at [0-9]{2}:[0-9]{2} UTC")
