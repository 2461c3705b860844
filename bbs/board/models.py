"""The board's tables, in addition to those that every service has (`bbs.framework.User` and so on),
and the migrations from older versions of them.

A change here needs a migration in `STEPS`, and a higher `VERSION`. The migration to version 3 finds
out whose messages are whose, and since when people are members. Each migration may run twice, and
be cut off anywhere: each change follows from other rows alone. Many rows are changed in chunks, as
MySQL commits each change by itself, and servers of version 2 go on meanwhile.

`chunks` and `padded` cut up long lists, as a database takes only so much in a statement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeVar

import peewee

from bbs.framework import NAME_LENGTH, RisingIdField, Table, User
from bbs.framework.fast import byte_length, rows
from bbs.framework.limits import Bound
from bbs.framework.names import skeletons

if TYPE_CHECKING:
    from bbs.framework import Migrator

T = TypeVar("T")

LENGTHS = (1, 4, 16, 64, 256)
"""Lengths of lists for which a statement is made: one for each length would be many. From 1,000 on
MariaDB makes a table of a list, and no longer uses an index for it."""

LAST_ID = 2**63 - 1  # the largest id: behind every user and every message

VERSION = 8  # of these tables
OLDEST = 3  # version whose programs can work on them

TOPIC_LENGTH, STATUS_LENGTH = 200, 100  # in characters (`docs/protocol.md`)

SEALED_LENGTH = 2 * 4 * NAME_LENGTH  # hexadecimal digits of a name in UTF-8


def chunks(whole: Sequence[T], length: int) -> Iterator[Sequence[T]]:
    """`whole` in chunks of `length`; the last one may be shorter."""
    return (whole[start : start + length] for start in range(0, len(whole), length))


def padded(values: Sequence[T]) -> Sequence[T]:
    """`values` for an `in_`, with the last one repeated up to the next of `LENGTHS`: as a set that
    is the same. There may be as many as the last of `LENGTHS`."""
    length = next(each for each in LENGTHS if each >= len(values))
    return [*values, *repeat(values[-1], length - len(values))] if values else values


def _count() -> peewee.BigIntegerField:
    """A count, which is 0 in the rows that older servers make."""
    return peewee.BigIntegerField(default=0, constraints=[peewee.SQL("DEFAULT 0")])


def _number(default: int) -> peewee.IntegerField:
    return peewee.IntegerField(default=default, constraints=[peewee.SQL(f"DEFAULT {default}")])


def _no() -> peewee.BooleanField:
    return peewee.BooleanField(default=False, constraints=[peewee.SQL("DEFAULT 0")])


class Relationship(Table):
    """The relationship of `user` to `other`.

    There are always two rows, one for each side: one unique key decides between two people who
    invite each other at the same moment, and every list is one range of one index. Ids rise in the
    order in time. `read` is the id of the last post in the feed of `other` that `user` has read.
    """

    INVITED = "invited"
    INVITED_BY = "invited by"
    FRIEND = "friend"

    id = peewee.BigAutoField()
    user = peewee.ForeignKeyField(User, on_delete="CASCADE", index=False)
    other = peewee.ForeignKeyField(User, on_delete="CASCADE")
    kind = peewee.CharField(10)
    read = _count()

    class Meta:
        bound = Bound(
            "`friends`, and 100 invitations each way",
            of="account",
            share="one invitation; people whom a user declined of late have a quarter together",
        )
        indexes = ((("user", "other"), True), (("user", "kind", "id"), False))


class Block(Table):
    """`user` has blocked `other`; ids rise in the order blocked."""

    id = peewee.BigAutoField()
    user = peewee.ForeignKeyField(User, on_delete="CASCADE")
    other = peewee.ForeignKeyField(User, on_delete="CASCADE")

    class Meta:
        bound = Bound("1,000", of="account")
        indexes = ((("user", "other"), True),)


class FormerBlock(Table):
    """`user` has blocked an account that is gone: who makes one of the same name anew is blocked
    from the start. `digest` stands for the name, and `sealed` is the name for its owner alone to
    read, as `people.former` makes both. `since` is when the account was gone, in seconds since
    the epoch; null until a sweep has seen the row. Servers of version 7 know no such rows."""

    id = peewee.BigAutoField()
    user = peewee.ForeignKeyField(User, on_delete="CASCADE", index=False)
    digest = peewee.CharField(32)
    sealed = peewee.CharField(SEALED_LENGTH)
    since = peewee.DoubleField(null=True, index=True)

    class Meta:
        table_name = "former_block"
        bound = Bound("1,000, with those in `block`; for a year", of="account")
        indexes = ((("user", "digest"), True), (("digest",), False))


class PostRow(Table):
    """A post. `author` is the one in whose feed it is, where friends read it; null for those that
    are not in a feed, which have a `Contribution` as well. (So servers up to version 5 show a feed
    and nothing else.) `stored` is in seconds since the epoch, and null for the posts of versions
    that did not keep it. `replies` counts those in the thread that the post began."""

    id = RisingIdField()  # Servers cache posts by it.
    author = peewee.ForeignKeyField(User, null=True, on_delete="CASCADE")
    text = peewee.TextField()
    stored = peewee.DoubleField(null=True)
    replies = _count()

    class Meta:
        bound = Bound("`posts`", of="account")
        table_name = "post"


class Group(Table):
    """A group. `creator` is the one who owns it; null where it was never stored, and once nobody
    owns it: then it is open, whatever `private` says. `channel` is as for a user. `posts` is the
    number of its last post: they have rising numbers, and keep them when others are removed.
    `empty_since`: when a sweep first saw the group without members and posts, in seconds since the
    epoch; null if it has some, as far as is known."""

    id = RisingIdField()  # Messages of a group that is gone have it.
    name = peewee.CharField(NAME_LENGTH, unique=True)
    channel = peewee.CharField(32)
    creator = peewee.ForeignKeyField(User, null=True, on_delete="SET NULL")
    topic = peewee.CharField(TOPIC_LENGTH, null=True)
    private = _no()
    posts = _count()
    empty_since = peewee.DoubleField(null=True)

    class Meta:
        bound = Bound(
            "`groups` that it owns; one that all have left for each post; for a day, those that it"
            " was in alone when it ended",
            of="account",
        )
        table_name = "chat_group"


class Membership(Table):
    """`user` is in `group`; ids rise in the order joined. The member may not read the messages up
    to `after`, which came before the member joined. Servers of version 2 leave it null: then only
    the messages that the member was sent are known to have come later. `read` is the number of the
    last post that the member has read."""

    id = peewee.BigAutoField()
    group = peewee.ForeignKeyField(Group, on_delete="CASCADE")
    user = peewee.ForeignKeyField(User, on_delete="CASCADE")
    after = peewee.BigIntegerField(null=True)
    read = _count()

    class Meta:
        bound = Bound("`members`, and 1,000 of an account", of="group", share="one")
        indexes = ((("group", "user"), True),)


class GroupInvitation(Table):
    """`user` may join a private `group`, as `by` has invited them; ids rise in time."""

    id = peewee.BigAutoField()
    group = peewee.ForeignKeyField(Group, on_delete="CASCADE", index=False)
    user = peewee.ForeignKeyField(User, on_delete="CASCADE")
    by = peewee.ForeignKeyField(User, null=True, on_delete="SET NULL")

    class Meta:
        bound = Bound("`members`, and 100 to an account", of="group", share="25 to one account")
        table_name = "group_invitation"
        indexes = ((("group", "user"), True),)


class Contribution(Table):
    """Where a post of `writer` is that is in no feed: in `group`, where it has a `number`, or in
    the `thread` that another post began, or both. A thread in a feed belongs to its `owner`, in
    whose feed it began. `thread` and `owner` are no foreign keys: replies outlive both."""

    post = peewee.ForeignKeyField(PostRow, primary_key=True, on_delete="CASCADE")
    writer = peewee.ForeignKeyField(User, on_delete="CASCADE", index=False)
    group = peewee.ForeignKeyField(Group, null=True, on_delete="CASCADE", index=False)
    number = peewee.BigIntegerField(null=True)
    thread = peewee.BigIntegerField(null=True)
    owner = peewee.BigIntegerField(null=True)

    class Meta:
        bound = Bound("one", of="post", share="that of posts")
        indexes = (
            (("writer", "post"), False),
            (("group", "number"), True),
            (("group", "writer", "post"), False),
            (("thread", "post"), False),
        )


class RemovedPost(Table):
    """The `number` of a post that is gone from a group: nobody counts it as unread."""

    group = peewee.ForeignKeyField(Group, on_delete="CASCADE")
    number = peewee.BigIntegerField()

    class Meta:
        bound = Bound("`posts`", of="group", share="one for each of its own that is gone")
        table_name = "removed_post"
        primary_key = peewee.CompositeKey("group", "number")


class ThreadReader(Table):
    """`user` began the thread in the feed of `owner`, or replied in it, and has read it up to the
    reply with the id `read`."""

    user = peewee.ForeignKeyField(User, on_delete="CASCADE")
    thread = peewee.BigIntegerField()
    owner = peewee.BigIntegerField()
    read = _count()

    class Meta:
        bound = Bound("1,000", of="account")
        table_name = "thread_reader"
        primary_key = peewee.CompositeKey("user", "thread")
        indexes = ((("thread", "user"), False),)


class Announcement(Table):
    """What an operator tells everybody, until the moment `until` (null: until it is removed); both
    times are in seconds since the epoch."""

    id = RisingIdField()
    text = peewee.TextField()
    stored = peewee.DoubleField()
    until = peewee.DoubleField(null=True)

    class Meta:
        bound = Bound(
            "any number, until they are removed", of="operator", share="none: operators fill it"
        )


class Status(Table):
    """What somebody says of themselves; no row without."""

    user = peewee.ForeignKeyField(User, primary_key=True, on_delete="CASCADE")
    text = peewee.CharField(STATUS_LENGTH)

    class Meta:
        bound = Bound("one", of="account")


class MessageRow(Table):
    """A message to a user or to a group. Names are copied: it outlives its sender's account.

    `sent_by`, `sent_to` and `in_group` are the ids of the sender, and of the user or the group that
    it is for. No id is a foreign key or used again: a new user with a name that another had before
    does not read that one's messages. Servers of version 2 leave the ids null, and their messages
    are in no history.

    `size` is what counts for the sender (`Inbox.sent`). Servers of version 4 leave it null.
    """

    id = RisingIdField()  # Or a higher one than the database proposes: see `messages.py`.
    sender = peewee.CharField(NAME_LENGTH)
    target = peewee.CharField(NAME_LENGTH)
    to_group = peewee.BooleanField()
    text = peewee.TextField()
    stored = peewee.DoubleField(index=True)
    sent_by = peewee.BigIntegerField(null=True)
    sent_to = peewee.BigIntegerField(null=True)
    in_group = peewee.BigIntegerField(null=True)
    size = peewee.IntegerField(null=True)

    class Meta:
        bound = Bound("`stored`, for `message_retention`", of="account")
        table_name = "message"
        partitioned_by = "id"
        # Messages of a user, of a user to a name, of a name to a user, and in a group: each is one
        # range, in the order of the ids.
        indexes = (
            (("sent_by",), False),
            (("sent_by", "target", "to_group"), False),
            (("sent_to", "sender"), False),
            (("in_group",), False),
        )


class Inbox(Table):
    """The last message `delivered` to `user`, and how much of the user's is kept. A transaction
    that stores a message for the user locks this row, so that each user's messages are committed in
    the order of their ids, and a reader who has seen one has seen all before it.

    `waiting` is the bytes of the messages behind `delivered`; `posts` and `post_bytes` count the
    user's posts and their bytes. `sent` is the sum of `MessageRow.size` of the user's messages.
    Each changes in the transaction that changes what it counts. (Servers of version 4 remove old
    messages, and do not lower `sent`: while they run beside, it may become too high by what has
    expired then.)"""

    user = peewee.ForeignKeyField(User, primary_key=True, on_delete="CASCADE")
    delivered = peewee.BigIntegerField(default=0)
    waiting = _count()
    posts = _count()
    post_bytes = _count()
    sent = _count()

    class Meta:
        bound = Bound("one", of="account")


class InboxShare(Table):
    """The bytes of the messages of `sender` that wait in the inbox of `user` and count for the
    sender's share of it, and the `last` of these messages. The row is void once that is delivered.
    `sender` has no foreign key, as the messages outlive the account."""

    user = peewee.ForeignKeyField(User, on_delete="CASCADE", index=False)
    sender = peewee.BigIntegerField()
    size = peewee.BigIntegerField()
    last = peewee.BigIntegerField()

    class Meta:
        bound = Bound("one for each sender of messages that wait", of="account")
        table_name = "inbox_share"
        primary_key = peewee.CompositeKey("user", "sender")


class Delivery(Table):
    """`message` is for `user`. On MySQL no foreign key removes it with either of them."""

    user = peewee.ForeignKeyField(User, on_delete="CASCADE", index=False)
    message = peewee.ForeignKeyField(MessageRow, on_delete="CASCADE")

    class Meta:
        bound = Bound("`members`", of="message", share="64 bytes each of its sender's `stored`")
        partitioned_by = "message_id"
        primary_key = peewee.CompositeKey("user", "message")


class Told(Table):
    """When `user` last told `other` of an invitation, in seconds since the epoch. The row outlives
    the invitation, unless that is accepted.

    What follows too soon tells nothing, and counts all the same: `times` are the invitations that
    count for the rate of `user`, and `last` is when the last one was made, or was declined (null:
    when it was told). `declined` is how often `other` has declined since there is the row. Servers
    of version 7 leave these three as they are: through them a repeated invitation counts nothing.
    """

    id = peewee.BigAutoField()
    user = peewee.ForeignKeyField(User, on_delete="CASCADE", index=False)
    other = peewee.ForeignKeyField(User, on_delete="CASCADE")
    at = peewee.DoubleField(index=True)
    times = _number(1)
    last = peewee.DoubleField(null=True)
    declined = _number(0)

    class Meta:
        bound = Bound("`invitations` of a day", of="account")
        indexes = ((("user", "other"), True),)


class Heard(Table):
    """`user` was told of an invitation, `at` this time in seconds since the epoch: by somebody
    whose name has this digest, and whose place was taken from `origin` (as `Place` has it). The row
    outlives the account of whoever invited. Servers of version 7 make none."""

    id = peewee.BigAutoField()
    user = peewee.ForeignKeyField(User, on_delete="CASCADE", index=False)
    name = peewee.CharField(32)
    origin = peewee.CharField(64)
    at = peewee.DoubleField(index=True)

    class Meta:
        bound = Bound("100 of an hour", of="account", share="20 of those at an address")
        indexes = ((("user", "at"), False),)


class Skeleton(Table):
    """What the name of `user` looks like: each of its skeletons, as `skeleton_digests` has them. An
    account that a server of version 5 makes while it runs beside has none."""

    digest = peewee.CharField(32)
    user = peewee.ForeignKeyField(User, on_delete="CASCADE")

    class Meta:
        bound = Bound("two", of="account")
        primary_key = peewee.CompositeKey("digest", "user")


def skeleton_digests(name: str) -> Sequence[str]:
    """Digests of the skeletons of `name`, which may be longer than a database's key."""
    texts = [each.encode("utf-8", "replace") for each in sorted(skeletons(name))]
    return [blake2b(each, digest_size=16).hexdigest() for each in texts]


