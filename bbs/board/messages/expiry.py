"""The end of messages and deliveries: what is old expires, and what was for somebody who leaves.

There may be any number of them, so that each transaction removes a part. On SQLite old messages are
removed one by one. On MySQL they have partitions by id, which are dropped whole when all in them is
old (`PARTITIONS`): one by one go only those of the partition that is written to, which in a quiet
service are all.
"""

from __future__ import annotations

from collections.abc import Sequence

import peewee

from bbs.board import inboxes
from bbs.board.lists import LAST_ID, chunks, padded
from bbs.board.messages.tables import Delivery, Inbox, MessageRow
from bbs.framework.fast import rows, statement
from bbs.framework.feeds import PartitionedTables

EXPIRED = 50
"""Old messages that one transaction removes. Measured (`lab.bench.while_sweeping --sizes`)
on a busy machine: MariaDB removes 1,200 a second in any size, and holds locks for 35 ms; with 500
for 350 ms. SQLite removes 4,500 a second, and others wait 8 ms; with 500 6,500, and 63 ms."""

EXPIRED_AT_ONCE = 2000
"""Deliveries that one transaction removes with old messages: each of them may change an inbox, and
a transaction has little more than a second for all."""

RELEASED_AT_ONCE = 500
"""Messages that one transaction counts no longer: it changes the inboxes of their senders, who wait
meanwhile."""

LOOKED_THROUGH = 20_000
"""Ids of users or messages that one transaction looks through for those that have to be changed."""

FORGOTTEN_AT_ONCE = 1000  # deliveries of somebody who leaves that one transaction removes


def forget_reader(user: int) -> int:
    """Remove the oldest `FORGOTTEN_AT_ONCE` deliveries of `user`; returns how many. Removed
    messages count as delivered, so that the bytes that wait are right if nothing more is
    removed.

    Locks the inbox first. Somebody who sends meanwhile has either stored a delivery, which this
    finds, or waits until the reader is gone.
    """
    inboxes.lock([user])
    oldest = _oldest(user, FORGOTTEN_AT_ONCE)
    if oldest:
        [last] = oldest[-1]
        inboxes.note_delivered({user: last})
        _forget(user, last)
    return len(oldest)


def expire(before: float, most: int = EXPIRED, readers: int = EXPIRED_AT_ONCE) -> int:
    """Remove messages stored before `before`: in one transaction `most` of them, with `readers`
    deliveries in all. A message with more readers is removed for some of them.

    Returns how many it found, 0 if there are no more. Messages in partitions that have ended go
    with these.
    """
    is_old = (MessageRow.stored < before) & (MessageRow.id >= PARTITIONS.written_from())
    expired = MessageRow.select(MessageRow.id).where(is_old).limit(most)
    old, last = _few_readers(sorted(number for (number,) in rows(expired)), readers)
    inboxes.forget(old, last)
    if last == LAST_ID:
        for each in chunks(old, inboxes.MESSAGES_AT_ONCE):
            inboxes.lower_sent.many(
                (int(size), sender) for sender, size in sorted(_counted(padded(each)))
            )
    remove(old, last)
    return len(old)


def release_readers(bound: int, start: int) -> int | None:
    """Let messages below the id `bound`, which are about to be dropped, wait no longer for some
    users whose ids are from `start` on; returns where to go on, None at the end."""
    [(first,)] = _first_inbox(start)
    if first is None:
        return None
    end = int(first) + LOOKED_THROUGH
    behind = [user for (user,) in _behind(first, end, bound - 1, inboxes.AT_ONCE)]
    inboxes.note_delivered(dict.fromkeys(behind, bound - 1))
    return int(behind[-1]) + 1 if len(behind) == inboxes.AT_ONCE else end


