"""The gateway's connections on real sockets: how they end, and peers that do not read."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from bbs.gateway import pace
from bbs.gateway.connection import GatewayConnection
from bbs.gateway.factory import GatewayFactory
from bbs.protocols.life import LINGER
from bbs.protocols.line.interfaces import LineLimits
from tests.client.case import on_sockets
from tests.gateway.case import BOARD
from tests.integration.service import eventually

MANY = 10_000
"""Times `help` that are more than the sockets on the way take."""


class SocketTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        _, login = on_sockets(self)
        limits = LineLimits(max_line=65536, write_timeout=0.5)
        self.gateway = GatewayFactory(reactor, BOARD, login, "", limits)
        self.made: list[GatewayConnection] = []
        build = self.gateway.buildProtocol
        self.patch(self.gateway, "buildProtocol", lambda address: self.keep(build(address)))
        self.port = self.listen(self.gateway)

    def keep(self, connection: Any) -> Any:
        self.made.append(connection)
        return connection

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
        transport: Any = self.made[0].transport
        handle = transport.getHandle()
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
        await eventually(lambda: not self.gateway._connections, "nothing is left", LINGER / 2)

    async def test_a_peer_that_stays_is_left(self) -> None:
        peer = self.connect()
        await peer.hears(b"bbs> ")
        peer.send(b"exit\n")
        await peer.hears_the_end()
        self.assertEqual(len(self.gateway._connections), 1)
        await eventually(lambda: not self.gateway._connections, "nothing is left", 4)

    async def test_one_that_has_closed_its_side(self) -> None:
        peer = self.connect()
        peer.send(b"help")
        peer.socket.shutdown(socket.SHUT_WR)
        await peer.hears(b"exit")
        await peer.hears(b"Bye!\n")
        await eventually(lambda: not self.gateway._connections, "nothing is left", 1)

    async def much(self) -> Peer:
        """Somebody who is sent much and reads none of it yet."""
        self.patch(pace, "BURST", MANY + 1)
        peer = self.connect()
        peer.send(b"help\n" * MANY)
        await eventually(
            lambda: self.made and self.made[0]._life.blocked, "the socket takes no more"
        )
        return peer

    async def test_who_takes_nothing_is_left(self) -> None:
        await self.much()
        buffers: Any = self.made[0].transport
        waiting = len(buffers.dataBuffer) + sum(map(len, buffers._tempDataBuffer))
        self.assertLess(waiting, 70_000)
        await eventually(lambda: not self.gateway._connections, "nothing is left", 5)

    async def test_who_takes_little_gets_all(self) -> None:
        peer = await self.much()
        for _ in range(8):
            await deferLater(reactor, 0.2)
            peer.read(300_000)
        self.assertEqual(len(self.gateway._connections), 1)
        peer.send(b"exit\n")
        await peer.hears(b"Bye!\n")
        self.assertEqual(bytes(peer.heard).count(b"register <id>"), MANY)


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
