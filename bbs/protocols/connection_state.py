"""The states of a server's connection, how a server ends or refuses it, and facts of its socket.

A connection is read, pushed back, and closed one side at a time; `ConnectionState` has the states
and the transitions. Ports ask an `IDoor` before they make a connection. The functions for facts of
the socket give 0 or None without a plain socket (TLS, transports in memory), and on systems other
than Linux.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Collection
from contextlib import suppress
from enum import Enum
from typing import cast

from twisted.internet import interfaces
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from bbs.core.addresses import usual_form
from bbs.core.values import IDoor, IEntry

_KEEP_ALIVE = (
    ("TCP_KEEPIDLE", 60),  # s of silence before the first probe
    ("TCP_KEEPINTVL", 15),  # s between probes
    ("TCP_KEEPCNT", 4),  # probes without an answer until the connection is lost
)

# Where struct tcp_info of <linux/tcp.h> has the number of bytes that the peer has acknowledged, 64
# bits. Linux only adds fields at the end.
_BYTES_ACKNOWLEDGED = 120


def host_of(address: interfaces.IAddress | None) -> str:
    """The host of one end of a connection in its usual form; "" without one."""
    host = getattr(address, "host", None)
    return usual_form(host) if host else ""


class IStreamTransport(interfaces.ITCPTransport, interfaces.IConsumer, interfaces.IPushProducer):
    """The methods of a transport that servers use."""


def plain_socket(transport: object) -> socket.socket | None:
    """The socket to which `transport` itself writes; None if there is none."""
    get_handle = getattr(transport, "getHandle", None)
    handle = get_handle() if get_handle else None
    return handle if isinstance(handle, socket.socket) else None


def tune_keep_alive(transport: object) -> None:
    """Make TCP's keep-alive notice within about two minutes that the peer's machine is gone."""
    handle = plain_socket(transport)
    if handle is None:
        return
    for name, value in _KEEP_ALIVE:
        with suppress(AttributeError, OSError):  # not on this system; not for this socket
            handle.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def acknowledged(transport: object) -> int:
    """How many bytes the peer has acknowledged so far; 0 if unknown."""
    handle, option = plain_socket(transport), getattr(socket, "TCP_INFO", None)
    if handle is None or option is None:
        return 0
    try:
        info = handle.getsockopt(socket.IPPROTO_TCP, option, _BYTES_ACKNOWLEDGED + 8)
        count: int = struct.unpack_from("=Q", info, _BYTES_ACKNOWLEDGED)[0]
    except (OSError, struct.error):  # not a socket of TCP; an old kernel
        return 0
    return count


LINGER = 2.0  # s for a peer to close its side after the server has closed its own
MOST_LINGERING = 100  # rejected connections at a time: they are over the limit already


@implementer(interfaces.IProtocol, interfaces.IHalfCloseableProtocol)
class RejectedConnection:
    """A connection over the limit: it sends `words`, whole lines, and ignores its input.

    If a socket with unread input is closed, the peer gets a reset and loses what it has not read.
    Therefore only this side is closed, and the peer has LINGER seconds to read and to close its
    own. Meanwhile the connection is in the factory's `lingering`; the factory `abort`s them when it
    stops. If MOST_LINGERING are there already, the words are sent as far as the socket takes them
    at once, and the connection is closed.
    """

    def __init__(
        self, clock: interfaces.IReactorTime, words: bytes, lingering: set[RejectedConnection]
    ) -> None:
        self._clock = clock
        self._words = words
        self._lingering = lingering
        self._deadline: interfaces.IDelayedCall | None = None

    def abort(self) -> None:
        self._transport.abortConnection()

    # IProtocol

    def makeConnection(self, transport: interfaces.ITransport) -> None:
        self._transport = cast(IStreamTransport, transport)
        self.connectionMade()

    def connectionMade(self) -> None:
        is_socket = plain_socket(self._transport) is not None
        lingers = len(self._lingering) < MOST_LINGERING
        if lingers:
            self._lingering.add(self)
            self._deadline = self._clock.callLater(LINGER, self.abort)
        elif not is_socket:
            # By TLS nothing can be sent before the handshake, which may take any time.
            self.abort()
            return
        self._transport.write(self._words)
        if lingers and is_socket:
            self._transport.loseWriteConnection()
        else:
            self._transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Ignore all input."""

    def connectionLost(self, reason: Failure) -> None:
        self._lingering.discard(self)
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    # IHalfCloseableProtocol

    def readConnectionLost(self) -> None:
        self._transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Wait until the peer closes its side."""


class IAbortable(Interface):
    """A connection that can be aborted."""

    def abort() -> None:
        """Close at once; what is not sent yet is lost."""


class ConnectionShutdown:
    """Waits for the `connections` of a server that stops; their owner calls `all_gone`."""

    def __init__(self, clock: interfaces.IReactorTime, connections: Collection[IAbortable]) -> None:
        self._clock = clock
        self._connections = connections
        self._when_gone: list[Deferred[None]] = []

    def wait(self, grace: float) -> Deferred[None]:
        """Fires when all are gone; those that are left after `grace` seconds are aborted."""
        if not self._connections:
            return succeed(None)
        timer = self._clock.callLater(grace, self._abort_all)
        gone: Deferred[None] = Deferred()
        gone.addCallback(lambda _: timer.cancel() if timer.active() else None)
        self._when_gone.append(gone)
        return gone

    def all_gone(self) -> None:
        when_gone, self._when_gone = self._when_gone, []
        for gone in when_gone:
            gone.callback(None)

    def _abort_all(self) -> None:
        for connection in list(self._connections):
            connection.abort()


HASTE = 1.0  # s to send the last words to a peer whose place is needed

# Every request looks at these enums, so their members have attributes: an attribute takes 3 ns, a
# comparison with a member 30, most of it to find the member in its class.


class Phase(Enum):
    """How far a connection has come. A connection never goes back."""

    OPEN = 0
    FINISHING = 1  # No new request begins.
    CLOSING = 2  # Output is on its way, and input is thrown away.
    LINGERING = 3  # All is sent; the peer has LINGER seconds to close its side.
    LOST = 4

    def __init__(self, number: int) -> None:
        self.begins = number == 0  # Whether new requests begin.
        self.closed = number >= 2  # Whether nothing more can be written.


class Input(Enum):
    """What happens to the bytes that the peer sends."""

    READING = 0
    PAUSED = 1  # Bytes wait in the transport.
    ENDED = 2  # The peer has closed its side.

    def __init__(self, number: int) -> None:
        self.reading = number == 0
        self.paused = number == 1
        self.ended = number == 2


class ConnectionState:
    """The state of one connection. The owner reports events and asks for changes; this class
    operates the transport. The owner may read `phase`, `input` and `blocked`.

    A peer that takes nothing for `write_timeout` seconds is cut off, also while the last bytes are
    on their way. A slow peer may take longer for the whole buffer.
    """

    __slots__ = (
        *("_acknowledged", "_clock", "_deadline", "_transport", "_write_timeout"),
        *("blocked", "input", "phase"),
    )

    def __init__(self, clock: interfaces.IReactorTime, write_timeout: float) -> None:
        self.phase = Phase.OPEN
        self.input = Input.READING
        self.blocked = False  # The peer takes less than it is sent.
        self._clock = clock
        self._write_timeout = write_timeout
        self._deadline: interfaces.IDelayedCall | None = None  # for the peer to take or to close
        self._acknowledged = 0  # when the deadline began

    def begin(
        self, transport: interfaces.ITransport, producer: interfaces.IPushProducer
    ) -> IStreamTransport:
        """Set up `transport`, which tells `producer` when the peer takes too little."""
        if interfaces.ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)  # an event must not wait for a reply's acknowledgement
            transport.setTcpKeepAlive(True)
            tune_keep_alive(transport)
        self._transport = cast(IStreamTransport, transport)
        self._transport.registerProducer(producer, True)
        return self._transport

    # Output. Each returns whether anything changed.

    def block(self) -> bool:
        """Note that the transport wants no more for now."""
        if self.blocked or self.phase.closed:
            return False
        self.blocked = True
        self._await_progress()
        return True

    def _await_progress(self) -> None:
        self._acknowledged = acknowledged(self._transport)
        self._deadline = self._clock.callLater(self._write_timeout, self._check_progress)

    def _check_progress(self) -> None:
        if acknowledged(self._transport) > self._acknowledged:
            self._await_progress()
        else:
            self.abort()

    def unblock(self) -> bool:
        """Note that the transport takes more again, or that the connection ends."""
        if not self.blocked:
            return False
        self.blocked = False
        self._stop_deadline()
        return True

    # Input. Each returns whether anything changed.

    def stop_reading(self) -> bool:
        if not self.input.reading or self.phase.closed:
            return False
        self.input = Input.PAUSED
        self._transport.pauseProducing()
        return True

    def read_on(self) -> bool:
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
        """Let no new request begin."""
        if self.phase.begins:
            self.phase = Phase.FINISHING

    def close(self) -> None:
        """Close after all that is written, so that the peer can read it.

        Only the sending side is closed, for the reason that `RejectedConnection` gives; the owner
        throws input away until the peer closes its side too.
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
        """Close when all that is written is sent, after a second at the latest. This does not wait
        for the peer, which has sent nothing that is unread."""
        if self.phase.closed:
            return
        self.phase = Phase.CLOSING
        self.unblock()
        self._deadline = self._clock.callLater(HASTE, self.abort)
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    def output_ended(self, outstayed: Callable[[], None]) -> None:
        """Note that all is sent, and this side closed; if the peer stays, `outstayed` is called."""
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


@implementer(IDoor, IEntry)
class OpenDoor:
    """Lets everybody in, and counts nobody."""

    is_jammed = False
    is_busy = False
    end = None
    has_right = True

    def enter(self, host: str, descriptors: int = 1) -> IEntry:
        return self

    def watch(self, end: Callable[[], None]) -> None: ...
    def has_asked(self) -> None: ...
    def may_give_way(self) -> None: ...
    def has_session(self) -> None: ...
    def vouch(self) -> None: ...
    def leave(self) -> None: ...
