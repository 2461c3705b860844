"""A simulated fleet on which the planner's steps are acted.

People come and go; servers boot, fail to boot, die, fall silent, leave; operators drain servers,
and ask for others in their place; machines do not stop or start as they are told; controllers die
between two steps. What holds always is checked after each step.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from bbs.core.values import DrainCause, LossCause, Policy, State
from bbs.rules.fleet_admin import Blocker
from bbs.scaling.backoff import FAILED_LATELY, back_off
from bbs.scaling.demand import Peak
from bbs.scaling.fleet_view import Demand, FleetView, Health, Launches, Machine, Owner, ServerView
from bbs.scaling.planner import (
    Drain,
    End,
    FillPool,
    Keep,
    Launch,
    Lose,
    MarkReady,
    Park,
    Plan,
    Resume,
    Stop,
    plan,
)

QUIET_PAUSE = 3.0
"""Seconds between rounds while nothing changes."""

BOOT = 3.0
"""Seconds that a boot takes where it works."""

SLOWLY = (DrainCause.CONSOLIDATION, DrainCause.REPLACEMENT)
"""What servers drain for where nobody is in a hurry to leave them."""


@dataclass
class Server:
    """One simulated server, and its row. `cause`: what it drains for; `missing`: lists lack it."""

    id: str
    capacity: int
    boots: bool
    state: State = State.LAUNCHING
    people: int = 0
    age: float = 0.0
    silence: float = 0.0
    idle: float = 0.0
    runs: bool = True
    hangs: bool = False
    leaving: bool = False
    drain_asked: bool = False
    known_to_provider: bool = True
    missing: bool = False
    addressed: bool = True
    warned: bool = False
    stopped: bool = False
    pooled: bool = False
    outdated: bool = False
    marked: bool = False
    cause: DrainCause | None = None

    @property
    def reported(self):
        if self.state in (State.LAUNCHING, State.WARM):
            return self.state is State.LAUNCHING and self.boots and self.age >= BOOT
        return True

    @property
    def machine(self):
        # What stands by was stopped by the provider, which knows of it.
        if self.state is not State.WARM and not self.known_to_provider:
            return Machine.UNKNOWN
        if not self.runs:
            return Machine.ENDED
        if self.missing:
            return Machine.MISSING
        return Machine.STOPPED if self.stopped else Machine.RUNS

    def health(self, lost_after):
        if not self.reported:
            return Health.UNHEARD
        if self.leaving:
            return Health.LEAVING
        if self.silence > lost_after:
            return Health.SILENT
        return Health.BEATING if self.addressed else Health.UNADDRESSED

    @property
    def causes(self):
        causes = {
            DrainCause.OPERATOR: self.drain_asked,
            DrainCause.WARNED: self.warned,
            DrainCause.OUTDATED: self.outdated and self.state is State.WARM,
            DrainCause.REPLACEMENT: self.marked and self.state is not State.DRAINING,
        }
        drains = {self.cause} if self.state is State.DRAINING and self.cause else set()
        return frozenset(drains | {cause for cause, holds in causes.items() if holds})

    def view(self, policy):
        return ServerView(
            id=self.id,
            state=self.state,
            owner=Owner.PROVIDER,
            machine=self.machine,
            health=self.health(policy.lost_after),
            taken=self.people,
            capacity=self.capacity,
            age=self.age,
            idle=self.idle,
            causes=self.causes,
            pooled=self.pooled,
        )


@dataclass
class Simulation:
    """A fleet, the people who want places on it, and a controller who acts on the plan.

    `boots`: whether what is launched from now on does; `stops` and `starts`: whether machines do as
    they are told. `most`: the most that ran at once.
    """

    policy: Policy
    servers: dict[str, Server] = field(default_factory=dict)
    waiting: int = 0
    failures: int = 0
    since_failure: float = 0.0
    boots: bool = True
    stops: bool = True
    starts: bool = True
    addressed: bool = True
    trouble: Blocker | None = None
    launches: int = 0
    now: float = 0.0
    moved: int = 0
    moved_now: int = 0
    most: int = 0
    history: list[Plan] = field(default_factory=list)
    numbers: itertools.count = field(default_factory=itertools.count)

    def __post_init__(self):
        self.peak = Peak(self.policy.consolidate_after)

    def alive(self):
        return [s for s in self.servers.values() if s.state is not State.GONE]

    def ready(self):
        return [s for s in self.servers.values() if s.state is State.READY]

    def standing(self):
        """Those that stand by, and are stopped."""
        return [s for s in self.alive() if s.state is State.WARM and s.stopped]

    def running(self):
        standing = self.standing()
        return [s for s in self.alive() if s not in standing]

    def marked(self):
        return [s for s in self.alive() if s.marked]

    def free(self):
        return sum(s.capacity - s.people for s in self.ready())

    # What happens

    def pass_time(self, seconds):
        self.now += seconds
        self.since_failure += seconds
        for server in self.alive():
            server.age += seconds
            heard = server.runs and not server.hangs and server.reported
            server.silence = 0.0 if heard else server.silence + seconds
            server.idle = 0.0 if server.people else server.idle + seconds

    def arrive(self, count):
        self.waiting += count
        self.place()

    def depart(self, count):
        """People log out: those who wait, then those of the emptiest servers."""
        gone = min(count, self.waiting)
        self.waiting -= gone
        for server in sorted(self.alive(), key=lambda s: s.people):
            leaving = min(count - gone, server.people)
            server.people -= leaving
            gone += leaving

    def spoil(self, index, how, value):
        servers = self.alive()
        if not servers:
            return
        server = servers[index % len(servers)]
        if how == "stopped":
            # Such as serve do not stop by themselves here; and somebody else who starts a machine
            # beyond the maximum is nobody that the controller could have kept from it.
            room = len(self.running()) < self.policy.maximum
            if server.state is not State.WARM or not room:
                return
        setattr(server, how, value)

    def lists_come(self, come):
        """From now on the addresses of launches are known, or not; and those that were not are."""
        self.addressed = come
        if come:
            for server in self.alive():
                server.addressed = True

    def mark(self, count):
        """Operators ask for others in the place of so many."""
        for server in [s for s in self.alive() if s.state is not State.LOST][:count]:
            server.marked = True

    def cancel(self):
        """They take it back."""
        for server in self.servers.values():
            server.marked = server.state is State.DRAINING and server.marked

    # The controller

    def place(self):
        """Place those who wait, and move those who should, onto the fullest with room, and last
        onto those that are to be replaced; no more than two of those who need not move."""
        self.moved_now = 0
        for server in sorted(self.ready(), key=lambda s: (s.marked, -s.people)):
            moved = min(self.waiting, server.capacity - server.people)
            server.people += moved
            self.waiting -= moved
            for other in self.alive():
                if other.state is State.DRAINING:
                    moved = min(other.people, server.capacity - server.people)
                    if other.cause in SLOWLY:
                        moved = min(moved, 2 - self.moved_now)
                        self.moved_now += moved
                        self.moved += moved
                    server.people += moved
                    other.people -= moved

    def demand(self):
        """What is wanted now."""
        self.peak.see(self.waiting + sum(s.people for s in self.alive()), self.now)
        peak = self.peak.most if self.policy.consolidate_after else None
        return Demand(waiting=self.waiting, peak=peak)

    def launches_work(self):
        """Whether launches work: what `LaunchBreaker` says of them."""
        if not self.failures:
            return Launches.WORK
        if self.since_failure < back_off(self.failures):
            return Launches.BACK_OFF
        return Launches.FAILED_LATELY if self.since_failure < FAILED_LATELY else Launches.WORK

    def fleet(self):
        return FleetView(
            servers={server.id: server.view(self.policy) for server in self.alive()},
            launches=self.launches_work(),
            trouble=self.trouble,
        )

    def round(self, steps_until_death=None):
        """See, plan, act; the controller may die after some steps. What was seen and planned."""
        fleet, demand = self.fleet(), self.demand()
        planned = plan(fleet, demand, self.policy)
        for step in planned.steps[:steps_until_death]:
            self.act(step)
            self.check_always()
        self.place()
        self.history.append(planned)
        return fleet, demand, planned

    def next_round(self, steps_until_death=None):
        """The controller's next one: a second later, and after longer where the last two had the
        same plan and nobody moves."""
        last = self.history[-2:]
        changes = len(last) < 2 or last[0] != last[1] or self.moved_now
        self.pass_time(1.0 if changes else QUIET_PAUSE)
        return self.round(steps_until_death)

    def act(self, step):
        match step:
            case Launch(count) | FillPool(count):
                for _ in range(count):
                    server = Server(f"s{next(self.numbers)}", self.policy.capacity, self.boots)
                    server.addressed, server.pooled = self.addressed, isinstance(step, FillPool)
                    self.servers[server.id] = server
                self.launches += count
            case MarkReady():
                for id in step.ids:
                    self.act_on(self.servers[id], step)
            case _:
                self.act_on(self.servers[step.id], step)
        self.most = max(self.most, len(self.running()))

    def act_on(self, server, step):
        match step:
            case MarkReady():
                assert server.addressed, "ready where nobody knows"
                assert not server.warned, "ready, and about to be taken away"
                assert not server.pooled, "ready, and to stand by"
                server.state, server.idle = State.READY, 0.0
                self.failures = 0
            case Park():
                assert server.pooled, "stopped, and somebody waits for it"
                server.state, server.age = State.WARM, 0.0
                self.failures = 0
                server.stopped = self.stops
            case Stop():
                server.stopped = server.stopped or self.stops
            case Resume():
                self.resume(server)
            case Drain(_, cause):
                if cause is DrainCause.REPLACEMENT:
                    self.check_replaced(server)
                server.state, server.cause = State.DRAINING, cause
            case Keep():
                server.state, server.cause = State.READY, None
            case Lose():
                server.state = State.LOST
                self.vacate(server)
            case End(_, cause):
                self.end(server, cause)

    def resume(self, server):
        server.pooled = False
        if server.state is State.WARM and not self.starts:
            server.state, server.runs, server.stopped = State.LOST, False, False
        elif server.state is State.WARM:
            server.state, server.age, server.stopped = State.LAUNCHING, 0.0, False
            server.leaving = server.hangs = False

    def end(self, server, cause):
        serves = server.reported and not server.silence
        assert not (serves and cause is LossCause.LATE), "ended, and it serves"
        if server.state is State.LAUNCHING:
            assert isinstance(cause, LossCause), "a launch that ended, and has not failed"
            self.failures += 1
            self.since_failure = 0.0
        self.vacate(server)
        server.state, server.runs = State.GONE, False

    def vacate(self, server):
        self.waiting += server.people
        server.people = 0

    def check_always(self):
        assert len(self.running()) <= self.policy.maximum, "more than the maximum"
        for server in self.servers.values():
            assert server.people <= server.capacity, "over capacity"
            assert not (server.people and server.state is State.WARM), "people where none serves"

    def check_replaced(self, server):
        """Whoever is on it has a place, the spare places stay, and nothing else is going on."""
        others = [s for s in self.ready() if s is not server]
        free = sum(s.capacity - s.people for s in others)
        assert free >= server.people + self.policy.spare, "no room for its people"
        assert not (self.waiting or self.trouble), "something is the matter"
        busy = [s for s in self.alive() if s.state in (State.LAUNCHING, State.LOST)]
        assert not busy, "beside something else"
        drain = [s for s in self.alive() if s.state is State.DRAINING and s.people]
        assert not drain, "two at once"
        new = sum(s.capacity - s.people for s in others if not s.marked)
        full = len(self.running()) >= self.policy.maximum
        many = self.policy.maximum - len(self.running()) < -(-server.people // self.policy.capacity)
        assert new >= server.people or full or many, "before another was ready"


# --- what can happen ---


def _spoilings(ways: Mapping[str, bool]):
    ways_to = st.sampled_from(list(ways.items()))
    return st.tuples(st.integers(0, 7), ways_to).map(lambda each: ("spoil", each[0], *each[1]))


POLICIES = st.builds(
    Policy,
    minimum=st.integers(0, 3),
    maximum=st.integers(3, 8),
    spare=st.integers(0, 12),
    capacity=st.sampled_from([1, 3, 10]),
    idle_grace=st.sampled_from([0.0, 5.0, 30.0]),
    launch_timeout=st.just(20.0),
    lost_after=st.just(4.0),
    consolidate_after=st.sampled_from([0.0, 5.0, 20.0]),
)
POOL_POLICIES = st.builds(
    lambda policy, warm: replace(policy, warm=warm), POLICIES, st.integers(0, 3)
)
EVENTS = st.one_of(
    st.tuples(st.just("arrive"), st.integers(1, 40)),
    st.tuples(st.just("depart"), st.integers(1, 40)),
    st.tuples(st.just("pass_time"), st.sampled_from([1.0, 3.0, 4.0])),
    st.tuples(st.just("pass_time"), st.sampled_from([3.0, 10.0, 40.0])),
    _spoilings(
        {
            "runs": False,
            "missing": True,
            "hangs": True,
            "leaving": True,
            "drain_asked": True,
            "known_to_provider": False,
            "addressed": False,
            "warned": True,
        }
    ),
    st.tuples(st.just("boots"), st.booleans()),
    st.tuples(st.just("lists_come"), st.booleans()),
    st.tuples(st.just("controller_dies"), st.integers(0, 3)),
)
POOL_EVENTS = st.one_of(
    EVENTS,
    EVENTS,
    _spoilings({"outdated": True, "stopped": False}),
    st.tuples(st.just("stops"), st.booleans()),
    st.tuples(st.just("starts"), st.booleans()),
)
REPLACING_EVENTS = st.one_of(
    POOL_EVENTS,
    POOL_EVENTS,
    st.tuples(st.just("mark"), st.integers(1, 8)),
    st.tuples(st.just("cancel")),
    st.tuples(st.just("trouble"), st.sampled_from([None, Blocker.BROKER_AWAY])),
)


def sequences(events):
    """Left to itself hypothesis makes lists of five or so, in which little can come about."""
    return st.lists(events, min_size=15, max_size=60)


def happens(simulation, event):
    """Let one thing happen, and the controller make a round. What it saw and planned."""
    match event:
        case ("controller_dies", steps):
            return simulation.round(steps)
        case ("boots" | "stops" | "starts" | "trouble", value):
            setattr(simulation, event[0], value)
        case (name, *arguments):
            getattr(simulation, name)(*arguments)
    return simulation.round()


def let_rest(simulation):
    """Nothing happens any more, and all works: until long after all was settled."""
    simulation.boots = simulation.stops = simulation.starts = True
    simulation.trouble = None
    simulation.lists_come(True)
    policy = simulation.policy
    # The longest way: a failed boot times out, the back-off passes, another boots, one idles.
    longest = policy.launch_timeout + 60.0 + BOOT + policy.lost_after + policy.idle_grace + 10.0
    if policy.consolidate_after:
        # Then server after server is given up, of which each may be emptied by two a second.
        longest += policy.consolidate_after + policy.maximum * (policy.capacity + 5)
    end = simulation.now + longest
    while simulation.now < end:
        simulation.next_round()


def let_replace(simulation):
    """Until all are replaced too that can be."""
    for _ in range(12):
        rounds = len(simulation.history)
        let_rest(simulation)
        at_rest = not simulation.marked() or len({*simulation.history[rounds:]}) == 1
        if at_rest and not simulation.failures:
            let_rest(simulation)
            return


def assert_rests(test, simulation, seconds):
    """Nothing is planned any more."""
    end = simulation.now + seconds
    while simulation.now < end:
        test.assertEqual(simulation.next_round()[2], Plan())
