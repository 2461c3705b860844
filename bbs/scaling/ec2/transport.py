"""One request and its answer over HTTP, on the reactor.

Connections are kept and used again. Twisted's pool would send a request again by itself where a
kept one has ended meanwhile; that is for what may be done twice, and a launch that was carried out
may not. So it does not: the answer counts as lost, and whoever asked knows by which token to ask
again. A request that is cancelled closes its connection.

A way through an HTTP proxy: CONNECT, and what was wanted behind it.

What the network's errors mean for a call: no answer came, and for a word, why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element  # nosec B405 # expat reads it, in `answers`.

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionClosed,
    ConnectionLost,
)
from twisted.internet.interfaces import IConsumer, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from bbs.core.clock import IReactor
from bbs.scaling.ec2.errors import no_answer
from bbs.scaling.ec2.response_parser import Document, MalformedResponse

LONGEST_HEAD = 16384
"""Bytes of what a proxy says before it lets through."""


class ProxyRefuses(ConnectError):
    """The proxy does not let through."""

    MESSAGE = "The proxy does not let through"


@implementer(IStreamClientEndpoint)
class ProxyTunnel:
    """Connects through a proxy.

    :param way: to the proxy.
    :param headers: what the proxy wants to be told, as who asks.
    """

    def __init__(
        self, way: IStreamClientEndpoint, host: bytes, port: int, headers: Mapping[str, str]
    ) -> None:
        self._way = way
        name = host.decode("ascii")
        target = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        lines += [f"{key}: {value}" for key, value in headers.items()]
        self._request = "\r\n".join([*lines, "", ""]).encode("latin-1")

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, wanted: IProtocolFactory) -> Any:
        factory = Factory.forProtocol(lambda: _Opening(self._request, wanted))
        factory.noisy = False
        opening: Any = await self._way.connect(factory)
        return await opening.opened


class _Opening(Protocol):
    """A connection until the proxy has let it through, and what it carries from then on. `opened`
    fires with that; to cancel it closes the connection."""

    def __init__(self, request: bytes, wanted: IProtocolFactory) -> None:
        self.opened: Deferred[Any] = Deferred(lambda _: self._abort())
        self._request = request
        self._wanted = wanted
        self._head = b""
        self._through: Any = None

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        if self._through is not None:
            self._through.dataReceived(data)
            return
        if self.opened.called:
            return
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end and len(self._head) <= LONGEST_HEAD:
            return
        self._head = b""
        if end and head[:7] == b"HTTP/1." and head[8:12] == b" 200":
            self._go_through(rest)
        else:
            self.opened.errback(ProxyRefuses())  # type: ignore[no-untyped-call]
            self._abort()

    def _go_through(self, rest: bytes) -> None:
        self._through = self._wanted.buildProtocol(None)  # type: ignore[arg-type]  # nobody asks
        self._through.makeConnection(self.transport)
        self.opened.callback(self._through)
        if rest:
            self._through.dataReceived(rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._through is not None:
            self._through.connectionLost(reason)
        elif not self.opened.called:
            self.opened.errback(ConnectionLost("the proxy has hung up"))

    def _abort(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


CONNECT_TIMEOUT = 3.0
"""Seconds until a connection stands; enough for one lost packet."""

KEPT = 30
"""Seconds for which a connection that nobody uses is kept. A round of the fleet comes sooner."""

MOST_KEPT = 6

_POST = b"POST"


class HttpResponse(NamedTuple):
    """An answer: its status, the time that EC2 has by its Date, what it says, and if it says
    nothing, why."""

    status: int
    date: str
    root: Element | None
    problem: str


class Transport:
    """Sends requests to one endpoint.

    :param route: how it is reached (`described.Route`).
    """

    def __init__(self, reactor: IReactor, route: Any) -> None:
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.retryAutomatically = False
        self._pool.cachedConnectionTimeout = KEPT
        self._pool.maxPersistentPerHost = MOST_KEPT
        endpoints = _RouteEndpoints(reactor, route)
        self._agent = Agent.usingEndpointFactory(reactor, endpoints, self._pool)

    async def post(self, request: Any) -> HttpResponse:
        """Send a request (`described.Request`).

        :raises Exception: whatever of Twisted's says that no answer came.
        """
        headers = Headers({name: [value] for name, value in request.headers.items()})
        body = _Bytes(request.body)
        response = await self._agent.request(_POST, request.url.encode("ascii"), headers, body)
        reading = _BodyReader()
        response.deliverBody(reading)
        root, problem = await reading.done
        return HttpResponse(response.code, _date(response), root, problem)

    def close(self) -> Deferred[None]:
        """Close the connections that nobody uses."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed


def _date(response: IResponse) -> str:
    values = response.headers.getRawHeaders(b"date")
    return str(values[0], "latin-1") if values else ""


class _BodyReader(Protocol):
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
        except MalformedResponse as problem:
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
        except MalformedResponse as problem:
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
class _RouteEndpoints:
    """Ways to the endpoint: itself, or a tunnel through a proxy; by TLS, if it wants that."""

    def __init__(self, reactor: IReactor, route: Any) -> None:
        self._reactor = reactor
        self._route = route
        self._policy = BrowserLikePolicyForHTTPS(route.trust) if route.trust else None

    def endpointForURI(self, uri: Any) -> IStreamClientEndpoint:
        if self._route.proxy:
            proxy = urlsplit(self._route.proxy)
            way = self._to(proxy.hostname or "", proxy.port or 80)
            way = ProxyTunnel(way, uri.host, uri.port, self._route.proxy_headers)
        else:
            way = self._to(uri.host, uri.port)
        if self._policy is None:
            return way
        return wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), way)

    def _to(self, host: Any, port: int) -> IStreamClientEndpoint:
        return HostnameEndpoint(self._reactor, host, port, CONNECT_TIMEOUT)


@contextmanager
def named(action: str) -> Iterator[None]:
    """Have an error of the network's be an `EC2Error`."""
    try:
        yield
    except (ResponseFailed, RequestTransmissionFailed) as error:
        causes = [failure.value for failure in error.reasons]
        if any(isinstance(cause, CancelledError) for cause in causes):
            raise CancelledError from None
        raise no_answer(action, _word(causes[-1])) from None
    except ConnectingCancelledError:
        raise CancelledError from None
    except (ConnectError, OSError) as error:
        # Nothing was sent: there was no connection.
        told = no_answer(action, _word(error))
        told.doubtful = False
        raise told from None
    except ConnectionClosed as error:
        raise no_answer(action, _word(error)) from None


def _word(error: BaseException) -> str:
    kind = type(error)
    if kind.__module__.startswith("OpenSSL"):
        return f"TLS: {_openssl(error.args) or kind.__name__}"
    if kind.__module__.startswith("service_identity"):
        return "TLS: the certificate is for another name"
    return kind.__name__.lstrip("_")


def _openssl(args: Any) -> str:
    """OpenSSL's: a list of (library, function, reason), which can be empty."""
    try:
        return str(args[0][0][2])
    except (IndexError, TypeError):
        return ""
