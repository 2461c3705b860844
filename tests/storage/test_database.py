"""`Database.run`: one transaction, its races, its deadlines, and a database that goes away.

What it promises on every database is `bbs.testing.DatabaseContract`; here is what each of ours has
beside.
"""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Sequence
from typing import Any, cast
from unittest import mock

import peewee
import pymysql
import pymysql.constants.ER as mysql_errors
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from bbs.core.errors import DiskFull
from bbs.core.threads import ILane, ILanes
from bbs.core.values import DiskState
from bbs.storage.database import (
    COMMIT_GRACE,
    DEADLINE,
    FULL_INTERVAL,
    REASON_INTERVAL,
    START_PATIENCE,
    Database,
    bulk,
    for_update,
    is_read_only,
    long_write,
    read_only,
)
from bbs.storage.engines import (
    IN_C,
    IN_PYTHON,
    DatabaseRefused,
    connect_to,
    without_password,
)
from bbs.storage.mysql_servers import ServerFacts
from bbs.storage.transactions import ATTEMPTS
from bbs.testing import ContendedDatabaseContract, DatabaseContract
from bbs.testing.database_suite import ContractEntry, raised
from bbs.testing.threads import Inline
from tests.database_case import fresh_mysql_url, sqlite_url


class OurContract(DatabaseContract):
    """What both of ours do beside."""

    def busy(self) -> Exception:
        """What it says when others have kept it too long from something."""
        raise LookupError("each has its own words")

    def test_a_rule_that_is_interrupted_leaves_nothing(self) -> None:
        def rule() -> None:
            self._add("go")
            raise KeyboardInterrupt()

        self.failureResultOf(self.database.run(rule), KeyboardInterrupt)
        self.assertEqual(self._stored(), [])

    def test_nobody_is_served_after_its_end(self) -> None:
        """Who still waits for something when a test ends must not open another database."""
        self.database.close()
        self._unavailable(self.database.run(self._add, "go"))
        self.assertTrue(self.database.peewee.is_closed())
        self.assertEqual(self._stored(), [])

    def test_a_start_waits_for_a_database_that_is_busy(self) -> None:
        busy = [self.busy() for _ in range(2)]

        def rule() -> None:
            self._add("go")
            if busy:
                raise busy.pop()

        self.successResultOf(self.database.run_at_start(rule))
        self.assertEqual(self._stored(), ["go"])

    def test_servers_that_start_together_write_the_same(self) -> None:
        lost = [peewee.IntegrityError("UNIQUE constraint failed")]

        def rule() -> None:
            self._add("go")
            if lost:
                raise lost.pop()

        self.successResultOf(self.database.run_at_start(rule))
        self.assertEqual(self._stored(), ["go"])

    def test_but_not_for_ever(self) -> None:
        tried: list[str] = []

        def rule() -> None:
            tried.append(self._add("go"))
            self.clock.advance(0.6 * START_PATIENCE)
            raise self.busy()

        self.failureResultOf(self.database.run_at_start(rule), DatabaseRefused)
        self.assertEqual(len(tried), 2)
        self.assertEqual(self._stored(), [])

    def test_a_mistake_of_its_author_is_told_at_once(self) -> None:
        tried: list[str] = []

        def rule() -> None:
            tried.append(self._add("go"))
            self.clock.advance(1.0)
            self.database.peewee.execute_sql("SELECT no_function(1)")

        self.failureResultOf(self.database.run_at_start(rule))
        self.assertEqual(len(tried), 1)
        self.assertEqual(self._stored(), [])

    def test_a_connection_that_cannot_even_be_closed(self) -> None:
        def broken() -> None:
            raise raised(pymysql.InterfaceError(0, ""))

        def rule() -> None:
            raise self.lost()

        self.patch(self.database.peewee, "rollback", broken)
        self.patch(self.database.peewee, "close", broken)
        self._unavailable(self.database.run(rule))


