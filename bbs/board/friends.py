"""Friendships, from invitation to list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import peewee

from bbs.board import errors
from bbs.board.models import Relationship
from bbs.framework import Caller, Place, User, asks, question, read_only, statement


@question
def correspondent(query: peewee.ModelSelect[User], name: str) -> peewee.Select:
    """Somebody called `name`: the id and the channel, how the caller stands to them, and their id
    once more if they are online. All are None for nobody."""
    other, place = User.alias(), Place.alias()
    return (
        query.select_extend(other.id, other.channel, Relationship.kind, place.user)
        .left_outer_join(other, on=(other.name == name))
        .left_outer_join(
            Relationship,
            on=((Relationship.user == User.id) & (Relationship.other == other.id)),
        )
        .left_outer_join(place, on=(place.user == other.id))
    )


@asks(correspondent)
def invite(caller: Caller, name: str) -> None:
    """Invite `name` to be a friend."""
    [(other, _, stands, _)] = correspondent(caller, name)
    if other is None:
        raise errors.NoSuchUser(name)
    if other == caller.id:
        raise errors.InvitesSelf()
    if stands == Relationship.FRIEND:
        raise errors.AlreadyFriends(name)
    if stands == Relationship.INVITED:
        raise errors.AlreadyInvited()
    if stands == Relationship.INVITED_BY:
        raise errors.InvitedBy(name)
    _relate(caller.id, Relationship.INVITED, other, Relationship.INVITED_BY)


@asks(correspondent)
def accept(caller: Caller, name: str) -> None:
    """Accept the invitation of `name`."""
    [(other, _, stands, _)] = correspondent(caller, name)
    if stands != Relationship.INVITED_BY:
        raise errors.NotInvitedBy(name)
    if not _remove_invitations([caller.id, other]):
        # Somebody else accepted the same invitation between the look and the deed.
        raise errors.NotInvitedBy(name)
    # New rows, whose ids give the friendship its place in the order.
    _relate(caller.id, Relationship.FRIEND, other, Relationship.FRIEND)


@read_only
def invitations(caller: Caller) -> Mapping[str, Sequence[str]]:
    """Who has invited the caller, oldest invitation first."""
    return {"invite": [name for (name,) in _names(caller.id, Relationship.INVITED_BY)]}


@read_only
def friends(caller: Caller) -> Mapping[str, Sequence[str]]:
    """The caller's friends, oldest friendship first."""
    return {"friend": [name for (name,) in _names(caller.id, Relationship.FRIEND)]}


def _relate(user: int, kind: str, other: int, others_kind: str) -> None:
    # In one order for both sides: two who invite each other at once meet at the unique key, and do
    # not hold each other's row.
    _add.many(sorted([(user, other, kind), (other, user, others_kind)]))


@statement
def _add(user: int, other: int, kind: str) -> peewee.Insert:
    return Relationship.insert(user=user, other=other, kind=kind)


@statement
def _remove_invitations(both: Sequence[int]) -> peewee.Delete:
    return Relationship.delete().where(
        Relationship.user.in_(both)
        & Relationship.other.in_(both)
        & (Relationship.kind != Relationship.FRIEND)
    )


@statement
def _names(user: int, kind: str) -> peewee.Select:
    return (
        Relationship.select(User.name)
        .join(User, on=(Relationship.other == User.id))
        .where((Relationship.user == user) & (Relationship.kind == kind))
        .order_by(Relationship.id)
    )
