"""The keepers on a cloud that fails in every way: see `tests/load/simulation`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.load.simulation.breaks import Breaks
from tests.load.simulation.world import World

ROUNDS = range(1, 5)
"""Seeds; `make soak` takes hundreds."""

NOTICED = {
    "token": 1,
    "tags": 4,
    "fleet-id": 2,
    "copy": 2,
    "stopped": 3,
    "listed": 1,
    "warned": 7,
    "consolidation-launching": 1,
    "template": 103,
    "warm": 3,
    "replace-first": 2,
    "replace-busy": 1,
}
"""Protections, and the seed of a round that fails without each."""


class Rounds(SynchronousTestCase):
    def live(self, seed: int, breaks: Breaks | None = None) -> World:
        """One round; it may log what it likes."""
        world = World(seed, breaks)
        world.complaints = world.run()
        self.flushLoggedErrors()
        return world

    def test_all_becomes_well(self) -> None:
        """No instance without an owner, none above the maximum, nobody without a place."""
        busiest = 0
        for seed in ROUNDS:
            world = self.live(seed)
            self.assertEqual(world.complaints, [], f"python -m tests.load.simulation --seed {seed}")
            busiest += any(fleet.peak == fleet.policy.maximum for fleet in world.fleets)
        self.assertGreater(busiest, len(ROUNDS) / 4, "the maximum was hardly ever reached")

    def test_a_seed_replays_exactly(self) -> None:
        one, same, other = (self.live(seed).trace for seed in (7, 7, 8))
        self.assertEqual(one, same)
        self.assertNotEqual(one, other)
        self.assertGreater(len(one), 50)

    def test_each_protection_that_is_taken_out_is_noticed(self) -> None:
        """Those that few rounds notice; `python -m tests.load.simulation --breaks` has them all."""
        for name, seed in NOTICED.items():
            self.assertTrue(self.live(seed, Breaks([name])).complaints, name)
