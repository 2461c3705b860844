"""Tells the stack to continue with the next login server once the load balancer finds this one
ready."""

import os
import time

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from signals import INSTANCE, signal

PATIENCE = 720
"""Seconds until the load balancer has to find it ready; less than the stack waits."""


def state(balancer):
    """What the load balancer says of this machine, or why it says nothing."""
    try:
        (target,) = balancer.describe_target_health(
            TargetGroupArn=os.environ["STACK_TARGETS"],
            Targets=[{"Id": INSTANCE.read_text().strip()}],
        )["TargetHealthDescriptions"]
        return target["TargetHealth"]["State"]
    except (BotoCoreError, ClientError, OSError) as error:
        # Not registered yet, or AWS or the role's credentials are unavailable.
        return str(error)


def main(patience):
    balancer = boto3.client("elbv2", region_name=os.environ["STACK_REGION"])
    end = time.monotonic() + patience
    found = state(balancer)
    while found != "healthy" and time.monotonic() < end:
        time.sleep(5)
        found = state(balancer)
    print(f"the load balancer says: {found}")
    signal("LoginFleet", found == "healthy")


if __name__ == "__main__":
    main(int(os.environ.get("STACK_PATIENCE", PATIENCE)))
