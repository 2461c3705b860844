"""What comes of plans over time, on a simulated fleet: whatever happened, the fleet has to come to
rest when nothing happens any more, with everybody placed."""

import itertools
from dataclasses import replace

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.values import DrainCause, Policy, State
from bbs.scaling.fleet_view import Launches, Machine
from bbs.scaling.planner import (
    Drain,
    End,
    FillPool,
    Keep,
    Launch,
    Lose,
    MarkReady,
    Park,
    Resume,
    Stop,
)
from tests.scaling.planner_simulation import (
    BOOT,
    EVENTS,
    POLICIES,
    POOL_EVENTS,
    POOL_POLICIES,
    REPLACING_EVENTS,
    Simulation,
    assert_rests,
    happens,
    let_replace,
    let_rest,
    sequences,
)
from tests.scaling.planner_tools import of

QUICK = [Phase.explicit, Phase.reuse, Phase.generate]

POLICY = Policy(
    minimum=0,
    maximum=20,
    spare=0,
    capacity=10,
    idle_grace=30.0,
    launch_timeout=20.0,
    lost_after=4.0,
)


class SequenceTests(SynchronousTestCase):
    @given(POLICIES, sequences(EVENTS))
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

    @given(POLICIES, sequences(EVENTS))
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

    @given(POLICIES, sequences(EVENTS))
    def test_never_launches_for_those_whom_it_moves(self, policy, events):
        """People of a server that is given up never make a launch: it is kept before."""
        simulation = Simulation(policy)
        for event in events:
            fleet, demand, planned = happens(simulation, event)
            if not of(planned.steps, Launch):
                continue
            kept = {step.id for step in of(planned.steps, Keep)}
            ended = {step.id for step in of(planned.steps, Lose, End)}
            servers = fleet.servers.values()
            given_up = [s for s in servers if s.could_stay and s.taken]
            ready = sum(s.state in (State.READY, State.LAUNCHING) for s in servers)
            minimum = ready - len(ended) < policy.minimum
            left = [s for s in given_up if s.id not in kept | ended]
            self.assertTrue(minimum or not left, (fleet, demand, planned))

    @given(POLICIES, sequences(EVENTS))
    def test_never_drains_what_is_needed(self, policy, events):
        """What is left of the ready without the idle has places for all, spare ones, and number."""
        simulation = Simulation(policy)
        for event in events:
            fleet, demand, planned = happens(simulation, event)
            drains = of(planned.steps, Drain)
            idle = {step.id for step in drains if step.cause is DrainCause.IDLE}
            if not idle:
                continue
            servers = fleet.servers.values()
            moved = {s.id for s in planned.steps if not isinstance(s, Launch | MarkReady)}
            left = [s for s in servers if s.state is State.READY and s.id not in moved]
            people = demand.waiting + sum(
                s.taken for s in servers if s.state in (State.LOST, State.DRAINING)
            )
            self.assertGreaterEqual(sum(s.capacity - s.taken for s in left), people + policy.spare)
            self.assertGreaterEqual(len(left), policy.minimum)
            for id in idle:
                self.assertEqual(fleet.servers[id].taken, 0)
                self.assertGreaterEqual(fleet.servers[id].idle, policy.idle_grace)

    @given(POLICIES, sequences(EVENTS))
    def test_launches_what_is_needed_and_no_more(self, policy, events):
        """One server fewer would leave somebody without a place, or the fleet below its need."""
        simulation = Simulation(policy)
        for event in events:
            fleet, demand, planned = happens(simulation, event)
            servers = fleet.servers.values()
            moved = {s.id for s in planned.steps if not isinstance(s, Launch | MarkReady)}
            stay = [
                s
                for s in servers
                if s.state in (State.LAUNCHING, State.READY) and s.id not in moved
            ]
            free = sum(s.capacity - s.taken for s in stay)
            people = demand.waiting + sum(s.taken for s in servers if s not in stay)
            count = sum(step.count for step in of(planned.steps, Launch))
            missing = people + policy.spare - free
            wanted = max(0, -(-missing // policy.capacity), policy.minimum - len(stay))
            ended = {step.id for step in of(planned.steps, End)}
            failing = any(s.state is State.LAUNCHING and s.id in ended for s in servers)
            if failing or fleet.launches is Launches.BACK_OFF:
                self.assertEqual(count, 0)
            else:
                room = max(0, policy.maximum - len(servers))
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
        steps = [step for planned in simulation.history for step in planned.steps]
        self.assertFalse(of(steps, Drain, Lose, End))
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
            server.warned = True
        for _ in range(int(BOOT) + 2):
            simulation.round()
            simulation.pass_time(1.0)
        self.assertEqual(simulation.launches, 15)
        self.assertEqual(sum(server.people for server in simulation.ready()), 100)
        self.assertEqual(simulation.waiting, 0)

    def test_failing_boots_back_off(self):
        """Launches that always fail come ever more rarely, and one a minute in the end."""
        simulation = Simulation(replace(POLICY, minimum=1, maximum=5), boots=False)
        moments = []
        for second in range(600):
            simulation.pass_time(1.0)
            _, _, planned = simulation.round()
            if of(planned.steps, Launch):
                moments.append(second)
        waits = [later - earlier for earlier, later in itertools.pairwise(moments)]
        # A boot fails after more than 20 s, then the back-off passes.
        self.assertEqual(waits, [22, 23, 25, 29, 37, 53, 81, 81, 81, 81, 81])
        let_rest(simulation)
        self.assertEqual(len(simulation.ready()), 1)
        self.assertEqual(simulation.failures, 0)

    def test_hundred_at_once(self):
        """A hundred people who wait make ten launches, and no more while those boot."""
        simulation = Simulation(POLICY)
        simulation.arrive(100)
        for _ in range(20):
            simulation.round()
            simulation.pass_time(1.0)
        self.assertEqual(simulation.launches, 10)
        self.assertEqual(simulation.waiting, 0)
        simulation.depart(100)
        let_rest(simulation)
        self.assertEqual(simulation.alive(), [])


class PoolSequenceTests(SynchronousTestCase):
    @given(POOL_POLICIES, sequences(POOL_EVENTS))
    def test_comes_to_rest(self, policy, events):
        """Everybody who can has a place, the pool is full as far as there was room, and no more
        steps are planned."""
        simulation = Simulation(policy)
        for event in events:
            happens(simulation, event)
        let_rest(simulation)
        let_rest(simulation)
        assert_rests(self, simulation, 60)
        full = len(simulation.running()) == policy.maximum
        self.assertTrue(simulation.waiting == 0 or full)
        self.assertTrue(simulation.free() >= policy.spare or full)
        standing = simulation.standing()
        self.assertTrue(len(standing) == policy.warm or (full and len(standing) < policy.warm))
        self.assertFalse([s for s in standing if s.outdated or s.drain_asked or s.warned])

    @given(POOL_POLICIES, sequences(POOL_EVENTS))
    def test_nothing_is_launched_while_something_stands_by(self, policy, events):
        """But for more than that has places for, or where there is no room for it."""
        simulation = Simulation(policy)
        for event in events:
            fleet, _, planned = happens(simulation, event)
            resumed = {step.id for step in of(planned.steps, Resume)}
            ended = {step.id for step in of(planned.steps, End)}
            standing = {
                s.id
                for s in fleet.servers.values()
                if s.state is State.WARM and s.machine is Machine.STOPPED
            }
            launches = of(planned.steps, Launch)
            if launches:
                self.assertLessEqual(standing - ended, resumed)
            self.assertFalse(of(planned.steps, FillPool) and (launches or resumed))

    @given(POLICIES, sequences(EVENTS))
    def test_without_a_pool_none_stands_by(self, policy, events):
        """One that is empty, and is to be, takes no steps."""
        simulation = Simulation(policy)
        for event in events:
            _, _, planned = happens(simulation, event)
            self.assertFalse(of(planned.steps, FillPool, Park, Stop, Resume))


class ReplacingSequenceTests(SynchronousTestCase):
    @given(POOL_POLICIES, sequences(REPLACING_EVENTS))
    @settings(phases=QUICK)
    def test_all_are_replaced_and_the_fleet_is_no_larger_than_it_has_to_be(self, policy, events):
        simulation = Simulation(policy)
        for event in events:
            happens(simulation, event)
        let_replace(simulation)
        full = len(simulation.running()) == policy.maximum
        self.assertTrue(full or not simulation.marked(), simulation.marked())
        self.assertTrue(simulation.waiting == 0 or full)
        self.assertTrue(simulation.free() >= policy.spare or full)
        if simulation.marked():
            return
        assert_rests(self, simulation, 60)
        ready = simulation.ready()
        for server in ready:
            needed = simulation.free() - server.capacity < policy.spare
            self.assertTrue(server.people or needed or len(ready) <= policy.minimum)

    @given(
        POOL_POLICIES,
        st.integers(0, 15),
        st.lists(st.tuples(st.integers(1, 40), st.integers(0, 2)), max_size=8),
    )
    @settings(phases=QUICK)
    def test_it_grows_by_one_and_everybody_moves_once(self, policy, people, deaths):
        """Where nobody comes or goes, nothing fails and there is room; whenever the controller
        dies."""
        policy = replace(policy, consolidate_after=0.0, warm=0, idle_grace=30.0, maximum=50)
        simulation = Simulation(policy)
        simulation.arrive(people)
        let_rest(simulation)
        before, launched = simulation.alive(), simulation.launches
        simulation.mark(99)
        simulation.moved, simulation.most = 0, 0
        moments, rounds = dict(deaths), itertools.count()

        def next_round():
            simulation.next_round(moments.get(next(rounds)))
            self.assertEqual(sum(s.people for s in simulation.alive()), people)

        end = simulation.now + 40 * (len(before) + 2) + 10 * people
        while simulation.marked() and simulation.now < end:
            next_round()
        self.assertFalse(simulation.marked())
        # Then those end that are too many.
        end = simulation.now + 3 * policy.idle_grace
        while simulation.now < end:
            next_round()
        self.assertLessEqual(simulation.most, len(before) + 1)
        self.assertLessEqual(len(simulation.alive()), max(len(before), policy.minimum))
        self.assertLessEqual(simulation.launches - launched, len(before))
        self.assertEqual(simulation.moved, people)

    def test_an_image_with_the_old_version_is_no_loop(self):
        """Who asks for servers of other versions marks those there are, and no new ones."""
        simulation = Simulation(replace(POLICY, minimum=3))
        let_rest(simulation)
        simulation.mark(3)
        let_replace(simulation)
        self.assertEqual((simulation.launches, len(simulation.alive())), (6, 3))

    def test_a_version_that_does_not_boot_takes_nobodys_place(self):
        simulation = Simulation(POLICY)
        simulation.arrive(20)
        let_rest(simulation)
        before = simulation.launches
        simulation.boots = False
        simulation.mark(2)
        for _ in range(1800):
            simulation.pass_time(1.0)
            simulation.round()
        # One more each time that the one before is forgotten.
        self.assertLessEqual(simulation.launches - before, 3)
        self.assertEqual((len(simulation.ready()), simulation.moved), (2, 0))
