"""Late launches are asked for elsewhere too, and servers are kept in two zones."""

from __future__ import annotations

from typing import Any

from bbs.core.values import REBALANCE, DrainCause, LossCause
from bbs.scaling.fleet_view import Health, Launches
from bbs.scaling.planner import Drain, End, Launch, MarkReady
from tests.scaling.planner_tools import PlannerCase, draining, launching, ready

LATE = {"age": 61.0, "pool": "micro in a", "zone": "a"}
FRESH = {"age": 10.0, "pool": "micro in b", "zone": "b"}


def in_a(id: str, taken: int = 1, **others: Any) -> Any:
    return ready(id, taken, zone="a", **others)


def in_b(id: str, taken: int = 1, **others: Any) -> Any:
    return ready(id, taken, zone="b", **others)


class Hedging(PlannerCase):
    def late(self, *servers: Any, **others: Any) -> Any:
        return self.planned(*servers, **{"hedge_after": 60.0, **others})

    def test_a_late_launch_is_asked_for_once_more(self) -> None:
        self.assertEqual(self.late(launching(**LATE), waiting=5), (Launch(1),))
        self.assertEqual(self.late(launching(**LATE), minimum=1), (Launch(1),))

    def test_and_not_twice(self) -> None:
        both = launching("a", **LATE), launching("b", **FRESH)
        self.assertEqual(self.late(*both, waiting=5), ())
        late_too = launching("a", **LATE), launching("b", **LATE)
        self.assertEqual(self.late(*late_too, waiting=5), ())

    def test_only_as_many_as_are_late(self) -> None:
        some = launching("a", **LATE), launching("b", **FRESH), launching("c", **LATE)
        self.assertEqual(self.late(*some, waiting=30), (Launch(2),))

    def test_one_that_is_not_needed(self) -> None:
        self.assertEqual(self.late(ready(taken=0, id="r"), waiting=5), ())

    def test_one_that_has_reported_is_not_late(self) -> None:
        heard = launching(health=Health.UNADDRESSED, **LATE)
        self.assertEqual(self.late(heard, waiting=5), ())

    def test_where_there_is_one_pool_only(self) -> None:
        self.assertEqual(self.planned(launching(**LATE), waiting=5), ())

    def test_while_launches_fail(self) -> None:
        self.assertEqual(self.late(launching(**LATE), waiting=5, launches=Launches.BACK_OFF), ())

    def test_at_the_maximum(self) -> None:
        self.assertEqual(self.late(launching(**LATE), waiting=5, maximum=1), ())
        very_late = launching(**{**LATE, "age": 121.0})
        full: dict[str, Any] = {"waiting": 5, "maximum": 1}
        makes_room = self.late(very_late, zones=frozenset("b"), **full)
        self.assertEqual(makes_room, (End("a", LossCause.LATE),))
        # Boots are slow everywhere, or this one alone is late.
        for zones in ("", "ab"):
            self.assertEqual(self.late(very_late, zones=frozenset(zones), **full), ())
        self.assertEqual(self.late(very_late, waiting=5, maximum=2), (Launch(1),))

    def test_the_late_one_ends_once_others_serve(self) -> None:
        serves = ready("b", 5)
        self.assertEqual(
            self.late(launching(**LATE), serves, minimum=1), (End("a", LossCause.LATE),)
        )

    def test_not_for_one_that_serves_since_long(self) -> None:
        """The late one may be launched for something else, such as a replacement."""
        self.assertEqual(self.late(launching(**LATE), ready("b", 5, age=500.0), minimum=1), ())

    def test_not_before(self) -> None:
        booted = launching("b", health=Health.BEATING, **FRESH)
        self.assertEqual(self.late(launching(**LATE), booted, waiting=5), (MarkReady(("b",)),))

    def test_nor_while_it_is_needed_too(self) -> None:
        self.assertEqual(self.late(launching(**LATE), ready("b", 10), waiting=5), (Launch(1),))
        self.assertEqual(self.late(launching(**LATE), ready("b", 10), spare=5), (Launch(1),))


