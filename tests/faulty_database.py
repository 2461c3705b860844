"""Databases that are away, or answer late, when a test says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred

from bbs.core.values import DiskState
from bbs.storage.database import Database, DiskSpace

P = ParamSpec("P")
T = TypeVar("T")


class Disk:
    """A disk with an SQLite database, in a folder that is made."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder).absolute()
        self._folder.mkdir()
        self._elsewhere = self._folder.with_name(f"{self._folder.name}-taken-away")
        self.url = f"sqlite:///{self._folder}/bbs.sqlite3"

    def take_away(self, database: Database) -> None:
        """From now on `database` cannot be opened."""
        database.peewee.close()
        self._folder.rename(self._elsewhere)

    def bring_back(self) -> None:
        """It can be opened again, as it was."""
        self._elsewhere.rename(self._folder)


@dataclass(frozen=True)
class Call:
    """A rule that was asked for, and waits until a test lets it be carried out or fail."""

    rule: Callable[..., Any]
    arguments: tuple[Any, ...]
    answer: Deferred[Any]
    carry_out: Callable[[], Deferred[Any]]

    def go_on(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Carry it out, have something else happen, and answer."""
        done = self.carry_out()
        meanwhile()
        done.chainDeferred(self.answer)

    def fail(self, error: Exception) -> None:
        """Answer with an error, and carry nothing out."""
        self.answer.errback(error)


class SlowDatabase(Database):
    """Carries out on `real` what it is asked, and keeps what that was. A rule that is held waits.

    :ivar asked: the rules that were asked for, each with its arguments.
    :ivar waiting: the calls that are held, the oldest first.
    """

    def __init__(self, real: Database) -> None:
        self.real = real
        self.url = real.url
        self.slow = real.slow
        self.peewee = real.peewee
        self.asked: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.waiting: list[Call] = []
        self._held: Callable[[Callable[..., Any]], bool] = lambda rule: False

    @property
    def available(self) -> bool:
        return self.real.available

    @property
    def answers(self) -> bool:
        return self.real.answers

    def begin_era(self) -> Deferred[int]:
        return self.real.begin_era()

    @property
    def disk(self) -> DiskState:
        return DiskState.LOW if self.disk_is_low else self.real.disk

    @property
    def space(self) -> DiskSpace | None:  # type: ignore[override]
        return self.real.space

    @property
    def on_answer(self) -> Callable[[float], None]:
        return self.real.on_answer

    @on_answer.setter
    def on_answer(self, tell: Callable[[float], None]) -> None:
        self.real.on_answer = tell

    def run(self, rule: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> Deferred[T]:
        self.asked.append((rule, arguments))
        if not self._held(rule):
            return self.real.run(rule, *arguments, **keywords)
        answer: Deferred[T] = Deferred()
        carry_out = partial(self.real.run, rule, *arguments, **keywords)
        self.waiting.append(Call(rule, arguments, answer, carry_out))
        return answer

    def hold(self, *rules: Callable[..., Any]) -> None:
        """From now on these rules wait, or every one."""
        self._held = lambda rule: not rules or rule in rules

    def hold_no_more(self) -> None:
        """From now on nothing waits but what does already."""
        self._held = lambda rule: False

    def go_on(self) -> None:
        """Carry out what waits now."""
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            call.go_on()

    def calls(self, rule: Callable[..., Any]) -> list[tuple[Any, ...]]:
        """The arguments of each call of a rule."""
        return [arguments for asked, arguments in self.asked if asked is rule]
