"""What is asked of EC2 for a launch."""

from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from bbs.config import EC2
from bbs.scaling.ec2 import of_its_service
from bbs.scaling.ec2.request import Attempt, attempts, root_volume, run_instances, token
from bbs.scaling.providers import LaunchKit

CONFIG = EC2(image_id="ami-1", instance_type=("t3.micro",))
WAY = Attempt("t3.micro", None)
ids = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
ways = st.builds(Attempt, st.sampled_from(["a", "b"]), st.sampled_from([None, "s-1", "s-2"]))


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
            token("0123456789abcdef0123456789abcdef", Attempt("t3.micro", "subnet-1")),
            "0123456789abcdef0123456789abcdef-1ddf58d97b2adc34fc59f9f5",
        )


class Parameters(SynchronousTestCase):
    """RunInstances' parameters."""

    def made(self, way=WAY, volumes=(), **changes):
        config = replace(CONFIG, **changes)
        return run_instances(config, "l", way, "data", list(volumes), "1.0", "f" * 16)

    def test_attempts(self):
        """Each type in every subnet, then the next type."""
        config = replace(CONFIG, instance_type=("a", "b"), subnet_ids=("s", "t"))
        self.assertEqual(
            attempts(config),
            [Attempt("a", "s"), Attempt("a", "t"), Attempt("b", "s"), Attempt("b", "t")],
        )
        self.assertEqual(attempts(CONFIG), [WAY])
        self.assertEqual(str(Attempt("a", "s")), "a in s")
        self.assertEqual(str(Attempt("a", None)), "a")

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
            volumes=[{"DeviceName": "/dev/xvda"}],
            key_name="k",
            security_group_ids=("g",),
            iam_instance_profile="bbs-app",
        )
        self.assertEqual(made["KeyName"], "k")
        self.assertEqual(made["SecurityGroupIds"], ["g"])
        self.assertEqual(made["IamInstanceProfile"], {"Name": "bbs-app"})
        self.assertEqual(made["BlockDeviceMappings"], [{"DeviceName": "/dev/xvda"}])
        arn = "arn:aws:iam::1:instance-profile/bbs-app"
        made = self.made(iam_instance_profile=arn)
        self.assertEqual(made["IamInstanceProfile"], {"Arn": arn})

    def test_launch_template(self):
        made = self.made(launch_template="bbs", image_id="")
        self.assertEqual(made["LaunchTemplate"], {"LaunchTemplateName": "bbs"})
        self.assertNotIn("ImageId", made)
        made = self.made(launch_template="lt-0123")
        self.assertEqual(made["LaunchTemplate"], {"LaunchTemplateId": "lt-0123"})

    def test_public_address(self):
        """In a subnet of one's own an instance has a public address if that is what is told."""
        way = Attempt("t3.micro", "s")
        interface = {"DeviceIndex": 0, "SubnetId": "s", "AssociatePublicIpAddress": True}
        for address in ("public", "dns"):
            made = self.made(way, address=address)
            self.assertEqual(made["NetworkInterfaces"], [interface])
            self.assertNotIn("SubnetId", made)
        made = self.made(way, address="public", security_group_ids=("g",))
        self.assertEqual(made["NetworkInterfaces"], [interface | {"Groups": ["g"]}])
        self.assertNotIn("SecurityGroupIds", made)
        made = self.made(way, address="private", security_group_ids=("g",))
        self.assertEqual((made["SubnetId"], made["SecurityGroupIds"]), ("s", ["g"]))
        self.assertNotIn("NetworkInterfaces", made)

    def test_root_volume(self):
        wanted = {"Encrypted": True, "DeleteOnTermination": True}
        image: Any = {
            "RootDeviceName": "/dev/sda1",
            "BlockDeviceMappings": [
                {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"},
                {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 8, "SnapshotId": "s"}},
            ],
        }
        self.assertEqual(
            root_volume(image), [{"DeviceName": "/dev/sda1", "Ebs": wanted | {"VolumeSize": 8}}]
        )
        del image["BlockDeviceMappings"][1]["Ebs"]["VolumeSize"]
        self.assertEqual(root_volume(image), [{"DeviceName": "/dev/sda1", "Ebs": wanted}])
        self.assertEqual(root_volume({"RootDeviceName": "/dev/sda1"}), [])


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
