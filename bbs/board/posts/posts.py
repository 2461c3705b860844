"""Posts: feeds, which friends read, and what all posts have in common: quotas and removal.

`bbs/board/posts/threads.py` has replies, the posts of groups, and what each reader has read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import peewee

from bbs.board import inboxes
from bbs.board.groups import groups
from bbs.board.groups.tables import Group
from bbs.board.lists import LENGTHS, chunks, padded
from bbs.board.messages.tables import Inbox
from bbs.board.people.tables import Relationship
from bbs.board.posts.tables import Contribution, PostRow, RemovedPost
from bbs.board.walks import Walk
from bbs.framework import Caller, Page, Part, Place, User, paged, setting
from bbs.framework.fast import (
    EachAlone,
    EncodedList,
    ListCall,
    asks,
    bulk,
    byte_length,
    cached_rows,
    encode_entry,
    gathered,
    long_read,
    question,
    statement,
    together,
)
from bbs.framework.limits import costs, stores_text

Row = tuple[Any, ...]  # a post: its id, its author, its text, and when it was stored

POSTS = setting(
    10_000,
    "of a user, and of a group, the latest",
    minimum=1,
    share="of a group an equal part, and what others leave",
)
"""A key of `[limits]`."""

MOST_BYTES = 16 * 2**20  # Of all posts of one user.

POSTS_AT_ONCE = LENGTHS[-1]  # posts that one transaction removes: each may change an inbox

MOST_IDS = 2000
"""Posts whose ids one query finds, as the database reads all of them to group them by reader. A
reader whose friends have more gets the latest by a search."""

AROUND = 96
"""Bytes of a post on the wire in addition to its text and to the author's name, at 4 a character:
57 for the names of its members, 19 for its number, 18 for its time."""

FIRST_WINDOW, GROWTH = 1024, 8
"""Ids in the first window that is searched for posts of friends, and the factor for the next."""

MOST_FOUND = 4 * FIRST_WINDOW
"""Posts that a search of a window may find for each chunk of the friends; with more the window is
too wide. The first never is."""

FIRST_TEXTS = LENGTHS[2]  # texts that are read before it is known how long they are

NEAR, NEAR_BYTES = 100, 2**22
"""Posts, and their bytes, that an author may publish by other transactions between the question and
the lock. The posts of an author who is so near to a quota are counted again behind the lock."""

MOST_REMOVED = 500
"""Old posts that one new post removes at the most. Operators may lower the limit: then there are
more to remove, and the next post goes on."""

OLDEST_AT_ONCE = 8  # posts that are looked at first when the oldest are removed

TOLD_AT_ONCE = 1000  # friends who are told of several posts that are published together

Replies = Callable[[Mapping[int, int]], Mapping[int, int]]
"""Finds how many of the replies to posts are of a kind."""

_REPLIES = 4  # The column of `_whole` with their number.

SHORT = 200  # characters of a text that an event has

_walk = Walk(PostRow)


@dataclass(frozen=True)
class Published:
    """A stored post with its `number`, and the event for those who are told: on channels, each with
    the server where those who hear it have their places (False: not known); and how many hear."""

    number: int
    event: Mapping[str, object]
    told: Sequence[tuple[str, str | bool | None]]
    readers: int

    def price(self) -> int:
        """A delivery for each who is told."""
        return max(1, self.readers)


class NewPost(NamedTuple):
    """A text that `writer` is about to publish."""

    writer: Caller
    text: str
    size: int  # In bytes.
    is_near: bool  # The writer may have as many as the quotas allow.
    has_hearers: bool = True  # Somebody listens here, or may do so at another server.


@question
def kept(query: peewee.ModelSelect[User]) -> peewee.Select:
    """The number of the caller's posts, and their bytes; and the first and the last of the servers
    at which people have places."""
    server = Place.alias().server
    servers = [server.model.select(end(server)) for end in (peewee.fn.MIN, peewee.fn.MAX)]
    return query.select_extend(Inbox.posts, Inbox.post_bytes, *servers).left_outer_join(
        Inbox, on=(Inbox.user == User.id)
    )


def check(caller: Caller, text: str) -> NewPost:
    """Build a post from the arguments of a rule that asks for `kept`."""
    [(count, size, first, last)] = kept(caller)
    post = new_post(caller, text, count, size)
    return post if caller.has_hearers or first != last else post._replace(has_hearers=False)


def new_post(caller: Caller, text: str, count: int, size: int) -> NewPost:
    """Make a post of somebody who has `count` posts of `size` bytes."""
    most, own = caller.quotas.posts, len(text.encode())
    is_near = count + NEAR >= most or size + own + NEAR_BYTES >= MOST_BYTES
    return NewPost(caller, text, own, is_near)


@stores_text
@costs(deliveries=Published.price)
@asks(kept)
@bulk(check)
def post(posts: Sequence[NewPost]) -> list[Published]:
    """Publish texts, each in its author's feed. Beyond the quota, an author's oldest go."""
    authors = sorted({each.writer.id for each in posts})
    has_hearers = any(each.has_hearers for each in posts)
    looks = [online_friends.of(padded(authors), Relationship.FRIEND)] if has_hearers else []
    stored = store(posts, looks=looks)
    friends: dict[int, list[tuple[str, str | None]]] = dict(*stored.found)
    if len(posts) > 1 and sum(map(len, friends.values())) > TOLD_AT_ONCE:
        raise EachAlone()
    published = []
    for number, each in zip(stored.numbers, posts, strict=True):
        event = {**event_of("post", each.writer, number, each.text), "group": None}
        told = friends.get(each.writer.id, ())
        published.append(Published(number, event, told, len(told)))
    return published


class Stored(NamedTuple):
    """Ids of stored posts, and the results of other statements of the caller's."""

    numbers: Sequence[int]
    locked: Sequence[Any]
    found: Sequence[Any]


