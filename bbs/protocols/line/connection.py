"""One connection of the line protocol: whose turn it is, when to read on, and how it ends.

Bytes in, lines out: how a request ends and how long it may be.
"""

import secrets
from collections.abc import Callable, Mapping

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    IReactorTime,
    ITransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface, implementer

from bbs.core.audit import tell
from bbs.core.errors import RequestTimedOut, TooManyConnections
from bbs.core.values import IEntry
from bbs.protocols import sockets
from bbs.protocols.connection_state import ConnectionState, IAbortable
from bbs.protocols.line.interfaces import (
    TOO_LONG,
    IConnection,
    InvalidUTF8,
    IRequestHandler,
    LineLimits,
    Reply,
    encode,
    refusal,
)
from bbs.protocols.telnet import IAC, TelnetFilter


class LineBuffer:
    """What one connection has received and nobody has taken yet.

    Lines stay uncut until their turn comes, so what waits costs no more than its bytes; and
    those are bounded if the caller adds nothing while `is_full`: a longest line and one read.
    """

    __slots__ = ("_bytes", "_limits", "_telnet", "waiting")

    def __init__(self, limits: LineLimits) -> None:
        self.waiting = 0
        """How many lines are complete."""
        self._limits = limits
        self._bytes = bytearray()
        self._telnet: TelnetFilter | None = None  # most connections never need one

    @property
    def is_full(self) -> bool:
        """Whether there is enough to do without reading on."""
        # A line of max_line bytes may have a CR behind it whose LF is yet to come.
        too_long = len(self._bytes) > self._limits.max_line + 1
        return too_long or self.waiting >= self._limits.max_pipelined

    @property
    def has_tail(self) -> bool:
        """Whether the last line has no end."""
        return bool(self._bytes) and not self._bytes.endswith(b"\n")

    def tail(self, most: int) -> bytes:
        """What there is of the last line, if that has no end; nothing if it is more than `most`
        bytes, which nobody copies."""
        begin = self._bytes.rfind(b"\n") + 1
        return bytes(self._bytes[begin:]) if len(self._bytes) - begin <= most else b""

    def add(self, data: bytes) -> bool:
        """Take the next bytes from the peer; whether a line ends in them."""
        if self._telnet is None and IAC in data:
            self._telnet = TelnetFilter()
        if self._telnet is not None:
            data = self._telnet.strip(data)
        self._bytes += data
        ends = data.count(b"\n")
        self.waiting += ends
        return ends > 0

    def end_tail(self) -> None:
        """Make a line of what has no line end."""
        if self.has_tail:
            self._bytes += b"\n"
            self.waiting += 1

    def take(self) -> bytes | None:
        """Cut off the next line, without its end; None if there is none yet.

        A line may be longer than max_line. One without an end is given as soon as that is
        certain, and is not cut off: nothing that comes behind it is to be read.
        """
        if not self._bytes:
            return None
        if self.waiting:
            end = self._bytes.index(b"\n")
            line = bytes(self._bytes[:end]).removesuffix(b"\r")
            del self._bytes[: end + 1]
            self.waiting -= 1
            return line
        return bytes(self._bytes) if self.is_full else None

    def clear(self) -> None:
        """Throw away what is left."""
        self._bytes.clear()
        self.waiting = 0


_WHOLE_AT_MOST = 1024
"""Bytes of a line without an end that its handler is asked about. A long line that comes in small
pieces would be copied for each of them."""


PAUSE = 0.1
"""Seconds in which nothing is taken of a peer that has sent as many blank lines as are taken in a
turn. They are ignored and cost nobody anything, so there is no other bound to them."""

WAIT_FOR_OUR_OWN = 1.0
"""Seconds after which a begun line is looked at again that was due while the server itself was
behind with what came before it."""

_log = Logger()


class ILineFactory(Interface):
    """What a connection needs of the factory that made it."""

    clock: IReactorTime = Attribute("What times are measured by.")
    handler: IRequestHandler = Attribute("What answers the requests.")
    limits: LineLimits = Attribute("What a connection may take.")

    def came(connection: "LineConnection") -> None:
        """`connection` is there, and has asked nothing yet."""

    def touch(connection: "LineConnection") -> None:
        """Note that something happens on `connection`."""

    def has_asked(connection: "LineConnection") -> None:
        """Note its first request."""

    def lost(connection: "LineConnection") -> None:
        """Forget `connection`."""


