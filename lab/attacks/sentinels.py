"""Sentinels on connections of their own, for ports where an input may take what comes behind it for
a part of itself: what these ask is answered whole and in order, whatever others send meanwhile."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Coroutine
from typing import Any

PAUSE = 0.01
"""Seconds between two rounds."""

PATIENCE = 20.0

_ROUND = 8
"""Sentinels in one write."""


def beside(job: dict[str, Any]) -> Coroutine[Any, Any, None] | None:
    """What runs beside a job until it is cancelled, if anything; it counts in `job["beside"]`."""
    made = {"page": _page, "stomp": _stomp}.get(job["dialect"])
    job["beside"] = {}
    return _counted(job, made(job)) if made else None


async def _counted(job: dict[str, Any], asking: Coroutine[Any, Any, None]) -> None:
    try:
        await asking
    except TimeoutError:
        _count(job, "hangs")
    except (OSError, asyncio.IncompleteReadError) as error:
        _count(job, "dropped", str(error))


def _count(job: dict[str, Any], what: str, words: str = "") -> None:
    job["beside"][what] = job["beside"].get(what, 0) + 1
    if words:
        job["said"] = [*job.get("said", []), f"{what}: {words}"][:10]


_ANSWER = re.compile(
    rb"HTTP/1\.1 (\d+)[^\n]*\r\n.*?Content-Length: (\d+)\r\n(?:.*?\r\n)??\r\n", re.S | re.I
)


async def _page(job: dict[str, Any]) -> None:
    """Pipelines requests of two kinds, as chance has it; their statuses are in that order."""
    chance = random.Random(job["seed"])
    reader, writer = await asyncio.open_connection("127.0.0.1", job["port"])
    while True:
        wanted = [chance.choice((b"200", b"404")) for _ in range(_ROUND)]
        for status in wanted:
            path = b"/health" if status == b"200" else b"/nothing-here"
            writer.write(b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % path)
        data = b""
        for status in wanted:
            while not (found := _ANSWER.match(data)) or len(data) < found.end() + int(found[2]):
                async with asyncio.timeout(PATIENCE):
                    more = await reader.read(1 << 16)
                if not more:
                    raise ConnectionError(f"it ended behind {data[-500:]!r}")
                data += more
            _count(job, "sentinels")
            if found[1] != status:
                _count(job, "out_of_order", f"{data[:500]!r} came for {status!r}")
            data = data[found.end() + int(found[2]) :]
        await asyncio.sleep(PAUSE)


async def _stomp(job: dict[str, Any]) -> None:
    """Sends numbers to a topic, and hears them there."""
    login, passcode = job["credential"]
    reader, writer = await asyncio.open_connection("127.0.0.1", job["port"])
    connect = f"CONNECT\naccept-version:1.2\nlogin:{login}\npasscode:{passcode}\n\n\0"
    writer.write(connect.encode() + b"SUBSCRIBE\nid:1\ndestination:/topic/sentinel\n\n\0")
    async with asyncio.timeout(PATIENCE):
        await reader.readuntil(b"\0")
    number = 0
    while True:
        for _ in range(_ROUND):
            number += 1
            writer.write(b"SEND\ndestination:/topic/sentinel\n\nnumber %d\0" % number)
        for expected in range(number - _ROUND + 1, number + 1):
            async with asyncio.timeout(PATIENCE):
                frame = await reader.readuntil(b"\0")
            _count(job, "sentinels")
            if not frame.endswith(b"\n\nnumber %d\0" % expected):
                _count(job, "out_of_order", f"{frame!r} came for {expected}")
        await asyncio.sleep(PAUSE)
