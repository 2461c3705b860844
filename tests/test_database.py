"""`Database.run`: one transaction, its races, its deadlines, and a database that goes away."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from typing import Any

import peewee
import pymysql
import pymysql.constants.ER as mysql_errors
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.logger import Logger, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from bbs.board.models import Group
from bbs.cli import offline
from bbs.errors import Unavailable
from bbs.rules.accounts import InvalidId
from bbs.storage import database as database_module
from bbs.storage import models
from bbs.storage.connecting import DatabaseRefused, connect_to, without_password
from bbs.storage.database import (
    ATTEMPTS,
    COMMIT_GRACE,
    DEADLINE,
    Database,
    for_update,
    is_read_only,
    read_only,
    rows,
)
from bbs.workers import Inline
from tests.database_case import DatabaseCase, on_both_databases, sqlite_url


class Later:
    """Workers who do the work when told to."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], object]] = []

    def run(self, work: Callable[..., object], *args: object) -> Deferred[object]:
        done: Deferred[object] = Deferred()

        def do() -> None:
            Inline().run(work, *args).chainDeferred(done)

        self.waiting.append(do)
        return done

    def work(self) -> None:
        """Do what waits."""
        while self.waiting:
            self.waiting.pop(0)()


def raised(error: Exception) -> peewee.PeeweeException:
    """`error` of a driver, as peewee raises it."""
    try:
        with peewee.__exception_wrapper__:
            raise error
    except peewee.PeeweeException as wrapped:
        return wrapped


def deadlock() -> peewee.PeeweeException:
    return raised(pymysql.OperationalError(mysql_errors.LOCK_DEADLOCK, "Deadlock found"))


def lock_timeout() -> peewee.PeeweeException:
    return raised(pymysql.OperationalError(mysql_errors.LOCK_WAIT_TIMEOUT, "Lock wait timeout"))


class RunCase(DatabaseCase):
    """Rules of a test make groups: a table that nothing refers to yet."""

    def setUp(self) -> None:
        super().setUp()
        self.log: list[str] = []
        observer = Logger(observer=lambda event: self.log.append(formatEvent(event)))
        self.patch(database_module, "_log", observer)

    def work_later(self) -> Later:
        """Let rules wait until they are told to run."""
        workers = Later()
        self.database = self.open_database(workers)
        return workers

    def add(self, name: str) -> str:
        """A rule that stores something."""
        Group.insert(name=name, channel="").execute()
        return name

    def stored(self) -> list[str]:
        """What others see."""
        other = connect_to(self.url)
        other.connect()
        try:
            return [
                name for (name,) in other.execute_sql("SELECT name FROM chat_group ORDER BY id")
            ]
        finally:
            other.close()

    def unavailable(self, answer: Deferred[Any]) -> None:
        self.failureResultOf(answer, Unavailable)


