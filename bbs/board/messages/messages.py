"""Messages: stored once, for everybody who is to have them, and read in order.

Ids rise in the order in which a reader's messages are committed: a transaction that stores a
message first locks the inboxes that it is for, and then finds the highest id. The database proposes
an id for the message, which gets another if that one is not higher: the servers of some databases
reserve ids of their own. A reader who has seen an id has therefore seen all before it, and "what
comes after the last I saw" loses nothing. Messages and deliveries are removed when they are old,
and deliveries of somebody who leaves."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

import peewee

from bbs.board import inbox_shares, inboxes
from bbs.board.groups import groups
from bbs.board.groups.errors import NoSuchTarget, NotMember
from bbs.board.groups.tables import Group, Membership
from bbs.board.lists import LENGTHS, chunks, padded
from bbs.board.messages import errors, expiry
from bbs.board.messages.tables import Delivery, Inbox, MessageRow
from bbs.board.people import blocks, relationships
from bbs.board.people.errors import NotFriends, TakesNothing
from bbs.board.people.tables import Relationship
from bbs.framework import Caller, Place, User, read_only, setting
from bbs.framework.fast import (
    EachAlone,
    asks,
    bulk,
    by_index,
    byte_length,
    question,
    statement,
    together,
)
from bbs.framework.feeds import BATCH, FETCHED_BYTES, Cursor, FirstEvents, Mailbox, Stored
from bbs.framework.limits import costs, stores_text
from bbs.framework.names import as_stored

INBOX = setting(
    16 * 2**20,
    "bytes that wait for a user",
    minimum=0,
    share="a quarter for a sender, or 64 KiB if that is more; messages to groups leave as much to"
    " friends",
)
STORED = setting(
    256 * 2**20,
    "bytes of messages of a user; then the oldest go",
    minimum=0,
    share="all: it is nobody else's",
)
"""Keys of `[limits]`."""

DELIVERED_AT_ONCE = 1000  # deliveries of several messages to groups that one call adds

IDS_SKIPPED = 1024
"""Ids among which a message gets one at random if the database proposed one that is too low. Two
servers that do so at the same moment seldom take the same one: the second would begin anew. Nor do
several messages take ids in a row, into which the proposals for another server may run."""

MOST_FOLLOWED = 100
"""The most readers of a message for whom `Sent.after` is known; more of them look in the
database."""


ROW, READER = 256, 64
"""What a message counts for its sender beside its text, and for each reader: with its indexes a row
of a short message takes about as many bytes, and a delivery too."""

SAMPLE = 2**14
"""What a message counts that stands for others. The sum of 256 MiB is right to 2 MiB then (its
standard deviation), and a line of a chat in forty has to count. With every one, `send` took 7 to
20 µs more."""

EXACT = 2**10 * SAMPLE
"""Up to such a quota, of which a sample is too large a part, each message counts."""

NEAR = 2**20
"""Bytes before the quota from which on each message of a sender counts, so that none that came
between two samples is stored beyond it."""

MOST_NEAR = 100_000  # senders who are known to be near; each takes some 100 bytes

_near: set[int] = set()
"""Senders who were near their quota when the last message that counted was stored here. Each server
finds that out by itself: to ask for every message made `send` 5 % slower."""

LOOKS = (8, 56, 436)
"""How many of the oldest messages of a sender one new message looks at, step by step. Nearly always
the first few are enough; all three have 500 short ones, as much as one long one. Where readers
still lack all of the first two steps, it looks at a few anywhere else. If they lack these too, the
new message is refused, which must not cost much."""

BYTES_LOOKED_AT, FREED_AT_ONCE = 2**20, 2**18
"""The most that those messages count together, and that the removed ones count. Both are more than
the longest line to a thousand readers counts."""

LOOKED_AT, LEAST_LOOKED_AT = 500, 10
"""Messages whose size one fetch finds out for all readers together, and for each even so. To know
the size, MariaDB reads the text."""

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
    them, `tried` the inboxes that were looked at; `servers` are those of their places. A message
    without readers is not kept."""

    channel: str
    event: Stored
    after: Mapping[int, int]
    readers: int = field(default=1, compare=False)
    tried: int = field(default=1, compare=False)
    servers: frozenset[str | None] = field(default=frozenset(), compare=False)

    def price(self) -> int:
        """A delivery for each inbox that was looked at."""
        return max(1, self.tried)


@question
def addressee(query: peewee.ModelSelect[User], name: str) -> peewee.Select:
    """The person called `name`, as `relationships.with_correspondent` finds them, the server of
    their place, and the bytes that wait for them."""
    other, place = User.alias(), Place.alias()
    found: peewee.Select = (
        relationships.with_correspondent(query, name, other, place)
        .select_extend(Inbox.waiting)
        .left_outer_join(Inbox, on=(Inbox.user == other.id))
    )
    return found


