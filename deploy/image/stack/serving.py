"""Tells the stack to continue with the next login server once the load balancer finds this one
ready, and the fleet's controller here runs."""

import os
import subprocess
import time

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from signals import INSTANCE, signal

PATIENCE = 720
"""Seconds until the load balancer has to find it ready; less than the stack waits."""


SETTLED = 15
"""Seconds for which the fleet's controller has to run: one that cannot start ends sooner."""


def controls():
    """Whether the fleet's controller has been running for a while."""
    asked = ("systemctl", "show", "--property=ActiveState,ActiveEnterTimestampMonotonic")
    said = subprocess.run((*asked, "bbs-fleet.service"), capture_output=True, text=True).stdout
    found = dict(line.split("=", 1) for line in said.splitlines())
    since = int(found.get("ActiveEnterTimestampMonotonic") or 0) / 1e6
    return found.get("ActiveState") == "active" and time.monotonic() - since >= SETTLED


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
    while True:
        found, runs = state(balancer), controls()
        is_there = found == "healthy" and runs
        if is_there or time.monotonic() >= end:
            break
        time.sleep(5)
    print(f"the load balancer says: {found}")
    if not runs:
        print("the fleet's controller does not run")
    signal("LoginFleet", is_there)


if __name__ == "__main__":
    main(int(os.environ.get("STACK_PATIENCE", PATIENCE)))
