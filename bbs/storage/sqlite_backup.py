"""Backups of an SQLite database: how one is made while servers write, and what must hold before one
takes the database's place.

SQLite's backup begins anew whenever somebody else has written, and so comes to no end where there
is always somebody (measured: none within the 10 s for which 1,000 transactions a second went on,
240 MB). Within a transaction that reads it has one moment before it, whatever is written meanwhile:
1.1 s, and the writers' p99 stayed below half a millisecond.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from urllib.parse import quote

PAGES = 256
"""Pages (of 4 KiB) that are copied in one step; an interruption is heard between two."""

PAUSE = 0.001
"""Seconds between two steps, in which whoever serves people has the disk."""

SYNC_EVERY = 16
"""Steps after which the disk is to have what was copied, 16 MiB: all of it at the end would be a
burst, behind which the commits of servers wait."""

NICENESS = 15
"""By how much whoever copies stands back for whoever serves people (nice(2))."""

BESIDE = ("-wal", "-shm", "-journal")
"""The files that SQLite puts beside a database, by the ends of their names."""

TURN = "-turn"
"""The end of the name of the file by which writers take turns (`bbs.storage.sqlite`)."""

PATIENCE = 5.0
"""Seconds for which a database is waited for that a server has just begun to set right."""


class CopyRefused(Exception):
    """A copy cannot be made, for a reason in one line."""


class NoDatabase(CopyRefused):
    """The file to copy is not a database."""


@contextmanager
def part_of(path: str) -> Iterator[str]:
    """The path of a new and empty file beside `path`, for its owner alone; it is gone at the end,
    unless `put` has made it what it is for.

    :raises CopyRefused: it cannot be written, or another such command is writing it.
    """
    part = f"{path}.part"
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(part, flags, 0o600)
    except OSError as error:
        raise cannot_write(part, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CopyRefused(f"{part}: somebody is writing it already") from error
        if os.fstat(descriptor).st_uid != os.geteuid():
            # Whoever put it there, in /tmp for one, may have it open, and would read along.
            raise CopyRefused(f"{part} is somebody else's")
        try:
            # A command that was killed may have left something.
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, 0)
            yield part
        except OSError as error:
            raise cannot_write(part, error) from error
        finally:
            for left in (part, *(part + end for end in (*BESIDE, TURN))):
                with suppress(OSError):
                    os.unlink(left)
    finally:
        os.close(descriptor)


def put(part: str, path: str, *, over: bool) -> None:
    """Make `part` be `path`, whole and lasting; `over` what is there.

    :raises CopyRefused: something is there, and it is not to be replaced.
    """
    _sync(part)
    if over:
        os.replace(part, path)
    else:
        try:
            os.link(part, path)  # As no renaming would, it fails where there is something.
        except FileExistsError as error:
            raise exists(path) from error
        except OSError:  # A disk that knows no links.
            if os.path.lexists(path):
                raise exists(path) from None
            os.replace(part, path)
    _sync(os.path.dirname(path) or ".")


def copy(source: str, target: str) -> None:
    """Copy the database in the file `source` into the empty file `target`, as it is at one moment.

    :raises CopyRefused: `source` is not a database, or there is no room for it.
    """
    where = source
    # SQLite's locks on a file go when any descriptor of it is closed: so this one goes last.
    written = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    steps = count(1)

    def pause(status: int, remaining: int, total: int) -> None:
        if next(steps) % SYNC_EVERY == 0:
            os.fdatasync(written)
        time.sleep(PAUSE)

    try:
        with closing(_open(source)) as there, closing(_open(target)) as here:
            here.execute("PRAGMA journal_mode = off")
            here.execute("PRAGMA synchronous = off")
            there.execute("BEGIN")
            there.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            where = target
            there.backup(here, pages=PAGES, progress=pause)
    except sqlite3.Error as error:
        raise _refusal(where, error) from error
    finally:
        os.close(written)


def check(path: str) -> None:
    """Look at a database that nobody else has open.

    :raises CopyRefused: it is damaged, or none.
    """
    try:
        with closing(_open(path)) as database:
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise _refusal(path, error) from error
    if found != "ok":
        raise CopyRefused(f"{path}: damaged: {' '.join(str(found).split())[:200]}")


def check_alone(path: str) -> None:
    """See that nobody has the database `path` open, if there is one.

    :raises CopyRefused: somebody has, on this machine.
    """
    if not os.path.exists(path):
        return
    try:
        with closing(_open(path, 0.0)) as database:
            # SQLite leaves WAL only for who is alone, and puts what it had beside into the file.
            database.execute("PRAGMA journal_mode = delete")
            database.execute("BEGIN EXCLUSIVE")
            database.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise CopyRefused(f"servers run on {path}: stop them first") from error
        raise _refusal(path, error) from error
    except sqlite3.DatabaseError:
        pass  # What is there is damaged.


def make_way(path: str) -> None:
    """See that another database can come in the place of `path`: nobody has that open, and nothing
    is left beside it, which would be taken for the other's.

    :raises CopyRefused: somebody has it open.
    """
    check_alone(path)
    for end in BESIDE:
        with suppress(FileNotFoundError):
            os.unlink(path + end)


def is_same(one: str, other: str) -> bool:
    """Whether both are one file."""
    return os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)


def url_of(path: str) -> str:
    """The URL of the database in a file."""
    return f"sqlite:///{quote(os.path.abspath(path))}"


def exists(path: str) -> CopyRefused:
    """The refusal to write over what is at `path`."""
    return CopyRefused(f"{path} exists: --force replaces it")


def cannot_write(path: str, error: OSError) -> CopyRefused:
    """The refusal for a file that cannot be written."""
    return CopyRefused(f"cannot write {path}: {error.strerror}")


def _open(path: str, patience: float = PATIENCE) -> sqlite3.Connection:
    # A copy that lies on what nobody can write is read as it is, if nothing is beside it.
    alone = not os.access(os.path.dirname(path) or ".", os.W_OK) and not os.path.exists(
        path + "-wal"
    )
    how = "mode=ro&immutable=1" if alone else "mode=rw"
    uri = f"file:{quote(os.path.abspath(path))}?{how}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=patience)


def _code(error: sqlite3.Error) -> int:
    """The kind of it: SQLite's extended codes have it in their lowest byte."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF


def _refusal(path: str, error: sqlite3.Error) -> CopyRefused:
    code = _code(error)
    if code == sqlite3.SQLITE_FULL:
        return CopyRefused(f"cannot write {path}: {os.strerror(errno.ENOSPC)}")
    if code == sqlite3.SQLITE_NOTADB:
        return NoDatabase(f"{path}: not a database")
    if code == sqlite3.SQLITE_CORRUPT:
        return CopyRefused(f"{path}: damaged")
    return CopyRefused(f"{path}: {error}")


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