class _Letter(NamedTuple):
    """A message of `caller` to a friend, the `reader`, or to a `group`."""

    caller: Caller
    target: str
    text: str
    size: int  # In bytes.
    channel: str
    servers: frozenset[str | None]  # Of the readers' places.
    reader: int = 0
    group: int | None = None

    def counts(self, readers: int) -> int:
        """What it counts for its sender. Far from the quota one short message in many counts for
        all, so that the others do not write to the sender's row."""
        size = self.size + ROW + READER * readers
        if size >= SAMPLE or self.caller.id in _near or self.caller.quotas.stored <= EXACT:
            return size
        return SAMPLE if random.random() * SAMPLE < size else 0  # nosec B311 # No secret.

    def row(self, counts: int) -> tuple[Any, ...]:
        """What is stored of it, if it counts so much."""
        to_group = self.group is not None
        whose = self.caller.id, None if to_group else self.reader, self.group
        message = (self.caller.name, self.target, to_group, self.text, self.caller.now, *whose)
        return (*message, counts)

    def event(self, number: int) -> Stored:
        """What its readers get, once it is stored with this id."""
        caller, to_group = self.caller, self.group is not None
        return event(number, caller.name, self.target, to_group, self.text, caller.now)


def _to_friend(caller: Caller, name: str, text: str) -> _Letter:
    return _letter(caller, name, text, must_be_online=True)


def _by_mail(caller: Caller, name: str, text: str) -> _Letter:
    return _letter(caller, name, text, must_be_online=False)


def _letter(caller: Caller, name: str, text: str, must_be_online: bool) -> _Letter:
    name, size = as_stored(name), len(text.encode())
    [(friend, channel, stands, online, blocked_by, server, waiting)] = addressee(caller, name)
    if friend is None:
        raise errors.NoSuchFriend()
    if blocked_by is not None:
        raise TakesNothing(name)
    if stands != Relationship.FRIEND:
        raise NotFriends(name)
    if online is None and must_be_online:
        raise errors.NotOnline(name)
    # Nothing is written for what is refused here: on MySQL all who share the transaction would
    # begin anew.
    quota = caller.quotas.inbox
    if waiting + size > quota or not inbox_shares.has_room(quota, friend, caller.id, waiting, size):
        raise errors.InboxFull(name)
    return _Letter(caller, name, text, size, channel, frozenset([server]), reader=friend)


@stores_text
@costs(deliveries=1)
@asks(addressee)
@bulk(_to_friend)
def send(letters: Sequence[_Letter]) -> list[Sent]:
    """Store messages, each to a friend who is online."""
    return _send(letters)


@stores_text
@costs(deliveries=1)
@asks(addressee)
@bulk(_by_mail)
def mail(letters: Sequence[_Letter]) -> list[Sent]:
    """Store messages, each to a friend, online or not."""
    return _send(letters)


def _send(letters: Sequence[_Letter]) -> list[Sent]:
    readers = [[each.reader] for each in letters]
    pairs = [(each.caller.id, each.reader) for each in letters]
    stored = _store(letters, readers, relationships.kind_of.of_each(pairs))
    tally = _tally(stored, letters, readers)
    # Others may have done something between the check and the lock.
    for letter, kinds in zip(letters, stored.found[0], strict=True):
        if kinds != [(Relationship.FRIEND,)]:
            blocks.check(letter.caller, letter.reader, letter.target)
            raise NotFriends(letter.target)
        stored.room[letter.reader] -= letter.size
        has_room = not tally.counts or tally.take(letter.reader, letter.caller.id, letter.size)
        if stored.room[letter.reader] < 0 or not has_room:
            raise errors.InboxFull(letter.target)
    return _deliver(stored, letters, readers, tally)


def _to_group(caller: Caller, name: str, text: str) -> _Letter:
    name, size = as_stored(name, Group.name), len(text.encode())
    [(group, random, membership)] = groups.named(caller, name)
    if group is None:
        raise NoSuchTarget()
    if membership is None:
        raise NotMember(name)
    channel = groups.channel_of(random)
    return _Letter(caller, name, text, size, channel, frozenset(), group=group)


