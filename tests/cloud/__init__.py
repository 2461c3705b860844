"""An EC2 for tests, whose instances really boot: as processes of this machine.

    cloud = Cloud(boot_seconds=3.0, faults=Faults(Rule("RunInstances", lost(), times=1)), seed=7)
    await cloud.start()
    ...  # a service with cloud.ec2_config() as its [ec2], in the environment cloud.environ
    await cloud.stop()

README.md says what it can do, and how to run the whole service on it.
"""

from tests.cloud.cloud import APP_SERVER, LOGIN_SERVER, Cloud
from tests.cloud.faults import (
    BOOT,
    CAPACITY,
    METADATA,
    Fault,
    Faults,
    Rule,
    cut,
    delay,
    empty,
    error,
    everything,
    forget,
    hang,
    hold,
    hold_answer,
    lost,
    partial,
    slow,
    stale,
)
from tests.cloud.machines import Machine
from tests.cloud.proxy import Call, Held

__all__ = [
    "APP_SERVER",
    "BOOT",
    "CAPACITY",
    "LOGIN_SERVER",
    "METADATA",
    "Call",
    "Cloud",
    "Fault",
    "Faults",
    "Held",
    "Machine",
    "Rule",
    "cut",
    "delay",
    "empty",
    "error",
    "everything",
    "forget",
    "hang",
    "hold",
    "hold_answer",
    "lost",
    "partial",
    "slow",
    "stale",
]
