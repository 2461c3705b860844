"""Sends one request over HTTP on the reactor, and reads the answer from XML as it arrives.

Connections are kept and reused. Twisted's pool would repeat a request if a kept connection has
ended. A launch must not be made twice, so the pool is told not to: the answer counts as lost, and
the caller knows the token to ask again with. Cancelling a request closes its connection.

expat parses each piece of XML in the turn in which it arrives; tables made once from botocore's
description of the action turn the tree into dictionaries, item by item for lists, so that the
caller can yield to the reactor in between. botocore's own parser does it all at once: measured, 170
ms of a processor for 200 instances; this takes 40, in turns of at most 3.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, TreeBuilder  # nosec B405
from xml.parsers.expat import ExpatError, ParserCreate, errors  # nosec B407

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionClosed,
    ConnectionLost,
)
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web import client as http
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from bbs.core.clock import IReactor
from bbs.scaling.ec2.errors import no_answer

CONNECT_TIMEOUT = 3.0  # seconds until a connection stands; enough for one lost packet
KEPT = 30  # seconds for which an unused connection is kept; a round comes sooner
MOST_KEPT = 6

LONGEST_HEAD = 16384  # bytes of a proxy's answer before it lets the connection through
LONGEST = 2**24  # bytes of an answer; 1,000 instances, the most that EC2 puts into one, are 6 MB


class HttpResponse(NamedTuple):
    """An answer: its status, EC2's time by its Date, its document, and if it has none, why."""

    status: int
    date: str
    root: Element | None
    problem: str


class Transport:
    """Sends requests to one endpoint by a `route` (`service_model.Route`)."""

    def __init__(self, reactor: IReactor, route: Any) -> None:
        self._pool = http.HTTPConnectionPool(reactor, persistent=True)
        self._pool.retryAutomatically = False
        self._pool.cachedConnectionTimeout = KEPT
        self._pool.maxPersistentPerHost = MOST_KEPT
        endpoints = _RouteEndpoints(reactor, route)
        self._agent = http.Agent.usingEndpointFactory(reactor, endpoints, self._pool)

    async def post(self, request: Any) -> HttpResponse:
        """Send a request (`service_model.SignedRequest`). Errors are Twisted's: no answer came."""
        headers = Headers({name: [value] for name, value in request.headers.items()})
        body = http.FileBodyProducer(BytesIO(request.body))
        response = await self._agent.request(b"POST", request.url.encode("ascii"), headers, body)
        reading = _BodyReader()
        response.deliverBody(reading)
        root, problem = await reading.done
        dates = response.headers.getRawHeaders(b"date") or [b""]
        return HttpResponse(response.code, str(dates[0], "latin-1"), root, problem)

    def close(self) -> Deferred[None]:
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed


class _BodyReader(Protocol):
    """Reads the body of an answer as it arrives. `done` fires with the document, or with None and
    the reason; it fails if the connection does. Cancelling it closes the connection."""

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
        # Without a length only the XML shows whether that was all.
        if not reason.check(http.ResponseDone, PotentialDataLoss):
            self.done.errback(reason)
            return
        try:
            self.done.callback((self._document.root(), ""))
        except MalformedResponse as problem:
            self.done.callback((None, str(problem)))

    def _abort(self) -> None:
        # The response's transport cannot abort; this ends TCP below TLS, whose own goodbye would
        # wait for the peer's.
        transport: Any = self.transport
        transport.stopProducing()


@implementer(IAgentEndpointFactory)
class _RouteEndpoints:
    """Connects to the endpoint directly or by a tunnel through a proxy, and by TLS if need be."""

    def __init__(self, reactor: IReactor, route: Any) -> None:
        self._reactor = reactor
        self._route = route
        self._policy = http.BrowserLikePolicyForHTTPS(route.trust) if route.trust else None

    def endpointForURI(self, uri: Any) -> IStreamClientEndpoint:
        if self._route.proxy:
            proxy = urlsplit(self._route.proxy)
            endpoint = self._to(proxy.hostname or "", proxy.port or 80)
            endpoint = ProxyTunnel(endpoint, uri.host, uri.port, self._route.proxy_headers)
        else:
            endpoint = self._to(uri.host, uri.port)
        if self._policy is None:
            return endpoint
        return wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)

    def _to(self, host: Any, port: int) -> IStreamClientEndpoint:
        return HostnameEndpoint(self._reactor, host, port, CONNECT_TIMEOUT)


@contextmanager
def network_errors(action: str) -> Iterator[None]:
    """Turn errors of the network into `EC2Error`s."""
    try:
        yield
    except (
        http.ResponseFailed,
        http.RequestGenerationFailed,
        http.RequestTransmissionFailed,
    ) as error:
        causes = [failure.value for failure in error.reasons]
        if any(isinstance(cause, CancelledError) for cause in causes):
            raise CancelledError from None
        raise no_answer(action, _word(causes[-1])) from None
    except ConnectingCancelledError:
        raise CancelledError from None
    except (ConnectError, OSError) as error:
        # Nothing was sent: there was no connection.
        unsent = no_answer(action, _word(error))
        unsent.doubtful = False
        raise unsent from None
    except ConnectionClosed as error:
        raise no_answer(action, _word(error)) from None


def _word(error: BaseException) -> str:
    kind = type(error)
    if kind.__module__.startswith("OpenSSL"):
        try:  # a list of (library, function, reason), perhaps empty
            return f"TLS: {error.args[0][0][2] or kind.__name__}"
        except (IndexError, TypeError):
            return f"TLS: {kind.__name__}"
    if kind.__module__.startswith("service_identity"):
        return "TLS: the certificate is for another name"
    return kind.__name__.lstrip("_")


