"""Posts, which friends read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import peewee

from bbs.board.models import LENGTHS, Inbox, PostRow, Relationship, chunks, padded
from bbs.framework import (
    Caller,
    EachAlone,
    EncodedList,
    ListCall,
    Page,
    Part,
    Quotas,
    User,
    asks,
    bulk,
    byte_length,
    cached_rows,
    costs,
    encode_entry,
    gathered,
    long_read,
    paged,
    question,
    statement,
    stores_text,
    together,
)

Row = tuple[Any, ...]  # a post: its id, its author, its text, and when it was stored

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


class _NewPost(NamedTuple):
    caller: Caller
    text: str
    size: int  # In bytes.
    is_near: bool  # The author may have as many as the quotas allow.


@question
def _kept(query: peewee.ModelSelect[User]) -> peewee.Select:
    return query.select_extend(Inbox.posts, Inbox.post_bytes).left_outer_join(
        Inbox, on=(Inbox.user == User.id)
    )


def _check(caller: Caller, text: str) -> _NewPost:
    [(count, size)] = _kept(caller)
    quotas, own = caller.quotas, len(text.encode())
    is_near = count + NEAR >= quotas.posts or size + own + NEAR_BYTES >= quotas.post_bytes
    return _NewPost(caller, text, own, is_near)


@stores_text
@asks(_kept)
@bulk(_check)
def post(posts: Sequence[_NewPost]) -> list[None]:
    """Publish texts, each to its author's friends. Beyond the quota, an author's oldest go."""
    added: dict[int, tuple[int, int]] = {}  # Posts and bytes, by author.
    for each in posts:
        count, size = added.get(each.caller.id, (0, 0))
        added[each.caller.id] = count + 1, size + each.size
    authors = sorted(added)
    near = sorted({each.caller.id for each in posts if each.is_near})
    *_, counted = together(
        _count.of(authors, *zip(*(added[author] for author in authors), strict=True)),
        _add.of_each([(each.caller.id, each.text, each.caller.now) for each in posts]),
        _counted.of_each([(author,) for author in near]),
    )
    quotas = posts[0].caller.quotas
    for author, [(count, size)] in zip(near, counted, strict=True):
        if count > quotas.posts or size > quotas.post_bytes:
            _remove_oldest(author, count, size, quotas)
    return [None] * len(posts)


@paged
@costs(commands=Part.price)
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
    return Part("post", EncodedList([each for each in reversed(entries) if each]), last, size)


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


def _entry(number: int, author: str, text: str, stored: float | None) -> dict[str, object]:
    return {"id": author, "message": text, "post": number, "time": stored}


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


def _texts_of(numbers: Sequence[int], most_bytes: int) -> tuple[list[Row], int]:
    """The posts of the first of these ids, up to `most_bytes` and a little more; and of how
    many."""
    found: list[Row] = []
    size, asked, count = 0, 0, FIRST_TEXTS
    while asked < len(numbers) and size <= most_bytes:
        # Some may have been removed meanwhile.
        some = _texts(padded(numbers[asked : asked + count]))
        asked += count
        found += some
        size += sum(len(text) for _, _, text, _ in some)
        # As many as are enough if they are as long as those before.
        enough = (most_bytes - size) * len(found) // (size + 1) + 1
        count = next((length for length in LENGTHS if length >= enough), LENGTHS[-1])
    return found, min(asked, len(numbers))


def _remove_oldest(author: int, count: int, size: int, quotas: Quotas) -> None:
    """Remove the oldest of the author's `count` posts, of `size` bytes, beyond the quotas:
    `MOST_REMOVED` at the most, but never the newest post."""
    removed: list[int] = []
    freed, at_once = 0, OLDEST_AT_ONCE
    while oldest := _oldest(author, removed[-1] if removed else 0, at_once):
        for number, length in oldest:
            left = count - len(removed)
            fit = left <= quotas.posts and size - freed <= quotas.post_bytes
            if left <= 1 or fit or len(removed) == MOST_REMOVED:
                break
            removed.append(number)
            freed += length
        else:
            at_once *= 2
            continue
        break
    if removed:
        removals = [_remove.of(padded(some)) for some in chunks(removed, LENGTHS[-1])]
        together(*removals, _count.of([author], [-len(removed)], [-freed]))


@statement
def _add(author: int, text: str, stored: float) -> peewee.Insert:
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
def _oldest(author: int, last: int, limit: int) -> peewee.Select:
    posts = PostRow.select(PostRow.id, byte_length(PostRow.text))
    return (
        posts.where((PostRow.author == author) & (PostRow.id > last))
        .order_by(PostRow.id)
        .limit(limit)
    )


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
def _texts(numbers: Sequence[int]) -> peewee.Select:
    posts = PostRow.select(PostRow.id, User.name, PostRow.text, PostRow.stored)
    named = posts.join(User, on=(PostRow.author == User.id))
    return named.where(PostRow.id.in_(numbers)).order_by(PostRow.id.desc())