def store(
    posts: Sequence[NewPost],
    *,
    locks: Sequence[Any] = (),
    looks: Sequence[Any] = (),
    in_feed: bool = True,
) -> Stored:
    """Store the texts of posts, each in its writer's feed or in none, and count them. Beyond the
    quota, a writer's oldest go. The statements `locks` are executed before there are ids, the
    statements `looks` afterwards."""
    added: dict[int, tuple[int, int]] = {}  # Posts and bytes, by writer.
    for each in posts:
        count, size = added.get(each.writer.id, (0, 0))
        added[each.writer.id] = count + 1, size + each.size
    writers = sorted(added)
    near = sorted({each.writer.id for each in posts if each.is_near})
    rows = [(each.writer.id if in_feed else None, each.text, each.writer.now) for each in posts]
    _, *results = together(
        _count.of(writers, *zip(*(added[writer] for writer in writers), strict=True)),
        *locks,
        _add.of_each(rows),
        _counted.of_each([(writer,) for writer in near]),
        *looks,
    )
    numbers, counted, *found = results[len(locks) :]
    most = posts[0].writer.quotas.posts
    for writer, [(count, size)] in zip(near, counted, strict=True):
        if count > most or size > MOST_BYTES:
            _remove_oldest(writer, count, size, most)
    return Stored(numbers, results[: len(locks)], found)


def event_of(kind: str, writer: Caller, number: int, text: str) -> dict[str, object]:
    """An event about the post with this number; its text is shortened."""
    short = text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"
    return {
        "event": kind,
        "from": writer.name,
        "post": number,
        "text": short,
        "time": writer.now,
    }


@paged
@long_read
@bulk(ListCall)
def friends_posts(calls: Sequence[ListCall]) -> list[Part]:
    """The latest of what each caller's friends have posted, oldest first."""
    most = min(page.most for _, page in calls)
    found = _ids_for([caller.id for caller, page in calls if page.last is None], most)
    wanted = sorted({number for numbers in found.values() for number in numbers}, reverse=True)
    encoded = cached_rows(PostRow, wanted, _encoded)
    parts = [_part(found.get(caller.id), encoded, page) for caller, page in calls]
    size = sum(part.size for part in parts if part)
    is_long = size > Page().bytes or any(part is None or part.last for part in parts)
    if is_long and len(calls) > 1:
        raise EachAlone()  # Nobody is to wait for the long lists of others.
    return [
        part or _latest_part(caller, page)
        for part, (caller, page) in zip(parts, calls, strict=True)
    ]


def _part(ids: Sequence[int] | None, encoded: Mapping[int, bytes], page: Page) -> Part | None:
    """The posts with these ids, the latest that are encoded and fit into a reply; None if there is
    none to begin with."""
    numbers = sorted(ids or (), reverse=True)
    entries: list[Any] = [encoded.get(number) for number in numbers]
    if None in entries:
        del entries[entries.index(None) :]
    if ids is None or (numbers and not entries):
        return None
    size = sum(map(len, entries)) + len(", ") * len(entries)
    while size > page.bytes and len(entries) > 1:
        size -= len(entries.pop()) + len(", ")
    last = numbers[len(entries) - 1] if len(entries) < len(numbers) else None
    encoded_list = EncodedList([each for each in reversed(entries) if each])
    return Part("post", encoded_list, last, size, backwards=True)


