"""What the planner decides about servers that serve or will, one condition at a time.

The pool is in `test_planner_pool`, replacements in `test_planner_replacing`, what holds for every
fleet in `test_planner_anything`, and sequences are in `test_planner_sequences`.
"""

from bbs.core.values import DrainCause, LossCause
from bbs.rules.fleet_admin import Blocker
from bbs.scaling.fleet_view import Health, Launches, Machine, Orphan, Owner
from bbs.scaling.planner import Adopt, Drain, End, EndOrphan, Keep, Launch, Lose, MarkReady
from tests.scaling.planner_tools import (
    BREAKS,
    PlannerCase,
    draining,
    launching,
    lost,
    ready,
    warm,
)

DEAD = {"machine": Machine.ENDED}
ASKED = {"causes": [DrainCause.OPERATOR]}
WARNED = {"causes": [DrainCause.WARNED]}
CONSOLIDATING = {"causes": [DrainCause.CONSOLIDATION]}


class LaunchTests(PlannerCase):
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

    def test_orphans_count_to_the_maximum(self):
        """Instances that are nobody's run all the same, but for those that are stopped."""

        def orphans(count, runs=True):
            return [Orphan(str(number), runs, is_certain=False) for number in range(count)]

        fleet = {"waiting": 100, "maximum": 4}
        self.assert_plan([ready(taken=10)], Launch(1), orphans=orphans(2), **fleet)
        self.assert_plan([ready(taken=10)], orphans=orphans(3), **fleet)
        self.assert_plan([ready(taken=10)], orphans=orphans(9), **fleet)
        self.assert_plan([ready(taken=10)], Launch(3), orphans=orphans(9, runs=False), **fleet)

    def test_refused(self):
        """Nothing is launched, and the rest goes on."""
        self.assert_plan([ready(taken=10)], waiting=100, minimum=3, launches=Launches.REFUSED)
        self.assert_plan(
            [launching(health=Health.BEATING)],
            MarkReady(("a",)),
            waiting=99,
            launches=Launches.REFUSED,
        )

    def test_all_that_have_booted_are_ready_at_once(self):
        self.assert_plan(
            [launching("b", health=Health.BEATING), launching("a", health=Health.BEATING)],
            MarkReady(("a", "b")),
        )

    def test_maximum_lowered(self):
        self.assert_plan([ready("a", taken=10), ready("b", taken=10)], waiting=9, maximum=1)

    def test_all_that_run_count_to_the_maximum(self):
        """Whatever has a row runs, also what ends in this round, and what lists lack."""
        fleet = [launching("a"), ready("b", machine=Machine.ENDED), draining("c"), lost("d")]
        steps = self.planned(*fleet, waiting=100, maximum=4)
        self.assertFalse([step for step in steps if isinstance(step, Launch)])
        self.assertIn(Launch(1), self.planned(*fleet, waiting=100, maximum=5))
        missing = lost(machine=Machine.MISSING)
        self.assert_plan([missing], End("a", LossCause.ENDED), waiting=1, maximum=1)

    def test_people_on_lost_and_draining_servers(self):
        """They need places on servers that stay."""
        self.assert_plan([draining(taken=3)], Launch(1))
        self.assert_plan([draining("a", taken=3), ready("b", taken=7)])
        self.assert_plan([lost(taken=3)], Launch(1), End("a"))
        self.assert_plan([ready(taken=3, **ASKED)], Drain("a", DrainCause.OPERATOR), Launch(1))
        self.assert_plan(
            [ready(taken=3, machine=Machine.ENDED)], Lose("a", LossCause.ENDED), Launch(1)
        )

    def test_back_off(self):
        """After a failure nothing is launched until the back-off is over."""
        self.assert_plan([], waiting=1, minimum=2, launches=Launches.BACK_OFF)
        self.assert_plan([], Launch(1), waiting=1, launches=Launches.FAILED_LATELY)

    def test_not_before_it_is_known_what_runs(self):
        self.assert_plan([], waiting=1, minimum=2, launches=Launches.UNCOUNTED)
        self.assert_plan(
            [launching(health=Health.BEATING)],
            MarkReady(("a",)),
            waiting=99,
            launches=Launches.UNCOUNTED,
        )


