"""Counts of what the board has of one user: what is new, for the user, and all of it for operators.

Nothing here reads a text of theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import peewee

from bbs.board import announcements, blocks, unread
from bbs.board.models import (
    LENGTHS,
    Block,
    Contribution,
    Delivery,
    FormerBlock,
    Group,
    Inbox,
    Membership,
    MessageRow,
    Relationship,
    RemovedPost,
    chunks,
    padded,
)
from bbs.framework import Caller, asks, read_only, statement, together

MOST_COUNTED = 1000  # nobody needs to know the number of more

_GroupNews = tuple[int, str, int, int]
"""A group's id and name, the number of the last post that the reader has read, and of the last."""


def on_login(user: int, seen: float | None) -> Mapping[str, object]:
    """`waiting`, a member of the reply to `login`."""
    return {"waiting": {**of_login(user, seen), "posts": unread.count(user, MOST_COUNTED)}}


def of_login(user: int, seen: float | None) -> Mapping[str, object]:
    """What is said of messages and invitations at a login.

    The count is of messages that no connection of the user was sent, and of those since the user
    was last there: a connection that was left open elsewhere hides none. `after` is the id behind
    which these messages begin, for `listen`."""
    asked = [_delivered.of(user), invitations.of(user, Relationship.INVITED_BY, MOST_COUNTED)]
    if seen is not None:
        asked.append(_first_since.of(seen))
    delivered, [(invited,)], *since = together(*asked)
    before = [first - 1 for found in since for (first,) in found]
    after: int = min([last for (last,) in delivered] + before, default=0)
    [(messages,)] = _behind(user, after, MOST_COUNTED)
    return {"invitations": invited, "messages": messages, "after": after}


@asks(blocks.are_any)
@read_only
def summary(caller: Caller) -> Mapping[str, object]:
    """What is new for the caller; nothing of it counts as read then."""
    most = caller.quotas.posts
    [(has_blocked,)] = blocks.are_any(caller)
    messages, invited, in_groups, own = together(
        waiting.of(caller.id, MOST_COUNTED),
        invitations.of(caller.id, Relationship.INVITED_BY, MOST_COUNTED),
        _groups_with_news.of(caller.id),
        _own_behind.of(caller.id),
    )
    unseen = Counter(dict(own))
    if has_blocked and in_groups:
        unseen.update(_of_blocked(caller.id, in_groups, most))
    new = {
        "messages": messages[0][0],
        "invitations": invited[0][0],
        "posts": unread.count(caller.id, MOST_COUNTED),
        "groups": _count_in_groups(in_groups, unseen, most),
        "announcements": announcements.current(caller.now),
    }
    return {"new": new}


def _count_in_groups(
    news: Sequence[_GroupNews], unseen: Mapping[int, int], most: int
) -> list[dict[str, object]]:
    """How many posts are unread in each group, without so many `unseen` ones: those of the last
    `most` numbers that are not known to be gone, and the ones before that are there."""
    since = {group: max(read, newest - most) for group, _, read, newest in news}
    unread = {
        group: (name, newest - since[group] - unseen.get(group, 0))
        for group, name, _, newest in news
    }
    behind = [(group, read, since[group]) for group, _, read, _ in news if read < since[group]]
    older = _older.each([(*each, MOST_COUNTED) for each in behind])
    for (group, *_), [(number,)] in zip(behind, older, strict=True):
        name, count = unread[group]
        unread[group] = name, count + number
    gone: dict[int, int] = {}
    for some in chunks(sorted(since.items()), LENGTHS[-1]):
        ids, numbers = zip(*padded(some), strict=True)
        gone |= dict(_count_removed([*ids], [*numbers]))
    counts = [(name, number - gone.get(group, 0)) for group, (name, number) in unread.items()]
    return [{"group": name, "posts": number} for name, number in counts if number > 0]


