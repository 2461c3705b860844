"""SQLite, where the processes of one machine take turns to write, and threads empty the WAL.

In SQLite a writer that finds the database locked sleeps and tries again, so the one that waits
longest may wait again, up to its time-out. An `flock` on a file next to the database is granted as
soon as it is free, and the kernel releases it when its holder dies. Measured with ten processes
that write: the longest wait fell from 33 to 7 ms, and from 105 to 6 ms for the longer writes to a
group of eight.

Commits append to the WAL, and a checkpoint copies its pages into the database file. SQLite makes
one inside the commit that finds a thousand pages there, about every 210 messages, and whoever waits
for this commit waits for two syncs of the disk and the copying. A thread makes it instead.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing, suppress
from functools import cached_property
from threading import Event, Lock, Thread
from typing import Any
from urllib.parse import quote

import peewee
from twisted.logger import Logger

from bbs.storage.transaction_guard import EXCEPTIONS, TransactionGuard

try:
    import fcntl
except ImportError:  # Not a POSIX system.
    fcntl = None  # type: ignore[assignment]

WAL_SIZE = 4 << 20  # Bytes of the WAL from which on it is copied into the database.
WAL_GROWTH = 1 << 20
"""More bytes after which that is tried again, for example if a reader was late."""

COMMITS = 8  # Commits between looks at the size of the WAL: each lets other threads go first.

WAL_PRAGMAS = {
    # Whoever lets the WAL begin anew cuts it to this size: so its size shows what it has.
    "journal_size_limit": WAL_SIZE,
    # Pages of 4 KiB at which a commit makes the checkpoint, if threads were too slow or none ran.
    "wal_autocheckpoint": 4000,
}
"""Settings of each connection for `Checkpointer`."""

_log = Logger()


class _TurnTaking(peewee.SqliteDatabase):
    """Locks the database for writing when a transaction begins. To lock it at the first write would
    fail if two transactions have read and then both write."""

    def __init__(self, database: str, **options: Any) -> None:
        file = database if database not in ("", ":memory:") else None
        self._thread = _ThreadState(file)
        self._checkpointer = Checkpointer(file) if file else None
        super().__init__(database, **options)

    def begin(self, lock_type: str | None = None) -> None:
        if not self._thread.lock.take(self.timeout):
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            with EXCEPTIONS:
                raise error
        try:
            super().begin(lock_type or "IMMEDIATE")
        except BaseException:
            self._thread.lock.give_back()
            raise

    def begin_reading(self) -> None:
        """Begin a transaction that only reads, and so does not wait for writers."""
        super().begin("DEFERRED")

    def end_reading(self) -> None:
        """End such a transaction."""
        super().commit()

    def commit(self) -> None:
        super().commit()
        self._thread.lock.give_back()
        if self._checkpointer:
            self._checkpointer.note_commit()

    def rollback(self) -> None:
        try:
            super().rollback()
        finally:
            self._thread.lock.give_back()

    def take_turn(self) -> None:
        """Wait for the lock, without limit; not on the main thread, which must not block."""
        if threading.current_thread() is not threading.main_thread():
            self._thread.lock.take(None)

    def _close(self, connection: Any) -> None:
        super()._close(connection)  # type: ignore[misc]
        self._thread.lock.give_back()


class SqliteDatabase(TransactionGuard, _TurnTaking):
    """SQLite, by the standard library's driver."""

    driver = f"SQLite {sqlite3.sqlite_version}"

    def carry_out(self, sql: str, values: Sequence[Any], writes: bool) -> Any:
        """Execute a statement; returns the cursor with the whole result."""
        if self.query_hooks:
            return super().carry_out(sql, values, writes)
        if writes:
            self.note_change()
        connection: Any = self._state.conn  # type: ignore[attr-defined]
        activity = self.state.activity
        activity.waits_since = self.clock()  # As `with activity`, but with fewer calls.
        try:
            return connection.execute(sql, values)
        except Exception:
            with EXCEPTIONS:
                raise
        finally:
            activity.waits_since = None

    def carry_out_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Execute a change for each row of values."""
        self.note_change()
        connection: Any = self._state.conn  # type: ignore[attr-defined]
        with EXCEPTIONS, self.state.activity:
            connection.executemany(sql, rows)


_unlockable: set[str | None] = set()  # Files that cannot be locked, as logged.
_TRANSIENT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT)


class _ThreadState(threading.local):
    def __init__(self, file: str | None) -> None:
        self.lock = WriterLock(file)


class WriterLock:
    """The lock of one connection for writing to the database `file`; None if it is not shared.
    Without such locks, as on some network file systems, only SQLite's own time-out remains."""

    def __init__(self, file: str | None) -> None:
        self._path = f"{file}-turn" if file and fcntl else None
        self._descriptor: int | None = None
        self._waiting: _LockWaiter | None = None

    def take(self, patience: float | None) -> bool:
        """Wait for the lock, at most `patience` seconds, or without limit; False if not granted."""
        if self._path is None or self._path in _unlockable or self._descriptor is not None:
            return True
        if self._waiting is None or not self._waiting.resume():
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            except OSError as error:
                return self._do_without(error)
            try:
                at_once = 0 if patience is None else fcntl.LOCK_NB
                fcntl.flock(descriptor, fcntl.LOCK_EX | at_once)
            except BlockingIOError:
                self._waiting = _LockWaiter(descriptor)
            except OSError as error:
                os.close(descriptor)
                return self._do_without(error)
            else:
                self._descriptor = descriptor
                return True
        self._descriptor = self._waiting.wait(patience)
        if self._descriptor is None:
            return False
        self._waiting = None
        return True

    def _do_without(self, error: OSError) -> bool:
        if error.errno not in _TRANSIENT and self._path not in _unlockable:
            _unlockable.add(self._path)
            _log.warn("writers take no turns: {error}", error=str(error))
        return True

    def give_back(self) -> None:
        """Release the lock, if it is held."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


class _LockWaiter:
    """A thread that waits for the lock of `descriptor`, without limit: a connection that comes
    again after a time-out finds it still waiting. An unwanted lock is released."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._ended = Event()
        self._deciding = Lock()
        self._wanted = True
        Thread(target=self._lock_file, name="turn", daemon=True).start()

    def _lock_file(self) -> None:
        with suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        with self._deciding:
            self._ended.set()
            if not self._wanted:
                os.close(self._descriptor)

    def resume(self) -> bool:
        """Want the lock again; False if it was granted meanwhile, and released."""
        with self._deciding:
            self._wanted = not self._ended.is_set()
            return self._wanted

    def wait(self, patience: float | None) -> int | None:
        """Return the descriptor, if the lock was granted in time."""
        self._ended.wait(patience)
        with self._deciding:
            self._wanted = self._ended.is_set()
            return self._descriptor if self._wanted else None