class OnSQLite(OurContract, SynchronousTestCase):
    def database_url(self) -> str:
        url = sqlite_url(self.mktemp())
        other = connect_to(url)
        other.connect()
        other.execute_sql("PRAGMA journal_mode = wal")  # As migrations do.
        other.close()
        return url

    def busy(self) -> Exception:
        return raised(sqlite3.OperationalError("database is locked"))

    def lost(self) -> Exception:
        return raised(sqlite3.OperationalError("disk I/O error"))

    def not_committed(self) -> Sequence[Exception]:
        found = [*super().not_committed()]
        for code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL):
            error = sqlite3.OperationalError("not now")
            error.sqlite_errorcode = code
            found.append(raised(error))
        return found

    def hold_the_lock(self) -> peewee.Database:
        """Somebody else writes."""
        other = self._other()
        other.execute_sql("BEGIN IMMEDIATE")
        return other

    def test_writers_wait_until_nobody_waits_for_them(self) -> None:
        other = self.hold_the_lock()
        sqlite: Any = self.database.peewee
        sqlite.timeout = 0
        self._unavailable(self.database.run(self._add, "go"))
        self.assertEqual(self.told, ["database is away: database is locked"])
        other.execute_sql("ROLLBACK")
        self._call(self._add, "go")

    def test_another_reason_is_logged_after_a_while(self) -> None:
        def fail(reason: str) -> None:
            raise raised(sqlite3.OperationalError(reason))

        for _ in range(2):
            for reason in ("disk I/O error", "unable to open database file"):
                self._unavailable(self.database.run(fail, reason))
            self.assertEqual(self.told, ["database is away: disk I/O error"])
        self.clock.advance(REASON_INTERVAL)
        self._unavailable(self.database.run(fail, "unable to open database file"))
        self.assertEqual(self.told[1:], ["database is away: unable to open database file"])

    def test_a_lock_is_not_asked_for(self) -> None:
        self.assertFalse(for_update(ContractEntry.select()).sql()[0].endswith(" FOR UPDATE"))

    def test_a_mistake_that_its_driver_calls_operational(self) -> None:
        answer = self.database.run(self.database.peewee.execute_sql, "SELECT no_function(1)")
        self.failureResultOf(answer, peewee.OperationalError)
        self.assertTrue(self.database.available)

    def test_a_full_disk(self) -> None:
        """Writing is refused in words, and reading and what makes room go on."""
        sqlite: Any = self.database.peewee
        self._call(self._add, "x" * 5000)
        [(pages,)] = sqlite.execute_sql("PRAGMA page_count").fetchall()
        sqlite.pragma("max_page_count", pages, permanent=True)
        for _ in range(2):
            error = self.failureResultOf(self.database.run(self._add, "y" * 50_000), DiskFull)
            self.assertEqual(error.value.message, "The disk is nearly full, try again later")
        self.assertIs(self.database.disk, DiskState.FULL)
        self.assertEqual((self.database.available, self.database.answers), (False, True))
        self.assertEqual(self._stored(), ["x" * 5000])
        self._call(lambda: ContractEntry.delete().execute())
        self._call(self._add, "y" * 3000)
        self.assertTrue(self.database.available)
        self.clock.advance(FULL_INTERVAL)
        self.assertIs(self.database.disk, DiskState.FREE)

    def test_a_folder_that_is_not_there(self) -> None:
        self.open_another("sqlite:////no/such/folder/bbs.sqlite3")
        self._unavailable(self.database.run(self._add, "go"))
        self.assertFalse(self.database.answers)
        error = self.failureResultOf(self.database.run_untimed(self._add, "go"), DatabaseRefused)
        self.assertEqual(
            str(error.value),
            "database sqlite:////no/such/folder/bbs.sqlite3: unable to open database file",
        )

    def test_what_is_no_database(self) -> None:
        url = sqlite_url(self.mktemp())
        with open(url.removeprefix("sqlite:///"), "w") as file:
            file.write("something else\n" * 1000)
        self.open_another(url)
        error = self.failureResultOf(self.database.run_untimed(self._add, "go"), DatabaseRefused)
        self.assertEqual(str(error.value), f"database {url}: file is not a database")

    def open_another(self, url: str) -> None:
        self.database.peewee.close()
        self.url = url
        self.database = self.open_database(Inline())


