"""Slow rules are named in the log, and are no outage of the database."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.errors import TookTooLong, Unavailable
from bbs.storage.database import DEADLINE, Database, bulk, read_only
from bbs.storage.transactions import NAMED_INTERVAL, OTHERS, SLOW, SlowCalls, name_of_rule
from bbs.testing.database_suite import Later


class SlowCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.workers = Later()
        self.database = Database("sqlite:///:memory:", self.workers, self.clock, 1)
        self.addCleanup(self.database.close)
        self.told: list[str] = []
        observe: Any = self._observe
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def _observe(self, event: dict[str, object]) -> None:
        self.told.append(formatEvent(event))

    def slow(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def statement(self, seconds: float) -> None:
        """A rule with a statement that the database answers late."""
        self.database.peewee.connection().create_function("wait", 0, partial(self.slow, seconds))
        self.database.peewee.execute_sql("SELECT wait()").fetchall()


class Outages(SlowCase):
    def test_a_slow_rule_is_no_outage(self) -> None:
        """Its caller reads that it took too long, and those behind it may try again."""
        slow = self.database.run(self.slow, 3 * DEADLINE)
        waiting = self.database.run(self.slow, 0)
        self.workers.work_one()
        self.failureResultOf(slow, TookTooLong)
        self.assertIs(self.failureResultOf(waiting).type, Unavailable)
        self.assertTrue(self.database.available)
        self.assertFalse([line for line in self.told if "away" in line])

    def test_many_statements_are_no_outage(self) -> None:
        def rule() -> None:
            for _ in range(20):
                self.statement(0.1)

        answer = self.database.run(rule)
        self.workers.work()
        self.failureResultOf(answer, Unavailable)
        self.assertTrue(self.database.available)

    def test_a_statement_without_an_answer_is_one(self) -> None:
        answer = self.database.run(self.statement, 3 * DEADLINE)
        self.workers.work()
        self.failureResultOf(answer, Unavailable)
        self.assertFalse(self.database.available)
        name = f"{__name__}.SlowCase.statement"
        self.assertIn(f"database is away: no answer in time to {name}", self.told)

    def test_waiting_for_another_writer_is_none(self) -> None:
        """In another process, a rule may be slow; one that stands still is an outage."""
        for seconds, available in ((2 * DEADLINE, True), (OTHERS + DEADLINE, False)):
            self.setUp()
            self.patch(self.database.peewee, "take_turn", partial(self.wait, seconds))
            self.database.run(self.slow, 0).addErrback(lambda _: None)
            self.workers.work_one()
            self.assertEqual(self.database.available, available)

    def wait(self, seconds: float) -> None:
        """Let time pass, while others ask."""
        until = self.clock.seconds() + seconds
        while self.clock.seconds() < until:
            self.database.run(self.slow, 0).addErrback(lambda _: None)
            self.clock.advance(0.125)


class Names(SlowCase):
    def named(self) -> list[str]:
        return [line for line in self.told if " took " in line]

    def test_a_slow_rule(self) -> None:
        self.database.slow.server = lambda: "app server abc"
        for seconds in (SLOW / 2, SLOW):
            self.database.run(self.slow, seconds)
            self.workers.work()
        name = f"{__name__}.SlowCase.slow"
        self.assertEqual(self.named(), [f"the rule {name} took 1.00 s on app server abc"])

    def test_one_that_is_given_up(self) -> None:
        self.database.run(self.slow, 9).addErrback(lambda _: None)
        self.workers.work()
        name = f"{__name__}.SlowCase.slow"
        line = f"the rule {name} took 9.00 s, and was undone: nobody waits longer than 1.4 s"
        self.assertEqual(self.named(), [line])

    def test_one_that_is_late_and_stored(self) -> None:
        """While the database answers others, nobody gives it up."""
        answer = self.database.run(self.slow, DEADLINE - 0.1)
        self.workers.work()
        self.successResultOf(answer)
        self.assertFalse([line for line in self.named() if "undone" in line])

    def test_seldom(self) -> None:
        """Each is named once in a while, with how often it was slow meanwhile."""
        calls = SlowCalls(self.clock)
        for _ in range(3):
            calls.check("handler", "a.b", 2.0)
        calls.check("handler", "a.c", 2.0)
        self.clock.advance(NAMED_INTERVAL)
        calls.check("handler", "a.b", 2.5)
        self.assertEqual(
            self.named(),
            [
                "the handler a.b took 2.00 s",
                "the handler a.c took 2.00 s",
                "the handler a.b took 2.50 s (2 more were slow)",
            ],
        )

    def test_how_rules_are_called(self) -> None:
        @bulk(lambda name: name)
        def many(names: object) -> list[None]:
            return []

        here = f"{__name__}.Names.test_how_rules_are_called.<locals>"
        self.assertEqual(name_of_rule(many), f"{here}.many")
        self.assertEqual(name_of_rule(many.each), f"{here}.many")
        self.assertEqual(name_of_rule(partial(partial(rule, 1), 2)), f"{__name__}.rule")


@read_only
def rule(*_: object) -> None: ...
