"""Holds up what the service sends to somebody who does not read.

Messages come as fast as the service has them. When their reader's terminal takes no more, nothing
is read from the servers either, so that they wait there, in the database, and not in the gateway's
memory. None is lost: a listener that a server gave up meanwhile goes on after the last it showed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer

from bbs.core.addresses import Address
from bbs.protocols.sockets import IStreamTransport


class Valve:
    """Makes the endpoints of one client, and can hold up whatever is connected through them."""

    def __init__(self, endpoint: Callable[[Address], IStreamClientEndpoint]) -> None:
        self._endpoint = endpoint
        self._connected: list[IProtocol] = []
        self._shut = False

    def endpoint(self, address: Address) -> IStreamClientEndpoint:
        endpoint: IStreamClientEndpoint = _Endpoint(self, self._endpoint(address))
        return endpoint

    def shut(self) -> None:
        """Let nothing through from now on."""
        self._shut = True
        for stream in self._streams():
            stream.pauseProducing()

    def open(self) -> None:
        """Let everything through again."""
        self._shut = False
        for stream in self._streams():
            stream.resumeProducing()

    def connected(self, protocol: IProtocol) -> IProtocol:
        self._connected = [each for each in self._connected if _stream(each)]
        self._connected.append(protocol)
        if self._shut:
            self.shut()
        return protocol

    def _streams(self) -> Iterator[IStreamTransport]:
        return filter(None, map(_stream, self._connected))


def _stream(protocol: IProtocol) -> IStreamTransport | None:
    """What a protocol is connected by, None once it is not."""
    stream: IStreamTransport | None = getattr(protocol, "transport", None)
    return stream


@implementer(IStreamClientEndpoint)
class _Endpoint:
    def __init__(self, valve: Valve, endpoint: IStreamClientEndpoint) -> None:
        self._valve = valve
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        connecting: Deferred[IProtocol] = self._endpoint.connect(protocolFactory)
        return connecting.addCallback(self._valve.connected)
