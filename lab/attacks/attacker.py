"""An attacker: connections from many addresses that say what a job says.

    python -m lab.attacks.attacker    # jobs on standard input, results on standard output

A job is `{"seconds": S, "floods": [FLOOD, …], "seed": N}`, with the fields of `Flood`; all run at
the same time. Its result is what `Flood.result` has, of each. It ends by itself when the time is
up, which closes all connections at once.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from lab.attacks.tools import answer_jobs

NICENESS = 19

AT_ONCE = 200
"""Connections that are being made at the same time."""

PIECE = 1 << 15
"""Bytes that are written at a time."""

AGAIN = 0.05
"""Seconds until a connection that was ended is made anew."""

TOO_MANY = "too-many-connections"

IP_FREEBIND = 15
"""`IP_FREEBIND` of <linux/in.h>: an address of a local route needs it."""

SOURCES: Mapping[str, Callable[[int], str]] = {
    "8 /16": lambda number: f"127.{20 + number % 8}.{number // 8 >> 8}.{number // 8 & 255}",
    "/16s": lambda number: f"{11 + number // 256}.{number % 256}.0.1",
    "/48": lambda number: f"2001:db8:1:{number:x}::1",
}
"""Addresses by number: in eight networks of IPv4; each in a /16 of its own; each in a /64 of its
own, of one /48. Those that are not loopback's need routes (`Attack.routes`)."""

CODES = re.compile(rb'"code": "([a-z-]+)"')


