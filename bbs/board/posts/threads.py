"""Threads: posts in groups, replies, and their removal.

A thread begins with a post in a person's feed or in a group. A reply belongs to the thread of the
post that it answers. Replies to a group's posts are posts of the group themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import peewee

from bbs.board.groups import groups
from bbs.board.groups.errors import AcceptsNoMessages, NoSuchTarget, NotMember
from bbs.board.groups.tables import Group, Membership
from bbs.board.lists import LAST_ID
from bbs.board.messages.tables import Inbox
from bbs.board.people import blocks, relationships
from bbs.board.people.tables import Block, Relationship
from bbs.board.posts import errors, post_shares, posts
from bbs.board.posts.posts import NewPost, Published
from bbs.board.posts.tables import Contribution, PostRow, ThreadReader
from bbs.framework import Caller, Page, Part, Place, User, paged, read_only
from bbs.framework.fast import asks, question, statement, together
from bbs.framework.limits import costs, stores_text
from bbs.framework.names import as_stored

MOST_FOLLOWED = 1000  # threads that a user takes part in; of more, the oldest is forgotten

MOST_TOLD = 100  # people online who are told of a reply in a feed; the others find it in `posts`

MOST_DIGITS = 18  # of the number of a post


class _Post(NamedTuple):
    """A post that somebody names, and its thread. `first` is the id of the post that began the
    thread; `owner` is the one in whose feed it is, None in a group. `has_blocked`: the reader has
    blocked somebody."""

    id: int
    writer: int
    writer_name: str
    first: int
    owner: int | None
    group: int | None
    group_name: str | None
    channel: str | None
    owner_of_group: int | None
    membership: int | None
    has_blocked: bool


@stores_text
@costs(commands=2, deliveries=Published.price)
@asks(posts.kept)
def reply(caller: Caller, number: str, text: str) -> Published:
    """Reply to a post, in its thread."""
    post = posts.check(caller, text)
    target = _find_readable(caller, number)
    if target.id != target.first and not _exists(target.first):
        raise errors.NoSuchPost()  # Before anything is stored: to undo it costs others.
    if blocks.has_blocked(target.writer, caller.id):
        raise AcceptsNoMessages(target.writer_name)
    if target.group is not None:
        name, channel = str(target.group_name), groups.channel_of(str(target.channel))
        return _publish_in(target.group, name, channel, post, target)
    assert target.owner is not None  # It is in a feed.
    looks = [
        relationships.kind_of.of(caller.id, target.owner),
        blocks.has_blocked.of(target.writer, caller.id),
    ]
    locks = [_count_reply.of(target.first)]
    stored = posts.store([post], locks=locks, looks=looks, in_feed=False)
    [[added], [own], [kind, blocked]] = stored.locked, stored.numbers, stored.found
    # Others may have done something between the check and the lock.
    if not added or not (caller.id == target.owner or kind == [(Relationship.FRIEND,)]):
        raise errors.NoSuchPost()
    if blocked:
        raise AcceptsNoMessages(target.writer_name)
    _, _, _, readers = together(
        _add_contribution.of(own, caller.id, None, None, target.first, target.owner),
        _follow.of(target.owner, target.first, target.owner, 0),
        _follow.of(caller.id, target.first, target.owner, own),
        _online_readers.of(target.first, caller.id, Relationship.FRIEND, MOST_TOLD),
    )
    for user in {caller.id, target.owner}:
        for (oldest,) in _oldest_followed(user, MOST_FOLLOWED):
            _forget_up_to(user, oldest)
    event = {**posts.event_of("reply", caller, own, text), "to": target.first}
    return Published(own, event, readers, len(readers))


@question
def _group_and_posts(query: peewee.ModelSelect[User], name: str) -> peewee.Select:
    """The group `name`, as `groups.named` finds it, and the caller's posts, as `posts.kept`."""
    found: peewee.Select = (
        groups.with_group(query, name)
        .select_extend(Inbox.posts, Inbox.post_bytes)
        .left_outer_join(Inbox, on=(Inbox.user == User.id))
    )
    return found


