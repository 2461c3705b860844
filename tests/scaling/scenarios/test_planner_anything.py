"""What the planner never does, whatever fleet, demand and policy, and however they came about."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.values import DrainCause, LossCause, Policy, State
from bbs.rules.fleet_admin import Blocker
from bbs.scaling.fleet_view import (
    Demand,
    FleetView,
    Health,
    Launches,
    Machine,
    Orphan,
    Owner,
    ServerView,
)
from bbs.scaling.planner import (
    Adopt,
    Drain,
    End,
    EndOrphan,
    FillPool,
    Keep,
    Launch,
    Lose,
    MarkReady,
    Park,
    Resume,
    Stop,
    plan,
)
from tests.scaling.planner_tools import of

TIMES = st.sampled_from([0.0, 5.0, 120.0, 180.0, 181.0])
VERSIONS = st.sampled_from(["", "0.2.0", "0.10.0"])
ORPHANS = st.builds(Orphan, st.uuids().map(str), st.booleans(), st.booleans())


@st.composite
def servers(draw, id):
    """Any at all, also such as no sequence leads to."""
    return ServerView(
        id=id,
        state=draw(st.sampled_from([state for state in State if state is not State.GONE])),
        owner=draw(st.sampled_from(Owner)),
        machine=draw(st.sampled_from(Machine)),
        health=draw(st.sampled_from(Health)),
        taken=draw(st.integers(0, 12)),
        capacity=draw(st.sampled_from([1, 5, 10, 20])),
        age=draw(TIMES),
        idle=draw(TIMES),
        causes=draw(st.frozensets(st.sampled_from(DrainCause), max_size=2)),
        pooled=draw(st.booleans()),
        version=draw(VERSIONS),
    )


@st.composite
def sound_servers(draw, id, states, causes):
    """One with which nothing is wrong."""
    state = draw(st.sampled_from(states))
    can_wait = [DrainCause.CONSOLIDATION, DrainCause.REPLACEMENT]
    cause = draw(st.sampled_from(can_wait if state is State.DRAINING else causes))
    return ServerView(
        id=id,
        state=state,
        owner=draw(st.sampled_from([Owner.PROVIDER, Owner.PROVIDER, Owner.OPERATOR])),
        machine=Machine.STOPPED if state is State.WARM else Machine.RUNS,
        health=draw(st.sampled_from([Health.UNHEARD, Health.BEATING])),
        taken=draw(st.sampled_from([1, 2, 3, 5, 0])),
        capacity=draw(st.sampled_from([10, 20])),
        age=draw(st.sampled_from([5.0, 120.0])),
        idle=draw(TIMES),
        causes=frozenset([cause] if cause else []),
        pooled=draw(st.booleans()),
        version=draw(VERSIONS),
    )


@st.composite
def fleets(draw):
    """Fleets in which much is wrong, and others in which something can be done that can wait."""
    states = draw(
        st.sampled_from(
            [
                [],
                [],
                [State.READY, State.READY, State.WARM],
                [State.READY, State.READY, State.WARM, State.LAUNCHING, State.DRAINING],
            ]
        )
    )
    # Servers that are to be replaced, or none.
    causes = draw(st.sampled_from([[None], [None, None, DrainCause.REPLACEMENT]]))
    ids = [f"s{number}" for number in range(draw(st.integers(0, 8)))]
    return FleetView(
        servers={
            id: draw(sound_servers(id, states, causes) if states else servers(id)) for id in ids
        },
        orphans=draw(st.lists(ORPHANS, max_size=3)),
        launches=Launches.WORK if states else draw(st.sampled_from(Launches)),
        trouble=None if states else draw(st.none() | st.sampled_from(Blocker)),
    )


FLEETS = fleets()
POLICIES = st.builds(
    Policy,
    minimum=st.integers(0, 4),
    maximum=st.integers(4, 8),
    spare=st.sampled_from([0, 0, 3, 25]),
    capacity=st.integers(1, 12),
    idle_grace=st.sampled_from([0.0, 120.0]),
    launch_timeout=st.just(180.0),
    lost_after=st.just(10.0),
    consolidate_after=st.sampled_from([120.0, 120.0, 0.0]),
    warm=st.integers(0, 3),
)
DEMANDS = st.builds(
    Demand,
    waiting=st.sampled_from([0, 0, 0, 1, 5, 60]),
    peak=st.sampled_from([0, 0, 10, 60, None]),
)
HELD = st.sampled_from([Launches.BACK_OFF, Launches.REFUSED, Launches.UNCOUNTED])
"""While which nothing is launched."""

ADDS = (Launch, FillPool, Adopt)
"""Steps that are of no server that is there."""

MOVES = {
    (State.LAUNCHING, MarkReady),
    (State.LAUNCHING, Park),
    (State.LAUNCHING, Resume),
    (State.LAUNCHING, Drain),
    (State.LAUNCHING, End),
    (State.WARM, Stop),
    (State.WARM, Resume),
    (State.WARM, End),
    (State.READY, Lose),
    (State.READY, Drain),
    (State.DRAINING, Keep),
    (State.DRAINING, Lose),
    (State.DRAINING, End),
    (State.LOST, End),
}


def stands_by(server):
    """Whether it takes no machine that runs."""
    return server.state is State.WARM and server.machine is Machine.STOPPED


def may_run(fleet):
    """How many machines run, or may, as far as is known."""
    servers = sum(not stands_by(server) for server in fleet.servers.values())
    return servers + sum(orphan.runs for orphan in fleet.orphans)


def of_servers(steps):
    """The servers that `steps` are about, each with its step."""
    about = [step for step in steps if not isinstance(step, (*ADDS, EndOrphan))]
    return [(id, step) for step in about for id in getattr(step, "ids", None) or (step.id,)]


class AnythingTests(SynchronousTestCase):
    @given(FLEETS, DEMANDS, POLICIES)
    def test_the_maximum(self, fleet, demand, policy):
        """All steps together do not take more machines than may run, so no part of them does."""
        steps = plan(fleet, demand, policy).steps
        for step in of(steps, *ADDS):
            self.assertGreater(step.count, 0)
        started = [s for s in of(steps, Resume) if stands_by(fleet.servers[s.id])]
        added = len(started) + sum(step.count for step in of(steps, Launch, FillPool))
        runs = may_run(fleet)
        self.assertLessEqual(runs + added, max(policy.maximum, runs))

    @given(
        FLEETS,
        st.sampled_from([Launches.BACK_OFF, Launches.REFUSED, Launches.UNCOUNTED]),
        DEMANDS,
        POLICIES,
    )
    def test_launches_that_do_not_work(self, fleet, launches, demand, policy):
        """Nothing is asked for of which it is known that it would fail, or not what it adds to."""
        fleet = replace(fleet, launches=launches)
        steps = plan(fleet, demand, policy).steps
        self.assertFalse(of(steps, Launch, FillPool))
        if launches is Launches.UNCOUNTED:
            self.assertFalse(of(steps, Adopt))
        if launches is not Launches.BACK_OFF:
            # Only what runs already serves.
            for step in of(steps, Resume):
                self.assertIs(fleet.servers[step.id].state, State.LAUNCHING)

    @given(FLEETS, DEMANDS, POLICIES)
    def test_moves(self, fleet, demand, policy):
        """Each server gets one step at most, and only along the life of a server; and there is one
        step of each kind at most that is of none."""
        steps = plan(fleet, demand, policy).steps
        moved = [id for id, _ in of_servers(steps)]
        self.assertEqual(len(moved), len(set(moved)))
        for id, step in of_servers(steps):
            self.assertIn((fleet.servers[id].state, type(step)), MOVES)
        for kind in ADDS:
            self.assertLessEqual(len(of(steps, kind)), 1)

    @given(FLEETS, DEMANDS, POLICIES)
    def test_what_something_ends_for(self, fleet, demand, policy):
        """A launch ends as it has failed, and what stands by for a cause."""
        for step in of(plan(fleet, demand, policy).steps, End):
            state = fleet.servers[step.id].state
            if state is State.LAUNCHING:
                self.assertIn(step.cause, (LossCause.FAILED, LossCause.LATE))
            self.assertFalse(state is State.WARM and step.cause is None)

    @given(FLEETS, DEMANDS, POLICIES)
    def test_orphans(self, fleet, demand, policy):
        steps = plan(fleet, demand, policy).steps
        certain = [orphan.id for orphan in fleet.orphans if orphan.is_certain]
        self.assertEqual([step.id for step in of(steps, EndOrphan)], certain)

    @given(FLEETS, DEMANDS, POLICIES)
    def test_what_gives_places_comes_first_and_ends_last(self, fleet, demand, policy):
        effects = [step.effect for step in plan(fleet, demand, policy).steps]
        self.assertEqual(effects, sorted(effects))

    @given(FLEETS, DEMANDS, POLICIES)
    def test_who_serves_is_not_too_old(self, fleet, demand, policy):
        """One that reports and beats is ended for no age; and nobody is placed where its provider
        takes the places away, where nobody knows, or where somebody else is to stand by."""
        steps = plan(fleet, demand, policy).steps
        for step in of(steps, End):
            if step.cause is LossCause.LATE:
                self.assertIs(fleet.servers[step.id].health, Health.UNHEARD)
        for id in (id for step in of(steps, MarkReady) for id in step.ids):
            server = fleet.servers[id]
            self.assertIs(server.health, Health.BEATING)
            self.assertFalse(server.pooled)
            self.assertFalse(server.causes & {DrainCause.OPERATOR, DrainCause.WARNED})

    @given(FLEETS, DEMANDS, POLICIES)
    def test_what_can_wait(self, fleet, demand, policy):
        """One server is given up at a time whose people need not move, beside nothing else, with
        room for all on those that stay."""
        steps = plan(fleet, demand, policy).steps
        can_wait = (DrainCause.CONSOLIDATION, DrainCause.REPLACEMENT)
        begun = [step for step in of(steps, Drain) if step.cause in can_wait]
        self.assertLessEqual(len(begun), 1)
        for step in begun:
            self.assertFalse(demand.waiting or fleet.trouble)
            server = fleet.servers[step.id]
            serving = [s for s in fleet.servers.values() if not s.is_pooled and s is not server]
            ids = {s.id for s in serving}
            busy = [s for id, s in of_servers(steps) if id in ids and not isinstance(s, End)]
            self.assertFalse(busy or of(steps, Launch, Resume, Adopt))
            self.assertFalse([s for s in serving if s.state in (State.LAUNCHING, State.LOST)])
            self.assertFalse([s for s in serving if s.state is State.DRAINING and s.taken])
            self.assertIsNot(server.owner, Owner.OPERATOR)
            stay = [s for s in serving if s.state is State.READY]
            room = sum(max(0, s.capacity - s.taken) for s in stay)
            self.assertGreaterEqual(room, server.taken + policy.spare)
            if step.cause is DrainCause.CONSOLIDATION:
                self.assertTrue(policy.consolidate_after)
                self.assertGreaterEqual(len(stay), policy.minimum)

    @given(FLEETS, DEMANDS, POLICIES, st.randoms(use_true_random=False))
    def test_order_of_servers(self, fleet, demand, policy, random):
        """In whatever order servers are seen, the same is done."""
        steps = plan(fleet, demand, policy).steps
        shuffled = list(fleet.servers.items())
        random.shuffle(shuffled)
        other = replace(fleet, servers=dict(shuffled))
        self.assertEqual(set(steps), set(plan(other, demand, policy).steps))

    @given(FLEETS, DEMANDS, POLICIES)
    def test_nobody_is_ended_under_people(self, fleet, demand, policy):
        """Only a server that serves nobody is ended: empty, lost, or not ready yet."""
        for step in of(plan(fleet, demand, policy).steps, End):
            if fleet.servers[step.id].state is State.DRAINING:
                self.assertEqual(fleet.servers[step.id].taken, 0)

    @given(FLEETS, DEMANDS, POLICIES)
    def test_nobody_waits_for_what_is_to_be_replaced(self, fleet, demand, policy):
        """What holds a replacement up is said only where one is asked for, and none begins then."""
        planned = plan(fleet, demand, policy)
        if planned.blocker:
            self.assertTrue(fleet.is_replacing)
            drains = of(planned.steps, Drain)
            self.assertFalse([s for s in drains if s.cause is DrainCause.REPLACEMENT])
