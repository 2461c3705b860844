"""The PROXY protocol, version 2: a proxy says where each connection that it passes on is from.

`ProxiedFactory` wraps the factory of a port that people reach both directly and through proxies. A
connection from a proxy must begin with a header, and any other has none: what a stranger sends in
its place is never believed. Limits by address thereby count the person, and not the proxy.

Source: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
"""

from __future__ import annotations

import struct
from collections.abc import Container
from ipaddress import IPv4Address as IPv4
from ipaddress import IPv6Address as IPv6
from typing import Any, NamedTuple, cast

from twisted.internet import interfaces
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from bbs.protocols.connection_state import host_of

DEADLINE = 5.0  # s for a header, which a proxy sends at once

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED = struct.Struct("!12sBBH")
_LONGEST = 4096  # bytes after the fixed part: addresses, and values that are not read
_LOCAL, _PROXY = 0x20, 0x21  # version and command
_FAMILIES = {0x11: (IPv4, IPv4Address, "!4s4sHH"), 0x21: (IPv6, IPv6Address, "!16s16sHH")}
"""By family and transport, of which only TCP's have an address: the rest says nothing."""

_log = Logger()


class Header(NamedTuple):
    """A header: whose connection it is (None: the proxy's own), and its length in bytes."""

    peer: IPv4Address | IPv6Address | None
    length: int


def parse(data: bytes) -> Header | None:
    """The header with which `data` begins; None if that goes on.

    :raises ValueError: `data` begins with something else.
    """
    if data[: len(SIGNATURE)] != SIGNATURE[: len(data)]:
        raise ValueError("no PROXY header")
    if len(data) < _FIXED.size:
        return None
    _, command, family, more = _FIXED.unpack_from(data)
    if command not in (_LOCAL, _PROXY) or more > _LONGEST:
        raise ValueError("a malformed PROXY header")
    length = _FIXED.size + more
    if len(data) < length:
        return None
    known = _FAMILIES.get(family) if command == _PROXY else None
    if known is None:
        return Header(None, length)
    read, address, layout = known
    if more < struct.calcsize(layout):
        raise ValueError("a malformed PROXY header")
    source, _, port, _ = struct.unpack_from(layout, data, _FIXED.size)
    return Header(address("TCP", str(read(source)), port), length)


class ProxiedFactory(Factory):
    """Makes `wrapped`'s protocols. For a connection from one of `proxies` it waits for the header,
    and then the peer is whom that names."""

    noisy = False

    def __init__(
        self,
        wrapped: interfaces.IProtocolFactory,
        proxies: Container[str],
        clock: interfaces.IReactorTime,
    ) -> None:
        self.wrapped = wrapped
        self.clock = clock
        self._proxies = proxies
        self._has_warned = False

    def logPrefix(self) -> str:
        prefix: str = cast(Any, self.wrapped).logPrefix()
        return prefix

    def doStart(self) -> None:
        self.wrapped.doStart()

    def doStop(self) -> None:
        self.wrapped.doStop()

    def buildProtocol(self, address: interfaces.IAddress) -> interfaces.IProtocol | None:  # type: ignore[override]
        if host_of(address) in self._proxies:
            return ProxiedConnection(self)
        return self.wrapped.buildProtocol(address)

    def is_wrong(self, proxy: str, why: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            _log.error(
                "{why} from {proxy}, which is in app.trusted_proxies: let it send one of version 2",
                why=why,
                proxy=proxy,
            )


@implementer(interfaces.IProtocol)
class ProxiedConnection:
    """A connection from a proxy. The protocol behind it begins once the header is there."""

    def __init__(self, factory: ProxiedFactory) -> None:
        self._factory = factory
        self._header = b""
        self._inner: Any = None

    def makeConnection(self, transport: interfaces.ITransport) -> None:
        self._transport: Any = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        self._deadline = self._factory.clock.callLater(DEADLINE, self._transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.dataReceived(data)
            return
        self._header += data
        try:
            header = parse(self._header)
        except ValueError as problem:
            self._factory.is_wrong(host_of(self._transport.getPeer()), str(problem))
            self._transport.abortConnection()
            return
        if header is not None:
            self._deadline.cancel()
            rest, self._header = self._header[header.length :], b""
            self._begin(header.peer or self._transport.getPeer(), rest)

    def _begin(self, peer: interfaces.IAddress, rest: bytes) -> None:
        inner: Any = self._factory.wrapped.buildProtocol(peer)
        if inner is None:
            self._transport.abortConnection()
            return
        self._inner = inner
        if interfaces.IHalfCloseableProtocol.providedBy(inner):
            self.readConnectionLost = inner.readConnectionLost
            self.writeConnectionLost = inner.writeConnectionLost
            alsoProvides(self, interfaces.IHalfCloseableProtocol)
        inner.makeConnection(_Transport(self._transport, peer))
        if rest:
            inner.dataReceived(rest)

    def connectionLost(self, reason: Failure) -> None:
        if self._inner is not None:
            self._inner.connectionLost(reason)
        elif self._deadline.active():
            self._deadline.cancel()


class _Transport:
    """A transport whose peer is another than the one that it is connected to."""

    def __init__(self, transport: Any, peer: interfaces.IAddress) -> None:
        self._transport = transport
        self._peer = peer

    def getPeer(self) -> interfaces.IAddress:
        return self._peer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
