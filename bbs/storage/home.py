"""Where a database is, as it says itself: a copy of it is somewhere else."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import peewee

_MYSQL, _MARIADB = ("server_uuid",), ("server_uid", "hostname", "port", "datadir")
"""What MySQL says of which server it is, and what MariaDB says of where it runs."""


def home_of(database: Any) -> str:
    """A digest (SHA-256, hex) of where `database`, which is connected, is.

    A file of SQLite's is where its path, its device and its inode are. MySQL's server has a random
    UUID in its data directory, which goes where that goes, also to the other machine of an RDS with
    two. MariaDB has none: its `server_uid`, of late versions, is made of the machine's network card
    and the port (11.8, `calculate_server_uid` in sql/mysqld.cc). It is the same in containers that
    have the same address, and `unknown` where there is no card. So all that it says counts.
    """
    return hashlib.sha256("\n".join(_words(database)).encode()).hexdigest()


def _words(database: Any) -> tuple[str, ...]:
    name = str(database.database)
    if isinstance(database, peewee.SqliteDatabase):
        if name in ("", ":memory:"):
            return ("memory",)
        status = os.stat(name)
        return ("file", os.path.realpath(name), str(status.st_dev), str(status.st_ino))
    wanted = ", ".join(f"'{each}'" for each in (*_MYSQL, *_MARIADB))
    cursor = database.execute_sql(f"SHOW VARIABLES WHERE Variable_name IN ({wanted})")
    said = {str(key): str(value) for key, value in cursor.fetchall()}
    tells = _MYSQL if said.get(_MYSQL[0]) else _MARIADB
    return ("server", *(said.get(key, "") for key in tells), name)
