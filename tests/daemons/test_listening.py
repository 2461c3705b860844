"""Places with TLS: what they read, and what they do when that changes."""

import os
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from bbs.config import Configuration, references
from bbs.core.addresses import ListeningPlace
from bbs.core.certificates import DAY, date
from bbs.core.values import Rate
from bbs.daemons.listening import (
    RENEWAL,
    CannotListen,
    CertificateRenewal,
    Contexts,
    HandshakesFactory,
    Pems,
    endpoint_at,
    read_pems,
)
from bbs.limits.connections import Admission, Networks
from bbs.limits.handshakes import Handshakes
from tests.certificates import Signed, certificate

REFERENCE = r"ssl:1:privateKey=secretsmanager\:bbs/tls"


class PlacesWithTLS(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(os.path.abspath(self.mktemp()))
        self.folder.mkdir()
        self.path = self.folder / "own.pem"
        self.authority = certificate(str(self.folder / "ca.pem"), ("authority",))
        self.place = ListeningPlace.parse(f"ssl:1:interface=127.0.0.1:privateKey={self.path}")
        self.renew("one.example")

    def renew(self, name: str) -> None:
        """A certificate with its signer's behind it, as authorities give them."""
        certificate(str(self.path), (name,), by=self.authority)
        chain = (self.folder / "ca.pem").read_text()
        with self.path.open("a") as file:
            file.write(chain[chain.index("-----BEGIN CERTIFICATE") :])

    def read(self) -> Pems:
        return read_pems(self.place, Configuration())

    def name(self, contexts: Contexts) -> str:
        """Whose certificate the next connection sees."""
        own: Any = contexts._options.certificate
        return str(own.get_subject().CN)

    def test_a_chain_in_one_file(self) -> None:
        contexts = Contexts(self.place, self.read())
        self.assertEqual(self.name(contexts), "one.example")
        (signer,) = contexts._options.extraCertChain
        self.assertEqual(signer.get_subject().CN, "authority")

    def test_a_chain_in_a_file_of_its_own(self) -> None:
        certificate(str(self.path), ("two.example",), by=self.authority)
        self.place = ListeningPlace.parse(
            f"ssl:1:privateKey={self.path}:extraCertChain={self.folder}/ca.pem"
        )
        (signer,) = Contexts(self.place, self.read())._options.extraCertChain
        self.assertEqual(signer.get_subject().CN, "authority")

    def test_a_secret(self) -> None:
        place = ListeningPlace.parse(REFERENCE)
        with mock.patch.object(references, "_fetch", return_value=self.path.read_text()) as fetch:
            pems = read_pems(place, Configuration())
        fetch.assert_called_once_with("secretsmanager:bbs/tls", "us-east-1", references.ATTEMPTS)
        self.assertEqual(self.name(Contexts(place, pems)), "one.example")

    def test_a_secret_that_is_none(self) -> None:
        with mock.patch.object(references, "_fetch", return_value="hunter2"):
            failed = self.assertRaises(
                CannotListen, read_pems, ListeningPlace.parse(REFERENCE), Configuration()
            )
        self.assertIn("a key and its certificates (PEM)", str(failed))
        self.assertNotIn("hunter2", str(failed))

    def test_what_cannot_be_used(self) -> None:
        other = certificate(str(self.folder / "other.pem"), ("other",)).path
        for text, told in (
            (f"ssl:1:privateKey={self.folder}/none.pem", "none.pem: No such file or directory"),
            (f"ssl:1:privateKey={self.path}:certKey={other}", "no key with its certificate"),
            (f"ssl:1:privateKey={self.path}:sslmethod=x", "AttributeError: "),
            (f"ssl:1:privateKey={self.path}:dhParameters=/none", "Error: "),
        ):
            place = ListeningPlace.parse(text)
            failed = self.assertRaises(
                CannotListen, lambda place=place: Contexts(place, read_pems(place, Configuration()))
            )
            self.assertIn(told, str(failed))
            self.assertTrue(str(failed).startswith(f"cannot listen on {text}: "), str(failed))

    def test_slips(self) -> None:
        place = ListeningPlace.parse(f"ssl:1:privatekey={self.path}")
        failed = self.assertRaises(CannotListen, endpoint_at, None, place)
        self.assertIn("privatekey", str(failed))

    def test_where_it_listens(self) -> None:
        reactor: Any = MemoryReactorClock()
        endpoint: IStreamServerEndpoint = endpoint_at(
            reactor, self.place, Contexts(self.place, self.read())
        )
        self.successResultOf(endpoint.listen(mock.Mock()))
        ((port, _, backlog, interface),) = reactor.tcpServers
        self.assertEqual((port, backlog, interface), (1, 1024, "127.0.0.1"))
        theirs = serverFromString(reactor, str(self.place))
        self.assertEqual((theirs._port, theirs._interface), (port, interface))

    def test_renewed(self) -> None:
        """Within an hour; what cannot be used leaves it as it is."""
        clock: Any = MemoryReactorClock()
        contexts = Contexts(self.place, self.read())

        def read() -> Deferred[Pems]:
            return succeed(None).addCallback(lambda _: self.read())

        ends: list[float] = []
        renewal = CertificateRenewal(self.place, contexts, read, clock, clock.seconds, ends.append)
        renewal.startService()
        self.assertEqual(self.name(contexts), "one.example")
        self.renew("two.example")
        clock.advance(RENEWAL)
        self.assertEqual(self.name(contexts), "two.example")
        self.path.write_text("rubbish")
        clock.advance(RENEWAL)
        self.path.unlink()
        clock.advance(RENEWAL)
        self.assertEqual(self.name(contexts), "two.example")
        self.renew("three.example")
        clock.advance(RENEWAL)
        self.assertEqual(self.name(contexts), "three.example")
        self.successResultOf(renewal.stopService())
        self.assertEqual(ends, sorted(ends))  # Each lasts longer than the one before.
        self.assertEqual([ends[1], ends[-1]], [ends[3], contexts.expires])


class Ending(SynchronousTestCase):
    """What the log has of a certificate that ends, by clocks that are passed in."""

    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        self.place = ListeningPlace.parse(f"ssl:1:privateKey={self.path}")
        self.renew(50.0)
        self.contexts = Contexts(self.place, read_pems(self.place, Configuration()))
        self.clock: Any = MemoryReactorClock()

    def renew(self, days: float, by: Signed | None = None) -> Signed:
        """A certificate that ends in so many days of the real clock, which nobody else asks."""
        return certificate(self.path, ("bbs.example",), ends=days, by=by)

    def renewal(self, left: float) -> CertificateRenewal:
        """Begin, with so many days left of the certificate that is served."""
        began = self.contexts.expires - left * DAY - self.clock.seconds()
        renewal = CertificateRenewal(
            self.place,
            self.contexts,
            lambda: succeed(read_pems(self.place, Configuration())),
            self.clock,
            lambda: began + self.clock.seconds(),
            lambda end: None,
        )
        renewal.startService()
        self.addCleanup(renewal.stopService)
        return renewal

    def lasting(self, left: float, hours: int = 0) -> list[tuple[str, str]]:
        """The levels and predicates of what is told at a start, and in hours after that."""
        with capturedLogs() as log:
            renewal = self.renewal(left)
            for _ in range(hours):
                self.clock.advance(RENEWAL)
            self.successResultOf(renewal.stopService())
        found = [
            (event["log_level"].name, event.get("trouble", "").partition(", on")[0])
            for event in log
        ]
        self.texts = [formatEvent(event) or "" for event in log]
        return [each for each in found if each[1]]

    def test_fifteen_days_before(self) -> None:
        self.assertEqual(self.lasting(15.0), [])

    def test_fourteen_days_before(self) -> None:
        self.assertEqual(self.lasting(14.0), [("warn", "expires in 14 days")])
        (text,) = self.texts
        self.assertIn(f"the certificate of {self.place} expires in 14 days, on 20", text)
        self.assertIn("UTC, and then clients that check it refuse to connect", text)

    def test_once_a_day(self) -> None:
        days = [words for _, words in self.lasting(15.0, hours=72)]
        self.assertEqual(days, [f"expires in {days} days" for days in (14, 13, 12)])

    def test_in_an_hour_and_after(self) -> None:
        """That it has ended is told at once, and then once a day."""
        self.assertEqual(
            self.lasting(1 / 24 + 0.001, hours=26),
            [
                ("warn", "expires in less than a day"),
                ("error", "has expired"),
                ("error", "expired a day ago"),
            ],
        )
        self.assertIn("UTC, so clients that check it refuse to connect", self.texts[-1])

    def test_that_has_ended_before_the_start(self) -> None:
        self.assertEqual(self.lasting(-3.0), [("error", "expired 3 days ago")])

    def test_not_valid_yet(self) -> None:
        """As where a clock is wrong, here or where it was signed: once a day until it is."""
        certificate(self.path, ("bbs.example",), begins=48.0, ends=50.0)
        self.contexts = Contexts(self.place, read_pems(self.place, Configuration()))
        told = self.lasting(3.2, hours=30)
        early = f"is not valid before {date(self.contexts.begins)}"
        self.assertEqual(told, [("error", early), ("error", early), ("warn", "expires in a day")])
        self.assertIn(f"{early}, so clients that check it refuse to connect", self.texts[0])

    def test_replaced(self) -> None:
        """It is told as long as the old one is served, and of the new one in its time."""
        self.renewal(0.5)
        self.renew(90.0)
        with capturedLogs() as log:
            self.clock.advance(RENEWAL)
            self.assertIn("has a new certificate", formatEvent(log[0]) or "")
            for _ in range(48):
                self.clock.advance(RENEWAL)
        self.assertEqual(len(log), 1)

    def test_replaced_by_one_that_ends_soon(self) -> None:
        """By mistake, the one of the year before."""
        self.renewal(3.0)
        self.renew(48.5)  # A day and a half by the clock of the server.
        with capturedLogs() as log:
            self.clock.advance(RENEWAL)
        self.assertEqual(len(log), 2)

    def test_what_cannot_be_used_replaces_nothing(self) -> None:
        with open(self.path, "w") as file:
            file.write("rubbish")
        with capturedLogs() as log:
            self.renewal(-2.0)
        texts = [formatEvent(event) or "" for event in log]
        self.assertIn("the certificate stays as it is", texts[0])
        self.assertIn("expired 2 days ago", texts[1])

    def test_its_signer_ends_first(self) -> None:
        """Clients that check it refuse that as well."""
        signer = certificate(os.path.abspath(self.mktemp()), ("authority",), ends=3.0)
        self.renew(90.0, by=signer)
        with open(signer.path) as chain, open(self.path, "a") as file:
            text = chain.read()
            file.write(text[text.index("-----BEGIN CERTIFICATE") :])
        contexts = Contexts(self.place, read_pems(self.place, Configuration()))
        self.assertEqual(contexts.expires, signer.certificate.not_valid_after_utc.timestamp())


class Client(Protocol):
    def __init__(self) -> None:
        self.heard, self.lost = b"", False

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True


class BeforeTheHandshake(SynchronousTestCase):
    """Connections wait for their turn, or are refused."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.admission = Admission(300, Networks([]), seconds=self.clock.seconds)
        self.refused: list[None] = []
        self.admission.when_refused = lambda: self.refused.append(None)
        self.begun: list[Client] = []
        handshakes = Handshakes(Rate(100, 1.0), Networks([]), lambda address: False, self.clock)
        wrapped = Factory.forProtocol(self.begin)
        self.factory = HandshakesFactory(handshakes, self.admission, self.clock, wrapped)

    def begin(self) -> Client:
        self.begun.append(Client())
        return self.begun[-1]

    def connect(self, number: int) -> tuple[Any, StringTransport] | None:
        address = IPv4Address("TCP", f"192.0.2.{number}", 40_000)
        protocol = self.factory.buildProtocol(address)
        if protocol is None:
            return None
        transport = StringTransport(peerAddress=address)
        protocol.makeConnection(transport)
        return protocol, transport

    def crowd(self, count: int) -> list[Any]:
        """Connections, most of which wait."""
        return [self.connect(number) for number in range(count)]

    def test_the_first_begin_at_once(self) -> None:
        self.crowd(25)
        self.assertEqual(len(self.begun), 25)

    def test_the_others_wait_unread_and_begin_in_order(self) -> None:
        crowd = self.crowd(30)
        self.assertEqual(len(self.begun), 25)
        _, transport = crowd[-1]
        self.assertEqual(transport.producerState, "paused")
        self.clock.advance(0.0301)
        self.assertEqual(len(self.begun), 28)
        self.clock.advance(0.03)
        protocol, transport = crowd[-1]
        self.assertEqual(transport.producerState, "producing")
        protocol.dataReceived(b"hello")
        self.assertEqual(self.begun[-1].heard, b"hello")
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(self.begun[-1].lost)

    def test_what_a_proxy_sent_behind_its_header(self) -> None:
        protocol, _ = self.crowd(26)[-1]
        protocol.dataReceived(b"hello")
        self.clock.advance(1.0)
        self.assertEqual(self.begun[-1].heard, b"hello")

    def test_too_many_are_refused(self) -> None:
        crowd = self.crowd(250)
        refused = crowd.count(None)
        self.assertEqual(len(self.refused), refused)
        self.assertEqual(len(crowd) - refused, 25 + 200)
        self.clock.advance(2.1)
        self.assertEqual(len(self.begun), 25 + 200)
        self.assertIsNotNone(self.connect(251))

    def test_those_that_wait_are_counted(self) -> None:
        crowd = self.crowd(60)
        self.assertEqual(self.admission.count, 35)
        protocol, _ = crowd[-1]
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.admission.count, 34)
        self.clock.advance(1.0)
        self.assertEqual((self.admission.count, len(self.begun)), (0, 59))

    def test_a_port_with_tls_has_turns(self) -> None:
        folder = Path(os.path.abspath(self.mktemp()))
        folder.mkdir()
        own = certificate(str(folder / "own.pem"), ("one.example",)).path
        place = ListeningPlace.parse(f"ssl:1:privateKey={own}")
        reactor: Any = MemoryReactorClock()
        handshakes = Handshakes(Rate(100, 1.0), Networks([]), lambda address: False, reactor)
        endpoint = endpoint_at(
            reactor,
            place,
            Contexts(place, read_pems(place, Configuration())),
            handshakes=handshakes,
            admission=self.admission,
        )
        self.successResultOf(endpoint.listen(Factory.forProtocol(self.begin)))
        ((_, self.factory, *_),) = reactor.tcpServers
        self.assertIn(None, self.crowd(250))
        self.assertEqual(len(self.refused), 25)
