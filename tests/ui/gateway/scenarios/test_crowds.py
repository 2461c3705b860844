"""How many people a gateway takes, and what one too many is told."""

from __future__ import annotations

import gc
from collections import Counter
from functools import partial
from ipaddress import ip_network

from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.limits.connections import OVERSHOOT, Admission, Door, Networks
from bbs.protocols.connection_state import LINGER, RejectedConnection
from bbs.ui.conversation import Conversation
from bbs.ui.gateway.connection import (
    DESCRIPTORS,
    SETTLING_DEADLINE,
    GatewayClient,
    GatewayConnection,
)
from bbs.ui.gateway.session import SLICE, GatewaySession, RunQueue
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


class BusyClock(Clock):
    """A clock by which each look at it takes a fifth of what a turn has for visits."""

    def seconds(self) -> float:
        self.rightNow += SLICE / 5
        return self.rightNow

    def turn(self) -> None:
        """Call what is there, and not what is added meanwhile."""
        due, self.calls = self.calls, []
        for call in due:
            call.called = 1
            call.func(*call.args, **call.kw)


class RunQueueTests(SynchronousTestCase):
    """Who comes from where: a host, and the order in which its work was added."""

    def setUp(self) -> None:
        self.clock = BusyClock()
        self.queue = RunQueue(self.clock)
        self.done: list[str] = []

    def add(self, *hosts: str) -> None:
        for host in hosts:
            self.queue.add(host, partial(self.done.append, host))

    def turn(self) -> list[str]:
        """What is done in the next turn."""
        self.done.clear()
        self.clock.turn()
        return [*self.done]

    def test_a_turn_does_some_of_it(self) -> None:
        self.add(*["192.0.2.1"] * 20)
        self.assertEqual(self.done, [])
        first = len(self.turn())
        self.assertIn(first, range(2, 6))
        turns = 1
        while self.clock.calls:
            self.assertLessEqual(len(self.turn()), first)
            turns += 1
        self.assertGreaterEqual(turns, 20 / first)

    def test_a_crowd_from_elsewhere_is_not_waited_for(self) -> None:
        self.add(*(f"10.1.{number}.1" for number in range(50)), "192.0.2.1")
        self.assertEqual(self.turn()[:2], ["10.1.0.1", "192.0.2.1"])

    def test_nor_is_one_address_of_the_same_network(self) -> None:
        self.add(*["10.1.0.1"] * 50, "10.1.0.2")
        self.assertEqual(self.turn()[:3], ["10.1.0.1", "10.1.0.2", "10.1.0.1"])

    def test_an_ipv6_host_has_one_turn_for_all_its_addresses(self) -> None:
        self.add(*(f"2001:db8::{number}" for number in range(50)), "2001:db8:0:1::1")
        self.assertEqual(self.turn()[1], "2001:db8:0:1::1")

    def test_who_has_no_address_has_turns_too(self) -> None:
        self.add("", "192.0.2.1", "")
        self.assertEqual(self.turn()[:3], ["", "192.0.2.1", ""])

    def test_what_is_added_meanwhile_waits(self) -> None:
        self.queue.add("192.0.2.1", lambda: self.add("192.0.2.1"))
        self.assertEqual(self.turn(), [])
        self.assertEqual(self.turn(), ["192.0.2.1"])

    def test_what_fails_stops_nobody(self) -> None:
        self.queue.add("192.0.2.1", lambda: 1 // 0)
        self.add("192.0.2.2")
        self.assertEqual(self.turn(), ["192.0.2.2"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_turn_may_be_given_up(self) -> None:
        given_up, kept = self.queue.turn("192.0.2.1"), self.queue.turn("192.0.2.1")
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        self.clock.turn()
        self.successResultOf(kept)


class HelpTests(GatewayCase):
    """A crowd asks for help at one time, and somebody else asks for something."""

    def test_who_comes_from_elsewhere_does_not_wait_for_a_crowd(self) -> None:
        person = self.pipe("help")
        crowd = [self.visitor(f"198.51.100.{number}") for number in range(100)]
        for each in crowd:
            each.connection.dataReceived(b"help\n")
        person.forget()
        person.connection.dataReceived(b"encoding\n")
        helped: list[int] = []
        write = person.socket.write

        def answered(data: bytes) -> None:
            helped.append(sum(b"list-friend" in each.socket.value() for each in crowd))
            write(data)

        person.socket.write = answered  # type: ignore[method-assign]
        person.settle()
        self.assertIn(b"UTF-8", person.new)
        self.assertLess(helped[0], 10)
        self.assertTrue(all(b"list-friend" in each.socket.value() for each in crowd))


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

    def goes(self, visitor: Visitor, parts: int = len(THEIRS)) -> None:
        """Somebody leaves, and nothing refers to what was theirs."""
        self.assertEqual(len(self.there()), parts)
        visitor.leave()
        self.network.advance(3.0)
        visitor.socket.producer = None  # as transports do when they are lost
        self.clock.getDelayedCalls()  # It forgets those that are over.
        del visitor.connection
        self.assertEqual(self.there(), Counter())

    def test_of_who_was_silent(self) -> None:
        self.goes(self.visitor(), parts=1)

    def test_of_who_was_greeted(self) -> None:
        silent = self.visitor()
        self.network.advance(10.0)
        self.goes(silent, parts=1)

    def test_of_who_typed_no_whole_line(self) -> None:
        typing = self.visitor()
        typing.send("hel")
        self.goes(typing, parts=1)

    def test_of_who_has_no_answer_to_negotiation(self) -> None:
        telnet = self.visitor()
        telnet.send("help\r\nexit\r\n")
        self.assertEqual(len(self.there()), 1)
        self.network.advance(SETTLING_DEADLINE)
        self.assertTrue(telnet.is_over)
        self.goes(telnet)

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
        self.goes(silent, parts=1)
