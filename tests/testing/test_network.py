"""The network in memory: what passes on it, and how it is broken."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from bbs.board import board
from bbs.client import Address
from bbs.config import Configuration, Limits
from bbs.testing import Link, MemoryNetwork, MemoryService

APP_1, APP_2 = Address("127.0.0.1", 20001), Address("127.0.0.1", 20002)


class Program(Protocol):
    """Somebody's own client."""

    transport: Any
    ended = False

    def __init__(self) -> None:
        self.heard: list[str] = []

    def say(self, *lines: bytes) -> None:
        for line in lines:
            self.transport.write(line + b"\n")

    def dataReceived(self, data: bytes) -> None:
        self.heard += [told(line) for line in data.decode().splitlines()]

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.ended = True


def told(line: str) -> str:
    """What a line says."""
    try:
        members = json.loads(line)
    except ValueError:
        return line
    return members.get("event") or members["message"]


class NetworkCase(SynchronousTestCase):
    config: Configuration | None = None

    def setUp(self) -> None:
        self.service = MemoryService(board, config=self.config)
        self.addCleanup(self.service.close)
        self.network = MemoryNetwork(self.service)

    def connect(self, address: Address = MemoryNetwork.login_server) -> Program:
        connecting = self.connecting(address)
        self.assertNoResult(connecting)
        self.network.flush()
        return self.successResultOf(connecting)

    def connecting(self, address: Address) -> Deferred[Any]:
        endpoint = self.network.endpoint(address)
        verifyObject(IStreamClientEndpoint, endpoint)
        return endpoint.connect(Factory.forProtocol(Program))


class NetworkTests(NetworkCase):
    def test_requests_and_replies(self) -> None:
        one, other = self.connect(), self.connect(APP_1)
        one.say(b"ping", b"quit")
        other.say(b"ping")
        self.assertEqual(one.heard, [])
        self.network.flush()
        self.assertEqual((one.heard, one.ended), (["Pong!", "Bye!"], True))
        self.assertEqual((other.heard, other.ended), (["Pong!"], False))
        login = self.network.login_server
        self.assertEqual(self.network.requests, [(login, "ping"), (login, "quit"), (APP_1, "ping")])
        self.assertEqual(self.network.connected, [login, APP_1])
        self.assertEqual([link.address for link in self.network.links], [APP_1])

    def test_lines_come_as_they_were_sent(self) -> None:
        program = self.connect()
        program.transport.write(b"pi")
        self.network.flush()
        self.assertEqual(self.network.requests, [])
        program.transport.write(b"ng\nregister \xe9 1\nregister \xc3\xa9 1\n")
        self.network.flush()
        self.assertEqual(program.heard, ["Pong!", "Invalid UTF-8", "Success!"])

    def test_what_is_on_its_way_to_a_server_may_be_changed_and_held_back(self) -> None:
        held: list[tuple[Link, str]] = []

        def to_servers(link: Link, line: str) -> str | None:
            if line == "quit":
                held.append((link, line))
            return {"help": "ping", "quit": None}.get(line, line)

        self.network.to_servers = to_servers
        program = self.connect()
        program.say(b"help", b"quit", b"nonsense")
        self.network.flush()
        self.assertEqual(program.heard, ["Pong!", "Unknown command nonsense"])
        ((link, line),) = held
        link.ask(line)
        self.network.flush()
        self.assertEqual((program.heard[2:], program.ended), (["Bye!"], True))

    def test_and_to_a_client(self) -> None:
        self.network.to_clients = lambda link, line: None if "Bye" in line else f"<{line}>"
        program = self.connect()
        program.say(b"ping", b"quit")
        self.network.flush()
        self.assertEqual(program.heard, ['<{"status": 0, "message": "Pong!"}>'])
        self.assertTrue(program.ended)

    def test_what_a_server_never_said_comes_behind_what_it_has(self) -> None:
        program = self.connect()
        (link,) = self.network.links
        link.ask("ping")
        link.tell({"event": "none of its"})
        link.tell("no JSON")
        self.network.flush()
        self.assertEqual(program.heard, ["Pong!", "none of its", "no JSON"])

    def test_who_takes_nothing_hears_nothing(self) -> None:
        program = self.connect()
        (link,) = self.network.links
        program.transport.pauseProducing()
        program.say(b"ping", b"quit")
        self.network.flush()
        self.assertTrue(link.held_up)
        self.assertEqual((program.heard, program.ended), ([], False))
        program.transport.resumeProducing()
        self.network.flush()
        self.assertEqual((program.heard, program.ended), (["Pong!", "Bye!"], True))

    def test_servers_that_are_not_reached(self) -> None:
        self.failureResultOf(self.connecting(APP_2), ConnectionRefusedError)
        program = self.connect(APP_1)
        self.network.unplug(APP_1)
        self.assertTrue(program.ended)
        self.failureResultOf(self.connecting(APP_1), ConnectionRefusedError)
        self.network.plug(APP_1)
        self.assertFalse(self.connect(APP_1).ended)
        self.network.away.add(APP_1)
        self.assertNoResult(self.connecting(APP_1))

    def test_a_server_that_dies_is_replaced(self) -> None:
        token = self.service.people("ann")["ann"]
        self.assertEqual(self.service.serving(token).port, APP_1.port)
        self.network.kill(APP_1)
        self.network.advance(1)
        self.assertEqual(self.service.serving(token).port, APP_2.port)
        self.connect(APP_2)
        self.failureResultOf(self.connecting(APP_1), ConnectionRefusedError)

    def test_servers_live_as_time_passes(self) -> None:
        token = self.service.people("ann")["ann"]
        self.network.advance(5 * self.service.config.fleet.lost_after)
        self.assertEqual(self.service.serving(token).port, APP_1.port)


class OneAtATime(NetworkCase):
    """Servers that take one connection each, and so know when it has ended."""

    config = Configuration(limits=Limits(connections=1))

    def server_is_free(self) -> None:
        """Check that somebody else can connect to the login server, and let them go."""
        another = self.connect()
        another.say(b"ping", b"quit")
        self.network.flush()
        self.assertEqual((another.heard, another.ended), (["Pong!", "Bye!"], True))

    def test_cut_and_hung_up(self) -> None:
        for end, heard in ((Link.cut, []), (Link.hang_up, ["Pong!"])):
            program = self.connect()
            (link,) = self.network.links
            program.say(b"ping")
            link.ask("ping")
            end(link)
            self.network.flush()
            self.assertEqual((program.heard[:1], program.ended), (heard, True))
            self.assertFalse(link.open)
            self.assertEqual(self.network.links, [])
            self.server_is_free()

    def test_who_goes_is_gone(self) -> None:
        for paused in (False, True):
            program = self.connect()
            if paused:
                program.transport.pauseProducing()
            program.transport.loseConnection()
            self.network.flush()
            self.assertEqual(self.network.links, [])
            self.server_is_free()