@stores_text
@costs(deliveries=Sent.price)
@asks(groups.named)
@bulk(_to_group)
def send_group(letters: Sequence[_Letter]) -> list[Sent]:
    """Store messages, each for every member of a group who is online and has room for it."""
    online: dict[int | None, list[int]] = {each.group: [] for each in letters}
    servers: dict[int | None, set[str | None]] = {each.group: set() for each in letters}
    for group, member, server in _online(padded([*online])):
        online[group].append(member)
        servers[group].add(server)
    members = [online[each.group] for each in letters]
    for letter, several in zip(letters, members, strict=True):
        # The owner may have removed the sender meanwhile, who else is online, and so among them.
        if letter.caller.id not in several and not groups.find_membership(
            letter.group or 0, letter.caller.id
        ):
            raise NotMember(letter.target)
    if len(letters) > 1 and sum(map(len, members)) > DELIVERED_AT_ONCE:
        raise EachAlone()
    stored = _store(letters, members)
    room, tally = stored.room, _tally(stored, letters, members)
    kept = inbox_shares.left_to_friends(letters[0].caller.quotas.inbox)
    refused: dict[int, int] = {}  # Bytes that were added to a full inbox.
    readers = []
    for letter, several in zip(letters, members, strict=True):
        needed = letter.size + kept
        readers.append([member for member in several if room.get(member, 0) >= needed])
        if tally.counts:
            sender, size = letter.caller.id, letter.size
            readers[-1] = [each for each in readers[-1] if tally.take(each, sender, size)]
        for member in readers[-1]:
            room[member] -= letter.size
        for member in {*several} - {*readers[-1]}:
            refused[member] = refused.get(member, 0) - letter.size
    if refused:
        together(*inboxes.statements_to_add(refused))
    sent = _deliver(stored, letters, readers, tally)
    unread = [
        (letter, each.event.id, count)
        for letter, each, count in zip(letters, sent, stored.counts, strict=True)
        if not each.readers
    ]
    _remove.many((number,) for _, number, _ in unread)
    inboxes.lower_sent.many((count, letter.caller.id) for letter, _, count in unread if count)
    return [
        replace(each, tried=len(tried), servers=frozenset(servers[letter.group]))
        for each, letter, tried in zip(sent, letters, members, strict=True)
    ]


@read_only
def open_mailbox(caller: Caller, after: int | None) -> Mailbox:
    """The place where listening begins: after the message `after`, else after the last one sent."""
    resumes = after is not None
    if after is None:
        [(after,)] = _delivered(caller.id)
    return Mailbox(Cursor(caller.id, after), resumes, tuple(groups.channels(caller.id)))


