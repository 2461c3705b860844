"""The life of a connection: who is let in, its states, and how a server ends it.

A connection is read, pushed back, and closed one side at a time; `ConnectionState` has the states
and all that leads from one to the next. Ports ask an `IDoor` before they make a connection. The
last functions tell what only the socket under a transport knows of the peer; each has a harmless
answer where there is no plain socket (TLS, transports in memory) or where the system does not say
(all but Linux).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Collection
from contextlib import suppress
from enum import Enum
from typing import cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from bbs.core.addresses import usual_form
from bbs.core.values import IDoor, IEntry

_KEEP_ALIVE = (
    ("TCP_KEEPIDLE", 60),  # s of silence before the first probe
    ("TCP_KEEPINTVL", 15),  # s between probes
    ("TCP_KEEPCNT", 4),  # probes without an answer until the connection is lost
)

# In struct tcp_info of <linux/tcp.h>, the number of bytes that the peer has acknowledged, 64 bits.
# Linux only ever adds fields at the end.
_BYTES_ACKNOWLEDGED = 120


def host_of(address: IAddress | None) -> str:
    """The host of one end of a connection in its usual form; "" where it has none."""
    host = getattr(address, "host", None)
    return usual_form(host) if host else ""


class IStreamTransport(ITCPTransport, IConsumer, IPushProducer):
    """What the line protocol uses of a transport; no one interface of Twisted has it all."""


def plain_socket(transport: object) -> socket.socket | None:
    """Return the socket that `transport` writes to itself, None if it has none."""
    get_handle = getattr(transport, "getHandle", None)
    handle = get_handle() if get_handle else None
    return handle if isinstance(handle, socket.socket) else None


def tune_keep_alive(transport: object) -> None:
    """Have TCP's keep-alive find out in about two minutes that the peer's machine is gone."""
    handle = plain_socket(transport)
    if handle is None:
        return
    for name, value in _KEEP_ALIVE:
        with suppress(AttributeError, OSError):  # not on this system; not for this socket
            handle.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def acknowledged(transport: object) -> int:
    """Return how many bytes the peer has acknowledged so far; 0 where that is not known."""
    info = _tcp_info(transport)
    if len(info) < _BYTES_ACKNOWLEDGED + 8:
        return 0
    count: int = struct.unpack_from("=Q", info, _BYTES_ACKNOWLEDGED)[0]
    return count


def _tcp_info(transport: object) -> bytes:
    handle, option = plain_socket(transport), getattr(socket, "TCP_INFO", None)
    if handle is None or option is None:
        return b""
    try:
        return handle.getsockopt(socket.IPPROTO_TCP, option, _BYTES_ACKNOWLEDGED + 8)
    except OSError:  # a socket, but not TCP's
        return b""


LINGER = 2.0
"""Seconds that a peer has to close its side after the server has closed its own."""

MOST_LINGERING = 100
"""Connections turned away that may be open at a time: they are over the limit, so they must not
become a second crowd."""


class Progress:
    """Watches a peer that takes less than it is sent, from now on: a peer that takes nothing for
    `limit` seconds is cut off. A slow one may need longer for all that is buffered.
    """

    __slots__ = ("_acknowledged", "_clock", "_limit", "_timer", "_transport")

    def __init__(self, clock: IReactorTime, limit: float, transport: IStreamTransport) -> None:
        self._clock = clock
        self._limit = limit
        self._transport = transport
        self._acknowledged = acknowledged(transport)
        self._timer = clock.callLater(limit, self._check)

    def stop(self) -> None:
        """Watch no more."""
        if self._timer.active():
            self._timer.cancel()

    def _check(self) -> None:
        before, self._acknowledged = self._acknowledged, acknowledged(self._transport)
        if self._acknowledged > before:
            self._timer = self._clock.callLater(self._limit, self._check)
        else:
            self._transport.abortConnection()


@implementer(IProtocol, IHalfCloseableProtocol)
class RejectedConnection:
    """A connection that is one too many: its peer is sent `words`, whole lines, and nothing that it
    sends is looked at.

    To close a socket that has unread input is a reset, which throws away what the peer has not read
    yet. Therefore this side alone is closed, and the peer has LINGER seconds to read and to close
    its own. Meanwhile the connection is in the factory's `lingering`, which `abort`s them when it
    stops. Where MOST_LINGERING are there already, the words are sent as far as they can be at once,
    and the connection is closed.
    """

    __slots__ = ("_clock", "_deadline", "_lingering", "_transport", "_words")

    def __init__(
        self, clock: IReactorTime, words: bytes, lingering: set[RejectedConnection]
    ) -> None:
        self._clock = clock
        self._words = words
        self._lingering = lingering
        self._deadline: IDelayedCall | None = None

    def abort(self) -> None:
        """Close it at once."""
        self._transport.abortConnection()

    # IProtocol

    def makeConnection(self, transport: ITransport) -> None:
        self._transport = cast(IStreamTransport, transport)
        self.connectionMade()

    def connectionMade(self) -> None:
        is_socket = plain_socket(self._transport) is not None
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
        """Nothing: it comes too late."""

    def connectionLost(self, reason: Failure) -> None:
        self._lingering.discard(self)
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    # IHalfCloseableProtocol

    def readConnectionLost(self) -> None:
        self._transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Nothing: the peer has what it is told, or soon."""


