"""What the board stores, beside what every service has: `bbs.framework.User` and so on.

A change here needs a step in `STEPS`, and `VERSION` to rise.
"""

from __future__ import annotations

import peewee

from bbs.framework import NAME_LENGTH, RisingIdField, Table, User

VERSION = 1
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


class Post(Table):
    """Something that an author's friends may read."""

    id = peewee.BigAutoField()
    author = peewee.ForeignKeyField(User, on_delete="CASCADE")
    text = peewee.TextField()


class Group(Table):
    """A group; it outlives its creator. `channel` as for a user."""

    id = peewee.BigAutoField()
    name = peewee.CharField(NAME_LENGTH, unique=True)
    channel = peewee.CharField(32)

    class Meta:
        table_name = "chat_group"


class Membership(Table):
    """`user` is in `group`; ids rise in the order joined."""

    id = peewee.BigAutoField()
    group = peewee.ForeignKeyField(Group, on_delete="CASCADE", index=False)
    user = peewee.ForeignKeyField(User, on_delete="CASCADE")

    class Meta:
        indexes = ((("group", "user"), True),)


class Message(Table):
    """A message, to a user or to a group. Names are copied: it outlives its sender's account."""

    id = RisingIdField()
    sender = peewee.CharField(NAME_LENGTH)
    target = peewee.CharField(NAME_LENGTH)
    to_group = peewee.BooleanField()
    text = peewee.TextField()
    stored = peewee.DoubleField(index=True)


class Inbox(Table):
    """What `user` has been sent. Its row is locked by whoever stores a message for the user, so
    that each user's messages are committed in the order of their ids, and a reader who has seen one
    has seen all before it."""

    user = peewee.ForeignKeyField(User, primary_key=True, on_delete="CASCADE")
    delivered = peewee.BigIntegerField(default=0)


class Delivery(Table):
    """`message` is for `user`, who was to have it when it was stored."""

    user = peewee.ForeignKeyField(User, on_delete="CASCADE", index=False)
    message = peewee.ForeignKeyField(Message, on_delete="CASCADE")

    class Meta:
        primary_key = peewee.CompositeKey("user", "message")


MODELS: tuple[type[Table], ...] = (
    Relationship,
    Post,
    Group,
    Membership,
    Message,
    Inbox,
    Delivery,
)
"""In an order in which they can be made."""