class OnMySQL(OurContract, ContendedDatabaseContract, SynchronousTestCase):
    def database_url(self) -> str:
        return fresh_mysql_url(IN_PYTHON)

    def busy(self) -> Exception:
        return self.passing()[0]

    def lost(self) -> Exception:
        return raised(pymysql.OperationalError(2013, "Lost connection"))

    def passing(self) -> Sequence[Exception]:
        return (
            raised(pymysql.OperationalError(mysql_errors.LOCK_DEADLOCK, "Deadlock found")),
            raised(pymysql.OperationalError(mysql_errors.LOCK_WAIT_TIMEOUT, "Lock wait timeout")),
        )

    def test_a_lock_is_asked_for(self) -> None:
        self.assertTrue(for_update(ContractEntry.select()).sql()[0].endswith(" FOR UPDATE"))

    def test_mistakes_that_its_driver_calls_operational(self) -> None:
        for statement in ("SELECT no_function(1)", "SELECT (SELECT 1, 2)"):
            answer = self.database.run(self.database.peewee.execute_sql, statement)
            self.failureResultOf(answer, peewee.OperationalError)
            self.assertTrue(self.database.available)

    def test_a_full_disk(self) -> None:
        for number, text in (
            (mysql_errors.DISK_FULL, "Disk full (/tmp/x); waiting for someone to free some space"),
            (mysql_errors.RECORD_FILE_FULL, "The table 'message' is full"),
            (1030, 'Got error 28 "No space left on device" from storage engine InnoDB'),
            (1026, "Error writing file 'x' (Errcode: 28 \"No space left on device\")"),
            (3, "Error writing file '/tmp/x' (errno: 28 - No space left on device)"),
        ):
            error = raised(pymysql.OperationalError(number, text))

            def rule(error: Exception = error) -> None:
                raise error

            refused = self.failureResultOf(self.database.run(rule), DiskFull).value
            self.assertEqual(refused.message, "The disk is nearly full, try again later")
            self.assertIs(self.database.disk, DiskState.FULL)

    def test_a_connection_that_broke_is_replaced_at_once(self) -> None:
        """No call finds out that the server closed it meanwhile."""

        def rule() -> str:
            if not tried:
                tried.append(None)
                raise raised(pymysql.OperationalError(2006, "MySQL server has gone away"))
            return self._add("go")

        tried: list[None] = []
        self.assertEqual(self._call(rule), "go")

    def test_no_text_of_its_parts_has_the_password(self) -> None:
        for name, part in vars(self.database).items():
            if name != "url":
                self.assertNotIn(self.url, repr(part))

    def test_trouble_shows_no_password(self) -> None:
        def work() -> None:
            raise raised(pymysql.OperationalError(1045, "Access\ndenied"))

        error = self.failureResultOf(self.database.run_untimed(work), DatabaseRefused).value
        self.assertEqual(str(error), f"database {without_password(self.url)}: Access denied")

    def test_a_commit_that_was_certainly_not_carried_out(self) -> None:
        """The rule runs again: another node of Galera was first, or the server became read-only."""
        for number, of in (
            (mysql_errors.LOCK_DEADLOCK, pymysql.OperationalError),
            (mysql_errors.OPTION_PREVENTS_STATEMENT, pymysql.OperationalError),
            (3101, pymysql.OperationalError),
        ):
            self._tried = 0
            error = raised(of(number, "it was rolled back"))
            tried = 2 if number == mysql_errors.OPTION_PREVENTS_STATEMENT else ATTEMPTS
            self.assertEqual(self._tried_when_commits_raise(error), tried, number)

    def test_a_server_that_has_become_read_only_is_left(self) -> None:
        """By every thread: whoever reads there would miss what is written elsewhere."""
        database: Any = self.database.peewee
        before = database.servers.generation
        refuse = pymysql.OperationalError(mysql_errors.OPTION_PREVENTS_STATEMENT, "read-only")
        self.at_commit(mock.Mock(side_effect=raised(refuse)))
        self._unavailable(self.database.run(self._count))
        self.assertGreater(database.servers.generation, before)


