"""What a server's processes use while somebody is at them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

LOOK = 0.05
"""Seconds between two looks."""

GONE = (FileNotFoundError, ProcessLookupError)


def family(pid: int) -> Iterator[int]:
    """A process and its children, those that live."""
    waiting = [pid]
    while waiting:
        pid = waiting.pop()
        with suppress(*GONE):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state in "ZX":
                continue
            yield pid
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())


def resident(pid: int) -> int:
    """Resident memory in bytes; 0 of a process that is gone."""
    with suppress(*GONE):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


def memory(pid: int) -> dict[int, int]:
    """Resident bytes of each process of a family."""
    return {each: resident(each) for each in family(pid)}


def cpu_seconds(pid: int) -> float:
    """What a family has used of the processors until now."""
    used = 0
    for each in family(pid):
        with suppress(*GONE):
            for task in Path(f"/proc/{each}/task").iterdir():
                with suppress(*GONE):
                    used += int((task / "schedstat").read_text().split()[0])
    return used / 1e9


@dataclass
class Watch:
    """Looks at the family of `pid` from the start of the block to its end."""

    pid: int
    most: dict[int, int] = field(default_factory=dict)
    """The most that each process had resident, in bytes."""
    cpu: float = 0.0
    """Seconds of the processors that were used."""
    seconds: float = 0.0
    """How long the block lasted."""

    def __enter__(self) -> Watch:
        self._began = time.monotonic()
        self._cpu = cpu_seconds(self.pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.cpu = cpu_seconds(self.pid) - self._cpu
        self.seconds = time.monotonic() - self._began

    def _look(self) -> None:
        while True:
            for pid, size in memory(self.pid).items():
                self.most[pid] = max(size, self.most.get(pid, 0))
            if self._over.wait(LOOK):
                return
