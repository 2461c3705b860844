"""Friendships, from invitation to list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bbs.board import errors
from bbs.board.models import Relationship
from bbs.framework import Caller, User, read_only, rows


def invite(caller: Caller, name: str) -> None:
    """Invite `name` to be a friend."""
    other = User.get_or_none(User.name == name)
    if other is None:
        raise errors.NoSuchUser(name)
    if other.id == caller.id:
        raise errors.InvitesSelf()
    stands = _relationship(caller.id, other.id)
    if stands == Relationship.FRIEND:
        raise errors.AlreadyFriends(name)
    if stands == Relationship.INVITED:
        raise errors.AlreadyInvited()
    if stands == Relationship.INVITED_BY:
        raise errors.InvitedBy(name)
    _relate(caller.id, Relationship.INVITED, other.id, Relationship.INVITED_BY)


def accept(caller: Caller, name: str) -> None:
    """Accept the invitation of `name`."""
    other = User.get_or_none(User.name == name)
    if other is None or _relationship(caller.id, other.id) != Relationship.INVITED_BY:
        raise errors.NotInvitedBy(name)
    removed = (
        Relationship.delete()
        .where(
            (Relationship.user.in_([caller.id, other.id]))
            & (Relationship.other.in_([caller.id, other.id]))
            & (Relationship.kind != Relationship.FRIEND)
        )
        .execute()
    )
    if not removed:
        # Somebody else accepted the same invitation between the look and the deed.
        raise errors.NotInvitedBy(name)
    # New rows, whose ids give the friendship its place in the order.
    _relate(caller.id, Relationship.FRIEND, other.id, Relationship.FRIEND)


@read_only
def invitations(caller: Caller) -> Mapping[str, Sequence[str]]:
    """Who has invited the caller, oldest invitation first."""
    return {"invite": _names(caller.id, Relationship.INVITED_BY)}


@read_only
def friends(caller: Caller) -> Mapping[str, Sequence[str]]:
    """The caller's friends, oldest friendship first."""
    return {"friend": _names(caller.id, Relationship.FRIEND)}


def are_friends(user: int, other: int) -> bool:
    """Whether the two are friends."""
    return _relationship(user, other) == Relationship.FRIEND


def _relationship(user: int, other: int) -> str | None:
    row = Relationship.get_or_none((Relationship.user == user) & (Relationship.other == other))
    return row.kind if row else None


def _relate(user: int, kind: str, other: int, others_kind: str) -> None:
    rows = [
        {"user": user, "other": other, "kind": kind},
        {"user": other, "other": user, "kind": others_kind},
    ]
    # In one order for both sides: two who invite each other at once meet at the unique key, and do
    # not hold each other's row.
    Relationship.insert_many(sorted(rows, key=lambda row: row["user"])).execute()


def _names(user: int, kind: str) -> list[str]:
    query = (
        Relationship.select(User.name)
        .join(User, on=(Relationship.other == User.id))
        .where((Relationship.user == user) & (Relationship.kind == kind))
        .order_by(Relationship.id)
    )
    return [name for (name,) in rows(query)]
