"""The template of `deploy/cloudformation` as a file: what tools and CloudFormation say of it before
it makes anything."""

import json
import re
from pathlib import Path

import cfnlint  # type: ignore[import-untyped]
import yaml
from cfnlint.api import lint_file  # type: ignore[import-untyped]
from cfnlint.config import ManualArgs  # type: ignore[import-untyped]
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER  # type: ignore[import-untyped]
from twisted.trial.unittest import SynchronousTestCase

from tests.deploy.stack_template import PATH, holds, refusals, template

PROMETHEUS = PATH.parent.parent / "prometheus/alerts.yml"
LINTED = (
    Path(cfnlint.__file__).parent / "data/schemas/extensions/aws_rds_dbinstance/engine_version.json"
)
"""The versions of databases that cfn-lint had from RDS when it was released."""

IMAGE = {"Image": "ami-0123456789abcdef0"}
CERTIFICATE = "arn:aws:secretsmanager:us-east-1:123456789012:secret:bbs/tls-a1B2c3"


class TheFile(SynchronousTestCase):
    def test_cfn_lint(self) -> None:
        """Without a finding, of any level, in three regions."""
        regions = ["us-east-1", "eu-central-1", "ap-southeast-2"]
        found = lint_file(PATH, config=ManualArgs(include_checks=["I"], regions=regions))
        self.assertEqual([str(each) for each in found], [])

    def test_size(self) -> None:
        """It goes with the command itself: what is larger has to be in a bucket first."""
        self.assertLessEqual(PATH.stat().st_size, 51_200)

    def test_versions(self) -> None:
        """Databases of versions that RDS has had, as cfn-lint knows; botocore names none."""
        data = json.loads(LINTED.read_text("utf-8"))
        known = [
            version
            for each in data["allOf"]
            if each["if"]["properties"]["Engine"].get("const") == "mariadb"
            for version in each["then"]["properties"]["EngineVersion"]["enum"]
        ]
        for version in template()["Parameters"]["DatabaseVersion"]["AllowedValues"]:
            self.assertTrue([each for each in known if each.startswith(f"{version}.")], version)

    def test_insights(self) -> None:
        """No class without Database Insights is given them: RDS would refuse it."""
        wants = template()["Conditions"]["HasInsights"]
        for kind, has in (("db.t4g.small", False), ("db.t3.micro", False), ("db.m7g.large", True)):
            self.assertEqual(holds(wants, {"DatabaseClass": kind}), has, kind)

    def test_windows(self) -> None:
        """The backup is over when the maintenance begins, in the night of Sunday."""
        database = template()["Resources"]["Database"]["Properties"]
        day, hour, minute, _, _, _ = re.split("[:-]", database["PreferredMaintenanceWindow"])
        self.assertEqual(day, "sun")
        self.assertGreaterEqual(
            (hour, minute), (*database["PreferredBackupWindow"].partition("-")[2].split(":"),)
        )
        broker = template()["Resources"]["Broker"]["Properties"]["MaintenanceWindowStartTime"]
        self.assertEqual((broker["DayOfWeek"], broker["TimeZone"]), ("SUNDAY", "UTC"))

    def test_logs(self) -> None:
        """Of database and broker: the former writes its slow statements to a file, which is what
        RDS exports, and CloudWatch lets the latter write."""
        made = template()["Resources"]
        self.assertEqual(
            made["Database"]["Properties"]["EnableCloudwatchLogsExports"], ["error", "slowquery"]
        )
        parameters = made["DatabaseParameters"]["Properties"]["Parameters"]
        self.assertEqual((parameters["slow_query_log"], parameters["log_output"]), ("1", "FILE"))
        self.assertEqual(made["Broker"]["Properties"]["Logs"], {"General": True, "Audit": True})
        self.assertEqual(made["Broker"]["DependsOn"], "BrokerLogs")
        policy = json.loads(made["BrokerLogs"]["Properties"]["PolicyDocument"]["Fn::Sub"])
        (statement,) = policy["Statement"]
        self.assertEqual(statement["Principal"], {"Service": "mq.amazonaws.com"})

    def test_another_machine_for_another_generation(self) -> None:
        """All of the machine that makes the database's users is in its launch template, whose
        change makes another one: it has ended, and cannot be changed."""
        asked = template()["Resources"]["DatabaseUsers"]["Properties"]
        self.assertEqual(asked.keys(), {"LaunchTemplate"})
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", "AWS::EC2::Instance")
        self.assertIn("/properties/LaunchTemplate", schema.schema["createOnlyProperties"])
        made = template()["Resources"]
        data = made["DatabaseUsersTemplate"]["Properties"]["LaunchTemplateData"]
        self.assertEqual(data["InstanceInitiatedShutdownBehavior"], "terminate")
        # No login server starts without a URL.
        self.assertIn("DatabaseUsers", made["LoginFleet"]["DependsOn"])

    def test_what_stays(self) -> None:
        """No property that an earlier stack has otherwise would replace its database or broker."""
        for name, kept in (
            ("Database", {"MasterUsername": "bbs", "DBName": "bbs", "StorageEncrypted": True}),
            ("Broker", {"EngineType": "ACTIVEMQ", "DeploymentMode": "ACTIVE_STANDBY_MULTI_AZ"}),
        ):
            each = template()["Resources"][name]
            self.assertEqual({key: each["Properties"][key] for key in kept}, kept)
            schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", each["Type"])
            fixed = {path.split("/")[2] for path in schema.schema["createOnlyProperties"]}
            known = {*kept, "DBSubnetGroupName", "SubnetIds", "PubliclyAccessible", "BrokerName"}
            self.assertLessEqual(fixed & each["Properties"].keys(), known)

    def test_names(self) -> None:
        """CloudFormation names what it makes, so that no name is taken or too long; but for the
        group of logs and the zone, which machines have to know, and the broker, which has to have
        one."""
        named = {
            name
            for name, each in template()["Resources"].items()
            for key in each["Properties"]
            if key in ("Name", "AlarmName", "TopicName", "LaunchTemplateName", "LogGroupName")
            or key in ("RoleName", "ManagedPolicyName", "InstanceProfileName", "GroupName")
            or key in ("DBInstanceIdentifier", "BrokerName", "AutoScalingGroupName")
        }
        self.assertEqual(named, {"Log", "Broker", "BrokerZone"})

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
        found = re.findall(r"\$\{User\}:[^@]*@", PATH.read_text("utf-8"))
        self.assertEqual(len(found), 2)
        for url in found:
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

    def test_what_fits(self) -> None:
        for given in (
            {"FirstZone": "us-east-1b", "SecondZone": "us-east-1f"},
            {"FirstZone": "us-gov-west-1a", "SecondZone": "us-gov-west-1c"},
            {"KeyName": "mine & yours", "IPv6": "true"},
            {"Brokers": "AmazonMQ", "BrokerClass": "mq.m5.large"},
            {"Mail": "ops@example.org", "MonthlyBudget": "0"},
            {"Certificate": CERTIFICATE, "Domain": "bbs.example.org"},
            {"FleetName": "a" * 31, "Spare": "12", "Network": "172.31"},
            {"AppInstanceTypes": "t3.micro,m7i-flex.large,u-6tb1.112xlarge"},
        ):
            self.assertEqual(refusals(IMAGE | given), [], given)

    def test_what_does_not_fit(self) -> None:
        """Each is refused before anything is made, with what would be right."""
        for name, values in {
            "Image": ["", "debian-12"],
            "Mail": ["ops", "ops@example", "a@b.c,d@e.f", "o ps@example.org"],
            "MonthlyBudget": ["-1", "much", ""],
            "IPv6": ["yes", ""],
            "Brokers": ["", "RabbitMQ"],
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
            "Certificate": ["bbs-tls", "arn:aws:acm:us-east-1:1:certificate/1", "arn:aws"],
            "Domain": ["localhost", "*.example.org", "Bbs.example.org", "https://x.org"],
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
            ({"Domain": "bbs.example.org"}, "Certificate and Domain go together"),
            ({"Certificate": CERTIFICATE}, "Certificate and Domain go together"),
            ({"Brokers": "AmazonMQ"}, "Amazon MQ needs Brokers=AmazonMQ and a BrokerClass"),
            # A stack that has Amazon MQ, of a template without `Brokers`: it keeps its class.
            ({"BrokerClass": "mq.m5.large"}, 'To end it, give Brokers=LoginServers BrokerClass=""'),
        ):
            (found,) = refusals(IMAGE | given)
            self.assertIn(said, found)

    def test_conditions(self) -> None:
        """A condition is about one parameter."""
        conditions = template()["Conditions"]
        self.assertFalse(holds(conditions["HasBudget"], {"MonthlyBudget": "0"}))
        self.assertTrue(holds(conditions["HasBudget"], {"MonthlyBudget": "500"}))
        self.assertTrue(holds(conditions["HasBudget"], {"MonthlyBudget": "auto"}))


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
