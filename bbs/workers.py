"""Threads that have an owner.

Work that would block the reactor runs on a bounded pool that belongs to whoever needs it: the
database has one, password hashing another. Nothing uses the reactor's shared pool, so that slow
work of one kind never delays work of another. Tests pass `Inline`, which needs no thread.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from threading import Thread
from typing import Any, ParamSpec, TypeVar, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import Interface, implementer

P = ParamSpec("P")
T = TypeVar("T")

NICENESS = 15
"""How far threads in the background stand back behind others: see `Workers`."""


class IWorkers(Interface):
    """Somebody who does blocking work elsewhere."""

    def run(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Call `work(*args, **kwargs)`, and fire with what it returns or raises."""


@implementer(IWorkers)
class Workers(Service):
    """A pool of at most `size` threads, alive while the service runs.

    Stopping waits for the work that has begun or waits.

    :param background: whether it takes what others leave of the processors. That is for long work
        outside of the interpreter's lock, which everybody waits for as long as its holder waits.
    """

    def __init__(self, reactor: Any, name: str, size: int, *, background: bool = False) -> None:
        self.name = name
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=size, name=name)
        if background:
            self._pool.threadFactory = _BackgroundThread

    def startService(self) -> None:
        Service.startService(self)
        self._pool.start()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        # ThreadPool.stop joins its threads, which may be in the middle of work: not on the reactor.
        stopped: Deferred[None] = Deferred()

        def stop() -> None:
            self._pool.stop()
            self._reactor.callFromThread(stopped.callback, None)

        Thread(target=stop, name=f"{self.name}-stop").start()
        return stopped

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        return cast(
            "Deferred[T]", deferToThreadPool(self._reactor, self._pool, work, *args, **kwargs)
        )


class _BackgroundThread(Thread):
    """Runs while others want no processor, where a thread can have a priority of its own."""

    def run(self) -> None:
        if sys.platform == "linux":  # Elsewhere this would be the whole process's.
            os.nice(NICENESS)
        super().run()


@implementer(IWorkers)
class Inline:
    """Does the work at once, in the caller's thread: for tests."""

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        return maybeDeferred(work, *args, **kwargs)
