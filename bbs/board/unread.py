"""What each reader has not read yet: posts of friends, replies in threads, and posts in groups.

Each reader has one number for each feed (`Relationship.read`), thread (`ThreadReader.read`) and
group (`Membership.read`): what comes behind it is unread. The ids of a feed or a thread, and the
numbers of a group, rise in the order of commits, as whoever adds to one locks it first. So a reader
misses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import peewee

from bbs.board import announcements, errors, groups, posts, user_stats
from bbs.board.models import (
    LAST_ID,
    LENGTHS,
    Contribution,
    Group,
    Membership,
    PostRow,
    Relationship,
    RemovedPost,
    ThreadReader,
    chunks,
    padded,
)
from bbs.framework import (
    Caller,
    Page,
    Part,
    User,
    as_stored,
    asks,
    costs,
    question,
    read_only,
    statement,
    together,
)

PAGE = Page()  # What is unread comes in one part: the next request gives the next.

AT_ONCE = 50  # sources that one statement searches; SQLite allows a statement 500 parts

LEAST, GROWTH = 8, 4
"""Ids of a source that are looked at first, however many sources there are, and the factor by which
there are more next."""

MOST_KNOWN = 20_000  # ids for which a reply may be shorter than it could be


class _Source(NamedTuple):
    """A feed or a thread with unread posts behind the id `read`: that of a person, or a thread."""

    id: int
    read: int


@costs(commands=Part.price)
def of_friends(caller: Caller) -> Part:
    """The oldest unread posts of friends, and unread replies in threads that the caller takes part
    in. They are read now."""
    feeds, threads = _sources(caller.id)
    found = _oldest(caller.id, feeds, threads)
    part, last = _part([number for number, *_ in found[: PAGE.most]])
    marks: tuple[dict[int, int], dict[int, int]] = {}, {}
    for number, source, is_reply in found:
        if number <= last:
            marks[is_reply][source] = number
    for of_kind, statement_of in zip(marks, (_read_feeds.of, _read_threads.of), strict=True):
        for some in map(padded, chunks(sorted(of_kind), LENGTHS[-1])):
            together(statement_of(caller.id, some, [of_kind[source] for source in some]))
    return part


@question
def _group_and_mark(query: peewee.ModelSelect[User], name: str) -> peewee.Select:
    """The group `name`, as `groups.named` finds it, and what the caller has read of its posts."""
    found: peewee.Select = groups.with_group(query, name).select_extend(Membership.read)
    return found


@costs(commands=Part.price)
@asks(_group_and_mark)
def of_group(caller: Caller, name: str) -> Part:
    """The oldest unread posts in a group of the caller's. They are read now."""
    [(group, _, membership, read)] = _group_and_mark(caller, as_stored(name, Group.name))
    if group is None:
        raise errors.NoSuchTarget()
    if membership is None:
        raise errors.NotMember(name)
    numbers: dict[int, int] = dict(_behind(group, read, PAGE.most))
    part, last = _part([*numbers])
    given = [number for post, number in numbers.items() if post <= last]
    if given:
        _read_group(group, caller.id, given[-1])
    return part


@read_only
def summary(caller: Caller) -> Mapping[str, object]:
    """What is new for the caller; nothing of it counts as read then."""
    messages, invitations, in_groups = together(
        user_stats.waiting.of(caller.id, user_stats.MOST_COUNTED),
        user_stats.invitations.of(caller.id, Relationship.INVITED_BY, user_stats.MOST_COUNTED),
        _groups_with_news.of(caller.id),
    )
    new = {
        "messages": messages[0][0],
        "invitations": invitations[0][0],
        "posts": count(caller.id),
        "groups": _count_in_groups(in_groups, caller.quotas.posts),
        "announcements": announcements.current(caller.now),
    }
    return {"new": new}


@read_only
def count(user: int) -> int:
    """How many posts of friends, and replies, are unread: `MOST_COUNTED` at the most."""
    feeds, threads = _sources(user)
    left = user_stats.MOST_COUNTED
    # Each feed with news has an unread post; a thread may have replies of one's own.
    if len(feeds) < left:
        for search in _searches(user, feeds, threads):
            left -= len(search.first(left, total=left))
            if left <= 0:
                break
        return user_stats.MOST_COUNTED - max(0, left)
    return left


