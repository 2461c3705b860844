"""What the plan decides, one condition at a time. Sequences are in `test_plan_sequences`."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bbs.scaling.plan import (
    Demand,
    Drain,
    End,
    Keep,
    Launch,
    Lose,
    MarkReady,
    Seen,
    back_off,
    plan,
)
from bbs.values import Policy, State

POLICY = Policy(
    minimum=0,
    maximum=20,
    spare=0,
    capacity=10,
    idle_grace=120.0,
    launch_timeout=180.0,
    lost_after=10.0,
)
QUIET = Demand(waiting=0, failures=0, since_failure=0.0, strays=0, refused=False)


def seen(id, state, taken=0, **others):
    """A server in good health."""
    values = {
        "capacity": 10,
        "reported": state is not State.LAUNCHING,
        "age": 20.0,
        "silence": 1.0,
        "idle": 0.0,
        "leaving": False,
        "drain_asked": False,
        "alive": True,
    }
    return Seen(id=id, state=state, taken=taken, **{**values, **others})


def launching(id="a", **others):
    return seen(id, State.LAUNCHING, **others)


def ready(id="a", taken=1, **others):
    return seen(id, State.READY, taken, **others)


def draining(id="a", taken=0, **others):
    return seen(id, State.DRAINING, taken, **others)


def lost(id="a", taken=0, **others):
    return seen(id, State.LOST, taken, **others)


def gone(id="a", **others):
    return seen(id, State.GONE, alive=False, **others)


class PlanTestCase(SynchronousTestCase):
    def planned(self, *servers, **others):
        """`others` are of the demand and of the policy."""
        names = {name for name in others if hasattr(QUIET, name)}
        demand = replace(QUIET, **{name: others.pop(name) for name in names})
        return plan(servers, demand, replace(POLICY, **others))

    def assert_plan(self, servers, *steps, **others):
        self.assertEqual(self.planned(*servers, **others), steps)


class LaunchTests(PlanTestCase):
    """How many are launched."""

    def test_nothing_wanted(self):
        self.assert_plan([])

    def test_hundred_waiting(self):
        """Ten servers of ten places, at once."""
        self.assert_plan([], Launch(10), waiting=100)

    def test_launches_on_their_way_are_places(self):
        fleet = [launching(str(n)) for n in range(10)]
        self.assert_plan(fleet, waiting=100)
        self.assert_plan(fleet, Launch(1), waiting=101)

    def test_free_places_count(self):
        self.assert_plan([ready(taken=7)], waiting=3)
        self.assert_plan([ready(taken=7)], Launch(1), waiting=4)

    def test_free_places_of_the_server_itself(self):
        """A server that has other capacity than the policy says so itself, once it is ready."""
        self.assert_plan([ready(taken=7, capacity=8)], Launch(1), waiting=2)
        self.assert_plan([launching(capacity=0)], waiting=10)

    def test_overfull_is_not_negative(self):
        """A server over a capacity that was lowered does not take places from others."""
        self.assert_plan([ready("a", taken=10, capacity=5), ready("b", taken=5)], waiting=5)

    def test_spare(self):
        self.assert_plan([ready(taken=5)], spare=5)
        self.assert_plan([ready(taken=6)], Launch(1), spare=5)
        self.assert_plan([ready(taken=6)], Launch(3), spare=25)

    def test_minimum(self):
        self.assert_plan([], Launch(2), minimum=2)
        self.assert_plan([launching()], Launch(1), minimum=2)

    def test_minimum_and_places_are_not_added(self):
        self.assert_plan([], Launch(2), minimum=2, waiting=11)
        self.assert_plan([], Launch(2), minimum=1, waiting=11)

    def test_maximum(self):
        self.assert_plan([], Launch(20), waiting=1000)
        self.assert_plan([ready(taken=10)], Launch(1), waiting=1000, maximum=2)
        self.assert_plan([ready(taken=10)], waiting=1000, maximum=1)

    def test_strays_count_to_the_maximum(self):
        """Instances that are nobody's run all the same."""
        self.assert_plan([ready(taken=10)], Launch(1), waiting=100, maximum=4, strays=2)
        self.assert_plan([ready(taken=10)], waiting=100, maximum=4, strays=3)
        self.assert_plan([ready(taken=10)], waiting=100, maximum=4, strays=9)

    def test_refused(self):
        """Nothing is launched, and the rest goes on."""
        self.assert_plan([ready(taken=10)], waiting=100, minimum=3, refused=True)
        self.assert_plan([launching(reported=True)], MarkReady("a"), waiting=99, refused=True)

    def test_maximum_lowered(self):
        self.assert_plan([ready("a", taken=10), ready("b", taken=10)], waiting=9, maximum=1)

    def test_all_that_run_count_to_the_maximum(self):
        """Whatever is not gone runs, also what ends in this round."""
        fleet = [launching("a"), ready("b", alive=False), draining("c"), lost("d")]
        steps = self.planned(*fleet, waiting=100, maximum=4)
        self.assertFalse([step for step in steps if isinstance(step, Launch)])
        self.assertIn(Launch(1), self.planned(*fleet, waiting=100, maximum=5))

    def test_gone_is_nothing(self):
        self.assert_plan([gone(taken=3)], Launch(1), minimum=1, maximum=1)

    def test_people_on_lost_and_draining_servers(self):
        """They need places on servers that stay."""
        self.assert_plan([draining(taken=3)], Launch(1))
        self.assert_plan([draining("a", taken=3), ready("b", taken=7)])
        self.assert_plan([lost(taken=3)], Launch(1), End("a", "lost"))
        self.assert_plan([ready(taken=3, drain_asked=True)], Drain("a", "asked for"), Launch(1))
        self.assert_plan([ready(taken=3, alive=False)], Lose("a", "ended"), Launch(1))

    def test_back_off(self):
        """After failures nothing is launched until the back-off is over."""
        for failures, wait in ((1, 1.0), (2, 2.0), (3, 4.0), (7, 60.0), (5000, 60.0)):
            demand = {"waiting": 1, "failures": failures}
            self.assert_plan([], since_failure=wait - 0.01, **demand)
            self.assert_plan([], Launch(1), since_failure=wait, **demand)

    def test_back_off_values(self):
        self.assertEqual(
            [back_off(failures) for failures in (0, 1, 2, 3, 6, 7, 100)],
            [0.0, 1.0, 2.0, 4.0, 32.0, 60.0, 60.0],
        )


