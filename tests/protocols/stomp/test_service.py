"""The client service, with a broker that says what the test says."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, connect
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from bbs.core.addresses import has_tls
from bbs.protocols.stomp import (
    Broker,
    Message,
    StompDisconnected,
    StompError,
    StompOverflow,
    StompRefused,
    StompService,
    StompTimeout,
)
from bbs.protocols.stomp.frames import Frame, FrameCutter, encode

if has_tls():
    from tests.certificates import certificate

BROKER = Broker.from_url("stomp://bbs:se%3Asame@broker.example:61613")
SECOND = Broker.from_url("stomp://other:pass@second.example:61613")


class Line(StringTransport):
    """A transport that a broker's end is played on. Where it `fills`, it is full after each
    write."""

    producer: Any
    aborted = fills = False

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.fills:
            self.producer.pauseProducing()

    def abortConnection(self) -> None:
        self.aborted = True


class Played:
    """The broker's end of a connection that the client made."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.line = Line()
        self.cutter = FrameCutter("1.2")
        protocol.makeConnection(self.line)
        self.producer: Any = self.line.producer

    def pause(self) -> None:
        """Say that the transport is full."""
        self.producer.pauseProducing()

    def resume(self) -> None:
        self.producer.resumeProducing()

    def raw(self) -> bytes:
        """What the client wrote since the last look."""
        data: bytes = self.line.value()
        self.line.clear()
        return data

    def heard(self) -> list[Frame]:
        return list(self.cutter.feed(self.raw()))

    def say(self, command: str, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.protocol.dataReceived(encode(Frame(command, headers or {}, body)))

    def accept(self, heartbeat: str = "0,0", version: str = "1.2") -> list[Frame]:
        self.say("CONNECTED", {"version": version, "heart-beat": heartbeat})
        return self.heard()

    def receipt(self, frame: Frame) -> None:
        self.say("RECEIPT", {"receipt-id": frame.headers["receipt"]})

    def message(self, ident: str, body: bytes) -> None:
        headers = {"subscription": ident, "message-id": "1", "destination": "/topic/a"}
        self.say("MESSAGE", headers, body)

    def lose(self, reason: Exception | None = None) -> None:
        self.protocol.connectionLost(Failure(reason or ConnectionDone()))


class StompCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = MemoryReactorClock()
        self.changes: list[bool] = []
        self.service = self.make([BROKER])

    def make(self, brokers: list[Broker], **options: Any) -> StompService:
        options = {"random": lambda: 0.0, **options}
        service = StompService(self.clock, brokers, **options)
        service.add_listener(self.changes.append)
        return service

    def connect(self) -> Played:
        """Let the client's one attempt to connect succeed."""
        [(_host, _port, factory, _timeout, _bind)] = self.clock.tcpClients
        self.clock.tcpClients.clear()
        self.clock.connectors.clear()
        return Played(factory.buildProtocol(None))

    def refuse_tcp(self) -> None:
        """Let the client's one attempt to connect fail."""
        [(_host, _port, factory, _timeout, _bind)] = self.clock.tcpClients
        [connector] = self.clock.connectors
        self.clock.tcpClients.clear()
        self.clock.connectors.clear()
        factory.clientConnectionFailed(connector, Failure(ConnectionRefusedError()))
        # The endpoint waits that long for another address of the host.
        self.clock.advance(0.3)

    def started(self, **options: Any) -> Played:
        """A service that has a connection which was accepted."""
        self.service = self.make([BROKER], **options)
        self.service.startService()
        played = self.connect()
        played.heard()
        played.accept()
        return played

    def pause_after(self) -> float:
        """How long the client waits until its next attempt, s."""
        self.assertEqual(self.clock.tcpClients, [])
        before = self.clock.seconds()
        while not self.clock.tcpClients:
            self.clock.advance(
                min(call.getTime() for call in self.clock.getDelayedCalls()) - self.clock.seconds()
            )
        return round(self.clock.seconds() - before, 3)

    def subscribe(self, played: Played, on_message: Any = None, name: str = "a") -> Any:
        """A subscription that the broker has confirmed."""
        asked = self.service.subscribe(f"/topic/{name}", on_message or (lambda message: None))
        [frame] = played.heard()
        played.receipt(frame)
        return self.successResultOf(asked)

    def failed(self, deferred: Deferred[Any], kind: type[StompError]) -> str:
        return str(self.failureResultOf(deferred, kind).value)


class BrokerTests(SynchronousTestCase):
    def test_url(self) -> None:
        broker = Broker.from_url("stomp://us%40er:pa%3Ass%2F@[::1]:1234/a%2Fb")
        self.assertEqual(broker, Broker("::1", 1234, "us@er", "pa:ss/", False, "a/b"))

    def test_defaults(self) -> None:
        self.assertEqual(Broker.from_url("stomp://h"), Broker("h", 61613, "", "", False, "/"))
        self.assertEqual(Broker.from_url("stomp+ssl://h/"), Broker("h", 61614, "", "", True, "/"))

    def test_shows_no_credential(self) -> None:
        self.assertEqual(str(BROKER), "stomp://broker.example:61613")
        self.assertEqual(str(Broker.from_url("stomp+ssl://u:p@h")), "stomp+ssl://h:61614")
        self.assertNotIn("sesame", repr(BROKER).replace(":", ""))
        self.assertNotIn("'bbs'", repr(BROKER))

    def test_wrong_urls(self) -> None:
        for url in (
            "",
            "broker:61613",
            "http://u:secret@h",
            "stomp://u:secret@:61613",
            "stomp://u:secret@h:port",
            "stomp://u:secret@h:99999",
            "stomp://u:secret@h?x=1",
            "stomp://u:secret%0A@h",
            "stomp://u:secret@[::1",
        ):
            with self.assertRaises(ValueError) as caught:
                Broker.from_url(url)
            self.assertNotIn("secret", str(caught.exception))
            self.assertNotIn("\n", str(caught.exception))

    def test_connect_headers(self) -> None:
        self.assertEqual(
            BROKER.connect_headers(),
            {"accept-version": "1.1,1.2", "host": "/", "login": "bbs", "passcode": "se:same"},
        )
        self.assertEqual(
            Broker.from_url("stomp://h/v").connect_headers(),
            {"accept-version": "1.1,1.2", "host": "v"},
        )


@implementer(IHandshakeListener)
class Shaken(Protocol):
    """The end of a broker that is reached by TLS."""

    is_done = False

    def handshakeCompleted(self) -> None:
        self.is_done = True


class TLSTests(StompCase):
    """A broker that is reached by TLS shows that it has the name in its URL."""

    if not has_tls():
        skip = "TLS needs txbbs[tls], which is not installed"

    def is_believed(self, name: str) -> bool:
        """Whether the client talks to a broker whose certificate, trusted here, has that name."""
        from twisted.internet.ssl import PrivateCertificate
        from twisted.protocols.tls import TLSMemoryBIOFactory

        signed = certificate(self.mktemp(), [name])
        os.putenv("SSL_CERT_FILE", signed.path)
        self.addCleanup(os.unsetenv, "SSL_CERT_FILE")
        self.service = self.make([Broker.from_url("stomp+ssl://broker.example")])
        self.service.startService()
        [(_host, port, factory, _timeout, _bind)] = self.clock.tcpClients
        self.assertEqual(port, 61614)
        self.clock.tcpClients.clear()
        with open(signed.path) as file:
            options = PrivateCertificate.loadPEM(file.read()).options()
        broker = Shaken()
        brokers: Any = Factory.forProtocol(lambda: broker)
        server = TLSMemoryBIOFactory(options, False, brokers).buildProtocol(None)
        client = factory.buildProtocol(None)
        ends = FakeTransport(server, True), FakeTransport(client, False)
        connect(server, ends[0], client, ends[1]).flush()
        return broker.is_done

    def test_its_own_certificate(self) -> None:
        self.assertTrue(self.is_believed("broker.example"))
        self.assertIsNone(self.service.last_error)

    def test_somebody_elses(self) -> None:
        self.assertFalse(self.is_believed("other.example"))
        self.assertIn("Mismatch", str(self.service.last_error))


class ConnectingTests(StompCase):
    def test_connect(self) -> None:
        first, connected = self.service.first_connection(), self.service.when_connected()
        self.service.startService()
        [(host, port, *_rest)] = self.clock.tcpClients
        self.assertEqual((host, port), ("127.0.0.1", 61613))
        played = self.connect()
        [frame] = played.heard()
        self.assertEqual(frame.command, "CONNECT")
        self.assertEqual(frame.headers, {**BROKER.connect_headers(), "heart-beat": "10000,10000"})
        self.assertNoResult(first)
        self.assertFalse(self.service.connected)
        played.accept()
        self.successResultOf(first)
        self.successResultOf(connected)
        self.successResultOf(self.service.first_connection())
        self.successResultOf(self.service.when_connected())
        self.assertTrue(self.service.connected)
        self.assertEqual(self.changes, [True])
        self.assertIsNone(self.service.last_error)

    def test_byte_by_byte(self) -> None:
        self.service.startService()
        played = self.connect()
        for byte in b"CONNECTED\nversion:1.1\n\n\0\n":
            played.protocol.dataReceived(bytes([byte]))
        self.assertTrue(self.service.connected)

    def test_refused(self) -> None:
        self.refused(escapes=False)

    def test_refused_with_escapes(self) -> None:
        self.refused(escapes=True)

    def test_a_broker_that_is_full_is_away(self) -> None:
        """Our own says so: it is tried again, and nobody's credential is wrong."""
        first = self.service.first_connection()
        self.service.startService()
        played = self.connect()
        played.say("ERROR", {"message": "Too many connections"})
        played.lose()
        self.assertIn("Too many connections", self.failed(first, StompDisconnected))

    def refused(self, escapes: bool) -> None:
        """The broker's reason is told in one line, and never the passcode."""
        first = self.service.first_connection()
        self.service.startService()
        played = self.connect()
        text = "User [bbs]\nwith se:same\tis wrong"
        # A broker may escape before a version is agreed, or not.
        plain = f"ERROR\nmessage:{text} {'x' * 300}\n\ntrace\0".replace("\nwith", "\rwith")
        escaped = encode(Frame("ERROR", {"message": text}))
        data = escaped if escapes else plain.encode()
        played.protocol.dataReceived(data)
        self.assertTrue(played.line.aborted)
        played.lose()
        reason = self.failed(first, StompRefused)
        self.assertEqual(reason, self.service.last_error)
        self.assertEqual(reason, self.failed(self.service.first_connection(), StompRefused))
        self.assertTrue(reason.startswith("stomp://broker.example:61613: User [bbs]"), reason)
        self.assertIn("with *** is wrong", reason)
        self.assertLess(len(reason), 300)
        self.assertFalse(self.service.connected)
        self.assertEqual(self.changes, [])

    def test_refused_in_the_body(self) -> None:
        for message, body, reason in (
            ("Bad CONNECT", b"Access refused\n", "Bad CONNECT: Access refused"),
            ("", b"Access refused\n", "Access refused"),
            ("Invalid", b"Invalid", "Invalid"),
            ("Invalid", b"Exception\n\tat line 1\n", "Invalid"),
            ("", b"\xff", "\ufffd"),
            ("", b"", "no reason given"),
        ):
            self.service = self.make([BROKER])
            self.service.startService()
            played = self.connect()
            played.say("ERROR", {"message": message}, body)
            played.lose()
            self.assertEqual(self.service.last_error, f"stomp://broker.example:61613: {reason}")
            self.successResultOf(self.service.stopService())

    def test_unreachable(self) -> None:
        first = self.service.first_connection()
        self.service.startService()
        self.refuse_tcp()
        self.assertIn(
            "cannot connect: Connection was refused", self.failed(first, StompDisconnected)
        )

    def test_connects_later(self) -> None:
        """When the first attempts fail the service goes on, and what is asked later says so."""
        self.service.startService()
        self.refuse_tcp()
        self.failed(self.service.first_connection(), StompDisconnected)
        self.pause_after()
        self.connect().accept()
        self.successResultOf(self.service.first_connection())
        self.assertIsNone(self.service.last_error)

    def test_deadline_of_tcp(self) -> None:
        first = self.service.first_connection()
        self.service.startService()
        self.clock.pump([4.0, 0.5])
        self.assertNoResult(first)
        self.clock.advance(0.5)
        self.assertIn("no answer from the broker within 5 s", self.failed(first, StompTimeout))

    def test_deadline_of_connected(self) -> None:
        """A broker that takes the connection and says nothing is given up."""
        first = self.service.first_connection()
        self.service.startService()
        self.clock.advance(3)
        played = self.connect()
        self.clock.advance(1.9)
        self.assertNoResult(first)
        self.clock.advance(0.1)
        self.failed(first, StompTimeout)
        self.assertTrue(played.line.aborted)
        played.lose()
        self.assertEqual(self.pause_after(), 0.05)

    def test_closed_before_connected(self) -> None:
        first = self.service.first_connection()
        self.service.startService()
        self.connect().lose()
        self.assertIn("the broker closed the connection", self.failed(first, StompDisconnected))

    def test_too_old(self) -> None:
        """STOMP 1.0 has no heart-beats and no escapes."""
        for headers in ({}, {"version": "1.0"}, {"version": "2.0"}):
            self.service = self.make([BROKER])
            first = self.service.first_connection()
            self.service.startService()
            played = self.connect()
            played.say("CONNECTED", headers)
            self.assertTrue(played.line.aborted)
            played.lose()
            self.assertIn("the broker speaks STOMP", self.failed(first, StompRefused))
            self.successResultOf(self.service.stopService())

    def test_no_stomp(self) -> None:
        for data in (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            encode(Frame("MESSAGE")),
            encode(Frame("RECEIPT")),
        ):
            self.service = self.make([BROKER])
            first = self.service.first_connection()
            self.service.startService()
            played = self.connect()
            played.protocol.dataReceived(data)
            self.assertTrue(played.line.aborted)
            played.lose()
            self.assertIn("malformed STOMP", self.failed(first, StompDisconnected))
            self.successResultOf(self.service.stopService())

    def test_wrong_heartbeat(self) -> None:
        self.service.startService()
        played = self.connect()
        played.accept("fast")
        self.assertTrue(played.line.aborted)
        played.lose()
        self.assertFalse(self.service.connected)

    def test_no_credential(self) -> None:
        self.service = self.make([Broker.from_url("stomp://h")])
        self.service.startService()
        played = self.connect()
        self.assertNotIn("passcode", played.heard()[0].headers)
        played.say("ERROR", {"message": "who?"})
        played.lose()
        self.assertEqual(self.service.last_error, "stomp://h:61613: who?")

    def test_no_brokers(self) -> None:
        with self.assertRaises(ValueError):
            StompService(self.clock, [])


class BackOffTests(StompCase):
    def refuse(self) -> None:
        played = self.connect()
        played.say("ERROR", {"message": "no"})
        played.lose()

    def pauses(self, fail: Any, number: int) -> list[float]:
        pauses = []
        for _ in range(number):
            fail()
            pauses.append(self.pause_after())
        return pauses

    def test_grows(self) -> None:
        self.service.startService()
        self.assertEqual(
            self.pauses(self.refuse_tcp, 9), [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
        )

    def test_refused(self) -> None:
        """A broker that refuses the credential is not asked again at full speed either."""
        self.service.startService()
        self.assertEqual(self.pauses(self.refuse, 4), [0.05, 0.1, 0.2, 0.4])

    def test_jitter(self) -> None:
        self.service = self.make([BROKER], random=lambda: 0.5)
        self.service.startService()
        self.assertEqual(self.pauses(self.refuse_tcp, 2), [0.075, 0.15])

    def test_many_failures(self) -> None:
        self.service.startService()
        self.assertEqual(self.pauses(self.refuse_tcp, 100)[-1], 5.0)

    def test_in_turn(self) -> None:
        """The brokers are tried one after the other; the pauses grow with each round."""
        self.service = self.make([BROKER, SECOND])
        logins = []

        def refuse() -> None:
            played = self.connect()
            logins.append(played.heard()[0].headers["login"])
            played.say("ERROR", {"message": "no"})
            played.lose()

        self.service.startService()
        self.assertEqual(self.pauses(refuse, 5), [0.05, 0.05, 0.1, 0.1, 0.2])
        self.assertEqual(logins, ["bbs", "other", "bbs", "other", "bbs"])

    def test_first_round(self) -> None:
        """`first_connection` fails only when no broker is left, and a refusal is what it tells."""
        self.service = self.make([BROKER, SECOND])
        first = self.service.first_connection()
        self.service.startService()
        self.refuse()
        late = self.service.first_connection()
        self.assertNoResult(first)
        self.assertNoResult(late)
        self.pause_after()
        self.refuse_tcp()
        self.assertIn("stomp://broker.example:61613: no", self.failed(first, StompRefused))
        self.failed(late, StompRefused)
        self.assertIn("stomp://second.example:61613: cannot", str(self.service.last_error))
        # What becomes of later attempts changes nothing in that.
        self.pause_after()
        self.refuse_tcp()
        self.failed(self.service.first_connection(), StompRefused)

    def test_second_broker(self) -> None:
        self.service = self.make([BROKER, SECOND])
        first = self.service.first_connection()
        self.service.startService()
        self.refuse_tcp()
        self.pause_after()
        self.connect().accept()
        self.successResultOf(first)

    def test_short_connection(self) -> None:
        """A broker that accepts and then ends the connection is a broker that fails."""
        self.service.startService()

        def flap() -> None:
            played = self.connect()
            played.accept()
            played.lose()

        self.assertEqual(self.pauses(flap, 4), [0.05, 0.1, 0.2, 0.4])

    def warnings(self, attempts: int) -> list[str]:
        """What the log says while the broker refuses that many connections."""
        with capturedLogs() as logs:
            for _ in range(attempts):
                self.pause_after()
                self.refuse_tcp()
        return [formatEvent(each) for each in logs if each["log_level"] is LogLevel.warn]

    def test_away_is_said_once(self) -> None:
        """The log says that a broker is away at once, then once a minute, and anew after a
        connection."""
        self.service.startService()
        self.refuse_tcp()
        self.assertEqual(self.warnings(10), [])
        began, lines = self.clock.seconds(), 0
        while self.clock.seconds() - began < 300:
            lines += len(self.warnings(1))
        self.assertEqual(lines, 5)
        for _ in range(2):
            self.pause_after()
            played = self.connect()
            played.accept()
            self.clock.advance(1.0)
            with capturedLogs() as logs:
                played.lose()
            [line] = [each for each in logs if each["log_level"] is LogLevel.warn]
            self.assertIn("connection to stomp://broker.example:61613 lost", formatEvent(line))
            self.assertEqual(self.warnings(7), [])

    def test_other_reason_is_said(self) -> None:
        """A refusal is news while the broker is known to be away, and each broker's own is."""
        self.service = self.make([BROKER, SECOND])
        self.service.startService()
        self.refuse_tcp()
        [line] = self.warnings(1)
        self.assertIn("no connection to stomp://second.example:61613: cannot connect", line)
        self.pause_after()
        with capturedLogs() as logs:
            self.refuse()
        self.assertIn(
            "no connection to {broker}: {reason}", [each.get("log_format") for each in logs]
        )

    def test_flapping_is_said_once(self) -> None:
        """Connections that end at once are one trouble."""
        self.service.startService()
        with capturedLogs() as logs:
            for _ in range(5):
                played = self.connect()
                played.accept()
                played.lose()
                self.pause_after()
        self.assertEqual(sum(each["log_level"] is LogLevel.warn for each in logs), 1)

    def test_long_connection(self) -> None:
        self.service.startService()
        self.pauses(self.refuse_tcp, 5)
        played = self.connect()
        played.accept()
        self.clock.advance(1.0)
        played.lose()
        self.assertEqual(self.pause_after(), 0.05)
        self.assertEqual(self.pauses(self.refuse_tcp, 2), [0.05, 0.1])


class SubscriptionTests(StompCase):
    def test_confirmed(self) -> None:
        played = self.started()
        asked = self.service.subscribe("/topic/a", lambda message: None)
        [frame] = played.heard()
        self.assertEqual(frame.command, "SUBSCRIBE")
        self.assertEqual(
            frame.headers, {"id": "1", "destination": "/topic/a", "ack": "auto", "receipt": "1"}
        )
        self.assertNoResult(asked)
        played.receipt(frame)
        subscription = self.successResultOf(asked)
        self.assertEqual(self.service.subscriptions(), (subscription,))
        self.successResultOf(subscription.confirmed())

    def test_message(self) -> None:
        got: list[Message] = []
        played = self.started()
        self.subscribe(played, got.append)
        played.message("1", b"a\0b")
        played.message("2", b"of another")
        [message] = got
        headers = {
            "subscription": "1",
            "message-id": "1",
            "destination": "/topic/a",
            "content-length": "3",
        }
        self.assertEqual(message, Message("/topic/a", headers, b"a\0b"))

    def test_message_before_receipt(self) -> None:
        got: list[Message] = []
        played = self.started()
        asked = self.service.subscribe("/topic/a", got.append)
        played.message("1", b"early")
        self.assertNoResult(asked)
        self.assertEqual([message.body for message in got], [b"early"])

    def test_deadline(self) -> None:
        """A confirmation that is late is late for who waited, and counts for who asks again."""
        played = self.started()
        asked = self.service.subscribe("/topic/a", lambda message: None)
        [frame] = played.heard()
        self.clock.advance(5)
        self.failed(asked, StompTimeout)
        [subscription] = self.service.subscriptions()
        again = subscription.confirmed()
        self.assertNoResult(again)
        played.receipt(frame)
        self.successResultOf(again)

    def test_cancelled(self) -> None:
        """Who no longer waits disturbs nobody else."""
        played = self.started()
        subscription = self.service.keep_subscribed("/topic/a", lambda message: None)
        one, two = subscription.confirmed(), subscription.confirmed()
        two.addBoth(lambda _: one.cancel())
        three = subscription.confirmed()
        three.cancel()
        self.failureResultOf(three)
        played.receipt(played.heard()[0])
        self.successResultOf(one)
        self.successResultOf(two)

    def test_cancelled_by_another(self) -> None:
        played = self.started()
        subscription = self.service.keep_subscribed("/topic/a", lambda message: None)
        one, two = subscription.confirmed(), subscription.confirmed()
        one.addCallback(lambda _: two.cancel())
        played.receipt(played.heard()[0])
        self.successResultOf(one)
        self.failureResultOf(two)

    def test_connection_goes(self) -> None:
        """The wait fails; the subscription is asked for again on the next connection."""
        played = self.started()
        asked = self.service.subscribe("/topic/a", lambda message: None)
        played.lose(ConnectionLost())
        self.assertIn("non-clean", self.failed(asked, StompDisconnected))
        [subscription] = self.service.subscriptions()
        self.failed(subscription.confirmed(), StompDisconnected)
        self.assertEqual(self.changes, [True, False])
        self.assertFalse(self.service.connected)
        self.assertIn("non-clean", str(self.service.last_error))
        self.pause_after()
        played = self.connect()
        played.heard()
        [frame] = played.accept()
        self.assertEqual((frame.command, frame.headers["id"]), ("SUBSCRIBE", "1"))
        self.assertEqual(self.changes, [True, False, True])
        again = subscription.confirmed()
        self.assertNoResult(again)
        played.receipt(frame)
        self.successResultOf(again)

    def test_restored_in_order(self) -> None:
        """All of them, before anything that a listener says."""
        for name in ("a", "b", "c"):
            self.service.keep_subscribed(f"/topic/{name}", lambda message: None)
        self.service.subscriptions()[1].unsubscribe()

        def publish(connected: bool) -> None:
            self.service.publish("/topic/d", b"")

        self.service.add_listener(publish)
        self.service.startService()
        played = self.connect()
        played.heard()
        frames = played.accept()
        self.assertEqual(
            [(frame.command, frame.headers["destination"]) for frame in frames],
            [("SUBSCRIBE", "/topic/a"), ("SUBSCRIBE", "/topic/c"), ("SEND", "/topic/d")],
        )

    def test_unsubscribe(self) -> None:
        got: list[Message] = []
        played = self.started()
        subscription = self.subscribe(played, got.append)
        subscription.unsubscribe()
        subscription.unsubscribe()
        [frame] = played.heard()
        self.assertEqual((frame.command, frame.headers), ("UNSUBSCRIBE", {"id": "1"}))
        played.message("1", b"on its way")
        self.assertEqual(got, [])
        self.assertEqual(self.service.subscriptions(), ())
        self.failed(subscription.confirmed(), StompDisconnected)

    def test_unsubscribe_while_asked(self) -> None:
        """Whoever waits is told, and a late receipt revives nothing."""
        played = self.started()
        subscription = self.service.keep_subscribed("/topic/a", lambda message: None)
        waiting = subscription.confirmed()
        [frame] = played.heard()
        subscription.unsubscribe()
        self.failed(waiting, StompDisconnected)
        played.receipt(frame)
        self.failed(subscription.confirmed(), StompDisconnected)

    def test_refused(self) -> None:
        """A subscription that the broker refuses ends, as it would end every connection to come;
        the others are restored."""
        played = self.started()
        kept = self.subscribe(played, name="kept")
        asked = self.service.subscribe("/topic/secret", lambda message: None)
        refused = self.service.subscriptions()[1]
        [frame] = played.heard()
        played.say("ERROR", {"message": "no access", "receipt-id": frame.headers["receipt"]})
        self.assertEqual(self.failed(asked, StompRefused), "no access")
        self.assertEqual(self.failed(refused.confirmed(), StompRefused), "no access")
        self.assertTrue(played.line.aborted)
        played.lose()
        self.failed(refused.confirmed(), StompRefused)
        self.assertEqual(self.service.subscriptions(), (kept,))
        self.pause_after()
        played = self.connect()
        played.heard()
        [frame] = played.accept()
        self.assertEqual(frame.headers["destination"], "/topic/kept")

    def test_ends_in_listener(self) -> None:
        """A subscription may end while the loss of the connection is told."""
        played = self.started()
        one = self.subscribe(played)
        self.subscribe(played, name="b")
        other = self.service.keep_subscribed("/topic/c", lambda message: None)
        other.confirmed().addErrback(lambda failure: one.unsubscribe())
        played.lose()
        self.assertEqual(len(self.service.subscriptions()), 2)

    def test_failing_listener(self) -> None:
        def fails(connected: bool) -> None:
            raise ZeroDivisionError

        self.service.add_listener(fails)
        self.service.add_listener(self.changes.append)
        self.service.startService()
        self.connect().accept()
        self.assertEqual(self.changes, [True, True])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class SendingTests(StompCase):
    def test_send(self) -> None:
        played = self.started()
        sent = self.service.send("/topic/a", b"a\0b", {"color": "red", "destination": "/topic/x"})
        [frame] = played.heard()
        self.assertEqual((frame.command, frame.body), ("SEND", b"a\0b"))
        headers = {
            "destination": "/topic/a",
            "color": "red",
            "receipt": "1",
            "content-length": "3",
        }
        self.assertEqual(frame.headers, headers)
        self.assertNoResult(sent)
        played.receipt(frame)
        self.successResultOf(sent)
        # A receipt that nobody waits for is nobody's concern.
        played.receipt(frame)
        self.assertTrue(self.service.connected)

    def test_empty(self) -> None:
        """An empty body says its length too, which keeps ActiveMQ from calling it a text."""
        played = self.started()
        self.service.publish("/topic/a", b"")
        self.assertEqual(played.heard()[0].headers["content-length"], "0")

    def test_published_headers(self) -> None:
        played = self.started()
        for headers in ({}, {"color": "r:ed", "x": "\n"}, {"destination": "/topic/b"}):
            self.assertTrue(self.service.publish("/topic/a", b"a\0b", headers))
            expected = {**headers, "destination": "/topic/a", "content-length": "3"}
            self.assertEqual(played.heard(), [Frame("SEND", expected, b"a\0b")])

    def test_deadline(self) -> None:
        played = self.started(deadline=2.0)
        sent = self.service.send("/topic/a", b"")
        self.clock.advance(2.0)
        self.assertEqual(self.failed(sent, StompTimeout), "no answer from the broker within 2 s")
        self.assertTrue(self.service.connected)
        played.receipt(played.heard()[0])

    def test_not_connected(self) -> None:
        self.failed(self.service.send("/topic/a", b""), StompDisconnected)
        self.assertFalse(self.service.publish("/topic/a", b""))

    def test_connection_goes(self) -> None:
        """Who waits for a receipt is told after everybody knows that the connection is gone."""
        played = self.started()
        sent = self.service.send("/topic/a", b"")
        knew: list[bool] = []
        sent.addErrback(lambda failure: knew.append(self.service.connected))
        played.lose()
        self.successResultOf(sent)
        self.assertEqual(knew, [False])

    def test_refused(self) -> None:
        """An ERROR frame is the answer to the frame whose receipt it names, and the end of the
        connection for all others."""
        played = self.started()
        refused, other = self.service.send("/topic/a", b""), self.service.send("/topic/b", b"")
        played.say("ERROR", {"message": "no", "receipt-id": played.heard()[0].headers["receipt"]})
        self.assertEqual(self.failed(refused, StompRefused), "no")
        self.assertTrue(played.line.aborted)
        played.lose()
        self.assertEqual(self.failed(other, StompDisconnected), "the broker ended it: no")

    def test_error_without_receipt(self) -> None:
        played = self.started()
        sent = self.service.send("/topic/a", b"")
        played.say("ERROR", {"message": "going down"})
        played.lose()
        self.assertIn("going down", self.failed(sent, StompDisconnected))
        self.assertIn("going down", str(self.service.last_error))

    def test_bound(self) -> None:
        """While the broker does not read, what waits is bounded, and told."""
        played = self.started(max_output=1000)
        played.pause()
        self.assertTrue(self.service.publish("/topic/a", b"1" * 500))
        self.assertFalse(self.service.publish("/topic/a", b"2" * 500))
        self.failed(self.service.send("/topic/a", b"2" * 500), StompOverflow)
        waiting = self.service.send("/topic/a", b"3" * 100)
        # Subscriptions are few and must not be lost.
        subscription = self.service.keep_subscribed("/topic/" + "b" * 200, lambda message: None)
        subscription.unsubscribe()
        self.assertEqual(played.raw(), b"")
        played.resume()
        frames = played.heard()
        self.assertEqual(
            [frame.command for frame in frames], ["SEND", "SEND", "SUBSCRIBE", "UNSUBSCRIBE"]
        )
        self.assertEqual([frame.body[:1] for frame in frames[:2]], [b"1", b"3"])
        played.receipt(frames[1])
        self.successResultOf(waiting)
        self.assertTrue(self.service.publish("/topic/a", b"4" * 1000))
        self.assertFalse(self.service.publish("/topic/a", b"5" * 1001))

    def test_full_again(self) -> None:
        """A transport that is full again in the middle is not pushed further."""
        played = self.started()
        played.pause()
        for body in (b"1", b"2", b"3"):
            self.service.publish("/topic/a", body)
        played.line.fills = True
        for body in (b"1", b"2", b"3"):
            played.resume()
            self.assertEqual([frame.body for frame in played.heard()], [body])

    def test_lost_while_full(self) -> None:
        played = self.started(max_output=1000)
        played.pause()
        self.service.publish("/topic/a", b"1" * 900)
        played.producer.stopProducing()
        played.lose()
        self.pause_after()
        played = self.connect()
        played.heard()
        self.assertEqual(played.accept(), [])
        self.assertTrue(self.service.publish("/topic/a", b"2" * 900))


class HeartbeatTests(StompCase):
    def beating(self, own: float, answer: str) -> Played:
        self.service = self.make([BROKER], heartbeat=own)
        self.service.startService()
        played = self.connect()
        played.heard()
        played.accept(answer)
        return played

    def beats(self, played: Played, seconds: float) -> int:
        """How often the client beats in that time, while the broker does too."""
        for _ in range(round(seconds * 2)):
            self.clock.advance(0.5)
            played.protocol.dataReceived(b"\n")
        return played.raw().count(b"\n")

    def test_sends(self) -> None:
        """The slower of what we can and what the broker wants, twice as often as was agreed."""
        self.assertEqual(self.beats(self.beating(10, "0,10000"), 60), 12)
        self.assertEqual(self.beats(self.beating(10, "0,20000"), 60), 6)
        self.assertEqual(self.beats(self.beating(10, "0,1"), 60), 12)

    def test_sends_none(self) -> None:
        self.assertEqual(self.beats(self.beating(10, "10000,0"), 60), 0)
        self.assertEqual(self.beats(self.beating(0, "10000,10000"), 60), 0)

    def test_skips_when_full(self) -> None:
        played = self.beating(10, "0,10000")
        played.pause()
        self.clock.advance(5)
        played.resume()
        self.assertEqual(played.raw(), b"")
        self.clock.advance(5)
        self.assertEqual(played.raw(), b"\n")

    def test_silent_broker(self) -> None:
        """Dropped after twice the interval, and a second for a broker that is nearly late."""
        for answer, limit in (("10000,0", 21.0), ("30000,0", 61.0), ("1,0", 21.0)):
            played = self.beating(10, answer)
            self.clock.advance(limit - 0.5)
            played.protocol.dataReceived(b"\n")
            self.clock.advance(limit - 0.1)
            self.assertFalse(played.line.aborted)
            self.clock.advance(0.1)
            self.assertTrue(played.line.aborted)
            played.lose()
            self.assertIn("heart-beat stopped", str(self.service.last_error))
            self.successResultOf(self.service.stopService())

    def test_broker_without_heartbeat(self) -> None:
        played = self.beating(10, "0,10000")
        self.clock.advance(1000)
        self.assertFalse(played.line.aborted)

    def test_no_header(self) -> None:
        self.service.startService()
        played = self.connect()
        played.say("CONNECTED", {"version": "1.2"})
        self.assertTrue(self.service.connected)

    def test_beats_end(self) -> None:
        """Nothing goes on when the connection is gone."""
        played = self.beating(10, "10000,10000")
        played.lose()
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])


