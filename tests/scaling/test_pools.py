"""Pools of capacity that have failed lately are left, for a while."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.scaling.pools import DOUBTFUL, HALF_LIFE, MOST, PoolMemory
from tests.scaling.planner_tools import booting, launching, ready

A, B, SMALL_A, SPOT_A = "micro in a", "micro in b", "small in a", "micro in a as Spot"
ZONES = {A: "a", B: "b", SMALL_A: "a", SPOT_A: "a"}


class Remembering(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.memory = PoolMemory(ZONES, self.clock)

    def test_nothing_at_first(self) -> None:
        self.assertEqual(self.memory.doubts(), {})
        self.assertEqual(self.memory.trusted_zones(), {"a", "b"})

    def test_a_failure_is_of_the_zone_too(self) -> None:
        self.memory.failed(A)
        self.assertEqual(self.memory.doubts(), {A: 1.0, SMALL_A: 0.5, SPOT_A: 0.5})
        self.assertEqual(self.memory.trusted_zones(), {"b"})

    def test_a_launch_comes_out_where_there_is_capacity(self) -> None:
        self.assertEqual(self.memory.trusted_zones([A, SPOT_A]), {"a", "b"})
        self.assertEqual(self.memory.trusted_zones([B]), {"a"})

    def test_it_fades(self) -> None:
        self.memory.failed(A)
        self.clock.advance(HALF_LIFE)
        self.assertEqual(self.memory.doubts()[A], 0.5)
        self.assertEqual(self.memory.trusted_zones(), {"b"}, "a launch would be tried too soon")
        self.clock.advance(HALF_LIFE + 1)
        self.assertLess(self.memory.doubts()[A], DOUBTFUL)
        self.assertEqual(self.memory.trusted_zones(), {"a", "b"})

    def test_failures_add_up_but_not_for_ever(self) -> None:
        for _ in range(100):
            self.memory.failed(A)
        self.assertEqual(self.memory.doubts()[A], MOST)

    def test_a_launch_that_serves(self) -> None:
        self.memory.failed(A)
        self.memory.failed(B)
        self.memory.served(SMALL_A)
        self.assertEqual(self.memory.doubts(), {B: 1.0}, "zone a is not down")

    def test_servers_that_die(self) -> None:
        """One is no reason to leave its zone, and two are."""
        self.memory.lost(A)
        self.assertEqual(self.memory.trusted_zones(), {"a", "b"})
        self.assertLess(self.memory.doubts()[A], DOUBTFUL)
        self.memory.lost(A)
        self.assertGreater(self.memory.doubts()[A], DOUBTFUL)

    def test_capacity_that_is_wanted_back(self) -> None:
        self.memory.wanted_back(SPOT_A)
        self.assertEqual(self.memory.doubts(), {SPOT_A: 0.5})

    def test_a_warning_counts_once(self) -> None:
        warned = ready("w", pool=SPOT_A, warning="spot: rebalance recommended")
        self.memory.see([warned], 60.0)
        self.memory.see([warned], 60.0)
        self.assertEqual(self.memory.doubts(), {SPOT_A: 0.5})

    def test_a_late_launch_counts_while_it_is_late(self) -> None:
        late = launching("l", pool=B, age=61.0)
        early, for_the_pool = launching("e", pool=A, age=60.0), booting("p", pool=A, age=59.0)
        self.memory.see([late, early, for_the_pool], 60.0)
        self.assertEqual(self.memory.doubts(), {B: 0.5})
        self.memory.see([ready("l", pool=B)], 60.0)
        self.assertEqual(self.memory.doubts(), {})

    def test_an_unknown_pool(self) -> None:
        self.memory.failed("nano in c")
        self.memory.failed("")
        self.assertEqual(self.memory.doubts(), {})

    def test_a_failure_of_an_earlier_controller(self) -> None:
        self.memory.failed(B, ago=HALF_LIFE)
        self.assertEqual(self.memory.doubts(), {B: 0.5})
