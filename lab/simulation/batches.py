"""Many app servers asked for at once: calls, seconds and throttled calls, against EC2's buckets.

    python -m lab.simulation.batches [--busy 0.5]

Prints a table as Markdown. EC2 has the buckets that its guide documents, for each action one of
calls, and for some one of instances; `--busy` is the share of each that others in the account use
up, which the fleet does not know of. A launch takes EC2 two seconds and another call a quarter of
one; the fleet is listed every five seconds, and it is over once each instance is tagged.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogBeginner
from zope.interface import implementer

from bbs.config import EC2
from bbs.scaling.ec2.client import EC2Client, IApi
from bbs.scaling.ec2.errors import judge
from bbs.scaling.ec2.provider import EC2Provider
from tests.scaling.ec2.tools import FLEET_ID, MemoryEC2

WANTED = (10, 100, 1000)
TAKES = {"RunInstances": 2.0}  # Seconds.
LISTED_EVERY, STEP = 5.0, 0.05
LONGEST = 3600.0  # Seconds after which it is given up.


class Bucket(NamedTuple):
    """Size, and how many come a second."""

    size: float
    refill: float


CALLS: Mapping[str, Bucket] = {
    "RunInstances": Bucket(5, 2),
    "CreateTags": Bucket(100, 10),
    "DescribeInstances": Bucket(100, 20),
    "DescribeImages": Bucket(100, 20),
}
INSTANCES = {"RunInstances": Bucket(1000, 2)}
"""As in "Request throttling for the Amazon EC2 API", EC2's developer guide."""


@implementer(IApi)
@dataclass(eq=False)
class BucketApi(Service):
    """EC2 in memory, with buckets of which others use up a share."""

    clock: Clock
    ec2: MemoryEC2
    busy: float
    calls: Counter[str] = field(default_factory=Counter)
    throttled: int = 0

    def __post_init__(self) -> None:
        self._left: dict[tuple[str, str], tuple[float, float]] = {}

    def ready(self, action: str) -> Deferred[None]:
        return succeed(None)

    def ask(self, action: str, parameters: Mapping[str, Any]) -> Deferred[Any]:
        self.calls[action] += 1
        wanted = [("calls", CALLS[action], 1)]
        if action in INSTANCES:
            wanted.append(("instances", INSTANCES[action], parameters.get("MaxCount", 1)))
        fits = all(self._left_in(what, action, bucket) >= count for what, bucket, count in wanted)
        for what, bucket, count in wanted if fits else ():
            left = self._left_in(what, action, bucket)
            self._left[what, action] = left - count, self.clock.seconds()
        if not fits:
            self.throttled += 1
            return fail(judge(action, "RequestLimitExceeded", "too many", 503))
        answer: Deferred[Any] = Deferred(lambda _: None)

        def carry_out() -> None:
            """EC2 does, whether or not somebody still waits for the answer."""
            done = maybeDeferred(self.ec2.ask, action, parameters)
            done.addBoth(lambda result: None if answer.called else answer.callback(result))

        self.clock.callLater(TAKES.get(action, 0.25), carry_out)
        return answer

    def _left_in(self, what: str, action: str, bucket: Bucket) -> float:
        share, now = 1.0 - self.busy, self.clock.seconds()
        left, counted = self._left.get((what, action), (bucket.size * share, now))
        return min(bucket.size * share, left + (now - counted) * bucket.refill * share)


def live(wanted: int, together: bool, busy: float = 0.0) -> tuple[float, float, BucketApi]:
    """Ask for so many launches; the seconds until all are made, and tagged, and what was asked."""
    clock = Clock()
    api = BucketApi(clock, MemoryEC2(clock), busy)
    client = EC2Client(clock, api, jitter=lambda: 1.0)
    subnets = ("s-1", "s-2", "s-3")
    config = EC2(
        image_id="ami-1", instance_type=("t3.micro",), subnet_ids=subnets, address="private"
    )
    make = str if together else None
    provider = EC2Provider(clock, client, config, str, "1", fleet_id=FLEET_ID, batch_user_data=make)
    for service in (client, provider):
        service.startService()
    strategies = provider.choose_strategies(wanted)
    written = dict(provider.batches(strategies)) or {
        f"l{number}": strategy for number, strategy in enumerate(strategies)
    }
    provider.know_strategies(written, ())
    waiting = set(written)
    retries: list[str] = []

    def launch(id: str) -> None:
        def failed(_: object) -> None:
            retries.append(id)

        provider.launch(id).addCallbacks(lambda _: waiting.discard(id), failed)

    for id in written:
        launch(id)
    listed = launched = 0.0
    while clock.seconds() < LONGEST and (waiting or not _all_tagged(api.ec2)):
        clock.advance(STEP)
        if waiting:
            launched = clock.seconds()
        if clock.seconds() - listed >= LISTED_EVERY:
            listed = clock.seconds()
            provider.list().addErrback(lambda _: None)
            # As the fleet does it.
            again, retries[:] = retries[:], []
            for id in again:
                launch(id)
    return launched, clock.seconds(), api


def _all_tagged(ec2: MemoryEC2) -> bool:
    return all("bbs:launch" in instance.tags for instance in ec2.instances.values())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.simulation.batches", description=__doc__)
    parser.add_argument("--busy", type=float, default=0.0, help="from 0 to 1 (%(default)s)")
    busy = parser.parse_args().busy
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    print(
        "| wanted | how | launched after | tagged after | RunInstances | CreateTags | throttled |"
    )
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for wanted in WANTED:
        for how, together in (("one by one", False), ("together", True)):
            launched, tagged, api = live(wanted, together, busy)
            alive, calls = len(api.ec2.instances), api.calls
            assert alive == wanted, f"{alive} instances of {wanted}"
            print(
                f"| {wanted} | {how} | {launched:.0f} s | {tagged:.0f} s |"
                f" {calls['RunInstances']} | {calls['CreateTags']} | {api.throttled} |"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
