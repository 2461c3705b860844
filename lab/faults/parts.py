"""What can go: processes of the service, the database and the broker, and how each comes back.

A part that a fault has in its hands is `busy`; nothing else is done to it meanwhile.
"""

from __future__ import annotations

import os
import re
import signal
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from lab.faults.figures import Figures
from tests.integration.service import Process, eventually, lives
from tests.services import OwnGalera, OwnServer
from tests.services.galera import ADMIN, Galera, GaleraNode
from tests.services.server import freeze, thaw

BETWEEN_STARTS = 0.3
"""Seconds until what did not start is started again, as systemd would."""

PATIENCE = 90.0
"""Seconds in which it must have started at last."""

NODE_RESTART = 5.0
"""Seconds until a node that was killed starts again: `RestartSec` of Debian's mariadb.service. One
that is back before the group has left it keeps the others from agreeing for up to nine seconds."""

STOPS_WITHIN = 20.0
"""Seconds within which a process ends that was asked to, on a machine with much else to do."""


STATUS = re.compile(r"\d\d:\d\d:\d\d (Server|The) ")
"""What a `bbs up` says of what is away, and back: that is its job here."""


def pause(seconds: float) -> Deferred[None]:
    return deferLater(reactor, seconds)


class Part(ABC):
    """Something that runs, and can be made to stop running in three ways."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.busy = False

    @abstractmethod
    async def kill(self, gone: Callable[[], None]) -> None:
        """End it at once and have it back; `gone` is called in between."""

    @abstractmethod
    async def restart(self, gone: Callable[[], None]) -> None:
        """The same in an orderly way."""

    @abstractmethod
    def pids(self) -> list[int]:
        """Its processes."""

    def recover(self) -> Awaitable[None]:
        """Fires when the next fault may hit it."""
        return succeed(None)

    def aimed(self, number: float) -> Part:
        """This, and one of several by a number from 0 to 1."""
        return self

    async def freeze(self, seconds: float) -> None:
        """Let its processes stand still for a while."""
        frozen = self.pids()
        try:
            for pid in frozen:
                with suppress(ProcessLookupError, FileNotFoundError):  # It may have ended.
                    freeze(pid)
            await pause(seconds)
        finally:
            for pid in filter(lives, frozen):
                with suppress(ProcessLookupError):
                    thaw(pid)


def send(pid: int, number: int) -> None:
    """Send a signal to a process of ours, if it lives."""
    if lives(pid):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


class Daemon(Part):
    """A process that we start: `spawn` does, and `ready` is what it says then."""

    def __init__(
        self, name: str, spawn: Callable[[], Process], ready: str, figures: Figures
    ) -> None:
        super().__init__(name)
        self._spawn = spawn
        self._ready = ready
        self._figures = figures
        self.process: Process | None = None

    def pids(self) -> list[int]:
        return [self.process.pid] if self.process and self.process.alive else []

    async def start(self, refused: Callable[[], None] = lambda: None) -> None:
        """Start it until it is ready: it may say why it cannot, while something else is away.

        :param refused: called each time that it does.
        """
        deadline = reactor.seconds() + PATIENCE
        while True:
            process = self.process = self._spawn()
            left = deadline - reactor.seconds()
            await eventually(partial(self._spoke, process), f"{self.name} is ready", left)
            if process.alive:
                return
            self._refused(process)
            refused()
            if reactor.seconds() > deadline:
                raise AssertionError(f"{self.name} did not start within {PATIENCE:g} s")
            await pause(BETWEEN_STARTS)

    def _spoke(self, process: Process) -> bool:
        return self._ready in process.output or not process.alive

    def _refused(self, process: Process) -> None:
        lines = process.errors.strip().splitlines()
        why = lines[-1] if lines else f"ended without a word, {process.exit_code}"
        self._figures.refused_starts[f"{self.name}: {why[:300]}"] += 1

    async def kill(self, gone: Callable[[], None]) -> None:
        assert self.process is not None
        await self.process.kill()
        gone()
        await self.start()

    async def restart(self, gone: Callable[[], None]) -> None:
        await self.stop()
        gone()
        await self.start()

    async def stop(self) -> None:
        """Ask it to end, and complain if that takes long."""
        process = self.process
        if process is None or not process.alive:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await process.ended(STOPS_WITHIN)
        except AssertionError:
            self._figures.complain(f"{self.name} did not end within {STOPS_WITHIN:g} s of SIGTERM")
            await process.kill()
        else:
            said = [line for line in process.errors.splitlines() if not STATUS.match(line)]
            if said:
                self._figures.complain(f"{self.name} said on stderr: {said[-5:]!r}")


class AppServers(Part):
    """The app servers that the login servers have launched. One of them at a time is meant; the
    fleet replaces it."""

    def __init__(self, logins: list[Daemon]) -> None:
        super().__init__("an app server")
        self._logins = logins
        self._aim = 0.0

    def aimed(self, number: float) -> Part:
        self._aim = number
        return self

    def pids(self) -> list[int]:
        children = [
            pid
            for login in self._logins
            if login.process and login.process.alive
            for pid in sorted(login.process.children())
        ]
        return children[int(self._aim * len(children)) :][:1]

    async def kill(self, gone: Callable[[], None]) -> None:
        for pid in self.pids():
            send(pid, signal.SIGKILL)
        gone()

    async def restart(self, gone: Callable[[], None]) -> None:
        for pid in self.pids():
            send(pid, signal.SIGTERM)
        gone()


class Own(Part):
    """A database or a broker of the run's own."""

    def __init__(self, name: str, own: OwnServer[Any]) -> None:
        super().__init__(name)
        self.own = own

    def pids(self) -> list[int]:
        return [self.own.server.pid] if self.own.server.pid is not None else []

    async def kill(self, gone: Callable[[], None]) -> None:
        await self.own.kill()
        gone()
        await self.own.start()

    async def restart(self, gone: Callable[[], None]) -> None:
        await self.own.stop()
        gone()
        await self.own.start()


class Cluster(Own):
    """A Galera of the run's own: of its nodes, the one that is written to. It is busy until it is
    whole again, as two of three nodes that are away take the third one with them."""

    def __init__(self, name: str, own: OwnGalera) -> None:
        super().__init__(name, own)
        self._galera: Galera = own.server

    async def kill(self, gone: Callable[[], None]) -> None:
        await self._end(GaleraNode.kill, gone)
        await pause(NODE_RESTART)

    async def restart(self, gone: Callable[[], None]) -> None:
        await self._end(GaleraNode.stop, gone)

    async def recover(self) -> None:
        await self.own.start()
        whole = partial(deferToThread, self._galera.is_whole)
        await eventually(whole, f"all nodes of {self.name}", PATIENCE)

    def _writer(self) -> GaleraNode:
        node = self._galera.writer()
        assert node is not None, "no node runs"
        return node

    async def _end(self, end: Callable[[GaleraNode], None], gone: Callable[[], None]) -> None:
        await deferToThread(end, await deferToThread(self._writer))
        gone()

    async def switch_over(self, seconds: float) -> None:
        """Let it serve readers only for a while, so that another one is written to."""
        node = await deferToThread(self._writer)
        await deferToThread(node.ask, "SET GLOBAL read_only = ON", ADMIN)
        await pause(seconds)
        await deferToThread(node.ask, "SET GLOBAL read_only = OFF", ADMIN)
