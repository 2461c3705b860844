"""One connection to a server, and the keeping of several."""

from __future__ import annotations

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint
from twisted.internet.error import ConnectionDone, DNSLookupError
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    ISSLTransport,
    IStreamClientEndpoint,
)
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides, implementer

from bbs.board import BBSClient
from bbs.client import Address, Lost, NotSecure, NotTrusted, Origin, TurnedAway, Unreachable
from bbs.client.connection import HANDSHAKE_DEADLINE, ConnectionPool, ServerConnection, endpoint_to
from bbs.client.replies import DEEPEST, MOST_VALUES, ServiceReply
from bbs.config import Configuration
from tests.client.case import APP_1, LOGIN, SECRET, TRUSTING, ClientTestCase

DONE = Failure(ConnectionDone())


def line(**members: object) -> bytes:
    return json.dumps(members).encode() + b"\n"


class ConnectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.transport = StringTransport()
        # What real transports have beside, and StringTransport lacks.
        for name in ("setTcpKeepAlive", "setTcpNoDelay"):
            setattr(self.transport, name, lambda on: None)
        self.connection = self.connect()

    def connect(self) -> ServerConnection:
        made = ServerConnection(self.clock, LOGIN)
        made.makeConnection(self.transport)
        return made

    def ask(self, request: bytes = b"ping\n") -> Deferred[ServiceReply]:
        return self.connection.ask(request, 30.0)

    def test_replies_come_in_the_order_of_requests(self) -> None:
        first, second = self.ask(b"one\n"), self.ask(b"two\n")
        self.assertEqual(self.transport.value(), b"one\ntwo\n")
        self.connection.dataReceived(line(status=0, message="1") + line(status=1, message="2"))
        self.assertEqual(self.successResultOf(first).message, "1")
        self.assertEqual(self.successResultOf(second).message, "2")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @given(st.lists(st.integers(0, 200), max_size=8))
    def test_any_segmentation(self, cuts: list[int]) -> None:
        events: list[object] = []
        connection = self.connect()
        connection.on_event = events.append
        replies = [connection.ask(b"x\n", 30.0) for _ in range(2)]
        data = line(event="a", x="é") + line(status=0, message="1") + line(status=1, message="2")
        edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        for start, end in itertools.pairwise(edges):
            connection.dataReceived(data[start:end])
        self.assertEqual([self.successResultOf(one).message for one in replies], ["1", "2"])
        self.assertEqual(events, [{"event": "a", "x": "é"}])

    def test_events_between_replies(self) -> None:
        events: list[object] = []
        self.connection.dataReceived(line(event="early"))
        self.connection.on_event = events.append
        asked = self.ask()
        self.connection.dataReceived(line(event="one") + line(status=0) + line(event="two"))
        self.assertEqual(events, [{"event": "one"}, {"event": "two"}])
        self.assertTrue(self.successResultOf(asked).ok)

    def test_requests_without_reply_are_lost_with_the_connection(self) -> None:
        first, second = self.ask(), self.ask()
        ended = self.connection.when_ended()
        self.assertNoResult(ended)
        self.connection.connectionLost(DONE)
        self.failureResultOf(first, Lost)
        self.failureResultOf(second, Lost)
        self.successResultOf(ended)
        self.successResultOf(self.connection.when_ended())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_server_that_does_not_answer_to_tls(self) -> None:
        alsoProvides(self.transport, ISSLTransport)
        secured = Deferred.fromCoroutine(self.connect().secured())
        self.clock.advance(HANDSHAKE_DEADLINE)
        problem = self.failureResultOf(secured, NotSecure)
        self.assertEqual(str(problem.value), f"{LOGIN} does not answer to TLS")
        self.assertTrue(self.transport.disconnected)

    def test_nothing_is_sent_when_it_is_over(self) -> None:
        self.connection.connectionLost(DONE)
        self.failureResultOf(self.ask(), Unreachable)
        self.assertEqual(self.transport.value(), b"")

    def test_a_request_not_answered_in_time_ends_it(self) -> None:
        first, second = self.ask(), self.ask()
        self.clock.advance(30)
        self.assertTrue(self.transport.disconnected)
        self.failureResultOf(self.ask(), Unreachable)
        self.connection.connectionLost(DONE)
        problem = self.failureResultOf(first, Lost)
        self.assertEqual(str(problem.value), f"{LOGIN} did not answer within 30 s")
        self.failureResultOf(second, Lost)

    def test_a_request_given_up_keeps_its_place(self) -> None:
        first, second = self.ask(), self.ask()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.connection.dataReceived(line(status=0, message="1") + line(status=0, message="2"))
        self.assertEqual(self.successResultOf(second).message, "2")

    def test_waiting_for_the_end_may_be_given_up(self) -> None:
        ended = self.connection.when_ended()
        ended.cancel()
        self.failureResultOf(ended, CancelledError)
        self.connection.connectionLost(DONE)

    def test_what_is_not_in_the_protocol_ends_it(self) -> None:
        for data in (
            b"hello\n",
            b"[]\n",
            b"{}\n",
            b'{"status": 2}\n',
            b"\xff\n",
            b"[" * 100_000 + b"\n",
            b'{"status": 0, "event": "x"\n',
        ):
            self.setUp()
            asked = self.ask()
            self.connection.dataReceived(data)
            self.assertTrue(self.transport.disconnected, data[:20])
            self.connection.connectionLost(DONE)
            problem = self.failureResultOf(asked, Lost)
            self.assertEqual(
                str(problem.value), f"{LOGIN} sent a malformed line, or a reply to no request"
            )

    def test_an_event_that_is_broken_is_lost_alone(self) -> None:
        events: list[object] = []
        self.connection.on_event = events.append
        asked = self.ask()
        for data in (
            b'{"event": 1}\n',
            b'{"event": null, "x": 2}\n',
            b'{"event": "x", \n',
            b' { "event" : "\xff"}\n',
            b'{"event": "x", "deep": ' + b"[" * 100_000 + b"\n",
            b'{"event": "x", "deep": ' + b"[" * 100 + b"]" * 100 + b"}\n",
            b'{"event": "x", "long": ' + b"1" * 10_000 + b"}\n",
        ):
            self.connection.dataReceived(data)
        self.connection.dataReceived(line(event="news") + line(status=0))
        self.assertFalse(self.transport.disconnected)
        self.assertEqual(events, [{"event": "news"}])
        self.assertTrue(self.successResultOf(asked).ok)

    def takes(self, reply: bytes) -> bool:
        """Whether a new connection takes this as the reply to a request."""
        self.setUp()
        asked = self.ask()
        self.connection.dataReceived(reply)
        if not self.transport.disconnected:
            return self.successResultOf(asked).ok
        self.connection.connectionLost(DONE)
        self.failureResultOf(asked, Lost)
        return False

    def test_lists_and_objects_have_a_depth(self) -> None:
        # Brackets in texts are no lists.
        texts = json.dumps(['a "quoted" ]]} [[{ \\'] * 40)
        for opening, closing in (("[", "]"), ('[{"a":', "}]")):
            levels = (DEEPEST - 1) // len(closing)
            for more, taken in ((0, True), (1, False)):
                deep = opening * (levels + more) + "1" + closing * (levels + more)
                reply = f'{{"status": 0, "texts": {texts}, "deep": {deep}}}\n'
                self.assertEqual(self.takes(reply.encode()), taken, reply[-200:])

    def test_a_line_has_so_many_values(self) -> None:
        for values, taken in ((MOST_VALUES - 10, True), (MOST_VALUES + 10, False)):
            reply = b'{"status": 0, "x": [' + b"1," * values + b"1]}\n"
            self.assertEqual(self.takes(reply), taken)

    def test_one_too_many(self) -> None:
        """The server says so unasked: it may be heard before anything is asked, and behind that."""
        words = "Too many connections"
        refusal = line(status=1, message=words, code="too-many-connections")
        asked = [self.ask(), self.ask()]
        self.connection.dataReceived(refusal)
        self.connection.connectionLost(DONE)
        before = self.connect()
        before.dataReceived(refusal)
        for one in (*asked, self.ask(), before.ask(b"x\n", 30.0)):
            problem = self.failureResultOf(one, TurnedAway).value
            self.assertEqual((str(problem), problem.server), (words, LOGIN))
        self.assertTrue(self.transport.disconnected)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_reply_to_nothing_ends_it(self) -> None:
        self.connection.dataReceived(line(status=0))
        self.assertTrue(self.transport.disconnected)

    def test_the_longest_line(self) -> None:
        asked = self.ask()
        exact = line(status=0, message="x" * 100)
        self.connection.max_reply = len(exact) - 1
        self.connection.dataReceived(exact)
        self.successResultOf(asked)
        self.connection.dataReceived(exact[:-1])
        self.assertFalse(self.transport.disconnected)
        self.connection.dataReceived(b"x")
        self.assertTrue(self.transport.disconnected)

    def test_a_longer_line_in_one_piece(self) -> None:
        asked = self.ask()
        longer = line(status=0, message="x" * 100)
        self.connection.max_reply = most = len(longer) - 2
        self.connection.dataReceived(longer)
        self.connection.connectionLost(DONE)
        problem = self.failureResultOf(asked, Lost)
        self.assertEqual(str(problem.value), f"{LOGIN} sent more than {most} bytes in one line")

    def test_megabytes_cost_their_length_only(self) -> None:
        asked = self.ask()
        data = line(status=0, message="x" * 4_000_000)
        for start in range(0, len(data), 65536):
            self.connection.dataReceived(data[start : start + 65536])
        self.assertEqual(len(self.successResultOf(asked).message or ""), 4_000_000)

    def test_closing_is_orderly_when_nothing_is_asked(self) -> None:
        self.connection.close()
        self.assertTrue(self.transport.disconnecting)
        self.assertFalse(self.transport.disconnected)
        self.connection.close()

    def test_closing_waits_for_nobody(self) -> None:
        self.ask()
        self.connection.close()
        self.assertTrue(self.transport.disconnected)

    def test_no_event_after_closing(self) -> None:
        events: list[object] = []
        self.connection.on_event = events.append
        self.connection.close()
        self.connection.dataReceived(line(event="late"))
        self.assertEqual(events, [])


