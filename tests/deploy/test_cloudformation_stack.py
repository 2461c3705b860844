"""The stack of `deploy/cloudformation` in moto: what was made of it, resource by resource."""

from __future__ import annotations

import io
import re
from collections import Counter
from contextlib import redirect_stdout
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from urllib.parse import urlsplit

from moto.cloudformation import parsing
from twisted.trial.unittest import SynchronousTestCase

from bbs.config import EC2, Configuration, load, references
from bbs.daemons import config_check
from bbs.daemons.listening import Contexts, read_pems
from tests.certificates import certificate
from tests.deploy import stack_models
from tests.deploy.aws_policies import ACCOUNT, REGION
from tests.deploy.moto_case import client
from tests.deploy.stack_case import MadeCase, StackCase, without
from tests.deploy.stack_template import PROGRAMS, program, template, text, variables
from tests.paths import CHECKOUT
from tests.scaling.ec2.scenarios.test_user_data import ScriptTestCase

SYSTEMD = CHECKOUT / "deploy/systemd"

THERE = Configuration(ec2=EC2(region=REGION))
"""Where the secrets are."""

BY_ITSELF = {
    "AWS::AutoScaling::AutoScalingGroup": 1,
    "AWS::EC2::InternetGateway": 1,
    "AWS::EC2::LaunchTemplate": 2,
    "AWS::EC2::RouteTable": 2,
    "AWS::EC2::SubnetRouteTableAssociation": 4,
    "AWS::EC2::VPC": 1,
    "AWS::EC2::VPCGatewayAttachment": 1,
    "AWS::ElasticLoadBalancingV2::Listener": 3,
    "AWS::ElasticLoadBalancingV2::LoadBalancer": 1,
    "AWS::ElasticLoadBalancingV2::TargetGroup": 3,
    "AWS::IAM::InstanceProfile": 3,
    "AWS::IAM::ManagedPolicy": 2,
    "AWS::IAM::Policy": 2,
    "AWS::IAM::Role": 3,
    "AWS::Logs::LogGroup": 1,
    "AWS::RDS::DBInstance": 1,
    "AWS::RDS::DBParameterGroup": 1,
    "AWS::RDS::DBSubnetGroup": 1,
    "AWS::SNS::Topic": 1,
}
"""What moto's CloudFormation makes."""

BY_ITS_SERVICES = {
    "AWS::AmazonMQ::Broker": 1,
    "AWS::Budgets::Budget": 1,
    "AWS::CloudWatch::Alarm": 15,
    "AWS::EC2::Instance": 1,
    "AWS::EC2::InstanceConnectEndpoint": 1,
    "AWS::EC2::Route": 2,
    "AWS::EC2::SecurityGroup": 7,
    "AWS::EC2::SecurityGroupIngress": 6,
    "AWS::EC2::Subnet": 4,
    "AWS::EC2::VPCCidrBlock": 1,
    "AWS::Logs::ResourcePolicy": 1,
    "AWS::Route53::HostedZone": 1,
    "AWS::SNS::Subscription": 1,
    "AWS::SNS::TopicPolicy": 1,
    "AWS::SecretsManager::Secret": 5,
}
"""What it cannot make or makes in part, and the APIs of its services can:
`tests/deploy/stack_models.py`. Of an Instance Connect Endpoint moto knows nothing."""


class WhatMotoRuns(SynchronousTestCase):
    """Resource by resource. Where one of these lists changes, so does what the tests show."""

    def test_kinds(self) -> None:
        known, lent = parsing.get_model_map(), stack_models.LENT
        found = Counter(each["Type"] for each in template()["Resources"].values())
        self.assertEqual({each: found[each] for each in found if each not in lent}, BY_ITSELF)
        self.assertEqual({each: found[each] for each in found if each in lent}, BY_ITS_SERVICES)
        self.assertLessEqual(BY_ITSELF.keys(), known.keys())


