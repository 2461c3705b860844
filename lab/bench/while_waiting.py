"""How people who have a place are served while others wait for one.

    python -m lab.bench.while_waiting [--capacity N] [--waiting N] [--launch S] [--json FILE]

Starts `bbs up` in a folder of its own, with app servers that take `--launch` seconds longer to
start. One server is full; `--waiting` people more log in, and are told that they wait. From then on
`list-friend` and `login` of somebody who has a place are timed, one after the other, until the
waiting have their places. A `login` hashes a password, so the hash's own time is taken in this
process beside it. Then the same with nobody waiting.

With a capacity of 1 each of the waiting needs a launch; they then start at the same moment, and
take the processors for as long as starting takes. So two figures are given: while the launches are
on their way, as elsewhere, and with their starting here included.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from bbs.limits.password_hashing import OWASP
from lab.bench.processes import Failed, await_reply, environment, process
from tests.integration.service import slow_launches
from tests.services.servers import free_port, write_private

CONFIGURATION = """\
[login]
listen = "tcp:{port}:interface=127.0.0.1"
[app]
capacity = {capacity}
[database]
url = "sqlite:///{folder}/bbs.sqlite3"
[fleet]
minimum = 1
maximum = 50
spare = 0
idle_grace = 0.0
[limits]
registrations = "999999999/minute"
failed_logins = "99999999/minute"
logins = "999999999/minute"
"""

PATIENCE = 120.0
"""Seconds that anybody waits for a reply."""

PAUSE = 0.02
"""Seconds between two measurements: people who use a service, not a load test."""


class Line:
    """A connection on which one asks and waits."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._replies = self._socket.makefile("r", encoding="utf-8")

    def send(self, *words: str) -> None:
        self._socket.sendall(" ".join(words).encode() + b"\n")

    def event(self) -> dict[str, Any]:
        """The next line, which must be an event."""
        event: dict[str, Any] = json.loads(self._replies.readline())
        if "event" not in event:
            raise Failed(f"a reply, where an event was due: {event.get('message')!r}")
        return event

    def receive(self) -> dict[str, Any]:
        """The next reply; events before it are passed over."""
        while "event" in (reply := json.loads(self._replies.readline())):
            pass
        if reply["status"]:
            raise Failed(f"the service said {reply['message']!r}")
        return dict(reply)

    def ask(self, *words: str) -> dict[str, Any]:
        self.send(*words)
        return self.receive()

    def close(self) -> None:
        self._replies.close()
        self._socket.close()


@dataclass(frozen=True)
class Figures:
    """Milliseconds."""

    what: str
    measured: int
    p50: float
    p99: float
    most: float


@dataclass
class Timed:
    """When something was measured, and how long it took, in seconds."""

    list_friend: list[tuple[float, float]]
    login: list[tuple[float, float]]
    hashing: list[tuple[float, float]]
    login_less_hash: list[tuple[float, float]]

    def figures(self, when: str, until: Callable[[float], bool]) -> Iterator[Figures]:
        """Of what was measured at moments that `until` is true of."""
        for what, taken in asdict(self).items():
            times = [1000 * seconds for moment, seconds in taken if until(moment)]
            if len(times) > 1:
                name = f"{what.replace('_', '-')}, {when}"
                p99 = quantiles(times, n=100, method="inclusive")[98]
                yield Figures(name, len(times), median(times), p99, max(times))


def timed(work: Callable[[], object]) -> tuple[float, float]:
    began = time.perf_counter()
    work()
    return began, time.perf_counter() - began