class LaunchingTests(PlanTestCase):
    """What becomes of one that boots."""

    def test_boots(self):
        self.assert_plan([launching(age=180.0, silence=180.0)])

    def test_reported(self):
        self.assert_plan([launching(reported=True)], MarkReady("a"))

    def test_reported_late(self):
        """Late, and better than another."""
        self.assert_plan([launching(reported=True, age=200.0)], MarkReady("a"))

    def test_serves_where_nobody_knows(self):
        """It is waited for as long as it beats, and takes the places that it will have."""
        for age in (20.0, 200.0, 100_000.0):
            server = launching(reported=True, addressed=False, age=age)
            self.assert_plan([server], waiting=10)
            self.assert_plan([server], Launch(1), waiting=11)

    def test_serves_where_nobody_knows_and_fell_silent(self):
        server = launching(reported=True, addressed=False, age=200.0, silence=10.1)
        self.assert_plan([server], End("a", "failed: silent for more than 10 s"))

    def test_serves_where_nobody_knows_and_is_unwanted(self):
        server = launching(reported=True, addressed=False, age=200.0)
        self.assert_plan([replace(server, drain_asked=True)], Drain("a", "asked for"))
        self.assert_plan([replace(server, alive=False)], End("a", "failed: ended"))

    def test_an_address_of_one_that_does_not_serve(self):
        """The provider has told it before the server reports."""
        self.assert_plan([launching(addressed=True)])
        self.assert_plan([launching(age=180.1)], End("a", "failed: not ready in 180 s", late=True))

    def test_too_late(self):
        self.assert_plan([launching(age=180.1)], End("a", "failed: not ready in 180 s", late=True))

    def test_ended(self):
        self.assert_plan([launching(alive=False)], End("a", "failed: ended"))
        self.assert_plan([launching(alive=False, reported=True)], End("a", "failed: ended"))

    def test_left(self):
        self.assert_plan(
            [launching(reported=True, leaving=True)], End("a", "failed: it has said that it stops")
        )

    def test_reported_and_fell_silent(self):
        self.assert_plan(
            [launching(reported=True, silence=10.1)],
            End("a", "failed: silent for more than 10 s"),
        )

    def test_failed_is_replaced_later(self):
        """Backing off begins with the round that finds the failure."""
        self.assert_plan([launching(alive=False)], End("a", "failed: ended"), waiting=1)
        self.assert_plan(
            [launching(age=181.0), launching("b", alive=False)],
            End("a", "failed: not ready in 180 s", late=True),
            End("b", "failed: ended"),
            waiting=1,
        )
        self.assert_plan([gone("a")], waiting=1, failures=1, since_failure=0.9)
        self.assert_plan([gone("a")], Launch(1), waiting=1, failures=1, since_failure=1.0)

    def test_drain_asked(self):
        """It is ended before anybody is placed on it."""
        self.assert_plan([launching(drain_asked=True)], Drain("a", "asked for"))

    def test_not_the_providers(self):
        """Nothing but the time says that one has failed that the provider does not know."""
        self.assert_plan([launching(alive=None)])
        self.assert_plan(
            [launching(alive=None, age=181.0)], End("a", "failed: not ready in 180 s", late=True)
        )