@cache
def hello() -> bytes:
    """What begins a handshake of TLS."""
    context, sent = ssl.create_default_context(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost").do_handshake()
    return sent.read()


class Flood:
    """One kind of connection. Of `job`:

    `port`; `connections`: so many, from `addresses` addresses that begin with 127.`net`, or that
    `source` names (`SOURCES`);
    `opening`: sent at first; `payload`: sent `times` times (0: until the time is up), with `{n}` a
    number that no other has and `{r}` one at random; `in_turn`: each payload waits for the answer
    to the one before, and `pause` seconds more; `reads`: whether it reads what comes; `mark`:
    what an answer ends in; `reopens`: whether it comes back when it was ended, `again` seconds
    later; `drip`: seconds between two bytes of the payload, 0 for all at once; `share` of the
    seconds that it lasts; `age`: seconds that a connection has to be open to count at the end;
    `hails`: whether it begins a handshake of TLS, for whose answer a server has its work, and ends.
    """

    def __init__(self, job: dict[str, Any], seconds: float, seed: int) -> None:
        self.port: int = job["port"]
        self.connections: int = job["connections"]
        self.addresses: int = job.get("addresses", 1)
        self.net: int = job.get("net", 10)
        self.source: str = job.get("source", "")
        self.in_turn: bool = job.get("in_turn", False)
        self.pause: float = job.get("pause", 0.0)
        self.opening: bytes = job.get("opening", "").encode()
        self.payload: str = job.get("payload", "")
        self.times: int = job.get("times", 0)
        self.reads: bool = job.get("reads", True)
        self.mark: bytes = job.get("mark", "\n").encode()
        self.reopens: bool = job.get("reopens", True)
        self.drip: float = job.get("drip", 0.0)
        self.again: float = job.get("again", AGAIN)
        self.age: float = job.get("age", 0.0)
        self.hails: bool = job.get("hails", False)
        self.over = time.monotonic() + seconds * job.get("share", 1.0)
        self.open: set[Attacker] = set()
        self.opened = self.ended = self.unreachable = self.sent = self.answered = self.received = 0
        self.most = 0
        self.codes: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._numbers = 0
        self._opening = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> dict[str, object]:
        """Attack until the time is up."""
        for number in range(self.connections):
            self.begin(number)
        await asyncio.sleep(self.over - time.monotonic())
        young = time.monotonic() - self.age
        at_the_end = sum(each.since <= young and not each.refused for each in self.open)
        for task in self._tasks:
            task.cancel()
        for attacker in [*self.open]:
            attacker.transport.abort()
        return self.result(at_the_end)

    def result(self, at_the_end: int) -> dict[str, object]:
        """Connections `opened`, `ended` by the server, `most` at a time, open `at_the_end` and
        never made; requests `sent`; `answered`, and by which codes; bytes `received`."""
        return {
            "opened": self.opened,
            "ended": self.ended,
            "most": self.most,
            "at_the_end": at_the_end,
            "unreachable": self.unreachable,
            "sent": self.sent,
            "answered": self.answered,
            "codes": dict(self.codes),
            "received": self.received,
        }

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.over

    def begin(self, number: int) -> None:
        task = asyncio.ensure_future(self._open(number))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def next_payload(self) -> bytes:
        self._numbers += 1
        self.sent += 1
        text = self.payload
        if "{" in text:
            text = text.replace("{n}", str(self._numbers))
            text = text.replace("{r}", str(self._random.randrange(200)))
        return text.encode()

    async def _open(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        host = number % self.addresses + 1
        async with self._opening:
            if self.is_over:
                return
            if self.source:
                address = SOURCES[self.source](host - 1)
            else:
                address = f"127.{self.net}.{host >> 8}.{host & 255}"
            is_ipv6 = ":" in address
            sock = socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET)
            sock.setblocking(False)
            try:
                # The port is chosen when it connects: one may serve for many who are reached.
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
                sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
                sock.bind((address, 0))
                async with asyncio.timeout(20):
                    await loop.sock_connect(sock, ("::1" if is_ipv6 else "127.0.0.1", self.port))
                await loop.create_connection(lambda: Attacker(self, number), sock=sock)
            except (OSError, TimeoutError):
                sock.close()
                self.unreachable += 1
                self.come_back(number)
            except asyncio.CancelledError:
                sock.close()
                raise

    def come_back(self, number: int) -> None:
        if self.reopens and not self.is_over:
            asyncio.get_running_loop().call_later(self.again, self.begin, number)


class Attacker(asyncio.Protocol):
    """One connection of a flood."""

    transport: Any

    def __init__(self, flood: Flood, number: int) -> None:
        self._flood = flood
        self._number = number
        self._left = flood.times or -1
        self._may_write = True
        self._rest = b""
        self.since = time.monotonic()
        self.refused = False
        """Whether it was told that it is one too many: then its end is on its way."""

    def connection_made(self, transport: Any) -> None:
        flood, self.transport = self._flood, transport
        flood.opened += 1
        flood.open.add(self)
        flood.most = max(flood.most, len(flood.open))
        if not flood.reads:
            transport.pause_reading()
        if flood.hails:
            transport.write(hello())
        if flood.opening:
            transport.write(flood.opening)
        if flood.payload and flood.drip:
            self._drip()
        elif flood.payload:
            self._go_on()

    def data_received(self, data: bytes) -> None:
        flood = self._flood
        flood.received += len(data)
        if flood.hails:
            flood.answered += 1
            self.transport.abort()
            return
        answered = data.count(flood.mark)
        flood.answered += answered
        codes = [code.decode() for code in CODES.findall(data)]
        flood.codes.update(codes)
        self.refused |= TOO_MANY in codes
        if flood.in_turn and answered:
            asyncio.get_running_loop().call_later(flood.pause, self._go_on)

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        if not self._flood.drip:
            self._go_on()

    def connection_lost(self, error: Exception | None) -> None:
        flood = self._flood
        flood.open.discard(self)
        self._may_write = False
        if not flood.is_over:
            flood.ended += 1
            flood.come_back(self._number)

    def _go_on(self) -> None:
        """A piece, and the next one when others have had their turn."""
        flood = self._flood
        if not self._may_write or not self._left or flood.is_over:
            return
        piece = bytearray()
        while len(piece) < PIECE and self._left:
            piece += flood.next_payload()
            self._left -= 1
            if flood.in_turn:
                break
        self.transport.write(bytes(piece))
        if flood.in_turn:
            return
        asyncio.get_running_loop().call_soon(self._go_on)

    def _drip(self) -> None:
        flood = self._flood
        if self.transport.is_closing() or flood.is_over:
            return
        if not self._rest:
            self._rest = flood.next_payload()
        self.transport.write(self._rest[:1])
        self._rest = self._rest[1:]
        asyncio.get_running_loop().call_later(flood.drip, self._drip)


async def attack(job: dict[str, Any]) -> dict[str, object]:
    """Run the floods of `job`."""
    floods = [Flood(each, job["seconds"], job["seed"]) for each in job["floods"]]
    return {"floods": await asyncio.gather(*(flood.run() for flood in floods))}


if __name__ == "__main__":
    os.nice(NICENESS)
    answer_jobs(attack)