class ProxyRefuses(ConnectError):
    MESSAGE = "The proxy refuses the connection"


@implementer(IStreamClientEndpoint)
class ProxyTunnel:
    """Connects through the proxy at `endpoint`, which gets the `headers`, e.g. credentials."""

    def __init__(
        self, endpoint: IStreamClientEndpoint, host: bytes, port: int, headers: Mapping[str, str]
    ) -> None:
        self._endpoint = endpoint
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
        opening: Any = await self._endpoint.connect(factory)
        return await opening.opened


class _Opening(Protocol):
    """A connection until the proxy has let it through, and a relay to the wanted protocol from then
    on. `opened` fires with that protocol; cancelling it closes the connection."""

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
        if not (end and head[:7] == b"HTTP/1." and head[8:12] == b" 200"):
            self.opened.errback(ProxyRefuses())  # type: ignore[no-untyped-call]
            self._abort()
            return
        self._through = self._wanted.buildProtocol(None)  # type: ignore[arg-type]  # unused
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


class MalformedResponse(Exception):
    """Malformed response; a word says why."""


class Document:
    """An XML document that arrives in pieces. Its size is bounded, and a document type, which all
    attacks by XML need, is refused."""

    def __init__(self) -> None:
        self._size = 0
        self._builder = TreeBuilder()
        self._parser = ParserCreate("utf-8")
        self._parser.buffer_text = True
        # From C to C: no namespaces, and no Python call for each element.
        self._parser.StartElementHandler = self._builder.start
        self._parser.EndElementHandler = self._builder.end
        self._parser.CharacterDataHandler = self._builder.data
        self._parser.StartDoctypeDeclHandler = _refuse_type

    def feed(self, data: bytes) -> None:
        """Parse the next piece. `MalformedResponse`: the document is malformed, or too long."""
        self._size += len(data)
        if self._size > LONGEST:
            raise MalformedResponse("TooLong")
        try:
            self._parser.Parse(data, False)
        except ExpatError:
            raise MalformedResponse("NoXML") from None

    def root(self) -> Element:
        """The whole document, after its last piece. `MalformedResponse`: something is missing."""
        try:
            self._parser.Parse(b"", True)
        except ExpatError as error:
            short = "CutShort" if self._size else "Empty"
            raise MalformedResponse(short if error.code in _CUT_SHORT else "NoXML") from None
        return self._builder.close()


_CUT_SHORT = {
    errors.codes[message]
    for message in (
        errors.XML_ERROR_NO_ELEMENTS,
        errors.XML_ERROR_PARTIAL_CHAR,
        errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
        errors.XML_ERROR_UNCLOSED_TOKEN,
    )
}


def _refuse_type(*_: object) -> NoReturn:
    raise MalformedResponse("NoXML")


def error_in(root: Element) -> tuple[str, str] | None:
    """The code and the message of an error in an answer; None if the answer has none."""
    error = root.find("Errors/Error")
    if error is None:
        error = root.find("Error")
    if error is None:
        return None
    return error.findtext("Code") or "", error.findtext("Message") or ""


class ResponseParser:
    """Reads the answers of an action, by botocore's `StructureShape` of its output."""

    def __init__(self, shape: Any) -> None:
        self._fields = _fields(shape, {}) if shape is not None else {}

    def steps(self, root: Element, answer: dict[str, Any]) -> Iterator[None]:
        """Put the tree into `answer`; pauses after each item of a list."""
        try:
            for child in root:
                field = self._fields.get(child.tag)
                if field is None:
                    continue
                name, read = field
                if isinstance(read, _List):
                    items = answer[name] = []
                    for item in child:
                        items.append(read.item(item))
                        yield
                else:
                    answer[name] = read(child)
        except (ValueError, OverflowError):
            raise MalformedResponse("OddValue") from None


_Read = Callable[[Element], Any]
_Fields = dict[str, tuple[str, _Read]]


class _List:
    """Reads a list, whatever its items are called."""

    def __init__(self, item: _Read) -> None:
        self.item = item

    def __call__(self, node: Element) -> list[Any]:
        item = self.item
        return [item(child) for child in node]


def _fields(shape: Any, known: dict[str, _Read]) -> _Fields:
    return {
        member.serialization.get("name", name): (name, _reader(member, known))
        for name, member in shape.members.items()
    }


def _reader(shape: Any, known: dict[str, _Read]) -> _Read:
    """The reader of a value. `known`: the readers of structures, which may contain themselves."""
    if shape.serialization.get("flattened") or shape.serialization.get("xmlAttribute"):
        raise NotImplementedError(f"{shape.name}: not in EC2's protocol")
    if shape.type_name == "list":
        return _List(_reader(shape.member, known))
    if shape.type_name in ("string", "character"):
        return _text
    if shape.type_name != "structure":
        value = _VALUES[shape.type_name]
        return lambda node: value(node.text or "")
    if shape.name not in known:
        fields: _Fields = {}

        def read(node: Element) -> dict[str, Any]:
            found = {}
            for child in node:
                field = fields.get(child.tag)
                if field is not None:
                    found[field[0]] = field[1](child)
            return found

        known[shape.name] = read
        fields.update(_fields(shape, known))
    return known[shape.name]


def _text(node: Element) -> str:
    return node.text or ""


def _moment(text: str) -> datetime:
    """Parse e.g. 2026-11-27T22:03:44.000Z. Without a zone it is UTC, as EC2 has no other."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_VALUES: Mapping[str, Callable[[str], Any]] = {
    "blob": base64.b64decode,
    "boolean": "true".__eq__,
    "double": float,
    "float": float,
    "integer": int,
    "long": int,
    "timestamp": _moment,
}
"""How the types of values other than texts are read."""
