"""What the plan does about servers that are to be replaced: one step at a time, and over time with
people who come and go, launches that fail and keepers that die."""

import itertools
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bbs.rules.replacing import FULL
from bbs.rules.servers import REPLACED
from bbs.scaling.plan import HELD_AFTER_FAILURE, Drain, End, Keep, Launch
from bbs.scaling.replacing import Wait, with_replacements
from bbs.scaling.shelf import Fill, Wake
from bbs.values import State
from tests.scaling.test_plan_sequences import (
    POLICY,
    Simulation,
    assert_rests,
    let_rest,
)
from tests.scaling.test_shelf import (
    CALM,
    SHELF_EVENTS,
    SHELF_POLICIES,
    Machine,
    Shelving,
    booting,
    comes_about,
    serving,
    warm,
)

QUICK = [Phase.explicit, Phase.reuse, Phase.generate]

SPARE_POLICY = replace(POLICY, maximum=4, spare=5)


def old(id, taken=10, **others):
    """One that is to be replaced."""
    return replace(serving(id, taken), replace_asked=True, version="0.2.0", **others)


def over(id, count):
    """It drains, with so many people."""
    people = "1 person goes" if count == 1 else f"{count} people go"
    return Drain(id, f"{REPLACED}{people} over")


class StepTests(SynchronousTestCase):
    def steps(self, *servers, policy=SPARE_POLICY, **demand):
        return with_replacements(servers, replace(CALM, **demand), policy)

    def test_another_is_launched_first(self):
        self.assertEqual(self.steps(old("a"), serving("b", 5)), (Launch(1),))

    def test_then_its_people_go_over(self):
        fleet = old("a"), serving("b", 5), serving("c", 0)
        self.assertEqual(self.steps(*fleet), (over("a", 10),))

    def test_where_others_have_room_none_is_launched(self):
        self.assertEqual(self.steps(old("a", 2), serving("b", 3)), (over("a", 2),))
        self.assertEqual(self.steps(old("a", 1), serving("b", 4)), (over("a", 1),))
        self.assertEqual(self.steps(old("a", 1), serving("b", 5)), (Launch(1),))

    def test_not_onto_others_that_are_to_be_replaced(self):
        self.assertEqual(self.steps(old("a", 2), old("b", 3)), (Launch(1),))

    def test_spare_places_may_be_on_those(self):
        fleet = old("a", 10), old("b", 5), serving("c", 0)
        self.assertEqual(self.steps(*fleet), (over("a", 10),))

    def test_the_minimum_stays(self):
        policy = replace(SPARE_POLICY, spare=0, minimum=2)
        self.assertEqual(self.steps(old("a", 1), old("b", 1), policy=policy), (Launch(1),))
        fleet = old("a", 1), old("b", 1), serving("c", 0)
        self.assertEqual(self.steps(*fleet, policy=policy), (over("a", 1),))

    def test_several_are_launched_for_one_that_is_larger(self):
        large = old("a", 20, capacity=25)
        policy = replace(SPARE_POLICY, maximum=9)
        self.assertEqual(self.steps(large, serving("b", 5), policy=policy), (Launch(2),))
        fleet = large, serving("b", 5), serving("c", 0)
        self.assertEqual(self.steps(*fleet, policy=policy), (Launch(1),))
        self.assertEqual(self.steps(*fleet), (Launch(1),))
        self.assertEqual(self.steps(large, serving("b", 5), serving("c", 5)), (Wait(FULL),))

    def test_older_versions_first_and_then_older_servers(self):
        versions = ("0.10.0", 90.0), ("0.9.0", 10.0), ("", 5.0), ("", 20.0), ("0.9.0", 20.0)
        fleet = {
            str(number): replace(old(str(number), 1), version=version, age=age)
            for number, (version, age) in enumerate(versions)
        }
        order = []
        while fleet:
            (step,) = self.steps(*fleet.values(), serving("new", 0))
            order.append(step.id)
            del fleet[step.id]
        self.assertEqual(order, ["3", "2", "4", "1", "0"])

    def test_one_after_the_other(self):
        """And not beside anything else."""
        fleet = old("a", 2), serving("b", 3)
        for other in (
            booting("c", shelved=False),
            booting("c"),
            replace(serving("c", 1), state=State.DRAINING),
            replace(old("c", 1), state=State.DRAINING, replacing=True),
            replace(serving("c", 0), state=State.LOST),
        ):
            steps = self.steps(*fleet, other)
            self.assertFalse([s for s in steps if isinstance(s, Launch | Drain)], other)

    def test_what_was_replaced_has_to_end_first(self):
        """And what ends for another reason has not."""
        fleet = old("a", 2), serving("b", 3)
        empty = replace(old("c", 0), state=State.DRAINING)
        self.assertEqual(
            self.steps(*fleet, replace(empty, replacing=True)), (End("c", "replaced"),)
        )
        self.assertEqual(self.steps(*fleet, empty), (over("a", 2), End("c", "drained")))

    def test_what_holds_it_up(self):
        fleet = old("a", 2), serving("b", 3)
        for demand, reason in (
            ({"trouble": "the provider is away"}, "the provider is away"),
            ({"waiting": 1}, "people wait for places"),
            ({"refused": True}, "nothing can be launched"),
            ({"failures": 1, "since_failure": 599.0}, "a launch has failed lately"),
        ):
            self.assertIn(Wait(reason), self.steps(*fleet, **demand))
        later = {"failures": 1, "since_failure": HELD_AFTER_FAILURE}
        self.assertEqual(self.steps(*fleet, **later), (over("a", 2),))

    def test_at_the_maximum_one_goes_whose_people_have_room(self):
        policy = replace(SPARE_POLICY, maximum=3)
        fleet = old("a", 8), old("b", 3, age=1.0), serving("c", 6)
        self.assertEqual(self.steps(*fleet, policy=replace(policy, spare=3)), (over("b", 3),))
        self.assertEqual(self.steps(*fleet, policy=policy), (Wait(FULL),))
        # Also below the minimum, which another is launched for.
        two = old("a", 0), old("b", 0)
        held = replace(policy, spare=5, minimum=2, maximum=2)
        self.assertEqual(self.steps(*two, policy=held), (over("a", 0),))

    def test_strays_count_to_the_maximum(self):
        fleet = old("a", 10), old("b", 9), serving("c", 5)
        self.assertEqual(self.steps(*fleet), (Launch(1),))
        self.assertEqual(self.steps(*fleet, strays=1), (Wait(FULL),))

    def test_what_an_operator_runs_stays(self):
        self.assertEqual(self.steps(old("a", 2, by_hand=True), serving("b", 3)), ())

    def test_fewer_servers_are_not_made_meanwhile(self):
        policy = replace(SPARE_POLICY, consolidate_after=10.0, spare=0)
        fleet = old("a", 12, capacity=12), serving("b", 8), serving("c", 2)
        self.assertEqual(self.steps(*fleet, peak=0, policy=policy), (Launch(1),))
        (step,) = self.steps(
            *(replace(s, replace_asked=False) for s in fleet), peak=0, policy=policy
        )
        self.assertEqual(step.id, "c")

    def test_the_new_ones_are_not_idle_meanwhile(self):
        idle = 1000.0
        fleet = old("a", 10), old("b", 0, idle=idle), replace(serving("c", 0), idle=idle)
        (step,) = self.steps(*fleet, trouble="the provider is away")[:1]
        self.assertEqual((step.id, step.reason[:4]), ("b", "idle"))
        fleet = (
            old("a", 10),
            replace(serving("b", 0), idle=idle),
            replace(serving("c", 0), idle=idle),
        )
        self.assertEqual(self.steps(*fleet, trouble="x"), (Wait("x"),))

    def test_one_that_drains_is_kept_for_people_and_not_for_spare_places(self):
        drains = replace(old("a", 5), state=State.DRAINING, replacing=True)
        self.assertEqual(self.steps(drains, serving("b", 5)), (Launch(1),))
        self.assertEqual(self.steps(drains, serving("b", 6)), (Keep("a"),))

    def test_what_stands_by_is_ended_while_nothing_else_is_the_matter(self):
        policy = replace(POLICY, maximum=4, warm=2)
        fleet = warm("a", replace_asked=True), warm("b")
        end = End("a", f"{REPLACED}it stood by")
        self.assertEqual(self.steps(*fleet, policy=policy), (Fill(1), end))
        self.assertEqual(self.steps(*fleet, policy=policy, trouble="x"), ())
        failed = {"failures": 1, "since_failure": 100.0}
        self.assertEqual(self.steps(*fleet, policy=policy, **failed), ())
        # Who waits has it, if there is no other.
        self.assertEqual(self.steps(*fleet, policy=policy, waiting=1), (Wake("b"),))
        self.assertEqual(self.steps(*fleet, policy=policy, waiting=11), (Wake("b"), Wake("a")))

    def test_what_stands_by_is_for_crowds(self):
        policy = replace(SPARE_POLICY, warm=1)
        self.assertEqual(
            self.steps(old("a"), serving("b", 5), warm("c"), policy=policy), (Launch(1),)
        )


