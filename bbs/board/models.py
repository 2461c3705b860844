"""The board's tables, beside those that every service has (`bbs.framework.User` and so on), and the
steps from older versions of them.

A change here needs a step in `STEPS`, and `VERSION` to rise. The step to version 3 finds out whose
messages are whose, and since when people are members. All of it may be done twice, and be cut off
anywhere: each change follows from other rows alone. Much is changed in pieces, as on MySQL each is
committed by itself, and servers of version 2 go on meanwhile.

`pieces` and `padded` cut long lists up, as a database takes only so much in a statement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeVar

import peewee

from bbs.framework import NAME_LENGTH, RisingIdField, Table, User, byte_length, rows

if TYPE_CHECKING:
    from bbs.framework import Migrator

T = TypeVar("T")

LENGTHS = (1, 4, 16, 64, 256)
"""Lengths of lists for which a statement is made; one for each length would be many. From 1,000 on
MariaDB makes a table of a list, and looks for what is in it no more in an index."""


def pieces(whole: Sequence[T], length: int) -> Iterator[Sequence[T]]:
    """`whole` in pieces of `length` and a rest."""
    return (whole[start : start + length] for start in range(0, len(whole), length))


def padded(values: Sequence[T]) -> Sequence[T]:
    """`values` for an `in_`, at most as many as the last of `LENGTHS`: the last one of them again
    and again, up to the next of the lengths. For a set that is the same."""
    length = next(each for each in LENGTHS if each >= len(values))
    return [*values, *repeat(values[-1], length - len(values))] if values else values


LAST_ID = 2**63 - 1
"""The largest id that a database has: behind everybody, and behind every message."""

VERSION = 3
"""The version of these tables."""


class Relationship(Table):
    """How `user` stands to `other`.

    Always two rows, one for each side, so that one unique key decides between two people who
    invite each other at the same moment, and every list is one range of one index. Ids rise, so
    they give the order in time.
    """

    INVITED = "invited"
    INVITED_BY = "invited by"
    FRIEND = "friend"

    id = peewee.BigAutoField()
    user = peewee.ForeignKeyField(User, on_delete="CASCADE", index=False)
    other = peewee.ForeignKeyField(User, on_delete="CASCADE")
    kind = peewee.CharField(10)

    class Meta:
        indexes = ((("user", "other"), True), (("user", "kind", "id"), False))


class Block(Table):
    """`user` takes nothing from `other`; ids rise in the order blocked."""

    id = peewee.BigAutoField()
    user = peewee.ForeignKeyField(User, on_delete="CASCADE")
    other = peewee.ForeignKeyField(User, on_delete="CASCADE")

    class Meta:
        indexes = ((("user", "other"), True),)


class Post(Table):
    """Something that an author's friends may read; `stored` when (seconds since the epoch), null
    for those of before that was kept."""

    id = peewee.BigAutoField()
    author = peewee.ForeignKeyField(User, on_delete="CASCADE")
    text = peewee.TextField()
    stored = peewee.DoubleField(null=True)


class Group(Table):
    """A group; it outlives its `creator`, who is null then, and where nobody wrote down who it was.
    `channel` as for a user."""

    id = peewee.BigAutoField()
    name = peewee.CharField(NAME_LENGTH, unique=True)
    channel = peewee.CharField(32)
    creator = peewee.ForeignKeyField(User, null=True, on_delete="SET NULL")

    class Meta:
        table_name = "chat_group"


class Membership(Table):
    """`user` is in `group`; ids rise in the order joined. What was said before the member joined,
    that is up to the message `after`, is not for the member. Servers of version 2 leave it null:
    then what the member was sent is known to have come later, and nothing else."""

    id = peewee.BigAutoField()
    group = peewee.ForeignKeyField(Group, on_delete="CASCADE")
    user = peewee.ForeignKeyField(User, on_delete="CASCADE")
    after = peewee.BigIntegerField(null=True)

    class Meta:
        indexes = ((("group", "user"), True),)


class Message(Table):
    """A message, to a user or to a group. Names are copied: it outlives its sender's account.

    `sent_by` is the id of its sender; `sent_to` that of the user, or `in_group` that of the group
    that it is for. These ids refer to nothing, and no id comes back: a new user with a name that
    another had before reads nothing of that one's. Servers of version 2 leave them null, and what
    they store is in no history.
    """

    id = RisingIdField()
    sender = peewee.CharField(NAME_LENGTH)
    target = peewee.CharField(NAME_LENGTH)
    to_group = peewee.BooleanField()
    text = peewee.TextField()
    stored = peewee.DoubleField(index=True)
    sent_by = peewee.BigIntegerField(null=True)
    sent_to = peewee.BigIntegerField(null=True)
    in_group = peewee.BigIntegerField(null=True)

    class Meta:
        # Messages of a user to a name, messages of a name to a user, and messages in a group: each
        # is one range, in the order of the ids.
        indexes = (
            (("sent_by", "target", "to_group"), False),
            (("sent_to", "sender"), False),
            (("in_group",), False),
        )


def _count() -> peewee.BigIntegerField:
    """A count, which servers of version 1 leave at 0 in the rows that they make."""
    return peewee.BigIntegerField(default=0, constraints=[peewee.SQL("DEFAULT 0")])


class Inbox(Table):
    """The state of what `user` has been sent, and how much of the user's is kept. To store a
    message for the user locks this row, so that each user's messages are committed in the order of
    their ids, and a reader who has seen one has seen all before it.

    `waiting` is the bytes of the messages behind `delivered`; `posts` and `post_bytes` are how many
    posts there are of the user's, and their bytes. The numbers change with what they count, in the
    same transaction."""

    user = peewee.ForeignKeyField(User, primary_key=True, on_delete="CASCADE")
    delivered = peewee.BigIntegerField(default=0)
    waiting = _count()
    posts = _count()
    post_bytes = _count()


class Delivery(Table):
    """`message` is for `user`, who was to have it when it was stored."""

    user = peewee.ForeignKeyField(User, on_delete="CASCADE", index=False)
    message = peewee.ForeignKeyField(Message, on_delete="CASCADE")

    class Meta:
        primary_key = peewee.CompositeKey("user", "message")


MODELS: tuple[type[Table], ...] = (
    Relationship,
    Block,
    Post,
    Group,
    Membership,
    Message,
    Inbox,
    Delivery,
)
"""In an order in which they can be made."""


def _to_2(migrator: Migrator) -> None:
    """How much is kept of each user's, and who made a group."""
    migrator.add_columns("inbox", waiting=_count(), posts=_count(), post_bytes=_count())
    creator = peewee.ForeignKeyField(User, field=User.id, null=True, on_delete="SET NULL")
    migrator.add_columns("chat_group", creator_id=creator)
    migrator.create_table(Group)
    waiting = (
        Delivery.select(peewee.fn.SUM(byte_length(Message.text)))
        .join(Message)
        .where((Delivery.user == Inbox.user) & (Delivery.message > Inbox.delivered))
    )
    own = Post.author == Inbox.user
    posts = Post.select(peewee.fn.COUNT(Post.id)).where(own)
    post_bytes = Post.select(peewee.fn.SUM(byte_length(Post.text))).where(own)
    # All rows are counted anew, however often this is done.
    Inbox.update(waiting=_or_none(waiting), posts=posts, post_bytes=_or_none(post_bytes)).execute()


