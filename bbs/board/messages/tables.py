"""The tables of messages: who is to have them, and how much is kept for each user."""

from __future__ import annotations

import peewee

from bbs.board.columns import count
from bbs.framework import NAME_LENGTH, RisingIdField, Table, User
from bbs.framework.limits import Bound


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
    waiting = count()
    posts = count()
    post_bytes = count()
    sent = count()

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
