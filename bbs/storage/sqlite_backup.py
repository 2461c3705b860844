"""Backups of an SQLite database: how to make one while servers write, and the checks before one
replaces the database.

A backup may come from anywhere. Therefore `copy_file` takes its bytes, and SQLite opens only this
copy: no journal next to the file is played back. A copy with more than tables and indexes is
refused before anything else in it is read, so that no trigger runs. The checksum next to a backup
finds every changed byte. The other checks find what would trouble a server, and no text that became
another.

SQLite's backup begins anew whenever another connection has written, and so never ends under
constant writes (measured: not within 10 s of 1,000 transactions a second, 240 MB). Inside a
transaction that reads, it copies the state at one moment, whatever is written meanwhile: 1.1 s, and
the writers' p99 stayed below half a millisecond.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import sqlite3
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from itertools import count
from typing import BinaryIO
from urllib.parse import quote

PAGES = 256  # Pages (of 4 KiB) copied in one step; an interruption takes effect between two.
PAUSE = 0.001  # Seconds between two steps, in which the servers have the disk.

SYNC_EVERY = 16
"""Steps (16 MiB) after which the copy is synced to the disk: to sync all of it at the end would
make the commits of servers wait."""

NICENESS = 15  # The niceness of a process that copies, so that servers come first (nice(2)).
BESIDE = ("-wal", "-shm", "-journal")  # Suffixes of SQLite's files next to a database.
TURN = "-turn"  # The suffix of the file by which writers take turns (`bbs.storage.sqlite`).
PATIENCE = 5.0  # Seconds to wait for a database that a server has just begun to recover.
CHECKSUM = ".sha256"  # The suffix of the file with the checksum of a backup, for `sha256sum -c`.
CHUNK = 1 << 20  # Bytes that are read at a time.
MAGIC = b"SQLite format 3\0"  # How every database begins (sqlite.org/fileformat.html).

OWN_TABLES = ("sqlite_sequence", "sqlite_stat1", "sqlite_stat4")
"""Tables that SQLite makes by itself, or when an operator types ANALYZE."""

CLAUSES = re.compile(
    r"\b(AS|AUTOINCREMENT|CHECK|COLLATE|CONFLICT|DEFERRED|GENERATED|ROWID|STRICT)\b", re.IGNORECASE
)
"""Words of a table's definition that its pragmas do not show."""

TYPES: Mapping[str, str] = {
    "BIGINT": "integer",
    "INTEGER": "integer",
    "REAL": "real",
    "SMALLINT": "integer",
    "TEXT": "text",
    "VARCHAR": "text",
}
"""What SQLite stores in columns of these types; elsewhere it would take any value in them."""

WARY = ("trusted_schema = off", "cell_size_check = on", "mmap_size = 0")
"""Settings of a connection to a file that may come from anywhere (sqlite.org/security.html)."""

LARGEST = 2**62  # No id is larger, and behind 2**63 - 1 SQLite makes no more.


class CopyRefused(Exception):
    """A copy cannot be made, for a reason in one line."""


class NoDatabase(CopyRefused):
    """The file to copy is not a database."""


@contextmanager
def part_of(path: str) -> Iterator[str]:
    """Make an empty file next to `path`, readable by its owner alone, and yield its path; at the
    end remove it, unless `put` has moved it to `path`. CopyRefused if it cannot be written, or
    another such command is writing it."""
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
            raise CopyRefused(f"{part}: another process is writing it") from error
        if os.fstat(descriptor).st_uid != os.geteuid():
            # Its owner, for example in /tmp, may have it open, and would read the copy.
            raise CopyRefused(f"{part} belongs to another user")
        try:
            # A command that was killed may have left a part, and what SQLite had next to it.
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, 0)
            for end in (*BESIDE, TURN):
                with suppress(FileNotFoundError):
                    os.unlink(part + end)
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
    """Move `part` to `path`, synced to the disk; CopyRefused if that exists, unless `over`."""
    _sync(part)
    if over:
        os.replace(part, path)
    else:
        try:
            os.link(part, path)  # Unlike a renaming, this fails if `path` exists.
        except FileExistsError as error:
            raise exists(path) from error
        except OSError:  # A file system without links.
            if os.path.lexists(path):
                raise exists(path) from None
            os.replace(part, path)
    _sync(os.path.dirname(path) or ".")


