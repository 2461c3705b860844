"""How messages and deliveries go: those that are old, and those of somebody who leaves. There may
be any number of them, so each transaction removes a part.
"""

from __future__ import annotations

from collections.abc import Sequence

import peewee

from bbs.board import inboxes
from bbs.board.models import LAST_ID, Delivery, Message, padded, pieces
from bbs.framework import rows, statement

FORGOTTEN_AT_ONCE = 1000
"""Deliveries of somebody who deletes the account that one transaction removes at the most."""

EXPIRED_AT_ONCE = 2000
"""Deliveries that one transaction removes at the most with messages that are old: each of them may
change an inbox, and a transaction has little more than a second for all."""


def forget_reader(user: int) -> int:
    """Forget the oldest `FORGOTTEN_AT_ONCE` of the messages that `user` was sent; returns how many.
    Forgotten messages count as delivered, so that what waits for the user is right, should nothing
    more be forgotten."""
    oldest = _oldest(user, FORGOTTEN_AT_ONCE)
    if oldest:
        [last] = oldest[-1]
        inboxes.note({user: last})
        _forget(user, last)
    return len(oldest)


def expire(before: float, most: int = 500, readers: int = EXPIRED_AT_ONCE) -> int:
    """Remove messages stored before `before`, in one transaction `most` of them, which are for so
    many `readers` together. A message that is for more is removed for some of its readers.

    Returns how many it found, 0 if there are no more.
    """
    expired = Message.select(Message.id).where(Message.stored < before).limit(most)
    old, last = _few_readers(sorted(number for (number,) in rows(expired)), readers)
    inboxes.let_go(old, last)
    for each in pieces(old, inboxes.MESSAGES_AT_ONCE):
        _expire_deliveries(padded(each), last)
        if last == LAST_ID:
            Message.delete().where(Message.id.in_(each)).execute()
    return len(old)


def _few_readers(messages: Sequence[int], readers: int) -> tuple[Sequence[int], int]:
    """The first of `messages` that are for so many `readers` together; if the first is for more,
    that one, and the last of so many readers of it."""
    few: list[int] = []
    count = 0
    for each in pieces(messages, inboxes.MESSAGES_AT_ONCE):
        found = _for_whom(padded(each), readers + 1 - count)
        count += len(found)
        if count > readers:
            beyond = found[-1][0]
            few += [number for number in each if number < beyond]
            return (few, LAST_ID) if few else ([beyond], found[-2][1])
        few += each
    return few, LAST_ID


@statement
def _oldest(user: int, limit: int) -> peewee.Select:
    """Messages that are kept of those that `user` was sent, oldest first."""
    return (
        Delivery.select(Delivery.message)
        .where(Delivery.user == user)
        .order_by(Delivery.message)
        .limit(limit)
    )


@statement
def _forget(user: int, last: int) -> peewee.Delete:
    return Delivery.delete().where((Delivery.user == user) & (Delivery.message <= last))


@statement
def _for_whom(messages: Sequence[int], limit: int) -> peewee.Select:
    """Some of `messages`, each with each of its readers, in the order of both."""
    return (
        Delivery.select(Delivery.message, Delivery.user)
        .where(Delivery.message.in_(messages))
        .order_by(Delivery.message, Delivery.user)
        .limit(limit)
    )


@statement
def _expire_deliveries(messages: Sequence[int], last: int) -> peewee.Delete:
    return Delivery.delete().where(Delivery.message.in_(messages) & (Delivery.user <= last))
