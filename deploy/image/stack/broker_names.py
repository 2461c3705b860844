"""Keeps the names of the stack's two brokers on login servers whose brokers answer.

Every server knows two names in a private zone, and each login server runs a broker. One without a
name looks at both every ten seconds, and takes one that nobody has or whose broker does not answer.
So each of two login servers has a name, and a third one waits. If two take a name at once, the
later one has it, and the other looks again.

To answer is to accept the present password. When passwords change, new login servers thereby take
the names from old ones, whose brokers refuse them; theirs accept both passwords.
"""

import os
import socket
import sys
import time

import boto3
from broker import credential

PORT = 61613
TTL = 10
PAUSE = 10
NOBODY = "192.0.2.1"
"""For a name that no broker has (RFC 5737): one that is not known would stay so for minutes."""

TRIES = 2
"""Looks in a row at which a name has to be without an answer to be taken."""


def names(fleet):
    """The names of a fleet's brokers, as the template has them in their URLs."""
    return [f"{letter}.{fleet}.bbs.internal" for letter in "ab"]


def answers(address, name, password):
    """Whether a broker there accepts the password."""
    lines = ("CONNECT", "accept-version:1.2", "host:bbs", f"login:{name}", f"passcode:{password}")
    frame = "\n".join((*lines, "\n\0")).encode()
    try:
        with socket.create_connection((address, PORT), timeout=3) as connection:
            connection.settimeout(3)
            connection.sendall(frame)
            return connection.recv(64).lstrip().startswith(b"CONNECTED")
    except OSError:
        return False


def changes(own, holders, silent):
    """The addresses that the machine with the address `own` gives to names.

    :param holders: address by name, None where a name has none.
    :param silent: names whose holder has not answered for long enough.
    """
    free = [name for name, holder in holders.items() if holder in (None, NOBODY) or name in silent]
    found = {name: NOBODY for name in free if holders[name] is None}
    if free and own not in holders.values():
        found[free[0]] = own
    return found


def holders(route53, zone, names):
    """Which address each name has in the zone."""
    found = {}
    for page in route53.get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone):
        for each in page["ResourceRecordSets"]:
            if each["Type"] == "A":
                found[each["Name"].rstrip(".")] = each["ResourceRecords"][0]["Value"]
    return {name: found.get(name) for name in names}


def give(route53, zone, addresses):
    """Give names these addresses."""
    batch = [
        {
            "Action": "UPSERT",
            "ResourceRecordSet": {
                "Name": name,
                "Type": "A",
                "TTL": TTL,
                "ResourceRecords": [{"Value": address}],
            },
        }
        for name, address in addresses.items()
    ]
    route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": batch})
    print(f"brokers' names are given: {addresses}")


class Looks:
    """Counts for how many looks each name has been without an answer."""

    def __init__(self, route53, zone, names, own, accepted):
        self.route53, self.zone, self.names, self.own = route53, zone, names, own
        self.accepted = accepted
        self.unanswered = dict.fromkeys(names, 0)

    def look(self):
        """Give the names that have to be given, unless the broker here does not answer itself."""
        if not self.accepted(self.own):
            return
        found = holders(self.route53, self.zone, self.names)
        for name, holder in found.items():
            heard = holder is not None and (holder == self.own or self.accepted(holder))
            self.unanswered[name] = 0 if heard else self.unanswered[name] + 1
        silent = {name for name, count in self.unanswered.items() if count >= TRIES}
        if given := changes(self.own, found, silent):
            give(self.route53, self.zone, given)


def own_address():
    """This machine's private address: that from which it would speak to another one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as place:
        place.connect(("169.254.169.254", 80))
        return place.getsockname()[0]


def begin():
    """What this machine's variables ask for."""
    region = os.environ["STACK_REGION"]
    secret = os.environ["STACK_BROKER_SECRETS"].split(",")[0]
    store = boto3.client("secretsmanager", region_name=region)
    user, password = credential(store.get_secret_value(SecretId=secret)["SecretString"])
    return Looks(
        boto3.client("route53", region_name=region),
        os.environ["STACK_ZONE"],
        names(os.environ["STACK_FLEET"]),
        own_address(),
        lambda address: answers(address, user, password),
    )


def main():
    looks = None
    while True:
        try:
            looks = looks or begin()
            looks.look()
        except Exception as error:
            print(f"the brokers' names were not looked at: {error}", file=sys.stderr)
        time.sleep(PAUSE)


if __name__ == "__main__":
    main()
