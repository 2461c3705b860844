"""The honest peer: somebody who asks now and then, and how long that takes.

    python -m lab.attacks.honest      # jobs on standard input, results on standard output

A job is

    {"login": PORT, "echo": PORT, "seconds": S, "warms_up": false, "newcomers": false,
     "strangers": false, "names": 40, "devices": false}

and its result `{"list-friend": [ms, …], "ping": …, "login": …, "echo": …, "failed": [words, …]}`.
At first it logs in. Then it asks for its friends and, of the login server, pings, each over a
connection that stays, and people log in over new ones, each at its own pace. Beside that it asks an
echo, which nobody attacks: what that takes is the machine's own doing. What comes due while an
answer is awaited is measured from when it was due, else one answer that takes long would be one of
few.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from lab.attacks.filling import HONEST, LOGGING_IN, NEWCOMER, PASSWORD
from lab.attacks.tools import answer_jobs

ADDRESS = "127.99.0.1"

OTHERS = "127.99.1.{}"
"""Where those who log in are, each somewhere else."""

NETWORKS = "127.{}.{}.1"
"""Where those who log in are if they come from a network of their own each time."""

PACES = {"list-friend": 0.02, "ping": 0.02, "login": 0.2, "echo": 0.02}
"""Seconds from one to the next: far below every limit."""

ALONE = 0.7
"""Seconds between two logins where one name is all that logs in: no more of them may be under way
at a time than its address may fail."""

PATIENCE = 20.0
"""Seconds until an answer has failed to come."""

RETRY = 0.5
"""Seconds until who was turned away comes again."""


class Wire:
    """A connection that lines go over, and replies come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def to(cls, port: int, address: str = ADDRESS) -> Wire:
        async with asyncio.timeout(PATIENCE):
            return cls(*await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0)))

    async def ask(self, line: str) -> dict[str, Any]:
        self._writer.write(line.encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            reply = await self._reader.readline()
        if not reply:
            raise ConnectionError(f"no reply to {line.split()[0]}, the connection ended")
        body: dict[str, Any] = json.loads(reply)
        if body["status"]:
            raise ConnectionError(f"{line.split()[0]}: {body['message']}")
        return body

    async def read(self) -> dict[str, Any]:
        """The next event; an empty one at the end."""
        event: dict[str, Any] = json.loads(await self._reader.readline() or "{}")
        return event

    def close(self) -> None:
        self._writer.close()


class Honest:
    """What it knows from one job to the next, and what it found in this one."""

    def __init__(self) -> None:
        self._standing: dict[str, Wire] = {}
        self._token, self._app = "", 0
        self._logins = 0
        self._devices: dict[str, str] = {}  # the device tokens of those who logged in
        self.failed: list[str] = []

    async def run(self, job: dict[str, Any]) -> dict[str, object]:
        self._login, self._echo = job["login"], job["echo"]
        self._ends = time.perf_counter() + job["seconds"]
        self.failed = []
        self._strangers, self._names_in_use = job["strangers"], job["names"]
        self._shows_devices = job["devices"]
        self._names = NEWCOMER if job["newcomers"] else HONEST
        if not self._token:
            body = await self._log_in(HONEST)
            self._token, self._app = body["token"], body["app_server"]["port"]
        if job["warms_up"]:
            # A thread that has never hashed has yet to take the memory that it will keep.
            await asyncio.gather(*(self._timed(self._next) for _ in range(LOGGING_IN)))
        kinds = {
            "list-friend": lambda: self._over(self._app, f"list-friend {self._token}"),
            "ping": lambda: self._over(self._login, "ping"),
            "echo": lambda: self._over(self._echo, '{"status": 0}'),
        }
        *found, logins = await asyncio.gather(
            *(self._repeat(PACES[kind], ask) for kind, ask in kinds.items()),
            self._arrive(PACES["login"] if job["names"] > 1 else ALONE),
        )
        return {**dict(zip(kinds, found, strict=True)), "login": logins, "failed": self.failed}

    async def _arrive(self, pace: float) -> list[float]:
        """People log in, one after the other, and none waits for those before; returns ms."""
        arrivals = []
        while time.perf_counter() < self._ends:
            arrivals.append(asyncio.ensure_future(self._timed(self._next)))
            await asyncio.sleep(pace)
        return await asyncio.gather(*arrivals)

    async def _timed(self, ask: Callable[[], Awaitable[object]]) -> float:
        began = time.perf_counter()
        try:
            await ask()
        except (OSError, TimeoutError) as error:
            self.failed.append(str(error) or type(error).__name__)
        return 1000 * (time.perf_counter() - began)

    async def _repeat(self, pace: float, ask: Callable[[], Awaitable[object]]) -> list[float]:
        """Ask again and again; returns ms."""
        times = []
        due = answered = time.perf_counter()
        while due < self._ends and answered < self._ends + PATIENCE:
            await asyncio.sleep(due - time.perf_counter())
            # Whoever could have asked in time and woke up late has waited for nobody.
            began = due if answered > due else time.perf_counter()
            try:
                await ask()
            except (OSError, TimeoutError) as error:
                self.failed.append(str(error) or type(error).__name__)
                await asyncio.sleep(RETRY)
            answered = time.perf_counter()
            times.append(1000 * (answered - began))
            due += pace
        return times

    async def _next(self) -> None:
        self._logins += 1
        number = self._logins % self._names_in_use
        address = OTHERS.format(number + 1)
        if self._strangers:
            address = NETWORKS.format(100 + self._logins % 150, self._logins // 150 % 256)
        await self._log_in(f"{self._names}{number}", address)

    async def _over(self, port: int, line: str) -> None:
        name = line.split()[0]
        try:
            if name not in self._standing:
                self._standing[name] = await Wire.to(port)
            await self._standing[name].ask(line)
        except BaseException:
            with suppress(KeyError):
                self._standing.pop(name).close()
            raise

    async def _log_in(self, name: str, address: str = ADDRESS) -> dict[str, Any]:
        wire = await Wire.to(self._login, address)
        try:
            if self._shows_devices and name in self._devices:
                await wire.ask(f"device {self._devices[name]}")
            body = await wire.ask(f"login {name} {PASSWORD}")
            self._devices[name] = body.get("device", "")
            return body
        finally:
            wire.close()


if __name__ == "__main__":
    answer_jobs(Honest().run)