class IAbortable(Interface):
    """A connection that can be closed at once."""

    def abort() -> None: ...


class ConnectionShutdown:
    """Waits for the connections of a server that stops. `connections` has them as long as they are
    there; the remover of the last calls `all_gone`."""

    def __init__(self, clock: IReactorTime, connections: Collection[IAbortable]) -> None:
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
        """Fire the Deferreds, as no connection is left."""
        when_gone, self._when_gone = self._when_gone, []
        for gone in when_gone:
            gone.callback(None)

    def _abort_all(self) -> None:
        for connection in list(self._connections):
            connection.abort()


HASTE = 1.0
"""Seconds to send the last words to a peer whose place is needed."""

# The members below have attributes for what every request asks of them: an attribute takes 3 ns,
# and to compare with a member 30, most of it to find the member in its class.


class Phase(Enum):
    """How far a connection has come; it never goes back."""

    OPEN = 0
    FINISHING = 1
    """Nothing new is begun."""
    CLOSING = 2
    """Output is on its way, and input is thrown away."""
    LINGERING = 3
    """Output is sent, and this side is closed: the peer has LINGER seconds to close its own."""
    LOST = 4

    def __init__(self, number: int) -> None:
        self.begins = number == 0
        """Whether anything new is begun."""
        self.closed = number >= 2
        """Whether nothing more can be written."""


class Input(Enum):
    """What happens to the bytes that the peer sends."""

    READING = 0
    PAUSED = 1
    """Bytes wait in the transport."""
    ENDED = 2
    """The peer has closed its side."""

    def __init__(self, number: int) -> None:
        self.reading = number == 0
        self.paused = number == 1
        self.ended = number == 2


