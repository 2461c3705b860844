"""The roles of `deploy/cloudformation`: the statements are those of `docs/aws`, and the calls of
login and app servers are held against what moto's stack gave them."""

from __future__ import annotations

import json
from ast import literal_eval
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from bbs.config import references as stores
from tests.deploy import test_aws_policies as documented
from tests.deploy.aws_policies import (
    ACCOUNT,
    REGION,
    Account,
    Request,
    allowing,
    arn,
    pass_role,
    policy,
    together,
)
from tests.deploy.moto_case import client
from tests.deploy.stack_case import MadeCase
from tests.deploy.stack_template import template

OTHERWISE = {
    # The URLs are in the Secrets Manager: what nobody needs is in no role.
    "ItsSecrets",
}
"""Statements of `docs/aws` that the stack's roles do without."""


NAMES = {"SeeTheBrokersNames", "TakeABrokersName"}
"""Statements for brokers on login servers."""


class RolesCase(MadeCase, documented.PolicyTestCase):
    """A record of the calls, and the roles as the stack has made them."""

    def setUp(self) -> None:
        MadeCase.setUp(self)
        self.begin()
        self.config = replace(self.configured().ec2, spot=False)
        self.tags[self.image] = documented.OURS
        self.login, self.app = self.role("LoginRole"), self.role("AppRole")

    def role(self, name: str) -> dict[str, Any]:
        """All that a role may."""
        iam, made = client("iam"), self.resources()
        role = made[name].name
        documents = [
            iam.get_role_policy(RoleName=role, PolicyName=each)["PolicyDocument"]
            for each in iam.list_role_policies(RoleName=role)["PolicyNames"]
        ]
        # moto keeps some as Python writes them, and attaches no managed ones: the template says
        # which.
        found = [each if isinstance(each, dict) else literal_eval(each) for each in documents]
        for each in template()["Resources"][name]["Properties"]["ManagedPolicyArns"]:
            version = iam.get_policy_version(PolicyArn=made[each["Ref"]].arn, VersionId="v1")
            found.append(version["PolicyVersion"]["Document"])
        return together(*found)

    def statements(self, name: str) -> dict[str, Any]:
        every = self.role(name)["Statement"]
        found = {each["Sid"]: each for each in every}
        self.assertEqual(len(found), len(every))
        return found

    def places(self) -> dict[str, str]:
        """What the placeholders of `docs/aws` stand for here."""
        made = self.resources()
        return {
            "SUBNET_A": made["PublicSubnetA"].id,
            "SUBNET_B": made["PublicSubnetB"].id,
            "APP_GROUP": made["AppGroup"].id,
            "role/bbs-app": f"role/{made['AppRole'].name}",
        }

    def asked(self) -> list[Request]:
        """What was asked for so far. A profile is called otherwise than its role."""
        profile, role = self.config.iam_instance_profile, self.resources()["AppRole"].name
        return [
            replace(request, resource=pass_role(role).resource)
            if request.resource == pass_role(profile).resource
            else request
            for request in super().asked()
        ]

    def secrets(self) -> list[str]:
        """The URLs', by their ARNs."""
        return [self.resources()[name].id for name in ("DatabaseLogin", "BrokerUrlA", "BrokerUrlB")]


class Statements(RolesCase):
    """What is in the roles, and what is in the files."""

    def test_as_documented(self) -> None:
        for name, files in {
            "LoginRole": (
                "login-server-policy.json",
                "spot-policy.json",
                "spot-fleet-policy.json",
                "logs-policy.json",
            ),
            "AppRole": ("app-server-policy.json", "logs-policy.json"),
        }.items():
            wanted = {
                each["Sid"]: each
                for file in files
                for each in policy(file, **self.places())["Statement"]
                if each["Sid"] not in OTHERWISE
            }
            wanted["OrInTheSecretsManager"]["Resource"] = self.secrets()
            found = self.statements(name)
            own = found.keys() - wanted.keys()
            self.assertEqual({sid: found[sid] for sid in wanted}, wanted, name)
            stack = {"SayThatItIsReady", "SeeThatItIsServing", "ItsFigures", *NAMES}
            self.assertEqual(own, stack if name == "LoginRole" else set())

    def test_who_takes_them(self) -> None:
        """EC2's instances alone, as documented."""
        for name in ("LoginRole", "AppRole"):
            role = client("iam").get_role(RoleName=self.resources()[name].name)["Role"]
            self.assertEqual(role["AssumeRolePolicyDocument"], policy("ec2-trust.json"))

    def test_size(self) -> None:
        """IAM takes 10,240 characters of a role's own policies, and 6,144 of a managed one."""
        for name in ("LoginRole", "AppRole"):
            dense = json.dumps(self.role(name), separators=(",", ":"))
            self.assertLess(len(dense), 10240)