MODELS_OF_6: tuple[type[Table], ...] = (
    GroupInvitation,
    Contribution,
    RemovedPost,
    ThreadReader,
    Announcement,
    Status,
    Skeleton,
)

# In the order in which they can be made.
MODELS: tuple[type[Table], ...] = (
    Relationship,
    Block,
    FormerBlock,
    PostRow,
    Group,
    Membership,
    MessageRow,
    Inbox,
    InboxShare,
    Delivery,
    Told,
    Heard,
    *MODELS_OF_6,
)


def _to_2(migrator: Migrator) -> None:
    """Add how much is kept of each user's, and who made a group."""
    migrator.add_columns("inbox", waiting=_count(), posts=_count(), post_bytes=_count())
    creator = peewee.ForeignKeyField(User, field=User.id, null=True, on_delete="SET NULL")
    migrator.add_columns("chat_group", creator_id=creator)
    migrator.create_table(Group)
    waiting = (
        Delivery.select(peewee.fn.SUM(byte_length(MessageRow.text)))
        .join(MessageRow)
        .where((Delivery.user == Inbox.user) & (Delivery.message > Inbox.delivered))
    )
    own = PostRow.author == Inbox.user
    posts = PostRow.select(peewee.fn.COUNT(PostRow.id)).where(own)
    post_bytes = PostRow.select(peewee.fn.SUM(byte_length(PostRow.text))).where(own)
    # All rows are counted anew, however often this is done.
    Inbox.update(
        waiting=peewee.fn.COALESCE(waiting, 0),
        posts=posts,
        post_bytes=peewee.fn.COALESCE(post_bytes, 0),
    ).execute()


