"""Commands for owners of groups: topic, privacy, members, and the end of a group.

The owner is `Group.creator`. Two commands about one group wait for each other at its row, and each
looks again, behind the lock, whether its caller owns the group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import peewee

from bbs.board import inboxes
from bbs.board.groups import errors, groups
from bbs.board.groups.groups import GroupEvent, Removal
from bbs.board.groups.tables import TOPIC_LENGTH, Group, GroupInvitation, Membership
from bbs.board.people import blocks, friendships
from bbs.board.people.errors import (
    AlreadyInvited,
    HasTooManyInvitations,
    InvitesSelf,
    NoSuchUser,
    TakesNothing,
)
from bbs.framework import Caller, User
from bbs.framework.fast import asks, question, statement, together
from bbs.framework.limits import costs
from bbs.framework.names import as_stored


@dataclass(frozen=True)
class Kick(GroupEvent):
    """The event about a member who was removed, and the channel of that user."""

    of_kicked: str


class _Group(NamedTuple):
    """A group of the caller's, by its stored name."""

    name: str
    id: int
    channel: str


class _Person(NamedTuple):
    """Somebody whom the caller names, and whether they are in the group."""

    name: str
    id: int
    channel: str
    is_member: bool


@question
def _owned(query: peewee.ModelSelect[User], name: str) -> peewee.Select:
    """The group `name`: its id, its channel and its owner; all None if unknown."""
    found: peewee.Select = _with_owner(query, name)
    return found


@question
def _owned_and_person(query: peewee.ModelSelect[User], name: str, person: str) -> peewee.Select:
    """The group `name`, as `_owned` finds it, and the person: the id, the channel, and an id if
    they are a member. What does not exist is None."""
    other = User.alias()
    own = (Membership.group == Group.id) & (Membership.user == other.id)
    found: peewee.Select = (
        _with_owner(query, name)
        .select_extend(other.id, other.channel, Membership.id)
        .left_outer_join(other, on=(other.name == person))
        .left_outer_join(Membership, on=own)
    )
    return found


def _with_owner(query: Any, name: str) -> Any:
    return query.select_extend(Group.id, Group.channel, Group.creator).left_outer_join(
        Group, on=(Group.name == name)
    )


@costs(deliveries=GroupEvent.price)
@asks(_owned)
def set_topic(caller: Caller, name: str, topic: str = "") -> GroupEvent:
    """Set the topic of the group `name`, or with an empty one remove it; returns the event for the
    members."""
    group = _find_group(caller, name)
    if len(topic) > TOPIC_LENGTH:
        raise errors.TopicTooLong(TOPIC_LENGTH)
    _lock(caller, group)
    _set_topic(group.id, topic or None)
    text = f"{caller.name} removed the topic of {group.name}"
    if topic:
        text = f"{caller.name} set the topic of {group.name}: {topic}"
    event = groups.event("topic", caller, group.name, caller.name, text, topic=topic or None)
    [(members,)] = groups.count_members(group.id)
    return GroupEvent(group.channel, event, members)


@asks(_owned)
def close_group(caller: Caller, name: str) -> None:
    """Let only those whom the owner invites join the group `name`."""
    _set_private(caller, name, True)


@asks(_owned)
def open_group(caller: Caller, name: str) -> None:
    """Let everybody join the group `name`."""
    _set_private(caller, name, False)


def _set_private(caller: Caller, name: str, private: bool) -> None:
    group = _find_group(caller, name)
    _lock(caller, group)
    groups.set_private(group.id, private)


@costs(commands=friendships.PRICE_OF_INVITING)
@asks(_owned_and_person)
def invite(caller: Caller, name: str, person: str) -> friendships.Notification | None:
    """Let a person join the group `name`, even if it is private. Returns the notification for them,
    unless they were told of an invitation of the caller's lately (`bbs.board.people.heard`)."""
    group, other = _find_both(caller, name, person)
    if other.id == caller.id:
        raise InvitesSelf()
    inboxes.lock([caller.id, other.id])
    try:
        blocks.check(caller, other.id, other.name)
    except TakesNothing as blocked:
        raise errors.AcceptsNoMessages(other.name) from blocked
    _lock(caller, group)
    most = caller.quotas.members
    member, invited, invited_many, inviters, *told = together(
        groups.find_membership.of(group.id, other.id),
        groups.find_invitation.of(group.id, other.id),
        _one_of_many_invited.of(group.id, max(0, most - 1)),
        _inviters_of.of(other.id, friendships.MOST_INVITATIONS),
        *friendships.looks_at_telling(caller, other.id),
    )
    if member:
        raise errors.IsMember(other.name, group.name)
    if invited:
        raise AlreadyInvited()
    if invited_many or not most:
        raise errors.GroupHasTooManyInvitations(group.name)
    of_caller = [each for each in inviters if each == (caller.id,)]
    if (
        len(inviters) == friendships.MOST_INVITATIONS
        or len(of_caller) >= friendships.SHARE_OF_INVITATIONS
    ):
        raise HasTooManyInvitations(other.name)
    telling = friendships.telling(caller, other.id, *told)
    together(_add_invitation.of(group.id, other.id, caller.id), *telling.notes)
    if not telling.is_due:
        return None
    text = f"{caller.name} invites you to {group.name}"
    event = {"event": "invite", "from": caller.name, "group": group.name, "text": text}
    return friendships.Notification(other.channel, event)