def _of_blocked(user: int, news: Sequence[_GroupNews], most: int) -> Mapping[int, int]:
    """How many of the unread posts of each group, of the last `most`, are of people whom `user` has
    blocked: of the latest ones, of each group as many."""
    share = min(most, blocks.MOST_LOOKED_THROUGH // len(news) + 1)
    after = sorted((group, max(read, newest - share)) for group, _, read, newest in news)
    found: dict[int, int] = {}
    for some in chunks(after, LENGTHS[-1]):
        several = padded(some)
        found |= dict(_count_of_blocked(user, *map(list, zip(*several, strict=True))))
    return found


@statement
def _count_of_blocked(user: int, groups: Sequence[int], after: Sequence[int]) -> peewee.Select:
    behind = unread.any_behind(Contribution.group, Contribution.number, groups, after)
    by_blocked = (Block.user == user) & (Block.other == Contribution.writer)
    counts = Contribution.select(Contribution.group, peewee.fn.COUNT(Contribution.post))
    return counts.join(Block, on=by_blocked).where(behind).group_by(Contribution.group)


@statement
def _delivered(user: int) -> peewee.Select:
    return Inbox.select(Inbox.delivered).where(Inbox.user == user)


@statement
def invitations(user: int, kind: str, most: int) -> peewee.Select:
    """The number of relationships of this kind, `most` at the most."""
    own = (Relationship.user == user) & (Relationship.kind == kind)
    return _count(Relationship, own, most)


@statement
def _first_since(seen: float) -> peewee.Select:
    """The first message of anybody since then. Ids and times need not rise together, as each server
    has its own clock: a message more or less is shown twice, and no undelivered one is lost."""
    found = MessageRow.select(MessageRow.id).where(MessageRow.stored >= seen)
    return found.order_by(MessageRow.stored).limit(1)


@statement
def waiting(user: int, most: int) -> peewee.Select:
    """The number of messages that no connection of the user was sent, `most` at the most."""
    last = Inbox.select(Inbox.delivered).where(Inbox.user == user)
    return _count(Delivery, (Delivery.user == user) & (Delivery.message > last), most)


@statement
def _behind(user: int, after: int, most: int) -> peewee.Select:
    return _count(Delivery, (Delivery.user == user) & (Delivery.message > after), most)


@statement
def _own_behind(user: int) -> peewee.Select:
    """How many own posts are behind the mark of each group."""
    own = Contribution.select(Contribution.group, peewee.fn.COUNT(Contribution.post))
    member = (Membership.group == Contribution.group) & (Membership.user == user)
    behind = (Contribution.writer == user) & (Contribution.number > Membership.read)
    return own.join(Membership, on=member).where(behind).group_by(Contribution.group)


@statement
def _older(group: int, read: int, last: int, most: int) -> peewee.Select:
    """How many posts of a group are behind the mark, up to the number `last`: `most` at the
    most."""
    some = (Contribution.group == group) & (Contribution.number > read)
    return _count(Contribution, some & (Contribution.number <= last), most)


@statement
def _groups_with_news(user: int) -> peewee.Select:
    found = Membership.select(Group.id, Group.name, Membership.read, Group.posts)
    own = found.join(Group).where(Membership.user == user)
    return own.where(Group.posts > Membership.read).order_by(Group.name)


@statement
def _count_removed(groups: Sequence[int], since: Sequence[int]) -> peewee.Select:
    """How many posts behind these numbers are gone, by group."""
    last = peewee.Case(RemovedPost.group, [*zip(groups, since, strict=True)])
    gone = RemovedPost.select(RemovedPost.group, peewee.fn.COUNT(RemovedPost.number))
    some = RemovedPost.group.in_(groups) & (RemovedPost.number > last)
    return gone.where(some).group_by(RemovedPost.group)


def _count(model: Any, condition: Any, most: int) -> peewee.Select:
    some = model.select(peewee.SQL("1")).where(condition).limit(most).alias("some")
    counted: peewee.Select = model.select(peewee.fn.COUNT(peewee.SQL("1"))).from_(some)
    return counted


def of_person(user: int) -> Mapping[str, int]:
    """The numbers of friends, invitations received and sent, posts, groups, people blocked, and
    messages that are kept; and the bytes of messages that wait."""
    kinds: dict[str, int] = dict(_relationships(user))
    ((posts, waiting),) = _kept(user) or ((0, 0),)
    return {
        "friends": kinds.get(Relationship.FRIEND, 0),
        "invitations": kinds.get(Relationship.INVITED_BY, 0),
        "invited": kinds.get(Relationship.INVITED, 0),
        "posts": posts,
        "groups": _groups(user)[0][0],
        "blocked": _blocks(user)[0][0] + _former_blocks(user)[0][0],
        "messages_sent": _sent(user)[0][0],
        "messages_received": _received(user)[0][0],
        "waiting_bytes": waiting,
    }


@statement
def _relationships(user: int) -> peewee.Select:
    counts = Relationship.select(Relationship.kind, peewee.fn.COUNT(Relationship.id))
    return counts.where(Relationship.user == user).group_by(Relationship.kind)


@statement
def _kept(user: int) -> peewee.Select:
    return Inbox.select(Inbox.posts, Inbox.waiting).where(Inbox.user == user)


@statement
def _groups(user: int) -> peewee.Select:
    return Membership.select(peewee.fn.COUNT(Membership.id)).where(Membership.user == user)


@statement
def _blocks(user: int) -> peewee.Select:
    return Block.select(peewee.fn.COUNT(Block.id)).where(Block.user == user)


@statement
def _former_blocks(user: int) -> peewee.Select:
    own = FormerBlock.user == user
    return FormerBlock.select(peewee.fn.COUNT(FormerBlock.id)).where(own)


@statement
def _sent(user: int) -> peewee.Select:
    return MessageRow.select(peewee.fn.COUNT(MessageRow.id)).where(MessageRow.sent_by == user)


@statement
def _received(user: int) -> peewee.Select:
    return Delivery.select(peewee.fn.COUNT(Delivery.message)).where(Delivery.user == user)