@stores_text
@costs(deliveries=Published.price)
@asks(_group_and_posts)
def post_in_group(caller: Caller, name: str, text: str) -> Published:
    """Publish a text in a group of the caller's. Beyond the quota, posts of the group go by
    `post_shares`, and the oldest of the caller."""
    form = as_stored(name, Group.name)
    [(group, random, membership, *counts)] = _group_and_posts(caller, form)
    if group is None:
        raise NoSuchTarget()
    if membership is None:
        raise NotMember(name)
    post = posts.new_post(caller, text, *counts)
    return _publish_in(group, form, groups.channel_of(random), post)


def _publish_in(
    group: int, name: str, channel: str, post: NewPost, target: _Post | None = None
) -> Published:
    """Publish in the group with this id; in reply to `target`, if there is one."""
    caller, first = post.writer, target.first if target else None
    locks = [_count_post.of(group), _newest_in.of(group)]
    if first is not None:
        locks.append(_count_reply.of(first))
    looks = [groups.find_membership.of(group, caller.id)]
    stored = posts.store([post], locks=locks, looks=looks, in_feed=False)
    [[own], [membership]] = stored.numbers, stored.found
    _, newest, *replies = stored.locked
    # Somebody else may have removed the group, the member or the post meanwhile.
    if not newest:
        raise NoSuchTarget()
    if not membership:
        raise NotMember(name)
    if replies and not replies[0]:
        raise errors.NoSuchPost()
    [(number,)] = newest
    _, _, _, [(members, some_blocked)] = together(
        _add_contribution.of(own, caller.id, group, number, first, None),
        _read_own.of(group, caller.id, number - 1, number),
        post_shares.forget_removed.of(group, number - caller.quotas.posts),
        _audience.of(group, caller.id),
    )
    post_shares.make_room(group, number, caller.quotas.posts)
    kind, more = ("reply", {"to": first}) if target else ("post", {})
    event = {**posts.event_of(kind, caller, own, post.text), **more, "group": name}
    return Published(own, event, _told_in(group, channel, caller.id, some_blocked), members)


def _told_in(
    group: int, channel: str, writer: int, some_blocked: bool
) -> Sequence[tuple[str, str | bool | None]]:
    """Those who are told of a post of `writer` in a group with this channel. All members hear it,
    so each is told alone if some are not to be."""
    return _online_members(group, writer) if some_blocked else [(channel, False)]


@costs(deliveries=Published.price)
def delete_post(caller: Caller, number: str) -> Published:
    """Remove a post of the caller's, or one in a group that the caller owns. Its replies stay."""
    post = _find_readable(caller, number, or_own=True)
    if caller.id not in (post.writer, post.owner_of_group):
        raise errors.NotYourPost()
    posts.remove([post.id])
    event: dict[str, object] = {"event": "deleted", "post": post.id, "time": caller.now}
    if post.group is not None:
        [(members, some_blocked)] = _audience(post.group, post.writer)
        event |= {"group": post.group_name, "by": caller.name}
        channel = groups.channel_of(str(post.channel))
        told = _told_in(post.group, channel, post.writer, some_blocked)
        return Published(post.id, event, told, members)
    if post.owner == post.writer:
        friends: dict[int, Any] = dict(posts.online_friends([post.writer], Relationship.FRIEND))
        online = friends.get(post.writer, [])
    else:
        online = _online_readers(post.first, caller.id, Relationship.FRIEND, MOST_TOLD)
    return Published(post.id, event, online, len(online))


