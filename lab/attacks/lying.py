"""A broker that lies: what it sends to servers is nearly STOMP, and nearly hints.

It listens before the service starts, and is a poor broker at first: it confirms, and passes nothing
on. So everything that a message needs to arrive is in the database. When the job begins, it sends
inputs on every connection that servers have or make, while two people write to each other: their
messages are the sentinels.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import Counter
from contextlib import suppress
from typing import Any

from lab.attacks.mutations import cut_up, mutated

PIECE = 20
"""Inputs that are sent at a time on one connection."""

PATIENCE = 20.0

RARE = 0.0005
"""How often an input is one that a client ends its connection for: it comes back seconds later."""

HEAD = "MESSAGE\nsubscription:{s}\nmessage-id:{i}\ndestination:{d}\n"

FRAMES = (
    HEAD + '\n{"event": "message", "id": {i}}\0',
    HEAD + '\n{"event": "logout", "x": [{i}]}\0',
    HEAD + '\n{"event": "ready"}\0',
    HEAD + "\n[]\0",
    HEAD + '\n{"event": "message", "id": {i}, "_after": {"1": {i}}, "_proof": "00"}\0',
    HEAD + '\n{"event": {"event": []}}\0',
    HEAD + 'x:\\c\\n\\\\\nx:again\n\n{"event": "message", "id": {i}}\0',
    HEAD.replace("\n", "\r\n") + "long:" + "y" * 3000 + "\r\n\r\nnull\0\r\n",
    "MESSAGE\nsubscription:none\nmessage-id:{i}\ndestination:/topic/x\n\nnull\0",
    "RECEIPT\nreceipt-id:{i}\n\n\0",
    "RECEIPT\n\n\0",
    "\n",
)
FATAL = (
    "ERROR\nmessage:no\n\nno\0",
    "CONNECTED\nversion:1.2\n\n\0",
    "SEND\ndestination:/x\n\n\0",
    HEAD + "x:\\q\n\n{}\0",
    HEAD + "content-length:{i}\n\n{}\0",
)
"""What a client has to end its connection for; it comes back a while later."""


class LyingBroker:
    """Its connections, and what it sends on them."""

    def __init__(self) -> None:
        self.server: asyncio.Server | None = None
        self.port = 0
        self.clients: dict[asyncio.StreamWriter, list[tuple[str, str]]] = {}
        """Of each client, the subscriptions: id and destination."""
        self.came = 0

    async def listen(self) -> int:
        if self.server is None:
            self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = self.server.sockets[0].getsockname()[1]
        return self.port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        try:
            while True:
                frame = (await reader.readuntil(b"\0")).decode("utf-8", "replace").lstrip("\n")
                headers = dict(re.findall(r"^([^:\n]+):(.*)$", frame.partition("\n\n")[0], re.M))
                if frame.startswith(("CONNECT", "STOMP")):
                    writer.write(b"CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0")
                    self.clients[writer] = []
                elif frame.startswith("SUBSCRIBE"):
                    self.clients[writer].append((headers["id"], headers["destination"]))
                if "receipt" in headers:
                    writer.write(f"RECEIPT\nreceipt-id:{headers['receipt']}\n\n\0".encode())
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, KeyError):
            self.clients.pop(writer, None)
            writer.transport.abort()


_broker = LyingBroker()


async def fuzz(job: dict[str, Any]) -> dict[str, object]:
    """Do a job: `{"listens": true}` answers the port; else lie until the job is over."""
    if job.get("listens"):
        return {"port": await _broker.listen()}
    found: Counter[str] = Counter()
    words: list[str] = []
    over = time.monotonic() + job["seconds"]
    came = _broker.came
    lies = asyncio.ensure_future(_lie(job, found, over))
    talk = asyncio.ensure_future(_talk(job, found, words, lies))
    await lies
    await talk
    found["ended"] = _broker.came - came
    return {"floods": [{**found, "wrong": words}]}


async def _lie(job: dict[str, Any], found: Counter[str], over: float) -> None:
    chance = random.Random(job["seed"])
    while found["inputs"] < job["inputs"] and time.monotonic() < over:
        for writer, subscriptions in [*_broker.clients.items()]:
            if writer.is_closing():
                continue
            pieces = [nearly_a_frame(chance, subscriptions) for _ in range(PIECE)]
            found["inputs"] += PIECE
            for piece in cut_up(chance, b"".join(pieces)):
                writer.write(piece)
            if writer.transport.get_write_buffer_size() > 1 << 20:
                with suppress(OSError):
                    async with asyncio.timeout(PATIENCE):
                        await writer.drain()
        await asyncio.sleep(0.005)


def nearly_a_frame(chance: random.Random, subscriptions: list[tuple[str, str]]) -> bytes:
    """What a lying broker sends a client with these subscriptions."""
    text = chance.choice(FATAL) if chance.random() < RARE else chance.choice(FRAMES)
    ident, destination = chance.choice(subscriptions or [("1", "/topic/x")])
    text = text.replace("{s}", ident).replace("{d}", destination)
    text = text.replace("{i}", str(chance.choice((0, 1, 7, -1, 2**31, 2**63, 2**70))))
    data = text.encode()
    # Most are whole frames: one that is broken costs the client its connection.
    if chance.random() < RARE:
        return mutated(chance, data)
    head, end, body = data.partition(b"\n\n")
    return head + end + mutated(chance, body[:-1]).replace(b"\0", b"") + b"\0" if end else data


async def _talk(
    job: dict[str, Any], found: Counter[str], words: list[str], lies: asyncio.Future[None]
) -> None:
    """Somebody writes to a friend who listens: each message comes once, in its order."""
    reader, writer = await asyncio.open_connection("127.0.0.1", job["port"])
    writing, listening = job["tokens"][:2]
    ears, hand = await asyncio.open_connection("127.0.0.1", job["port"])
    hand.write(f"listen {listening}\n".encode())
    async with asyncio.timeout(PATIENCE):
        await ears.readline()
    number = 0
    while not lies.done():
        number += 1
        writer.write(f"send {writing} author number {number}\n".encode())
        async with asyncio.timeout(PATIENCE):
            reply = json.loads(await reader.readline() or "{}")
        if reply.get("status") != 0:
            found["dropped"] += 1
            words.append(f"dropped: {reply}")
            return
        try:
            async with asyncio.timeout(PATIENCE):
                event = await _next_message(ears)
        except TimeoutError:
            found["hangs"] += 1
            words.append(f"hangs: message {number} did not come")
            return
        found["sentinels"] += 1
        if event.get("message") != f"number {number}":
            found["out_of_order"] += 1
            words[10:] = [f"out_of_order: {event} for {number}"]
        await asyncio.sleep(0.02)
    writer.close()
    hand.close()


async def _next_message(ears: asyncio.StreamReader) -> dict[str, Any]:
    """The next event that is kept, and so has an id; the broker may make up others."""
    while line := await ears.readline():
        event: dict[str, Any] = json.loads(line)
        if "id" in event:
            return event
    return {}
