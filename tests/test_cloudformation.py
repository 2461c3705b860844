"""The template of `deploy/cloudformation` as a file: what tools and CloudFormation say of it before
it makes anything."""

import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.stack_template import PATH, holds, refusals, template

DOCS = Path(__file__).absolute().parent.parent / "docs"
IMAGE = {"Image": "ami-0123456789abcdef0"}


class TheFile(SynchronousTestCase):
    def test_cfn_lint(self) -> None:
        """Without a finding, of any level, in three regions."""
        command = [str(Path(sys.executable).with_name("cfn-lint")), "--include-checks", "I"]
        command += ["--regions", "us-east-1", "eu-central-1", "ap-southeast-2"]
        command += ["--template", str(PATH)]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_size(self) -> None:
        """It goes with the command itself: what is larger has to be in a bucket first."""
        self.assertLessEqual(PATH.stat().st_size, 51_200)

    def test_names(self) -> None:
        """CloudFormation names what it makes, so that no name is taken or too long; but for the
        group of logs, which every machine has to know, and the broker, which has to have one."""
        named = {
            name
            for name, each in template()["Resources"].items()
            for key in each["Properties"]
            if key in ("Name", "AlarmName", "TopicName", "LaunchTemplateName", "LogGroupName")
            or key in ("RoleName", "ManagedPolicyName", "InstanceProfileName", "GroupName")
            or key in ("DBInstanceIdentifier", "BrokerName", "AutoScalingGroupName")
        }
        self.assertEqual(named, {"Log", "Broker"})

    def test_what_outlives_it(self) -> None:
        """A last snapshot of the database, and nothing that would be in the way of another one."""
        policies = {
            name: each["DeletionPolicy"]
            for name, each in template()["Resources"].items()
            if each.get("DeletionPolicy", "Delete") != "Delete"
        }
        self.assertEqual(policies, {"Database": "Snapshot"})

    def test_no_secret(self) -> None:
        """No password is a parameter, and none is in the file."""
        whole = template()
        self.assertEqual([n for n in whole["Parameters"] if n.endswith("Password")], [])
        for url in re.findall(r"://bbs:[^@]*@", PATH.read_text("utf-8")):
            self.assertRegex(url, r"\{\{resolve:secretsmanager:\$\{\w+\}:SecretString:")


