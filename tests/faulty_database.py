"""Databases that are away, or answer late, when a test says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred

from bbs.commands.service import Service
from bbs.config import Configuration
from bbs.daemons.composition import Ground
from bbs.rules import members
from bbs.storage.database import Database
from bbs.testing import MemoryService
from bbs.testing.service import HINT_KEY, MemoryAppServer

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

    def go_on(self) -> None:
        """Carry it out, and answer."""
        self.carry_out().chainDeferred(self.answer)

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
        self.peewee = real.peewee
        self.asked: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.waiting: list[Call] = []
        self._held: Callable[[Callable[..., Any]], bool] = lambda rule: False

    @property
    def available(self) -> bool:
        return self.real.available

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

    def count(self, rule: Callable[..., Any]) -> int:
        """How often a rule was asked for."""
        return sum(asked is rule for asked, _ in self.asked)


class SlowService(MemoryService):
    """A service whose app servers ask a slow database.

    :ivar slow: what they ask.
    """

    def __init__(self, service: Service, *, config: Configuration | None = None) -> None:
        super().__init__(service, config=config)
        self.declared = service
        self.slow = SlowDatabase(self.database)

    def boot(self, server_id: str) -> None:
        ground = Ground(
            self.declared,
            self.config,
            self.slow,
            self.broker.client(),
            self.clock,
            self.wall,
            HINT_KEY,
        )
        self.servers[server_id] = server = MemoryAppServer(ground, server_id)
        server.port = self.listen(server.serving.factory)
        self.database.run(members.report, server_id, server.port)
        server.serving.home.bus.tell_fleet("ready")
