"""Where a database is, how it is connected to, and how its transactions begin."""

from __future__ import annotations

import configparser
import os
import re
import sqlite3
from pathlib import Path
from typing import Any
from unittest import mock

import peewee
import pymysql
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from bbs.storage.engines import (
    IN_C,
    IN_PYTHON,
    NO_ROOM,
    DatabaseRefused,
    connect_to,
    is_disk_full,
    prepare_file,
    refusal,
    without_password,
)
from bbs.storage.mysql import MySQLDatabase
from bbs.storage.sqlite import SqliteDatabase
from bbs.testing.database_suite import raised
from tests.database_case import install_driver_in_c, sqlite_url
from tests.paths import CHECKOUT


class URLs(SynchronousTestCase):
    def test_sqlite(self) -> None:
        for url, path in (
            ("sqlite:///bbs.sqlite3", "bbs.sqlite3"),
            ("sqlite:////var/lib/bbs.sqlite3", "/var/lib/bbs.sqlite3"),
            ("sqlite:///with%20space%3F", "with space?"),
        ):
            database = connect_to(url)
            self.assertIsInstance(database, peewee.SqliteDatabase)
            self.assertEqual(database.database, path)

    def test_mysql(self) -> None:
        url = "mysql://us%40er:p%3Ass%2Fword@db.example:3307/name?tls_ca=/etc/ca.pem"
        database = connect_to(url)
        self.assertIsInstance(database, peewee.MySQLDatabase)
        self.assertEqual(database.database, "name")
        parameters = database.connect_params
        expected = {
            "host": "db.example",
            "port": 3307,
            "user": "us@er",
            "password": "p:ss/word",
            "ssl": {"ca": "/etc/ca.pem"},
        }
        self.assertEqual({key: parameters[key] for key in expected}, expected)

    def test_mysql_by_default(self) -> None:
        parameters = connect_to("mysql://host/name").connect_params
        expected = {"host": "host", "port": 3306, "user": "", "password": ""}
        self.assertEqual({key: parameters[key] for key in expected}, expected)
        self.assertNotIn("ssl", parameters)

    def test_each_driver_is_asked_in_the_same_words(self) -> None:
        for rest in (
            "user:p%3Ass@db.example:3307/name?tls_ca=/etc/ca.pem",
            "user@127.0.0.1/name",
            "user@db.example/name",
        ):
            in_python, in_c = connect_to(f"{IN_PYTHON}://{rest}"), connect_to(f"{IN_C}://{rest}")
            self.assertIsInstance(in_c, MySQLDatabase)
            self.assertIsNot(type(in_c), type(in_python))
            self.assertEqual(in_c.connect_params, in_python.connect_params)

    def test_neither(self) -> None:
        error = self.assertRaises(DatabaseRefused, connect_to, "postgres://user:secret@host/name")
        self.assertEqual(
            str(error), "database.url: neither sqlite:/// nor mysql://, but 'postgres'"
        )

    def test_passwords_are_not_shown(self) -> None:
        for url, shown in (
            ("mysql://user:secret@host:3306/name", "mysql://user:***@host:3306/name"),
            ("mysql://user:s:e@cret@host/name", "mysql://user:***@host/name"),
            ("mysql://us%40er:@host/name?tls_ca=x", "mysql://us%40er:***@host/name?tls_ca=x"),
            ("mysql://user@host/name", "mysql://user@host/name"),
            (f"{IN_C}://user:secret@host/name", f"{IN_C}://user:***@host/name"),
            (f"{IN_PYTHON}://user:secret@host/name", f"{IN_PYTHON}://user:***@host/name"),
            ("sqlite:///bbs.sqlite3", "sqlite:///bbs.sqlite3"),
        ):
            self.assertEqual(without_password(url), shown)


