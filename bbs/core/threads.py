"""Threads that have an owner.

Work that would block the reactor runs on threads that belong to its owner: the database has some,
password hashing others. So slow work of one kind never delays work of another. The reactor's shared
pool looks up the names of hosts, as Twisted does by itself, and does nothing else.

Work waits in lanes. Single pieces are `run`. Many short ones take a lane of their own, where a
thread takes up several that wait and brings them back in one hop.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
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
"""Takes pieces of work from the left, as many as it does together, none if none is left; returns
those that are done."""

Done = Callable[[Sequence[J]], None]

NICENESS = 15
"""How far work in the background stands back, of at most 19. Measured on two cores where a hundred
log in: with 10, who has a place waits four to six times as long for an answer when the machine is
busy besides; with 15 under two and a half times. It leaves hashing 3.5 % of processors that others
want wholly."""

LONG = 0.02
"""Seconds after which a waiting piece no longer waits for the threads that are busy."""

LEAVING_TIME = 5.0
"""Seconds that the threads of a lane have to end, unless it is said."""

_log = Logger()


class ILane(Interface):
    """A queue of pieces of work, for threads of its own."""

    def put(job: Any) -> None:
        """Let `job` wait behind the others."""


class IWorkers(Interface):
    """Does blocking work elsewhere."""

    def run(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Call `work(*args, **kwargs)`, and fire with what it returns or raises."""


class ILanes(IWorkers):
    """Does many short pieces of work elsewhere, too."""

    def lane(
        name: str,
        work: Work[J],
        done: Done[J],
        *,
        threads: int = 1,
        together: int,
        leave: Callable[[], None],
    ) -> ILane:
        """Make a lane with so many threads at the most. `work` is called on one of them while
        something waits, and does about so many pieces `together`. `done` is called in the reactor's
        thread with what `work` returned, and `leave` on each thread that ends."""


@implementer(ILanes)
class Workers(Service):
    """At most `size` threads for single pieces of work, and those of lanes. They are started as
    they are needed, and live until the service stops, which waits for all work that was given.

    :param background: whether single pieces take only processor time that nobody else wants. That
        is for long work outside of the interpreter's lock: everybody waits for that lock as long as
        its holder waits.
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
        patience: float = LEAVING_TIME,
    ) -> None:
        self.name = name
        self._reactor = reactor
        self._patience = patience
        self._calls: Lane[_Call] = Lane(
            reactor, name, _one, _answer, threads=size, stands_back=background
        )
        self._lanes: list[Lane[Any]] = []

    def startService(self) -> None:
        Service.startService(self)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        for lane in (self._calls, *self._lanes):
            lane.end()
        # Threads may be in the middle of work, and to wait for them is not for the reactor's.
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


class _Call:
    """A single piece of work, and its result."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.answer: Deferred[Any] = Deferred()
        self.result: Any = None


def _one(waiting: deque[_Call]) -> Sequence[_Call]:
    try:
        call = waiting.popleft()
    except IndexError:
        return ()
    try:
        call.result = call.work()
    except BaseException:
        call.result = Failure()
    return (call,)


def _answer(calls: Sequence[_Call]) -> None:
    for call in calls:
        call.answer.callback(call.result)


def _nothing() -> None: ...


@implementer(ILane)
class Lane(Generic[J]):
    """The lane that `ILanes.lane` makes.

    Pieces that come in one turn of the reactor wake threads once, at the end of the turn: as many
    as it takes when each does `together` pieces at once. Where these do not get on, others help.
    """

    def __init__(
        self,
        reactor: IReactor,
        name: str,
        work: Work[J],
        done: Done[J],
        *,
        threads: int = 1,
        together: int = 1,
        leave: Callable[[], None] = _nothing,
        stands_back: bool = False,
    ) -> None:
        self._reactor = reactor
        self._name = name
        self._work = work
        self._done = done
        self._most = threads
        self._together = together
        self._leave = leave
        self._stands_back = stands_back
        self._waiting: deque[J] = deque()
        self._wishes: SimpleQueue[bool] = SimpleQueue()
        """True: something waits. False: end."""
        self._threads: list[Thread] = []
        self._idle = 0
        self._lock = Lock()
        self._to_wake = False
        self._ended = False
        self._relief: Any = None
        """The next look at whether threads get on."""

    def put(self, job: J) -> None:
        self._waiting.append(job)
        if not self._to_wake:
            self._to_wake = True
            self._reactor.callLater(0, self._wake)

    def end(self) -> None:
        """Let the threads end when they have done what waits. Nothing more is taken up."""
        if self._waiting:
            self._wake()
        self._ended = True
        if self._relief is not None:
            self._relief.cancel()
            self._relief = None
        for _ in self._threads:
            self._wishes.put(False)

    def join(self, patience: float | None = None) -> None:
        """Block until the threads have ended, `patience` seconds at the most, if given."""
        until = None if patience is None else time.monotonic() + patience
        for thread in self._threads:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))

    def _wake(self) -> None:
        self._to_wake = False
        if self._ended:
            return
        busy = self._busy()
        wanted = -(-len(self._waiting) // self._together)
        if self._together > 1:
            wanted -= busy  # They take up more by themselves.
        self._wake_others(min(wanted, self._most - busy))
        self._look_later()

    def _busy(self) -> int:
        with self._lock:
            return len(self._threads) - self._idle

    def _wake_others(self, wanted: int) -> None:
        """Have so many threads that are not busy take up what waits; none, if it is below 1."""
        for _ in range(min(wanted - self._idle, self._most - len(self._threads))):
            thread = Thread(target=self._live, name=self._name, daemon=True)
            self._threads.append(thread)
            thread.start()
        for _ in range(wanted):
            self._wishes.put(True)

    def _look_later(self) -> None:
        if self._relief is None and self._together > 1 and self._most > 1 and self._waiting:
            self._relief = self._reactor.callLater(LONG, self._relieve, self._first())

    def _relieve(self, first: J | None) -> None:
        """Have another thread take up what waits, where the others are busy with one thing for
        long, as with a row that is locked."""
        self._relief = None
        if first is not None and self._first() is first and self._busy() < self._most:
            self._wake_others(1)
        self._look_later()

    def _first(self) -> J | None:
        with suppress(IndexError):
            return self._waiting[0]
        return None

    def _live(self) -> None:
        if self._stands_back and sys.platform == "linux":
            # Elsewhere this would be the whole process's. A unit's or a container's filter of calls
            # may refuse it, and the work is to be done all the same.
            with suppress(OSError):
                os.nice(NICENESS)
        go_on = True
        while go_on:
            with self._lock:
                self._idle += 1
            # Work that came while this thread still counted as busy has woken nobody.
            go_on = bool(self._waiting) or self._wishes.get()
            with self._lock:
                self._idle -= 1
            while self._waiting:
                self._take_up()
        self._leave()

    def _take_up(self) -> None:
        try:
            done = self._work(self._waiting)
        except Exception:
            _log.failure("work of {name} was lost", name=self._name)
        else:
            if done:
                self._reactor.callFromThread(self._done, done)