class OnMySQLInC(OnMySQL):
    """By the driver in C."""

    def database_url(self) -> str:
        return fresh_mysql_url(IN_C)


class AsOnGalera(OnMySQLInC):
    """As on a node of Galera, where another node may end a transaction at any moment."""

    def setUp(self) -> None:
        self.patch(ServerFacts, "is_galera", True)
        super().setUp()

    def test_a_request_that_outlives_its_transaction(self) -> None:
        """Nothing of it is kept: not what came before the transaction was rolled back, and not what
        was carried out after."""
        insert = "INSERT INTO contract_entry (name) VALUES (%s)"

        database: Any = self.database.peewee

        def rule() -> None:
            database.carry_out_together(
                [(insert, ["go"], True), ("ROLLBACK", [], False), (insert, ["chess"], True)],
                [lambda cursor: None] * 3,
            )

        self._unavailable(self.database.run(rule))
        self.assertEqual(self._stored(), [])
        self._call(self._add, "poker")
        self.assertEqual(self._stored(), ["poker"])

    def test_work_with_transactions_of_its_own(self) -> None:
        """Each of its statements is kept that is in no transaction."""

        def work() -> None:
            with self.database.peewee.atomic():
                self._add("go")
            self._add("chess")

        self.successResultOf(self.database.run(lambda: self._add("poker")))
        self.successResultOf(self.database.run_untimed(work))
        self.database.peewee.close()
        self.assertEqual(self._stored(), ["poker", "go", "chess"])


class Deadlines(SynchronousTestCase):
    def test_the_answer_comes_within_two_seconds(self) -> None:
        self.assertLess(DEADLINE + COMMIT_GRACE, 2.0)


@bulk(lambda name: name)
def greet(names: Sequence[str]) -> list[str]:
    """Greet everybody."""
    return [f"hello {name}" for name in names]


class RulesThatTakeMany(SynchronousTestCase):
    def test_one_passes_for_a_function(self) -> None:
        """It is called for one, has a name and a text, and other processes find it by the name."""
        rule: Any = greet
        self.assertEqual(rule("ann"), "hello ann")
        self.assertEqual((rule.__name__, rule.__doc__), ("greet", "Greet everybody."))
        self.assertIs(pickle.loads(pickle.dumps(rule)), rule)


class ReadOnly(SynchronousTestCase):
    def test_marks(self) -> None:
        def rule() -> None:
            pass

        self.assertFalse(is_read_only(rule))
        self.assertIs(read_only(rule), rule)
        self.assertTrue(is_read_only(rule))

    def test_a_rule_that_changes_much_is_in_no_ones_way(self) -> None:
        """It waits for the thread of long reads, where nothing that people ask for is."""

        def rule() -> None:
            pass

        lanes: dict[str, list[Any]] = {}

        @implementer(ILane)
        class Lane:
            def __init__(self, name: str) -> None:
                self.put = lanes.setdefault(name, []).append

        @implementer(ILanes)
        class Lanes(Inline):
            def lane(self, name: str, *arguments: object, **options: object) -> Lane:
                return Lane(name)

        database = Database("sqlite:///:memory:", cast("ILanes", Lanes()), Clock())
        self.addCleanup(database.close)
        database.run(rule)
        database.run(long_write(rule))
        self.assertFalse(is_read_only(rule))
        [[short], [long]] = lanes["writing"], lanes["taking-long"]
        self.assertEqual((short.writes, long.writes, lanes["reading"]), (True, True, []))
