"""Threads that have an owner."""

from __future__ import annotations

import threading

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from bbs.workers import Inline, IWorkers, Workers


def failing() -> None:
    raise ZeroDivisionError()


class WorkersTests(TestCase):
    """On real threads: that is what they are about."""

    timeout = 30

    def start(self, size: int) -> Workers:
        workers = Workers(reactor, "test", size)
        workers.startService()
        self.addCleanup(lambda: workers.stopService() if workers.running else None)
        return workers

    async def test_the_work_is_done_elsewhere(self) -> None:
        workers = self.start(1)
        self.assertTrue(verifyObject(IWorkers, workers))
        name = await workers.run(lambda: threading.current_thread())
        self.assertIsNot(name, threading.current_thread())
        self.assertEqual(await workers.run(divmod, 7, 2), (3, 1))
        await self.assertFailure(workers.run(failing), ZeroDivisionError)

    async def test_as_many_at_once_as_there_are_threads(self) -> None:
        workers = self.start(3)
        all_there = threading.Barrier(3)
        await gatherResults([workers.run(all_there.wait, 20) for _ in range(3)])

    async def test_and_no_more(self) -> None:
        workers = self.start(2)
        threads = {await workers.run(threading.get_ident) for _ in range(10)}
        together = [workers.run(threading.get_ident) for _ in range(10)]
        threads.update(await gatherResults(together))
        self.assertLessEqual(len(threads), 2)

    async def test_stopping_waits_for_what_is_under_way(self) -> None:
        workers = self.start(1)
        go = threading.Event()
        done: list[str] = []

        def work(name: str) -> None:
            go.wait(20)
            done.append(name)

        answers = [workers.run(work, name) for name in ("begun", "waiting")]
        stopped = workers.stopService()
        self.assertNoResult(stopped)
        go.set()
        await stopped
        self.assertEqual(done, ["begun", "waiting"])
        await gatherResults(answers)


class InlineTests(SynchronousTestCase):
    def test_at_once(self) -> None:
        workers = Inline()
        self.assertTrue(verifyObject(IWorkers, workers))
        self.assertEqual(self.successResultOf(workers.run(divmod, 7, 2)), (3, 1))
        self.failureResultOf(workers.run(failing), ZeroDivisionError)