class Checkpointer:
    """Makes the checkpoints of the database `file`, each on a thread that ends with it.

    A connection that lasts would have to be closed before the last one of the process, and a thread
    that lasts would have to be ended. Other processes may do the same: SQLite lets one at a time.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._turn = WriterLock(file)
        self._commits = 0
        self._done = 0  # The size of the WAL at the last checkpoint.
        self._running = Lock()

    @cached_property
    def _path(self) -> str:
        return os.path.realpath(self._file)  # SQLite puts the WAL next to this one.

    def note_commit(self) -> None:
        """Begin a checkpoint, if it is time. The commit has succeeded, whatever happens here."""
        self._commits += 1
        if self._commits % COMMITS:
            return
        try:
            size = os.stat(f"{self._path}-wal").st_size
        except OSError:
            return  # The database is not in WAL mode yet, or its file has been removed.
        if size < self._done:
            self._done = 0  # The WAL has begun anew.
        due = size > WAL_SIZE and size - self._done >= WAL_GROWTH
        if due and self._running.acquire(blocking=False):
            self._done = size
            try:
                Thread(target=self._run, name="checkpoint", daemon=True).start()
            except RuntimeError as error:  # There are too many threads, or the process ends.
                self._running.release()
                _log.debug("no thread for a checkpoint: {error}", error=str(error))

    def _run(self) -> None:
        uri = f"file:{quote(self._path)}?mode=rw"  # A file that was removed is not made again.
        try:
            with closing(
                sqlite3.connect(uri, uri=True, isolation_level=None, timeout=0)
            ) as connection:
                connection.execute("PRAGMA synchronous = normal")
                if _checkpoint(connection):
                    # Copy what was written meanwhile while nobody writes: otherwise a WAL that is
                    # always written to never begins anew.
                    self._turn.take(None)
                    try:
                        _checkpoint(connection)
                    finally:
                        self._turn.give_back()
        except sqlite3.Error as error:
            # The disk is full, or the file is gone: commits report that.
            _log.debug("a checkpoint failed: {error}", error=str(error))
        finally:
            self._running.release()


def _checkpoint(connection: sqlite3.Connection) -> bool:
    """Copy what the WAL has into the database; False if a reader still needs the old pages, or
    another process makes a checkpoint. Nobody waits for it."""
    busy, pages, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return not busy and pages == copied
