"""Unread posts: each reader's posts of friends, replies in threads, and posts in groups.

Each reader has one number for each feed (`Relationship.read`), thread (`ThreadReader.read`) and
group (`Membership.read`): what comes behind it is unread. The ids of a feed or a thread, and the
numbers of a group, rise in the order of commits, as whoever adds to one locks it first. That way, a
reader misses nothing.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial, reduce
from itertools import chain
from typing import Any, NamedTuple

import peewee

from bbs.board.groups import groups
from bbs.board.groups.errors import NoSuchTarget, NotMember
from bbs.board.groups.tables import Group, Membership
from bbs.board.lists import LAST_ID, LENGTHS, chunks, padded
from bbs.board.people import blocks
from bbs.board.people.tables import Relationship
from bbs.board.posts import posts
from bbs.board.posts.tables import Contribution, PostRow, ThreadReader
from bbs.framework import Caller, Page, Part, User, read_only
from bbs.framework.fast import (
    EachAlone,
    EncodedList,
    asks,
    bulk,
    encode_entry,
    gathered,
    has_round_trips,
    question,
    statement,
    together,
)
from bbs.framework.limits import costs, price_of
from bbs.framework.names import as_stored

PAGE = Page()  # What is unread comes in one part: the next request gives the next.

AT_ONCE = 50  # sources that one statement searches; SQLite allows a statement 500 parts

LEAST, GROWTH = 8, 4
"""Ids of a source that are looked at first, however many sources there are, and the factor by which
there are more next."""

MOST_IDS = posts.MOST_IDS  # unread posts that are found by one statement, in no order

NOTED_AT_ONCE = 64  # marks in one statement, which compares each with half of the others

MOST_KNOWN = 20_000  # ids for which a reply may be shorter than it could be

# The ends of encoded posts in feeds.
_TO_NONE = b', "to": null, "replies": %d}'
_WITHOUT_REPLIES = _TO_NONE % 0


class Marks(NamedTuple):
    """The last posts that a reader was given: of feeds by the ids of `Relationship`, of threads by
    reader and thread, and of groups by the ids of `Membership`."""

    feeds: Mapping[int, int] = {}
    threads: Mapping[tuple[int, int], int] = {}
    groups: Mapping[int, int] = {}


class Unread(NamedTuple):
    """A reply with unread posts, the marks to `note` before it is sent, and how many feeds and
    threads, or posts of a group, were looked at to find them."""

    part: Part
    marks: Marks | None
    looked_at: int

    def price(self) -> int:
        """A command for each 16 KiB, or for each 100 posts if that is more, and one more for each
        further 100 friends, threads or posts of a group that are looked at."""
        return self.part.price() + price_of(0, self.looked_at) - 1


class _Source(NamedTuple):
    """A feed or a thread with posts behind the id `read`. `id` is that of a person or a thread;
    `mark` is the id of the `Relationship`, None for a thread. `last` is a thread's last reply."""

    id: int
    read: int
    mark: int | None = None
    last: int = 0


class _Found(NamedTuple):
    """The ids of a reader's unread posts, and where each is; and the threads with nothing
    behind their marks but replies of the reader's own, or of people whom the reader has blocked."""

    unread: dict[int, _Source]
    own: list[_Source]


@question
def _sources_of(query: peewee.ModelSelect[User]) -> peewee.Select:
    """The feeds and the threads in which the caller has something unread, in JSON, and how many
    there are in all; and whom the caller has blocked, in JSON."""
    found: peewee.Select = query.select_extend(*_news_of(User.id), blocks.whom(User.id))
    return found


class _FriendsReader(NamedTuple):
    """Somebody who asks for posts of friends, and whom they have blocked."""

    user: int
    sources: Sequence[_Source]
    looked_at: int
    blocked: frozenset[int]


def _check_friends_reader(caller: Caller) -> _FriendsReader:
    [(*news, blocked)] = _sources_of(caller)
    return _FriendsReader(caller.id, *_read_sources(news), blocks.read_ids(blocked))


def _read_sources(row: Sequence[Any]) -> tuple[list[_Source], int]:
    """Read what `_news_of` finds: the sources with news, and the number of all."""
    *news, friends, followed = row
    feeds, threads = (json.loads(each) if each else () for each in news)
    in_threads = [_Source(id, read, last=last) for id, read, last in threads]
    return [*(_Source(*each) for each in feeds), *in_threads], friends + followed


