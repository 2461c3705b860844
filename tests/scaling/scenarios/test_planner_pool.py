"""What the planner decides about the warm pool, one condition at a time."""

from dataclasses import replace

from bbs.core.values import DrainCause, LossCause
from bbs.rules.fleet_admin import Blocker
from bbs.scaling.fleet_view import FleetView, Health, Launches, Machine, Orphan
from bbs.scaling.planner import Drain, End, FillPool, Launch, MarkReady, Park, Resume, Stop
from tests.scaling.planner_tools import (
    POLICY,
    PlannerCase,
    booting,
    draining,
    launching,
    of,
    ready,
    warm,
)


class FillTests(PlannerCase):
    """How many are launched to stand by."""

    policy = replace(POLICY, maximum=4, warm=2)

    def test_an_empty_pool_is_filled(self):
        self.assert_plan([], FillPool(2))
        self.assert_plan([warm("a")], FillPool(1))
        self.assert_plan([warm("a"), booting("b")])
        self.assert_plan([], warm=0)

    def test_not_while_anybody_waits_or_something_comes_before(self):
        self.assert_plan([ready(id, 10) for id in "abcd"], waiting=1)
        self.assert_plan([ready("a", 5)], waiting=1)
        self.assert_plan([], Launch(1), waiting=1)
        self.assert_plan([], Launch(1), minimum=1)
        self.assert_plan([launching()])
        self.assert_plan([launching(machine=Machine.ENDED)], End("a", LossCause.FAILED))
        self.assert_plan([], launches=Launches.BACK_OFF)
        self.assert_plan([], launches=Launches.REFUSED)

    def test_not_before_it_is_known_what_runs(self):
        self.assert_plan([], launches=Launches.UNCOUNTED)

    def test_a_failure_of_before_holds_up_nothing(self):
        """Nor what people who are there do not feel."""
        self.assert_plan([], FillPool(2), launches=Launches.FAILED_LATELY)
        self.assert_plan([], FillPool(2), trouble=Blocker.BROKER_AWAY)

    def test_as_far_as_there_is_room(self):
        fleet = [ready(id) for id in "abc"]
        self.assert_plan(fleet, FillPool(1))
        self.assert_plan([*fleet, ready("d")])
        self.assert_plan(fleet, orphans=[Orphan("x", True, False)])
        self.assert_plan(fleet, FillPool(1), orphans=[Orphan("x", False, False)])

    def test_what_has_booted_is_stopped(self):
        self.assert_plan([warm("a"), booting("b", health=Health.BEATING)], Park("b"))
        self.assert_plan([warm("a"), booting("b", health=Health.UNADDRESSED)], Park("b"))
        running = warm("b", machine=Machine.RUNS, age=1.0)
        self.assert_plan([warm("a"), running], Stop("b"))

    def test_what_is_no_use_is_ended(self):
        for server, cause in (
            (warm("b", machine=Machine.ENDED), LossCause.ENDED),
            (warm("b", machine=Machine.MISSING), LossCause.ENDED),
            (warm("b", causes=[DrainCause.OUTDATED]), DrainCause.OUTDATED),
            (warm("b", causes=[DrainCause.OPERATOR]), DrainCause.OPERATOR),
            (warm("b", causes=[DrainCause.WARNED]), DrainCause.WARNED),
            (warm("b", machine=Machine.RUNS, age=180.1), DrainCause.UNSTOPPABLE),
            (booting("b", age=180.1), LossCause.LATE),
            (booting("b", machine=Machine.ENDED), LossCause.FAILED),
            (booting("b", health=Health.LEAVING), LossCause.FAILED),
        ):
            self.assertIn(End("b", cause), self.planned(warm("a"), server))
            self.assertNotIn(Resume("b"), self.planned(server, waiting=5))
        self.assert_plan([warm("a"), warm("b", machine=Machine.UNKNOWN)])

    def test_one_of_another_version_is_stopped_first(self):
        """Then nobody has started it meanwhile."""
        runs = warm("b", machine=Machine.RUNS, causes=[DrainCause.OUTDATED])
        self.assert_plan([warm("a"), runs], Stop("b"))
        unsure = warm("b", machine=Machine.UNKNOWN, causes=[DrainCause.OUTDATED])
        self.assert_plan([warm("a"), unsure])

    def test_one_that_boots_for_it_and_is_unwanted(self):
        """It drains, though nobody is on it, and is no longer one of the pool; another comes."""
        for cause in (DrainCause.OPERATOR, DrainCause.WARNED):
            steps = self.planned(warm("a"), booting("b", causes=[cause]))
            self.assertEqual(steps, (Drain("b", cause), FillPool(1)))

    def test_what_is_too_many_is_ended(self):
        pool = warm("a"), warm("b", age=90.0), warm("c", age=70.0)
        surplus = End("c", DrainCause.SURPLUS), End("a", DrainCause.SURPLUS)
        self.assert_plan(pool, *surplus, warm=1)
        self.assert_plan(pool, Resume("b"), warm=1, waiting=1)
        self.assert_plan([warm("a"), booting("b")], surplus[1], warm=0)

    def test_one_that_boots_is_none_that_stands_by(self):
        """Though somebody has stopped its machine: it counts once, and ends as launches do."""
        stopped = booting("a", machine=Machine.STOPPED)
        self.assert_plan([stopped], warm=0)
        self.assert_plan([stopped], FillPool(1))
        self.assert_plan([stopped], Resume("a"), waiting=10)
        self.assert_plan([stopped], Resume("a"), Launch(1), waiting=11)