class Made(MadeCase, ScriptTestCase):
    """What a stack has made."""

    def test_everything(self) -> None:
        """Each resource of the template is there but for Amazon MQ's and those for TLS."""
        self.assertEqual(self.resources().keys(), without("OnAmazonMQ", "HasTLS"))

    def test_zones(self) -> None:
        """Two: of the subnets, of the load balancer, of the database and of the login servers."""
        wanted = {"us-east-1b", "us-east-1c"}
        made = self.resources()
        ids = [made[f"{kind}Subnet{one}"].id for kind in ("Public", "Private") for one in "AB"]
        found = client("ec2").describe_subnets(SubnetIds=ids)["Subnets"]
        zones = {each["SubnetId"]: each["AvailabilityZone"] for each in found}
        public, private = set(ids[:2]), set(ids[2:])
        self.assertEqual({zones[id] for id in public}, wanted)
        self.assertEqual({zones[id] for id in private}, wanted)
        (balancer,) = client("elbv2").describe_load_balancers()["LoadBalancers"]
        self.assertEqual(balancer["Type"], "network")
        self.assertEqual({each["SubnetId"] for each in balancer["AvailabilityZones"]}, public)
        (group,) = client("rds").describe_db_subnet_groups()["DBSubnetGroups"]
        self.assertEqual({each["SubnetIdentifier"] for each in group["Subnets"]}, private)
        (servers,) = client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
        self.assertEqual({*servers["VPCZoneIdentifier"].split(",")}, public)
        self.assertEqual(len(servers["Instances"]), 2)

    def test_private(self) -> None:
        """From where database and broker stand no way leads out."""
        made = self.resources()
        way_out = {
            table["RouteTableId"]
            for table in client("ec2").describe_route_tables()["RouteTables"]
            if any(route.get("GatewayId", "").startswith("igw-") for route in table["Routes"])
        }
        # moto keeps associations, and does not tell of them.
        places = {
            kind: {(made[f"{kind}Routes{one}"], made[f"{kind}Subnet{one}"].id) for one in "AB"}
            for kind in ("Public", "Private")
        }
        for kind, associations in places.items():
            for each, subnet in associations:
                self.assertEqual(each.subnet_id, subnet)
                self.assertEqual(each.route_table_id in way_out, kind == "Public")

    def test_who_reaches_whom(self) -> None:
        """Ports, each with the group or the network from which it is reached."""
        made = self.resources()
        names = {each.id: name for name, each in made.items() if name.endswith("Group")}
        found = set()
        for group in client("ec2").describe_security_groups(GroupIds=list(names))["SecurityGroups"]:
            for rule in group["IpPermissions"]:
                self.assertEqual((rule["IpProtocol"], rule["FromPort"]), ("tcp", rule["ToPort"]))
                sources = [each["CidrIp"] for each in rule["IpRanges"]]
                sources += [each["CidrIpv6"] for each in rule.get("Ipv6Ranges", [])]
                sources += [names[each["GroupId"]] for each in rule["UserIdGroupPairs"]]
                found |= {(names[group["GroupId"]], rule["ToPort"], each) for each in sources}
        self.assertEqual(
            found,
            {
                ("BalancerGroup", 22222, "0.0.0.0/0"),
                ("BalancerGroup", 22222, "::/0"),
                ("BalancerGroup", 2323, "0.0.0.0/0"),
                ("BalancerGroup", 2323, "::/0"),
                ("LoginGroup", 22222, "BalancerGroup"),
                ("LoginGroup", 2323, "BalancerGroup"),
                ("LoginGroup", 8080, "BalancerGroup"),
                ("LoginGroup", 22, "ShellGroup"),
                ("LoginGroup", 61613, "LoginGroup"),
                ("LoginGroup", 61613, "AppGroup"),
                ("AppGroup", 22223, "0.0.0.0/0"),
                ("AppGroup", 22223, "::/0"),
                ("DatabaseGroup", 3306, "LoginGroup"),
                ("DatabaseGroup", 3306, "AppGroup"),
                ("DatabaseGroup", 3306, "DatabaseUsersGroup"),
            },
        )

    def test_shell(self) -> None:
        """By the endpoint alone, which leads to port 22 of login servers and nowhere else."""
        made = self.resources()
        (group,) = client("ec2").describe_security_groups(GroupIds=[made["ShellGroup"].id])[
            "SecurityGroups"
        ]
        self.assertEqual(group["IpPermissions"], [])
        (rule,) = group["IpPermissionsEgress"]
        (pair,) = rule["UserIdGroupPairs"]
        self.assertEqual((rule["FromPort"], pair["GroupId"]), (22, made["LoginGroup"].id))
        self.assertEqual(rule["IpRanges"], [])
        endpoint = template()["Resources"]["Shell"]["Properties"]
        self.assertEqual(endpoint["SecurityGroupIds"], [{"Ref": "ShellGroup"}])

    def test_ipv6(self) -> None:
        """Public subnets have it, with a way out; the load balancer where it is wanted."""
        made = self.resources()
        ids = [made[f"PublicSubnet{one}"].id for one in "AB"]
        found = client("ec2").describe_subnets(SubnetIds=ids)["Subnets"]
        blocks = {
            each["Ipv6CidrBlock"] for net in found for each in net["Ipv6CidrBlockAssociationSet"]
        }
        self.assertEqual(len(blocks), 2)
        self.assertTrue(all(each["AssignIpv6AddressOnCreation"] for each in found))
        (vpc,) = client("ec2").describe_vpcs(VpcIds=[made["Vpc"].id])["Vpcs"]
        (whole,) = vpc["Ipv6CidrBlockAssociationSet"]
        for each in blocks:
            self.assertTrue(IPv6Network(each).subnet_of(IPv6Network(whole["Ipv6CidrBlock"])))
        routes = client("ec2").describe_route_tables(RouteTableIds=[made["PublicRoutes"].id])
        (table,) = routes["RouteTables"]
        ways = {each.get("DestinationIpv6CidrBlock"): each for each in table["Routes"]}
        self.assertEqual(ways["::/0"]["GatewayId"], made["Gateway"].id)
        balancer = template()["Resources"]["Balancer"]["Properties"]
        wanted = {"Fn::If": ["HasIPv6", "dualstack", "ipv4"]}
        self.assertEqual(balancer["IpAddressType"], wanted)

    def test_names_of_brokers(self) -> None:
        """In a zone of the network's own, and as servers are told them."""
        made = self.resources()
        zone = client("route53").get_hosted_zone(Id=made["BrokerZone"].id)
        self.assertTrue(zone["HostedZone"]["Config"]["PrivateZone"])
        self.assertEqual([each["VPCId"] for each in zone["VPCs"]], [made["Vpc"].id])
        names = program("broker_names").names(variables(self.user_data())["STACK_FLEET"])
        for name in names:
            self.assertTrue(f"{name}.".endswith("." + zone["HostedZone"]["Name"]))
        config = self.configured()
        urls = references.reveal("broker.url", config.broker.url, THERE)
        self.assertEqual([urlsplit(url).hostname for url in urls], names)

    def test_whose_brokers(self) -> None:
        """Each login server takes a name, by the calls that its program makes."""
        program_, zone = program("broker_names"), self.resources()["BrokerZone"].id
        route53, names = client("route53"), ["a.bbs.bbs.internal", "b.bbs.bbs.internal"]
        alive = {"10.50.0.1", "10.50.32.1"}
        one, other, third = (
            program_.Looks(route53, zone, names, own, alive.__contains__)
            for own in ("10.50.0.1", "10.50.32.1", "10.50.0.2")
        )

        def holders() -> list[str]:
            return [*program_.holders(route53, zone, names).values()]

        with redirect_stdout(io.StringIO()):
            one.look()
            self.assertEqual(holders(), ["10.50.0.1", program_.NOBODY])
            other.look()
            self.assertEqual(holders(), ["10.50.0.1", "10.50.32.1"])
            # A third one waits, and one whose broker does not answer takes none.
            third.look()
            alive.add("10.50.0.2")
            third.look()
            self.assertNotIn("10.50.0.2", holders())
            # The first one ends: at the second look without an answer it is replaced.
            alive.remove("10.50.0.1")
            third.look()
            self.assertNotIn("10.50.0.2", holders())
            third.look()
            other.look()
            one.look()
            self.assertEqual(holders(), ["10.50.0.2", "10.50.32.1"])

    def test_database(self) -> None:
        (database,) = client("rds").describe_db_instances()["DBInstances"]
        for key, wanted in {
            "Engine": "mariadb",
            "MultiAZ": True,
            "StorageEncrypted": True,
            "PubliclyAccessible": False,
            "BackupRetentionPeriod": 7,
            "CopyTagsToSnapshot": True,
        }.items():
            self.assertEqual(database[key], wanted, key)
        # Of these moto knows nothing.
        asked = template()["Resources"]["Database"]["Properties"]
        self.assertEqual(asked["DeletionProtection"], {"Fn::If": ["IsProtected", True, False]})
        most = template()["Parameters"]["DatabaseStorage"]["MaxValue"]
        self.assertGreaterEqual(asked["MaxAllocatedStorage"], 1.1 * most)

    def test_health(self) -> None:
        """Of login servers and gateways, by /ready."""
        for each in client("elbv2").describe_target_groups()["TargetGroups"]:
            self.assertEqual(each["HealthCheckProtocol"], "HTTP")
            self.assertEqual((each["HealthCheckPort"], each["HealthCheckPath"]), ("8080", "/ready"))
            self.assertLessEqual(len(each["TargetGroupName"]), 32)
        (servers,) = client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
        self.assertEqual(len(servers["TargetGroupARNs"]), 2)
        self.assertEqual(servers["HealthCheckType"], "EC2")
        # The role of login servers may end what has the fleet's tag.
        self.assertNotIn("bbs:fleet", [each["Key"] for each in servers["Tags"]])

    def test_who_is_connected(self) -> None:
        """Stays so when /ready says no: a login server is restarted, and people of the gateway
        beside it have nothing to do with that. (moto makes no attributes.)"""
        key = "target_health_state.unhealthy.connection_termination.enabled"
        for name in ("LoginTargets", "TelnetTargets"):
            told = template()["Resources"][name]["Properties"]["TargetGroupAttributes"]
            self.assertIn({"Key": key, "Value": "false"}, told)

    def test_restarted_by_hand(self) -> None:
        """The load balancer sees that a login server stops before it does, and systemd waits."""
        (longest,) = {
            each["HealthCheckIntervalSeconds"] * each["UnhealthyThresholdCount"]
            for each in client("elbv2").describe_target_groups()["TargetGroups"]
        }
        delay = self.configured().login.drain_delay
        self.assertGreater(delay, longest)
        unit = (SYSTEMD / "bbs-login.service").read_text("utf-8")
        (patience,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
        # What is under way may take 10 s more (docs/operating.md).
        self.assertLessEqual(delay + 10, int(patience))

    def test_fewer_login_servers(self) -> None:
        """As many as the parameter says, when it says less, too."""
        group = template()["Resources"]["LoginFleet"]["Properties"]
        self.assertEqual(group["DesiredCapacity"], {"Ref": "LoginServers"})
        self.assertEqual(group["MinSize"], {"Ref": "LoginServers"})

    def test_rolling(self) -> None:
        """One by one, with as many in service as ever, and each says that it is ready."""
        group = template()["Resources"]["LoginFleet"]
        policy = group["UpdatePolicy"]["AutoScalingRollingUpdate"]
        self.assertEqual(policy["MaxBatchSize"], 1)
        self.assertEqual(policy["MinInstancesInService"], {"Ref": "LoginServers"})
        self.assertTrue(policy["WaitOnResourceSignals"])
        most = template()["Parameters"]["LoginServers"]["MaxValue"]
        self.assertGreater(int(group["Properties"]["MaxSize"]), most)

    def test_secrets(self) -> None:
        """Whole URLs, of passwords that mean themselves in one; servers take them as they are."""
        made = self.resources()
        config = self.configured()
        (database,) = references.reveal("database.url", [config.database.url], THERE)
        password = r"[0-9A-Za-z]{40}"
        self.assertRegex(
            database, rf"^mysql://bbs_a:{password}@\S+\.rds\.amazonaws\.com:3306/bbs\?tls_ca="
        )
        brokers = references.reveal("broker.url", config.broker.url, THERE)
        self.assertEqual(len({*brokers}), 2)
        for url in brokers:
            self.assertRegex(url, rf"^stomp://bbs1:{password}@[ab]\.bbs\.bbs\.internal:61613$")
        self.assertEqual(config.database.url, f"secretsmanager:{made['DatabaseLogin'].id}")

    def test_configuration(self) -> None:
        """What `bbs config check` finds nothing wrong with."""
        config = self.configured()
        self.assertEqual([*config_check.problems(config, "bbs")], [])
        made = self.resources()
        self.assertTrue(config.broker.all)
        self.assertEqual(
            config.ec2.subnet_ids, (made["PublicSubnetA"].id, made["PublicSubnetB"].id)
        )
        self.assertEqual(config.ec2.security_group_ids, (made["AppGroup"].id,))
        self.assertEqual(config.ec2.image_id, self.image)
        self.assertEqual(config.ec2.instance_type, ("t3.micro", "t3a.micro"))
        self.assertTrue(config.ec2.spot)
        self.assertEqual(config.fleet.spare, "auto")
        # Longer than any failover of RDS's: app servers end their machines then.
        self.assertGreaterEqual(config.fleet.lease_timeout, 600)
        self.assertEqual(config.telnet.secret, "a-secret-of-this-machine")

    def test_user_data(self) -> None:
        for template_ in ("LoginTemplate", "DatabaseUsersTemplate"):
            self.check_user_data(self.user_data(template_))

    def check_user_data(self, script: str) -> None:
        self.check_script(script)
        self.assertLess(len(script.encode()), 16384)
        called = re.findall(r"\nexec /usr/local/lib/bbs-stack/(\S+)\n", script)
        self.assertTrue((PROGRAMS / called[0]).stat().st_mode & 0o100)
        read = (PROGRAMS / called[0]).read_text("utf-8")
        for name in ("logs", *re.findall(r"\$here/(\w+\.py)", read)):
            read += (PROGRAMS / name).read_text("utf-8")
        self.assertIn("signals", read)
        read += (PROGRAMS / "signals.py").read_text("utf-8")
        read += (PROGRAMS / "figures.py").read_text("utf-8")
        read += (PROGRAMS / "broker_names.py").read_text("utf-8")
        for name in variables(script):
            # The configuration takes its variables by lists of names.
            self.assertRegex(read, rf"{name}\b|\"{name.removeprefix('STACK_')}\"")
        # Nothing of the template is left to be filled in.
        self.assertNotRegex(script, r"\$\{")
        secrets = client("secretsmanager")
        for each in secrets.list_secrets()["SecretList"]:
            held = secrets.get_secret_value(SecretId=each["ARN"])["SecretString"]
            (password,) = re.findall("[0-9A-Za-z]{40}", held)
            self.assertNotIn(password, script)
            self.assertNotIn(password, text())

    def test_units_of_the_image(self) -> None:
        """What a login server starts is there, and its programs too."""
        started = re.findall(
            r"\bbbs-[a-z-]+\.service", (PROGRAMS / "login-server").read_text("utf-8")
        )
        self.assertIn("bbs-broker.service", started)
        self.assertLessEqual({*started}, {each.name for each in SYSTEMD.glob("*.service")})
        for unit in ("bbs-figures", "bbs-broker-name"):
            text = (SYSTEMD / f"{unit}.service").read_text("utf-8")
            (name,) = re.findall(r"bbs-stack/(\w+\.py)", text)
            self.assertTrue((PROGRAMS / name).is_file(), name)

    def test_alarms(self) -> None:
        """CloudWatch takes them, and who is told is a topic that it may write to."""
        (topic,) = client("sns").list_topics()["Topics"]
        for each in client("cloudwatch").describe_alarms()["MetricAlarms"]:
            self.assertEqual(each["AlarmActions"], [topic["TopicArn"]])
        (mail,) = client("sns").list_subscriptions()["Subscriptions"]
        self.assertEqual(mail["Endpoint"], "ops@example.org")
        (budget,) = client("budgets").describe_budgets(AccountId=ACCOUNT)["Budgets"]
        self.assertEqual(float(budget["BudgetLimit"]["Amount"]), 250)

    def test_logs(self) -> None:
        """The group of which every machine knows, by the fleet's name, for 90 days."""
        (group,) = client("logs").describe_log_groups()["logGroups"]
        self.assertEqual((group["logGroupName"], group["retentionInDays"]), ("/bbs/bbs", 90))
        self.assertIn("STACK_LOG_GROUP=/bbs/bbs\n", self.user_data())
        self.assertEqual(self.configured().ec2.log_group, "/bbs/bbs")

    def test_outputs(self) -> None:
        """What to type next."""
        found = self.outputs()
        self.assertEqual(found.keys(), template()["Outputs"].keys() - {"BrokerId"})
        self.assertEqual(found["Client"], f"bbs client {found['Address']} 22222")
        self.assertIn("bbs fleet list --config /etc/bbs/bbs.toml", found["ListFleet"])


class ByTLS(StackCase):
    """A stack with a certificate and a domain."""

    def setUp(self) -> None:
        super().setUp()
        folder = Path(self.mktemp())
        folder.mkdir()
        own = folder / "own.pem"
        certificate(str(own), ("bbs.example.org", "*.bbs.example.org"))
        made = client("secretsmanager").create_secret(
            Name="bbs-tls", SecretString=own.read_text("utf-8")
        )
        self.certificate = made["ARN"]
        self.make(Certificate=self.certificate, Domain="bbs.example.org", IPv6="true")

    def test_who_reaches_whom(self) -> None:
        """People reach the load balancer alone, and it login servers, which reach app servers."""
        made = self.resources()
        ids = [made[f"{name}Group"].id for name in ("Balancer", "Login", "App")]
        found = set()
        for group in client("ec2").describe_security_groups(GroupIds=ids)["SecurityGroups"]:
            for rule in group["IpPermissions"]:
                sources = [each["CidrIp"] for each in rule["IpRanges"]]
                sources += [each["CidrIpv6"] for each in rule.get("Ipv6Ranges", [])]
                sources += [each["GroupId"] for each in rule["UserIdGroupPairs"]]
                for port in range(rule["FromPort"], rule["ToPort"] + 1):
                    found |= {(group["GroupId"], port, each) for each in sources}
        balancer, login, app = ids
        ports, everybody = (22222, 22223, 2323), ("0.0.0.0/0", "::/0")
        self.assertEqual(
            found,
            {(balancer, port, each) for port in ports for each in everybody}
            | {(login, port, balancer) for port in (*ports, 8080)}
            | {(login, 61613, each) for each in (login, app)}
            | {(app, 22223, login)},
        )

    def test_ways(self) -> None:
        (balancer,) = client("elbv2").describe_load_balancers()["LoadBalancers"]
        listeners = client("elbv2").describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])
        targets = {
            each["TargetGroupArn"]: each["Port"]
            for each in client("elbv2").describe_target_groups()["TargetGroups"]
        }
        ways = {
            (each["Port"], targets[each["DefaultActions"][0]["TargetGroupArn"]])
            for each in listeners["Listeners"]
        }
        self.assertEqual(ways, {(port, port) for port in (22222, 22223, 2323)})
        (servers,) = client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
        self.assertEqual({*servers["TargetGroupARNs"]}, targets.keys())

    def test_configuration(self) -> None:
        """Nothing listens in the clear but the page, which people do not reach."""
        config = self.configured()
        self.assertEqual([*config_check.problems(config, "bbs")], [])
        for section in (config.login, config.app, config.telnet):
            (place,) = section.listen
            self.assertEqual(place.private_key, f"secretsmanager:{self.certificate}")
            self.assertTrue(Contexts(place, read_pems(place, THERE)))
        self.assertEqual(config.ec2.address, "ip-{ip}.bbs.example.org")
        self.assertEqual(config.telnet.server, "tls://127.0.0.1:22222?tls_name=bbs.example.org")
        # Where all app servers and login servers are.
        network = IPv4Network(str(config.app.trusted_proxies[0]))
        ids = [self.resources()[f"PublicSubnet{one}"].id for one in "AB"]
        for each in client("ec2").describe_subnets(SubnetIds=ids)["Subnets"]:
            self.assertTrue(IPv4Network(each["CidrBlock"]).subnet_of(network))
        self.assertIn(f"STACK_NETWORK={network}\n", self.user_data())

    def test_certificates_of_others(self) -> None:
        """Login servers and gateways, which cannot fetch it, listen where they are configured."""
        config = self.configured()
        for name, (place,) in (("login", config.login.listen), ("telnet", config.telnet.listen)):
            dropin = CHECKOUT / f"deploy/systemd/examples/certificate-{name}.conf"
            text = dropin.read_text("utf-8")
            (given,) = re.findall("^Environment=(.+?)=(.+)$", text, re.MULTILINE)
            (instead,) = getattr(load(None, {given[0]: given[1]}), name).listen
            self.assertEqual((instead.kind, instead.port), (place.kind, place.port))
        # Whoever launches app servers leaves them the reference, and their own role to fetch it.
        self.assertEqual(config.fleet.controller, "own")

    def test_rights(self) -> None:
        """Login and app servers read the certificate."""
        (policy,) = (
            each
            for each in client("iam").list_policies(Scope="Local")["Policies"]
            if each["Arn"] == self.resources()["SecretsPolicy"].arn
        )
        version = client("iam").get_policy_version(
            PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"]
        )["PolicyVersion"]["Document"]
        (statement,) = version["Statement"]
        self.assertIn(self.certificate, statement["Resource"])
        self.assertEqual(len(statement["Resource"]), 4)

    def test_outputs(self) -> None:
        found = self.outputs()
        self.assertEqual(found["Client"], "bbs client --tls bbs.example.org")
        self.assertEqual(
            found["TelnetClient"], "openssl s_client -quiet -connect bbs.example.org:2323"
        )


