"""Peers that go while they are served: no traceback, no line that says error, and no trouble for
those who stay."""

from __future__ import annotations

import contextlib  # Of a module, trial takes the name `suppress` for its own.
import os
import random
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from twisted.internet.threads import deferToThread

from tests.integration.service import ANY_RATE
from tests.integration.test_web import SECRET, WebCase

ROUNDS = int(os.environ.get("BBS_TEST_VANISHING", "100"))
"""How many peers of each kind go."""

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: whatever is on its way is thrown away, and the other side gets a reset."""

HEAD = b"Host: localhost\r\nX-BBS: 1\r\n"

LOGIN = f"name=liz&password={SECRET}".encode()

WRONG = b"name=eve&password=wrong"

FORM = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s"

OF_PAGE = (
    b"GET /stream HTTP/1.1\r\n" + HEAD + b"\r\n",
    (b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n") * 20,
    (b"GET /state HTTP/1.1\r\n" + HEAD + b"\r\n") * 20,
    b"GET /metrics HTTP/1.0\r\n\r\n",
    b"POST /login HTTP/1.1\r\n" + HEAD + FORM % (len(LOGIN), LOGIN),
    b"POST /login HTTP/1.1\r\n" + HEAD + FORM % (len(WRONG), WRONG),
    b"POST /servers HTTP/1.1\r\n" + HEAD + b"Content-Length: 0\r\n\r\n",
    b"POST /login HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET\r\n\r\n" * 20,
)

OF_LOGIN_SERVER = (
    b"login eve pw\n",
    b"login eve wrong\n",
    b"register gone%d pw\n",
    b"events\nlogin waits pw\nlocate waits\n",  # There is no place for them.
    b"ping\n" * 300 + b"help\n" * 300,
    b"logi",
)

OF_APP_SERVER = (
    b"listen TOKEN\n",
    b"listen TOKEN\n" * 5 + b"post TOKEN hello\n" * 20 + b"receive-post TOKEN\n" * 20,
    b"create-group TOKEN g%d\nsend-group TOKEN g%d " + b"x" * 5000 + b"\n",
    b"list-group TOKEN\n" * 30,
    b"listen TOK",
)


def vanish(port: int, requests: Sequence[bytes], seed: int) -> None:
    """Ask, and be gone at some moment: while it is written, before it is answered, meanwhile."""
    chance = random.Random(seed)
    for number in range(ROUNDS):
        request = chance.choice(requests).replace(b"%d", str(number).encode())
        cut = chance.choice([len(request), len(request), chance.randrange(len(request))])
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as peer:
            peer.settimeout(chance.choice([0.001, 0.01, 0.05]))
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            peer.sendall(request[:cut])
            with contextlib.suppress(TimeoutError):
                peer.recv(chance.choice([1, 1000, 65536]))


class Vanishing(WebCase):
    async def test_nobody_notices(self) -> None:
        service = self.paged(
            fleet={"maximum": 1, "spare": 0},
            app={"capacity": 2},
            limits={"failed_logins": ANY_RATE, "registrations": ANY_RATE},
        )
        process = await service.login_server()
        web = await self.page_of(process)
        await service.register("ann", "eve", "waits")
        ann, eve = await service.person("ann"), await service.person("eve")
        token = eve.token.encode()
        of_app_server = [each.replace(b"TOKEN", token) for each in OF_APP_SERVER]
        peers = (
            (web.port, OF_PAGE),
            (service.port, OF_LOGIN_SERVER),
            (eve.port, of_app_server),
        )
        going = [deferToThread(vanish, *each, seed) for seed, each in enumerate(peers)]
        while not all(each.called for each in going):
            self.assertEqual((await ann.asks("post", "hello"))["status"], 0)
        for each in going:
            await each
        self.assertEqual(await web.get("/health"), "ok\n")
        self.assertEqual(await web.get("/ready"), "ready\n")
        self.assertEqual((await ann.asks("list-friend"))["status"], 0)
        await process.end()
        logs = [process.output, *map(Path.read_text, service.folder.glob("**/*.log"))]
        self.assertGreater(len(logs), 1)
        bad = ("Traceback", "Unhandled", "#error", "#critical", "Internal error", "went wrong")
        self.assertEqual(
            [line for log in logs for line in log.splitlines() if any(map(line.count, bad))], []
        )