class ReadyTests(PlanTestCase):
    """What becomes of one that serves."""

    def test_serves(self):
        self.assert_plan([ready(taken=10, silence=10.0)])
        self.assert_plan([ready(taken=10, alive=None)])

    def test_lost(self):
        for condition, reason in (
            ({"alive": False}, "ended"),
            ({"alive": False, "detail": "i-1 terminated: why"}, "ended: i-1 terminated: why"),
            ({"leaving": True}, "it has said that it stops"),
            ({"silence": 10.1}, "silent for more than 10 s"),
        ):
            self.assert_plan([ready(taken=0, **condition)], Lose("a", reason))
            self.assert_plan([ready(taken=0, drain_asked=True, **condition)], Lose("a", reason))

    def test_lost_is_replaced(self):
        self.assert_plan([ready(taken=0, alive=False)], Lose("a", "ended"), Launch(1), minimum=1)

    def test_drain_asked(self):
        """An operator's word holds against the minimum, which is made up for."""
        self.assert_plan(
            [ready(taken=0, drain_asked=True)], Drain("a", "asked for"), Launch(1), minimum=1
        )


class IdleTests(PlanTestCase):
    """Empty servers beyond need."""

    def idle(self, id, idle=120.0, **others):
        return ready(id, taken=0, idle=idle, **others)

    def test_not_yet(self):
        self.assert_plan([self.idle("a", 119.9)])

    def test_drained(self):
        self.assert_plan([self.idle("a")], Drain("a", "idle for 120 s"))

    def test_not_empty(self):
        self.assert_plan([ready("a", taken=1, idle=500.0), ready("b", taken=1)])

    def test_minimum(self):
        self.assert_plan([self.idle("a")], minimum=1)

    def test_spare(self):
        self.assert_plan([self.idle("a"), ready("b", taken=6)], spare=5)
        self.assert_plan(
            [self.idle("a"), ready("b", taken=5)], Drain("a", "idle for 120 s"), spare=5
        )

    def test_places_for_the_waiting(self):
        self.assert_plan([self.idle("a")], waiting=1)

    def test_places_for_the_moving(self):
        self.assert_plan([self.idle("a"), draining("b", taken=1)])

    def test_launches_are_not_counted_on(self):
        """A server that works is not given up for one that may never."""
        self.assert_plan([self.idle("a"), launching("b")], spare=5)
        self.assert_plan([self.idle("a"), launching("b")], minimum=1)
        self.assert_plan([self.idle("a"), launching("b", reported=True)], MarkReady("b"), minimum=1)

    def test_longest_idle_first(self):
        """As many as need allows, at once."""
        fleet = [self.idle("a", 200.0), self.idle("b", 300.0), self.idle("c", 250.0)]
        self.assert_plan(
            fleet, Drain("b", "idle for 120 s"), Drain("c", "idle for 120 s"), minimum=1
        )

    def test_small_server_goes_where_a_large_one_is_needed(self):
        """Need may hold without one, and not without another."""
        fleet = [self.idle("a", 300.0, capacity=20), self.idle("b", 200.0, capacity=5)]
        self.assert_plan(fleet, Drain("b", "idle for 120 s"), spare=15)

    def test_young_one_does_not_displace_an_old_one(self):
        """Somebody may have asked for it; the surplus has not lasted yet."""
        self.assert_plan([self.idle("a"), self.idle("b", 1.0)], minimum=1)
        self.assert_plan(
            [self.idle("a", 240.0), self.idle("b")], Drain("a", "idle for 120 s"), minimum=1
        )

    def test_dead_one_is_lost(self):
        self.assert_plan([self.idle("a", alive=False)], Lose("a", "ended"))