class OnAmazonMQ(StackCase):
    """A stack whose brokers are a pair on Amazon MQ."""

    def setUp(self) -> None:
        super().setUp()
        self.make(Brokers="AmazonMQ", BrokerClass="mq.m5.large", Mail="ops@example.org")

    def test_broker(self) -> None:
        (summary,) = client("mq").list_brokers()["BrokerSummaries"]
        broker = client("mq").describe_broker(BrokerId=summary["BrokerId"])
        self.assertEqual(broker["DeploymentMode"], "ACTIVE_STANDBY_MULTI_AZ")
        self.assertEqual(len(broker["SubnetIds"]), 2)
        self.assertFalse(broker["PubliclyAccessible"])
        self.assertRegex(broker["BrokerName"], "^bbs-[0-9a-f]{8}$")
        self.assertLessEqual(len(broker["BrokerName"]) + 31 - len("bbs"), 50)

    def test_configuration(self) -> None:
        """Servers reach the pair by TLS; no login server runs a broker, and nobody's is open."""
        config, made = self.configured(), self.resources()
        self.assertEqual([*config_check.problems(config, "bbs")], [])
        urls = references.reveal("broker.url", config.broker.url, THERE)
        for url in urls:
            self.assertRegex(url, r"^stomp\+ssl://bbs:[0-9A-Za-z]{40}@\S+\.amazonaws\.com:61614$")
        self.assertEqual(len({*urls}), 2)
        self.assertEqual(variables(self.user_data())["STACK_ZONE"], "")
        self.assertFalse(config.broker.all)
        self.assertEqual({*made} & {"BrokerZone", "BrokerFromApp", "BrokerNamesPolicy"}, set())
        (group,) = client("ec2").describe_security_groups(GroupIds=[made["BrokerGroup"].id])[
            "SecurityGroups"
        ]
        sources = {
            (rule["FromPort"], pair["GroupId"])
            for rule in group["IpPermissions"]
            for pair in rule["UserIdGroupPairs"]
        }
        self.assertEqual(sources, {(61614, made[f"{who}Group"].id) for who in ("Login", "App")})

    def test_budget(self) -> None:
        (budget,) = client("budgets").describe_budgets(AccountId=ACCOUNT)["Budgets"]
        self.assertEqual(float(budget["BudgetLimit"]["Amount"]), 850)
