"""Timers of a whole service: when they run, on which server, and what a failure costs others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import peewee
from twisted.trial.unittest import SynchronousTestCase

from bbs.commands.background import LAPSE, LOOK_INTERVAL
from bbs.framework import (
    Caller,
    Command,
    CommandTable,
    Every,
    RisingIdField,
    Role,
    Service,
    Table,
    at,
    tell_soon,
)
from bbs.storage.models import TimerRow
from bbs.testing import MemoryService


class Rang(Table):
    id = RisingIdField()
    at = peewee.DoubleField()
    words = peewee.TextField()


def ring(now: float, channel: str, words: str) -> None:
    if words == "broken":
        raise ArithmeticError("a mistake")
    Rang.insert(at=now, words=words).execute()
    tell_soon(channel, {"event": "rang", "text": words})
    if words == "again":
        at(now, ring, channel, words)


def set_alarm(caller: Caller, seconds: str, words: str) -> None:
    at(caller.now + float(seconds), ring, caller.channel, words)


async def tick(ask: object) -> None: ...


table = CommandTable(Command("alarm <user> <seconds> <words>", Role.APP, rule=set_alarm))
world = Service("world", commands=(table,), models=(Rang,), timers={"ring": ring})


class Alarms(SynchronousTestCase):
    def start(self, service: Service = world, **members: Any) -> None:
        self.service = MemoryService(service, **members)
        self.addCleanup(self.service.close)
        self.ann = self.service.people("ann")["ann"]
        self.peer = self.service.listening(self.ann)
        self.began = self.service.now()

    def alarm(self, seconds: float, words: str) -> None:
        reply = self.service.at_home(self.ann).ask(f"alarm {self.ann} {seconds} {words}")
        self.assertEqual(reply["status"], 0, reply)

    def rang(self) -> list[tuple[str, float]]:
        """What has rung, and how late."""
        return [(each.words, each.at - self.began) for each in Rang.select().order_by(Rang.id)]

    def test_within_a_second(self) -> None:
        self.start()
        self.alarm(10, "tea")
        self.service.advance(9.9)
        self.assertEqual(self.rang(), [])
        self.service.advance(LOOK_INTERVAL + 0.1)
        [(words, after)] = self.rang()
        self.assertEqual(words, "tea")
        self.assertTrue(10.0 <= after <= 11.0, after)
        self.service.advance(30.0)
        self.assertEqual(len(self.rang()), 1)
        self.assertEqual([each["text"] for each in self.peer.events()], ["tea"])

    def test_the_holder_is_killed(self) -> None:
        self.start()
        self.alarm(5, "tea")
        self.service.kill(self.service.serving(self.ann).port)
        self.service.advance(5.0 + LAPSE + 12.0)
        self.assertEqual([words for words, _ in self.rang()], ["tea"])

    def test_what_is_due_while_all_are_down(self) -> None:
        path = f"sqlite:///{self.mktemp()}"
        self.start(url=path)
        self.alarm(5, "tea")
        later = self.service.clock.seconds() + 3600.0
        self.service.close()
        self._cleanups.pop()
        self.service = MemoryService(world, url=path, start=later)
        self.addCleanup(self.service.close)
        self.service.people("bob")
        self.service.advance(15.0)
        self.assertEqual([words for words, _ in self.rang()], ["tea"])

    def test_one_that_fails_keeps_none_waiting(self) -> None:
        self.start()
        self.alarm(1, "broken")
        self.alarm(1, "tea")
        self.service.advance(10.0)
        self.assertEqual([words for words, _ in self.rang()], ["tea"])
        self.assertEqual(len(self.flushLoggedErrors(ArithmeticError)), 4)  # At 1, 2, 4 and 8 s.
        self.assertEqual(TimerRow.get().tries, 4)

    def test_one_that_sets_itself_again(self) -> None:
        """It runs at each look, and nothing stands still."""
        self.start()
        self.alarm(1, "again")
        self.service.advance(5.0)
        self.assertIn(len(self.rang()), (4, 5))

    def test_many_at_once(self) -> None:
        self.start()
        for _ in range(250):
            self.alarm(1, "tea")
        self.service.advance(3.0)
        self.assertEqual(len(self.rang()), 250)

    def test_beside_work_in_the_background(self) -> None:
        self.start(replace(world, every=(Every(1.0, tick),)))
        self.alarm(2, "tea")
        self.service.advance(4.0)
        self.assertEqual([words for words, _ in self.rang()], ["tea"])

    def test_without_timers_nobody_looks(self) -> None:
        service = MemoryService(Service("quiet"))
        self.addCleanup(service.close)
        service.start()
        self.assertIsNone(service.login.scheduler._next)
