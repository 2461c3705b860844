"""Posts, which friends read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import peewee

from bbs.board.models import LENGTHS, Inbox, Post, Relationship, padded, pieces
from bbs.framework import (
    Caller,
    Page,
    Part,
    Quotas,
    User,
    asks,
    byte_length,
    costs,
    long_read,
    paged,
    question,
    statement,
    together,
)

Row = tuple[Any, ...]
"""A post: its id, its author, its text, and when it was stored."""

FEW = 128
"""Posts of friends that are simply read, if there are no more of them."""

AROUND = 96
"""Bytes of a post on the wire beside its text and its author's name, whose characters have four at
the most: 57 of them for the names of its members, 19 for its number, 18 for its time."""

FIRST_WINDOW, GROWTH = 1024, 8
"""How many ids are looked through first for posts of friends, and how much more each time."""

MOST_FOUND = 4 * FIRST_WINDOW
"""Posts that a look at a window brings at the most, of each piece of the friends; a window with
more in it is too wide. The first never is."""

FIRST_TEXTS = LENGTHS[2]
"""How many texts are read first, until it is known how long they are."""

MOST_REMOVED = 500
"""Old posts that one new post removes at the most: where more are too many, because operators allow
fewer than they did, the next one goes on."""

OLDEST_AT_ONCE = 8
"""Posts that are looked at first when the oldest go."""


@question
def _kept(query: peewee.ModelSelect[User]) -> peewee.Select:
    """How many posts of the caller's there are, and their bytes."""
    return query.select_extend(Inbox.posts, Inbox.post_bytes).left_outer_join(
        Inbox, on=(Inbox.user == User.id)
    )


@asks(_kept)
def post(caller: Caller, text: str) -> None:
    """Publish `text` to the caller's friends. Of more than are kept, the oldest go."""
    size = len(text.encode())
    [(count, kept)] = _kept(caller)
    together(_count.of(caller.id, 1, size), _add.of(caller.id, text, caller.now))
    if count >= caller.quotas.posts or kept + size > caller.quotas.post_bytes:
        _remove_oldest(caller.id, caller.quotas)


@paged
@costs(commands=Part.price)
@long_read
def friends_posts(caller: Caller, page: Page) -> Part:
    """The latest of what the caller's friends have posted, oldest first."""
    found = _few(caller.id, Relationship.FRIEND, FEW + 1) if page.last is None else []
    looked_to = None
    if page.last is not None or len(found) > FEW:
        found, looked_to = _of_many(caller.id, page)
    found.sort(reverse=True)
    rows = [
        (number, {"id": author, "message": text, "post": number, "time": stored})
        for number, author, text, stored in found
    ]
    size = sum([len(text.encode()) + 4 * len(author) + AROUND for _, author, text, _ in found])
    part = page.part("post", rows, size=size, backwards=True)
    if part.last is None:
        part.last = looked_to
    return part


def _of_many(reader: int, page: Page) -> tuple[list[Row], int | None]:
    """The latest posts of the reader's friends behind those of the part before: as many as a part
    may have, and a little more. Also the id to which was looked, if there may be others behind it:
    some of those found may be removed before their texts are read, so that no more are left than a
    part has."""
    names: dict[int, str] = dict(_friends(reader, Relationship.FRIEND))
    below = page.last or (_newest()[0][0] or 0) + 1
    numbers = _latest([*names], below, page.limit)
    texts, count = _texts_of(numbers, page.bytes)
    others = count < len(numbers) or len(numbers) == page.limit
    found = [(number, names[by], *post) for number, by, *post in texts]
    return found, numbers[count - 1] if others else None


def _latest(authors: Sequence[int], below: int, wanted: int) -> list[int]:
    """The ids of the latest posts of `authors` before the id `below`, `wanted` at the most, latest
    first.

    Mostly one look finds that there are no more than that. Else a window of the latest ids is
    looked through, then a wider one before that, and so on: old posts are not read, and those of
    authors who post rarely are found in a few looks. Where a window turns out to have too much in
    it, there is another look at a part of it.
    """
    all_there_are = _look(authors, 1, below, wanted)
    if all_there_are is not None:
        return sorted(all_there_are, reverse=True)[:wanted]
    found: list[int] = []
    width = FIRST_WINDOW
    crowded = below  # From here on upwards to `below` wide windows have too much in them.
    while below > 1 and len(found) < wanted:
        low = max(below - width, 1)
        numbers = _look(authors, low, below, MOST_FOUND)
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


