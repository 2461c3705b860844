"""What strangers may cause again and again does not fill the log."""

from __future__ import annotations

from typing import Any

import peewee
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.errors import DiskFull, Unavailable
from bbs.core.values import Timing
from bbs.rules import fleet_admin
from bbs.scaling.waiting_room import Search, WaitingRoom
from bbs.storage.database import Database, read_only
from bbs.testing.threads import Inline


class LogCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.said: list[str] = []
        globalLogPublisher.addObserver(self.observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)  # type: ignore[arg-type]

    def observe(self, event: dict[str, Any]) -> None:
        if event["log_namespace"].startswith("bbs."):
            self.said.append(formatEvent(event))


@read_only
def served() -> None: ...


@read_only
def not_served() -> None:
    raise peewee.OperationalError("disk I/O error")


def without_room() -> None:
    raise peewee.OperationalError(1114, "The table 'message' is full")


class Databases(LogCase):
    def setUp(self) -> None:
        super().setUp()
        self.database = Database("sqlite:///:memory:", Inline(), self.clock)
        self.addCleanup(self.database.close)

    def run_rule(self, rule: Any, *failures: type[Exception]) -> None:
        done = self.database.run(rule)
        self.clock.advance(0)
        if failures:
            self.failureResultOf(done, *failures)
        else:
            self.successResultOf(done)

    def test_one_that_has_no_room(self) -> None:
        for _ in range(65):
            self.run_rule(without_room, DiskFull)
            self.clock.advance(1)
        full = "database has no room to write: The table 'message' is full"
        self.assertEqual([each for each in self.said if "room" in each], [full, full])

    def test_one_that_serves_some_and_not_others(self) -> None:
        for _ in range(50):
            self.run_rule(not_served, Unavailable)
            self.run_rule(served)
        self.assertEqual(self.said, ["database is away: disk I/O error", "database is back"])
        self.clock.advance(1)
        for _ in range(50):
            self.run_rule(not_served, Unavailable)
        self.assertEqual(self.said[2:], ["database is away: disk I/O error"])

    def test_an_outage_soon_after_another_is_said_in_time(self) -> None:
        self.run_rule(not_served, Unavailable)
        self.run_rule(served)
        self.run_rule(not_served, Unavailable)
        self.clock.advance(1)
        self.assertEqual(len(self.said), 2)
        self.run_rule(not_served, Unavailable)
        self.run_rule(served)
        self.assertEqual(len(self.said), 4)


class News:
    def when_places(self, look: Any) -> None: ...

    def wanted(self) -> None: ...


class Nothing:
    """A database in which nothing is bad; nobody asks it for anything else."""

    def run(self, rule: Any, *arguments: Any) -> Deferred[Any]:
        return succeed(fleet_admin.Outlook(crowded=False, hopeless=False))


class Waiting(LogCase):
    def test_many_who_wait_in_vain(self) -> None:
        things: Any = Nothing(), News()
        room = WaitingRoom(
            me=None,  # type: ignore[arg-type]
            database=things[0],
            reactor=self.clock,
            wall=self.clock.seconds,
            patience=0.5,
            watchers=set(),
            news=things[1],
            timing=Timing(self.clock.seconds),
        )

        async def none(look: object) -> Search:
            return Search(None, True)

        waiting = [
            Deferred.fromCoroutine(room.seat(str(number), None, none))  # type: ignore[arg-type]
            for number in range(100)
        ]
        self.assertEqual(self.said, ["1 waiting for a place"])
        self.clock.advance(0.5)
        for each in waiting:
            self.failureResultOf(each, Unavailable)
        self.assertEqual(self.said[1:], ["no app server for 1 who waited"])
        self.clock.advance(1)
        another = Deferred.fromCoroutine(room.seat("x", None, none))  # type: ignore[arg-type]
        self.clock.advance(0.5)
        self.failureResultOf(another, Unavailable)
        self.assertEqual(
            self.said[2:], ["1 waiting for a place", "no app server for 100 who waited"]
        )
