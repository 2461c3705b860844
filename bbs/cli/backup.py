"""`bbs backup FILE`: the database of a running service, in one consistent file."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import peewee

from bbs.cli import Program, text
from bbs.cli.offline import configuration, connected
from bbs.cli.operators import by_whom, tell
from bbs.config import ConfigError, Configuration
from bbs.storage import migrations, sqlite_backup
from bbs.storage.engines import DatabaseRefused, connect_to
from bbs.storage.models import User
from bbs.storage.sqlite_backup import CopyRefused


def main(argv: Sequence[str], program: Program) -> int:
    """Run with the arguments behind `bbs backup`; returns the exit code."""
    parser = program.parser("backup", __doc__)
    help = "where to; it is made for its owner alone"
    parser.add_argument("file", type=text, metavar="FILE", help=help)
    parser.add_argument("--force", action="store_true", help="replace FILE, if it exists")
    program.placed(parser)
    options = parser.parse_args(argv)
    by = by_whom(f"{program.name} backup")
    try:
        config = configuration(options.config, options.data, program.name)
        path = file_of(config, "backup")
        if sqlite_backup.is_same(options.file, path):
            raise CopyRefused(f"{options.file} is the database itself")
        if os.path.lexists(options.file):
            # A copy comes by a renaming: a device, say, would be gone.
            if not os.path.isfile(options.file):
                raise CopyRefused(f"{options.file} is no file")
            if not options.force:
                raise sqlite_backup.exists(options.file)
        with connected(config.database.url) as database:
            versions = migrations.current(database)
            migrations.check_owner(versions, program.service().schema)
            if not versions.framework:
                raise CopyRefused(f"{path}: not a database of {program.name}")
        os.nice(sqlite_backup.NICENESS)
        with sqlite_backup.part_of(options.file) as part:
            sqlite_backup.copy(path, part)
            sqlite_backup.check(part)
            length, people = os.path.getsize(part), _people(part)
            sqlite_backup.put(part, options.file, over=options.force)
    except (ConfigError, DatabaseRefused, CopyRefused) as error:
        print(f"{program.name} backup: {error}", file=sys.stderr)
        return 1
    tell(config, options.data, by, "backup", options.file)
    whose = "1 person" if people == 1 else f"{people} people"
    print(f"{options.file}: {length / 2**20:.1f} MiB, {whose}")
    return 0


def file_of(config: Configuration, what: str) -> str:
    """The file of the database.

    :raises CopyRefused: it is a MySQL or MariaDB, which have their own tools for `what` is asked.
    """
    database = connect_to(config.database.url)
    if isinstance(database, peewee.SqliteDatabase):
        return str(database.database)
    there: Any = database
    login = there.connect_params
    place = shlex.join(
        [
            *("-h", login["host"], "-P", str(login["port"]), "-u", login["user"], "-p"),
            str(there.database),
        ]
    )
    tool = f"mariadb-dump --single-transaction {place} > FILE"
    if what == "restore":
        tool = f"mariadb {place} < FILE, into an empty database that no server uses"
    raise CopyRefused(f"the database is a MySQL or MariaDB, which has its own tool: {tool}")


def _people(path: str) -> int:
    with connected(sqlite_backup.url_of(path)):
        count: int = User.select().count()
    return count
