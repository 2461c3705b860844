"""The WAL of an SQLite file: it is copied into the database beside the commits, and stays small."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from contextlib import closing
from multiprocessing.connection import Connection
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs.storage.engines import connect_to
from bbs.storage.sqlite import WAL_PRAGMAS, WAL_SIZE
from tests.database_case import sqlite_url
from tests.storage.processes import PATIENCE, Beside

MIB = 1 << 20
TEXT = "x" * 3000  # One takes most of a page.
BY_COMMITS = WAL_PRAGMAS["wal_autocheckpoint"] * 4096
"""Bytes of the WAL at which a commit itself makes a checkpoint: below that a thread has."""


class CheckpointsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.url = sqlite_url(self.mktemp())
        self.file = self.url.removeprefix("sqlite:///")
        self.database = open_database(self.url)
        self.addCleanup(self.wait)  # The threads of a test end with it.
        self.addCleanup(self.database.close)
        self.database.execute_sql("CREATE TABLE line (id INTEGER PRIMARY KEY, text TEXT)")

    def write(self, mib: int) -> int:
        """Write about as much, in commits of four pages, and wait for each checkpoint that begins;
        returns the largest size of the WAL."""
        largest = 0
        for _ in range(mib * MIB // 4 // 4096):
            commit(self.database, 4)
            largest = max(largest, self.wal_size())
            self.wait()
        return largest

    def wait(self) -> None:
        for each in threading.enumerate():
            if each.name == "checkpoint":
                each.join(PATIENCE)

    def wal_size(self) -> int:
        return os.stat(f"{self.file}-wal").st_size

    def count(self) -> int:
        """The lines in the file, as another process finds them."""
        with closing(sqlite3.connect(self.file)) as other:
            [(found,)] = other.execute("SELECT COUNT(*) FROM line").fetchall()
            return int(found)


class Checkpoints(CheckpointsCase):
    def test_the_log_stays_small_under_writes(self) -> None:
        largest = self.write(24)
        self.assertGreater(largest, WAL_SIZE)
        self.assertLess(largest, WAL_SIZE + MIB)
        self.assertGreater(os.stat(self.file).st_size, 16 * MIB)
        self.assertEqual(self.count(), 24 * MIB // 4096)

    def test_while_somebody_writes_all_the_time(self) -> None:
        """Nobody waits for the threads, and something is written during each checkpoint. The log
        begins anew all the same."""
        largest = 0
        for _ in range(1500):
            commit(self.database, 4)
            largest = max(largest, self.wal_size())
            hashlib.pbkdf2_hmac("sha256", b"", b"", 1500)  # A millisecond, in which threads run.
        self.assertLess(largest, BY_COMMITS * 2 // 3)
        self.assertEqual(self.count(), 6000)

    def test_several_servers_on_one_file(self) -> None:
        others = [open_database(self.url) for _ in range(3)]
        for each in others:
            self.addCleanup(each.close)
        for _ in range(3):
            self.assertLess(self.write(2), WAL_SIZE + MIB)
            for each in others:
                for _ in range(MIB // 4 // 4096):
                    commit(each, 4)
                    self.wait()
        self.assertEqual(self.count(), 15 * MIB // 4096)

    def test_a_reader_keeps_it_and_hinders_nobody(self) -> None:
        self.write(1)
        with closing(sqlite3.connect(self.file, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            before = reader.execute("SELECT COUNT(*) FROM line").fetchall()
            self.assertGreater(self.write(9), 8 * MIB)
            self.assertEqual(reader.execute("SELECT COUNT(*) FROM line").fetchall(), before)
        self.write(3)
        self.assertLess(self.write(1), WAL_SIZE + MIB)
        self.assertEqual(self.count(), 14 * MIB // 4096)

    def test_a_file_that_was_removed_is_not_made_again(self) -> None:
        os.unlink(self.file)
        self.write(8)
        self.assertFalse(os.path.exists(self.file))

    def test_a_link_to_the_file(self) -> None:
        """SQLite has the log beside the file that it leads to."""
        self.database.close()
        link = f"{self.file}-link"
        os.symlink(self.file, link)
        self.database = open_database(f"sqlite:///{link}")
        self.assertLess(self.write(12), WAL_SIZE + MIB)

    def test_without_a_thread_commits_go_on(self) -> None:
        begin = threading.Thread.start

        def refuse(thread: threading.Thread) -> None:
            if thread.name == "checkpoint":
                raise RuntimeError("can't start new thread")
            begin(thread)

        self.patch(threading.Thread, "start", refuse)
        largest = self.write(20)
        self.assertGreater(largest, 12 * MIB)
        self.assertLess(largest, 17 * MIB)
        self.patch(threading.Thread, "start", begin)
        self.write(1)
        self.assertLess(self.write(4), WAL_SIZE + MIB)

    def test_nothing_is_left_beside_a_closed_file(self) -> None:
        self.write(9)
        self.database.close()
        self.assertFalse(os.path.exists(f"{self.file}-wal"))
        self.assertEqual(self.count(), 9 * MIB // 4096)


class Killed(CheckpointsCase):
    def test_whatever_was_committed_is_there(self) -> None:
        """Processes are killed after some checkpoints or in the midst of one, each a little later
        than the one before. Nobody else has the file open: whoever comes next recovers it."""
        self.database.close()
        for number in range(5):
            before = self.count()
            other = Beside(_commit_until_the_end, self.url)
            self.addCleanup(other.kill)
            committed = 0
            while committed < 1100 + 50 * number:
                said = other.says()
                assert isinstance(said, int), said
                committed = said
            other.kill()
            while isinstance(said := other.says(0.0), int):
                committed = said
            # One more may have been committed, and not been said.
            self.assertIn(self.count() - before, (committed, committed + 1))
            with closing(sqlite3.connect(self.file)) as database:
                found = database.execute("PRAGMA integrity_check").fetchall()
            self.assertEqual(found, [("ok",)])


def open_database(url: str) -> Any:
    database: Any = connect_to(url)
    database.connect()
    database.pragma("journal_mode", "wal")  # As migrations do.
    return database


def commit(database: Any, lines: int) -> None:
    database.begin()
    for _ in range(lines):
        database.carry_out("INSERT INTO line (text) VALUES (?)", (TEXT,), True)
    database.commit()


def _commit_until_the_end(url: str, test: Connection) -> None:
    """Commit line by line, and say how many it were."""
    database = open_database(url)
    number = 0
    while True:
        commit(database, 1)
        number += 1
        test.send(number)