class Spreading(PlannerCase):
    policy = PlannerCase.policy

    def two(self, *servers: Any, **others: Any) -> Any:
        return self.planned(*servers, **{"minimum": 2, "zones": frozenset("ab"), **others})

    def test_all_in_one_zone(self) -> None:
        self.assertEqual(self.two(in_a("a"), in_a("b")), (Launch(1),))

    def test_where_one_is_enough(self) -> None:
        self.assertEqual(self.two(in_a("a"), in_a("b"), minimum=1), ())

    def test_no_other_zone_can_be_trusted(self) -> None:
        self.assertEqual(self.two(in_a("a"), in_a("b"), zones=frozenset("a")), ())

    def test_once_only(self) -> None:
        self.assertEqual(self.two(in_a("a"), in_a("b"), launching("c", **FRESH)), ())

    def test_not_again_if_it_came_out_in_the_same(self) -> None:
        self.assertEqual(self.two(in_a("a"), in_a("b"), in_a("c", 0)), ())

    def test_only_while_nothing_else_goes_on(self) -> None:
        self.assertEqual(self.two(in_a("a"), in_a("b"), draining("c", 5, zone="a")), ())
        for held in (Launches.FAILED_LATELY, Launches.REFUSED):
            self.assertEqual(self.two(in_a("a"), in_a("b"), launches=held), ())

    def test_at_the_maximum(self) -> None:
        self.assertEqual(self.two(in_a("a"), in_a("b"), maximum=2), ())

    def test_an_idle_one_is_kept_that_is_the_last_of_its_zone(self) -> None:
        idle: dict[str, Any] = {"taken": 0, "idle": 500.0}
        a, c, b = in_a("a"), in_a("c", **idle), in_b("b", **idle)
        self.assertEqual(self.two(a, c, b), (Drain("c", DrainCause.IDLE),))
        self.assertEqual(self.two(a, in_a("c"), b), ())

    def test_neither_is_it_consolidated(self) -> None:
        crowd = {"peak": 5, "consolidate_after": 60.0}
        servers = in_a("a", 3), in_a("c", 2), in_b("b", 1)
        self.assertEqual(self.two(*servers, **crowd), (Drain("c", DrainCause.CONSOLIDATION),))

    def test_three_zones(self) -> None:
        """Of three zones one may be left."""
        idle = in_b("b", taken=0, idle=500.0)
        servers = in_a("a"), idle, ready("c", zone="c")
        self.assertEqual(self.two(*servers), (Drain("b", DrainCause.IDLE),))

    def test_the_last_of_its_zone_is_replaced_after_its_successor(self) -> None:
        replaced = {"causes": [DrainCause.REPLACEMENT]}
        old = in_a("a", 5, **replaced), in_b("b", 1, **replaced)
        self.assertEqual(self.two(*old), (Launch(1),))
        # The successor is in zone a: the old one there can go, though the other is emptier.
        self.assertEqual(self.two(*old, in_a("c", 0)), (Drain("a", DrainCause.REPLACEMENT),))
        rest = in_b("b", 1, **replaced), in_a("c", 5)
        self.assertEqual(self.two(*rest), (Launch(1),))
        self.assertEqual(self.two(*rest, in_b("d", 0)), (Drain("b", DrainCause.REPLACEMENT),))

    def test_it_is_replaced_all_the_same_if_its_zone_has_no_room(self) -> None:
        rest = in_b("b", 1, causes=[DrainCause.REPLACEMENT]), in_a("c", 5)
        self.assertEqual(self.two(*rest, in_a("d", 0)), (Drain("b", DrainCause.REPLACEMENT),))


class Recommended(PlannerCase):
    def hinted(self, id: str, taken: int) -> Any:
        return in_a(id, taken, causes=[DrainCause.RECOMMENDED], warning=REBALANCE)

    def test_one_at_a_time_where_there_is_room(self) -> None:
        servers = self.hinted("a", 4), self.hinted("b", 3), in_b("c", 1)
        self.assert_plan(servers, Drain("b", DrainCause.RECOMMENDED))
        moving = draining("b", 3, causes=[DrainCause.RECOMMENDED])
        self.assert_plan([self.hinted("a", 4), moving, in_b("c", 1)])

    def test_nothing_is_launched_for_it(self) -> None:
        self.assert_plan([self.hinted("a", 4), in_b("c", 8)])
        self.assert_plan([self.hinted("a", 4), in_b("c", 1)], spare=10)
        self.assert_plan([self.hinted("a", 4), in_b("c", 1)], minimum=2)

    def test_a_certain_warning_at_once(self) -> None:
        servers = in_a("a", 4, causes=[DrainCause.WARNED]), in_b("c", 8)
        self.assert_plan(servers, Drain("a", DrainCause.WARNED), Launch(1))

    def test_it_stays_if_people_need_it(self) -> None:
        moving = draining("b", 3, causes=[DrainCause.RECOMMENDED])
        steps = self.planned(moving, waiting=2)
        self.assertEqual([step.id for step in steps], ["b"])