class ConsolidationTests(PlanTestCase):
    """Servers whose people fit elsewhere."""

    def assert_plan(self, servers, *steps, **others):
        values = {"consolidate_after": 120.0, "peak": 0, **others}
        super().assert_plan(servers, *steps, **values)

    def consolidated(self, id, people):
        return Drain(id, f"consolidated: {people} people fit elsewhere")

    def test_the_emptiest_drains(self):
        fleet = [ready("a", 4), ready("b", 3), ready("c", 5)]
        self.assert_plan(fleet, self.consolidated("b", 3))

    def test_only_where_all_of_its_people_fit(self):
        self.assert_plan([ready("a", 6), ready("b", 4)], self.consolidated("b", 4))
        self.assert_plan([ready("a", 6), ready("b", 5)])

    def test_the_spare_places_are_kept(self):
        self.assert_plan([ready("a", 4), ready("b", 3)], self.consolidated("b", 3), spare=3)
        self.assert_plan([ready("a", 4), ready("b", 3)], spare=4)

    def test_never(self):
        self.assert_plan([ready("a", 1), ready("b", 1)], consolidate_after=0.0)

    def test_not_before_it_is_known_how_many_there_were(self):
        self.assert_plan([ready("a", 1), ready("b", 1)], peak=None)

    def test_the_most_that_were_there_lately_would_fit(self):
        self.assert_plan([ready("a", 4), ready("b", 3)], self.consolidated("b", 3), peak=10)
        self.assert_plan([ready("a", 4), ready("b", 3)], peak=11)

    def test_the_minimum(self):
        self.assert_plan([ready("a", 1), ready("b", 1)], minimum=2)

    def test_of_those_as_empty_the_youngest(self):
        """People are not driven from old servers onto new ones."""
        fleet = [ready("a", 2, age=900.0), ready("b", 2, age=90.0), ready("c", 2, age=500.0)]
        self.assert_plan(fleet, self.consolidated("b", 2))

    def test_never_one_that_an_operator_runs(self):
        fleet = [ready("a", 2, by_hand=True), ready("b", 3)]
        self.assert_plan(fleet, self.consolidated("b", 3))
        self.assert_plan([ready("a", 2, by_hand=True), ready("b", 3, by_hand=True)])

    def test_only_the_emptiest(self):
        """Another of which the people would fit is let be."""
        fleet = [ready("a", 4, capacity=30), ready("b", 5, capacity=5), ready("c", 9)]
        self.assert_plan(fleet)

    def test_an_empty_one_has_its_grace(self):
        """It is no room for others' people meanwhile."""
        fleet = [ready("a", 0, idle=60.0), ready("b", 5), ready("c", 6)]
        self.assert_plan(fleet)

    def test_an_empty_one_beyond_its_grace_goes_first(self):
        fleet = [ready("a", 0, idle=120.0), ready("b", 1), ready("c", 1)]
        self.assert_plan(fleet, Drain("a", "idle for 120 s"))

    def test_not_beside_anything_that_is_going_on(self):
        fleet = [ready("a", 1), ready("b", 2), ready("c", 3)]
        self.assert_plan(fleet, self.consolidated("a", 1))
        for other in (launching("x"), draining("x", 1), lost("x", reported=True)):
            steps = self.planned(*fleet, other, consolidate_after=120.0, peak=0)
            self.assertFalse([step for step in steps if isinstance(step, Drain)], other)
        for trouble in (
            {"failures": 1, "since_failure": 599.0},
            {"refused": True},
            {"waiting": 1},
        ):
            self.assert_plan(fleet, **trouble)
        for step, server in (
            (Lose("x", "ended"), ready("x", alive=False)),
            (Drain("x", "asked for"), ready("x", drain_asked=True)),
            (Drain("x", "taken back"), ready("x", warned="taken back")),
            (MarkReady("x"), launching("x", reported=True)),
            (End("x", "failed: ended"), launching("x", alive=False)),
        ):
            self.assert_plan([*fleet, server], step)

    def test_a_launch_that_failed_long_ago_holds_up_nothing(self):
        fleet = [ready("a", 1), ready("b", 2)]
        self.assert_plan(fleet, self.consolidated("a", 1), failures=1, since_failure=600.0)

    def test_one_that_nobody_is_on_any_more_holds_up_nothing(self):
        fleet = [ready("a", 1), ready("b", 2), draining("x")]
        self.assert_plan(fleet, self.consolidated("a", 1), End("x", "drained"))

    def test_it_drains_on_while_its_people_fit(self):
        fleet = [draining("a", 3, consolidating=True), ready("b", 5)]
        self.assert_plan(fleet, spare=2)

    def test_kept_where_places_are_needed_again(self):
        fleet = [draining("a", 3, consolidating=True), ready("b", 5)]
        self.assert_plan(fleet, Keep("a"), spare=3)
        self.assert_plan(fleet, Keep("a"), waiting=3)
        self.assert_plan(fleet, Keep("a"), Launch(1), waiting=13)

    def test_kept_also_where_nothing_can_be_launched(self):
        fleet = [draining("a", 3, consolidating=True), ready("b", 5)]
        self.assert_plan(fleet, Keep("a"), waiting=3, refused=True)

    def test_only_one_that_lives_and_nobody_else_wants_empty(self):
        for values in (
            {"consolidating": True, "drain_asked": True},
            {"consolidating": True, "warned": "taken back"},
            {"consolidating": False},
        ):
            self.assert_plan([draining("a", 3, **values), ready("b", 8)], Launch(1))
        dead = draining("a", 3, consolidating=True, alive=False)
        self.assert_plan([dead, ready("b", 8)], Lose("a", "ended"), Launch(1))

    def test_one_that_is_empty_is_being_ended(self):
        fleet = [draining("a", 0, consolidating=True), ready("b", 10)]
        self.assert_plan(fleet, Launch(1), End("a", "drained"), waiting=1)


