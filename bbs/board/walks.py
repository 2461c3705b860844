"""Walks: some sweeps read a large table, a part at a time."""

from __future__ import annotations

from typing import Any, NamedTuple

import peewee

from bbs.framework import Table
from bbs.framework.fast import rows

IDS_AT_ONCE = 10_000
"""Ids that one transaction looks through. A sweep looks at a part every minute, and goes on at once
where it removes something."""


class IdRange(NamedTuple):
    """The ids from `low` on before `high`."""

    low: int
    high: int


class Walk:
    """A walk through the rows of `table` by their ids, from the lowest on, again and again.

    Only this process knows where the walk is. A server that has just begun to lead starts anew,
    which is soon enough for rows that are old anyway. The walk steps over a gap in the ids at once,
    such as a restore leaves.
    """

    def __init__(self, table: type[Table]) -> None:
        self._table = table
        self._low = 0

    def next_part(self) -> IdRange | None:
        """The next ids to look through; None at the end, after which the walk begins anew. (For
        rules.)"""
        key: Any = self._table._meta.primary_key
        lowest = self._table.select(peewee.fn.MIN(key)).where(key >= self._low)
        [(first,)] = rows(lowest)
        self._low = 0 if first is None else first + IDS_AT_ONCE
        return None if first is None else IdRange(first, self._low)
