"""The fleet as one look showed it. The planner decides on it, and the executor acts on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from bbs.core.values import DrainCause, LossCause, State, Urgency
from bbs.rules.fleet_admin import Blocker


class Machine(Enum):
    """The state of a server's machine, by its provider."""

    RUNS = auto()  # It boots or runs.
    STOPPED = auto()  # It can be started.
    ENDED = auto()  # It has certainly ended.
    MISSING = auto()  # Lists have lacked it for long: dead to people, but it may still run.
    UNKNOWN = auto()  # A list may be behind, or this provider does not know the machine.


class Health(Enum):
    """The state of a server, by its heartbeats."""

    UNHEARD = auto()  # It has not reported yet.
    UNADDRESSED = auto()  # It has reported, but its address is unknown.
    BEATING = auto()  # It serves.
    SILENT = auto()  # No heartbeat has come for longer than `fleet.lost_after`.
    LEAVING = auto()  # It has said that it is stopping.


class Owner(Enum):
    """Who can launch and end a server."""

    PROVIDER = auto()  # This login server's provider.
    OPERATOR = auto()  # An operator, by hand.
    NOBODY = auto()  # An operator asked for the launch, and no provider has adopted it yet.
    ANOTHER = auto()  # A provider of another login server, or of an earlier configuration.


class Launches(Enum):
    """Whether launches work."""

    WORK = auto()
    FAILED_LATELY = auto()  # The last one failed some minutes ago: capacity may be scarce.
    BACK_OFF = auto()  # The last one failed just now, and the next one waits.
    REFUSED = auto()  # The provider refuses launches until an operator has acted.
    UNCOUNTED = auto()  # The provider has not listed its machines yet, so none may be added.


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerView:
    """One server.

    `taken` of its `capacity` places have people. `age`: seconds since its launch was decided, or
    since it became warm or was resumed. `idle`: seconds since its last person left, 0 while anybody
    is on it. `causes`: why it drains, or should as soon as possible. `pooled`: it was launched for
    the warm pool. `evidence`: how its machine ended, and `warning`: why its provider will take it
    away, both in the provider's words. `created`: its row's stamp, by some wall clock. `pool`: the
    launch strategy that it was asked for by, and `zone`: the part of the provider's capacity in
    which it is or will be; empty if there are none.
    """

    id: str
    state: State
    owner: Owner
    machine: Machine
    health: Health
    taken: int
    capacity: int
    age: float
    idle: float
    causes: frozenset[DrainCause] = frozenset()
    pooled: bool = False
    version: str = ""
    instance_id: str | None = None
    evidence: str = ""
    warning: str = ""
    created: float = 0.0
    pool: str = ""
    zone: str = ""

    @property
    def loss(self) -> LossCause | None:
        """Why the server is dead to people; None while it is not."""
        if self.machine in (Machine.ENDED, Machine.MISSING):
            return LossCause.ENDED
        if self.health is Health.LEAVING:
            return LossCause.LEFT
        return LossCause.SILENT if self.health is Health.SILENT else None

    @property
    def is_well(self) -> bool:
        """Whether the server simply serves, as most of a large fleet does."""
        return (
            self.state is State.READY
            and self.health is Health.BEATING
            and not self.causes
            and (self.machine is Machine.RUNS or self.machine is Machine.UNKNOWN)
        )

    @property
    def must_go(self) -> DrainCause | None:
        """Why the server has to be empty at once; None if it may stay."""
        if DrainCause.OPERATOR in self.causes:
            return DrainCause.OPERATOR
        return DrainCause.WARNED if DrainCause.WARNED in self.causes else None

    @property
    def could_stay(self) -> bool:
        """Whether the server drains but need not, so it can take people again."""
        return (
            self.state is State.DRAINING
            and bool(self.causes)
            and all(cause.urgency is Urgency.WHEN_QUIET for cause in self.causes)
        )

    @property
    def is_pooled(self) -> bool:
        """Whether the server is warm, or boots to become so."""
        return self.state is State.WARM or (self.pooled and self.state is State.LAUNCHING)

    def free(self, capacity: int) -> int:
        """Free places, now or once the server has booted. A server reports its own number of
        places; until then it counts with `capacity`."""
        places = capacity if self.state is State.LAUNCHING else self.capacity
        return max(0, places - self.taken)


@dataclass(frozen=True)
class Orphan:
    """An instance of this fleet that belongs to no server. `runs`: it is not stopped. `is_certain`:
    lists have shown it for so long that no launch can be about to claim it."""

    id: str
    runs: bool
    is_certain: bool


@dataclass(frozen=True, kw_only=True)
class FleetView:
    """The whole fleet: its `servers` by id, without those that are gone, and its `orphans`.
    `zones`: those of the provider that can be trusted now, if it has any. `trouble`: why the fleet
    cannot be seen or told anything now; else None."""

    servers: Mapping[str, ServerView] = field(default_factory=dict)
    orphans: Sequence[Orphan] = ()
    launches: Launches = Launches.WORK
    zones: frozenset[str] = frozenset()
    trouble: Blocker | None = None

    @property
    def is_replacing(self) -> bool:
        """Whether operators have asked to replace any server."""
        return any(DrainCause.REPLACEMENT in s.causes for s in self.servers.values())

    @property
    def other_machines(self) -> int:
        """Machines that count to the maximum beside those of launched and serving servers: orphans,
        and warm servers that have not stopped yet."""
        warm = (s for s in self.servers.values() if s.state is State.WARM)
        running = sum(s.machine is not Machine.STOPPED for s in warm)
        return running + sum(orphan.runs for orphan in self.orphans)


@dataclass(frozen=True)
class Demand:
    """How many people need a place. `waiting`: people without a place; the planner finds those on
    lost or draining servers itself. `peak`: the most people at once, with a place or waiting, in
    the last `consolidate_after` seconds; None until the fleet has been watched for so long."""

    waiting: int
    peak: int | None = None
