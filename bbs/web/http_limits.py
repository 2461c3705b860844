"""HTTP as the operators' page is served by it: what every answer says, and how much a peer may ask.

Twisted's own server has no bound on a body, on connections, on the time that a request may take to
arrive byte by byte, or on how many requests of a connection it answers before it looks at anything
else; these are the classes that it is told them by.
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

MAX_BODY = 4096
"""Bytes in a request's body: a name and a password."""

MAX_CONNECTIONS = 300
"""Connections at once, beside those that are told that they are too many."""

CONNECTIONS_PER_ADDRESS = 20
"""Connections of one address: a browser has six."""

PROBED = (b"/health", b"/ready")
"""What is answered on connections beyond these limits too: who probes a server must not take it for
dead because others crowd it."""

MAX_PROBES = 20
"""Connections beyond the limits that are open at once. One more takes the place of the one that has
been there longest, so that nobody keeps those who probe out by being silent."""

PROBE_TIMEOUT = 5.0
"""Seconds that such a one has for its request."""

REQUEST_TIMEOUT = 20.0
"""Seconds that a connection has to send a whole request, and may be idle before it; and to take
what it is answered."""

READ_AHEAD = 16384
"""Bytes that are read while the request before them is answered."""

BEGUN_AT_ONCE = 10
"""Connections whose next request is begun in one turn of the reactor. A request takes about 0.1 ms,
so that those who pipeline on `MAX_CONNECTIONS` delay others by 1 ms, and not by 30."""

TOO_MANY = as_text("Too many connections", 503, {"Retry-After": "5"})

TURNED_AWAY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Retry-After: 5\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
) % (len(TOO_MANY.body), TOO_MANY.body)
"""The same, for those who have asked nothing."""

TIMED_OUT = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Connection: close\r\nContent-Length: 18\r\n\r\nRequest timed out\n"
)
"""For those who have begun a request. (Who is idle between two is not told: that is no failure.)"""

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
"""Of every answer: nothing runs that is not the page's own file, and nothing is kept."""


class BoundedRequest(Request):
    """A request whose body is short, answered with `HEADERS`."""

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
        """Whether it came to this machine itself, under a name that may be another's.

        Whoever owns a name can have it mean 127.0.0.1 (DNS rebinding), and a browser takes what it
        finds there for their site's: their scripts could read it.
        """
        this: Any = self
        local = getattr(this.getHost(), "host", "")
        name = this.getRequestHostname().decode("ascii", "replace").lower()
        return is_loopback(local) and name != "localhost" and not is_loopback(name)


