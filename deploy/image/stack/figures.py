"""Sends figures of the login server's page to CloudWatch once a minute, for the stack's alarms."""

import os
import sys
import time
from collections import deque
from urllib.request import urlopen

import boto3
from prometheus_client.parser import text_string_to_metric_families

PAGE = "http://127.0.0.1:8080/metrics"


def look():
    """The page's figures, by name and what they are of: an alarm's cause for one."""
    with urlopen(PAGE, timeout=10) as answer:
        text = answer.read().decode()
    return {
        (each.name, *each.labels.values()): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


def late(grown):
    """The part of what was due in five minutes that was late by half a second."""
    name = "bbs_reactor_lag_seconds"
    due, soon = grown(5, f"{name}_count"), grown(5, f"{name}_bucket", "0.5")
    return (due - soon) / due if due else 0


def figures(looks):
    """What alarms look at, of the last eleven looks, the newest last."""
    now = looks[-1]

    def grown(minutes, *key):
        first, value = looks[max(0, len(looks) - 1 - minutes)], now.get(key, 0)
        # A smaller value means that the login server was restarted.
        return value - first.get(key, 0) if value >= first.get(key, 0) else value

    return {
        "Alarm": max((now[key] for key in now if key[0] == "bbs_fleet_alarm"), default=0),
        "InternalErrors": grown(10, "bbs_fleet_errors_total", "internal"),
        "UnavailablePerSecond": grown(5, "bbs_fleet_errors_total", "unavailable") / 300,
        "FailedLoginsPerSecond": grown(10, "bbs_fleet_failed_logins_total") / 600,
        "DatabaseUp": now[("bbs_database_up",)],
        "BrokerUp": now[("bbs_broker_up",)],
        "LaunchRefused": now.get(("bbs_fleet_launch_refused",), 0),
        "FleetUnseen": time.time() - now.get(("bbs_fleet_seen_timestamp_seconds",), 0),
        "LongestWait": now.get(("bbs_fleet_longest_wait_seconds",), 0),
        "LostServers": now.get(("bbs_fleet_servers", "lost"), 0),
        "SlowReactor": late(grown),
    }


def tell(cloudwatch, looks):
    cloudwatch.put_metric_data(
        Namespace="bbs",
        MetricData=[
            {
                "MetricName": name,
                "Dimensions": [{"Name": "Stack", "Value": os.environ["STACK_NAME"]}],
                "Value": value,
            }
            for name, value in figures(looks).items()
        ],
    )


def main():
    cloudwatch = boto3.client("cloudwatch", region_name=os.environ["STACK_REGION"])
    looks = deque(maxlen=11)
    while True:
        pause = 10
        try:
            looks.append(look())
            pause = 60
            tell(cloudwatch, looks)
        except Exception as error:
            print(f"no figures: {error}", file=sys.stderr)
        time.sleep(pause)


if __name__ == "__main__":
    main()
