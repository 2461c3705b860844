"""How a group's room for posts is shared out among those who write there.

A group keeps as many posts as a user may have. Beyond that the oldest go of the writer who has most
of them there, one by one. A flood removes its own posts then, and one person has all of the room as
long as the others need none of it. People who have left count like the others.

Nothing is kept for that: the posts are counted by an index, now and then, so that each post pays
for a small part of the count. Servers of 0.4.0 can therefore make no count wrong.
Such a server, while it runs beside, removes all but the last numbers, whoever wrote them.
"""

from __future__ import annotations

from collections.abc import Sequence

import peewee

from bbs.board.lists import LENGTHS
from bbs.board.posts import posts
from bbs.board.posts.tables import Contribution, RemovedPost
from bbs.framework.fast import statement

CHECKS = 400
"""While a group takes as many posts as it keeps, its posts are counted so often: 10,000 entries of
an index for 25 posts, which may be beyond what it keeps until then. To count these takes SQLite
2 ms and MariaDB 6 ms, and to remove 25 as long again, measured on a busy machine."""

REMOVED_AT_ONCE = LENGTHS[-1]  # posts that one new post removes: each may change an inbox


def make_room(group: int, number: int, most: int) -> None:
    """Remove the posts of a group beyond `most`, `REMOVED_AT_ONCE` of them, after the post with
    this `number` there. The row of the group is locked."""
    if number <= most or number % max(1, most // CHECKS):
        return
    found = _of_writers(group)
    over = min(sum(count for _, count, _ in found) - most, REMOVED_AT_ONCE)
    if over > 0:
        posts.remove(_oldest_of_most(group, found, over))
        forget_removed(group, number - most)


def _oldest_of_most(group: int, found: Sequence[tuple[int, int, int]], over: int) -> list[int]:
    """The ids of the `over` posts that go, of what `_of_writers` has found: each time the oldest of
    whoever has most, and where several have, the oldest of theirs."""
    level, rest = levelled([count for _, count, _ in found], over)
    first = {writer: post for writer, count, post in found if count >= level}
    many = [(writer, count - level) for writer, count, _ in found if count > level]
    gone: list[int] = []
    oldest = _oldest.each([(group, writer, number + 1) for writer, number in many])
    for (writer, number), own in zip(many, oldest, strict=True):
        numbers = [post for (post,) in own]
        gone += numbers[:number]
        if number < len(numbers):
            first[writer] = numbers[number]
    return gone + sorted(first.values())[:rest]


def levelled(counts: Sequence[int], over: int) -> tuple[int, int]:
    """To how many each of `counts` is lowered that is higher, if `over` go in all, and how many
    more go one by one: fewer than there are such counts."""
    highest = sorted(counts, reverse=True)
    for number, count in enumerate(highest, 1):
        lower = highest[number] if number < len(highest) else 0
        step = min(count - lower, over // number)
        over -= number * step
        if step < count - lower or not over:
            return count - step, over
    return 0, 0


# Statements


@statement
def forget_removed(group: int, number: int) -> peewee.Delete:
    """Forget which posts of a group up to a number are gone: only servers of 0.4.0 read of it, and
    they count the numbers behind this one."""
    some = (RemovedPost.group == group) & (RemovedPost.number <= number)
    return RemovedPost.delete().where(some)


@statement
def _of_writers(group: int) -> peewee.Select:
    """Who has posts in a group, how many, and the oldest of each."""
    counted = peewee.fn.COUNT(Contribution.post), peewee.fn.MIN(Contribution.post)
    found = Contribution.select(Contribution.writer, *counted).where(Contribution.group == group)
    return found.group_by(Contribution.writer)


@statement
def _oldest(group: int, writer: int, limit: int) -> peewee.Select:
    own = (Contribution.group == group) & (Contribution.writer == writer)
    found = Contribution.select(Contribution.post).where(own)
    return found.order_by(Contribution.post).limit(limit)
