"""Groups and their members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import peewee

from bbs.board import errors
from bbs.board.models import Group, Membership
from bbs.framework import (
    Caller,
    User,
    asks,
    is_valid_name,
    long_read,
    new_channel,
    question,
    read_only,
    statement,
)


@question
def named(query: peewee.ModelSelect[User], name: str) -> peewee.Select:
    """The group `name`: its id and channel, and the caller's membership. All are None for none."""
    return (
        query.select_extend(Group.id, Group.channel, Membership.id)
        .left_outer_join(Group, on=(Group.name == name))
        .left_outer_join(
            Membership, on=((Membership.group == Group.id) & (Membership.user == User.id))
        )
    )


def channel_of(random: str) -> str:
    """The channel of a group, with the random part of its name."""
    return f"group.{random}"


@asks(named)
def create(caller: Caller, name: str) -> str:
    """Create the group `name` with the caller in it; returns its channel."""
    if not is_valid_name(name):
        raise errors.InvalidGroup()
    [(there, _, _)] = named(caller, name)
    if there is not None:
        raise errors.GroupExists(name)
    random = new_channel()
    _add_member(_add(name, random), caller.id)
    return channel_of(random)


@asks(named)
def join(caller: Caller, name: str) -> str:
    """Join the group `name`; returns its channel."""
    [(group, random, membership)] = named(caller, name)
    if group is None:
        raise errors.NoSuchGroup(name)
    if membership is not None:
        raise errors.AlreadyMember(name)
    _add_member(group, caller.id)
    return channel_of(random)


@long_read
def all_groups(caller: Caller) -> Mapping[str, Sequence[str]]:
    """The names of all groups, oldest first."""
    return {"group": [name for (name,) in _all()]}


@read_only
def joined(caller: Caller) -> Mapping[str, Sequence[str]]:
    """The caller's groups, in the order joined."""
    return {"group": [name for name, _ in _of_member(caller.id)]}


def channels(user: int) -> list[str]:
    """The channels of the groups that `user` is in."""
    return [channel_of(random) for _, random in _of_member(user)]


@statement
def _add(name: str, random: str) -> peewee.Insert:
    return Group.insert(name=name, channel=random)


@statement
def _add_member(group: int, user: int) -> peewee.Insert:
    return Membership.insert(group=group, user=user)


@statement
def _all() -> peewee.Select:
    return Group.select(Group.name).order_by(Group.id)


@statement
def _of_member(user: int) -> peewee.Select:
    return (
        Membership.select(Group.name, Group.channel)
        .join(Group)
        .where(Membership.user == user)
        .order_by(Membership.id)
    )
