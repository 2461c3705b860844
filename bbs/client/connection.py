"""Connections to servers: requests out, replies in order, events as they come.

A `ConnectionPool` keeps one connection to each server for requests that are answered at once, and
opens others for requests that wait.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from twisted.internet import error, interfaces
from twisted.internet.abstract import isIPAddress
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, fail, gatherResults
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.client.errors import BadReply, Lost, NotSecure, NotTrusted, TurnedAway, Unreachable
from bbs.client.replies import ServiceReply, read_line
from bbs.core import tracing
from bbs.core.addresses import Address
from bbs.core.errors import TooManyConnections
from bbs.core.values import MAX_REPLY
from bbs.protocols.commands import UnknownCommand

"""Bytes of one line. Replies have 1 MiB at most, but servers of version 0.1.0 send a list in one
line, however long it is. A line takes up to 25 times its size in memory: 60 MB took 3.3 GiB."""

CONNECT_TIMEOUT = 10.0  # s until a server that does not answer at all counts as unreachable
GREETING_DEADLINE = 10.0  # s for the reply to the first request on a new connection
HANDSHAKE_DEADLINE = 8.0  # s for the handshake of TLS
MOST_HEARD = 60  # bytes of a malformed line that are kept

# OpenSSL's reasons for bytes that are not a record of TLS.
_NOT_TLS = {"wrong version number", "packet length too long", "record layer failure"}

# The beginning of an event. A malformed event is dropped. Another malformed line may have been a
# reply, so the replies after it could no longer be told apart.
_EVENT = re.compile(rb'\s*\{\s*"event"\s*:')

Event = Mapping[str, object]


@implementer(interfaces.IHandshakeListener)
class ServerConnection(Protocol):
    """One connection to a server.

    Requests need not wait for each other; the replies come in the same order. A request that is not
    answered in time ends the connection, as later replies could no longer be told apart.
    """

    transport: interfaces.ITCPTransport | None = None
    max_reply = MAX_REPLY
    _log = Logger()

    def __init__(
        self,
        clock: interfaces.IReactorTime,
        address: Address,
        takes_traces: Callable[[], bool] = lambda: False,
        reply_class: type[ServiceReply] = ServiceReply,
    ) -> None:
        self.address = address
        self._reply_class = reply_class
        self._takes_traces = takes_traces
        self.usable = False
        self.was_silent = False  # Whether it ended because the server did not answer in time.
        self.heard = b""  # The beginning of a malformed line, after the connection has ended.
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
        """Send a request (a line with its end); its reply must come within `deadline` seconds.

        Fails with `Unreachable` if the connection had ended before (nothing was sent), with `Lost`
        if it ends before the reply, and with `TurnedAway` if the server had no room for the
        connection, which servers say without a request.
        """
        if not self.usable or self.transport is None:
            return fail(self._problem(Unreachable))
        first = not self._asked
        span = tracing.here()
        if span is not None and span.recorded and self._takes_traces():
            request = self._trace_line(span.traceparent) + request
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

    def _trace_line(self, trace: str) -> bytes:
        """Make the line that names the next request's trace (protocol.md, section 8), and expect
        its reply."""

        def received(reply: ServiceReply) -> None:
            if reply.code == UnknownCommand.code:  # This server keeps no traces, as others may.
                self._takes_traces = lambda: False

        named: Deferred[ServiceReply] = Deferred()
        named.addCallbacks(received, lambda lost: None)
        self._asked.append(named)
        return b"traceparent %s\n" % trace.encode()

    async def secured(self) -> None:
        """Wait for the handshake, if the connection uses TLS; raises `NotSecure`."""
        if not interfaces.ISSLTransport.providedBy(self.transport):
            return
        self._handshake = Deferred()
        try:
            await self._handshake.addTimeout(HANDSHAKE_DEADLINE, self._clock)
        except BaseException as problem:
            self._end("")  # Also when the caller was cancelled.
            if isinstance(problem, CancelledError) or not isinstance(problem, Exception):
                raise
            raise NotSecure(f"{self.address}{_why_not_secure(problem)}") from problem
        finally:
            self._handshake = None

    def when_ended(self) -> Deferred[None]:
        """Fires when the connection has ended; may be cancelled."""
        watcher: Deferred[None] = Deferred(self._watchers.remove)
        if self.transport is None:
            watcher.callback(None)
        else:
            self._watchers.append(watcher)
        return watcher

    def close(self) -> None:
        """End the connection; no more events come."""
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

    def _problem(self, kind: type[Unreachable | Lost]) -> Unreachable | Lost:
        """The reason for a missing reply."""
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
        secure = interfaces.ISSLTransport.providedBy(self.transport)
        if not secure and interfaces.IWriteDescriptor.providedBy(self.transport):
            # Otherwise a request waits for a turn of the reactor, which asks the system whether the
            # socket can be written. Bytes that cannot be sent now, and failures, are left to the
            # reactor's next turn; requests that do not wait for replies are sent together.
            self._flush = self.transport.doWrite

    def dataReceived(self, data: bytes) -> None:
        # Only the new bytes are searched: a reply of megabytes comes in a thousand pieces.
        *ends, rest = data.split(b"\n")
        for end in ends:
            line = b"".join((*self._parts, end))
            self._parts, self._size = [], 0
            if len(line) > self.max_reply:
                return self._too_long()
            if not self._line_received(line):
                self.heard = line[:MOST_HEARD]
                return self._end(f"{self.address} sent a malformed line, or a reply to no request")
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
        """Pass a line on; False if it is neither an event nor an expected reply."""
        try:
            received = read_line(line, self._reply_class)
        except ValueError:
            return _EVENT.match(line) is not None
        if not isinstance(received, ServiceReply):
            if self.on_event is not None:
                self._pass_on(self.on_event, received)
        elif received.code == TooManyConnections.code:
            # Requests that were sent meanwhile will not be answered.
            self._turned_away = received
            self._end(received.message or "")
        elif self._asked:
            self._asked.pop(0).callback(received)
        else:
            return False
        return True

    def _pass_on(self, on_event: Callable[[Event], None], event: Event) -> None:
        with self._log.failuresHandled("an event was not handled"):
            try:
                on_event(event)
            except BadReply as mistake:  # The server's mistake: the log needs no traceback.
                address, problem = self.address, str(mistake)
                self._log.info(
                    "dropped an event of {address}: {problem}", address=address, problem=problem
                )

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        connector = getattr(self.transport, "connector", None)
        if connector is not None:
            # In Twisted these two refer to each other for ever, which leaves them to the garbage
            # collector. That takes long if thousands end together.
            connector.transport = None
        self.heard = self.heard or b"".join(self._parts)[:MOST_HEARD]
        self.usable, self.transport, self._parts, self._flush = False, None, [], None
        if self._handshake is not None and not self._handshake.called:
            self._handshake.errback(reason)
        while self._asked:
            self._asked.pop(0).errback(self._problem(Lost))
        while self._watchers:
            self._watchers.pop().callback(None)


def endpoint_to(
    reactor: interfaces.IReactorTime, address: Address
) -> interfaces.IStreamClientEndpoint:
    """The plain TCP endpoint of a server; a host name is looked up, an IP address is not."""
    host, port = address.host, address.port
    if isIPAddress(host):
        return TCP4ClientEndpoint(reactor, host, port, CONNECT_TIMEOUT)
    return HostnameEndpoint(reactor, host, port, CONNECT_TIMEOUT)


class ConnectionPool:
    """All connections of one client.

    `endpoint` makes the client endpoint for an address. `greetings` maps an address to the first
    request of each connection to it, which the server may refuse (`NotTrusted`). `takes_traces`
    says whether the service takes the contexts of traces.
    """

    def __init__(
        self,
        clock: interfaces.IReactorTime,
        endpoint: Callable[[Address], interfaces.IStreamClientEndpoint],
        greetings: Mapping[Address, bytes] = MappingProxyType({}),
        takes_traces: Callable[[], bool] = lambda: False,
        reply_class: type[ServiceReply] = ServiceReply,
    ) -> None:
        self._takes_traces = takes_traces
        self._reply_class = reply_class
        self._clock = clock
        self._endpoint = endpoint
        self._greetings = greetings
        self._shared: dict[Address, ServerConnection] = {}
        self._opening: dict[Address, list[Deferred[ServerConnection]]] = {}
        self._open: set[ServerConnection] = set()
        self._closed = False

    async def open(self, address: Address) -> ServerConnection:
        """Open a connection for the caller alone; raises Unreachable, NotSecure or NotTrusted."""
        if self._closed:
            raise Unreachable("the client was closed")
        factory = Factory()
        factory.noisy = False
        factory.protocol = partial(
            ServerConnection, self._clock, address, self._takes_traces, self._reply_class
        )
        try:
            connection = await self._endpoint(address).connect(factory)
        except error.ConnectingCancelledError:
            raise CancelledError() from None  # Twisted's other name for it.
        except error.ConnectionRefusedError:
            raise Unreachable(f"cannot reach {address}: connection refused") from None
        except (error.ConnectError, error.DNSLookupError, OSError, ValueError) as problem:
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
            with tracing.within(None):  # No line about a trace goes before it.
                asked = connection.ask(self._greetings[connection.address], GREETING_DEADLINE)
            reply = await asked
        except Lost as problem:
            # The request itself was not sent yet.
            raise Unreachable(str(problem)) from problem
        except BaseException:
            connection.close()  # The caller was cancelled.
            raise
        if not reply.ok:
            connection.close()
            raise NotTrusted(f"{connection.address} does not trust this gateway")

    async def to(self, address: Address) -> ServerConnection:
        """The shared connection to a server, opened if there is none; raises `Unreachable`."""
        shared = self._shared.get(address)
        if shared is not None and shared.usable:
            return shared
        turn: Deferred[ServerConnection] = Deferred()
        turns = self._opening.setdefault(address, [])
        turns.append(turn)
        if len(turns) == 1:
            # Not awaited: this caller may be cancelled while others wait for the connection.
            Deferred.fromCoroutine(self.open(address)).addBoth(self._opened, address)
        return await turn

    def _opened(self, result: ServerConnection | Failure, address: Address) -> None:
        if isinstance(result, ServerConnection):
            self._shared[address] = result
        for turn in self._opening.pop(address):
            turn.callback(result)

    def _ended(self, _: None, connection: ServerConnection) -> None:
        self._open.discard(connection)
        if self._shared.get(connection.address) is connection:
            del self._shared[connection.address]

    def close(self) -> Deferred[None]:
        """End all connections and open no more; fires when they have ended."""
        self._closed = True
        ending = [connection.when_ended() for connection in self._open]
        for connection in list(self._open):
            connection.close()
        return gatherResults(ending).addCallback(lambda _: None)


def _why_not_secure(problem: Exception) -> str:
    """Why the handshake failed: the text that follows the server's address."""
    if isinstance(problem, TimeoutError):
        return " does not answer to TLS"
    if isinstance(problem, error.ConnectionClosed):
        return " closed the connection; it may not speak TLS"
    if not problem.args or not isinstance(problem.args[0], list):
        return f": {problem}"
    # OpenSSL's list of (library, function, reason), which may be empty.
    reasons = {str(each[-1]) for each in problem.args[0]}
    if not reasons or reasons & _NOT_TLS:
        return ": it does not speak TLS"
    return f": TLS failed: {', '.join(sorted(reasons))}"
