"""Where a database is, as it says itself: a copy of it is somewhere else."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import peewee

_SAID = ("server_uuid", "server_uid", "hostname", "port", "datadir")
"""What MySQL (the first) and MariaDB (the second, of late versions) say of which server they are,
and what any of them says of where it runs."""


def home_of(database: Any) -> str:
    """A digest (SHA-256, hex) of where `database`, which is connected, is.

    A file of SQLite's is where its path, its device and its inode are. MySQL's server has a random
    UUID in its data directory, which goes where that goes, also to the other machine of an RDS with
    two. MariaDB has none: its `server_uid` is made of the machine's network card and the port
    (11.8, `calculate_server_uid` in sql/mysqld.cc), and so it changes with the machine.
    """
    return hashlib.sha256("\n".join(_words(database)).encode()).hexdigest()


def _words(database: Any) -> tuple[str, ...]:
    name = str(database.database)
    if isinstance(database, peewee.SqliteDatabase):
        if name in ("", ":memory:"):
            return ("memory",)
        status = os.stat(name)
        return ("file", os.path.realpath(name), str(status.st_dev), str(status.st_ino))
    wanted = ", ".join(f"'{each}'" for each in _SAID)
    cursor = database.execute_sql(f"SHOW VARIABLES WHERE Variable_name IN ({wanted})")
    said = {str(key): str(value) for key, value in cursor.fetchall()}
    known = [said[key] for key in _SAID[:2] if said.get(key)]
    return ("server", *(known[:1] or [said.get(key, "") for key in _SAID[2:]]), name)