class LaunchingTests(PlannerCase):
    """What becomes of one that boots."""

    def test_boots(self):
        self.assert_plan([launching(age=180.0)])

    def test_reported(self):
        self.assert_plan([launching(health=Health.BEATING)], MarkReady(("a",)))

    def test_reported_late(self):
        """Late, and better than another."""
        self.assert_plan([launching(health=Health.BEATING, age=200.0)], MarkReady(("a",)))

    def test_serves_where_nobody_knows(self):
        """It is waited for as long as it beats, and takes the places that it will have."""
        for age in (20.0, 200.0, 100_000.0):
            server = launching(health=Health.UNADDRESSED, age=age)
            self.assert_plan([server], waiting=10)
            self.assert_plan([server], Launch(1), waiting=11)

    def test_serves_where_nobody_knows_and_fell_silent(self):
        server = launching(health=Health.SILENT, age=200.0)
        self.assert_plan([server], End("a", LossCause.FAILED))

    def test_serves_where_nobody_knows_and_is_unwanted(self):
        serves = {"health": Health.UNADDRESSED, "age": 200.0}
        self.assert_plan([launching(**ASKED, **serves)], Drain("a", DrainCause.OPERATOR))
        self.assert_plan([launching(**DEAD, **serves)], End("a", LossCause.FAILED))

    def test_an_address_of_one_that_does_not_serve(self):
        """The provider has told it before the server reports."""
        self.assert_plan([launching(health=Health.UNHEARD)])
        self.assert_plan([launching(age=180.1)], End("a", LossCause.LATE))

    def test_too_late(self):
        self.assert_plan([launching(age=180.1)], End("a", LossCause.LATE))

    def test_ended(self):
        self.assert_plan([launching(machine=Machine.ENDED)], End("a", LossCause.FAILED))
        self.assert_plan(
            [launching(machine=Machine.ENDED, health=Health.BEATING)], End("a", LossCause.FAILED)
        )

    def test_left(self):
        self.assert_plan([launching(health=Health.LEAVING)], End("a", LossCause.FAILED))

    def test_reported_and_fell_silent(self):
        self.assert_plan(
            [launching(health=Health.SILENT)],
            End("a", LossCause.FAILED),
        )

    def test_failed_is_replaced_later(self):
        """Backing off begins with the round that finds the failure."""
        self.assert_plan([launching(machine=Machine.ENDED)], End("a", LossCause.FAILED), waiting=1)
        self.assert_plan(
            [launching(age=181.0), launching("b", machine=Machine.ENDED)],
            End("b", LossCause.FAILED),
            End("a", LossCause.LATE),
            waiting=1,
        )
        self.assert_plan([], waiting=1, launches=Launches.BACK_OFF)
        self.assert_plan([], Launch(1), waiting=1, launches=Launches.FAILED_LATELY)

    def test_drain_asked(self):
        """It is ended before anybody is placed on it."""
        self.assert_plan([launching(**ASKED)], Drain("a", DrainCause.OPERATOR))

    def test_not_the_providers(self):
        """Nothing but the time says that one has failed that the provider does not know."""
        self.assert_plan([launching(machine=Machine.UNKNOWN)])
        self.assert_plan([launching(machine=Machine.UNKNOWN, age=181.0)], End("a", LossCause.LATE))


class ReadyTests(PlannerCase):
    """What becomes of one that serves."""

    def test_serves(self):
        self.assert_plan([ready(taken=10)])
        self.assert_plan([ready(taken=10, machine=Machine.UNKNOWN)])

    def test_lost(self):
        for condition, cause in (
            ({"machine": Machine.ENDED}, LossCause.ENDED),
            ({"machine": Machine.MISSING}, LossCause.ENDED),
            ({"machine": Machine.ENDED, "health": Health.LEAVING}, LossCause.ENDED),
            ({"health": Health.LEAVING}, LossCause.LEFT),
            ({"health": Health.SILENT}, LossCause.SILENT),
        ):
            self.assert_plan([ready(taken=0, **condition)], Lose("a", cause))
            self.assert_plan([ready(taken=0, **ASKED, **condition)], Lose("a", cause))

    def test_lost_is_replaced(self):
        self.assert_plan(
            [ready(taken=0, machine=Machine.ENDED)],
            Lose("a", LossCause.ENDED),
            Launch(1),
            minimum=1,
        )

    def test_drain_asked(self):
        """An operator's word holds against the minimum, which is made up for."""
        self.assert_plan(
            [ready(taken=0, **ASKED)], Drain("a", DrainCause.OPERATOR), Launch(1), minimum=1
        )


