"""The embedded broker, with clients that are played frame by frame."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from bbs.limits.connections import GRACE, OVERSHOOT, Admission, Networks
from bbs.protocols.stomp.broker import BrokerLimits, BrokerService, Credential, EmbeddedBroker
from bbs.protocols.stomp.frames import Frame, FrameCutter, encode

LOGIN = {"login": "bbs", "passcode": "sesame"}


class Line(StringTransport):
    aborted = False
    producer: Any

    def abortConnection(self) -> None:
        self.aborted = True


class Client:
    """A client's end of a connection to the broker."""

    def __init__(self, protocol: Any, version: str = "1.2") -> None:
        self.protocol = protocol
        self.version = version
        self.line = Line()
        self.cutter = FrameCutter(version)
        protocol.makeConnection(self.line)

    def raw(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def say(self, command: str, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.raw(encode(Frame(command, headers or {}, body), self.version))

    def heard(self) -> list[Frame]:
        data = self.line.value()
        self.line.clear()
        return list(self.cutter.feed(data))

    def bodies(self) -> list[bytes]:
        return [frame.body for frame in self.heard() if frame.command == "MESSAGE"]

    def error(self) -> str:
        """What the one ERROR frame said, behind which the broker closes."""
        [frame] = self.heard()
        if frame.command != "ERROR" or not self.line.disconnecting:
            raise AssertionError(frame)
        return frame.headers["message"]

    def lose(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))


class BrokerCase(SynchronousTestCase):
    limits = BrokerLimits(
        heartbeat=10.0, login_deadline=5.0, max_frame=10_000, max_buffer=2000, max_connections=3
    )

    def setUp(self) -> None:
        self.clock = MemoryReactorClock()
        self.broker = EmbeddedBroker(Credential("bbs", "sesame"), self.clock, self.limits)

    def connection(self, version: str = "1.2") -> Client:
        return Client(self.broker.buildProtocol(None), version)

    def client(self, version: str = "1.2") -> Client:
        """A client that has logged in."""
        client = self.connection(version)
        client.say("CONNECT", {"accept-version": version, "host": "/", **LOGIN})
        client.heard()
        return client

    def subscriber(self, destination: str = "/topic/a", version: str = "1.2") -> Client:
        client = self.client(version)
        client.say("SUBSCRIBE", {"id": "s", "destination": destination})
        return client


class CredentialTests(SynchronousTestCase):
    def test_admits(self) -> None:
        credential = Credential("bbs", "grüße")
        self.assertTrue(credential.admits("bbs", "grüße"))
        for login, passcode in (("bbs", "gruesse"), ("bb", "grüße"), ("", ""), ("bbs", "")):
            self.assertFalse(credential.admits(login, passcode))

    def test_shows_nothing(self) -> None:
        self.assertEqual(repr(Credential("bbs", "sesame")), "Credential()")


class ConnectTests(BrokerCase):
    def test_connected(self) -> None:
        for command in (b"CONNECT", b"STOMP"):
            client = self.connection()
            client.raw(command + b"\naccept-version:1.1,1.2\nlogin:bbs\npasscode:sesame\n\n\0\n")
            [frame] = client.heard()
            self.assertEqual(
                frame,
                Frame(
                    "CONNECTED", {"version": "1.2", "server": "bbs", "heart-beat": "10000,10000"}
                ),
            )

    def test_versions(self) -> None:
        for asked, version in (
            ("1.0", "1.0"),
            ("1.1", "1.1"),
            ("1.0,1.1", "1.1"),
            ("1.2,1.1,1.0", "1.2"),
            ("1.1,1.3,2.0", "1.1"),
        ):
            client = self.connection()
            client.say("CONNECT", {"accept-version": asked, **LOGIN})
            self.assertEqual(client.heard()[0].headers["version"], version)
            client.lose()

    def test_no_version(self) -> None:
        """1.0 did not know that there would be others."""
        client = self.connection()
        client.raw(b"CONNECT\nlogin: bbs\npasscode: sesame\n\n\0")
        self.assertEqual(client.heard()[0].headers["version"], "1.0")

    def test_no_common_version(self) -> None:
        client = self.connection()
        client.say("CONNECT", {"accept-version": "2.0,3.1", **LOGIN})
        [frame] = client.heard()
        self.assertEqual(
            frame.headers, {"version": "1.0,1.1,1.2", "message": "no common version of STOMP"}
        )
        self.assertTrue(client.line.disconnecting)

    def test_wrong_credential(self) -> None:
        for headers in ({}, {"login": "bbs"}, {"login": "bbs", "passcode": "Sesame"}):
            client = self.connection()
            client.say("CONNECT", {"accept-version": "1.2", **headers})
            self.assertEqual(client.error(), "wrong login or passcode")
            client.lose()

    def test_something_else_first(self) -> None:
        client = self.connection()
        client.say("SEND", {"destination": "/topic/a"})
        self.assertIn("CONNECT comes first", client.error())

    def test_twice(self) -> None:
        client = self.client()
        client.say("CONNECT", {"accept-version": "1.2", **LOGIN})
        self.assertEqual(client.error(), "CONNECT out of place")

    def test_deadline(self) -> None:
        """Whoever does not log in is closed, whatever else comes from them."""
        client = self.connection()
        self.clock.advance(4.9)
        client.raw(b"\n")
        self.assertFalse(client.line.aborted)
        self.clock.advance(0.1)
        self.assertTrue(client.line.aborted)
        client.lose()
        self.assertEqual(self.broker.connections, 0)

    def test_logged_in_in_time(self) -> None:
        client = self.client()
        self.clock.advance(100)
        self.assertFalse(client.line.aborted)

    def test_lost_before_login(self) -> None:
        client = self.connection()
        client.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_large_login(self) -> None:
        """Nobody makes the broker hold much before it knows who they are."""
        client = self.connection()
        client.raw(b"CONNECT\nx:" + b"x" * 8192)
        self.assertIn("headers of more than 8192 bytes", client.error())

    def test_pipelined(self) -> None:
        """CONNECT and what follows may come at once; what follows is in the version agreed."""
        client = self.connection()
        client.raw(
            b"CONNECT\naccept-version:1.2\nlogin:bbs\npasscode:sesame\n\n\0"
            b"SUBSCRIBE\nid:a\\cb\ndestination:/topic/a\nreceipt:r\\c1\n\n\0"
            b"SEND\ndestination:/topic/a\n\nhello\0"
        )
        _, receipt, message = client.heard()
        self.assertEqual(receipt, Frame("RECEIPT", {"receipt-id": "r:1"}))
        self.assertEqual((message.headers["subscription"], message.body), ("a:b", b"hello"))

    def test_too_many(self) -> None:
        clients = [self.connection() for _ in range(3)]
        one_more = self.connection()
        self.assertEqual(one_more.error(), "Too many connections")
        self.assertEqual(self.broker.connections, 3)
        clients[0].lose()
        one_more.lose()
        self.assertEqual(self.broker.connections, 2)
        self.assertEqual(self.client().heard(), [])

    def test_too_many_are_one_line_in_the_log(self) -> None:
        with capturedLogs() as logs:
            for _ in range(10):
                self.connection()
            self.clock.advance(60)
            self.connection()
        told = [event for event in logs if "too many" in str(event.get("log_format"))]
        self.assertEqual(len(told), 2)


class DoorTests(BrokerCase):
    def setUp(self) -> None:
        super().setUp()
        self.admit(Admission(2, Networks([]), seconds=self.clock.seconds))

    def admit(self, admission: Admission) -> None:
        """A broker whose connections are among those of `admission`."""
        self.admission = admission
        self.broker = EmbeddedBroker(
            Credential("bbs", "sesame"), self.clock, self.limits, admission.door(1)
        )

    def come(self, host: str) -> Client:
        return Client(self.broker.buildProtocol(IPv4Address("TCP", host, 50000)))

    def test_one_more_from_an_address(self) -> None:
        first = self.come("192.0.2.1")
        self.assertEqual(self.come("192.0.2.1").error(), "Too many connections")
        self.assertEqual(self.come("192.0.2.2").heard(), [])
        first.lose()
        self.assertEqual(self.come("192.0.2.1").heard(), [])

    def test_those_turned_away_count_for_nothing(self) -> None:
        first = self.come("192.0.2.1")
        self.come("192.0.2.1").lose()
        self.assertEqual(self.admission.count, 1)
        first.lose()
        self.assertEqual(self.admission.count, 0)

    def test_where_nobody_can_even_be_told(self) -> None:
        self.admit(Admission(1000, Networks([ip_network("192.0.2.0/24")]), descriptors=2))
        elsewhere = self.admission.door(1)  # another port of the same process
        for number in range(OVERSHOOT // 2):
            elsewhere.enter(f"192.0.2.{number}")
        self.assertEqual(self.come("198.51.100.1").error(), "Too many connections")
        elsewhere.enter("192.0.2.255")
        self.assertIsNone(self.broker.buildProtocol(IPv4Address("TCP", "198.51.100.1", 50000)))

    def test_who_has_not_logged_in_makes_room(self) -> None:
        client, silent = self.come("192.0.2.1"), self.come("192.0.2.2")
        client.say("CONNECT", {"accept-version": "1.2", "host": "/", **LOGIN})
        self.clock.advance(GRACE)
        self.assertEqual(self.come("192.0.2.3").heard(), [])
        self.assertEqual(silent.error(), "Too many connections")
        self.assertEqual([frame.command for frame in client.heard()], ["CONNECTED"])


class TopicTests(BrokerCase):
    def test_message(self) -> None:
        hears = self.subscriber()
        self.client().say(
            "SEND",
            {"destination": "/topic/a", "color": "r:e\\d", "receipt": "1", "ack": "x"},
            b"a\0b",
        )
        [message] = hears.heard()
        headers = {
            "subscription": "s",
            "message-id": "1",
            "destination": "/topic/a",
            "color": "r:e\\d",
            "content-length": "3",
        }
        self.assertEqual(message, Frame("MESSAGE", headers, b"a\0b"))

    def test_byte_by_byte(self) -> None:
        hears, sends = self.subscriber(), self.client()
        for byte in encode(Frame("SEND", {"destination": "/topic/a"}, b"a\0b")) + b"\n\n":
            sends.raw(bytes([byte]))
        self.assertEqual(hears.bodies(), [b"a\0b"])

    def test_versions(self) -> None:
        """Each hears in its own version, without headers that it has no way to write."""
        old, middle = self.subscriber(version="1.0"), self.subscriber(version="1.1")
        headers = {"destination": "/topic/a", "colon": ":", "line": "\n", "return": "\r"}
        self.client().say("SEND", headers, b"x")
        for client, lost in ((old, {"line", "return"}), (middle, {"return"})):
            [message] = client.heard()
            self.assertEqual(set(headers) - set(message.headers), lost)
            self.assertEqual(message.headers["colon"], ":")

    def test_own_topic_only(self) -> None:
        hears = self.subscriber("/topic/a")
        self.client().say("SEND", {"destination": "/topic/b"}, b"b")
        self.assertEqual(hears.heard(), [])

    def test_receipts(self) -> None:
        """A receipt comes behind what the frame did, for each command."""
        client = self.client()
        for command, headers in (
            ("SUBSCRIBE", {"id": "1", "destination": "/topic/a"}),
            ("BEGIN", {"transaction": "t"}),
            ("SEND", {"destination": "/topic/a", "transaction": "t"}),
            ("ACK", {"id": "5", "transaction": "t"}),
            ("NACK", {"id": "5"}),
            ("ABORT", {"transaction": "t"}),
            ("UNSUBSCRIBE", {"id": "1"}),
            ("DISCONNECT", {}),
        ):
            client.say(command, {**headers, "receipt": command})
            self.assertEqual(client.heard(), [Frame("RECEIPT", {"receipt-id": command})])
        self.assertTrue(client.line.disconnecting)

    def test_disconnect(self) -> None:
        """Nothing is heard behind it, and a client that does not close is closed."""
        client = self.subscriber()
        client.say("DISCONNECT")
        self.assertTrue(client.line.disconnecting)
        self.assertEqual(len(self.broker.topics), 0)
        client.say("SEND")
        self.assertEqual(client.heard(), [])
        self.clock.advance(5)
        self.assertTrue(client.line.aborted)
        client.lose()

    def test_unsubscribe(self) -> None:
        client = self.subscriber()
        client.say("UNSUBSCRIBE", {"id": "s"})
        client.say("SEND", {"destination": "/topic/a"})
        self.assertEqual(client.heard(), [])
        self.assertEqual(len(self.broker.topics), 0)

    def test_old_subscriptions(self) -> None:
        """In 1.0 a subscription may do without an id."""
        client = self.client("1.0")
        client.say("SUBSCRIBE", {"destination": "/topic/a"})
        client.say("SEND", {"destination": "/topic/a"}, b"x")
        self.assertEqual(client.heard()[0].headers["subscription"], "/topic/a")
        client.say("UNSUBSCRIBE", {"destination": "/topic/a"})
        client.say("SEND", {"destination": "/topic/a"}, b"x")
        self.assertEqual(client.heard(), [])

    def test_lost(self) -> None:
        """A topic is gone with its last subscriber."""
        one, two = self.subscriber(), self.subscriber()
        one.lose()
        self.assertEqual(len(self.broker.topics), 1)
        self.client().say("SEND", {"destination": "/topic/a"}, b"x")
        self.assertEqual(two.bodies(), [b"x"])
        two.lose()
        self.assertEqual(len(self.broker.topics), 0)

    def test_acknowledging(self) -> None:
        """In 1.2 what is to be acknowledged has an id for that."""
        for version, has_ack in (("1.1", False), ("1.2", True)):
            for mode in ("client", "client-individual"):
                client = self.client(version)
                client.say("SUBSCRIBE", {"id": "1", "destination": "/topic/a", "ack": mode})
                client.say("SEND", {"destination": "/topic/a"})
                [message] = client.heard()
                self.assertEqual("ack" in message.headers, has_ack)
                name = "id" if has_ack else "message-id"
                client.say("ACK", {name: message.headers["message-id"], "subscription": "1"})
                self.assertEqual(client.heard(), [])
                client.lose()

    def test_transactions(self) -> None:
        hears, sends = self.subscriber(), self.client()
        for name in ("t", "u"):
            sends.say("BEGIN", {"transaction": name})
        for body in (b"1", b"2"):
            sends.say("SEND", {"destination": "/topic/a", "transaction": "t"}, body)
        sends.say("SEND", {"destination": "/topic/a", "transaction": "u"}, b"never")
        sends.say("SEND", {"destination": "/topic/a"}, b"0")
        self.assertEqual(hears.bodies(), [b"0"])
        sends.say("COMMIT", {"transaction": "t"})
        messages = hears.heard()
        self.assertEqual([message.body for message in messages], [b"1", b"2"])
        self.assertNotIn("transaction", messages[0].headers)
        sends.say("ABORT", {"transaction": "u"})
        sends.say("BEGIN", {"transaction": "u"})
        sends.say("COMMIT", {"transaction": "u"})
        self.assertEqual(hears.heard() + sends.heard(), [])

    def test_mistakes(self) -> None:
        """Each is said in an ERROR frame that names the receipt, and ends the connection."""
        mistakes: list[tuple[str, dict[str, str], str]] = [
            ("SUBSCRIBE", {"id": "1"}, "SUBSCRIBE without destination"),
            ("SUBSCRIBE", {"destination": "/topic/a"}, "SUBSCRIBE without id"),
            ("SUBSCRIBE", {"id": "s", "destination": "/topic/a"}, "'s' is there already"),
            ("SUBSCRIBE", {"id": "1", "destination": "/topic/a", "ack": "no"}, "no such ack mode"),
            ("SUBSCRIBE", {"id": "1", "destination": "/queue/a"}, "not a topic"),
            ("SUBSCRIBE", {"id": "1", "destination": "/topic/a.*"}, "not a topic"),
            ("UNSUBSCRIBE", {}, "UNSUBSCRIBE without id"),
            ("UNSUBSCRIBE", {"id": "2"}, "no subscription '2'"),
            ("SEND", {}, "SEND without destination"),
            ("SEND", {"destination": "/topic/a,/topic/b"}, "not a topic"),
            ("SEND", {"destination": "/topic/a", "transaction": "x"}, "no transaction 'x'"),
            ("ACK", {}, "ACK without id"),
            ("NACK", {"message-id": "1"}, "NACK without id"),
            ("ACK", {"id": "1", "transaction": "x"}, "no transaction 'x'"),
            ("BEGIN", {}, "BEGIN without transaction"),
            ("BEGIN", {"transaction": "t"}, "'t' is there already"),
            ("COMMIT", {"transaction": "x"}, "no transaction 'x'"),
            ("ABORT", {}, "ABORT without transaction"),
            ("MESSAGE", {}, "MESSAGE out of place"),
        ]
        for command, headers, message in mistakes:
            client = self.subscriber()
            client.say("BEGIN", {"transaction": "t"})
            client.say(command, {**headers, "receipt": "r"})
            [frame] = client.heard()
            self.assertEqual((frame.command, frame.headers["receipt-id"]), ("ERROR", "r"))
            self.assertIn(message, frame.headers["message"])
            self.assertTrue(client.line.disconnecting)
            self.assertEqual(len(self.broker.topics), 0)
            client.say("SEND", {"destination": "/topic/a", "receipt": "r"})
            self.assertEqual(client.heard(), [])
            client.lose()

    def test_subscription_that_cannot_be_named(self) -> None:
        """It ends the connection of who asks for it, not of those who send there."""
        for version in ("1.0", "1.1"):
            client, sends = self.client(version), self.client()
            client.raw(b"SUBSCRIBE\nid:a\rb\ndestination:/topic/a\n\n\0")
            self.assertIn("cannot be written", client.error())
            sends.say("SEND", {"destination": "/topic/a", "receipt": "r"}, b"x")
            self.assertEqual([frame.command for frame in sends.heard()], ["RECEIPT"])
            client.lose()
            sends.lose()

    def test_no_stomp(self) -> None:
        client = self.client()
        client.raw(b"SEND\nx:\\t\n\n\0")
        self.assertIn("no such escape", client.error())


class LimitTests(BrokerCase):
    def test_slow_subscriber(self) -> None:
        """It is cut off when too much waits for it; the others hear on."""
        slow, other, sends = self.subscriber(), self.subscriber(), self.client()
        slow.line.producer.pauseProducing()
        for _ in range(3):
            sends.say("SEND", {"destination": "/topic/a"}, b"x" * 500)
        self.assertFalse(slow.line.aborted)
        self.assertEqual(slow.heard(), [])
        sends.say("SEND", {"destination": "/topic/a"}, b"x" * 500)
        self.assertTrue(slow.line.aborted)
        sends.say("SEND", {"destination": "/topic/a", "receipt": "r"}, b"x")
        self.assertEqual(len(other.bodies()), 5)
        self.assertEqual(sends.heard(), [Frame("RECEIPT", {"receipt-id": "r"})])
        slow.lose()

    def test_reads_again(self) -> None:
        """A subscriber that reads again in time hears everything, in order."""
        slow, sends = self.subscriber(), self.client()
        for _ in range(5):
            slow.line.producer.pauseProducing()
            for number in (b"1", b"2", b"3"):
                sends.say("SEND", {"destination": "/topic/a"}, number + b"x" * 400)
            slow.line.producer.resumeProducing()
            self.assertEqual([body[:1] for body in slow.bodies()], [b"1", b"2", b"3"])
        self.assertFalse(slow.line.aborted)

    def test_slow_with_two_subscriptions(self) -> None:
        """Being cut off in the middle of a message that goes to it twice."""
        slow = self.client()
        for ident in ("1", "2", "3"):
            slow.say("SUBSCRIBE", {"id": ident, "destination": "/topic/a"})
        slow.line.producer.pauseProducing()
        slow.say("SEND", {"destination": "/topic/a", "receipt": "r"}, b"x" * 1500)
        self.assertTrue(slow.line.aborted)
        self.assertEqual(slow.heard(), [])
        self.assertEqual(slow.protocol.held, 0)
        slow.lose()

    def test_large_frame(self) -> None:
        client = self.client()
        client.raw(b"SEND\ndestination:/topic/a\ncontent-length:10001\n\n")
        self.assertIn("a body of more than 10000 bytes", client.error())

    def test_large_transaction(self) -> None:
        client = self.client()
        client.say("BEGIN", {"transaction": "t"})
        client.say("SEND", {"destination": "/topic/a", "transaction": "t"}, b"x" * 1000)
        self.assertEqual(client.heard(), [])
        client.say("SEND", {"destination": "/topic/a", "transaction": "t"}, b"x" * 1000)
        self.assertEqual(client.error(), "transactions too large")

    def test_many_transactions(self) -> None:
        client = self.client()
        for number in range(100):
            client.say("BEGIN", {"transaction": str(number)})
        self.assertEqual(client.heard(), [])
        client.say("BEGIN", {"transaction": "one more"})
        self.assertEqual(client.error(), "too many transactions")


class HeartbeatTests(BrokerCase):
    def beating(self, header: str) -> Client:
        client = self.connection()
        client.say("CONNECT", {"accept-version": "1.2", "heart-beat": header, **LOGIN})
        client.line.clear()
        return client

    def test_broker_beats(self) -> None:
        client = self.beating("0,20000")
        self.clock.pump([1.0] * 60)
        self.assertEqual(client.line.value(), b"\n" * 6)

    def test_silent_client(self) -> None:
        client = self.beating("5000,0")
        self.clock.advance(20)
        client.raw(b"\n")
        self.clock.advance(20.9)
        self.assertFalse(client.line.aborted)
        self.clock.advance(0.1)
        self.assertTrue(client.line.aborted)
        self.assertEqual(client.line.value(), b"")

    def test_none(self) -> None:
        client = self.beating("0,0")
        self.clock.advance(1000)
        self.assertFalse(client.line.aborted)
        self.assertEqual(client.line.value(), b"")

    def test_wrong(self) -> None:
        for header in ("", "1", "1,2,3", "a,b", "-1,0", "1.5,0", "1, 2"):
            client = self.connection()
            client.say("CONNECT", {"accept-version": "1.2", "heart-beat": header, **LOGIN})
            self.assertIn("a heart-beat of", client.error())
            client.lose()

    def test_very_slow(self) -> None:
        """Intervals that no clock takes are cut to a day."""
        self.assertFalse(self.beating("9" * 400 + "," + "9" * 400).line.aborted)


class TakenPort(MemoryReactorClock):
    """A reactor in memory on which somebody else has every port."""

    def listenTCP(self, *args: object, **options: object) -> Any:
        raise CannotListenError("127.0.0.1", 7000, OSError("in use"))


class ServiceTests(BrokerCase):
    def service(self, endpoint: str = "tcp:0:interface=127.0.0.1") -> BrokerService:
        return BrokerService(self.clock, endpoint, self.broker)

    def test_url(self) -> None:
        self.broker.credential = Credential("b b", "s:e@s/ame")
        service = self.service("tcp:7000:interface=127.0.0.1")
        early = service.when_listening()
        self.assertIsNone(service.url)
        service.startService()
        # The reactor in memory says that it listens everywhere, whatever it is told.
        url = self.successResultOf(early)
        self.assertRegex(url, r"^stomp://b%20b:s%3Ae%40s%2Fame@[0-9.]+:\d+$")
        self.assertEqual(url, service.url)
        self.assertEqual(url, self.successResultOf(service.when_listening()))

    def test_ipv6(self) -> None:
        service = self.service("tcp6:7000:interface=\\:\\:1")
        service.startService()
        self.assertRegex(str(service.url), r"@\[[0-9a-f:]+\]:\d+$")

    def test_port_in_use(self) -> None:
        self.clock = TakenPort()
        service = self.service()
        early = service.when_listening()
        service.startService()
        self.failureResultOf(early, CannotListenError)
        self.failureResultOf(service.when_listening(), CannotListenError)
        self.successResultOf(service.stopService())

    def test_stop(self) -> None:
        """Every connection is ended, and it is done when they have."""
        service = self.service()
        service.startService()
        clients = [self.client(), self.connection()]
        stopped = service.stopService()
        self.assertNoResult(stopped)
        for client in clients:
            self.assertTrue(client.line.aborted)
            client.lose()
        self.successResultOf(stopped)
        self.assertIsNone(service.url)
        self.assertEqual(self.broker.connections, 0)

    def test_never_started(self) -> None:
        self.successResultOf(self.service().stopService())
