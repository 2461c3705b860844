"""`docs/stack.md`, held against the template that it speaks of."""

import re

from bbs.scaling.ec2.instance_states import price
from tests.deploy.stack_template import PATH, template
from tests.deploy.test_cloudformation import ALERTS
from tests.docs.aws_commands import strangers
from tests.paths import CHECKOUT
from tests.scaling.ec2.test_user_data import ScriptTestCase

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
        self.assertEqual(len(found), 7)
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
        self.assertNotRegex(block, r" \$[A-Z]")
        for command in ("terminate-instances", "wait instance-terminated"):
            self.assertIn(f'echo "$FLEET" | xargs -r aws ec2 {command} --instance-ids\n', block)

    def test_new_passwords(self) -> None:
        """The broker has its own before any login server is to start with it."""
        (block,) = (each for each in blocks(self.text) if "PasswordGeneration=" in each)
        commands = re.findall(r"^aws (\w+ [\w-]+)", block, re.MULTILINE)
        self.assertEqual(
            commands,
            [
                "cloudformation deploy",
                "mq reboot-broker",
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
        alarms = {
            name
            for name, each in template()["Resources"].items()
            if each["Type"] == "AWS::CloudWatch::Alarm"
        }
        rows = self.rows("Logs and alarms")
        self.assertEqual({row[0] for row in rows}, alarms)
        told = {row[1].strip("`"): row[0] for row in rows if row[1].startswith("`")}
        self.assertEqual(told, ALERTS)

    def test_links(self) -> None:
        for path in (PAGE, README):
            links = re.findall(r"\]\((?!http|#)([^)#]+)", path.read_text("utf-8"))
            self.assertNotEqual(links, [])
            for link in links:
                self.assertTrue((path.parent / link).is_file(), link)

    def test_costs(self) -> None:
        """Prices that are in the repository are multiplied as the table says."""

        def instance(kind: str) -> float:
            cost = price(kind, "us-east-1")
            assert cost is not None
            return 730 * (cost + 0.005) + 8 * 0.08

        wanted = [2 * instance("t3.small"), 2 * instance("t3.micro"), 2 * 730 * 0.005]
        wanted.append(2 * 20 * 0.115)
        found = [row[2] for row in self.rows("What it costs") if len(row) == 3 and row[2].strip()]
        self.assertEqual(found, [f"{each:.2f}" for each in wanted])
        self.assertIn(f"Those with a price come to {sum(wanted):.2f}.", self.text)
        counted = template()["Resources"].values()
        kinds = [each["Type"] for each in counted]
        self.assertIn(f"| secrets | {kinds.count('AWS::SecretsManager::Secret')} |", self.text)
        self.assertIn(f"{kinds.count('AWS::CloudWatch::Alarm')} alarms, 11 metrics", self.text)
