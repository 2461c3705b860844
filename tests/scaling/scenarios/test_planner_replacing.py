"""What the planner decides about servers that are to be replaced, one condition at a time."""

from dataclasses import replace

from bbs.core.values import DrainCause
from bbs.rules.fleet_admin import Blocker
from bbs.scaling.fleet_view import Health, Launches, Machine, Orphan, Owner
from bbs.scaling.planner import Drain, End, EndOrphan, FillPool, Keep, Launch, Resume
from tests.scaling.planner_tools import (
    POLICY,
    PlannerCase,
    booting,
    draining,
    launching,
    lost,
    of,
    ready,
    warm,
)

MARKED = {"causes": [DrainCause.REPLACEMENT]}


def old(id, taken=10, **others):
    """One that is to be replaced."""
    return ready(id, taken, **MARKED, **{"version": "0.2.0", "age": 60.0, **others})


def new(id, taken=1, **others):
    """Another that serves."""
    return ready(id, taken, age=60.0, **others)


def over(id):
    """Its people go over."""
    return Drain(id, DrainCause.REPLACEMENT)


class ReplaceTests(PlannerCase):
    policy = replace(POLICY, maximum=4, spare=5)

    def test_another_is_launched_first(self):
        self.assert_plan([old("a"), new("b", 5)], Launch(1))

    def test_then_its_people_go_over(self):
        self.assert_plan([old("a"), new("b", 5), new("c", 0)], over("a"))

    def test_where_others_have_room_none_is_launched(self):
        self.assert_plan([old("a", 2), new("b", 3)], over("a"))
        self.assert_plan([old("a", 1), new("b", 4)], over("a"))
        self.assert_plan([old("a", 1), new("b", 5)], Launch(1))

    def test_not_onto_others_that_are_to_be_replaced(self):
        self.assert_plan([old("a", 2), old("b", 3)], Launch(1))

    def test_spare_places_may_be_on_those(self):
        self.assert_plan([old("a", 10), old("b", 5), new("c", 0)], over("a"))

    def test_the_minimum_stays(self):
        two = {"spare": 0, "minimum": 2}
        self.assert_plan([old("a", 1), old("b", 1)], Launch(1), **two)
        self.assert_plan([old("a", 1), old("b", 1), new("c", 0)], over("a"), **two)
        # Though the others have room for its people.
        self.assert_plan([old("a", 1), new("b", 1)], Launch(1), **two)

    def test_several_are_launched_for_one_that_is_larger(self):
        large = old("a", 20, capacity=25)
        self.assert_plan([large, new("b", 5)], Launch(2), maximum=9)
        self.assert_plan([large, new("b", 5), new("c", 0)], Launch(1), maximum=9)
        self.assert_plan([large, new("b", 5), new("c", 0)], Launch(1))
        self.assert_plan([large, new("b", 5), new("c", 5)], blocker=Blocker.FULL)

    def test_older_versions_first_and_then_older_servers(self):
        versions = ("0.10.0", 90.0), ("0.9.0", 10.0), ("", 5.0), ("", 20.0), ("0.9.0", 20.0)
        fleet = {
            str(number): old(str(number), 1, version=version, age=age)
            for number, (version, age) in enumerate(versions)
        }
        order = []
        while fleet:
            (step,) = self.planned(*fleet.values(), new("new", 0))
            self.assertIsInstance(step, Drain)
            order.append(step.id)
            del fleet[step.id]
        self.assertEqual(order, ["3", "2", "4", "1", "0"])

    def test_one_after_the_other(self):
        """And not beside anything else."""
        fleet = old("a", 2), new("b", 3)
        for other in (
            launching("c"),
            booting("c"),
            booting("c", health=Health.BEATING),
            warm("c", machine=Machine.RUNS),
            draining("c", 1, causes=[DrainCause.IDLE]),
            draining("c", 1, **MARKED),
            lost("c"),
        ):
            planned = self.plan(*fleet, other, warm=1)
            self.assertFalse(of(planned.steps, Launch, Drain), other)
            self.assertIsNone(planned.blocker)

    def test_not_beside_a_launch_that_an_operator_asked_for(self):
        asked = launching("c", owner=Owner.NOBODY)
        self.assertFalse(of(self.planned(old("a", 2), new("b", 3), asked), Launch, Drain))

    def test_what_was_replaced_has_to_end_first(self):
        """And what ends for another reason has not."""
        fleet = old("a", 2), new("b", 3)
        for cause in (DrainCause.REPLACEMENT, DrainCause.RECOMMENDED):
            self.assert_plan([*fleet, draining("c", causes=[cause])], End("c", cause))
        idle = draining("c", causes=[DrainCause.IDLE])
        self.assert_plan([*fleet, idle], over("a"), End("c"))
        orphan = Orphan("x", True, True)
        self.assert_plan(fleet, over("a"), EndOrphan("x"), orphans=[orphan])

    def test_one_that_was_to_be_replaced_and_drains_for_more(self):
        """It ends for what was more urgent."""
        for cause, ended in ((DrainCause.OPERATOR, None), (DrainCause.WARNED, DrainCause.WARNED)):
            drained = draining("c", causes=[DrainCause.REPLACEMENT, cause])
            self.assert_plan([drained], End("c", ended), spare=0)

    def test_what_holds_it_up(self):
        fleet = old("a", 2), new("b", 3)
        for others, blocker in (
            ({"trouble": Blocker.PROVIDER_AWAY}, Blocker.PROVIDER_AWAY),
            ({"trouble": Blocker.PROVIDER_SILENT}, Blocker.PROVIDER_SILENT),
            ({"trouble": Blocker.BROKER_AWAY}, Blocker.BROKER_AWAY),
            ({"waiting": 1}, Blocker.PEOPLE_WAIT),
            ({"launches": Launches.REFUSED}, Blocker.REFUSED),
            ({"launches": Launches.FAILED_LATELY}, Blocker.FAILED_LATELY),
            ({"launches": Launches.BACK_OFF}, Blocker.FAILED_LATELY),
        ):
            planned = self.plan(*fleet, **others)
            self.assertIs(planned.blocker, blocker)
            self.assertNotIn(over("a"), planned.steps)
        self.assert_plan(fleet, over("a"), launches=Launches.WORK)

    def test_what_holds_it_up_first(self):
        fleet = old("a", 2), new("b", 3)
        everything = {"trouble": Blocker.BROKER_AWAY, "waiting": 1, "launches": Launches.REFUSED}
        self.assertIs(self.plan(*fleet, **everything).blocker, Blocker.BROKER_AWAY)
        del everything["trouble"]
        self.assertIs(self.plan(*fleet, **everything).blocker, Blocker.PEOPLE_WAIT)

    def test_nothing_is_held_up_where_none_is_asked_for(self):
        self.assert_plan([new("b", 3)], trouble=Blocker.PROVIDER_AWAY)
        self.assert_plan([draining("a", 1, **MARKED), new("b", 3)], trouble=Blocker.PROVIDER_AWAY)
        self.assert_plan([warm("a", **MARKED)], warm=1, spare=0, trouble=Blocker.PROVIDER_AWAY)

    def test_at_the_maximum_one_goes_whose_people_have_room(self):
        fleet = old("a", 8), old("b", 3, age=1.0), new("c", 6)
        self.assert_plan(fleet, over("b"), maximum=3, spare=3)
        self.assert_plan(fleet, maximum=3, blocker=Blocker.FULL)
        # Also below the minimum, which another is launched for.
        self.assert_plan([old("a", 0), old("b", 0)], over("a"), minimum=2, maximum=2)

    def test_orphans_count_to_the_maximum(self):
        fleet = old("a", 10), old("b", 9), new("c", 5)
        self.assert_plan(fleet, Launch(1))
        orphan = Orphan("x", True, False)
        self.assert_plan(fleet, orphans=[orphan], blocker=Blocker.FULL)

    def test_what_an_operator_runs_stays(self):
        self.assert_plan([old("a", 2, owner=Owner.OPERATOR), new("b", 3)])

    def test_fewer_servers_are_not_made_meanwhile(self):
        fewer = {"consolidate_after": 10.0, "spare": 0, "peak": 0}
        fleet = old("a", 12, capacity=12), new("b", 8), new("c", 2)
        self.assert_plan(fleet, Launch(1), **fewer)
        (step,) = self.planned(*(replace(s, causes=frozenset()) for s in fleet), **fewer)
        self.assertEqual(step, Drain("c", DrainCause.CONSOLIDATION))

    def test_the_new_ones_are_not_idle_meanwhile(self):
        idle, away = 1000.0, Blocker.PROVIDER_AWAY
        fleet = old("a", 10), old("b", 0, idle=idle), new("c", 0, idle=idle)
        self.assert_plan(fleet, Drain("b", DrainCause.IDLE), trouble=away, blocker=away)
        fleet = old("a", 10), new("b", 0, idle=idle), new("c", 0, idle=idle)
        self.assert_plan(fleet, trouble=away, blocker=away)

    def test_one_that_drains_is_kept_for_people_and_not_for_spare_places(self):
        drains = draining("a", 5, **MARKED)
        self.assert_plan([drains, new("b", 5)], Launch(1))
        self.assert_plan([drains, new("b", 6)], Keep("a"))


class PoolTests(PlannerCase):
    """Those that stand by, and are to be replaced."""

    policy = replace(POLICY, maximum=4, warm=2)
    pool = warm("a", **MARKED), warm("b")

    def test_ended_while_nothing_else_is_the_matter(self):
        end = End("a", DrainCause.REPLACEMENT)
        self.assert_plan(self.pool, FillPool(1), end)
        self.assert_plan(self.pool, trouble=Blocker.PROVIDER_AWAY)
        self.assert_plan(self.pool, launches=Launches.FAILED_LATELY)

    def test_who_waits_has_it_if_there_is_no_other(self):
        self.assert_plan(self.pool, Resume("b"), waiting=1)
        self.assert_plan(self.pool, Resume("b"), Resume("a"), waiting=11)

    def test_the_first_to_go_where_there_are_too_many(self):
        pool = warm("a", age=900.0, **MARKED), warm("b"), warm("c")
        self.assert_plan(pool, End("a", DrainCause.SURPLUS))

    def test_what_stands_by_is_for_crowds(self):
        self.assert_plan([old("a"), new("b", 5), warm("c")], Launch(1), warm=1, spare=5)
