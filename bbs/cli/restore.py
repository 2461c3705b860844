"""`bbs restore FILE`: put what `bbs backup` has made in the database's place, where no server runs.

What is in FILE is looked at before anything is replaced, and brought to this program's schema.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import IO

from bbs.cli import Program, text
from bbs.cli.backup import file_of
from bbs.cli.data_folder import LOCK, InUse, open_folder
from bbs.cli.offline import carry_out, configuration, connected
from bbs.cli.operators import by_whom, tell
from bbs.config import ConfigError
from bbs.rules import fleets
from bbs.rules.fleet_admin import By
from bbs.scaling.data_folder import Unusable
from bbs.storage import migrations, sqlite_backup
from bbs.storage.engines import DatabaseRefused
from bbs.storage.sqlite_backup import CopyRefused, NoDatabase

NOTE = "it begins a fleet of its own: {0} fleet adopt makes it the original's again"


def main(argv: Sequence[str], program: Program) -> int:
    """Run with the arguments behind `bbs restore`; returns the exit code."""
    parser = program.parser("restore", __doc__)
    parser.add_argument("file", type=text, metavar="FILE", help="what bbs backup has made")
    parser.add_argument("--force", action="store_true", help="replace a database that is there")
    program.placed(parser)
    options = parser.parse_args(argv)
    by = by_whom(f"{program.name} restore")
    try:
        config = configuration(options.config, options.data, program.name)
        path = file_of(config, "restore")
        with _alone(options.data, path, program.name):
            _restore(options.file, path, options.force, by, program)
    except InUse as error:
        return _fail(program, f"{error}: stop it first")
    except (ConfigError, DatabaseRefused, CopyRefused, Unusable) as error:
        return _fail(program, str(error))
    tell(config, options.data, by, "restore", options.file)
    print(f"{options.file} is in the place of {path}; {NOTE.format(program.name)}")
    return 0


@contextmanager
def _alone(data: str | None, path: str, name: str) -> Iterator[None]:
    """Nobody's `NAME up` begins meanwhile, in the folder `data` or where the database is.

    :raises InUse: one runs.
    :raises Unusable: the folder cannot be used.
    """
    with ExitStack() as held:
        if data is not None:
            _make_lock(data)
            lock, _ = open_folder(data, name)
            held.enter_context(lock)
        folder = os.path.dirname(path)
        if data is None or not sqlite_backup.is_same(data, folder or "."):
            beside = _lock_of(folder)
            if beside is not None:
                held.enter_context(beside)
        yield


def _make_lock(data: str) -> None:
    """The lock in a folder that has none yet is for whoever runs the servers, too."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    if os.geteuid() == 0 and os.path.isdir(data):
        with suppress(OSError):
            lock, status = os.open(os.path.join(data, LOCK), flags, 0o600), os.stat(data)
            os.fchown(lock, status.st_uid, status.st_gid)
            os.close(lock)


def _lock_of(folder: str) -> IO[str] | None:
    """The lock of the `NAME up` whose data folder this is, if it is one's."""
    try:
        there = os.open(os.path.join(folder, LOCK), os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return None
    lock = os.fdopen(there, "a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise InUse(f"the data folder {folder} is in use") from error
    return lock


def _restore(file: str, path: str, force: bool, by: By, program: Program) -> None:
    if sqlite_backup.is_same(file, path):
        raise CopyRefused(f"{file} is the database itself")
    if not os.path.exists(file):
        raise CopyRefused(f"{file}: no such file")
    if os.path.lexists(path) and not force:
        raise sqlite_backup.exists(path)
    sqlite_backup.check_alone(path)  # Before anybody waits for what takes long.
    with sqlite_backup.part_of(path) as part:
        _prepare(file, part, by, program)
        _give_to_owner(part, path)
        sqlite_backup.make_way(path)
        sqlite_backup.put(part, path, over=force)


def _prepare(file: str, part: str, by: By, program: Program) -> None:
    """Make `part` a copy of `file` that this program can go on with."""
    not_ours = CopyRefused(f"{file}: not a database of {program.name}")
    try:
        sqlite_backup.copy(file, part)
    except NoDatabase:
        raise not_ours from None
    sqlite_backup.check(part)
    schema = program.service().schema
    try:
        with connected(sqlite_backup.url_of(part)) as database:
            there = migrations.current(database)
            if not there.framework:
                raise not_ours
            migrations.check(there, schema)
            migrations.upgrade(database, schema)
            carry_out(database, fleets.make_ours, by, os.path.basename(file))
    except DatabaseRefused as error:
        raise CopyRefused(f"{file}: {error}") from error


def _give_to_owner(part: str, path: str) -> None:
    """Whoever runs the servers is to have it, if it is root who restores."""
    if os.geteuid() == 0:
        with suppress(OSError):
            status = os.stat(path if os.path.exists(path) else os.path.dirname(path) or ".")
            # Whose folder it is may have put a link there meanwhile, to what is root's.
            os.chown(part, status.st_uid, status.st_gid, follow_symlinks=False)


def _fail(program: Program, reason: str) -> int:
    print(f"{program.name} restore: {reason}", file=sys.stderr)
    return 1
