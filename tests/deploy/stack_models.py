"""Stacks of CloudFormation in moto, of which it knows some kinds of resource only.

What its CloudFormation does not know, and its services do, is made here by their own APIs, as
CloudFormation does it: `LENT`. What is wrong in moto's own is put right: `stacks` says what.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import ip_network
from itertools import islice
from typing import Any
from unittest import mock

import yaml
from moto.cloudformation import parsing
from moto.core.common_models import CloudFormationModel
from moto.ec2.models.internet_gateways import InternetGateway
from moto.ec2.models.route_tables import RouteTable
from moto.ec2.models.vpcs import VPC
from moto.elbv2.models import FakeLoadBalancer, FakeTargetGroup, elbv2_backends
from moto.iam.models import ManagedPolicy
from moto.rds.models import DBInstance, DBParameterGroup

from tests.deploy.aws_policies import ACCOUNT
from tests.deploy.moto_case import client

Properties = dict[str, Any]
Made = tuple[str, dict[str, Any]]
"""What `Ref` says of a resource, and what `Fn::GetAtt` does."""


def revealed(text: str) -> str:
    """A text with its references to secrets resolved."""

    def secret(found: re.Match[str]) -> str:
        whole = client("secretsmanager").get_secret_value(SecretId=found[1])["SecretString"]
        return str(json.loads(whole)[found[2]])

    return re.sub(
        r"\{\{resolve:secretsmanager:(arn:(?:[^:]*:){5}[^:}]+):SecretString:(\w+)\}\}", secret, text
    )


def secret_string(asked: Properties) -> str:
    if "SecretString" in asked:
        return revealed(asked["SecretString"])
    generated = dict(asked["GenerateSecretString"])
    whole, key = (
        json.loads(generated.pop("SecretStringTemplate")),
        generated.pop("GenerateStringKey"),
    )
    password = client("secretsmanager").get_random_password(**generated)["RandomPassword"]
    return json.dumps({**whole, key: password})


def secret(name: str, asked: Properties) -> Made:
    # One that its user fills in has no value yet.
    valued = asked.keys() & {"SecretString", "GenerateSecretString"}
    value = {"SecretString": secret_string(asked)} if valued else {}
    made = client("secretsmanager").create_secret(
        Name=name, Description=asked["Description"], **value
    )
    return made["ARN"], {}


def broker(name: str, asked: Properties) -> Made:
    users = [{**user, "Password": revealed(user["Password"])} for user in asked["Users"]]
    made = client("mq").create_broker(**{**asked, "Users": users})
    # Moto's are of a single broker: these are as AWS's documentation shows them.
    places = [
        f"stomp+ssl://{made['BrokerId']}-{n}.mq.us-east-1.amazonaws.com:61614" for n in (1, 2)
    ]
    return made["BrokerId"], {"StompEndpoints": places, "Arn": made["BrokerArn"]}


def subnet(name: str, asked: Properties) -> Made:
    ec2, asked = client("ec2"), dict(asked)
    public, both = (
        asked.pop("MapPublicIpOnLaunch", False),
        asked.pop("AssignIpv6AddressOnCreation", False),
    )
    tags = [{"ResourceType": "subnet", "Tags": asked.pop("Tags")}]
    id = ec2.create_subnet(**asked, TagSpecifications=tags)["Subnet"]["SubnetId"]
    for key, value in (("MapPublicIpOnLaunch", public), ("AssignIpv6AddressOnCreation", both)):
        if value:
            ec2.modify_subnet_attribute(SubnetId=id, **{key: {"Value": True}})
    return id, {}


def route(name: str, asked: Properties) -> Made:
    client("ec2").create_route(**asked)
    destination = asked.get("DestinationCidrBlock") or asked["DestinationIpv6CidrBlock"]
    return f"{asked['RouteTableId']}|{destination}", {}


def permission(rule: Properties) -> Properties:
    """A rule of a group, as EC2 is told it."""
    told: Properties = {key: rule[key] for key in ("IpProtocol", "FromPort", "ToPort")}
    if "CidrIp" in rule:
        told["IpRanges"] = [{"CidrIp": rule["CidrIp"]}]
    if "CidrIpv6" in rule:
        told["Ipv6Ranges"] = [{"CidrIpv6": rule["CidrIpv6"]}]
    for key in ("SourceSecurityGroupId", "DestinationSecurityGroupId"):
        if key in rule:
            told["UserIdGroupPairs"] = [{"GroupId": rule[key]}]
    return told


def group(name: str, asked: Properties) -> Made:
    ec2 = client("ec2")
    made = ec2.create_security_group(
        GroupName=name, Description=asked["GroupDescription"], VpcId=asked["VpcId"]
    )["GroupId"]
    for rule in asked.get("SecurityGroupIngress", []):
        ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[permission(rule)])
    if egress := asked.get("SecurityGroupEgress"):
        (one,) = ec2.describe_security_groups(GroupIds=[made])["SecurityGroups"]
        ec2.revoke_security_group_egress(GroupId=made, IpPermissions=one["IpPermissionsEgress"])
        told = [permission(rule) for rule in egress]
        ec2.authorize_security_group_egress(GroupId=made, IpPermissions=told)
    return made, {"GroupId": made}


def without_group(id: str) -> None:
    """With its rules first, which groups of one stack have of one another."""
    ec2 = client("ec2")
    for each in ec2.describe_security_groups()["SecurityGroups"]:
        for rule in each["IpPermissions"]:
            if any(pair["GroupId"] == id for pair in rule["UserIdGroupPairs"]):
                ec2.revoke_security_group_ingress(GroupId=each["GroupId"], IpPermissions=[rule])
    ec2.delete_security_group(GroupId=id)


def ingress(name: str, asked: Properties) -> Made:
    rule = permission(asked)
    client("ec2").authorize_security_group_ingress(GroupId=asked["GroupId"], IpPermissions=[rule])
    return name, {}


def zone(name: str, asked: Properties) -> Made:
    (vpc,) = asked["VPCs"]
    made = client("route53").create_hosted_zone(
        Name=asked["Name"],
        CallerReference=name,
        VPC={"VPCId": vpc["VPCId"], "VPCRegion": vpc["VPCRegion"]},
        HostedZoneConfig={"PrivateZone": True, "Comment": ""},
    )
    return made["HostedZone"]["Id"].rpartition("/")[2], {}


def block(name: str, asked: Properties) -> Made:
    made = client("ec2").associate_vpc_cidr_block(**asked)
    return made["Ipv6CidrBlockAssociation"]["AssociationId"], {}


def endpoint(name: str, asked: Properties) -> Made:
    """Moto has none."""
    return "eice-0123456789abcdef0", {}


def logs_policy(name: str, asked: Properties) -> Made:
    policy = asked["PolicyDocument"]
    client("logs").put_resource_policy(policyName=asked["PolicyName"], policyDocument=policy)
    return asked["PolicyName"], {}


def instance(name: str, asked: Properties) -> Made:
    (made,) = client("ec2").run_instances(MinCount=1, MaxCount=1, **asked)["Instances"]
    return made["InstanceId"], {}


def alarm(name: str, asked: Properties) -> Made:
    client("cloudwatch").put_metric_alarm(AlarmName=name, **asked)
    return name, {}


def topic_policy(name: str, asked: Properties) -> Made:
    for topic in asked["Topics"]:
        client("sns").set_topic_attributes(
            TopicArn=topic,
            AttributeName="Policy",
            AttributeValue=json.dumps(asked["PolicyDocument"]),
        )
    return name, {}


def subscription(name: str, asked: Properties) -> Made:
    return client("sns").subscribe(**asked, ReturnSubscriptionArn=True)["SubscriptionArn"], {}


def budget(name: str, asked: Properties) -> Made:
    budget = {"BudgetName": name, **asked["Budget"]}
    budget["BudgetLimit"]["Amount"] = str(budget["BudgetLimit"]["Amount"])
    client("budgets").create_budget(
        AccountId=ACCOUNT,
        Budget=budget,
        NotificationsWithSubscribers=asked["NotificationsWithSubscribers"],
    )
    return name, {}


LENT: Mapping[str, tuple[Callable[[str, Properties], Made], Callable[[str], object]]] = {
    "AWS::SecretsManager::Secret": (
        secret,
        lambda id: client("secretsmanager").delete_secret(
            SecretId=id, ForceDeleteWithoutRecovery=True
        ),
    ),
    "AWS::AmazonMQ::Broker": (broker, lambda id: client("mq").delete_broker(BrokerId=id)),
    "AWS::EC2::Subnet": (subnet, lambda id: client("ec2").delete_subnet(SubnetId=id)),
    # It goes with its table.
    "AWS::EC2::Route": (route, lambda id: None),
    "AWS::EC2::SecurityGroup": (group, without_group),
    "AWS::EC2::SecurityGroupIngress": (ingress, lambda id: None),
    "AWS::Route53::HostedZone": (zone, lambda id: client("route53").delete_hosted_zone(Id=id)),
    "AWS::EC2::Instance": (
        instance,
        lambda id: client("ec2").terminate_instances(InstanceIds=[id]),
    ),
    "AWS::EC2::InstanceConnectEndpoint": (endpoint, lambda id: None),
    # It goes with its network, which moto may remove before.
    "AWS::EC2::VPCCidrBlock": (block, lambda id: None),
    "AWS::Logs::ResourcePolicy": (
        logs_policy,
        lambda id: client("logs").delete_resource_policy(policyName=id),
    ),
    "AWS::CloudWatch::Alarm": (
        alarm,
        lambda id: client("cloudwatch").delete_alarms(AlarmNames=[id]),
    ),
    "AWS::SNS::TopicPolicy": (topic_policy, lambda id: None),
    "AWS::SNS::Subscription": (
        subscription,
        lambda id: client("sns").unsubscribe(SubscriptionArn=id),
    ),
    "AWS::Budgets::Budget": (
        budget,
        lambda id: client("budgets").delete_budget(AccountId=ACCOUNT, BudgetName=id),
    ),
}
"""How a kind of resource is made and removed by the API of its service."""


class Lent(CloudFormationModel):
    """A resource that was made by its service's API."""

    type = ""

    def __init__(self, made: Made) -> None:
        self.id, self.attributes = made

    @property
    def physical_resource_id(self) -> str:
        return self.id

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return True

    def get_cfn_attribute(self, attribute_name: str) -> Any:
        return self.attributes[attribute_name]

    @classmethod
    def create_from_cloudformation_json(  # type: ignore[misc]
        cls,
        resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
        **_: Any,
    ) -> Lent:
        make, _remove = LENT[cls.type]
        return cls(make(resource_name, cloudformation_json["Properties"]))

    @classmethod
    def update_from_cloudformation_json(  # type: ignore[misc]
        cls,
        original_resource: Any,
        new_resource_name: str,
        cloudformation_json: Any,
        *_: str,
        **__: str,
    ) -> Lent:
        if cls.type == "AWS::SecretsManager::Secret":
            client("secretsmanager").put_secret_value(
                SecretId=original_resource.id,
                SecretString=secret_string(cloudformation_json["Properties"]),
            )
        made: Lent = original_resource
        return made

    def delete(self, account_id: str, region_name: str) -> None:
        _make, remove = LENT[self.type]
        remove(self.id)