class LastStepsTests(PlanTestCase):
    """Draining, lost, gone."""

    def test_drained(self):
        self.assert_plan([draining()], End("a", "drained"))

    def test_drained_and_dead(self):
        self.assert_plan([draining(alive=False)], End("a", "ended"))

    def test_people_left(self):
        self.assert_plan([draining("a", taken=1), ready("b")])

    def test_people_left_on_a_dead_one(self):
        self.assert_plan(
            [draining("a", taken=1, leaving=True), ready("b")],
            Lose("a", "it has said that it stops"),
        )

    def test_lost(self):
        self.assert_plan([lost()], End("a", "lost"))
        self.assert_plan([lost(alive=False)], End("a", "ended"))

    def test_gone(self):
        self.assert_plan([gone(drain_asked=True, leaving=True)])


class WarnedTests(PlanTestCase):
    """What becomes of one that its provider will take away."""

    WHY = "spot: interrupted at 12:34 UTC"

    def test_ready(self):
        """It takes nobody any more, and places for its people are made at once."""
        self.assert_plan([ready(taken=3, warned=self.WHY)], Drain("a", self.WHY), Launch(1))

    def test_ready_and_empty(self):
        self.assert_plan([ready(taken=0, warned=self.WHY)], Drain("a", self.WHY))
        self.assert_plan(
            [ready(taken=0, warned=self.WHY)], Drain("a", self.WHY), Launch(1), minimum=1
        )

    def test_others_have_room(self):
        self.assert_plan(
            [ready("a", taken=3, warned=self.WHY), ready("b", taken=7)], Drain("a", self.WHY)
        )

    def test_launching(self):
        """Nobody is placed on it, and another is launched instead."""
        for reported in (True, False):
            server = launching(reported=reported, warned=self.WHY)
            self.assert_plan([server], Drain("a", self.WHY), Launch(1), waiting=1)

    def test_draining(self):
        self.assert_plan([draining(taken=1, warned=self.WHY), ready("b", taken=9)])
        self.assert_plan([draining(warned=self.WHY)], End("a", self.WHY))
        self.assert_plan([draining(warned=self.WHY, alive=False)], End("a", self.WHY))

    def test_dead_meanwhile(self):
        self.assert_plan(
            [ready(taken=3, warned=self.WHY, alive=False)], Lose("a", "ended"), Launch(1)
        )

    def test_asked_for_too(self):
        self.assert_plan(
            [ready(taken=0, warned=self.WHY, drain_asked=True)], Drain("a", "asked for")
        )

    def test_half_of_the_fleet(self):
        """One round drains them all, and launches what their people need and no more."""
        fleet = [
            ready(f"s{n}", taken=10, **({"warned": self.WHY} if n % 2 else {})) for n in range(10)
        ]
        drains = [Drain(f"s{n}", self.WHY) for n in range(1, 10, 2)]
        self.assert_plan(fleet, *drains, Launch(5))
        self.assert_plan(fleet, *drains, Launch(2), maximum=12)


