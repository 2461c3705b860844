"""Connections to servers: requests out, replies in their order, events as they come.

A `ConnectionPool` opens them, keeps one to each server for the requests that are answered at once,
and opens others for those that are not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from twisted.internet.abstract import isIPAddress
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, fail, gatherResults
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionClosed,
    ConnectionRefusedError,
    DNSLookupError,
)
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IReactorTime,
    ISSLTransport,
    IStreamClientEndpoint,
    ITCPTransport,
    IWriteDescriptor,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.client.errors import (
    BadReply,
    ClientError,
    Lost,
    NotSecure,
    NotTrusted,
    TurnedAway,
    Unreachable,
)
from bbs.client.replies import ServiceReply, read_line
from bbs.core import tracing
from bbs.core.addresses import Address
from bbs.core.errors import TooManyConnections
from bbs.protocols.commands import UnknownCommand

MAX_REPLY = 64 * 1024 * 1024
"""Bytes in the longest line taken from a server; a long list may well be some megabytes."""

CONNECT_TIMEOUT = 10.0
"""Seconds until a server that does not answer at all counts as unreachable."""

GREETING_DEADLINE = 10.0
"""Seconds until a server must have answered the first request on a new connection."""

HANDSHAKE_DEADLINE = 8.0
"""Seconds until TLS must have been agreed on with a server."""

_OF_NO_TLS = {"wrong version number", "packet length too long", "record layer failure"}
"""OpenSSL's words for bytes that are not a record of TLS."""

MOST_HEARD = 60
"""Bytes that are remembered of a malformed line."""

Event = Mapping[str, object]


def _never() -> bool:
    return False


_EVENT = re.compile(rb'\s*\{\s*"event"\s*:')
"""How events begin. One that is broken is lost alone; a broken line of another kind may have been a
reply, and then those behind it could not be told apart."""


