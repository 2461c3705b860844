"""The plan over time: a simulated fleet on which its steps are acted.

People come and go; servers boot, fail to boot, die, fall silent, leave; operators drain and launch;
keepers die between two steps. Whatever happened, what holds always is checked after each round, and
when nothing happens any more the fleet has to come to rest, with everybody placed.
"""

import itertools
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bbs.scaling.foresight import Peak
from bbs.scaling.plan import (
    Demand,
    Drain,
    End,
    Keep,
    Launch,
    Lose,
    MarkReady,
    Policy,
    Seen,
    back_off,
    plan,
)
from bbs.values import State

QUIET_PAUSE = 3.0
"""Seconds between rounds while nothing changes."""

BOOT = 3.0
"""Seconds that a boot takes where it works."""


@dataclass
class Server:
    """One simulated server, and its row."""

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
    consolidating: bool = False
    addressed: bool = True
    warned: str = ""

    @property
    def reported(self):
        return self.state is not State.LAUNCHING or (self.boots and self.age >= BOOT)

    def seen(self):
        return Seen(
            id=self.id,
            state=self.state,
            taken=self.people,
            capacity=self.capacity,
            reported=self.reported,
            age=self.age,
            silence=self.silence,
            idle=self.idle,
            leaving=self.leaving,
            drain_asked=self.drain_asked,
            alive=self.runs if self.known_to_provider else None,
            addressed=self.addressed,
            warned=self.warned,
            consolidating=self.consolidating and not (self.drain_asked or self.warned),
        )


@dataclass
class Simulation:
    """A fleet, the people who want places on it, and a keeper who acts on the plan."""

    policy: Policy
    servers: dict[str, Server] = field(default_factory=dict)
    waiting: int = 0
    failures: int = 0
    since_failure: float = 0.0
    boots: bool = True
    addressed: bool = True
    launches: int = 0
    now: float = 0.0
    moved: int = 0
    moved_now: int = 0
    history: list = field(default_factory=list)
    numbers: itertools.count = field(default_factory=itertools.count)

    def alive(self):
        return [s for s in self.servers.values() if s.state is not State.GONE]

    def ready(self):
        return [s for s in self.servers.values() if s.state is State.READY]

    def free(self):
        return sum(s.capacity - s.people for s in self.ready())

    def __post_init__(self):
        self.peak = Peak(self.policy.consolidate_after)

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

    def one(self, index):
        servers = self.alive()
        return servers[index % len(servers)] if servers else None

    def spoil(self, index, how):
        server = self.one(index)
        if server:
            setattr(server, *how)

    def lists_come(self, come):
        """From now on the addresses of launches are known, or not; and those that were not are."""
        self.addressed = come
        if come:
            for server in self.alive():
                server.addressed = True

    # The keeper

    def place(self):
        """Place those who wait, and move those who should, onto the fullest with room; no more than
        two of those who need not."""
        self.moved_now = 0
        for server in self.in_turn():
            moved = min(self.waiting, server.capacity - server.people)
            server.people += moved
            self.waiting -= moved
            for other in self.alive():
                if other.state is State.DRAINING:
                    moved = min(other.people, server.capacity - server.people)
                    if self.may_take_its_time(other):
                        moved = min(moved, 2 - self.moved_now)
                        self.moved_now += moved
                        self.moved += moved
                    server.people += moved
                    other.people -= moved

    def in_turn(self):
        """Whom people are placed on first, and next."""
        return sorted(self.ready(), key=lambda s: -s.people)

    def may_take_its_time(self, server):
        """Whether nobody is in a hurry to leave it."""
        return server.consolidating

    plan: ClassVar[Any] = staticmethod(plan)

    def demand(self):
        """What is wanted now."""
        self.peak.see(self.waiting + sum(s.people for s in self.alive()), self.now)
        return Demand(
            peak=self.peak.most if self.policy.consolidate_after else None,
            waiting=self.waiting,
            failures=self.failures,
            since_failure=self.since_failure,
            strays=0,
            refused=False,
        )

    def round(self, steps_until_death=None):
        """See, plan, act; the keeper may die after some steps. What was planned."""
        demand = self.demand()
        servers = [server.seen() for server in self.servers.values()]
        steps = self.plan(servers, demand, self.policy)
        for step in steps[:steps_until_death]:
            self.act(step)
            self.check_always()
        self.place()
        self.history.append(steps)
        return demand, servers, steps

    def next_round(self, steps_until_death=None):
        """The keeper's next one: a second later, and after longer where the last two had the same
        plan and nobody moves."""
        last = self.history[-2:]
        changes = len(last) < 2 or last[0] != last[1] or self.moved_now
        self.pass_time(1.0 if changes else QUIET_PAUSE)
        return self.round(steps_until_death)

    def act(self, step):
        match step:
            case Launch(count):
                for _ in range(count):
                    server = Server(f"s{next(self.numbers)}", self.policy.capacity, self.boots)
                    server.addressed = self.addressed
                    self.servers[server.id] = server
                self.launches += count
            case MarkReady(id):
                assert self.servers[id].addressed, "ready where nobody knows"
                assert not self.servers[id].warned, "ready, and about to be taken away"
                self.servers[id].state = State.READY
                self.servers[id].idle = 0.0
                self.failures = 0
            case Lose(id):
                self.servers[id].state = State.LOST
                self.waiting += self.servers[id].people
                self.servers[id].people = 0
            case Drain(id, reason):
                self.servers[id].state = State.DRAINING
                self.servers[id].consolidating = reason.startswith("consolidated")
            case Keep(id):
                self.servers[id].state = State.READY
                self.servers[id].consolidating = False
            case End(id, reason):
                heard = self.servers[id].reported and not self.servers[id].silence
                assert not (heard and "not ready" in reason), "ended, and it serves"
                if self.servers[id].state is State.LAUNCHING:
                    self.failures += 1
                    self.since_failure = 0.0
                self.waiting += self.servers[id].people
                self.servers[id].people = 0
                self.servers[id].state = State.GONE
                self.servers[id].runs = False

    def check_always(self):
        assert len(self.alive()) <= self.policy.maximum, "more than the maximum"
        for server in self.servers.values():
            assert server.people <= server.capacity, "over capacity"


