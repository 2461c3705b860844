"""The load: sends lines to 127.0.0.1 and takes the time until each is answered.

    python -m lab.bench.load      # jobs on standard input, results on standard output

A process of its own and nothing but sockets and epoll, so that it measures the servers and not
itself. A job is one line of JSON, and so is its result. In

    {"talks": [{"port": P, "lines": [line, …]}, …], "seconds": 0.5,
     "fresh": false, "pause": 0.0, "listens": [{"port": P, "line": line}, …]}

there is one connection for each of `talks`. It sends a line, waits for the reply, and sends the
next, from the beginning again when it is through, until the time is up; then what is under way is
still waited for. `fresh`: a connection for each line, else one that is there before. `pause`:
seconds before each line but the first. `seconds` null: each talk once. `{}` in a line becomes a
number that no other line has.

`listens`, if there are any, are connections that listen before anything is sent. A line that has
`<{}>` is then through when its reply has come and one of them has heard a message of that number.

Result: `{"seconds": …, "times": [µs, …], "replies": [[reply, …], …]}`. The times are those from
sending a line, or from connecting for it, until it is through; of lines that were refused there is
none. Replies are kept when `seconds` is null, else only the refusals.
"""

from __future__ import annotations

import gc
import heapq
import json
import re
import select
import socket
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

PATIENCE = 30.0
"""Seconds without anything happening until a job has failed."""

SUCCESS = b'{"status": 0'
FAILURE = b'{"status": 1'


