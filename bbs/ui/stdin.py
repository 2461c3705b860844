"""Lines from a file descriptor of any kind, without holding up the reactor.

Pipes and terminals could be watched by the reactor, regular files and `/dev/null` cannot (epoll
refuses them), and a descriptor that is shared with a shell should not be made non-blocking. So a
thread reads, one piece for each time that a line is wanted and none is there: input that nobody
has asked for stays where it is.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

MAX_LINE = 16 * 1024 * 1024
"""Bytes in the longest line; servers take 64 KiB unless their operator wants more."""

_PIECE = 65536


class InputError(Exception):
    """The input cannot be read; the text is one line that says why."""


class _Daemon(Thread):
    """A thread that may be waiting for a terminal when the process ends, and lets it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options, daemon=True)


def reader(reactor: IReactorFromThreads, descriptor: int) -> Callable[[], Deferred[bytes]]:
    """A function that reads the next piece of a descriptor; the piece is empty at its end."""
    pool = ThreadPool(0, 1, "input")
    pool.threadFactory = _Daemon
    pool.start()
    return lambda: deferToThreadPool(reactor, pool, os.read, descriptor, _PIECE)


class Lines:
    """Cuts pieces into lines; bytes that are not UTF-8 become surrogate escapes."""

    def __init__(self, read: Callable[[], Deferred[bytes]]) -> None:
        self._read = read
        self._lines: deque[bytes] = deque()
        self._parts: list[bytes] = []

    async def next(self) -> str | None:
        """The next line without its end (LF or CR LF), None after the last.

        The last may lack its end. Raises `InputError`.
        """
        while not self._lines:
            try:
                piece = await self._read()
            except OSError as problem:
                raise InputError(f"standard input: {problem.strerror}") from problem
            *ends, rest = piece.split(b"\n")
            for end in ends:
                self._lines.append(b"".join((*self._parts, end)))
                self._parts = []
            if rest:
                self._parts.append(rest)
            if not piece:
                if not self._parts:
                    return None
                self._lines.append(b"".join(self._parts))
                self._parts = []
            if sum(map(len, self._parts)) > MAX_LINE:
                raise InputError(f"standard input: a line of over {MAX_LINE} bytes")
        return self._lines.popleft().rstrip(b"\r").decode("utf-8", "surrogateescape")
