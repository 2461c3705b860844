"""A handler that uses the database by itself fails in a test, as it does on a server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs.framework import Ask, Command, CommandTable, Every, Role, Service, User
from bbs.storage.transaction_guard import OutsideOfRule
from bbs.testing import MemoryService

INTERVAL = 10


def people(caller: object = None) -> int:
    return User.select().count()


async def at_once(ask: Ask, counted: int) -> dict[str, int]:
    return {"people": people()}


async def after_a_rule(ask: Ask, counted: int) -> dict[str, int]:
    await ask.database.run(people)
    return {"people": people()}


async def by_a_rule(ask: Ask, counted: int) -> dict[str, int]:
    return {"people": await ask.database.run(people)}


class Handlers(SynchronousTestCase):
    def ask(self, handler: Callable[..., Awaitable[Any]]) -> dict[str, Any]:
        command = Command("count <user>", Role.APP, handler, rule=people)
        service = MemoryService(Service("counting", commands=(CommandTable(command),)))
        self.addCleanup(service.close)
        token = service.people("ann")["ann"]
        self.assertEqual(people(), 1)  # A test may use models.
        reply = service.at_home(token).ask(f"count {token}")
        self.assertEqual(people(), 1)
        return reply

    def refused(self, handler: Callable[..., Awaitable[Any]]) -> None:
        self.assertEqual(self.ask(handler)["code"], "internal-error")
        (failure,) = self.flushLoggedErrors(OutsideOfRule)
        self.assertIn("call that by ask.database.run", str(failure.value))

    def test_a_query(self) -> None:
        self.refused(at_once)

    def test_a_query_after_a_rule(self) -> None:
        self.refused(after_a_rule)

    def test_a_rule(self) -> None:
        self.assertEqual(self.ask(by_a_rule), {"status": 0, "people": 1})


class Timers(SynchronousTestCase):
    def test_a_query(self) -> None:
        async def count(home: object) -> None:
            people()

        every = Every(INTERVAL, count)
        service = MemoryService(Service("counting", every=(every,)))
        self.addCleanup(service.close)
        service.people("ann")
        service.advance(INTERVAL)
        self.assertTrue(self.flushLoggedErrors(OutsideOfRule))
