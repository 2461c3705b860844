"""The client by TLS: whom it believes, and what it says of everybody else."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import SynchronousTestCase, TestCase

from bbs.board import BBSClient, board
from bbs.client import Address, ChatMessage, NoService, NotSecure
from bbs.client.tls import NOT_INSTALLED, TrustUnusable, load_trust, names_in, tls_endpoints
from bbs.core import addresses
from bbs.testing import MemoryService
from tests.client.case import CONFIG

if addresses.has_tls():
    from tests.certificates import Signed, certificate


class Silent(Protocol):
    """Says `first` at once and `answer` to whatever comes, and may end then."""

    first = answer = b""
    ends = False

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.first)

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(self.answer)
        if self.ends:
            self.transport.loseConnection()


class TLSCase(TestCase):
    timeout = 30

    if not addresses.has_tls():
        skip = "TLS needs txbbs[tls], which is not installed"

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.local = self.made(("localhost",))

    def made(self, names: Sequence[str], **options: Any) -> Signed:
        return certificate(self.mktemp(), names, **options)

    def listen(self, signed: Signed | None, factory: Any) -> int:
        """The port where that is served, by TLS if there is a certificate."""
        where = "0:interface=127.0.0.1"
        text = (
            f"ssl:{where}:privateKey={os.path.abspath(signed.path)}" if signed else f"tcp:{where}"
        )
        port = self.successResultOf(serverFromString(self.reactor, text).listen(factory))
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def serve(self, signed: Signed | None, apps: Signed | None = None) -> int:
        """The board in memory on sockets; the login server's port."""
        service = MemoryService(board, config=CONFIG)
        self.addCleanup(service.close)
        service.listen = lambda factory: self.listen(apps or signed, factory)
        service.start()
        time = LoopingCall(service.clock.advance, 0.01)
        time.start(0.01)
        self.addCleanup(time.stop)
        return self.listen(signed, service.login.factory)

    def anybody(self, signed: Signed | None) -> int:
        """The port of somebody who has that certificate."""
        return self.listen(signed, Factory.forProtocol(Silent))

    def client(self, port: int, ca: str, host: str = "localhost") -> BBSClient:
        trust = load_trust(ca)
        endpoints = tls_endpoints(self.reactor, trust, host)
        client = BBSClient(self.reactor, Address(host, port), endpoints)
        self.addCleanup(client.close)
        return client

    async def refused(self, client: BBSClient) -> str:
        with self.assertRaises(NotSecure) as refused:
            await client.meet()
        return str(refused.exception)


class TrustTests(TLSCase):
    async def test_all_its_servers_are_reached_so(self) -> None:
        """App servers have another address, and the certificate of the service's name."""
        client = self.client(self.serve(self.local), self.local.path)
        await client.meet()
        heard: Deferred[ChatMessage] = Deferred()
        for name in ("ann", "bob"):
            await client.register(name, "1")
            await client.login(name, "1")
        self.assertEqual((await client.locate("ann")).host, "127.0.0.1")
        await client.listen("bob", lambda user, message: heard.callback(message))
        await client.invite("ann", "bob")
        await client.accept_invite("bob", "ann")
        await client.send("ann", "bob", "x" * 50_000)
        self.assertEqual((await heard).text, "x" * 50_000)

    async def test_signed_by_who_is_trusted(self) -> None:
        authority = self.made(("the authority",))
        signed = self.made(("localhost",), by=authority)
        await self.client(self.serve(signed), authority.path).meet()

    async def test_a_servers_own_is_enough(self) -> None:
        signed = self.made(("localhost",), by=self.made(("the authority",)))
        await self.client(self.serve(signed), signed.path).meet()

    async def test_an_address(self) -> None:
        signed = self.made(("127.0.0.1",))
        await self.client(self.serve(signed), signed.path, "127.0.0.1").meet()

    async def test_the_systems(self) -> None:
        os.putenv("SSL_CERT_FILE", self.local.path)
        self.addCleanup(os.unsetenv, "SSL_CERT_FILE")
        await self.client(self.serve(self.local), "").meet()

    async def test_nobody_knows_it(self) -> None:
        port = self.anybody(self.local)
        problem = await self.refused(self.client(port, self.made(("localhost",)).path))
        self.assertEqual(
            problem,
            f"localhost:{port}: its certificate is self-signed and not trusted",
        )
        signed = self.made(("localhost",), by=self.made(("the authority",)))
        problem = await self.refused(self.client(self.anybody(signed), self.local.path))
        self.assertIn("its certificate is not signed by a trusted authority", problem)

    async def test_expired(self) -> None:
        signed = self.made(("localhost",), ends=-1)
        problem = await self.refused(self.client(self.anybody(signed), signed.path))
        self.assertIn("its certificate has expired", problem)

    async def test_of_another_name(self) -> None:
        signed = self.made(("example.org",))
        problem = await self.refused(self.client(self.anybody(signed), signed.path))
        self.assertIn("its certificate is not for localhost", problem)
        problem = await self.refused(self.client(self.anybody(signed), signed.path, "127.0.0.1"))
        self.assertIn("its certificate is not for 127.0.0.1", problem)

    async def test_an_app_server_of_another_name(self) -> None:
        """No token goes to whoever cannot show who they are; who waits is told at once."""
        other = self.made(("example.org",))
        both = self.mktemp()
        with open(both, "wb") as file:
            for each in (self.local, other):
                with open(each.path, "rb") as source:
                    file.write(source.read())
        client = self.client(self.serve(self.local, other), both)
        await client.register("ann", "1")
        await client.login("ann", "1")
        for asked in (client.post("ann", "hello"), client.listen("ann", lambda *_: None)):
            with self.assertRaises(NotSecure) as refused:
                await asked
            self.assertIn("is not for 127.0.0.1 or localhost", str(refused.exception))