def _ids_for(readers: Sequence[int], most: int) -> dict[int, list[int]]:
    """The ids of all posts of the friends of each reader, in no order; without the readers for whom
    there are more than `most`."""
    if not readers:
        return {}
    found: dict[int, list[int]] = dict(_ids(padded(readers), Relationship.FRIEND, MOST_IDS))
    if sum(map(len, found.values())) == MOST_IDS:
        if len(readers) == 1:
            return {}
        return {key: ids for each in readers for key, ids in _ids_for([each], most).items()}
    several = ((reader, found.get(reader, [])) for reader in readers)
    return {reader: numbers for reader, numbers in several if len(numbers) <= most}


def _encoded(numbers: Sequence[int]) -> dict[int, bytes]:
    """The first of these posts, up to the bytes of a reply and a little more, as they go over the
    wire; empty for a post that is gone."""
    found, count = _texts_of(numbers, Page().bytes)
    return dict.fromkeys(numbers[:count], b"") | {
        row[0]: encode_entry(_entry(*row)) for row in found
    }


def _entry(
    number: int, author: str, text: str, stored: float | None, **more: object
) -> dict[str, object]:
    return {"id": author, "message": text, "post": number, "time": stored, **more}


def encoded_in_feeds(numbers: Sequence[int]) -> Mapping[int, bytes]:
    """Posts in feeds as `whole` takes them, the first of these; empty for one that is gone."""
    return cached_rows(PostRow, numbers, _encoded)


def encoded_elsewhere(numbers: Sequence[int]) -> Mapping[int, bytes]:
    """Posts in no feed as `whole` takes them, the first of these; empty for one that is gone."""
    return cached_rows(Contribution, numbers, _encoded_elsewhere)


def _encoded_elsewhere(numbers: Sequence[int]) -> dict[int, bytes]:
    found, count = _texts_of(numbers, Page().bytes, _texts_elsewhere)
    return dict.fromkeys(numbers[:count], b"") | {
        row[0]: encode_entry(_entry(*row, to=thread)) for *row, thread in found
    }


def whole(entry: bytes | None, more: bytes) -> bytes | None:
    """An encoded post, if it is there, with the members that may change: `more` is the end of its
    JSON."""
    return entry[:-1] + more if entry else entry


def _latest_part(caller: Caller, page: Page) -> Part:
    found, searched_to = _of_many(caller.id, page)
    found.sort(reverse=True)
    rows = [(row[0], _entry(*row)) for row in found]
    size = sum([len(text.encode()) + 4 * len(author) + AROUND for _, author, text, _ in found])
    part = page.part("post", rows, size=size, backwards=True)
    if part.last is None:
        part.last = searched_to
    return part


def _of_many(reader: int, page: Page) -> tuple[list[Row], int | None]:
    """The latest posts of the reader's friends behind the part before, at least as many as a part
    may have. Also the id to which the search went, if there may be others behind it: a post may be
    removed before its text is read, so that the posts alone do not tell."""
    friends = [friend for (friend,) in _friends(reader, Relationship.FRIEND)]
    below = page.last or (_newest()[0][0] or 0) + 1
    numbers = _latest(friends, below, page.limit)
    found, count = _texts_of(numbers, page.bytes)
    others = count < len(numbers) or len(numbers) == page.limit
    return found, numbers[count - 1] if others else None


def _latest(authors: Sequence[int], below: int, wanted: int) -> list[int]:
    """The ids of the latest posts of `authors` before the id `below`, `wanted` at the most, latest
    first.

    One search mostly finds that there are no more than that. With more, a window of the latest ids
    is searched, then a wider one before it, and so on: old posts are not read, and posts of authors
    who post rarely are found in a few searches. If a window has too many, a part of it is searched.
    """
    everything = _search(authors, 1, below, wanted)
    if everything is not None:
        return sorted(everything, reverse=True)[:wanted]
    found: list[int] = []
    width = FIRST_WINDOW
    crowded = below  # From here up to `below` wide windows have too many.
    while below > 1 and len(found) < wanted:
        low = max(below - width, 1)
        numbers = _search(authors, low, below, MOST_FOUND)
        if numbers is None:
            width //= GROWTH
            crowded = low
            continue
        found += sorted(numbers, reverse=True)
        below = low
        if below <= crowded:
            width *= GROWTH
            crowded = below
    return found[:wanted]


