"""How a server ends a connection that is one too many, or whose peer takes nothing, and how it
waits for all of them to end."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IReactorTime,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.protocols import sockets

LINGER = 2.0
"""Seconds that a peer has to close its side after the server has closed its own."""

MOST_LINGERING = 100
"""Connections turned away that may be open at a time: they are over the limit, so they must not
become a second crowd."""


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


@implementer(IProtocol, IHalfCloseableProtocol)
class TurnedAway:
    """A connection that is one too many: its peer is sent `words`, whole lines, and nothing that it
    sends is looked at.

    To close a socket that has unread input is a reset, which throws away what the peer has not read
    yet. So this side alone is closed, and the peer has LINGER seconds to read and to close its own.
    Meanwhile the connection is in `lingering`, which is the factory's, to `abort` them when it
    stops. Where MOST_LINGERING are in there already, the words are sent as far as they can be at
    once, and the connection is closed.
    """

    __slots__ = ("_clock", "_deadline", "_lingering", "_transport", "_words")

    def __init__(self, clock: IReactorTime, words: bytes, lingering: set[TurnedAway]) -> None:
        self._clock = clock
        self._words = words
        self._lingering = lingering
        self._deadline: IDelayedCall | None = None

    def abort(self) -> None:
        """Close it at once."""
        self._transport.abortConnection()

    # IProtocol

    def makeConnection(self, transport: ITransport) -> None:
        self._transport = cast(sockets.StreamTransport, transport)
        self.connectionMade()

    def connectionMade(self) -> None:
        is_socket = sockets.plain_socket(self._transport) is not None
        lingers = len(self._lingering) < MOST_LINGERING
        if lingers:
            self._lingering.add(self)
            self._deadline = self._clock.callLater(LINGER, self.abort)
        elif not is_socket:
            # By TLS nothing can be sent before the peer has done its part, however long it takes.
            self.abort()
            return
        self._transport.write(self._words)
        if lingers and is_socket:
            self._transport.loseWriteConnection()
        else:
            self._transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Nothing: whatever it is, it comes too late."""

    def connectionLost(self, reason: Failure) -> None:
        self._lingering.discard(self)
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    # IHalfCloseableProtocol

    def readConnectionLost(self) -> None:
        self._transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Nothing: the peer has what it is told, or soon."""


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
