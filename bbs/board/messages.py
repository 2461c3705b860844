"""Messages: stored once, for everybody who is to have them, and read in order.

Ids rise in the order in which a reader's messages are committed: a transaction that stores a
message first locks the inboxes that it is for. A reader who has seen an id has therefore seen all
before it, and "what comes after the last I saw" loses nothing. Messages and deliveries are removed
when they are old, and deliveries of somebody who leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import peewee

from bbs.board import blocks, errors, groups, inboxes, models, relationships
from bbs.board.models import Delivery, Group, Inbox, Membership, MessageRow, Relationship
from bbs.framework import (
    BATCH,
    Caller,
    Cursor,
    Mailbox,
    Place,
    Stored,
    User,
    as_stored,
    asks,
    costs,
    last_key,
    question,
    read_only,
    rows,
    statement,
    together,
)

FORGOTTEN_AT_ONCE = 1000  # deliveries of somebody who leaves that one transaction removes

EXPIRED_AT_ONCE = 2000
"""Deliveries that one transaction removes with old messages: each of them may change an inbox, and
a transaction has little more than a second for all."""

MOST_FOLLOWED = 100
"""The most readers of a message for whom `Sent.after` is known; more of them look in the
database."""


COLUMNS = (
    MessageRow.id,
    MessageRow.sender,
    MessageRow.target,
    MessageRow.to_group,
    MessageRow.text,
    MessageRow.stored,
)
"""The columns of a message as `event` takes them."""


@dataclass(frozen=True)
class Sent:
    """A stored message: the event for its readers, and the channel to hint it on. `after` has the
    id of each reader's message before it (0: none), if they are not too many. `readers` counts
    them, `tried` the inboxes that were looked at. A message without readers is not kept."""

    channel: str
    event: Stored
    after: Mapping[int, int]
    readers: int = field(default=1, compare=False)
    tried: int = field(default=1, compare=False)


@question
def addressee(query: peewee.ModelSelect[User], name: str) -> peewee.Select:
    """The person called `name`, as `relationships.with_correspondent` finds them, and the bytes
    that wait for them."""
    other = User.alias()
    found: peewee.Select = (
        relationships.with_correspondent(query, name, other)
        .select_extend(Inbox.waiting)
        .left_outer_join(Inbox, on=(Inbox.user == other.id))
    )
    return found


@costs(deliveries=1)
@asks(addressee)
def send(caller: Caller, name: str, text: str) -> Sent:
    """Store a message to the friend `name`."""
    name = as_stored(name)
    [(friend, channel, stands, online, blocked_by, waiting)] = addressee(caller, name)
    if friend is None:
        raise errors.NoSuchFriend()
    if blocked_by is not None:
        raise errors.TakesNothing(name)
    if stands != Relationship.FRIEND:
        raise errors.NotFriends(name)
    if online is None:
        raise errors.NotOnline(name)
    if waiting + len(text.encode()) > caller.quotas.inbox:
        raise errors.InboxFull(name)
    number, after = _store_for_one(caller, name, text, friend)
    return Sent(channel, event(number, caller.name, name, False, text, caller.now), after)


@costs(deliveries=lambda sent: max(1, sent.tried))
@asks(groups.named)
def send_group(caller: Caller, name: str, text: str) -> Sent:
    """Store a message to every member of the group `name` who is online and has room for it."""
    name = as_stored(name, Group.name)
    [(group, random, membership)] = groups.named(caller, name)
    if group is None:
        raise errors.NoSuchTarget()
    if membership is None:
        raise errors.NotMember(name)
    online = [member for (member,) in _online(group)]
    number, after, readers = _store_for_many(caller, name, text, group, online)
    stored = event(number, caller.name, name, True, text, caller.now)
    return Sent(groups.channel_of(random), stored, after, readers, len(online))


@read_only
def open_mailbox(caller: Caller, after: int | None) -> Mailbox:
    """The place where listening begins: after the message `after`, else after the last one sent."""
    resumes = after is not None
    if after is None:
        [(after,)] = _delivered(caller.id)
    return Mailbox(Cursor(caller.id, after), resumes, tuple(groups.channels(caller.id)))


@read_only
def fetch(cursors: Sequence[Cursor]) -> Mapping[Cursor, Sequence[Stored]]:
    """The next events for each cursor, oldest first, `BATCH` of them at the most."""
    found: dict[Cursor, list[Stored]] = {cursor: [] for cursor in cursors}
    events: dict[int, Stored] = {}
    for at_once in models.chunks(cursors, inboxes.AT_ONCE):
        users, lasts = [each.user for each in at_once], [each.last for each in at_once]
        for index, number, *message in _after(users, lasts):
            if number not in events:
                events[number] = event(number, *message)
            found[at_once[index]].append(events[number])
    return found


def note_delivered(cursors: Sequence[Cursor]) -> None:
    """Note what has been sent, so that a later `listen` without an id begins behind it."""
    inboxes.note_delivered({cursor.user: cursor.last for cursor in cursors})


def _store_for_one(
    caller: Caller, target: str, text: str, reader: int
) -> tuple[int, Mapping[int, int]]:
    """Store a message for the friend `reader`; returns its id, and the id of the one before it."""
    [add_bytes] = inboxes.statements_to_add([reader], len(text.encode()))
    _, [(_, waiting, last)], number, _, kinds = together(
        add_bytes,
        _last.of([reader]),
        _add.of(caller.name, target, False, text, caller.now, caller.id, reader, None),
        _add_delivery_of_last.of(reader),
        relationships.kind_of.of(caller.id, reader),
    )
    if kinds != [(Relationship.FRIEND,)]:
        # The friendship has ended since the check, perhaps by a block.
        blocks.check(caller, reader, target)
        raise errors.NotFriends(target)
    if waiting > caller.quotas.inbox:
        # Somebody else has filled the inbox since the check: this transaction is undone.
        raise errors.InboxFull(target)
    return number, {reader: last or 0}


def _store_for_many(
    caller: Caller, target: str, text: str, group: int, members: Sequence[int]
) -> tuple[int, Mapping[int, int], int]:
    """Store a message for those of `members` who have room for it; returns its id, the ids of the
    ones before it, and how many those members are."""
    size = len(text.encode())
    is_followed = len(members) <= MOST_FOLLOWED
    raising = inboxes.statements_to_add(members, size)
    looks = [_last.of(members)] if is_followed else inboxes.statements_to_read(members)
    add = _add.of(caller.name, target, True, text, caller.now, caller.id, None, group)
    stored = together(*raising, *looks, add)
    number = stored[-1]
    found = [row for rows in stored[len(raising) : -1] for row in rows]
    full = {row[0] for row in found if row[1] > caller.quotas.inbox}
    if full:
        together(*inboxes.statements_to_add(sorted(full), -size))
    readers = [member for member in members if member not in full]
    if not readers:
        _remove(number)
    _add_delivery.many((reader, number) for reader in readers)
    after = {row[0]: row[2] or 0 for row in found if row[0] not in full} if is_followed else {}
    return number, after, len(readers)


def event(
    number: int, sender: str, target: str, to_group: bool, text: str, stored: float
) -> Stored:
    """A message as its readers get it, with members in the order that protocol.md shows; `stored`
    is in seconds since the epoch."""
    members: dict[str, object] = {"event": "message", "id": number, "time": stored, "from": sender}
    members["group" if to_group else "to"] = target
    members["message"] = text
    return Stored(number, members)


# Removal: there may be any number of messages, so each transaction removes a part.


def forget_reader(user: int) -> int:
    """Remove the oldest `FORGOTTEN_AT_ONCE` deliveries of `user`; returns how many. Removed
    messages count as delivered, so that the bytes that wait are right if nothing more is
    removed."""
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
    expired = MessageRow.select(MessageRow.id).where(MessageRow.stored < before).limit(most)
    old, last = _few_readers(sorted(number for (number,) in rows(expired)), readers)
    inboxes.forget(old, last)
    for each in models.chunks(old, inboxes.MESSAGES_AT_ONCE):
        _expire_deliveries(models.padded(each), last)
        if last == models.LAST_ID:
            MessageRow.delete().where(MessageRow.id.in_(each)).execute()
    return len(old)


def _few_readers(messages: Sequence[int], readers: int) -> tuple[Sequence[int], int]:
    """The first of `messages` that have at most `readers` deliveries together, and `LAST_ID`. If
    the first message alone has more: that one, and the last reader up to whom it is removed."""
    few: list[int] = []
    count = 0
    for each in models.chunks(messages, inboxes.MESSAGES_AT_ONCE):
        found = _deliveries(models.padded(each), readers + 1 - count)
        count += len(found)
        if count > readers:
            beyond = found[-1][0]
            few += [number for number in each if number < beyond]
            return (few, models.LAST_ID) if few else ([beyond], found[-2][1])
        few += each
    return few, models.LAST_ID


# Statements

# The last message is found by a statement of its own once the inboxes are locked: in the same one
# MariaDB sees what was there before it waited for the lock. The statement that takes the lock reads
# no other table: else MariaDB, from 11.6 on, refuses a row that changed while it waited.


@statement
def _online(group: int) -> peewee.Select:
    members = Membership.select(Membership.user).join(Place, on=(Place.user == Membership.user))
    return members.where(Membership.group == group).order_by(Membership.user)


@statement
def _last(readers: Sequence[int]) -> peewee.Select:
    own = Delivery.select(Delivery.message).where(Delivery.user == Inbox.user)
    last = own.order_by(Delivery.message.desc()).limit(1)
    return Inbox.select(Inbox.user, Inbox.waiting, last).where(Inbox.user.in_(readers))


@statement
def _add(
    sender: str,
    target: str,
    to_group: bool,
    text: str,
    stored: float,
    sent_by: int,
    sent_to: int | None,
    in_group: int | None,
) -> peewee.Insert:
    return MessageRow.insert(
        sender=sender,
        target=target,
        to_group=to_group,
        text=text,
        stored=stored,
        sent_by=sent_by,
        sent_to=sent_to,
        in_group=in_group,
    )


@statement
def _remove(number: int) -> peewee.Delete:
    return MessageRow.delete().where(MessageRow.id == number)


@statement
def _add_delivery(reader: int, number: int) -> peewee.Insert:
    return Delivery.insert(user=reader, message=number)


@statement
def _add_delivery_of_last(reader: int) -> peewee.Insert:
    return Delivery.insert(user=reader, message=last_key())


@statement
def _delivered(user: int) -> peewee.Select:
    return Inbox.select(Inbox.delivered).where(Inbox.user == user)


@statement
def _after(users: Sequence[int], lasts: Sequence[int]) -> peewee.SelectBase:
    """The messages after the last of each user, each behind the user's index: one range of the key
    for each user."""
    ranges: list[peewee.SelectBase] = [
        Delivery.select(peewee.SQL(str(index)), *COLUMNS)
        .join(MessageRow)
        .where((Delivery.user == user) & (Delivery.message > last))
        .order_by(Delivery.message)
        .limit(BATCH)
        for index, (user, last) in enumerate(zip(users, lasts, strict=True))
    ]
    return reduce(lambda one, other: one.union_all(other), ranges)


@statement
def _oldest(user: int, limit: int) -> peewee.Select:
    own = Delivery.select(Delivery.message).where(Delivery.user == user)
    return own.order_by(Delivery.message).limit(limit)


@statement
def _forget(user: int, last: int) -> peewee.Delete:
    return Delivery.delete().where((Delivery.user == user) & (Delivery.message <= last))


@statement
def _deliveries(messages: Sequence[int], limit: int) -> peewee.Select:
    found = Delivery.select(Delivery.message, Delivery.user).where(Delivery.message.in_(messages))
    return found.order_by(Delivery.message, Delivery.user).limit(limit)


@statement
def _expire_deliveries(messages: Sequence[int], last: int) -> peewee.Delete:
    return Delivery.delete().where(Delivery.message.in_(messages) & (Delivery.user <= last))
