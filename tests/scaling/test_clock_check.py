"""A wrong clock removes nothing, on a whole service in memory: it is an alarm, and once it is right
again the sweeps go on by themselves."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.board.messages.tables import MessageRow
from bbs.core.clock import DAY
from bbs.rules import service_clock
from bbs.rules.fleet_admin import By
from bbs.rules.overview import overview
from bbs.storage.models import Action, Session
from bbs.testing import MemoryService
from bbs.testing.service import START
from bbs.web.snapshot import Cause, alarms
from tests.memory_service import POLICY, configuration, memory_service

HOUR = 3600.0
KEPT = 1000.0
"""Seconds for which messages are kept here."""

ROUNDS = 130
"""Seconds in which what is old is removed twice."""


class ClockCase(SynchronousTestCase):
    service: MemoryService

    def alarms(self) -> list[tuple[Any, str]]:
        """What the operators' page cries out."""
        call = self.service.database.run(overview, self.service.now(), False)
        return [
            (each.cause, each.text) for each in alarms(self.successResultOf(call), POLICY, 0, True)
        ]

    def texts(self) -> list[str]:
        """The messages that are there."""
        return [row.text for row in MessageRow.select().order_by(MessageRow.id)]

    def talk(self) -> None:
        """Two people, one of whom writes to the other."""
        ann, bob = self.service.people("ann", "bob").values()
        self.ann, self.bob = ann, bob
        self.service.at_home(ann).ask(f"invite {ann} bob")
        self.service.at_home(bob).ask(f"accept-invite {bob} ann")
        self.send("old")
        MessageRow.update(stored=self.service.now() - KEPT + 100).execute()

    def send(self, text: str) -> None:
        reply = self.service.at_home(self.ann).ask(f"send {self.ann} bob {text}")
        self.assertEqual(reply["status"], 0)

    def until_alarm(self) -> int:
        """Let time pass until there is an alarm; returns the seconds."""
        for second in range(1, 61):
            self.service.advance(1)
            if self.alarms():
                return second
        raise AssertionError("no alarm within a minute")


class Wrong(ClockCase):
    """Forty days ahead, for a service on a database with a clock of its own."""

    ahead = 40 * DAY
    has_clock: ClassVar[bool] = True

    def setUp(self) -> None:
        self.service = memory_service()
        self.service.database_ahead = 0.0 if self.has_clock else None
        self.addCleanup(self.service.close)
        self.service.start()
        self.talk()
        self.service.advance(70)

    def set_leader(self, ahead: float) -> None:
        self.service.set_ahead = ahead
        for server in self.service.servers.values():
            server.set_ahead = -ahead  # Theirs go right.

    def set_other(self, ahead: float) -> None:
        for server in self.service.servers.values():
            server.set_ahead = ahead

    def set_database(self, ahead: float) -> None:
        if self.has_clock:
            self.service.database_ahead = ahead
        else:
            self.service.set_ahead = ahead

    def check(self, set_clock: Any, alarm: str) -> None:
        """Set a clock, look, and set it right."""
        sessions = Session.select().count()
        set_clock(self.ahead)
        with capturedLogs() as logs:
            self.assertLessEqual(self.until_alarm(), 5)
            self.send("new")
            self.service.advance(ROUNDS)
        [(cause, text)] = self.alarms()
        self.assertEqual(cause, Cause.CLOCK)
        self.assertRegex(text, alarm)
        # What is old by now is there as well.
        self.assertEqual(self.texts(), ["old", "new"])
        self.assertEqual(Session.select().count(), sessions)
        said = [formatEvent(event) for event in logs if "clock is wrong" in formatEvent(event)]
        self.assertEqual(len(said), 1)
        for token in (self.ann, self.bob):
            self.assertEqual(self.service.at_home(token).ask(f"list-friend {token}")["status"], 0)
            self.assertEqual(self.service.peer().ask(f"locate {token}")["status"], 0)
        set_clock(0.0)
        with capturedLogs() as logs:
            self.service.advance(70)
        self.assertEqual(self.alarms(), [])
        # The old one has expired, and nothing else.
        self.assertEqual(self.texts(), ["new"])
        self.assertEqual(Session.select().count(), sessions)
        told = [formatEvent(event) for event in logs]
        self.assertIn("the clock is right: what is old is removed", told)
        self.assertIn("removed what had expired: 1 messages", told)

    def off(self) -> str:
        """The step in words."""
        return f"{abs(self.ahead) / DAY:.0f} days {'ahead' if self.ahead > 0 else 'behind'}"

    def test_the_leaders(self) -> None:
        self.check(self.set_leader, f"wrong: login server .{{8}} is {self.off()}, the database is")

    def test_another_servers(self) -> None:
        self.check(
            self.set_other, f"wrong: app server .{{8}} is {self.off()}, the database is right"
        )

    def test_the_databases(self) -> None:
        own = "" if self.has_clock else f"login server .{{8}} is {self.off()}, .*"
        right = f"is {self.off()}" if self.has_clock else "is right"
        self.check(self.set_database, f"wrong: {own}the database {right}")


class WrongByAWeek(Wrong):
    ahead = 8 * DAY


class Behind(Wrong):
    ahead = -40 * DAY


class WrongOnSQLite(Wrong):
    """There each process takes its own clock for the database's."""

    has_clock = False


class WrongByAWeekOnSQLite(WrongOnSQLite):
    ahead = 8 * DAY


