"""The load: sends lines to 127.0.0.1 and takes the time until each is answered.

    python -m tests.bench.load      # jobs on standard input, results on standard output

A process of its own and nothing but sockets and epoll, so that it measures the servers and not
itself. A job is one line of JSON, and so is its result:

- `{"port": P, "talks": [[line, …], …], "fresh": false, "seconds": 0.5}` has one connection for each
  talk. Each sends a line, waits for the reply, and sends the next, from the beginning again when
  it is through, until the time is up; then what is under way is still waited for. `fresh`: a
  connection for each line. `seconds` null: each talk once. `{}` in a line becomes a number that
  no other line has.
  Result: `{"seconds": …, "times": [µs, …], "replies": [[reply, …], …]}`; replies are kept when
  `seconds` is null, else only those that are failures.
- `{"port": P, "listens": [line, …], "sends": [line, …], "seconds": 0.5}` listens on one connection
  for each of `listens`, and has one for each of `sends`. `{}` in one that sends becomes its number,
  by which its event is known; it sends again when the event has come.
  Result as above; the times are those from the reply to the event.
"""

from __future__ import annotations

import gc
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
    """Calls back whoever's socket is ready, until nobody is left."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ready: dict[int, Callable[[], None]] = {}
        self.active = 0
        """How many are not through yet."""

    def call(self, sock: socket.socket, events: int, ready: Callable[[], None]) -> None:
        number = sock.fileno()
        if number in self._ready:
            self._epoll.modify(number, events)
        else:
            self._epoll.register(number, events)
        self._ready[number] = ready

    def forget(self, sock: socket.socket) -> None:
        del self._ready[sock.fileno()]
        self._epoll.unregister(sock.fileno())

    def run(self) -> None:
        while self.active:
            happened = self._epoll.poll(PATIENCE)
            if not happened:
                raise SystemExit(f"no reply for {PATIENCE:.0f} s")
            for number, _ in happened:
                ready = self._ready.get(number)
                if ready is not None:
                    ready()


class Peer:
    """One connection at a time, over which lines go and come."""

    def __init__(self, loop: Loop, port: int, on_line: Callable[[bytes], None]) -> None:
        self._loop = loop
        self._port = port
        self._on_line = on_line
        self._received = b""
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
        data = self._socket.recv(65536)
        if not data:
            raise SystemExit(f"a server closed a connection behind {self._received[-200:]!r}")
        self._received += data
        while b"\n" in self._received:
            line, _, self._received = self._received.partition(b"\n")
            self._on_line(line)


class Run:
    """What all connections of a job share: the clock, and what they found."""

    def __init__(self, seconds: float | None) -> None:
        self.loop = Loop()
        self.seconds = seconds
        self.times: list[int] = []
        self._started = time.perf_counter()

    def start(self) -> None:
        self._started = time.perf_counter()

    def is_over(self) -> bool:
        return self.seconds is not None and time.perf_counter() > self._started + self.seconds

    def took(self, seconds: float) -> None:
        self.times.append(round(seconds * 1e6))

    def result(self, replies: list[list[str]]) -> dict[str, Any]:
        taken = time.perf_counter() - self._started
        return {"seconds": taken, "times": self.times, "replies": replies}


class Talk:
    """One connection that sends lines, each when the one before is answered."""

    def __init__(
        self, run: Run, port: int, lines: Sequence[bytes], fresh: bool, numbers: Callable[[], int]
    ) -> None:
        self._run = run
        self._lines = lines
        self._fresh = fresh
        self._numbers = numbers
        self._numbered = any(b"{}" in line for line in lines)
        self._next = 0
        self._asked = 0.0
        self._peer = Peer(run.loop, port, self._answered)
        self.replies: list[str] = []
        run.loop.active += 1
        if not fresh:
            self._peer.open()

    def go_on(self) -> None:
        line = self._lines[self._next % len(self._lines)]
        self._next += 1
        if self._numbered:
            line = line.replace(b"{}", b"%d" % self._numbers())
        self._asked = time.perf_counter()
        if self._fresh:
            self._peer.open(line)
        else:
            self._peer.send(line)

    def _answered(self, reply: bytes) -> None:
        run = self._run
        run.took(time.perf_counter() - self._asked)
        if run.seconds is None or reply.startswith(FAILURE):
            self.replies.append(reply.decode())
        if self._fresh:
            self._peer.close()
        if run.is_over() or (run.seconds is None and self._next == len(self._lines)):
            run.loop.active -= 1
            self._peer.close()
        else:
            self.go_on()


class Correspondence:
    """One connection that sends messages, each when the event of the one before has come."""

    def __init__(self, run: Run, port: int, line: bytes) -> None:
        self._run = run
        self._line = line
        self._replied = 0.0
        self._event = 0.0
        self._peer = Peer(run.loop, port, self._answered)
        self.replies: list[str] = []
        run.loop.active += 1
        self._peer.open()

    def go_on(self) -> None:
        self._replied = self._event = 0.0
        self._peer.send(self._line)

    def _answered(self, reply: bytes) -> None:
        self._replied = time.perf_counter()
        if reply.startswith(FAILURE):
            self.replies.append(reply.decode())
            self._through()
        self._both()

    def arrived(self) -> None:
        self._event = time.perf_counter()
        self._both()

    def _both(self) -> None:
        if self._replied and self._event:
            self._run.took(self._event - self._replied)
            if self._run.is_over():
                self._through()
            else:
                self.go_on()

    def _through(self) -> None:
        self._run.loop.active -= 1
        self._peer.close()


def talk(job: dict[str, Any], numbers: Callable[[], int]) -> dict[str, Any]:
    run = Run(job["seconds"])
    talks = [
        Talk(run, job["port"], [_line(each) for each in lines], job["fresh"], numbers)
        for lines in job["talks"]
    ]
    run.start()
    for each in talks:
        each.go_on()
    run.loop.run()
    return run.result([each.replies for each in talks])


def correspond(job: dict[str, Any], numbers: Callable[[], int]) -> dict[str, Any]:
    run = Run(job["seconds"])
    first = numbers()
    senders = {
        number: Correspondence(run, job["port"], _line(line.replace("{}", f"<{number}>")))
        for number, line in enumerate(job["sends"], first)
    }
    for _ in senders:
        numbers()

    def heard(line: bytes) -> None:
        if line.startswith(SUCCESS):
            run.loop.active -= 1
            return
        number = re.search(rb'"message": "<(\d+)>', line)
        if number and int(number[1]) in senders:
            senders[int(number[1])].arrived()

    listeners = [Peer(run.loop, job["port"], heard) for _ in job["listens"]]
    waiting, run.loop.active = run.loop.active, len(listeners)
    for listener, line in zip(listeners, job["listens"], strict=True):
        listener.open(_line(line))
    run.loop.run()
    run.loop.active = waiting
    run.start()
    for sender in senders.values():
        sender.go_on()
    run.loop.run()
    result = run.result([sender.replies for sender in senders.values()])
    for listener in listeners:
        listener.close()
    return result


def _line(text: str) -> bytes:
    return text.encode() + b"\n"


def main() -> None:
    numbers = count(1).__next__
    gc.disable()
    for line in sys.stdin:
        job = json.loads(line)
        work = talk if "talks" in job else correspond
        print(json.dumps(work(job, numbers)), flush=True)
        gc.collect()


if __name__ == "__main__":
    main()