def _search(authors: Sequence[int], low: int, below: int, most: int) -> list[int] | None:
    """The ids of posts of `authors` from `low` on before `below`; None if a chunk of the authors
    has more than `most`."""
    searches = [
        _between.of(padded(each), low, below, most + 1) for each in chunks(authors, LENGTHS[-1])
    ]
    found = together(*searches) if searches else []
    if any(len(each) > most for each in found):
        return None
    return [number for each in found for (number,) in each]


def _texts_of(numbers: Sequence[int], most_bytes: int, texts: Any = None) -> tuple[list[Row], int]:
    """The posts of the first of these ids, up to `most_bytes` and a little more; and of how many.
    `texts` is the statement that finds them, their texts third."""
    find = texts or _texts
    found: list[Row] = []
    size, asked, count = 0, 0, FIRST_TEXTS
    while asked < len(numbers) and size <= most_bytes:
        # Some may have been removed meanwhile.
        some = find(padded(numbers[asked : asked + count]))
        asked += count
        found += some
        size += sum(len(row[2]) for row in some)
        # As many as are enough if they are as long as those before.
        enough = (most_bytes - size) * len(found) // (size + 1) + 1
        count = next((length for length in LENGTHS if length >= enough), LENGTHS[-1])
    return found, min(asked, len(numbers))


def entries(
    numbers: Sequence[int], most_bytes: int = Page().bytes, without: Replies | None = None
) -> list[tuple[int, object]]:
    """The posts with the first of these ids, up to `most_bytes` and a little more, in the order of
    `numbers`, each after its id. `without`: the replies to them that the reader is not shown."""
    found, _ = _texts_of(numbers, most_bytes, _whole)
    rows = {row[0]: row for row in found}
    unseen = without({row[0]: row[_REPLIES] for row in found}) if without else {}
    return [
        (number, _whole_entry(unseen.get(number, 0), *rows[number]))
        for number in numbers
        if number in rows
    ]


def part_of(
    page: Page,
    numbers: Sequence[int],
    first: Sequence[tuple[int, object]] = (),
    without: Replies | None = None,
) -> Part:
    """The part of a list of posts that has the posts with these ids, as many as fit, behind `first`
    ones; `without` as in `entries`."""
    found = entries(numbers, page.bytes, without)
    part = page.part("post", [*first, *found])
    if part.last is None and len(found) < len(numbers):
        # Their texts are too long, or they are gone.
        part.last = found[-1][0] if found else None
    return part


def _whole_entry(
    unseen: int,
    number: int,
    author: str,
    text: str,
    stored: float | None,
    replies: int,
    thread: int | None,
    group: str | None,
) -> dict[str, object]:
    of_group = {} if group is None else {"group": group}
    entry = {"post": number, "id": author, "message": text, "time": stored, "to": thread}
    return {**entry, "replies": replies - unseen, **of_group}


class _Kept(NamedTuple):
    """A post as its removal needs it."""

    number: int
    writer: int
    size: int  # In bytes.
    group: int | None = None
    number_in_group: int | None = None
    thread: int | None = None


def _remove_oldest(writer: int, count: int, size: int, most: int) -> None:
    """Remove the oldest of the writer's `count` posts, of `size` bytes, beyond the `most` posts:
    `MOST_REMOVED` at the most, but never the newest post."""
    removed: list[_Kept] = []
    freed, at_once = 0, OLDEST_AT_ONCE
    while oldest := _oldest(writer, removed[-1].number if removed else 0, at_once):
        for each in oldest:
            left = count - len(removed)
            fit = left <= most and size - freed <= MOST_BYTES
            if left <= 1 or fit or len(removed) == MOST_REMOVED:
                break
            removed.append(each)
            freed += each.size
        else:
            at_once *= 2
            continue
        break
    _drop(removed)


def _oldest(writer: int, last: int, most: int) -> list[_Kept]:
    found = together(_in_feed.of(writer, last, most), _elsewhere.of(writer, last, most))
    return sorted(_Kept(*row) for rows in found for row in rows)[:most]


