"""Each driver for MySQL shows its callers the same: values, counts, errors and their numbers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import peewee
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.database_urls import Place
from bbs.storage.engines import IN_C, IN_PYTHON, connect_to, is_bug
from bbs.storage.mysql import MySQLDatabase
from bbs.storage.mysql_servers import Servers
from tests.database_case import fresh_mysql_url

TABLE = """
CREATE TABLE thing (
    id INTEGER AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40) NOT NULL UNIQUE, note MEDIUMTEXT,
    score DOUBLE, big BIGINT, raw BLOB
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE=utf8mb4_bin
"""
ADD = "INSERT INTO thing (name, note) VALUES (%s, %s)"


class ByPyMySQL(SynchronousTestCase):
    driver = IN_PYTHON

    def setUp(self) -> None:
        self.url = fresh_mysql_url(self.driver)
        self.db = self.connect()
        self.addCleanup(self.db.close)
        self.db.execute_sql(TABLE)

    def connect(self) -> MySQLDatabase:
        """A connection to the test's database, for this thread."""
        database = connect_to(self.url)
        assert isinstance(database, MySQLDatabase)
        database.connect()
        return database

    def ask(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return [*self.db.carry_out(sql, values, False).fetchall()]

    def change(self, sql: str, *values: Any) -> int:
        changed: int = self.db.carry_out(sql, values, True).rowcount
        return changed

    def error(self, sql: str, *values: Any) -> Any:
        return self.assertRaises(peewee.PeeweeException, self.change, sql, *values)

    # Values

    def test_values_come_back_as_they_went(self) -> None:
        texts = ("", "é😀 \0'\"\\ % %s %% ; --", "x" * 70000)
        numbers = (0, -1, 2**63 - 1, True)
        for column, values in {
            "note": (*texts, None),
            "big": (*numbers, None),
            "score": (0.0, 0.1, -2.5e-7, 1e22, 1792838.123456, None),
            "raw": (b"", b"\xff\0'\\%", None),
        }.items():
            for value in values:
                self.change("DELETE FROM thing")
                self.change(f"INSERT INTO thing (name, {column}) VALUES (%s, %s)", "a", value)
                ((found,),) = self.ask(f"SELECT {column} FROM thing")
                self.assertEqual((found, type(found)), (value, type(self.stored(value))))

    def stored(self, value: object) -> object:
        return int(value) if isinstance(value, bool) else value

    def test_values_that_no_table_holds(self) -> None:
        for sql, values, expected in (
            ("SELECT %s, %s, %s, %s", ("é", 0.1, 5, None), ("é", 0.1, 5, None)),
            ("SELECT %s", (b"\xff",), (b"\xff",)),
            ("SELECT COUNT(*), SUM(2), MAX(1)", (), (1, Decimal(2), 1)),
            ("SELECT JSON_ARRAY(1, 'é', NULL)", (), ('[1, "é", null]',)),
            ("SELECT 'a%%b', CONCAT('a', %s)", ("%s",), ("a%b", "a%s")),
        ):
            (found,) = self.ask(sql, *values)
            self.assertEqual(found, expected)
            self.assertEqual([*map(type, found)], [*map(type, expected)])

    def test_what_is_no_value(self) -> None:
        for sql, values in (
            ("SELECT %s", (float("inf"),)),
            ("SELECT %s, %s", (1,)),
            ("SELECT %s", (1, 2)),
        ):
            self.assertIsInstance(self.error(sql, *values), peewee.ProgrammingError)
        self.assertEqual(self.ask("SELECT 1"), [(1,)])

    # What was done

    def test_counts(self) -> None:
        """Of rows that are other than before, not of those that were found."""
        self.assertEqual(self.db.carry_out(ADD, ("a", "1"), True).lastrowid, 1)
        self.assertEqual(self.db.carry_out(ADD, ("b", "1"), True).lastrowid, 2)
        self.assertEqual(self.change("UPDATE thing SET note = %s WHERE name = %s", "1", "a"), 0)
        self.assertEqual(self.change("UPDATE thing SET note = %s", "2"), 2)
        self.assertEqual(self.change("DELETE FROM thing WHERE name = %s", "a"), 1)
        self.assertEqual(self.change("DELETE FROM thing WHERE name = %s", "a"), 0)
        self.assertEqual(self.db.carry_out("SELECT name FROM thing", (), False).rowcount, 1)

    def test_transactions(self) -> None:
        self.assertEqual(self.ask("SELECT @@autocommit"), [(1,)])
        for end, left in ((self.db.rollback, []), (self.db.commit, [("a",)])):
            self.db.begin()  # type: ignore[no-untyped-call]
            self.change(ADD, "a", None)
            end()  # type: ignore[operator]
            self.assertEqual(self.ask("SELECT name FROM thing"), left)

    def test_a_row_at_a_time(self) -> None:
        for name in "abc":
            self.change(ADD, name, None)
        cursor = self.db.execute_sql("SELECT name, id FROM thing ORDER BY id")
        self.assertEqual([column[0] for column in cursor.description], ["name", "id"])
        self.assertEqual(cursor.fetchone(), ("a", 1))
        self.assertEqual([*cursor.fetchall()], [("b", 2), ("c", 3)])
        self.assertIsNone(cursor.fetchone())
        cursor = self.db.execute_sql("SELECT name FROM thing WHERE id > 9")
        self.assertEqual(([*cursor], cursor.description[0][0]), ([], "name"))

    def test_many_at_once(self) -> None:
        rows = [(f"é%s {number}", "%" * 2000) for number in range(1200)]
        self.db.carry_out_many(ADD, rows)
        self.assertEqual(self.ask("SELECT name, note FROM thing ORDER BY id"), rows)
        again = (
            "INSERT INTO thing (name, note) VALUES (%s, %s) ON DUPLICATE KEY UPDATE note = 'x%%'"
        )
        self.db.carry_out_many(again, rows[:2])
        self.db.carry_out_many("UPDATE thing SET note = %s WHERE name = %s", [("y", rows[1][0])])
        self.assertEqual(
            self.ask("SELECT note FROM thing ORDER BY id LIMIT 3"), [("x%",), ("y",), ("%" * 2000,)]
        )

    # Several statements at once

    def together(self, *statements: tuple[str, tuple[Any, ...]], take: Any = None) -> list[Any]:
        return self.db.carry_out_together(
            [(sql, values, not sql.startswith("SELECT")) for sql, values in statements],
            [take or (lambda cursor: [*cursor.fetchall()] or cursor.lastrowid)] * len(statements),
        )

    def test_several_at_once(self) -> None:
        found = self.together(
            (ADD, ("a; b", "1")), ("SELECT name FROM thing", ()), (ADD, ("c", None))
        )
        self.assertEqual(found, [1, [("a; b",)], 2])

    def test_one_of_several_that_fails(self) -> None:
        """What comes next finds the connection in order."""
        with self.assertRaises(peewee.IntegrityError):
            self.together((ADD, ("a", "1")), (ADD, ("a", "1")), (ADD, ("b", "1")))
        self.assertEqual(self.ask("SELECT name FROM thing"), [("a",)])

    def test_several_whose_results_nobody_takes(self) -> None:
        with self.assertRaises(ZeroDivisionError):
            self.together(
                *[("SELECT %s", (number,)) for number in range(3)], take=lambda cursor: 1 // 0
            )
        self.assertEqual(self.ask("SELECT 7"), [(7,)])

    # Errors

    def test_errors(self) -> None:
        self.change(ADD, "a", None)
        for sql, kind, number, bug in (
            ("INSERT INTO thing (name) VALUES ('a')", peewee.IntegrityError, 1062, False),
            ("INSERT INTO thing (name) VALUES (NULL)", peewee.IntegrityError, 1048, False),
            ("INSERT INTO thing (name) VALUES (REPEAT('a', 99))", peewee.DataError, 1406, False),
            ("SELECT", peewee.ProgrammingError, 1064, False),
            ("SELECT * FROM nothing", peewee.ProgrammingError, 1146, False),
            ("SELECT nothing FROM thing", peewee.OperationalError, 1054, True),
            ("KILL CONNECTION_ID()", peewee.OperationalError, 1927, False),
        ):
            error = self.error(sql)
            self.assertIs(type(error), kind, sql)
            self.assertEqual((error.args[0], is_bug(error)), (number, bug))
            self.assertIsInstance(error.args[-1], str)
            self.assertNotEqual(error.args[-1], "")

    def test_a_lock_that_is_not_given_back(self) -> None:
        """The server's error arrives, before the driver stops waiting for an answer."""
        self.change(ADD, "a", None)
        holder = self.connect()
        self.addCleanup(holder.close)
        with holder.atomic():
            holder.execute_sql("UPDATE thing SET note = 'held'")
            error = self.error("UPDATE thing SET note = 'mine'")
        self.assertIs(type(error), peewee.OperationalError)
        self.assertEqual((error.args[0], is_bug(error)), (1205, False))
        self.assertEqual(self.change("UPDATE thing SET note = 'mine'"), 1)

    def test_a_deadlock(self) -> None:
        """One of the two is told so, and the other one goes on."""
        for name in "ab":
            self.change(ADD, name, None)
        both_hold_one = threading.Barrier(2)

        def lock(first: str, second: str) -> Any:
            database = self.connect()
            try:
                with database.atomic():
                    for name in (first, second):
                        sql = "UPDATE thing SET note = %s WHERE name = %s"
                        database.carry_out(sql, (first, name), True)
                        if name == first:
                            both_hold_one.wait(10)
                return None
            except peewee.OperationalError as error:
                return error
            finally:
                database.close()

        with ThreadPoolExecutor(2) as executor:
            errors = [each for each in executor.map(lock, "ab", "ba") if each is not None]
        self.assertEqual([(each.args[0], is_bug(each)) for each in errors], [(1213, False)])
        self.assertEqual(len(set(self.ask("SELECT note FROM thing"))), 1)

    def test_a_connection_that_the_server_closed(self) -> None:
        error = self.error("KILL CONNECTION_ID()")
        error = self.error("SELECT 1")
        self.assertFalse(is_bug(error))
        self.assertIsInstance(error, (peewee.OperationalError, peewee.InterfaceError))
        self.db.close()
        self.db.connect()
        self.assertEqual(self.ask("SELECT 1"), [(1,)])

    def test_nobody_there(self) -> None:
        self.db.close()
        before, there = self.db.connect_params, self.db.servers
        for options, servers, number, reason in (
            ({}, Servers([Place("127.0.0.1", 1)]), 2003, "Connection refused"),
            ({"password": "wrong"}, there, 1045, "Access denied"),
        ):
            with self.subTest(number):
                self.db.connect_params, self.db.servers = {**before, **options}, servers
                error: Any = self.assertRaises(peewee.OperationalError, self.db.connect)
                self.assertEqual(error.args[0], number)
                self.assertIn(reason, error.args[-1])
        self.db.connect_params, self.db.servers = before, there

    def test_a_server_that_asks_for_files(self) -> None:
        """It is given none."""
        error = self.error("LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE thing (name)")
        self.assertIn(error.args[0], (2068, 4166))
        self.assertEqual(self.ask("SELECT name FROM thing"), [])


class ByC(ByPyMySQL):
    """The driver in C: `txbbs[fast-mysql]`."""

    driver = IN_C
