"""How many people a gateway takes, and what one too many is told."""

from __future__ import annotations

import gc
from collections import Counter
from ipaddress import ip_network

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHalfCloseableProtocol

from bbs.limits.connections import OVERSHOOT, Admission, Door, Networks
from bbs.protocols.connection_state import LINGER, RejectedConnection
from bbs.ui.conversation import Conversation
from bbs.ui.gateway.connection import DESCRIPTORS, GatewayClient, GatewayConnection
from bbs.ui.gateway.session import GatewaySession
from tests.ui.gateway.case import GatewayCase, Socket, Visitor

REFUSAL = b"Too many connections\n"

THEIRS = (GatewayConnection, GatewaySession, Conversation, GatewayClient)
"""The largest parts of what a person has."""

TRUSTED = "192.0.2.99"
"""An address that is not counted."""


class Case(GatewayCase):
    most = 4
    per_address = 2
    descriptors: int | None = None

    def setUp(self) -> None:
        trusted = Networks([ip_network(TRUSTED)])
        self.admission = Admission(self.most, trusted, self.descriptors)
        self.door: Door = self.admission.door(self.per_address)
        super().setUp()

    def one_too_many(self, host: str) -> Socket:
        """What somebody is connected by who is turned away."""
        socket = Socket(peerAddress=IPv4Address("TCP", host, 50000))
        protocol = self.factory.buildProtocol(socket.getPeer())
        self.assertIsInstance(protocol, RejectedConnection)
        assert isinstance(protocol, RejectedConnection)
        protocol.makeConnection(socket)
        return socket


class CrowdTests(Case):
    def test_an_address_has_so_many(self) -> None:
        first, _ = self.visitor(), self.visitor()
        socket = self.one_too_many("192.0.2.7")
        self.assertEqual(socket.value(), REFUSAL)
        self.assertTrue(socket.disconnecting)
        self.visitor("192.0.2.8")
        first.leave()
        self.visitor()
        self.assertEqual(self.admission.count, 3)

    def test_who_is_trusted_has_more(self) -> None:
        for _ in range(self.most):
            self.visitor(TRUSTED)
        self.one_too_many(TRUSTED)

    def test_there_are_so_many_in_all(self) -> None:
        visitors = [self.visitor(f"192.0.2.{number}") for number in range(self.most)]
        self.assertEqual(self.one_too_many("192.0.2.7").value(), REFUSAL)
        for visitor in visitors:
            visitor.leave()
        self.assertEqual(self.admission.count, 0)

    def test_who_is_turned_away_counts_for_nothing(self) -> None:
        self.visitor(), self.visitor()
        for _ in range(10):
            self.one_too_many("192.0.2.7")
        self.assertEqual(self.admission.count, 2)

    def test_a_gateway_that_stops_waits_for_none_of_them(self) -> None:
        self.visitor(), self.visitor()
        socket = self.one_too_many("192.0.2.7")
        self.factory.close_all(2.0)
        self.assertTrue(socket.disconnected)


class DescriptorTests(Case):
    per_address = most = 1000
    descriptors = 8 * DESCRIPTORS  # of which half are kept

    def visitor(self, host: str = TRUSTED) -> Visitor:
        """Somebody whose address has more than its share of the descriptors."""
        return super().visitor(host)

    def test_who_has_typed_but_asked_nothing_goes_too(self) -> None:
        typing = self.visitor()
        for typed in ("\n", " \n", "hel"):
            typing.send(typed)
        asking = [self.pipe("help") for _ in range(3)]
        self.assertTrue(typing.is_over)
        self.assertFalse(any(visitor.is_over for visitor in asking))

    def test_who_has_typed_nothing_goes_first(self) -> None:
        silent = self.visitor()
        typing = [self.pipe("help") for _ in range(2)]
        later = self.visitor()
        self.assertTrue(silent.text.endswith("Too many connections\n"))
        self.assertTrue(silent.is_over)
        self.network.advance(1.1)  # It is not waited for as long as others.
        self.assertTrue(silent.socket.disconnected)
        silent.leave()
        self.assertFalse(later.is_over)
        self.assertFalse(any(visitor.is_over for visitor in typing))

    def test_telnet_that_only_negotiates_has_typed_nothing(self) -> None:
        silent = self.visitor()
        silent.send(b"\xff\xfb\x1f")
        [self.pipe("help") for _ in range(3)]
        self.assertTrue(silent.is_over)


class JammedTests(Case):
    """Another port of the same process has the only place."""

    most = 1
    descriptors = 8 * DESCRIPTORS

    def setUp(self) -> None:
        super().setUp()
        self.elsewhere = self.admission.door(1)

    def test_where_there_is_room_for_words_they_are_told(self) -> None:
        self.elsewhere.enter(TRUSTED)
        self.assertEqual(self.one_too_many("192.0.2.7").value(), REFUSAL)

    def test_where_there_is_room_for_nothing_nobody_is_told(self) -> None:
        self.elsewhere.enter(TRUSTED, OVERSHOOT)
        self.assertIsNone(self.factory.buildProtocol(IPv4Address("TCP", "192.0.2.7", 1)))


class LeavingTests(GatewayCase):
    """When thousands leave at once, the garbage collector would hold up all others for what it has
    to look through. So nothing of who has left is left to it."""

    def setUp(self) -> None:
        super().setUp()
        gc.disable()
        self.addCleanup(gc.enable)
        gc.freeze()  # What is there before anybody comes is not looked at.
        self.addCleanup(gc.unfreeze)

    def there(self) -> Counter[str]:
        """What there is of people, by the names of its classes."""
        names = (type(each).__qualname__ for each in gc.get_objects() if isinstance(each, THEIRS))
        return Counter(names)

    def goes(self, visitor: Visitor) -> None:
        """Somebody leaves, and nothing refers to what was theirs."""
        self.assertEqual(len(self.there()), len(THEIRS))
        visitor.leave()
        self.network.advance(3.0)
        visitor.socket.producer = None  # as transports do when they are lost
        self.clock.getDelayedCalls()  # It forgets those that are over.
        del visitor.connection
        self.assertEqual(self.there(), Counter())

    def test_of_who_was_silent(self) -> None:
        self.goes(self.visitor())

    def test_of_who_was_greeted(self) -> None:
        silent = self.visitor()
        self.network.advance(10.0)
        self.goes(silent)

    def test_of_who_typed(self) -> None:
        self.goes(self.pipe("help", "nonsense"))
        self.goes(self.telnet("help", "nonsense"))

    def test_of_who_was_logged_in(self) -> None:
        self.goes(self.pipe("login ann 1", "list-friend", "encoding big5"))
        self.goes(self.telnet("login bob", "1", "list-friend"))

    def test_of_who_said_so(self) -> None:
        self.goes(self.pipe("login ann 1", "exit"))

    def test_of_who_was_left(self) -> None:
        silent = self.visitor()
        self.network.advance(600.1)
        self.assertTrue(silent.is_over)
        IHalfCloseableProtocol(silent.connection).writeConnectionLost()
        self.network.advance(LINGER + 0.1)
        self.assertTrue(silent.socket.disconnected)
        self.goes(silent)
