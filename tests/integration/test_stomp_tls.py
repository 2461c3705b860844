"""The client service and the embedded broker over TLS."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.internet import reactor as system_reactor
from twisted.trial.unittest import TestCase

from bbs.protocols.stomp import Broker, StompDisconnected, StompService
from bbs.protocols.stomp.broker import BrokerService, Credential, EmbeddedBroker
from bbs.testing.broker_contract import MessageCollector, topic

try:
    import service_identity  # noqa: F401
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID
except ImportError:
    x509 = None  # type: ignore[assignment]

reactor: Any = system_reactor


class TLSTests(TestCase):
    if x509 is None:
        skip = "TLS needs twisted[tls], which is not installed"

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        credential = Credential("bbs", "sesame")
        self.certificate = certificate("localhost", self.mktemp())
        endpoint = f"ssl:0:interface=127.0.0.1:privateKey={self.certificate}"
        service = BrokerService(reactor, endpoint, EmbeddedBroker(credential, reactor))
        service.startService()
        self.addCleanup(service.stopService)
        self.url = await service.when_listening()

    def client(self, url: str) -> StompService:
        service = StompService(reactor, [Broker.from_url(url)])
        service.startService()
        self.addCleanup(service.stopService)
        return service

    async def test_trusted(self) -> None:
        # The system's authorities, as OpenSSL is told of them.
        before = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = self.certificate
        self.addCleanup(restore_environ, "SSL_CERT_FILE", before)
        client, inbox = self.client(self.url.replace("127.0.0.1", "localhost")), MessageCollector()
        await client.first_connection()
        where = topic()
        await client.subscribe(where, inbox)
        await client.send(where, b"x" * 500_000)
        self.assertEqual(await inbox.bodies(1), [b"x" * 500_000])

    async def test_not_trusted(self) -> None:
        """No credential goes to whoever cannot show who they are."""
        client = self.client(self.url.replace("127.0.0.1", "localhost"))
        with self.assertRaises(StompDisconnected) as failed:
            await client.first_connection()
        self.assertIn("certificate verify failed", str(failed.exception))


def certificate(name: str, path: str) -> str:
    """The path of a file with a new key and a certificate that it signs for `name` itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder(names, names, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = Encoding.PEM
    data = key.private_bytes(pem, PrivateFormat.PKCS8, NoEncryption()) + built.public_bytes(pem)
    Path(path).write_bytes(data)
    return path


def restore_environ(name: str, value: str | None) -> None:
    if value is None:
        del os.environ[name]
    else:
        os.environ[name] = value
