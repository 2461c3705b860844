"""Processes of the attacks that answer jobs: the honest peer, attackers and fuzzers.

They wait with `asyncio.timeout`, never with `asyncio.wait_for`: until Python 3.12 that loses a
cancellation that comes in the same turn as the result (python/cpython#86296), and the task goes on
for ever. A sentinel did that once in 200 times.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import select
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lab.bench import processes
from lab.bench.processes import process
from tests.paths import CHECKOUT


class Tool(processes.Tool):
    """A process that answers each line of JSON with another."""

    def is_done(self, within: float = 0.0) -> bool:
        """Whether the job that was begun is through, `within` so many seconds."""
        assert self._child.stdout is not None
        return bool(select.select([self._child.stdout], [], [], within)[0])


@contextlib.contextmanager
def tool(folder: Path, name: str) -> Iterator[Tool]:
    """The process `lab.attacks.NAME`."""
    command = [sys.executable, "-m", f"lab.attacks.{name}"]
    pipes: Any = {"stdin": -1, "stdout": -1, "cwd": CHECKOUT}
    log = folder / f"{name}.log"
    with process(command, log, **pipes) as child:
        yield Tool(child, log)
        for end in (child.stdin, child.stdout):
            assert end is not None
            end.close()


Work = Callable[[dict[str, Any]], Awaitable[Mapping[str, object]]]


def answer_jobs(run: Work) -> None:
    """Do what each line of standard input says, until that ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(_answer_jobs(run))


async def _answer_jobs(run: Work) -> None:
    # One loop for all jobs, which goes on between them: connections outlive a job.
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await run(json.loads(line))), flush=True)