POLICY = Policy(
    minimum=0,
    maximum=20,
    spare=0,
    capacity=10,
    idle_grace=30.0,
    launch_timeout=20.0,
    lost_after=4.0,
)
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
INDEX = st.integers(0, 7)
EVENTS = st.one_of(
    st.tuples(st.just("arrive"), st.integers(1, 40)),
    st.tuples(st.just("depart"), st.integers(1, 40)),
    st.tuples(st.just("pass_time"), st.sampled_from([1.0, 3.0, 4.0])),
    st.tuples(st.just("pass_time"), st.sampled_from([3.0, 10.0, 40.0])),
    st.tuples(
        st.just("spoil"),
        INDEX,
        st.sampled_from(
            [
                ("runs", False),
                ("hangs", True),
                ("leaving", True),
                ("drain_asked", True),
                ("known_to_provider", False),
                ("addressed", False),
                ("warned", "spot: rebalance recommended"),
            ]
        ),
    ),
    st.tuples(st.just("boots"), st.booleans()),
    st.tuples(st.just("lists_come"), st.booleans()),
    st.tuples(st.just("keeper_dies"), st.integers(0, 3)),
)
# Left to itself hypothesis makes lists of five or so, in which little can come about.
SEQUENCES = st.lists(EVENTS, min_size=15, max_size=60)


def happens(simulation, event):
    """Let one thing happen, and the keeper make a round. What it saw and planned."""
    match event:
        case ("boots", value):
            simulation.boots = value
        case ("lists_come", value):
            simulation.lists_come(value)
        case ("keeper_dies", steps):
            return simulation.round(steps)
        case (name, *arguments):
            getattr(simulation, name)(*arguments)
    return simulation.round()


def let_rest(simulation):
    """Nothing happens any more, and boots work: until long after all was settled."""
    simulation.boots = True
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


def assert_rests(test, simulation, seconds):
    """Nothing is planned any more."""
    end = simulation.now + seconds
    while simulation.now < end:
        test.assertEqual(simulation.next_round()[2], ())