@implementer(IAbortable, IConnection, IProtocol, IHalfCloseableProtocol, IPushProducer)
class LineConnection:
    """Reads requests, has them answered in order, and writes replies and events.

    Thousands of these are silent most of the time. So it is slotted (hence no Protocol for a
    base class), and it has a timer only while something is going on.
    """

    __slots__ = (
        "_asked",
        "_buffer",
        "_entry",
        "_home",
        "_life",
        "_pumping",
        "_request",
        "_tail_since",
        "_timer",
        "_transport",
        "local_host",
        "on_writable",
        "peer_host",
        "persistent",
    )

    def __init__(self, home: ILineFactory, entry: IEntry) -> None:
        self.persistent = False
        self.on_writable: Callable[[], None] | None = None
        self._home = home
        self._entry = entry
        self._asked = False
        self._life = ConnectionState(home.clock, home.limits.write_timeout)
        self._buffer = LineBuffer(home.limits)
        self._request: Deferred[Reply] | None = None  # the one in progress
        self._pumping = False
        self._timer: IDelayedCall | None = None  # for silence
        self._tail_since: float | None = None  # when a line was begun that has no end yet

    # IConnection

    @property
    def closed(self) -> bool:
        return self._life.phase.closed

    @property
    def writable(self) -> bool:
        return not self._life.blocked and not self._life.phase.closed

    def send_event(self, body: Mapping[str, object]) -> None:
        if not self._life.phase.closed:
            self._transport.write(encode(body))

    def send_line(self, line: bytes) -> None:
        if not self._life.phase.closed:
            self._transport.write(line)

    def vouch(self) -> None:
        self._entry.vouch()

    def close(self) -> None:
        self._life.finish()
        self._pump()

    # IProtocol

    def makeConnection(self, transport: ITransport) -> None:
        self._transport = self._life.begin(transport, self)
        self.peer_host = sockets.host_of(self._transport.getPeer())
        self.local_host = sockets.host_of(self._transport.getHost())
        self.connectionMade()

    def connectionMade(self) -> None:
        self._home.came(self)
        self._entry.watch(self._make_room)

    def dataReceived(self, data: bytes) -> None:
        if self._life.phase.closed:
            return
        if self._buffer.add(data):
            self._tail_since = None
        self._pump()
        self._watch_tail()

    def connectionLost(self, reason: Failure) -> None:
        self._life.lost()
        self._stop_watching()
        if self._request is not None:
            self._request.cancel()
        self._entry.leave()
        self._home.lost(self)

    # IHalfCloseableProtocol

    def readConnectionLost(self) -> None:
        self._life.input_ended()
        self._stop_watching()
        self._end_tail()

    def writeConnectionLost(self) -> None:
        self._life.output_ended(self._transport.loseConnection)

    # IPushProducer: the transport's word on output

    def pauseProducing(self) -> None:
        if self._life.block():
            self._steer()

    def resumeProducing(self) -> None:
        if self._life.unblock():
            self._home.touch(self)
            self._pump()
            if self.writable and self.on_writable is not None:
                self.on_writable()

    def stopProducing(self) -> None:
        """Nothing: connectionLost follows."""

    # Reading

    @property
    def is_idle(self) -> bool:
        """Whether only the peer can bring this connection on."""
        return self._request is None and not self.persistent and not self._life.blocked

    def _steer(self) -> None:
        """Read on or stop reading, as is right now."""
        life = self._life
        if life.blocked or self._buffer.is_full:
            if life.stop_reading():
                self._stop_watching()
        elif life.input.paused and not self._buffer.waiting and life.read_on():
            self._watch_tail()

    def _watch_tail(self) -> None:
        """Take what has no line end for a request: at once if nothing can be added to it, else if
        silence follows. What goes on and on is not waited for.

        Only while the server listens is silence the peer's.
        """
        self._stop_timer()
        if not self._life.input.reading or not self._buffer.has_tail:
            self._tail_since = None
            return
        if self._tail_is_whole():
            self._end_tail()
            return
        now, limits = self._home.clock.seconds(), self._home.limits
        if self._tail_since is None:
            self._tail_since = now
        patience = max(limits.line_timeout, limits.unterminated_timeout)
        left = self._tail_since + patience - now
        if left <= 0:
            self._line_is_late()
        elif left < limits.unterminated_timeout:
            self._timer = self._home.clock.callLater(left, self._line_is_late)
        else:
            self._timer = self._home.clock.callLater(limits.unterminated_timeout, self._look_again)

    def _look_again(self) -> None:
        # A reactor that was busy finds this timer due before it looks at its sockets, and there
        # the rest of the line may have been waiting in time.
        self._timer = self._home.clock.callLater(0, self._silence)

    def _silence(self) -> None:
        self._timer = None
        self._end_tail()

    def _line_is_late(self) -> None:
        self._timer = None
        if self._request is None and not self._buffer.waiting:
            self.time_out()
        else:
            self._timer = self._home.clock.callLater(WAIT_FOR_OUR_OWN, self._line_is_late)

    def _tail_is_whole(self) -> bool:
        tail = self._buffer.tail(_WHOLE_AT_MOST)
        try:
            return self._home.handler.is_whole(tail.decode())
        except UnicodeDecodeError:
            return False

    def _end_tail(self) -> None:
        self._tail_since = None
        self._buffer.end_tail()
        self._pump()

    # Requests, one at a time

    def _pump(self) -> None:
        """Begin what can be begun, then see what is to happen with the connection."""
        life = self._life
        if self._pumping or life.phase.closed:
            return
        self._pumping = True
        asked = False
        for _ in range(self._home.limits.max_pipelined):
            if self._request is not None or life.blocked or not life.phase.begins:
                break
            line = self._buffer.take()
            if line is None:
                break
            asked = self._begin(line) or asked
        else:
            # Requests that are answered at once must not keep other connections waiting.
            self._home.clock.callLater(0 if asked else PAUSE, self._pump)
        self._pumping = False
        done = life.input.ended and not self._buffer.waiting
        if self._request is None and (done or not life.phase.begins):
            self._end()
        else:
            self._steer()

    def _go_on(self) -> None:
        if not self._life.phase.closed:
            self._home.touch(self)
            self._pump()

    def _begin(self, line: bytes) -> bool:
        """Whether it is anything but blank."""
        if len(line) > self._home.limits.max_line:
            self._answer(TOO_LONG)
            return True
        try:
            text = line.decode()
        except UnicodeDecodeError:
            self._handle(InvalidUTF8())
            return True
        if not text.strip(" "):
            return False
        self._home.touch(self)
        if not self._asked:
            self._asked = True
            self._entry.has_asked()
            self._home.has_asked(self)
        self._handle(text)
        return True

    def _handle(self, request: str | InvalidUTF8) -> None:
        handler = self._home.handler
        try:
            if isinstance(request, str):
                answer = handler.handle(request, self)
            else:
                answer = handler.refuse(request, self)
        except Exception:
            self._fail(Failure())
            return
        # Reply first: Deferred is an abstract class, and to ask one takes 0.2 µs.
        if isinstance(answer, Reply) or not isinstance(answer, Deferred):
            self._settle(answer)
        else:
            self._request = answer
            answer.addBoth(self._answered)

    def _answered(self, answer: Reply | Failure) -> None:
        """The request in progress has come to its end."""
        self._settle(answer)
        self._request = None
        self._go_on()

    def _settle(self, answer: Reply | Failure) -> None:
        try:
            if isinstance(answer, Failure):
                self._fail(answer)
            else:
                self._answer(answer)
        except Exception:
            self._fail(Failure())  # a reply that cannot be sent

    def _answer(self, reply: Reply) -> None:
        if self._life.phase.closed:
            return
        self._transport.write(encode(reply.body))
        if reply.close:
            self._life.finish()
        if reply.after is not None:
            try:
                reply.after()
            except Exception:
                # The reply has gone: a bug in what follows is nobody's answer.
                _log.failure("What was to follow a reply failed")

    def _fail(self, failure: Failure) -> None:
        if self._life.phase.closed and isinstance(failure.value, CancelledError):
            return
        reference = secrets.token_hex(4)
        _log.failure("Internal error {reference}", failure=failure, reference=reference)
        self._answer(
            Reply(
                {
                    "status": 1,
                    "message": f"Internal error {reference}",
                    "code": "internal-error",
                }
            )
        )

    # Endings

    def time_out(self) -> None:
        """What was due has not come: say so, and close."""
        tell("request", "timed-out", address=self.peer_host)
        self._answer(refusal(RequestTimedOut()))
        self.close()

    def _make_room(self) -> None:
        """Somebody else needs this place: say so, and close without waiting for the peer. It has
        asked nothing, so there is nothing unread that would keep it from reading this."""
        self._answer(refusal(TooManyConnections()))
        self._stop_watching()
        self._life.leave()

    def _end(self) -> None:
        self._stop_watching()
        self._buffer.clear()
        self._life.close()

    def abort(self) -> None:
        """Close at once; what is not sent yet is lost."""
        self._life.abort()

    def _stop_watching(self) -> None:
        self._tail_since = None
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
