"""Whose turn it is to write to an SQLite file, among real processes."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from typing import Any, cast

import peewee
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock, deferLater
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from bbs.core.clock import IReactor
from bbs.core.errors import Unavailable
from bbs.core.threads import Workers
from bbs.storage import transactions
from bbs.storage.database import Database, read_only
from bbs.storage.engines import connect_to
from bbs.storage.schema import create_table
from bbs.storage.sqlite import WriterLock
from bbs.testing.database_suite import ContractEntry
from bbs.testing.threads import Inline
from tests.database_case import sqlite_url
from tests.storage.processes import PATIENCE
from tests.storage.turn_taker import TurnTaker, count

STOPPED = float(os.environ.get("BBS_TEST_STOPPED", "1"))
"""Seconds in which others ask while a process stands still that has the turn; it does until all of
them have their answers. `make soak` takes more."""

PAUSE = 0.1
"""Seconds between two calls."""


class TurnsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.file = sqlite_url(self.mktemp()).removeprefix("sqlite:///")
        self.told: list[str] = []
        observe: Any = self._observe
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def _observe(self, event: Any) -> None:
        line = formatEvent(event)
        if "turns" in line:
            self.told.append(line)

    def turn(self) -> WriterLock:
        turn = WriterLock(self.file)
        self.addCleanup(turn.give_back)
        return turn

    def other(self) -> TurnTaker:
        """Another process."""
        other = TurnTaker(self.file)
        self.addCleanup(other.kill)
        return other

    def opened(self) -> Database:
        """The database, with a table."""
        database = Database(f"sqlite:///{self.file}", Inline(), Clock())
        self.addCleanup(database.close)
        database.peewee.connect(reuse_if_open=True)
        create_table(database.peewee, ContractEntry)
        return database

    def adds(self, database: Database, *names: str) -> None:
        for name in names:
            self.successResultOf(database.run(ContractEntry.insert(name=name).execute))
        self.assertEqual(
            ContractEntry.select().where(ContractEntry.name.in_(names)).count(), len(names)
        )


class Turns(TurnsCase):
    """One has the turn, others wait for it."""

    def test_processes_exclude_each_other(self) -> None:
        with open(f"{self.file}-count", "w") as counter:
            counter.write("0")
        others = [self.other() for _ in range(2)]
        for other in others:
            other.does("take")
            other.does("give-back")
        for other in others:
            other.tell("count 300")
        count(self.file, 300, self.turn())
        for other in others:
            other.has_done("count 300")
        with open(f"{self.file}-count") as counter:
            self.assertEqual(counter.read(), "900")

    def test_a_turn_is_waited_for(self) -> None:
        other, turn = self.other(), self.turn()
        other.does("take")
        self.assertFalse(turn.take(0.01))
        other.does("give-back")
        self.assertTrue(turn.take(PATIENCE))
        other.tell("take")
        turn.give_back()
        other.has_done("take")
        self.assertFalse(turn.take(0.01))

    def test_connections_of_one_process_exclude_each_other(self) -> None:
        one, other = self.turn(), self.turn()
        self.assertTrue(one.take(0))
        self.assertTrue(one.take(0), "it has it")
        self.assertFalse(other.take(0.01))
        one.give_back()
        one.give_back()
        self.assertTrue(other.take(PATIENCE))

    def test_who_is_killed_has_it_no_more(self) -> None:
        """Whether somebody waits at that moment or comes later."""
        for waits in (True, False):
            other, turn = self.other(), self.turn()
            other.does("take")
            if waits:
                self.assertFalse(turn.take(0.01))
            other.kill()
            self.assertTrue(turn.take(PATIENCE))
            turn.give_back()

    def test_who_waited_too_long_does_not_keep_it(self) -> None:
        """A turn that comes when nobody waits any more is there for others."""
        other, turn, third = self.other(), self.turn(), self.turn()
        other.does("take")
        self.assertFalse(turn.take(0.01))
        other.does("give-back")
        self.assertTrue(third.take(PATIENCE))
        self.assertFalse(turn.take(0.01))

    def test_who_waits_again_and_again(self) -> None:
        """However often that is, it costs a thread and a file at most, and they come back."""
        if not os.path.isdir("/proc/self/fd"):
            raise SkipTest("this system does not say which files are open")
        other, turn = self.other(), self.turn()
        other.does("take")
        threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            self.assertFalse(turn.take(0.001))
        self.assertLessEqual(threading.active_count(), threads + 1)
        self.assertLessEqual(len(os.listdir("/proc/self/fd")), files + 1)
        other.does("give-back")
        for thread in threading.enumerate():
            if thread.name == "turn":
                thread.join(PATIENCE)
        self.assertEqual(threading.active_count(), threads)
        self.assertEqual(len(os.listdir("/proc/self/fd")), files)
        self.assertTrue(turn.take(0))

    def test_nobody_else_may_read_the_file(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.turn().take(0)
        self.assertEqual(os.stat(f"{self.file}-turn").st_mode & 0o777, 0o600)

    def test_children_do_not_inherit_it(self) -> None:
        """Otherwise they would have the turn as long as they live."""
        turn, other = self.turn(), self.turn()
        turn.take(0)
        child = subprocess.Popen(
            [sys.executable, "-c", "print(flush=True); input()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            close_fds=False,
        )
        self.addCleanup(child.communicate, b"\n")
        assert child.stdout
        child.stdout.readline()
        turn.give_back()
        self.assertTrue(other.take(0))


class WithoutTurns(TurnsCase):
    """Where there are none, SQLite's own lock is what there is."""

    def test_a_file_system_without_locks(self) -> None:
        """It is told once, and everything goes on."""

        def flock(descriptor: int, operation: int) -> None:
            tried.append(operation)
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        tried: list[int] = []
        self.patch(fcntl, "flock", flock)
        files = len(os.listdir("/proc/self/fd"))
        self.adds(self.opened(), "one", "two")
        self.assertEqual(len(self.told), 1)
        self.assertIn("writers take no turns: ", self.told[0])
        self.assertEqual(len(tried), 1)
        self.assertTrue(self.turn().take(0))
        self.assertLessEqual(len(os.listdir("/proc/self/fd")), files + 3)  # SQLite's own

    def test_a_file_that_cannot_be_opened(self) -> None:
        os.mkdir(f"{self.file}-turn")
        self.adds(self.opened(), "one", "two")
        self.assertEqual(len(self.told), 1)

    def test_a_file_system_that_is_only_read(self) -> None:
        def read_only(*arguments: object) -> int:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        self.patch(os, "open", read_only)
        self.assertTrue(self.turn().take(0))
        self.assertEqual(len(self.told), 1)

    def test_too_many_open_files(self) -> None:
        """That passes, and then there are turns."""

        def no_more(*arguments: object) -> int:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        turn = self.turn()
        patched = self.patch(os, "open", no_more)
        self.assertTrue(turn.take(0))
        patched.restore()
        self.assertEqual(self.told, [])
        self.assertTrue(turn.take(0))
        self.assertFalse(self.turn().take(0.01))

    def test_what_nobody_shares(self) -> None:
        before = set(os.listdir("."))
        database: Any = connect_to("sqlite:///:memory:")
        database.connect()
        self.addCleanup(database.close)
        database.begin()
        database.commit()
        self.assertEqual(set(os.listdir(".")), before)

    def test_they_are_given_back(self) -> None:
        """By whatever ends a transaction."""
        database: Any = self.opened().peewee
        turn = self.turn()
        for end in (database.commit, database.rollback, database.close):
            database.connect(reuse_if_open=True)
            database.begin()
            self.assertFalse(turn.take(0.01))
            end()
            self.assertTrue(turn.take(PATIENCE))
            turn.give_back()

    def test_who_only_reads_takes_none(self) -> None:
        database = self.opened()
        other = self.other()
        other.does("take")
        self.successResultOf(database.run(read_only(lambda: ContractEntry.select().count())))