def copy(source: str, target: str) -> None:
    """Copy the database `source` into the empty file `target`, as it is at one moment; CopyRefused
    if `source` is not a database, or the disk is full."""
    where = source
    # Closing any descriptor of a file releases SQLite's locks on it: so this one is closed last.
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
        if where == target and _room(target) < CHUNK:
            # SQLite says "cannot rollback", if anything is left for it to say.
            raise _disk_full(target) from error
        raise _refusal(where, error) from error
    finally:
        os.close(written)


def copy_file(source: str, target: str) -> str:
    """Copy the bytes of the backup `source` into the empty file `target`, and return their SHA-256
    in hex. CopyRefused if `source` is not a file, or not as long as it says, or has a journal."""
    for end in ("-wal", "-journal"):
        with suppress(FileNotFoundError):
            if os.stat(source + end).st_size:
                raise CopyRefused(
                    f"{source}{end} has changes that are not in {source}: bbs backup copies both"
                )
    digest = hashlib.sha256()
    with _open_regular(source) as file, open(target, "wb") as copied:
        size = os.fstat(file.fileno()).st_size
        _check_length(source, file.read(100), size)
        file.seek(0)
        if size > _room(target):
            raise _disk_full(target)
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            copied.write(chunk)
    return digest.hexdigest()


def _room(path: str) -> int:
    """The bytes that can still be written where `path` is."""
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


