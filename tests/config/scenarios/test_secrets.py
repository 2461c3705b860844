"""Secrets that the configuration only names: what they may be, and what is said when they are not.

The stores are moto's, within this process.
"""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import boto3
import botocore.session
from botocore.loaders import create_loader
from moto import mock_aws
from twisted.trial.unittest import SynchronousTestCase

from bbs.cli import config as config_command
from bbs.cli import offline
from bbs.config import EC2, ConfigError, Configuration, load, masked, references, to_toml
from tests.cli.case import BOARD

MYSQL = "mysql://bbs:s3cret@db.example:3306/bbs"
STOMP = "stomp://bbs:t0psecret@mq.example:61613"
KEY = "-----BEGIN PRIVATE KEY-----\nk\n-----END PRIVATE KEY-----"
CHAIN = "-----BEGIN CERTIFICATE-----\nc\n-----END CERTIFICATE-----"
REGION = "eu-north-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}


LOADER = create_loader()
"""Reads what botocore's package says of AWS's services, and keeps it: each session would take a
tenth of a second to read it again."""


class SecretsTestCase(SynchronousTestCase):
    """Stores with nothing in them."""

    def setUp(self) -> None:
        self.patch(botocore.session, "create_loader", lambda data_path: LOADER)
        patched = mock.patch.dict(os.environ, CREDENTIALS)
        patched.start()
        self.addCleanup(patched.stop)
        self.stores = mock_aws()
        self.stores.start()
        self.addCleanup(self.stores.stop)

    def put(self, name: str, value: str) -> None:
        """Keep a parameter."""
        boto3.client("ssm", region_name=REGION).put_parameter(
            Name=name, Value=value, Type="SecureString"
        )

    def keep(self, name: str, **value: object) -> None:
        """Keep a secret."""
        boto3.client("secretsmanager", region_name=REGION).create_secret(Name=name, **value)

    def reveal(self, key: str, *values: str) -> tuple[str, ...]:
        return references.reveal(key, values, Configuration(ec2=EC2(region=REGION)))

    def refusal(self, key: str, value: str) -> str:
        """The one line that it fails with."""
        line = str(self.assertRaises(references.SecretUnavailable, self.reveal, key, value))
        self.assertEqual(line.splitlines(), [line])
        self.assertNotIn("s3cret", line)
        return line

    def asked_at(self, reference: str, endpoint_url: str = "") -> str:
        """The address of a store that is away."""
        self.stores.stop()
        config = Configuration(ec2=EC2(region=REGION, endpoint_url=endpoint_url))
        error = self.assertRaises(
            references.SecretUnavailable,
            references.reveal,
            "database.url",
            [reference],
            config,
            attempts=1,
        )
        self.stores.start()
        matched = re.search(
            f'{reference}: Could not connect to the endpoint URL: "(.*)"', str(error)
        )
        assert matched is not None, error
        return matched[1]


class Reveal(SecretsTestCase):
    """What references stand for."""

    def test_parameter(self) -> None:
        self.put("/bbs/database", MYSQL)
        self.assertEqual(self.reveal("database.url", "ssm:/bbs/database"), (MYSQL,))

    def test_secret(self) -> None:
        self.keep("bbs/database", SecretString=f"{MYSQL}\n")
        self.assertEqual(self.reveal("database.url", "secretsmanager:bbs/database"), (MYSQL,))

    def test_secret_by_arn(self) -> None:
        self.keep("bbs/database", SecretString=MYSQL)
        client = boto3.client("secretsmanager", region_name=REGION)
        arn = client.list_secrets()["SecretList"][0]["ARN"]
        self.assertEqual(self.reveal("database.url", f"secretsmanager:{arn}"), (MYSQL,))

    def test_among_others(self) -> None:
        """Each broker is a URL or a reference."""
        self.put("/bbs/mq", STOMP)
        other = "stomp://other:61613"
        self.assertEqual(self.reveal("broker.url", other, "ssm:/bbs/mq"), (other, STOMP))

    def test_nothing_to_reveal(self) -> None:
        with mock.patch("boto3.session.Session", side_effect=AssertionError):
            self.assertEqual(self.reveal("broker.url", "embedded"), ("embedded",))
        self.assertFalse(references.needed(["embedded", MYSQL]))
        self.assertTrue(references.needed([MYSQL, "ssm:/bbs/mq"]))


