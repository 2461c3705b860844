"""The files and figures of `docs/aws.md`."""

import json
import math
import re
from pathlib import Path

from bbs.config import load
from bbs.scaling.ec2.instance_states import price
from tests.paths import CHECKOUT
from tests.scaling.ec2.scenarios.test_user_data import ScriptTestCase

DOCS = CHECKOUT / "docs"
HOURS = 730


def read(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


class LoginServer(ScriptTestCase):
    """The login server's user data."""

    def setUp(self) -> None:
        self.script = read("aws/login-server.sh")
        for name, value in (
            ('"REGION"', '"eu-north-1"'),
            ('"IMAGE_ID"', '"ami-1"'),
            ("[SUBNET_IDS]", '["subnet-1", "subnet-2"]'),
            ('"APP_GROUP_ID"', '"sg-1"'),
            ('"LOG_GROUP"', '"/bbs/bbs"'),
        ):
            self.assertIn(name, self.script)
            self.script = self.script.replace(name, value)

    def test_script(self) -> None:
        self.check_script(self.script)
        self.assertLess(len(self.script.encode()), 16384)

    def test_units(self) -> None:
        """Those that it starts are in `deploy/systemd/`, and come back by themselves."""
        for name in ("bbs-login.service", "bbs-broker.service", "bbs-logs.service"):
            self.assertIn(name, self.script)
            unit = (DOCS.parent / "deploy/systemd" / name).read_text("utf-8")
            self.assertIn("\nRestart=always\n", unit)

    def test_configuration(self) -> None:
        """It loads, and has no secret."""
        matched = re.search(r"bbs.toml <<'END'\n(.*?)\nEND\n", self.script, re.DOTALL)
        assert matched is not None
        path = self.mktemp()
        Path(path).write_text(matched[1])
        config = load(path, {})
        self.assertEqual(config.fleet.provider, "ec2")
        self.assertGreaterEqual(config.fleet.lease_timeout, 600)
        self.assertEqual(config.ec2.subnet_ids, ("subnet-1", "subnet-2"))
        self.assertEqual(config.database.url, "ssm:/bbs/database")
        self.assertEqual(config.broker.url, ("ssm:/bbs/broker",))
        self.assertEqual(config.ec2.log_group, "/bbs/bbs")
        self.assertEqual(config.log.format, "json")

    def test_its_program(self) -> None:
        """It is one that the image has."""
        (name,) = re.findall(r"/opt/bbs/bin/python /usr/local/lib/bbs-stack/(\S+)", self.script)
        self.assertTrue((DOCS.parent / "deploy/image/stack" / name).is_file())


class Document(ScriptTestCase):
    """The text itself."""

    def test_commands(self) -> None:
        """What is to be copied is bash; shellcheck would have more quotes than it needs."""
        blocks = re.findall(r"^```\n(.*?)^```$", read("aws.md"), re.DOTALL | re.MULTILINE)
        commands = [block for block in blocks if not block.startswith(("people", ".venv"))]
        self.assertGreater(len(commands), 8)
        for block in commands:
            self.checked("bash", "-n", "-", input=block)

    def test_links(self) -> None:
        for link in re.findall(r"\]\((?!http|#)([^)]+)\)", read("aws.md")):
            self.assertTrue((DOCS / link.partition("#")[0]).is_file(), link)

    def test_policies(self) -> None:
        """IAM takes 10,240 characters of policies in a role, without white space."""
        for path in (DOCS / "aws").glob("*-policy.json"):
            dense = json.dumps(json.loads(path.read_text("utf-8")), separators=(",", ":"))
            self.assertLess(len(dense), 10240)

    def test_group_of_logs(self) -> None:
        """Who has the right to write logs has it for the group that is made, and to no more."""
        policy = json.loads(read("aws/logs-policy.json"))
        (group,) = re.findall(r"^keep LOG_GROUP (\S+)$", read("aws.md"), re.MULTILINE)
        (statement,) = policy["Statement"]
        self.assertEqual(statement["Action"], ["logs:CreateLogStream", "logs:PutLogEvents"])
        self.assertTrue(statement["Resource"].endswith(f":log-group:{group}:log-stream:*"))

    def test_costs(self) -> None:
        """The table is what its words and the price table come to."""

        def instance(kind: str) -> float:
            cost = price(kind, "us-east-1")
            assert cost is not None
            return HOURS * (cost + 0.005) + 8 * 0.08

        def month(servers: int) -> float:
            return fixed + servers * instance("t3.micro")

        fixed = instance("t3.small") + HOURS * 0.016 + 20 * 0.115
        document = read("aws.md")
        self.assertIn(f"the database: {fixed:.2f}. An app server", document)
        self.assertIn(f"is {instance('t3.micro'):.2f} a month", document)
        rows = re.findall(r"^\| (\d[\d,]*) " + r"\| ([\d,.]+) " * 4 + r"\|$", document, re.M)
        self.assertEqual([row[0] for row in rows], ["10", "100", "1,000"] * 2)
        for row in rows:
            people, capacity, servers, always, by_day = (
                float(figure.replace(",", "")) for figure in row
            )
            self.assertEqual(servers, max(1, math.ceil((people + 5) / capacity)))
            self.assertAlmostEqual(always, month(int(servers)), 2)
            self.assertAlmostEqual(by_day, (month(int(servers)) + 2 * month(1)) / 3, 2)