class BoundedChannel(HTTPChannel):
    """A connection, counted by its site, whose requests come within `REQUEST_TIMEOUT`, and are
    begun one in a turn of the reactor, none before the answers to those before it have left.

    `entry` is None for one that is beyond the limits: it is answered one request.
    """

    site: BoundedSite
    forceAbortClient: Callable[[], None]
    setTimeout: Callable[[float | None], float | None]
    entry: IEntry | None = None
    transport: Any
    _done: Any = None
    """The request that has been answered last, while the next has not been begun."""
    _closing = False
    _ahead = 0
    """How many bytes were read behind the request that is answered."""

    @property
    def is_beyond(self) -> bool:
        """Whether there are too many connections to have this one, too."""
        return self.entry is None

    def connectionMade(self) -> None:
        self.site.came(self)
        if self.entry is not None:
            self.entry.watch(self.turn_away)
        HTTPChannel.connectionMade(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.site.left(self)
        if self.entry is not None:
            self.entry.leave()
        if self._done is not None:  # It has been answered, and has nothing to lose.
            self.requests.remove(self._done)
            self._done = None
        HTTPChannel.connectionLost(self, reason)

    def resetTimeout(self) -> None:
        """Bytes that come buy no more time. (Twisted calls this for each of them.)"""

    def timeoutConnection(self) -> None:
        if self._closing:  # The peer does not take what it was answered last.
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
        """It has asked nothing, and somebody else needs its place."""
        if ISSLTransport.providedBy(self.transport):
            # Nothing can be said there before the peer has done its part, however long it takes.
            self.transport.abortConnection()
        elif not self._handlingRequest:  # Else it is answered, and closes by itself.
            self.close_with(TURNED_AWAY)

    def loseConnection(self) -> None:
        self._closing = True
        lose: Callable[[BoundedChannel], None] = HTTPChannel.loseConnection
        lose(self)

    def lineReceived(self, line: bytes) -> None:
        # Twisted goes on where it has just refused a line, if the peer has gone meanwhile (by TLS
        # that is seen late), and falls over what is missing.
        if not self._closing:
            HTTPChannel.lineReceived(self, line)

    def close_with(self, words: bytes) -> None:
        """Close, as soon as the peer has taken `words`."""
        self.transport.write(words)
        self.loseConnection()

    # One request at a time

    def requestDone(self, request: Any) -> None:
        """A request has been answered. Twisted would begin the next at once."""
        self._done = request
        self.setTimeout(self._savedTimeOut)
        if self.persistent:
            self.site.queue(self)
        else:
            self.go_on()

    def go_on(self) -> None:
        """Begin the next request, unless the peer has yet to take what it was answered."""
        if self._done is None or self._closing:
            return
        if not (self.persistent and self._waitingForTransport):
            done, self._done, self._ahead = self._done, None, 0
            HTTPChannel.requestDone(self, done)

    def resumeProducing(self) -> None:
        HTTPChannel.resumeProducing(self)
        if self._done is not None:
            self.site.queue(self)

    def rawDataReceived(self, data: bytes) -> None:
        if self._closing:
            return
        if not self._handlingRequest:
            HTTPChannel.rawDataReceived(self, data)
            return
        # Here, as Twisted reads on without end while the peer takes nothing.
        self._dataBuffer.append(data)
        self._ahead += len(data)
        if self._ahead > READ_AHEAD:
            self._networkProducer.pauseProducing()


class BoundedSite(Site):
    """Serves `root` to at most `MAX_CONNECTIONS`, and those that `door` lets in."""

    protocol = BoundedChannel  # type: ignore[assignment]  # It means any channel.

    def __init__(self, root: IResource, reactor: IReactorTime, door: IDoor | None = None) -> None:
        Site.__init__(
            self, root, requestFactory=BoundedRequest, timeout=REQUEST_TIMEOUT, reactor=reactor
        )
        self._later = reactor.callLater
        self.connections: set[BoundedChannel] = set()
        self._door: IDoor = door or OpenDoor()
        self._beyond: dict[BoundedChannel, None] = {}
        """Those beyond the limits, the oldest first."""
        self._queue: deque[BoundedChannel] = deque()
        """Those whose next request may be begun."""
        self._turning = False

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
        """Who reads the page is nobody's business; what operators do is logged where they do it."""

    def close_all(self) -> None:
        """End every connection."""
        for channel in [*self.connections, *self._beyond]:
            channel.loseConnection()

    # For the connections

    def came(self, channel: BoundedChannel) -> None:
        """`channel` is there."""
        if not channel.is_beyond:
            self.connections.add(channel)
            return
        self._beyond[channel] = None
        if len(self._beyond) > MAX_PROBES:
            longest = next(iter(self._beyond))
            del self._beyond[longest]
            longest.turn_away()

    def left(self, channel: BoundedChannel) -> None:
        """`channel` has ended."""
        self.connections.discard(channel)
        self._beyond.pop(channel, None)

    def queue(self, channel: BoundedChannel) -> None:
        """Have `channel` go on in a later turn of the reactor."""
        self._queue.append(channel)
        if not self._turning:
            self._turning = True
            self._later(0, self._turn)

    def _turn(self) -> None:
        for _ in range(min(len(self._queue), BEGUN_AT_ONCE)):
            self._queue.popleft().go_on()
        self._turning = bool(self._queue)
        if self._turning:
            self._later(0, self._turn)
