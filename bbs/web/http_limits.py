"""HTTP for the operators' page: the headers of every answer, the client behind a proxy, and limits
on what a peer may ask.

Twisted's own server bounds neither a body, nor the number of connections, nor the time that a
request may take to arrive byte by byte, nor the requests of one connection that it answers before
it looks at anything else. The classes here do.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Collection, Container, Sequence
from functools import partial
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IReactorTime, ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, parse_qs
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from bbs.core import audit
from bbs.core.addresses import counted_as, is_loopback, networks, usual_form
from bbs.core.values import IDoor, IEntry, Rate
from bbs.limits.connections import Network, Networks, discount
from bbs.limits.rate_limits import Buckets
from bbs.protocols.connection_state import OpenDoor, host_of
from bbs.web.resources import as_text, send

MAX_BODY = 24_576  # bytes in a request's body: 2,000 characters, of 12 bytes each as escapes
MAX_CONNECTIONS = 300  # at once, in addition to those that only hear that they are too many
CONNECTIONS_PER_ADDRESS = 20  # a browser has six

PROBED = (b"/health", b"/ready")
"""Paths answered beyond these limits too: a prober must not take the server for dead because others
crowd it."""

MAX_PROBES = 20
"""Connections beyond the limits that are open at once. For another, one of them gives way
(`BoundedSite.make_way`), so that silent ones do not keep probers out."""

PROBE_TIMEOUT = 5.0  # seconds that such a connection has for its request

MAX_OPERATORS = 40
"""Connections of operators that stay beyond the limits. A browser has six, and a process keeps 128
descriptors for itself (`bbs.limits.connections.RESERVED`)."""

RANKED_EVERY = 0.1
"""Seconds for which a ranking of the page's connections holds. Asking takes 0.25 ms, which each
newcomer to a full page would cost."""

MAX_HOPS = 10  # proxies in a row of which headers are read

REQUEST_TIMEOUT = 20.0
"""Seconds that a connection may be idle, or take to send a whole request, or to take the answer."""

READ_AHEAD = 16384  # bytes that are read while the request before them is answered

BEGUN_AT_ONCE = 10
"""Connections whose next request is begun in one turn of the reactor. A request takes about 0.1 ms,
so peers that pipeline on `MAX_CONNECTIONS` delay others by 1 ms, and not by 30."""

BEGUN_A_SECOND = Rate(500, 1.0)
"""Requests behind others on their connections that are begun, if they come without end: without
this bound 10 connections that pipeline keep the reactor busy all the time, 1,800 to 3,900 requests
a second, and logins by the same process took 3.7 s in place of 0.08."""

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

FAILED = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Connection: close\r\nContent-Length: 15\r\n\r\nInternal error\n"
)
"""The answer to a request that an error of ours keeps from a resource."""

BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

LINE_TOO_LONG = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n"
    b"Content-Length: 0\r\n\r\n"
)

MAX_DIGITS = 20  # of a Content-Length: Python refuses to read numbers of 4,301, by an exception

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


_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]*)(.*)")
"""A request's target in absolute form (RFC 9112, 3.2.2)."""

_FORWARDED = b"Forwarded"

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"

_PAIR = rb"[ \t]*(" + _TOKEN + rb")=(" + _TOKEN + rb'|"[^",\\]*")[ \t]*'

_PAIRS = re.compile(_PAIR)

_ELEMENT = re.compile(_PAIR + rb"(?:;" + _PAIR + rb")*")
"""What one proxy adds to `Forwarded` (RFC 7239, 4), without commas and escapes in a quoted value:
so the last comma of the header begins what the last proxy has added, whatever a client sent."""

_NODE = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?|([0-9A-Fa-f:.]+)")
"""An address, with or without a port."""

_log = Logger()


def client_behind(headers: Headers, proxies: Networks) -> str:
    """The client whose request `proxies` have passed on, in its usual form; "" if the headers do
    not say. A proxy writes one of them and may let the other through, as the client wrote it: so
    where both are there, they have to agree."""
    found = {
        _rightmost(values, name, proxies)
        for name in (_FORWARDED, b"X-Forwarded-For")
        if (values := headers.getRawHeaders(name))
    }
    return found.pop() if len(found) == 1 else ""


def _rightmost(values: Sequence[bytes], name: bytes, proxies: Networks) -> str:
    """The rightmost address of a header that is not in `proxies`, else the leftmost; "" if it is
    malformed."""
    left, found = b",".join(values), ""
    for _ in range(MAX_HOPS):
        left, comma, hop = left.rpartition(b",")
        found = _address_of(_node(hop) if name == _FORWARDED else hop.strip())
        if not (comma and found in proxies):
            break
    return found


