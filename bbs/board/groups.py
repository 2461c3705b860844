"""Groups and their members."""

from __future__ import annotations

import unicodedata

import peewee

from bbs.board import errors, inboxes
from bbs.board.models import Group, Membership, MessageRow
from bbs.framework import (
    Caller,
    Page,
    Part,
    User,
    as_stored,
    asks,
    for_update,
    is_valid_name,
    long_read,
    new_channel,
    normalized,
    paged,
    question,
    read_only,
    statement,
)

MOST_JOINED = 1000  # groups that a user may be in: a connection that listens hears all of them


@question
def named(query: peewee.ModelSelect[User], name: str) -> peewee.Select:
    """The group `name`: its id and channel, and the caller's membership; all None if unknown."""
    return (
        query.select_extend(Group.id, Group.channel, Membership.id)
        .left_outer_join(Group, on=(Group.name == name))
        .left_outer_join(
            Membership, on=((Membership.group == Group.id) & (Membership.user == User.id))
        )
    )


def channel_of(random: str) -> str:
    return f"group.{random}"


@asks(named)
def create(caller: Caller, name: str) -> str:
    """Create the group `name` with the caller in it; returns its channel."""
    form = normalized(name)
    if not is_valid_name(form):
        raise errors.InvalidGroup()
    # Names in another form are from a time when names were stored as typed.
    for each in dict.fromkeys((name, form, unicodedata.normalize("NFD", form))):
        [(there, _, _)] = named(caller, each)
        if there is not None:
            raise errors.GroupExists(name)
    inboxes.lock([caller.id])
    most = caller.quotas.groups
    if most == 0 or _one_of_many_made(caller.id, most - 1):
        raise errors.TooManyGroups()
    if _one_of_many_joined(caller.id, MOST_JOINED - 1):
        raise errors.TooManyJoined()
    random = new_channel()
    _add_member(_add(form, random, caller.id), caller.id, 0)
    return channel_of(random)


@asks(named)
def join(caller: Caller, name: str) -> str:
    """Join the group `name`; returns its channel."""
    [(group, random, membership)] = named(caller, as_stored(name, Group.name))
    if group is None:
        raise errors.NoSuchGroup(name)
    if membership is not None:
        raise errors.AlreadyMember(name)
    inboxes.lock([caller.id])
    _lock(group)
    if _one_of_many_members(group, caller.quotas.members - 1):
        raise errors.GroupFull(name)
    if _one_of_many_joined(caller.id, MOST_JOINED - 1):
        raise errors.TooManyJoined()
    [(newest,)] = _newest()
    _add_member(group, caller.id, newest or 0)
    return channel_of(random)


@asks(named)
def leave(caller: Caller, name: str) -> str:
    """Leave the group `name`, which stays even without members; returns its channel."""
    [(group, random, membership)] = named(caller, as_stored(name, Group.name))
    if membership is None or not _remove_member(group, caller.id):
        raise errors.NotMember(name)
    return channel_of(random)


@paged
@long_read
def all_groups(caller: Caller, page: Page) -> Part:
    return page.part("group", _all(page.last or 0, page.limit))


@paged
@read_only
def joined(caller: Caller, page: Page) -> Part:
    return page.part("group", _of_member(caller.id, page.last or 0, page.limit))


@paged
@asks(named)
@read_only
def members(caller: Caller, page: Page, name: str) -> Part:
    """The names of the members of the group `name`, in the order joined."""
    [(group, _, membership)] = named(caller, as_stored(name, Group.name))
    if membership is None:
        raise errors.NotMember(name)
    return page.part("member", _members(group, page.last or 0, page.limit))


def channels(user: int) -> list[str]:
    return [channel_of(random) for (random,) in _channels(user)]


@statement
def _lock(group: int) -> peewee.Select:
    """Let nobody else join until the transaction ends."""
    locked: peewee.Select = for_update(Group.select(Group.id).where(Group.id == group))
    return locked


@statement
def _add(name: str, random: str, creator: int) -> peewee.Insert:
    return Group.insert(name=name, channel=random, creator=creator)


@statement
def _one_of_many_made(creator: int, before: int) -> peewee.Select:
    return Group.select(Group.id).where(Group.creator == creator).limit(1).offset(before)


@statement
def _one_of_many_members(group: int, before: int) -> peewee.Select:
    return (
        Membership.select(Membership.user).where(Membership.group == group).limit(1).offset(before)
    )


@statement
def _one_of_many_joined(user: int, before: int) -> peewee.Select:
    return (
        Membership.select(Membership.group).where(Membership.user == user).limit(1).offset(before)
    )


@statement
def _newest() -> peewee.Select:
    """The newest message: the messages from now on come behind it."""
    return MessageRow.select(peewee.fn.MAX(MessageRow.id))


@statement
def _add_member(group: int, user: int, after: int) -> peewee.Insert:
    return Membership.insert(group=group, user=user, after=after)


@statement
def _remove_member(group: int, user: int) -> peewee.Delete:
    return Membership.delete().where((Membership.group == group) & (Membership.user == user))


@statement
def _all(last: int, limit: int) -> peewee.Select:
    return Group.select(Group.id, Group.name).where(Group.id > last).order_by(Group.id).limit(limit)


@statement
def _of_member(user: int, last: int, limit: int) -> peewee.Select:
    groups = Membership.select(Membership.id, Group.name).join(Group)
    own = (Membership.user == user) & (Membership.id > last)
    return groups.where(own).order_by(Membership.id).limit(limit)


@statement
def _members(group: int, last: int, limit: int) -> peewee.Select:
    people = Membership.select(Membership.id, User.name).join(User)
    own = (Membership.group == group) & (Membership.id > last)
    return people.where(own).order_by(Membership.id).limit(limit)


@statement
def _channels(user: int) -> peewee.Select:
    groups = Membership.select(Group.channel).join(Group)
    return groups.where(Membership.user == user).order_by(Membership.id)
