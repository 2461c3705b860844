"""Groups that everybody has left, and that have no posts: nobody may read anything of them.

The last member who leaves takes such a group along (`groups.leave`). After the last member's
account has been deleted it stays for a day, as it always has for good, so that somebody may join
it; then a sweep removes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import peewee

from bbs.board.groups import groups
from bbs.board.groups.tables import Group, Membership
from bbs.board.lists import LENGTHS, padded
from bbs.board.posts.tables import Contribution
from bbs.board.walks import Walk
from bbs.framework.fast import statement

KEPT = 86_400.0  # seconds for which a group stays that nobody is in

ENDED_AT_ONCE = 50  # groups that one transaction removes

NOTED_AT_ONCE = LENGTHS[-2]  # groups of which one transaction notes since when they are empty

_walk = Walk(Group)


def forget_empty(now: float, walk: Walk = _walk) -> int:
    """Remove some of the groups that have been without members and posts for a day; returns how
    many. The day begins when a sweep first finds a group so."""
    part = walk.next_part()
    if part is None:
        return 0
    for found, since in (
        (_filled(*part, NOTED_AT_ONCE), None),
        (_newly_empty(*part, NOTED_AT_ONCE), now),
    ):
        if found:
            _note(since, padded([group for (group,) in found]))
    old = [group for (group,) in _long_empty(*part, now - KEPT, ENDED_AT_ONCE)]
    return sum(bool(groups.lock(group)) and groups.end_if_empty(group) for group in old)


def _has(table: type[Membership] | type[Contribution], key: Any) -> Any:
    """The condition that `table` has a row of the group. With `EXISTS` MariaDB reads all of the
    table first."""
    found: Any = table.select(key).where(table.group == Group.id).limit(1)
    return peewee.fn.COALESCE(found, 0) != 0


def _has_any() -> Any:
    return _has(Membership, Membership.id) | _has(Contribution, Contribution.post)


@statement
def _filled(low: int, high: int, limit: int) -> peewee.Select:
    """Groups that were empty, and have members or posts again."""
    some = (Group.id >= low) & (Group.id < high) & Group.empty_since.is_null(False)
    return Group.select(Group.id).where(some & _has_any()).limit(limit)


@statement
def _newly_empty(low: int, high: int, limit: int) -> peewee.Select:
    """Groups that are empty, and that no sweep has seen so."""
    some = (Group.id >= low) & (Group.id < high) & Group.empty_since.is_null()
    return Group.select(Group.id).where(some & ~_has_any()).limit(limit)


@statement
def _long_empty(low: int, high: int, before: float, limit: int) -> peewee.Select:
    """Groups that are empty, and have been since `before`."""
    some = (Group.id >= low) & (Group.id < high) & (Group.empty_since <= before)
    return Group.select(Group.id).where(some & ~_has_any()).order_by(Group.id).limit(limit)


@statement
def _note(since: float | None, several: Sequence[int]) -> peewee.Update:
    return Group.update(empty_since=since).where(Group.id.in_(several))