def _to_3(migrator: Migrator) -> None:
    """Add times to posts, ids of people to messages, and the table of blocks."""
    migrator.create_table(Block)
    migrator.add_columns("post", stored=peewee.DoubleField(null=True))
    migrator.add_columns("membership", after=peewee.BigIntegerField(null=True))
    migrator.add_columns(
        "message",
        sent_by=peewee.BigIntegerField(null=True),
        sent_to=peewee.BigIntegerField(null=True),
        in_group=peewee.BigIntegerField(null=True),
    )
    _fill_message_ids()
    _fill_membership_starts()
    # Indexes are made faster now than kept up meanwhile.
    for model in (Membership, MessageRow):
        migrator.create_table(model)


def _to_4(migrator: Migrator) -> None:
    """Let no id of a post be used again."""
    migrator.rebuild_table(PostRow)


def _to_5(migrator: Migrator) -> None:
    """Add what counts for the senders of messages, and when people were told of invitations."""
    migrator.add_columns("message", size=peewee.IntegerField(null=True))
    migrator.add_columns("inbox", sent=_count())
    migrator.create_table(MessageRow)  # Its new index.
    migrator.create_table(Told)


def _to_6(migrator: Migrator) -> None:
    """Add threads, the posts and owners of groups, what each reader has read, announcements and
    statuses, and what names look like. Posts of before count as read."""
    migrator.add_columns("relationship", read=_count())
    migrator.add_columns("post", replies=_count())
    migrator.allow_null(PostRow.author)
    migrator.add_columns(
        "chat_group",
        topic=peewee.CharField(TOPIC_LENGTH, null=True),
        private=_no(),
        posts=_count(),
    )
    migrator.rebuild_table(Group)  # No id is used again now, as groups can be deleted.
    migrator.add_columns("membership", read=_count())
    for model in MODELS_OF_6:
        migrator.create_table(model)
    [(newest,)] = rows(PostRow.select(peewee.fn.MAX(PostRow.id)))
    for low, high in _ranges(Relationship):
        some = (Relationship.id >= low) & (Relationship.id < high) & (Relationship.read == 0)
        Relationship.update(read=newest or 0).where(some).execute()
    _fill_skeletons()


