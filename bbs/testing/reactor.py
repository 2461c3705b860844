"""What stands for the reactor's thread in a test, which has one thread for everything.

On a server, rules run on threads of the database, and whatever else uses it is refused: everybody
would wait meanwhile. Here a rule, a handler and the test itself run on the same thread, so
`ReactorGuard` knows whose turn it is, and refuses what a server would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import local
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer

from bbs.core.errors import Refusal
from bbs.core.threads import Done, ILane, ILanes, Work
from bbs.protocols.line.interfaces import IConnection, IRequestHandler, Reply
from bbs.storage.database import Database
from bbs.storage.transaction_guard import NO_CONNECTION

P = ParamSpec("P")
T = TypeVar("T")
J = TypeVar("J")


class ReactorGuard(local):
    """Refuses the database to what the reactor calls, but for the work of threads. Real threads
    have connections of their own, and are left alone."""

    def __init__(self) -> None:
        self._state: Any = None
        self._other = NO_CONNECTION  # What is swapped for the connection, and back.
        self._refuses = False

    def watch(self, database: Database) -> None:
        """Refuse the use of `database` on this thread from now on."""
        self._state = database.connection_state

    def switch(self, refuses: bool) -> bool:
        """Begin or stop to refuse, and return which it was before."""
        before, state = self._refuses, self._state
        if state is not None and refuses is not before:
            self._refuses = refuses
            self._other, (state.closed, state.conn) = (state.closed, state.conn), self._other
        return before


class GuardedClock(Clock):
    """A clock whose calls are the reactor's."""

    def __init__(self, guard: ReactorGuard) -> None:
        super().__init__()
        self._guard = guard

    def advance(self, amount: float) -> None:
        before = self._guard.switch(True)
        try:
            super().advance(amount)
        finally:
            self._guard.switch(before)


@implementer(ILanes)
@dataclass(eq=False)
class GuardedLanes:
    """The threads of a database, beside a reactor that must not use it."""

    guard: ReactorGuard
    workers: ILanes

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        return self.workers.run(self._by_thread(work), *args, **kwargs)

    def lane(self, name: str, work: Work[J], done: Done[J], **options: Any) -> ILane:
        return self.workers.lane(name, self._by_thread(work), done, **options)

    def _by_thread(self, work: Callable[P, T]) -> Callable[P, T]:
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            before = self.guard.switch(False)
            try:
                return work(*args, **kwargs)
            finally:
                self.guard.switch(before)

        return guarded


@implementer(IRequestHandler)
@dataclass(eq=False)
class GuardedHandler:
    """A handler of requests that the reactor calls."""

    guard: ReactorGuard
    handler: IRequestHandler

    def handle(self, line: str, connection: IConnection) -> Reply | Deferred[Reply]:
        before = self.guard.switch(True)
        try:
            return self.handler.handle(line, connection)
        finally:
            self.guard.switch(before)

    def refuse(self, error: Refusal, connection: IConnection) -> Reply | Deferred[Reply]:
        return self.handler.refuse(error, connection)

    def is_whole(self, line: str) -> bool:
        return self.handler.is_whole(line)

    def connection_lost(self, connection: IConnection) -> None:
        before = self.guard.switch(True)
        try:
            self.handler.connection_lost(connection)
        finally:
            self.guard.switch(before)
