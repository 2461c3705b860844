"""Decides what the fleet does next: a pure function of what was observed.

`plan` reads no clock and keeps nothing; times come in as ages. A controller can die between any two
steps of a plan: the next round sees what became of them and plans the rest again.

A server goes `launching -> ready -> draining -> gone`. If it dies or its launch fails it is `lost`
first, and counts to the maximum until its end is certain. A server of the warm pool goes `launching
-> warm`, with its machine stopped, until a crowd comes and it is launching again.

The phases run one after the other, and each decides about servers that earlier phases have left
alone: first what people need, then what can wait. Moving people costs each a new connection, so
servers are consolidated and replaced one at a time, and only while nothing else is under way:

- If the people of all servers fit on fewer servers, and have for `consolidate_after` seconds, the
  emptiest server drains. The highest need in that time counts, so that no server is launched again
  for people who come back.
- If operators asked to replace a server, another is launched first, and the old one drains once
  others have room for its people beside the spare places. No row says which server replaces which,
  so the next controller can go on. At the maximum none can be launched first; then a server drains
  whose people have room on the servers there are.
- If the provider may want a server back, and others have room for its people beside the spare
  places, it drains.
- The warm pool is filled again.

A launch that takes longer than nearly all is asked for once more, in another pool of capacity.
Whichever serves first is kept, and the late one ends unless it is needed too (hedged requests;
Dean and Barroso, The Tail at Scale, 2013). If two servers or more are to run, those that serve are
in two zones at least, as far as the provider has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum, auto
from itertools import islice
from math import inf
from typing import ClassVar

from bbs.core.values import Cause, DrainCause, LossCause, Policy, State, version_order
from bbs.rules.fleet_admin import Blocker
from bbs.rules.servers import NOT_RUNNING
from bbs.scaling.fleet_view import Demand, FleetView, Health, Launches, Machine, Owner, ServerView
from bbs.scaling.pools import is_late

ZONES = 2  # In which servers are to serve, if as many are to run.


def plan(fleet: FleetView, demand: Demand, policy: Policy) -> Plan:
    draft = Draft(fleet, demand, policy)
    for phase in PHASES:
        phase(draft)
    steps = sorted(draft.steps, key=lambda step: step.effect)
    return Plan(tuple(steps), draft.blocker)


@dataclass(frozen=True)
class Plan:
    """The `steps` to take now, those that give places first and ends last. The maximum holds
    whatever part of them is taken, in any order. `blocker`: why a replacement has to wait; None if
    none does."""

    steps: tuple[Step, ...] = ()
    blocker: Blocker | None = None


class Effect(IntEnum):
    """The effect of a step on the rest of the plan, in the order in which steps are taken."""

    SERVES = auto()  # The server takes people.
    DRAINS = auto()  # The server takes nobody any more.
    ADDS = auto()  # More servers will serve, or be warm.
    PARKS = auto()  # The server is warm.
    ENDS = auto()  # A machine ends, which can take seconds.


class Step:
    """Something to do next; the executor has a method for each kind."""

    effect: ClassVar[Effect]


@dataclass(frozen=True)
class _Addition(Step):
    count: int
    effect = Effect.ADDS


class Adopt(_Addition):
    """Take on launches that operators have asked for."""


class Launch(_Addition):
    """Launch servers for people."""


class FillPool(_Addition):
    """Launch servers for the warm pool."""


@dataclass(frozen=True)
class MarkReady(Step):
    """Place people on the servers from now on."""

    ids: tuple[str, ...]
    effect = Effect.SERVES


@dataclass(frozen=True)
class ServerStep(Step):
    id: str


class Park(ServerStep):
    """Move the server, now that it has booted, to the warm pool, and stop its machine."""

    effect = Effect.PARKS


class Stop(ServerStep):
    """Ask again to stop the machine of a warm server."""

    effect = Effect.PARKS


class Resume(ServerStep):
    """Take the server out of the warm pool, and start its machine if that is stopped."""

    effect = Effect.ADDS


@dataclass(frozen=True)
class Drain(ServerStep):
    """Place nobody on the server any more, and move its people."""

    cause: DrainCause
    effect = Effect.DRAINS


class Keep(ServerStep):
    """Place people on a draining server again: it is there sooner than a new one."""

    effect = Effect.SERVES


@dataclass(frozen=True)
class Lose(ServerStep):
    """Give up a dead server: its people need other places."""

    cause: LossCause
    effect = Effect.DRAINS


@dataclass(frozen=True)
class End(ServerStep):
    """Terminate the server; then it is gone. A launch has thereby failed, unless it is only late
    and has reported meanwhile. Without a `cause` the server has drained."""

    cause: Cause | None = None
    effect = Effect.ENDS


class EndOrphan(ServerStep):
    """Terminate an instance that belongs to no server."""

    effect = Effect.ENDS


class Draft:
    """A plan in the making. `serving`: the servers that serve or will; `pool`: those that are warm
    or boot to become so; `unwell`: those of both that do more than serve; `replaced`: the ready
    servers that operators asked to replace. `room`: machines that may still be added."""

    def __init__(self, fleet: FleetView, demand: Demand, policy: Policy) -> None:
        self.fleet, self.demand, self.policy = fleet, demand, policy
        self.all = [*fleet.servers.values()]
        self.unwell = [s for s in self.all if not s.is_well]
        self.pool = [s for s in self.unwell if s.is_pooled]
        self.serving = [s for s in self.all if not s.is_pooled] if self.pool else self.all
        self.ready = [s for s in self.serving if s.state is State.READY]
        ready = (s for s in self.unwell if s.state is State.READY)
        self.replaced = [s for s in ready if DrainCause.REPLACEMENT in s.causes]
        self.blocker: Blocker | None = None
        # The ceiling. A server that ends in this round may still run when another is launched, so
        # it counts. Nothing may be added before the provider has said what runs.
        counted = sum(s.state not in NOT_RUNNING for s in self.all) + fleet.other_machines
        uncounted = fleet.launches is Launches.UNCOUNTED
        self.room = -1 if uncounted else policy.maximum - counted
        self._steps: dict[str, Step] = {}
        self._zones: Counter[str] | None = None  # The ready servers in each; counted if needed.
        self.general_steps: list[Step] = []  # not about one server

    def plan(self, step: ServerStep) -> None:
        self._steps.pop(step.id, None)
        self._steps[step.id] = step
        self._zones = None

    def mark_ready(self, servers: Sequence[ServerView]) -> None:
        ids = tuple(sorted(server.id for server in servers))
        self._steps |= dict.fromkeys(ids, MarkReady(ids))

    def take(self, wanted: int) -> int:
        """Take room for up to `wanted` more machines; returns for how many."""
        taken = max(0, min(wanted, self.room))
        self.room -= taken
        return taken

    def unplanned(self, servers: Iterable[ServerView]) -> list[ServerView]:
        return [s for s in servers if s.id not in self._steps]

    def effect(self, server: ServerView) -> Effect | None:
        step = self._steps.get(server.id)
        return step.effect if step else None

    def goes(self, server: ServerView) -> bool:
        return self.effect(server) in (Effect.DRAINS, Effect.ENDS)

    @property
    def steps(self) -> Iterable[Step]:
        return (*dict.fromkeys(self._steps.values()), *self.general_steps)

    def balance(self) -> _Balance:
        homeless, staying, free = self.demand.waiting, 0, 0
        for server in self.serving:
            step = self._steps.get(server.id)
            if step is None:  # Most of a large fleet.
                stays = server.state is State.READY or server.state is State.LAUNCHING
            else:
                stays = step.effect is Effect.SERVES
            if stays:
                staying, free = staying + 1, free + server.free(self.policy.capacity)
            else:
                homeless += server.taken
        return _Balance(homeless, staying, homeless + self.policy.spare - free)

    def free(self, servers: Iterable[ServerView]) -> int:
        return sum(s.free(self.policy.capacity) for s in servers)

    def lasting(self) -> list[ServerView]:
        """The ready servers that count when one is to be given up. A server that has been empty for
        a short time is left out: somebody may have asked for it, and no other should end for it
        before the surplus has lasted."""
        grace = self.policy.idle_grace
        return [s for s in self.unplanned(self.ready) if s.taken or s.idle >= grace]

    def standing_by(self) -> list[ServerView]:
        """The stopped servers of the pool in the order in which they are resumed: the longest warm
        first, those to be replaced last."""
        pool = self.unplanned(s for s in self.pool if s.state is State.WARM)
        warm = [s for s in pool if s.machine is Machine.STOPPED]
        return sorted(warm, key=lambda s: (DrainCause.REPLACEMENT in s.causes, -s.age, s.id))

    def booting_to_stand_by(self) -> list[ServerView]:
        """The servers that boot for the pool, the likeliest to serve soon first."""
        booting = [s for s in self.pool if s.state is State.LAUNCHING and not self.goes(s)]
        return sorted(booting, key=lambda s: (s.health is Health.UNHEARD, -s.age, s.id))

    def is_quiet(self, servers: Sequence[ServerView]) -> bool:
        """Whether people of `servers` may be moved without need: none of these launches, is lost or
        is being emptied, and only ends are planned."""
        planned = [step for s in servers if (step := self._steps.get(s.id))]
        only_ends = all(step.effect is Effect.ENDS for step in (*planned, *self.general_steps))
        return only_ends and not any(
            s.state in (State.LAUNCHING, State.LOST) or (s.state is State.DRAINING and s.taken)
            for s in servers
        )

    def staying(self) -> list[ServerView]:
        """The servers that serve or will, and of which nothing else is planned."""
        states = (State.READY, State.LAUNCHING)
        return [s for s in self.serving if s.state in states and not self.goes(s)]

    def is_last_of_zone(self, server: ServerView) -> bool:
        """Whether fewer zones than there should be would be left without a ready server."""
        if not server.zone:
            return False
        if self._zones is None:
            self._zones = Counter(s.zone for s in self.ready if s.zone and not self.goes(s))
        zones = self._zones
        return zones[server.zone] == 1 and len(zones) <= min(ZONES, self.policy.minimum)

    def has_surplus(self) -> bool:
        """Whether a server serves nobody and is not needed: a launch for another zone may have come
        out in this one, and is not to be repeated."""
        unmarked = (s for s in self.ready if not s.causes and not s.taken)
        return len(self.staying()) > self.policy.minimum and any(unmarked)

    def late(self) -> list[ServerView]:
        """The launches that take longer than nearly all, the latest first."""
        after = self.policy.hedge_after
        if after == inf:  # There is one pool, or nothing has booted yet.
            return []
        found = [s for s in self.unplanned(self.unwell) if not s.pooled and is_late(s, after)]
        return sorted(found, key=lambda s: (-s.age, s.id))

    def held_up_by(self) -> Blocker | None:
        """The first reason to begin nothing now that can wait."""
        if self.fleet.trouble:
            return self.fleet.trouble
        if self.demand.waiting:
            return Blocker.PEOPLE_WAIT
        match self.fleet.launches:
            case Launches.REFUSED:
                return Blocker.REFUSED
            case Launches.FAILED_LATELY | Launches.BACK_OFF:
                return Blocker.FAILED_LATELY
        return None


@dataclass(frozen=True)
class _Balance:
    """`homeless` people need a place on a server that stays: those who wait, and those on servers
    that go. `staying` servers stay. `missing` places are needed for people and to spare; if
    negative, places are left over."""

    homeless: int
    staying: int
    missing: int


def reap(draft: Draft) -> None:
    """Lose dead servers, and end those that have no people left."""
    for server in draft.unwell:
        match server.state:
            case State.LAUNCHING if server.loss:
                draft.plan(End(server.id, LossCause.FAILED))
            case State.DRAINING if not server.taken:
                draft.plan(End(server.id, _drained_for(server)))
            case State.READY | State.DRAINING if server.loss:
                draft.plan(Lose(server.id, server.loss))
            case State.LOST:
                draft.plan(End(server.id, server.loss))
            case State.WARM if server.machine in (Machine.ENDED, Machine.MISSING):
                draft.plan(End(server.id, LossCause.ENDED))


def _drained_for(server: ServerView) -> Cause | None:
    if DrainCause.WARNED in server.causes:
        return DrainCause.WARNED
    for cause in (DrainCause.REPLACEMENT, DrainCause.RECOMMENDED):
        if server.could_stay and cause in server.causes:
            return cause
    return server.loss


def obey(draft: Draft) -> None:
    """Drain servers that an operator wants empty or the provider will take away."""
    for server in draft.unplanned(draft.unwell):
        if not server.causes or server.state is State.DRAINING:
            continue
        if server.state is State.WARM:
            stale = DrainCause.OUTDATED in server.causes and server.machine is Machine.STOPPED
            if cause := server.must_go or (DrainCause.OUTDATED if stale else None):
                draft.plan(End(server.id, cause))
        elif server.must_go:
            draft.plan(Drain(server.id, server.must_go))


def serve(draft: Draft) -> None:
    """Have booted servers take people or join the pool; give up those that are late."""
    timeout = draft.policy.launch_timeout
    booted: list[ServerView] = []
    for server in draft.unplanned(draft.unwell):
        if server.state is State.LAUNCHING:
            if server.health is Health.UNHEARD:
                if server.age > timeout:
                    draft.plan(End(server.id, LossCause.LATE))
            elif server.pooled:
                # Nobody is sent there, so its address does not matter.
                draft.plan(Park(server.id))
            elif server.health is Health.BEATING:
                # A server without a known address is waited for, however long.
                booted.append(server)
        elif server.state is State.WARM and server.machine is Machine.RUNS:
            # Somebody else may have started the machine: then it is too old, and ends as well.
            late = server.age > timeout
            draft.plan(End(server.id, DrainCause.UNSTOPPABLE) if late else Stop(server.id))
    draft.mark_ready(booted)


def adopt(draft: Draft) -> None:
    """Adopt launches that operators have asked for, unless too many servers run already, or one of
    those launches is given up: its row is closed at once, as no provider has launched it."""
    launching = (s for s in draft.unwell if s.state is State.LAUNCHING)
    asked = [s for s in launching if s.owner is Owner.NOBODY]
    if asked and draft.room >= 0 and not any(map(draft.effect, asked)):
        draft.general_steps.append(Adopt(len(asked)))


def keep(draft: Draft) -> None:
    """Keep servers that drain and could stay, rather than launch others: the fullest first, those
    being replaced last. A server being replaced is kept for people without a place, but not for
    spare places, which its successor brings. An empty one is not kept: it is being ended."""
    replaced = DrainCause.REPLACEMENT
    draining = (s for s in draft.unwell if s.state is State.DRAINING)
    could_stay = [s for s in draft.unplanned(draining) if s.could_stay]
    for server in sorted(could_stay, key=lambda s: (replaced in s.causes, -s.taken, s.id)):
        enough = draft.policy.spare if replaced in server.causes else 0
        if draft.balance().missing > enough:
            draft.plan(Keep(server.id))


def provision(draft: Draft) -> None:
    """Provide missing places, and servers below the minimum: resume warm servers, then take servers
    that boot for the pool, then launch. Warm servers are resumed even while launches fail, as they
    have booted before; but a provider that refuses launches would also refuse to start them."""
    launches = draft.fleet.launches
    balance = draft.balance()
    wanted = max(_servers(draft, balance), _hedges(draft, balance))
    if wanted <= 0:
        return
    warm = [] if launches is Launches.REFUSED else draft.standing_by()
    resumed = warm[: draft.take(min(wanted, len(warm)))]
    # These run already, so they take no room.
    claimed = draft.booting_to_stand_by()[: wanted - len(resumed)]
    for server in (*resumed, *claimed):
        draft.plan(Resume(server.id))
    wanted -= len(resumed) + len(claimed)
    # A launch that fails in this round holds back the next one from now on.
    failing = any(
        s.state is State.LAUNCHING and draft.effect(s) is Effect.ENDS for s in draft.serving
    )
    held = failing or launches in (Launches.BACK_OFF, Launches.REFUSED)
    count = 0 if held else draft.take(wanted)
    if count:
        draft.general_steps.append(Launch(count))
    if count < wanted and not held:
        _make_room(draft, wanted - count)


def _make_room(draft: Draft, count: int) -> None:
    """At the maximum, end up to `count` launches that are very late, if another zone can be
    trusted. If boots have become slow everywhere, none can, and they are waited for."""
    zones = draft.fleet.zones
    hopeless = (
        server
        for server in draft.late()
        if server.age > 2 * draft.policy.hedge_after and zones and server.zone not in zones
    )
    for server in islice(hopeless, count):
        draft.plan(End(server.id, LossCause.LATE))


def _servers(draft: Draft, balance: _Balance) -> int:
    """How many servers are missing."""
    for_places = -(-balance.missing // draft.policy.capacity)
    return max(for_places, draft.policy.minimum - balance.staying)


def _hedges(draft: Draft, balance: _Balance) -> int:
    """How many servers are to be launched so that late ones need not be waited for. No server is
    asked for more than twice."""
    late = len(draft.late())
    if not late:
        return 0
    launching = [s for s in draft.staying() if s.state is State.LAUNCHING]
    without = _Balance(
        balance.homeless, balance.staying - len(launching), balance.missing + draft.free(launching)
    )
    needed = max(0, _servers(draft, without))
    return min(needed - (len(launching) - late), 2 * needed - len(launching))


def end_late(draft: Draft) -> None:
    """End late launches once others that began later serve, and nobody misses the late ones."""
    late = draft.late()
    if not late:
        return
    ready = [s for s in draft.ready if not draft.goes(s)]
    need = draft.balance().homeless + draft.policy.spare
    if len(ready) >= draft.policy.minimum and draft.free(ready) >= need:
        for server in late:
            if any(s.age < server.age for s in ready):
                draft.plan(End(server.id, LossCause.LATE))


def spread(draft: Draft) -> None:
    """Launch a server in another zone, if all are in one and more than one is to run. Then one of
    the others is idle, or its people fit elsewhere."""
    if draft.policy.minimum < ZONES or not draft.fleet.zones:
        return
    zones = {s.zone for s in draft.staying()}
    if len(zones) != 1 or "" in zones or not draft.fleet.zones - zones:
        return
    # A replacement minds zones itself.
    if draft.fleet.is_replacing or draft.has_surplus():
        return
    if draft.held_up_by() is None and draft.is_quiet(draft.serving) and draft.take(1):
        draft.general_steps.append(Launch(1))


def end_idle(draft: Draft) -> None:
    """Drain empty servers that nobody needs, the longest idle first. Only ready servers count
    against the need: a launch may fail after a working server has gone for it. During a replacement
    only empty servers that are to be replaced go: the others are for their people."""
    lasting, policy = draft.lasting(), draft.policy
    empty = (s for s in lasting if not s.taken)
    idle = [s for s in empty if DrainCause.REPLACEMENT in s.causes or not draft.replaced]
    if not idle:
        return
    count, free = len(lasting), draft.free(lasting)
    need = draft.balance().homeless + policy.spare
    for server in sorted(idle, key=lambda s: (-s.idle, s.id)):
        enough = count > policy.minimum and free - server.capacity >= need
        if enough and not draft.is_last_of_zone(server):
            draft.plan(Drain(server.id, DrainCause.IDLE))
            count, free = count - 1, free - server.capacity


def consolidate(draft: Draft) -> None:
    """Drain the emptiest server, if the others have long had room for its people. Of equally empty
    servers the youngest goes: otherwise people would be moved from old servers onto new ones, which
    are emptied next."""
    policy, peak = draft.policy, draft.demand.peak
    if not policy.consolidate_after or peak is None or draft.replaced:
        return
    if draft.held_up_by() or not draft.is_quiet(draft.serving):
        return
    lasting = draft.lasting()
    could_end = [
        s
        for s in lasting
        if s.taken and s.owner is not Owner.OPERATOR and not draft.is_last_of_zone(s)
    ]
    if len(lasting) <= policy.minimum or not could_end:
        return
    emptiest = min(could_end, key=lambda s: (s.taken, s.age, s.id))
    room = draft.free(s for s in lasting if s is not emptiest)
    ebbed = max(0, peak - sum(s.taken for s in draft.serving))
    if room >= emptiest.taken + policy.spare + ebbed:
        draft.plan(Drain(emptiest.id, DrainCause.CONSOLIDATION))


def fill_pool(draft: Draft) -> None:
    """Fill the warm pool while nobody waits and no server launches for people; end its surplus, and
    warm servers to replace."""
    launches = draft.fleet.launches
    if draft.demand.waiting or launches in (Launches.REFUSED, Launches.BACK_OFF):
        return
    grows = any(step.effect is Effect.ADDS for step in draft.steps)
    if grows or any(s.state is State.LAUNCHING for s in draft.serving):
        return
    warm = draft.standing_by()
    surplus = len(warm) + len(draft.booting_to_stand_by()) - draft.policy.warm
    for server in warm[-surplus:] if surplus > 0 else ():
        draft.plan(End(server.id, DrainCause.SURPLUS))
    if draft.held_up_by() is None:
        for server in draft.unplanned(warm):
            if DrainCause.REPLACEMENT in server.causes:
                draft.plan(End(server.id, DrainCause.REPLACEMENT))
    staying = sum(not draft.goes(s) for s in draft.pool)
    if count := draft.take(draft.policy.warm - staying):
        draft.general_steps.append(FillPool(count))


def replace(draft: Draft) -> None:
    """Drain the next server to replace, older versions first, or launch its successor."""
    marked = [s for s in draft.replaced if s.owner is not Owner.OPERATOR]
    if not marked:
        return
    draft.blocker = draft.held_up_by()
    # A server that was given another runs until it has ended, also when it is empty. One that was
    # to be replaced may drain as its provider recommends it.
    given = {DrainCause.REPLACEMENT, DrainCause.RECOMMENDED}
    under_way = any(s.could_stay and given & {*s.causes} for s in draft.serving)
    if draft.blocker or under_way or not draft.is_quiet(draft.all):
        return
    policy, free = draft.policy, draft.free(draft.ready)
    lasting = free - draft.free(marked)
    alone = {s.id for s in marked if draft.is_last_of_zone(s) and not draft.has_surplus()}
    in_turn = sorted(marked, key=lambda s: (s.id in alone, version_order(s.version), -s.age, s.id))
    elsewhere = {s.id: free - s.free(policy.capacity) for s in marked}
    for server in in_turn:
        wanted = max(server.taken - lasting, server.taken + policy.spare - elsewhere[server.id])
        count = max(-(-wanted // policy.capacity), policy.minimum - (len(draft.ready) - 1))
        if server.id in alone:  # Its successor is to be in its zone.
            count = max(count, 1)
        if count <= 0:
            draft.plan(Drain(server.id, DrainCause.REPLACEMENT))
            return
        if count <= draft.room:
            draft.general_steps.append(Launch(draft.take(count)))
            return
    for server in in_turn:
        if elsewhere[server.id] >= server.taken + policy.spare:
            draft.plan(Drain(server.id, DrainCause.REPLACEMENT))
            return
    draft.blocker = Blocker.FULL


def heed(draft: Draft) -> None:
    """Drain a server that its provider may want back, if others have room for its people."""
    policy = draft.policy
    ready = (s for s in draft.unplanned(draft.unwell) if s.state is State.READY)
    recommended = [s for s in ready if DrainCause.RECOMMENDED in s.causes]
    if not recommended or draft.held_up_by() or not draft.is_quiet(draft.serving):
        return
    if len(draft.ready) <= policy.minimum:
        return
    for server in sorted(recommended, key=lambda s: (s.taken, s.id)):
        room = draft.free(s for s in draft.ready if s is not server)
        if room >= server.taken + policy.spare and not draft.is_last_of_zone(server):
            draft.plan(Drain(server.id, DrainCause.RECOMMENDED))
            return


def end_orphans(draft: Draft) -> None:
    for orphan in draft.fleet.orphans:
        if orphan.is_certain:
            draft.general_steps.append(EndOrphan(orphan.id))


PHASES: Sequence[Callable[[Draft], None]] = (
    reap,
    obey,
    serve,
    adopt,
    keep,
    provision,
    end_late,
    end_idle,
    consolidate,
    heed,
    spread,
    fill_pool,
    replace,
    end_orphans,
)
