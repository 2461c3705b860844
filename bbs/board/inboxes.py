"""How much is kept of each user's: the bytes that wait in the inbox, the messages that the user has
sent, and the posts.

Each user has a row with these numbers, which changes in the transaction that changes what they
count. A transaction that adds to an inbox holds its row from then on, which `messages.messages`
needs. Several rows are locked in the order of their key, so that two transactions cannot
deadlock. (With several commands in one transaction they may, and are tried again.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import peewee

from bbs.board import inbox_shares
from bbs.board.lists import LAST_ID, chunks, padded
from bbs.board.messages.tables import Delivery, Inbox, MessageRow
from bbs.framework import for_update
from bbs.framework.fast import byte_length, statement, together

AT_ONCE = 50  # readers that one statement serves; SQLite allows a statement 500 parts
RAISED_AT_ONCE = 64  # readers to whose inboxes one statement adds
MESSAGES_AT_ONCE = 64  # messages whose readers one statement looks for


def lock(users: Sequence[int]) -> Mapping[int, int]:
    """Lock the inboxes of `users` until the transaction ends; returns the last message delivered to
    each, without the users who are gone."""
    return dict(_lock(padded(users))) if users else {}


def statements_to_add(
    sizes: Mapping[int, int], sent: Mapping[int, int] = MappingProxyType({})
) -> list[Any]:
    """Statements for `together` that add bytes to the inboxes of users, and what counts for each
    who has `sent` messages, and lock their rows."""
    several = [*map(padded, chunks(sorted({*sizes, *sent}), RAISED_AT_ONCE))]
    added = [[sizes.get(user, 0) for user in each] for each in several]
    if not sent:
        return [_raise.of(*each) for each in zip(several, added, strict=True)]
    senders = padded([*sent])
    counted = [sent.get(user, 0) for user in senders]
    return [_raise_both.of(*each, senders, counted) for each in zip(several, added, strict=True)]


def statements_to_read(readers: Sequence[int], last: bool) -> list[Any]:
    """Statements for `together` that find what `of_reader` does of each of `readers`, the last
    message only with `last`."""
    find = _of_readers if last else _waiting
    # Not padded: MariaDB would look 16 times for ten readers. There are no more lengths than plans.
    return [find.of(each) for each in chunks(readers, RAISED_AT_ONCE)]


def note_delivered(last_by_user: Mapping[int, int]) -> None:
    """Note the last message that has been delivered to each user: none before it waits any more."""
    for users in chunks(sorted(last_by_user), AT_ONCE):
        risen = [
            (user, before, last_by_user[user])
            for user, before in sorted(lock(users).items())
            if before < last_by_user[user]
        ]
        if risen:
            lasts = {user: last for user, _, last in risen}
            together(
                _note.of(*map(list, zip(*risen, strict=True))),
                inbox_shares.statement_to_forget(lasts),
            )


def forget(messages: Sequence[int], last: int = LAST_ID) -> None:
    """Stop counting messages that are about to be removed, for the users up to the id `last`."""
    some = [padded(each) for each in chunks(messages, MESSAGES_AT_ONCE)]
    readers = sorted({reader for each in some for (reader,) in _undelivered(each, last)})
    for each in chunks(readers, AT_ONCE):
        lock(each)
    for each in some if readers else ():
        inbox_shares.forget_messages(readers, each)
    if readers:
        # Some may have been delivered before the lock was acquired.
        _lower.many(
            (int(size), user) for each in some for user, size in _undelivered_bytes(each, last)
        )


def undelivered(messages: Sequence[int]) -> set[int]:
    """Those of `messages` that some reader has still to receive."""
    some = [padded(each) for each in chunks(messages, MESSAGES_AT_ONCE)]
    found = together(*(_undelivered_messages.of(each, LAST_ID) for each in some)) if some else []
    return {number for each in found for (number,) in each}


@statement
def make(user: int) -> peewee.Insert:
    """Make the inbox of a new user."""
    return Inbox.insert(user=user)


@statement
def _lock(users: Sequence[int]) -> peewee.Select:
    query = Inbox.select(Inbox.user, Inbox.delivered).where(Inbox.user.in_(users))
    locked: peewee.Select = for_update(query.order_by(Inbox.user))
    return locked


@statement
def _raise(users: Sequence[int], sizes: Sequence[int]) -> peewee.Update:
    size = peewee.Case(Inbox.user, [*zip(users, sizes, strict=True)])
    return Inbox.update(waiting=Inbox.waiting + size).where(Inbox.user.in_(users))


@statement
def _raise_both(
    users: Sequence[int], sizes: Sequence[int], senders: Sequence[int], counted: Sequence[int]
) -> peewee.Update:
    size = peewee.Case(Inbox.user, [*zip(users, sizes, strict=True)])
    sent = peewee.Case(Inbox.user, [*zip(senders, counted, strict=True)], 0)
    changes = Inbox.update(waiting=Inbox.waiting + size, sent=Inbox.sent + sent)
    return changes.where(Inbox.user.in_(users))


@statement
def sent_by(user: int) -> peewee.Select:
    """What counts of the messages that `user` has sent."""
    return Inbox.select(Inbox.sent).where(Inbox.user == user)


@statement
def lower_sent(size: int, user: int) -> peewee.Update:
    """Count no longer what is removed of the messages that `user` has sent."""
    return Inbox.update(sent=Inbox.sent - size).where(Inbox.user == user)


@statement
def _undelivered(messages: Sequence[int], last: int) -> peewee.Select:
    """The users up to `last` for whom some of these messages wait."""
    waiting = Delivery.select(Delivery.user).join(Inbox, on=(Inbox.user == Delivery.user))
    return waiting.where(_waits(messages, last)).distinct()


@statement
def _undelivered_messages(messages: Sequence[int], last: int) -> peewee.Select:
    waiting = Delivery.select(Delivery.message).join(Inbox, on=(Inbox.user == Delivery.user))
    return waiting.where(_waits(messages, last)).distinct()


@statement
def _undelivered_bytes(messages: Sequence[int], last: int) -> peewee.Select:
    """The users up to `last` for whom some of these messages wait, and how many bytes of them."""
    sizes = Delivery.select(Delivery.user, peewee.fn.SUM(byte_length(MessageRow.text)))
    waiting = sizes.join_from(Delivery, Inbox, on=(Inbox.user == Delivery.user))
    texts = waiting.join_from(Delivery, MessageRow)
    return texts.where(_waits(messages, last)).group_by(Delivery.user)


def _waits(messages: Sequence[int], last: int) -> Any:
    some = Delivery.message.in_(messages) & (Delivery.user <= last)
    return some & (Delivery.message > Inbox.delivered)


# The last message is found by a statement of its own once the inboxes are locked: in the same one
# MariaDB sees what was there before it waited for the lock. The statement that takes the lock reads
# no other table: else MariaDB, from 11.6 on, refuses a row that changed while it waited.


@statement
def of_reader(reader: int) -> peewee.Select:
    """The inbox of a reader as a sender needs it, behind the lock: the user, the bytes that wait,
    two ids above which a new message's must be, and the id of the last message."""
    # For a user who is named here, MariaDB finds it while it plans the statement, 20 µs sooner.
    last = Delivery.select(peewee.fn.MAX(Delivery.message)).where(Delivery.user == reader)
    return _for_sender(last).where(Inbox.user == reader)