@implementer(IHandshakeListener)
class ServerConnection(Protocol):
    """One connection to a server.

    Requests may be asked without waiting; their replies come in their order. One that is not
    answered in time ends the connection, as the replies behind it could not be told apart.
    """

    transport: ITCPTransport | None = None
    max_reply = MAX_REPLY
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        address: Address,
        traced: Callable[[], bool] = _never,
        reply_class: type[ServiceReply] = ServiceReply,
    ) -> None:
        self.address = address
        self._reply_class = reply_class
        self._traced = traced
        self.usable = False
        self.was_silent = False
        """Whether it ended because it did not answer in time."""
        self.heard = b""
        """The beginning of a malformed line that the server sent, once the connection is over."""
        self.on_event: Callable[[Event], None] | None = None
        self._handshake: Deferred[None] | None = None
        self._clock = clock
        self._parts: list[bytes] = []
        self._size = 0
        # No deque: an empty one takes ten times the memory, and there is seldom more than one.
        self._asked: list[Deferred[ServiceReply]] = []
        self._watchers: list[Deferred[None]] = []
        self._reason = f"the connection to {address} was lost"
        self._turned_away: ServiceReply | None = None
        self._flush: Callable[[], object] | None = None

    def ask(self, request: bytes, deadline: float) -> Deferred[ServiceReply]:
        """Send a request (a line with its end); its reply is due within `deadline` seconds.

        Fails with `Unreachable` when the connection had ended before (nothing was sent), and with
        `Lost` when it ends before the reply; with `TurnedAway` where it was one too many, which
        servers say without being asked.
        """
        if not self.usable or self.transport is None:
            return fail(self._problem(Unreachable))
        first = not self._asked
        span = tracing.here()
        if span is not None and span.recorded and self._traced():
            request = self._say_trace(span.traceparent) + request
        asked: Deferred[ServiceReply] = Deferred()
        late = self._clock.callLater(deadline, self._late, deadline)
        self._asked.append(asked)
        self.transport.write(request)
        if self._flush is not None and first:
            self._flush()

        def answered(result: ServiceReply | Failure) -> ServiceReply | Failure:
            if late.active():
                late.cancel()
            return result

        return asked.addBoth(answered)

    def _say_trace(self, trace: str) -> bytes:
        """The line that names the trace of the next request (protocol.md, section 8); nobody awaits
        its reply."""

        def told(reply: ServiceReply) -> None:
            if reply.code == UnknownCommand.code:  # This server keeps none, as another does.
                self._traced = _never

        heard: Deferred[ServiceReply] = Deferred()
        heard.addCallbacks(told, lambda lost: None)
        self._asked.append(heard)
        return b"traceparent %s\n" % trace.encode()

    async def secured(self) -> None:
        """Wait until TLS is agreed on, where the connection is by TLS; or `NotSecure`."""
        if not ISSLTransport.providedBy(self.transport):
            return
        self._handshake = Deferred()
        try:
            await self._handshake.addTimeout(HANDSHAKE_DEADLINE, self._clock)
        except BaseException as problem:
            self._end("")  # It may have been whoever asked that was cancelled.
            if isinstance(problem, CancelledError) or not isinstance(problem, Exception):
                raise
            raise NotSecure(f"{self.address}{_why_not_secure(problem)}") from problem
        finally:
            self._handshake = None

    def when_ended(self) -> Deferred[None]:
        """Fires when the connection is over; may be cancelled."""
        watcher: Deferred[None] = Deferred(self._watchers.remove)
        if self.transport is None:
            watcher.callback(None)
        else:
            self._watchers.append(watcher)
        return watcher

    def close(self) -> None:
        """End the connection; no event comes any more."""
        self._end(f"the connection to {self.address} was closed", abort=bool(self._asked))

    def _late(self, deadline: float) -> None:
        self.was_silent = True
        self._end(f"{self.address} did not answer within {deadline:g} s")

    def _end(self, reason: str, abort: bool = True) -> None:
        self.on_event = None
        if self.usable and self.transport is not None:
            self.usable = False
            self._reason = reason
            if abort:
                self.transport.abortConnection()
            else:
                self.transport.loseConnection()

    def _problem(self, kind: type[ClientError]) -> ClientError:
        """The reason for a missing answer, as a failure of a kind unless there is a better one."""
        if self._turned_away is not None:
            return TurnedAway(self.address, self._turned_away)
        return kind(self._reason)

    # IHandshakeListener

    def handshakeCompleted(self) -> None:
        if self._handshake is not None and self.usable and not self._handshake.called:
            self._handshake.callback(None)

    # IProtocol

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.usable = True
        self.transport.setTcpKeepAlive(True)
        self.transport.setTcpNoDelay(True)
        secure = ISSLTransport.providedBy(self.transport)
        if not secure and IWriteDescriptor.providedBy(self.transport):
            # Else a request waits until the reactor has asked the system whether it can be sent,
            # which costs a round of the reactor. What this cannot send, or fails in, the reactor
            # sends or meets in its next round; and what is asked without waiting goes together.
            self._flush = self.transport.doWrite

    def dataReceived(self, data: bytes) -> None:
        # Only what is new is searched: a reply of megabytes comes in a thousand pieces.
        *ends, rest = data.split(b"\n")
        for end in ends:
            line = b"".join((*self._parts, end))
            self._parts, self._size = [], 0
            if len(line) > self.max_reply:
                return self._too_long()
            if not self._line_received(line):
                self.heard = line[:MOST_HEARD]
                return self._end(f"{self.address} sent what is not in the protocol")
        if rest:
            self._parts.append(rest)
            self._size += len(rest)
            if self._size > self.max_reply:
                self._too_long()
        return None

    def _too_long(self) -> None:
        self._parts, self._size = [], 0
        self._end(f"{self.address} sent more than {self.max_reply} bytes in one line")

    def _line_received(self, line: bytes) -> bool:
        """Pass a line on; False when it is neither an event nor the reply to anything."""
        try:
            received = read_line(line, self._reply_class)
        except ValueError:
            return _EVENT.match(line) is not None
        if not isinstance(received, ServiceReply):
            if self.on_event is not None:
                self._tell(self.on_event, received)
        elif received.code == TooManyConnections.code:
            # Requests that were asked meanwhile will have no answer.
            self._turned_away = received
            self._end(received.message or "")
        elif self._asked:
            self._asked.pop(0).callback(received)
        else:
            return False
        return True

    def _tell(self, on_event: Callable[[Event], None], event: Event) -> None:
        with self._log.failuresHandled("an event was not handled"):
            try:
                on_event(event)
            except BadReply as problem:
                # The server's mistake and not ours: nobody needs to see where it was noticed.
                self._log.info(
                    "an event of {address} was passed over: {problem}",
                    address=self.address,
                    problem=str(problem),
                )

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        connector = getattr(self.transport, "connector", None)
        if connector is not None:
            # Twisted has these two know each other for ever, which leaves them to the garbage
            # collector; and that holds everybody up where thousands end together.
            connector.transport = None
        self.heard = self.heard or b"".join(self._parts)[:MOST_HEARD]
        self.usable, self.transport, self._parts, self._flush = False, None, [], None
        if self._handshake is not None and not self._handshake.called:
            self._handshake.errback(reason)
        while self._asked:
            self._asked.pop(0).errback(self._problem(Lost))
        while self._watchers:
            self._watchers.pop().callback(None)


def endpoint_to(reactor: IReactorTime, address: Address) -> IStreamClientEndpoint:
    """The plain TCP endpoint of a server; only a host name is looked up."""
    host, port = address.host, address.port
    if isIPAddress(host):
        return TCP4ClientEndpoint(reactor, host, port, CONNECT_TIMEOUT)
    return HostnameEndpoint(reactor, host, port, CONNECT_TIMEOUT)