def remove(numbers: Sequence[int], leave_gaps: bool = True) -> int:
    """Remove posts, wherever they are: no list, thread or count has them any more. Without
    `leave_gaps`, their group goes too, and need not know their numbers. Returns how many there
    were."""
    removed = 0
    for some in map(padded, chunks(sorted(numbers), LENGTHS[-1])):
        writers = {each.writer for each in _find_kept(some)}
        inboxes.lock(sorted(writers))
        # Some may have been removed before the lock was acquired.
        there = [each for each in _find_kept(some) if each.writer in writers]
        _drop(there, leave_gaps)
        removed += len(there)
    return removed


def _find_kept(numbers: Sequence[int]) -> list[_Kept]:
    return [_Kept(*row) for row in _kept(numbers)]


@groups.at_end
def remove_of_group(group: int) -> int:
    """Remove the first posts of a group that ends; returns how many."""
    numbers = [number for (number,) in groups.posts_of(group, POSTS_AT_ONCE)]
    remove(numbers, leave_gaps=False)
    return len(numbers)


def forget_contributions(user: int) -> int:
    """Remove some of the posts of `user` that are in no feed; returns how many."""
    some = [row[0] for row in _elsewhere(user, 0, LENGTHS[-1])]
    remove(some)
    return len(some)


def forget_unwritten(walk: Walk = _walk) -> int:
    """Remove some of the posts in no feed whose writer is gone; returns how many. A server of
    version 5, which does not know of them, leaves their texts when it removes an account."""
    part = walk.next_part()
    found = [post for (post,) in _unwritten(*part, LENGTHS[-1])] if part else []
    if found:
        _remove(padded(found))
    return len(found)


def _drop(posts: Sequence[_Kept], leave_gaps: bool = True) -> None:
    """Remove posts of writers whose inboxes are locked."""
    if not posts:
        return
    lower: dict[int, tuple[int, int]] = {}  # Posts and bytes, by writer.
    for each in posts:
        count, size = lower.get(each.writer, (0, 0))
        lower[each.writer] = count - 1, size - each.size
    writers = sorted(lower)
    in_groups = [each for each in posts if each.number_in_group is not None and leave_gaps]
    gaps = [(each.group, each.number_in_group) for each in in_groups]
    replies = [(each.thread,) for each in posts if each.thread is not None]
    together(
        _count.of(writers, *zip(*(lower[writer] for writer in writers), strict=True)),
        *(
            _remove.of(padded(some))
            for some in chunks([each.number for each in posts], LENGTHS[-1])
        ),
        *([_leave_gap.of_each(gaps)] if gaps else []),
        *([_lower_replies.of_each(replies)] if replies else []),
    )


@statement
def online_friends(authors: Sequence[int], kind: str) -> peewee.Select:
    """The friends of each author who are online, by author: the channel and the server of each."""
    online = gathered(User.channel, Place.server)
    friends = Relationship.select(Relationship.user, online)
    placed = friends.join(Place, on=(Place.user == Relationship.other))
    named = placed.join(User, on=(User.id == Relationship.other))
    some = named.where(Relationship.user.in_(authors) & (Relationship.kind == kind))
    return some.group_by(Relationship.user)


@statement
def _add(author: int | None, text: str, stored: float) -> peewee.Insert:
    return PostRow.insert(author=author, text=text, stored=stored)


@statement
def _count(authors: Sequence[int], counts: Sequence[int], sizes: Sequence[int]) -> peewee.Update:
    count = peewee.Case(Inbox.user, [*zip(authors, counts, strict=True)])
    size = peewee.Case(Inbox.user, [*zip(authors, sizes, strict=True)])
    changes = Inbox.update(posts=Inbox.posts + count, post_bytes=Inbox.post_bytes + size)
    return changes.where(Inbox.user.in_(authors))


@statement
def _counted(author: int) -> peewee.Select:
    return Inbox.select(Inbox.posts, Inbox.post_bytes).where(Inbox.user == author)


@statement
def _in_feed(author: int, last: int, limit: int) -> peewee.Select:
    """The oldest posts in a feed behind the id `last`, as `_Kept` has them."""
    posts = PostRow.select(PostRow.id, PostRow.author, byte_length(PostRow.text))
    own = (PostRow.author == author) & (PostRow.id > last)
    return posts.where(own).order_by(PostRow.id).limit(limit)


@statement
def _elsewhere(writer: int, last: int, limit: int) -> peewee.Select:
    """The oldest posts of a writer in no feed behind the id `last`, as `_Kept` has them."""
    own = (Contribution.writer == writer) & (Contribution.post > last)
    posts = Contribution.select(
        PostRow.id,
        Contribution.writer,
        byte_length(PostRow.text),
        Contribution.group,
        Contribution.number,
        Contribution.thread,
    )
    return posts.join(PostRow).where(own).order_by(Contribution.post).limit(limit)


