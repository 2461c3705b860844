"""What a thousand people at the telnet gateway cost, beside the same people on the line protocol.

    python -m lab.bench.telnet_sessions [--people N] [--at-once N] [--rounds N]
                                               [--profile FILE]

Starts `bbs up` with one app server for everybody, and a gateway in a process of its own. Everybody
logs in by telnet, as a client that leaves the echo to the gateway, and asks for `list-friend`, so
many at a time. Before that everybody does so at the app server, on a connection beside the one that
listens. The memory is what the gateway, or the app server, has more with all of them than before
the first, for each. The processor's time is what the gateway, or the app server, needs for a line,
and the gateway also for a session, from its beginning to its first prompt behind a login: unlike
the other times these hardly depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import select
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.bench.figures import quantile
from lab.bench.people import PASSWORD
from lab.bench.processes import TWISTD, Failed, Running, connect, embedded, process
from lab.bench.report import machine
from lab.bench.silent_connections import allow_files, resident
from tests.integration.service import children_of
from tests.services.servers import free_port, write_private

TOGETHER = 50
"""People who log in at the same time."""

AGREES = b"\r\n\xff\xfd\x01\xff\xfd\x03\xff\xfd\x00\xff\xfb\x03\xff\xfb\x00\xff\xfb\x1f"
"""What telnet sends that presses Enter and agrees to what it is offered."""

CONFIGURATION = """\
[telnet]
listen = "tcp:{port}:interface=127.0.0.1"
server = "127.0.0.1:{server}"
"""


@dataclass(frozen=True)
class Figures:
    """Times are in ms, `memory` in KiB for each, and a processor's time in µs: `line` for each that
    is asked, `session` to begin one."""

    memory: float
    line: float
    session: float
    p50: float
    p99: float


class Person:
    """One connection, on which one thing is asked at a time."""

    def __init__(self, port: int) -> None:
        self.socket = connect(port)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._awaited = b""
        self._received = b""
        self._asked = 0.0

    def ask(self, request: bytes, answer: bytes) -> None:
        """Send a request, whose reply ends with or has in it `answer`."""
        self._received, self._awaited = b"", answer
        self._asked = time.perf_counter()
        self.socket.sendall(request)

    def answered(self) -> int | None:
        """Take what has come; the µs that the answer took, None while it is not complete."""
        data = self.socket.recv(65536)
        if not data:
            raise Failed(f"a connection was closed behind {self._received[-200:]!r}")
        self._received += data
        if self._awaited not in self._received:
            return None
        return round((time.perf_counter() - self._asked) * 1e6)

    def wait(self) -> bytes:
        """All that came until the answer was there."""
        while self.answered() is None:
            pass
        return self._received


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--people", type=int, default=1000, metavar="N")
    parser.add_argument("--at-once", type=int, default=16, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--profile", metavar="FILE", help="cProfile's, of the gateway")
    options = parser.parse_args(argv)
    allow_files(3 * options.people + 100)
    names = [f"person{number}" for number in range(options.people)]
    print(machine())
    with (
        tempfile.TemporaryDirectory(prefix="bbs-bench-") as folder,
        embedded(Path(folder)) as login,
        gateway(Path(folder), login.port, options.profile) as (port, pid),
    ):
        register(login.port, names)
        line = by_line(login.port, login.pid, names, options)
        telnet = by_telnet(port, pid, names, options)
    print(f"{len(names)} people, list-friend, {options.at_once} at a time\n")
    row = "{:<14} {:>9} {:>9} {:>9} {:>9} {:>11}"
    print(row.format("", "KiB each", "p50 ms", "p99 ms", "line µs", "session µs"))
    for name, figures in (("telnet", telnet), ("line protocol", line)):
        times = (f"{figures.p50:.2f}", f"{figures.p99:.2f}", f"{figures.line:.0f}")
        session = f"{figures.session:.0f}" if figures.session else ""
        print(row.format(name, f"{figures.memory:.1f}", *times, session))
    ratios = (telnet.p50 / line.p50, telnet.p99 / line.p99, telnet.line / line.line)
    print(
        row.format("ratio", f"{telnet.memory / line.memory:.1f}", *map("{:.2f}".format, ratios), "")
    )
    return 0


@contextlib.contextmanager
def gateway(folder: Path, server: int, profile: str | None) -> Iterator[tuple[int, int]]:
    """`twistd bbs-telnet`: its port and its process. `profile` is where one of it goes, if any."""
    port = free_port()
    write_private(folder / "telnet.toml", CONFIGURATION.format(port=port, server=server))
    command = [*TWISTD, "--nodaemon", "--pidfile="]
    if profile:
        command += ["--profiler=cprofile", "--savestats", f"--profile={Path(profile).absolute()}"]
    command += ["bbs-telnet"]
    with process([*command, f"--config={folder}/telnet.toml"], folder / "telnet.log") as child:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(ConnectionRefusedError), connect(port):
                break
            time.sleep(0.05)
        yield port, child.pid


def register(port: int, names: Sequence[str]) -> None:
    people = [Person(port) for _ in range(TOGETHER)]
    for start in range(0, len(names), TOGETHER):
        group = list(zip(people, names[start : start + TOGETHER], strict=False))
        for person, name in group:
            person.ask(f"register {name} {PASSWORD}\n".encode(), b"Success!")
        for person, _ in group:
            person.wait()
    for person in people:
        person.socket.close()


def by_telnet(port: int, pid: int, names: Sequence[str], options: argparse.Namespace) -> Figures:
    """Everybody at the gateway."""
    server, running = Path(f"/proc/{pid}"), Running(port, pid)
    for person in log_in(port, names[:TOGETHER]):
        person.socket.close()
    before, used = resident(server), running.cpu_seconds()
    people = log_in(port, names)
    session = (running.cpu_seconds() - used) / len(people) * 1e6
    memory = (resident(server) - before) / len(people) / 1024
    used = running.cpu_seconds()
    times = measure(people, [b"list-friend\r\0"] * len(people), b"No friends\r\n", options)
    line = (running.cpu_seconds() - used) / (options.rounds + 1) / len(people) * 1e6
    for person in people:
        person.socket.close()
    return Figures(memory, line, session, quantile(times, 0.5), quantile(times, 0.99))


def log_in(port: int, names: Sequence[str]) -> list[Person]:
    everybody = []
    for start in range(0, len(names), TOGETHER):
        group = [(Person(port), name) for name in names[start : start + TOGETHER]]
        for person, name in group:
            line = f"login {name} {PASSWORD}\r\0".encode()
            person.ask(AGREES + line, f"{name}> ".encode())
        for person, _ in group:
            person.wait()
            everybody.append(person)
    return everybody


def by_line(port: int, pid: int, names: Sequence[str], options: argparse.Namespace) -> Figures:
    """Everybody at the app server."""
    requests, at = [], 0
    login = Person(port)
    for name in names:
        login.ask(f"login {name} {PASSWORD}\n".encode(), b"\n")
        reply = json.loads(login.wait())
        requests.append(f"list-friend {reply['token']}\n".encode())
        at = reply["app_server"]["port"]
    (child,) = children_of(pid)
    server, running = Path(f"/proc/{child}"), Running(at, child)
    connect(at).close()
    before = resident(server)
    listening = [Person(at) for _ in names]
    for person, request in zip(listening, requests, strict=True):
        person.ask(request.replace(b"list-friend", b"listen"), b"Success!")
        person.wait()
    people = [Person(at) for _ in names]
    used = running.cpu_seconds()
    times = measure(people, requests, b"\n", options)
    line = (running.cpu_seconds() - used) / (options.rounds + 1) / len(people) * 1e6
    memory = (resident(server) - before) / len(people) / 1024
    for person in listening + people:
        person.socket.close()
    return Figures(memory, line, 0.0, quantile(times, 0.5), quantile(times, 0.99))


def measure(
    people: Sequence[Person], requests: Sequence[bytes], answer: bytes, options: argparse.Namespace
) -> list[int]:
    """How long each answer took, in µs, sorted; the first round warms up."""
    epoll = select.epoll()
    by_number = {person.socket.fileno(): person for person in people}
    for number in by_number:
        epoll.register(number, select.EPOLLIN)
    times: list[int] = []
    for round_number in range(options.rounds + 1):
        waiting = iter(list(zip(people, requests, strict=True)))
        left = len(people)
        for person, request in (next(waiting) for _ in range(min(options.at_once, left))):
            person.ask(request, answer)
        while left:
            for number, _ in epoll.poll(30) or never():
                took = by_number[number].answered()
                if took is None:
                    continue
                left -= 1
                if round_number:
                    times.append(took)
                for person, request in waiting:
                    person.ask(request, answer)
                    break
    return sorted(times)


def never() -> list[tuple[int, int]]:
    raise Failed("no answer within 30 s")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Failed as error:
        sys.exit(str(error))
