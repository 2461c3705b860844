"""App servers on instances that are asked about themselves (`tests/cloud`): servers that find out
where they are, and that they will be taken away."""

from __future__ import annotations

from tests.cloud import Faults, Rule, error, hang
from tests.integration.service import connect, eventually, wire_to
from tests.integration.test_ec2_service import CloudService, CloudServiceCase


class OwnAddress(CloudServiceCase):
    """Servers that say themselves where people reach them."""

    async def test_lists_and_metadata_that_cannot_be_had(self) -> None:
        """Where neither says where a server is, it is waited for, longer than a launch may take;
        either of them is enough."""
        service = await self.on_cloud(
            app={"capacity": 1}, fleet={"minimum": 0, "spare": 0, "launch_timeout": 12.0}
        )
        cloud = service.cloud
        await service.login_server()
        await service.register("ann", "bob")
        await eventually(
            lambda: any(
                each.action == "DescribeInstances" and each.answer == "" for each in cloud.calls
            ),
            "its controller has seen its fleet, which is empty",
            60.0,
        )
        no_lists = Rule("DescribeInstances", error("UnauthorizedOperation"))
        no_metadata = Rule("Metadata", hang())
        cloud.faults = Faults(no_lists, no_metadata)
        await service.command("fleet", "launch")
        await eventually(lambda: "its address is unknown" in service.log(), "it is said", 120.0)
        self.assertEqual([each["state"] for each in await service.fleet()], ["launching"])
        cloud.faults = Faults(no_lists)
        await self.is_let_in(service, "ann")
        self.assertEqual(len(cloud.instances()), 1)
        # There is no place for another.
        cloud.faults = Faults(no_metadata)
        await self.is_let_in(service, "bob")
        self.assertEqual(len(cloud.instances(alive=True)), 2)
        self.assertEqual({*service.instances().values()}, {1})

    async def is_let_in(self, service: CloudService, name: str) -> None:
        """Somebody is, and served."""
        person = await service.person(name)
        self.assertEqual((await person.asks("list-friend"))["status"], 0)


class Spot(CloudServiceCase):
    """Instances that EC2 takes away."""

    async def test_interrupted(self) -> None:
        """Another is launched within seconds, and people go over without logging in."""
        service = await self.on_cloud(fleet={"minimum": 1, "spare": 0})
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
