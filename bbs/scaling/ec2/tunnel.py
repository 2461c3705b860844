"""A way through an HTTP proxy: CONNECT, and what was wanted behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionLost
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

LONGEST_HEAD = 16384
"""Bytes of what a proxy says before it lets through."""


class ProxyRefuses(ConnectError):
    """The proxy does not let through."""

    MESSAGE = "The proxy does not let through"


@implementer(IStreamClientEndpoint)
class Tunnel:
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
