"""The life of a stack of `deploy/cloudformation` in moto: changed, removed, stopped half-way, and
made again."""

from __future__ import annotations

import re
import string
from typing import Any
from unittest import mock
from urllib.parse import quote, unquote, urlsplit

from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from moto.cloudformation.models import cloudformation_backends

from bbs.config import EC2, Configuration, references
from tests.deploy.aws_policies import ACCOUNT, REGION
from tests.deploy.moto_case import client
from tests.deploy.stack_case import StackCase, without
from tests.deploy.stack_models import LENT
from tests.deploy.stack_template import program, text


class Life(StackCase):
    def left(self) -> dict[str, list[Any]]:
        """What there is of that which stacks make."""
        ec2, balancers, logs = client("ec2"), client("elbv2"), client("logs")
        own = [{"Name": "is-default", "Values": ["false"]}]
        every = {
            "network": ec2.describe_vpcs(Filters=own)["Vpcs"],
            "gateway": ec2.describe_internet_gateways()["InternetGateways"],
            "template": ec2.describe_launch_templates()["LaunchTemplates"],
            "balancer": balancers.describe_load_balancers()["LoadBalancers"],
            "targets": balancers.describe_target_groups()["TargetGroups"],
            "servers": client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"],
            "database": client("rds").describe_db_instances()["DBInstances"],
            "subnets": client("rds").describe_db_subnet_groups()["DBSubnetGroups"],
            "broker": client("mq").list_brokers()["BrokerSummaries"],
            "zone": client("route53").list_hosted_zones()["HostedZones"],
            "logs of brokers": logs.describe_resource_policies()["resourcePolicies"],
            "secrets": client("secretsmanager").list_secrets()["SecretList"],
            "roles": client("iam").list_roles()["Roles"],
            "policies": client("iam").list_policies(Scope="Local")["Policies"],
            "log": logs.describe_log_groups()["logGroups"],
            "topic": client("sns").list_topics()["Topics"],
            "alarms": client("cloudwatch").describe_alarms()["MetricAlarms"],
            "budget": client("budgets").describe_budgets(AccountId=ACCOUNT)["Budgets"],
        }
        return {what: found for what, found in every.items() if found}

    def wanted(self) -> set[str]:
        """The resources of a stack with nothing but an image."""
        return without("HasMail", "HasShell", "HasSpot", "HasTLS", "OnAmazonMQ")

    def update(self, body: str = "", **parameters: str) -> None:
        client("cloudformation").update_stack(
            StackName="bbs", TemplateBody=body or text(), Parameters=self.given(**parameters)
        )

    def ids(self) -> dict[str, str]:
        """What resources are called."""
        return {
            name: str(getattr(made, "physical_resource_id", ""))
            for name, made in self.resources().items()
        }

    def test_removed_and_made_again(self) -> None:
        """Nothing of the first one is left, or in the way."""
        self.make()
        self.assertEqual(self.resources().keys(), self.wanted())
        client("cloudformation").delete_stack(StackName="bbs")
        self.assertEqual(self.left(), {})
        self.make()
        self.assertEqual(self.resources().keys(), self.wanted())

    def test_stops_half_way(self) -> None:
        """Run again it goes on from there; and it can be removed as it is."""
        _make, remove = LENT["AWS::EC2::Instance"]
        lacking = ClientError({"Error": {"Code": "Lacking", "Message": "capacity"}}, "RunInstances")
        broken = mock.patch.dict(
            LENT, {"AWS::EC2::Instance": (mock.Mock(side_effect=lacking), remove)}
        )
        with broken:
            self.assertRaises(ClientError, self.make)
        before = self.ids()
        self.assertIn("Database", self.resources())
        self.assertNotIn("DatabaseUsers", before)
        self.assertNotIn("LoginFleet", before)
        # moto has no command for it, and a stack that makes what it has not made yet.
        (stack,) = cloudformation_backends[ACCOUNT][REGION].stacks.values()
        stack.create_resources()
        after = self.ids()
        self.assertEqual(self.resources().keys(), self.wanted())
        self.assertEqual({name: after[name] for name in before}, before)
        client("cloudformation").delete_stack(StackName="bbs")
        self.assertEqual(self.left(), {})
        with broken:
            self.assertRaises(ClientError, self.make)
        client("cloudformation").delete_stack(StackName="bbs")
        self.assertEqual(self.left(), {})

    def test_changed(self) -> None:
        """Another image makes login servers of another launch template, and nothing else anew."""
        self.make()
        before, script = self.ids(), self.user_data()
        image = client("ec2").register_image(Name="next", RootDeviceName="/dev/xvda")["ImageId"]
        self.update(Image=image)
        self.assertEqual(self.ids(), before)
        self.assertEqual(self.user_data(), script.replace(self.image, image))
        self.assertEqual(self.configured().ec2.image_id, image)

    def test_another_generation_of_passwords(self) -> None:
        """It reaches the URLs, by names that changed, and makes another machine that makes the
        database's user. No server is replaced: what it has is valid until the next generation."""
        self.make()
        before, script, urls = self.ids(), self.user_data(), self.urls()
        # moto does not look for parameters within texts.
        self.update(text().replace("${PasswordGeneration}", "2"))
        self.assertEqual(self.ids(), before)
        self.assertEqual(self.user_data(), script)
        self.assertIn("STACK_GENERATION=2\n", self.user_data("DatabaseUsersTemplate"))
        self.assertEqual(self.make_users(), "servers get the database user bbs_b")
        after = self.urls()
        for name, url in urls.items():
            password, other = (re.findall("[0-9A-Za-z]{40}", each) for each in (url, after[name]))
            self.assertEqual(len(other), 1)
            self.assertNotEqual(password, other)
            wanted = url.replace(password[0], other[0]).replace("bbs_a:", "bbs_b:")
            self.assertEqual(wanted.replace("//bbs1:", "//bbs2:"), after[name])
        # Another image of the same generation makes no other passwords.
        self.assertEqual(self.make_users(), "generation 2 of the database's passwords is there")
        self.assertEqual(self.urls(), after)

    def test_what_brokers_admit(self) -> None:
        """A login server's broker admits servers with the password before, too: they have it until
        they are replaced."""
        self.make()
        before = self.urls()["BrokerUrlA"]
        broker, secret = program("broker"), self.resources()["BrokerUrlA"].id
        self.assertEqual(broker.previous(f"secretsmanager:{secret}", REGION), [])
        self.update(text().replace("${PasswordGeneration}", "2"))
        self.assertEqual(broker.previous(f"secretsmanager:{secret}", REGION), [before])

    def urls(self) -> dict[str, str]:
        secrets, made = client("secretsmanager"), self.resources()
        return {
            name: secrets.get_secret_value(SecretId=made[name].id)["SecretString"]
            for name in ("DatabaseLogin", "BrokerUrlA", "BrokerUrlB")
        }

    def test_side_by_side(self) -> None:
        """Two stacks need two names of fleets; the second of one name stops at its logs."""
        self.make("a" * 40)
        self.make("staging", FleetName="staging")
        for each in client("elbv2").describe_target_groups()["TargetGroups"]:
            self.assertLessEqual(len(each["TargetGroupName"]), 32)
        # moto answers in another service's format.
        error = self.assertRaises(ResponseParserError, self.make, "second")
        self.assertIn("log group already exists", str(error))


