"""A MariaDB that stands still in the middle of what many calls do together."""

from __future__ import annotations

import atexit
import os
import secrets
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.logger import Logger

from bbs.board import board
from bbs.board.groups.tables import Group
from bbs.core.clock import IReactor
from bbs.core.errors import Refusal, Unavailable
from bbs.core.threads import Workers
from bbs.storage import migrations
from bbs.storage.database import BulkRule, Database, bulk, read_only
from bbs.storage.statements import statement
from tests.database_case import by_driver, execute_once
from tests.integration.test_mysql import AT_ONCE, CONNECTIONS, InC, MySQLCase, add, count
from tests.services import OwnMariaDB
from tests.services.server import freeze, thaw

MANY = 40

TIMES = int(os.environ.get("BBS_TEST_KILLS", "1"))
"""How often the database goes under load."""

AWAY = 2.5
"""Seconds that it is away: more than anybody waits."""

_log = Logger()


class BadName(Refusal):
    text = "Bad name"


def add_and_refuse(name: str) -> None:
    add(name)
    raise BadName()


_add = statement(lambda name: Group.insert(name=name, channel=""))


def _check(name: str) -> str:
    if name.endswith("7"):
        raise BadName()
    return name


@bulk(_check)
def add_all(names: Sequence[str]) -> Sequence[str]:
    """Add the names of all who wait by one statement, but for those that are bad."""
    _add.each([(name,) for name in names])
    return names


@read_only
def names() -> set[str]:
    return {group.name for group in Group.select()}


@cache
def mariadb() -> OwnMariaDB:
    """A server for all of these tests, and nobody else; each starts it again where it has ended."""
    own = OwnMariaDB()
    atexit.register(own.server.remove)
    return own


class FreezingCase(MySQLCase):
    connections = CONNECTIONS

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.own = mariadb()
        await self.own.start()
        self.addCleanup(self.thaw)
        name = f"bbs_{secrets.token_hex(6)}"
        execute_once(self.own.url, f"CREATE DATABASE {name}")
        url = by_driver(f"{self.own.url.rpartition('/')[0]}/{name}", self.driver)
        self.database = await self.open(url)
        self.safe = {f"safe {number}" for number in range(MANY)}
        await gatherResults([self.database.run(add, name) for name in self.safe])

    async def open(self, url: str) -> Database:
        workers = Workers(cast("IReactor", reactor), "database", 1)
        workers.startService()
        self.addCleanup(workers.stopService)
        database = Database(url, workers, reactor, connections=self.connections)
        await database.run_untimed(migrations.upgrade, database.peewee, board.schema)
        return database

    def freeze(self) -> None:
        assert self.own.server.pid is not None
        freeze(self.own.server.pid)

    def thaw(self) -> None:
        if self.own.server.pid is not None:
            thaw(self.own.server.pid)


