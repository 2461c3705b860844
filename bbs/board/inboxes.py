"""How much is kept of each user's: the bytes that wait in the inbox, and the posts.

The numbers are in a row of each user's, and change in the transaction that changes what they count.
A transaction that adds to an inbox holds its row from then on: `bbs/board/messages.py` needs that.
Rows of several are locked in the order of their key, so that two transactions that want the same do
not wait for each other. (Several commands in one transaction may, and are tried again.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import peewee

from bbs.board.models import LAST_ID, Delivery, Inbox, Message, padded, pieces
from bbs.framework import byte_length, for_update, statement

AT_ONCE = 50
"""Readers whom one statement serves; SQLite has a limit of 500 on the parts of one."""

RAISED_AT_ONCE = 64
"""Readers to whose inboxes one statement adds."""

MESSAGES_AT_ONCE = 64
"""Messages whose readers one statement looks for."""


def make(user: int) -> None:
    """For somebody new."""
    _add(user)


def lock(users: Sequence[int]) -> Mapping[int, int]:
    """Hold the inboxes of `users` until the transaction ends; gives up to which message each has
    been delivered. Somebody who is gone is not in it."""
    return dict(_lock(padded(users))) if users else {}


def raising(readers: Sequence[int], size: int) -> list[Any]:
    """For `together`: what adds `size` bytes to the inboxes of `readers`, and holds them."""
    return [_raise.of(padded(each), size) for each in pieces(readers, RAISED_AT_ONCE)]


def looking(readers: Sequence[int]) -> list[Any]:
    """For `together`: what tells the bytes that wait for each of `readers`."""
    return [_waiting.of(padded(each)) for each in pieces(readers, RAISED_AT_ONCE)]


def note(last_by_user: Mapping[int, int]) -> None:
    """Messages have been delivered to users, up to these: they wait no more."""
    for users in pieces(sorted(last_by_user), AT_ONCE):
        risen = [
            (user, before, last_by_user[user])
            for user, before in sorted(lock(users).items())
            if before < last_by_user[user]
        ]
        if risen:
            _note(*map(list, zip(*risen, strict=True)))


def let_go(messages: Sequence[int], last: int = LAST_ID) -> None:
    """These messages are about to be removed for the users up to the id `last`; those that were not
    delivered wait no more."""
    some = [padded(each) for each in pieces(messages, MESSAGES_AT_ONCE)]
    readers = sorted({reader for each in some for (reader,) in _undelivered(each, last)})
    for each in pieces(readers, AT_ONCE):
        lock(each)
    if readers:
        # Some may have been delivered until the lock was had.
        _lower.many(
            (int(size), user) for each in some for user, size in _undelivered_bytes(each, last)
        )


@statement
def _add(user: int) -> peewee.Insert:
    return Inbox.insert(user=user)


@statement
def _lock(users: Sequence[int]) -> peewee.Select:
    query = Inbox.select(Inbox.user, Inbox.delivered).where(Inbox.user.in_(users))
    locked: peewee.Select = for_update(query.order_by(Inbox.user))
    return locked


@statement
def _raise(readers: Sequence[int], size: int) -> peewee.Update:
    return Inbox.update(waiting=Inbox.waiting + size).where(Inbox.user.in_(readers))


@statement
def _undelivered(messages: Sequence[int], last: int) -> peewee.Select:
    """Whom some of these messages wait for, up to the user `last`."""
    return (
        Delivery.select(Delivery.user)
        .join(Inbox, on=(Inbox.user == Delivery.user))
        .where(
            Delivery.message.in_(messages)
            & (Delivery.user <= last)
            & (Delivery.message > Inbox.delivered)
        )
        .distinct()
    )


@statement
def _undelivered_bytes(messages: Sequence[int], last: int) -> peewee.Select:
    """Whom some of these messages wait for, up to the user `last`, and how many bytes of them."""
    return (
        Delivery.select(Delivery.user, peewee.fn.SUM(byte_length(Message.text)))
        .join_from(Delivery, Inbox, on=(Inbox.user == Delivery.user))
        .join_from(Delivery, Message)
        .where(
            Delivery.message.in_(messages)
            & (Delivery.user <= last)
            & (Delivery.message > Inbox.delivered)
        )
        .group_by(Delivery.user)
    )


@statement
def _waiting(readers: Sequence[int]) -> peewee.Select:
    return Inbox.select(Inbox.user, Inbox.waiting).where(Inbox.user.in_(readers))


@statement
def _lower(size: int, user: int) -> peewee.Update:
    return Inbox.update(waiting=Inbox.waiting - size).where(Inbox.user == user)


@statement
def _note(users: Sequence[int], before: Sequence[int], lasts: Sequence[int]) -> peewee.Update:
    ranges = [*zip(users, before, lasts, strict=True)]
    waiting = peewee.Case(Inbox.user, [(user, _left(user, *each)) for user, *each in ranges])
    delivered = peewee.Case(Inbox.user, [*zip(users, lasts, strict=True)])
    return Inbox.update(delivered=delivered, waiting=waiting).where(Inbox.user.in_(users))


def _left(user: int, before: int, last: int) -> Any:
    """The bytes that wait for a user when all up to `last` has been delivered, after `before`.

    Nothing, where nothing follows: so the number is right again after servers of version 1, which
    do not keep it, have run beside others.
    """
    own = Delivery.user == user
    follows = Delivery.select(peewee.SQL("1")).where(own & (Delivery.message > last)).limit(1)
    delivered = (
        Delivery.select(peewee.fn.SUM(byte_length(Message.text)))
        .join(Message)
        .where(own & (Delivery.message > before) & (Delivery.message <= last))
    )
    left = Inbox.waiting - peewee.fn.COALESCE(delivered, 0)
    return peewee.Case(None, [(peewee.fn.EXISTS(follows), left)], 0)
