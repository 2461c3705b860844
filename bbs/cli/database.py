"""`bbs db`, `bbs backup` and `bbs restore`: the schema of the database, a copy of it, and the way
back."""

from __future__ import annotations

import fcntl
import os
import shlex
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from typing import IO, Any

import peewee

from bbs.cli import Program, text
from bbs.cli.offline import (
    LOCK,
    InUse,
    carry_out,
    configuration,
    connected,
    get_operator,
    local_time,
    open_folder,
    record,
)
from bbs.config import ConfigError, Configuration
from bbs.rules import fleets, restores, service_clock
from bbs.rules.fleet_admin import By
from bbs.scaling.data_folder import Unusable, default_folder
from bbs.storage import migrations, rising_ids, sqlite_backup
from bbs.storage.engines import DatabaseRefused, connect_to, is_bug, summary, without_password
from bbs.storage.migrations import Versions
from bbs.storage.models import ClockRow, User
from bbs.storage.schema import Schema
from bbs.storage.sqlite_backup import CHECKSUM, CopyRefused, NoDatabase
from bbs.ui.output import visible

DB = """\
`bbs db`: show the version of the database's schema and the state of its clock, or upgrade it.

`bbs db clock accept` says that the database's clock is right: what is old is removed again at once.
"""
BACKUP = """\
`bbs backup FILE`: the database of a running service, in one consistent file.

FILE.sha256 gets its checksum, which `bbs restore` and `sha256sum -c` compare.
"""
RESTORE = """\
`bbs restore FILE`: replace the database, while no server runs, by a file that `bbs backup` made.

FILE is checked before anything is replaced, and upgraded to this program's schema. Who may log in,
and is logged in, stays as in the database that is replaced. Without one all sessions end, as some
may have ended since the backup.
"""


def db(argv: Sequence[str], program: Program) -> int:
    """Run with the arguments behind `bbs db`; returns the exit code."""
    parser = program.parser("db", DB)
    parser.add_argument("action", choices=("upgrade", "status", "clock"))
    parser.add_argument("word", nargs="?", choices=("accept",), help="only after clock")
    program.add_database(parser)
    options = parser.parse_args(argv)
    if (options.action == "clock") != (options.word is not None):
        parser.error("write db status, db upgrade, or db clock accept")
    by = get_operator(f"{program.name} db")
    try:
        config = configuration(options.config, options.data, program.name, program.settings)
        url = config.database.url
        with connected(url, create=options.action == "upgrade") as database:
            schema = program.service().schema
            if options.action == "clock":
                done = _accept_clock(database, schema, config, by)
            else:
                done = _act(options.action, database, schema)
            print(f"{without_password(url)}: {done}")
            if options.action == "status":
                _warn(database, config)
    except (ConfigError, DatabaseRefused) as error:
        return program.fail("db", error)
    return 0


def _warn(database: peewee.Database, config: Configuration) -> None:
    """Print warnings about the database."""
    from bbs.daemons.fleet import connection_shortage

    tables = database.get_tables()
    if "login_server" in tables and (shortage := connection_shortage(config)):
        print(visible(shortage), file=sys.stderr)
    if _has_clock(tables):
        trouble = service_clock.explain(service_clock.report())
        if trouble:
            print(visible(trouble), file=sys.stderr)


def _has_clock(tables: Sequence[str]) -> bool:
    name: str = ClockRow._meta.table_name
    return name in tables


def _accept_clock(database: peewee.Database, schema: Schema, config: Configuration, by: By) -> str:
    """Store that the database's clock is right; returns what was done, in words."""
    migrations.check_owner(migrations.current(database), schema)
    if not _has_clock(database.get_tables()):
        raise DatabaseRefused("its schema is older than 14: upgrade it first")
    right = carry_out(database, service_clock.accept, by)
    record(config, by, service_clock.ACCEPT, "")
    return f"its clock counts as right: {local_time(right)}"


