"""Groups and their members.

Each change of a group first locks its row, and before it the inboxes of the people concerned. The
member who joined first becomes the owner when the owner leaves; `groups.ownership` has the
commands for owners. A private group without an owner is open to join while it has members: nobody
could let anybody in.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import peewee

from bbs.board import inboxes
from bbs.board.groups import errors
from bbs.board.groups.tables import Group, GroupInvitation, Membership
from bbs.board.lists import LENGTHS, chunks, padded
from bbs.board.messages.tables import MessageRow
from bbs.board.posts.tables import Contribution, RemovedPost
from bbs.framework import (
    Caller,
    Page,
    Part,
    User,
    for_update,
    is_valid_name,
    new_channel,
    paged,
    read_only,
    setting,
)
from bbs.framework.fast import asks, by_index, long_read, question, statement, together
from bbs.framework.limits import costs, stores_text
from bbs.framework.names import as_stored, normalized

GROUPS = setting(100, "made by a user", minimum=0, share="all: it is nobody else's")
MEMBERS = setting(1000, "of a group", minimum=1, share="one membership in a group")
"""Keys of `[limits]`."""

KIND = "group"  # Of the channels of groups.

MOST_JOINED = 1000  # groups that a user may be in: a connection that listens hears all of them

MOST_DESCRIBED = 200
"""Groups in one part of `groups`: the members of each are counted, a thousand at the most."""

JOINED, OTHERS = "joined", "others"
"""The phases of a position in `groups`: those that the caller is in come first."""

PASSED_ON_AT_ONCE = 100  # groups of somebody who leaves that one transaction passes on

REMOVED_AT_ONCE = 1000
"""Members, invitations, or numbers of posts that are gone, that one transaction removes with a
group."""


Removes = Callable[[int], int]


@dataclass(frozen=True)
class GroupEvent:
    """An event for the `members`, in number, of the group with this channel."""

    channel: str
    event: Mapping[str, object]
    members: int

    def price(self) -> int:
        """A delivery for each member, as a message to the group."""
        return max(1, self.members)


@dataclass(frozen=True)
class Removal(GroupEvent):
    """The event about a group that may have ended. `rest` is its id while a part of it is left, for
    `remove`; None if all of it is gone, or it goes on."""

    rest: int | None


@question
def named(query: peewee.ModelSelect[User], name: str) -> peewee.Select:
    """The group `name`: its id and channel, and the caller's membership; all None if unknown."""
    found: peewee.Select = with_group(query, name)
    return found


def with_group(query: Any, name: str) -> Any:
    """The question of `named`; the caller may add more."""
    return (
        query.select_extend(Group.id, Group.channel, Membership.id)
        .left_outer_join(Group, on=(Group.name == name))
        .left_outer_join(
            Membership, on=((Membership.group == Group.id) & (Membership.user == User.id))
        )
    )


def channel_of(random: str) -> str:
    return f"{KIND}.{random}"


def forms_of(name: str) -> list[str]:
    """The form in which a new group's name is stored, and other forms in which a group may have the
    name: older versions stored it as typed.

    :raises InvalidGroup: no group can have this name.
    """
    form = normalized(name)
    if not is_valid_name(form):
        raise errors.InvalidGroup()
    return [*dict.fromkeys((form, name, unicodedata.normalize("NFD", form)))]


@stores_text
@costs(commands=2)
@asks(named)
def create(caller: Caller, name: str) -> str:
    """Create the group `name` with the caller in it; returns its channel."""
    form, *others = forms_of(name)
    for each in (form, *others):
        [(there, _, _)] = named(caller, each)
        if there is not None:
            raise errors.GroupExists(name)
    inboxes.lock([caller.id])
    most = caller.quotas.groups
    if most == 0 or one_of_many_made(caller.id, most - 1):
        raise errors.TooManyGroups()
    if _one_of_many_joined(caller.id, MOST_JOINED - 1):
        raise errors.TooManyJoined()
    random = new_channel()
    _add_member(_add(form, random, caller.id), caller.id, 0)
    return channel_of(random)