class StrangerTests(TLSCase):
    """What listens there and is no login server."""

    def stranger(self, **what: Any) -> int:
        kind = type("Stranger", (Silent,), what)
        return self.listen(None, Factory.forProtocol(kind))

    async def told(self, **what: Any) -> str:
        port = self.stranger(**what)
        client = BBSClient(self.reactor, Address("127.0.0.1", port))
        self.addCleanup(client.close)
        with self.assertRaises(NoService) as refused:
            await client.meet()
        beginning = f"127.0.0.1:{port} is not a login server: "
        self.assertTrue(str(refused.exception).startswith(beginning), str(refused.exception))
        return str(refused.exception).removeprefix(beginning)

    async def test_others_that_talk(self) -> None:
        for what, said in (
            ({"first": b"SSH-2.0-OpenSSH_9.2\r\n"}, "it says 'SSH-2.0-OpenSSH_9.2'"),
            (
                {"answer": b"HTTP/1.1 400 Bad Request\r\n\r\n", "ends": True},
                "it says 'HTTP/1.1 400 Bad Request'",
            ),
            ({"answer": b"\x1b]0;x\x07\n"}, "it says '\\x1b]0;x\\x07'"),
            (
                {"answer": b"\x15\x03\x01\0\2\2F", "ends": True},
                "it speaks TLS, and this client did not",
            ),
            ({"ends": True}, "it closed the connection, and may want TLS"),
        ):
            self.assertIn(said, await self.told(**what))

    async def test_no_tls(self) -> None:
        for what in ({"first": b"SSH-2.0\r\n"}, {"answer": b"HTTP/1.1 400 Bad Request\r\n\r\n"}):
            problem = await self.refused(self.client(self.stranger(**what), self.local.path))
            self.assertIn("it does not speak TLS", problem)
        problem = await self.refused(self.client(self.stranger(ends=True), self.local.path))
        self.assertIn("closed the connection; it may not speak TLS", problem)
        problem = await self.refused(self.client(self.serve(None), self.local.path))
        self.assertIn("it does not speak TLS", problem)

    async def test_given_up_meanwhile(self) -> None:
        """Who waits for somebody that does not answer to TLS need not."""
        heard: Deferred[None] = Deferred()
        port = self.stranger(dataReceived=lambda stranger, hello: heard.callback(None))
        meeting = self.client(port, self.local.path).meet()
        await heard
        self.assertFalse(meeting.called)
        meeting.cancel()
        with self.assertRaises(CancelledError):
            await meeting

    async def test_tls_that_was_not_asked_for(self) -> None:
        port = self.anybody(self.local)
        client = BBSClient(self.reactor, Address("127.0.0.1", port))
        self.addCleanup(client.close)
        with self.assertRaises(NoService) as refused:
            await client.meet()
        self.assertIn("it closed the connection, and may want TLS", str(refused.exception))


class FileTests(SynchronousTestCase):
    if not addresses.has_tls():
        skip = "TLS needs txbbs[tls], which is not installed"

    def refusal(self, path: str) -> str:
        return str(self.assertRaises(TrustUnusable, load_trust, path))

    def file(self, content: str) -> str:
        path = self.mktemp()
        with open(path, "w") as file:
            file.write(content)
        return path

    def test_files_of_no_use(self) -> None:
        self.assertEqual(self.refusal("/no/file"), "/no/file: No such file or directory")
        path = self.file("nothing")
        self.assertEqual(self.refusal(path), f"{path}: no certificate in it (PEM)")
        path = self.file("-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n")
        self.assertEqual(self.refusal(path), f"{path}: a certificate in it cannot be read")

    def test_not_installed(self) -> None:
        self.addCleanup(sys.modules.__setitem__, "OpenSSL", sys.modules["OpenSSL"])
        sys.modules["OpenSSL"] = None  # type: ignore[assignment]  # as if there were none
        self.assertEqual(self.refusal("/no/file"), NOT_INSTALLED)

    def test_names(self) -> None:
        path = certificate(self.mktemp(), ("bbs.example.org", "*.example.org", "192.0.2.1")).path
        self.assertEqual([*names_in(path)], ["bbs.example.org", "192.0.2.1"])
