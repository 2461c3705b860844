"""Counts of what the board has of one user: what is new, for the user, and all of it for operators.

Nothing here reads a text of theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import peewee

from bbs.board.announcements import rules as announcements
from bbs.board.groups.tables import Group, Membership
from bbs.board.lists import chunks
from bbs.board.messages.tables import Delivery, Inbox, MessageRow
from bbs.board.people import blocks
from bbs.board.people.tables import Block, FormerBlock, Relationship
from bbs.board.posts import unread
from bbs.board.posts.tables import Contribution
from bbs.framework import Caller, read_only
from bbs.framework.fast import asks, statement, together
from bbs.framework.limits import costs, price_of

MOST_COUNTED = 1000  # nobody needs to know the number of more

MOST_IN_GROUPS, LEAST_IN_GROUP = 10_000, 10
"""Posts that `new` looks at in all groups of a user together, and the least for each group. A user
who has news in one group has all of it counted; with news in more than ten groups, the numbers may
be smaller than what there is."""

GROUPS_AT_ONCE = 50  # groups that one statement counts; SQLite allows a statement 500 parts


def on_login(user: int, seen: float | None) -> Mapping[str, object]:
    """`waiting`, a member of the reply to `login`."""
    posts, _ = unread.count(user, MOST_COUNTED)
    return {"waiting": {**of_login(user, seen), "posts": posts}}


def of_login(user: int, seen: float | None) -> Mapping[str, object]:
    """What is said of messages and invitations at a login.

    The count is of messages that no connection of the user was sent, and of those since the user
    was last there: a connection that was left open elsewhere hides none. `after` is the id behind
    which these messages begin, for `listen`."""
    asked = [_delivered.of(user), invitations.of(user, Relationship.INVITED_BY, MOST_COUNTED)]
    if seen is not None:
        asked.append(_first_since.of(seen))
    delivered, [(invited,)], *since = together(*asked)
    before = [first - 1 for found in since for (first,) in found]
    after: int = min([last for (last,) in delivered] + before, default=0)
    [(messages,)] = _behind(user, after, MOST_COUNTED)
    return {"invitations": invited, "messages": messages, "after": after}


class News(dict[str, object]):
    """The reply to `new`, which read so many `rows`."""

    def __init__(self, members: Mapping[str, object], rows: int) -> None:
        super().__init__(members)
        self.rows = rows

    def price(self) -> int:
        """A command for each 100 messages, invitations, posts and groups that are counted, and
        friends and threads that are looked at."""
        return price_of(0, self.rows)


@costs(commands=News.price)
@asks(blocks.are_any)
@read_only
def summary(caller: Caller) -> News:
    """What is new for the caller; nothing of it counts as read then."""
    [(has_blocked,)] = blocks.are_any(caller)
    [(messages,)], [(invited,)], in_groups, own = together(
        waiting.of(caller.id, MOST_COUNTED),
        invitations.of(caller.id, Relationship.INVITED_BY, MOST_COUNTED),
        _groups_with_news.of(caller.id),
        _own_posts.of(caller.id),
    )
    posts, looked_at = unread.count(caller.id, MOST_COUNTED)
    groups = _count_in_groups(caller.id, [_GroupNews(*row) for row in in_groups], has_blocked)
    counted = [number for _, number in groups]
    new = {
        "messages": messages,
        "invitations": invited,
        "posts": posts,
        "groups": [{"group": each.name, "posts": number} for each, number in groups if number],
        "announcements": announcements.current(caller.now),
    }
    # Posts that are not shown are looked at as well: own ones, and those of the blocked.
    behind, [(written,)] = sum(each.newest - each.read for each, _ in groups), own or [(0,)]
    passed = min(behind - sum(counted), MOST_IN_GROUPS if has_blocked else written)
    rows = messages + invited + posts + looked_at + len(groups) + sum(counted) + passed
    return News({"new": new}, rows)


class _GroupNews(NamedTuple):
    """A group whose `newest` post is behind the last that a member has `read`, by their numbers."""

    id: int
    name: str
    read: int
    newest: int


def _count_in_groups(
    user: int, news: Sequence[_GroupNews], has_blocked: bool
) -> list[tuple[_GroupNews, int]]:
    """How many posts are unread in each group, `MOST_COUNTED` at the most, without own ones and
    those of people whom the user has blocked."""
    look = max(LEAST_IN_GROUP, MOST_IN_GROUPS // max(1, len(news)))
    count = _seen_in_groups if has_blocked else _unread_in_groups
    counts = [
        count.of(
            user,
            [each.id for each in some],
            [each.read for each in some],
            look,
            min(MOST_COUNTED, look),
        )
        for some in chunks(news, GROUPS_AT_ONCE)
    ]
    numbers = [number for found in (together(*counts) if counts else ()) for (number,) in found]
    return [*zip(news, numbers, strict=True)]


@statement
def _delivered(user: int) -> peewee.Select:
    return Inbox.select(Inbox.delivered).where(Inbox.user == user)


@statement
def invitations(user: int, kind: str, most: int) -> peewee.Select:
    """The number of relationships of this kind, `most` at the most."""
    own = (Relationship.user == user) & (Relationship.kind == kind)
    return _count(Relationship, own, most)


@statement
def _first_since(seen: float) -> peewee.Select:
    """The first message of anybody since then. Ids and times need not rise together, as each server
    has its own clock: a message more or less is shown twice, and no undelivered one is lost."""
    found = MessageRow.select(MessageRow.id).where(MessageRow.stored >= seen)
    return found.order_by(MessageRow.stored).limit(1)


@statement
def waiting(user: int, most: int) -> peewee.Select:
    """The number of messages that no connection of the user was sent, `most` at the most."""
    last = Inbox.select(Inbox.delivered).where(Inbox.user == user)
    return _count(Delivery, (Delivery.user == user) & (Delivery.message > last), most)


@statement
def _behind(user: int, after: int, most: int) -> peewee.Select:
    return _count(Delivery, (Delivery.user == user) & (Delivery.message > after), most)


@statement
def _own_posts(user: int) -> peewee.Select:
    return Inbox.select(Inbox.posts).where(Inbox.user == user)


@statement
def _groups_with_news(user: int) -> peewee.Select:
    found = Membership.select(Group.id, Group.name, Membership.read, Group.posts)
    own = found.join(Group).where(Membership.user == user)
    return own.where(Group.posts > Membership.read).order_by(Group.name)


@statement
def _unread_in_groups(
    user: int, groups: Sequence[int], reads: Sequence[int], look: int, most: int
) -> peewee.SelectBase:
    """The number of posts of others behind the mark of each group, `most` at the most."""
    return _union(
        _count(Contribution, _by_others(user, group, read), most)
        for group, read in zip(groups, reads, strict=True)
    )


@statement
def _seen_in_groups(
    user: int, groups: Sequence[int], reads: Sequence[int], look: int, most: int
) -> peewee.SelectBase:
    """Count as `_unread_in_groups` does, without posts of people whom the user has blocked. The
    statement looks at `look` posts by other people in each group."""
    counts = []
    for group, read in zip(groups, reads, strict=True):
        behind = Contribution.select(Contribution.writer).where(_by_others(user, group, read))
        first = behind.order_by(Contribution.number).limit(look).alias("first")
        shown = blocks.has_not_blocked(user, first.c.writer_id)
        some = Contribution.select(peewee.SQL("1")).from_(first).where(shown).limit(most)
        counts.append(_number_of(Contribution, some))
    return _union(counts)


def _by_others(user: int, group: int, read: int) -> Any:
    behind = (Contribution.group == group) & (Contribution.number > read)
    return behind & (Contribution.writer != user)


def _union(queries: Iterable[peewee.SelectBase]) -> peewee.SelectBase:
    return reduce(lambda one, other: one.union_all(other), queries)


def _count(model: Any, condition: Any, most: int) -> peewee.Select:
    return _number_of(model, model.select(peewee.SQL("1")).where(condition).limit(most))


def _number_of(model: Any, rows: Any) -> peewee.Select:
    counted = model.select(peewee.fn.COUNT(peewee.SQL("1"))).from_(rows.alias("some"))
    counted_rows: peewee.Select = counted
    return counted_rows


def of_person(user: int) -> Mapping[str, int]:
    """The numbers of friends, invitations received and sent, posts, groups, people blocked, and
    messages that are kept; and the bytes of messages that wait."""
    kinds: dict[str, int] = dict(_relationships(user))
    ((posts, waiting),) = _kept(user) or ((0, 0),)
    return {
        "friends": kinds.get(Relationship.FRIEND, 0),
        "invitations": kinds.get(Relationship.INVITED_BY, 0),
        "invited": kinds.get(Relationship.INVITED, 0),
        "posts": posts,
        "groups": _groups(user)[0][0],
        "blocked": _blocks(user)[0][0] + _former_blocks(user)[0][0],
        "messages_sent": _sent(user)[0][0],
        "messages_received": _received(user)[0][0],
        "waiting_bytes": waiting,
    }


@statement
def _relationships(user: int) -> peewee.Select:
    counts = Relationship.select(Relationship.kind, peewee.fn.COUNT(Relationship.id))
    return counts.where(Relationship.user == user).group_by(Relationship.kind)


@statement
def _kept(user: int) -> peewee.Select:
    return Inbox.select(Inbox.posts, Inbox.waiting).where(Inbox.user == user)


@statement
def _groups(user: int) -> peewee.Select:
    return Membership.select(peewee.fn.COUNT(Membership.id)).where(Membership.user == user)


@statement
def _blocks(user: int) -> peewee.Select:
    return Block.select(peewee.fn.COUNT(Block.id)).where(Block.user == user)


@statement
def _former_blocks(user: int) -> peewee.Select:
    own = FormerBlock.user == user
    return FormerBlock.select(peewee.fn.COUNT(FormerBlock.id)).where(own)


@statement
def _sent(user: int) -> peewee.Select:
    return MessageRow.select(peewee.fn.COUNT(MessageRow.id)).where(MessageRow.sent_by == user)


@statement
def _received(user: int) -> peewee.Select:
    return Delivery.select(peewee.fn.COUNT(Delivery.message)).where(Delivery.user == user)
