"""The gateway with the real telnet and the real nc, and sockets that do what neither does."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pyte
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol

from tests.integration.service import BIN, START_TIMEOUT, Service, eventually, together
from tests.integration.shared import SharedCase
from tests.integration.terminal import CTRL_C, UP, Screen, Terminal
from tests.services.servers import free_port

MANY = int(os.environ.get("BBS_TEST_MESSAGES", "2000"))
"""Messages to somebody who does not read them."""


class Program(Terminal):
    """A program of this machine on a pseudo-terminal, connected to the gateway at `port`."""

    def __init__(
        self,
        service: Service,
        port: int,
        *argv: str,
        columns: int = 80,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.service = service
        self.raw = b""
        self.exit_code = None
        self.alive = True
        self.screen = Screen(columns, 24, history=1000, ratio=0.5)
        self._stream = pyte.ByteStream(self.screen)
        env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm-256color"}
        env |= environ or {}
        argv = (*argv, "127.0.0.1", str(port))
        path = shutil.which(argv[0]) or ""
        reactor.spawnProcess(self, path, argv, env=env, path=str(service.folder), usePTY=True)
        self.pid = self.transport.pid
        self.resize(columns)
        service.case.addCleanup(self._end)


class Piped(ProcessProtocol):
    """A program between pipes."""

    transport: Any

    def __init__(self, service: Service, port: int, *argv: str) -> None:
        self.raw = b""
        self.alive = True
        argv = (*argv, "127.0.0.1", str(port))
        reactor.spawnProcess(self, shutil.which(argv[0]) or "", argv, env=os.environ)
        service.case.addCleanup(self._end)

    def outReceived(self, data: bytes) -> None:
        self.raw += data

    def processEnded(self, reason: Any) -> None:
        self.alive = False

    async def says(self, data: bytes) -> None:
        await eventually(lambda: data in self.raw, f"{data!r} comes")

    async def _end(self) -> None:
        if self.alive:
            self.transport.signalProcess(signal.SIGKILL)
        await eventually(lambda: not self.alive, "nc ends")


class Peer(Protocol):
    """A socket."""

    transport: Any

    def __init__(self) -> None:
        self.raw = b""
        self.open = True

    def dataReceived(self, data: bytes) -> None:
        self.raw += data

    def connectionLost(self, reason: Any = None) -> None:
        self.open = False

    def leave(self) -> Deferred[bool]:
        self.transport.abortConnection()
        return eventually(lambda: not self.open, "the connection ends")

    async def says(self, text: str, within: float = 20.0) -> None:
        await eventually(lambda: text.encode() in self.raw, f"{text!r} comes", within)

    async def enter(self, line: str, answer: str) -> None:
        self.raw = b""
        self.transport.write(f"{line}\n".encode())
        await self.says(answer)


class GatewayCase(SharedCase):
    async def started(self) -> Service:
        """`bbs up` with its gateway, which is there for other tests too."""
        service = await self.shared()
        self.port = service.telnet_port
        return service

    async def started_alone(self, **sections: dict[str, object]) -> Service:
        """The same for this test."""
        self.port = free_port()
        listen = {"listen": f"tcp:{self.port}:interface=127.0.0.1"}
        service = self.service(telnet=listen, **sections)
        await service.up()
        return service

    async def gateway(self, service: Service, server: int | None = None) -> Any:
        """`twistd bbs-telnet`, listening at `self.port`, beside the one of `bbs up`."""
        self.port = free_port()
        process = service.start(
            *(BIN / "twistd", "--nodaemon", "--pidfile=", "bbs-telnet"),
            *("--config", service.config),
            *("--listen", f"tcp:{self.port}:interface=127.0.0.1"),
            *("--server", f"127.0.0.1:{server or service.port}"),
        )

        async def listens() -> bool:
            try:
                (await self.peer()).transport.loseConnection()
            except Exception:
                return False
            return True

        await eventually(listens, "the gateway listens", START_TIMEOUT)
        return process

    def telnet(self, service: Service, columns: int = 80) -> Program:
        return Program(service, self.port, "telnet", columns=columns)

    async def telnet_of(self, service: Service, name: str, columns: int = 80) -> Program:
        """Somebody who has logged in; the password is the name."""
        telnet = self.telnet(service, columns)
        await telnet.prompts("bbs>")
        telnet.enter("")
        telnet.enter(f"login {name} {name}")
        await telnet.prompts(f"{name}>", START_TIMEOUT)
        return telnet

    async def peer(self, source: str = "127.0.0.1") -> Peer:
        """Somebody at the gateway, who goes away with the test."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port, bindAddress=(source, 0))
        peer = cast("Peer", await endpoint.connect(Factory.forProtocol(Peer)))
        self.addCleanup(peer.leave)
        return peer


