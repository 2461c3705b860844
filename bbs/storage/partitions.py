"""Tables in partitions by id on MySQL and MariaDB, of which the oldest are dropped whole.

Ids rise in time, so that a partition has the rows of some days. MariaDB deletes some 1,200 old
messages a second, one by one; a partition is gone in a moment, however many rows it has. For this,
rows stay until the whole partition has expired.

A new partition is made before the first of its rows comes: one that has rows could only be divided
by copying these. Hence there is always an empty one ahead, as wide as a `SHARES`th of the time for
which rows are kept has needed ids of late. Behind it is `REST`, for ids that nobody expected.

InnoDB accepts no foreign keys on such tables, so `create_table` leaves them out: whoever removes a
row that others refer to has to remove these as well. Nor does MariaDB know there that an index has
the key behind its columns, in whose order the latest rows are found: so its indexes name it. On
SQLite tables have no partitions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import peewee

from bbs.storage import models
from bbs.storage.database import long_read, rows
from bbs.storage.models import Table
from bbs.storage.sqlite import SqliteDatabase
from bbs.storage.transaction_guard import EXCEPTIONS

SHARES = 4
"""Partitions into which rows are divided while they are kept. More of them remove rows sooner, and
each is looked into for the highest id (`send`) and by every index that does not begin with it."""

NARROWEST = 2**17  # ids of a partition: some 25 MB of short messages

GROWTH = 8
"""How many times as wide as the last one a partition may be: one hour in which everybody writes
says little about a week."""

LATEST = 100  # Rows at the end of a partition that have to have expired before it is dropped.

REST = "rest"  # The name of the last partition.

TABLE_TIMEOUT = 1
"""Seconds that one change of MySQL's schema waits for transactions on the table. New statements on
the table wait behind the change, but no longer than for an answer (1.4 s). Therefore the change
gives up and is tried again."""


@dataclass(frozen=True)
class Change:
    """A partition that ends before the id `bound` is to be made, or dropped with all before it."""

    bound: int
    drops: bool = False


@dataclass(frozen=True)
class PartitionedTables:
    """Tables of which rows are removed together when they are old.

    Each has `partitioned_by` in its `Meta`: the column with the id, a part of its key. The last of
    `tables` is the one whose primary key that is, and `stored` its column with the time, in
    seconds since the epoch. Before rows with ids below a `bound` are dropped, the rules `release`
    change what counts them: `rule(bound, start)` changes a part of it, and returns where the next
    call is to start, None at the end. The first call has 0. Each call has a transaction of its
    own. After an interruption all begins anew.
    """

    tables: Sequence[type[Table]]
    stored: peewee.Field
    release: Sequence[Callable[[int, int], int | None]] = ()

    def written_from(self) -> int:
        """The first id of the partition that is written to: those before it are dropped as they
        are. 0 without partitions. (For rules.)"""
        bounds = bounds_of(self._last) or ()
        last = self._highest() if bounds else 0
        return max([0, *(bound for bound in bounds if bound <= last)])

    @long_read
    def next_change(self, before: float, may_drop: bool = True) -> Change | None:
        """Find out what is to be done, if rows stored before this time have expired; None while
        there is nothing, or the tables have no partitions. `may_drop`: whether any may be dropped.
        (A rule.)"""
        bounds = bounds_of(self._last)
        if bounds is None or not (last := self._highest()):
            return None
        key, times = self._key, self._last.select(self._key, self.stored)
        [(_, now)] = rows(times.where(key == last))
        written = [bound for bound in bounds if bound <= last]
        if written and may_drop:
            latest = rows(times.where(key < written[0]).order_by(key.desc()).limit(LATEST))
            # Not by the last one alone: a server with a wrong clock may have stored it.
            if all(stored < before for _, stored in latest):
                return Change(written[0], drops=True)
        if len(bounds) - len(written) >= 2:  # The one that is written to, and one ahead.
            return None
        since = written[-2] if len(written) > 1 else 0
        [(first, then)] = rows(times.where(key >= since).order_by(key).limit(1))
        needed = 0.0  # Few ids, or ids of a moment, are no measure.
        if now > then and last - first >= NARROWEST / 2:
            needed = (last - first) / (now - then) * (now - before) / SHARES
        *_, before_last, end = 0, 0, *bounds
        width = min(max(needed, NARROWEST), GROWTH * max(end - before_last, NARROWEST))
        return Change(max(last, end) + round(width))

    @property
    def _last(self) -> type[Table]:
        return self.tables[-1]

    @property
    def _key(self) -> Any:
        return self._last._meta.primary_key

    def _highest(self) -> int:
        [(highest,)] = rows(self._last.select(peewee.fn.MAX(self._key)))
        return highest or 0

    def carry_out(self, change: Change) -> None:
        """Make or drop partitions, unless that has been done. Each statement commits; if it is cut
        off between two tables, another call goes on. (No rule: it has no transaction.)

        :raises peewee.OperationalError: transactions kept the table for too long, and so on.
        """
        database: Any = models.database.obj
        changes = [_sql(table, change) for table in self.tables]
        connection = database.connection_apart(patient=True)
        with EXCEPTIONS, closing(connection), connection.cursor() as cursor:
            for sql in (f"SET SESSION lock_wait_timeout = {TABLE_TIMEOUT}", *filter(None, changes)):
                cursor.execute(sql)


@dataclass(frozen=True)
class Retention:
    """For how many `seconds` the rows of `tables` are kept at least."""

    tables: PartitionedTables
    seconds: float


def bounds_of(table: type[Table]) -> Sequence[int] | None:
    """The ids before which partitions of `table` end, rising, without `REST`, which has no end.
    None without partitions."""
    if isinstance(models.database.obj, SqliteDatabase):
        return None
    found = models.database.execute_sql(_BOUNDS, (table._meta.table_name,)).fetchall()
    if not found:
        return None
    return sorted(int(bound) for name, bound in found if name != REST)


def divide(cursor: Any, first: int) -> int:
    """Make two partitions behind those of every table of the database: one ends before the id
    `first`, one is as narrow as they get, and empty like the next ids' should be. `cursor` is the
    driver's; each statement commits. Returns `first`, or a higher id if there are such partitions.

    If all ids leap, the gap would count as the width of a partition otherwise, and those behind it
    would be as wide.
    """
    cursor.execute(_DIVIDED)
    ends = {str(table): int(end or 0) for table, end in cursor.fetchall()}
    first = max([first, *(end + 1 for end in ends.values())])
    for table in sorted(ends):
        ahead = _partitions([first, first + NARROWEST])
        cursor.execute(f"ALTER TABLE `{table}` REORGANIZE PARTITION {REST} INTO ({ahead})")
    return first


def partition_clause(table: Any, bounds: Sequence[int]) -> str:
    """What makes a table one with partitions that end before `bounds`."""
    return f"PARTITION BY RANGE (`{table._meta.partitioned_by}`) ({_partitions(bounds)})"


def partition_indexes(table: Any) -> Sequence[Any]:
    """The indexes of a table with partitions: those of its model, each with the id at its end."""
    key = table._meta.columns[table._meta.partitioned_by]
    indexes = table._meta.fields_to_index()
    for index in indexes:
        if index._expressions[-1] is not key:
            index._expressions = [*index._expressions, key]
    return indexes  # type: ignore[no-any-return]


def is_partitioned(database: Any, table: Any) -> bool:
    """Whether `table` has partitions in this database."""
    is_mysql = isinstance(database, peewee.MySQLDatabase)
    return is_mysql and hasattr(table._meta, "partitioned_by")


def _sql(table: Any, change: Change) -> str:
    """The statement for a change of one table; "" if it has been made."""
    name, bounds = table._meta.table_name, bounds_of(table) or ()
    if change.drops:
        old = ", ".join(_name(bound) for bound in bounds if bound <= change.bound)
        return f"ALTER TABLE `{name}` DROP PARTITION {old}" if old else ""
    if max(bounds, default=0) >= change.bound:
        return ""
    return f"ALTER TABLE `{name}` REORGANIZE PARTITION {REST} INTO ({_partitions([change.bound])})"


def _partitions(bounds: Sequence[int]) -> str:
    """The last partitions of a table: those that end before `bounds`, and `REST`."""
    ends = [(_name(bound), f"({bound})") for bound in bounds] + [(REST, "MAXVALUE")]
    return ", ".join(f"PARTITION {name} VALUES LESS THAN {end}" for name, end in ends)


def _name(bound: int) -> str:
    return f"below_{bound}"


_BOUNDS = """\
SELECT partition_name, partition_description FROM information_schema.partitions
WHERE table_schema = DATABASE() AND table_name = %s AND partition_name IS NOT NULL"""
_DIVIDED = f"""\
SELECT parts.table_name, MAX(CASE WHEN parts.partition_name <> '{REST}'
THEN CAST(parts.partition_description AS UNSIGNED) END)
FROM information_schema.partitions AS parts WHERE parts.table_schema = DATABASE()
AND parts.partition_name IS NOT NULL GROUP BY parts.table_name
HAVING SUM(parts.partition_name = '{REST}')"""  # nosec B608 # A constant.