class OrderTests(PlanTestCase):
    def test_what_people_need_comes_first(self):
        fleet = [
            lost("a"),
            launching("b", reported=True),
            ready("c", alive=False),
            draining("d"),
        ]
        self.assert_plan(
            fleet,
            MarkReady("b"),
            Lose("c", "ended"),
            Launch(1),
            End("a", "lost"),
            End("d", "drained"),
            waiting=11,
        )


@st.composite
def fleets(draw):
    """Any servers at all, also such as no sequence leads to."""
    times = st.sampled_from([0.0, 5.0, 10.0, 11.0, 120.0, 180.0, 181.0])
    servers = []
    for number in range(draw(st.integers(0, 8))):
        state = draw(st.sampled_from(State))
        servers.append(
            Seen(
                id=f"s{number}",
                state=state,
                taken=draw(st.integers(0, 12)),
                capacity=draw(st.sampled_from([1, 5, 10, 20])),
                reported=draw(st.booleans()),
                age=draw(times),
                silence=draw(times),
                idle=draw(times),
                leaving=draw(st.booleans()),
                drain_asked=draw(st.booleans()),
                alive=draw(st.sampled_from([True, False, None])),
                addressed=draw(st.booleans()),
                warned=draw(st.sampled_from(["", "", "spot: rebalance recommended"])),
                by_hand=draw(st.booleans()),
                consolidating=draw(st.booleans()),
            )
        )
    return servers


POLICIES = st.builds(
    Policy,
    minimum=st.integers(0, 4),
    maximum=st.integers(4, 8),
    spare=st.integers(0, 25),
    capacity=st.integers(1, 12),
    idle_grace=st.sampled_from([0.0, 120.0]),
    launch_timeout=st.just(180.0),
    lost_after=st.just(10.0),
    consolidate_after=st.sampled_from([0.0, 120.0]),
)
DEMANDS = st.builds(
    Demand,
    waiting=st.integers(0, 60),
    failures=st.integers(0, 8),
    since_failure=st.sampled_from([0.0, 3.0, 60.0]),
    strays=st.integers(0, 3),
    refused=st.sampled_from([False, False, True]),
    peak=st.sampled_from([None, 0, 10, 60]),
)
MOVES = {
    (State.LAUNCHING, MarkReady),
    (State.LAUNCHING, Drain),
    (State.LAUNCHING, End),
    (State.READY, Lose),
    (State.READY, Drain),
    (State.DRAINING, Keep),
    (State.DRAINING, Lose),
    (State.DRAINING, End),
    (State.LOST, End),
}