@read_only
def fetch(cursors: Sequence[Cursor]) -> Mapping[Cursor, Sequence[Stored]]:
    """The next events for each cursor, oldest first, `BATCH` of them at the most: of long ones so
    many that all together have `FETCHED_BYTES`, but one for each reader at least."""
    behind: dict[Cursor, dict[int, int]] = {cursor: {} for cursor in cursors}
    most = min(BATCH, max(LEAST_LOOKED_AT, LOOKED_AT // max(1, len(cursors))))
    for at_once in chunks(cursors, inboxes.AT_ONCE):
        users, lasts = [each.user for each in at_once], [each.last for each in at_once]
        for index, number, size in _sizes_after(users, lasts, most):
            behind[at_once[index]][number] = size
    numbers = _that_fit(behind)
    wanted = sorted({number for each in numbers.values() for number in each})
    events = {
        row[0]: event(*row)
        for some in chunks(wanted, LENGTHS[-1])
        for row in _with_ids(padded(some))
    }
    found: dict[Cursor, Sequence[Stored]] = {}
    for cursor, some in numbers.items():
        # Some may have expired meanwhile.
        of_reader = [events[number] for number in some if number in events]
        has_all = len(some) == len(behind[cursor]) < most
        found[cursor] = of_reader if has_all else FirstEvents(of_reader)
    return found


def _that_fit(behind: Mapping[Cursor, Mapping[int, int]]) -> Mapping[Cursor, Sequence[int]]:
    """The first messages `behind` each cursor, where they have their sizes: so many that all
    together are no more than `FETCHED_BYTES`, with as many turns for each reader."""
    fit: dict[Cursor, list[int]] = {cursor: [] for cursor in behind}
    counted: set[int] = set()
    left = FETCHED_BYTES
    waiting = {cursor: iter(sizes.items()) for cursor, sizes in behind.items()}
    while waiting:
        for cursor, rest in [*waiting.items()]:
            number, size = next(rest, (0, 0))
            size = 0 if number in counted else size
            if not number or (fit[cursor] and size > left):
                del waiting[cursor]
                continue
            left -= size
            counted.add(number)
            fit[cursor].append(number)
    return fit


def note_delivered(cursors: Sequence[Cursor]) -> None:
    """Note what has been sent, so that a later `listen` without an id begins behind it."""
    inboxes.note_delivered({cursor.user: cursor.last for cursor in cursors})


class _Stored(NamedTuple):
    """Stored messages: their ids, what each `counts` for its sender, and for each reader the bytes
    for which there was room before and the id of the message before; no such ids if a message has
    many readers. `found` has the results of other looks."""

    numbers: Sequence[int]
    counts: Sequence[int]
    room: dict[int, int]
    last: dict[int, int | None] | None
    found: Sequence[Any]


def _store(letters: Sequence[_Letter], readers: Sequence[Sequence[int]], *looks: Any) -> _Stored:
    """Lock the inboxes of the `readers` of each letter, add to them, and store the letters; `looks`
    are statements of the caller's, executed behind the lock."""
    sizes: dict[int, int] = {}
    sent: dict[int, int] = {}
    counts = [each.counts(len(several)) for each, several in zip(letters, readers, strict=True)]
    for letter, several, count in zip(letters, readers, counts, strict=True):
        if count:
            sent[letter.caller.id] = sent.get(letter.caller.id, 0) + count
        for reader in several:
            sizes[reader] = sizes.get(reader, 0) + letter.size
    adds = inboxes.statements_to_add(sizes, sent)
    is_followed = max(map(len, readers)) <= MOST_FOLLOWED
    if is_followed and len(sizes) == 1:
        finds = [inboxes.of_reader.of(*sizes)]
    else:
        finds = inboxes.statements_to_read([*sizes], is_followed)
    rows = [each.row(count) for each, count in zip(letters, counts, strict=True)]
    sums = [inboxes.sent_by.of_each([(each,) for each in sent])] if sent else []
    *results, numbers = together(*adds, *finds, *sums, *looks, _add.of_each(rows))
    found = [*chain.from_iterable(results[len(adds) : len(adds) + len(finds)])]
    last = {row[0]: row[4] for row in found} if is_followed else None
    highest = max([0, *map(itemgetter(2), found), *map(itemgetter(3), found)])
    if [highest, *numbers] != sorted({highest, *numbers}):
        numbers = _give_higher_ids(numbers, highest)
    quota = letters[0].caller.quotas.inbox
    room = {row[0]: quota - row[1] + sizes[row[0]] for row in found}
    if sums:
        quota = letters[0].caller.quotas.stored
        for sender, [(counted,)] in zip(sent, results[len(adds) + len(finds)], strict=True):
            _note_near(sender, counted + NEAR >= quota > EXACT)
            if counted > quota:
                _make_room(sender, counted - quota, min(numbers))
    return _Stored(numbers, counts, room, last, results[len(results) - len(looks) :])


def _give_higher_ids(numbers: Sequence[int], highest: int) -> Sequence[int]:
    """Give the messages that were just stored as `numbers` ids above the `highest`; returns these.
    A row that is inserted with its id, unlike a changed one, lets the database propose higher ids
    from now on."""
    first = max(highest, *numbers) + 1
    free = range(first, first + IDS_SKIPPED)
    higher = sorted(random.sample(free, len(numbers)))  # nosec B311 # No secret.
    _copy.many(zip(higher, numbers, strict=True))
    _remove.many((number,) for number in numbers)
    return higher


def _note_near(sender: int, is_near: bool) -> None:
    if not is_near:
        _near.discard(sender)
        return
    if len(_near) >= MOST_NEAR:
        _near.clear()
    _near.add(sender)


def _tally(
    stored: _Stored, letters: Sequence[_Letter], readers: Sequence[Sequence[int]]
) -> inbox_shares.Tally:
    """The tally of the senders' shares in the inboxes of those who read the stored messages."""
    quota = letters[0].caller.quotas.inbox
    waiting = {reader: quota - room for reader, room in stored.room.items()}
    whose = [
        (each.caller.id, several, each.size) for each, several in zip(letters, readers, strict=True)
    ]
    return inbox_shares.Tally(quota, waiting, whose)


def _deliver(
    stored: _Stored,
    letters: Sequence[_Letter],
    readers: Sequence[Sequence[int]],
    tally: inbox_shares.Tally,
) -> list[Sent]:
    """Deliver stored messages, each to its readers, and store what they count there."""
    sent = []
    last: dict[tuple[int, int], int] = {}
    for letter, number, several in zip(letters, stored.numbers, readers, strict=True):
        after = {}
        if stored.last is not None:
            # A reader who is gone has none; the delivery then fails, and all runs again.
            after = {reader: stored.last.get(reader) or 0 for reader in several}
            stored.last.update(dict.fromkeys(several, number))
        if tally.counts:
            last |= {(reader, letter.caller.id): number for reader in several}
        stored_event, count = letter.event(number), len(several)
        sent.append(Sent(letter.channel, stored_event, after, count, count, letter.servers))
    _add_delivery.many(
        (reader, number)
        for number, several in zip(stored.numbers, readers, strict=True)
        for reader in several
    )
    tally.store(last)
    return sent


def event(
    number: int, sender: str, target: str, to_group: bool, text: str, stored: float
) -> Stored:
    """A message as its readers get it, with members in the order that protocol.md shows; `stored`
    is in seconds since the epoch."""
    members: dict[str, object] = {"event": "message", "id": number, "time": stored, "from": sender}
    members["group" if to_group else "to"] = target
    members["message"] = text
    return Stored(number, members)


def _make_room(sender: int, over: int, before: int) -> None:
    """Remove the oldest messages of `sender` with ids below `before` that all their readers have
    received, until they count `over` less.

    :raises StoredTooMuch: none can go.
    """
    over = min(over, FREED_AT_ONCE)
    removed: dict[int, int] = {}
    last = looked = freed = 0
    for at_once in LOOKS:
        if freed >= over or (removed and looked >= BYTES_LOOKED_AT):
            break
        found = None
        if at_once == LOOKS[-1] and not removed:
            # Somebody who receives nothing may have all of the oldest.
            at_once, looked = LOOKS[1], 0
            anywhere = random.randrange(last, max(last + 1, before))  # nosec B311 # No secret.
            found = _oldest_of(sender, anywhere, before, at_once)
        oldest: dict[int, int] = {}
        for number, size in found or _oldest_of(sender, last, before, at_once):
            if looked < BYTES_LOOKED_AT:
                last, oldest[number] = number, size or 0  # Servers of version 4 counted none.
                looked += oldest[number]
        waiting = inboxes.undelivered([*oldest])
        for number in oldest:
            if number not in waiting and freed < over:
                removed[number] = oldest[number]
                freed += oldest[number]
    if not removed:
        raise errors.StoredTooMuch()
    expiry.remove([*removed])
    inboxes.lower_sent(freed, sender)


# Statements


@statement
def _online(groups: Sequence[int | None]) -> peewee.Select:
    """The members of these groups who are online, each after its group, with the server."""
    members = Membership.select(Membership.group, Membership.user, Place.server)
    placed = members.join(Place, on=(Place.user == Membership.user))
    return placed.where(Membership.group.in_(groups)).order_by(Membership.user)


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
    size: int,
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
        size=size,
    )


@statement
def _copy(number: int, other: int) -> peewee.Insert:
    """Store the message `other` again with the id `number`."""
    columns = [each for each in MessageRow._meta.sorted_fields if each is not MessageRow.id]
    row = MessageRow.select(number, *columns).where(MessageRow.id == other)
    return MessageRow.insert_from(row, (MessageRow.id, *columns))


@statement
def _remove(number: int) -> peewee.Delete:
    return MessageRow.delete().where(MessageRow.id == number)


@statement
def _add_delivery(reader: int, number: int) -> peewee.Insert:
    return Delivery.insert(user=reader, message=number)


@statement
def _delivered(user: int) -> peewee.Select:
    return Inbox.select(Inbox.delivered).where(Inbox.user == user)


@statement
def _sizes_after(users: Sequence[int], lasts: Sequence[int], most: int) -> peewee.SelectBase:
    """The first messages after the last of each user, and the bytes of their texts, each behind the
    user's index: one range of the key for each user."""
    ranges: list[peewee.SelectBase] = [
        Delivery.select(peewee.SQL(str(index)), MessageRow.id, byte_length(MessageRow.text))
        .join(MessageRow)
        .where((Delivery.user == user) & (Delivery.message > last))
        .order_by(Delivery.message)
        .limit(most)
        for index, (user, last) in enumerate(zip(users, lasts, strict=True))
    ]
    return reduce(lambda one, other: one.union_all(other), ranges)


@statement
def _with_ids(numbers: Sequence[int]) -> peewee.Select:
    return MessageRow.select(*COLUMNS).where(MessageRow.id.in_(numbers))


@statement
def _oldest_of(sender: int, last: int, before: int, limit: int) -> peewee.Select:
    """The messages of `sender` behind the id `last`, and what each counts."""
    own = (MessageRow.sent_by == sender) & (MessageRow.id > last) & (MessageRow.id < before)
    found = MessageRow.select(MessageRow.id, MessageRow.size).where(own)
    return by_index(found.order_by(MessageRow.id).limit(limit), MessageRow.sent_by)
