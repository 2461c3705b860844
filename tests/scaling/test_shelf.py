"""The shelf's plan: one step at a time, and over time with people who come and go."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bbs.scaling.plan import Demand, Drain, End, Launch, Lose, MarkReady, Seen
from bbs.scaling.shelf import Fill, Shelve, Stop, Wake, with_shelf
from bbs.values import State
from tests.scaling.test_plan_sequences import (
    EVENTS,
    INDEX,
    POLICIES,
    POLICY,
    Server,
    Simulation,
    assert_rests,
    happens,
    let_rest,
)

WARM_POLICY = replace(POLICY, maximum=4, warm=2)

CALM = Demand(waiting=0, failures=0, since_failure=1000.0, strays=0, refused=False)


def warm(id, **others):
    """One that stands by."""
    return Seen(
        **{
            "id": id,
            "state": State.WARM,
            "taken": 0,
            "capacity": 10,
            "reported": False,
            "age": 60.0,
            "silence": 60.0,
            "idle": 60.0,
            "leaving": True,
            "drain_asked": False,
            "alive": False,
            "stopped": True,
            "shelved": True,
            **others,
        }
    )


def booting(id, **others):
    """One that boots for the shelf."""
    there = {
        "state": State.LAUNCHING,
        "alive": True,
        "stopped": False,
        "leaving": False,
        "age": 2.0,
    }
    return warm(id, **{**there, "age": 2.0, "silence": 0.0, **others})


def serving(id, taken=1):
    """One that serves, and nothing is the matter."""
    return warm(
        id,
        state=State.READY,
        taken=taken,
        reported=True,
        silence=0.0,
        idle=0.0,
        leaving=False,
        alive=True,
        stopped=False,
        shelved=False,
    )


class StepTests(SynchronousTestCase):
    def steps(self, *servers, policy=WARM_POLICY, **demand):
        return with_shelf(servers, replace(CALM, **demand), policy)

    def test_an_empty_shelf_is_filled(self):
        self.assertEqual(self.steps(), (Fill(2),))
        self.assertEqual(self.steps(warm("a")), (Fill(1),))
        self.assertEqual(self.steps(warm("a"), booting("b")), ())
        self.assertEqual(self.steps(policy=POLICY), ())

    def test_not_while_anybody_waits_or_something_comes_before(self):
        ready = [serving(id, 10) for id in "abcd"]
        self.assertEqual(self.steps(*ready, waiting=1), ())
        self.assertEqual(self.steps(waiting=1), (Launch(1),))
        launching = booting("a", shelved=False)
        self.assertEqual(self.steps(launching), ())
        self.assertEqual(self.steps(failures=3, since_failure=1.0), ())
        self.assertEqual(self.steps(refused=True), ())

    def test_as_far_as_there_is_room(self):
        self.assertEqual(self.steps(*(serving(id) for id in "abc")), (Fill(1),))
        self.assertEqual(self.steps(*(serving(id) for id in "abcd")), ())
        self.assertEqual(self.steps(*(serving(id) for id in "abc"), strays=1), ())

    def test_what_has_booted_is_stopped(self):
        self.assertEqual(self.steps(warm("a"), booting("b", reported=True)), (Shelve("b"),))
        nowhere = booting("b", reported=True, addressed=False)
        self.assertEqual(self.steps(warm("a"), nowhere), (Shelve("b"),))
        running = warm("b", alive=True, stopped=False, age=1.0)
        self.assertEqual(self.steps(warm("a"), running), (Stop("b"),))

    def test_warm_ones_are_started_before_others_are_launched(self):
        self.assertEqual(self.steps(warm("a"), warm("b", age=90.0), waiting=1), (Wake("b"),))
        self.assertEqual(
            self.steps(warm("a"), warm("b", age=90.0), waiting=25),
            (Wake("b"), Wake("a"), Launch(1)),
        )

    def test_then_those_that_boot_for_the_shelf(self):
        shelf = warm("a"), booting("b"), booting("c", reported=True)
        policy = replace(WARM_POLICY, warm=3)
        self.assertEqual(self.steps(*shelf, waiting=15, policy=policy), (Wake("a"), Wake("c")))
        self.assertEqual(
            self.steps(*shelf, waiting=35, policy=policy),
            (Wake("a"), Wake("c"), Wake("b"), Launch(1)),
        )

    def test_never_more_than_the_maximum(self):
        ready = [serving(id, 10) for id in "abc"]
        shelf = warm("d"), warm("e")
        self.assertEqual(self.steps(*ready, *shelf, waiting=15), (Wake("d"),))
        stopping = warm("d", alive=True, stopped=False, age=1.0)
        self.assertEqual(self.steps(*ready, stopping, waiting=15), (Stop("d"),))
        # One that boots already needs no room.
        self.assertEqual(self.steps(*ready, booting("d"), warm("e"), waiting=1), (Wake("d"),))

    def test_that_launches_fail_says_nothing_of_those_that_stand_by(self):
        held = {"failures": 5, "since_failure": 1.0, "waiting": 15}
        self.assertEqual(self.steps(warm("a"), **held), (Wake("a"),))
        self.assertEqual(self.steps(warm("a"), waiting=15, refused=True), ())

    def test_what_is_no_use_is_ended(self):
        for server, reason in (
            (warm("b", stopped=False), "ended"),
            (warm("b", stopped=False, detail="terminated"), "ended: terminated"),
            (warm("b", outdated=True), "of another version"),
            (warm("b", drain_asked=True), "asked for"),
            (warm("b", warned="retired"), "retired"),
            (warm("b", alive=True, stopped=False), "runs on the shelf"),
        ):
            steps = self.steps(warm("a"), server, waiting=0)
            self.assertIn(End("b", reason), steps)
            self.assertNotIn(Wake("b"), self.steps(server, waiting=5))
        late = booting("b", age=21.0)
        self.assertIn(End("b", "failed: not ready in 20 s", late=True), self.steps(warm("a"), late))
        self.assertEqual(self.steps(warm("a"), warm("b", alive=None, stopped=False)), ())

    def test_what_is_too_many_is_ended(self):
        policy = replace(WARM_POLICY, warm=1)
        shelf = warm("a"), warm("b", age=90.0), warm("c", age=70.0)
        self.assertEqual(
            self.steps(*shelf, policy=policy),
            (End("c", "beyond fleet.warm"), End("a", "beyond fleet.warm")),
        )
        self.assertEqual(self.steps(*shelf, policy=policy, waiting=1), (Wake("b"),))
        self.assertEqual(
            self.steps(warm("a"), booting("b"), policy=POLICY),
            (End("a", "beyond fleet.warm"),),
        )

    def test_nobody_is_counted_on_who_stands_by(self):
        steps = self.steps(warm("a"), warm("b"), policy=replace(WARM_POLICY, minimum=1))
        self.assertEqual(steps, (Wake("a"),))


@dataclass
class Machine(Server):
    """A simulated server whose machine can be stopped."""

    stopped: bool = False
    shelved: bool = False
    outdated: bool = False

    @property
    def reported(self):
        return self.state is not State.WARM and super().reported

    def seen(self):
        # What stands by was stopped by the provider, which knows of it.
        is_known = self.known_to_provider or self.state is State.WARM
        known = self.runs and not self.stopped if is_known else None
        return replace(
            Server.seen(self),
            alive=None if self.stopped and self.state is not State.WARM else known,
            stopped=self.stopped and self.runs,
            shelved=self.shelved,
            outdated=self.outdated,
        )


@dataclass
class Shelving(Simulation):
    """A fleet with a shelf. `stops` and `starts`: whether machines do as they are told."""

    stops: bool = True
    starts: bool = True

    def running(self):
        machines: Any = self.alive()
        return [s for s in machines if not (s.state is State.WARM and s.stopped)]

    def standing(self):
        return [s for s in self.alive() if s not in self.running()]

    plan: ClassVar[Any] = staticmethod(with_shelf)

    def demand(self):
        """Nobody is given up only so that there are fewer."""
        return replace(super().demand(), peak=None)

    def launched(self, shelved=False):
        server = Machine(f"s{next(self.numbers)}", self.policy.capacity, self.boots)
        server.addressed, server.shelved = self.addressed, shelved
        self.servers[server.id] = server

    def stop(self, server):
        server.stopped = server.stopped or self.stops

    def act(self, step):
        match step:
            case Launch(count) | Fill(count):
                for _ in range(count):
                    self.launched(isinstance(step, Fill))
                self.launches += count
            case Shelve(id):
                server: Any = self.servers[id]
                assert server.shelved, "stopped, and somebody waits for it"
                server.state, server.age = State.WARM, 0.0
                self.failures = 0
                self.stop(server)
            case Stop(id):
                self.stop(self.servers[id])
            case Wake(id):
                woken: Any = self.servers[id]
                woken.shelved = False
                if woken.state is State.WARM and not self.starts:
                    woken.state, woken.runs, woken.stopped = State.LOST, False, False
                elif woken.state is State.WARM:
                    woken.state, woken.age, woken.stopped = State.LAUNCHING, 0.0, False
                    woken.leaving = woken.hangs = False
            case Lose() | Drain() | End() | MarkReady():
                Simulation.act(self, step)

    def check_always(self):
        assert len(self.running()) <= self.policy.maximum, "more than the maximum"
        for server in self.servers.values():
            assert server.people <= server.capacity, "over capacity"
            assert not (server.people and server.state is State.WARM), "people on the shelf"

    def spoil(self, index, how):
        server = self.one(index)
        if how[0] == "stopped":
            # Such as serve do not stop by themselves here; and somebody else who starts a machine
            # beyond the maximum is nobody that the keeper could have kept from it.
            room = len(self.running()) < self.policy.maximum
            if server is None or server.state is not State.WARM or not room:
                return
        Simulation.spoil(self, index, how)


SHELF_POLICIES = st.builds(
    lambda policy, warm: replace(policy, warm=warm), POLICIES, st.integers(0, 3)
)
SHELF_EVENTS = st.one_of(
    EVENTS,
    EVENTS,
    st.tuples(st.just("spoil"), INDEX, st.sampled_from([("outdated", True), ("stopped", False)])),
    st.tuples(st.just("stops"), st.booleans()),
    st.tuples(st.just("starts"), st.booleans()),
)
SEQUENCES = st.lists(SHELF_EVENTS, min_size=15, max_size=60)


def comes_about(simulation, event):
    """Let one thing happen, and the keeper make a round."""
    match event:
        case ("stops" | "starts", value):
            setattr(simulation, event[0], value)
            return simulation.round()
    return happens(simulation, event)


class ShelfSequenceTests(SynchronousTestCase):
    @given(SHELF_POLICIES, SEQUENCES)
    def test_comes_to_rest(self, policy, events):
        """Everybody who can has a place, the shelf is full as far as there was room, and no more
        steps are planned."""
        simulation = Shelving(policy)
        for event in events:
            comes_about(simulation, event)
        simulation.stops = simulation.starts = True
        let_rest(simulation)
        let_rest(simulation)
        assert_rests(self, simulation, 60)
        full = len(simulation.running()) == policy.maximum
        self.assertTrue(simulation.waiting == 0 or full)
        self.assertTrue(simulation.free() >= policy.spare or full)
        standing = simulation.standing()
        self.assertTrue(len(standing) == policy.warm or (full and len(standing) < policy.warm))
        self.assertFalse([s for s in standing if s.outdated or s.drain_asked or s.warned])

    @given(SHELF_POLICIES, SEQUENCES)
    def test_nothing_is_launched_while_something_stands_by(self, policy, events):
        """But for more than that has places for, or where there is no room for it."""
        simulation = Shelving(policy)
        for event in events:
            _, servers, steps = comes_about(simulation, event)
            launches = [step for step in steps if isinstance(step, Launch)]
            fills = [step for step in steps if isinstance(step, Fill)]
            woken = {step.id for step in steps if isinstance(step, Wake)}
            ended = {step.id for step in steps if isinstance(step, End)}
            able = {s.id for s in servers if s.state is State.WARM and s.stopped} - ended
            if launches:
                self.assertLessEqual(able, woken)
            self.assertFalse(fills and (launches or woken))

    @given(SHELF_POLICIES, SEQUENCES)
    def test_without_a_shelf_it_is_the_plan(self, policy, events):
        """One that is empty, and is to be, changes nothing."""
        simulation, other = Shelving(replace(policy, warm=0)), Simulation(replace(policy, warm=0))
        for event in events:
            if event[0] in ("stops", "starts") or event[-1] in (
                ("outdated", True),
                ("stopped", False),
            ):
                continue
            self.assertEqual(comes_about(simulation, event)[2], happens(other, event)[2])