@paged
@read_only
def thread(caller: Caller, page: Page, number: str) -> Part:
    """The thread of a post: the post that began it and its replies, oldest first, without those of
    people whom the caller has blocked. One that began the thread shows its number, as if it were
    gone."""
    post = _find_readable(caller, number, of_thread=True)
    without = partial(blocks.unseen_replies, caller.id) if post.has_blocked else None
    first: list[Any] = []
    if page.last is None:
        if not post.has_blocked or _shown(post.first, caller.id):
            first = posts.entries([post.first], without=without)
        first = first or [(post.first, {"post": post.first, "deleted": True})]
    replies = [each for (each,) in _replies(post.first, caller.id, page.last or 0, page.limit)]
    return posts.part_of(page, replies, first)


@paged
@asks(blocks.are_any)
@read_only
def own_posts(caller: Caller, page: Page) -> Part:
    """The caller's own posts, latest first."""
    [(has_blocked,)] = blocks.are_any(caller)
    without = partial(blocks.unseen_replies, caller.id) if has_blocked else None
    below = page.last or LAST_ID
    found = together(
        _in_own_feed.of(caller.id, below, page.limit),
        _contributed.of(caller.id, below, page.limit),
    )
    latest = sorted((number for rows in found for (number,) in rows), reverse=True)
    return posts.part_of(page, latest[: page.limit], without=without)


def _find_readable(
    caller: Caller, number: str, *, of_thread: bool = False, or_own: bool = False
) -> _Post:
    """Find a post in a thread that the caller may read: in one's own feed or a friend's, or in a
    group of one's own. With `of_thread`, a reply stands for a first post that is gone. With
    `or_own`, it may be one that the caller wrote where the caller reads no longer.

    :raises NoSuchPost: there is none.
    """
    wanted = int(number) if number.isascii() and number.isdigit() else 0
    if not wanted or len(number) > MOST_DIGITS:
        raise errors.NoSuchPost()
    found = _find(wanted, caller.id) or (_find_reply(wanted, caller.id) if of_thread else ())
    for row in found:
        post = _Post(*row)
        if post.membership is not None or (or_own and caller.id == post.writer):
            return post
        is_friend = (
            post.group is None
            and post.owner is not None
            and (post.owner == caller.id or relationships.are_friends(caller.id, post.owner))
        )
        if is_friend:
            return post
    raise errors.NoSuchPost()


# Statements


def _columns(user: int) -> Any:
    """A post as `_Post` has it, with the membership of `user`."""
    in_feed = peewee.fn.COALESCE(PostRow.author, Contribution.owner)
    own = (Membership.group == Group.id) & (Membership.user == user)
    found = posts.anywhere(
        PostRow.id,
        User.id,
        User.name,
        peewee.fn.COALESCE(Contribution.thread, PostRow.id),
        in_feed,
        Group.id,
        Group.name,
        Group.channel,
        Group.creator,
        Membership.id,
        blocks.any_of(user),
    )
    return found.left_outer_join(Membership, on=own)


@statement
def _find(number: int, user: int) -> peewee.Select:
    found: peewee.Select = _columns(user).where(PostRow.id == number)
    return found


@statement
def _find_reply(first: int, user: int) -> peewee.Select:
    """The first reply in a thread."""
    found = _columns(user).where(Contribution.thread == first)
    ordered: peewee.Select = found.order_by(Contribution.post).limit(1)
    return ordered


@statement
def _exists(number: int) -> peewee.Select:
    return PostRow.select(PostRow.id).where(PostRow.id == number)


@statement
def _count_reply(first: int) -> peewee.Update:
    return PostRow.update(replies=PostRow.replies + 1).where(PostRow.id == first)


@statement
def _count_post(group: int) -> peewee.Update:
    return Group.update(posts=Group.posts + 1).where(Group.id == group)


@statement
def _newest_in(group: int) -> peewee.Select:
    return Group.select(Group.posts).where(Group.id == group)


@statement
def _add_contribution(
    post: int,
    writer: int,
    group: int | None,
    number: int | None,
    thread: int | None,
    owner: int | None,
) -> peewee.Insert:
    return Contribution.insert(
        post=post, writer=writer, group=group, number=number, thread=thread, owner=owner
    )