def _act(action: str, database: peewee.Database, schema: Schema) -> str:
    if action == "status":
        there = migrations.current(database)
        migrations.check_owner(there, schema)
        said = (
            f"schema {there.framework}, this program's is {migrations.VERSION};"
            f" {schema.name} {there.service}, this program's is {schema.version}"
        )
        own = {each.name: each.version for each in schema.parts}
        for name, stored in there.extensions.items():
            said += f"; {name} {stored}, "
            said += f"this program's is {own[name]}" if name in own else "not installed"
        older = there.framework_from < there.framework or there.service_from < there.service
        if not older or not there.name:
            return said
        return (
            f"{said}; programs of schema {there.framework_from} and"
            f" {there.name} {there.service_from} can work on it, too"
        )
    before, after = migrations.upgrade(database, schema)
    framework = _change("schema", before.framework, after.framework)
    parts = [
        _change(each.name, before.extensions.get(each.name, 0), after.extensions[each.name])
        for each in schema.parts
    ]
    return "; ".join([framework, _change(schema.name, before.service, after.service), *parts])


def _change(what: str, before: int, after: int) -> str:
    return f"{what} {after}, as before" if before == after else f"{what} {before} -> {after}"


def backup(argv: Sequence[str], program: Program) -> int:
    """Run with the arguments behind `bbs backup`; returns the exit code."""
    parser = program.parser("backup", BACKUP)
    help = "the file to write, which only its owner can read"
    parser.add_argument("file", type=text, metavar="FILE", help=help)
    parser.add_argument("--force", action="store_true", help="replace FILE, if it exists")
    program.add_database(parser)
    options = parser.parse_args(argv)
    by = get_operator(f"{program.name} backup")
    try:
        config = configuration(options.config, options.data, program.name, program.settings)
        path = file_of(config, "backup")
        if sqlite_backup.is_same(options.file, path):
            raise CopyRefused(f"{options.file} is the database itself")
        _check_target(options.file, options.force)
        schema = program.service().schema
        with connected(config.database.url) as database:
            versions = migrations.current(database)
            migrations.check_owner(versions, schema)
            if not versions.framework:
                raise CopyRefused(f"{path}: not a database of {program.name}")
        os.nice(sqlite_backup.NICENESS)
        with sqlite_backup.part_of(options.file) as part:
            sqlite_backup.copy(path, part)
            sqlite_backup.check(part, options.file)
            with connected(sqlite_backup.url_of(part)):
                people: int = User.select().count()
            doubt = _doubt(part, options.file, versions, schema)
            length, digest = os.path.getsize(part), sqlite_backup.digest_of(part)
            with suppress(FileNotFoundError):  # Never one checksum next to another backup.
                os.unlink(options.file + CHECKSUM)
            sqlite_backup.put(part, options.file, over=options.force)
        sqlite_backup.write_checksum(options.file, digest)
    except (ConfigError, DatabaseRefused, CopyRefused) as error:
        return program.fail("backup", error)
    record(config, by, "backup", options.file)
    if not doubt and versions.framework >= migrations.VERSION:
        _note_backup(config, by, options.file, program)
    whose = "1 person" if people == 1 else f"{people} people"
    print(f"{options.file}: {length / 2**20:.1f} MiB, {whose}")
    return program.fail("backup", f"restore would refuse this copy: {doubt}") if doubt else 0


def _note_backup(config: Configuration, by: By, file: str, program: Program) -> None:
    """Have the operators' page know of the backup `file`. The file is good even if this fails."""
    try:
        with connected(config.database.url) as database:
            carry_out(database, fleets.note_backup, by, os.path.basename(file))
    except DatabaseRefused as error:
        reason = f"the operators' page will not know of this backup: {error}"
        print(f"{program.name} backup: {reason}", file=sys.stderr)


def _check_target(file: str, force: bool) -> None:
    """Raise CopyRefused if the backup `file` or its checksum must not be written."""
    for path in (file, file + CHECKSUM):
        # The copy is renamed into place, which would replace a device, for example.
        if os.path.lexists(path) and not os.path.isfile(path):
            raise sqlite_backup.not_regular(path)
    if not force:
        if os.path.lexists(file):
            raise sqlite_backup.exists(file)
        sqlite_backup.read_checksum(file)  # Of a backup that is gone, and not somebody's file.


def _doubt(part: str, file: str, there: Versions, schema: Schema) -> CopyRefused | None:
    """Why `restore` would refuse the copy `part`, as far as that is known before an upgrade."""
    try:
        sqlite_backup.check_objects(part, file)
        if there.framework == migrations.VERSION and there.service == schema.version:
            sqlite_backup.compare(part, _definitions(schema), file)
        sqlite_backup.check_rows(part, file)
    except CopyRefused as error:
        return error
    return None


def _definitions(schema: Schema) -> Mapping[str, str]:
    """The tables that this program makes."""
    with connected("sqlite:///:memory:", create=True) as database:
        migrations.upgrade(database, schema)
        made: Any = database
        return sqlite_backup.definitions(made.connection())


