"""The tables of people: relationships, blocks, statuses, and who was told of invitations."""

from __future__ import annotations

import peewee

from bbs.board.columns import count, number
from bbs.framework import NAME_LENGTH, Table, User
from bbs.framework.limits import Bound

STATUS_LENGTH = 100  # in characters (`docs/protocol.md`)

SEALED_LENGTH = 2 * 4 * NAME_LENGTH  # hexadecimal digits of a name in UTF-8


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
    read = count()

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


class Status(Table):
    """What somebody says of themselves; no row without."""

    user = peewee.ForeignKeyField(User, primary_key=True, on_delete="CASCADE")
    text = peewee.CharField(STATUS_LENGTH)

    class Meta:
        bound = Bound("one", of="account")


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
    times = number(1)
    last = peewee.DoubleField(null=True)
    declined = number(0)

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