@statement
def _read_own(group: int, user: int, before: int, number: int) -> peewee.Update:
    """Note that the writer has read this post, unless an earlier one is unread."""
    own = (Membership.group == group) & (Membership.user == user) & (Membership.read == before)
    return Membership.update(read=number).where(own)


@statement
def _follow(user: int, thread: int, owner: int, read: int) -> peewee.Insert:
    reader = ThreadReader.insert(user=user, thread=thread, owner=owner, read=read)
    return reader.on_conflict_ignore()


@statement
def _oldest_followed(user: int, before: int) -> peewee.Select:
    """The latest thread that is one too many."""
    own = ThreadReader.select(ThreadReader.thread).where(ThreadReader.user == user)
    return own.order_by(ThreadReader.thread.desc()).limit(1).offset(before)


@statement
def _forget_up_to(user: int, thread: int) -> peewee.Delete:
    return ThreadReader.delete().where(
        (ThreadReader.user == user) & (ThreadReader.thread <= thread)
    )


@statement
def _online_readers(thread: int, but: int, friend: str, limit: int) -> peewee.Select:
    """The channels and servers of people online who take part in a thread and may read it, other
    than `but` and those who have blocked `but`."""
    own = (Relationship.user == ThreadReader.user) & (Relationship.other == ThreadReader.owner)
    may_read = (ThreadReader.user == ThreadReader.owner) | (Relationship.kind == friend)
    return (
        ThreadReader.select(User.channel, Place.server)
        .join(Place, on=(Place.user == ThreadReader.user))
        .join(User, on=(User.id == ThreadReader.user))
        .left_outer_join(Relationship, on=own)
        .where((ThreadReader.thread == thread) & (ThreadReader.user != but) & may_read)
        .where(blocks.has_not_blocked(ThreadReader.user, but))
        .limit(limit)
    )


@statement
def _audience(group: int, writer: int) -> peewee.Select:
    """The number of a group's members, and whether one of them has blocked `writer`."""
    member, block = Membership.alias(), Block.alias()
    by_member = (member.user == block.user) & (member.group == group)
    by_some = block.select(peewee.SQL("1")).join(member, on=by_member)
    are_some = peewee.fn.EXISTS(by_some.where(block.other == writer))
    counted = Membership.select(peewee.fn.COUNT(Membership.id), are_some)
    return counted.where(Membership.group == group)


@statement
def _online_members(group: int, writer: int) -> peewee.Select:
    """The channels and servers of members who are online and have not blocked `writer`."""
    members = Membership.select(User.channel, Place.server)
    placed = members.join(Place, on=(Place.user == Membership.user))
    named = placed.join_from(Membership, User, on=(User.id == Membership.user))
    seen = blocks.has_not_blocked(Membership.user, writer)
    return named.where((Membership.group == group) & seen)


@statement
def _shown(number: int, user: int) -> peewee.Select:
    """A row if `user` has not blocked the writer of a post."""
    found: peewee.Select = posts.anywhere(PostRow.id).where(
        (PostRow.id == number) & blocks.has_not_blocked(user, User.id)
    )
    return found


@statement
def _replies(first: int, user: int, last: int, limit: int) -> peewee.Select:
    """The ids of replies in a thread, without those of people whom `user` has blocked."""
    some = (Contribution.thread == first) & (Contribution.post > last)
    seen = blocks.has_not_blocked(user, Contribution.writer)
    found = Contribution.select(Contribution.post).where(some & seen)
    return found.order_by(Contribution.post).limit(limit)


@statement
def _in_own_feed(user: int, below: int, limit: int) -> peewee.Select:
    own = PostRow.select(PostRow.id).where((PostRow.author == user) & (PostRow.id < below))
    return own.order_by(PostRow.id.desc()).limit(limit)


@statement
def _contributed(user: int, below: int, limit: int) -> peewee.Select:
    own = (Contribution.writer == user) & (Contribution.post < below)
    found = Contribution.select(Contribution.post).where(own)
    return found.order_by(Contribution.post.desc()).limit(limit)
