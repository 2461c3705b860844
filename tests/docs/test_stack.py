"""`docs/stack.md`, held against the template that it speaks of."""

import re

from bbs.scaling.ec2.instance_states import price
from tests.deploy.stack_template import PATH, template
from tests.deploy.test_cloudformation import ALERTS
from tests.docs.aws_commands import strangers
from tests.paths import CHECKOUT
from tests.scaling.ec2.scenarios.test_user_data import ScriptTestCase

PAGE = CHECKOUT / "docs/stack.md"
README = PATH.parent / "README.md"


def blocks(text: str) -> list[str]:
    """Those with commands of AWS's."""
    found = re.findall(r"^```\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for block in found if "aws " in block]


class Page(ScriptTestCase):
    def setUp(self) -> None:
        self.text = PAGE.read_text("utf-8")

    def rows(self, heading: str) -> list[list[str]]:
        """The rows of the first table behind a heading."""
        part = self.text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        rows = re.findall(r"^\| (.*) \|$", part, re.MULTILINE)
        return [row.split(" | ") for row in rows[2:]]

    def test_commands(self) -> None:
        """They are bash, and give parameters that there are."""
        found = blocks(self.text) + blocks(README.read_text("utf-8"))
        self.assertEqual(len(found), 8)
        declared = template()["Parameters"]
        for block in found:
            self.checked("bash", "-n", "-", input=block)
            self.assertEqual([*strangers(block)], [])
            for name in re.findall(r"\$\(out (\w+)\)", block):
                self.assertIn(name, template()["Outputs"])
            for given in re.findall("--parameter-overrides (.*)", block):
                for each in given.split():
                    self.assertIn(each.partition("=")[0], declared)
            for path in re.findall(r"--template-file (\S+)", block):
                self.assertTrue((CHECKOUT / path).is_file(), path)
            for name in re.findall(r"--logical-resource-id (\S+)", block):
                self.assertIn(name, template()["Resources"])

    def test_first_day(self) -> None:
        """What cannot be changed later, as the template says it."""
        rows = [row for row in self.rows("First day") if row[2].startswith("**First day.**")]
        told = {name for row in rows for name in re.findall("`(.*?)`", row[0])}
        said = {
            name
            for name, each in template()["Parameters"].items()
            if each["Description"].endswith("Cannot be changed later.")
        }
        self.assertEqual(told, said)

    def test_tear_down(self) -> None:
        """Of the stack's own fleet, and of all its app servers as words of their own."""
        (block,) = (each for each in blocks(self.text) if "delete-auto-scaling-group" in each)
        self.assertIn("tag:bbs:fleet,Values=$NAME", block)
        # The zone is empty, or it would stay.
        self.assertLess(block.index("change-resource-record-sets"), block.index("delete-stack"))
        self.assertNotRegex(block, r" \$[A-Z]")
        for command in ("terminate-instances", "wait instance-terminated"):
            self.assertIn(f'echo "$FLEET" | xargs -r aws ec2 {command} --instance-ids\n', block)

    def test_new_passwords(self) -> None:
        """Servers are replaced when the passwords are there. Where a broker takes its own at a
        reboot, the page says that it comes first."""
        (block,) = (each for each in blocks(self.text) if "PasswordGeneration=" in each)
        commands = re.findall(r"^aws (\w+ [\w-]+)", block, re.MULTILINE)
        self.assertEqual(
            commands,
            [
                "cloudformation deploy",
                "autoscaling start-instance-refresh",
                "autoscaling describe-instance-refreshes",
            ],
        )

    def test_next_version(self) -> None:
        """The stack's own output says it as the page does."""
        said = template()["Outputs"]["NextVersion"]["Value"]["Fn::Sub"]
        said = said.replace(" --region ${AWS::Region}", "").replace("${AWS::StackName}", "bbs")
        (wanted,) = (each for each in blocks(self.text) if "Image=ami-0fedcba9876543210" in each)
        self.assertEqual(said.partition("Image=")[0], wanted.partition("Image=")[0])

    def test_parameters(self) -> None:
        """All of them but the one that has to be said, each with its default."""
        declared = template()["Parameters"]
        found: dict[str, str] = {}
        for names, defaults, _ in self.rows("First day"):
            every = re.findall("`(.*?)`", names)
            found |= dict.fromkeys(every, defaults)
            values = defaults.split(", ")
            if len(values) == len(every) and len(every) > 1:
                found |= dict(zip(every, values, strict=True))
        self.assertEqual(found.keys(), declared.keys() - {"Image"})
        for name, default in found.items():
            if declared[name]["Default"] and name not in ("Spot", "AppInstanceTypes"):
                self.assertEqual(default, str(declared[name]["Default"]), name)

    def test_alarms(self) -> None:
        """Each says which alert it is; the page explains the others."""
        for name, each in template()["Resources"].items():
            if each["Type"] == "AWS::CloudWatch::Alarm":
                said = each["Properties"]["AlarmDescription"].partition(": ")[0]
                if name in ALERTS.values():
                    self.assertEqual(ALERTS[said], name)
                else:
                    self.assertIn(name, self.text)

    def test_links(self) -> None:
        for path in (PAGE, README):
            links = re.findall(r"\]\((?!http|#)([^)#]+)", path.read_text("utf-8"))
            self.assertNotEqual(links, [])
            for link in links:
                self.assertTrue((path.parent / link).is_file(), link)

    def test_costs(self) -> None:
        """Prices that are in the repository, or in the table, are multiplied as it says; what is
        idle stays below what the budget tells."""
        rows = [row for row in self.rows("What it costs") if len(row) == 4]
        fixed = {row[0].split(",")[0]: float(row[3]) for row in rows}
        hours = {
            name: [730 * float(each) for each in re.findall(r"([\d.]+) an hour\\?\*", amount)]
            for name, amount in ((row[0], row[1]) for row in rows)
        }
        for name, wanted in {
            "login servers": 2 * instance("t3.small"),
            "app servers": 2 * instance("t3.micro"),
            "load balancer's addresses": 2 * 730 * 0.005,
            "database's storage": 2 * 20 * 0.115,
            "load balancer": sum(hours["load balancer"]),
            "database": sum(hours["database"]),
            "secrets": self.count("AWS::SecretsManager::Secret") * 0.40,
            "alarms and figures": self.count("AWS::CloudWatch::Alarm") * 0.10 + 11 * 0.30,
            "private zone": 0.50,
        }.items():
            self.assertLess(abs(fixed.pop(name) - wanted), 0.006, name)
        self.assertEqual(fixed, {})
        idle = sum(float(row[3]) for row in rows)
        self.assertLess(idle, 150)
        self.assertIn(f"Idle it is {idle:.2f},", self.text)
        queue = 2 * 730 * 0.288
        self.assertIn(f"0.288 an hour*, is {queue:.2f} more", self.text)
        budget = template()["Resources"]["Budget"]["Properties"]["Budget"]["BudgetLimit"]
        _, automatic, _ = budget["Amount"]["Fn::If"]
        _, with_queue, without = automatic["Fn::If"]
        self.assertLess(idle, 0.8 * without)
        self.assertLess(idle + queue, 0.8 * with_queue)

    def test_capacities(self) -> None:
        """As many app servers as people and a tenth more need, at the prices of the first table."""
        first = [row for row in self.rows("What it costs") if len(row) == 4]
        same = sum(float(row[3]) for row in first if row[0] in SAME)
        for row in self.rows("What it costs"):
            if len(row) != 7 or not row[0][0].isdigit():
                continue
            people, capacity = (int(re.sub(r"\D", "", each)) for each in row[:2])
            servers = max(2, -(-people * 11 // 10 // capacity))
            self.assertEqual(servers, int(row[2]))
            number, kind = row[3].split()
            price_of, gib = DATABASES[row[4].split(",")[0]], 100 if "100 GiB" in row[4] else 20
            whole = servers * instance("t3.micro") + int(number) * instance(kind)
            whole += 730 * price_of + 2 * gib * 0.115 + same
            told = float(row[5].replace(",", ""))
            self.assertLess(abs(told - whole), 0.02, row)
            self.assertLess(abs(float(row[6]) - told / people), 0.0051, row)

    def count(self, kind: str) -> int:
        return [each["Type"] for each in template()["Resources"].values()].count(kind)

    def test_versions(self) -> None:
        """Each that the template takes, with an end that is not near."""
        rows = dict(self.rows("Versions"))
        self.assertEqual([*rows], template()["Parameters"]["DatabaseVersion"]["AllowedValues"])
        for end in rows.values():
            self.assertGreater(end, "2027-12")
        broker = template()["Resources"]["Broker"]["Properties"]["EngineVersion"]
        self.assertIn(f"ActiveMQ {broker}, and gets it", self.text)


SAME = {
    "load balancer",
    "load balancer's addresses",
    "secrets",
    "alarms and figures",
    "private zone",
}
"""What costs as much for any number of people, but for capacity units and logs."""

DATABASES = {"db.t4g.small": 0.065, "db.m7g.2xlarge": 1.348}
"""Dollars an hour for MariaDB in two zones, from general knowledge, as `docs/stack.md` says."""


def instance(kind: str) -> float:
    """Dollars a month, with a public address and a volume."""
    cost = price(kind, "us-east-1")
    assert cost is not None
    return 730 * (cost + 0.005) + 8 * 0.08