def _node(element: bytes) -> bytes:
    """The value of `for` in an element of `Forwarded`; empty if there is not one, or another."""
    if _ELEMENT.fullmatch(element) is None:
        return b""
    found = [value for name, value in _PAIRS.findall(element) if name.lower() == b"for"]
    return found[0].strip(b'"') if len(found) == 1 else b""


def _address_of(node: bytes) -> str:
    matched = _NODE.fullmatch(node)
    if matched is None:
        return ""
    try:
        return usual_form(next(filter(None, matched.groups())).decode())
    except ValueError:
        return ""


class BoundedRequest(Request):
    """A request with a short body, answered with `HEADERS`."""

    channel: BoundedChannel
    _error = ""  # Why the request is malformed.

    def gotLength(self, length: int | None) -> None:
        if length is None or length > MAX_BODY:
            reason = b"411 Length Required" if length is None else b"413 Content Too Large"
            self.channel.close_with(b"HTTP/1.1 " + reason + b"\r\nContent-Length: 0\r\n\r\n")
            length = 0
        Request.gotLength(self, length)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Answer. Twisted would parse a form here, whether anybody wants it or not, and fail if
        its type is malformed."""
        this: Any = self
        this.content.seek(0)
        self.method, self.clientproto = command, version
        self.uri = self._without_authority(path)
        self.path, _, query = self.uri.partition(b"?")
        self.args = parse_qs(query, 1)
        self.process()

    def _without_authority(self, target: bytes) -> bytes:
        """The path and the query of a request's target; notes a malformed `Host`."""
        hosts = self.requestHeaders.getRawHeaders(b"Host") or []
        absolute = _ABSOLUTE.fullmatch(target)
        if len(hosts) > 1:
            self._error = "There is more than one header Host"
        elif absolute is not None:
            if hosts and hosts[0].lower() != absolute[1].lower():
                self._error = "The header Host and the target of the request differ"
            self.requestHeaders.setRawHeaders(b"Host", [absolute[1]])
            path = absolute[2]
            return path if path.startswith(b"/") else b"/" + path
        return target

    def process(self) -> None:
        for name, value in HEADERS:
            Request.setHeader(self, name.encode(), value.encode())
        if self._error:
            self.channel.persistent = False
            Request.setHeader(self, b"Connection", b"close")
            send(self, as_text(self._error, 400))
        elif self._is_misdirected():
            send(self, as_text("Ask for localhost, 127.0.0.1 or [::1]", 421))
        elif self.path not in PROBED and not self._is_admitted():
            send(self, TOO_MANY)
        else:
            Request.process(self)

    def _is_admitted(self) -> bool:
        """Whether the connection is within the limits, and the client behind a proxy as well."""
        channel = self.channel
        if channel.is_beyond or not channel.is_proxys or channel.is_operators:
            return not channel.is_beyond
        leave = channel.site.admit_client(channel.client, host_of(self.client))
        if leave is not None:
            self.notifyFinish().addBoth(lambda _: leave())
        return leave is not None

    def getClientAddress(self) -> Any:
        """The address of the client, which may be one that a trusted proxy has named."""
        host = self.channel.client if self.channel is not None else ""
        if not host:
            return Request.getClientAddress(self)
        return (IPv6Address if ":" in host else IPv4Address)("TCP", host, 0)

    def _is_misdirected(self) -> bool:
        """Whether the request came by loopback, but under a name that is not loopback's.

        The owner of a name can have it mean 127.0.0.1 (DNS rebinding). A browser takes this page
        for a part of the owner's site then, whose scripts could read it.
        """
        this: Any = self
        local = getattr(this.getHost(), "host", "")
        if not is_loopback(local):
            return False
        name = this.getRequestHostname().decode("ascii", "replace").lower()
        return name != "localhost" and not is_loopback(name)


