"""Slow handlers, and the rules of commands, are named in the log of every server."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import deferLater
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from bbs.framework import Ask, Caller, Command, CommandTable, Every, Role, Service, WrongUsage
from bbs.storage.transactions import SLOW
from bbs.testing import MemoryService

commands = CommandTable()
clock: Any = None


@commands.command("wait <user>", Role.APP)
async def wait(ask: Ask) -> None:
    await deferLater(clock, SLOW)


def think(caller: Caller | None) -> None:
    clock.rightNow += SLOW


commands.declare(Command("think <user>", Role.APP, rule=think))


@commands.command("refuse <user>", Role.APP)
async def refuse(ask: Ask) -> None:
    await deferLater(clock, SLOW)
    raise WrongUsage("refuse")


@commands.command("look", Role.EITHER)
async def look(ask: Ask) -> None:
    await deferLater(clock, SLOW / 2)
    await ask.database.run(think, None)


async def tick(ask: Ask) -> None:
    def write() -> None:
        clock.rightNow += SLOW

    await ask.database.run(write)


class SlowHandlers(SynchronousTestCase):
    def setUp(self) -> None:
        global clock
        self.told: list[str] = []
        observer: Any = self._observe
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.service = MemoryService(
            Service("slow", commands=(commands,), every=(Every(1000, tick),))
        )
        self.addCleanup(self.service.close)
        clock = self.service.clock
        self.token = self.service.people("ann")["ann"]

    def _observe(self, event: dict[str, Any]) -> None:
        if event.get("log_namespace") == "bbs.storage.transactions":
            self.told.append(formatEvent(event))

    def test_each(self) -> None:
        here = f"{__name__}."
        for line, told in (
            (f"wait {self.token}", [f"the handler {here}wait took 1.00 s"]),
            (f"refuse {self.token}", [f"the handler {here}refuse took 1.00 s"]),
            (f"think {self.token}", [f"the rule {here}think took 1.00 s"]),
            ("look", [f"the handler {here}look took 1.50 s"]),
        ):
            self.told.clear()
            peer = self.service.at_home(self.token)
            peer.say(line)
            for _ in range(16):
                self.service.advance(0.125)
            self.assertTrue(peer.heard())
            self.assertEqual(self.told, told)

    def test_in_the_background(self) -> None:
        self.service.start()
        self.service.advance(1)
        self.assertEqual(
            self.told,
            [
                f"the rule {__name__}.tick.<locals>.write took 1.00 s",
                f"the handler {__name__}.tick took 1.00 s",
            ],
        )