@costs(deliveries=GroupEvent.price)
@asks(named)
def join(caller: Caller, name: str) -> GroupEvent:
    """Join the group `name`; returns the event for its members. An invitation is used up."""
    form = as_stored(name, Group.name)
    [(group, random, membership)] = named(caller, form)
    if group is None:
        raise errors.NoSuchGroup(name)
    if membership is not None:
        raise errors.AlreadyMember(name)
    inboxes.lock([caller.id])
    found = lock(group)
    if not found:
        raise errors.NoSuchGroup(name)  # The owner has deleted it meanwhile.
    [(owner, private)] = found
    invited, [(members,)], joined_many, [(newest,)] = together(
        find_invitation.of(group, caller.id),
        count_members.of(group),
        _one_of_many_joined.of(caller.id, MOST_JOINED - 1),
        _newest.of(),
    )
    if is_private(private, owner, members) and owner != caller.id and not invited:
        raise errors.PrivateGroup(name)
    if members >= caller.quotas.members:
        raise errors.GroupFull(name)
    if joined_many:
        raise errors.TooManyJoined()
    if invited:
        _use_invitation(group, caller.id)
    _add_member(group, caller.id, newest or 0)
    text = f"{caller.name} joined {form}"
    joined = event("joined", caller, form, caller.name, text)
    return GroupEvent(channel_of(random), joined, members + 1)


@costs(deliveries=GroupEvent.price)
@asks(named)
def leave(caller: Caller, name: str) -> Removal:
    """Leave the group `name`; returns the event for the members. The last one to leave takes the
    group along, or a part of it, unless it has posts: nobody may read its messages any more."""
    form = as_stored(name, Group.name)
    [(group, random, membership)] = named(caller, form)
    if membership is None:
        raise errors.NotMember(name)
    found = lock(group)
    if not found or not remove_member(group, caller.id):
        raise errors.NotMember(name)
    [(owner, _)] = found
    if owner == caller.id:
        _pass_on([group], caller.id)
    [(members,)] = count_members(group)
    is_over = not members and not has_posts(group)
    rest = group if is_over and not empty(group) else None
    text = f"{caller.name} left {form}"
    left = event("left", caller, form, caller.name, text)
    return Removal(channel_of(random), left, members, rest)


def event(
    name: str, caller: Caller, group: str, person: str | None, text: str, **more: object
) -> dict[str, object]:
    """An event about something that the caller did in a group, and that happened to `person`."""
    return {"event": name, "group": group, "id": person, **more, "time": caller.now, "text": text}


def to_gone(event: Mapping[str, object]) -> dict[str, object]:
    """An event `left` as those get it who are no longer in the group themselves."""
    return {**event, "you_left": event["group"]}


def is_private(private: bool, owner: object, members: int) -> bool:
    """Whether a group is private, by its row; `owner` is the owner's id or name, or None. A private
    group that everybody has left stays so: its posts are for nobody else."""
    return private and (owner is not None or not members)


def pass_on_all(user: int) -> int:
    """Pass on the groups that `user`, who leaves the board, owns: `PASSED_ON_AT_ONCE` of them.
    Returns how many if there may be more, else 0."""
    owned = [group for (group,) in _owned_by(user, PASSED_ON_AT_ONCE)]
    _pass_on(owned, user)
    return len(owned) if len(owned) == PASSED_ON_AT_ONCE else 0


def _pass_on(groups: Sequence[int], owner: int) -> None:
    """Give groups of `owner`, which are locked, each to the member who joined first."""
    heirs = _first_members.each([(group, owner) for group in groups])
    _set_owner.many(
        (found[0][0] if found else None, group) for group, found in zip(groups, heirs, strict=True)
    )


def has_posts(group: int) -> bool:
    return bool(posts_of(group, 1))


def end_if_empty(group: int) -> bool:
    """Remove a group, which is locked, or a part of it; returns False if it has members or
    posts."""
    [(members,)] = count_members(group)
    if members or has_posts(group):
        return False
    empty(group)
    return True


def give(group: int, user: int) -> bool:
    """Make `user`, a member, the owner of a group; returns False for somebody who is not a
    member."""
    if not lock(group) or not find_membership(group, user):
        return False
    _set_owner(user, group)
    return True


_removals: list[Removes] = []


def at_end(removal: Removes) -> Removes:
    """Have `removal` called with a group that ends, when nobody is in it any more: it removes some
    of what another part of the board keeps there, and returns how much, 0 at the end."""
    _removals.append(removal)
    return removal


def remove(group: int) -> bool:
    """Remove a part of a group: its members and invitations, then its posts, at last the group.
    Returns whether all of it is gone; otherwise this must be called again.

    From the first call on nobody joins it. After an interruption it is left as an empty, private
    group, which its owner may delete again, or `empty_groups.forget_empty` without its posts.
    """
    if not _people_in(group) and any(removal(group) for removal in _removals):
        return False
    return not lock(group) or empty(group)