class Stopped(TestCase):
    """A process that stands still in the middle of a transaction, on a database of real threads."""

    timeout = 60 + 2 * STOPPED

    def setUp(self) -> None:
        url = sqlite_url(self.mktemp())
        self.workers = Workers(cast("IReactor", reactor), "test", 1)
        self.workers.startService()
        self.database = Database(url, self.workers, reactor)
        with self.database.peewee.connection_context():
            self.database.peewee.execute_sql("PRAGMA journal_mode = wal")
            create_table(self.database.peewee, ContractEntry)
        self.other = TurnTaker(url.removeprefix("sqlite:///"))
        self.addCleanup(self.workers.stopService)
        self.addCleanup(self.other.kill)

    def add(self, name: str) -> Deferred[Any]:
        return self.database.run(lambda: ContractEntry.insert(name=name).execute())

    def names(self) -> Deferred[list[str]]:
        return self.database.run(
            read_only(
                lambda: [entry.name for entry in ContractEntry.select().order_by(peewee.SQL("id"))]
            )
        )

    def refused(self, name: str) -> Deferred[Any]:
        refused: Deferred[Any] = self.assertFailure(self.add(name), Unavailable)
        return refused

    async def test_others_have_their_answers(self) -> None:
        """Writers are refused and readers are served, as long as it lasts; then all goes on. What
        was refused is not stored."""
        self.patch(transactions, "OTHERS", 0.0)  # Else it might be a slow rule.
        await self.add("before")
        self.other.does("begin")
        self.other.stop()
        clock: Any = reactor
        until = clock.seconds() + STOPPED
        writing: list[Deferred[Any]] = []
        while clock.seconds() < until:
            writing.append(self.refused(f"no {len(writing)}"))
            self.assertEqual(await self.names(), ["before"])
            await deferLater(clock, PAUSE)
        await gatherResults(writing, consumeErrors=True)
        self.assertFalse(self.database.available)
        self.other.go_on()
        self.other.does("commit")
        await self.add("after")
        self.assertTrue(self.database.available)
        self.assertEqual(await self.names(), ["before", "theirs", "after"])

    async def test_it_is_killed_instead(self) -> None:
        """Nothing of what it did not commit is there."""
        await self.add("before")
        self.other.does("begin")
        self.other.stop()
        await self.refused("no")
        self.other.kill()
        await self.add("after")
        self.assertEqual(await self.names(), ["before", "after"])
