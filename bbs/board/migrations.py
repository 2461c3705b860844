"""The board's tables in their order, and the migrations from older versions of them.

A change of a table needs a migration in `STEPS`, and a higher `VERSION`. The migration to version 3
finds out whose messages are whose, and since when people are members. Each migration may run twice,
and be cut off anywhere: each change follows from other rows alone. Many rows are changed in chunks,
as MySQL commits each change by itself, and servers of version 2 go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import peewee

from bbs.board.announcements.tables import Announcement
from bbs.board.columns import count, no, number
from bbs.board.groups.tables import TOPIC_LENGTH, Group, GroupInvitation, Membership
from bbs.board.lists import chunks
from bbs.board.messages.tables import Delivery, Inbox, InboxShare, MessageRow
from bbs.board.names import Skeleton, skeleton_digests
from bbs.board.people.tables import Block, FormerBlock, Heard, Relationship, Status, Told
from bbs.board.posts.tables import Contribution, PostRow, RemovedPost, ThreadReader
from bbs.framework import Table, User
from bbs.framework.fast import byte_length, rows

if TYPE_CHECKING:
    from bbs.framework import Migrator

VERSION = 8  # of these tables
OLDEST = 3  # version whose programs can work on them


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
    migrator.add_columns("inbox", waiting=count(), posts=count(), post_bytes=count())
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
    migrator.add_columns("inbox", sent=count())
    migrator.create_table(MessageRow)  # Its new index.
    migrator.create_table(Told)


def _to_6(migrator: Migrator) -> None:
    """Add threads, the posts and owners of groups, what each reader has read, announcements and
    statuses, and what names look like. Posts of before count as read."""
    migrator.add_columns("relationship", read=count())
    migrator.add_columns("post", replies=count())
    migrator.allow_null(PostRow.author)
    migrator.add_columns(
        "chat_group",
        topic=peewee.CharField(TOPIC_LENGTH, null=True),
        private=no(),
        posts=count(),
    )
    migrator.rebuild_table(Group)  # No id is used again now, as groups can be deleted.
    migrator.add_columns("membership", read=count())
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
    migrator.add_columns("told", times=number(1), last=last, declined=number(0))
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
