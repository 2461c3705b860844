"""Threads that have an owner.

Work that would block the reactor runs on threads that belong to whoever needs it: the database has
some, password hashing others. Nothing uses the reactor's shared pool, so that slow work of one kind
never delays work of another. Tests pass `Inline`, which needs no thread.

Who has few and long pieces of work has each `run`. Who has many and short ones puts them on a lane,
where a thread takes up what waits, many at once, and brings it back in one hop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Generic, ParamSpec, TypeVar, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool
from zope.interface import Interface, implementer

P = ParamSpec("P")
T = TypeVar("T")
J = TypeVar("J")

Work = Callable[[deque[J]], Sequence[J]]
"""Takes of what waits, from the left, as many pieces of work as it does together, none if there are
none any more; returns those that are done."""

LEAVING_TIME = 5.0
"""Seconds that a lane's threads have to end. One that waits for what never comes is left behind:
it does not keep the process from ending."""

_log = Logger()


class ILane(Interface):
    """Where pieces of work wait for threads of their own."""

    def put(job: Any) -> None:
        """Let `job` wait behind the others."""


class IWorkers(Interface):
    """Somebody who does blocking work elsewhere."""

    def run(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Call `work(*args, **kwargs)`, and fire with what it returns or raises."""


class ILanes(IWorkers):
    """Somebody who does many short pieces of work elsewhere, too."""

    def lane(
        name: str,
        threads: int,
        work: Work[J],
        done: Callable[[Sequence[J]], None],
        leave: Callable[[], None],
    ) -> ILane:
        """A lane with so many threads at the most. `work` is called on one of them while something
        waits, `done` behind it in the reactor's, and `leave` on each thread that ends."""


@implementer(ILanes)
class Workers(Service):
    """A pool of at most `size` threads, alive while the service runs.

    Stopping waits for the work that has begun or waits.
    """

    def __init__(self, reactor: Any, name: str, size: int) -> None:
        self.name = name
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=size, name=name)
        self._lanes: list[Lane[Any]] = []

    def startService(self) -> None:
        Service.startService(self)
        self._pool.start()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        # ThreadPool.stop joins its threads, which may be in the middle of work: not on the reactor.
        stopped: Deferred[None] = Deferred()

        def stop() -> None:
            self._pool.stop()
            for lane in self._lanes:
                lane.stop()
            self._reactor.callFromThread(stopped.callback, None)

        Thread(target=stop, name=f"{self.name}-stop").start()
        return stopped

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        return cast(
            "Deferred[T]", deferToThreadPool(self._reactor, self._pool, work, *args, **kwargs)
        )

    def lane(
        self,
        name: str,
        threads: int,
        work: Work[J],
        done: Callable[[Sequence[J]], None],
        leave: Callable[[], None],
    ) -> ILane:
        lane = Lane(self._reactor, f"{self.name}-{name}", threads, work, done, leave)
        self._lanes.append(lane)
        return lane


@implementer(ILane)
class Lane(Generic[J]):
    """A lane of `Workers`. Its threads are started as they are needed, and stay.

    What comes in one turn of the reactor wakes a thread once, at the end of the turn.
    """

    def __init__(
        self,
        reactor: Any,
        name: str,
        threads: int,
        work: Work[J],
        done: Callable[[Sequence[J]], None],
        leave: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._name = name
        self._most = threads
        self._work = work
        self._done = done
        self._leave = leave
        self._waiting: deque[J] = deque()
        self._calls: SimpleQueue[bool] = SimpleQueue()
        """True: something waits. False: end."""
        self._threads: list[Thread] = []
        self._idle = 0
        self._lock = Lock()
        self._to_wake = False

    def put(self, job: J) -> None:
        self._waiting.append(job)
        if not self._to_wake:
            self._to_wake = True
            self._reactor.callLater(0, self._wake)

    def stop(self) -> None:
        """Do what waits, and end the threads. It blocks."""
        for _ in self._threads:
            self._calls.put(False)
        for thread in self._threads:
            thread.join(LEAVING_TIME)

    def _wake(self) -> None:
        self._to_wake = False
        if not self._waiting:
            return  # A thread that was awake has taken it.
        with self._lock:
            start = not self._idle and len(self._threads) < self._most
        if start:
            name = f"{self._name}-{len(self._threads)}"
            self._threads.append(Thread(target=self._live, name=name, daemon=True))
            self._threads[-1].start()
        self._calls.put(True)

    def _live(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            go_on = self._calls.get()
            with self._lock:
                self._idle -= 1
            while self._waiting:
                self._work_once()
            if not go_on:
                self._leave()
                return

    def _work_once(self) -> None:
        try:
            done = self._work(self._waiting)
        except Exception:
            _log.failure("work on {lane} was lost", lane=self._name)
        else:
            if done:
                self._reactor.callFromThread(self._done, done)


@implementer(ILanes)
class Inline:
    """Does the work at once, in the caller's thread: for tests."""

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        return maybeDeferred(work, *args, **kwargs)

    def lane(
        self,
        name: str,
        threads: int,
        work: Work[J],
        done: Callable[[Sequence[J]], None],
        leave: Callable[[], None],
    ) -> ILane:
        return InlineLane(work, done)


@implementer(ILane)
class InlineLane(Generic[J]):
    """The lane of `Inline`."""

    def __init__(self, work: Work[J], done: Callable[[Sequence[J]], None]) -> None:
        self._work = work
        self._done = done

    def put(self, job: J) -> None:
        self._done(self._work(deque([job])))