class ConnectionState:
    """The state of one connection. Its owner says what happened and what it wants, and this class
    does with the transport what follows. `phase`, `input` and `blocked` are there to be read.

    A peer that takes nothing for `write_timeout` seconds is cut off, whether it is still written
    to or the last bytes are on their way.
    """

    __slots__ = (
        "_clock",
        "_deadline",
        "_progress",
        "_transport",
        "_write_timeout",
        "blocked",
        "input",
        "phase",
    )

    def __init__(self, clock: IReactorTime, write_timeout: float) -> None:
        self.phase = Phase.OPEN
        self.input = Input.READING
        self.blocked = False  # The peer takes less than it is sent.
        self._clock = clock
        self._write_timeout = write_timeout
        self._progress: Progress | None = None  # of the peer, while it takes too little
        self._deadline: IDelayedCall | None = None  # for the peer to bring the end on

    def begin(self, transport: ITransport, producer: IPushProducer) -> IStreamTransport:
        """Begin with `transport`, which tells `producer` when the peer takes too little."""
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)  # an event must not wait for a reply's acknowledgement
            transport.setTcpKeepAlive(True)
            tune_keep_alive(transport)
        self._transport = cast(IStreamTransport, transport)
        self._transport.registerProducer(producer, True)
        return self._transport

    # Output. Each returns whether that is news.

    def block(self) -> bool:
        """Note that the transport wants no more for now."""
        if self.blocked or self.phase.closed:
            return False
        self.blocked = True
        self._progress = Progress(self._clock, self._write_timeout, self._transport)
        return True

    def unblock(self) -> bool:
        """Note that it takes more again, or that there is no more to come."""
        progress, self._progress = self._progress, None
        if progress is None:
            return False
        self.blocked = False
        progress.stop()
        return True

    # Input. Each returns whether anything changed.

    def stop_reading(self) -> bool:
        """Leave in the transport what comes from now on."""
        if not self.input.reading or self.phase.closed:
            return False
        self.input = Input.PAUSED
        self._transport.pauseProducing()
        return True

    def read_on(self) -> bool:
        """Take again what comes."""
        if not self.input.paused or self.phase.closed:
            return False
        self.input = Input.READING
        self._transport.resumeProducing()
        return True

    def input_ended(self) -> None:
        """Note that the peer has closed its side."""
        self.input = Input.ENDED
        self._leave_when_both_closed()

    # Endings

    def finish(self) -> None:
        """Begin nothing new."""
        if self.phase.begins:
            self.phase = Phase.FINISHING

    def close(self) -> None:
        """Close behind what is written, in a way that lets the peer read all of it.

        Only the sending side is closed, for the reason that `RejectedConnection` gives; the owner
        throws away the input that comes until the peer closes its side too.
        """
        if self.phase.closed:
            return
        self.phase = Phase.CLOSING
        self.unblock()
        self._deadline = self._clock.callLater(self._write_timeout, self.abort)
        self._transport.unregisterProducer()
        if self.input.ended or plain_socket(self._transport) is None:
            self._transport.loseConnection()
            return
        if self.input.paused:
            self.input = Input.READING
            self._transport.resumeProducing()
        self._transport.loseWriteConnection()

    def leave(self) -> None:
        """Close as soon as what is written is sent, or could not be within a second. The peer has
        sent nothing that is unread, and is not waited for."""
        if self.phase.closed:
            return
        self.phase = Phase.CLOSING
        self.unblock()
        self._deadline = self._clock.callLater(HASTE, self.abort)
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    def output_ended(self, outstayed: Callable[[], None]) -> None:
        """Note that all output is sent, and this side is closed; `outstayed` is called if the peer
        does not close its own in time."""
        if self.phase is not Phase.CLOSING:
            return
        self.phase = Phase.LINGERING
        self._stop_deadline()
        self._deadline = self._clock.callLater(LINGER, outstayed)
        self._leave_when_both_closed()

    def abort(self) -> None:
        """Close at once; what is not sent yet is lost."""
        self._transport.abortConnection()

    def lost(self) -> None:
        """Note that the connection is gone."""
        self.phase = Phase.LOST
        self.unblock()
        self._stop_deadline()

    def _leave_when_both_closed(self) -> None:
        if self.phase is Phase.LINGERING and self.input.ended:
            self._transport.loseConnection()

    def _stop_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None


@implementer(IEntry)
class _Welcome:
    def watch(self, end: Callable[[], None]) -> None: ...
    def has_asked(self) -> None: ...
    def vouch(self) -> None: ...
    def leave(self) -> None: ...


@implementer(IDoor)
class OpenDoor:
    """Lets everybody in: for tests, and for whoever counts nobody."""

    is_jammed = False

    def enter(self, host: str, descriptors: int = 1) -> IEntry:
        return _WELCOME


_WELCOME = _Welcome()
