"""Friendships, from invitation to end, and which friends are online."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import peewee

from bbs.board import blocks, errors, inboxes, relationships
from bbs.board.models import Relationship, padded
from bbs.framework import (
    Caller,
    ListCall,
    Page,
    Part,
    Place,
    User,
    as_stored,
    asks,
    bulk,
    costs,
    gathered,
    has_round_trips,
    paged,
    read_only,
    statement,
)

MOST_INVITATIONS = 100  # unanswered invitations of one user

ONLINE, OFFLINE = "online", "offline"
"""The phases of a position in `who`: friends online come first."""

MOST_LISTED = 2000
"""Friends of several callers that one query finds, as the database reads all of them to group them.
With more, one query for each caller reads as many as the reply has."""

AROUND = 64
"""Bytes of a friend on the wire in addition to the name: 40 for names of members, 18 for a time."""


@dataclass(frozen=True)
class Notification:
    """An event for people who listen on `channel` and have asked for such events."""

    channel: str
    event: Mapping[str, object]


@asks(relationships.correspondent)
def invite(caller: Caller, name: str) -> Notification:
    """Invite `name` to be a friend; returns the notification for them."""
    [(other, channel, stands, _, blocked_by, blocked)] = relationships.correspondent(
        caller, as_stored(name)
    )
    if other is None:
        raise errors.NoSuchUser(name)
    if other == caller.id:
        raise errors.InvitesSelf()
    if blocked_by is not None:
        raise errors.TakesNothing(name)
    if blocked is not None:
        raise errors.YouHaveBlocked(name)
    if stands == Relationship.FRIEND:
        raise errors.AlreadyFriends(name)
    if stands == Relationship.INVITED:
        raise errors.AlreadyInvited()
    if stands == Relationship.INVITED_BY:
        raise errors.InvitedBy(name)
    inboxes.lock([caller.id, other])
    blocks.check(caller, other, name)
    _check_room(caller, other, name)
    if _has_as_many(caller.id, Relationship.INVITED, MOST_INVITATIONS):
        raise errors.TooManyInvitations()
    _relate(caller.id, Relationship.INVITED, other, Relationship.INVITED_BY)
    text = f"{caller.name} invites you"
    return Notification(channel, {"event": "invite", "from": caller.name, "text": text})


@asks(relationships.correspondent)
def accept(caller: Caller, name: str) -> Notification:
    """Accept the invitation of `name`; returns the notification for them."""
    [(other, channel, stands, *_)] = relationships.correspondent(caller, as_stored(name))
    if stands != Relationship.INVITED_BY:
        raise errors.NotInvitedBy(name)
    inboxes.lock([caller.id, other])
    _check_room(caller, other, name)
    if not relationships.end(caller.id, Relationship.INVITED_BY, other, Relationship.INVITED):
        # Another connection has accepted the invitation meanwhile.
        raise errors.NotInvitedBy(name)
    # New rows, whose ids give the friendship its place in the order.
    _relate(caller.id, Relationship.FRIEND, other, Relationship.FRIEND)
    text = f"{caller.name} is your friend now"
    return Notification(channel, {"event": "friend", "with": caller.name, "text": text})


@asks(relationships.correspondent)
def decline(caller: Caller, name: str) -> None:
    """Decline the invitation of `name`, who hears nothing of it, and may invite again."""
    if not _end(caller, name, Relationship.INVITED_BY, Relationship.INVITED):
        raise errors.NotInvitedBy(name)


@asks(relationships.correspondent)
def unfriend(caller: Caller, name: str) -> None:
    if not _end(caller, name, Relationship.FRIEND, Relationship.FRIEND):
        raise errors.NotFriends(name)


@paged
@read_only
def invitations(caller: Caller, page: Page) -> Part:
    invited = _names(caller.id, Relationship.INVITED_BY, page.last or 0, page.limit)
    return page.part("invite", invited)


@paged
@read_only
@bulk(ListCall)
def friends(calls: Sequence[ListCall]) -> list[Part]:
    if len(calls) > 1 and has_round_trips() and all(page.last is None for _, page in calls):
        users = padded([caller.id for caller, _ in calls])
        found: dict[int, list[Any]] = dict(_all_names(users, Relationship.FRIEND, MOST_LISTED))
        if sum(map(len, found.values())) < MOST_LISTED:
            return [page.part("friend", sorted(found.get(user.id, ()))) for user, page in calls]
    return [
        page.part("friend", _names(user.id, Relationship.FRIEND, page.last or 0, page.limit))
        for user, page in calls
    ]


@paged
@costs(commands=Part.price)
@read_only
def who(caller: Caller, page: Page) -> Part:
    """The caller's friends, those online first, each oldest friendship first.

    A friend who comes or goes between two parts may be in the list twice, or not at all.
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
    # A time in the future is from a clock that was set since, or from another machine.
    last = None if seen is None else min(seen, caller.now)
    return {"id": name, "online": online, "last": last}