@dataclass
class Marked(Machine):
    """A simulated server that can be marked."""

    replace_asked: bool = False
    replaced: bool = False

    def seen(self):
        drains = self.state is State.DRAINING and not (self.drain_asked or self.warned)
        return replace(
            Machine.seen(self),
            replace_asked=self.replace_asked,
            replacing=drains and self.replaced,
            consolidating=drains and self.consolidating and not self.replaced,
        )


@dataclass
class Replacing(Shelving):
    """A fleet of which servers are replaced. `most`: the most that ran at once."""

    trouble: str = ""
    most: int = 0

    plan: ClassVar[Any] = staticmethod(with_replacements)

    def demand(self):
        return replace(Simulation.demand(self), trouble=self.trouble)

    def launched(self, shelved=False):
        server = Marked(f"s{next(self.numbers)}", self.policy.capacity, self.boots)
        server.addressed, server.shelved = self.addressed, shelved
        self.servers[server.id] = server

    def mark(self, count):
        """Operators ask, of so many."""
        servers: Any = [s for s in self.alive() if s.state is not State.LOST]
        for server in servers[:count]:
            server.replace_asked = True

    def cancel(self):
        """They take it back."""
        servers: Any = self.servers.values()
        for server in servers:
            server.replace_asked = server.state is State.DRAINING and server.replace_asked

    def marked(self):
        servers: Any = self.alive()
        return [s for s in servers if s.replace_asked]

    def ready(self):
        """In an order in which those come last that are to be replaced."""
        return sorted(super().ready(), key=lambda s: s.replace_asked)

    def in_turn(self):
        return sorted(super().in_turn(), key=lambda s: s.replace_asked)

    def may_take_its_time(self, server):
        return server.consolidating or server.replaced

    def act(self, step):
        servers: Any = self.servers
        match step:
            case Wait():
                return
            case Keep(id):
                Simulation.act(self, step)
                servers[id].replaced = False
            case Drain(id, reason) if reason.startswith(REPLACED):
                self.check_drained(servers[id])
                servers[id].state = State.DRAINING
                servers[id].replaced = True
            case _:
                Shelving.act(self, step)
        self.most = max(self.most, len(self.running()))

    def check_drained(self, server):
        """Whoever is on it has a place, the spare places stay, and nothing else is going on."""
        others = [s for s in self.ready() if s is not server]
        free = sum(s.capacity - s.people for s in others)
        assert free >= server.people + self.policy.spare, "no room for its people"
        assert not (self.waiting or self.trouble), "something is the matter"
        busy = [s for s in self.alive() if s.state in (State.LAUNCHING, State.LOST)]
        assert not busy, "beside something else"
        drain = [s for s in self.alive() if s.state is State.DRAINING and s.people]
        assert not drain, "two at once"
        new = sum(s.capacity - s.people for s in others if not s.replace_asked)
        full = len(self.running()) >= self.policy.maximum
        many = self.policy.maximum - len(self.running()) < -(-server.people // self.policy.capacity)
        assert new >= server.people or full or many, "before another was ready"

    def rest(self):
        """Nothing happens any more, until long after all was settled."""
        self.stops = self.starts = True
        self.trouble = ""
        for _ in range(12):
            rounds = len(self.history)
            let_rest(self)
            at_rest = not self.marked() or len({*self.history[rounds:]}) == 1
            if at_rest and not self.failures:
                let_rest(self)
                break


EVENTS = st.one_of(
    SHELF_EVENTS,
    SHELF_EVENTS,
    st.tuples(st.just("mark"), st.integers(1, 8)),
    st.tuples(st.just("cancel")),
    st.tuples(st.just("trouble"), st.sampled_from(["", "the broker is away"])),
)
SEQUENCES = st.lists(EVENTS, min_size=15, max_size=60)


def happens(simulation, event):
    """Let one thing happen, and the keeper make a round."""
    match event:
        case ("trouble", value):
            simulation.trouble = value
            return simulation.round()
    return comes_about(simulation, event)


class ReplacingSequenceTests(SynchronousTestCase):
    @given(SHELF_POLICIES, SEQUENCES)
    @settings(phases=QUICK)
    def test_all_are_replaced_and_the_fleet_is_no_larger_than_it_has_to_be(self, policy, events):
        simulation = Replacing(policy)
        for event in events:
            happens(simulation, event)
        simulation.rest()
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
        SHELF_POLICIES,
        st.integers(0, 15),
        st.lists(st.tuples(st.integers(1, 40), st.integers(0, 2)), max_size=8),
    )
    @settings(phases=QUICK)
    def test_it_grows_by_one_and_everybody_moves_once(self, policy, people, deaths):
        """Where nobody comes or goes, nothing fails and there is room; whenever the keeper dies."""
        policy = replace(policy, consolidate_after=0.0, warm=0, idle_grace=30.0, maximum=50)
        simulation = Replacing(policy)
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
        simulation = Replacing(replace(POLICY, minimum=3))
        let_rest(simulation)
        simulation.mark(3)
        simulation.rest()
        self.assertEqual((simulation.launches, len(simulation.alive())), (6, 3))

    def test_a_version_that_does_not_boot_takes_nobodys_place(self):
        simulation = Replacing(POLICY)
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
