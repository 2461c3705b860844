"""How long the servers take to start, what memory they then hold, and what they import.

    python -m lab.bench.startup [--times N] [--json FILE]

Beside them starts the least that twistd can run, a port forwarder. Exit code 1 when an app server
imports what only a login server on EC2 may need.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from lab.bench.processes import (
    ORDINARY,
    TWISTD,
    Failed,
    await_reply,
    embedded,
    environment,
    process,
)
from lab.bench.report import machine
from tests.services.servers import free_port, write_private

SETTLED = 0.5
"""Seconds from the first reply until the memory is read."""

FORBIDDEN = ("boto3", "botocore")
"""What no app server imports."""

HEAVY = 12
"""How many packages are listed for each server."""

_IMPORT = re.compile(r"import time: +(\d+) \| +\d+ \| +(\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Start:
    """One server: seconds from the start of its process to its first reply, and then its resident
    memory in bytes, each the middle one of several; and the same as multiples of the bare one's."""

    name: str
    seconds: float
    memory: int
    times_seconds: float = 1.0
    times_memory: float = 1.0


@dataclass(frozen=True)
class Server:
    """How to start one."""

    name: str
    arguments: Sequence[str]
    environ: dict[str, str]
    port: int


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.bench.startup", description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="starts of each (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args(argv)
    print(machine())
    with tempfile.TemporaryDirectory(prefix="bbs-startup-") as name:
        folder = Path(name)
        with embedded(folder) as login:
            servers = [forwarder(login.port, folder), login_server(folder), app_server(folder)]
            starts = [*measure(servers, options.times, folder)]
            imported = {server.name: imports(server, options.times, folder) for server in servers}
    print(f"\n{'server':<12} {'ready s':>8} {'':>6} {'memory MiB':>11} {'':>6}")
    for start in starts:
        print(
            f"{start.name:<12} {start.seconds:>8.2f} {start.times_seconds:>5.1f}x"
            f" {start.memory / 2**20:>11.1f} {start.times_memory:>5.1f}x"
        )
    for name, packages in imported.items():
        print(f"\n{name}: {len(packages)} packages; ms to import, without what they import")
        listed = [f"{package} {took / 1000:.0f}" for package, took in packages.most_common(HEAVY)]
        print(f"  {', '.join(listed)}")
    wrong = [package for package in FORBIDDEN if package in imported["bbs-app"]]
    print(f"\nan app server imports {' and '.join(wrong) or 'no boto3, no botocore'}")
    if options.json:
        figures = {
            "machine": machine(),
            "starts": [asdict(start) for start in starts],
            "imports": {name: dict(packages) for name, packages in imported.items()},
        }
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if wrong else 0


def forwarder(target: int, folder: Path) -> Server:
    """The bare one. It forwards to the login server, so a `ping` is answered through it."""
    port = free_port()
    return Server(
        "portforward",
        [
            "portforward",
            f"--port=tcp:{port}:interface=127.0.0.1",
            "--host=127.0.0.1",
            f"--dest_port={target}",
        ],
        cached(folder),
        port,
    )


def cached(folder: Path, **more: str) -> dict[str, str]:
    """An environment in which what was compiled at the first start serves the others, whatever
    this process's environment says of that, and which leaves the checkout alone."""
    return environment(
        PYTHONDONTWRITEBYTECODE="", PYTHONPYCACHEPREFIX=str(folder / "compiled"), **more
    )


def login_server(folder: Path) -> Server:
    """A login server on a new SQLite database, which launches nobody."""
    port = free_port()
    database = f"sqlite:///{folder}/login.sqlite3"
    text = ORDINARY.configuration(port, database, "embedded", provider="none")
    write_private(folder / "login.toml", text)
    arguments = ["bbs-login", f"--config={folder}/login.toml", f"--data={folder}/login"]
    return Server("bbs-login", arguments, cached(folder), port)


def app_server(folder: Path) -> Server:
    """One more in the fleet that runs, by the configuration that its login server handed out."""
    port = free_port()
    deadline = time.monotonic() + 60
    while not (found := sorted(folder.glob("run/app-*.toml"))):
        if time.monotonic() > deadline:
            raise Failed("no app server was launched")
        time.sleep(0.05)
    environ = cached(folder, BBS_APP_LISTEN=f"tcp:{port}:interface=127.0.0.1")
    return Server("bbs-app", ["bbs-app", f"--config={found[0]}"], environ, port)


def measure(servers: Sequence[Server], times: int, folder: Path) -> Iterator[Start]:
    """Start each so many times, in turns, after once for the caches."""
    taken: dict[str, list[tuple[float, int]]] = {server.name: [] for server in servers}
    for number in range(times + 1):
        for server in servers:
            figures = start(server, folder)
            if number:
                taken[server.name].append(figures)
    bare: Start | None = None
    for server in servers:
        seconds, memory = (median(each) for each in zip(*taken[server.name], strict=True))
        if bare is None:
            bare = Start(server.name, seconds, int(memory))
        yield Start(server.name, seconds, int(memory), seconds / bare.seconds, memory / bare.memory)


def start(server: Server, folder: Path) -> tuple[float, int]:
    """Seconds to the first reply, and resident memory."""
    with run(server, folder / "server.log") as (seconds, memory):
        time.sleep(SETTLED)
        return seconds, memory()


def imports(server: Server, times: int, folder: Path) -> Counter[str]:
    """What the process itself imports: µs for each top-level package, the least of several."""
    least: Counter[str] = Counter()
    for number in range(times):
        log = folder / f"{server.name}-{number}.imports"
        with run(server, log, "-X", "importtime"):
            time.sleep(SETTLED)
        found: Counter[str] = Counter()
        for took, module in _IMPORT.findall(log.read_text()):
            found[module.partition(".")[0]] += int(took)
        least = least & found if least else found
    return least


@contextlib.contextmanager
def run(server: Server, log: Path, *python: str) -> Iterator[tuple[float, Callable[[], int]]]:
    """A running server: seconds to its first reply, and what tells its memory."""
    interpreter, *rest = TWISTD
    command = [interpreter, *python, *rest, "--nodaemon", "--pidfile=", *server.arguments]
    started = time.perf_counter()
    with process(command, log, server.environ, cwd=log.parent) as child:
        await_reply(server.port, child, log)
        yield time.perf_counter() - started, lambda: resident(child.pid)


def resident(pid: int) -> int:
    """Resident memory in bytes."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Failed as error:
        sys.exit(str(error))
