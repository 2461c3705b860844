"""A hostile server, and clients that come to it.

    python -m lab.attacks.hostile     # jobs on standard input, results on standard output

A job is `{"without": [LIMIT, …]}`. For each kind of what it sends, a `bbs client` of its own logs
in, listens and asks for its friends. The result has for each kind what the client took of memory,
what it said at last, how long it lasted, and how often it connected. The server sends about 16 MiB
of each kind: without limits these take 200 to 900 MiB, which the machine can bear.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from lab.attacks import patches
from lab.attacks.attacker import NICENESS
from lab.attacks.tools import answer_jobs
from lab.attacks.values import HOSTILE as DIALECT
from lab.attacks.values import MEBIBYTE, Attack, Outcome
from lab.attacks.watch import GONE
from tests.paths import CHECKOUT

SCRIPT = b"login ann secret\nlist-friend ann\nexit\n"

PATIENCE = 5.0
"""Seconds from its question for friends until a client is ended, which would go on asking."""

START = 60.0
"""Seconds that a client may take to come to that, on a machine that has much else to do."""

MUCH = 16 * MEBIBYTE

PART = MEBIBYTE
"""Bytes of a part of a list: fewer than the client takes as one line."""

MOST = 150
"""MiB that a client may take at most; one that does nothing takes 50."""

MOST_CONNECTIONS = 40
"""Connections that a client may make in `PATIENCE` seconds, while what it asks breaks them."""

OK = b'{"status": 0, "message": "Success!"}\n'
UNKNOWN = b'{"status": 1, "message": "Unknown command", "code": "unknown-command"}\n'


def deep() -> bytes:
    return b"[" * (MUCH // 2) + b"]" * (MUCH // 2)


def flat(size: int) -> bytes:
    """A list of empty lists: three bytes of each become 64."""
    return b"[" + b"[]," * (size // 3) + b"[]]"


def part(number: int) -> bytes:
    return b'{"status": 0, "more": "c%d", "friend": %s}\n' % (number, flat(PART))


class HostileServer:
    """Login server and app server in one, which answers as people expect, until it is asked for
    friends. `says` is what it sends then, one line after the other."""

    def __init__(self, says: Callable[[], Iterator[bytes]]) -> None:
        self._says = says()
        self._port = 0
        self.connections = 0
        self.asked = math.inf
        """When it was asked for friends first."""

    async def listen(self) -> tuple[asyncio.Server, int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        return server, self._port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while line := await reader.readline():
                self._answer(line.split()[0].decode(), writer)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def _answer(self, name: str, writer: asyncio.StreamWriter) -> None:
        place = {"host": "127.0.0.1", "port": self._port}
        login = {"status": 0, "message": "Success!", "token": "t", "app_server": place}
        if name == "commands":
            writer.write(UNKNOWN)
        elif name in ("login", "locate"):
            writer.write(json.dumps(login).encode() + b"\n")
        elif name in ("list-friend", "more"):
            self.asked = min(self.asked, time.monotonic())
            writer.write(next(self._says, OK))
        else:
            writer.write(OK)


def _line() -> Iterator[bytes]:
    yield b'{"status": 0, "friend": ' + deep() + b"}\n"


def _flat_line() -> Iterator[bytes]:
    yield b'{"status": 0, "friend": ' + flat(MUCH) + b"}\n"


def _event() -> Iterator[bytes]:
    event = b'{"event": "message", "id": 1, "from": "bob", "to": "ann", "message": "x", "x": %s}\n'
    yield event % deep() + event % flat(MUCH) + OK


def _parts() -> Iterator[bytes]:
    return map(part, count(1))


KINDS: Mapping[str, Callable[[], Iterator[bytes]]] = {
    "a deep line": _line,
    "a line of many values": _flat_line,
    "events": _event,
    "a list without end": _parts,
}


async def attack(job: dict[str, Any]) -> dict[str, object]:
    """Send each kind to a client of its own, all at one time."""
    return {"floods": await asyncio.gather(*(_visit(kind, job["without"]) for kind in KINDS))}


async def _visit(kind: str, without: Sequence[str]) -> dict[str, object]:
    hostile = HostileServer(KINDS[kind])
    server, port = await hostile.listen()
    path = os.pathsep.join([str(Path(__file__).parent / "without"), str(CHECKOUT)])
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bbs-hostile-") as home:
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bbs", "client", "127.0.0.1", str(port)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                **os.environ,
                "PYTHONPATH": path,
                patches.VARIABLE: ",".join(without),
                "HOME": home,
            },
            cwd=CHECKOUT,
        )
        talking = asyncio.ensure_future(client.communicate(SCRIPT))
        most = 0
        while not talking.done():
            most = max(most, peak(client.pid))
            over = min(hostile.asked + PATIENCE, began + START)
            if time.monotonic() > over and client.returncode is None:
                client.kill()
            await asyncio.sleep(0.01)
        server.close()
    said, _ = talking.result()
    return {
        "kind": kind,
        "seconds": round(time.monotonic() - began, 2),
        "said": said[-300:].decode(errors="replace"),
        "connections": hostile.connections,
        "most": most // MEBIBYTE,
    }


def peak(pid: int) -> int:
    """The most that a process has had resident, in bytes; 0 of one that is gone."""
    with suppress(*GONE):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _clients_bear_it(outcome: Outcome) -> Sequence[str]:
    """No client took much memory, and none came again and again."""
    found = []
    for each in outcome.floods:
        if each["most"] > MOST:
            found.append(f"{each['kind']} took {each['most']} MiB, not {MOST} at most")
        if each["connections"] > MOST_CONNECTIONS:
            found.append(f"after {each['kind']} a client came {each['connections']} times")
    return found


HOSTILE = (
    Attack(
        "hostile-server",
        "a server that sends clients deep lines, many values, and lists without end",
        limits=("client-bounds",),
        dialect=DIALECT,
        shows=_clients_bear_it,
    ),
)


if __name__ == "__main__":
    os.nice(NICENESS)
    answer_jobs(attack)
