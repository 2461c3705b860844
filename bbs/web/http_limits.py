"""HTTP for the operators' page: the headers of every answer, and limits on what a peer may ask.

Twisted's own server bounds neither a body, nor the number of connections, nor the time that a
request may take to arrive byte by byte, nor the requests of one connection that it answers before
it looks at anything else. The classes here do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress, IReactorTime, ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from bbs.core.addresses import is_loopback
from bbs.core.values import IDoor, IEntry
from bbs.protocols.connection_state import OpenDoor, host_of
from bbs.web.resources import as_text, send

MAX_BODY = 4096  # bytes in a request's body: a name and a password
MAX_CONNECTIONS = 300  # at once, in addition to those that only hear that they are too many
CONNECTIONS_PER_ADDRESS = 20  # a browser has six

PROBED = (b"/health", b"/ready")
"""Paths answered beyond these limits too: a prober must not take the server for dead because others
crowd it."""

MAX_PROBES = 20
"""Connections beyond the limits that are open at once. Another takes the place of the oldest, so
that silent ones do not keep probers out."""

PROBE_TIMEOUT = 5.0  # seconds that such a connection has for its request

REQUEST_TIMEOUT = 20.0
"""Seconds that a connection may be idle, or take to send a whole request, or to take the answer."""

READ_AHEAD = 16384  # bytes that are read while the request before them is answered

BEGUN_AT_ONCE = 10
"""Connections whose next request is begun in one turn of the reactor. A request takes about 0.1 ms,
so peers that pipeline on `MAX_CONNECTIONS` delay others by 1 ms, and not by 30."""

TOO_MANY = as_text("Too many connections", 503, {"Retry-After": "5"})

TURNED_AWAY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Retry-After: 5\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
) % (len(TOO_MANY.body), TOO_MANY.body)
"""`TOO_MANY`, for peers that have asked nothing."""

TIMED_OUT = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Connection: close\r\nContent-Length: 18\r\n\r\nRequest timed out\n"
)
"""The answer to a request that does not end in time. An idle peer gets none: it has not failed."""

HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
"""Headers of every answer: browsers run only the page's own files, and keep nothing."""


class BoundedRequest(Request):
    """A request with a short body, answered with `HEADERS`."""

    channel: BoundedChannel

    def gotLength(self, length: int | None) -> None:
        if length is None or length > MAX_BODY:
            reason = b"411 Length Required" if length is None else b"413 Content Too Large"
            self.channel.close_with(b"HTTP/1.1 " + reason + b"\r\nContent-Length: 0\r\n\r\n")
            length = 0
        Request.gotLength(self, length)

    def process(self) -> None:
        for name, value in HEADERS:
            Request.setHeader(self, name.encode(), value.encode())
        if self._is_misdirected():
            send(self, as_text("Ask for localhost, 127.0.0.1 or [::1]", 421))
        elif self.channel.is_beyond and self.path not in PROBED:
            send(self, TOO_MANY)
        else:
            Request.process(self)

    def _is_misdirected(self) -> bool:
        """Whether the request came by loopback, but under a name that is not loopback's.

        The owner of a name can have it mean 127.0.0.1 (DNS rebinding). A browser takes this page
        for a part of the owner's site then, whose scripts could read it.
        """
        this: Any = self
        local = getattr(this.getHost(), "host", "")
        name = this.getRequestHostname().decode("ascii", "replace").lower()
        return is_loopback(local) and name != "localhost" and not is_loopback(name)


