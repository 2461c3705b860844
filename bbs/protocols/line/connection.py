"""Connections of the line protocol, and the factory that makes and ends them.

A connection cuts its input into lines, has its requests answered one at a time and in order,
decides when to read on, and closes so that the peer can read all that was written.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TypeVar

from twisted.internet import interfaces
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.core import audit
from bbs.core.errors import Refusal, RequestTimedOut, TooManyConnections
from bbs.core.values import IDoor, IEntry
from bbs.protocols import connection_state
from bbs.protocols.line.interfaces import IConnection, IRequestHandler, LineLimits, Reply, encode
from bbs.protocols.telnet import IAC, TelnetReader

K = TypeVar("K")

_LONGEST_TAIL = 1024  # bytes of an unfinished line that the handler checks: each piece copies it

PAUSE = 0.1  # s after a turn of blank lines, which cost nothing and so have no other limit
OWN_DELAY = 1.0  # s between checks of a late line, while requests before it are not answered

# Timeouts in one turn of the reactor: thousands may expire at one moment, and at some 50 µs each
# they would keep all others waiting.
AT_ONCE = 200

_log = Logger()


class LineTooLong(Refusal):
    """A line is longer than `max_line`."""

    text = "Line too long"


class InvalidUTF8(Refusal):
    """A line is not UTF-8."""

    text = "Invalid UTF-8"
    code = "invalid-utf-8"


def refusal(error: Refusal, *, close: bool = False) -> Reply:
    """The reply that refuses a request with `error`."""
    return Reply({"status": 1, "message": error.message, "code": error.code}, close=close)


_TOO_MANY = encode(refusal(TooManyConnections()).body)


class LineFactory(Factory):
    """Makes the connections, ends the idle ones, and all of them when the service stops.

    :param door: decides who is let in; by default everybody.
    """

    noisy = False

    def __init__(
        self,
        reactor: interfaces.IReactorTime,
        handler: IRequestHandler,
        limits: LineLimits,
        door: IDoor | None = None,
    ) -> None:
        self.clock = reactor
        self.handler = handler
        self.limits = limits
        # All connections, the longest inactive first, and those without a request so far.
        self.connections = IdleTimeouts(reactor, limits.idle_timeout, self._close_if_idle)
        self.newcomers = IdleTimeouts(reactor, limits.first_request, LineConnection.time_out)
        self._door = door or connection_state.OpenDoor()
        self._turned_away: set[connection_state.RejectedConnection] = set()
        self._stopping = False
        self._late: list[LineConnection] = []  # with calls for the next turn of the reactor
        self._departure = connection_state.ConnectionShutdown(reactor, self.connections)

    def buildProtocol(self, address: interfaces.IAddress) -> interfaces.IProtocol | None:  # type: ignore[override]
        """Return a new connection, or one that tells the peer that there are too many; None after
        `close_all`, and if there is room for neither."""
        if self._stopping:
            return None
        entry = self._door.enter(connection_state.host_of(address))
        if entry is not None:
            return LineConnection(self, entry)
        if self._door.is_jammed:
            return None
        return connection_state.RejectedConnection(self.clock, _TOO_MANY, self._turned_away)

    def close_all(self, grace: float = 2.0) -> Deferred[None]:
        """Take no new connections and close all others: after the requests in progress are
        answered, but at the latest after `grace` seconds. Fires when all are gone."""
        self._stopping = True
        for turned_away in [*self._turned_away]:
            turned_away.abort()
        for connection in [*self.connections]:
            connection.close()
        return self._departure.wait(grace)

    def lost(self, connection: LineConnection) -> None:
        self.newcomers.forget(connection)
        self.connections.forget(connection)
        try:
            self.handler.connection_lost(connection)
        except Exception:
            # A bug there must not prevent the end of other connections.
            _log.failure("The end of a connection was not dealt with")
        if not self.connections:
            self._departure.all_gone()

    def send_following_soon(self, connection: LineConnection) -> None:
        """Call `send_following` of `connection` in the next turn of the reactor."""
        if not self._late:
            self.clock.callLater(0, self._send_late)
        self._late.append(connection)

    def _send_late(self) -> None:
        late, self._late = self._late, []
        for connection in late:
            connection.send_following()

    def _close_if_idle(self, connection: LineConnection) -> None:
        self.connections.renew(connection)
        if connection.is_idle:
            connection.close()


@implementer(connection_state.IAbortable, IConnection)
@implementer(interfaces.IProtocol, interfaces.IHalfCloseableProtocol, interfaces.IPushProducer)
class LineConnection:
    """Reads requests, has them answered in order, and writes replies and events.

    Thousands of connections are silent most of the time. Therefore this class has slots (and not
    the base class Protocol), and a timer only while something happens.
    """

    __slots__ = (
        *("_asked", "_buffer", "_entry", "_factory", "_following", "_pumping", "_request"),
        *("_state", "_tail_since", "_timer", "_transport"),
        *("local_host", "on_writable", "peer_host", "persistent"),
    )

    def __init__(self, factory: LineFactory, entry: IEntry) -> None:
        self.persistent = False
        self.on_writable: Callable[[], None] | None = None
        self._factory = factory
        self._entry = entry
        self._asked = False
        self._state = connection_state.ConnectionState(factory.clock, factory.limits.write_timeout)
        self._buffer = LineBuffer(factory.limits)
        self._request: Deferred[Reply] | None = None  # the one in progress
        self._following: tuple[Callable[[], object], ...] = ()  # calls behind its reply
        self._pumping = False
        self._timer: interfaces.IDelayedCall | None = None  # for silence
        self._tail_since: float | None = None  # when a line without an end began

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

    def after_reply(self, send: Callable[[], object]) -> None:
        if not self._following:
            self._factory.send_following_soon(self)
        self._following = (*self._following, send)

    def vouch(self) -> None:
        self._entry.vouch()

    def has_session(self) -> None:
        if not self._entry.has_right:
            self._entry.has_session()

    def close(self) -> None:
        self._state.finish()
        self._pump()

    # IProtocol

    def makeConnection(self, transport: interfaces.ITransport) -> None:
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
        # Nearly always all is taken, and nothing waits for the rest of a line.
        if self._buffer.bytes or self._timer is not None:
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

    # IPushProducer: the transport controls output

    def pauseProducing(self) -> None:
        if self._state.block():
            self._control_reading()

    def resumeProducing(self) -> None:
        if self._state.unblock():
            self._factory.connections.renew(self)
            self._pump()
            if self.writable and self.on_writable is not None:
                self.on_writable()

    def stopProducing(self) -> None:
        """Wait for connectionLost."""

    # Reading

    @property
    def is_idle(self) -> bool:
        """Whether the connection waits for its peer alone."""
        return self._request is None and not self.persistent and not self._state.blocked

    def _control_reading(self) -> None:
        """Read on or stop reading, as the state demands."""
        state = self._state
        if state.blocked or self._buffer.is_full:
            if state.stop_reading():
                self._stop_watching()
        elif state.input.paused and not self._buffer.waiting and state.read_on():
            self._watch_tail()

    def _watch_tail(self) -> None:
        """Take a line without an end as a request: at once if it is complete, else after silence. A
        line that goes on and on times out. Silence counts only while the server reads."""
        if self._timer is not None:
            self._stop_timer()
        if not self._state.input.reading or not self._buffer.has_tail:
            self._tail_since = None
            return
        if self._is_tail_complete():
            self._end_tail()
            return
        now, limits = self._factory.clock.seconds(), self._factory.limits
        if self._tail_since is None:
            self._tail_since = now
        silence, call_later = limits.unterminated_timeout, self._factory.clock.callLater
        left = self._tail_since + max(limits.line_timeout, silence) - now
        if left <= 0:
            self._time_out_line()
        elif left < silence:
            self._timer = call_later(left, self._time_out_line)
        else:
            self._timer = call_later(silence, self._end_tail_soon)

    def _end_tail_soon(self) -> None:
        # A busy reactor runs this timer before it reads its sockets, and there the rest of the line
        # may have come in time.
        self._timer = self._factory.clock.callLater(0, self._end_tail)

    def _time_out_line(self) -> None:
        self._timer = None
        if self._request is None and not self._buffer.waiting:
            self.time_out()
        else:
            self._timer = self._factory.clock.callLater(OWN_DELAY, self._time_out_line)

    def _is_tail_complete(self) -> bool:
        tail = self._buffer.tail(_LONGEST_TAIL)
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
        """Begin the requests that can begin, then read on, stop reading, or close."""
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
            # Requests that are answered at once must not delay other connections.
            self._factory.clock.callLater(0 if asked else PAUSE, self._pump)
        self._pumping = False
        done = state.input.ended and not self._buffer.waiting
        if self._request is None and (done or not state.phase.begins):
            self._stop_watching()
            self._buffer.clear()
            state.close()
        elif self._buffer.bytes or state.blocked or state.input.paused:
            self._control_reading()

    def _begin(self, line: bytes) -> bool:
        """Begin the request in `line`; False if the line is blank."""
        if len(line) > self._factory.limits.max_line:
            self._answer(refusal(LineTooLong(), close=True))
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
        if self._entry.end is not None:
            self._entry.may_give_way()
        self._handle(text)
        return True

    def _handle(self, request: str | InvalidUTF8) -> None:
        """Have the handler answer `request`, or refuse a malformed one."""
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
            self._entry.is_busy = True
            answer.addBoth(self._answered)

    def _answered(self, answer: Reply | Failure) -> None:
        """Send the answer to the request in progress, and begin the next."""
        if isinstance(answer, Failure):
            self._fail(answer)
        else:
            self._answer(answer)
        self._request = None
        self._entry.is_busy = False
        if not self._state.phase.closed:
            self._factory.connections.renew(self)
            self._pump()

    def _answer(self, reply: Reply) -> None:
        if self._state.phase.closed:
            return
        try:
            line = reply.line
        except Exception:
            self._fail(Failure())
            return
        self._transport.write(line)
        if reply.close:
            self._state.finish()
        if reply.after is not None:
            self._following = (*self._following, reply.after)
        if self._following:
            self.send_following()

    def send_following(self) -> None:
        """Make the calls that follow a reply, or that did not come in this turn of the reactor."""
        following, self._following = self._following, ()
        for call in following:
            try:
                call()
            except Exception:
                # The reply is sent, so the peer hears nothing of this bug.
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
        """Give this place to a newcomer: tell the peer, and close without waiting for it. Usually
        the peer has sent nothing that is unread, so it reads this."""
        self._answer(refusal(TooManyConnections()))
        self._stop_watching()
        self._state.leave()

    def abort(self) -> None:
        self._state.abort()

    def _stop_watching(self) -> None:
        self._tail_since = None
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class LineBuffer:
    """The input of a connection that is not taken yet.

    Lines are cut when their turn comes, so waiting lines cost only their bytes. These are at most a
    longest line and one read, if the caller adds nothing while `is_full`.

    :ivar bytes: what is not taken yet.
    """

    __slots__ = ("_limits", "_telnet", "bytes", "waiting")

    def __init__(self, limits: LineLimits) -> None:
        self.waiting = 0  # complete lines
        self._limits = limits
        self.bytes = bytearray()
        self._telnet: TelnetReader | None = None  # most connections never need one

    @property
    def is_full(self) -> bool:
        """Whether no more should be read for now."""
        # A line of max_line bytes may have a CR behind it whose LF is yet to come.
        too_long = len(self.bytes) > self._limits.max_line + 1
        return too_long or self.waiting >= self._limits.max_pipelined

    @property
    def has_tail(self) -> bool:
        """Whether the last line has no end yet."""
        return bool(self.bytes) and not self.bytes.endswith(b"\n")

    def tail(self, most: int) -> bytes:
        """The last line so far, if it has no end; nothing if it has more than `most` bytes."""
        begin = self.bytes.rfind(b"\n") + 1
        return bytes(self.bytes[begin:]) if len(self.bytes) - begin <= most else b""

    def add(self, data: bytes) -> bool:
        """Add the peer's next bytes, without telnet's sequences; whether a line ends in them."""
        if self._telnet is None and IAC in data:
            self._telnet = TelnetReader(0)
        if self._telnet is not None:
            data = self._telnet.text(data)
        self.bytes += data
        ends = data.count(b"\n")
        self.waiting += ends
        return ends > 0

    def end_tail(self) -> None:
        """End the last line, if it has no end."""
        if self.has_tail:
            self.bytes += b"\n"
            self.waiting += 1

    def take(self) -> bytes | None:
        """Cut off the next line, without its end; None if it is not complete. A line that is longer
        than max_line is returned without its end, and stays: nothing after it will be read."""
        if not self.bytes:
            return None
        if self.waiting:
            end = self.bytes.index(b"\n")
            line = bytes(self.bytes[:end]).removesuffix(b"\r")
            del self.bytes[: end + 1]
            self.waiting -= 1
            return line
        return bytes(self.bytes) if self.is_full else None

    def clear(self) -> None:
        self.bytes.clear()
        self.waiting = 0


class IdleTimeouts(OrderedDict[K, float]):
    """The deadlines of keys, each `period` seconds after its last renewal; then the key is dropped
    and passed to `expired`. One timer is enough for thousands of keys, which expire in order."""

    def __init__(
        self, clock: interfaces.IReactorTime, period: float, expired: Callable[[K], None]
    ) -> None:
        super().__init__()
        self._clock = clock
        self._period = period
        self._expired = expired
        self._timer: interfaces.IDelayedCall | None = None

    def renew(self, key: K) -> None:
        """Let the period of `key` begin now."""
        self[key] = self._clock.seconds() + self._period
        self.move_to_end(key)
        if self._timer is None:
            self._timer = self._clock.callLater(self._period, self._sweep)

    def forget(self, key: K) -> None:
        """Drop `key`, if it is here."""
        self.pop(key, None)
        if not self and self._timer is not None:
            if self._timer.active():  # Otherwise it fires just now.
                self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        for _ in range(AT_ONCE):
            if not self or self._first_deadline() > self._clock.seconds():
                break
            key, _deadline = self.popitem(last=False)
            self._expired(key)
        # This timer has fired; `expired` may have set another.
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self:
            left = max(0.0, self._first_deadline() - self._clock.seconds())
            self._timer = self._clock.callLater(left, self._sweep)

    def _first_deadline(self) -> float:
        return next(iter(self.values()))