@statement
def _kept(numbers: Sequence[int]) -> peewee.Select:
    """These posts, as `_Kept` has them."""
    writer = peewee.fn.COALESCE(PostRow.author, Contribution.writer)
    posts = PostRow.select(
        PostRow.id,
        writer,
        byte_length(PostRow.text),
        Contribution.group,
        Contribution.number,
        Contribution.thread,
    )
    return posts.join(Contribution, peewee.JOIN.LEFT_OUTER).where(PostRow.id.in_(numbers))


@statement
def _leave_gap(group: int, number: int) -> peewee.Insert:
    return RemovedPost.insert(group=group, number=number)


@statement
def _lower_replies(thread: int) -> peewee.Update:
    return PostRow.update(replies=PostRow.replies - 1).where(PostRow.id == thread)


@statement
def _remove(numbers: Sequence[int]) -> peewee.Delete:
    # By their ids alone: in a range of them MariaDB locks the posts of other authors, too.
    return PostRow.delete().where(PostRow.id.in_(numbers))


@statement
def _ids(readers: Sequence[int], kind: str, limit: int) -> peewee.Select:
    """The ids of posts of friends by reader, `limit` in all."""
    some = (
        Relationship.select(Relationship.user, PostRow.id)
        .join(PostRow, on=(PostRow.author == Relationship.other))
        .where(Relationship.user.in_(readers) & (Relationship.kind == kind))
        .limit(limit)
        .alias("some")
    )
    found: peewee.Select = Relationship.select(some.c.user_id, gathered(some.c.id)).from_(some)
    return found.group_by(some.c.user_id)


@statement
def _friends(reader: int, kind: str) -> peewee.Select:
    own = (Relationship.user == reader) & (Relationship.kind == kind)
    return Relationship.select(Relationship.other).where(own)


@statement
def _newest() -> peewee.Select:
    return PostRow.select(peewee.fn.MAX(PostRow.id))


@statement
def _between(authors: Sequence[int], low: int, below: int, limit: int) -> peewee.Select:
    some = PostRow.author.in_(authors) & (PostRow.id >= low) & (PostRow.id < below)
    return PostRow.select(PostRow.id).where(some).limit(limit)


@statement
def _unwritten(low: int, high: int, limit: int) -> peewee.Select:
    """Posts with ids from `low` on before `high` that have no writer."""
    posts = PostRow.select(PostRow.id).join(Contribution, peewee.JOIN.LEFT_OUTER)
    nobodys = PostRow.author.is_null() & Contribution.post.is_null()
    return posts.where((PostRow.id >= low) & (PostRow.id < high) & nobodys).limit(limit)


def anywhere(*columns: Any) -> Any:
    """A query for these columns of posts in feeds, threads and groups, each with its writer
    (`User`), its `Contribution` and its `Group`."""
    writer = peewee.fn.COALESCE(PostRow.author, Contribution.writer)
    return (
        PostRow.select(*columns)
        .left_outer_join(Contribution, on=(Contribution.post == PostRow.id))
        .join(User, on=(User.id == writer))
        .left_outer_join(Group, on=(Group.id == Contribution.group))
    )


@statement
def _whole(numbers: Sequence[int]) -> peewee.Select:
    """Posts as `_whole_entry` takes them."""
    of_post = (PostRow.id, User.name, PostRow.text, PostRow.stored, PostRow.replies)
    found: peewee.Select = anywhere(*of_post, Contribution.thread, Group.name)
    return found.where(PostRow.id.in_(numbers))


@statement
def _texts_elsewhere(numbers: Sequence[int]) -> peewee.Select:
    """Posts in no feed, with their threads."""
    of_post = (PostRow.id, User.name, PostRow.text, PostRow.stored, Contribution.thread)
    posts = Contribution.select(*of_post).join(PostRow)
    named = posts.join_from(Contribution, User, on=(Contribution.writer == User.id))
    return named.where(Contribution.post.in_(numbers))


@statement
def _texts(numbers: Sequence[int]) -> peewee.Select:
    posts = PostRow.select(PostRow.id, User.name, PostRow.text, PostRow.stored)
    named = posts.join(User, on=(PostRow.author == User.id))
    return named.where(PostRow.id.in_(numbers)).order_by(PostRow.id.desc())