class AnythingTests(SynchronousTestCase):
    """What holds for every fleet, demand and policy, however it came about."""

    @given(fleets(), DEMANDS, POLICIES)
    def test_who_serves_is_not_too_old(self, servers, demand, policy):
        """One that reports and beats is ended for no age; and nobody is placed where its provider
        takes the places away, or where nobody knows."""
        by_id = {server.id: server for server in servers}
        for step in plan(servers, demand, policy):
            if isinstance(step, End) and "not ready" in step.reason:
                self.assertFalse(by_id[step.id].reported)
            if isinstance(step, MarkReady):
                self.assertTrue(by_id[step.id].reported and by_id[step.id].addressed)
                self.assertEqual(by_id[step.id].warned, "")

    @given(fleets(), DEMANDS, POLICIES)
    def test_moves(self, servers, demand, policy):
        """Each server gets one step at most, and only along the life of a server."""
        states = {server.id: server.state for server in servers}
        steps = plan(servers, demand, policy)
        moved = [step.id for step in steps if not isinstance(step, Launch)]
        self.assertEqual(len(moved), len(set(moved)))
        self.assertLessEqual(len(steps) - len(moved), 1)
        for step in steps:
            if not isinstance(step, Launch):
                self.assertIn((states[step.id], type(step)), MOVES)

    @given(fleets(), DEMANDS, POLICIES)
    def test_consolidation(self, servers, demand, policy):
        """One at a time, beside nothing else, with room for all on those that stay."""
        steps = plan(servers, demand, policy)
        begun = [s for s in steps if isinstance(s, Drain) and s.reason.startswith("consolidated")]
        self.assertLessEqual(len(begun), 1)
        by_id = {server.id: server for server in servers}
        for step in begun:
            self.assertTrue(policy.consolidate_after)
            self.assertFalse(by_id[step.id].by_hand)
            self.assertEqual([s for s in steps if not isinstance(s, End)], [step])
            self.assertFalse([s for s in servers if s.state in (State.LAUNCHING, State.LOST)])
            stay = [s for s in servers if s.state is State.READY and s.id != step.id]
            room = sum(max(0, s.capacity - s.taken) for s in stay)
            self.assertGreaterEqual(room, by_id[step.id].taken + policy.spare)
            self.assertGreaterEqual(len(stay), policy.minimum)

    @given(fleets(), DEMANDS, POLICIES)
    def test_maximum(self, servers, demand, policy):
        """No launch makes more servers than the maximum, whichever of the steps are taken."""
        running = sum(server.state is not State.GONE for server in servers)
        for step in plan(servers, demand, policy):
            if isinstance(step, Launch):
                self.assertGreater(step.count, 0)
                self.assertLessEqual(running + demand.strays + step.count, policy.maximum)
                self.assertFalse(demand.refused)

    @given(fleets(), DEMANDS, POLICIES)
    def test_back_off(self, servers, demand, policy):
        if demand.since_failure < back_off(demand.failures):
            steps = plan(servers, demand, policy)
            self.assertFalse([step for step in steps if isinstance(step, Launch)])

    @given(fleets(), DEMANDS, POLICIES, st.randoms(use_true_random=False))
    def test_order_of_servers(self, servers, demand, policy, random):
        """In whatever order servers are seen, the same is done."""
        shuffled = list(servers)
        random.shuffle(shuffled)
        self.assertEqual(set(plan(servers, demand, policy)), set(plan(shuffled, demand, policy)))

    @given(fleets(), DEMANDS, POLICIES)
    def test_nobody_is_ended_under_people(self, servers, demand, policy):
        """Only a server that serves nobody is ended: empty, lost, or not ready yet."""
        by_id = {server.id: server for server in servers}
        for step in plan(servers, demand, policy):
            if isinstance(step, End) and by_id[step.id].state is State.DRAINING:
                self.assertEqual(by_id[step.id].taken, 0)
