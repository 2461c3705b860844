"""One request and its answer over HTTP, on the reactor.

Connections are kept and used again. Twisted's pool would send a request again by itself where a
kept one has ended meanwhile; that is for what may be done twice, and a launch that was carried out
may not. So it does not: the answer counts as lost, and whoever asked knows by which token to ask
again. A request that is cancelled closes its connection.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element  # nosec B405 # expat reads it, in `answers`.

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IConsumer, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    HTTPConnectionPool,
    ResponseDone,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from bbs.scaling.ec2.answers import Document, NotAnAnswer
from bbs.scaling.ec2.tunnel import Tunnel

CONNECT_TIMEOUT = 3.0
"""Seconds until a connection stands; enough for one lost packet."""

KEPT = 30
"""Seconds for which a connection that nobody uses is kept. A round of the fleet comes sooner."""

MOST_KEPT = 6

_POST = b"POST"


class Heard(NamedTuple):
    """An answer: its status, the time that EC2 has by its Date, what it says, and if it says
    nothing, why."""

    status: int
    date: str
    root: Element | None
    problem: str


class Exchange:
    """Sends requests to one endpoint.

    :param route: how it is reached (`described.Route`).
    """

    def __init__(self, reactor: Any, route: Any) -> None:
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.retryAutomatically = False
        self._pool.cachedConnectionTimeout = KEPT
        self._pool.maxPersistentPerHost = MOST_KEPT
        endpoints = _Endpoints(reactor, route)
        self._agent = Agent.usingEndpointFactory(reactor, endpoints, self._pool)

    async def post(self, request: Any) -> Heard:
        """Send a request (`described.Request`).

        :raises Exception: whatever of Twisted's says that no answer came.
        """
        headers = Headers({name: [value] for name, value in request.headers.items()})
        body = _Bytes(request.body)
        response = await self._agent.request(_POST, request.url.encode("ascii"), headers, body)
        reading = _Reading()
        response.deliverBody(reading)
        root, problem = await reading.done
        return Heard(response.code, _date(response), root, problem)

    def close(self) -> Deferred[None]:
        """Close the connections that nobody uses."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed


def _date(response: IResponse) -> str:
    values = response.headers.getRawHeaders(b"date")
    return str(values[0], "latin-1") if values else ""


class _Reading(Protocol):
    """Reads the body of an answer as it comes. `done` fires with it and why it is none, or fails
    where the connection does; to cancel it closes the connection."""

    def __init__(self) -> None:
        self.done: Deferred[tuple[Element | None, str]] = Deferred(lambda _: self._abort())
        self._document = Document()

    def dataReceived(self, data: bytes) -> None:
        if self.done.called:
            return
        try:
            self._document.feed(data)
        except NotAnAnswer as problem:
            self.done.callback((None, str(problem)))
            self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        # Without a length nobody knows whether that was all, but XML does.
        if not reason.check(ResponseDone, PotentialDataLoss):
            self.done.errback(reason)
            return
        try:
            self.done.callback((self._document.root(), ""))
        except NotAnAnswer as problem:
            self.done.callback((None, str(problem)))

    def _abort(self) -> None:
        # The response's transport has no way to abort; this ends TCP below TLS, whose own goodbye
        # would wait for the peer's.
        transport: Any = self.transport
        transport.stopProducing()


@implementer(IBodyProducer)
class _Bytes:
    """The body of a request."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def stopProducing(self) -> None: ...


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Ways to the endpoint: itself, or a tunnel through a proxy; by TLS, if it wants that."""

    def __init__(self, reactor: Any, route: Any) -> None:
        self._reactor = reactor
        self._route = route
        self._policy = BrowserLikePolicyForHTTPS(route.trust) if route.trust else None

    def endpointForURI(self, uri: Any) -> IStreamClientEndpoint:
        if self._route.proxy:
            proxy = urlsplit(self._route.proxy)
            way = self._to(proxy.hostname or "", proxy.port or 80)
            way = Tunnel(way, uri.host, uri.port, self._route.proxy_headers)
        else:
            way = self._to(uri.host, uri.port)
        if self._policy is None:
            return way
        return wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), way)

    def _to(self, host: Any, port: int) -> IStreamClientEndpoint:
        return HostnameEndpoint(self._reactor, host, port, CONNECT_TIMEOUT)
