"""Connections of the line protocol, and the factory that makes and ends them.

A connection cuts what comes into lines, has its requests answered one at a time and in their order,
and decides when to read on. It closes in a way that lets the peer read all that was written.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    IReactorTime,
    ITransport,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.core import audit
from bbs.core.errors import RequestTimedOut, TooManyConnections
from bbs.core.values import IDoor, IEntry
from bbs.protocols import connection_state
from bbs.protocols.connection_state import (
    ConnectionShutdown,
    ConnectionState,
    IAbortable,
    OpenDoor,
    RejectedConnection,
)
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

K = TypeVar("K")

_WHOLE_AT_MOST = 1024
"""Bytes of a line without an end that its handler is asked about. A longer one that comes in small
pieces would be copied for each of them."""

PAUSE = 0.1
"""Seconds in which nothing is taken from a peer that has sent as many blank lines as are taken in a
turn. Blank lines are ignored and cost nothing, so nothing else bounds them."""

WAIT_FOR_OUR_OWN = 1.0
"""Seconds after which a late line is looked at again, while the server itself is behind with what
came before it."""

AT_ONCE = 200
"""Timeouts that are carried out in one turn of the reactor. Thousands may be due at one moment,
and some 50 µs each would keep everybody else waiting."""

_TOO_MANY = encode(refusal(TooManyConnections()).body)

_log = Logger()


class LineFactory(Factory):
    """Makes the connections, ends the idle ones, and all of them when the service stops.

    :param door: decides who is let in; everybody, unless it is given.
    """

    noisy = False

    def __init__(
        self,
        reactor: IReactorTime,
        handler: IRequestHandler,
        limits: LineLimits,
        door: IDoor | None = None,
    ) -> None:
        self.clock = reactor
        self.handler = handler
        self.limits = limits
        self.connections = IdleTimeouts(reactor, limits.idle_timeout, self._look_whether_idle)
        """All of them, in the order in which something last happened on them."""
        self.newcomers = IdleTimeouts(reactor, limits.first_request, LineConnection.time_out)
        """Those that have asked nothing yet, in the order in which they came."""
        self._door = door or OpenDoor()
        self._turned_away: set[RejectedConnection] = set()
        self._stopping = False
        self._departure = ConnectionShutdown(reactor, self.connections)

    def buildProtocol(self, address: IAddress) -> IProtocol | None:  # type: ignore[override]
        """Return a new connection, or what tells the peer that there are too many; None once
        `close_all` was called, and where there is room for neither."""
        if self._stopping:
            return None
        entry = self._door.enter(connection_state.host_of(address))
        if entry is not None:
            return LineConnection(self, entry)
        return (
            None
            if self._door.is_jammed
            else RejectedConnection(self.clock, _TOO_MANY, self._turned_away)
        )

    def close_all(self, grace: float = 2.0) -> Deferred[None]:
        """Take no new connections and close those there are.

        Requests in progress are answered first; what is still open after `grace` seconds is
        aborted. Fires when all are gone.
        """
        self._stopping = True
        for turned_away in [*self._turned_away]:
            turned_away.abort()
        for connection in [*self.connections]:
            connection.close()
        return self._departure.wait(grace)

    def lost(self, connection: LineConnection) -> None:
        """Forget `connection`."""
        self.newcomers.forget(connection)
        self.connections.forget(connection)
        try:
            self.handler.connection_lost(connection)
        except Exception:
            # A bug there must not keep the others from being closed.
            _log.failure("The end of a connection was not dealt with")
        if not self.connections:
            self._departure.all_gone()

    def _look_whether_idle(self, connection: LineConnection) -> None:
        self.connections.renew(connection)
        if connection.is_idle:
            connection.close()


@implementer(IAbortable, IConnection, IProtocol, IHalfCloseableProtocol, IPushProducer)
class LineConnection:
    """Reads requests, has them answered in order, and writes replies and events.

    Thousands of these are silent most of the time. Hence the slots (and no Protocol for a base
    class), and a timer only while something is going on.
    """

    __slots__ = (
        "_asked",
        "_buffer",
        "_entry",
        "_factory",
        "_pumping",
        "_request",
        "_state",
        "_tail_since",
        "_timer",
        "_transport",
        "local_host",
        "on_writable",
        "peer_host",
        "persistent",
    )

    def __init__(self, factory: LineFactory, entry: IEntry) -> None:
        self.persistent = False
        self.on_writable: Callable[[], None] | None = None
        self._factory = factory
        self._entry = entry
        self._asked = False
        self._state = ConnectionState(factory.clock, factory.limits.write_timeout)
        self._buffer = LineBuffer(factory.limits)
        self._request: Deferred[Reply] | None = None  # the one in progress
        self._pumping = False
        self._timer: IDelayedCall | None = None  # for silence
        self._tail_since: float | None = None  # when a line was begun that has no end yet

    # IConnection

    @property
    def closed(self) -> bool:
        return self._state.phase.closed

    @property
    def writable(self) -> bool:
        return not self._state.blocked and not self._state.phase.closed

    def send_event(self, body: Mapping[str, object]) -> None:
        if not self._state.phase.closed:
            self._transport.write(encode(body))

    def send_line(self, line: bytes) -> None:
        if not self._state.phase.closed:
            self._transport.write(line)

    def vouch(self) -> None:
        self._entry.vouch()

    def close(self) -> None:
        self._state.finish()
        self._pump()

    # IProtocol

    def makeConnection(self, transport: ITransport) -> None:
        self._transport = self._state.begin(transport, self)
        self.peer_host = connection_state.host_of(self._transport.getPeer())
        self.local_host = connection_state.host_of(self._transport.getHost())
        self.connectionMade()

    def connectionMade(self) -> None:
        self._factory.newcomers.renew(self)
        self._factory.connections.renew(self)
        self._entry.watch(self._make_room)

    def dataReceived(self, data: bytes) -> None:
        if self._state.phase.closed:
            return
        if self._buffer.add(data):
            self._tail_since = None
        self._pump()
        self._watch_tail()

    def connectionLost(self, reason: Failure) -> None:
        self._state.lost()
        self._stop_watching()
        if self._request is not None:
            self._request.cancel()
        self._entry.leave()
        self._factory.lost(self)

    # IHalfCloseableProtocol

    def readConnectionLost(self) -> None:
        self._state.input_ended()
        self._stop_watching()
        self._end_tail()

    def writeConnectionLost(self) -> None:
        self._state.output_ended(self._transport.loseConnection)

    # IPushProducer: the transport's word on output

    def pauseProducing(self) -> None:
        if self._state.block():
            self._steer()

    def resumeProducing(self) -> None:
        if self._state.unblock():
            self._factory.connections.renew(self)
            self._pump()
            if self.writable and self.on_writable is not None:
                self.on_writable()

    def stopProducing(self) -> None:
        """Nothing: connectionLost follows."""

    # Reading

    @property
    def is_idle(self) -> bool:
        """Whether only the peer can bring this connection on."""
        return self._request is None and not self.persistent and not self._state.blocked

    def _steer(self) -> None:
        """Read on or stop reading, as is right now."""
        state = self._state
        if state.blocked or self._buffer.is_full:
            if state.stop_reading():
                self._stop_watching()
        elif state.input.paused and not self._buffer.waiting and state.read_on():
            self._watch_tail()

    def _watch_tail(self) -> None:
        """Take a line without an end for a request: at once if nothing can be added to it, else
        when silence follows. A line that goes on and on times out.

        Silence counts only while the server reads.
        """
        if self._timer is not None:
            self._stop_timer()
        if not self._state.input.reading or not self._buffer.has_tail:
            self._tail_since = None
            return
        if self._tail_is_whole():
            self._end_tail()
            return
        now, limits = self._factory.clock.seconds(), self._factory.limits
        if self._tail_since is None:
            self._tail_since = now
        patience = max(limits.line_timeout, limits.unterminated_timeout)
        left = self._tail_since + patience - now
        if left <= 0:
            self._line_is_late()
        elif left < limits.unterminated_timeout:
            self._timer = self._factory.clock.callLater(left, self._line_is_late)
        else:
            self._timer = self._factory.clock.callLater(
                limits.unterminated_timeout, self._look_again
            )

    def _look_again(self) -> None:
        # A reactor that was busy finds this timer due before it looks at its sockets, and there
        # the rest of the line may have been waiting in time.
        self._timer = self._factory.clock.callLater(0, self._end_tail)

    def _line_is_late(self) -> None:
        self._timer = None
        if self._request is None and not self._buffer.waiting:
            self.time_out()
        else:
            self._timer = self._factory.clock.callLater(WAIT_FOR_OUR_OWN, self._line_is_late)

    def _tail_is_whole(self) -> bool:
        tail = self._buffer.tail(_WHOLE_AT_MOST)
        try:
            return self._factory.handler.is_whole(tail.decode())
        except UnicodeDecodeError:
            return False

    def _end_tail(self) -> None:
        self._timer = self._tail_since = None
        self._buffer.end_tail()
        self._pump()

    # Requests, one at a time

    def _pump(self) -> None:
        """Begin what can be begun, then see what is to happen with the connection."""
        state = self._state
        if self._pumping or state.phase.closed:
            return
        self._pumping = True
        asked = False
        for _ in range(self._factory.limits.max_pipelined):
            if self._request is not None or state.blocked or not state.phase.begins:
                break
            line = self._buffer.take()
            if line is None:
                break
            asked = self._begin(line) or asked
        else:
            # Requests that are answered at once must not keep other connections waiting.
            self._factory.clock.callLater(0 if asked else PAUSE, self._pump)
        self._pumping = False
        done = state.input.ended and not self._buffer.waiting
        if self._request is None and (done or not state.phase.begins):
            self._end()
        else:
            self._steer()

    def _begin(self, line: bytes) -> bool:
        """Begin the request in `line`; False if the line is blank."""
        if len(line) > self._factory.limits.max_line:
            self._answer(TOO_LONG)
            return True
        try:
            text = line.decode()
        except UnicodeDecodeError:
            self._handle(InvalidUTF8())
            return True
        if not text.strip(" "):
            return False
        self._factory.connections.renew(self)
        if not self._asked:
            self._asked = True
            self._entry.has_asked()
            self._factory.newcomers.forget(self)
        self._handle(text)
        return True

    def _handle(self, request: str | InvalidUTF8) -> None:
        """Have the handler answer `request`, or refuse what is none."""
        handler = self._factory.handler
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
            self._answer(answer)
        else:
            self._request = answer
            answer.addBoth(self._answered)

    def _answered(self, answer: Reply | Failure) -> None:
        """Send the answer to the request in progress, and begin the next."""
        if isinstance(answer, Failure):
            self._fail(answer)
        else:
            self._answer(answer)
        self._request = None
        if not self._state.phase.closed:
            self._factory.connections.renew(self)
            self._pump()

    def _answer(self, reply: Reply) -> None:
        if self._state.phase.closed:
            return
        try:
            line = encode(reply.body)
        except Exception:
            self._fail(Failure())
            return
        self._transport.write(line)
        if reply.close:
            self._state.finish()
        if reply.after is not None:
            try:
                reply.after()
            except Exception:
                # The reply has gone: a bug behind it is not to be answered.
                _log.failure("What was to follow a reply failed")

    def _fail(self, failure: Failure) -> None:
        if self._state.phase.closed and isinstance(failure.value, CancelledError):
            return
        reference = secrets.token_hex(4)
        _log.failure("Internal error {reference}", failure=failure, reference=reference)
        message = f"Internal error {reference}"
        self._answer(Reply({"status": 1, "message": message, "code": "internal-error"}))

    # Endings

    def time_out(self) -> None:
        """Tell the peer that its line or its first request is late, and close."""
        audit.record("request", "timed-out", address=self.peer_host)
        self._answer(refusal(RequestTimedOut()))
        self.close()

    def _make_room(self) -> None:
        """Give this place to a newcomer: tell the peer, and close without waiting for it. The peer
        has asked nothing, so nothing is unread that would keep it from reading this."""
        self._answer(refusal(TooManyConnections()))
        self._stop_watching()
        self._state.leave()

    def _end(self) -> None:
        self._stop_watching()
        self._buffer.clear()
        self._state.close()

    def abort(self) -> None:
        """Close at once; what is not sent yet is lost."""
        self._state.abort()

    def _stop_watching(self) -> None:
        self._tail_since = None
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class LineBuffer:
    """Holds what one connection has received and nobody has taken yet.

    Lines stay uncut until their turn comes, so waiting lines cost no more than their bytes. Those
    are bounded if the caller adds nothing while `is_full`: by a longest line and one read.
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
        """Return the last line so far, if it has no end; nothing if it has more than `most`
        bytes."""
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
        """End the last line, if it has no end."""
        if self.has_tail:
            self._bytes += b"\n"
            self.waiting += 1

    def take(self) -> bytes | None:
        """Cut off the next line, without its end; None if there is none yet.

        A line may be longer than max_line. One without an end is returned as soon as that is
        certain, and stays in the buffer: nothing behind it is to be read.
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


class IdleTimeouts(Generic[K]):
    """Calls `over` with each key whose time is over, and forgets it. One timer does for thousands,
    as all have the same `period` (seconds), and so are due in the order of their renewal."""

    def __init__(self, clock: IReactorTime, period: float, over: Callable[[K], None]) -> None:
        self._clock = clock
        self._period = period
        self._over = over
        self._due: OrderedDict[K, float] = OrderedDict()
        self._timer: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._due)

    def __iter__(self) -> Iterator[K]:
        return iter(self._due)

    def __contains__(self, key: object) -> bool:
        return key in self._due

    def renew(self, key: K) -> None:
        """Give `key` the whole period from now on."""
        self._due[key] = self._clock.seconds() + self._period
        self._due.move_to_end(key)
        if self._timer is None:
            self._timer = self._clock.callLater(self._period, self._sweep)

    def forget(self, key: K) -> None:
        """Drop `key`, if it is here."""
        self._due.pop(key, None)
        if not self._due and self._timer is not None:
            if self._timer.active():  # Else it fires just now.
                self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        for _ in range(AT_ONCE):
            if not self._is_due(self._clock.seconds()):
                break
            key, _due = self._due.popitem(last=False)
            self._over(key)
        # This timer has fired; what `over` did may have set another.
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self._due:
            first = next(iter(self._due.values()))
            left = max(0.0, first - self._clock.seconds())
            self._timer = self._clock.callLater(left, self._sweep)

    def _is_due(self, now: float) -> bool:
        return bool(self._due) and next(iter(self._due.values())) <= now