class Loop:
    """Calls back whoever's socket is ready, or whose pause is over, until nobody is left."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ready: dict[int, Callable[[], None]] = {}
        self._pauses: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count().__next__
        self.active = 0
        """How many are not through yet."""

    def call(self, sock: socket.socket, events: int, ready: Callable[[], None]) -> None:
        number = sock.fileno()
        if number in self._ready:
            self._epoll.modify(number, events)
        else:
            self._epoll.register(number, events)
        self._ready[number] = ready

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._pauses, (time.perf_counter() + seconds, self._numbers(), call))

    def forget(self, sock: socket.socket) -> None:
        del self._ready[sock.fileno()]
        self._epoll.unregister(sock.fileno())

    def run(self) -> None:
        quiet_since = time.perf_counter()
        while self.active:
            due = self._pauses[0][0] - time.perf_counter() if self._pauses else PATIENCE
            happened = self._epoll.poll(max(0.0, due))
            now = time.perf_counter()
            if happened:
                quiet_since = now
            elif now > quiet_since + PATIENCE:
                raise SystemExit(f"no reply for {PATIENCE:.0f} s")
            for number, _ in happened:
                ready = self._ready.get(number)
                if ready is not None:
                    ready()
            while self._pauses and self._pauses[0][0] <= now:
                heapq.heappop(self._pauses)[2]()


class Peer:
    """One connection at a time, over which lines go and come."""

    def __init__(self, loop: Loop, port: int, on_line: Callable[[bytes], None]) -> None:
        self._loop = loop
        self._port = port
        self._on_line = on_line
        self._received: list[bytes] = []
        """What has come of a line that is not whole: some lines have megabytes."""
        self._socket: socket.socket | None = None

    def open(self, line: bytes | None = None) -> None:
        """Connect; `line` is sent as soon as that is done."""
        self._socket = sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if line is None:
            sock.connect(("127.0.0.1", self._port))
            sock.setblocking(False)
            self._loop.call(sock, select.EPOLLIN, self._read)
            return
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", self._port))
        self._loop.call(sock, select.EPOLLOUT, lambda: self._connected(line))

    def send(self, line: bytes) -> None:
        assert self._socket is not None
        self._socket.sendall(line)

    def close(self) -> None:
        if self._socket is not None:
            self._loop.forget(self._socket)
            self._socket.close()
            self._socket = None

    def _connected(self, line: bytes) -> None:
        assert self._socket is not None
        self._loop.call(self._socket, select.EPOLLIN, self._read)
        self.send(line)

    def _read(self) -> None:
        assert self._socket is not None
        data = self._socket.recv(1 << 20)
        if not data:
            behind = b"".join(self._received)[-200:]
            raise SystemExit(f"a server closed a connection behind {behind!r}")
        *lines, rest = data.split(b"\n")
        for line in lines:
            line = b"".join((*self._received, line))
            self._received.clear()
            self._on_line(line)
        if rest:
            self._received.append(rest)


class Run:
    """What all connections of a job share: the clock, and what they found."""

    def __init__(self, job: dict[str, Any], numbers: Callable[[], int]) -> None:
        self.loop = Loop()
        self.seconds: float | None = job["seconds"]
        self.fresh: bool = job.get("fresh", False)
        self.pause: float = job.get("pause", 0.0)
        self.listens: list[dict[str, Any]] = job.get("listens", [])
        self.numbers = numbers
        self.awaited: dict[int, Callable[[], None]] = {}
        """Whom to tell that the message of a number has come."""
        self.times: list[int] = []
        self._talks = [Talk(self, talk["port"], talk["lines"]) for talk in job["talks"]]
        self._started = 0.0

    def is_over(self) -> bool:
        return self.seconds is not None and time.perf_counter() > self._started + self.seconds

    def result(self) -> dict[str, Any]:
        """Do all of it."""
        listeners = self._listen()
        if not self.fresh:
            for each in self._talks:
                each.open()
        self.loop.active = len(self._talks)
        self._started = time.perf_counter()
        for each in self._talks:
            each.go_on()
        self.loop.run()
        taken = time.perf_counter() - self._started
        for listener in listeners:
            listener.close()
        replies = [each.replies for each in self._talks]
        return {"seconds": taken, "times": self.times, "replies": replies}

    def _listen(self) -> list[Peer]:
        listeners = [Peer(self.loop, each["port"], self._heard) for each in self.listens]
        self.loop.active = len(listeners)
        for listener, each in zip(listeners, self.listens, strict=True):
            listener.open(_line(each["line"]))
        self.loop.run()
        return listeners

    def _heard(self, line: bytes) -> None:
        if line.startswith(SUCCESS):
            self.loop.active -= 1
        elif line.startswith(FAILURE):
            raise SystemExit(f"one who would listen was told {line!r}")
        elif number := _MESSAGE.search(line):
            arrived = self.awaited.pop(int(number[1]), None)
            if arrived:
                arrived()


class Talk:
    """One connection that sends lines, each when the one before is through."""

    def __init__(self, run: Run, port: int, lines: Sequence[str]) -> None:
        self._run = run
        self._lines = [_line(line) for line in lines]
        self._next = 0
        self._asked = 0.0
        self._waits_for = 0
        """The reply, and an event: how many of them are still to come."""
        self._number = 0
        self._peer = Peer(run.loop, port, self._answered)
        self.replies: list[str] = []

    def open(self) -> None:
        """Connect, before the time begins."""
        self._peer.open()

    def go_on(self) -> None:
        line = self._lines[self._next % len(self._lines)]
        self._next += 1
        self._waits_for = 1
        if b"{}" in line:
            self._number = self._run.numbers()
            if self._run.listens and b"<{}>" in line:
                self._waits_for = 2
                self._run.awaited[self._number] = self._arrived
            line = line.replace(b"{}", b"%d" % self._number)
        self._asked = time.perf_counter()
        if self._run.fresh:
            self._peer.open(line)
        else:
            self._peer.send(line)

    def _answered(self, reply: bytes) -> None:
        refused = reply.startswith(FAILURE)
        if self._run.seconds is None or refused:
            self.replies.append(reply.decode())
        if self._run.fresh:
            self._peer.close()
        if refused:
            self._run.awaited.pop(self._number, None)
            self._through()
        else:
            self._arrived()

    def _arrived(self) -> None:
        """The reply has come, or the event."""
        self._waits_for -= 1
        if not self._waits_for:
            self._run.times.append(round((time.perf_counter() - self._asked) * 1e6))
            self._through()

    def _through(self) -> None:
        run = self._run
        if run.is_over() or (run.seconds is None and self._next == len(self._lines)):
            run.loop.active -= 1
            self._peer.close()
        elif run.pause:
            run.loop.call_later(run.pause, self.go_on)
        else:
            self.go_on()


_MESSAGE = re.compile(rb'"message": ?"<(\d+)>')


def _line(text: str) -> bytes:
    return text.encode() + b"\n"


def main() -> None:
    numbers = count(1).__next__
    gc.disable()
    for line in sys.stdin:
        print(json.dumps(Run(json.loads(line), numbers).result()), flush=True)
        gc.collect()


if __name__ == "__main__":
    main()
