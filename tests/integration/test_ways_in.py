"""How people reach app servers that have no address of their own: by TLS and by name, through
HAProxy, as `deploy/image/haproxy.cfg` has it. The app servers are instances of `tests/cloud`."""

from __future__ import annotations

import os
import re
import socket
import ssl
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from tests.certificates import certificate
from tests.cloud import APP_SERVER, LOGIN_SERVER
from tests.cloud.cloud import USER_DATA
from tests.integration.service import BIN, START_TIMEOUT, Process, eventually
from tests.integration.test_ec2_service import CloudService, CloudServiceCase
from tests.paths import CHECKOUT
from tests.services.servers import free_port

DOMAIN = "bbs.localhost"
SECRET = "bbs/tls"
HAPROXY = "/usr/sbin/haproxy"
OPENSSL = "/usr/bin/openssl"

RESOLVER = f"""\
import socket
theirs = socket.getaddrinfo
def getaddrinfo(host, *arguments, **options):
    text = host.decode() if isinstance(host, bytes) else host or ""
    return theirs("127.0.0.1" if text.endswith("{DOMAIN}") else host, *arguments, **options)
socket.getaddrinfo = getaddrinfo
"""
"""A `sitecustomize` that stands for two records in DNS, of the domain and of `*.` before it, which
lead to the load balancer."""