@statement
def _of_readers(readers: Sequence[int]) -> peewee.Select:
    own = Delivery.select(Delivery.message).where(Delivery.user == Inbox.user)
    last = own.order_by(Delivery.message.desc()).limit(1)
    return _for_sender(last).where(Inbox.user.in_(readers))


@statement
def _waiting(readers: Sequence[int]) -> peewee.Select:
    return _for_sender().where(Inbox.user.in_(readers))


def _for_sender(*columns: Any) -> peewee.Select:
    # The message that was delivered last may have been the highest of all, and be gone.
    highest = MessageRow.select(peewee.fn.COALESCE(peewee.fn.MAX(MessageRow.id), 0))
    return Inbox.select(Inbox.user, Inbox.waiting, Inbox.delivered, highest, *columns)


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
    """The bytes that wait for a user once the messages after `before` up to `last` are delivered.

    The result is 0 if no message follows: this corrects the number after servers of version 1,
    which do not keep it, have run at the same time.
    """
    own = Delivery.user == user
    follows = Delivery.select(peewee.SQL("1")).where(own & (Delivery.message > last)).limit(1)
    delivered = (
        Delivery.select(peewee.fn.SUM(byte_length(MessageRow.text)))
        .join(MessageRow)
        .where(own & (Delivery.message > before) & (Delivery.message <= last))
    )
    left = Inbox.waiting - peewee.fn.COALESCE(delivered, 0)
    return peewee.Case(None, [(peewee.fn.EXISTS(follows), left)], 0)
