"""A process that can die between any two of its steps: of what it does then nothing happens, and of
what it had asked for it never hears."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from bbs.core.errors import Unavailable
from bbs.rules import fleet_transitions
from bbs.storage import clock
from bbs.storage.database import Database


@implementer(IReactorTime)
class Mortal:
    """The life of one login server.

    :param chance: decides whether a death comes before what was asked for or behind it.
    :param life: calls of the database and the provider until it dies; None for ever.
    """

    def __init__(self, clock: Any, chance: Random, life: int | None) -> None:
        self.alive = True
        self.on_death: Callable[[], None] = lambda: None
        self.life = life
        self._clock = clock
        self._chance = chance
        self._graves: list[Any] = []

    def ask(self, call: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        """`call()`, if this lives to make it; fires if it lives to hear."""
        if self.life is not None:
            self.life -= 1
            if self.life == 0 and self._chance.random() < 0.5:
                self.die()
        heard: Deferred[Any] = Deferred()
        # Kept: what nobody refers to is closed, and runs its clean-up, which a death does not.
        self._graves.append(heard)
        if not self.alive:
            return heard

        def hear(result: Any) -> None:
            if self.life == 0:
                self.die()
            if self.alive:
                self._graves.remove(heard)
                if not heard.called:
                    heard.callback(result)

        call().addBoth(hear)
        return heard

    def die(self) -> None:
        """Now."""
        if self.alive:
            self.alive = False
            self.on_death()

    # IReactorTime

    def seconds(self) -> float:
        """The time, which is everybody's."""
        now: float = self._clock.seconds()
        return now

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any, **kw: Any) -> Any:
        """Call it, if this lives then."""

        def if_alive() -> None:
            if self.alive:
                callable(*args, **kw)

        return self._clock.callLater(delay, if_alive)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """Everybody's."""
        calls: Sequence[IDelayedCall] = self._clock.getDelayedCalls()
        return calls


WITHOUT_CHANCE = (
    clock.read,
    fleet_transitions.begin,
    fleet_transitions.note_waiting,
    fleet_transitions.while_leading,
)
"""Rules that decide nothing about the fleet: no chance is drawn for them, and nobody dies by them,
so that a seed's round goes as it does without."""


class MortalDatabase:
    """The database, as a mortal reaches it. `faults` is the probability that it is out of reach,
    or goes so before it has answered."""

    node = ""

    def __init__(self, database: Database, mortal: Mortal, chance: Random) -> None:
        self.faults = 0.0
        self._database = database
        self._mortal = mortal
        self._chance = chance

    def run(self, rule: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """As `Database.run`."""
        if self._is_without_chance(rule):
            return self._database.run(rule, *arguments)
        return self._mortal.ask(lambda: self._run(rule, *arguments))

    def run_at_start(self, rule: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """As `Database.run_at_start`: it is tried until it succeeds."""
        if self._is_without_chance(rule):
            return self._database.run(rule, *arguments)
        return self._mortal.ask(lambda: self._database.run(rule, *arguments))

    def begin_era(self) -> Deferred[int]:
        """As `Database.begin_era`."""
        return self._mortal.ask(self._database.begin_era)

    def note_ids(self, era: int, ids: Mapping[str, int]) -> None:
        """As `Database.note_ids`; what one login server notes, all of its fleet know."""
        self._database.note_ids(era, ids)

    @property
    def ids(self) -> Mapping[str, int]:
        """As `Database.ids`."""
        return self._database.ids

    def _is_without_chance(self, rule: Callable[..., Any]) -> bool:
        return getattr(rule, "func", rule) in WITHOUT_CHANCE and self._mortal.alive

    def _run(self, rule: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        if self._chance.random() >= self.faults:
            return self._database.run(rule, *arguments)
        if self._chance.random() < 0.5:
            self._database.run(rule, *arguments).addErrback(lambda _: None)
        return fail(Unavailable())
