"""Databases for tests: no reactor and no threads, but the real rules on real databases.

    @on_both_databases
    class Sending(RulesCase):
        def test_to_a_stranger(self) -> None:
            ann, bob = self.person("ann"), self.person("bob")
            self.refused("bob is not your friend", messages.send, ann, "bob", "hello")

Each test has an SQLite file of its own. `on_both_databases` makes a second class of the same tests,
which runs on the MySQL or MariaDB at `BBS_TEST_MYSQL_URL`, and is skipped without one: in a new
database of this process, emptied before each test.
"""

from __future__ import annotations

import atexit
import os
import secrets
import sys
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.addresses import Address
from bbs.board import friends
from bbs.errors import Refusal
from bbs.rules import accounts, places, servers
from bbs.storage import migrations, models
from bbs.storage.connecting import connect_to
from bbs.storage.database import Database
from bbs.storage.models import Server
from bbs.values import State
from bbs.workers import Inline, IWorkers
from tests.services import needed

T = TypeVar("T")
_Case = TypeVar("_Case", bound="type[DatabaseCase]")

START = 1_000_000.0
"""When tests begin, in seconds since the epoch."""

SESSIONS = accounts.Sessions(ttl=1000.0)


class DatabaseCase(SynchronousTestCase):
    """A test with a database, its schema up to date unless `migrated` is False, and a clock."""

    migrated: ClassVar[bool] = True

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.url = self.database_url()
        self.database = self.open_database()
        self.addCleanup(self.close_connection)
        if self.migrated:
            self.migrate()

    def database_url(self) -> str:
        """Where this test's database is."""
        return sqlite_url(self.mktemp())

    def migrate(self) -> None:
        """Bring the database's schema to today's."""
        self.database.peewee.connect(reuse_if_open=True)
        migrations.upgrade(self.database.peewee)

    def open_database(self, workers: IWorkers | None = None) -> Database:
        """The test's database, its rules run by `workers`: at once, if nothing else is said."""
        return Database(self.url, workers or Inline(), self.clock)

    def close_connection(self) -> None:
        """Leave no connection open, whatever the test did to the database."""
        self.database.peewee.close()

    @property
    def on_mysql(self) -> bool:
        """Whether this is MySQL or MariaDB."""
        return self.url.startswith("mysql:")

    def call(self, rule: Callable[..., T], *arguments: Any) -> T:
        """What `rule` returns, in its transaction."""
        return self.successResultOf(self.database.run(rule, *arguments))

    def refused(self, text: str, rule: Callable[..., object], *arguments: Any) -> None:
        """Check that `rule` refuses, and how a peer is told."""
        error = self.failureResultOf(self.database.run(rule, *arguments), Refusal).value
        self.assertEqual(error.message, text)


class RulesCase(DatabaseCase):
    """A test with people, who are online on an app server with room for all of them."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.ready_server(capacity=1000)

    @property
    def now(self) -> float:
        """The time, in seconds since the epoch."""
        return self.clock.seconds()

    def ready_server(self, capacity: int, host: str = "host", port: int = 22223) -> str:
        """An app server on which people may be placed; returns its id."""
        server = servers.new_id()
        Server.insert(
            id=server,
            state=State.READY,
            scope="test",
            host=host,
            port=port,
            capacity=capacity,
            created=self.now,
            ready=self.now,
        ).execute()
        return server

    def account(self, name: str) -> None:
        """Register `name`."""
        self.call(accounts.register, name, f"hash of {name}", self.now)

    def log_in(self, name: str) -> str:
        """Log `name` in; returns the token."""
        token = accounts.new_token()
        search = self.call(
            accounts.log_in,
            name,
            f"hash of {name}",
            accounts.digest(token),
            None,
            self.now,
            places.Look(new=True),
        )
        self.assertIsNotNone(search.seat)
        return token

    def caller(self, token: str) -> accounts.Caller:
        """Whom `token` belongs to."""
        return self.call(accounts.identify, token, SESSIONS, self.now)

    def person(self, name: str) -> accounts.Caller:
        """Somebody new, who has logged in."""
        self.account(name)
        return self.caller(self.log_in(name))

    def people(self, *names: str) -> list[accounts.Caller]:
        """Several new people."""
        return [self.person(name) for name in names]

    def befriend(self, one: accounts.Caller, other: accounts.Caller) -> None:
        """Make two people friends."""
        self.call(friends.invite, one, other.name)
        self.call(friends.accept, other, one.name)

    def seat(self, server: str, host: str = "host", port: int = 22223) -> places.Seat:
        """A place on `server`."""
        return places.Seat(server, Address(host, port))

    def taken(self, server: str) -> int:
        """How many places of `server` are counted as taken; fails unless there are as many."""
        row = Server.get(Server.id == server)
        there = models.Place.select().where(models.Place.server == server).count()
        self.assertEqual(row.taken, there, "Server.taken is not the count of its places")
        return there


class OnMySQL(DatabaseCase):
    """The same on MySQL or MariaDB."""

    shared_url: ClassVar[str | None] = None
    """The database of all tests that begin with today's tables: making them takes a while."""

    def database_url(self) -> str:
        return (self.migrated and OnMySQL.shared_url) or fresh_mysql_url()

    def migrate(self) -> None:
        if OnMySQL.shared_url is None:
            super().migrate()
            OnMySQL.shared_url = self.url
        empty_tables(self.database)


def on_both_databases(case: _Case) -> _Case:
    """Run the tests of `case` on MySQL too, as a class beside it, named `…OnMySQL`."""
    name = f"{case.__name__}OnMySQL"
    members = {"__module__": case.__module__, "__qualname__": name, "__doc__": case.__doc__}
    setattr(sys.modules[case.__module__], name, type(name, (OnMySQL, case), members))
    return case


def sqlite_url(folder: str) -> str:
    """An SQLite database in `folder`, which is made."""
    os.makedirs(folder)
    return f"sqlite:///{os.path.abspath(folder)}/bbs.sqlite3"


def fresh_mysql_url() -> str:
    """A new database without tables on the tests' server, until the process ends."""
    server = needed("BBS_TEST_MYSQL_URL")
    name = f"bbs_test_{secrets.token_hex(8)}"
    execute_once(server, f"CREATE DATABASE {name}")
    atexit.register(execute_once, server, f"DROP DATABASE IF EXISTS {name}")
    return f"{server.rpartition('/')[0]}/{name}"


def execute_once(url: str, statement: str) -> None:
    """Run one SQL statement on a connection of its own."""
    database = connect_to(url)
    database.connect()
    try:
        database.execute_sql(statement)
    finally:
        database.close()


def empty_tables(database: Database) -> None:
    """Remove every row but the schema's version."""
    with database.peewee.atomic():
        for model in reversed(models.MODELS):
            model.delete().execute()