class StoppingTests(StompCase):
    def test_never_started(self) -> None:
        self.successResultOf(self.service.stopService())

    def test_connected(self) -> None:
        """Everything sent reaches the broker, then both part."""
        played = self.started()
        got: list[Message] = []
        self.subscribe(played, got.append)
        sent = self.service.send("/topic/a", b"last")
        stopped = self.service.stopService()
        send, disconnect = played.heard()
        self.assertEqual((send.command, disconnect.command), ("SEND", "DISCONNECT"))
        played.message("1", b"too late")
        self.assertEqual(got, [])
        # Behind DISCONNECT nothing is sent.
        self.assertFalse(self.service.connected)
        self.assertFalse(self.service.publish("/topic/a", b"too late"))
        self.assertEqual(played.heard(), [])
        played.receipt(send)
        self.successResultOf(sent)
        self.assertFalse(played.line.disconnecting)
        played.receipt(disconnect)
        self.assertTrue(played.line.disconnecting)
        self.assertNoResult(stopped)
        played.lose()
        self.successResultOf(stopped)
        self.assertEqual(self.changes, [True, False])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.clock.tcpClients, [])

    def test_broker_does_not_answer(self) -> None:
        played = self.started()
        stopped = self.service.stopService()
        self.clock.advance(1.0)
        self.assertTrue(played.line.disconnecting)
        self.clock.advance(1.0)
        self.assertTrue(played.line.aborted)
        played.lose()
        self.successResultOf(stopped)

    def test_broker_closes_first(self) -> None:
        played = self.started()
        stopped = self.service.stopService()
        played.lose()
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_full(self) -> None:
        """What waits for a slow broker is handed to the transport before it closes."""
        played = self.started()
        played.pause()
        self.service.publish("/topic/a", b"1")
        self.service.stopService()
        self.clock.advance(1.0)
        self.assertEqual([frame.command for frame in played.heard()], ["SEND", "DISCONNECT"])
        self.assertIsNone(played.line.producer)

    def test_error_while_parting(self) -> None:
        played = self.started()
        stopped = self.service.stopService()
        played.say("ERROR", {"message": "what?"})
        played.lose()
        self.successResultOf(stopped)

    def test_data_while_closing(self) -> None:
        played = self.started()
        self.service.stopService()
        played.receipt(played.heard()[0])
        played.say("ERROR")
        self.assertFalse(played.line.aborted)

    def test_connecting(self) -> None:
        first, connected = self.service.first_connection(), self.service.when_connected()
        self.service.startService()
        self.successResultOf(self.service.stopService())
        self.failed(first, StompDisconnected)
        self.failed(connected, StompDisconnected)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIsNone(self.service.last_error)

    def test_shaking_hands(self) -> None:
        self.service.startService()
        played = self.connect()
        self.successResultOf(self.service.stopService())
        self.assertTrue(played.line.aborted)
        played.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_pausing(self) -> None:
        self.service.startService()
        self.refuse_tcp()
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_started_again(self) -> None:
        played = self.started()
        subscription = self.subscribe(played)
        stopped = self.service.stopService()
        played.receipt(played.heard()[0])
        played.lose()
        self.successResultOf(stopped)
        self.service.startService()
        played = self.connect()
        played.heard()
        [frame] = played.accept()
        played.receipt(frame)
        self.successResultOf(subscription.confirmed())

    def test_bug(self) -> None:
        """If the loop ends by an error of its own, that is logged."""
        self.service = self.make([BROKER], random=lambda: 1 / 0)
        self.service.startService()
        self.refuse_tcp()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