@costs(commands=Unread.price)
@asks(_sources_of)
@read_only
@bulk(_check_friends_reader)
def of_friends(readers: Sequence[_FriendsReader]) -> list[Unread]:
    """The oldest unread posts of friends, and unread replies in threads that each caller takes part
    in."""
    by_user = {each.user: each for each in readers}
    found, replies = _all_unread(by_user) or _oldest_alone(by_user)
    given = [sorted(found[each.user].unread)[: PAGE.most] for each in readers]
    entries = _whole_entries([found[each.user] for each in readers], given, replies)
    parts = _parts(
        given,
        [
            entries | _with_fewer_replies(each, found[each.user], numbers, replies)
            if each.blocked
            else entries
            for each, numbers in zip(readers, given, strict=True)
        ],
    )
    return [
        Unread(part, _marks(each.user, found[each.user], numbers[:count]), each.looked_at)
        for each, numbers, (part, count) in zip(readers, given, parts, strict=True)
    ]


def _with_fewer_replies(
    reader: _FriendsReader, found: _Found, numbers: Sequence[int], replies: Mapping[int, int]
) -> dict[int, bytes | None]:
    """The entries of those posts to which somebody has replied whom the reader has blocked."""
    left = _fewer(reader.user, {each: replies[each] for each in numbers if each in replies})
    return _whole_entries([found], [sorted(left)], left)


def _fewer(user: int, replies: Mapping[int, int]) -> dict[int, int]:
    """How many replies posts have for `user`, of those to which somebody has replied whom `user`
    has blocked."""
    unseen = blocks.unseen_replies(user, replies)
    return {post: replies[post] - count for post, count in unseen.items()}


def _marks(user: int, found: _Found, given: Sequence[int]) -> Marks | None:
    where = {number: found.unread[number] for number in given}
    feeds = {at.mark: number for number, at in where.items() if at.mark is not None}
    # What is one's own, or of somebody blocked, is read: nobody looks behind these marks again.
    threads = {(user, at.id): at.last for at in found.own}
    threads |= {(user, at.id): number for number, at in where.items() if at.mark is None}
    return Marks(feeds, threads) if feeds or threads else None


@question
def _group_and_mark(query: peewee.ModelSelect[User], name: str) -> peewee.Select:
    """The group `name`, as `groups.named` finds it, the number of its last post, what the caller
    has read, and whom the caller has blocked, in JSON."""
    found: peewee.Select = groups.with_group(query, name).select_extend(
        Group.posts, Membership.read, blocks.whom(User.id)
    )
    return found


class _Reader(NamedTuple):
    """A member who asks for the posts of a group behind the number `read`, and whom the member has
    blocked."""

    user: int
    group: int
    name: str
    membership: int
    newest: int
    read: int
    blocked: frozenset[int]


def _check_reader(caller: Caller, name: str) -> _Reader:
    form = as_stored(name, Group.name)
    [(group, _, membership, newest, read, blocked)] = _group_and_mark(caller, form)
    if group is None:
        raise NoSuchTarget()
    if membership is None:
        raise NotMember(name)
    ids = blocks.read_ids(blocked)
    return _Reader(caller.id, group, form, membership, newest, read, ids)


@costs(commands=Unread.price)
@asks(_group_and_mark)
@read_only
@bulk(_check_reader)
def of_group(readers: Sequence[_Reader]) -> list[Unread]:
    """The oldest unread posts in a group of each caller's."""
    behind = _all_in_groups(readers)
    found = [
        [
            row
            for row in behind.get(each.group, ())
            if row[0] > each.read and row[2] != each.user and row[2] not in each.blocked
        ]
        for each in readers
    ]
    first = [each[: PAGE.most] for each in found]
    names = {each.group: encode_entry(each.name) for each in readers}
    ends = {
        post: _in_group(replies, names[reader.group])
        for reader, some in zip(readers, first, strict=True)
        for _, post, _, replies in some
    }
    encoded = posts.encoded_elsewhere([*ends])
    common = {post: posts.whole(encoded.get(post), end) for post, end in ends.items()}
    entries: list[Mapping[int, bytes | None]] = [common] * len(readers)
    for index, reader in enumerate(readers):
        if reader.blocked:
            replies = {post: count for _, post, _, count in first[index] if count}
            entries[index] = common | {
                post: posts.whole(encoded.get(post), _in_group(count, names[reader.group]))
                for post, count in _fewer(reader.user, replies).items()
            }
    parts = _parts([[post for _, post, *_ in some] for some in first], entries)
    return [
        Unread(
            part,
            _mark_in_group(reader, [number for number, *_ in numbers], count),
            min(reader.newest - reader.read, MOST_IDS),
        )
        for reader, numbers, (part, count) in zip(readers, found, parts, strict=True)
    ]