def on_login(user: int, seen: float | None) -> Mapping[str, object]:
    """`waiting`, a member of the reply to `login`."""
    return {"waiting": {**user_stats.of_login(user, seen), "posts": count(user)}}


def _sources(user: int) -> tuple[list[_Source], list[_Source]]:
    """The feeds and the threads that have something unread."""
    feeds, threads = together(
        _feeds_with_news.of(user, Relationship.FRIEND),
        _threads_with_news.of(user, Relationship.FRIEND),
    )
    return [_Source(*row) for row in feeds], [_Source(*row) for row in threads]


class _Search(NamedTuple):
    """A part of the sources, and the function that finds the first ids of each."""

    is_of_threads: bool
    sources: Sequence[_Source]
    find: Callable[[Sequence[int], Sequence[int], int, int], list[Any]]

    def first(self, most: int, total: int = 0) -> list[tuple[int, int]]:
        """The first `most` ids behind the mark of each source, after its place in `sources`;
        `total` of them at the most."""
        ids, reads = zip(*self.sources, strict=True)
        return self.find(ids, reads, most, total or len(ids) * most)


def _searches(user: int, feeds: Sequence[_Source], threads: Sequence[_Source]) -> Iterator[_Search]:
    for some in chunks(feeds, AT_ONCE):
        yield _Search(False, some, _in_feeds)
    for some in chunks(threads, AT_ONCE):
        yield _Search(True, some, partial(_in_threads, user))