def network(cls: Any, name: str, given: Any, account: str, region: str, **_: Any) -> Any:
    """A load balancer of the type that was asked for; moto's are all for applications."""
    asked = given["Properties"]
    return elbv2_backends[account][region].create_load_balancer(
        name,
        asked.get("SecurityGroups"),
        asked["Subnets"],
        scheme=asked["Scheme"],
        loadbalancer_type=asked["Type"],
    )


def full_name(self: Any, attribute_name: str) -> str:
    """What CloudWatch calls a load balancer or a target group, and the former's address."""
    if attribute_name == "DNSName":
        return str(self.dns_name)
    assert attribute_name in ("LoadBalancerFullName", "TargetGroupFullName"), attribute_name
    return str(self.arn.rpartition(":")[2].removeprefix("loadbalancer/"))


def of_vpc(self: Any, attribute_name: str) -> list[str]:
    """Its blocks of IPv6, which moto does not tell."""
    assert attribute_name == "Ipv6CidrBlocks", attribute_name
    return [each["cidr_block"] for each in self.get_cidr_block_association_set(ipv6=True)]


def with_cidr(clean: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Moto's reader of templates, which also knows `Fn::Cidr`."""

    def cleaned(resource_json: Any, resources_map: Any) -> Any:
        if isinstance(resource_json, dict) and "Fn::Cidr" in resource_json:
            block, count, bits = clean(resource_json["Fn::Cidr"], resources_map)
            network = ip_network(block)
            found = network.subnets(new_prefix=network.max_prefixlen - int(bits))
            return [str(each) for each in islice(found, int(count))]
        return clean(resource_json, resources_map)

    return cleaned


def only_made(update: Callable[..., Any]) -> Callable[..., Any]:
    """Moto's updates, which leave out what a stack does not have by its conditions."""

    def updated(logical_id: str, resource_json: Any, resources_map: Any, **where: str) -> Any:
        if resources_map[logical_id] is None:
            return None
        return update(logical_id, resource_json, resources_map, **where)

    return updated


def unchanged(original_resource: Any, **_: Any) -> Any:
    """A database that moto would forget when it changes."""
    return original_resource


def without_gateway(gateway: Any) -> None:
    """Moto's stacks do not detach them either."""
    if gateway.vpc is not None:
        client("ec2").detach_internet_gateway(InternetGatewayId=gateway.id, VpcId=gateway.vpc.id)
    client("ec2").delete_internet_gateway(InternetGatewayId=gateway.id)


REMOVED: Mapping[type, Callable[[Any], object]] = {
    RouteTable: lambda it: client("ec2").delete_route_table(RouteTableId=it.id),
    InternetGateway: without_gateway,
    ManagedPolicy: lambda it: client("iam").delete_policy(PolicyArn=it.arn),
    FakeTargetGroup: lambda it: client("elbv2").delete_target_group(TargetGroupArn=it.arn),
}
"""How what moto's stacks leave behind is removed."""


def as_method(remove: Callable[[Any], object]) -> Callable[[Any, str, str], None]:
    """As moto's stacks ask what they remove to be gone."""

    def delete(self: Any, account_id: str, region_name: str) -> None:
        remove(self)

    return delete


@contextmanager
def stacks(lent: bool = True) -> Iterator[None]:
    """Within, moto knows what this template needs: the type of a load balancer, full names, the
    name of a parameter group, how to remove what it leaves behind, and with `lent` the kinds of
    resource above; and it reads templates in a tenth of the time."""
    models = parsing.get_model_map()
    if lent:
        models = models | {each: type("Lent", (Lent,), {"type": each}) for each in LENT}
    name = property(lambda self: self.name)
    with ExitStack() as patches:
        for patch in (
            mock.patch.object(parsing, "get_model_map", lambda: models),
            # The template as JSON has no tags, for which moto's own would be needed.
            mock.patch.object(yaml, "Loader", getattr(yaml, "CLoader", yaml.Loader)),
            mock.patch.object(parsing, "clean_json", with_cidr(parsing.clean_json)),
            mock.patch.object(
                parsing, "parse_and_update_resource", only_made(parsing.parse_and_update_resource)
            ),
            mock.patch.object(VPC, "get_cfn_attribute", of_vpc),
            mock.patch.object(VPC, "has_cfn_attr", lambda attr: True),
            # Moto's own forgets what the database is called.
            mock.patch.object(DBInstance, "update_from_cloudformation_json", unchanged),
            mock.patch.object(DBParameterGroup, "physical_resource_id", name, create=True),
            mock.patch.object(FakeLoadBalancer, "get_cfn_attribute", full_name),
            mock.patch.object(FakeTargetGroup, "get_cfn_attribute", full_name, create=True),
            mock.patch.object(
                FakeLoadBalancer, "create_from_cloudformation_json", classmethod(network)
            ),
        ):
            patches.enter_context(patch)
        for kind, remove in REMOVED.items():
            patches.enter_context(mock.patch.object(kind, "delete", as_method(remove), create=True))
        yield