class TelnetTests(GatewayCase):
    async def test_a_conversation_with_nc(self) -> None:
        service = await self.started()
        telnet = self.telnet(service)
        await telnet.prompts("bbs>")
        telnet.enter("register ann")
        for prompt in ("Password for ann:", "Repeat the password:"):
            await telnet.prompts(prompt)
            telnet.enter("secret-of-ann")
        await telnet.shows("Logged in as ann.")
        await telnet.prompts("ann>")
        self.assertNotIn(b"secret-of-ann", telnet.raw)

        nc = Piped(service, self.port, "nc")
        nc.transport.write(b"register bob b\nlogin bob b\ninvite ann\n")
        await nc.says(b"Success!\nbob> ")
        telnet.enter("accept-invite bob")
        await telnet.shows("ann> accept-invite bob")
        telnet.enter("talk bob")
        await telnet.prompts("ann>bob>")
        telnet.type("half a line 中文")
        await telnet.prompts("ann>bob> half a line 中文")
        nc.transport.write("send ann hello 你好\n".encode())
        await telnet.shows("bob  hello 你好")
        await telnet.prompts("ann>bob> half a line 中文")
        telnet.enter(" and the rest")
        await nc.says("ann  half a line 中文 and the rest\n".encode())
        telnet.enter("/exit")
        await telnet.ended()
        nc.transport.write(b"quit\n")
        await eventually(lambda: not nc.alive, "nc ends")
        self.assertTrue(nc.raw.endswith(b"Bye!\n"))
        self.assertNotIn(b"\r", nc.raw)
        self.assertNotIn(b"\xff", nc.raw)
        nc.raw.decode()

    async def test_editing_and_resizing(self) -> None:
        service = await self.started()
        await service.register("ann")
        telnet = await self.telnet_of(service, "ann")
        telnet.type("post 0123456789012345678901234567890\x1b[D\x1b[D\x7fX")
        await telnet.prompts("ann> post 0123456789012345678901234567X90")
        telnet.resize(20)
        await telnet.prompts("ann> .{1,14}")
        self.assertLess(telnet.screen.cursor.x, 20)
        telnet.resize(80)
        await telnet.prompts("ann> post 0123456789012345678901234567X90")
        telnet.type(CTRL_C)
        await telnet.shows("Ctrl-C again clears the line.")
        telnet.type(CTRL_C)
        await telnet.prompts("ann>")
        telnet.type(UP)
        await telnet.prompts("ann> login ann")

    async def test_resized_while_messages_come(self) -> None:
        service = await self.started()
        await service.register("ann", "bob")
        ann, bob = await service.person("ann"), await service.person("bob")
        await service.befriend(ann, bob)
        telnet = await self.telnet_of(service, "ann")
        telnet.type("half a line")
        await telnet.prompts("ann> half a line")
        for number in range(200):
            await bob.asks("send", "ann", f"<{number}>")
            if number % 10 == 0:
                telnet.resize(20 + number % 70)
        telnet.resize(80)
        await telnet.shows("bob  <199>")
        await telnet.prompts("ann> half a line")
        shown = re.findall(rb"bob  <(\d+)>", telnet.raw)
        self.assertEqual(shown, [b"%d" % number for number in range(200)])

    async def test_twenty_columns(self) -> None:
        service = await self.started()
        await service.register("ann")
        telnet = await self.telnet_of(service, "ann", columns=20)
        telnet.type("post a line that is longer than that")
        await telnet.prompts("ann> .{7,14}")
        telnet.enter("!")
        await telnet.shows("Posted to all your")
        await telnet.prompts("ann>")

    async def test_big5(self) -> None:
        service = await self.started()
        await service.register("ann", "bob")
        ann, bob = await service.person("ann"), await service.person("bob")
        await service.befriend(ann, bob)
        telnet = await self.telnet_of(service, "ann")
        telnet.enter("encoding big5")
        await telnet.shows("Encoding: BIG5")
        typed = "post 中文字".encode("big5")
        telnet.transport.write(typed)
        await eventually(lambda: typed in telnet.raw, "Big5 comes for what is typed")
        telnet.type("\x7f\r")
        await telnet.shows("Posted to all your")

        async def posted() -> bool:
            return bool((await bob.asks("receive-post"))["post"])

        await eventually(posted, "the post is there")
        posts = await bob.asks("receive-post")
        (post,) = posts["post"]
        self.assertEqual((post["id"], post["message"]), ("ann", "中文"))
        telnet.enter("encoding utf-8")
        telnet.enter("help encoding")
        await telnet.shows("encoding utf-8|big5")

    async def test_a_lost_app_server_is_said_and_another_found(self) -> None:
        service = await self.started_alone()
        await service.register("ann")
        telnet = await self.telnet_of(service, "ann")
        (server,) = await service.fleet()
        telnet.type("half a line")
        await telnet.prompts("ann> half a line")
        os.kill(service.pid_of(server["id"]), signal.SIGKILL)
        await telnet.shows("Connection lost. Reconnecting…")
        await telnet.shows("Reconnected.", START_TIMEOUT)
        await telnet.prompts("ann> half a line")

    async def test_the_gateway_stops_in_words(self) -> None:
        service = await self.started()
        await service.register("ann")
        process = await self.gateway(service)
        telnet = await self.telnet_of(service, "ann")
        await process.end()
        await telnet.shows("The gateway stops. Bye!")
        await telnet.ended()


