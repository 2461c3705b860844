"""What is asked of EC2 for a launch."""

from dataclasses import replace
from typing import Any, ClassVar

import hypothesis.strategies as st
from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from bbs.config import EC2
from bbs.scaling.ec2 import of_its_service
from bbs.scaling.ec2.launch_request import (
    Basis,
    LaunchStrategy,
    mismatch,
    named,
    no_address,
    run_instances,
    strategies,
    token,
    volumes,
)
from bbs.scaling.providers import LaunchKit

CONFIG = EC2(image_id="ami-1", instance_type=("t3.micro",))
WAY = LaunchStrategy("t3.micro", None)
ids = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
ways = st.builds(
    LaunchStrategy,
    st.sampled_from(["a", "b"]),
    st.sampled_from([None, "s-1", "s-2"]),
    st.booleans(),
)
IMAGE: dict[str, Any] = {
    "RootDeviceName": "/dev/sda1",
    "BlockDeviceMappings": [
        {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"},
        {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 8, "SnapshotId": "s"}},
    ],
}


class Token(SynchronousTestCase):
    """ClientTokens."""

    @given(ids, ways, ids, ways)
    def test_one_each(self, id, way, other_id, other_way):
        """Each launch has one for each way, and it is within EC2's bounds."""
        made = token(id, way)
        self.assertLessEqual(len(made), 64)
        self.assertTrue(made.isascii())
        self.assertEqual(made == token(other_id, other_way), (id, way) == (other_id, other_way))

    def test_never_changes(self):
        """Two versions of this that keep one fleet must mean the same launch."""
        self.assertEqual(
            token("0123456789abcdef0123456789abcdef", LaunchStrategy("t3.micro", "subnet-1")),
            "0123456789abcdef0123456789abcdef-1ddf58d97b2adc34fc59f9f5",
        )


class RequestCase(SynchronousTestCase):
    """Makes requests."""

    def made(self, way=WAY, template=None, image=None, **changes):
        config = replace(CONFIG, **changes)
        basis = Basis(template or {}, image or {})
        return run_instances(config, "l", way, "data", basis, "1.0", "f" * 16)


