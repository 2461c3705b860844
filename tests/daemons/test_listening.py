"""Places with TLS: what they read, and what they do when that changes."""

import os
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from bbs.config import EC2, references
from bbs.core.addresses import ListeningPlace
from bbs.daemons.listening import (
    RENEWAL,
    CannotListen,
    CertificateRenewal,
    Contexts,
    Pems,
    endpoint_at,
    read_pems,
)
from tests.certificates import certificate

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
        return read_pems(self.place, EC2())

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
            pems = read_pems(place, EC2())
        fetch.assert_called_once_with("secretsmanager:bbs/tls", EC2(), references.ATTEMPTS)
        self.assertEqual(self.name(Contexts(place, pems)), "one.example")

    def test_a_secret_that_is_none(self) -> None:
        with mock.patch.object(references, "_fetch", return_value="hunter2"):
            failed = self.assertRaises(
                CannotListen, read_pems, ListeningPlace.parse(REFERENCE), EC2()
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
                CannotListen, lambda place=place: Contexts(place, read_pems(place, EC2()))
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

        renewal = CertificateRenewal(self.place, contexts, read, clock)
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
