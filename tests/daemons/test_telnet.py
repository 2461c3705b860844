"""`twistd bbs-telnet`: its options, and that what they say is served."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from bbs.board.daemons import telnet
from bbs.core.clock import IReactor
from bbs.daemons.telnet import MOST_ACCEPTS, TelnetGateway, bound_accepts
from bbs.limits.connections import Admission, Networks
from tests.ui.gateway.case import Socket

SECRET = "0123456789abcdef"

CONFIGURATION = f"""\
[telnet]
listen = ["tcp:2323", "tcp:2324:interface=127.0.0.2"]
server = "192.0.2.1:4000"
secret = "{SECRET}"
[limits]
max_line = 100
idle_timeout = 7.0
connections = 3
connections_per_address = 2
"""


class TapTests(SynchronousTestCase):
    shared: Admission | None = None

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.path = Path(self.mktemp())
        self.path.write_text(CONFIGURATION)

    def start(self, *arguments: str) -> list[tuple[int, Any, str]]:
        """Start a gateway; where it listens, and with what."""
        options = telnet.Options()
        options.parseOptions(["--config", str(self.path), *arguments])
        self.service = telnet.makeService(options, cast("IReactor", self.reactor))
        assert isinstance(self.service, TelnetGateway)
        if self.shared:
            beside: Any = SimpleNamespace(admission=self.shared)
            self.service.first = beside
        self.service.startService()
        return [(port, factory, host) for port, factory, _, host in self.reactor.tcpServers]

    def test_it_serves_what_the_configuration_says(self) -> None:
        one, other = self.start()
        self.assertEqual((one[0], one[2]), (2323, ""))
        self.assertEqual((other[0], other[2]), (2324, "127.0.0.2"))
        factory = one[1]
        self.assertIs(factory, other[1])
        self.successResultOf(self.service.stopService())
        self.assertIsNone(factory.buildProtocol(None))

    def person(self, factory: Any) -> tuple[Any, Socket]:
        """Somebody who has come, and been greeted: their connection, and what they are sent."""
        socket = Socket(peerAddress=IPv4Address("TCP", "192.0.2.9", 50000))
        connection = factory.buildProtocol(socket.getPeer())
        connection.makeConnection(socket)
        self.reactor.advance(1.0)
        return connection, socket

    def asked(self, factory: Any) -> tuple[str, int, bytes]:
        """Which server is asked when somebody types a command, and what it hears."""
        connection, _ = self.person(factory)
        connection.dataReceived(b"posts\r\n")
        self.reactor.advance(0)  # its turn
        self.reactor.advance(1.0)
        ((host, port, client, *_),) = self.reactor.tcpClients
        asked, protocol = Socket(), client.buildProtocol(IPv4Address("TCP", "192.0.2.1", port))
        assert protocol is not None
        protocol.makeConnection(asked)
        return host, port, asked.value()

    def test_it_asks_the_server_and_is_believed_by_the_secret(self) -> None:
        host, port, heard = self.asked(self.start()[0][1])
        self.assertEqual((host, port), ("192.0.2.1", 4000))
        self.assertIn(f"forwarded-for 192.0.2.9 {SECRET}", heard.decode())

    def test_its_limits_are_those_of_the_configuration(self) -> None:
        connection, socket = self.person(self.start()[0][1])
        connection.dataReceived(b"x" * 101 + b"\r\n")
        self.reactor.pump([0.1] * 10)
        self.assertIn(b"over 100 bytes", socket.value())
        self.reactor.advance(7.0)
        self.assertIn(b"Nothing was typed for 7 s. Bye!", socket.value())

    def come(self, factory: Any, host: str) -> str:
        """The kind of connection that somebody gets."""
        return type(factory.buildProtocol(IPv4Address("TCP", host, 1))).__name__

    def test_it_takes_as_many_as_the_configuration_says(self) -> None:
        factory = self.start()[0][1]
        kinds = [self.come(factory, host) for host in ("192.0.2.1",) * 3 + ("192.0.2.2",) * 2]
        taken, refused = "GatewayConnection", "RejectedConnection"
        self.assertEqual(kinds, [taken, taken, refused, taken, refused])

    def test_who_is_trusted_is_not_counted_by_address(self) -> None:
        factory = self.start()[0][1]
        kinds = [self.come(factory, "127.0.0.1") for _ in range(4)]
        self.assertEqual(kinds, ["GatewayConnection"] * 3 + ["RejectedConnection"])

    def test_it_shares_with_who_is_beside_it(self) -> None:
        self.shared = Admission(1, Networks(()))
        factory = self.start()[0][1]
        others = self.shared.door(1).enter("192.0.2.9")
        assert others is not None
        self.assertEqual(self.come(factory, "192.0.2.1"), "RejectedConnection")
        others.leave()
        self.assertEqual(self.come(factory, "192.0.2.1"), "GatewayConnection")

    def test_options_override_it(self) -> None:
        ((port, factory, _),) = self.start("--listen", "tcp:99", "--server", "198.51.100.1:98")
        self.assertEqual(port, 99)
        self.assertEqual(self.asked(factory)[:2], ("198.51.100.1", 98))

    def test_what_is_wrong_with_it_is_said(self) -> None:
        self.path.write_text("[telnet]\nserver = 'nowhere'\n")
        problem = self.assertRaises(SystemExit, self.start)
        self.assertIn("telnet.server must be", str(problem))


class AcceptingTests(SynchronousTestCase):
    def test_a_turn_accepts_a_few(self) -> None:
        from twisted.internet.selectreactor import SelectReactor

        came: list[object] = []
        factory = Factory()
        factory.buildProtocol = came.append  # type: ignore[assignment,method-assign]
        reactor: Any = SelectReactor()  # type: ignore[no-untyped-call]
        self.addCleanup(reactor.removeAll)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.connectionLost, Failure(ConnectionDone()))
        bound_accepts(port)
        for _ in range(3 * MOST_ACCEPTS):
            self.addCleanup(socket.create_connection(port.socket.getsockname()).close)
        for turn in range(1, 4):
            port.doRead()
            self.assertEqual(len(came), turn * MOST_ACCEPTS)

    def test_other_ports_stay_as_they_are(self) -> None:
        bound_accepts(MemoryReactorClock().listenTCP(0, Factory()))