def file_of(config: Configuration, what: str) -> str:
    """The file of the database. Raises `CopyRefused`, which names the tool of MySQL and MariaDB."""
    database: Any = connect_to(config.database.url)
    if isinstance(database, peewee.SqliteDatabase):
        path = str(database.database)
        if path == ":memory:":
            raise CopyRefused(f"{without_password(config.database.url)} is not a file")
        return path
    login = database.connect_params
    place = ["-h", login["host"], "-P", str(login["port"]), "-u", login["user"], "-p"]
    there = shlex.join([*place, str(database.database)])
    tool = f"mariadb-dump --single-transaction {there} > FILE"
    if what == "restore":
        tool = f"mariadb {there} < FILE, into an empty database that no server uses"
    raise CopyRefused(f"the database is a MySQL or MariaDB, which has its own tool: {tool}")


NOTE = "it is a new fleet now: {0} fleet adopt makes it the original one again"


def restore(argv: Sequence[str], program: Program) -> int:
    """Run with the arguments behind `bbs restore`; returns the exit code."""
    parser = program.parser("restore", RESTORE)
    parser.add_argument("file", type=text, metavar="FILE", help="file that bbs backup made")
    parser.add_argument("--force", action="store_true", help="replace a database that is there")
    help = "keep the backup's sessions, passwords and suspensions: nobody used the service since"
    parser.add_argument("--keep-sessions", action="store_true", help=help)
    program.add_database(parser)
    options = parser.parse_args(argv)
    by = get_operator(f"{program.name} restore")
    try:
        config = configuration(options.config, options.data, program.name, program.settings)
        path = file_of(config, "restore")
        with _alone(_data_folder(options.data, path, program.name), path, program.name):
            done = _restore(options.file, path, options.force, options.keep_sessions, by, program)
    except InUse as error:
        return program.fail("restore", f"{error}: stop it first")
    except (ConfigError, DatabaseRefused, CopyRefused, Unusable) as error:
        return program.fail("restore", error)
    record(config, by, "restore", options.file)
    if not done.is_proved:
        reason = f"there is no {options.file}{CHECKSUM}, so a changed text would not be noticed"
        print(f"{program.name} restore: {reason}", file=sys.stderr)
    print(f"restored {options.file} to {path}; {NOTE.format(program.name)}")
    print(done.logins.value)
    return 0


class Logins(Enum):
    """The source of the sessions in a restored database, in the words of the command."""

    FORMER = "sessions, passwords and suspensions are those of the database that was replaced"
    BACKUP = "sessions, passwords and suspensions are those of the backup"
    NONE = "everybody has to log in again: the backup's sessions may have ended since"


@dataclass(frozen=True)
class Restored:
    """How a restore went: whether a checksum proved the file, and whose sessions there are."""

    is_proved: bool
    logins: Logins


def _data_folder(data: str | None, path: str, name: str) -> str | None:
    """The folder `data`, or the default one of `NAME up`, if the database at `path` is in it."""
    default = default_folder(name)
    is_inside = os.path.abspath(os.path.dirname(path)) == os.path.abspath(default)
    return default if data is None and is_inside else data


@contextmanager
def _alone(data: str | None, path: str, name: str) -> Iterator[None]:
    """Keep every `NAME up` from starting in the folder `data`, or in that of the database. Raises
    `InUse` if one runs, and `Unusable` for a folder that cannot be used."""
    with ExitStack() as held:
        if data is not None:
            _create_lock(data)
            lock, _ = open_folder(data, name)
            held.enter_context(lock)
        folder = os.path.dirname(path)
        if data is None or not sqlite_backup.is_same(data, folder or "."):
            other = _lock_existing(folder)
            if other is not None:
                held.enter_context(other)
        yield


