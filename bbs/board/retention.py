"""Removes messages and deliveries that are old, or of somebody who leaves. There may be any number
of them, so each transaction removes a part."""

from __future__ import annotations

from collections.abc import Sequence

import peewee

from bbs.board import inboxes
from bbs.board.models import LAST_ID, Delivery, Message, chunks, padded
from bbs.framework import rows, statement

FORGOTTEN_AT_ONCE = 1000  # deliveries of somebody who leaves that one transaction removes

EXPIRED_AT_ONCE = 2000
"""Deliveries that one transaction removes with old messages: each of them may change an inbox, and
a transaction has little more than a second for all."""


def forget_reader(user: int) -> int:
    """Remove the oldest `FORGOTTEN_AT_ONCE` deliveries of `user`; returns how many. They count as
    delivered, so that the bytes that wait are right if nothing more is removed."""
    oldest = _oldest(user, FORGOTTEN_AT_ONCE)
    if oldest:
        [last] = oldest[-1]
        inboxes.note_delivered({user: last})
        _forget(user, last)
    return len(oldest)


def expire(before: float, most: int = 500, readers: int = EXPIRED_AT_ONCE) -> int:
    """Remove messages stored before `before`: in one transaction `most` of them, with `readers`
    deliveries in all. A message with more readers is removed for some of them.

    Returns how many it found, 0 if there are no more.
    """
    expired = Message.select(Message.id).where(Message.stored < before).limit(most)
    old, last = _few_readers(sorted(number for (number,) in rows(expired)), readers)
    inboxes.forget(old, last)
    for each in chunks(old, inboxes.MESSAGES_AT_ONCE):
        _expire_deliveries(padded(each), last)
        if last == LAST_ID:
            Message.delete().where(Message.id.in_(each)).execute()
    return len(old)


def _few_readers(messages: Sequence[int], readers: int) -> tuple[Sequence[int], int]:
    """The first of `messages` that have at most `readers` deliveries together, and `LAST_ID`. If
    the first message alone has more: that one, and the last reader up to whom it is removed."""
    few: list[int] = []
    count = 0
    for each in chunks(messages, inboxes.MESSAGES_AT_ONCE):
        found = _deliveries(padded(each), readers + 1 - count)
        count += len(found)
        if count > readers:
            beyond = found[-1][0]
            few += [number for number in each if number < beyond]
            return (few, LAST_ID) if few else ([beyond], found[-2][1])
        few += each
    return few, LAST_ID


@statement
def _oldest(user: int, limit: int) -> peewee.Select:
    own = Delivery.select(Delivery.message).where(Delivery.user == user)
    return own.order_by(Delivery.message).limit(limit)


@statement
def _forget(user: int, last: int) -> peewee.Delete:
    return Delivery.delete().where((Delivery.user == user) & (Delivery.message <= last))


@statement
def _deliveries(messages: Sequence[int], limit: int) -> peewee.Select:
    """Deliveries of `messages`, in the order of messages and readers."""
    found = Delivery.select(Delivery.message, Delivery.user).where(Delivery.message.in_(messages))
    return found.order_by(Delivery.message, Delivery.user).limit(limit)


@statement
def _expire_deliveries(messages: Sequence[int], last: int) -> peewee.Delete:
    return Delivery.delete().where(Delivery.message.in_(messages) & (Delivery.user <= last))