def _oldest(
    user: int, feeds: Sequence[_Source], threads: Sequence[_Source]
) -> list[tuple[int, int, bool]]:
    """The oldest of all unread posts, oldest first: the id of each, its source, and whether that is
    a thread.

    Of each source the first few are looked at, and more of those that have more, until there are
    enough for a reply. All that are older than the last one known of any source are known then."""
    of_source: dict[tuple[int, bool], list[int]] = {}
    most = max(LEAST, 2 * PAGE.most // max(1, len(feeds) + len(threads)))
    while True:
        for search in _searches(user, feeds, threads):
            found: dict[int, list[int]] = {}
            for index, number in search.first(most):
                found.setdefault(search.sources[index].id, []).append(number)
            for source, numbers in found.items():
                of_source[source, search.is_of_threads] = numbers
        # Their sources have more.
        cut = {source: each for source, each in of_source.items() if len(each) >= most}
        known = min((each[-1] for each in cut.values()), default=LAST_ID)
        oldest = sorted(
            (number, source, is_reply)
            for (source, is_reply), numbers in of_source.items()
            for number in numbers
            if number <= known
        )
        if not cut or len(oldest) >= PAGE.most:
            return oldest
        most = min(most * GROWTH, PAGE.limit)
        feeds = [each for each in feeds if (each.id, False) in cut]
        threads = [each for each in threads if (each.id, True) in cut]
        if sum(map(len, of_source.values())) > MOST_KNOWN:
            return oldest


def _part(numbers: Sequence[int]) -> tuple[Part, int]:
    """The part with the first of these posts, as many as fit; and the id up to which all of them
    are in it or gone."""
    part = PAGE.part("post", posts.entries(numbers, PAGE.bytes))
    shown = [each["post"] for each in part["post"]]
    if not shown:
        return part, max(numbers, default=0)
    return part, shown[-1]


def _count_in_groups(
    news: Sequence[tuple[int, str, int, int]], most: int
) -> list[dict[str, object]]:
    """How many posts are unread in each group, of the last `most` that it keeps."""
    unread = {
        group: (name, newest - max(read, newest - most)) for group, name, read, newest in news
    }
    gone: dict[int, int] = {}
    for some in chunks(sorted(news), LENGTHS[-1]):
        several = padded(some)
        ids, reads = [each[0] for each in several], [each[2] for each in several]
        gone |= dict(_count_removed(ids, reads))
    counts = [(name, number - gone.get(group, 0)) for group, (name, number) in unread.items()]
    return [{"group": name, "posts": number} for name, number in counts if number > 0]


# Statements. A condition that compares a key with another column makes MariaDB read all that the
# rest of the key finds, read or not. So the last of each source is found first, from the key's end.


@statement
def _feeds_with_news(user: int, kind: str) -> peewee.Select:
    own = PostRow.select(PostRow.id).where(PostRow.author == Relationship.other)
    last = own.order_by(PostRow.id.desc()).limit(1)
    friends = (Relationship.user == user) & (Relationship.kind == kind)
    found = Relationship.select(Relationship.other, Relationship.read)
    return found.where(friends & (last > Relationship.read))


@statement
def _threads_with_news(user: int, kind: str) -> peewee.Select:
    replies = Contribution.select(Contribution.post)
    own = replies.where(Contribution.thread == ThreadReader.thread)
    last = own.order_by(Contribution.post.desc()).limit(1)
    friend = (Relationship.user == user) & (Relationship.other == ThreadReader.owner)
    may_read = (ThreadReader.owner == user) | (Relationship.kind == kind)
    found = ThreadReader.select(ThreadReader.thread, ThreadReader.read)
    followed = found.left_outer_join(Relationship, on=friend).where(ThreadReader.user == user)
    return followed.where(may_read & (last > ThreadReader.read))


@statement
def _in_feeds(
    authors: Sequence[int], reads: Sequence[int], most: int, total: int
) -> peewee.SelectBase:
    """The first ids behind the mark of each feed, after its index."""
    return _union(
        total,
        *(
            PostRow.select(peewee.SQL(str(index)), PostRow.id)
            .where((PostRow.author == author) & (PostRow.id > read))
            .order_by(PostRow.id)
            .limit(most)
            for index, (author, read) in enumerate(zip(authors, reads, strict=True))
        ),
    )


@statement
def _in_threads(
    user: int, threads: Sequence[int], reads: Sequence[int], most: int, total: int
) -> peewee.SelectBase:
    """The first ids of others' replies behind the mark of each thread, after its index."""
    return _union(
        total,
        *(
            Contribution.select(peewee.SQL(str(index)), Contribution.post)
            .where((Contribution.thread == thread) & (Contribution.post > read))
            .where(Contribution.writer != user)
            .order_by(Contribution.post)
            .limit(most)
            for index, (thread, read) in enumerate(zip(threads, reads, strict=True))
        ),
    )


def _union(total: int, *queries: Any) -> peewee.SelectBase:
    found: Any = reduce(lambda one, other: one.union_all(other), queries)
    whole: peewee.SelectBase = found.limit(total)
    return whole


@statement
def _read_feeds(user: int, authors: Sequence[int], lasts: Sequence[int]) -> peewee.Update:
    # Another terminal of the reader's may be further.
    last = peewee.Case(Relationship.other, [*zip(authors, lasts, strict=True)])
    read = peewee.Case(None, [(Relationship.read < last, last)], Relationship.read)
    own = (Relationship.user == user) & Relationship.other.in_(authors)
    return Relationship.update(read=read).where(own)


@statement
def _read_threads(user: int, threads: Sequence[int], lasts: Sequence[int]) -> peewee.Update:
    last = peewee.Case(ThreadReader.thread, [*zip(threads, lasts, strict=True)])
    read = peewee.Case(None, [(ThreadReader.read < last, last)], ThreadReader.read)
    own = (ThreadReader.user == user) & ThreadReader.thread.in_(threads)
    return ThreadReader.update(read=read).where(own)


@statement
def _read_group(group: int, user: int, last: int) -> peewee.Update:
    own = (Membership.group == group) & (Membership.user == user) & (Membership.read < last)
    return Membership.update(read=last).where(own)


@statement
def _behind(group: int, read: int, limit: int) -> peewee.Select:
    some = (Contribution.group == group) & (Contribution.number > read)
    found = Contribution.select(Contribution.post, Contribution.number).where(some)
    return found.order_by(Contribution.number).limit(limit)


@statement
def _groups_with_news(user: int) -> peewee.Select:
    found = Membership.select(Group.id, Group.name, Membership.read, Group.posts)
    own = found.join(Group).where(Membership.user == user)
    return own.where(Group.posts > Membership.read).order_by(Group.name)


@statement
def _count_removed(groups: Sequence[int], reads: Sequence[int]) -> peewee.Select:
    """How many posts that were not read are gone, by group."""
    read = peewee.Case(RemovedPost.group, [*zip(groups, reads, strict=True)])
    gone = RemovedPost.select(RemovedPost.group, peewee.fn.COUNT(RemovedPost.number))
    some = RemovedPost.group.in_(groups) & (RemovedPost.number > read)
    return gone.where(some).group_by(RemovedPost.group)