class BoundedChannel(HTTPChannel):
    """A connection whose requests arrive within `REQUEST_TIMEOUT`. Each begins in its own turn of
    the reactor, after the answers to all before it have left.

    A connection that `is_beyond` the limits is answered one request only, unless an operator sends
    it. `entry` is its place among those of the process, if it has one.

    :ivar client: who sent the latest request, if a trusted proxy passed it on; else "".
    :ivar networks: those of the client.
    :ivar since: when the latest request began to be answered, or the connection began.
    :ivar is_operators: whether the latest request was an operator's.
    """

    site: BoundedSite
    forceAbortClient: Callable[[], None]
    setTimeout: Callable[[float | None], float | None]
    entry: IEntry | None = None
    is_beyond = False
    is_operators = False
    is_proxys = False
    client = ""
    networks = "", "", ""
    since = 0.0
    transport: Any
    _answered: Any = None  # The last request, until the next begins.
    _has_asked = False
    _closing = False

    @property
    def may_give_way(self) -> bool:
        """Whether it can be ended for another: no operator's, and nothing is being answered."""
        return not self.is_operators and (not self._handlingRequest or self._answered is not None)

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
        self._has_asked = True
        if self.entry is not None:
            self.entry.has_asked()
        self.site.note_request(self, request)
        persists: bool = HTTPChannel.checkPersistence(self, request, version)
        if self.is_beyond:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        return persists and not self.is_beyond

    def turn_away(self) -> None:
        """Close: another needs the place."""
        if ISSLTransport.providedBy(self.transport) or self._waitingForTransport:
            # TLS sends nothing before the peer has shaken hands, however long that takes; and who
            # has yet to take an answer may take as long.
            self.transport.abortConnection()
        elif self._answered is not None or (self._has_asked and not self.requests):
            self.loseConnection()  # Between two requests: the peer has not failed.
        elif not self._handlingRequest:  # Else it closes by itself after the answer.
            self.close_with(TURNED_AWAY)

    def loseConnection(self) -> None:
        self._closing = True
        lose: Callable[[BoundedChannel], None] = HTTPChannel.loseConnection
        lose(self)

    def dataReceived(self, data: bytes) -> None:
        self._fail_alone(HTTPChannel.dataReceived, data)

    def headerReceived(self, line: bytes) -> bool:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and len(value.strip()) > MAX_DIGITS:
            self.close_with(BAD_REQUEST)
            return False
        return bool(HTTPChannel.headerReceived(self, line))

    def lineReceived(self, line: bytes) -> None:
        # After a refused line Twisted goes on if the peer has gone meanwhile (TLS notices that
        # late), and fails.
        if not self._closing:
            HTTPChannel.lineReceived(self, line)

    def lineLengthExceeded(self, line: bytes) -> None:
        self.close_with(LINE_TOO_LONG)

    def close_with(self, words: bytes) -> None:
        """Close as soon as the peer has taken `words`, unless it closes already."""
        if not self._closing:
            self.transport.write(words)
            self.loseConnection()

    def _fail_alone(self, call: Callable[..., None], *arguments: object) -> None:
        """Call what reads or begins requests. An error in it ends this connection, and no other's
        turn."""
        try:
            call(self, *arguments)
        except Exception:
            _log.failure("a request to the page was not dealt with")
            if self._closing or any(request.startedWriting for request in self.requests):
                self.transport.abortConnection()
            else:
                self.close_with(FAILED)
        else:
            self._limit_read_ahead()

    def _limit_read_ahead(self) -> None:
        """Read no more while much is there behind the present request. Twisted would go on reading
        while the peer takes nothing, and once for each request: 64 KiB for 200 bytes."""
        if self._handlingRequest and sum(map(len, self._dataBuffer)) > READ_AHEAD:
            self._networkProducer.pauseProducing()

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
            answered, self._answered = self._answered, None
            self._fail_alone(HTTPChannel.requestDone, answered)

    def resumeProducing(self) -> None:
        HTTPChannel.resumeProducing(self)
        if self._answered is not None:
            self.site.queue(self)

    def rawDataReceived(self, data: bytes) -> None:
        if self._closing:
            return
        if self._handlingRequest:
            self._dataBuffer.append(data)
        else:
            HTTPChannel.rawDataReceived(self, data)