class IdleTests(PlannerCase):
    """Empty servers beyond need."""

    def idle(self, id, idle=120.0, **others):
        return ready(id, taken=0, idle=idle, **others)

    def test_not_yet(self):
        self.assert_plan([self.idle("a", 119.9)])

    def test_drained(self):
        self.assert_plan([self.idle("a")], Drain("a", DrainCause.IDLE))

    def test_not_empty(self):
        self.assert_plan([ready("a", taken=1, idle=500.0), ready("b", taken=1)])

    def test_minimum(self):
        self.assert_plan([self.idle("a")], minimum=1)

    def test_spare(self):
        self.assert_plan([self.idle("a"), ready("b", taken=6)], spare=5)
        self.assert_plan(
            [self.idle("a"), ready("b", taken=5)], Drain("a", DrainCause.IDLE), spare=5
        )

    def test_places_for_the_waiting(self):
        self.assert_plan([self.idle("a")], waiting=1)

    def test_places_for_the_moving(self):
        self.assert_plan([self.idle("a"), draining("b", taken=1)])

    def test_launches_are_not_counted_on(self):
        """A server that works is not given up for one that may never."""
        self.assert_plan([self.idle("a"), launching("b")], spare=5)
        self.assert_plan([self.idle("a"), launching("b")], minimum=1)
        self.assert_plan(
            [self.idle("a"), launching("b", health=Health.BEATING)], MarkReady(("b",)), minimum=1
        )

    def test_longest_idle_first(self):
        """As many as need allows, at once."""
        fleet = [self.idle("a", 200.0), self.idle("b", 300.0), self.idle("c", 250.0)]
        self.assert_plan(fleet, Drain("b", DrainCause.IDLE), Drain("c", DrainCause.IDLE), minimum=1)

    def test_small_server_goes_where_a_large_one_is_needed(self):
        """Need may hold without one, and not without another."""
        fleet = [self.idle("a", 300.0, capacity=20), self.idle("b", 200.0, capacity=5)]
        self.assert_plan(fleet, Drain("b", DrainCause.IDLE), spare=15)

    def test_young_one_does_not_displace_an_old_one(self):
        """Somebody may have asked for it; the surplus has not lasted yet."""
        self.assert_plan([self.idle("a"), self.idle("b", 1.0)], minimum=1)
        self.assert_plan(
            [self.idle("a", 240.0), self.idle("b")], Drain("a", DrainCause.IDLE), minimum=1
        )

    def test_dead_one_is_lost(self):
        self.assert_plan([self.idle("a", machine=Machine.ENDED)], Lose("a", LossCause.ENDED))


