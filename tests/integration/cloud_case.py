"""A test case with a cloud (`tests/cloud`) and a client of boto3's."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.cloud import Cloud, Faults, Rule
from tests.integration.service import eventually, run

SESSION = boto3.session.Session()
"""One for all: it keeps what it has read of the API's description."""

SLEEPS = "#!/bin/sh\nexec sleep 1000\n"


class CloudCase(TestCase):
    """A cloud for each test, and a client of it that tries once."""

    timeout = 300
    boot_seconds = 0.3
    grace = 5.0

    def setUp(self) -> Any:
        return run(self.begin())

    async def begin(self) -> None:
        await deferLater(reactor, 0)
        self.cloud = Cloud(boot_seconds=self.boot_seconds, grace=self.grace, seed=5)
        await self.cloud.start()
        self.addCleanup(self.cloud.stop)
        self.client = self.a_client("ec2")

    def a_client(
        self, service: str, attempts: int = 1, timeout: float = 60.0, **environ: str
    ) -> Any:
        variables = {**self.cloud.environ, **environ}
        client: Any = SESSION.client
        return client(
            service,
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
            region_name=variables["AWS_DEFAULT_REGION"],
            endpoint_url=self.cloud.endpoint_url,
            config=Config(
                retries={"mode": "standard", "total_max_attempts": attempts},
                read_timeout=timeout,
                connect_timeout=timeout,
            ),
        )

    def rules(self, *rules: Rule, lag: float = 0.0) -> None:
        self.cloud.faults = Faults(*rules, lag=lag)

    def call(self, method: str, **parameters: Any) -> Deferred[Any]:
        """The answer to a call."""
        return deferToThread(getattr(self.client, method), **parameters)

    def launch(self, token: str = "", **parameters: Any) -> Deferred[Any]:
        """The instance that a launch makes."""
        asked = {
            "ImageId": self.cloud.image_id,
            "InstanceType": "t3.micro",
            "SubnetId": self.cloud.subnet_ids[0],
            "InstanceInitiatedShutdownBehavior": "terminate",
            "UserData": SLEEPS,
            "MinCount": 1,
            "MaxCount": 1,
            **({"ClientToken": token} if token else {}),
            **parameters,
        }
        # A None is for what is not said.
        asked = {name: value for name, value in asked.items() if value is not None}
        return self.call("run_instances", **asked).addCallback(
            lambda answer: answer["Instances"][0]
        )

    async def described(self, **parameters: Any) -> dict[str, str]:
        """The states of the instances that are described, by id."""
        answer = await self.call("describe_instances", **parameters)
        return {
            instance["InstanceId"]: instance["State"]["Name"]
            for reservation in answer["Reservations"]
            for instance in reservation["Instances"]
        }

    async def refused(self, code: str, answer: Deferred[Any]) -> str:
        """A call fails so; its message."""
        failure = await self.assertFailure(answer, ClientError)
        self.assertEqual(failure.response["Error"]["Code"], code)
        return str(failure.response["Error"]["Message"])

    def is_(self, id: str, state: str) -> Deferred[Any]:
        """Wait until an instance truly is in a state."""
        return eventually(lambda: self.truly(id).state == state, f"it is {state}")

    def truly(self, id: str) -> Any:
        (machine,) = (each for each in self.cloud.instances() if each.instance_id == id)
        return machine


def tagged(name: str) -> list[dict[str, Any]]:
    """The tags of an instance that is called so."""
    return [{"ResourceType": "instance", "Tags": [{"Key": "bbs", "Value": name}]}]
