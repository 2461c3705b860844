"""Processes beside a test that work on its database, and do and say what the test asks for."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any
from unittest import mock

from tests.paths import CHECKOUT

PATIENCE = 60.0
"""Seconds that a test waits for a process: more than any test takes."""

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.storage.upgrading", "tests.storage.turn_taker"])


class Beside:
    """Such a process, as its test sees it: `work` there, with these arguments and a pipe.

    It is forked by one that has imported all that it needs, which takes some milliseconds, where
    Python would take half a second to start.
    """

    def __init__(self, work: Callable[..., None], *arguments: Any) -> None:
        self._pipe, theirs = _SERVER.Pipe()
        self._process = _SERVER.Process(target=_until_its_end, args=(work, *arguments, theirs))
        with mock.patch.dict(os.environ, {"PYTHONPATH": str(CHECKOUT)}):
            self._process.start()
        theirs.close()

    def says(self, seconds: float = PATIENCE) -> object:
        """What it says next; None if it ends, or says nothing in that time."""
        try:
            return self._pipe.recv() if self._pipe.poll(seconds) else None
        except EOFError:
            return None

    def tell(self, word: str) -> None:
        """Say something to it."""
        self._pipe.send(word)

    def stop(self) -> None:
        """Let it stand still."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it not stand still any more."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End it by SIGKILL, unless it has ended."""
        self._process.kill()
        self._process.join()

    def ended(self) -> int | None:
        """How it ended: 0 if well, or the number of a signal, less than 0."""
        self._process.join(PATIENCE)
        return self._process.exitcode


def _until_its_end(work: Callable[..., None], *arguments: Any) -> None:
    """Work, until there is nothing more to do, or the test's process is not there any more."""
    pipe: Connection = arguments[-1]
    try:
        work(*arguments)
    except EOFError:
        pipe.close()
