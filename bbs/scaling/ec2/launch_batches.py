"""Launches that are alike, asked for by one call of RunInstances.

EC2 takes five calls of RunInstances at once and two a second after that, but a thousand instances
in them. All instances of a call have the same tags and user data. Therefore a batch has an id,
which is their tag `bbs:batch`, and the ids of its launches follow from that and EC2's number for
each instance (AmiLaunchIndex): every controller and the instance itself can tell which launch it
is.

Once listed, each instance is tagged with its launch as well (`bbs:launch`), as those that were
launched one by one are: controllers of 0.4.0, as it was released, know these alone.

Source for the number:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/AMI-launch-index-examples.html
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.config import EC2
from bbs.scaling.ec2.client import EC2Client
from bbs.scaling.ec2.errors import LATER, EC2Error
from bbs.scaling.ec2.instance_states import REMEMBERED, EC2Instance
from bbs.scaling.ec2.launch_request import LAUNCH_TAG, LaunchStrategy, member, strategies
from bbs.scaling.ec2.throttle import RATES, Refusals

LARGEST = 250
"""Instances in a call of RunInstances. EC2 would take 1,000, if its bucket is full: where others in
the account use half of it, more than 500 were never launched. Where it has capacity for
fewer, it launches none."""

AT_ONCE = RATES["RunInstances"].size  # launches that need no batch

_WRITTEN = re.compile(
    r"(?:.*, )?(?P<strategy>[^,]+), one of (?P<count>\d+) \((?P<id>[0-9a-f]{32})\)"
)

_log = Logger()


@dataclass(frozen=True)
class LaunchBatch:
    """The strategy to ask for `count` launches in one call, each by `strategy`."""

    strategy: LaunchStrategy
    count: int
    id: str

    def __str__(self) -> str:
        return f"{self.strategy}, one of {self.count} ({self.id})"

    @property
    def home(self) -> str:
        return self.strategy.home

    @cached_property
    def members(self) -> Sequence[str]:
        """The ids of its launches."""
        return [member(self.id, number) for number in range(self.count)]


def parse(by_name: Mapping[str, LaunchStrategy], way: str) -> LaunchBatch | None:
    """The batch of a stored strategy; None if that is another strategy, or not `by_name`, which has
    those that are configured."""
    found = _WRITTEN.fullmatch(way)
    strategy = by_name.get(found["strategy"]) if found else None
    return LaunchBatch(strategy, int(found["count"]), found["id"]) if found and strategy else None


def batches(
    alike: Iterable[str], config: EC2, alone: Container[str] = ()
) -> Iterator[tuple[str, str]]:
    """The ids and strategies of launches with such strategies: in batches, as far as several are
    alike, but not by strategies that are to stand `alone`. Nothing if all can be launched at once
    without."""
    counts = Counter(alike)
    if counts.total() <= AT_ONCE:
        return
    by_name = {str(strategy): strategy for strategy in strategies(config)}
    for name, count in counts.items():
        strategy = by_name.get(name)
        for first in range(0, count, LARGEST):
            part = min(LARGEST, count - first)
            batch_id = secrets.token_hex(16)
            if strategy and part > 1 and name not in alone:
                batch = LaunchBatch(strategy, part, batch_id)
                yield from ((id, str(batch)) for id in batch.members)
            else:
                yield from ((member(batch_id, number), name) for number in range(part))


class BatchNames:
    """Tags the instances of batches with their launches, in the background."""

    def __init__(self, client: EC2Client, clock: IReactorTime) -> None:
        self._client = client
        self._seconds = clock.seconds
        self._under_way: set[str] = set()
        self._named: dict[str, float] = {}  # when, as lists lag behind
        self._refusals = Refusals(clock)

    def name(self, listed: Iterable[EC2Instance]) -> None:
        """Tag those of the `listed` instances that have no tag yet. If that fails, the next list
        shows them again."""
        now = self._seconds()
        self._named = {id: at for id, at in self._named.items() if now - at < REMEMBERED}
        if self._refusals.is_recent:
            return
        for machine in listed:
            is_known = machine.id in self._under_way or machine.id in self._named
            if machine.alive and not machine.is_named and not is_known:
                self._under_way.add(machine.id)
                tag = {"Key": LAUNCH_TAG, "Value": machine.launch_id}
                named = self._client.create_tags(Resources=[machine.id], Tags=[tag])
                named.addBoth(self._answered, machine.id)

    def _answered(self, result: object, id: str) -> None:
        self._under_way.discard(id)
        if not isinstance(result, Failure):
            self._named[id] = self._seconds()
            return
        result.trap(EC2Error, CancelledError)
        error = result.value
        is_refused = isinstance(error, EC2Error) and error.verdict not in LATER
        if is_refused and not self._refusals.is_recent:
            self._refusals.note()
            _log.warn("{instance} is not tagged: {error}", instance=id, error=str(error))