class _Factory(Factory):
    noisy = False

    def __init__(self, pool: ConnectionPool, address: Address) -> None:
        self._pool = pool
        self._address = address

    def buildProtocol(self, addr: IAddress | None) -> ServerConnection:
        return self._pool.connection(self._address)


class ConnectionPool:
    """All connections of one client.

    `endpoint` makes the client endpoint for an address: plain TCP, unless somebody wants another.
    `greetings` has by address the request that begins each connection there, if one does. `traced`
    says whether the service takes the contexts of traces. Replies are made of `reply_class`.
    """

    def __init__(
        self,
        clock: IReactorTime,
        endpoint: Callable[[Address], IStreamClientEndpoint],
        greetings: Mapping[Address, bytes] = MappingProxyType({}),
        traced: Callable[[], bool] = _never,
        reply_class: type[ServiceReply] = ServiceReply,
    ) -> None:
        self._traced = traced
        self._reply_class = reply_class
        self._clock = clock
        self._endpoint = endpoint
        self._greetings = greetings
        self._kept: dict[Address, ServerConnection] = {}
        self._opening: dict[Address, list[Deferred[ServerConnection]]] = {}
        self._open: set[ServerConnection] = set()
        self._closed = False

    def connection(self, address: Address) -> ServerConnection:
        """The protocol of a new connection to a server."""
        return ServerConnection(self._clock, address, self._traced, self._reply_class)

    async def open(self, address: Address) -> ServerConnection:
        """A new connection, for its caller alone to use and close; or `Unreachable`, or
        `NotSecure`, or `NotTrusted` when the server does not accept how it is greeted."""
        if self._closed:
            raise Unreachable("the client was closed")
        try:
            endpoint = self._endpoint(address)
            connection = await endpoint.connect(_Factory(self, address))
        except ConnectingCancelledError:
            raise CancelledError() from None  # Twisted's other word for it.
        except ConnectionRefusedError:
            raise Unreachable(f"cannot reach {address}: connection refused") from None
        except (ConnectError, DNSLookupError, OSError, ValueError) as problem:
            raise Unreachable(f"cannot reach {address}: {problem}") from problem
        assert isinstance(connection, ServerConnection)
        self._open.add(connection)
        connection.when_ended().addCallback(self._ended, connection)
        await connection.secured()
        if self._closed:
            connection.close()
        elif address in self._greetings:
            await self._greet(connection)
        return connection

    async def _greet(self, connection: ServerConnection) -> None:
        try:
            with tracing.within(None):  # Nothing comes before it.
                asked = connection.ask(self._greetings[connection.address], GREETING_DEADLINE)
            reply = await asked
        except Lost as problem:
            # The request itself is not sent yet, so it was certainly not carried out.
            raise Unreachable(str(problem)) from problem
        except BaseException:
            connection.close()  # Whoever asked was cancelled.
            raise
        if not reply.ok:
            connection.close()
            raise NotTrusted(f"{connection.address} does not believe this gateway")

    async def to(self, address: Address) -> ServerConnection:
        """The kept connection to a server, opened when there is none; or `Unreachable`."""
        kept = self._kept.get(address)
        if kept is not None and kept.usable:
            return kept
        turn: Deferred[ServerConnection] = Deferred()
        turns = self._opening.setdefault(address, [])
        turns.append(turn)
        if len(turns) == 1:
            # Not awaited here: its caller may be cancelled while others wait for the same.
            Deferred.fromCoroutine(self.open(address)).addBoth(self._opened, address)
        return await turn

    def _opened(self, result: ServerConnection | Failure, address: Address) -> None:
        if isinstance(result, ServerConnection):
            self._kept[address] = result
        for turn in self._opening.pop(address):
            turn.callback(result)

    def _ended(self, _: None, connection: ServerConnection) -> None:
        self._open.discard(connection)
        if self._kept.get(connection.address) is connection:
            del self._kept[connection.address]

    def close(self) -> Deferred[None]:
        """End them all and open no more; fires when they are over."""
        self._closed = True
        ending = [connection.when_ended() for connection in self._open]
        for connection in list(self._open):
            connection.close()
        return gatherResults(ending).addCallback(lambda _: None)


def _why_not_secure(problem: Exception) -> str:
    """Why TLS was not agreed on, behind the server's address."""
    if isinstance(problem, TimeoutError):
        return " does not answer to TLS"
    if isinstance(problem, ConnectionClosed):
        return " ended the connection, and may speak no TLS"
    if not problem.args or not isinstance(problem.args[0], list):
        return f": {problem}"
    # OpenSSL's: a list of (library, function, reason), which is empty where it knows none.
    reasons = {str(each[-1]) for each in problem.args[0]}
    if not reasons or reasons & _OF_NO_TLS:
        return ": it speaks no TLS"
    return f": TLS was not agreed on: {', '.join(sorted(reasons))}"
