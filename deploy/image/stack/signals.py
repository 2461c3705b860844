"""The word of a machine to the stack that waits for it."""

import os
import time
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

INSTANCE = Path("/var/lib/cloud/data/instance-id")
"""Where cloud-init says what the machine is called."""

PAUSES = (5, 15, 45, 0)
"""Seconds until the stack is told again that is not reached."""


def signal(resource, success):
    """Tell the stack that this machine is one of `resource`. Nobody waits for a machine that Auto
    Scaling launches by itself."""
    stack = boto3.client("cloudformation", region_name=os.environ["STACK_REGION"])
    for pause in PAUSES:
        try:
            stack.signal_resource(
                StackName=os.environ["STACK_NAME"],
                LogicalResourceId=resource,
                UniqueId=INSTANCE.read_text().strip(),
                Status="SUCCESS" if success else "FAILURE",
            )
            return
        except ClientError as error:
            print(f"the stack waits for nobody: {error}")
            return
        except (BotoCoreError, OSError) as error:
            print(f"the stack is not reached: {error}")
            time.sleep(pause)