def _to_7(migrator: Migrator) -> None:
    """Divide messages and deliveries into partitions on MySQL."""
    migrator.partition(Delivery, MessageRow)


def _to_8(migrator: Migrator) -> None:
    """Add what counts of repeated and declined invitations, of whose invitations people were told,
    blocks of accounts that are gone, what each sender has of an inbox, an index by which the posts
    of each writer in a group are counted, and since when nobody has been in a group."""
    last = peewee.DoubleField(null=True)
    migrator.add_columns("told", times=_number(1), last=last, declined=_number(0))
    migrator.add_columns("chat_group", empty_since=peewee.DoubleField(null=True))
    migrator.create_table(FormerBlock)
    migrator.create_table(Heard)
    migrator.create_table(InboxShare)
    migrator.create_table(Contribution)


STEPS: Mapping[int, Any] = {
    2: _to_2,
    3: _to_3,
    4: _to_4,
    5: _to_5,
    6: _to_6,
    7: _to_7,
    8: _to_8,
}
"""The migration to each version."""

AT_ONCE = 5000  # ids of rows that one statement changes, or looks through
USERS_AT_ONCE = 500  # users whose names one statement adds
MEMBERS_AT_ONCE = 250  # memberships in one statement; SQLite limits the depth of an expression


def _fill_message_ids() -> None:
    """Fill `MessageRow.sent_by`, `sent_to` and `in_group`.

    The sender is the user with the name, if that account is older than the message: else the sender
    is gone. A direct message has one delivery, until its reader deletes the account. Groups stay
    for ever.
    """
    sender = User.select(User.id).where(
        (User.name == MessageRow.sender) & (User.created <= MessageRow.stored)
    )
    reader = Delivery.select(peewee.fn.MIN(Delivery.user)).where(Delivery.message == MessageRow.id)
    group = Group.select(Group.id).where(Group.name == MessageRow.target)
    for low, high in _ranges(MessageRow):
        MessageRow.update(
            sent_by=sender,
            sent_to=peewee.Case(None, [(MessageRow.to_group, None)], reader),
            in_group=peewee.Case(None, [(MessageRow.to_group, group)]),
        ).where((MessageRow.id >= low) & (MessageRow.id < high)).execute()


