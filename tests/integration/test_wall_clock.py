"""The machine's clock is set back and forward an hour, under a whole service in real processes.

What the processes take for the wall clock is a file's to say (libfaketime); the monotonic clock is
the machine's own.
"""

from __future__ import annotations

import os
import re
import sqlite3
from itertools import pairwise
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.integration.service import Person, Service, ServiceCase, connect, eventually

HOUR = 3600

LIBRARY = "libfaketimeMT.so.1"

LOST_AFTER = 4.0
"""Seconds of silence after which a server is lost here."""


class WallClock:
    """What the processes of a service take for the time. `libfaketime` is documented in the README
    of its package: a line `-3600` in the file is so many seconds to add."""

    def __init__(self, service: Service) -> None:
        self._file = service.folder / "clock"
        self.set(0)
        # Debian keeps it in a folder for each architecture; the library's name is its ABI.
        (library,) = Path("/usr/lib").glob(f"*/faketime/{LIBRARY}")
        self.environ = {
            **service.held_launches(),
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Else Python's threads, which wait by the monotonic clock, wait in vain, spinning.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "NO_FAKE_STAT": "1",
        }

    def set(self, ahead: int) -> None:
        """From now on it is so many seconds ahead of what is true."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead:+d}\n")
        os.replace(new, self._file)


def ready(fleet: list[dict[str, Any]]) -> set[str]:
    """The servers that people may be placed on."""
    return {server["id"] for server in fleet if server["state"] == "ready"}


class Set(ServiceCase):
    """By an hour, and put right again."""

    async def begin(self) -> Service:
        """The service, ready, with places for two on its one app server."""
        service = self.service(
            app={"capacity": 2},
            fleet={
                "minimum": 1,
                "spare": 0,
                "heartbeat_interval": 0.5,
                "lost_after": LOST_AFTER,
                "launch_timeout": 60.0,
            },
            limits={"failed_logins": "3/hour"},
        )
        self.clock = WallClock(service)
        service.release_launches()
        await service.up(environ=self.clock.environ)
        service.hold_launches()
        await service.register("ann", "bob", "cat", "dan", "eva", "fay")
        return service

    async def says(self, one: Person, other: Person, text: str) -> None:
        """One message, sent and heard."""
        self.assertEqual((await one.asks("send", other.name, text))["status"], 0)
        await eventually(
            lambda: [each["message"] for each in other.wire.events][-1:] == [text], f"{text} comes"
        )

    async def refused_for(self, service: Service) -> int:
        """The seconds that a login of dan's is refused for."""
        wire = await connect(service.port)
        reply = await wire.ask("login", "dan", "dan")
        wire.close()
        found = re.fullmatch(r"Too many attempts, try again in (\d+) s", reply["message"])
        assert found is not None, reply
        return int(found[1])

    async def test_nobody_notices(self) -> None:
        service = await self.begin()
        ann, bob = await service.person("ann"), await service.person("bob")
        await service.befriend(ann, bob)
        self.assertEqual((await bob.asks("listen"))["status"], 0)
        await self.says(ann, bob, "as it is")
        guessing = await connect(service.port)
        for _ in range(3):
            self.assertEqual((await guessing.ask("login", "dan", "guess"))["status"], 1)
        guessing.close()
        await self.set(service, -HOUR, "cat", ann, bob)
        # There is one place more now.
        await service.person("eva")
        await self.set(service, HOUR, "fay", ann, bob)
        self.assertEqual((await ann.asks("list-friend"))["friend"], ["bob"])
        again = await connect(service.port)
        self.assertEqual((await again.ask("locate", bob.token))["status"], 0)
        again.close()
        self.assert_was_set(service)

    async def set(self, service: Service, ahead: int, late: str, ann: Person, bob: Person) -> None:
        """It is set, while `late` waits for a launch, and put right."""
        refused_at, refused_for = reactor.seconds(), await self.refused_for(service)
        launches, login = service.launches(), await connect(service.port)
        waiting = login.ask("login", late, late)
        await eventually(lambda: service.launches() > launches, "a launch is under way")
        self.clock.set(ahead)
        service.release_launches()
        answer = await waiting
        self.assertEqual(answer["status"], 0, answer)
        login.close()
        service.hold_launches()
        serving = ready(await service.fleet())
        self.assertEqual(len(serving), launches + 1)

        # Heartbeats keep all servers alive, for longer than silence may last.
        await self.says(ann, bob, f"{ahead}")
        await deferLater(reactor, 1.5 * LOST_AFTER)
        await self.says(ann, bob, f"{ahead} still")
        self.assertEqual(ready(await service.fleet()), serving)
        self.assertNotIn(" is lost", service.log())

        # What is refused for so long is refused for no longer.
        passed = reactor.seconds() - refused_at
        left = await self.refused_for(service)
        self.assertLess(abs(refused_for - passed - left), HOUR / 60)

        self.clock.set(0)
        await self.says(ann, bob, f"{ahead} no more")

    def assert_was_set(self, service: Service) -> None:
        """The servers did take the file's word for what their machine's clock says, and did not
        take that for the time: messages have the times at which they were sent."""
        self.assertIn("the clock is wrong", service.log())
        with sqlite3.connect(service.data / "bbs.sqlite3") as database:
            stored = [row[0] for row in database.execute("SELECT stored FROM message ORDER BY id")]
        steps = [round((later - earlier) / HOUR) for earlier, later in pairwise(stored)]
        self.assertEqual(steps, [0] * 6)
