"""Blocks: a user accepts no invitation and no message from some people.

Only its owner sees a block. Messages of the blocked to a group that both are in arrive all the
same: they are for the group.
"""

from __future__ import annotations

import peewee

from bbs.board import errors, inboxes, relationships
from bbs.board.models import Block, GroupInvitation
from bbs.framework import (
    Caller,
    Page,
    Part,
    User,
    as_stored,
    asks,
    paged,
    read_only,
    statement,
    together,
)

MOST_BLOCKED = 1000  # people whom a user may block: as many as there may be friends


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
    if other is None:
        raise errors.NoSuchUser(name)
    if blocked is None or not _remove(caller.id, other):
        raise errors.NotBlocked(name)


@paged
@read_only
def blocks(caller: Caller, page: Page) -> Part:
    """The people whom the caller has blocked, in that order."""
    return page.part("block", _names(caller.id, page.last or 0, page.limit))


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
def _one_of_many(user: int, before: int) -> peewee.Select:
    return Block.select(Block.id).where(Block.user == user).limit(1).offset(before)


@statement
def _names(user: int, last: int, limit: int) -> peewee.Select:
    return (
        Block.select(Block.id, User.name)
        .join(User, on=(Block.other == User.id))
        .where((Block.user == user) & (Block.id > last))
        .order_by(Block.id)
        .limit(limit)
    )
