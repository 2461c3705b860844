"""A coroutine is run at once as far as it comes; what cannot be a reply is not sent."""

from __future__ import annotations

import gc
import sys
from typing import Any, ClassVar

import peewee
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from bbs.commands.dispatch import ReplyUnusable, begin
from bbs.core.values import MAX_REPLY
from bbs.framework import Ask, Caller, Command, CommandTable, Role, Service, Table, User
from bbs.testing import MemoryService


class BeginTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.first: Deferred[int] = Deferred()
        self.second: Deferred[int] = Deferred()
        self.ended: list[str] = []

    async def add(self) -> int:
        return await self.first + await self.second

    async def outer(self) -> int:
        try:
            return await self.add()
        except ZeroDivisionError:
            return await self.second
        finally:
            self.ended.append("outer")

    def begin(self) -> Any:
        return begin(self.outer())

    def test_one_that_never_waits(self) -> None:
        self.first.callback(1)
        self.second.callback(2)
        self.assertEqual(self.begin(), 3)

    def test_its_failure_is_raised(self) -> None:
        self.first.errback(ValueError())
        self.assertRaises(ValueError, self.begin)

    def test_waits(self) -> None:
        result = self.begin()
        self.assertNoResult(result)
        self.first.callback(1)
        self.assertNoResult(result)
        self.second.callback(2)
        self.assertEqual(self.successResultOf(result), 3)

    def test_waits_for_the_second_alone(self) -> None:
        self.first.callback(1)
        result = self.begin()
        self.second.callback(2)
        self.assertEqual(self.successResultOf(result), 3)

    def test_a_failure_that_it_lets_through(self) -> None:
        result = self.begin()
        self.first.callback(1)
        self.second.errback(ValueError())
        self.failureResultOf(result, ValueError)
        self.assertEqual(self.ended, ["outer"])

    def test_a_failure_that_it_catches(self) -> None:
        result = self.begin()
        self.first.errback(ZeroDivisionError())
        self.assertNoResult(result)
        self.second.callback(2)
        self.assertEqual(self.successResultOf(result), 2)

    def test_cancelled(self) -> None:
        result = self.begin()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertTrue(self.first.called)
        self.assertEqual(self.ended, ["outer"])

    def test_thrown_away(self) -> None:
        """It ends, without a word on standard error."""
        said: list[object] = []
        self.patch(sys, "unraisablehook", said.append)
        gc.freeze()  # To look through all that other tests have left takes a while.
        self.addCleanup(gc.unfreeze)
        self.first = Deferred()
        result = self.begin()
        self.first = Deferred()
        del result
        gc.collect()
        self.assertEqual((self.ended, said), (["outer"], []))


class Notes(Table):
    user = peewee.ForeignKeyField(User, on_delete="CASCADE")


def note(caller: Caller, kind: str) -> object:
    Notes.insert(user=caller.id).execute()
    return {
        "right": {"kind": kind},
        "set": {"kind": kind, "names": {"ann"}},
        "infinite": {"kind": kind, "far": [float("inf")]},
        "status": {"status": 0},
        "number": 7,
        "long": {"text": "x" * MAX_REPLY},
    }[kind]


async def noted(ask: Ask, found: object) -> object:
    return found


NOTES = Service(
    "notes",
    commands=(
        CommandTable(
            Command("note <user> <kind>", Role.APP, rule=note),
            Command("note-then <user> <kind>", Role.APP, rule=note, then=noted),
        ),
    ),
    models=(Notes,),
)


class Unusable(SynchronousTestCase):
    """What cannot be sent is an error of the service, which names the command."""

    WRONG: ClassVar = {
        "set": "returned what cannot be sent: JSON cannot express its member names",
        "infinite": "returned what cannot be sent: JSON cannot express its member far",
        "status": "returned a mapping with a member status, which is the reply's own",
        "number": "returned int and not a reply",
        "long": "bytes, and clients take 4,194,304: answer a long list in parts",
    }

    def setUp(self) -> None:
        self.service = MemoryService(NOTES)
        self.addCleanup(self.service.close)
        self.token = self.service.people("ann")["ann"]
        self.peer = self.service.at_home(self.token)

    def ask(self, command: str, kind: str) -> Any:
        return self.peer.ask(f"{command} {self.token} {kind}")

    def stored(self) -> int:
        counted = self.service.database.run(lambda: Notes.select().count())
        self.service.settle()
        return int(self.successResultOf(counted))

    def test_nothing_is_stored(self) -> None:
        for kind, line in self.WRONG.items():
            self.assertEqual(self.ask("note", kind)["code"], "internal-error", kind)
            [error] = self.flushLoggedErrors(ReplyUnusable)
            self.assertIn("note returned", str(error.value))
            self.assertIn(line, str(error.value))
        self.assertEqual(self.stored(), 0)
        self.assertEqual(self.ask("note", "right")["kind"], "right")
        self.assertEqual(self.stored(), 1)

    def test_of_a_handler(self) -> None:
        for kind in self.WRONG:
            self.assertEqual(self.ask("note-then", kind)["code"], "internal-error", kind)
            [error] = self.flushLoggedErrors(ReplyUnusable)
            self.assertIn("note-then returned", str(error.value))