class ConsolidationTests(PlannerCase):
    """Servers whose people fit elsewhere."""

    def assert_plan(self, servers, *steps, **others):
        values = {"consolidate_after": 120.0, "peak": 0, **others}
        super().assert_plan(servers, *steps, **values)

    def consolidated(self, id):
        return Drain(id, DrainCause.CONSOLIDATION)

    def test_the_emptiest_drains(self):
        fleet = [ready("a", 4), ready("b", 3), ready("c", 5)]
        self.assert_plan(fleet, self.consolidated("b"))

    def test_only_where_all_of_its_people_fit(self):
        self.assert_plan([ready("a", 6), ready("b", 4)], self.consolidated("b"))
        self.assert_plan([ready("a", 6), ready("b", 5)])

    def test_the_spare_places_are_kept(self):
        self.assert_plan([ready("a", 4), ready("b", 3)], self.consolidated("b"), spare=3)
        self.assert_plan([ready("a", 4), ready("b", 3)], spare=4)

    def test_never(self):
        self.assert_plan([ready("a", 1), ready("b", 1)], consolidate_after=0.0)

    def test_not_before_it_is_known_how_many_there_were(self):
        self.assert_plan([ready("a", 1), ready("b", 1)], peak=None)

    def test_the_most_that_were_there_lately_would_fit(self):
        self.assert_plan([ready("a", 4), ready("b", 3)], self.consolidated("b"), peak=10)
        self.assert_plan([ready("a", 4), ready("b", 3)], peak=11)

    def test_the_minimum(self):
        self.assert_plan([ready("a", 1), ready("b", 1)], minimum=2)

    def test_of_those_as_empty_the_youngest(self):
        """People are not driven from old servers onto new ones."""
        fleet = [ready("a", 2, age=900.0), ready("b", 2, age=90.0), ready("c", 2, age=500.0)]
        self.assert_plan(fleet, self.consolidated("b"))

    def test_never_one_that_an_operator_runs(self):
        fleet = [ready("a", 2, owner=Owner.OPERATOR), ready("b", 3)]
        self.assert_plan(fleet, self.consolidated("b"))
        self.assert_plan([ready("a", 2, owner=Owner.OPERATOR), ready("b", 3, owner=Owner.OPERATOR)])

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
        self.assert_plan(fleet, Drain("a", DrainCause.IDLE))

    def test_not_beside_anything_that_is_going_on(self):
        fleet = [ready("a", 1), ready("b", 2), ready("c", 3)]
        self.assert_plan(fleet, self.consolidated("a"))
        for other in (launching("x"), draining("x", 1), lost("x", health=Health.BEATING)):
            steps = self.planned(*fleet, other, consolidate_after=120.0, peak=0)
            self.assertFalse([step for step in steps if isinstance(step, Drain)], other)
        for launches in BREAKS:
            self.assert_plan(fleet, launches=launches)
        for trouble in (Blocker.PROVIDER_AWAY, Blocker.PROVIDER_SILENT, Blocker.BROKER_AWAY):
            self.assert_plan(fleet, trouble=trouble)
        self.assert_plan(fleet, waiting=1)
        for step, server in (
            (Lose("x", LossCause.ENDED), ready("x", machine=Machine.ENDED)),
            (Drain("x", DrainCause.OPERATOR), ready("x", **ASKED)),
            (Drain("x", DrainCause.WARNED), ready("x", **WARNED)),
            (MarkReady(("x",)), launching("x", health=Health.BEATING)),
            (End("x", LossCause.FAILED), launching("x", machine=Machine.ENDED)),
        ):
            self.assert_plan([*fleet, server], step)

    def test_a_launch_that_failed_long_ago_holds_up_nothing(self):
        fleet = [ready("a", 1), ready("b", 2)]
        self.assert_plan(fleet, self.consolidated("a"), launches=Launches.WORK)

    def test_one_that_nobody_is_on_any_more_holds_up_nothing(self):
        fleet = [ready("a", 1), ready("b", 2), draining("x")]
        self.assert_plan(fleet, self.consolidated("a"), End("x"))

    def test_it_drains_on_while_its_people_fit(self):
        fleet = [draining("a", 3, **CONSOLIDATING), ready("b", 5)]
        self.assert_plan(fleet, spare=2)

    def test_kept_where_places_are_needed_again(self):
        fleet = [draining("a", 3, **CONSOLIDATING), ready("b", 5)]
        self.assert_plan(fleet, Keep("a"), spare=3)
        self.assert_plan(fleet, Keep("a"), waiting=3)
        self.assert_plan(fleet, Keep("a"), Launch(1), waiting=13)

    def test_of_several_the_fullest_is_kept_first(self):
        """In whatever order they are seen; and those that are to be replaced come last."""
        few, many = draining("a", 3, **CONSOLIDATING), draining("b", 5, **CONSOLIDATING)
        replaced = draining("c", 9, causes=[DrainCause.REPLACEMENT])
        fleet = [few, many, replaced, ready("d", 3)]
        for servers in (fleet, fleet[::-1]):
            self.assert_plan(servers, Keep("b"))
            self.assert_plan(servers, Keep("b"), Keep("a"), waiting=5)
            self.assert_plan(servers, Keep("b"), Keep("a"), Keep("c"), waiting=11)

    def test_kept_also_where_nothing_can_be_launched(self):
        fleet = [draining("a", 3, **CONSOLIDATING), ready("b", 5)]
        self.assert_plan(fleet, Keep("a"), waiting=3, launches=Launches.REFUSED)

    def test_only_one_that_lives_and_nobody_else_wants_empty(self):
        for causes in (
            [DrainCause.CONSOLIDATION, DrainCause.OPERATOR],
            [DrainCause.CONSOLIDATION, DrainCause.WARNED],
            [DrainCause.IDLE],
            [],
        ):
            self.assert_plan([draining("a", 3, causes=causes), ready("b", 8)], Launch(1))
        dead = draining("a", 3, **CONSOLIDATING, machine=Machine.ENDED)
        self.assert_plan([dead, ready("b", 8)], Lose("a", LossCause.ENDED), Launch(1))

    def test_one_that_is_empty_is_being_ended(self):
        fleet = [draining("a", 0, **CONSOLIDATING), ready("b", 10)]
        self.assert_plan(fleet, Launch(1), End("a"), waiting=1)


