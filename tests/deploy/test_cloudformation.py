"""The template of `deploy/cloudformation` as a file: what tools and CloudFormation say of it before
it makes anything."""

import re

import yaml
from cfnlint.api import lint_file  # type: ignore[import-untyped]
from cfnlint.config import ManualArgs  # type: ignore[import-untyped]
from twisted.trial.unittest import SynchronousTestCase

from tests.deploy.stack_template import PATH, holds, refusals, template

PROMETHEUS = PATH.parent.parent / "prometheus/alerts.yml"
IMAGE = {"Image": "ami-0123456789abcdef0"}


class TheFile(SynchronousTestCase):
    def test_cfn_lint(self) -> None:
        """Without a finding, of any level, in three regions."""
        regions = ["us-east-1", "eu-central-1", "ap-southeast-2"]
        found = lint_file(PATH, config=ManualArgs(include_checks=["I"], regions=regions))
        self.assertEqual([str(each) for each in found], [])

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
            ({"FirstZone": "us-east-1a", "SecondZone": "us-east-1a"}, "the same zone"),
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


ALERTS = {
    "BbsAlarm": "SomebodyHasToGetUp",
    "BbsBrokerAway": "BrokerDown",
    "BbsDatabaseAway": "DatabaseDown",
    "BbsFleetUnseen": "FleetUnseen",
    "BbsGone": "NobodyLogsIn",
    "BbsInternalErrors": "InternalErrors",
    "BbsLaunchesRefused": "LaunchRefused",
    "BbsLoginServerSilent": "LoginServerNotReady",
    "BbsLongWait": "LongestWait",
    "BbsPasswordsGuessed": "FailedLogins",
    "BbsServersLost": "LostServers",
    "BbsSlowReactor": "SlowReactor",
    "BbsUnavailable": "Unavailable",
}
"""The alarm that goes off where an alert of Prometheus does."""

BY_THE_BALANCER = {"BbsGone", "BbsLoginServerSilent"}
"""What CloudWatch is told by the load balancer, and by no login server."""

BY_PARTS = {"BbsSlowReactor": 0.01}
"""What Prometheus says in seconds of a hundredth, and CloudWatch is told as a part."""


class Alarms(SynchronousTestCase):
    """Alarms, and the alerts of `deploy/prometheus`."""

    def setUp(self) -> None:
        (group,) = yaml.safe_load(PROMETHEUS.read_text("utf-8"))["groups"]
        self.alerts = {each["alert"]: each for each in group["rules"]}
        self.alarms = {
            name: each["Properties"]
            for name, each in template()["Resources"].items()
            if each["Type"] == "AWS::CloudWatch::Alarm"
        }

    def test_alerts(self) -> None:
        """Each is an alarm, which goes off at the same figure and after as long, but for those
        that `docs/stack.md` names."""
        self.assertEqual(self.alerts.keys(), ALERTS.keys())
        for name, alert in self.alerts.items():
            alarm = self.alarms[ALERTS[name]]
            minutes = int(alert.get("for", "1m").removesuffix("m"))
            self.assertEqual(alarm["Period"], 60)
            # One minute more where a login server may have said nothing in a minute.
            more = 1 if name == "BbsDatabaseAway" else 0
            self.assertEqual(alarm["EvaluationPeriods"], minutes + more, name)
            if name in BY_THE_BALANCER:
                self.assertEqual(alarm["Namespace"], "AWS/NetworkELB")
                continue
            self.assertEqual(alarm["Namespace"], "bbs")
            operator, figure = re.findall(r"(>|==) ([\d.]+)$", alert["expr"])[0]
            threshold = float(alarm["Threshold"])
            more = alarm["ComparisonOperator"] == "GreaterThanThreshold"
            wanted = BY_PARTS.get(name, float(figure))
            if operator == "==":
                # All there is are 0 and 1.
                wanted, above = (0, True) if wanted else (1, False)
                self.assertEqual(more, above, name)
            self.assertEqual(threshold, wanted, name)
            least = alert["expr"].startswith("min ") or name == "BbsFleetUnseen"
            self.assertEqual(alarm["Statistic"], "Minimum" if least else "Maximum", name)

    def test_nearly_full(self) -> None:
        """Where RDS should have made the storage larger by itself, and has not: it does that when
        a tenth of it is free."""
        least = template()["Parameters"]["DatabaseStorage"]["MinValue"] * 2**30
        self.assertLess(self.alarms["DatabaseNearlyFull"]["Threshold"], least / 10)

    def test_silence(self) -> None:
        """Where nobody says anything of the database or is ready, that is an alarm too."""
        silent = {
            name for name, each in self.alarms.items() if each["TreatMissingData"] == "breaching"
        }
        self.assertEqual(silent, {"DatabaseDown", "NobodyLogsIn"})

    def test_somebody_hears(self) -> None:
        """Of each, and that it is over."""
        for name, each in self.alarms.items():
            for actions in ("AlarmActions", "OKActions"):
                self.assertEqual(each[actions], [{"Ref": "Topic"}], name)