@on_both_databases
class Transactions(RunCase):
    def test_what_the_rule_returns(self) -> None:
        self.assertEqual(self.call(self.add, "go"), "go")
        self.assertEqual(self.stored(), ["go"])

    def test_one_hop_for_a_whole_rule(self) -> None:
        workers = self.work_later()
        answer = self.database.run(self.add, "go")
        self.assertNoResult(answer)
        self.assertEqual(len(workers.waiting), 1)
        workers.waiting[0]()
        self.assertEqual(self.successResultOf(answer), "go")

    def test_one_transaction(self) -> None:
        """Others see nothing of it before its end."""
        seen: list[list[str]] = []

        def rule() -> None:
            for name in ("go", "chess"):
                self.add(name)
                seen.append(self.stored())

        self.call(rule)
        self.assertEqual(seen, [[], []])
        self.assertEqual(self.stored(), ["go", "chess"])

    def test_a_failed_rule_leaves_nothing(self) -> None:
        for error in (InvalidId, ZeroDivisionError, KeyboardInterrupt):

            def rule(error: type[BaseException] = error) -> None:
                self.add("go")
                raise error()

            if error is KeyboardInterrupt:
                self.assertRaises(KeyboardInterrupt, self.database._attempt, self.job(rule))
            else:
                self.failureResultOf(self.database.run(rule), error)
            self.assertEqual(self.stored(), [])
        self.call(self.add, "go")
        self.assertEqual(self.stored(), ["go"])

    def job(self, rule: Callable[[], object]) -> database_module._Job:
        return database_module._Job(rule, (), {})

    def test_transactions_within_it(self) -> None:
        """What peewee begins by itself is a part of the whole, and may fail alone."""

        def rule(fails: bool) -> list[str]:
            Group.get_or_create(name="one", defaults={"channel": ""})
            with contextlib.suppress(ZeroDivisionError), models.database.atomic():
                Group.create(name="two", channel="")
                raise ZeroDivisionError
            if fails:
                raise InvalidId()
            return [name for (name,) in rows(Group.select(Group.name))]

        self.failureResultOf(self.database.run(rule, True), InvalidId)
        self.assertEqual(self.successResultOf(self.database.run(Group.select().count)), 0)
        self.assertEqual(self.successResultOf(self.database.run(rule, False)), ["one"])

    def test_no_timer_is_left(self) -> None:
        self.call(self.add, "go")
        self.failureResultOf(self.database.run(self.add, "go"), peewee.IntegrityError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_caller_who_cancels(self) -> None:
        workers = self.work_later()
        answer = self.database.run(self.add, "go")
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.clock.advance(DEADLINE)
        workers.work()
        self.assertTrue(self.database.available)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_mistake_in_a_statement_is_no_outage(self) -> None:
        for statement in (
            "SELECT",
            "SELECT no_column FROM chat_group",
            "SELECT * FROM no_table",
            "SELECT no_function(1)",
            "SELECT id FROM chat_group AS a, chat_group AS b",
            "INSERT INTO chat_group VALUES (1)",
        ):
            answer = self.database.run(self.database.peewee.execute_sql, statement)
            self.failureResultOf(answer, peewee.OperationalError, peewee.ProgrammingError)
            self.assertTrue(self.database.available)
        self.call(self.add, "go")

    def test_rows_and_locks(self) -> None:
        self.call(self.add, "go")
        query = Group.select(Group.name)
        self.assertEqual(rows(query), [("go",)])
        self.assertEqual(for_update(query).sql()[0].endswith(" FOR UPDATE"), self.on_mysql)
        [group] = self.call(lambda: [*for_update(query)])
        self.assertEqual(group.name, "go")


@on_both_databases
class Races(RunCase):
    def failing(self, *errors: Exception) -> Callable[[], int]:
        """A rule that fails so often, and then returns how often it was tried."""
        waiting = list(errors)
        tried: list[None] = []

        def rule() -> int:
            tried.append(None)
            self.add("go")
            if waiting:
                raise waiting.pop(0)
            return len(tried)

        return rule

    def test_who_lost_a_race_runs_again(self) -> None:
        def insert_after_another() -> str:
            if Group.get_or_none(Group.name == "go"):
                return "there already"
            if not lost:
                lost.append(True)
                raise raised(sqlite3.IntegrityError("UNIQUE constraint failed"))
            return self.add("go")

        lost: list[bool] = []
        self.assertEqual(self.call(insert_after_another), "go")
        self.assertEqual(self.call(insert_after_another), "there already")

    def test_what_fails_every_time_is_no_race(self) -> None:
        def rule() -> None:
            tried.append(None)
            Group.insert(name=None, channel="").execute()

        tried: list[None] = []
        self.failureResultOf(self.database.run(rule), peewee.IntegrityError)
        self.assertEqual(len(tried), ATTEMPTS)
        self.assertTrue(self.database.available)

    def test_deadlocks_and_lock_timeouts_are_tried_again(self) -> None:
        errors = [deadlock(), lock_timeout(), deadlock(), lock_timeout()]
        self.assertEqual(self.call(self.failing(*errors)), ATTEMPTS)
        self.assertEqual(self.stored(), ["go"])

    def test_within_a_bound(self) -> None:
        self.unavailable(self.database.run(self.failing(*[deadlock() for _ in range(ATTEMPTS)])))
        self.assertEqual(self.stored(), [])
        self.assertIn("database is away: Deadlock found", self.log)

    def test_not_when_nobody_waits_any_more(self) -> None:
        def rule() -> None:
            tried.append(None)
            self.clock.advance(0.6 * DEADLINE)
            raise deadlock()

        tried: list[None] = []
        self.unavailable(self.database.run(rule))
        self.assertEqual(len(tried), 2)


@on_both_databases
class Deadlines(RunCase):
    def test_given_up_before_it_began(self) -> None:
        workers = self.work_later()
        answer = self.database.run(self.add, "go")
        self.clock.advance(DEADLINE - 0.001)
        self.assertNoResult(answer)
        self.clock.advance(0.001)
        self.unavailable(answer)
        workers.work()
        self.assertEqual(self.stored(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_waiting_for_a_thread_is_no_outage(self) -> None:
        """While the database answers others, only this process is busy."""
        workers = self.work_later()
        first, last = self.database.run(self.add, "first"), self.database.run(self.add, "last")
        self.clock.advance(DEADLINE - 0.1)
        workers.waiting.pop(0)()
        self.assertEqual(self.successResultOf(first), "first")
        self.clock.advance(DEADLINE - 0.1)
        self.assertNoResult(last)
        workers.work()
        self.assertEqual(self.successResultOf(last), "last")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_until_it_answers_nobody(self) -> None:
        workers = self.work_later()
        first, last = self.database.run(self.add, "first"), self.database.run(self.add, "last")
        self.clock.advance(DEADLINE - 0.1)
        workers.waiting.pop(0)()
        self.assertEqual(self.successResultOf(first), "first")
        self.clock.advance(0.1)
        self.clock.advance(DEADLINE - 0.1)
        self.unavailable(last)

    def test_given_up_in_the_middle(self) -> None:
        def rule() -> None:
            self.add("go")
            self.clock.advance(DEADLINE)
            given_up.append(answers[0].called)

        answers: list[Deferred[None]] = []
        given_up: list[bool] = []
        workers = self.work_later()
        answers.append(self.database.run(rule))
        workers.work()
        self.unavailable(answers[0])
        self.assertEqual(given_up, [True])
        self.assertEqual(self.stored(), [])

    def commit_in(self, seconds: float) -> Deferred[str]:
        """Let the deadline pass while the commit is under way, `seconds` behind it."""
        commit = self.database.peewee.commit

        def slow_commit() -> None:
            self.clock.advance(DEADLINE)
            self.clock.advance(seconds)
            commit()

        self.patch(self.database.peewee, "commit", slow_commit)
        return self.database.run(self.add, "go")

    def test_a_commit_under_way_is_waited_for(self) -> None:
        self.assertEqual(self.successResultOf(self.commit_in(COMMIT_GRACE - 0.001)), "go")
        self.assertEqual(self.stored(), ["go"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_but_not_for_ever(self) -> None:
        """Nobody knows then whether it was carried out."""
        self.unavailable(self.commit_in(COMMIT_GRACE))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_answer_comes_within_two_seconds(self) -> None:
        self.assertLess(DEADLINE + COMMIT_GRACE, 2.0)

    def test_a_commit_that_failed_is_not_tried_again(self) -> None:
        """It may have been carried out all the same."""

        def rule() -> None:
            tried.append(None)

        def broken() -> None:
            raise deadlock()

        tried: list[None] = []
        self.patch(self.database.peewee, "commit", broken)
        self.unavailable(self.database.run(rule))
        self.assertEqual(len(tried), 1)

    def test_workers_who_are_gone(self) -> None:
        class Gone(Later):
            def run(self, work: object, *args: object) -> Deferred[object]:
                return fail(ZeroDivisionError())

        self.database = self.open_database(Gone())
        self.failureResultOf(self.database.run(self.add, "go"), ZeroDivisionError)
        self.assertEqual(self.clock.getDelayedCalls(), [])


@on_both_databases
class Outages(RunCase):
    def test_logged_once_and_over_when_it_is_over(self) -> None:
        def connect(reuse_if_open: bool = False) -> bool:
            if away:
                raise raised(pymysql.OperationalError(2003, "Can't connect to\n MySQL server"))
            return real_connect(reuse_if_open=True)

        real_connect = self.database.peewee.connect
        self.patch(self.database.peewee, "connect", connect)
        away = True
        for _ in range(3):
            self.unavailable(self.database.run(self.add, "go"))
            self.assertFalse(self.database.available)
        away = False
        for name in ("go", "chess"):
            self.call(self.add, name)
            self.assertTrue(self.database.available)
        told = [line for line in self.log if line.startswith("database is")]
        self.assertEqual(
            told, ["database is away: Can't connect to MySQL server", "database is back"]
        )

    def test_a_refusal_shows_that_the_database_is_there(self) -> None:
        def refuse() -> None:
            raise InvalidId()

        self.database._away.add(True)
        self.failureResultOf(self.database.run(refuse), InvalidId)
        self.assertTrue(self.database.available)

    def test_one_that_can_only_be_read_is_away(self) -> None:
        """As with a full disk: who reads does not show that writing is possible again."""

        def write() -> None:
            if full:
                raise raised(pymysql.OperationalError(2013, "Lost connection"))

        @read_only
        def read() -> None: ...

        full = True
        self.unavailable(self.database.run(write))
        self.call(read)
        self.assertFalse(self.database.available)
        full = False
        self.call(write)
        self.assertTrue(self.database.available)

    def test_what_writes_can_be_read(self) -> None:
        @read_only
        def read() -> None:
            raise raised(pymysql.OperationalError(2013, "Lost connection"))

        self.unavailable(self.database.run(read))
        self.assertFalse(self.database.available)
        self.call(self.add, "go")
        self.assertTrue(self.database.available)

    def test_a_connection_that_broke_is_replaced(self) -> None:
        """At once, unless the trouble may be of another kind."""

        def rule() -> str:
            if not tried:
                tried.append(None)
                raise raised(pymysql.OperationalError(2006, "MySQL server has gone away"))
            return self.add("go")

        tried: list[None] = []
        if self.on_mysql:
            self.assertEqual(self.call(rule), "go")
        else:
            self.unavailable(self.database.run(rule))
            self.assertEqual(self.call(rule), "go")

    def test_a_connection_that_cannot_even_be_closed(self) -> None:
        def broken() -> None:
            raise raised(pymysql.InterfaceError(0, ""))

        def rule() -> None:
            raise raised(pymysql.OperationalError(2013, "Lost connection"))

        self.patch(self.database.peewee, "rollback", broken)
        self.patch(self.database.peewee, "close", broken)
        self.unavailable(self.database.run(rule))

    def test_unhurried_work(self) -> None:
        self.assertEqual(self.successResultOf(self.database.run_unhurried(self.add, "go")), "go")
        self.assertEqual(self.stored(), ["go"])

    def test_unhurried_work_that_fails_is_told_in_one_line(self) -> None:
        def rule() -> None:
            raise raised(pymysql.OperationalError(1045, "Access\ndenied"))

        error = self.failureResultOf(self.database.run_unhurried(rule), DatabaseRefused).value
        self.assertEqual(str(error), f"database {without_password(self.url)}: Access denied")
        self.failureResultOf(self.database.run_unhurried(lambda: 1 / 0), ZeroDivisionError)


class OnSQLite(RunCase):
    def hold_the_lock(self) -> peewee.Database:
        """Somebody else writes."""
        other = connect_to(self.url)
        self.addCleanup(other.close)
        other.connect()
        other.execute_sql("BEGIN IMMEDIATE")
        return other

    def test_readers_do_not_wait_for_a_writer(self) -> None:
        self.hold_the_lock()
        self.assertEqual(self.call(read_only(lambda: Group.select().count())), 0)

    def test_writers_do_until_nobody_waits_for_them(self) -> None:
        other = self.hold_the_lock()
        self.database.peewee.timeout = 0
        self.unavailable(self.database.run(self.add, "go"))
        self.assertIn("database is away: database is locked", self.log)
        other.execute_sql("ROLLBACK")
        self.call(self.add, "go")

    def test_a_folder_that_is_not_there(self) -> None:
        self.url = "sqlite:////no/such/folder/bbs.sqlite3"
        self.database = self.open_database()
        self.unavailable(self.database.run(self.add, "go"))
        error = self.failureResultOf(self.database.run_unhurried(self.add, "go"), DatabaseRefused)
        self.assertEqual(
            str(error.value),
            "database sqlite:////no/such/folder/bbs.sqlite3: unable to open database file",
        )

    def test_what_is_no_database(self) -> None:
        self.url = sqlite_url(self.mktemp())
        with open(self.url.removeprefix("sqlite:///"), "w") as file:
            file.write("something else\n" * 1000)
        self.database = self.open_database()
        error = self.failureResultOf(self.database.run_unhurried(self.add, "go"), DatabaseRefused)
        self.assertEqual(str(error.value), f"database {self.url}: file is not a database")


class Threads(SynchronousTestCase):
    def test_one_writer_on_sqlite(self) -> None:
        self.assertEqual(Database.threads("sqlite:///bbs.sqlite3", 8), 1)
        self.assertEqual(Database.threads("mysql://host/bbs", 8), 8)


class ReadOnly(SynchronousTestCase):
    def test_marks(self) -> None:
        def rule() -> None:
            pass

        self.assertFalse(is_read_only(rule))
        self.assertIs(read_only(rule), rule)
        self.assertTrue(is_read_only(rule))


@on_both_databases
class Offline(DatabaseCase):
    """Commands that run without a reactor."""

    def test_a_connection(self) -> None:
        with offline.connected(self.url) as database:
            self.assertEqual(Group.select().count(), 0)
        self.assertTrue(database.is_closed())

    def test_trouble_is_told_in_one_line(self) -> None:
        def trouble() -> None:
            with offline.connected(self.url):
                raise raised(pymysql.OperationalError(1045, "Access denied"))

        error = self.assertRaises(DatabaseRefused, trouble)
        self.assertEqual(str(error), f"database {without_password(self.url)}: Access denied")
        self.assertTrue(models.database.is_closed())

    def test_none_there(self) -> None:
        def trouble() -> None:
            with offline.connected("sqlite:////no/such/folder/bbs.sqlite3"):
                pass

        self.assertRaises(DatabaseRefused, trouble)
