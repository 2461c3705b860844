"""How an inbox is shared out among those who send to it: one sender has a quarter at the most, and
what comes through groups leaves a quarter to friends. Anybody may join a group, and nobody can keep
its messages away: eight people whom the reader had blocked filled an inbox by turns.

An inbox in which little waits knows nothing of senders, so that a message costs no more than it
would without shares. Once half a share waits, the bytes beyond that count for their sender, who may
have half a share of them: a whole one at the most, and all of it if nothing else waits.

A row by reader and sender has these bytes, and the last message that counts. The reader's inbox is
locked when the row is looked at and changed. The row is void, and removed, once that message is
delivered: a sender who had a full share may have to wait until the reader has received all of it.
Servers of 0.4.0 know no such rows: messages through them count for nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import peewee

from bbs.board.messages.tables import Inbox, InboxShare
from bbs.framework.fast import statement

PARTS = 4  # of an inbox, of which one sender has one

LEAST = 2**16
"""The least share, in bytes, of a small inbox: the longest line fits into it."""


def share_of(quota: int) -> int:
    """The bytes that one sender's messages may have of an inbox of `quota` bytes."""
    return max(quota // PARTS, min(quota, LEAST))


def left_to_friends(quota: int) -> int:
    """The bytes of an inbox that messages to groups do not fill."""
    share = share_of(quota)
    return share if share < quota else 0


def free_of(quota: int) -> int:
    """The bytes of an inbox that count for no sender: half a share, or all where one has all."""
    share = share_of(quota)
    return share // 2 if share < quota else quota


def has_room(quota: int, reader: int, sender: int, waiting: int, size: int) -> bool:
    """Whether a message of `size` bytes fits into the sender's share of an inbox in which `waiting`
    bytes wait. Another one may come before the inbox is locked."""
    if waiting + size <= free_of(quota):
        return True
    tally = Tally(quota, {reader: waiting}, [(sender, [reader], size)])
    return tally.take(reader, sender, size)


class Tally:
    """What messages count for their senders in the inboxes of their readers, which are locked.

    :param quota: the bytes of an inbox.
    :param waiting: those that wait in each inbox before these messages.
    :param letters: of each message its sender, its readers and its bytes.
    """

    def __init__(
        self,
        quota: int,
        waiting: Mapping[int, int],
        letters: Sequence[tuple[int, Sequence[int], int]],
    ) -> None:
        self._free = free_of(quota)
        self._most = share_of(quota) - self._free
        self._waiting = dict(waiting)
        self._sizes: dict[tuple[int, int], int] = {}
        self._changed: set[tuple[int, int]] = set()
        most = sum(size for *_, size in letters)
        crowded = {reader for reader, size in waiting.items() if size + most > self._free}
        self.counts = bool(crowded)
        """Whether anything may count: else `take` need not be called."""
        if crowded:
            pairs = {
                (reader, sender)
                for sender, readers, _ in letters
                for reader in crowded.intersection(readers)
            }
            ordered = sorted(pairs)
            for pair, found in zip(ordered, _size.each(ordered), strict=True):
                self._sizes[pair] = sum(size for (size,) in found)

    def take(self, reader: int, sender: int, size: int) -> bool:
        """Count a message for its sender if the sender's share has room for it; returns whether it
        has."""
        waiting = self._waiting.get(reader, 0) + size
        more = min(size, waiting - self._free)
        if more > 0:
            own = self._sizes.get((reader, sender), 0) + more
            if own > self._most:
                return False
            self._sizes[reader, sender] = own
            self._changed.add((reader, sender))
        self._waiting[reader] = waiting
        return True

    def store(self, last: Mapping[tuple[int, int], int]) -> None:
        """Store what has changed, with the id of the last message by reader and sender."""
        rows = [(*pair, self._sizes[pair], last[pair]) for pair in sorted(self._changed)]
        _set.many(rows)


def statement_to_forget(last_by_user: Mapping[int, int]) -> Any:
    """A statement for `together` that removes what counts of messages up to the last one that was
    delivered to each user."""
    users = sorted(last_by_user)
    return _forget.of(users, [last_by_user[user] for user in users])


def forget_messages(readers: Iterable[int], messages: Sequence[int]) -> None:
    """Stop counting messages that are about to be removed."""
    _forget_messages.many((reader, messages) for reader in readers)


# Statements


@statement
def _size(reader: int, sender: int) -> peewee.Select:
    """What counts for a sender in an inbox; no row for nothing."""
    counted = InboxShare.select(InboxShare.size).join(Inbox, on=(Inbox.user == InboxShare.user))
    own = (InboxShare.user == reader) & (InboxShare.sender == sender)
    return counted.where(own & (InboxShare.last > Inbox.delivered))


@statement
def _set(reader: int, sender: int, size: int, last: int) -> peewee.Insert:
    row = InboxShare.insert(user=reader, sender=sender, size=size, last=last)
    replaced: peewee.Insert = row.on_conflict_replace()
    return replaced


@statement
def _forget(users: Sequence[int], lasts: Sequence[int]) -> peewee.Delete:
    last = peewee.Case(InboxShare.user, [*zip(users, lasts, strict=True)])
    return InboxShare.delete().where(InboxShare.user.in_(users) & (InboxShare.last <= last))


@statement
def _forget_messages(reader: int, messages: Sequence[int]) -> peewee.Delete:
    some = (InboxShare.user == reader) & InboxShare.last.in_(messages)
    return InboxShare.delete().where(some)
