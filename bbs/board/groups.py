"""Groups and their members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bbs.board import errors
from bbs.board.models import Group, Membership
from bbs.framework import Caller, is_valid_name, new_channel, read_only, rows


def channel_of(random: str) -> str:
    """The channel of a group, with the random part of its name."""
    return f"group.{random}"


def create(caller: Caller, name: str) -> str:
    """Create the group `name` with the caller in it; returns its channel."""
    if not is_valid_name(name):
        raise errors.InvalidGroup()
    if Group.get_or_none(Group.name == name):
        raise errors.GroupExists(name)
    random = new_channel()
    group = Group.insert(name=name, channel=random).execute()
    Membership.insert(group=group, user=caller.id).execute()
    return channel_of(random)


def join(caller: Caller, name: str) -> str:
    """Join the group `name`; returns its channel."""
    group = Group.get_or_none(Group.name == name)
    if group is None:
        raise errors.NoSuchGroup(name)
    if is_member(caller.id, group.id):
        raise errors.AlreadyMember(name)
    Membership.insert(group=group.id, user=caller.id).execute()
    return channel_of(group.channel)


@read_only
def all_groups(caller: Caller) -> Mapping[str, Sequence[str]]:
    """The names of all groups, oldest first."""
    return {"group": [name for (name,) in rows(Group.select(Group.name).order_by(Group.id))]}


@read_only
def joined(caller: Caller) -> Mapping[str, Sequence[str]]:
    """The caller's groups, in the order joined."""
    query = (
        Membership.select(Group.name)
        .join(Group)
        .where(Membership.user == caller.id)
        .order_by(Membership.id)
    )
    return {"group": [name for (name,) in rows(query)]}


def is_member(user: int, group: int) -> bool:
    """Whether `user` is in `group`."""
    found: bool = (
        Membership.select(Membership.id)
        .where((Membership.group == group) & (Membership.user == user))
        .exists()
    )
    return found


def channels(user: int) -> list[str]:
    """The channels of the groups that `user` is in."""
    query = Membership.select(Group.channel).join(Group).where(Membership.user == user)
    return [channel_of(random) for (random,) in rows(query)]