def _end(caller: Caller, name: str, kind: str, others_kind: str) -> bool:
    """End a relationship of the caller with `name`; returns whether there was one."""
    [(other, _, stands, *_)] = relationships.correspondent(caller, as_stored(name))
    if stands != kind:
        return False
    inboxes.lock([caller.id, other])
    return relationships.end(caller.id, kind, other, others_kind)


def _check_room(caller: Caller, other: int, name: str) -> None:
    """Refuse if the caller or the other, called `name`, may have no more friends."""
    most = caller.quotas.friends
    if _has_as_many(caller.id, Relationship.FRIEND, most):
        raise errors.TooManyFriends()
    if _has_as_many(other, Relationship.FRIEND, most):
        raise errors.HasTooManyFriends(name)


def _has_as_many(user: int, kind: str, most: int) -> bool:
    return most == 0 or bool(_one_of_many(user, kind, most - 1))


def _relate(user: int, kind: str, other: int, others_kind: str) -> None:
    # In one order for both sides: two people who invite each other at once meet at the unique key,
    # and do not lock each other's row.
    _add.many(sorted([(user, other, kind), (other, user, others_kind)]))


@statement
def _add(user: int, other: int, kind: str) -> peewee.Insert:
    return Relationship.insert(user=user, other=other, kind=kind)


@statement
def _one_of_many(user: int, kind: str, before: int) -> peewee.Select:
    """A relationship of the user's, if there are more than `before`: no longer list is read."""
    return (
        Relationship.select(Relationship.id)
        .where((Relationship.user == user) & (Relationship.kind == kind))
        .limit(1)
        .offset(before)
    )


@statement
def _names(user: int, kind: str, last: int, limit: int) -> peewee.Select:
    people = Relationship.select(Relationship.id, User.name)
    return _related(people.join(User, on=(Relationship.other == User.id)), user, kind, last, limit)


@statement
def _all_names(users: Sequence[int], kind: str, limit: int) -> peewee.Select:
    """The whole lists of several users, `limit` entries in all."""
    some = (
        Relationship.select(Relationship.user, Relationship.id, User.name)
        .join(User, on=(Relationship.other == User.id))
        .where(Relationship.user.in_(users) & (Relationship.kind == kind))
        .limit(limit)
        .alias("some")
    )
    entries = gathered(some.c.id, some.c.name)
    found: peewee.Select = Relationship.select(some.c.user_id, entries).from_(some)
    return found.group_by(some.c.user_id)


@statement
def _online(user: int, kind: str, last: int, limit: int) -> peewee.Select:
    people = Relationship.select(Relationship.id, User.name, User.seen)
    placed = people.join(Place, on=(Place.user == Relationship.other))
    return _related(placed.join(User, on=(User.id == Relationship.other)), user, kind, last, limit)


@statement
def _offline(user: int, kind: str, last: int, limit: int) -> peewee.Select:
    people = Relationship.select(Relationship.id, User.name, User.seen)
    placed = people.left_outer_join(Place, on=(Place.user == Relationship.other))
    named = placed.join(User, on=(User.id == Relationship.other))
    return _related(named, user, kind, last, limit).where(Place.user.is_null())


def _related(people: Any, user: int, kind: str, last: int, limit: int) -> peewee.Select:
    own = (Relationship.user == user) & (Relationship.kind == kind) & (Relationship.id > last)
    found: peewee.Select = people.where(own).order_by(Relationship.id).limit(limit)
    return found