def empty(group: int) -> bool:
    """Remove members and invitations of a group, which is locked, and then the group itself, unless
    it has posts. Returns whether all of it is gone."""
    members, invitations, gaps, posts = together(
        _members_of.of(group, REMOVED_AT_ONCE),
        _invitations_of.of(group, REMOVED_AT_ONCE),
        _gaps_of.of(group, REMOVED_AT_ONCE),
        posts_of.of(group, 1),
    )
    together(
        set_private.of(group, True),
        *_by_ids(_remove_members, members),
        *_by_ids(_remove_invitations, invitations),
        *([_remove_gaps.of(group, gaps[-1][0])] if gaps else ()),
    )
    if posts or max(map(len, (members, invitations, gaps))) == REMOVED_AT_ONCE:
        return False
    _remove_group(group)
    return True


def _by_ids(removal: Any, found: Sequence[tuple[int]]) -> list[Any]:
    ids = [number for (number,) in found]
    return [removal.of(padded(some)) for some in chunks(ids, LENGTHS[-1])]


@paged
@long_read
def all_groups(caller: Caller, page: Page) -> Part:
    return page.part("group", _all(page.last or 0, page.limit))


@paged
@long_read
def described(caller: Caller, page: Page) -> Part:
    """All groups and what they are, those of the caller first. A group that the caller joins or
    leaves between two parts may be in the list twice, or not at all."""
    phase, last = page.last or (JOINED, 0)
    most = MOST_DESCRIBED + 1
    found: list[tuple[Any, object]] = []
    if phase == JOINED:
        own = _described_own(caller.id, last, most)
        found = [((JOINED, number), _entry(row, member=True)) for number, *row in own]
        last = 0
    if len(found) < most:
        others = _described_others(caller.id, last, most - len(found))
        found += [
            ((OTHERS, number), {**_entry(row, member=False), **_invited(invitation)})
            for number, *row, invitation in others
        ]
    return page.part("group", found, most=MOST_DESCRIBED)


def _entry(row: Sequence[Any], member: bool) -> dict[str, object]:
    """An entry of `groups`, of the columns of `_description`."""
    name, topic, private, owner, members = row
    return {
        "group": name,
        "topic": topic,
        "members": members,
        "private": is_private(private, owner, members),
        "owner": owner,
        "member": member,
    }


def _invited(invitation: int | None) -> dict[str, object]:
    return {} if invitation is None else {"invited": True}


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


@long_read
def channels_of(users: Sequence[int]) -> Mapping[int, Sequence[str]]:
    """The channels of the groups of each of `users`."""
    found: dict[int, list[str]] = {}
    for user, random in _all_channels(padded(users)):
        found.setdefault(user, []).append(channel_of(random))
    return found


@statement
def lock(group: int) -> peewee.Select:
    """The owner of a group, and `Group.private`. Nobody else joins or changes the group until the
    transaction ends."""
    found = Group.select(Group.creator, Group.private).where(Group.id == group)
    locked: peewee.Select = for_update(found)
    return locked


@statement
def _add(name: str, random: str, creator: int) -> peewee.Insert:
    return Group.insert(name=name, channel=random, creator=creator)


@statement
def _owned_by(user: int, limit: int) -> peewee.Select:
    owned = Group.select(Group.id).where(Group.creator == user)
    locked: peewee.Select = for_update(owned.order_by(Group.id).limit(limit))
    return locked


@statement
def _set_owner(user: int | None, group: int) -> peewee.Update:
    """Make `user` the owner of a group, or nobody."""
    return Group.update(creator=user).where(Group.id == group)


@statement
def set_private(group: int, private: bool) -> peewee.Update:
    return Group.update(private=private).where(Group.id == group)


@statement
def one_of_many_made(creator: int, before: int) -> peewee.Select:
    return Group.select(Group.id).where(Group.creator == creator).limit(1).offset(before)


@statement
def count_members(group: int) -> peewee.Select:
    return Membership.select(peewee.fn.COUNT(Membership.id)).where(Membership.group == group)


@statement
def find_membership(group: int, user: int) -> peewee.Select:
    """The id of a user's membership in a group; no row without."""
    own = (Membership.group == group) & (Membership.user == user)
    return Membership.select(Membership.id).where(own)


