"""What a fleet really asks of the tests' cloud, held against the policies of `docs/aws`."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, cast

from twisted.internet import reactor

from bbs.config import EC2
from bbs.core.clock import IReactor
from bbs.scaling.ec2.client import client_for
from bbs.scaling.ec2.provider import EC2Provider
from tests.cloud import LOGIN_SERVER
from tests.deploy.aws_policies import (
    Account,
    Call,
    allowing,
    policy,
    requests,
    together,
    with_launch_templates,
)
from tests.integration.cloud_case import SLEEPS, CloudCase
from tests.integration.service import eventually
from tests.scaling.ec2.tools import FLEET_ID

OURS = {"bbs:fleet": "bbs"}


class FleetsDay(CloudCase):
    """A provider with the credentials of a role, as on an instance."""

    async def begin(self) -> None:
        await super().begin()
        self.patch(os, "environ", {**os.environ, **self.cloud.role_environ})
        section: dict[str, Any] = self.cloud.ec2_config()
        section |= {name: tuple(section[name]) for name in ("subnet_ids", "security_group_ids")}
        self.config = EC2(**{**section, "user_data": "", "instance_type": ("t3.micro",)})
        self.ours: dict[str, Any] = {self.cloud.image_id: OURS}

    def provider(self, **changes: Any) -> EC2Provider:
        config = replace(self.config, **changes)
        client = client_for(cast("IReactor", reactor), config)
        client.startService()
        self.addCleanup(client.stopService)
        provider = EC2Provider(reactor, client, config, lambda id: SLEEPS, "1", fleet_id=FLEET_ID)
        provider.startService()
        self.addCleanup(provider.stopService)
        return provider

    async def runs(self, launch: str) -> Any:
        """The machine of a launch, once it runs."""
        machines = self.cloud.instances
        (machine,) = (each for each in machines() if each.tags["bbs:launch"] == launch)
        await eventually(lambda: machine.state == "running", "it runs")
        return machine

    async def a_day(self, launch: str, provider: EC2Provider) -> Any:
        """A launch from its beginning to its end."""
        await provider.launch(launch)
        machine = await self.runs(launch)
        self.assertTrue((await provider.list())[launch].alive)
        if not machine.spot:
            await provider.stop(launch)
            await eventually(lambda: machine.state == "stopped", "it stops")
            # Credentials that have expired are fetched anew.
            self.cloud.expire_credentials()
            await provider.start(launch)
            await self.runs(launch)
        await provider.terminate(launch)
        return machine

    async def test_a_day(self) -> None:
        plain = await self.a_day("one", self.provider())
        (volume,) = plain.volumes.values()
        self.assertEqual((volume["Encrypted"], volume["VolumeType"]), ("true", "gp3"))
        self.assertEqual(plain.volume_tags["bbs:fleet-id"], FLEET_ID)
        public = await self.a_day("two", self.provider(address="public"))
        self.assertTrue(public.public)
        self.assertTrue((await self.a_day("three", self.provider(spot=True))).spot)
        several = self.provider(spot=True, instance_type=("t3.micro", "t3a.micro"))
        self.assertTrue((await self.a_day("best", several)).spot)
        made = await self.call(
            "create_launch_template",
            LaunchTemplateName="app",
            LaunchTemplateData={
                "ImageId": self.cloud.image_id,
                "SecurityGroupIds": [self.cloud.security_group_id],
            },
        )
        template = made["LaunchTemplate"]["LaunchTemplateId"]
        self.ours[template] = OURS
        changes: Any = {"launch_template": "app", "image_id": "", "security_group_ids": ()}
        await self.a_day("four", self.provider(**changes, address="public"))
        self.assert_allowed("app")

    def assert_allowed(self, template: str) -> None:
        """Every call is, but for the test's own that has made a `template`."""
        allowed = together(
            policy(
                "login-server-policy.json",
                SUBNET_A=self.cloud.subnet_ids[0],
                SUBNET_B=self.cloud.subnet_ids[1],
                APP_GROUP=self.cloud.security_group_id,
            ),
            policy("spot-policy.json"),
            policy("spot-fleet-policy.json"),
        )
        tags = {machine.instance_id: machine.tags for machine in self.cloud.instances()}
        calls = [
            call
            for call in self.cloud.calls
            if call.action != "CreateLaunchTemplate"
            or call.parameters["LaunchTemplateName"] != template
        ]
        account = with_launch_templates(
            Account({**self.ours, **tags}, self.cloud.launches.templates),
            [Call(call.service, call.action, call.parameters) for call in calls],
        )
        self.assertEqual({call.identity for call in calls}, {LOGIN_SERVER})
        self.assertEqual(
            {call.action for call in calls},
            {
                "CreateFleet",
                "CreateLaunchTemplate",
                "DeleteLaunchTemplate",
                "DescribeImages",
                "DescribeInstances",
                "DescribeLaunchTemplateVersions",
                "DescribeLaunchTemplates",
                "RunInstances",
                "StartInstances",
                "StopInstances",
                "TerminateInstances",
            },
        )
        for call in calls:
            for request in requests(Call(call.service, call.action, call.parameters), account):
                self.assertNotEqual(allowing(allowed, request), [], request)