class Drivers(SynchronousTestCase):
    """Which driver a URL for MySQL is given, by what is installed."""

    REST = "user:secret@host/name"

    def used(self) -> tuple[str, list[str]]:
        """The driver for `mysql://`, and what the log says of it."""
        with capturedLogs() as log:
            database: Any = connect_to(f"mysql://{self.REST}")
        return database.driver, [formatEvent(event) for event in log]

    def refused(self) -> str:
        """Why there is no database by the driver in C."""
        refusal = str(self.assertRaises(DatabaseRefused, connect_to, f"{IN_C}://{self.REST}"))
        self.assertIn("pip install 'txbbs[fast-mysql] >= 0.4'", refusal)
        for unwanted in ("\n", "secret"):
            self.assertNotIn(unwanted, refusal)
        return refusal

    def test_in_c_where_it_is_installed(self) -> None:
        named: Any = connect_to(f"{IN_C}://{self.REST}")
        self.assertEqual(self.used(), (named.driver, []))
        self.assertRegex(named.driver, r"^mysql-connector-python \d+\.\d+")

    def test_pymysql_where_it_is_asked_for(self) -> None:
        database: Any = connect_to(f"{IN_PYTHON}://{self.REST}")
        self.assertEqual(database.driver, f"PyMySQL {pymysql.VERSION_STRING}")

    def test_not_installed(self) -> None:
        """As by a plain `pip install`: nobody is warned."""
        install_driver_in_c(self, None)
        self.assertEqual(self.used(), (f"PyMySQL {pymysql.VERSION_STRING}", []))
        self.refused()

    def test_broken(self) -> None:
        """The service starts all the same, and one line says why it is slower."""
        for error in ("ImportError", "SystemError"):
            install_driver_in_c(self, f"raise {error}('undefined symbol:\\n mysql_init')")
            driver, log = self.used()
            self.assertEqual(driver, f"PyMySQL {pymysql.VERSION_STRING}")
            self.assertEqual(
                log,
                ["the driver in C is unusable, PyMySQL is used: undefined symbol: mysql_init"],
            )
            self.assertIn("undefined symbol: mysql_init", self.refused())

    def test_too_old(self) -> None:
        """The oldest that is used is the oldest that `txbbs[fast-mysql]` installs."""
        setup = configparser.ConfigParser()
        setup.read(CHECKOUT / "setup.cfg", "utf-8")
        extra = setup["options.extras_require"]["fast-mysql"]
        oldest = re.findall(r"mysql-connector-python >= (\d+)\.(\d+)$", extra, re.MULTILINE)
        [(major, minor)] = [map(int, each) for each in oldest]
        install_driver_in_c(self, "", f"{major}.{minor - 1}.9")
        driver, log = self.used()
        self.assertEqual(driver, f"PyMySQL {pymysql.VERSION_STRING}")
        reason = f"mysql-connector-python {major}.{minor - 1}.9 is older than {major}.{minor}"
        self.assertEqual(log, [f"the driver in C is unusable, PyMySQL is used: {reason}"])
        self.assertIn(reason, self.refused())


class Locks(SynchronousTestCase):
    """A transaction on SQLite takes the lock for writing as it begins."""

    def connect(self, url: str) -> SqliteDatabase:
        database = connect_to(url)
        assert isinstance(database, SqliteDatabase)
        database.timeout = 0
        database.connect()
        self.addCleanup(database.close)
        return database

    def test_at_the_beginning(self) -> None:
        url = sqlite_url(self.mktemp())
        one, other = self.connect(url), self.connect(url)
        with one.atomic():
            self.assertRaises(peewee.OperationalError, other.begin)
            self.assertRaises(peewee.OperationalError, other.atomic().__enter__)
        other.timeout = 5  # Its turn comes by a thread.
        other.begin()
        self.assertRaises(peewee.OperationalError, one.begin)
        other.rollback()

    def test_not_by_who_only_reads(self) -> None:
        url = sqlite_url(self.mktemp())
        one, other = self.connect(url), self.connect(url)
        with one.atomic():
            other.begin_reading()
            other.end_reading()