class Refusals(SecretsTestCase):
    """What cannot be revealed."""

    def test_unknown_parameter(self) -> None:
        refusal = self.refusal("database.url", "ssm:/bbs/none")
        self.assertTrue(refusal.startswith("database.url: ssm:/bbs/none: ParameterNotFound"))

    def test_unknown_secret(self) -> None:
        refusal = self.refusal("broker.url", "secretsmanager:none")
        self.assertIn("broker.url: secretsmanager:none: ResourceNotFoundException: ", refusal)

    def test_a_driver_that_is_not_installed(self) -> None:
        self.put("/bbs/database", MYSQL.replace("mysql:", "mysql+mysqlconnector:"))
        with mock.patch.dict(sys.modules, {"_mysql_connector": None}):
            refusal = self.refusal("database.url", "ssm:/bbs/database")
        self.assertIn("pip install 'txbbs[fast-mysql] >= 0.4'", refusal)
        self.assertNotIn("s3cret", refusal)

    def test_something_else(self) -> None:
        """What is kept there is not shown."""
        for number, kept in enumerate(("s3cret", "redis://s3cret", "ssm:/s3cret", STOMP)):
            self.put(f"/{number}", kept)
            self.assertIn(
                f'database.url: ssm:/{number}: what it holds is not "sqlite:///PATH" or',
                self.refusal("database.url", f"ssm:/{number}"),
            )

    def test_a_malformed_url(self) -> None:
        """The reason is told, and nothing of the URL."""
        self.put("/bbs/database", "mysql://ann:s3cret@db, other/bbs")
        refusal = self.refusal("database.url", "ssm:/bbs/database")
        self.assertTrue(refusal.endswith('": host 2 is not HOST or HOST:PORT'), refusal)
        self.assertNotIn("s3cret", refusal)

    def test_embedded(self) -> None:
        self.put("/bbs/mq", "embedded")
        self.assertIn("what it holds is not", self.refusal("broker.url", "ssm:/bbs/mq"))

    def test_binary(self) -> None:
        self.keep("bytes", SecretBinary=b"s3cret")
        self.assertIn("what it holds is not", self.refusal("database.url", "secretsmanager:bytes"))

    def test_away(self) -> None:
        """A store that does not answer is an error soon."""
        with mock.patch.dict(os.environ, AWS_ENDPOINT_URL="http://127.0.0.1:9"):
            self.assertEqual(self.asked_at("ssm:/x"), "http://127.0.0.1:9/")

    def test_no_credentials(self) -> None:
        self.stores.stop()
        nothing = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent"}
        with mock.patch.dict(os.environ, nothing, clear=True):
            self.assertIn("Unable to locate credentials", self.refusal("database.url", "ssm:/x"))
        self.stores.start()

    def test_no_boto3(self) -> None:
        with mock.patch.dict(sys.modules, {"botocore.exceptions": None}):
            refusal = self.refusal("database.url", "ssm:/x")
        self.assertEqual(refusal, "database.url: ssm:/x: needs the package boto3")


class Endpoints(SecretsTestCase):
    """Where stores are."""

    def test_not_where_ec2_is(self) -> None:
        """An EC2 API of somebody else's is not sent the names of secrets."""
        self.put("/bbs/database", MYSQL)
        self.keep("bbs/database", SecretString=MYSQL)
        config = Configuration(ec2=EC2(region=REGION, endpoint_url="http://127.0.0.1:9"))
        for reference in ("ssm:/bbs/database", "secretsmanager:bbs/database"):
            revealed = references.reveal("database.url", [reference], config)
            self.assertEqual(revealed, (MYSQL,))

    def test_each_has_its_own(self) -> None:
        """As botocore's variables say."""
        urls = {
            "AWS_ENDPOINT_URL": "http://127.0.0.1:7",
            "AWS_ENDPOINT_URL_SSM": "http://127.0.0.1:8",
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://127.0.0.1:9",
        }
        with mock.patch.dict(os.environ, urls):
            ec2 = "http://127.0.0.1:6"
            self.assertEqual(self.asked_at("ssm:/x", ec2), "http://127.0.0.1:8/")
            self.assertEqual(self.asked_at("secretsmanager:x", ec2), "http://127.0.0.1:9/")

    def test_file(self) -> None:
        """As botocore's configuration file says."""
        path = Path(self.mktemp())
        path.write_text(
            "[default]\nservices = here\n"
            "[services here]\nssm =\n  endpoint_url = http://127.0.0.1:8\n"
        )
        with mock.patch.dict(os.environ, AWS_CONFIG_FILE=str(path)):
            self.assertEqual(self.asked_at("ssm:/x"), "http://127.0.0.1:8/")