class Parameters(RequestCase):
    """RunInstances' parameters."""

    def test_attempts(self):
        """Each type in every subnet, then the next type."""
        config = replace(CONFIG, instance_type=("a", "b"), subnet_ids=("s", "t"))
        self.assertEqual(
            strategies(config),
            [
                LaunchStrategy("a", "s"),
                LaunchStrategy("a", "t"),
                LaunchStrategy("b", "s"),
                LaunchStrategy("b", "t"),
            ],
        )
        self.assertEqual(strategies(CONFIG), [WAY])
        self.assertEqual(
            strategies(replace(config, spot=True), {"s": 1}),
            [
                LaunchStrategy(kind, subnet, spot)
                for spot in (True, False)
                for kind in ("a", "b")
                for subnet in ("t", "s")
            ],
        )
        self.assertEqual(str(LaunchStrategy("a", "s", spot=True)), "a in s as Spot")
        self.assertEqual(str(LaunchStrategy("a", "s")), "a in s")
        self.assertEqual(str(LaunchStrategy("a", None)), "a")

    def test_least(self):
        self.assertEqual(
            self.made(),
            {
                "MinCount": 1,
                "MaxCount": 1,
                "ClientToken": token("l", WAY),
                "ImageId": "ami-1",
                "InstanceType": "t3.micro",
                "UserData": "data",
                "InstanceInitiatedShutdownBehavior": "terminate",
                "CreditSpecification": {"CpuCredits": "unlimited"},
                "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled"},
                "TagSpecifications": [
                    {
                        "ResourceType": resource,
                        "Tags": [
                            {"Key": "Name", "Value": "bbs"},
                            {"Key": "bbs:fleet", "Value": "bbs"},
                            {"Key": "bbs:fleet-id", "Value": "f" * 16},
                            {"Key": "bbs:launch", "Value": "l"},
                            {"Key": "bbs:version", "Value": "1.0"},
                        ],
                    }
                    for resource in ("instance", "volume")
                ],
            },
        )

    def test_all_keys(self):
        made = self.made(
            image=IMAGE,
            key_name="k",
            security_group_ids=("g",),
            iam_instance_profile="bbs-app",
        )
        self.assertEqual(made["KeyName"], "k")
        self.assertEqual(made["SecurityGroupIds"], ["g"])
        self.assertEqual(made["IamInstanceProfile"], {"Name": "bbs-app"})
        self.assertEqual(made["BlockDeviceMappings"], volumes(Basis({}, IMAGE)))
        arn = "arn:aws:iam::1:instance-profile/bbs-app"
        made = self.made(iam_instance_profile=arn)
        self.assertEqual(made["IamInstanceProfile"], {"Arn": arn})

    def test_credits(self):
        """Said for every type that has any, unless the launch template says it."""
        for kind in ("t2.micro", "t3.micro", "t3a.nano", "t4g.small"):
            made = self.made(LaunchStrategy(kind, None), credits="standard")
            self.assertEqual(made["CreditSpecification"], {"CpuCredits": "standard"}, kind)
        for kind in ("m5.large", "trn1.2xlarge", "t1.micro"):
            self.assertNotIn("CreditSpecification", self.made(LaunchStrategy(kind, None)), kind)
        template = {"CreditSpecification": {"CpuCredits": "standard"}}
        self.assertNotIn("CreditSpecification", self.made(template=template))

    def test_spot(self):
        made = self.made(LaunchStrategy("t3.micro", None, spot=True))
        self.assertEqual(
            made["InstanceMarketOptions"],
            {
                "MarketType": "spot",
                "SpotOptions": {
                    "SpotInstanceType": "one-time",
                    "InstanceInterruptionBehavior": "terminate",
                },
            },
        )
        self.assertNotIn("InstanceMarketOptions", self.made())

    def test_public_address(self):
        """In a subnet of one's own an instance has a public address if that is what is told."""
        way = LaunchStrategy("t3.micro", "s")
        interface = {"DeviceIndex": 0, "SubnetId": "s", "AssociatePublicIpAddress": True}
        for address in ("public", "dns"):
            made = self.made(way, address=address)
            self.assertEqual(made["NetworkInterfaces"], [interface])
            self.assertNotIn("SubnetId", made)
        made = self.made(way, address="public", security_group_ids=("g",))
        self.assertEqual(made["NetworkInterfaces"], [interface | {"Groups": ["g"]}])
        self.assertNotIn("SecurityGroupIds", made)
        for address in ("private", "ip-{ip}.example.org"):
            made = self.made(way, address=address, security_group_ids=("g",))
            self.assertEqual((made["SubnetId"], made["SecurityGroupIds"]), ("s", ["g"]))
            self.assertNotIn("NetworkInterfaces", made)