@contextmanager
def service(folder: Path, capacity: int, launch: float) -> Iterator[int]:
    """`bbs up`; gives the login server's port."""
    port = free_port()
    text = CONFIGURATION.format(port=port, capacity=capacity, folder=folder)
    write_private(folder / "bbs.toml", text)
    command = [sys.executable, "-m", "bbs", "up", "--port", str(port), "--data", str(folder)]
    command += ["--config", str(folder / "bbs.toml")]
    environ = environment()
    slow = slow_launches(folder, launch)["PYTHONPATH"].split(":")[0]
    environ["PYTHONPATH"] = f"{slow}:{environ['PYTHONPATH']}"
    with process(command, folder / "up.log", environ, cwd=folder) as child:
        await_reply(port, child, folder / "up.log")
        yield port


class Bench:
    """The people: `guest0` measures; `guest…` fill the first server; `late…` wait."""

    def __init__(self, port: int, capacity: int, waiting: int) -> None:
        self._port = port
        self._late = [f"late{number}" for number in range(waiting)]
        self._login = Line(port)
        guests = [f"guest{number}" for number in range(capacity)]
        for name in guests + self._late:
            self._login.ask("register", name, name)
        replies = [self._login.ask("login", name, name) for name in guests]
        self._token = replies[0]["token"]
        self._app = Line(replies[0]["app_server"]["port"])
        self._stored = OWASP.hash("guest0")
        self.timed = Timed([], [], [], [])

    def round(self, waiting: bool, seconds: float) -> tuple[float, float]:
        """Measure while people wait, or for so many seconds; from when until when that was."""
        began = time.perf_counter()
        over = threading.Event()
        if waiting:
            lines = [Line(self._port) for _ in self._late]
            for line, name in zip(lines, self._late, strict=True):
                line.ask("events")
                line.send("login", name, name)
            for line in lines:
                line.event()
            began = time.perf_counter()

            def wait() -> None:
                for line in lines:
                    line.receive()
                    line.close()
                over.set()

            threading.Thread(target=wait, daemon=True).start()
        else:
            threading.Timer(seconds, over.set).start()
        while not over.is_set():
            self.measure()
            if time.perf_counter() - began > PATIENCE:
                raise Failed("they waited too long")
            time.sleep(PAUSE)
        ended = time.perf_counter()
        return began, ended

    def measure(self) -> None:
        ask, taken = self._login.ask, self.timed
        taken.list_friend.append(timed(lambda: self._app.ask("list-friend", self._token)))
        taken.login.append(timed(lambda: ask("login", "guest0", "guest0")))
        taken.hashing.append(timed(lambda: OWASP.verify(self._stored, "guest0")))
        (moment, login), (_, hashing) = taken.login[-1], taken.hashing[-1]
        taken.login_less_hash.append((moment, login - hashing))


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lab.bench.while_waiting", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--capacity", type=int, default=10, metavar="N")
    parser.add_argument("--waiting", type=int, default=10, metavar="N")
    parser.add_argument("--launch", type=float, default=5.0, metavar="S")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="bbs-waiting-") as name:
        folder = Path(name)
        with service(folder, options.capacity, options.launch) as port:
            bench = Bench(port, options.capacity, options.waiting)
            began, ended = bench.round(waiting=True, seconds=0)
            quiet_from, _ = bench.round(waiting=False, seconds=ended - began)
    launched = began + options.launch
    servers = -(-options.waiting // options.capacity)
    print(
        f"{options.waiting} waited {ended - began:.1f} s for {servers} launches"
        f" of {options.launch:g} s and their start"
    )
    figures = [
        *bench.timed.figures("launches on their way", lambda at: began <= at < launched),
        *bench.timed.figures("until all had places", lambda at: began <= at < ended),
        *bench.timed.figures("nobody waiting", lambda at: at >= quiet_from),
    ]
    print(f"{'ms':40}{'measured':>9}{'p50':>9}{'p99':>9}{'most':>9}")
    for each in figures:
        print(f"{each.what:40}{each.measured:>9}{each.p50:>9.1f}{each.p99:>9.1f}{each.most:>9.1f}")
    if options.json:
        Path(options.json).write_text(json.dumps([asdict(each) for each in figures]) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (Failed, OSError) as problem:
        sys.exit(f"while_waiting: {problem}")
