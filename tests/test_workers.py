"""Threads that have an owner."""

from __future__ import annotations

import os
import sys
import threading

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from bbs.workers import NICENESS, Inline, IWorkers, Workers


def priority() -> int:
    """The nice value of the thread that asks."""
    return os.getpriority(os.PRIO_PROCESS, 0)


def failing() -> None:
    raise ZeroDivisionError()


class WorkersTests(TestCase):
    """On real threads: that is what they are about."""

    timeout = 30

    def start(self, size: int, background: bool = False) -> Workers:
        workers = Workers(reactor, "test", size, background=background)
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

    async def test_the_background_stands_back(self) -> None:
        """All threads of the background do, and nobody else."""
        if sys.platform != "linux":
            raise SkipTest("here a thread has no priority of its own")
        before = priority()
        all_there = threading.Barrier(3)

        def priority_of_one() -> int:
            all_there.wait(20)
            return priority()

        background, others = self.start(3, background=True), self.start(1)
        found = await gatherResults([background.run(priority_of_one) for _ in range(3)])
        self.assertEqual(found, [min(before + NICENESS, 19)] * 3)
        self.assertEqual(await others.run(priority), before)
        self.assertEqual(priority(), before)

    async def test_elsewhere_the_process_keeps_its_priority(self) -> None:
        """Where a thread has none of its own, to lower it would slow everybody."""
        self.patch(sys, "platform", "darwin")
        self.assertEqual(await self.start(1, background=True).run(priority), priority())

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
