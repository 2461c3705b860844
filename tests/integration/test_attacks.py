"""The attackers, each for a few seconds: `make soak` has more of them, and holds what honest peers
wait to its goals.

Here nobody's patience is measured, as the machine may be a slow one with much else to do: a peer is
held up where it waits many seconds, which is what it does where nothing defends it, or for good.
What is at fault is run again, as a machine that stood still looks like an attack that succeeded.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.load.attacks import report
from tests.load.attacks.catalogue import ATTACKS
from tests.load.attacks.filling import Template
from tests.load.attacks.measure import run
from tests.load.attacks.values import MEBIBYTE, Bounds, Outcome, Plan

GENEROUS = Bounds(10, 8000, 10, 15_000, turns=5, kept=48 * MEBIBYTE)

PLAN = Plan(before=1.0, during=2.0, seed=1, inputs=3000, patience=30.0)
"""Seconds of each: with those of `AMONG_THEM` less than a minute, what comes before them apart."""

AMONG_THEM = (
    *("logins-right", "registrations", "guesses", "silent-many-addresses", "descriptors"),
    *("endings-login", "page", "unread-posts", "listeners", "commands"),
    *(name for name in ATTACKS if name.startswith("fuzz-")),
)
"""An attack on each limit; `make soak` has all there are."""


WITHOUT = ("silent-many-addresses", "descriptors", "unread-posts")
"""Attacks that are seen to work within seconds where their limits are taken out, on any machine;
`python -m tests.load.attacks --self-test` has all of them."""


RUNS = 3
"""How often an attack has to succeed to be one that does."""

LONGER = 6.0
"""Seconds of these: an attacker of the least priority needs a while to make its connections."""


class Attacks(TestCase):
    """Nobody takes the service from the others."""

    timeout = 1200

    async def test_each_attack_is_withstood(self) -> None:
        succeeded: Iterable[str] = AMONG_THEM
        for _ in range(RUNS):
            faults = await self._faults(succeeded, defended=True)
            succeeded = {name: found for name, found in faults.items() if found}
            if not succeeded:
                break
        self.assertEqual(succeeded, {})

    async def test_attacks_work_without_limits(self) -> None:
        faults = await self._faults(WITHOUT, defended=False)
        self.assertEqual([name for name, found in faults.items() if not found], [])

    async def _faults(self, names: Iterable[str], defended: bool) -> dict[str, list[str]]:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        outcomes = await deferToThread(_run_all, folder, names, defended)
        print("\n" + report.table(outcomes, GENEROUS), file=sys.stderr)
        return {each.attack.name: each.faults(GENEROUS) for each in outcomes}


def _run_all(folder: Path, names: Iterable[str], defended: bool) -> list[Outcome]:
    template = Template(folder)
    outcomes = []
    for name in names:
        attack, own = ATTACKS[name], folder / name
        own.mkdir()
        plan = PLAN if defended else replace(PLAN, during=LONGER, without=attack.limits)
        outcomes.append(run(attack, plan, own, template))
    return outcomes