class LastStepsTests(PlannerCase):
    """Draining, lost."""

    def test_drained(self):
        self.assert_plan([draining()], End("a"))

    def test_drained_and_dead(self):
        self.assert_plan([draining(machine=Machine.ENDED)], End("a", LossCause.ENDED))

    def test_people_left(self):
        self.assert_plan([draining("a", taken=1), ready("b")])

    def test_people_left_on_a_dead_one(self):
        self.assert_plan(
            [draining("a", taken=1, health=Health.LEAVING), ready("b")],
            Lose("a", LossCause.LEFT),
        )

    def test_lost(self):
        self.assert_plan([lost()], End("a"))
        self.assert_plan([lost(machine=Machine.ENDED)], End("a", LossCause.ENDED))


class WarnedTests(PlannerCase):
    """What becomes of one that its provider will take away."""

    def test_ready(self):
        """It takes nobody any more, and places for its people are made at once."""
        self.assert_plan([ready(taken=3, **WARNED)], Drain("a", DrainCause.WARNED), Launch(1))

    def test_ready_and_empty(self):
        self.assert_plan([ready(taken=0, **WARNED)], Drain("a", DrainCause.WARNED))
        self.assert_plan(
            [ready(taken=0, **WARNED)], Drain("a", DrainCause.WARNED), Launch(1), minimum=1
        )

    def test_others_have_room(self):
        self.assert_plan(
            [ready("a", taken=3, **WARNED), ready("b", taken=7)], Drain("a", DrainCause.WARNED)
        )

    def test_launching(self):
        """Nobody is placed on it, and another is launched instead."""
        for health in (Health.BEATING, Health.UNHEARD):
            server = launching(health=health, **WARNED)
            self.assert_plan([server], Drain("a", DrainCause.WARNED), Launch(1), waiting=1)

    def test_draining(self):
        self.assert_plan([draining(taken=1, **WARNED), ready("b", taken=9)])
        self.assert_plan([draining(**WARNED)], End("a", DrainCause.WARNED))
        self.assert_plan([draining(**WARNED, machine=Machine.ENDED)], End("a", DrainCause.WARNED))

    def test_dead_meanwhile(self):
        self.assert_plan(
            [ready(taken=3, **WARNED, machine=Machine.ENDED)], Lose("a", LossCause.ENDED), Launch(1)
        )

    def test_asked_for_too(self):
        self.assert_plan(
            [ready(taken=0, causes=[DrainCause.WARNED, DrainCause.OPERATOR])],
            Drain("a", DrainCause.OPERATOR),
        )

    def test_half_of_the_fleet(self):
        """One round drains them all, and launches what their people need and no more."""
        fleet = [ready(f"s{n}", taken=10, **(WARNED if n % 2 else {})) for n in range(10)]
        drains = [Drain(f"s{n}", DrainCause.WARNED) for n in range(1, 10, 2)]
        self.assert_plan(fleet, *drains, Launch(5))
        self.assert_plan(fleet, *drains, Launch(2), maximum=12)