def _in_group(replies: int, name: bytes) -> bytes:
    """The end of an encoded post in a group."""
    return b', "replies": %d, "group": %b}' % (replies, name)


def _mark_in_group(reader: _Reader, found: Sequence[int], count: int) -> Marks | None:
    """The mark behind the first `count` of the unread posts that were found."""
    last = found[count - 1] if count else 0
    if count == len(found):
        last = max(last, reader.newest)  # Behind it are none that the reader is shown.
    return Marks(groups={reader.membership: last}) if last > reader.read else None


def _given(marks: Marks) -> Marks:
    return marks


@bulk(_given)
def note(several: Sequence[Marks]) -> list[None]:
    """Note what readers were given as read."""
    feeds, threads, in_groups = (_latest([each[kind] for each in several]) for kind in range(3))
    together(
        *(
            statement_of(*_keys_and_values(dict(some)))
            for lasts, statement_of in ((feeds, _read_feeds.of), (in_groups, _read_groups.of))
            for some in chunks(lasts, NOTED_AT_ONCE)
        ),
        *([_read_thread.of_each([(*key, last) for key, last in threads])] if threads else ()),
    )
    return [None] * len(several)


def _latest(several: Sequence[Mapping[Any, int]]) -> list[tuple[Any, int]]:
    """The last one of each key, in the order of the keys: two who note the same cannot
    deadlock."""
    latest: dict[Any, int] = {}
    for marks in several:
        for key, last in marks.items():
            latest[key] = max(last, latest.get(key, 0))
    return sorted(latest.items())


def _keys_and_values(numbers: Mapping[int, int]) -> tuple[Sequence[int], Sequence[int]]:
    """The keys for a statement, in their order, and the values."""
    pairs = padded(sorted(numbers.items()))
    return [key for key, _ in pairs], [value for _, value in pairs]


@read_only
def count(user: int, most: int) -> tuple[int, int]:
    """How many posts of friends, and replies, are unread, `most` at the most; and how many feeds
    and threads were looked at."""
    sources, looked_at = _read_sources(*_sources(user))
    left = most
    # Each feed with news has an unread post; a thread may have replies of one's own.
    if sum(each.mark is not None for each in sources) < left:
        for search in _searches(user, sources):
            left -= len(search.first(left, total=left))
            if left <= 0:
                break
        return most - max(0, left), looked_at
    return most, looked_at


def _all_unread(
    readers: Mapping[int, _FriendsReader],
) -> tuple[dict[int, _Found], Mapping[int, int]] | None:
    """All unread posts of each reader, oldest first, and how many replies posts have, without those
    that have none; None if there are too many posts for that."""
    lowest: tuple[dict[int, int], dict[int, int]] = {}, {}
    for each in chain.from_iterable(reader.sources for reader in readers.values()):
        of_kind = lowest[each.mark is None]
        of_kind[each.id] = min(each.read, of_kind.get(each.id, each.read))
    if max(map(len, lowest)) > LENGTHS[-1]:
        return None
    statements = [
        statement_of(*_keys_and_values(of_kind), MOST_IDS)
        for statement_of, of_kind in zip(
            (_all_in_feeds.of, _all_in_threads.of), lowest, strict=True
        )
        if of_kind
    ]
    behind: list[dict[int, list[Any]]] = [*map(dict, together(*statements) if statements else ())]
    if any(sum(map(len, each.values())) >= MOST_IDS for each in behind):
        return None
    feeds = behind.pop(0) if lowest[0] else {}
    threads = behind.pop(0) if lowest[1] else {}
    replies = {number: count for each in feeds.values() for number, count in each if count}
    in_order = {author: sorted([number for number, _ in each]) for author, each in feeds.items()}
    found = {user: _Found({}, []) for user in readers}
    for user, reader in readers.items():
        for each in reader.sources:
            if each.mark is None:
                numbers = [
                    number
                    for number, writer in threads.get(each.id, ())
                    if number > each.read and writer != user and writer not in reader.blocked
                ]
                if not numbers:
                    found[user].own.append(each)
            else:
                numbers = in_order.get(each.id, [])
                numbers = numbers[bisect_right(numbers, each.read) :]
            found[user].unread.update(dict.fromkeys(numbers, each))
    return found, replies


