"""Servers of the version before and of today, on one database and one broker."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from bbs import __version__
from bbs.storage import migrations
from lab.rolling.versions import BEFORE, environ, unpack
from tests.integration.service import (
    BIN,
    START_TIMEOUT,
    Person,
    Process,
    Service,
    ServiceCase,
    eventually,
)
from tests.paths import CHECKOUT
from tests.services import needed

PEOPLE = ("ann", "bob", "carol", "dave")


class SideBySide(ServiceCase):
    """Login servers and app servers that an operator runs, on an SQLite database."""

    def a_service(self) -> Service:
        service = self.service(
            broker={"url": needed("BBS_TEST_ACTIVEMQ_URL")},
            app={"listen": "tcp:0:interface=127.0.0.1", "capacity": 2},
            fleet={"provider": "none", "minimum": 0, "heartbeat_interval": 0.5},
        )
        self.trees = {BEFORE: unpack(service.folder), __version__: CHECKOUT}
        service.data.mkdir()
        return service

    async def app_server(self, version: str) -> Process:
        process = self.its.app_server(environ=environ(self.trees[version]))
        await process.says("LineFactory starting on")
        return process

    async def login_server(self, version: str, port: int) -> Process:
        return await self.its.login_server(port, environ=environ(self.trees[version]))

    def rows(self, statement: str) -> list[Any]:
        with closing(sqlite3.connect(self.its.data / "bbs.sqlite3")) as database:
            return database.execute(statement).fetchall()

    async def ready(self, count: int) -> None:
        """So many app servers take people."""
        ready = "SELECT id FROM server WHERE state = 'ready' AND NOT leaving"
        await eventually(lambda: len(self.rows(ready)) == count, f"{count} app servers are ready")

    async def say(self, sender: Person, reader: Person, text: str) -> None:
        """A message arrives, once, in the next moment."""
        before = len(reader.wire.events)
        self.assertEqual((await sender.asks("send", reader.name, text))["status"], 0)
        await eventually(lambda: len(reader.wire.events) > before, f"{reader.name} hears {text}")
        heard = [event["message"] for event in reader.wire.events[before:]]
        self.assertEqual(heard, [text])

    async def all_talk(self, people: list[Person], text: str) -> None:
        for sender, reader in zip(people, [*people[1:], people[0]], strict=True):
            await self.say(sender, reader, text)

    async def follow(self, person: Person, port: int) -> None:
        """Find somebody again by a login server, and listen on."""
        self.its.port = port
        await self.its.find_again(person)
        person.wire.events.clear()
        self.assertEqual((await person.asks("listen"))["status"], 0)

    async def test_there_and_back(self) -> None:
        self.its = its = self.a_service()
        old, new = its.port, its.another_port()
        before = await self.login_server(BEFORE, old)
        first = await self.app_server(BEFORE)
        await self.ready(1)
        versions = "SELECT version, reached FROM schema_version"
        self.assertEqual(self.rows(versions), [(7, 8)])
        await its.register(*PEOPLE)
        people = [await its.person(name, old) for name in PEOPLE[:2]]

        # Today's come, and bring the schema to theirs under those that run.
        today = await self.login_server(__version__, new)
        second = await self.app_server(__version__)
        await self.ready(2)
        self.assertEqual(self.rows(versions), [(7, migrations.VERSION)])
        self.assertEqual(
            sorted(self.rows("SELECT version FROM login_server")), [(BEFORE,), (__version__,)]
        )
        for name, port in (("carol", new), ("dave", old)):
            people.append(await its.person(name, port))
        ann, bob, carol, dave = people
        self.assertEqual((ann.port, carol.port), (bob.port, dave.port))
        self.assertNotEqual(ann.port, carol.port)
        for one, other in ((ann, bob), (bob, carol), (carol, dave), (dave, ann)):
            await its.befriend(one, other)
        for person in people:
            self.assertEqual((await person.asks("listen"))["status"], 0)
        await self.all_talk(people, "side by side")

        # The one that keeps the fleet stops, and its app server; today's take over.
        controller = "SELECT identity FROM lease WHERE name = 'fleet'"
        [(held,)] = self.rows(controller)
        await before.end()
        await eventually(
            lambda: self.rows(controller) not in ([], [(held,)]), "another keeps the fleet"
        )
        third = await self.app_server(__version__)
        await self.ready(3)
        await first.end()
        for person in (ann, bob):
            await self.follow(person, new)
        await self.all_talk(people, "today's alone")

        # The way back: the version before starts on what there is, and takes over in turn.
        back = await self.login_server(BEFORE, old)
        servers = [await self.app_server(BEFORE) for _ in range(2)]
        await self.ready(4)
        for process in (today, second, third):
            await process.end()
        await self.ready(2)
        for person in people:
            await self.follow(person, old)
        await self.all_talk(people, "as before")
        for process in (before, today, first, second, third, back, *servers):
            self.assertNotIn("Traceback", process.output)
            self.assertEqual(process.errors, "")

    async def refuses(self, version: str, own: int) -> None:
        """A login server of `version` says why it does not start, and changes nothing."""
        dump = Path(self.its.data / "bbs.sqlite3").read_bytes()
        process = self.its.start(
            *(BIN / "twistd", "--nodaemon", "--pidfile=", "bbs-login"),
            *("--config", self.its.config, "--data", self.its.folder / "data-other"),
            environ=environ(self.trees[version]),
        )
        await process.ended(START_TIMEOUT)
        self.assertEqual(process.exit_code, 1)
        self.assertEqual(
            process.errors,
            f"bbs-login: the database has schema 99, newer than this program's {own}:"
            " upgrade bbs\n",
        )
        self.assertEqual(Path(self.its.data / "bbs.sqlite3").read_bytes(), dump)

    async def test_a_schema_that_is_too_new(self) -> None:
        self.its = self.a_service()
        today = await self.login_server(__version__, self.its.port)
        await today.end(signal.SIGTERM)
        with closing(sqlite3.connect(self.its.data / "bbs.sqlite3")) as database:
            database.execute("UPDATE schema_version SET version = 99, reached = 99")
            database.commit()
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        await self.refuses(BEFORE, 8)
        await self.refuses(__version__, migrations.VERSION)
