"""A MariaDB that stands still in the middle of what many calls do together."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from bbs.board.models import Group
from bbs.errors import Unavailable
from bbs.storage import transactions
from bbs.storage.database import Database, read_only
from tests.integration.test_mysql import AT_ONCE, MySQLCase, add, count
from tests.services import OwnMariaDB

MANY = 40


@read_only
def names() -> set[str]:
    return {group.name for group in Group.select()}


class Freezing(MySQLCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.own = OwnMariaDB()
        self.addCleanup(self.own.remove)
        await self.own.start()
        self.database: Database = await self.open(self.own.url)
        # However slow the machine is, all that wait are taken up together.
        self.patch(transactions, "LONGEST_TOGETHER", 60.0)
        self.safe = {f"safe {number}" for number in range(MANY)}
        await gatherResults([self.database.run(add, name) for name in self.safe])

    def freeze(self) -> None:
        """Let it stand still, and wait until each of its threads does."""
        assert self.own.server.pid is not None
        os.kill(self.own.server.pid, signal.SIGSTOP)
        threads = Path(f"/proc/{self.own.server.pid}/task")
        while any(
            (thread / "stat").read_text().rpartition(") ")[2][0] != "T"
            for thread in threads.iterdir()
        ):
            os.sched_yield()

    def thaw(self) -> None:
        assert self.own.server.pid is not None
        os.kill(self.own.server.pid, signal.SIGCONT)

    async def all_refused(self, *rules: Callable[[], Any]) -> None:
        """Each of these is refused in time, and so is whoever comes a little later."""
        timed = [Deferred.fromCoroutine(self.timed(self.database.run(rule))) for rule in rules]
        for result, seconds in await gatherResults(timed):
            self.assertIsInstance(result, Unavailable)
            self.assertLess(seconds, AT_ONCE)
        await self.unavailable(self.database, MANY)
        self.assertFalse(self.database.available)

    async def goes_on(self) -> set[str]:
        """What is stored beside what is safe when service has returned."""
        self.thaw()
        self.assertLess(await self.until_served(self.database), AT_ONCE)
        await self.database.run(add, "after")
        found: set[str] = await self.database.run(names)
        self.assertLessEqual(self.safe | {"after"}, found)
        self.assertEqual(await self.database.run(count), len(found))
        return found - self.safe - {"after"}

    def adding(self, number: int) -> Callable[[], Any]:
        return lambda: add(f"unsafe {number}")

    async def test_between_two_statements(self) -> None:
        """Nothing is stored of what was to be committed together."""

        def freeze() -> None:
            add("frozen")
            self.freeze()
            add("never")

        rules = [self.adding(number) for number in range(MANY)]
        await self.all_refused(*rules[: MANY // 2], freeze, *rules[MANY // 2 :])
        self.assertEqual(await self.goes_on(), set())

    async def test_at_the_commit(self) -> None:
        """All is stored, or nothing: nobody was told which."""
        commit = self.database.peewee.commit

        def freeze_and_commit() -> None:
            patched.restore()
            self.freeze()
            commit()

        patched = self.patch(self.database.peewee, "commit", freeze_and_commit)
        await self.all_refused(*[self.adding(number) for number in range(MANY)])
        self.assertIn(len(await self.goes_on()), (0, MANY))
