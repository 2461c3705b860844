"""The EC2 provider with real calls: templates, Spot, balance, tokens, fleets of one name, instances
without an address, and stopped ones."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import gatherResults, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from bbs.scaling.interfaces import LaunchFailed, LaunchRefused, ProviderUnavailable
from tests.cloud import BOOT, CAPACITY, Faults, Rule, error, lost
from tests.integration.cloud_case import SESSION
from tests.integration.service import eventually
from tests.integration.test_ec2_faults import FaultsCase

OTHER_FLEET = "f" * 16


class WaysCase(FaultsCase):
    """A cloud in which everything boots, in a moment, and a provider on it."""

    boot_seconds = 0.2
    # What is to run when it is started again is called `boot` here.
    user_data = (
        "#!/bin/sh\n# {}\nprintf '#!/bin/sh\\nexec sleep 1000\\n' > boot\nchmod 700 boot\n"
        "exec sleep 1000\n"
    )

    def lack(self, **where):
        return Rule(CAPACITY, error("InsufficientInstanceCapacity"), where=where)

    def only(self):
        """The one instance that lives."""
        (machine,) = self.cloud.instances(alive=True)
        return machine

    async def listed(self, launch_id, holds, provider=None):
        """What a list tells of a launch as soon as it is so."""
        while True:
            told = (await (provider or self.provider).list()).get(launch_id)
            if told and holds(told):
                return told
            await deferLater(reactor, 0.05)


class Where(WaysCase):
    """Subnets, types and markets."""

    async def test_balance(self):
        await gatherResults([self.provider.launch(f"l-{number}") for number in range(6)])
        subnets = [machine.subnet_id for machine in self.cloud.instances(alive=True)]
        self.assertEqual([subnets.count(subnet) for subnet in self.cloud.subnet_ids], [3, 3])

    async def test_a_zone_without_capacity(self):
        """It is not asked again by those that come after."""
        first, second = self.cloud.subnet_ids
        self.cloud.faults = Faults(self.lack(SubnetId=first))
        for number in range(4):
            await self.provider.launch(f"l-{number}")
        subnets = [machine.subnet_id for machine in self.cloud.instances(alive=True)]
        self.assertEqual(subnets, [second] * 4)
        asked = [call.parameters["SubnetId"] for call in self.called("RunInstances")]
        self.assertEqual(asked.count(first), 1)

    async def test_spot(self):
        """Spot first; where there is none, or no more, on demand."""
        provider = self.controller(spot=True)
        await provider.launch("a")
        self.assertTrue(self.only().spot)
        told = await self.listed("a", lambda told: "running" in told.detail, provider)
        self.assertIn("running, Spot", told.detail)
        with self.assertRaises(LaunchFailed):
            await provider.stop("a")
        self.cloud.faults = Faults(self.lack(Market="spot"))
        await provider.launch("b")
        self.cloud.faults = Faults()
        self.cloud.launches.spot_limit = 1
        another = self.controller(spot=True)
        await another.launch("c")
        spot = [machine.spot for machine in self.cloud.instances(alive=True)]
        self.assertEqual(spot, [True, False, False])
        self.assertEqual(self.alive(), ["a", "b", "c"])

    async def test_spot_taken_away(self):
        provider = self.controller(spot=True)
        await provider.launch("a")
        await self.listed("a", lambda told: "running" in told.detail, provider)
        self.cloud.interrupt(self.only().instance_id, seconds=0.1)
        told = await self.listed("a", lambda told: not told.alive, provider)
        self.assertIn("Server.SpotInstanceTermination", told.detail)


class SpotFleets(WaysCase):
    """The best of several Spot pools."""

    def several(self, **changes):
        return self.controller(spot=True, instance_type=("t3.micro", "t3.small"), **changes)

    def left(self):
        """The launch templates that are left."""
        return [each.name for each in self.cloud.launches.templates.by_id.values()]

    async def test_boots_as_any(self):
        """With its own user data and tags, in the pool that has capacity."""
        lack = error("InsufficientInstanceCapacity")
        self.cloud.faults = Faults(Rule(CAPACITY, lack, where={"InstanceType": "t3.micro"}))
        provider = self.several(address="public")
        await provider.launch("a")
        machine = self.only()
        self.assertEqual((machine.kind, machine.spot), ("t3.small", True))
        own = {key: value for key, value in machine.tags.items() if not key.startswith("aws:")}
        self.assertEqual(own, machine.volume_tags)
        self.assertEqual(own["bbs:launch"], "a")
        self.assertIn("# a\n", machine.user_data)
        self.assertEqual(machine.stops_as, "terminated")
        (volume,) = machine.volumes.values()
        self.assertEqual((volume["VolumeType"], volume["Encrypted"]), ("gp3", "true"))
        told = await self.listed("a", lambda told: "running" in told.detail, provider)
        self.assertEqual(told.pool, f"t3.small in {machine.subnet_id} as Spot")
        self.assertEqual(self.called("RunInstances"), [])
        await eventually(lambda: not self.left(), "its template is gone")

    async def test_two_zones(self):
        provider = self.several()
        await gatherResults([provider.launch(f"l-{number}") for number in range(6)])
        subnets = [machine.subnet_id for machine in self.cloud.instances(alive=True)]
        self.assertEqual(len(subnets), 6)
        self.assertGreaterEqual(min(map(subnets.count, self.cloud.subnet_ids)), 2)

    async def test_lost_answers(self):
        """One instance, though neither the controller nor its successor hear of it at first."""
        self.cloud.faults = Faults(Rule("CreateFleet", lost(), times=4))
        provider = self.several()
        ways: dict[str, str] = {}

        def write(id, before, way):
            self.assertEqual(ways.get(id), before)
            ways[id] = way
            return succeed(None)

        provider.write_strategy = write
        with self.assertRaises(ProviderUnavailable):
            await provider.launch("a")
        successor = self.several(key_name="another")
        successor.know_strategies(ways, ["a"])
        await successor.launch("a")
        self.assertEqual(self.alive(), ["a"])
        self.assertEqual([call.action for call in self.cloud.calls].count("CreateFleet"), 5)

    async def test_no_spot_capacity(self):
        """On demand at once, and Spot is not asked for by the next."""
        self.cloud.faults = Faults(self.lack(Market="spot"))
        provider = self.several()
        await gatherResults([provider.launch("a"), provider.launch("b")])
        asked = len(self.called("CreateFleet"))
        await provider.launch("c")
        self.assertEqual(len(self.called("CreateFleet")), asked)
        self.assertEqual(
            [machine.spot for machine in self.cloud.instances(alive=True)], [False] * 3
        )
        await eventually(lambda: not self.left(), "their templates are gone")

    async def test_no_right(self):
        """Pool by pool then."""
        for action in ("CreateLaunchTemplate", "CreateFleet"):
            self.cloud.faults = Faults(Rule(action, error("UnauthorizedOperation")))
            provider = self.several()
            await provider.launch(f"{action}-a")
            await provider.launch(f"{action}-b")
            self.assertEqual(len(self.called(action)), 1)
        self.assertTrue(all(machine.spot for machine in self.cloud.instances(alive=True)))
        self.assertEqual(len(self.cloud.instances(alive=True)), 4)

    async def test_beside_the_operators_template(self):
        """What it says counts, its version stays as it is, and the launch's is another."""
        await self.call_in_thread(
            "create_launch_template",
            LaunchTemplateName="app",
            LaunchTemplateData={
                "ImageId": self.cloud.image_id,
                "SecurityGroupIds": [self.cloud.security_group_id],
                "UserData": "bm90IHRoaXM=",
                "CreditSpecification": {"CpuCredits": "standard"},
                "TagSpecifications": [
                    {"ResourceType": "instance", "Tags": [{"Key": "team", "Value": "x"}]}
                ],
            },
        )
        provider = self.several(
            launch_template="app", image_id="", security_group_ids=(), address="public"
        )
        await provider.launch("a")
        machine = self.only()
        self.assertEqual((machine.tags["team"], machine.tags["bbs:launch"]), ("x", "a"))
        self.assertIn("# a\n", machine.user_data)
        await eventually(lambda: self.left() == ["app"], "only the operator's is left")
        made = self.called("CreateLaunchTemplate")[-1].parameters
        self.assertEqual(made["LaunchTemplateData.CreditSpecification.CpuCredits"], "standard")

    async def call_in_thread(self, method, **parameters):
        client: Any = SESSION.client(
            "ec2",
            endpoint_url=self.cloud.endpoint_url,
            region_name=self.config.region,
            aws_access_key_id=self.cloud.environ["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.cloud.environ["AWS_SECRET_ACCESS_KEY"],
        )
        await deferToThread(getattr(client, method), **parameters)


class Templates(WaysCase):
    """Launch templates, as EC2 merges them with what is asked."""

    async def setUp(self):  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.ec2: Any = SESSION.client(
            "ec2",
            endpoint_url=self.cloud.endpoint_url,
            region_name=self.config.region,
            aws_access_key_id=self.cloud.environ["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.cloud.environ["AWS_SECRET_ACCESS_KEY"],
        )

    async def make(self, name, **data):
        data = {"ImageId": self.cloud.image_id, **data}
        await deferToThread(
            self.ec2.create_launch_template, LaunchTemplateName=name, LaunchTemplateData=data
        )

    def templated(self, name, **changes):
        return self.controller(launch_template=name, image_id="", **changes)

    async def test_every_shape(self):
        """With groups, with an interface, with neither; for public addresses and private ones."""
        group, subnet = self.cloud.security_group_id, self.cloud.subnet_ids[0]
        await self.make("groups", SecurityGroupIds=[group])
        await self.make("interface", NetworkInterfaces=[{"DeviceIndex": 0, "Groups": [group]}])
        await self.make("neither")
        ids = []
        for name in ("groups", "interface", "neither"):
            for address in ("public", "private"):
                for groups in ((), (group,)):
                    provider = self.templated(
                        name, address=address, security_group_ids=groups, subnet_ids=(subnet,)
                    )
                    ids.append(f"{name}-{address}-{len(groups)}")
                    await provider.launch(ids[-1])
        self.assertEqual(self.alive(), sorted(ids))
        self.assertEqual({one.subnet_id for one in self.cloud.instances(alive=True)}, {subnet})
        for machine in self.cloud.instances(alive=True):
            self.assertEqual(machine.stops_as, "terminated")
            (volume,) = machine.volumes.values()
            self.assertEqual((volume["VolumeType"], volume["Encrypted"]), ("gp3", "true"))

    async def test_changed_under_way(self):
        """Another default version, of another shape, between two launches."""
        await self.make("app", SecurityGroupIds=[self.cloud.security_group_id])
        provider = self.templated("app", address="public")
        await provider.launch("a")
        await deferToThread(
            self.ec2.create_launch_template_version,
            LaunchTemplateName="app",
            LaunchTemplateData={
                "ImageId": self.cloud.image_id,
                "NetworkInterfaces": [{"DeviceIndex": 0}],
            },
        )
        await deferToThread(
            self.ec2.modify_launch_template, LaunchTemplateName="app", DefaultVersion="2"
        )
        await provider.launch("b")
        pinned = self.templated("app:1", address="public")
        await pinned.launch("c")
        self.assertEqual(self.alive(), ["a", "b", "c"])

    async def test_volume_of_the_templates(self):
        """What the template says of the volume wins, and what it does not say is as without it."""
        answer = await deferToThread(self.ec2.describe_images, ImageIds=[self.cloud.image_id])
        root = answer["Images"][0]["RootDeviceName"]
        volume = {"DeviceName": root, "Ebs": {"VolumeSize": 20}}
        await self.make("app", BlockDeviceMappings=[volume])
        await self.templated("app").launch("a")
        told = self.only().volumes[root]
        wanted = {"VolumeSize": "20", "VolumeType": "gp3", "Encrypted": "true"}
        self.assertEqual({key: told[key] for key in wanted}, wanted)

    async def test_address_that_no_subnet_gives(self):
        """A template without security groups has one asked for."""
        self.cloud.launches.private_subnets.update(self.cloud.subnet_ids)
        await self.make("neither")
        provider = self.templated("neither", address="public")
        await provider.launch("a")
        told = await self.listed("a", lambda told: told.host is not None, provider)
        self.assertTrue(told.alive)

    async def test_no_such_version(self):
        await self.make("app")
        with self.assertRaisesRegex(LaunchRefused, r"VersionNotFound.*ec2\.launch_template"):
            await self.templated("app:9").launch("a")
        with self.assertRaisesRegex(LaunchRefused, r"NotFoundException.*ec2\.launch_template"):
            await self.templated("other").launch("a")


class Tokens(WaysCase):
    """What EC2 answers to a token that it has seen."""

    async def test_every_way(self):
        """Accepted again, with other parameters, ended, forgotten: never two that live."""
        await self.provider.launch("a")
        await self.controller().launch("a")
        self.assertEqual(self.alive(), ["a"])
        other = self.controller(key_name="another")
        await other.launch("a")
        self.assertEqual(self.alive(), ["a"])
        await self.cloud.terminate(self.only().instance_id)
        successor = self.controller()
        await successor.launch("a")
        self.assertFalse((await successor.list())["a"].alive)
        await successor.launch("b")
        self.assertEqual(self.alive(), ["b"])
        self.cloud.launches.tokens.forget()
        await self.controller().launch("b")
        self.assertLessEqual(len(self.alive()), 2)
        await self.until(self.provider.terminate, ["b"])
        await self.listed("b", lambda told: not told.alive)
        self.assertEqual(self.alive(), [])

    async def test_ended_before_the_answer(self):
        """A launch whose answers are lost, and whose instance ends meanwhile, is well ended."""
        self.cloud.faults = Faults(Rule("RunInstances", lost(), times=3))
        with self.assertRaises(ProviderUnavailable):
            await self.provider.launch("a")
        await self.cloud.terminate(self.only().instance_id)
        await self.provider.launch("a")
        self.assertFalse((await self.provider.list())["a"].alive)
        self.assertEqual(self.alive(), [])


class TwoFleets(WaysCase):
    """Two fleets of one name in one account and region."""

    async def test_touch_nothing_of_each_other(self):
        copy = self.controller(fleet_id=OTHER_FLEET)
        await gatherResults([self.provider.launch("a"), copy.launch("b")])
        self.assertEqual(set(await self.provider.list()), {"a"})
        self.assertEqual(set(await copy.list()), {"b"})
        await gatherResults([self.provider.terminate("b"), copy.terminate("a")])
        self.assertEqual(self.alive(), ["a", "b"])
        self.assertEqual(self.called("TerminateInstances"), [])
        # What the copy takes for a launch of its own becomes one.
        await copy.launch("a")
        own, copied = [(await each.list())["a"].instance_id for each in (self.provider, copy)]
        self.assertNotEqual(own, copied)
        await self.until(copy.terminate, ["a"])
        self.assertTrue((await self.provider.list())["a"].alive)

    async def test_volumes_are_tagged(self):
        await self.provider.launch("a")
        self.assertEqual(self.only().volume_tags, self.only().tags)
        self.assertEqual(self.only().tags["bbs:fleet-id"], self.provider.scope.split(":")[2])


class Instances(WaysCase):
    """What becomes of instances."""

    async def test_stopped_and_started(self):
        await self.provider.launch("a")
        with self.assertRaises(ProviderUnavailable):
            await self.provider.stop("a")
        await self.listed("a", lambda told: "running" in told.detail)
        await self.provider.stop("a")
        told = (await self.provider.list())["a"]
        self.assertEqual((told.alive, told.stopped), (False, True))
        await eventually(lambda: self.only().state == "stopped", "it stands")
        self.cloud.faults = Faults(
            Rule("StartInstances", error("InsufficientInstanceCapacity"), times=1)
        )
        with self.assertRaises(LaunchFailed):
            await self.provider.start("a")
        await self.provider.start("a")
        await self.listed("a", lambda told: "running" in told.detail)
        await self.provider.terminate("a")
        self.assertEqual(self.alive(), [])

    async def test_stopped_by_hand(self):
        """It is told as stopped, by whom, and can be ended."""
        await self.provider.launch("a")
        await self.listed("a", lambda told: "running" in told.detail)
        await self.cloud.stop_instance(self.only().instance_id)
        told = await self.listed("a", lambda told: told.stopped)
        self.assertIn("User initiated", told.detail)
        await self.controller().terminate("a")
        self.assertEqual(self.alive(), [])

    async def test_why_a_boot_came_to_nothing(self):
        self.cloud.faults = Faults(Rule(BOOT, error("Client.VolumeLimitExceeded")))
        await self.provider.launch("a")
        told = await self.listed("a", lambda told: not told.alive)
        self.assertIn("Client.VolumeLimitExceeded", told.detail)
