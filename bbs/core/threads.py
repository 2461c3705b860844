"""Threads that have an owner.

Work that would block the reactor runs on threads of its owner: the database has some, password
hashing others. Slow work of one kind therefore never delays work of another. The reactor's shared
pool only looks up host names, as Twisted does by itself.

Work waits in lanes. Single pieces are `run`. Many short pieces use a lane of their own: there a
thread takes several of them, and brings their results to the reactor in one hop.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

if TYPE_CHECKING:
    from bbs.core.clock import IReactor

P = ParamSpec("P")
T = TypeVar("T")
J = TypeVar("J")

Work = Callable[[deque[J]], Sequence[J]]
"""Takes pieces of work from the left, as many as it does together, if there are any; returns those
that are done."""

Done = Callable[[Sequence[J]], None]
Leave = Callable[[], None]

NICENESS = 15
"""The niceness of background work, of at most 19. Measured on two cores during a hundred logins,
with other load on the machine: with 10, users who have a place wait four to six times as long for
an answer; with 15 under two and a half times. On processors that are busy with other work, 15
leaves 3.5 % to hashing."""

HELP_AFTER = 0.02  # Seconds that a piece waits for busy threads until another thread takes it.

_log = Logger()


class ILane(Interface):
    """A queue of pieces of work, for threads of its own."""

    def put(job: Any) -> None:
        """Add `job` at the end of the queue."""


class IWorkers(Interface):
    """Does blocking work on other threads."""

    def run(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Call `work(*args, **kwargs)`, and fire with what it returns or raises."""


class ILanes(IWorkers):
    """Does many short pieces of work on other threads, too."""

    def lane(
        name: str, work: Work[J], done: Done[J], *, threads: int = 1, together: int, leave: Leave
    ) -> ILane:
        """Make a lane with at most `threads` threads. While something waits, they call `work`,
        which does about `together` pieces at once. `done` is called in the reactor's thread with
        what `work` returned, and `leave` on each thread that ends."""


@implementer(ILanes)
class Workers(Service):
    """At most `size` threads for single pieces of work, and the threads of lanes. Threads start as
    they are needed. When the service stops, they end after all work that waits.

    :param background: whether single pieces run with `NICENESS`. That is for long work outside of
        the interpreter's lock: all threads wait for that lock as long as its holder waits.
    :param patience: seconds that the threads of lanes have to end when the service stops. A thread
        that waits for ever is left behind; it does not keep the process from ending.
    """

    def __init__(
        self,
        reactor: IReactor,
        name: str,
        size: int,
        *,
        background: bool = False,
        patience: float = 5.0,
    ) -> None:
        self.name = name
        self._reactor = reactor
        self._patience = patience
        self._calls: Lane[_Call] = Lane(
            reactor, name, _run_call, _answer_calls, threads=size, background=background
        )
        self._lanes: list[Lane[Any]] = []

    def startService(self) -> None:
        Service.startService(self)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        for lane in (self._calls, *self._lanes):
            lane.end()
        # Threads may be in the middle of work, and the reactor's thread must not wait for them.
        stopped: Deferred[None] = Deferred()

        def stop() -> None:
            self._calls.join()
            for lane in self._lanes:
                lane.join(self._patience)
            self._reactor.callFromThread(stopped.callback, None)

        Thread(target=stop, name=f"{self.name}-stop").start()
        return stopped

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        call = _Call(lambda: work(*args, **kwargs))
        self._calls.put(call)
        return call.answer

    def lane(self, name: str, work: Work[J], done: Done[J], **options: Any) -> ILane:
        lane = Lane(self._reactor, f"{self.name}-{name}", work, done, **options)
        self._lanes.append(lane)
        return lane


@dataclass(eq=False, repr=False)  # The result may be a secret.
class _Call:
    """A single piece of work, and its result."""

    work: Callable[[], Any]
    answer: Deferred[Any] = field(default_factory=Deferred)
    result: Any = None


def _run_call(waiting: deque[_Call]) -> Sequence[_Call]:
    try:
        call = waiting.popleft()
    except IndexError:
        return ()
    try:
        call.result = call.work()
    except BaseException:
        call.result = Failure()
    return (call,)


