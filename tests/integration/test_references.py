"""The whole service with secrets that its configuration only names, kept by a moto server."""

import logging
import os
from typing import Any
from unittest import mock

import boto3
from moto.server import ThreadedMotoServer

from tests.integration.service import Service, ServiceCase
from tests.services import needed

REGION = "us-east-1"


class References(ServiceCase):
    """`database.url` and `broker.url` as references."""

    def setUp(self) -> Any:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        stores = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        stores.start()
        self.addCleanup(stores.stop)
        host, port = stores.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        environ = {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_ENDPOINT_URL_SSM": self.endpoint,
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": self.endpoint,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        patched = mock.patch.dict(os.environ, environ)
        patched.start()
        self.addCleanup(patched.stop)
        return super().setUp()

    def by_reference(self, database: str) -> Service:
        """A service that knows where its secrets are, and that is all."""
        return self.service(
            database={"url": database},
            broker={"url": "secretsmanager:bbs/broker"},
            ec2={"region": REGION},
        )

    def keep(self, database: str, broker: str) -> None:
        """Put the secrets where they belong."""
        place: Any = {"region_name": REGION, "endpoint_url": self.endpoint}
        boto3.client("ssm", **place).put_parameter(
            Name="/bbs/database", Value=database, Type="SecureString"
        )
        boto3.client("secretsmanager", **place).create_secret(
            Name="bbs/broker", SecretString=broker
        )

    async def test_service(self) -> None:
        """Login server, app servers and `bbs fleet` find them; no file and no log has them."""
        database, broker = self.mysql_database(), needed("BBS_TEST_ACTIVEMQ_URL")
        self.keep(database, broker)
        service = self.by_reference("ssm:/bbs/database")
        await service.up()
        await service.register("ann")
        ann = await service.person("ann")
        self.assertEqual((await ann.asks("list-friend"))["status"], 0)
        self.assertEqual([each["state"] for each in await service.fleet()], ["ready"])
        secrets = {url.split("@")[0].rpartition(":")[2] for url in (database, broker)}
        files = [path for path in service.folder.rglob("*") if path.is_file()]
        (handed_on,) = [path for path in files if path.parent.name == "run"]
        self.assertIn('url = "ssm:/bbs/database"', handed_on.read_text())
        for path in files:
            for secret in secrets:
                self.assertNotIn(secret.encode(), path.read_bytes(), path)

    async def test_unknown(self) -> None:
        """A server that cannot have its secret says so in one line, and ends."""
        service = self.by_reference("ssm:/bbs/unknown")
        process = service.start_up()
        await process.ended(60.0)
        self.assertEqual(process.exit_code, 1)
        (line,) = process.errors.splitlines()
        self.assertIn("bbs up: database.url: ssm:/bbs/unknown: ParameterNotFound", line)