class BoundedChannel(HTTPChannel):
    """A connection whose requests arrive within `REQUEST_TIMEOUT`. Each begins in its own turn of
    the reactor, after the answers to all before it have left.

    `entry` is None for a connection beyond the limits, of which only one request is answered.
    """

    site: BoundedSite
    forceAbortClient: Callable[[], None]
    setTimeout: Callable[[float | None], float | None]
    entry: IEntry | None = None
    transport: Any
    _answered: Any = None  # The last request, until the next begins.
    _closing = False
    _ahead = 0  # Bytes that were read behind the present request.

    @property
    def is_beyond(self) -> bool:
        return self.entry is None

    def connectionMade(self) -> None:
        self.site.add(self)
        if self.entry is not None:
            self.entry.watch(self.turn_away)
        HTTPChannel.connectionMade(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.site.remove(self)
        if self.entry is not None:
            self.entry.leave()
        if self._answered is not None:  # An answered request has nothing to lose.
            self.requests.remove(self._answered)
            self._answered = None
        HTTPChannel.connectionLost(self, reason)

    def resetTimeout(self) -> None:
        """Give no more time for bytes that arrive. (Twisted calls this for each of them.)"""

    def timeoutConnection(self) -> None:
        if self._closing:  # The peer does not take the last answer.
            self.forceAbortClient()
        else:
            if self.requests and not self._handlingRequest:
                self.transport.write(TIMED_OUT)
            HTTPChannel.timeoutConnection(self)

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        if self.entry is not None:
            self.entry.has_asked()
        persists: bool = HTTPChannel.checkPersistence(self, request, version)
        if self.is_beyond:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        return persists and not self.is_beyond

    def turn_away(self) -> None:
        """Close: the peer has asked nothing, and another needs the place."""
        if ISSLTransport.providedBy(self.transport):
            # TLS sends nothing before the peer has shaken hands, however long that takes.
            self.transport.abortConnection()
        elif not self._handlingRequest:  # Else it closes by itself after the answer.
            self.close_with(TURNED_AWAY)

    def loseConnection(self) -> None:
        self._closing = True
        lose: Callable[[BoundedChannel], None] = HTTPChannel.loseConnection
        lose(self)

    def lineReceived(self, line: bytes) -> None:
        # After a refused line Twisted goes on if the peer has gone meanwhile (TLS notices that
        # late), and fails.
        if not self._closing:
            HTTPChannel.lineReceived(self, line)

    def close_with(self, words: bytes) -> None:
        """Close as soon as the peer has taken `words`."""
        self.transport.write(words)
        self.loseConnection()

    def requestDone(self, request: Any) -> None:
        """Note that a request has been answered. Twisted would begin the next at once."""
        self._answered = request
        self.setTimeout(self._savedTimeOut)
        if self.persistent:
            self.site.queue(self)
        else:
            self.begin_next()

    def begin_next(self) -> None:
        """Begin the next request, unless the peer has yet to take the last answer."""
        if self._answered is None or self._closing:
            return
        if not (self.persistent and self._waitingForTransport):
            answered, self._answered, self._ahead = self._answered, None, 0
            HTTPChannel.requestDone(self, answered)

    def resumeProducing(self) -> None:
        HTTPChannel.resumeProducing(self)
        if self._answered is not None:
            self.site.queue(self)

    def rawDataReceived(self, data: bytes) -> None:
        if self._closing:
            return
        if not self._handlingRequest:
            HTTPChannel.rawDataReceived(self, data)
            return
        # Twisted would read on without end while the peer takes nothing.
        self._dataBuffer.append(data)
        self._ahead += len(data)
        if self._ahead > READ_AHEAD:
            self._networkProducer.pauseProducing()


class BoundedSite(Site):
    """Serves `root` to at most `MAX_CONNECTIONS` that `door` lets in."""

    protocol = BoundedChannel  # type: ignore[assignment]  # Any channel is meant.

    def __init__(self, root: IResource, reactor: IReactorTime, door: IDoor | None = None) -> None:
        Site.__init__(
            self, root, requestFactory=BoundedRequest, timeout=REQUEST_TIMEOUT, reactor=reactor
        )
        self._call_later = reactor.callLater
        self.connections: set[BoundedChannel] = set()
        self._door: IDoor = door or OpenDoor()
        self._beyond: dict[BoundedChannel, None] = {}  # Beyond the limits, the oldest first.
        self._queue: deque[BoundedChannel] = deque()  # Their next request may begin.
        self._is_scheduled = False

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if self._door.is_jammed:
            return None
        full = len(self.connections) >= MAX_CONNECTIONS
        entry = None if full else self._door.enter(host_of(addr))
        channel: Any = Site.buildProtocol(self, addr)
        channel.entry = entry
        if entry is None:
            channel.timeOut = PROBE_TIMEOUT
        return channel

    def log(self, request: Any) -> None:
        """Log nothing: reads are private, and actions are logged where they are carried out."""

    def close_all(self) -> None:
        for channel in [*self.connections, *self._beyond]:
            channel.loseConnection()

    def add(self, channel: BoundedChannel) -> None:
        if not channel.is_beyond:
            self.connections.add(channel)
            return
        self._beyond[channel] = None
        if len(self._beyond) > MAX_PROBES:
            oldest = next(iter(self._beyond))
            del self._beyond[oldest]
            oldest.turn_away()

    def remove(self, channel: BoundedChannel) -> None:
        self.connections.discard(channel)
        self._beyond.pop(channel, None)

    def queue(self, channel: BoundedChannel) -> None:
        """Let the next request of `channel` begin in a later turn of the reactor."""
        self._queue.append(channel)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._call_later(0, self._begin_some)

    def _begin_some(self) -> None:
        for _ in range(min(len(self._queue), BEGUN_AT_ONCE)):
            self._queue.popleft().begin_next()
        self._is_scheduled = bool(self._queue)
        if self._is_scheduled:
            self._call_later(0, self._begin_some)
