"""Prints the configuration of a login server of the stack, from the variables of its user data."""

import json
import os
from collections.abc import Mapping

TEXT = """\
[login]
listen = {login}
drain_delay = 15.0

[app]
listen = {app}
trusted_proxies = {proxies}
capacity = {capacity}

[database]
url = {database}

[broker]
url = {brokers}
all = {all}

[fleet]
controller = "own"
provider = "ec2"
minimum = 2
maximum = {maximum}
spare = {spare}
# An app server that cannot renew its lease ends, with its machine. RDS takes one to two minutes for
# a failover.
lease_timeout = 900.0

[ec2]
region = {region}
image_id = {image}
instance_type = {types}
subnet_ids = {subnets}
security_group_ids = {app_groups}
iam_instance_profile = {app_profile}
address = {address}
name = {fleet}
spot = {spot}
log_group = {log_group}

[limits]
password_minimum = 8
# Ten times the capacity: a gateway has two for each of its people.
connections_per_address = {connections}

[log]
format = "json"

[web]
listen = "tcp:8080"

[telnet]
listen = {telnet}
server = {server}
secret_file = "/etc/bbs/telnet-secret"
"""

NUMBERS = ("CAPACITY", "MAXIMUM")
TEXTS = ("REGION", "IMAGE", "APP_PROFILE", "FLEET", "LOG_GROUP")
LISTS = ("TYPES", "SUBNETS", "APP_GROUPS")


def _ways(certificate: str, domain: str, network: str) -> Mapping[str, str]:
    """Where servers listen, and how they are reached. With a certificate, a secret's ARN, all is by
    TLS, and app servers are reached by names below the domain, through HAProxy in the network."""
    ports = {"login": 22222, "app": 22223, "telnet": 2323}
    if not certificate:
        return {
            **{name: json.dumps(f"tcp:{port}") for name, port in ports.items()},
            "proxies": "[]",
            "address": '"public"',
            "server": '"127.0.0.1:22222"',
        }
    key = "privateKey=" + f"secretsmanager:{certificate}".replace(":", r"\:")
    return {
        **{name: json.dumps(f"ssl:{port}:{key}") for name, port in ports.items()},
        "proxies": json.dumps([network]),
        "address": json.dumps(f"ip-{{ip}}.{domain}"),
        "server": json.dumps(f"tls://127.0.0.1:22222?tls_name={domain}"),
    }


def configuration(given: Mapping[str, str]) -> str:
    """The text of bbs.toml. TOML's strings and lists are written as JSON's."""

    def listed(name: str) -> str:
        return json.dumps(given[f"STACK_{name}"].split(","))

    spare = given["STACK_SPARE"]
    return TEXT.format(
        **{name.lower(): int(given[f"STACK_{name}"]) for name in NUMBERS},
        **{name.lower(): json.dumps(given[f"STACK_{name}"]) for name in TEXTS},
        **{name.lower(): listed(name) for name in LISTS},
        database=json.dumps(f"secretsmanager:{given['STACK_DATABASE_SECRET']}"),
        brokers=json.dumps(
            [f"secretsmanager:{each}" for each in given["STACK_BROKER_SECRETS"].split(",")]
        ),
        # Of a pair of Amazon MQ one is active at a time; those on login servers are both in use.
        all="true" if given["STACK_ZONE"] else "false",
        **_ways(given["STACK_CERTIFICATE"], given["STACK_DOMAIN"], given["STACK_NETWORK"]),
        spare=spare if spare.isdecimal() else json.dumps(spare),
        spot="true" if given["STACK_SPOT"] == "true" else "false",
        connections=10 * int(given["STACK_CAPACITY"]),
    )


if __name__ == "__main__":
    print(configuration(os.environ), end="")
