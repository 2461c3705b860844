"""What happens while the disk of an SQLite database is nearly full."""

from __future__ import annotations

import os
import sqlite3
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.errors import DiskFull
from bbs.core.values import DiskState
from bbs.daemons.daemon import DISK_INTERVAL, DiskWatch, disk_space
from bbs.storage.database import Database, DiskSpace
from bbs.testing.database_suite import raised
from bbs.testing.threads import Inline

MIB = 2**20


class Watching(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.database = Database("sqlite:///:memory:", Inline(), self.clock)
        self.addCleanup(self.database.close)
        self.free, self.whole = 1000 * MIB, 10_000 * MIB

    def watch(self, floor: int | str) -> None:
        def in_thread(work: Any, *arguments: Any) -> Deferred[Any]:
            return maybeDeferred(work, *arguments)

        watch = DiskWatch(self.database, "/x/y", floor, self.clock, in_thread, self.space)
        watch.startService()
        self.addCleanup(watch.stopService)

    def space(self, path: str) -> tuple[int, int]:
        self.assertEqual(path, "/x/y")
        if self.free < 0:
            raise FileNotFoundError(path)
        return self.free, self.whole

    def is_low(self, free: int) -> bool:
        """Whether texts are refused a moment after so many bytes are free."""
        self.free = free
        self.clock.advance(DISK_INTERVAL)
        is_low: bool = self.database.disk_is_low
        self.assertIs(self.database.disk, DiskState.LOW if is_low else DiskState.FREE)
        return is_low

    def test_by_default_256_mib_stay_free(self) -> None:
        self.watch("auto")
        found = [self.is_low(free) for free in (256 * MIB, 256 * MIB - 1, 0, 256 * MIB)]
        self.assertEqual(found, [False, True, True, False])

    def test_what_is_free_is_known(self) -> None:
        self.assertIsNone(self.database.space)
        self.watch("auto")
        self.is_low(300 * MIB)
        seen = DiskSpace(300 * MIB, 256 * MIB, 10_000 * MIB)
        self.assertEqual(self.database.space, seen)
        self.is_low(-1)
        self.assertEqual(self.database.space, seen)

    def test_a_small_disk(self) -> None:
        self.whole = 64 * MIB
        self.watch("auto")
        self.assertEqual([self.is_low(4 * MIB), self.is_low(4 * MIB - 1)], [False, True])

    def test_what_the_database_does_not_use(self) -> None:
        """Who deletes makes room, though the file stays as long; the disk must have some, too."""
        sqlite: Any = self.database.peewee
        sqlite.execute_sql("CREATE TABLE thing (text)")
        sqlite.execute_sql("INSERT INTO thing VALUES (?)", ["x" * 5000])
        self.watch(20_000)
        self.assertTrue(self.is_low(19_999))
        sqlite.execute_sql("INSERT INTO thing VALUES (?)", ["x" * 20_000])
        self.assertTrue(self.is_low(19_999))
        sqlite.execute_sql("DELETE FROM thing")
        self.assertFalse(self.is_low(5_000))
        self.assertTrue(self.is_low(4_999))

    def test_as_operators_say(self) -> None:
        self.watch(100)
        self.assertEqual([self.is_low(100), self.is_low(99)], [False, True])

    def test_never(self) -> None:
        self.watch(0)
        self.assertFalse(self.is_low(0))

    def test_a_disk_that_does_not_say(self) -> None:
        self.watch("auto")
        self.assertTrue(self.is_low(0))
        self.assertTrue(self.is_low(-1))
        self.assertFalse(self.is_low(300 * MIB))

    def test_the_log_says_it_once_a_minute(self) -> None:
        with capturedLogs() as events:
            self.free = 3 * MIB
            self.watch("auto")
            for _ in range(50):
                self.is_low(3 * MIB)
            self.is_low(300 * MIB)
        said = [formatEvent(event) for event in events]
        low = (
            "the disk is nearly full, and what people write is refused: 3 MiB are free on the disk"
            " of /x/y, and 256 MiB have to be. Delete old backups or other files on it, or enlarge"
            " it."
        )
        self.assertEqual(said, [low, low, "the disk has room again: 300 MiB"])

    def test_without_any_room(self) -> None:
        """As soon as a write fails, whatever was logged just before."""

        def write() -> None:
            full = sqlite3.OperationalError("database or disk is full")
            full.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise raised(full)

        with capturedLogs() as events:
            self.free = MIB
            self.watch("auto")
            self.failureResultOf(self.database.run(write), DiskFull)
            self.clock.advance(DISK_INTERVAL)
            self.assertIs(self.database.disk, DiskState.FULL)
            self.clock.advance(DISK_INTERVAL)
            self.assertFalse(self.is_low(300 * MIB))
        said = [formatEvent(event) for event in events]
        full = (
            "the disk is full, and nothing can be stored: nobody can log in or write: 1 MiB"
            " are free on the disk of /x/y, and 256 MiB have to be. Delete old backups or other"
            " files on it, or enlarge it."
        )
        self.assertEqual(
            [line for line in said if line.startswith("the disk")][1:],
            [full, "the disk has room again: 300 MiB"],
        )

    def test_a_real_disk(self) -> None:
        free, whole = disk_space(os.path.abspath(os.curdir))
        self.assertTrue(0 < free <= whole)