def _oldest_alone(
    readers: Mapping[int, _FriendsReader],
) -> tuple[dict[int, _Found], Mapping[int, int]]:
    """Find as `_all_unread` does, for one reader, but the oldest posts alone."""
    if len(readers) > 1:
        raise EachAlone()
    [(user, reader)] = readers.items()
    found = _oldest(user, reader.sources)
    in_feeds = [number for number, at in found.unread.items() if at.mark is not None]
    firsts = in_feeds[: PAGE.most]
    counts = [_replied.of(padded(some)) for some in chunks(firsts, LENGTHS[-1])]
    return {user: found}, dict(chain.from_iterable(together(*counts) if counts else ()))


def _all_in_groups(readers: Sequence[_Reader]) -> Mapping[int, Sequence[Any]]:
    """What is behind the marks of readers, by group, first to last: the number of a post, its id,
    its writer, and how many replies it has. For one reader, there may be more posts than these."""
    lowest: dict[int, int] = {}
    for each in readers:
        if each.read < each.newest:
            lowest[each.group] = min(each.read, lowest.get(each.group, each.read))
    if not lowest:
        return {}
    found: dict[int, list[Any]] = dict(_behind_marks(*_keys_and_values(lowest), MOST_IDS))
    if sum(map(len, found.values())) < MOST_IDS:
        return {group: sorted(rows) for group, rows in found.items()}
    if len(readers) > 1:
        raise EachAlone()
    [reader] = readers
    return {reader.group: _behind(reader.group, reader.user, reader.read, PAGE.limit)}


class _Search(NamedTuple):
    """A part of the sources, and the function that finds the first ids of each."""

    sources: Sequence[_Source]
    find: Callable[[Sequence[int], Sequence[int], int, int], list[Any]]

    def first(self, most: int, total: int = 0) -> list[tuple[int, int]]:
        """The first `most` ids behind the mark of each source, after its place in `sources`;
        `total` of them at the most."""
        ids, reads, *_ = zip(*self.sources, strict=True)
        return self.find(ids, reads, most, total or len(ids) * most)


def _searches(user: int, sources: Sequence[_Source]) -> Iterator[_Search]:
    for some in chunks([each for each in sources if each.mark is not None], AT_ONCE):
        yield _Search(some, _in_feeds)
    for some in chunks([each for each in sources if each.mark is None], AT_ONCE):
        yield _Search(some, partial(_in_threads, user))


