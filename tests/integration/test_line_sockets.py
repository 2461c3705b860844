"""The line protocol over loopback sockets, with the clients that people have."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase
from zope.interface import implementer

from bbs.core.errors import Refusal
from bbs.protocols.line import IConnection, IRequestHandler, LineFactory, LineLimits, Reply
from bbs.protocols.line.connection import refusal
from tests.paths import CHECKOUT

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds after which a client of a test gives up."""


@implementer(IRequestHandler)
class Service:
    """`quit` closes, `big <n>` answers n bytes, `listen` persists, the rest is an echo."""

    def __init__(self) -> None:
        self.connections: list[IConnection] = []
        self.seen = 0
        self.lost: Deferred[IConnection] = Deferred()

    def handle(self, line: str, connection: IConnection) -> Deferred[Reply]:
        self.seen += 1
        word, _, rest = line.partition(" ")
        body = "x" * int(rest) if word == "big" else line
        if word == "listen":
            connection.persistent = True
            self.connections.append(connection)
        return succeed(Reply({"status": 0, "message": body}, close=word == "quit"))

    def refuse(self, error: Refusal, connection: IConnection) -> Reply:
        return refusal(error)

    def is_whole(self, line: str) -> bool:
        return line == "whole"

    def connection_lost(self, connection: IConnection) -> None:
        if not self.lost.called:
            self.lost.callback(connection)


def messages(received: bytes) -> list[str]:
    return [json.loads(line)["message"] for line in received.splitlines()]


def read_all(client: socket.socket) -> bytes:
    """Everything until the server closes; a reset is an error."""
    received = bytearray()
    while piece := client.recv(65536):
        received += piece
    return bytes(received)


class SocketCase(TestCase):
    limits = LineLimits()

    def setUp(self) -> None:
        self.service = Service()
        self.factory = LineFactory(reactor, self.service, self.limits)
        factory: Any = self.factory
        port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.port = port.getHost().port
        self.addCleanup(self.factory.close_all, 0.5)
        self.addCleanup(port.stopListening)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def client(self, talk: Callable[[socket.socket], T]) -> Deferred[T]:
        """What `talk` makes of a connected, blocking socket, in a thread."""

        def run() -> T:
            with self.connect() as client:
                return talk(client)

        return deferToThread(run)


class OlderClientTests(SocketCase):
    """Connect, one command without a line end, one recv, close."""

    def ask(self, request: str) -> Deferred[bytes]:
        def talk(client: socket.socket) -> bytes:
            client.sendall(request.encode())
            return client.recv(4096)

        return self.client(talk)

    async def test_one_after_the_other(self) -> None:
        for number in range(20):
            reply = await self.ask(f"ping {number}")
            self.assertEqual(reply, b'{"status": 0, "message": "ping %d"}\n' % number)

    async def test_many_at_once(self) -> None:
        asked = [f"post {number} ünï" for number in range(100)]
        replies = await gatherResults([self.ask(request) for request in asked])
        self.assertEqual([messages(reply) for reply in replies], [[text] for text in asked])

    async def test_in_a_process_of_its_own(self) -> None:
        program = (
            "import socket, sys\n"
            "s = socket.socket()\n"
            "s.connect((sys.argv[1], int(sys.argv[2])))\n"
            "s.sendall(b'ping')\n"
            "print(s.recv(4096).decode())\n"
            "s.close()\n"
        )
        done = await run(sys.executable, "-c", program, "127.0.0.1", str(self.port))
        self.assertEqual(messages(done.stdout.strip()), ["ping"])


class SocketTests(SocketCase):
    async def test_half_close(self) -> None:
        def talk(client: socket.socket) -> bytes:
            client.sendall(b"a\nb\r\nthe rest")
            client.shutdown(socket.SHUT_WR)
            return read_all(client)

        self.assertEqual(messages(await self.client(talk)), ["a", "b", "the rest"])

    async def test_half_close_without_a_request(self) -> None:
        def talk(client: socket.socket) -> bytes:
            client.shutdown(socket.SHUT_WR)
            return read_all(client)

        self.assertEqual(await self.client(talk), b"")

    async def test_the_reply_to_an_over_long_line_arrives(self) -> None:
        def talk(client: socket.socket) -> bytes:
            client.sendall(b"x" * 5_000_000)
            return read_all(client)

        for _ in range(5):
            self.assertEqual(messages(await self.client(talk)), ["Line too long"])

    async def test_the_reply_to_quit_arrives_though_more_was_sent(self) -> None:
        def talk(client: socket.socket) -> bytes:
            client.sendall(b"quit\n" + b"ping\n" * 100_000)
            return read_all(client)

        for _ in range(5):
            self.assertEqual(messages(await self.client(talk)), ["quit"])

    async def test_a_client_that_ignores_the_close_is_closed(self) -> None:
        def talk(client: socket.socket) -> bytes:
            client.sendall(b"quit\n")
            received = read_all(client)
            finished.wait(PATIENCE)
            return received

        finished = threading.Event()
        talking = self.client(talk)
        await self.service.lost
        finished.set()
        self.assertEqual(messages(await talking), ["quit"])

    async def test_long_pipelines_come_back_in_order(self) -> None:
        count = 20_000

        def talk(client: socket.socket) -> bytes:
            def send() -> None:
                client.sendall(b"".join(b"ping %d\n" % number for number in range(count)))
                client.shutdown(socket.SHUT_WR)

            sender = threading.Thread(target=send)
            sender.start()
            received = read_all(client)
            sender.join()
            return received

        expected = [f"ping {number}" for number in range(count)]
        self.assertEqual(messages(await self.client(talk)), expected)

    async def test_close_all(self) -> None:
        def talk(client: socket.socket) -> bytes:
            client.sendall(b"ping\n")
            client.recv(4096)
            served.release()
            return read_all(client)

        served = threading.Semaphore(0)
        talks = [self.client(talk) for _ in range(8)]
        for _ in talks:
            await deferToThread(served.acquire)
        await self.factory.close_all()
        self.assertEqual(await gatherResults(talks), [b""] * 8)
        self.assertEqual(await self.client(read_all), b"")


