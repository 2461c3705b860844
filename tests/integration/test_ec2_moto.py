"""The EC2 provider against a real moto server: the contract of providers, and what it asks for."""

from __future__ import annotations

import base64
import itertools
import os
from dataclasses import replace
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from bbs.config import EC2
from bbs.core.clock import IReactor
from bbs.scaling.ec2 import provider as provider_module
from bbs.scaling.ec2.client import Api, EC2Client
from bbs.scaling.ec2.provider import EC2Provider
from bbs.scaling.ec2.throttle import RATES
from bbs.scaling.interfaces import LaunchRefused, ProviderUnavailable
from bbs.testing.provider_contract import ProviderContract, WarmContract
from tests.cloud import moto
from tests.integration.cloud_case import SESSION

REGION = "us-east-1"

IDENTITY = {
    "AWS_ACCESS_KEY_ID": "TESTS",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}

UNTHROTTLED = {action: rate._replace(size=1000) for action, rate in RATES.items()}
"""Moto takes as many calls as come."""

_fleets = itertools.count()


class MotoCase(TestCase):
    """Tests with a moto server, which has a network and an image."""

    timeout = 300

    def setUp(self):
        self.patch(os, "environ", os.environ | IDENTITY)
        self.endpoint_url = f"http://127.0.0.1:{moto.server()}"
        self.ec2 = SESSION.client(
            "ec2",
            region_name=REGION,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=IDENTITY["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=IDENTITY["AWS_SECRET_ACCESS_KEY"],
        )
        vpc = self.ec2.create_vpc(CidrBlock="127.50.0.0/16")["Vpc"]["VpcId"]
        self.subnets = tuple(
            self.ec2.create_subnet(VpcId=vpc, CidrBlock=block, AvailabilityZone=zone)["Subnet"][
                "SubnetId"
            ]
            for block, zone in (("127.50.0.0/17", "us-east-1a"), ("127.50.128.0/17", "us-east-1b"))
        )
        group = self.ec2.create_security_group(GroupName=self.id(), Description="g", VpcId=vpc)
        image = self.ec2.register_image(
            Name="bbs", RootDeviceName="/dev/xvda", Architecture="x86_64"
        )
        self.config = EC2(
            region=REGION,
            endpoint_url=self.endpoint_url,
            image_id=image["ImageId"],
            subnet_ids=self.subnets,
            security_group_ids=(group["GroupId"],),
            address="private",
        )

    def provider(self, **changes):
        """A provider for a fleet of its own, not started; its client is."""
        config = replace(self.config, **changes)
        client = EC2Client(reactor, Api(cast("IReactor", reactor), config), rates=UNTHROTTLED)
        client.startService()
        self.addCleanup(client.stopService)
        return EC2Provider(
            reactor, client, config, "data of {}".format, "1.0", fleet_id=f"{next(_fleets):016x}"
        )

    def started(self, **changes):
        """A provider that runs."""
        provider = self.provider(**changes)
        provider.startService()
        self.addCleanup(provider.stopService)
        return provider

    def instances(self, launch_id):
        """The instances of a launch, as moto has them."""
        wanted: Any = [{"Name": "tag:bbs:launch", "Values": [launch_id]}]
        pages = self.ec2.describe_instances(Filters=wanted)["Reservations"]
        return [instance for page in pages for instance in page["Instances"]]


class EC2ProviderContract(WarmContract, MotoCase):
    """Both contracts. Moto knows no idempotency token: to ask again is the provider's own care."""

    def make_provider(self):
        return self.provider()

    started: Any = ProviderContract.started

    def end_instance(self, provider, launch_id):
        ids = [instance["InstanceId"] for instance in self.instances(launch_id)]
        self.ec2.terminate_instances(InstanceIds=ids)

    def break_launches(self, provider):
        self.ec2.deregister_image(ImageId=self.config.image_id)

    async def until(self, provider, holds):
        """It tells of what a list shows; so the fleet's controller asks it time and again."""
        while not holds(listed := await provider.list()):
            await deferLater(reactor, 0.05)
        return listed


class Launched(MotoCase):
    """What a launch makes."""

    async def test_explicit(self):
        self.ec2.create_key_pair(KeyName="operators")
        provider = self.started(key_name="operators", address="public")
        await provider.launch("l-1")
        (instance,) = self.instances("l-1")
        id = instance["InstanceId"]
        tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
        self.assertEqual(
            tags,
            {
                "Name": "bbs",
                "bbs:fleet": "bbs",
                "bbs:fleet-id": provider.scope.split(":")[2],
                "bbs:launch": "l-1",
                "bbs:version": "1.0",
            },
        )
        self.assertEqual(instance["MetadataOptions"]["HttpTokens"], "required")
        self.assertEqual(instance["InstanceType"], "t3.micro")
        self.assertEqual(instance["SubnetId"], self.subnets[0])
        self.assertEqual(instance["KeyName"], "operators")
        groups = [group["GroupId"] for group in instance["NetworkInterfaces"][0]["Groups"]]
        self.assertEqual(groups, list(self.config.security_group_ids))
        attribute = self.ec2.describe_instance_attribute
        told = attribute(InstanceId=id, Attribute="userData")["UserData"]["Value"]
        self.assertEqual(base64.b64decode(told), b"data of l-1")
        behaviour = attribute(InstanceId=id, Attribute="instanceInitiatedShutdownBehavior")
        self.assertEqual(behaviour["InstanceInitiatedShutdownBehavior"]["Value"], "terminate")
        (volume,) = self.ec2.describe_volumes(
            Filters=[{"Name": "attachment.instance-id", "Values": [id]}]
        )["Volumes"]
        self.assertTrue(volume["Encrypted"])
        self.assertTrue(instance["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"])
        self.assertIn({"Key": "bbs:launch", "Value": "l-1"}, volume["Tags"])

    async def test_address(self):
        for address, key in (
            ("public", "PublicIpAddress"),
            ("private", "PrivateIpAddress"),
            ("dns", "PublicDnsName"),
        ):
            provider = self.started(address=address)
            await provider.launch(address)
            listed = (await provider.list())[address]
            (instance,) = self.instances(address)
            self.assertEqual(listed.host, instance[key])
            self.assertTrue(listed.host)
            self.assertEqual(listed.kind, "t3.micro")
            self.assertEqual(listed.instance_id, instance["InstanceId"])
            self.assertEqual(listed.launched, instance["LaunchTime"].timestamp())

    async def test_launch_template(self):
        self.ec2.create_launch_template(
            LaunchTemplateName="bbs",
            LaunchTemplateData={"ImageId": self.config.image_id, "InstanceType": "t3.small"},
        )
        provider = self.started(launch_template="bbs", image_id="", instance_type=("t3.micro",))
        await provider.launch("by-template")
        (instance,) = self.instances("by-template")
        self.assertEqual(instance["ImageId"], self.config.image_id)

    async def test_refused(self):
        provider = self.started(security_group_ids=("sg-12345678",))
        with self.assertRaisesRegex(LaunchRefused, r"InvalidGroup.NotFound: .*correct \[ec2\]"):
            await provider.launch("l-1")

    async def test_two_fleets(self):
        """Two fleets of one name in one account see nothing of each other."""
        one, other = self.started(), self.started()
        await one.launch("same")
        self.assertEqual(await other.list(), {})
        await other.terminate("same")
        self.assertTrue((await one.list())["same"].alive)

    async def test_many(self):
        """More than a page; ended together in few calls."""
        self.patch(provider_module, "PAGE", 50)
        provider = self.started()
        ids = [f"l-{number}" for number in range(60)]
        await gatherResults([provider.launch(id) for id in ids])
        self.assertEqual(set(await provider.list()), set(ids))
        await gatherResults([provider.terminate(id) for id in ids])
        self.assertFalse([one for one in (await provider.list()).values() if one.alive])

    async def test_away(self):
        self.config = replace(self.config, endpoint_url="http://127.0.0.1:9")
        provider = self.started()
        with self.assertRaisesRegex(ProviderUnavailable, "EC2 does not answer DescribeInstances"):
            await provider.list()
        with self.assertRaises(ProviderUnavailable):
            await provider.launch("l-1")