def _oldest(user: int, sources: Sequence[_Source]) -> _Found:
    """Find the oldest of all unread posts, oldest first.

    The first few of each source are looked at, then more of the sources that have more, until a
    reply is full. All that are older than the last one known of any source are known then."""
    of_source: dict[_Source, list[int]] = {}
    threads = [each for each in sources if each.mark is None]
    most = max(LEAST, 2 * PAGE.most // max(1, len(sources)))
    while True:
        for search in _searches(user, sources):
            found: dict[_Source, list[int]] = {}
            for index, number in search.first(most):
                found.setdefault(search.sources[index], []).append(number)
            of_source |= found
        # Their sources have more.
        cut = {source: each for source, each in of_source.items() if len(each) >= most}
        known = min((each[-1] for each in cut.values()), default=LAST_ID)
        oldest = dict(
            sorted(
                (number, source)
                for source, numbers in of_source.items()
                for number in numbers
                if number <= known
            )
        )
        is_much = sum(map(len, of_source.values())) > MOST_KNOWN
        if not cut or len(oldest) >= PAGE.most or is_much:
            return _Found(oldest, [each for each in threads if each not in of_source])
        most = min(most * GROWTH, PAGE.limit)
        sources = [each for each in sources if each in cut]


def _whole_entries(
    found: Sequence[_Found], given: Sequence[Sequence[int]], replies: Mapping[int, int]
) -> dict[int, bytes | None]:
    """The first of the `given` posts, encoded. A reply has no replies: those to it count for the
    post that began the thread."""
    where = {
        number: of.unread[number].mark
        for of, numbers in zip(found, given, strict=True)
        for number in numbers
    }
    in_feeds = sorted([number for number, mark in where.items() if mark is not None])
    in_threads = sorted([number for number, mark in where.items() if mark is None])
    entries: dict[int, bytes | None] = {}
    if in_feeds:
        encoded = posts.encoded_in_feeds(in_feeds)
        for number in in_feeds:
            more = _TO_NONE % replies[number] if number in replies else _WITHOUT_REPLIES
            entries[number] = posts.whole(encoded.get(number), more)
    if in_threads:
        encoded = posts.encoded_elsewhere(in_threads)
        for number in in_threads:
            entries[number] = posts.whole(encoded.get(number), b', "replies": 0}')
    return entries


def _parts(
    given: Sequence[Sequence[int]], entries: Sequence[Mapping[int, bytes | None]]
) -> list[tuple[Part, int]]:
    """The part for each reader who is given these posts, of the reader's entries, and how many of
    them it covers.

    :raises EachAlone: there are several readers, and the posts of all together are more than a
        reply has.
    """
    parts = [_part([*map(own.get, numbers)]) for own, numbers in zip(entries, given, strict=True)]
    size, count = sum(part.size for part, _ in parts), sum(count for _, count in parts)
    if len(parts) > 1 and (size > PAGE.bytes or count < sum(map(len, given))):
        raise EachAlone()  # Nobody is to wait for the long lists of others.
    return parts


def _part(entries: Sequence[bytes | None]) -> tuple[Part, int]:
    """The part with the first of these encoded posts, as many as fit and are known; and how many
    of the entries it covers. The empty ones are gone."""
    known: list[Any] = [*entries]
    if None in known:
        del known[known.index(None) :]
    size = sum(map(len, known)) + len(", ") * len(known)
    while size > PAGE.bytes and len(known) > 1:
        size -= len(known.pop()) + len(", ")
    return Part("post", EncodedList([each for each in known if each]), None, size), len(known)


# Statements. A condition that compares a key with another column makes MariaDB read all that the
# rest of the key finds, read or not. So the last of each source is found first, from the key's end.


@statement
def _sources(user: int) -> peewee.Select:
    return User.select(*_news_of(User.id)).where(User.id == user)


def _news_of(user: Any) -> tuple[Any, ...]:
    """The feeds and threads in which `user` has something unread, and how many there are in all:
    each is looked at, also without news, and somebody with many is charged for that."""
    friends = Relationship.select(peewee.fn.COUNT(Relationship.id)).where(
        (Relationship.user == user) & (Relationship.kind == Relationship.FRIEND)
    )
    followed = ThreadReader.select(peewee.fn.COUNT(ThreadReader.thread))
    followed = followed.where(ThreadReader.user == user)
    return _feeds_with_news(user), _threads_with_news(user), friends, followed


def _feeds_with_news(user: Any) -> Any:
    """A query for the feeds in which `user` has something unread, as `_Source` takes them."""
    own = PostRow.select(PostRow.id).where(PostRow.author == Relationship.other)
    last = own.order_by(PostRow.id.desc()).limit(1)
    friends = (Relationship.user == user) & (Relationship.kind == Relationship.FRIEND)
    entries = gathered(Relationship.other, Relationship.read, Relationship.id)
    return Relationship.select(entries).where(friends & (last > Relationship.read))


def _threads_with_news(user: Any) -> Any:
    """A query for the threads in which `user` has something unread, as `_Source` takes them."""
    replies = Contribution.select(Contribution.post)
    own = replies.where(Contribution.thread == ThreadReader.thread)
    last = own.order_by(Contribution.post.desc()).limit(1)
    owner = ThreadReader.owner
    friend = (Relationship.user == user) & (Relationship.other == owner)
    may_read = (owner == user) | (Relationship.kind == Relationship.FRIEND)
    found = ThreadReader.select(gathered(ThreadReader.thread, ThreadReader.read, last))
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
    """The first ids of replies behind the mark of each thread, after its index: without the replies
    of `user`, and of people whom `user` has blocked."""
    return _union(
        total,
        *(
            Contribution.select(peewee.SQL(str(index)), Contribution.post)
            .where((Contribution.thread == thread) & (Contribution.post > read))
            .where(Contribution.writer != user)
            .where(blocks.has_not_blocked(user, Contribution.writer))
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
def _all_in_feeds(authors: Sequence[int], reads: Sequence[int], limit: int) -> peewee.Select:
    """The ids behind the mark of each feed, and how many replies each has, by author."""
    behind = _any_behind(PostRow.author, PostRow.id, authors, reads)
    columns = (PostRow.author, PostRow.id, PostRow.replies)
    some = PostRow.select(*columns).where(behind).limit(limit).alias("some")
    entries = gathered(some.c.id, some.c.replies)
    found: peewee.Select = PostRow.select(some.c.author_id, entries).from_(some)
    return found.group_by(some.c.author_id)


@statement
def _all_in_threads(threads: Sequence[int], reads: Sequence[int], limit: int) -> peewee.Select:
    """The ids behind the mark of each thread, and the writer of each, by thread."""
    behind = _any_behind(Contribution.thread, Contribution.post, threads, reads)
    columns = (Contribution.thread, Contribution.post, Contribution.writer)
    some = Contribution.select(*columns).where(behind).limit(limit).alias("some")
    entries = gathered(some.c.post_id, some.c.writer_id)
    found: peewee.Select = Contribution.select(some.c.thread, entries).from_(some)
    return found.group_by(some.c.thread)


@statement
def _behind_marks(groups: Sequence[int], reads: Sequence[int], limit: int) -> peewee.Select:
    """What is behind the mark of each group, by group, as `_all_in_groups` returns it."""
    behind = _any_behind(Contribution.group, Contribution.number, groups, reads)
    place = (Contribution.number, Contribution.post, Contribution.writer)
    placed = Contribution.select(Contribution.group, *place, PostRow.replies).join(PostRow)
    some = placed.where(behind).limit(limit).alias("some")
    entries = gathered(some.c.number, some.c.post_id, some.c.writer_id, some.c.replies)
    found: peewee.Select = Contribution.select(some.c.group_id, entries).from_(some)
    return found.group_by(some.c.group_id)


def _any_behind(source: Any, number: Any, sources: Sequence[int], reads: Sequence[int]) -> Any:
    """The condition for what is behind the mark of any source. Halved each time, as databases limit
    the depth of an expression."""
    half = len(sources) // 2
    if not half:
        return (source == sources[0]) & (number > reads[0])
    return _any_behind(source, number, sources[:half], reads[:half]) | _any_behind(
        source, number, sources[half:], reads[half:]
    )


@statement
def _read_feeds(ids: Sequence[int], lasts: Sequence[int]) -> peewee.Update:
    return _raise_marks(Relationship, ids, lasts)


@statement
def _read_groups(ids: Sequence[int], lasts: Sequence[int]) -> peewee.Update:
    return _raise_marks(Membership, ids, lasts)


@statement
def _read_thread(user: int, thread: int, last: int) -> peewee.Update:
    own = (ThreadReader.user == user) & (ThreadReader.thread == thread)
    return ThreadReader.update(read=last).where(own & (ThreadReader.read < last))


def _raise_marks(table: Any, ids: Sequence[int], lasts: Sequence[int]) -> peewee.Update:
    last = peewee.Case(table.id, [*zip(ids, lasts, strict=True)])
    greater = peewee.fn.GREATEST if has_round_trips() else peewee.fn.MAX
    # Another terminal of the reader's may be further.
    read = greater(table.read, last)
    changes: peewee.Update = table.update(read=read).where(table.id.in_(ids))
    return changes


@statement
def _replied(numbers: Sequence[int]) -> peewee.Select:
    """How many replies these posts have, without those that have none."""
    some = PostRow.id.in_(numbers) & (PostRow.replies > 0)
    return PostRow.select(PostRow.id, PostRow.replies).where(some)


@statement
def _behind(group: int, user: int, read: int, limit: int) -> peewee.Select:
    """The first posts behind the mark of a group that are not of `user`, or of people whom `user`
    has blocked, as `_all_in_groups` returns them."""
    some = (Contribution.group == group) & (Contribution.number > read)
    place = (Contribution.number, Contribution.post, Contribution.writer)
    found = Contribution.select(*place, PostRow.replies)
    seen = (Contribution.writer != user) & blocks.has_not_blocked(user, Contribution.writer)
    others = found.join(PostRow).where(some & seen)
    return others.order_by(Contribution.number).limit(limit)
