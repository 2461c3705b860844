"""The keepers on a cloud that fails in every way: see `tests/simulation`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.simulation.breaks import Breaks
from tests.simulation.world import World

ROUNDS = range(1, 16)
"""Seeds; `make soak` takes hundreds."""


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
            self.assertEqual(world.complaints, [], f"python -m tests.simulation --seed {seed}")
            busiest += world.peak == world.policy.maximum
        self.assertGreater(busiest, len(ROUNDS) / 3, "the maximum was hardly ever reached")

    def test_a_seed_replays_exactly(self) -> None:
        one, same, other = (self.live(seed).trace for seed in (7, 7, 8))
        self.assertEqual(one, same)
        self.assertNotEqual(one, other)
        self.assertGreater(len(one), 50)

    def test_a_launch_that_is_not_idempotent_is_noticed(self) -> None:
        self.assert_noticed(Breaks(["token"]))

    def test_instances_without_tags_are_noticed(self) -> None:
        self.assert_noticed(Breaks(["tags"]))

    def test_absence_taken_for_the_end_is_noticed(self) -> None:
        self.assert_noticed(Breaks(["grace"]))

    def assert_noticed(self, breaks: Breaks) -> None:
        """One of the rounds fails that is well without the break."""
        complaints = (self.live(seed, breaks).complaints for seed in ROUNDS)
        self.assertTrue(next((each for each in complaints if each), None))