def _answer_calls(calls: Sequence[_Call]) -> None:
    for call in calls:
        call.answer.callback(call.result)


@implementer(ILane)
@dataclass(eq=False)
class Lane(Generic[J]):
    """The lane that `ILanes.lane` makes. Pieces that come in one turn of the reactor wake threads
    once, at the end of the turn: as many threads as are needed if each does `together` pieces at
    once. If these stall, others help."""

    reactor: IReactor
    name: str
    work: Work[J]
    done: Done[J]
    _: KW_ONLY
    threads: int = 1
    together: int = 1
    leave: Callable[[], None] = lambda: None
    background: bool = False

    def __post_init__(self) -> None:
        self._waiting: deque[J] = deque()
        self._signals: SimpleQueue[bool] = SimpleQueue()  # True: something waits. False: end.
        self._threads: list[Thread] = []
        self._idle = 0
        self._lock = Lock()
        self._wake_scheduled = False
        self._ended = False
        self._stall_check: Any = None
        self._can_help = self.together > 1 and self.threads > 1

    def put(self, job: J) -> None:
        self._waiting.append(job)
        if not self._wake_scheduled:
            self._wake_scheduled = True
            self.reactor.callLater(0, self._wake)

    def end(self) -> None:
        """Let the threads end when they have done what waits. New jobs are not done any more."""
        if self._waiting:
            self._wake()
        self._ended = True
        if self._stall_check is not None:
            self._stall_check.cancel()
            self._stall_check = None
        for _ in self._threads:
            self._signals.put(False)

    def join(self, patience: float | None = None) -> None:
        """Block until the threads have ended, at most `patience` seconds, if given."""
        until = None if patience is None else time.monotonic() + patience
        for thread in self._threads:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))

    def _wake(self) -> None:
        self._wake_scheduled = False
        if self._ended:
            return
        busy = self._count_busy()
        wanted = -(-len(self._waiting) // self.together)
        if self.together > 1:
            wanted -= busy  # Busy threads take more by themselves.
        self._wake_threads(min(wanted, self.threads - busy))
        self._schedule_stall_check()

    def _count_busy(self) -> int:
        with self._lock:
            return len(self._threads) - self._idle

    def _wake_threads(self, wanted: int) -> None:
        """Wake `wanted` idle threads, or start new ones; none, if it is below 1."""
        for _ in range(min(wanted - self._idle, self.threads - len(self._threads))):
            thread = Thread(target=self._run_thread, name=self.name, daemon=True)
            self._threads.append(thread)
            thread.start()
        for _ in range(wanted):
            self._signals.put(True)

    def _schedule_stall_check(self) -> None:
        if self._stall_check is None and self._can_help and self._waiting and not self._ended:
            check = self.reactor.callLater(HELP_AFTER, self._check_stall, self._first_job())
            self._stall_check = check

    def _check_stall(self, first: J | None) -> None:
        """Wake another thread if the first job still waits: the others may be busy with one thing
        for long, such as a locked row."""
        self._stall_check = None
        stalls = first is not None and self._first_job() is first
        if stalls and self._count_busy() < self.threads:
            self._wake_threads(1)
        self._schedule_stall_check()

    def _first_job(self) -> J | None:
        with suppress(IndexError):
            return self._waiting[0]
        return None

    def _run_thread(self) -> None:
        if self.background and sys.platform == "linux":
            # On other systems this would apply to the whole process. A filter of system calls may
            # refuse it, in a unit or a container; the work is done all the same.
            with suppress(OSError):
                os.nice(NICENESS)
        go_on = True
        while go_on:
            with self._lock:
                self._idle += 1
            # Work that came while this thread still counted as busy has woken no thread.
            go_on = bool(self._waiting) or self._signals.get()
            with self._lock:
                self._idle -= 1
            while self._waiting:
                self._work_once()
        self.leave()

    def _work_once(self) -> None:
        try:
            done = self.work(self._waiting)
        except Exception:
            _log.failure("work of {name} failed and is lost", name=self.name)
        else:
            if done:
                self.reactor.callFromThread(self.done, done)
            if self._waiting and self._can_help and self._stall_check is None:
                self.reactor.callFromThread(self._schedule_stall_check)
