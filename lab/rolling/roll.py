"""What happens: everything of the version before, then of today's, while people talk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater

from bbs import __version__
from bbs.core.addresses import Address
from bbs.core.values import State
from lab.rolling.balancer import Balancer, Target
from lab.rolling.people import Counts, Person, all_heard, befriended, counted
from lab.rolling.versions import BEFORE, environ, unpack
from tests.cloud.cloud import older_user_data
from tests.integration.service import (
    BIN,
    START_TIMEOUT,
    Process,
    as_toml,
    eventually,
    mysql_rows,
    together,
)
from tests.paths import CHECKOUT
from tests.services.servers import free_port

AT_ONCE = 10
"""People who come at the same time."""

DRAIN_DELAY = 1.0
"""Seconds that a login server which is to stop serves on: four looks of the balancer's."""

LOOK = 0.5
"""Seconds between two looks at the fleet."""

FOR_ALL = 30.0
"""Seconds in which what was sent last arrives."""


@dataclass(frozen=True)
class Numbers:
    """How much there is of everything: `interval` seconds between a person's messages."""

    people: int = 12
    servers: int = 2
    interval: float = 1.0
    within: float = 600.0
    """Seconds for all app servers to be replaced."""

    @property
    def capacity(self) -> int:
        """So many that everybody has a place, and each server a few more."""
        return -(-self.people // self.servers) + 1


@dataclass
class Login:
    """A login server that runs."""

    process: Process
    target: Target


@dataclass
class Story:
    """What happened, when, for people to read."""

    tell: Callable[[str], None]
    began: float = field(default_factory=reactor.seconds)

    def add(self, text: str) -> None:
        self.tell(f"{reactor.seconds() - self.began:7.1f} s  {text}")


class Rolling:
    """One service (`tests.integration.test_ec2_service.CloudService`) that goes over."""

    def __init__(self, service: Any, numbers: Numbers, story: Story) -> None:
        self._service = service
        self._numbers = numbers
        self._story = story
        self._balancer = Balancer()
        self._trees = {BEFORE: unpack(service.folder), __version__: CHECKOUT}
        self._people: list[Person] = []

    async def carry_out(self) -> Counts:
        """All of it; what came of it for the people."""
        try:
            return await self._carry_out()
        finally:
            for person in self._people:
                await person.client.close()
            await self._balancer.stop()

    async def _carry_out(self) -> Counts:
        address = Address("127.0.0.1", self._balancer.start())
        logins = [await self._login_server(BEFORE) for _ in range(2)]
        await self._all_ready(BEFORE)
        for login in logins:
            await self._is_ready(login)
        self._story.add(f"two login servers and {self._numbers.servers} app servers of {BEFORE}")
        await self._come(address)
        before = await self._sessions()
        for person in self._people:
            person.talk()
        for place, login in enumerate(logins):
            logins[place] = await self._replaced(login)
            self._story.add(f"login server {place + 1} is of {__version__}")
        await self._replace_all()
        for place, login in enumerate(logins):
            await self._replaced(login)
            self._story.add(f"login server {place + 1} is another of {__version__}")
        await together(person.hush() for person in self._people)
        await eventually(lambda: all_heard(self._people), "all has arrived", FOR_ALL)
        await deferLater(reactor, 1.0)  # So that what comes twice has come.
        found = counted(self._people)
        for what, (seconds, at) in (("silence", found.silence), ("wait", found.answer)):
            self._story.add(f"the longest {what}: {seconds:.2f} s at {at - self._story.began:.1f}")
        self._story.add(
            f"connections for which no login server was ready: {self._balancer.refused}"
        )
        found.logged_out += await self._sessions() - before
        return found

    async def _replaced(self, login: Login) -> Login:
        """Start a login server of today, and end `login` when the new one is ready."""
        new = await self._login_server(__version__)
        await self._is_ready(new)
        await self._end(login)
        self._balancer.targets.remove(login.target)
        return new

    async def _come(self, address: Address) -> None:
        count, interval = self._numbers.people, self._numbers.interval
        self._people = [Person(f"p{number}", address, interval) for number in range(count)]
        for first in range(0, count, AT_ONCE):
            await together(each.come() for each in self._people[first : first + AT_ONCE])
        pairs = [*befriended(self._people)]
        for first in range(0, len(pairs), AT_ONCE):
            await together(pairs[first : first + AT_ONCE])
        self._story.add(f"{count} people are there")

    async def _login_server(self, version: str) -> Login:
        service = self._service
        target = Target(free_port(), free_port())
        config = service.folder / f"bbs-{version}.toml"
        if not config.exists():
            config.write_text(as_toml({**service.options, **self._only(version)}))
        process = service.start(
            *(BIN / "twistd", "--nodaemon", "--pidfile=", "bbs-login"),
            *("--config", config, "--data", service.folder / f"data-{target.port}"),
            *("--listen", f"tcp:{target.port}:interface=127.0.0.1"),
            environ={
                **environ(self._trees[version]),
                "BBS_WEB_LISTEN": f"tcp:{target.page_port}:interface=127.0.0.1",
            },
        )
        await process.says(f"LineFactory starting on {target.port}\n")
        self._balancer.targets.append(target)
        return Login(process, target)

    async def _is_ready(self, login: Login) -> None:
        """The balancer finds it ready."""
        await eventually(lambda: login.target.ready, "a login server is ready", START_TIMEOUT)

    def _only(self, version: str) -> dict[str, object]:
        """What a login server of `version` is told: app servers boot from the image of their own
        version."""
        image = self._service.folder / f"user-data-{version}"
        path = environ(self._trees[version])["PYTHONPATH"]
        first, rest = older_user_data().split("umask 077\n")
        image.write_text(f"{first}umask 077\nexport PYTHONPATH='{path}'\n{rest}")
        return {"ec2.user_data": str(image), "login.drain_delay": DRAIN_DELAY}

    async def _end(self, login: Login) -> None:
        """By SIGTERM; it takes no new connection from the moment in which it is not ready."""
        await login.process.end(within=DRAIN_DELAY + 20.0)
        self._service.case.assertEqual(login.process.errors, "")

    async def _replace_all(self) -> None:
        config = self._service.folder / f"bbs-{__version__}.toml"
        asked = self._service.bbs("fleet", "replace", "--config", config)
        await asked.ended(START_TIMEOUT)
        self._service.case.assertEqual((asked.exit_code, asked.errors), (0, ""))
        self._story.add(f"bbs fleet replace: {asked.output.strip()}")
        await self._all_ready(__version__)
        self._story.add(f"{self._numbers.servers} app servers are of {__version__}")

    async def _all_ready(self, version: str) -> None:
        """As many app servers as there should be are ready, and there is none of another
        version."""
        until = reactor.seconds() + self._numbers.within
        while reactor.seconds() < until:
            rows = self._rows("SELECT * FROM server WHERE state <> 'gone'")
            ready = sum(row["state"] == State.READY for row in rows)
            there = {row["version"] for row in rows}
            if ready >= self._numbers.servers and there == {version}:
                return
            await deferLater(reactor, LOOK)
        raise AssertionError(f"not within {self._numbers.within:g} s: all are of {version}")

    async def _sessions(self) -> int:
        return len(self._rows("SELECT digest FROM session"))

    def _rows(self, statement: str) -> list[dict[str, Any]]:
        return mysql_rows(self._service.options["database.url"], statement)


def sections(numbers: Numbers) -> dict[str, dict[str, object]]:
    """The configuration of a service for so many."""
    return {
        "app": {"capacity": numbers.capacity},
        # A MariaDB has 151 connections, unless it is told otherwise.
        "database": {"pool_size": 3},
        "fleet": {
            "minimum": numbers.servers,
            "maximum": numbers.servers + 3,
            "spare": 0,
            "heartbeat_interval": 1.0,
            # No other reason to drain one than the one that is looked at.
            "consolidate_after": 0.0,
        },
    }