class Volumes(SynchronousTestCase):
    """The root volume."""

    DEFAULT: ClassVar = {"VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}

    def made(self, ebs, template=None):
        """The volume, by what an image and a template say of it."""
        image = {**IMAGE, "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": ebs}]}
        said = [{"DeviceName": "/dev/sda1", "Ebs": template}] if template is not None else []
        (made,) = volumes(Basis({"BlockDeviceMappings": said}, image))
        self.assertEqual(made["DeviceName"], "/dev/sda1")
        return made["Ebs"]

    def test_default(self):
        """gp3 and encrypted, as large as the image says."""
        (made,) = volumes(Basis({}, IMAGE))
        self.assertEqual(made["Ebs"], {**self.DEFAULT, "VolumeSize": 8})
        for old in ("gp2", "standard"):
            self.assertEqual(self.made({"VolumeType": old}), self.DEFAULT)

    def test_images_own(self):
        """What somebody has chosen for an image stays."""
        chosen = {"VolumeType": "io2", "Iops": 4000, "KmsKeyId": "k", "VolumeSize": 20}
        self.assertEqual(self.made(chosen), {**self.DEFAULT, **chosen})
        faster = {"VolumeType": "gp3", "Iops": 4000, "Throughput": 500}
        self.assertEqual(self.made(faster), {**self.DEFAULT, **faster})

    def test_templates_own(self):
        """What a template says wins, and what it does not say is as without it."""
        image = {"VolumeSize": 8, "VolumeType": "io2", "Iops": 4000}
        self.assertEqual(
            self.made(image, {"VolumeSize": 30}),
            {**self.DEFAULT, "VolumeType": "io2", "Iops": 4000, "VolumeSize": 30},
        )
        said = {"VolumeType": "gp2", "Encrypted": False, "DeleteOnTermination": False}
        self.assertEqual(self.made(image, said), {**said, "VolumeSize": 8})

    def test_none(self):
        """An instance store, an image that is not known, a device that a template takes away."""
        root = {"RootDeviceName": "/dev/sda1"}
        away = {"DeviceName": "/dev/sda1", "NoDevice": ""}
        for basis in (
            Basis({}, root),
            Basis(),
            Basis({"BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {}}]}),
            Basis({"BlockDeviceMappings": [away]}, IMAGE),
        ):
            self.assertEqual(volumes(basis), [])


class Templates(RequestCase):
    """Requests that suit a launch template."""

    INTERFACE: ClassVar = {"DeviceIndex": 0, "Groups": ["t"], "Description": "d"}

    def of(self, template, subnet="s", **changes):
        """A request by a template."""
        way = LaunchStrategy("t3.micro", subnet)
        return self.made(way, template, launch_template="bbs", image_id="", **changes)

    def test_named(self):
        for said, wanted in (
            ("bbs", {"LaunchTemplateName": "bbs", "Version": "$Default"}),
            ("bbs:7", {"LaunchTemplateName": "bbs", "Version": "7"}),
            ("a/b-(c):$Latest", {"LaunchTemplateName": "a/b-(c)", "Version": "$Latest"}),
            ("lt-01:$Default", {"LaunchTemplateId": "lt-01", "Version": "$Default"}),
        ):
            config = replace(CONFIG, launch_template=said)
            self.assertEqual(named(config), wanted)
            self.assertEqual(self.made(launch_template=said)["LaunchTemplate"], wanted)

    def test_nothing_said(self):
        """Where the template says nothing, all is as without one."""
        made = self.of({"ImageId": "ami-2"}, address="public")
        self.assertNotIn("ImageId", made)
        own = self.made(LaunchStrategy("t3.micro", "s"), address="public")
        self.assertEqual(made["NetworkInterfaces"], own["NetworkInterfaces"])

    def test_groups(self):
        """Security groups of the template's rule out an interface; the subnet gives the address."""
        for said in ({"SecurityGroupIds": ["t"]}, {"SecurityGroups": ["by-name"]}):
            for address in ("public", "private"):
                made = self.of(said, address=address)
                self.assertNotIn("NetworkInterfaces", made)
                self.assertEqual(made["SubnetId"], "s")
                self.assertNotIn("SecurityGroupIds", made)
        made = self.of({"SecurityGroupIds": ["t"]}, security_group_ids=("g",))
        self.assertEqual(made["SecurityGroupIds"], ["g"])

    def test_interface(self):
        """An interface of the template's rules out a subnet and groups of the instance's: it is
        given whole, with the configuration's word over the template's."""
        for address, public in (
            ("public", {"AssociatePublicIpAddress": True}),
            ("dns", {"AssociatePublicIpAddress": True}),
            ("private", {}),
        ):
            made = self.of({"NetworkInterfaces": [self.INTERFACE]}, address=address)
            self.assertEqual(
                made["NetworkInterfaces"], [{**self.INTERFACE, "SubnetId": "s", **public}]
            )
            self.assertNotIn("SubnetId", made)
            made = self.of(
                {"NetworkInterfaces": [self.INTERFACE]},
                address=address,
                security_group_ids=("g",),
            )
            self.assertNotIn("SecurityGroupIds", made)
            self.assertEqual(made["NetworkInterfaces"][0]["Groups"], ["g"])

    def test_interface_in_a_subnet(self):
        """The template's subnet stays where the configuration names none."""
        said = {"NetworkInterfaces": [{"SubnetId": "t"}]}
        made = self.of(said, subnet=None, address="public")
        self.assertEqual(
            made["NetworkInterfaces"],
            [{"DeviceIndex": 0, "SubnetId": "t", "AssociatePublicIpAddress": True}],
        )
        made = self.of({"NetworkInterfaces": [{"Groups": ["t"]}]}, subnet=None, address="public")
        self.assertEqual(made["NetworkInterfaces"], [{"DeviceIndex": 0, "Groups": ["t"]}])

    def test_several_interfaces(self):
        second = {"DeviceIndex": 1, "SubnetId": "u"}
        made = self.of({"NetworkInterfaces": [second, self.INTERFACE]}, address="private")
        self.assertEqual(made["NetworkInterfaces"], [{**self.INTERFACE, "SubnetId": "s"}, second])

    def test_what_else_it_says(self):
        """The fleet's own are the user data, the tokens for the metadata and the end."""
        made = self.of(
            {
                "MetadataOptions": {"HttpTokens": "optional", "HttpPutResponseHopLimit": 2},
                "UserData": "eA==",
                "InstanceInitiatedShutdownBehavior": "stop",
                "DisableApiTermination": True,
            }
        )
        self.assertEqual(
            made["MetadataOptions"],
            {"HttpTokens": "required", "HttpEndpoint": "enabled", "HttpPutResponseHopLimit": 2},
        )
        self.assertEqual(made["UserData"], "data")
        self.assertEqual(made["InstanceInitiatedShutdownBehavior"], "terminate")
        self.assertIs(made["DisableApiTermination"], False)

    def test_misfits(self):
        """What cannot be mended says what to change."""
        config = replace(CONFIG, launch_template="bbs", image_id="", address="public")
        image = {"ImageId": "ami-1"}
        for said, wanted in (
            ({}, "ec2.image_id"),
            ({**image, "InstanceRequirements": {"VCpuCount": {}}}, "InstanceRequirements"),
            (
                {**image, "NetworkInterfaces": [{}], "SecurityGroupIds": ["g"]},
                "move its groups into its first network interface",
            ),
            ({**image, "NetworkInterfaces": [{"NetworkInterfaceId": "eni-1"}]}, "eni-1"),
            ({**image, "NetworkInterfaces": [{"PrivateIpAddress": "10.0.0.1"}]}, "10.0.0.1"),
            ({**image, "NetworkInterfaces": [{}, {"DeviceIndex": 1}]}, 'ec2.address = "private"'),
        ):
            self.assertIn(wanted, mismatch(config, said))
        private = replace(config, address="private")
        self.assertEqual(mismatch(private, {**image, "NetworkInterfaces": [{}, {}]}), "")
        self.assertEqual(mismatch(replace(config, image_id="ami-1"), {}), "")
        self.assertEqual(mismatch(config, image), "")

    def test_no_address(self):
        config = replace(CONFIG, address="public")
        self.assertRegex(no_address(config, "s-1"), "^no public address: .*s-1.*ec2.address")
        config = replace(CONFIG, address="dns")
        self.assertRegex(no_address(config, "s-1"), "^no public address: .*s-1.*DNS hostnames")


class Fleets(SynchronousTestCase):
    def test_of_two_services(self) -> None:
        """Each is a fleet of its own, though nobody said so."""
        for said, service, name in (
            ("bbs", "bbs", "bbs"),
            ("bbs", "lobby", "lobby"),
            ("mine", "lobby", "mine"),
        ):
            kit = LaunchKit(None, EC2(name=said), "", list, {}, str, print, service_name=service)
            self.assertEqual(of_its_service(kit).section.name, name)