def _look(authors: Sequence[int], low: int, below: int, most: int) -> list[int] | None:
    """The ids from `low` on before `below` that are of posts of `authors`; None if those of some of
    them are more than `most`."""
    looks = [
        _between.of(padded(each), low, below, most + 1) for each in pieces(authors, LENGTHS[-1])
    ]
    found = together(*looks) if looks else []
    if any(len(each) > most for each in found):
        return None
    return [number for each in found for (number,) in each]


def _texts_of(numbers: Sequence[int], most_bytes: int) -> tuple[list[Row], int]:
    """The posts of these ids, until they have more than `most_bytes`; and of how many ids."""
    found: list[Row] = []
    size, asked, count = 0, 0, FIRST_TEXTS
    while asked < len(numbers) and size <= most_bytes:
        # Some of them may have been removed since.
        some = _texts(padded(numbers[asked : asked + count]))
        asked += count
        found += some
        size += sum(len(text) for _, _, text, _ in some)
        # As many as will do if they are as long as those before.
        enough = (most_bytes - size) * len(found) // (size + 1) + 1
        count = next((length for length in LENGTHS if length >= enough), LENGTHS[-1])
    return found, min(asked, len(numbers))


def _remove_oldest(author: int, quotas: Quotas) -> None:
    """Remove as many of the author's oldest posts as are too many, `MOST_REMOVED` at the most; not
    the last one."""
    [(count, size)] = _counted(author)
    removed = freed = last = 0
    at_once = OLDEST_AT_ONCE
    while oldest := _oldest(author, last, at_once):
        for number, length in oldest:
            left = count - removed
            fit = left <= quotas.posts and size - freed <= quotas.post_bytes
            if left <= 1 or fit or removed == MOST_REMOVED:
                break
            removed, freed, last = removed + 1, freed + length, number
        else:
            at_once *= 2
            continue
        break
    if removed:
        together(_remove.of(author, last), _count.of(author, -removed, -freed))


@statement
def _add(author: int, text: str, stored: float) -> peewee.Insert:
    return Post.insert(author=author, text=text, stored=stored)


@statement
def _count(author: int, count: int, size: int) -> peewee.Update:
    return Inbox.update(posts=Inbox.posts + count, post_bytes=Inbox.post_bytes + size).where(
        Inbox.user == author
    )


@statement
def _counted(author: int) -> peewee.Select:
    return Inbox.select(Inbox.posts, Inbox.post_bytes).where(Inbox.user == author)


@statement
def _oldest(author: int, last: int, limit: int) -> peewee.Select:
    return (
        Post.select(Post.id, byte_length(Post.text))
        .where((Post.author == author) & (Post.id > last))
        .order_by(Post.id)
        .limit(limit)
    )


@statement
def _remove(author: int, last: int) -> peewee.Delete:
    return Post.delete().where((Post.author == author) & (Post.id <= last))


@statement
def _few(reader: int, kind: str, limit: int) -> peewee.Select:
    """Some posts, which are all of them if they are fewer."""
    return (
        Post.select(Post.id, User.name, Post.text, Post.stored)
        .join(Relationship, on=(Relationship.other == Post.author))
        .join(User, on=(Post.author == User.id))
        .where((Relationship.user == reader) & (Relationship.kind == kind))
        .limit(limit)
    )


@statement
def _friends(reader: int, kind: str) -> peewee.Select:
    return (
        Relationship.select(User.id, User.name)
        .join(User, on=(Relationship.other == User.id))
        .where((Relationship.user == reader) & (Relationship.kind == kind))
    )


@statement
def _newest() -> peewee.Select:
    return Post.select(peewee.fn.MAX(Post.id))


@statement
def _between(authors: Sequence[int], low: int, below: int, limit: int) -> peewee.Select:
    return (
        Post.select(Post.id)
        .where(Post.author.in_(authors) & (Post.id >= low) & (Post.id < below))
        .limit(limit)
    )


@statement
def _texts(numbers: Sequence[int]) -> peewee.Select:
    return (
        Post.select(Post.id, Post.author, Post.text, Post.stored)
        .where(Post.id.in_(numbers))
        .order_by(Post.id.desc())
    )
