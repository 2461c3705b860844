"""The base of tests of rules, which run on a real database without a reactor and threads.

    class Sending(RulesCase):
        service = board

        def test_to_a_stranger(self) -> None:
            ann, bob = self.people("ann", "bob")
            self.refused("bob is not your friend", messages.send, ann, "bob", "hello")

Each test has an SQLite file of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, ParamSpec, TypeVar

import peewee
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.commands.extensions import extended
from bbs.commands.service import Service, new_account_rule
from bbs.config import Configuration
from bbs.core.addresses import Address
from bbs.core.errors import Refusal
from bbs.core.threads import ILanes
from bbs.core.values import State
from bbs.rules import accounts, auth, placement
from bbs.rules.servers import new_id
from bbs.storage.database import Database
from bbs.storage.migrations import upgrade
from bbs.storage.models import Place, Server
from bbs.storage.schema import Schema
from bbs.testing.threads import Inline

P = ParamSpec("P")
T = TypeVar("T")

START = 1_000_000.0  # when tests begin, in seconds since the epoch

SESSIONS = auth.Sessions(ttl=1000.0)

_files: dict[tuple[object, ...], bytes] = {}
"""SQLite files that only have the tables of a schema."""


def migrate_file(database: peewee.Database, schema: Schema) -> None:
    """Connect to an SQLite database, and bring it to `schema`. A new file is a copy of the first
    one: that takes 1 ms, and to make the tables takes 9 ms."""
    path, key = database.database, (schema.name, schema.version, schema.all_models, schema.seed)
    new = not os.path.exists(path)
    if new and key in _files:
        with open(path, "wb") as file:
            file.write(_files[key])
    database.connect(reuse_if_open=True)
    if new and key in _files:
        return
    upgrade(database, schema)
    if new:
        database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")  # moves the log into the file
        with open(path, "rb") as file:
            _files[key] = file.read()


class DatabaseCase(SynchronousTestCase):
    """A test of the tables and rules of `service`, with a clock and a database, whose schema is up
    to date unless `migrated` is False. Rules find the `sections` of the configuration that are
    given, and of others the defaults."""

    service: ClassVar[Service]
    sections: Sequence[Any] = ()
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
        """The URL of this test's database."""
        folder = self.mktemp()
        os.makedirs(folder)
        return f"sqlite:///{os.path.abspath(folder)}/{self.service.name}.sqlite3"

    def migrate(self, service: Service | None = None) -> None:
        """Upgrade the schema to today's, or to that of another version of the service."""
        schema = extended(service or self.service).schema
        if self.on_mysql:
            self.database.peewee.connect(reuse_if_open=True)
            upgrade(self.database.peewee, schema)
        else:
            migrate_file(self.database.peewee, schema)

    def open_database(self, workers: ILanes | None = None) -> Database:
        """The test's database; `workers` carry out its rules, by default at once."""
        database = Database(self.url, workers or Inline(), self.clock)
        given = {type(each): each for each in self.sections}
        database.tell_settings({**extended(self.service).loaded(lambda kind: kind()), **given})
        return database

    def close_connection(self) -> None:
        """Close the connection, whatever the test did to the database."""
        self.database.close()

    @property
    def on_mysql(self) -> bool:
        """Whether the database is MySQL or MariaDB."""
        return self.url.startswith("mysql")

    def call(self, rule: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
        """Call `rule` with `arguments` and `keywords` in a transaction; returns its result."""
        result: T = self.successResultOf(self.database.run(rule, *arguments, **keywords))
        return result

    def refused(
        self, text: str, rule: Callable[P, object], *arguments: P.args, **keywords: P.kwargs
    ) -> None:
        """Check that `rule` refuses `arguments` and `keywords`, with this `text` for the peer."""
        refusing = self.database.run(rule, *arguments, **keywords)
        error = self.failureResultOf(refusing, Refusal).value
        self.assertEqual(error.message, text)


class RulesCase(DatabaseCase):
    """A test with people, who are online on an app server with room for all of them. A test may set
    other `quotas` before it makes people: an instance of `Service.limits`."""

    quotas: Any = None

    def setUp(self) -> None:
        super().setUp()
        if self.quotas is None:
            self.quotas = Configuration().limits_of(self.service.limits)
        self.server = self.ready_server(capacity=1000)

    @property
    def now(self) -> float:
        """The time, in seconds since the epoch."""
        return self.clock.seconds()

    def ready_server(self, capacity: int, host: str = "host", port: int = 22223) -> str:
        """An app server at `host` and `port` with places for `capacity` people; returns its id."""
        server = new_id()
        place = {"host": host, "port": port, "capacity": capacity}
        times = {"created": self.now, "ready": self.now}
        Server.insert(id=server, state=State.READY, scope="test", **place, **times).execute()
        return server

    def account(self, name: str) -> None:
        """Register `name`."""
        rule = new_account_rule(extended(self.service), lambda section: section())
        self.call(accounts.register, name, f"hash of {name}", self.now, rule)

    def log_in(self, name: str) -> str:
        """Log `name` in; returns the token."""
        token = accounts.new_token()
        digest, look = auth.digest(token), placement.Look(new=True)
        search = self.call(accounts.log_in, name, f"hash of {name}", digest, None, self.now, look)
        self.assertIsNotNone(search.seat)
        return token

    def log_out(self, caller: auth.Caller) -> None:
        """End all sessions of `caller`."""
        self.call(accounts.log_out, caller)

    def caller(self, token: str) -> auth.Caller:
        """The user of the session with `token`."""
        sessions = auth.Sessions(SESSIONS.ttl, self.quotas)
        return self.call(auth.identify, token, sessions, self.now)

    def person(self, name: str) -> auth.Caller:
        """A new user, `name`, who has logged in."""
        self.account(name)
        return self.caller(self.log_in(name))

    def people(self, *names: str) -> list[auth.Caller]:
        """New users with these `names`, who have logged in."""
        return [self.person(name) for name in names]

    def seat(self, server: str, host: str = "host", port: int = 22223) -> placement.Seat:
        """A place on `server`, which is at `host` and `port`."""
        return placement.Seat(server, Address(host, port))

    def taken(self, server: str) -> int:
        """The number of places of `server` that are taken; fails if the count in its row
        differs."""
        row = Server.get(Server.id == server)
        there = Place.select().where(Place.server == server).count()
        self.assertEqual(row.taken, there, "Server.taken is not the count of its places")
        return there