class LoginServer(RolesCase):
    def test_allows_what_it_does(self) -> None:
        """Each call of a controller, each secret, and what user data and the log shipper ask for;
        and no statement is there for nothing."""
        self.a_life(self.config)
        self.a_batch()
        self.a_life(replace(self.config, spot=True))
        used = self.assert_allowed(self.login)
        for request in self.own():
            sids = allowing(self.login, request)
            self.assertNotEqual(sids, [], request)
            used |= {*sids}
        self.assertEqual(used, {each["Sid"] for each in self.login["Statement"]})

    def zone(self) -> str:
        return f"arn:aws:route53:::hostedzone/{self.resources()['BrokerZone'].id}"

    def taking(self, name: str, action: str = "UPSERT", kind: str = "A") -> Request:
        prefix = "route53:ChangeResourceRecordSets"
        keys = {"Actions": action, "RecordTypes": kind, "NormalizedRecordNames": name}
        return Request(prefix, self.zone(), {prefix + key: value for key, value in keys.items()})

    def own(self) -> Iterator[Request]:
        stream = self.resources()["Log"].arn + ":log-stream:i-1"
        for action in ("CreateLogStream", "PutLogEvents"):
            yield Request(f"logs:{action}", stream)
        (stack,) = client("cloudformation").describe_stacks()["Stacks"]
        yield Request("cloudformation:SignalResource", stack["StackId"])
        yield Request("elasticloadbalancing:DescribeTargetHealth", "*")
        yield Request("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "bbs"})
        for secret in self.secrets():
            yield Request("secretsmanager:GetSecretValue", secret)
        yield Request("route53:ListResourceRecordSets", self.zone())
        yield self.taking("a.bbs.bbs.internal")
        spot = {"iam:AWSServiceName": "spot.amazonaws.com"}
        yield Request("iam:CreateServiceLinkedRole", documented.SPOTS_ROLE, spot)

    def test_denies_the_rest(self) -> None:
        made = self.resources()
        ours = {"aws:ResourceTag/bbs:fleet": "bbs"}
        instance = arn("ec2", "instance/i-1")
        for request in (
            Request("ec2:TerminateInstances", instance),
            Request("ec2:TerminateInstances", instance, {"aws:ResourceTag/bbs:fleet": "other"}),
            Request("ec2:RebootInstances", instance, ours),
            Request("ec2:CreateTags", instance, {**ours, "aws:TagKeys": ["bbs:fleet"]}),
            Request("ec2:CreateTags", instance, {"aws:TagKeys": ["bbs:launch"]}),
            Request("ec2:RunInstances", arn("ec2", f"subnet/{made['PrivateSubnetA'].id}")),
            Request("ec2:RunInstances", arn("ec2", f"security-group/{made['LoginGroup'].id}")),
            Request("ec2:RunInstances", arn("ec2", "launch-template/lt-1")),
            Request("ec2:RunInstances", arn("ec2", "image/ami-1", ""), {"ec2:Owner": ACCOUNT}),
            pass_role(made["LoginRole"].name),
            pass_role(made["AppRole"].name, "lambda.amazonaws.com"),
            Request("ssm:GetParameter", arn("ssm", "parameter/bbs/database")),
            Request("secretsmanager:GetSecretValue", made["DatabasePassword"].id),
            Request("secretsmanager:GetSecretValue", made["BrokerPassword"].id),
            Request("secretsmanager:PutSecretValue", made["DatabaseLogin"].id),
            self.taking("www.bbs.bbs.internal"),
            self.taking("a.bbs.bbs.internal", action="DELETE"),
            self.taking("a.bbs.bbs.internal", kind="NS"),
            Request("route53:DeleteHostedZone", self.zone()),
            Request("secretsmanager:PutSecretValue", made["DatabaseLogin"].id),
            Request("rds:DeleteDBInstance", arn("rds", "db:x")),
            Request("cloudformation:DeleteStack", arn("cloudformation", "stack/bbs/1")),
            Request("cloudformation:SignalResource", arn("cloudformation", "stack/bbs2/1")),
            Request("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "other"}),
            Request("logs:PutLogEvents", arn("logs", "log-group:/bbs/other:log-stream:x")),
            Request("logs:DeleteLogGroup", made["Log"].arn),
        ):
            self.assertEqual(allowing(self.login, request), [], request)

    def test_launches(self) -> None:
        """Of the fleet's own kind alone: no other size, no other place, no other role."""
        self.a_life(self.config)
        launch = self.launch()
        role = self.resources()["AppRole"].name
        launch["IamInstanceProfile.Name"] = role
        self.assertEqual(self.denied(self.login, launch), [])
        for change in (
            {"InstanceType": "p5.48xlarge"},
            {"ImageId": "ami-other"},
            {"NetworkInterface.1.SubnetId": "subnet-other"},
            {"NetworkInterface.1.SecurityGroupId.1": "sg-other"},
            {"IamInstanceProfile.Name": "administrator"},
            {"KeyName": "mine"},
        ):
            self.assertNotEqual(self.denied(self.login, {**launch, **change}), [], change)


class AppServer(RolesCase):
    def test_allows_what_it_does(self) -> None:
        """Its secrets, and its log."""
        real = self.configured()
        for key, urls in (("database.url", [real.database.url]), ("broker.url", real.broker.url)):
            stores.reveal(key, urls, real)
        for secret in self.secrets():
            self.assertNotEqual(
                allowing(self.app, Request("secretsmanager:GetSecretValue", secret)), []
            )
        log = self.resources()["Log"].arn + ":log-stream:i-1"
        self.assertEqual(
            allowing(self.app, Request("logs:PutLogEvents", log)), ["WriteIntoTheGroup"]
        )

    def test_denies_the_rest(self) -> None:
        """Nothing of what the login server asks EC2."""
        self.a_life(self.config)
        for request in self.asked():
            self.assertEqual(allowing(self.app, request), [], request)
        password = self.resources()["DatabasePassword"].id
        request = Request("secretsmanager:GetSecretValue", password)
        self.assertEqual(allowing(self.app, request), [])
        self.assertEqual(self.config.region, REGION)

    def account(self) -> Account:
        return Account(self.tags, self.templates)


class DatabaseUsers(RolesCase):
    """The machine that makes the database's users."""

    def test_may(self) -> None:
        """Read the master's password, write the servers' URL, and no more: it is the only one with
        the former, and has nothing of a login server."""
        role, made = self.role("DatabaseUsersRole"), self.resources()
        password, url = made["DatabasePassword"].id, made["DatabaseLogin"].id
        for request in (
            Request("secretsmanager:GetSecretValue", password),
            *(
                Request(f"secretsmanager:{action}", url)
                for action in ("DescribeSecret", "GetSecretValue", "PutSecretValue")
            ),
            Request("cloudformation:SignalResource", arn("cloudformation", "stack/bbs/1")),
            Request("logs:PutLogEvents", made["Log"].arn + ":log-stream:i-1"),
        ):
            self.assertNotEqual(allowing(role, request), [], request)
        self.a_life(self.config)
        for request in (
            *self.asked(),
            Request("secretsmanager:PutSecretValue", password),
            Request("secretsmanager:GetSecretValue", made["BrokerPassword"].id),
            Request("rds:ModifyDBInstance", arn("rds", "db:x")),
        ):
            self.assertEqual(allowing(role, request), [], request)