class Configured(SecretsTestCase):
    """References in the configuration."""

    def write(self, text: str) -> str:
        path = self.mktemp()
        Path(path).write_text(text)
        return path

    def test_kept_as_they_are(self) -> None:
        """`bbs config check`, and what is handed on, have the reference itself."""
        config = load(
            self.write(
                '[database]\nurl = "ssm:/bbs/database"\n'
                '[broker]\nurl = ["secretsmanager:bbs/mq-1", "stomp://mq:61613"]\n'
            ),
            {},
        )
        shown = {key: value for key, value, _ in masked(config)}
        self.assertEqual(shown["database.url"], '"ssm:/bbs/database"')
        self.assertEqual(shown["broker.url"], '["secretsmanager:bbs/mq-1", "stomp://mq:61613"]')
        self.assertIn('url = "ssm:/bbs/database"', to_toml(config))

    def test_no_references(self) -> None:
        for text in ("ssm:bbs", "ssm:", "ssm:/b b", "secretsmanager:", "ssm:/x?", "s3:/bbs"):
            options = {"database.url": text}
            error = self.assertRaises(ConfigError, load, None, {}, options)
            self.assertIn('"ssm:/NAME" or "secretsmanager:NAME"', str(error))

    def test_offline(self) -> None:
        """`bbs fleet` and `bbs db` open the database itself."""
        self.put("/bbs/database", MYSQL)
        path = self.write(f'[database]\nurl = "ssm:/bbs/database"\n[ec2]\nregion = "{REGION}"\n')
        self.assertEqual(offline.load_config(path, None).database.url, "ssm:/bbs/database")
        self.assertEqual(offline.configuration(path, None, "bbs").database.url, MYSQL)

    def test_written_for_others(self) -> None:
        """`bbs config reveal` writes what servers without a role read; what cannot be had leaves
        what is there."""
        self.put("/bbs/database", MYSQL)
        self.put("/bbs/mq", STOMP)
        other, folder = "stomp://other:61613", Path(self.mktemp())
        path = self.write(
            f'[database]\nurl = "ssm:/bbs/database"\n[ec2]\nregion = "{REGION}"\n'
            f'[broker]\nurl = ["ssm:/bbs/mq", "{other}"]\n'
        )
        for _ in range(2):
            self.assertEqual(config_command.main(["reveal", path, str(folder)], BOARD), 0)
        found = {each.name: each.read_text() for each in folder.iterdir()}
        self.assertEqual(found, {"database": f"{MYSQL}\n", "broker": f"{STOMP}\n{other}\n"})
        self.assertEqual({each.stat().st_mode & 0o777 for each in folder.iterdir()}, {0o600})
        keys = ("database", "broker")
        environ = {f"BBS_{key.upper()}_URL_FILE": str(folder / key) for key in keys}
        config = load(None, environ)
        self.assertEqual((config.database.url, config.broker.url), (MYSQL, (STOMP, other)))
        boto3.client("ssm", region_name=REGION).delete_parameter(Name="/bbs/database")
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            self.assertEqual(config_command.main(["reveal", path, str(folder)], BOARD), 1)
        self.assertIn("database.url: ssm:/bbs/database: ParameterNotFound", errors.getvalue())
        self.assertEqual((folder / "database").read_text(), f"{MYSQL}\n")

    def test_certificates_for_others(self) -> None:
        """Those of places that refer to secrets, for the group."""
        self.put("/bbs/database", MYSQL)
        self.put("/bbs/key", KEY)
        self.put("/bbs/chain", CHAIN)
        folder = Path(self.mktemp())
        key, chain = (rf"ssm\:/bbs/{name}" for name in ("key", "chain"))
        path = self.write(
            f"[login]\nlisten = ['tcp:0', 'ssl:0:privateKey={key}:certKey={chain}']\n"
            f"[app]\nlisten = 'ssl:0:privateKey={key}'\n"
            "[telnet]\nlisten = 'ssl:0:privateKey=/no/such.pem'\n"
            f'[database]\nurl = "ssm:/bbs/database"\n[ec2]\nregion = "{REGION}"\n'
        )
        self.assertEqual(config_command.main(["reveal", path, str(folder)], BOARD), 0)
        found = {each.name: each for each in folder.iterdir()}
        self.assertEqual(found.keys(), {"database", "broker", "login.pem", "app.pem"})
        self.assertEqual(found["login.pem"].read_text(), f"{KEY}\n{CHAIN}\n")
        self.assertEqual(found["app.pem"].read_text(), f"{KEY}\n")
        self.assertEqual(found["login.pem"].stat().st_mode & 0o777, 0o640)
        self.assertEqual(found["database"].stat().st_mode & 0o777, 0o600)
        boto3.client("ssm", region_name=REGION).delete_parameter(Name="/bbs/chain")
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            self.assertEqual(config_command.main(["reveal", path, str(folder)], BOARD), 1)
        self.assertRegex(errors.getvalue(), "login.cannot listen on .*ssm:/bbs/chain: ParameterNot")
        self.assertEqual(found["login.pem"].read_text(), f"{KEY}\n{CHAIN}\n")

    def test_imports(self) -> None:
        """A server without references does without boto3."""
        code = (
            "import sys, bbs.daemons.daemon, bbs.config, bbs.config.references as s;"
            "s.reveal('broker.url', ['embedded'], bbs.config.Configuration());"
            "assert not [m for m in sys.modules if m.startswith('boto')]"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