def _fill_membership_starts() -> None:
    """Fill `Membership.after` with the message before the first that the member was sent in the
    group; for a member who was sent none, with the last message there is."""
    [(newest,)] = rows(MessageRow.select(peewee.fn.MAX(MessageRow.id)))
    first: dict[tuple[int, int], int] = {}
    for low, high in _ranges(MessageRow):
        sent = (
            Delivery.select(Delivery.user, MessageRow.in_group, peewee.fn.MIN(MessageRow.id))
            .join(MessageRow)
            .where(
                (MessageRow.id >= low) & (MessageRow.id < high) & MessageRow.in_group.is_null(False)
            )
            .group_by(Delivery.user, MessageRow.in_group)
        )
        for user, group, message in rows(sent):
            first.setdefault((user, group), message)
    members = rows(Membership.select(Membership.id, Membership.user, Membership.group))
    for some in chunks(members, MEMBERS_AT_ONCE):
        after = [
            (number, first.get((user, group), (newest or 0) + 1) - 1)
            for number, user, group in some
        ]
        Membership.update(after=peewee.Case(Membership.id, after)).where(
            Membership.id.in_([number for number, _ in after])
        ).execute()


def _fill_skeletons() -> None:
    """Add the skeletons of all users."""
    last = 0
    while found := rows(
        User.select(User.id, User.name).where(User.id > last).order_by(User.id).limit(USERS_AT_ONCE)
    ):
        made = [(digest, user) for user, name in found for digest in skeleton_digests(name)]
        added = Skeleton.insert_many(made, (Skeleton.digest, Skeleton.user))
        added.on_conflict_ignore().execute()
        last = found[-1][0]


def _ranges(model: type[Table]) -> Iterator[tuple[int, int]]:
    """The ids of the rows of a table in ranges, lowest first: from the first number on, before the
    second. A gap, as a restore leaves it, is in none."""
    number: Any = model.id  # type: ignore[attr-defined]
    [(high,)] = rows(model.select(peewee.fn.MAX(number)))
    [(first,)] = rows(model.select(peewee.fn.MIN(number)))
    while first is not None and first <= high:
        yield first, first + AT_ONCE
        [(first,)] = rows(model.select(peewee.fn.MIN(number)).where(number >= first + AT_ONCE))