@statement
def _first_members(group: int, owner: int) -> peewee.Select:
    """The member of a group who joined first, `owner` left out."""
    others = (Membership.group == group) & (Membership.user != owner)
    first = Membership.select(Membership.user).where(others).order_by(Membership.id).limit(1)
    return by_index(first, Membership.group)


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
def remove_member(group: int, user: int) -> peewee.Delete:
    return Membership.delete().where((Membership.group == group) & (Membership.user == user))


@statement
def find_invitation(group: int, user: int) -> peewee.Select:
    own = (GroupInvitation.group == group) & (GroupInvitation.user == user)
    return GroupInvitation.select(GroupInvitation.id).where(own)


@statement
def _use_invitation(group: int, user: int) -> peewee.Delete:
    own = (GroupInvitation.group == group) & (GroupInvitation.user == user)
    return GroupInvitation.delete().where(own)


@statement
def _remove_group(group: int) -> peewee.Delete:
    return Group.delete().where(Group.id == group)


@statement
def _people_in(group: int) -> peewee.SelectBase:
    """A member or an invitation of a group, if there are any."""
    member = Membership.select(Membership.id).where(Membership.group == group).limit(1)
    invited = GroupInvitation.select(GroupInvitation.id).where(GroupInvitation.group == group)
    return member.union_all(invited.limit(1))


@statement
def _members_of(group: int, limit: int) -> peewee.Select:
    return Membership.select(Membership.id).where(Membership.group == group).limit(limit)


@statement
def _remove_members(numbers: Sequence[int]) -> peewee.Delete:
    return Membership.delete().where(Membership.id.in_(numbers))


@statement
def _invitations_of(group: int, limit: int) -> peewee.Select:
    found = GroupInvitation.select(GroupInvitation.id).where(GroupInvitation.group == group)
    return found.limit(limit)


@statement
def _remove_invitations(numbers: Sequence[int]) -> peewee.Delete:
    return GroupInvitation.delete().where(GroupInvitation.id.in_(numbers))


@statement
def posts_of(group: int, limit: int) -> peewee.Select:
    """The first posts of a group."""
    found = Contribution.select(Contribution.post).where(Contribution.group == group)
    return found.order_by(Contribution.number).limit(limit)


@statement
def _gaps_of(group: int, limit: int) -> peewee.Select:
    """The first numbers of removed posts of a group."""
    gaps = RemovedPost.select(RemovedPost.number).where(RemovedPost.group == group)
    return gaps.order_by(RemovedPost.number).limit(limit)


@statement
def _remove_gaps(group: int, last: int) -> peewee.Delete:
    return RemovedPost.delete().where((RemovedPost.group == group) & (RemovedPost.number <= last))


@statement
def _all(last: int, limit: int) -> peewee.Select:
    return Group.select(Group.id, Group.name).where(Group.id > last).order_by(Group.id).limit(limit)


@statement
def _described_own(user: int, last: int, limit: int) -> peewee.Select:
    owner, own = User.alias(), (Membership.user == user) & (Membership.id > last)
    found: peewee.Select = (
        Membership.select(Membership.id, *_description(owner))
        .join(Group)
        .left_outer_join(owner, on=(Group.creator == owner.id))
    )
    return found.where(own).order_by(Membership.id).limit(limit)


@statement
def _described_others(user: int, last: int, limit: int) -> peewee.Select:
    owner = User.alias()
    own = (Membership.group == Group.id) & (Membership.user == user)
    invited = (GroupInvitation.group == Group.id) & (GroupInvitation.user == user)
    found: peewee.Select = (
        Group.select(Group.id, *_description(owner), GroupInvitation.id)
        .left_outer_join(owner, on=(Group.creator == owner.id))
        .left_outer_join(Membership, on=own)
        .left_outer_join(GroupInvitation, on=invited)
    )
    others = Membership.id.is_null() & (Group.id > last)
    return found.where(others).order_by(Group.id).limit(limit)


def _description(owner: Any) -> tuple[Any, ...]:
    """What an entry of `groups` has of a group; `owner` is an alias of `User`."""
    member = Membership.alias()
    members = member.select(peewee.fn.COUNT(member.id)).where(member.group == Group.id)
    return Group.name, Group.topic, Group.private, owner.name, members


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


@statement
def _all_channels(users: Sequence[int]) -> peewee.Select:
    groups = Membership.select(Membership.user, Group.channel).join(Group)
    return groups.where(Membership.user.in_(users))
