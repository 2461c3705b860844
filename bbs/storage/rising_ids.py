"""Ids that rise, even where a database goes back to an earlier state.

Clients keep the id of the last message that they have shown, and drop all up to it. Servers keep
ids of events and rows. After a restore, a table would give the ids again that were given between
the backup and the restore, to other rows. Therefore a restored database begins an era: from then
on, every table gives ids above all that may have been given.

An era begins at the time in microseconds since 1970. A table gives fewer than a million ids a
second, so that is above the ids that any later state of the database has given, which nobody need
know; up to the year 2255 it is below 2**53, which a client in JavaScript can read. If the clock is
wrong, an era begins `LEAP` above the ids that are known at least.

The processes of a service also know which ids they have given, or seen. A transaction that gets
one that is not higher than those of before it raises `IdsWentBack`, is undone, and runs again in a
new era (`bbs.storage.database`). Even before it is known what has happened to the database, no
server acknowledges a row whose id was given before.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

import peewee

from bbs.storage import models
from bbs.storage.models import Secret
from bbs.storage.partitions import divide
from bbs.storage.sqlite import SqliteDatabase
from bbs.storage.transaction_guard import EXCEPTIONS

ERA = "ids from"  # A row of `Secret`: the first id of the era.
MICROSECONDS = 10**6  # In a second.

LEAP = 2**40
"""Ids between the highest that is known and an era, if the clock is not ahead of those: more than a
service gives in a year, and 2**53 has room for thousands of such leaps. (Never where it is ahead:
an era in the future could be above the next one, if that is begun without knowing of it.)"""

LATEST = 2**52  # No clock is believed from here on (the year 2112): there must be room for `LEAP`.

LOCK_TIMEOUT = 1
"""Seconds that a change of a MySQL's table waits for transactions on it, during which others wait
behind the change; then it fails, and all is tried again."""


def tables() -> Mapping[str, str]:
    """The tables whose ids rise, by name, each with the name of its key."""
    database: Any = models.database.obj
    if isinstance(database, SqliteDatabase):
        found = database.execute_sql(_SQLITE_TABLES)
    else:
        found = database.execute_sql(_MYSQL_TABLES)
    return {str(table): str(key) for table, key in found.fetchall()}


def given() -> dict[str, int]:
    """The last id that each table has given, also to a row that is gone; 0 for none."""
    database: Any = models.database.obj
    if isinstance(database, SqliteDatabase):
        there = dict.fromkeys(tables(), 0)
        sequences = database.execute_sql("SELECT name, seq FROM sqlite_sequence").fetchall()
        return there | {table: int(last) for table, last in sequences if table in there}
    if database.server_version < (10,):  # MySQL, which otherwise tells what it knew a day ago.
        database.execute_sql("SET SESSION information_schema_stats_expiry = 0")
    following = dict(database.execute_sql(_MYSQL_FOLLOWING).fetchall())
    return {table: int(following.get(table) or 1) - 1 for table in tables()}


def era() -> int:
    """The first id of the database's era; 0 if it was never restored."""
    row = Secret.get_or_none(Secret.name == ERA)
    return 0 if row is None else int(row.value)


def begin_era(now: float, known: Mapping[str, int], before: int | None = None) -> int:
    """Let each table give higher ids than all that may have been given, and return the first.

    Nothing happens if somebody else has begun another era than `before`, the one that the caller
    knows; then its first id is returned. MySQL commits each change of a table by itself; if this is
    cut off, it has to be called again. The transaction must not have used a table whose ids rise.

    :param now: seconds since the epoch.
    :param known: the highest ids that the caller has heard of, by table.
    """
    # A row's lock keeps others from doing the same; `Secret` has one in every database.
    Secret.update(name=Secret.name).execute()
    there = era()
    if before is not None and there > before:
        return there
    highest = max(0, *given().values(), *known.values())
    first = min(round(now * MICROSECONDS), LATEST)
    if first <= highest:
        first = highest + LEAP
    if isinstance(models.database.obj, SqliteDatabase):
        _leap_on_sqlite(first)
    else:
        first = _leap_on_mysql(first)
    Secret.insert(name=ERA, value=str(first)).on_conflict_replace().execute()
    return first


def _leap_on_sqlite(first: int) -> None:
    database: Any = models.database.obj
    for table in tables():
        database.execute_sql("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
        insertion = "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)"
        database.execute_sql(insertion, (table, first - 1))


def _leap_on_mysql(first: int) -> int:
    """Returns the first id, which may be higher than `first`."""
    database: Any = models.database.obj
    there = tables()
    connection = database.connection_apart(patient=True)
    with EXCEPTIONS, closing(connection), connection.cursor() as cursor:
        cursor.execute(f"SET SESSION lock_wait_timeout = {LOCK_TIMEOUT}")
        first = divide(cursor, first)
        for table in there:
            cursor.execute(f"ALTER TABLE `{table}` AUTO_INCREMENT = {first}")
    return first


def highest_query(database: peewee.Database, table: str, key: str) -> str:
    """A query for the highest id of a table that is known at little cost: on MySQL that of its
    rows, as the last one that was given takes long to find there."""
    # The names are those that the database gave its own tables and columns.
    if isinstance(database, SqliteDatabase):
        return f"SELECT seq FROM sqlite_sequence WHERE name = '{table}'"  # nosec B608
    return f"SELECT MAX(`{key}`) FROM `{table}`"  # nosec B608


_SQLITE_TABLES = """\
SELECT made.name, had.name FROM sqlite_master AS made JOIN pragma_table_info(made.name) AS had
WHERE made.type = 'table' AND made.sql LIKE '%AUTOINCREMENT%' AND had.pk"""
_MYSQL_TABLES = """\
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = DATABASE() AND extra LIKE '%%auto_increment%%' AND data_type = 'bigint'"""
_MYSQL_FOLLOWING = """\
SELECT table_name, auto_increment FROM information_schema.tables WHERE table_schema = DATABASE()"""