class UnreadTests(SocketCase):
    limits = LineLimits(write_timeout=0.5)

    async def test_a_client_that_does_not_read_is_not_read_and_then_cut_off(self) -> None:
        def talk(client: socket.socket) -> int:
            client.settimeout(PATIENCE)
            sent = 0
            try:
                while sent < 1_000_000_000:
                    sent += client.send(b"big 20000\n" * 1000)
            except (ConnectionResetError, BrokenPipeError):
                return sent
            raise AssertionError("never cut off")

        sent = await self.client(talk)
        self.assertLess(self.service.seen, 10_000)
        self.assertLess(sent, 50_000_000)

    async def test_a_client_that_reads_slowly_gets_everything(self) -> None:
        size = 30_000_000

        def talk() -> int:
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
                client.settimeout(PATIENCE)
                client.connect(("127.0.0.1", self.port))
                client.sendall(b"big %d\nquit\n" % size)
                pause = threading.Event()
                received = 0
                for _ in range(20):  # 2 s in which the server's buffer is never empty
                    received += len(client.recv(16384))
                    pause.wait(0.1)
                return received + len(read_all(client))

        self.assertGreater(await deferToThread(talk), size)


class GoneTests(SocketCase):
    async def test_a_listener_that_has_left_is_noticed_at_once(self) -> None:
        def talk(client: socket.socket) -> bytes:
            client.sendall(b"listen\n")
            return client.recv(4096)

        await self.client(talk)
        (connection,) = self.service.connections
        self.assertIs(await self.service.lost, connection)


class ProgramTests(SocketCase):
    """What is on most machines."""

    async def test_nc_that_closes_its_side_at_the_end_of_input(self) -> None:
        need("nc")
        done = await run("nc", "-N", "127.0.0.1", str(self.port), input=b"a\nb")
        self.assertEqual(messages(done.stdout), ["a", "b"])

    async def test_nc_that_quits(self) -> None:
        need("nc")
        done = await run("nc", "127.0.0.1", str(self.port), input=b"a\nquit\n")
        self.assertEqual(messages(done.stdout), ["a", "quit"])

    async def test_telnet(self) -> None:
        need("telnet")

        def talk() -> bytes:
            with subprocess.Popen(
                ["telnet", "127.0.0.1", str(self.port)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            ) as telnet:
                assert telnet.stdin and telnet.stdout
                telnet.stdin.write(b"ping\npost a  b\nquit\n")
                telnet.stdin.flush()
                output = telnet.stdout.read()  # ends when the server has closed
                telnet.stdin.close()
                return output

        output = await deferToThread(talk)
        replies = b"\n".join(line for line in output.splitlines() if line.startswith(b"{"))
        self.assertEqual(messages(replies), ["ping", "post a  b", "quit"])


class BenchmarkTests(SocketCase):
    async def test_silent_connections(self) -> None:
        script = str(CHECKOUT / "lab/bench/silent_connections.py")
        where = ("127.0.0.1", str(self.port), str(os.getpid()))
        done = await run(sys.executable, script, *where, "--connections=50", "--pings=10")
        self.assertIn(b"50 silent connections", done.stdout)
        self.assertIn(b"KiB each", done.stdout)


def need(program: str) -> None:
    """Skip the test on a machine without `program`."""
    if shutil.which(program) is None:
        raise SkipTest(f"{program} is not installed")


def run(*command: str, input: bytes = b"") -> "Deferred[subprocess.CompletedProcess[bytes]]":
    return deferToThread(
        subprocess.run, command, input=input, capture_output=True, timeout=PATIENCE, check=True
    )