def release_senders(bound: int, start: int) -> int | None:
    """Count some messages from the id `start` on and below `bound`, which are about to be dropped,
    no longer for their senders; returns where to go on, None at the end."""
    [(first,)] = _first_of(start, bound)
    if first is None:
        return None
    end = min(bound, first + LOOKED_THROUGH)
    counted = _counting(first, end, RELEASED_AT_ONCE)
    sums: dict[int, int] = {}
    for _, sender, size in counted:
        sums[sender] = sums.get(sender, 0) + size
    inboxes.lower_sent.many((size, sender) for sender, size in sorted(sums.items()))
    numbers = [number for number, *_ in counted]
    for each in chunks(numbers, inboxes.MESSAGES_AT_ONCE):
        _count_no_longer(padded(each))
    return int(numbers[-1]) + 1 if len(numbers) == RELEASED_AT_ONCE else end


def remove(messages: Sequence[int], last: int = LAST_ID) -> None:
    """Remove messages, which nothing counts any more, and their deliveries to users up to the id
    `last`; with fewer than all of these, the messages stay."""
    for each in chunks(messages, inboxes.MESSAGES_AT_ONCE):
        _remove_deliveries(padded(each), last)
        if last == LAST_ID:
            _remove_messages(padded(each))


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
def _remove_messages(messages: Sequence[int]) -> peewee.Delete:
    return MessageRow.delete().where(MessageRow.id.in_(messages))


@statement
def _oldest(user: int, limit: int) -> peewee.Select:
    own = Delivery.select(Delivery.message).where(Delivery.user == user)
    return own.order_by(Delivery.message).limit(limit)


@statement
def _counted(messages: Sequence[int]) -> peewee.Select:
    """What counts of these messages, by sender."""
    counted = (MessageRow.id.in_(messages)) & MessageRow.size.is_null(False)
    sizes = MessageRow.select(MessageRow.sent_by, peewee.fn.SUM(MessageRow.size)).where(counted)
    return sizes.group_by(MessageRow.sent_by)


@statement
def _forget(user: int, last: int) -> peewee.Delete:
    return Delivery.delete().where((Delivery.user == user) & (Delivery.message <= last))


@statement
def _deliveries(messages: Sequence[int], limit: int) -> peewee.Select:
    found = Delivery.select(Delivery.message, Delivery.user).where(Delivery.message.in_(messages))
    return found.order_by(Delivery.message, Delivery.user).limit(limit)


@statement
def _remove_deliveries(messages: Sequence[int], last: int) -> peewee.Delete:
    return Delivery.delete().where(Delivery.message.in_(messages) & (Delivery.user <= last))


@statement
def _first_inbox(start: int) -> peewee.Select:
    # A restore leaves a gap in the ids, which is too wide to be looked through.
    return Inbox.select(peewee.fn.MIN(Inbox.user)).where(Inbox.user >= start)


@statement
def _behind(first: int, end: int, number: int, limit: int) -> peewee.Select:
    """Users with ids from `first` on and before `end` for whom something waits, perhaps messages up
    to the id `number`."""
    some = (Inbox.user >= first) & (Inbox.user < end)
    waits = (Inbox.waiting > 0) & (Inbox.delivered < number)
    return Inbox.select(Inbox.user).where(some & waits).order_by(Inbox.user).limit(limit)


@statement
def _first_of(start: int, bound: int) -> peewee.Select:
    some = (MessageRow.id >= start) & (MessageRow.id < bound)
    return MessageRow.select(peewee.fn.MIN(MessageRow.id)).where(some)


@statement
def _counting(first: int, end: int, limit: int) -> peewee.Select:
    """Messages from the id `first` on and before `end` that count for their senders, with what they
    count."""
    some = (MessageRow.id >= first) & (MessageRow.id < end) & (MessageRow.size > 0)
    found = MessageRow.select(MessageRow.id, MessageRow.sent_by, MessageRow.size).where(some)
    return found.order_by(MessageRow.id).limit(limit)


@statement
def _count_no_longer(messages: Sequence[int]) -> peewee.Update:
    return MessageRow.update(size=0).where(MessageRow.id.in_(messages))


PARTITIONS = PartitionedTables(
    (Delivery, MessageRow), MessageRow.stored, (release_readers, release_senders)
)
