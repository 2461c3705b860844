"""Some of the attackers, each for a second or two: `make soak` has all of them and for a minute
each, and holds what honest peers wait to its goals.

Here nobody's patience is measured, as the machine may be a slow one with much else to do: a peer is
held up where it waits many seconds, which is what it does where nothing defends it, or for good.
What is at fault is run again, as a machine that stood still looks like an attack that succeeded.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from lab.attacks import report
from lab.attacks.catalogue import ATTACKS
from lab.attacks.filling import Template
from lab.attacks.measure import besieged
from lab.attacks.values import MEBIBYTE, Bounds, Outcome, Plan

GENEROUS = Bounds(10, 8000, 10, 15_000, turns=5, kept=48 * MEBIBYTE)

FLOODING = Plan(before=0.3, during=1.0, seed=1, inputs=200, patience=20.0)

FUZZING = replace(FLOODING, during=0.5)
"""It goes on until all is said."""

FLOODS = (
    *("endings-login", "page", "unread-posts", "commands", "fuzz-stomp"),
    # Of these there are some that still wait for their turn when it is over.
    *("registrations", "guesses", "logins-right"),
)
"""Attacks on limits that are as operators leave them, and on the embedded broker."""

FUZZES = ("fuzz-login", "fuzz-app", "fuzz-telnet", "fuzz-page", "fuzz-lying-broker")

RUNS = 3
"""How often an attack has to succeed to be one that does."""

SILENT = "silent-many-addresses"
"""An attack that is seen to work within seconds on any machine where its limit is taken out;
`python -m lab.attacks --self-test` has all of them."""

UNLIMITED = replace(FLOODING, during=3.0, without=ATTACKS[SILENT].limits, settling=0.0)
"""An attacker of the least priority needs a while to make its connections."""


class Attacks(TestCase):
    """Nobody takes the service from the others."""

    timeout = 600

    async def test_floods(self) -> None:
        await self._are_withstood(FLOODS, FLOODING)

    async def test_fuzzed_inputs(self) -> None:
        await self._are_withstood(FUZZES, FUZZING)

    async def test_descriptors_that_are_all(self) -> None:
        # Long enough for so many newcomers that an app server more is needed.
        await self._are_withstood(["descriptors"], replace(FLOODING, during=3.0))

    async def test_an_attack_works_without_its_limit(self) -> None:
        (outcome,) = await self._carried_out([SILENT], UNLIMITED)
        self.assertNotEqual(outcome.faults(GENEROUS), [])

    async def _are_withstood(self, names: Sequence[str], plan: Plan) -> None:
        last = {each.attack.name: each for each in await self._carried_out(names, plan, RUNS)}
        found = {name: outcome.faults(GENEROUS) for name, outcome in last.items()}
        self.assertEqual({name: faults for name, faults in found.items() if faults}, {})

    async def _carried_out(
        self, names: Sequence[str], plan: Plan, runs: int = 1
    ) -> Sequence[Outcome]:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        outcomes = await deferToThread(_carry_out, folder, names, plan, runs)
        print("\n" + report.table(outcomes, GENEROUS), file=sys.stderr)
        return outcomes


def _carry_out(folder: Path, names: Sequence[str], plan: Plan, runs: int) -> list[Outcome]:
    """All of them on one server; each until it has failed, or succeeded so often."""
    attacks = [ATTACKS[name] for name in names]
    outcomes = []
    with besieged(attacks, folder, Template(folder), plan.without) as siege:
        for attack in attacks:
            for _ in range(runs):
                outcomes.append(siege.carry_out(attack, plan))
                if not outcomes[-1].faults(GENEROUS):
                    break
    return outcomes