def _or_none(total: Any) -> Any:
    return peewee.fn.COALESCE(total, 0)


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
    whose_messages()
    since_when_members()
    # Their indexes: they are made faster than kept up.
    for model in (Membership, Message):
        migrator.create_table(model)


STEPS: Mapping[int, Any] = {2: _to_2, 3: _to_3}
"""From each version to the next."""


MESSAGES_AT_ONCE = 5000
"""Ids of messages that one statement changes, or looks through."""

MEMBERS_AT_ONCE = 250
"""Memberships that one statement changes; SQLite has a limit on how deep an expression is."""


def whose_messages() -> None:
    """`Message.sent_by`, `sent_to` and `in_group`.

    The sender is who has the name, if that account was there before the message: else the one who
    sent it is gone. A direct message has one delivery, until its reader deletes the account. Groups
    stay for ever.
    """
    sender = User.select(User.id).where(
        (User.name == Message.sender) & (User.created <= Message.stored)
    )
    reader = Delivery.select(peewee.fn.MIN(Delivery.user)).where(Delivery.message == Message.id)
    group = Group.select(Group.id).where(Group.name == Message.target)
    for low, high in _ranges():
        Message.update(
            sent_by=sender,
            sent_to=peewee.Case(None, [(Message.to_group, None)], reader),
            in_group=peewee.Case(None, [(Message.to_group, group)]),
        ).where((Message.id >= low) & (Message.id < high)).execute()


def since_when_members() -> None:
    """`Membership.after` of those who are members: what came before the first that they were sent
    in the group; of who was sent nothing, all there is."""
    [(newest,)] = rows(Message.select(peewee.fn.MAX(Message.id)))
    first: dict[tuple[int, int], int] = {}
    for low, high in _ranges():
        sent = (
            Delivery.select(Delivery.user, Message.in_group, peewee.fn.MIN(Message.id))
            .join(Message)
            .where((Message.id >= low) & (Message.id < high) & Message.in_group.is_null(False))
            .group_by(Delivery.user, Message.in_group)
        )
        for user, group, message in rows(sent):
            first.setdefault((user, group), message)
    members = rows(Membership.select(Membership.id, Membership.user, Membership.group))
    for some in pieces(members, MEMBERS_AT_ONCE):
        after = [
            (number, first.get((user, group), (newest or 0) + 1) - 1)
            for number, user, group in some
        ]
        Membership.update(after=peewee.Case(Membership.id, after)).where(
            Membership.id.in_([number for number, _ in after])
        ).execute()


def _ranges() -> Iterator[tuple[int, int]]:
    """All ids of messages in pieces, lowest first: from the first on, before the second."""
    [(low, high)] = rows(Message.select(peewee.fn.MIN(Message.id), peewee.fn.MAX(Message.id)))
    for first in range(low, high + 1, MESSAGES_AT_ONCE) if low is not None else ():
        yield first, first + MESSAGES_AT_ONCE
