"""Lookups for the rules of other packages: friends, the members of a group, and how to tell them.

These functions are public, as `from bbs.board import friends`, and stay as the stability promise
says; the board's tables do not. Call them in a rule. Names of groups are as people type them.
"""

from __future__ import annotations

from collections.abc import Mapping

import peewee

from bbs.board.groups.groups import channel_of
from bbs.board.groups.tables import Group, Membership
from bbs.board.people import blocks
from bbs.board.people.relationships import are_friends as are_friends
from bbs.board.people.tables import Relationship
from bbs.framework import Place, User
from bbs.framework.fast import statement
from bbs.framework.names import as_stored


def friends(user_id: int) -> list[int]:
    """The ids (`User.id`) of the friends of `user_id`, the oldest friendship first."""
    return [friend for (friend,) in _friends(user_id, Relationship.FRIEND)]


def has_blocked(user_id: int, other_id: int) -> bool:
    """Whether the user `user_id` takes nothing from `other_id`."""
    return bool(blocks.has_blocked(user_id, other_id))


def friends_online(user_id: int) -> Mapping[int, str]:
    """The channels of those friends of `user_id` who are online, by their ids, for `Ask.tell`."""
    return dict(_online(user_id, Relationship.FRIEND))


def members(group: str) -> list[int]:
    """The ids of a group's members in the order in which they joined; empty for an unknown
    group."""
    return [member for (member,) in _members(as_stored(group, Group.name))]


def is_member(user_id: int, group: str) -> bool:
    """Whether the user `user_id` is a member of `group`."""
    return bool(_membership(user_id, as_stored(group, Group.name)))


def owner(group: str) -> int | None:
    """The id of a group's owner; None for an unknown group, or one without an owner."""
    found = _group(as_stored(group, Group.name))
    return found[0][0] if found else None


def group_channel(group: str) -> str | None:
    """The channel that the members of a group hear, for `Ask.tell`; None for an unknown group."""
    found = _group(as_stored(group, Group.name))
    return channel_of(found[0][1]) if found else None


@statement
def _friends(user: int, kind: str) -> peewee.Select:
    own = (Relationship.user == user) & (Relationship.kind == kind)
    return Relationship.select(Relationship.other).where(own).order_by(Relationship.id)


@statement
def _online(user: int, kind: str) -> peewee.Select:
    found = Relationship.select(User.id, User.channel)
    named = found.join(User, on=(User.id == Relationship.other))
    placed = named.join(Place, on=(Place.user == Relationship.other))
    return placed.where((Relationship.user == user) & (Relationship.kind == kind))


@statement
def _members(group: str) -> peewee.Select:
    found = Membership.select(Membership.user).join(Group)
    return found.where(Group.name == group).order_by(Membership.id)


@statement
def _membership(user: int, group: str) -> peewee.Select:
    found = Membership.select(Membership.id).join(Group)
    return found.where((Group.name == group) & (Membership.user == user))


@statement
def _group(name: str) -> peewee.Select:
    return Group.select(Group.creator, Group.channel).where(Group.name == name)
