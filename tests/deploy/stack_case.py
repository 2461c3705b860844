"""Tests with the stack of `deploy/cloudformation` in moto."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

from moto.cloudformation.models import cloudformation_backends

from bbs.config import Configuration, load
from tests.deploy.aws_policies import ACCOUNT, REGION
from tests.deploy.moto_case import MotoCase, client
from tests.deploy.stack_models import stacks
from tests.deploy.stack_template import program, template, text, variables


def without(*conditions: str) -> set[str]:
    """The template's resources that a stack has for which these conditions do not hold."""
    resources = template()["Resources"].items()
    return {name for name, each in resources if each.get("Condition") not in conditions}


class StackCase(MotoCase):
    """An account in moto, with an image, and no stack yet."""

    image: ClassVar[str]

    def setUp(self) -> None:
        self.enter(anew=True)
        StackCase.image = self.an_image()

    def enter(self, anew: bool = False) -> None:
        patches = stacks()
        patches.__enter__()
        self.addCleanup(patches.__exit__, None, None, None)
        super().enter(anew)

    def an_image(self) -> str:
        made: str = client("ec2").register_image(Name="bbs", RootDeviceName="/dev/xvda")["ImageId"]
        return made

    def make(self, name: str = "bbs", **parameters: str) -> None:
        """Make a stack, as `aws cloudformation deploy` does."""
        client("cloudformation").create_stack(
            StackName=name, TemplateBody=text(), Parameters=self.given(**parameters)
        )
        self.make_users(name)

    def make_users(self, name: str = "bbs") -> str:
        """What the machine DatabaseUsers does, with a database that admits everybody; what it
        says."""
        given = variables(self.user_data("DatabaseUsersTemplate", name))
        said: str = program("database_users").renew(
            client("secretsmanager"),
            lambda user, password: mock.MagicMock(),
            generation=int(given["STACK_GENERATION"]),
            master=given["STACK_MASTER_SECRET"],
            secret=given["STACK_DATABASE_SECRET"],
            host=given["STACK_DATABASE_HOST"],
        )
        return said

    def given(self, **parameters: str) -> list[dict[str, str]]:
        """What a stack is told."""
        return [
            {"ParameterKey": key, "ParameterValue": value}
            for key, value in {"Image": self.image, **parameters}.items()
        ]

    def resources(self, name: str = "bbs") -> dict[str, Any]:
        """What a stack has made, by the names in the template."""
        every = cloudformation_backends[ACCOUNT][REGION].stacks.values()
        found = [stack.resource_map for stack in every if stack.name == name]
        declared = template()["Resources"]
        return {
            key: made
            for map in found
            for key, made in map._parsed_resources.items()
            if key in declared and made is not None
        }

    def user_data(self, template: str = "LoginTemplate", name: str = "bbs") -> str:
        """The login servers', or another template's."""
        (version,) = client("ec2").describe_launch_template_versions(
            LaunchTemplateId=self.resources(name)[template].id, Versions=["$Latest"]
        )["LaunchTemplateVersions"]
        return base64.b64decode(version["LaunchTemplateData"]["UserData"]).decode()

    def configured(self) -> Configuration:
        """The login servers' configuration."""
        made = program("configuration").configuration(variables(self.user_data()))
        path, secret = Path(self.mktemp()), Path(self.mktemp()).absolute()
        secret.write_text("a-secret-of-this-machine\n")
        secret.chmod(0o600)
        path.write_text(made.replace("/etc/bbs/telnet-secret", str(secret)))
        return load(str(path), {})

    def outputs(self, name: str = "bbs") -> dict[str, str]:
        (stack,) = client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}


class MadeCase(StackCase):
    """A stack with all that it can have beside brokers on login servers, which many tests look at
    and none changes."""

    def setUp(self) -> None:
        self.enter()
        if self.resources().keys() != without("OnAmazonMQ", "HasTLS"):
            self.moto.reset()
            StackCase.image = self.an_image()
            self.make(
                KeyName="mine",
                IPv6="true",
                Mail="ops@example.org",
                Spot="true",
                FirstZone="us-east-1b",
                SecondZone="us-east-1c",
            )
