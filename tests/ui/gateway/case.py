"""People at a gateway in memory: by telnet or by a plain pipe, with the board behind it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pyte
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from bbs.board.client import face
from bbs.core.addresses import Address
from bbs.faces.telnet.peer import terminals
from bbs.limits.connections import Door
from bbs.protocols.line.interfaces import LineLimits
from bbs.testing import MemoryNetwork
from bbs.ui.gateway.connection import GatewayConnection, GatewayFactory
from bbs.ui.gateway.session import GREETING, Host
from tests.client.case import LOGIN, ClientTestCase

LIMITS = LineLimits(max_line=200, idle_timeout=600.0)

AGREED = (
    b"\xff\xfd\x01\xff\xfd\x03\xff\xfd\x00\xff\xfe\x2a"  # DO ECHO, SGA, BINARY, DONT CHARSET
    b"\xff\xfb\x03\xff\xfb\x00\xff\xfb\x1f\xff\xfc\x2a"  # WILL SGA, BINARY, NAWS, WONT CHARSET
)
REFUSED = AGREED.translate(bytes.maketrans(b"\xfb\xfd", b"\xfc\xfe"))


def window(columns: int) -> bytes:
    """What telnet says of a window that is so wide."""
    return (
        b"\xff\xfa\x1f"
        + columns.to_bytes(2, "big").replace(b"\xff", b"\xff\xff")
        + b"\0\x18\xff\xf0"
    )


HOST = "192.0.2.7"
"""Where visitors come from, unless it is said."""

BOARD = Host("bbs", "bbs, a bulletin board.", face)

WELCOME = GREETING.format(BOARD.greeting)
"""What people read first."""


class Socket(StringTransport):
    """A transport in memory, with what real ones have beside."""

    reading = True
    handle: Any = None
    """The socket under it."""
    aborted = 0
    """How often it was."""

    def getHandle(self) -> Any:
        return self.handle

    def loseWriteConnection(self) -> None:
        self.disconnecting = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing: bytes go nowhere."""

    setTcpKeepAlive = setTcpNoDelay

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def abortConnection(self) -> None:
        self.disconnecting = self.disconnected = True
        self.aborted += 1


class Visitor:
    """Somebody at the other end of a gateway's connection."""

    def __init__(
        self, clock: Clock, network: MemoryNetwork, factory: GatewayFactory, address: IAddress
    ) -> None:
        self.clock = clock
        self.network = network
        self.socket = Socket(peerAddress=address)
        protocol = factory.buildProtocol(self.socket.getPeer())
        assert isinstance(protocol, GatewayConnection)
        self.connection: GatewayConnection = protocol
        self.connection.makeConnection(self.socket)
        self.screen = pyte.Screen(80, 24)
        self._stream = pyte.ByteStream(self.screen)
        self._seen = 0

    def send(self, data: bytes | str) -> None:
        """Send this, and let everything happen that comes of it."""
        self.connection.dataReceived(data.encode() if isinstance(data, str) else data)
        self.settle()

    def settle(self) -> None:
        self.network.flush()

    def close_side(self) -> None:
        """Send no more."""
        protocol = IHalfCloseableProtocol(self.connection)
        protocol.readConnectionLost()
        self.settle()

    def leave(self) -> None:
        """Go, if that is not done yet."""
        if self.socket.connected:
            self.socket.connected = False
            self.connection.connectionLost()
            self.settle()

    def forget(self) -> None:
        """What has come until now is not new any more."""
        self._seen = len(self.socket.value())

    @property
    def new(self) -> bytes:
        """What has come since the last look."""
        data = self.socket.value()
        new, self._seen = data[self._seen :], len(data)
        return new

    @property
    def text(self) -> str:
        return self.new.decode()

    @property
    def is_over(self) -> bool:
        return self.socket.disconnecting

    def shown(self) -> list[str]:
        """The lines of a terminal that shows what has come, as a telnet passes it on."""
        self.screen.reset()
        data = self.socket.value()
        while b"\xff" in data:
            start = data.index(b"\xff")
            data = data[:start] + data[start + 3 :]
        self._stream.feed(data)
        lines = [line.rstrip() for line in self.screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def last(self) -> str:
        """The line that the cursor is in."""
        self.shown()
        return self.screen.display[self.screen.cursor.y].rstrip()


class GatewayCase(ClientTestCase):
    """A gateway to the board in memory, where ann and bob are registered."""

    secret = ""
    limits = LIMITS
    door: Door | None = None

    def setUp(self) -> None:
        super().setUp()
        self.factory = self.make_factory(self.network.endpoint)
        self.register("ann", "bob")

    def make_factory(self, endpoint: Callable[[Address], IStreamClientEndpoint]) -> GatewayFactory:
        """A gateway that reaches servers through `endpoint`."""
        return GatewayFactory(
            self.clock,
            BOARD,
            LOGIN,
            self.secret,
            self.limits,
            terminals(self.limits.max_line, self.clock),
            endpoint,
            self.door,
            self.service.wall,
        )

    def time(self) -> str:
        """What it is by the clock on the wall, as people read it."""
        return f"{datetime.fromtimestamp(self.service.wall()):%H:%M}"

    def visitor(self, host: str = HOST) -> Visitor:
        """Somebody who has connected, and not said anything."""
        return self.visitor_at(IPv4Address("TCP", host, 50000))

    def visitor_at(self, address: IAddress) -> Visitor:
        """Somebody who has connected from there."""
        visitor = Visitor(self.clock, self.network, self.factory, address)
        self.addCleanup(visitor.leave)
        return visitor

    def pipe(self, *lines: str) -> Visitor:
        """Somebody with nc, who has sent some lines."""
        visitor = self.visitor()
        for line in lines:
            visitor.send(f"{line}\n")
        return visitor

    def telnet(self, *lines: str) -> Visitor:
        """Somebody whose telnet sends each key, and who has typed some lines."""
        visitor = self.visitor()
        visitor.send(b"\r\n")
        visitor.send(AGREED)
        for line in lines:
            visitor.send(f"{line}\r\0")
        return visitor
