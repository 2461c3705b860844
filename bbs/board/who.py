"""Which friends are there, and when they last were: `who`."""

from __future__ import annotations

from typing import Any

import peewee

from bbs.board.models import Relationship
from bbs.framework import Caller, Page, Part, Place, User, costs, paged, read_only, statement

ONLINE, OFFLINE = "online", "offline"
"""What a position begins with: those online come first, and then those who are not."""

AROUND = 64
"""Bytes of a friend on the wire beside the name: 40 for the names of the members, 18 for a time."""


@paged
@costs(commands=Part.price)
@read_only
def who(caller: Caller, page: Page) -> Part:
    """The caller's friends, those online first, each oldest friendship first.

    Between two parts of a list somebody may come or go, and be in it twice, or not at all.
    """
    phase, last = page.last or (ONLINE, 0)
    found = []
    if phase == ONLINE:
        online = _online(caller.id, Relationship.FRIEND, last, page.limit)
        found = [((ONLINE, row[0]), _entry(caller, True, *row[1:])) for row in online]
        last = 0
    if len(found) < page.limit:
        offline = _offline(caller.id, Relationship.FRIEND, last, page.limit - len(found))
        found += [((OFFLINE, row[0]), _entry(caller, False, *row[1:])) for row in offline]
    size = sum([len(entry["id"].encode()) + AROUND for _, entry in found])
    return page.part("friend", found, size=size)


def _entry(caller: Caller, online: bool, name: str, seen: float | None) -> dict[str, Any]:
    # One from the future is of a clock that has been set since, or of another machine's.
    last = None if seen is None else min(seen, caller.now)
    return {"id": name, "online": online, "last": last}


@statement
def _online(user: int, kind: str, last: int, limit: int) -> peewee.Select:
    return (
        Relationship.select(Relationship.id, User.name, User.seen)
        .join(Place, on=(Place.user == Relationship.other))
        .join(User, on=(User.id == Relationship.other))
        .where((Relationship.user == user) & (Relationship.kind == kind) & (Relationship.id > last))
        .order_by(Relationship.id)
        .limit(limit)
    )


@statement
def _offline(user: int, kind: str, last: int, limit: int) -> peewee.Select:
    return (
        Relationship.select(Relationship.id, User.name, User.seen)
        .left_outer_join(Place, on=(Place.user == Relationship.other))
        .join(User, on=(User.id == Relationship.other))
        .where(
            (Relationship.user == user)
            & (Relationship.kind == kind)
            & (Relationship.id > last)
            & Place.user.is_null()
        )
        .order_by(Relationship.id)
        .limit(limit)
    )