def _disk_full(path: str) -> CopyRefused:
    return cannot_write(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def _check_length(source: str, header: bytes, size: int) -> None:
    if not header.startswith(MAGIC):
        raise NoDatabase(f"{source}: not a database")
    page = int.from_bytes(header[16:18], "big")
    length = (page if page > 1 else 1 << 16) * int.from_bytes(header[28:32], "big")
    if length != size:
        raise CopyRefused(f"{source}: damaged: it has {size} bytes, and should have {length}")


def _open_regular(path: str) -> BinaryIO:
    try:
        # Whoever opens a FIFO otherwise waits for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise CopyRefused(f"cannot read {path}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise not_regular(path)
    return open(descriptor, "rb")


def digest_of(path: str) -> str:
    """The SHA-256 of a file, in hex."""
    with _open_regular(path) as file:
        digest = hashlib.sha256()
        while chunk := file.read(CHUNK):
            digest.update(chunk)
        return digest.hexdigest()


def write_checksum(path: str, digest: str) -> None:
    """Write the checksum of the backup `path` next to it, in place of one that is there."""
    name = os.path.basename(path)
    escaped = name.replace("\\", r"\\").replace("\n", r"\n").replace("\r", r"\r")
    line = f"{'' if name == escaped else chr(92)}{digest}  {escaped}\n"  # As sha256sum does it.
    with part_of(path + CHECKSUM) as part:
        with open(part, "wb") as file:
            file.write(os.fsencode(line))
        put(part, path + CHECKSUM, over=True)


def read_checksum(path: str) -> str | None:
    """The checksum next to the backup `path`, if there is one; CopyRefused if it is malformed."""
    if not os.path.lexists(path + CHECKSUM):
        return None
    with _open_regular(path + CHECKSUM) as file:
        found = re.match(rb"\\?([0-9a-fA-F]{64}) [ *][^\n]+\n?\Z", file.read(1 << 16))
    if found is None:
        raise CopyRefused(f"{path}{CHECKSUM}: malformed: not the checksum of one file")
    return found[1].decode().lower()


def check_objects(path: str, name: str) -> None:
    """Check that a copy, which messages call `name`, has tables and indexes alone: CopyRefused if
    it has what SQLite would run or call. Nothing else may be read before."""
    with _opened(path, name) as database:
        # SQLite obeys `sql`, whatever `type` says that it is.
        made = database.execute(
            "SELECT type, name FROM sqlite_master WHERE NOT ("
            " type = 'table' AND sql LIKE 'CREATE TABLE %'"
            " OR type = 'index' AND COALESCE(sql, 'CREATE INDEX x') LIKE 'CREATE INDEX %'"
            " OR type = 'index' AND sql LIKE 'CREATE UNIQUE INDEX %')"
        ).fetchone()
        if made is not None:
            raise CopyRefused(f"{name}: it has the {made[0]} {made[1]}, which is not the service's")


def check(path: str, name: str) -> None:
    """Check a database that no other process uses, and that messages call `name`; CopyRefused if it
    is damaged or none at all."""
    with _opened(path, name) as database:
        (found,) = database.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise CopyRefused(f"{name}: damaged: {' '.join(str(found).split())[:200]}")


def definitions(database: sqlite3.Connection) -> dict[str, str]:
    """Everything that makes the tables what they are: each table, column, reference and index, and
    how it is defined. The order of columns says nothing, as an upgrade adds them behind others."""
    (encoding,) = database.execute("PRAGMA encoding").fetchone()
    found = {"encoding": str(encoding)}
    tables = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
    for table, sql in tables:
        if table in OWN_TABLES:
            continue
        found[f"table {table}"] = " ".join(sorted(map(str.upper, CLAUSES.findall(sql))))
        columns = 'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?)'
        for column, kind, not_null, default, key, hidden in database.execute(columns, (table,)):
            made = [kind, f"KEY {key}", "NOT NULL" * not_null, f"HIDDEN {hidden}" * bool(hidden)]
            made += [] if default is None else [f"DEFAULT {default}"]
            found[f"column {table}.{column}"] = " ".join(made)
        references = (
            'SELECT "from", "table", "to", on_update, match, on_delete'
            " FROM pragma_foreign_key_list(?) ORDER BY 1, 2, 3"
        )
        for column, *target, on_delete in database.execute(references, (table,)):
            reference = f"reference {table}.{column}"
            made = [*map(str, target), "ON DELETE", on_delete]
            found[reference] = f"{found.get(reference, '')} {' '.join(made)}"
        found |= _indexes(database, table)
    return found


def _indexes(database: sqlite3.Connection, table: str) -> dict[str, str]:
    found: dict[str, str] = {}
    indexes = database.execute(
        'SELECT list.name, "unique", origin, partial, sql FROM pragma_index_list(?) AS list'
        " JOIN sqlite_master AS made ON made.name = list.name ORDER BY 2, 3, 4",
        (table,),
    ).fetchall()
    for index, unique, origin, partial, sql in indexes:
        keys = database.execute(
            'SELECT name, "desc", coll FROM pragma_index_xinfo(?) WHERE key ORDER BY seqno',
            (index,),
        ).fetchall()
        is_plain = not partial and all(column for column, _, _ in keys)
        made = f"{unique} {origin} {keys} {'' if is_plain else sql}"
        name = f"index of {table} on {', '.join(str(column) for column, _, _ in keys)}"
        found[name] = found.get(name, "") + made
    return found


def compare(path: str, made: Mapping[str, str], name: str, *, is_newer: bool = False) -> None:
    """Compare the definitions of a database, which messages call `name`, with those that this
    program has `made`; CopyRefused if they differ, or there is more that could be in the way. One
    that `is_newer` may have more of everything."""
    with _opened(path, name) as database:
        there = definitions(database)
    for thing, definition in made.items():
        if thing not in there:
            raise CopyRefused(f"{name}: damaged: it has no {thing}")
        if there[thing] != definition and not is_newer:
            raise CopyRefused(f"{name}: damaged: its {thing} is defined in another way")
    for thing, definition in there.items():
        if thing not in made and not is_newer and not _is_spare(thing, definition, made):
            raise CopyRefused(f"{name}: it has the {thing}, which is not the service's")


def _is_spare(thing: str, definition: str, made: Mapping[str, str]) -> bool:
    """Whether a service can work beside something that it does not make. Upgrades leave it for
    servers of the version before: rows are still inserted without it, and others deleted."""
    kind, _, name = thing.partition(" ")
    if kind == "reference":
        return definition.endswith(("ON DELETE CASCADE", "ON DELETE SET NULL"))
    if kind == "index":
        table = name.removeprefix("of ").partition(" on ")[0]
        return f"table {table}" not in made or definition.startswith("0")
    if kind == "column" and f"table {name.partition('.')[0]}" in made:
        can_be_omitted = "NOT NULL" not in definition or "DEFAULT" in definition
        return can_be_omitted and "HIDDEN" not in definition
    return True


def check_rows(path: str, name: str) -> None:
    """Check the rows of a database, which messages call `name`: CopyRefused if one refers to a row
    that is not there, a value cannot be read or is of another type than its column, or there is no
    next id."""
    with _opened(path, name) as database:
        dangling = database.execute(
            'SELECT "table", parent FROM pragma_foreign_key_check ORDER BY "table" LIMIT 1'
        ).fetchone()
        if dangling is not None:
            child, parent = dangling
            raise CopyRefused(f"{name}: damaged: a row of {child} refers to no row of {parent}")
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            if table not in OWN_TABLES:
                _check_values(database, table, name)
        no_more = "SELECT 1 FROM sqlite_sequence WHERE typeof(seq) != 'integer' OR seq >= ?"
        has_ids = ("sqlite_sequence",) in tables
        if has_ids and database.execute(no_more, (LARGEST,)).fetchone():
            raise CopyRefused(f"{name}: damaged: a table has no next id")


def _check_values(database: sqlite3.Connection, table: str, name: str) -> None:
    wrong, texts = ["WHEN FALSE THEN ''"], ["1"]
    columns = database.execute("SELECT name, type, pk FROM pragma_table_info(?)", (table,))
    for column, declared, key in columns.fetchall():
        kind, value = TYPES.get(declared.partition("(")[0].upper()), _quoted(column)
        named = "'" + column.replace("'", "''") + "'"
        if kind is not None:
            wrong.append(f"WHEN typeof({value}) NOT IN ('{kind}', 'null') THEN {named}")
        if kind == "integer" and key:
            wrong.append(f"WHEN {value} >= {LARGEST} THEN {named}")
        if kind == "text":
            texts.append(value)
    rows, case = f"FROM {_quoted(table)}", f"CASE {' '.join(wrong)} END"
    found = database.execute(" ".join(("SELECT", case, rows, "WHERE", case, "NOTNULL"))).fetchone()
    if found is not None:
        raise CopyRefused(
            f"{name}: damaged: a value in the table {table} is of another type: {found[0]}"
        )
    try:
        for _ in database.execute(" ".join(("SELECT", ", ".join(texts), rows))):
            pass
    except sqlite3.OperationalError as error:  # The driver's, whose text has the value.
        raise CopyRefused(f"{name}: damaged: a text in the table {table} is not UTF-8") from error


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def check_alone(path: str) -> None:
    """Raise CopyRefused if a process of this machine has the database `path` open."""
    if not os.path.exists(path):
        return
    try:
        with closing(_open(path, 0.0)) as database:
            # SQLite leaves WAL mode only if no other process has the database open, and then moves
            # the contents of the WAL into the file.
            database.execute("PRAGMA journal_mode = delete")
            database.execute("BEGIN EXCLUSIVE")
            database.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise CopyRefused(f"servers run on {path}: stop them first") from error
        raise _refusal(path, error) from error
    except sqlite3.DatabaseError:
        pass  # The database is damaged.


def make_way(path: str) -> None:
    """Remove the files next to `path`, which SQLite would take for those of the database that is to
    replace it; CopyRefused if a process has the database open."""
    check_alone(path)
    for end in BESIDE:
        with suppress(FileNotFoundError):
            os.unlink(path + end)


def is_same(one: str, other: str) -> bool:
    """Whether both paths are one file."""
    return os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)


