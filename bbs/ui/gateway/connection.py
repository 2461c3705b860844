"""The socket between a person and their session: its limits, and how it ends."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import cast

from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
    ITransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.client.library import ServiceClient
from bbs.protocols import sockets
from bbs.protocols.connection_state import ConnectionState, IAbortable
from bbs.protocols.line.interfaces import LineLimits
from bbs.ui.gateway.session import Host, Visit
from bbs.ui.gateway.valve import Valve

GREETING_PAUSE = 0.2
"""Seconds in which a telnet client that negotiates by itself does so; then a greeting goes out."""

PIECE = 64
"""Bytes of input that are taken at a time: each may be a key, answered by a list or a long row."""


@implementer(IAbortable, IHalfCloseableProtocol, IPushProducer)
class GatewayConnection(Protocol):
    """One person's connection. `valve` is what `client` connects through; `gone` is called with
    the connection once nothing is left of it. `wall` is the clock that people's days go by."""

    def __init__(
        self,
        clock: IReactorTime,
        client: ServiceClient,
        host: Host,
        valve: Valve,
        limits: LineLimits,
        gone: Callable[[GatewayConnection], None],
        wall: Callable[[], float],
    ) -> None:
        self.on_asked: Callable[[], None] | None = None
        """Called once, when something is asked for: a line is carried out that is not blank."""
        self._clock = clock
        self._valve = valve
        self._limits = limits
        self._gone = gone
        self._life = ConnectionState(clock, limits.write_timeout)
        self._stream: sockets.IStreamTransport
        self._session = Visit(clock, client, host, limits.max_line, self._send, self._over, wall)
        self._session.lines.on_room = self._go_on
        self._session.on_asked = self._asked
        self._greeting: IDelayedCall | None = None
        self._turn: IDelayedCall | None = None
        self._idle: IDelayedCall | None = None
        self._unread = b""
        self._taking = self._hastens = False

    def end(self, words: str) -> None:
        """End it, and say why."""
        self._session.end(words)

    def make_room(self, words: str) -> None:
        """End it as soon as they are sent why: its place is needed, and nothing was asked."""
        self._hastens = True
        self._session.end(words)

    def abort(self) -> None:
        """End it at once."""
        self._life.abort()

    # IProtocol

    def connectionMade(self) -> None:
        transport = cast("ITransport", self.transport)
        self._stream = self._life.begin(transport, cast("IPushProducer", self))
        if ITCPTransport.providedBy(transport):
            self._take_urgent_bytes()
        self._watch_silence()
        self._greeting = self._clock.callLater(GREETING_PAUSE, self._session.begin)

    def dataReceived(self, data: bytes) -> None:
        if self._life.phase.closed:
            return
        self._unread += data
        self._go_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._life.lost()
        self._stop_timers()
        self._session.close().addCallback(self._closed)

    # IHalfCloseableProtocol

    def readConnectionLost(self) -> None:
        self._life.input_ended()
        if not self._life.phase.closed:
            self._go_on()

    def writeConnectionLost(self) -> None:
        self._life.output_ended(self.abort)

    # IPushProducer: the transport's word on output

    def pauseProducing(self) -> None:
        if self._life.block():
            self._valve.shut()
            self._session.hold(True)
            self._steer()

    def resumeProducing(self) -> None:
        if self._life.unblock():
            self._valve.open()
            self._session.hold(False)
            self._go_on()

    def stopProducing(self) -> None:
        """Nothing: connectionLost follows."""

    # Within

    def _closed(self, _: None) -> None:
        self._session.forget()
        del self._session
        self._gone(self)

    def _send(self, data: bytes) -> None:
        if not self._life.phase.closed:
            self._stream.write(data)

    def _take_urgent_bytes(self) -> None:
        """Telnet's Synch sends the DM of IAC DM as an urgent byte (RFC 854). Without it in its
        place, IAC would swallow whatever comes next."""
        handle = sockets.plain_socket(self.transport)
        if handle is not None:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)

    def _watch_silence(self) -> None:
        self._idle = self._clock.callLater(self._limits.idle_timeout, self._look_whether_idle)

    def _look_whether_idle(self) -> None:
        if self._session.is_idle:
            self.end(f"Nothing was typed for {self._limits.idle_timeout:g} s. Bye!")
        else:
            self._watch_silence()

    def _go_on(self) -> None:
        """Take a piece of what has come, if there is room for what comes of it; the next when
        others have had their turn. Then read on, or not."""
        if self._taking:
            return
        self._taking = True
        if self._unread and self._has_room:
            piece, self._unread = self._unread[:PIECE], self._unread[PIECE:]
            if self._session.received(piece):
                self._typed()
        self._taking = False
        if self._unread and self._has_room:
            _stop(self._turn)
            self._turn = self._clock.callLater(0, self._go_on)
        elif self._life.input.ended and not self._unread:
            self._session.begin()
            self._session.input_ended()
        self._steer()

    def _typed(self) -> None:
        if self._idle is not None and self._idle.active():
            self._idle.reset(self._limits.idle_timeout)

    def _asked(self) -> None:
        on_asked, self.on_asked = self.on_asked, None
        if on_asked is not None:
            on_asked()

    @property
    def _has_room(self) -> bool:
        life = self._life
        return not (life.blocked or life.phase.closed or self._session.lines.is_full)

    def _steer(self) -> None:
        """Read on or stop reading, as is right now."""
        if self._has_room and not self._unread:
            self._life.read_on()
        else:
            self._life.stop_reading()

    def _over(self) -> None:
        self._stop_timers()
        if self._hastens:
            self._life.leave()
        else:
            self._life.close()

    def _stop_timers(self) -> None:
        for timer in (self._idle, self._greeting, self._turn):
            _stop(timer)
        self._idle = self._greeting = self._turn = None


def _stop(timer: IDelayedCall | None) -> None:
    if timer is not None and timer.active():
        timer.cancel()
