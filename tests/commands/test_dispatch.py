"""A coroutine is run at once as far as it comes."""

from __future__ import annotations

import gc
import sys
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from bbs.commands.dispatch import begin


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