class ByName(CloudServiceCase):
    async def begin(self) -> CloudService:
        """A service in which nobody is known by an address: one instance, and HAProxy before it."""
        self.port = free_port()
        folder = Path(os.path.abspath(self.mktemp()))
        folder.mkdir()
        self.ca, own = str(folder / "ca.pem"), str(folder / "own.pem")
        authority = certificate(self.ca, ("authority",))
        certificate(own, (DOMAIN, f"*.{DOMAIN}"), by=authority)
        listen = rf"privateKey=secretsmanager\:{SECRET}"
        # Each instance is at an address of this machine: it says so itself.
        text = USER_DATA.read_text()
        told = f"ssl:{self.port}:interface=$$INSTANCE_ADDRESS:{listen}"
        (folder / "user_data").write_text(
            text.replace("tcp:22223:interface=$$INSTANCE_ADDRESS", told)
        )
        service = await self.on_cloud(
            app={"trusted_proxies": ["127.0.0.1"]},
            fleet={"minimum": 1, "spare": 0},
            limits={"connections_per_address": 2, "trusted": ["127.0.0.1"]},
        )
        cloud = service.cloud
        client = await deferToThread(self.secrets, cloud)
        await deferToThread(client.create_secret, Name=SECRET, SecretString=Path(own).read_text())
        service.write_config(
            login__listen=f"ssl:{service.port}:interface=127.0.0.1:{listen}",
            ec2__address=f"ip-{{ip}}.{DOMAIN}",
            ec2__user_data=str(folder / "user_data"),
            telnet__server=f"tls://127.0.0.1:{service.port}?tls_ca={self.ca}&tls_name={DOMAIN}",
        )
        (service.folder / "sitecustomize.py").write_text(RESOLVER)
        path = [str(service.folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.resolver = {"PYTHONPATH": os.pathsep.join(path)}
        self.login = self.twistd(service, "bbs-login", "--data", service.folder / "data-login")
        await self.login.says(f"LineFactory (TLS) starting on {service.port}\n")
        proxy = service.start(
            *(HAPROXY, "-f", CHECKOUT / "deploy" / "image" / "haproxy.cfg"),
            environ={
                "BBS_PROXY_LISTEN": f"127.0.0.1:{self.port}",
                "BBS_DOMAIN": DOMAIN,
                "BBS_APP_NETWORKS": f"{cloud.network}.0.0/24 {cloud.network}.1.0/24",
                "BBS_APP_PORT": str(self.port),
            },
        )
        await eventually(lambda: listens(self.port) or not proxy.alive, "HAProxy listens")
        self.assertTrue(proxy.alive, proxy.errors)
        return service

    def secrets(self, cloud: Any) -> Any:
        import boto3

        return boto3.session.Session().client(
            "secretsmanager",
            region_name=cloud.environ["AWS_DEFAULT_REGION"],
            endpoint_url=cloud.endpoint_url,
            aws_access_key_id=cloud.environ["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=cloud.environ["AWS_SECRET_ACCESS_KEY"],
        )

    def twistd(self, service: CloudService, *argv: str | Path) -> Process:
        service.data.mkdir(exist_ok=True)
        options = ("--nodaemon", "--pidfile=")
        return service.start(
            BIN / "twistd", *options, argv[0], "--config", service.config, *argv[1:]
        )

    async def test_ways(self) -> None:
        service = await self.begin()
        name = await self.by_a_client(service)
        await self.by_openssl(service, name)
        await self.elsewhere(service, name)
        await self.people_are_counted(service, name)
        await self.by_telnet(service)
        whose = {call.identity for call in service.cloud.calls if call.action == "GetSecretValue"}
        self.assertEqual(whose, {LOGIN_SERVER, APP_SERVER})

    async def by_a_client(self, service: CloudService) -> str:
        """`bbs client --tls`, that knows of no proxy; where it finds its app server."""
        client = service.bbs(
            *("client", "--tls", "--ca", self.ca, DOMAIN, str(service.port)),
            stdin=b"register ann 1\nlogin ann 1\npost ann hello\nlocate ann\n",
            environ=self.resolver,
        )
        await client.ended(START_TIMEOUT)
        self.assertEqual((client.exit_code, client.errors), (0, ""), service.log())
        print(client.command, client.output, sep="\n")
        (machine,) = service.cloud.instances(alive=True)
        name = f"ip-{machine.address.replace('.', '-')}.{DOMAIN}"
        self.assertEqual(client.output, "Success!\n" * 3 + f"{name}:{self.port}\n")
        (server,) = await service.fleet()
        self.assertEqual(server["address"], f"{name}:{self.port}")
        return name

    async def by_openssl(self, service: CloudService, name: str) -> None:
        """`openssl s_client`, that checks the server's certificate for its name."""
        options = ("-quiet", "-verify_return_error", "-verify_hostname", name, "-CAfile", self.ca)
        place = ("-connect", f"127.0.0.1:{self.port}", "-servername", name)
        client = service.start(OPENSSL, "s_client", *options, *place, stdin=b"ping\n")
        await client.says('{"status": 0, "message": "Pong!"}\n')
        print(client.command, client.errors, client.output, sep="\n")
        await client.end()

    async def elsewhere(self, service: CloudService, name: str) -> None:
        """Who names no app server of the network, or none at all, gets no answer."""
        label = name.partition(".")[0]
        for other in (
            f"ip-127-0-0-1.{DOMAIN}",
            f"ip-10-0-0-1.{DOMAIN}",
            f"ip-169-254-169-254.{DOMAIN}",
            f"{label}x.{DOMAIN}",
            f"{label}.x.{DOMAIN}",
            f"{label}.example.org",
            f"ip-127-300-0-1.{DOMAIN}",
            DOMAIN,
            None,
        ):
            failed = await self.assertFailure(deferToThread(self.ask, other), OSError)
            self.assertIsInstance(failed, (ssl.SSLEOFError, ConnectionError), other)
        self.assertEqual(await deferToThread(self.plainly), b"")
        self.assertIn(b"Pong!", await deferToThread(self.ask, name))
        self.assertIn(b"Pong!", await deferToThread(self.ask, name.upper()))

    def ask(self, name: str | None, source: str = "127.0.0.1", host: str = "127.0.0.1") -> bytes:
        """What `ping` is answered; nobody is served who does not speak TLS."""
        with self.connected(name, source, host) as peer:
            peer.sendall(b"ping\n")
            return peer.recv(4096)

    def connected(self, name: str | None, source: str, host: str = "127.0.0.1") -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=self.ca)
        context.check_hostname = name is not None
        peer = socket.create_connection((host, self.port), 20, (source, 0))
        try:
            return context.wrap_socket(peer, server_hostname=name)
        except OSError:
            peer.close()
            raise

    def plainly(self) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), 20) as peer:
            peer.sendall(b"ping\n")
            return peer.recv(4096)

    async def people_are_counted(self, service: CloudService, name: str) -> None:
        """By their own address, of which the app server takes two connections. It also serves who
        comes without the proxy."""
        one, other = "127.0.0.9", "127.0.0.8"
        peers = [await deferToThread(self.connected, name, one) for _ in range(2)]
        self.assertIn(b"Too many connections", await deferToThread(self.ask, name, one))
        self.assertIn(b"Pong!", await deferToThread(self.ask, name, other))
        for peer in peers:
            peer.close()
        (machine,) = service.cloud.instances(alive=True)
        directly = await deferToThread(self.ask, name, other, machine.address)
        self.assertIn(b"Pong!", directly)

    async def by_telnet(self, service: CloudService) -> None:
        """A gateway beside HAProxy takes the same way."""
        port = free_port()
        gateway = self.twistd(service, "bbs-telnet", "--listen", f"tcp:{port}:interface=127.0.0.1")
        await gateway.says(f"GatewayFactory starting on {port}\n")
        said = await deferToThread(self.visit, port)
        self.assertIn("Logged in as ann.\r\n", said)
        self.assertIn("Posted to all your friends.\r\n", said)

    def visit(self, port: int) -> str:
        said = b""
        with socket.create_connection(("127.0.0.1", port), 20) as peer:
            peer.sendall(b"\r\nlogin ann 1\r\npost hi\r\nquit\r\n")
            while piece := peer.recv(4096):
                said += piece
        return re.sub("\x1b[^m]*m", "", said.decode("utf-8", "replace"))


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