class BoundedSite(Site):
    """Serves `root` to at most `MAX_CONNECTIONS` that `door` lets in, and to operators beyond.

    :param shows_operator: says whether a request is an operator's.
    :param proxies: networks of proxies that are believed about clients. Who connects by a UNIX
        socket is then believed too.
    :param trusted: clients of proxies that may have any number of requests under way.
    """

    protocol = BoundedChannel  # type: ignore[assignment]  # Any channel is meant.

    def __init__(
        self,
        root: IResource,
        reactor: IReactorTime,
        door: IDoor | None = None,
        shows_operator: Callable[[Any], bool] = lambda request: False,
        proxies: Sequence[Network] = (),
        trusted: Container[str] = (),
    ) -> None:
        Site.__init__(
            self, root, requestFactory=BoundedRequest, timeout=REQUEST_TIMEOUT, reactor=reactor
        )
        self._clock = reactor
        self.connections: set[BoundedChannel] = set()
        self.door: IDoor = door or OpenDoor()
        self._shows_operator = shows_operator
        self._has_proxies, self._proxies = bool(proxies), Networks(proxies)
        self._beyond: dict[BoundedChannel, None] = {}  # Beyond the limits.
        self._operators: set[BoundedChannel] = set()  # Beyond the limits, but operators'.
        self._queue: deque[BoundedChannel] = deque()  # Their next request may begin.
        self._pace = Buckets(BEGUN_A_SECOND, reactor)
        self._is_scheduled = False
        self._trusted = trusted
        self._clients: Counter[str] = Counter()  # Requests under way, by the clients of proxies.
        self._ranking: list[BoundedChannel] = []  # The greediest last.
        self._ranked_at = float("-inf")

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if self.door.is_jammed:
            return None
        host = host_of(addr)
        is_proxys = self._has_proxies and (not host or host in self._proxies)
        # Requests of the clients behind a proxy are counted instead.
        entry = self.door.enter("" if is_proxys else host)
        is_full = len(self.connections) >= MAX_CONNECTIONS
        if entry is not None and is_full and not self.make_way():
            entry.leave()
            entry = None
        channel: Any = Site.buildProtocol(self, addr)
        channel.entry, channel.is_beyond, channel.is_proxys = entry, entry is None, is_proxys
        channel.networks, channel.since = networks(host), self._clock.seconds()
        if entry is None:
            channel.timeOut = PROBE_TIMEOUT
        return channel

    def log(self, request: Any) -> None:
        """Log nothing: reads are private, and actions are logged where they are carried out."""

    def close_all(self) -> None:
        for channel in [*self.connections, *self._beyond, *self._operators]:
            channel.loseConnection()

    def add(self, channel: BoundedChannel) -> None:
        if not channel.is_beyond:
            self.connections.add(channel)
            return
        self._beyond[channel] = None
        if len(self._beyond) > MAX_PROBES:
            self._end_last(self._rank(self._beyond))

    def remove(self, channel: BoundedChannel) -> None:
        self.connections.discard(channel)
        self._operators.discard(channel)
        self._beyond.pop(channel, None)

    def make_way(self) -> bool:
        """End a connection, if any may give way: of the network that has the most of them, the one
        that is idle for the longest. That way, strangers from one network give way to each
        other."""
        now = self._clock.seconds()
        if now - self._ranked_at >= RANKED_EVERY:
            self._ranked_at, self._ranking = now, self._rank(self.connections)
        return self._end_last(self._ranking)

    def _end_last(self, ranking: list[BoundedChannel]) -> bool:
        while ranking:
            leaving = ranking.pop()
            is_here = leaving in self.connections or leaving in self._beyond
            if is_here and leaving.may_give_way:
                self.remove(leaving)
                leaving.turn_away()
                return True
        return False

    @staticmethod
    def _rank(channels: Collection[BoundedChannel]) -> list[BoundedChannel]:
        """Those of `channels` that may give way, the greediest last."""
        may = [each for each in channels if each.may_give_way]
        if not may:
            return []
        counted = [each.networks for each in channels if not each.is_operators]
        wide, middle, narrow = map(Counter, zip(*counted, strict=True))

        def greed(channel: BoundedChannel) -> tuple[float, ...]:
            of = channel.networks
            return wide[of[0]], middle[of[1]], narrow[of[2]], -channel.since

        found = sorted(may, key=greed, reverse=True)
        found.reverse()  # Of equals the first one is the last, and goes first.
        return found

    def admit_client(self, client: str, proxy: str) -> Callable[[], None] | None:
        """Count one more request of the `client` behind `proxy`, which stands for a client that it
        did not name; returns what ends that. None if there are too many under way."""
        if client and client in self._trusted:
            return lambda: None
        key = counted_as(client or proxy)
        if self._clients[key] >= CONNECTIONS_PER_ADDRESS:
            audit.record("connect", "refused", address=client or proxy)
            return None
        self._clients[key] += 1
        return partial(discount, self._clients, key, 1)

    def note_request(self, channel: BoundedChannel, request: Any) -> None:
        """Note whose `request` the head of is there."""
        channel.since = self._clock.seconds()
        if channel.is_proxys:
            channel.client = client_behind(request.requestHeaders, self._proxies)
            channel.networks = networks(channel.client or host_of(request.client))
        channel.is_operators = bool(request.received_cookies) and self._shows_operator(request)
        if channel.is_operators and channel.is_beyond and len(self._operators) < MAX_OPERATORS:
            self.remove(channel)
            self._operators.add(channel)
            channel.is_beyond = False
            channel.setTimeout(REQUEST_TIMEOUT)

    def queue(self, channel: BoundedChannel) -> None:
        """Let the next request of `channel` begin in a later turn of the reactor."""
        self._queue.append(channel)
        self._schedule()

    def _schedule(self) -> None:
        if self._queue and not self._is_scheduled:
            self._is_scheduled = True
            self._clock.callLater(self._pace.wait(0), self._begin_some)

    def _begin_some(self) -> None:
        count = min(len(self._queue), BEGUN_AT_ONCE)
        self._pace.take(0, count)
        try:
            for _ in range(count):
                self._queue.popleft().begin_next()
        finally:  # Whatever goes wrong in one turn, the others have theirs.
            self._is_scheduled = False
            self._schedule()