class Parameters(SynchronousTestCase):
    def test_defaults(self) -> None:
        """An image is all that has to be said, and each parameter says what it is."""
        self.assertEqual(refusals(IMAGE), [])
        self.assertEqual(refusals({}), ["Image is missing"])
        for name, each in template()["Parameters"].items():
            self.assertIn("Description", each, name)
            self.assertLessEqual(len(each["Description"]), 160, name)
            self.assertEqual("AllowedPattern" in each, "ConstraintDescription" in each, name)

    def test_groups(self) -> None:
        """The console shows each in one group."""
        whole = template()
        groups = whole["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
        shown = [name for group in groups for name in group["Parameters"]]
        self.assertEqual(sorted(shown), sorted(whole["Parameters"]))

    def test_what_fits(self) -> None:
        for given in (
            {"FirstZone": "us-east-1b", "SecondZone": "us-east-1f"},
            {"FirstZone": "us-gov-west-1a", "SecondZone": "us-gov-west-1c"},
            {"KeyName": "mine & yours", "Operators": "192.0.2.7/32"},
            {"Mail": "ops@example.org", "MonthlyBudget": "0"},
            {"FleetName": "a" * 31, "Spare": "12", "Network": "172.31"},
            {"AppInstanceTypes": "t3.micro,m7i-flex.large,u-6tb1.112xlarge"},
        ):
            self.assertEqual(refusals(IMAGE | given), [], given)

    def test_what_does_not_fit(self) -> None:
        """Each is refused before anything is made, with what would be right."""
        for name, values in {
            "Image": ["", "debian-12"],
            "Mail": ["ops", "ops@example", "a@b.c,d@e.f", "o ps@example.org"],
            "MonthlyBudget": ["-1", "much"],
            "Operators": ["everybody", "192.0.2.7", "256.0.0.1/32", "192.0.2.7/33", "0.0.0.0/0"],
            "LogDays": ["1", "forever"],
            "FleetName": ["", "Bbs", "1st", "a_b", "a" * 32, "a/b", "*", 'a"'],
            "AppInstanceTypes": ["", "t3", "t3.micro, t3a.micro", "t3.micro,", 't3.micro"'],
            "Spot": ["yes", ""],
            "Capacity": ["0", "1e9"],
            "MaximumServers": ["0"],
            "Spare": ["-1", "some", ""],
            "LoginServers": ["1", "7"],
            "LoginInstanceType": ["", "large"],
            "DatabaseClass": ["t4g.small", "db.t4g"],
            "DatabaseVersion": ["8.0"],
            "DatabaseStorage": ["5"],
            "BackupDays": ["0", "36"],
            "BrokerClass": ["t3.micro"],
            "PasswordGeneration": ["0", "s3cret", "p@ss:/w%rd"],
            "Network": ["10", "10.256", "172.15", "192.169", "10.50.0.0/16", "8.8"],
            "FirstZone": ["us-east-1", "1a"],
            "Telnet": ["no"],
        }.items():
            for value in values:
                said = refusals(IMAGE | {name: value})[0]
                self.assertTrue(said.startswith(f"{name}: "), said)

    def test_no_password(self) -> None:
        self.assertEqual(refusals(IMAGE | {"Password": "x"}), ["there is no Password"])

    def test_rules(self) -> None:
        """Of parameters that do not go together."""
        for given, said in (
            ({"FirstZone": "us-east-1a", "SecondZone": "us-east-1a"}, "are one zone"),
            ({"FirstZone": "us-east-1a"}, "FirstZone and SecondZone go together"),
            ({"SecondZone": "us-east-1a"}, "FirstZone and SecondZone go together"),
            ({"KeyName": "mine"}, "KeyName and Operators go together"),
            ({"Operators": "192.0.2.7/32"}, "KeyName and Operators go together"),
        ):
            (found,) = refusals(IMAGE | given)
            self.assertIn(said, found)

    def test_conditions(self) -> None:
        """A condition is about one parameter."""
        conditions = template()["Conditions"]
        self.assertFalse(holds(conditions["HasBudget"], {"MonthlyBudget": "0"}))
        self.assertTrue(holds(conditions["HasBudget"], {"MonthlyBudget": "500"}))


FIGURES = {
    "bbs_fleet_alarm": "Alarm",
    'bbs_fleet_errors_total{kind="internal"}': "InternalErrors",
    'bbs_fleet_errors_total{kind="unavailable"}': "UnavailablePerSecond",
    "bbs_fleet_failed_logins_total": "FailedLoginsPerSecond",
    "bbs_database_up": "DatabaseUp",
    "bbs_fleet_launch_refused": "LaunchRefused",
    "bbs_fleet_longest_wait_seconds": "LongestWait",
    'bbs_fleet_servers{state="lost"}': "LostServers",
}
"""What login servers make of the page's metrics, for CloudWatch."""


class Alarms(SynchronousTestCase):
    """Alarms, and the alerts that `docs/web.md` suggests."""

    def test_alerts(self) -> None:
        """Each of them is an alarm that goes off at the same figure."""
        alarms = {
            each["Properties"]["MetricName"]: each["Properties"]
            for each in template()["Resources"].values()
            if each["Type"] == "AWS::CloudWatch::Alarm" and each["Properties"]["Namespace"] == "bbs"
        }
        found = []
        for line in re.findall("^- `(m.*?)`", (DOCS / "web.md").read_text("utf-8"), re.M):
            matched = re.search(r"(bbs_\w+(?:\{.*?\})?).* (>|==) ([\d.]+)$", line)
            assert matched is not None, line
            metric, operator, figure = matched.groups()
            alarm = alarms[FIGURES[metric]]
            found.append(metric)
            goes_off = {
                ("GreaterThanThreshold", float(alarm["Threshold"])): {
                    (">", float(alarm["Threshold"])),
                    ("==", alarm["Threshold"] + 1.0),
                },
                ("LessThanThreshold", float(alarm["Threshold"])): {
                    ("==", alarm["Threshold"] - 1.0)
                },
            }[alarm["ComparisonOperator"], float(alarm["Threshold"])]
            self.assertIn((operator, float(figure)), goes_off, line)
            least = alarm["ComparisonOperator"] == "LessThanThreshold"
            self.assertEqual(alarm["Statistic"], "Minimum" if least else "Maximum", line)
        self.assertEqual(sorted(found), sorted(FIGURES))

    def test_somebody_hears(self) -> None:
        """Of each, and that it is over."""
        for name, each in template()["Resources"].items():
            if each["Type"] == "AWS::CloudWatch::Alarm":
                for actions in ("AlarmActions", "OKActions"):
                    self.assertEqual(each["Properties"][actions], [{"Ref": "Topic"}], name)
