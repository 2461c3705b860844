"""HTTP as the operators' page is served by it: what every answer says, and how much a peer may ask.

Twisted's own server has no bound on a body, on connections, or on the time that a request may take
to arrive byte by byte; these are the classes that it is told them by.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from bbs.addresses import is_loopback
from bbs.web.resources import as_text, send

MAX_BODY = 4096
"""Bytes in a request's body: a name and a password."""

MAX_CONNECTIONS = 300
"""Connections at once; more are closed as they come."""

REQUEST_TIMEOUT = 20.0
"""Seconds that a connection has to send a whole request, and may be idle before it."""

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

    def gotLength(self, length: int | None) -> None:
        if length is None or length > MAX_BODY:
            reason = b"411 Length Required" if length is None else b"413 Content Too Large"
            channel: Any = self.channel
            channel.transport.write(b"HTTP/1.1 " + reason + b"\r\nContent-Length: 0\r\n\r\n")
            channel.loseConnection()
            length = 0
        Request.gotLength(self, length)

    def process(self) -> None:
        for name, value in HEADERS:
            Request.setHeader(self, name.encode(), value.encode())
        if self._is_misdirected():
            send(self, as_text("Ask for localhost, 127.0.0.1 or [::1]", 421))
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
    """A connection, counted by its site, whose requests come within `REQUEST_TIMEOUT`."""

    site: BoundedSite

    def connectionMade(self) -> None:
        self.site.connections.add(self)
        HTTPChannel.connectionMade(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.site.connections.discard(self)
        HTTPChannel.connectionLost(self, reason)

    def resetTimeout(self) -> None:
        """Bytes that come buy no more time. (Twisted calls this for each of them.)"""


class BoundedSite(Site):
    """Serves `root` to at most `MAX_CONNECTIONS`."""

    protocol = BoundedChannel  # type: ignore[assignment]  # It means any channel.

    def __init__(self, root: IResource, reactor: Any) -> None:
        Site.__init__(
            self, root, requestFactory=BoundedRequest, timeout=REQUEST_TIMEOUT, reactor=reactor
        )
        self.connections: set[HTTPChannel] = set()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        full = len(self.connections) >= MAX_CONNECTIONS
        return None if full else Site.buildProtocol(self, addr)

    def log(self, request: Any) -> None:
        """Who reads the page is nobody's business; what operators do is logged where they do it."""

    def close_all(self) -> None:
        """End every connection."""
        for channel in [*self.connections]:
            channel.loseConnection()