class ResumeTests(PlannerCase):
    """Who is taken from the pool."""

    policy = replace(POLICY, maximum=4, warm=2)

    def test_warm_ones_are_started_before_others_are_launched(self):
        pool = warm("a"), warm("b", age=90.0)
        self.assert_plan(pool, Resume("b"), waiting=1)
        self.assert_plan(pool, Resume("b"), Resume("a"), Launch(1), waiting=25)

    def test_then_those_that_boot_for_the_pool(self):
        pool = warm("a"), booting("b"), booting("c", health=Health.BEATING)
        self.assert_plan(pool, Resume("a"), Resume("c"), waiting=15, warm=3)
        self.assert_plan(pool, Resume("a"), Resume("c"), Resume("b"), Launch(1), waiting=35, warm=3)

    def test_nobody_is_counted_on_who_stands_by(self):
        self.assert_plan([warm("a"), warm("b")], Resume("a"), minimum=1)

    def test_others_come_into_it_only_then(self):
        self.assert_plan([warm("a")], Resume("a"), minimum=1)
        self.assert_plan([launching("a"), warm("b")], minimum=1)
        self.assert_plan([ready("a"), warm("b")], FillPool(1), minimum=1)

    def test_never_more_than_the_maximum(self):
        full = [ready(id, 10) for id in "abc"]
        self.assert_plan([*full, warm("d"), warm("e")], Resume("d"), waiting=15)
        stopping = warm("d", machine=Machine.RUNS, age=1.0)
        self.assert_plan([*full, stopping], Stop("d"), waiting=15)
        # One that boots already needs no room.
        self.assert_plan([*full, booting("d"), warm("e")], Resume("d"), waiting=1)

    def test_one_that_is_not_known_to_be_stopped_counts_to_the_maximum(self):
        full = [ready(id, 10) for id in "ab"]
        for machine in (Machine.UNKNOWN, Machine.MISSING, Machine.ENDED, Machine.RUNS):
            fleet = [*full, warm("c", machine=machine), warm("d"), warm("e")]
            self.assertEqual(of(self.planned(*fleet, waiting=15), Resume), [Resume("d")])

    def test_that_launches_fail_says_nothing_of_those_that_stand_by(self):
        self.assert_plan([warm("a")], Resume("a"), waiting=15, launches=Launches.BACK_OFF)
        self.assert_plan([warm("a")], waiting=15, launches=Launches.REFUSED)

    def test_what_boots_serves_people_even_while_launches_are_refused(self):
        """No provider is asked for that."""
        for health in (Health.UNHEARD, Health.BEATING):
            fleet = [warm("a"), booting("b", health=health)]
            self.assert_plan(fleet, Resume("b"), waiting=15, launches=Launches.REFUSED)

    def test_nor_does_one_that_fails_now(self):
        """Those that stand by come for its people, and nothing else is launched."""
        late = launching("b", age=180.1)
        self.assert_plan([warm("a"), late], Resume("a"), End("b", LossCause.LATE), waiting=15)

    def test_those_that_boot_before_it_is_known_what_runs(self):
        """They run already. Nothing is started."""
        fleet = [warm("a"), booting("b")]
        self.assert_plan(fleet, Resume("b"), waiting=15, launches=Launches.UNCOUNTED)

    def test_those_that_boot_while_more_run_than_may(self):
        fleet = [ready("a", 10), ready("b", 10), booting("c"), booting("d")]
        self.assert_plan(fleet, Resume("c"), Resume("d"), waiting=15, maximum=2)

    def test_one_that_serves_is_not_stopped_where_it_is_needed(self):
        served = booting("a", health=Health.BEATING)
        self.assert_plan([served], Resume("a"), waiting=1)
        self.assert_plan([replace(served, pooled=False)], MarkReady(("a",)), waiting=1)


class ServingTests(PlannerCase):
    """What the pool is to the servers that serve."""

    policy = replace(POLICY, maximum=9, warm=1, consolidate_after=120.0)

    def test_what_it_does_holds_up_nothing(self):
        fleet = [ready("a", 1), ready("b", 2)]
        for server, *steps in (
            (warm("x"),),
            (warm("x", machine=Machine.RUNS), Stop("x")),
            (booting("x"),),
            (booting("x", health=Health.BEATING), Park("x")),
        ):
            planned = self.planned(*fleet, server, peak=0)
            self.assertEqual(set(planned), {Drain("a", DrainCause.CONSOLIDATION), *steps})

    def test_it_has_no_places(self):
        self.assert_plan([ready("a", 0, idle=120.0), warm("b")], minimum=1)
        self.assert_plan([draining("a", 5), warm("b")], Resume("b"))


class BesideTests(PlannerCase):
    """What runs beside the rows of servers that count."""

    def beside(self, *servers, orphans=()):
        return FleetView(servers={s.id: s for s in servers}, orphans=orphans).other_machines

    def test_nothing(self):
        self.assertEqual(self.beside(), 0)
        self.assertEqual(self.beside(ready("a"), booting("b"), warm("c")), 0)

    def test_orphans_that_run(self):
        orphans = [Orphan("x", True, False), Orphan("y", True, True), Orphan("z", False, True)]
        self.assertEqual(self.beside(ready("a"), orphans=orphans), 2)

    def test_what_stands_by_and_is_not_known_to_be_stopped(self):
        for machine in Machine:
            beside = 0 if machine is Machine.STOPPED else 1
            self.assertEqual(self.beside(warm("a", machine=machine)), beside)
            self.assertEqual(self.beside(booting("a", machine=machine)), 0)