def _create_lock(data: str) -> None:
    """Create a missing lock file for the owner of the folder, who runs the servers."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    if os.geteuid() == 0 and os.path.isdir(data):
        with suppress(OSError):
            lock, status = os.open(os.path.join(data, LOCK), flags, 0o600), os.stat(data)
            os.fchown(lock, status.st_uid, status.st_gid)
            os.close(lock)


def _lock_existing(folder: str) -> IO[str] | None:
    """Lock a folder if it is the data folder of a `NAME up`."""
    try:
        descriptor = os.open(os.path.join(folder, LOCK), os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return None
    lock = os.fdopen(descriptor, "a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise InUse(f"the data folder {folder} is in use") from error
    return lock


def _restore(
    file: str, path: str, force: bool, keep_sessions: bool, by: By, program: Program
) -> Restored:
    """Replace the database at `path`."""
    if sqlite_backup.is_same(file, path):
        raise CopyRefused(f"{file} is the database itself")
    if not os.path.exists(file):
        raise CopyRefused(f"{file}: no such file")
    if os.path.lexists(path):
        # The copy is renamed into place, which would replace a device, for example.
        if not os.path.isfile(path):
            raise sqlite_backup.not_regular(path)
        if not force:
            raise sqlite_backup.exists(path)
    sqlite_backup.check_alone(path)  # Before the parts that take long.
    with sqlite_backup.part_of(path) as part:
        is_proved = _prepare(file, part, program)
        logins = _begin_anew(file, part, path, keep_sessions, by)
        _give_to_owner(part, path)
        sqlite_backup.make_way(path)
        sqlite_backup.put(part, path, over=force)
    return Restored(is_proved, logins)


def _begin_anew(file: str, part: str, path: str, keep_sessions: bool, by: By) -> Logins:
    """Make `part` the database that goes on after the one at `path`, if that is there."""
    try:
        with connected(sqlite_backup.url_of(part)) as opened:
            database: Any = opened
            former: Mapping[str, int] | None = None
            if os.path.exists(path):
                with suppress(peewee.DatabaseError, sqlite3.Error):  # It may be damaged.
                    database.attach(path, restores.FORMER)
                    former = restores.former_ids()
            carry_out(database, rising_ids.begin_era, by.now, former or {})
            logins = Logins.BACKUP if keep_sessions else Logins.NONE
            if former is not None and not keep_sessions:
                with suppress(peewee.DatabaseError, sqlite3.Error):
                    carry_out(database, restores.take_over_logins)
                    logins = Logins.FORMER
            if logins is Logins.NONE:
                carry_out(database, restores.end_all)
            carry_out(database, fleets.make_ours, by, os.path.basename(file))
    except DatabaseRefused as error:
        raise CopyRefused(f"{file}: {error}") from error
    return logins


def _prepare(file: str, part: str, program: Program) -> bool:
    """Make `part` a copy of `file`, upgraded to this program's schema, if it is whole; returns
    whether a checksum proves that."""
    not_ours = CopyRefused(f"{file}: not a database of {program.name}")
    expected = sqlite_backup.read_checksum(file)
    try:
        found = sqlite_backup.copy_file(file, part)
    except NoDatabase:
        raise not_ours from None
    if expected not in (None, found):
        raise CopyRefused(f"{file}: damaged: {file}{CHECKSUM} has another checksum")
    sqlite_backup.check_objects(part, file)
    sqlite_backup.check(part, file)
    schema = program.service().schema
    made = _definitions(schema)
    try:
        with connected(sqlite_backup.url_of(part)) as opened:
            database: Any = opened
            for setting in sqlite_backup.WARY:
                database.execute_sql(f"PRAGMA {setting}")
            there = migrations.current(database)
            if not there.framework or not there.name:
                raise not_ours
            migrations.check(there, schema)
            if there.framework < migrations.VERSION or there.service < schema.version:
                _upgrade(database, schema, file)
        is_newer = bool(migrations.newer(there, schema))
        sqlite_backup.compare(part, made, file, is_newer=is_newer)
        sqlite_backup.check_rows(part, file)
    except DatabaseRefused as error:
        raise CopyRefused(f"{file}: {error}") from error
    return expected is not None


def _upgrade(database: peewee.Database, schema: Schema, file: str) -> None:
    try:
        migrations.upgrade(database, schema)
    except DatabaseRefused:
        raise
    except Exception as error:  # A step finds other tables than those of its version.
        if isinstance(error, peewee.PeeweeException) and not is_bug(error):
            raise
        raise CopyRefused(f"{file}: its tables cannot be upgraded: {summary(error)}") from error


def _give_to_owner(part: str, path: str) -> None:
    """Give a file that root restores to the owner of the folder."""
    if os.geteuid() == 0:
        with suppress(OSError):
            status = os.stat(path if os.path.exists(path) else os.path.dirname(path) or ".")
            # The folder's owner may have replaced it by a link to a file of root's.
            os.chown(part, status.st_uid, status.st_gid, follow_symlinks=False)
