"""Processes of the attacks that answer jobs: the honest peer, and attackers."""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.bench.processes import ROOT, Tool, process


@contextlib.contextmanager
def tool(folder: Path, name: str, number: int = 0) -> Iterator[Tool]:
    """The process `tests.attacks.NAME`."""
    command = [sys.executable, "-m", f"tests.attacks.{name}"]
    # Its ends of these pipes; whoever starts it closes its own with it.
    pipes: Any = {"stdin": -1, "stdout": -1, "cwd": ROOT}
    log = folder / f"{name}{number}.log"
    with process(command, log, **pipes) as child:
        yield Tool(child, log)
        for end in (child.stdin, child.stdout):
            assert end is not None
            end.close()


def answer_jobs(run: Callable[[dict[str, Any]], Awaitable[Mapping[str, object]]]) -> None:
    """Do what each line of standard input says, until that ends."""
    import asyncio

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # One loop for all jobs, so that a connection may outlive one.
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            print(json.dumps(runner.run(_done(run(json.loads(line))))), flush=True)


async def _done(work: Awaitable[Mapping[str, object]]) -> Mapping[str, object]:
    return await work
