"""EC2 at the speed of the simulation: the stand-in of the tests behind a network that fails.

A call that was not answered may have been carried out, now or later; what is listed lags behind
what is; capacity lacks, boots hang, and lists are bad for a while. `CloudProvider` is a plain
provider, through which one controller sees it; `lab/simulation/ec2.py` is for the real one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from zope.interface import implementer

from bbs.core.values import Instance
from bbs.scaling.ec2.launch_request import member
from bbs.scaling.interfaces import IProvider, LaunchFailed, ProviderUnavailable
from lab.simulation.breaks import Breaks
from tests.standins import instances
from tests.standins.ec2 import EC2, NO_TEMPLATE, Answer, APIError, Asked, Call

DEADLINE = 10.0
"""Seconds after which a provider gives a call up."""

LONGEST_DELAY = 30.0
"""Seconds after which the cloud may still carry out a call that was delayed."""

LISTED_AFTER_END = instances.TERMINATED_SHOWN
BOOT = (10.0, 40.0)
ADDRESS_AFTER = 2.0
"""Seconds until an instance runs, and has its address."""

PACE = {"pending": ADDRESS_AFTER, "shutting-down": 3.0, "stopping": 3.0}
"""Seconds for which an instance is in these states."""

UNKNOWN = 0.1
"""The share of fleets for which EC2 does not know yet a template that was made a moment ago."""

SCOPE = "ec2:nowhere:simulated"
LAUNCH_TAG, BATCH_TAG = "bbs:launch", "bbs:batch"

LISTS = ("empty", "old", "partial", "refused")
"""What can be the matter with lists, while launches work."""


@dataclass(eq=False, kw_only=True)
class Machine(instances.Instance):
    """One instance, as it truly is. `boots` is False for one whose boot hangs for ever.

    `owner` is the fleet whose it is, as the world has it. `reported` is when its app server first
    said that it serves, `heard` when it last beat.
    """

    launch_id: str
    boots: bool = True
    frozen: bool = False
    owner: Any = None
    counts: bool = True
    """Whether it counts to the maximum: what somebody else has started does not, and neither does
    what a fleet has adopted before it has seen a list."""
    starts: int = 0
    """How often it was started again."""
    knows_address: bool = True
    reported: float | None = None
    heard: float = 0.0
    notice: str = ""
    """What its metadata say of its being taken away."""
    taken_away: float = float("inf")
    """When it is."""
    has_successor: bool = False
    """Whether there is room in its fleet for another in its place."""
    told: str = ""
    """What its app server has told the fleet of that."""
    pace: Mapping[str, float] = field(default_factory=lambda: PACE)

    def __post_init__(self) -> None:
        self._move()

    @property
    def alive(self) -> bool:
        """Whether it is pending or running."""
        return self.there and not self.stopped

    @property
    def stopped(self) -> bool:
        """Whether it stops, or has."""
        return self.state == "stopping"

    def becomes(self, state: str, now: float, reason: str | None = None) -> None:
        """As `Instance.becomes`; each time that it is started it is reached elsewhere."""
        super().becomes(state, now, reason)
        if state == "pending":
            self.starts += 1
            self._move()

    def _move(self) -> None:
        number = int(self.instance_id[2:], 16)
        self.address = f"{10 + self.starts}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


class Cloud(EC2[Machine]):
    """The truth, and the calls that change it.

    :param on_launch: told of each new machine, to let it boot.
    :param on_touch: told when a fleet (the first argument) ends, stops or starts a machine.
    """

    ID = "i-{:08x}"

    def __init__(
        self,
        clock: Any,
        chance: Random,
        breaks: Breaks,
        on_launch: Callable[[Machine], None],
        on_touch: Callable[[Any, Machine, str], None] = lambda *_: None,
    ) -> None:
        super().__init__(clock)
        self.template = {"ImageId": "ami-1"}
        self.calls = 0
        self.describes = 0
        """How many lists were carried out."""
        self.faults: Mapping[str, float] = {}
        """The probability that a call fails, is delayed or loses its answer, by kind of call."""
        self.lag = 5.0
        """The most seconds by which a list lags behind."""
        self.gaps = 0.0
        """The probability that a list lacks a machine that another would have."""
        self.lists = ""
        """One of `LISTS`, or nothing: they are well."""
        self.lists_since = 0.0
        self.hung_boots = 0.0
        self.stillborn = 0.0
        """The probability that a machine ends as soon as it has begun to boot."""
        self.away = self.lacks_capacity = self.refuses = False
        self.spot_lacks = ""
        """The code by which Spot instances are refused, while they are."""
        self.lacking: set[tuple[str, str]] = set()
        """Types and subnets without capacity."""
        self.dead_zones: set[str] = set()
        """Subnets that accept launches, where nothing boots."""
        self.slow_zones: dict[str, float] = {}
        """How many times as long boots take in some subnets."""
        self.throttles = False
        """Whether most calls are too many."""
        self.clock_code = "RequestExpired"
        """What EC2 answers whose clock is off."""
        self.allows_fleets = True
        """Whether the login servers may ask for fleets."""
        self.knowing = 1.0
        """The share of app servers that can ask their machines where they are."""
        self.caller: Any = None
        """The fleet whose call is carried out."""
        self.chance = chance
        self.breaks = breaks
        self.on_launch = on_launch
        self._on_touch = on_touch
        self._templates_made: dict[str, float] = {}

    @property
    def machines(self) -> list[Machine]:
        """All that ever were."""
        return [*self.instances.values()]

    def alive(self) -> list[Machine]:
        """The machines that are pending or running."""
        return [machine for machine in self.instances.values() if machine.alive]

    def there(self) -> list[Machine]:
        """Those that have not ended."""
        return [machine for machine in self.instances.values() if machine.there]

    def call(
        self,
        kind: str,
        action: Callable[[], Any],
        unanswered: Callable[[str], Exception] = ProviderUnavailable,
    ) -> Deferred[Any]:
        """Carry `action` out as a call over the network: it may fail in every way. Where there is
        no answer, it fails with `unanswered` of a reason."""
        answer: Deferred[Any] = Deferred()
        self.calls += 1
        chance, later = self.chance, self.clock.callLater
        fault = chance.choice(("fail", "delay", "lose"))
        if self.away:
            fault = chance.choice(("fail", "hang"))
        elif chance.random() >= self.faults.get(kind, 0.0):
            fault = ""
        longest = LONGEST_DELAY if fault == "delay" else 0.5
        done_after = chance.uniform(0.05, longest)

        def give_up() -> None:
            if not answer.called:
                answer.errback(unanswered(f"{kind}: {fault or 'slow'}"))

        def carry_out() -> None:
            try:
                result = action()
            except Exception as error:
                if not answer.called and fault != "lose":
                    answer.errback(error)
                return
            if not answer.called and fault != "lose":
                answer.callback(result)

        if fault == "fail":
            later(done_after, give_up)
            return answer
        later(DEADLINE, give_up)
        if fault != "hang":
            later(done_after, carry_out)
        return answer

    # What is otherwise than in EC2 at its best

    def make(self, **fields: Any) -> Machine:
        """Of the app servers some ask their machines where they are."""
        tags, chance = fields["tags"], self.chance
        return Machine(
            launch_id=tags.get(LAUNCH_TAG) or member(tags[BATCH_TAG], fields["number"]),
            owner=self.caller,
            knows_address=chance.random() < self.knowing,
            boots=chance.random() >= self.hung_boots,
            **fields,
        )

    def add(self, whole: Asked, number: int = 0) -> Machine:
        """A new machine, which boots, or hangs, or ends at once."""
        machine = super().add(whole, number)
        self.on_launch(machine)
        if self.chance.random() < self.stillborn:
            self.clock.callLater(self.chance.uniform(0.0, 10.0), self.end, machine)
        return machine

    def start(self, instance: Machine) -> None:
        """It boots again, and may not hang this time."""
        super().start(instance)
        instance.frozen = False
        self.on_launch(instance)

    def touches(self, instance: Machine, how: str) -> None:
        """A fleet has asked for it."""
        self._on_touch(self.caller, instance, how)

    def recall(self, action: str, asked: Asked) -> Call | None:
        """The call that had this ClientToken, unless that is taken out."""
        return None if "token" in self.breaks else super().recall(action, asked)

    def lack_of(self, kind: str, subnet: str, spot: bool) -> str:
        """By what goes wrong at present."""
        if spot and self.spot_lacks:
            return self.spot_lacks
        if self.refuses:
            return "VcpuLimitExceeded"
        lacks = self.lacks_capacity or (kind, subnet) in self.lacking
        return "InsufficientInstanceCapacity" if lacks else ""

    def create_launch_template(self, **asked: Any) -> Answer:
        """Where login servers may."""
        self._check_right()
        answer = super().create_launch_template(**asked)
        self._templates_made[asked["LaunchTemplateName"]] = self.clock.seconds()
        return answer

    def describe_launch_templates(self, **asked: Any) -> Answer:
        """Where login servers may."""
        self._check_right()
        return super().describe_launch_templates(**asked)

    def find_template(self, name: str) -> Asked:
        """Some fleets come before EC2 knows of it."""
        age = self.clock.seconds() - self._templates_made.get(name, 0.0)
        if name in self.templates and age < self.lag and self.chance.random() < UNKNOWN:
            raise APIError(NO_TEMPLATE)
        return super().find_template(name)

    def in_order(self, ways: list[tuple[Asked, Asked]]) -> list[tuple[Asked, Asked]]:
        """In any."""
        self.chance.shuffle(ways)
        return ways

    def describe_instances(self, **asked: Any) -> Answer:
        """Unless lists are refused."""
        if self.lists == "refused":
            raise APIError(self.chance.choice(("UnauthorizedOperation", "ServiceUnavailable")))
        return super().describe_instances(**asked)

    def listed(self) -> list[tuple[Machine, float]]:
        """The machines that a list has, and as of which moment each."""
        self.describes += 1
        now, chance, shown = self.clock.seconds(), self.chance, []
        for machine in self.instances.values():
            moment = now - chance.uniform(0.0, self.lag)
            if self.lists == "old":
                moment = min(moment, self.lists_since)
            if machine.is_known(moment) and chance.random() >= self.gaps:
                shown.append((machine, moment))
        if self.lists == "empty" or "tags" in self.breaks:
            return []
        if self.lists == "partial":
            # One availability zone of two is missing.
            return [each for each in shown if int(each[0].instance_id[2:], 16) % 2]
        return shown

    def _check_right(self) -> None:
        if not self.allows_fleets:
            raise APIError("UnauthorizedOperation")

    # What a plain provider's calls do when they are carried out

    def run(self, launch_id: str, subnet: str = "") -> str:
        """Launch a machine, unless that was done under this id before; returns its id."""
        tags = [{"Key": LAUNCH_TAG, "Value": launch_id}]
        asked = {
            "ClientToken": launch_id,
            "InstanceType": "t3.micro",
            "SubnetId": subnet,
            "TagSpecifications": [{"ResourceType": "instance", "Tags": tags}],
        }
        try:
            id: str = self.run_instances(**asked)["Instances"][0]["InstanceId"]
        except APIError as error:
            if error.code != "IdempotentInstanceTerminated":
                raise LaunchFailed(str(error)) from None
            return ""  # A list says that it has ended.
        return id

    def describe(self) -> dict[str, Instance]:
        """The machines that a list has, each as it was a while ago."""
        listed = {}
        for machine, moment in self.listed():
            state = machine.state_at(moment)
            alive = state in ("pending", "running")
            listed[machine.launch_id] = Instance(
                machine.launch_id,
                machine.address if state == "running" else None,
                alive,
                "running" if alive else "terminated",
                machine.instance_id,
                machine.kind,
                machine.created,
            )
        return listed

    def terminate(self, launch_id: str, known: str | None) -> None:
        """End the machine `known`, else the one that is listed under the launch's tag."""
        listed = self.describe()
        id = known or (listed[launch_id].instance_id if launch_id in listed else None)
        if id in self.instances:
            self.end(self.instances[id])


@implementer(IProvider)
class CloudProvider(Service):
    """One controller's provider. `mortal` decides whether the controller lives to ask, and to
    hear."""

    scope = SCOPE
    shared = True
    when_changed: Callable[[], None] | None = None

    def __init__(self, cloud: Cloud, mortal: Any) -> None:
        self._cloud = cloud
        self._mortal = mortal
        self._ids: dict[str, str] = {}

    def launch(self, launch_id: str) -> Deferred[None]:
        """Launch, and remember the machine's id."""

        def launched(machine: str) -> None:
            self._ids[launch_id] = machine

        return self._ask("run", lambda: self._cloud.run(launch_id)).addCallback(launched)

    def list(self) -> Deferred[Mapping[str, Instance]]:
        """Describe by tag."""
        return self._ask("describe", self._cloud.describe)

    def terminate(self, launch_id: str) -> Deferred[None]:
        """Terminate by id, where it is known."""
        known = self._ids.get(launch_id)
        return self._ask("terminate", lambda: self._cloud.terminate(launch_id, known))

    def _ask(self, kind: str, action: Callable[[], Any]) -> Deferred[Any]:
        answer: Deferred[Any] = self._mortal.ask(lambda: self._cloud.call(kind, action))
        return answer
