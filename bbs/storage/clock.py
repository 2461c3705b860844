"""The service's clock in the database: the time by the database's own clock, and its last check.

Servers read both with each heartbeat, in a statement that they send anyway
(`bbs.core.clock.ServiceClock`).
"""

from __future__ import annotations

from typing import Any

import peewee

from bbs.core.clock import Reading
from bbs.storage import models
from bbs.storage.database import read_only
from bbs.storage.models import ClockRow, Session
from bbs.storage.sqlite import SqliteDatabase
from bbs.storage.statements import statement


def database_time() -> Any:
    """In a query, the time by the database's clock, in seconds since the epoch; NULL on SQLite,
    which has none."""
    if isinstance(models.database.obj, SqliteDatabase):
        return peewee.SQL("NULL")
    # UNIX_TIMESTAMP(NOW()) is off for an hour each autumn, where clocks are set back.
    return peewee.SQL("TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6")


def columns() -> tuple[Any, ...]:
    """The columns of a `Reading`, for a query that `with_clock` extends."""
    return database_time(), ClockRow.checked, ClockRow.apart


def with_clock(query: Any) -> peewee.Select:
    """Add the clock's row to `query`, for `columns`. Each row of it then has the same."""
    joined: peewee.Select = query.join(
        ClockRow, peewee.JOIN.LEFT_OUTER, on=(ClockRow.name == ClockRow.SERVICE)
    )
    return joined


def reading(database: float | None, checked: float | None, apart: float | None) -> Reading:
    """Make a reading of the values of `columns`."""
    return Reading(None if database is None else float(database), checked, apart or 0.0)


@read_only
def read() -> Reading:
    """Read the clock when a server starts."""
    database = said()
    for checked, apart in _checked(ClockRow.SERVICE):
        return Reading(database, checked, apart)
    [(used,)] = _last_use()
    return Reading(database, None, used=used)


def said() -> float | None:
    """The time by the database's clock, in seconds since the epoch; None on SQLite."""
    [(found,)] = _said()
    return None if found is None else float(found)


@statement
def _said() -> peewee.Select:
    return peewee.Select(columns=[database_time()]).bind(models.database.obj)


@statement
def _checked(name: str) -> peewee.Select:
    return ClockRow.select(ClockRow.checked, ClockRow.apart).where(ClockRow.name == name)


@statement
def _last_use() -> peewee.Select:
    return Session.select(peewee.fn.MAX(Session.used))


def note_check(now: float, apart: float) -> None:
    """Store that the service's clock is `now` (seconds since the epoch), and that the database's is
    so many seconds `apart`, ahead of it."""
    _note(ClockRow.SERVICE, now, apart)


@statement
def _note(name: str, checked: float, apart: float) -> peewee.Insert:
    return ClockRow.insert(name=name, checked=checked, apart=apart).on_conflict_replace()
