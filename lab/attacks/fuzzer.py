"""A fuzzer: inputs that are nearly right, and sentinels between them.

    python -m lab.attacks.fuzzer      # jobs on standard input, results on standard output

A job is `{"dialect": NAME, "port": P, "inputs": N, "seconds": S, "seed": N, …}`. It sends so many
inputs over `CONNECTIONS` connections, and ends early when the seconds are over. Between some inputs
and the next is a sentinel, a request with a number. Its answer must come, and in its order: else a
server hangs, or mixes answers up.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from contextlib import suppress
from typing import Any

from lab.attacks import dialects, forging, lying, sentinels
from lab.attacks.attacker import NICENESS
from lab.attacks.dialects import Dialect
from lab.attacks.mutations import cut_up
from lab.attacks.tools import answer_jobs

CONNECTIONS = 8

BATCH = (1, 3, 10)
"""Inputs before a sentinel."""

BATCHES = (1, 2, 6)
"""Sentinels that are under way on a connection."""

PATIENCE = 20.0
"""Seconds until an answer that has not come is a hang."""

SWALLOWED = 0.5
"""Seconds until a sentinel that an input may have swallowed is given up, with its connection."""


class Fuzz:
    """What all connections of a job share."""

    def __init__(self, dialect: Dialect, job: dict[str, Any]) -> None:
        self.dialect = dialect
        self.port: int = job["port"]
        self.left: int = job["inputs"]
        self.over = time.monotonic() + job["seconds"]
        self.found: Counter[str] = Counter()
        self.numbers = 0
        self.words: list[str] = []
        """What went wrong first."""

    @property
    def is_over(self) -> bool:
        return self.left <= 0 or time.monotonic() >= self.over

    def wrong(self, what: str, words: str) -> None:
        self.found[what] += 1
        if len(self.words) < 10:
            self.words.append(f"{what}: {words}")

    async def run(self, seed: int) -> None:
        """One connection after the other, until it is over."""
        chance = random.Random(seed)
        while not self.is_over:
            try:
                # From anywhere: what an address may ask for is not what is tried here.
                at = f"127.{chance.randrange(30, 90)}.{chance.randrange(256)}.1"
                async with asyncio.timeout(PATIENCE):
                    reader, writer = await asyncio.open_connection(
                        "127.0.0.1", self.port, local_addr=(at, 0), limit=1 << 22
                    )
            except (OSError, TimeoutError) as error:
                self.wrong("unreachable", str(error) or type(error).__name__)
                await asyncio.sleep(0.5)
                continue
            try:
                await Conversation(self, chance, reader, writer).run()
            except OSError:
                self.found["ended"] += 1
            finally:
                writer.transport.abort()


class Conversation:
    """One connection: inputs, a sentinel, and the wait for its answer."""

    def __init__(
        self,
        fuzz: Fuzz,
        chance: random.Random,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._fuzz, self._random = fuzz, chance
        self._reader, self._writer = reader, writer
        self._behind = b""
        """The end of what came, which may be the beginning of an answer."""

    async def run(self) -> None:
        fuzz = self._fuzz
        await self._write(fuzz.dialect.opening(self._random))
        while not fuzz.is_over:
            data, numbers, count = b"", [], 0
            for _ in range(1 if fuzz.dialect.may_swallow else self._random.choice(BATCHES)):
                inputs = self._random.choice(BATCH)
                data += b"".join(fuzz.dialect.input(self._random) for _ in range(inputs))
                fuzz.numbers += 1
                data += fuzz.dialect.sentinel(fuzz.numbers)
                numbers.append(fuzz.numbers)
                count += inputs
            fuzz.left -= count
            # Reading goes on meanwhile, as a server that is not read from does not read.
            answers = asyncio.ensure_future(self._answers(numbers))
            self._sent = data[-2000:]
            try:
                await self._write(data)
                fuzz.found["inputs"] += count
                if not await answers:
                    return
            finally:
                answers.cancel()
                with suppress(asyncio.CancelledError, OSError):
                    await answers

    async def _write(self, data: bytes) -> None:
        pieces = [data] if self._random.random() < 0.5 else cut_up(self._random, data)
        for piece in pieces:
            self._writer.write(piece)
            if len(pieces) > 1:
                await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE):
            await self._writer.drain()

    async def _answers(self, numbers: list[int]) -> bool:
        """Wait for the answers to sentinels; whether the connection goes on."""
        fuzz = self._fuzz
        swallows = fuzz.dialect.may_swallow
        while numbers:
            try:
                async with asyncio.timeout(SWALLOWED if swallows else PATIENCE):
                    data = await self._reader.read(1 << 16)
            except TimeoutError:
                if swallows:
                    fuzz.found["swallowed"] += 1
                else:
                    fuzz.wrong("hangs", f"no answer to {numbers[0]}: {self._sent!r}")
                return False
            if not data:
                return self._ended()
            self._behind += data
            found = [*fuzz.dialect.answered.finditer(self._behind)]
            for each in found:
                fuzz.found["sentinels"] += 1
                expected = numbers.pop(0) if numbers else None
                if not swallows and int(each[1]) != expected:
                    told = self._behind[max(0, each.start() - 300) : each.end()]
                    fuzz.wrong("out_of_order", f"{told!r} came for {expected}")
            self._behind = self._behind[found[-1].end() if found else 0 :][-100_000:]
        return True

    def _ended(self) -> bool:
        fuzz = self._fuzz
        fuzz.found["ended"] += 1
        farewells = fuzz.dialect.farewells
        if farewells is not None and not any(each in self._behind for each in farewells):
            fuzz.wrong("dropped", f"the connection ended behind {self._behind[-200:]!r}")
        return False


async def fuzz(job: dict[str, Any]) -> dict[str, object]:
    """Do a job."""
    if job["dialect"] == "lying broker":
        return await lying.fuzz(job)
    if job["dialect"] == forging.FORGING:
        return await forging.forge(job)
    made = {
        "login": lambda: dialects.line(dialects.LOGIN, job["tokens"]),
        "app": lambda: dialects.line(dialects.APP, job["tokens"]),
        "telnet": dialects.telnet,
        "stomp": lambda: dialects.stomp(*job["credential"]),
        "page": dialects.page,
    }
    work = Fuzz(made[job["dialect"]](), job)
    beside = sentinels.beside(job)
    watching = asyncio.ensure_future(beside) if beside else None
    await asyncio.gather(*(work.run(job["seed"] * 100 + n) for n in range(CONNECTIONS)))
    if watching:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    return {
        "floods": [
            {**work.found, **job.get("beside", {}), "wrong": [*work.words, *job.get("said", [])]}
        ]
    }


if __name__ == "__main__":
    os.nice(NICENESS)
    answer_jobs(fuzz)
