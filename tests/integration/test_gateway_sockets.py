"""The gateway's connections on real sockets: how they end, and peers that do not read."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from fcntl import ioctl
from termios import FIONREAD, TIOCOUTQ
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from bbs.faces.telnet.peer import terminals
from bbs.protocols.connection_state import LINGER
from bbs.protocols.line.interfaces import LineLimits
from bbs.ui.gateway.connection import GatewayFactory
from tests.client.case import on_sockets
from tests.integration.service import eventually
from tests.ui.gateway.case import BOARD

MANY = 200
"""Times `help` that are more than the sockets on the way take, and are carried out at once."""


class Gateway(GatewayFactory):
    """A gateway that remembers whom it had."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._made: list[Any] = []

    def buildProtocol(self, addr: Any) -> Any:
        connection = super().buildProtocol(addr)
        self._made.append(connection)
        return connection

    @property
    def transports(self) -> list[Any]:
        """Those of all connections that there were."""
        return [connection.transport for connection in self._made]

    @property
    def connected(self) -> int:
        """How many connections there are."""
        return sum(transport.connected for transport in self.transports)


class SocketTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        _, login = on_sockets(self)
        limits = LineLimits(max_line=65536, write_timeout=0.5)
        made = terminals(limits.max_line, cast("IReactorTime", reactor))
        self.gateway = Gateway(reactor, BOARD, login, "", limits, made)
        self.port = self.listen(self.gateway)

    def listen(self, factory: Any) -> int:
        port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(lambda: maybeDeferred(port.stopListening))
        return port.getHost().port

    def connect(self) -> Peer:
        peer = Peer(self.port)
        self.addCleanup(peer.close)
        return peer

    def tearDown(self) -> Any:
        return self.gateway.close_all(0.1)

    async def test_the_kernel_is_asked_whether_the_peer_is_there(self) -> None:
        peer = self.connect()
        await peer.hears(b"bbs> ")
        handle = self.gateway.transports[0].getHandle()
        for level, option in (
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            (socket.IPPROTO_TCP, socket.TCP_NODELAY),
        ):
            self.assertTrue(handle.getsockopt(level, option))
        self.assertEqual(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 60)

    async def test_synch_leaves_no_rubbish_in_the_line(self) -> None:
        peer = self.connect()
        await peer.hears(b"bbs> ")
        peer.send(b"\r\n\xff\xfc\x01")
        await peer.hears(b"\xff\xfd\x2a")
        peer.send(b"xy\xff\xf8\xff")
        peer.socket.send(b"\xf2", socket.MSG_OOB)  # telnet's Synch: IAC, and DM as urgent byte
        peer.send(b"encoding\r\n")
        await peer.hears(b"Encoding: UTF-8\r\n")

    async def test_what_is_unread_does_not_cost_the_peer_the_last_words(self) -> None:
        peer = self.connect()
        await peer.hears(b"bbs> ")
        peer.send(b"exit\n" + b"ping\n" * 10_000)
        await deferLater(reactor, 0.2)
        await peer.hears(b"Bye!\n")
        await peer.hears_the_end()
        peer.close()
        # Long before the gateway would lose its patience.
        await eventually(lambda: not self.gateway.connected, "nothing is left", LINGER / 2)

    async def test_a_peer_that_stays_is_left(self) -> None:
        peer = self.connect()
        await peer.hears(b"bbs> ")
        peer.send(b"exit\n")
        await peer.hears_the_end()
        self.assertEqual(self.gateway.connected, 1)
        await eventually(lambda: not self.gateway.connected, "nothing is left", 4)

    async def test_one_that_has_closed_its_side(self) -> None:
        peer = self.connect()
        peer.send(b"help")
        peer.socket.shutdown(socket.SHUT_WR)
        await peer.hears(b"exit")
        await peer.hears(b"Bye!\n")
        await eventually(lambda: not self.gateway.connected, "nothing is left", 1)

    async def much(self) -> Peer:
        """Somebody who is sent much and reads none of it, until the gateway sends no more."""
        peer = self.connect()
        await eventually(lambda: self.gateway.transports, "the gateway has the connection")
        transport = self.gateway.transports[0]
        transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        written, write = [0], transport.write

        def count(data: bytes) -> None:
            written.append(written[-1] + len(data))
            write(data)

        transport.write = count
        peer.send(b"help\n" * MANY)

        async def stopped() -> bool:
            before = written[-1]
            await deferLater(reactor, 0.1)
            return before == written[-1] > 0

        await eventually(stopped, "the socket takes no more")
        # What of it is in neither of the sockets the gateway has.
        self.kept = written[-1] - queued(transport.getHandle(), TIOCOUTQ) - queued(peer.socket)
        return peer

    async def test_who_takes_nothing_is_left(self) -> None:
        await self.much()
        self.assertGreater(self.kept, 0)
        self.assertLess(self.kept, 70_000)
        await eventually(lambda: not self.gateway.connected, "nothing is left", 5)

    async def test_who_takes_little_gets_all(self) -> None:
        peer = await self.much()
        for _ in range(8):
            await deferLater(reactor, 0.2)
            peer.read(8_000)
        self.assertEqual(self.gateway.connected, 1)
        peer.send(b"exit\n")
        await peer.hears(b"Bye!\n")
        self.assertEqual(bytes(peer.heard).count(b"register <id>"), MANY)


def queued(handle: socket.socket, queue: int = FIONREAD) -> int:
    """Bytes in a socket: those that have come, or those that are on their way (TIOCOUTQ)."""
    found: int = struct.unpack("i", ioctl(handle, queue, bytes(4)))[0]
    return found


class Peer:
    """A socket that reads when it is told to."""

    def __init__(self, port: int) -> None:
        self.heard = bytearray()
        self.ended = False
        self._left = b""
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)

    def send(self, data: bytes) -> None:
        """Send it, as far as it is taken now, and the rest when something is read."""
        self._left += data
        with contextlib.suppress(BlockingIOError):
            self._left = self._left[self.socket.send(self._left) :]

    def read(self, most: int = 1 << 30) -> None:
        """Take so many bytes, if they are there."""
        if self._left:
            self.send(b"")
        with contextlib.suppress(BlockingIOError):
            while most > 0 and not self.ended:
                data = self.socket.recv(min(most, 65536))
                self.heard += data
                self.ended = not data
                most -= len(data)

    def hears(self, data: bytes) -> Deferred[bool]:
        return eventually(self._reading(lambda: data in self.heard), f"{data!r} comes")

    def hears_the_end(self) -> Deferred[bool]:
        return eventually(self._reading(lambda: self.ended), "the end comes")

    def _reading(self, condition: Callable[[], bool]) -> Callable[[], bool]:
        def look() -> bool:
            self.read()
            return condition()

        return look

    def close(self) -> None:
        self.socket.close()