def url_of(path: str) -> str:
    """The URL of the SQLite database at `path`."""
    return f"sqlite:///{quote(os.path.abspath(path))}"


def exists(path: str) -> CopyRefused:
    """Make the refusal to overwrite `path`."""
    return CopyRefused(f"{path} exists: --force replaces it")


def not_regular(path: str) -> CopyRefused:
    """Make the refusal of a folder, a device and so on."""
    return CopyRefused(f"{path} is not a regular file")


def cannot_write(path: str, error: OSError) -> CopyRefused:
    """Make the refusal for a file that cannot be written."""
    return CopyRefused(f"cannot write {path}: {error.strerror}")


@contextmanager
def _opened(path: str, name: str) -> Iterator[sqlite3.Connection]:
    """Open a database, which messages call `name`. CopyRefused for an error of SQLite."""
    try:
        with closing(_open(path)) as database:
            yield database
    except sqlite3.Error as error:
        raise _refusal(name, error) from error


def _open(path: str, patience: float = PATIENCE) -> sqlite3.Connection:
    # A copy in a folder that cannot be written, without a WAL, is opened as immutable.
    read_only = not os.access(os.path.dirname(path) or ".", os.W_OK)
    mode = "ro&immutable=1" if read_only and not os.path.exists(path + "-wal") else "rw"
    uri = f"file:{quote(os.path.abspath(path))}?mode={mode}"
    database = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=patience)
    for setting in WARY:
        database.execute(f"PRAGMA {setting}")
    return database


def _code(error: sqlite3.Error) -> int:
    """The primary code, which is the lowest byte of SQLite's extended codes."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF


def _refusal(path: str, error: sqlite3.Error) -> CopyRefused:
    code = _code(error)
    if code == sqlite3.SQLITE_FULL:
        return CopyRefused(f"cannot write {path}: {os.strerror(errno.ENOSPC)}")
    if code == sqlite3.SQLITE_NOTADB:
        return NoDatabase(f"{path}: not a database")
    return CopyRefused(f"{path}: {'damaged' if code == sqlite3.SQLITE_CORRUPT else error}")


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
