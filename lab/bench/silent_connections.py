"""What thousands of silent connections cost a server: memory for each, and `ping` beside them.

    python lab/bench/silent_connections.py HOST PORT PID

PID is the server's process, on this machine: its resident memory is read from /proc. Opens the
connections, says nothing on them, measures, closes them, and ends.
"""

import argparse
import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 30.0
"""Seconds that any one step may take."""


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("pid", type=int)
    parser.add_argument("--connections", type=int, default=10_000, metavar="N")
    parser.add_argument("--pings", type=int, default=2_000, metavar="N")
    parser.add_argument(
        "--sources", type=int, default=4, metavar="N", help="addresses 127.0.0.2… to connect from"
    )
    options = parser.parse_args(argv)
    allow_files(options.connections + 100)
    server = Path(f"/proc/{options.pid}")
    if not server.exists():
        parser.error(f"there is no process {options.pid}")

    def connect(number: int = 0) -> socket.socket:
        source = f"127.0.0.{2 + number % options.sources}"
        return socket.create_connection((options.host, options.port), PATIENCE, (source, 0))

    with connect() as pinging:
        ping(pinging, 100)
        warm_up(connect, server)
        alone = ping(pinging, options.pings)
        files, memory = open_files(server), resident(server)
        start = time.monotonic()
        silent = [connect(number) for number in range(options.connections)]
        connecting = time.monotonic() - start
        await_files(server, files + options.connections)
        grown = resident(server)
        beside = ping(pinging, options.pings)
        for connection in silent:
            connection.close()
        await_files(server, files)

    each = (grown - memory) / options.connections
    print(f"{options.connections} silent connections, made in {connecting:.1f} s")
    print(
        f"memory: {each / 1024:.2f} KiB each ({mebibytes(memory)} before, {mebibytes(grown)} with)"
    )
    print(f"ping alone:       {summary(alone)}")
    print(f"ping beside them: {summary(beside)}")
    print(f"memory once they are closed: {mebibytes(resident(server))}")
    return 0


def allow_files(count: int) -> None:
    """Raise this process's limit on open files to `count`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(hard, count)))


def warm_up(connect: Callable[[int], socket.socket], server: Path) -> None:
    """Have the server allocate what it needs for any connections at all."""
    files = open_files(server)
    for connection in [connect(number) for number in range(100)]:
        connection.close()
    await_files(server, files)


def ping(connection: socket.socket, count: int) -> list[float]:
    """Return how long each of `count` pings took, in seconds, sorted."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        connection.sendall(b"ping\n")
        received = b""
        while not received.endswith(b"\n"):
            piece = connection.recv(4096)
            if not piece:
                raise SystemExit("the server closed the connection that pings")
            received += piece
        times.append(time.perf_counter() - start)
    return sorted(times)


def summary(times: list[float]) -> str:
    """p50, p99 and the worst, in milliseconds."""
    p50, p99 = (times[int(len(times) * share)] for share in (0.5, 0.99))
    return f"p50 {p50 * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms, worst {times[-1] * 1000:.2f} ms"


def resident(server: Path) -> int:
    """Resident memory in bytes."""
    for line in (server / "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"{server} has ended")


def open_files(server: Path) -> int:
    return len(os.listdir(server / "fd"))


def await_files(server: Path, count: int) -> None:
    """Wait until the server has accepted, or closed, as many as it should."""
    deadline = time.monotonic() + PATIENCE
    while (seen := open_files(server)) != count:
        if time.monotonic() > deadline:
            raise SystemExit(f"the server has {seen} files open, not {count}: is its limit lower?")
        time.sleep(0.05)


def mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