class OrderTests(PlannerCase):
    def test_what_takes_long_comes_last(self):
        fleet = [
            lost("a"),
            launching("b", health=Health.BEATING),
            ready("c", machine=Machine.ENDED),
            draining("d"),
        ]
        steps = self.planned(*fleet, waiting=11, orphans=[Orphan("e", True, True)])
        first = {MarkReady(("b",)), Lose("c", LossCause.ENDED), Launch(1)}
        self.assertEqual(set(steps[:3]), first)
        self.assertEqual(set(steps[3:]), {End("a"), End("d"), EndOrphan("e")})


class AdoptTests(PlannerCase):
    """Launches that operators have written down, and nobody has taken on."""

    def asked(self, id="a", **others):
        return launching(id, owner=Owner.NOBODY, **others)

    def test_taken_on(self):
        """All of them at once, also where launches fail."""
        self.assert_plan([self.asked()], Adopt(1))
        self.assert_plan([self.asked("a"), self.asked("b"), launching("c")], Adopt(2))
        for launches in BREAKS:
            self.assert_plan([self.asked()], Adopt(1), launches=launches)

    def test_only_those_that_nobody_has(self):
        self.assert_plan([launching("a"), launching("b", owner=Owner.ANOTHER)])
        self.assert_plan([lost(owner=Owner.NOBODY)], End("a"))

    def test_not_while_more_run_than_may(self):
        """They count themselves, as do those that run and have no row, or stand by and run."""
        fleet = [self.asked("a"), ready("b")]
        self.assert_plan(fleet, Adopt(1), maximum=2)
        self.assert_plan(fleet, maximum=1)
        runs, stopped = Orphan("x", True, False), Orphan("y", False, False)
        self.assert_plan(fleet, Adopt(1), maximum=2, orphans=[stopped])
        self.assert_plan(fleet, maximum=2, orphans=[stopped, runs])
        self.assert_plan([*fleet, warm("c")], Adopt(1), maximum=2, warm=1)
        unsure = warm("c", machine=Machine.UNKNOWN)
        self.assert_plan([*fleet, unsure], maximum=2, warm=1)
        self.assert_plan([*fleet, unsure], Adopt(1), maximum=3, warm=1)

    def test_not_before_it_is_known_what_runs(self):
        self.assert_plan([self.asked()], launches=Launches.UNCOUNTED)

    def test_they_are_places(self):
        self.assert_plan([self.asked()], Adopt(1), waiting=10)
        self.assert_plan([self.asked()], Adopt(1), Launch(1), waiting=11)

    def test_too_late(self):
        """Its row is closed: a machine that was asked for now would run without one."""
        late = self.asked(age=181.0)
        self.assert_plan([late], End("a", LossCause.LATE))
        self.assert_plan([late, self.asked("b")], End("a", LossCause.LATE))

    def test_not_wanted_any_more(self):
        fleet = [self.asked(causes=[DrainCause.OPERATOR])]
        self.assert_plan(fleet, Drain("a", DrainCause.OPERATOR))


class OrphanTests(PlannerCase):
    """Instances that no server has."""

    def test_ended_once_that_is_certain(self):
        young, old = Orphan("x", True, False), Orphan("y", True, True)
        self.assert_plan([], orphans=[young])
        self.assert_plan([], EndOrphan("y"), orphans=[young, old])
        self.assert_plan([], EndOrphan("z"), orphans=[Orphan("z", runs=False, is_certain=True)])

    def test_whatever_else_is_the_matter(self):
        old = Orphan("y", True, True)
        for launches in (*BREAKS, Launches.UNCOUNTED):
            self.assert_plan([], EndOrphan("y"), orphans=[old], launches=launches)
        self.assert_plan([], EndOrphan("y"), orphans=[old], trouble=Blocker.PROVIDER_SILENT)

    def test_they_hold_up_nothing(self):
        fleet = [ready("a", 1), ready("b", 2)]
        self.assert_plan(
            fleet,
            Drain("a", DrainCause.CONSOLIDATION),
            EndOrphan("y"),
            orphans=[Orphan("y", True, True)],
            consolidate_after=120.0,
            peak=0,
        )