class OwnPasswords(StackCase):
    """Passwords that operators put into the secrets of URLs."""

    def test_every_awkward_character(self) -> None:
        """Written as `docs/stack.md` says, servers take it; as it is, they say what is wrong, and
        not what it was."""
        awkward = string.printable.strip() + " \u00e9"
        secrets, config = client("secretsmanager"), Configuration(ec2=EC2(region=REGION))
        for key, before, after in (
            ("database.url", "mysql://bbs:", "@db.example:3306/bbs?tls_ca=/etc/ssl/certs/rds.pem"),
            ("broker.url", "stomp+ssl://bbs:", "@mq.example:61614"),
        ):
            right = secrets.create_secret(
                Name=f"right/{key}", SecretString=f"{before}{quote(awkward, safe='')}{after}"
            )
            (url,) = references.reveal(key, [f"secretsmanager:{right['ARN']}"], config)
            self.assertEqual(unquote(urlsplit(url).password or ""), awkward)
            wrong = secrets.create_secret(
                Name=f"wrong/{key}", SecretString=f"{before}{awkward}{after}"
            )
            error = self.assertRaises(
                references.SecretUnavailable,
                references.reveal,
                key,
                [f"secretsmanager:{wrong['ARN']}"],
                config,
            )
            self.assertNotIn(string.punctuation, str(error))