class ConnectionsTests(ClientTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.connections = ConnectionPool(self.clock, self.network.endpoint)

    def to(self, address: Address) -> Deferred[ServerConnection]:
        return Deferred.fromCoroutine(self.connections.to(address))

    def test_keeps_one_for_each_server(self) -> None:
        asked = [self.to(LOGIN), self.to(LOGIN), self.to(APP_1)]
        self.network.flush()
        first, second, other = (self.successResultOf(one) for one in asked)
        self.assertIs(first, second)
        self.assertIs(first, self.successResultOf(self.to(LOGIN)))
        self.assertIsNot(first, other)
        self.assertEqual(self.network.connected, [LOGIN, APP_1])

    def test_opens_another_when_that_one_died(self) -> None:
        first = self.to(LOGIN)
        self.network.flush()
        self.network.cut(LOGIN)
        second = self.to(LOGIN)
        self.network.flush()
        self.assertIsNot(self.successResultOf(first), self.successResultOf(second))

    def test_a_dying_one_does_not_take_its_successor_along(self) -> None:
        first = self.to(LOGIN)
        self.network.flush()
        self.successResultOf(first).close()
        second = self.to(LOGIN)
        self.clock.advance(0)
        self.network.flush()
        self.assertIs(self.successResultOf(second), self.successResultOf(self.to(LOGIN)))

    def test_failure_reaches_everybody_who_waits(self) -> None:
        self.network.down.add(LOGIN)
        for one in (self.to(LOGIN), self.to(LOGIN)):
            problem = self.failureResultOf(one, Unreachable)
            self.assertEqual(str(problem.value), f"cannot reach {LOGIN}: connection refused")

    def test_one_who_gives_up_leaves_the_others(self) -> None:
        first, second = self.to(LOGIN), self.to(LOGIN)
        first.cancel()
        self.network.flush()
        self.failureResultOf(first, CancelledError)
        self.successResultOf(second)

    def test_other_reasons_are_told(self) -> None:
        @implementer(IStreamClientEndpoint)
        class Endpoint:
            def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
                return Deferred.fromCoroutine(self._fail())

            async def _fail(self) -> IProtocol:
                raise DNSLookupError("no such host")

        connections = ConnectionPool(self.clock, lambda address: Endpoint())
        opened = Deferred.fromCoroutine(connections.open(LOGIN))
        self.assertIn("no such host", str(self.failureResultOf(opened, Unreachable).value))

    def test_closing_ends_them_all(self) -> None:
        kept = self.to(LOGIN)
        own = Deferred.fromCoroutine(self.connections.open(APP_1))
        late = Deferred.fromCoroutine(self.connections.open(APP_1))
        self.network.flush()
        opening = self.to(APP_1)
        closed = self.connections.close()
        self.network.flush()
        self.successResultOf(closed)
        for one in (kept, own, late, opening):
            self.assertFalse(self.successResultOf(one).usable)
        self.failureResultOf(self.to(LOGIN), Unreachable)
        self.assertEqual(self.network.links, [])


class GatewayTests(ClientTestCase):
    """A gateway says for whom it speaks before anything else, and to the login server alone."""

    GREETING = f"forwarded-for 192.0.2.1 {SECRET}"

    def setUp(self) -> None:
        super().setUp()
        self.register("ann", password="pw")
        self.client = self.gateway(SECRET)

    def make_config(self) -> Configuration:
        return TRUSTING

    def gateway(self, secret: str) -> BBSClient:
        origin = Origin("192.0.2.1", secret)
        return BBSClient(self.clock, LOGIN, self.network.endpoint, origin=origin)

    def test_each_connection_begins_so(self) -> None:
        self.result(self.client.connect())
        greeting = (LOGIN, self.GREETING)
        self.assertEqual(self.network.requests, [greeting, greeting, (LOGIN, "commands")])
        self.result(self.client.login("ann", "pw"))
        self.assertEqual(self.network.requests[3:], [greeting, (LOGIN, "login ann pw")])

    def test_app_servers_are_not_told(self) -> None:
        self.result(self.client.login("ann", "pw"))
        self.result(self.client.list_friend("ann"))
        self.assertEqual(self.network.requests[-1][0], APP_1)
        self.assertNotIn((APP_1, self.GREETING), self.network.requests)

    def test_not_believed(self) -> None:
        client = self.gateway("another-secret")
        for asked in (client.connect(), client.login("ann", "pw")):
            self.network.flush()
            problem = self.failureResultOf(asked, NotTrusted)
            self.assertEqual(str(problem.value), f"{LOGIN} does not trust this gateway")
        self.assertEqual(self.network.links, [])

    def test_lost_before_it_was_believed(self) -> None:
        """Nothing else was sent, so what was asked for was certainly not carried out."""
        self.lose_answer("forwarded-for")
        asked = self.client.register("bob", "pw")
        self.network.flush()
        self.assertNoResult(asked)
        self.assertEqual(self.asked("register"), [])
        self.network.advance(1.0)
        self.result(asked)

    def test_given_up_before_it_was_believed(self) -> None:
        self.hold("")
        asked = self.client.login("ann", "pw")
        self.network.flush()
        asked.cancel()
        self.network.flush()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual(self.network.links, [])

    def test_no_secret_in_a_repr(self) -> None:
        self.assertNotIn("secret", repr(Origin("192.0.2.1", "the-secret-of-tests")))


class EndpointTests(SynchronousTestCase):
    def test_a_number_needs_no_looking_up(self) -> None:
        reactor = MemoryReactorClock()
        self.assertIsInstance(endpoint_to(reactor, LOGIN), TCP4ClientEndpoint)
        endpoint = endpoint_to(reactor, Address("localhost", 1))
        self.assertIsInstance(endpoint, HostnameEndpoint)
