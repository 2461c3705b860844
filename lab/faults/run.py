"""A run: faults that a seed draws, one after the other, while people use the service."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from lab.faults import kinds
from lab.faults.checks import check
from lab.faults.figures import Fault, Figures, Watch
from lab.faults.parts import Part, pause
from lab.faults.people import People
from lab.faults.world import World
from tests.integration.service import eventually, run

ALONE = 0.5
"""How many of the faults have all that came before them healed."""

BETWEEN = 1.0
"""Seconds, at most, before one of the others."""

AT_ONCE = 3
"""How many faults may be open together."""

WITHIN = 60.0
"""Seconds within which every request must be served again: as long as a client's patience."""


TOLD = 25
"""Faults from one word about how far the run has come to the next."""


@dataclass(frozen=True)
class Plan:
    """What is to be done."""

    database: str = "sqlite"
    seed: int = 1
    faults: int = 100
    seconds: float | None = None
    """No fault begins later."""
    only: Sequence[str] = ()
    """Kinds that are drawn, by words in their names; all unless given."""
    keep: Path | None = None
    """Where the logs are put of a run that has something to complain about."""
    tell: Callable[[str], None] | None = None
    """Told now and then how far it has come."""


async def carry_out(plan: Plan) -> Figures:
    """Carry out a plan; what it found."""
    figures = Figures(plan.database, plan.seed, Watch(reactor.seconds))
    folder = Path(tempfile.mkdtemp(prefix="bbs-faults-"))
    world = World(plan.database, folder, figures)
    try:
        await world.start()
        people = People(world)
        await people.begin()
        figures.skipped = kinds.skipped(world)
        await eventually(lambda: _all_served(figures), "all requests are served", WITHIN)
        await Faults(plan, world).go()
        await people.stop()
        await people.leave()
        await world.stop()
        check(world, people, str(world.service.options["database.url"]))
    except Exception:
        figures.complain(traceback.format_exc())
    finally:
        if plan.keep and figures.complaints:
            world.keep_logs(plan.keep)
        figures.seconds = figures.watch.now()
        await world.remove()
    return figures


def _all_served(figures: Figures) -> bool:
    """Whether each stream has succeeded once: a fault that is none waits for that."""
    watch = figures.watch
    if not watch.faults:
        watch.over(watch.begin("none", "the beginning"))
    return not watch.open


class Faults:
    """The faults of a run."""

    def __init__(self, plan: Plan, world: World) -> None:
        self._plan = plan
        self._world = world
        self._figures = world.figures
        self._watch = world.figures.watch
        self._random = Random(plan.seed)
        self._choices = [
            choice
            for choice in kinds.choices(world)
            if not plan.only or any(word in choice.kind for word in plan.only)
        ]
        if not self._choices:
            raise ValueError("nothing of that kind can go wrong here")
        self._running: list[Deferred[None]] = []
        self._broken = False

    async def go(self) -> None:
        self._watch.faults.clear()
        began = self._watch.now()
        weights = [choice.weight for choice in self._choices]
        for _ in range(self._plan.faults):
            if self._broken or self._over(began):
                break
            (choice,) = self._random.choices(self._choices, weights)
            strike = choice.prepare(self._random)
            alone, wait = self._random.random() < ALONE, self._random.uniform(0, BETWEEN)
            await self._settle(0 if alone else AT_ONCE - 1)
            await pause(wait)
            await eventually(partial(self._idle, choice.part), choice.target, 2 * WITHIN)
            if self._broken:
                break
            self._running.append(run(self._strike(choice, strike)))
            if self._plan.tell and len(self._watch.faults) % TOLD == 0:
                self._plan.tell(f"{len(self._watch.faults)} faults, {self._watch.now():.0f} s")
        await self._settle(0)
        for running in self._running:
            await running

    def _idle(self, part: Part) -> bool:
        return self._broken or not part.busy

    def _over(self, began: float) -> bool:
        return self._plan.seconds is not None and self._watch.now() - began > self._plan.seconds

    async def _strike(self, choice: kinds.Choice, strike: kinds.Strike) -> None:
        choice.part.busy = True
        fault = self._watch.begin(choice.kind, choice.target)
        try:
            await strike(lambda: self._watch.over(fault))
            await choice.part.recover()
        except Exception as problem:
            self._broken = True
            self._figures.complain(f"{fault}: {type(problem).__name__}: {problem}")
        finally:
            choice.part.busy = False

    async def _settle(self, most: int) -> None:
        """Wait until no more than so many faults are open; complain about what lasts too long."""

        def few() -> bool:
            now = self._watch.now()
            for fault in list(self._watch.open):
                if now - fault.began > WITHIN + (fault.lasted or 0.0):
                    self._give_up(fault)
            return len(self._watch.open) <= most

        await eventually(few, "faults are over", 4 * WITHIN)

    def _give_up(self, fault: Fault) -> None:
        self._figures.complain(
            f"{WITHIN:g} s after {fault}, at {fault.began:.1f} s, still not served:"
            f" {', '.join(self._watch.waits_for(fault))}"
        )
        self._watch.give_up(fault)
