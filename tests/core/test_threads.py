"""Threads that have an owner."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.python.threadable import isInIOThread
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from bbs.core.clock import IReactor
from bbs.core.threads import NICENESS, ILane, IWorkers, Workers
from bbs.testing.threads import Inline


def priority() -> int:
    """The nice value of the thread that asks."""
    return os.getpriority(os.PRIO_PROCESS, 0)


def failing() -> None:
    raise ZeroDivisionError()


class WorkersTests(TestCase):
    """On real threads: that is what they are about."""

    timeout = 30

    def start(self, size: int, background: bool = False) -> Workers:
        workers = Workers(cast("IReactor", reactor), "test", size, background=background)
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

    async def test_while_another_is_at_work(self) -> None:
        """Also when it comes later, and there is an idle thread or room for one."""
        workers = self.start(2)
        go, begun = threading.Event(), threading.Event()

        def wait() -> None:
            begun.set()
            go.wait(20)

        for _ in range(2):
            first = workers.run(wait)
            while not begun.is_set():
                await deferLater(reactor, 0.001, lambda: None)
            await workers.run(go.set)
            await first
            go.clear()
            begun.clear()

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

    async def test_a_background_that_may_not_stand_back(self) -> None:
        """Its work is done all the same, as where systemd refuses the call."""

        def refused(by: int) -> int:
            raise PermissionError(1, "Operation not permitted")

        self.patch(os, "nice", refused)
        self.assertEqual(await self.start(1, background=True).run(divmod, 7, 2), (3, 1))

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


def one(waiting: deque[int]) -> list[int]:
    """Take up what has waited longest, if anything has."""
    return [waiting.popleft()] if waiting else []


class LaneTests(TestCase):
    """Lanes, on real threads."""

    timeout = 60

    def setUp(self) -> None:
        self.workers = Workers(cast("IReactor", reactor), "test", 1)
        self.workers.startService()
        self.addCleanup(lambda: self.workers.stopService() if self.workers.running else None)
        self.done: list[int] = []
        self.left: list[int] = []
        self.all_done: Deferred[None] = Deferred()
        self.expected = 0

    def lane(self, work: Any = None, threads: int = 1, together: int = 4) -> ILane:
        return self.workers.lane(
            "lane",
            work or self.some,
            self.note,
            threads=threads,
            together=together,
            leave=lambda: self.left.append(threading.get_ident()),
        )

    def some(self, waiting: deque[int]) -> list[int]:
        """Take up a few of what waits."""
        jobs = []
        with contextlib.suppress(IndexError):
            for _ in range(random.randrange(1, 6)):
                jobs.append(waiting.popleft())
        return jobs

    def note(self, jobs: Sequence[int]) -> None:
        self.assertTrue(isInIOThread())
        self.done += jobs
        if len(self.done) >= self.expected >= 0 and not self.all_done.called:
            self.all_done.callback(None)

    def threads(self) -> list[threading.Thread]:
        return [each for each in threading.enumerate() if each.name == "test-lane"]

    async def test_nothing_is_lost_or_done_twice(self) -> None:
        """However many threads there are, and however what is put comes."""
        clock: Any = reactor
        for threads in (1, 2, 5):
            lane = self.lane(threads=threads)
            self.done, self.expected, self.all_done = [], 3000, Deferred()
            numbers = iter(range(self.expected))
            choice = random.Random(threads)
            for number in numbers:
                lane.put(number)
                for other in islice(numbers, choice.choice((0, 0, 1, 3, 40))):
                    lane.put(other)
                if choice.random() < 0.5:
                    await deferLater(clock, choice.choice((0, 0, 0.0005)))
            await self.all_done
            if threads == 1:
                self.assertEqual(self.done, [*range(self.expected)], "one keeps the order")
            self.assertEqual(sorted(self.done), [*range(self.expected)])
        self.assertLessEqual(len(self.threads()), 8)
        await self.workers.stopService()
        self.assertEqual(self.threads(), [])

    async def test_as_many_threads_as_it_takes(self) -> None:
        """For what comes at once, and no more than there may be."""

        def all_there(waiting: deque[int]) -> list[int]:
            jobs = one(waiting)
            if jobs:
                barrier.wait(20)
            return jobs

        barrier = threading.Barrier(3)
        self.expected = 6
        lane = self.lane(all_there, threads=3, together=2)
        for number in range(self.expected):
            lane.put(number)
        await self.all_done
        self.assertEqual(len(self.threads()), 3)

    async def test_one_that_takes_long_holds_up_nobody(self) -> None:
        """Where there are more threads."""

        def stuck_with_first(waiting: deque[int]) -> list[int]:
            jobs = one(waiting)
            if 0 in jobs:
                self.lane_goes_on.wait(20)
            return jobs

        self.lane_goes_on = threading.Event()
        self.expected = 3
        lane = self.lane(stuck_with_first, threads=2, together=16)
        for number in range(4):
            lane.put(number)
        await self.all_done
        self.assertEqual(self.done, [1, 2, 3])
        self.lane_goes_on.set()

    async def test_work_that_raises(self) -> None:
        """It is told, and the lane goes on."""

        def some_raise(waiting: deque[int]) -> list[int]:
            jobs = [waiting.popleft()]
            if jobs[0] % 3 == 0:
                raise ZeroDivisionError
            return jobs

        self.expected = 4
        lane = self.lane(some_raise)
        for number in range(6):
            lane.put(number)
        await self.all_done
        self.assertEqual(self.done, [1, 2, 4, 5])
        lane.put(7)
        await self.workers.stopService()
        self.assertEqual(self.done[4:], [7])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    async def test_stopping_waits_for_what_waits(self) -> None:
        """What was put in the same turn of the reactor as well; and no thread is left."""
        for count in (0, 1, 3, 100) * 10:
            workers = self.workers = Workers(cast("IReactor", reactor), "test", 1)
            workers.startService()
            self.done, self.left, self.expected = [], [], -1
            lane = self.lane(threads=3)
            lane.put(0)
            await deferLater(reactor, 0)
            for number in range(1, count + 1):
                lane.put(number)
            await workers.stopService()
            self.assertEqual(sorted(self.done), [*range(count + 1)])
            await deferLater(reactor, 0)
            self.assertEqual(self.threads(), [])
            self.assertLessEqual(1, len(self.left))
            self.assertLessEqual(len(self.left), 3)

    async def test_a_thread_that_never_comes_back(self) -> None:
        """It is left behind, and nobody waits for it for ever."""

        def stuck(waiting: deque[int]) -> list[int]:
            jobs = [waiting.popleft()]
            begun.set()
            go_on.wait(60)
            return jobs

        begun, go_on = threading.Event(), threading.Event()
        self.workers = Workers(cast("IReactor", reactor), "test", 1, patience=0.05)
        self.workers.startService()
        self.lane(stuck).put(1)
        await deferLater(reactor, 0)
        begun.wait(20)
        [thread] = self.threads()
        await self.workers.stopService()
        self.assertTrue(thread.is_alive())
        self.assertTrue(thread.daemon)
        go_on.set()
        thread.join(20)


class InlineTests(SynchronousTestCase):
    def test_at_once(self) -> None:
        workers = Inline()
        self.assertTrue(verifyObject(IWorkers, workers))
        self.assertEqual(self.successResultOf(workers.run(divmod, 7, 2)), (3, 1))
        self.failureResultOf(workers.run(failing), ZeroDivisionError)