class Together(FreezingCase):
    """In the middle of one transaction: there is one connection that writes."""

    connections = 3

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.carried_out: list[str] = []
        await super().setUp()

    def adding(self, number: int, then: Callable[[], None] = lambda: None) -> Callable[[], None]:
        """A rule that does that, and then something else in the same transaction."""

        def rule() -> None:
            name = add(f"unsafe {number}")
            self.carried_out.append(name)
            then()

        return rule

    async def acknowledged(self, *rules: Callable[[], Any]) -> set[str]:
        """What is added by those of the rules that are not refused; the others are, in time, and
        so is whoever comes a little later.

        On a slow machine some may have had a transaction before."""
        answers = [
            self.database.run(rule.func, *rule.args)
            if isinstance(rule, partial)
            else self.database.run(rule)
            for rule in rules
        ]
        timed = [Deferred.fromCoroutine(self.timed(answer)) for answer in answers]
        outcomes = await gatherResults(timed)
        refused = [result for result, _ in outcomes if result is not None]
        self.assertTrue(refused)
        for result in refused:
            self.assertIsInstance(result, Unavailable)
        for _, seconds in outcomes:
            self.assertLess(seconds, AT_ONCE)
        await self.unavailable(self.database, MANY)
        self.assertFalse(self.database.available)
        return {f"unsafe {number}" for number, (result, _) in enumerate(outcomes) if result is None}

    async def goes_on(self) -> set[str]:
        """What is stored beside what is safe when service has returned."""
        self.thaw()
        self.assertLess(await self.until_served(self.database), AT_ONCE)
        await self.database.run(add, "after")
        found: set[str] = await self.database.run(names)
        self.assertLessEqual(self.safe | {"after"}, found)
        self.assertEqual(await self.database.run(count), len(found))
        return found - self.safe - {"after"}

    async def test_between_two_statements(self) -> None:
        """Nothing is stored of what was to be committed together."""

        def freeze() -> None:
            self.freeze()
            add("never")

        rules = [self.adding(number) for number in range(MANY)]
        rules[MANY // 2] = self.adding(MANY // 2, freeze)
        acknowledged = await self.acknowledged(*rules)
        self.assertLess(acknowledged, {*self.carried_out})
        self.assertEqual(await self.goes_on(), acknowledged)

    async def test_at_the_commit(self) -> None:
        """All is stored, or nothing: nobody was told which."""
        rules = [self.adding(number) for number in range(MANY - 1)]
        rules.append(self.adding(MANY - 1, self.freeze))
        acknowledged = await self.acknowledged(*rules)
        self.assertLess(acknowledged, {*self.carried_out})
        self.assertIn(await self.goes_on(), (acknowledged, {*self.carried_out}))

    def adding_many(self, then: Callable[[], None]) -> BulkRule[[int], str, str]:
        """A rule that adds for all who wait, and once does something else then."""
        once = [then]

        @bulk(lambda number: f"unsafe {number}")
        def add_all(names: Sequence[str]) -> Sequence[str]:
            _add.each([(name,) for name in names])
            self.carried_out += names
            if once and len(names) > 1:
                once.pop()()
            return names

        return add_all

    async def test_in_one_call_for_many(self) -> None:
        """Nothing is stored of what one statement of theirs wrote."""

        def freeze() -> None:
            self.freeze()
            add("never")

        rule = self.adding_many(freeze)
        acknowledged = await self.acknowledged(*[partial(rule, n) for n in range(MANY)])
        self.assertLess(acknowledged, {*self.carried_out})
        self.assertEqual(await self.goes_on(), acknowledged)

    async def test_at_the_commit_of_one_call_for_many(self) -> None:
        """All is stored, or nothing: nobody was told which."""
        rule = self.adding_many(self.freeze)
        acknowledged = await self.acknowledged(*[partial(rule, n) for n in range(MANY)])
        self.assertLess(acknowledged, {*self.carried_out})
        self.assertIn(await self.goes_on(), (acknowledged, {*self.carried_out}))


class Load:
    """Callers who each store one name after the other, until told to stop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stopping = False
        self.safe: set[str] = set()
        self.unsure: set[str] = set()
        self.refused: set[str] = set()
        self._ended = [Deferred.fromCoroutine(self._call(number)) for number in range(MANY)]

    async def _call(self, caller: int) -> None:
        number = 0
        while not self._stopping:
            number += 1
            name = f"{caller}-{number}"
            rule: Callable[[str], object] = add_all if number % 3 else add
            if number % 5 == 0:
                rule = add_and_refuse
            try:
                await self._database.run(rule, name)
            except Unavailable:
                self.unsure.add(name)
            except BadName:
                self.refused.add(name)
            else:
                self.safe.add(name)

    async def goes_on(self) -> None:
        goal = len(self.safe) + 5 * MANY
        while len(self.safe) < goal:
            await deferLater(reactor, 0.02)

    async def stop(self) -> None:
        self._stopping = True
        await gatherResults(self._ended)


class UnderLoad(FreezingCase):
    """Many write without a pause while the database comes and goes."""

    timeout = 120 + 20 * TIMES

    async def storm(self, away: Callable[[], Any], back: Callable[[], Any]) -> None:
        load = Load(self.database)
        for _ in range(TIMES):
            await load.goes_on()
            await away()
            await deferLater(reactor, AWAY)
            await back()
        await load.goes_on()
        await load.stop()
        found = await self.database.run(names) - self.safe
        for what in ("safe", "unsure", "refused"):
            number = len(getattr(load, what))
            _log.info("{test}: {number} {what}", test=self.id(), number=number, what=what)
        self.assertEqual(load.safe - found, set(), "lost")
        self.assertEqual(found - load.safe - load.unsure, set(), "stored though it was refused")
        self.assertEqual(await self.database.run(count), len(found | self.safe))
        self.assertTrue(load.refused)

    async def test_frozen(self) -> None:
        async def freeze() -> None:
            self.freeze()

        async def thaw() -> None:
            self.thaw()

        await self.storm(freeze, thaw)

    async def test_killed(self) -> None:
        await self.storm(self.own.kill, self.own.start)


class TogetherInC(InC, Together):
    pass


class UnderLoadInC(InC, UnderLoad):
    pass
