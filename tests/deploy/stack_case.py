"""Tests with the stack of `deploy/cloudformation` in moto."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any, ClassVar

from moto.cloudformation.models import cloudformation_backends

from bbs.config import Configuration, load
from tests.deploy.aws_policies import ACCOUNT, REGION
from tests.deploy.moto_case import MotoCase, client
from tests.deploy.stack_models import stacks
from tests.deploy.stack_template import template, text


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
            if key in declared
        }

    def user_data(self) -> str:
        """The login servers'."""
        (version,) = client("ec2").describe_launch_template_versions(
            LaunchTemplateId=self.resources()["LoginTemplate"].id, Versions=["$Latest"]
        )["LaunchTemplateVersions"]
        return base64.b64decode(version["LaunchTemplateData"]["UserData"]).decode()

    def configured(self) -> Configuration:
        """The login servers' configuration."""
        matched = re.search(r"bbs.toml <<'END'\n(.*?)\nEND\n", self.user_data(), re.DOTALL)
        assert matched is not None
        path, secret = Path(self.mktemp()), Path(self.mktemp()).absolute()
        secret.write_text("a-secret-of-this-machine\n")
        secret.chmod(0o600)
        path.write_text(matched[1].replace("/etc/bbs/telnet-secret", str(secret)))
        return load(str(path), {})

    def outputs(self, name: str = "bbs") -> dict[str, str]:
        (stack,) = client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}


class MadeCase(StackCase):
    """A stack with all that it can have, which many tests look at and none changes."""

    def setUp(self) -> None:
        self.enter()
        if self.resources().keys() != template()["Resources"].keys():
            self.moto.reset()
            StackCase.image = self.an_image()
            self.make(
                KeyName="mine",
                Operators="192.0.2.7/32",
                Mail="ops@example.org",
                Spot="true",
                FirstZone="us-east-1b",
                SecondZone="us-east-1c",
            )
