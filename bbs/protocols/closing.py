"""How a server ends a connection whose peer takes nothing, and how it waits for all of them to
end."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from bbs.protocols import sockets


class Progress:
    """Watches a peer that takes less than it is sent, from now on: one that takes nothing for
    `limit` seconds is cut off.

    A slow peer may need longer than that for all that is buffered: what counts is whether it took
    anything.
    """

    __slots__ = ("_acknowledged", "_clock", "_limit", "_timer", "_transport")

    def __init__(
        self, clock: IReactorTime, limit: float, transport: sockets.StreamTransport
    ) -> None:
        self._clock = clock
        self._limit = limit
        self._transport = transport
        self._acknowledged = sockets.acknowledged(transport)
        self._timer = clock.callLater(limit, self._check)

    def stop(self) -> None:
        """It takes what it is sent again, or is gone."""
        if self._timer.active():
            self._timer.cancel()

    def _check(self) -> None:
        before, self._acknowledged = self._acknowledged, sockets.acknowledged(self._transport)
        if self._acknowledged > before:
            self._timer = self._clock.callLater(self._limit, self._check)
        else:
            self._transport.abortConnection()


class Abortable(Protocol):
    """A connection that can be closed at once."""

    def abort(self) -> None: ...


class Departure:
    """Waits for the connections of a server that stops, which `connections` has as long as they
    are there; whoever removes the last calls `all_gone`."""

    def __init__(self, clock: IReactorTime, connections: Collection[Abortable]) -> None:
        self._clock = clock
        self._connections = connections
        self._when_gone: list[Deferred[None]] = []

    def wait(self, grace: float) -> Deferred[None]:
        """Fires when all are gone; those that are there after `grace` seconds are aborted."""
        if not self._connections:
            return succeed(None)
        impatience = self._clock.callLater(grace, self._abort_all)
        gone: Deferred[None] = Deferred()
        gone.addCallback(lambda _: impatience.cancel() if impatience.active() else None)
        self._when_gone.append(gone)
        return gone

    def all_gone(self) -> None:
        """No connection is left."""
        when_gone, self._when_gone = self._when_gone, []
        for gone in when_gone:
            gone.callback(None)

    def _abort_all(self) -> None:
        for connection in list(self._connections):
            connection.abort()
