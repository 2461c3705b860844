"""Blocks: a user accepts no invitation and no message from some people.

Only its owner sees a block, and it outlives the account of the blocked (`people.former`).
Messages of the blocked to a group that both are in arrive all the same: they are for the group, and
a conversation of which every other line is missing is none. Posts and replies stand by themselves:
whoever has blocked the writer finds none of them, wherever they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import peewee

from bbs.board import inboxes
from bbs.board.groups.tables import GroupInvitation
from bbs.board.lists import LAST_ID, LENGTHS, chunks, padded
from bbs.board.people import errors, former, relationships
from bbs.board.people.tables import Block, FormerBlock
from bbs.board.posts.tables import Contribution
from bbs.framework import Caller, Page, Part, User, paged, read_only
from bbs.framework.fast import asks, gathered, question, statement, together
from bbs.framework.names import as_stored

MOST_BLOCKED = 1000
"""People whom a user may block, with those whose accounts are gone: as many as there may be
friends."""

MOST_LOOKED_THROUGH = 4000
"""Replies that one command looks through for people whom the reader has blocked, beginning with the
shortest threads. In longer threads their replies are counted: a number tells no text, and a command
must not read a hundred thousand rows."""

FORMER = "former"
"""The phase of a position in `list-block` behind those who are there: accounts that are gone."""


@asks(relationships.correspondent)
def block(caller: Caller, name: str) -> None:
    """Block `name`, and end a friendship or an invitation, also to a group."""
    [(other, *_, blocked)] = relationships.correspondent(caller, as_stored(name))
    if other is None:
        raise errors.NoSuchUser(name)
    if other == caller.id:
        raise errors.BlocksSelf()
    # An invitation or a message between the two at this moment waits, and looks again.
    inboxes.lock([caller.id, other])
    if blocked is None:
        if _one_of_many(caller.id, MOST_BLOCKED - 1):
            raise errors.TooManyBlocked()
        _add(caller.id, other)
    relationships.end_all(caller.id, other)
    together(_withdraw.of(caller.id, other), _withdraw.of(other, caller.id))


@asks(relationships.correspondent)
def unblock(caller: Caller, name: str) -> None:
    """End a block: `name` may invite again."""
    [(other, *_, blocked)] = relationships.correspondent(caller, as_stored(name))
    # A server of version 7 may have made the account anew, and left the block of the former one.
    if blocked is not None and _remove(caller.id, other):
        return
    if former.lift(caller.id, name):
        return
    raise errors.NoSuchUser(name) if other is None else errors.NotBlocked(name)


@paged
@read_only
def blocks(caller: Caller, page: Page) -> Part:
    """The people whom the caller has blocked, in that order, and then those of whom the account is
    gone. The place in the first list is a number, as older servers have it in their cursors."""
    last, last_former = page.last or 0, 0
    if isinstance(page.last, (list, tuple)):
        last, last_former = LAST_ID, page.last[1]
    found, gone = together(
        _names.of(caller.id, last, page.limit),
        former.of_owner.of(caller.id, last_former, page.limit),
    )
    names = [((FORMER, each.id), each.name) for each in former.names(caller.id, gone)]
    return page.part("block", [*found, *names][: page.limit])


def check(caller: Caller, other: int, name: str) -> None:
    """Refuse if the caller or the other person, called `name`, has blocked the other one. Behind
    `inboxes.lock` the result holds until the transaction ends.

    :raises TakesNothing: the other has blocked the caller.
    :raises YouHaveBlocked: the caller has blocked the other.
    """
    found = {user for (user,) in _between(caller.id, other)}
    if other in found:
        raise errors.TakesNothing(name)
    if found:
        raise errors.YouHaveBlocked(name)


def whom(user: Any) -> Any:
    """A query for the ids of those whom `user` has blocked, for `read_ids`: a column in the
    question of a rule that leaves out what they write."""
    return Block.select(gathered(Block.other)).where(Block.user == user)


def read_ids(column: str | None) -> frozenset[int]:
    """Read what `whom` finds."""
    return frozenset(json.loads(column)) if column else frozenset()


def has_not_blocked(user: Any, writer: Any) -> Any:
    """The condition that `user` has not blocked the `writer` of a row."""
    own = (Block.user == user) & (Block.other == writer)
    return ~peewee.fn.EXISTS(Block.select(peewee.SQL("1")).where(own))


def any_of(user: Any) -> Any:
    """The condition that `user` has blocked anybody."""
    return peewee.fn.EXISTS(Block.select(peewee.SQL("1")).where(Block.user == user))


@question
def are_any(query: peewee.ModelSelect[User]) -> peewee.Select:
    """Whether the caller has blocked anybody."""
    return query.select_extend(any_of(User.id))


def unseen_replies(user: int, replies: Mapping[int, int]) -> Mapping[int, int]:
    """How many of the `replies` to posts are of people whom `user` has blocked; without the posts
    of which there are none, and without the threads beyond `MOST_LOOKED_THROUGH`."""
    threads, left = [], MOST_LOOKED_THROUGH
    for thread, count in sorted(replies.items(), key=itemgetter(1)):
        left -= count
        if left < 0:
            break
        if count:
            threads.append(thread)
    return {
        thread: count
        for some in chunks(threads, LENGTHS[-1])
        for thread, count in _unseen_replies(user, padded(some))
    }


@statement
def _unseen_replies(user: int, threads: Sequence[int]) -> peewee.Select:
    replies = Contribution.select(Contribution.thread, peewee.fn.COUNT(Contribution.post))
    joined = replies.join(Block, on=(Block.other == Contribution.writer))
    some = joined.where((Block.user == user) & Contribution.thread.in_(threads))
    return some.group_by(Contribution.thread)


@statement
def _withdraw(user: int, by: int) -> peewee.Delete:
    """Remove the invitations to groups that `by` sent to `user`."""
    return GroupInvitation.delete().where(
        (GroupInvitation.user == user) & (GroupInvitation.by == by)
    )


@statement
def _add(user: int, other: int) -> peewee.Insert:
    return Block.insert(user=user, other=other)


@statement
def _remove(user: int, other: int) -> peewee.Delete:
    return Block.delete().where((Block.user == user) & (Block.other == other))


@statement
def has_blocked(user: int, other: int) -> peewee.Select:
    """A row if `user` has blocked `other`."""
    return Block.select(Block.id).where((Block.user == user) & (Block.other == other))


@statement
def _between(user: int, other: int) -> peewee.SelectBase:
    """The users of the two who block the other."""
    one = Block.select(Block.user).where((Block.user == user) & (Block.other == other))
    both: peewee.SelectBase = one.union_all(
        Block.select(Block.user).where((Block.user == other) & (Block.other == user))
    )
    return both


@statement
def _one_of_many(user: int, before: int) -> peewee.SelectBase:
    own: Any = Block.select(Block.id).where(Block.user == user)
    gone = FormerBlock.select(FormerBlock.id).where(FormerBlock.user == user)
    both: peewee.SelectBase = own.union_all(gone).limit(1).offset(before)
    return both


@statement
def _names(user: int, last: int, limit: int) -> peewee.Select:
    return (
        Block.select(Block.id, User.name)
        .join(User, on=(Block.other == User.id))
        .where((Block.user == user) & (Block.id > last))
        .order_by(Block.id)
        .limit(limit)
    )
