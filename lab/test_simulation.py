"""The controllers on a cloud that fails in every way: see `lab/simulation`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lab.simulation import batches
from lab.simulation.breaks import Breaks
from lab.simulation.world import World

ROUNDS = (3, 33, 69, 74)
"""Seeds to begin with, the cheapest in which all of `HAPPENS` did when they were chosen: what
happens in a round may change with each change of the fleet."""

MOST = 25
"""Rounds more, at most, until all of it has, and until a protection that is taken out is noticed.
`make soak` takes hundreds."""

HAPPENS = {
    "copies",
    "jumps",
    "adopts",
    "lists are",
    "people come and go",
    "half is taken away",
    "one freezes unseen",
    "all are replaced",
    "rest",
}
"""What the tales of these rounds have to tell."""

NOTICED = {
    "token": 1,
    "grace": 3,
    "fleet-id": 4,
    "copy": 4,
    "listed": 11,
    "unproved": 13,
    "warned": 12,
    "token-ended": 11,
    "consolidation-launching": 4,
    "ebb": 4,
    "replace-first": 45,
    "replace-busy": 80,
    "clock": 53,
}
"""Protections, and the seed of a cheap round that failed without each when it was chosen."""


class Rounds(SynchronousTestCase):
    def live(self, seed: int, breaks: Breaks | None = None) -> World:
        """One round; it may log what it likes."""
        world = World(seed, breaks)
        world.complaints = world.run()
        self.flushLoggedErrors()
        return world

    def test_all_becomes_well(self) -> None:
        """No instance without an owner, none above the maximum, nobody without a place."""
        busy = False
        happened: set[str] = set()
        for seed in (*ROUNDS, *range(20, 20 + MOST)):
            world = self.live(seed)
            self.assertEqual(world.complaints, [], f"python -m lab.simulation --seed {seed}")
            busy |= any(fleet.peak == fleet.policy.maximum for fleet in world.fleets)
            happened |= {what for what in HAPPENS for line in world.trace if f" {what}" in line}
            if busy and happened == HAPPENS:
                return
        self.assertEqual(happened, HAPPENS)
        self.assertTrue(busy, "the maximum was never reached")

    def test_a_seed_replays_exactly(self) -> None:
        one, same, other = (self.live(seed).trace for seed in (3, 3, 33))
        self.assertEqual(one, same)
        self.assertNotEqual(one, other)
        self.assertGreater(len(one), 50)

    def test_each_protection_that_is_taken_out_is_noticed(self) -> None:
        """Those that few rounds notice; `python -m lab.simulation --breaks` has them all."""
        for name, first in NOTICED.items():
            seeds = range(first, first + MOST)
            self.assertTrue(any(self.live(seed, Breaks([name])).complaints for seed in seeds), name)

    def test_many_at_once(self) -> None:
        """By one call for each subnet, and none that EC2 throttles."""
        launched, _, api = batches.live(100, together=True)
        self.assertEqual((api.calls["RunInstances"], api.throttled), (3, 0))
        self.assertLess(launched, 5.0)
