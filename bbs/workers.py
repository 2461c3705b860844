"""Threads that have an owner.

Work that would block the reactor runs on a bounded pool that belongs to whoever needs it: the
database has one, password hashing another. Nothing uses the reactor's shared pool, so that slow
work of one kind never delays work of another. Tests pass `Inline`, which needs no thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import Interface, implementer

P = ParamSpec("P")
T = TypeVar("T")


class IWorkers(Interface):
    """Somebody who does blocking work elsewhere."""

    def run(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Call `work(*args, **kwargs)`, and fire with what it returns or raises."""


@implementer(IWorkers)
class Workers(Service):
    """A pool of at most `size` threads, alive while the service runs.

    Stopping waits for the work that has begun or waits.
    """

    def __init__(self, reactor: Any, name: str, size: int) -> None:
        self.name = name
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=size, name=name)

    def startService(self) -> None:
        Service.startService(self)
        self._pool.start()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        # ThreadPool.stop joins its threads, which may be in the middle of work: not on the reactor.
        stopped: Deferred[None] = Deferred()
        from threading import Thread

        def stop() -> None:
            self._pool.stop()
            self._reactor.callFromThread(stopped.callback, None)

        Thread(target=stop, name=f"{self.name}-stop").start()
        return stopped

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        return cast(
            "Deferred[T]", deferToThreadPool(self._reactor, self._pool, work, *args, **kwargs)
        )


@implementer(IWorkers)
class Inline:
    """Does the work at once, in the caller's thread: for tests."""

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        return maybeDeferred(work, *args, **kwargs)