class BehindOnSQLite(WrongOnSQLite):
    ahead = -40 * DAY


class Minority(ClockCase):
    def test_few_of_many(self) -> None:
        """They are named, and sweeps go on by the database's clock."""
        self.service = memory_service()
        self.service.database_ahead = 0.0
        self.addCleanup(self.service.close)
        self.service.start()
        self.talk()
        self.service.people("cat", "dog")
        self.service.advance(10)
        self.assertGreaterEqual(len(self.service.servers), 2)
        next(iter(self.service.servers.values())).set_ahead = 40 * DAY
        self.until_alarm()
        self.send("new")
        self.service.advance(ROUNDS)
        self.assertEqual(self.texts(), ["new"])


class Corrected(ClockCase):
    def setUp(self) -> None:
        self.service = memory_service()
        self.addCleanup(self.service.close)
        self.service.start()
        self.service.advance(3)

    def test_by_less_than_a_day(self) -> None:
        """As by somebody who had set the clock of the machine to another zone's time: it counts as
        right after an hour in which nobody says anything else."""
        self.service.set_ahead = 2 * HOUR
        self.service.advance(3)
        self.assertEqual([cause for cause, _ in self.alarms()], [Cause.CLOCK])
        with capturedLogs() as logs:
            self.service.advance(HOUR)
        self.assertEqual(self.alarms(), [])
        self.assertLess(abs(self.service.now() - self.service.wall()), 1)
        told = [formatEvent(event) for event in logs]
        self.assertEqual(sum("counts as right" in each for each in told), 1)

    def test_by_more_it_waits_for_an_operator(self) -> None:
        self.service.set_ahead = 2 * DAY
        self.service.advance(HOUR + 10)
        self.assertEqual([cause for cause, _ in self.alarms()], [Cause.CLOCK])
        by = By("liz", "bbs db", self.service.wall())
        self.service.database.run(service_clock.accept, by)
        self.service.advance(3)
        self.assertEqual(self.alarms(), [])
        self.assertLess(abs(self.service.now() - self.service.wall()), 3)
        self.assertEqual(Action.get().action, "accept-clock")

    def test_a_database_that_all_servers_contradict(self) -> None:
        """Not by the word of an operator either: nothing is removed by it."""
        self.service.database_ahead = 2 * HOUR
        self.service.advance(HOUR + 10)
        self.assertEqual([cause for cause, _ in self.alarms()], [Cause.CLOCK])
        self.assertLess(abs(self.service.now() - self.service.wall()), 1)


class Restarted(ClockCase):
    """After a while in which nothing ran."""

    def setUp(self) -> None:
        folder = self.mktemp()
        os.makedirs(folder)
        self.url = f"sqlite:///{os.path.abspath(folder)}/bbs.sqlite3"
        self.open()
        self.talk()
        self.send("new")
        self.service.advance(70)
        self.texts_before = self.texts()

    def open(self, later: float = 0.0) -> None:
        """Start the service, so many seconds after it began."""
        config = configuration(POLICY)
        self.service = MemoryService(board, config=config, url=self.url, start=START + later)
        self.addCleanup(self.close)
        self.service.start()

    def close(self) -> None:
        if self.service is not None:
            self.service.login.controller.stopService()
            self.service.settle()
            self.service.close()
            self.service = None  # type: ignore[assignment]

    def again(self, later: float) -> None:
        self.close()
        self.open(later)

    def test_within_a_day(self) -> None:
        self.again(0.9 * DAY)
        self.service.advance(70)
        self.assertEqual((self.alarms(), self.texts()), ([], []))

    def test_after_a_month_removal_waits_for_an_hour(self) -> None:
        with capturedLogs() as logs:
            self.again(31 * DAY)
            self.service.advance(HOUR - 60)
        self.assertEqual([cause for cause, _ in self.alarms()], [Cause.CLOCK_UNPROVED])
        self.assertEqual(self.texts(), self.texts_before)
        told = [formatEvent(event) for event in logs]
        self.assertEqual(sum("nobody has checked it" in each for each in told), 1)
        self.service.advance(180)
        self.assertEqual((self.alarms(), self.texts()), ([], []))

    def test_an_operators_word_begins_it_at_once(self) -> None:
        self.again(31 * DAY)
        self.service.advance(70)
        self.assertEqual(self.texts(), self.texts_before)
        by = By("liz", "bbs db", self.service.wall())
        self.service.database.run(service_clock.accept, by)
        self.service.advance(70)
        self.assertEqual((self.alarms(), self.texts()), ([], []))

    def test_a_wrong_clock_that_is_put_right(self) -> None:
        self.again(40 * DAY)
        self.service.advance(70)
        self.service.set_ahead = -40 * DAY + HOUR / 10
        self.service.advance(70)
        self.assertEqual((self.alarms(), self.texts()), ([], ["new"]))

    def test_a_clock_behind_the_last_check(self) -> None:
        """What is written then is not removed when it is right again."""
        self.again(-10 * DAY)
        self.service.advance(ROUNDS)
        self.assertEqual(self.texts(), self.texts_before)
        self.assertEqual([cause for cause, _ in self.alarms()], [Cause.CLOCK])
        self.ann = self.service.people("ann")["ann"]
        self.send("newest")
        self.service.set_ahead = 10 * DAY + 300
        self.service.advance(70)
        self.assertEqual(self.texts()[-1], "newest")
        self.assertEqual(self.alarms(), [])