@costs(deliveries=GroupEvent.price)
@asks(_owned_and_person)
def kick(caller: Caller, name: str, person: str) -> Kick:
    """Remove a member from the group `name`; returns the event for the others."""
    group, other = _find_both(caller, name, person)
    if other.id == caller.id:
        raise errors.KicksSelf()
    if not other.is_member:
        raise errors.IsNotMember(other.name, group.name)
    _lock(caller, group)
    if not groups.remove_member(group.id, other.id):
        raise errors.IsNotMember(other.name, group.name)
    text = f"{caller.name} removed {other.name} from {group.name}"
    event = groups.event("left", caller, group.name, other.name, text, by=caller.name)
    [(members,)] = groups.count_members(group.id)
    return Kick(group.channel, event, members, other.channel)


@asks(_owned_and_person)
def give(caller: Caller, name: str, person: str) -> None:
    """Make a member the owner of the group `name`."""
    group, other = _find_both(caller, name, person)
    if other.id == caller.id:
        raise errors.AlreadyOwner(group.name)
    if not other.is_member:
        raise errors.IsNotMember(other.name, group.name)
    # A group that the other makes meanwhile waits, and counts this one.
    inboxes.lock([other.id])
    _lock(caller, group)
    most = caller.quotas.groups
    if not most or groups.one_of_many_made(other.id, most - 1):
        raise errors.HasTooManyGroups(other.name)
    if not groups.give(group.id, other.id):
        raise errors.IsNotMember(other.name, group.name)


@costs(deliveries=GroupEvent.price)
@asks(_owned)
def delete(caller: Caller, name: str) -> Removal:
    """Remove the group `name`, or the first part of it; returns the event for those who were
    members. Nobody can read its messages any more."""
    group = _find_group(caller, name)
    _lock(caller, group)
    [(members,)] = groups.count_members(group.id)
    is_gone = groups.empty(group.id)
    text = f"{caller.name} deleted {group.name}"
    event = groups.event("left", caller, group.name, None, text, by=caller.name)
    rest = None if is_gone else group.id
    return Removal(group.channel, groups.to_gone(event), members, rest)


def _find_group(caller: Caller, name: str) -> _Group:
    form = as_stored(name, Group.name)
    [found] = _owned(caller, form)
    return _check_owner(caller, form, *found)


def _find_both(caller: Caller, name: str, person: str) -> tuple[_Group, _Person]:
    form, other = as_stored(name, Group.name), as_stored(person)
    [(*found, number, channel, membership)] = _owned_and_person(caller, form, other)
    group = _check_owner(caller, form, *found)
    if number is None:
        raise NoSuchUser(person)
    return group, _Person(other, number, channel, membership is not None)


def _check_owner(
    caller: Caller, name: str, group: int | None, random: str, owner: int | None
) -> _Group:
    if group is None:
        raise errors.NoSuchTarget()
    if owner != caller.id:
        raise errors.NotTheOwner(name)
    return _Group(name, group, groups.channel_of(random))


def _lock(caller: Caller, group: _Group) -> None:
    """Let nobody else change a group until the transaction ends. Refuse if it was removed or given
    to somebody else meanwhile."""
    found = groups.lock(group.id)
    if not found:
        raise errors.NoSuchTarget()
    if found[0][0] != caller.id:
        raise errors.NotTheOwner(group.name)


@statement
def _set_topic(group: int, topic: str | None) -> peewee.Update:
    return Group.update(topic=topic).where(Group.id == group)


@statement
def _one_of_many_invited(group: int, before: int) -> peewee.Select:
    invited = GroupInvitation.select(GroupInvitation.id).where(GroupInvitation.group == group)
    return invited.limit(1).offset(before)


@statement
def _inviters_of(user: int, limit: int) -> peewee.Select:
    """Who has invited the user to groups, once for each of `limit` invitations at the most."""
    invited = GroupInvitation.user == user
    return GroupInvitation.select(GroupInvitation.by).where(invited).limit(limit)


@statement
def _add_invitation(group: int, user: int, by: int) -> peewee.Insert:
    return GroupInvitation.insert(group=group, user=user, by=by)
