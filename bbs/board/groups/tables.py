"""The tables of groups: who is in them, and who is invited."""

from __future__ import annotations

import peewee

from bbs.board.columns import count, no
from bbs.framework import NAME_LENGTH, RisingIdField, Table, User
from bbs.framework.limits import Bound

TOPIC_LENGTH = 200  # in characters (`docs/protocol.md`)


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
    private = no()
    posts = count()
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
    read = count()

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
