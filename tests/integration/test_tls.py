"""A whole service by TLS: its servers, the gateway on both sides, and the client."""

from __future__ import annotations

import os
import re
import socket
import ssl
from typing import Any

from twisted.internet.threads import deferToThread

from bbs.client.tls import names_in
from tests.certificates import certificate
from tests.integration.service import BIN, START_TIMEOUT, Process, Service, ServiceCase, eventually
from tests.integration.test_web import Web
from tests.services.servers import free_port

SCRIPT = b"register ann 1\nlogin ann 1\npost ann hello\nlocate ann\n"


class Up(ServiceCase):
    async def begin(self, *arguments: str, ends: float = 50.0, **sections: Any) -> Service:
        """`bbs up` by TLS, with a gateway that has both kinds of door."""
        self.gate, self.plain = free_port(), free_port()
        os.makedirs(folder := os.path.abspath(self.mktemp()))
        self.key = os.path.join(folder, "key.pem")
        certificate(self.key, ("localhost",), ends=ends)
        service = self.service(
            telnet={
                "listen": (
                    f"ssl:{self.gate}:interface=127.0.0.1:privateKey={self.key}",
                    f"tcp:{self.plain}:interface=127.0.0.1",
                )
            },
            **sections,
        )
        where = f"ssl:{service.port}:interface=127.0.0.1:privateKey={self.key}"
        service.write_config(login__listen=where)
        up = service.bbs("up", "--data", service.data, "--config", service.config)
        await up.says(f"bbs is ready: bbs client --tls localhost {service.port}\n")
        return service

    async def client(self, service: Service, *options: str) -> Process:
        """`bbs client` with a script, over."""
        place = ("localhost", str(service.port))
        client = service.bbs("client", *options, *place, stdin=SCRIPT)
        await client.ended(START_TIMEOUT)
        return client

    async def test_one_service(self) -> None:
        """Of which each of these needs nothing that another has changed."""
        service = await self.begin()
        await self.by_a_client(service)
        await self.by_its_gateway(service)
        await self.by_a_gateway_of_its_own(service)

    async def test_more_handshakes_than_there_may_be(self) -> None:
        """At each port that has TLS; this one is the gateway's."""
        await self.begin(limits={"handshakes": "1/hour"})
        said = await deferToThread(self.greeting)
        self.assertIn("bbs, a bulletin board", said)
        with self.assertRaises(OSError):
            await deferToThread(self.greeting)

    def greeting(self) -> str:
        """The first that somebody reads at the gateway."""
        context = ssl.create_default_context(cafile=self.key)
        peer = socket.create_connection(("127.0.0.1", self.gate), timeout=20)
        with context.wrap_socket(peer, server_hostname="localhost") as secure:
            return secure.recv(4096).decode("utf-8", "replace")

    async def by_a_client(self, service: Service) -> None:
        client = await self.client(service, "--tls", "--ca", self.key)
        self.assertEqual((client.exit_code, client.errors), (0, ""))
        self.assertRegex(client.output, r"\A(Success!\n){3}127\.0\.0\.1:\d+\n\Z")
        for options, told in (
            (("--tls",), "its certificate is self-signed and not trusted"),
            ((), "is not a login server: it closed the connection, and may want TLS"),
        ):
            client = await self.client(service, *options)
            self.assertEqual((client.exit_code, client.output), (1, ""))
            self.assertEqual(len(client.errors.splitlines()), 1)
            self.assertIn(told, client.errors)

    async def by_its_gateway(self, service: Service) -> None:
        """It reaches the login server and app servers by TLS, whose certificate is for a name."""
        said = await deferToThread(self.visit, self.gate, True)
        self.assertIn("Logged in as ann.\r\n", said)
        self.assertIn("Posted to all your friends.\r\n", said)
        said = await deferToThread(self.visit, self.plain, False)
        self.assertIn("Logged in as ann.\r\n", said)
        self.assertIn("Posted to all your friends.\r\n", said)
        self.assertNotIn("no TLS", service.log())

    def visit(self, port: int, tls: bool) -> str:
        """What somebody reads who logs in and posts, by TLS or not."""
        peer = socket.create_connection(("127.0.0.1", port), timeout=20)
        if tls:
            context = ssl.create_default_context(cafile=self.key)
            peer = context.wrap_socket(peer, server_hostname="localhost")
        said = b""
        with peer:
            peer.sendall(b"\r\nlogin ann 1\r\npost hi\r\nquit\r\n")
            while piece := peer.recv(4096):
                said += piece
        return said.decode("utf-8", "replace")

    async def by_a_gateway_of_its_own(self, service: Service) -> None:
        """One that trusts somebody else lets nobody in, and the log has why."""
        os.makedirs(folder := os.path.abspath(self.mktemp()))
        other = os.path.join(folder, "other.pem")
        certificate(other, ("localhost",))
        for ca, right in ((self.key, True), (other, False)):
            port = free_port()
            server = f"tls://127.0.0.1:{service.port}?tls_ca={ca}&tls_name={names_in(ca)[0]}"
            gateway = service.start(
                *(BIN / "twistd", "--nodaemon", "--pidfile=", "bbs-telnet", "--server", server),
                *("--listen", f"tcp:{port}:interface=127.0.0.1"),
            )
            await gateway.says(f"GatewayFactory starting on {port}\n")
            said = await deferToThread(self.visit, port, False)
            self.assertEqual("Posted to all your friends." in said, right, said)
            self.assertEqual("The service cannot answer now. Try again." in said, not right)
            self.assertEqual("its certificate is" in gateway.output, not right)
            self.assertNotIn("certificate", said)

    async def test_a_certificate_that_ends(self) -> None:
        """Operators are told: by the log, the page, Prometheus and `bbs config check`."""
        service = await self.begin(ends=10.5)
        wanted = "expires in 10 days, on "
        # The login server, its gateway by TLS, and the app server, which is another process.
        place = f"interface=127.0.0.1:privateKey={self.key} {wanted}"

        def logged() -> bool:
            apps = [each.read_text() for each in service.data.glob("logs/app-*.log")]
            return "".join([service.log(), *apps]).count(place) == 3

        await eventually(logged, "each says so in its log")
        page = re.search(r"http://127\.0\.0\.1:(\d+)/", service.processes[0].output)
        assert page is not None
        web = Web(int(page[1]))

        async def has_alarm() -> bool:
            metrics = await web.get("/metrics")
            return (
                all(
                    f'bbs_fleet_certificate_expires_timestamp_seconds{{kind="{kind}"}} ' in metrics
                    for kind in ("login", "app")
                )
                and 'bbs_fleet_alarm{cause="certificate"} 1.0' in metrics
            )

        await eventually(has_alarm, "heartbeats have said so")
        [alarm] = (await web.state())["alarms"]
        self.assertRegex(
            alarm["text"], r"certificate of a server expires in 10 days, and then .* connect$"
        )
        self.assertEqual(await web.get("/ready"), "ready\n")
        password = (service.data / "operator-password").read_text().strip()
        await web.post("/login", f"name=operator&password={password}".encode())
        [alarm] = (await web.state())["alarms"]
        for told in (
            rf"login server \w+, port {service.port}, key.pem, ",
            rf"login server \w+, port {self.gate}, key.pem, ",
            r"app server \w+, port \d+, key.pem, ",
        ):
            self.assertRegex(alarm["text"], told)
        check = service.bbs("config", "check", service.config)
        await check.ended()
        self.assertEqual(check.exit_code, 0)
        self.assertIn(f"login.listen: the certificate of ssl:{service.port}:", check.errors)
        self.assertEqual(check.errors.count(wanted), 2)

    async def test_a_certificate_that_is_not_there(self) -> None:
        service = self.service()
        service.write_config(login__listen=f"ssl:{service.port}:privateKey=/no/key.pem")
        up = service.bbs("up", "--data", service.data, "--config", service.config)
        await up.ended(START_TIMEOUT)
        self.assertEqual(up.exit_code, 1)
        self.assertEqual(
            up.errors, "bbs up: login.listen: /no/key.pem: No such file or directory\n"
        )
