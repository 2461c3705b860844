"""A cloud like EC2, with its faults, and a plain provider through which one controller sees it.

What it has in common with EC2: a launch's id is its idempotency token and its tag; a call that was
not answered may have been carried out, now or later; what is listed lags behind what is; what has
ended stays listed for a while, and its token never launches again. `lab/simulation/ec2.py`
has the API itself, for the real provider.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from zope.interface import implementer

from bbs.core.values import Instance
from bbs.scaling.interfaces import IProvider, LaunchFailed, LaunchRefused, ProviderUnavailable
from lab.simulation.breaks import Breaks

DEADLINE = 10.0
"""Seconds after which a provider gives a call up."""

LONGEST_DELAY = 30.0
"""Seconds after which the cloud may still carry out a call that was delayed."""

LISTED_AFTER_END = 3600.0
BOOT = (10.0, 40.0)
ADDRESS_AFTER = 2.0
"""Seconds until an instance has its address."""

SCOPE = "ec2:nowhere:simulated"

LISTS = ("empty", "old", "partial", "refused")
"""What can be the matter with lists, while launches work."""


@dataclass(eq=False)
class Machine:
    """One instance, as it truly is. `boots` is False for one whose boot hangs for ever.

    `owner` is the fleet whose it is, as the world has it; `parameters` those of its RunInstances.
    `reported` is when its app server first said that it serves, `heard` when it last beat.
    """

    id: str
    launch_id: str
    created: float
    boots: bool
    tagged: bool
    ended: float | None = None
    frozen: bool = False
    owner: Any = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    stopped: float | None = None
    started: float = 0.0
    """When it was last started, beside its launch."""
    counts: bool = True
    """Whether it counts to the maximum: what somebody else has started does not, and neither does
    what a fleet has adopted before it has seen a list."""
    starts: int = 0
    """How often the fleet started it again."""
    knows_address: bool = True
    spot: bool = False
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
    zone: str = ""
    """Its subnet."""

    @property
    def alive(self) -> bool:
        """Whether it is pending or running."""
        return self.ended is None and self.stopped is None

    @property
    def there(self) -> bool:
        """Whether it has not ended: it may be stopped."""
        return self.ended is None

    @property
    def address(self) -> str:
        """Where it is reached: elsewhere each time that it is started."""
        number = int(self.id[2:], 16)
        return f"{10 + self.starts}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


class Cloud:
    """The truth, and the calls that change it.

    :param on_launch: told of each new machine, to let it boot.
    """

    def __init__(
        self, clock: Any, chance: Random, breaks: Breaks, on_launch: Callable[[Machine], None]
    ) -> None:
        self.machines: list[Machine] = []
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
        self.dead_zones: set[str] = set()
        """Zones that accept launches, where nothing boots."""
        self.slow_zones: dict[str, float] = {}
        """How many times as long boots take in some zones."""
        self.clock = clock
        self.chance = chance
        self.breaks = breaks
        self.on_launch = on_launch
        self._tokens: set[str] = set()
        self._numbers = count(1)

    def alive(self) -> list[Machine]:
        """The machines that are pending or running."""
        return [machine for machine in self.machines if machine.alive]

    def there(self) -> list[Machine]:
        """Those that have not ended."""
        return [machine for machine in self.machines if machine.there]

    def end(self, machine: Machine) -> None:
        """It ends, whoever ended it."""
        if machine.there:
            machine.ended = self.clock.seconds()

    def launch(self, launch_id: str, tagged: bool = True, **what: Any) -> Machine:
        """A new machine, which boots, or hangs."""
        machine = Machine(
            f"i-{next(self._numbers):08x}",
            launch_id,
            self.clock.seconds(),
            self.chance.random() >= self.hung_boots,
            tagged,
            **what,
        )
        self.machines.append(machine)
        self.on_launch(machine)
        if self.chance.random() < self.stillborn:
            self.clock.callLater(self.chance.uniform(0.0, 10.0), self.end, machine)
        return machine

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

    def listed(self) -> list[tuple[Machine, float]]:
        """The tagged machines that a list has, and as of which moment each."""
        self.describes += 1
        now, chance, shown = self.clock.seconds(), self.chance, []
        for machine in self.machines:
            moment = now - chance.uniform(0.0, self.lag)
            if self.lists == "old":
                moment = min(moment, self.lists_since)
            ended = machine.ended is not None and machine.ended <= moment
            forgotten = ended and moment - (machine.ended or 0.0) > LISTED_AFTER_END
            forgotten = forgotten or chance.random() < self.gaps
            if machine.tagged and machine.created <= moment and not forgotten:
                shown.append((machine, moment))
        if self.lists == "empty":
            return []
        if self.lists == "partial":
            # One availability zone of two is missing.
            return [(machine, moment) for machine, moment in shown if int(machine.id[2:], 16) % 2]
        return shown

    # What a plain provider's calls do when they are carried out

    def run(self, launch_id: str) -> str:
        """Launch a machine, unless that was done under this id before; returns its id."""
        if launch_id in self._tokens and "token" not in self.breaks:
            return next(m.id for m in self.machines if m.launch_id == launch_id)
        if self.refuses:
            raise LaunchRefused("over quota: ask for more")
        if self.lacks_capacity:
            raise LaunchFailed("no capacity at present")
        self._tokens.add(launch_id)
        return self.launch(launch_id, "tags" not in self.breaks).id

    def describe(self) -> dict[str, Instance]:
        """The tagged machines, each as it was a while ago."""
        listed = {}
        for machine, moment in self.listed():
            alive = machine.ended is None or machine.ended > moment
            listed[machine.launch_id] = Instance(
                machine.launch_id,
                machine.address if machine.created + ADDRESS_AFTER <= moment else None,
                alive,
                "running" if alive else "terminated",
                machine.id,
                "t3.micro",
                machine.created,
            )
        return listed

    def terminate(self, launch_id: str, known: str | None) -> None:
        """End the machine `known`, else the one that is listed under the launch's tag."""
        listed = self.describe()
        id = known or (listed[launch_id].instance_id if launch_id in listed else None)
        for machine in self.machines:
            if machine.id == id:
                self.end(machine)


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