class Settings(SynchronousTestCase):
    def test_a_connection_that_cannot_be_set_up_is_closed(self) -> None:
        """Or else the next transaction would run on it, under other rules."""
        connection = mock.MagicMock()
        trouble = pymysql.OperationalError(1193, "Unknown system variable")
        connection.cursor.return_value.__enter__.return_value.execute.side_effect = trouble
        database = connect_to(f"{IN_PYTHON}://host/name")
        with mock.patch("pymysql.connect", return_value=connection):
            self.assertRaises(peewee.OperationalError, database.connect)
        connection.close.assert_called_once_with()
        self.assertTrue(database.is_closed())

    def test_a_server_that_wants_tls_even_on_this_machine_has_it(self) -> None:
        """As one that would else be sent a password that anybody could read (2061)."""
        for code in (3159, 2061):
            server = mock.MagicMock(server_version="11.8.9-MariaDB")
            connect = mock.Mock(side_effect=[pymysql.OperationalError(code, ""), server])
            database = connect_to(f"{IN_PYTHON}://127.0.0.1/name")
            with mock.patch("pymysql.connect", connect):
                database.connect()
            self.addCleanup(database.close)
            first, second = (call.kwargs for call in connect.call_args_list)
            self.assertTrue(first["ssl_disabled"])
            self.assertNotIn("ssl_disabled", second)
            self.assertNotIn("ssl_disabled", database.connect_params)

    def test_a_server_that_cannot_serve_is_asked_once(self) -> None:
        """Nor is TLS spoken from then on: with it the server would not have served either."""
        connect = mock.Mock(side_effect=pymysql.OperationalError(1040, "Too many connections"))
        database = connect_to(f"{IN_PYTHON}://127.0.0.1/name")
        with mock.patch("pymysql.connect", connect):
            self.assertRaises(peewee.OperationalError, database.connect)
        self.assertEqual(connect.call_count, 1)
        connect = mock.Mock(side_effect=pymysql.OperationalError(1045, "Access denied"))
        with mock.patch("pymysql.connect", connect):
            self.assertRaises(peewee.OperationalError, database.connect)
        self.assertEqual(connect.call_count, 2)
        self.assertTrue(database.connect_params["ssl_disabled"])


class Full(SynchronousTestCase):
    """What an operator reads of a disk without room."""

    def sqlite(self, code: int, text: str) -> sqlite3.OperationalError:
        error = sqlite3.OperationalError(text)
        error.sqlite_errorcode = code
        return error

    def test_in_words(self) -> None:
        """SQLite's are of I/O, where the file beside its WAL cannot grow."""
        told = f"database sqlite:///x: {NO_ROOM}"
        for code, text in (
            (sqlite3.SQLITE_FULL, "database or disk is full"),
            (sqlite3.SQLITE_IOERR_SHMSIZE, "disk I/O error"),
        ):
            error = self.sqlite(code, text)
            for each in (error, raised(error)):
                self.assertEqual(str(refusal("sqlite:///x", each)), told)

    def test_a_disk_that_fails(self) -> None:
        error = raised(self.sqlite(sqlite3.SQLITE_IOERR_READ, "disk I/O error"))
        self.assertEqual(str(refusal("sqlite:///x", error)), "database sqlite:///x: disk I/O error")
        self.assertFalse(is_disk_full(error))


class Files(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(os.umask, os.umask(0))
        self.path = Path(self.mktemp()).absolute()

    def test_a_new_one_is_its_owners(self) -> None:
        self.assertIsNone(prepare_file(f"sqlite:///{self.path}"))
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_one_that_is_there_stays(self) -> None:
        """And an operator is told if everybody can open it."""
        self.path.write_text("x")
        for mode, warned in ((0o600, False), (0o660, False), (0o604, True), (0o602, True)):
            self.path.chmod(mode)
            self.assertEqual(bool(prepare_file(f"sqlite:///{self.path}")), warned)
            self.assertEqual(self.path.stat().st_mode & 0o777, mode)
        self.assertEqual(self.path.read_text(), "x")

    def test_what_is_no_file(self) -> None:
        here = sorted(os.listdir())
        for url in ("sqlite:///:memory:", "sqlite:///", "sqlite:////no/such/x", "mysql://h/x"):
            self.assertIsNone(prepare_file(url))
        self.assertEqual(sorted(os.listdir()), here)