class PlainTests(GatewayCase):
    async def test_nc_at_a_terminal(self) -> None:
        service = await self.started()
        await service.register("ann")
        nc = Program(service, self.port, "nc")
        await nc.prompts("bbs>")
        nc.enter("login ann")
        await nc.shows("(it will show) Password for ann:")
        nc.enter("ann")
        await nc.prompts("ann>")
        nc.enter("list-group")
        await nc.shows("No groups")
        nc.enter("exit")
        await nc.shows("Bye!")
        self.assertNotIn(b"\xff", nc.raw)

    async def test_a_script(self) -> None:
        service = await self.started()
        await service.register("ann")
        nc = Piped(service, self.port, "nc", "-N")
        nc.transport.write(b"login ann ann\nlist-friend\nping")
        nc.transport.closeStdin()
        await eventually(lambda: not nc.alive, "nc ends")
        self.assertEqual(nc.raw.splitlines()[2:], [b"Success!", b"No friends", b"Pong!", b"Bye!"])

    async def test_nc_that_ends_lines_as_telnet_does(self) -> None:
        service = await self.started()
        await service.register("ann")
        nc = Piped(service, self.port, "nc", "-C")
        nc.transport.write(b"login ann ann\n")
        await nc.says(b"help\r\nann> ")
        nc.transport.write(b"quit\n")
        await eventually(lambda: not nc.alive, "nc ends")


class LimitTests(GatewayCase):
    async def test_limits_are_for_the_real_address(self) -> None:
        service = await self.started_alone(limits={"registrations": "2/hour"})
        one, other = await self.peer("127.0.0.2"), await self.peer("127.0.0.3")
        for name in ("a", "b"):
            await one.enter(f"register {name} x", "Success!")
        await one.enter("register c x", "Too many attempts")
        await other.enter("register c x", "Success!")
        self.assertNotIn("does not believe", service.log())

    async def test_who_an_app_server_turns_away_is_told(self) -> None:
        service = await self.started_alone(limits={"trusted": [], "connections_per_address": 4})
        await service.register("ann", "bob", "eva")
        peers = [await self.peer(f"127.0.0.{number}") for number in (2, 3, 4)]
        for peer, name in zip(peers, ("ann", "bob"), strict=False):
            await peer.enter(f"login {name} {name}", "Success!")
            await peer.enter("list-friend", "No friends")
        await peers[2].enter("login eva eva", "There are too many connections. Try again later.")
        await peers[2].says("eva is logged in. Messages arrive as soon as they can.")
        await peers[2].enter("list-friend", "There are too many connections. Try again later.")
        await eventually(lambda: "turns this gateway away" in service.log(), "the log has it")

    async def test_a_wrong_secret_is_the_operators_affair(self) -> None:
        service = await self.started()
        service.write_config(telnet__secret="a-secret-of-no-others")
        process = await self.gateway(service)
        peer = await self.peer()
        await peer.enter("login ann ann", "The service cannot answer now. Try again.")
        await eventually(lambda: "telnet.secret is wrong" in process.output, "the log has it")

    async def test_who_does_not_read_costs_little_and_loses_nothing(self) -> None:
        # Held up to the usual 200 a second, bob would be longer at it than ann may take nothing.
        service = await self.started_alone(
            limits={
                "commands": "100000/second",
                "deliveries": "100000/second",
                "inbox": 2**30,  # bob's share of it has room for all.
            }
        )
        await service.register("ann", "bob")
        process = await self.gateway(service)
        ann, bob = await service.person("ann"), await service.person("bob")
        await service.befriend(ann, bob)
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(("127.0.0.1", self.port))
            reader.sendall(b"login ann ann\n")
            reader.setblocking(False)
            heard = bytearray()

            def hears(data: bytes) -> bool:
                with contextlib.suppress(BlockingIOError):
                    while more := reader.recv(65536):
                        heard.extend(more)
                return data in heard

            await eventually(lambda: hears(b"ann> "), "ann is logged in")
            before = resident(process.pid)
            text = "x" * 5000
            sends = (bob.asks("send", "ann", f"<{number}>{text}") for number in range(MANY))
            await together(sends)
            grown = resident(process.pid) - before
            last = f"<{MANY - 1}>".encode()
            await eventually(lambda: hears(last), "the last message comes", 120)
        found = [int(part.partition(b">")[0]) for part in heard.split(b"bob  <")[1:]]
        self.assertEqual(found, list(range(MANY)))
        self.assertLess(grown, 4 * 2**20)


def resident(pid: int) -> int:
    """The memory of a process, in bytes."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
