"""One `bbs up` for all tests of a process that leave it as it was.

    class Talk(SharedCase):
        async def test_it(self):
            service = await self.shared()
            await service.register("ann")
            ann = await service.person("ann")

To start one takes a second of a processor, which is most of what a small test costs. A test has one
of its own where it stops it, ends a part of it, or is about its configuration or its fleet.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from bbs.board import board
from bbs.board.groups.tables import Group
from bbs.cli.offline import carry_out, connected
from bbs.rules import user_admin
from bbs.rules.fleet_admin import By
from bbs.storage import migrations
from bbs.storage.models import Action
from tests.integration.service import (
    ANY_RATE,
    BIN,
    START_TIMEOUT,
    STOP_TIMEOUT,
    Service,
    ServiceCase,
    Wire,
    eventually,
    run,
)
from tests.services.servers import free_port


class Running:
    """`NAME up` by a command, until this process ends. The reactor does not know of it: trial ends,
    after each test, what the reactor has started."""

    def __init__(self, command: Path) -> None:
        self._command, self.name = command, command.name
        self.folder = Path(tempfile.mkdtemp(prefix="bbs-shared-"))
        self.port = free_port()
        self.data = self.folder / "data"
        self._said = self.folder / "said"
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self._end)

    @property
    def database(self) -> str:
        """The URL of its database."""
        return f"sqlite:///{self.data}/{self.name}.sqlite3"

    async def ready(self) -> None:
        """Start it, if it does not run."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        await eventually(self._is_ready, "the shared service is ready", START_TIMEOUT)

    def found(self, pattern: str) -> str:
        """The group of a pattern in what it said when it started."""
        found = re.search(pattern, self._said.read_text())
        assert found is not None, pattern
        return found[1]

    def _start(self) -> None:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("BBS_")}
        limits = ("failed_logins", "logins", "registrations")
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [self._command, "up", "--port", str(self.port), "--data", self.data],
                env={
                    **inherited,
                    "PYTHONUNBUFFERED": "1",
                    **{f"BBS_LIMITS_{name.upper()}": ANY_RATE for name in limits},
                },
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    def _is_ready(self) -> bool:
        assert self._process is not None
        said = self._said.read_text()
        assert self._process.poll() is None, said
        return f"{self.name} is ready" in said

    def _end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
        shutil.rmtree(self.folder)


@cache
def running(command: Path = BIN / "bbs") -> Running:
    """The one of this process."""
    return Running(command)


class SharedService(Service):
    """What a test has of it: a folder of the test's own, and accounts that go with the test.

    :ivar telnet_port: of its gateway.
    :ivar page: the URL of the operators' page.
    """

    def __init__(self, case: Any, running: Running) -> None:
        super().__init__(case, {"database": {"url": running.database}})
        self.port, self.data = running.port, running.data
        self.telnet_port = int(running.found(r"telnet 127\.0\.0\.1 (\d+)\n"))
        self.page = running.found(r"page: (http://\S+/)")
        self._logged = len(super().log())
        self._of_board = running.name == "bbs"
        self._wires: list[Wire] = []

    @property
    def operators_password(self) -> str:
        """With which `operator` logs in at the page."""
        return (self.data / "operator-password").read_text().strip()

    def log(self) -> str:
        """What it has logged since the test began."""
        return super().log()[self._logged :]

    def connect(self, port: int) -> Deferred[Wire]:
        return super().connect(port).addCallback(self._opened)

    def _opened(self, wire: Wire) -> Wire:
        self._wires.append(wire)
        return wire

    async def remove(self) -> None:
        """End what the test has started, and remove everybody who has registered."""
        await super().remove()
        for wire in self._wires:
            wire.close()
        await eventually(lambda: not any(wire.open for wire in self._wires), "wires are closed")
        await eventually(lambda: all(each.heard for each in self.processes), "all is said")
        forget_everybody(str(self.options["database.url"]), self._of_board)


def forget_everybody(url: str, of_board: bool = True) -> None:
    """Remove all accounts, the board's groups, and what operators did from a database, at which
    servers may be at work."""
    by = By("tests", "tests", time.time())
    on_delete = board.on_delete if of_board else None
    with connected(url) as database:
        if of_board:
            # Today's rules read columns that an older version lacks, whose servers can go on.
            migrations.upgrade(database, board.schema)
        while found := user_admin.search(by.now).people:
            for person in found:
                _, user = carry_out(database, user_admin.delete, by, person.name, on_delete)
                while user and not carry_out(database, user_admin.go_on_deleting, user, on_delete):
                    pass
        for model in (Action, Group) if of_board else (Action,):
            carry_out(database, model.delete().execute)


class SharedCase(ServiceCase):
    """A test case whose tests share a service."""

    async def shared(self, command: Path = BIN / "bbs") -> SharedService:
        """The service of all tests of this process, with nobody in it."""
        one = running(command)
        await one.ready()
        service = SharedService(self, one)
        self.addCleanup(lambda: run(service.remove()))
        return service
