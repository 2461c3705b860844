"""Stacks of CloudFormation in moto, of which it knows some kinds of resource only.

What its CloudFormation does not know, and its services do, is made here by their own APIs, as
CloudFormation does it: `LENT`. What is wrong in moto's own is put right: `stacks` says what.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import yaml
from moto.cloudformation import parsing
from moto.core.common_models import CloudFormationModel
from moto.ec2.models.internet_gateways import InternetGateway
from moto.ec2.models.route_tables import RouteTable
from moto.elbv2.models import FakeLoadBalancer, FakeTargetGroup, elbv2_backends
from moto.iam.models import ManagedPolicy
from moto.rds.models import DBParameterGroup

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
    made = client("secretsmanager").create_secret(
        Name=name, Description=asked["Description"], SecretString=secret_string(asked)
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
