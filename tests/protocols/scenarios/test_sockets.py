"""What the system says about a peer, and that nothing is asked where nothing is known."""

import socket

from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from bbs.protocols import connection_state


class Handle:
    """A transport with a socket under it."""

    def __init__(self, handle: object) -> None:
        self.handle = handle

    def getHandle(self) -> object:
        return self.handle


class SocketTests(SynchronousTestCase):
    def setUp(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.peer = socket.create_connection(listener.getsockname(), 5)
            self.socket, _ = listener.accept()
        self.transport = Handle(self.socket)
        self.addCleanup(self.socket.close)
        self.addCleanup(self.peer.close)

    def test_the_socket(self) -> None:
        self.assertIs(connection_state.plain_socket(self.transport), self.socket)

    def test_keep_alive(self) -> None:
        connection_state.tune_keep_alive(self.transport)
        idle, interval, count = (
            self.socket.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        self.assertEqual(idle + interval * count, 120)

    def test_acknowledged_grows_with_what_the_peer_takes(self) -> None:
        before = connection_state.acknowledged(self.transport)
        self.socket.sendall(b"x" * 1000)
        self.peer.recv(1000, socket.MSG_WAITALL)
        self.peer.sendall(b"y")  # carries the acknowledgement, however late a bare one may come
        self.socket.recv(1)
        self.assertEqual(connection_state.acknowledged(self.transport) - before, 1000)


class NothingKnownTests(SynchronousTestCase):
    def check(self, transport: object) -> None:
        connection_state.tune_keep_alive(transport)
        self.assertEqual(connection_state.acknowledged(transport), 0)

    def test_a_transport_without_a_socket(self) -> None:
        self.check(StringTransport())

    def test_a_transport_over_something_else(self) -> None:
        self.assertIsNone(connection_state.plain_socket(Handle("TLS")))
        self.check(Handle("TLS"))

    def test_a_socket_that_is_not_tcp(self) -> None:
        mine, its = socket.socketpair()
        self.addCleanup(mine.close)
        self.addCleanup(its.close)
        self.check(Handle(mine))

    def test_a_system_that_does_not_say(self) -> None:
        with socket.socket() as unconnected:
            for name in ("TCP_INFO", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"):
                self.addCleanup(setattr, socket, name, getattr(socket, name))
                delattr(socket, name)
            self.check(Handle(unconnected))


class Addresses(SynchronousTestCase):
    def test_the_usual_form(self) -> None:
        for host, usual in (
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:DB8:0::1", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
        ):
            self.assertEqual(connection_state.host_of(IPv6Address("TCP", host, 1)), usual)

    def test_what_has_none(self) -> None:
        self.assertEqual(connection_state.host_of(UNIXAddress("/run/bbs")), "")
        self.assertEqual(connection_state.host_of(None), "")
        self.assertRaises(ValueError, connection_state.usual_form, "bbs.example.org")
