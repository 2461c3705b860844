"""The tables of posts: where they are, and who has read them."""

from __future__ import annotations

import peewee

from bbs.board.columns import count
from bbs.board.groups.tables import Group
from bbs.framework import RisingIdField, Table, User
from bbs.framework.limits import Bound


class PostRow(Table):
    """A post. `author` is the one in whose feed it is, where friends read it; null for those that
    are not in a feed, which have a `Contribution` as well. (So servers up to version 5 show a feed
    and nothing else.) `stored` is in seconds since the epoch, and null for the posts of versions
    that did not keep it. `replies` counts those in the thread that the post began."""

    id = RisingIdField()  # Servers cache posts by it.
    author = peewee.ForeignKeyField(User, null=True, on_delete="CASCADE")
    text = peewee.TextField()
    stored = peewee.DoubleField(null=True)
    replies = count()

    class Meta:
        bound = Bound("`posts`", of="account")
        table_name = "post"


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
    read = count()

    class Meta:
        bound = Bound("1,000", of="account")
        table_name = "thread_reader"
        primary_key = peewee.CompositeKey("user", "thread")
        indexes = ((("thread", "user"), False),)