class SequenceTests(SynchronousTestCase):
    @given(POLICIES, SEQUENCES)
    def test_comes_to_rest(self, policy, events):
        """Everybody who can has a place, need and limits hold, and no more steps are planned."""
        simulation = Simulation(policy)
        for event in events:
            happens(simulation, event)
        let_rest(simulation)
        assert_rests(self, simulation, 60)
        ready, alive = simulation.ready(), simulation.alive()
        full = len(alive) == policy.maximum
        self.assertTrue(simulation.waiting == 0 or full)
        self.assertTrue(len(ready) >= policy.minimum or full)
        self.assertTrue(simulation.free() >= policy.spare or full)
        self.assertFalse([s for s in alive if s.state in (State.LAUNCHING, State.LOST)])
        self.assertFalse([s for s in ready if s.warned])
        # None is kept that nobody needs.
        for server in ready:
            needed = simulation.free() - server.capacity < policy.spare
            self.assertTrue(server.people or needed or len(ready) <= policy.minimum)
        if policy.consolidate_after and not simulation.waiting:
            beyond = simulation.free() - policy.capacity >= policy.spare
            self.assertFalse(beyond and len(ready) > policy.minimum, "more than it takes")

    @given(POLICIES, SEQUENCES)
    def test_nobody_is_moved_where_nobody_comes_or_goes(self, policy, events):
        """Once it has come to rest; until then nobody is moved more than once for each server
        that is given up."""
        simulation = Simulation(policy)
        for event in events:
            happens(simulation, event)
        before, servers = simulation.moved, len(simulation.alive())
        let_rest(simulation)
        self.assertLessEqual(
            simulation.moved - before, servers * policy.capacity if policy.consolidate_after else 0
        )
        done = simulation.moved, simulation.launches
        assert_rests(self, simulation, 300)
        self.assertEqual((simulation.moved, simulation.launches), done)

    @given(POLICIES, SEQUENCES)
    def test_never_launches_for_those_whom_it_moves(self, policy, events):
        """People of a server that is given up never make a launch: it is kept before."""
        simulation = Simulation(policy)
        for event in events:
            demand, servers, steps = happens(simulation, event)
            kept = {step.id for step in steps if isinstance(step, Keep)}
            ended = {step.id for step in steps if isinstance(step, Lose | End)}
            given_up = [
                s
                for s in servers
                if s.consolidating and s.state is State.DRAINING and s.taken and not s.drain_asked
            ]
            if any(isinstance(step, Launch) for step in steps):
                ready = sum(s.state in (State.READY, State.LAUNCHING) for s in servers)
                minimum = ready - len(ended) < policy.minimum
                left = [s for s in given_up if s.id not in kept | ended]
                self.assertTrue(minimum or not left, (servers, demand, steps))

    @given(POLICIES, SEQUENCES)
    def test_never_drains_what_is_needed(self, policy, events):
        """What is left of the ready without the idle has places for all, spare ones, and number."""
        simulation = Simulation(policy)
        for event in events:
            demand, servers, steps = happens(simulation, event)
            idle = {s.id for s in steps if isinstance(s, Drain) and s.reason.startswith("idle")}
            if not idle:
                continue
            moved = {step.id for step in steps if not isinstance(step, Launch)}
            left = [s for s in servers if s.state is State.READY and s.id not in moved]
            people = demand.waiting + sum(
                s.taken for s in servers if s.state in (State.LOST, State.DRAINING)
            )
            self.assertGreaterEqual(sum(s.capacity - s.taken for s in left), people + policy.spare)
            self.assertGreaterEqual(len(left), policy.minimum)
            for server in servers:
                if server.id in idle:
                    self.assertEqual(server.taken, 0)
                    self.assertGreaterEqual(server.idle, policy.idle_grace)

    @given(POLICIES, SEQUENCES)
    def test_launches_what_is_needed_and_no_more(self, policy, events):
        """One server fewer would leave somebody without a place, or the fleet below its need."""
        simulation = Simulation(policy)
        for event in events:
            demand, servers, steps = happens(simulation, event)
            moved = {s.id for s in steps if not isinstance(s, Launch | MarkReady)}
            stay = [
                s
                for s in servers
                if s.state in (State.LAUNCHING, State.READY) and s.id not in moved
            ]
            free = sum(s.capacity - s.taken for s in stay)
            people = demand.waiting + sum(
                s.taken for s in servers if s not in stay and s.state is not State.GONE
            )
            count = sum(step.count for step in steps if isinstance(step, Launch))
            running = sum(s.state is not State.GONE for s in servers)
            missing = people + policy.spare - free
            wanted = max(0, -(-missing // policy.capacity), policy.minimum - len(stay))
            ended = {step.id for step in steps if isinstance(step, End)}
            failing = any(s.state is State.LAUNCHING and s.id in ended for s in servers)
            if failing or demand.since_failure < back_off(demand.failures):
                self.assertEqual(count, 0)
            else:
                room = max(0, policy.maximum - running)
                self.assertEqual(count, min(wanted, room))

    @given(POLICIES, st.integers(0, 60), st.integers(0, 60))
    def test_does_not_flap(self, policy, first, second):
        """With people who stay, a server that was launched is never drained again."""
        simulation = Simulation(policy)
        for count in (first, second):
            simulation.arrive(count)
            for _ in range(int(BOOT + policy.idle_grace) + 60):
                simulation.pass_time(1.0)
                simulation.round()
        steps = [step for steps in simulation.history for step in steps]
        self.assertFalse([step for step in steps if isinstance(step, Drain | Lose | End)])
        needed = -(
            -(min(first + second, policy.maximum * policy.capacity) + policy.spare)
            // policy.capacity
        )
        self.assertLessEqual(simulation.launches, max(needed, policy.minimum))

    def test_an_hour_without_lists(self):
        """Servers that serve where nobody knows are neither ended nor added to, and take people as
        soon as it is known."""
        simulation = Simulation(POLICY, addressed=False)
        simulation.arrive(20)
        for _ in range(3600):
            simulation.pass_time(1.0)
            simulation.round()
        self.assertEqual((simulation.launches, simulation.failures), (2, 0))
        simulation.lists_come(True)
        simulation.round()
        self.assertEqual(simulation.waiting, 0)

    def test_half_of_the_fleet_is_taken_away(self):
        """Everybody has moved within a boot and two rounds, and never beyond the maximum."""
        simulation = Simulation(replace(POLICY, maximum=15))
        simulation.arrive(100)
        let_rest(simulation)
        for server in simulation.ready()[::2]:
            server.warned = "spot: interrupted at 12:34 UTC"
        for _ in range(int(BOOT) + 2):
            simulation.round()
            simulation.pass_time(1.0)
        self.assertEqual(simulation.launches, 15)
        self.assertEqual(sum(server.people for server in simulation.ready()), 100)
        self.assertEqual(simulation.waiting, 0)

    def test_failing_boots_back_off(self):
        """Launches that always fail come ever more rarely, and one a minute in the end."""
        policy = replace(POLICY, minimum=1, maximum=5)
        simulation = Simulation(policy, boots=False)
        moments = []
        for second in range(600):
            simulation.pass_time(1.0)
            _, _, steps = simulation.round()
            if any(isinstance(step, Launch) for step in steps):
                moments.append(second)
        waits = [later - earlier for earlier, later in itertools.pairwise(moments)]
        # A boot fails after more than 20 s, then the back-off passes.
        self.assertEqual(waits, [22, 23, 25, 29, 37, 53, 81, 81, 81, 81, 81])
        simulation.boots = True
        let_rest(simulation)
        self.assertEqual(len(simulation.ready()), 1)
        self.assertEqual(simulation.failures, 0)

    def test_hundred_at_once(self):
        """A hundred people who wait make ten launches, and no more while those boot."""
        policy = POLICY
        simulation = Simulation(policy)
        simulation.arrive(100)
        for _ in range(20):
            simulation.round()
            simulation.pass_time(1.0)
        self.assertEqual(simulation.launches, 10)
        self.assertEqual(simulation.waiting, 0)
        simulation.depart(100)
        let_rest(simulation)
        self.assertEqual(simulation.alive(), [])
