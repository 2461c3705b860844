"""Posts, which friends read."""

from __future__ import annotations

from collections.abc import Sequence

import peewee

from bbs.board.models import Inbox, Post, Relationship
from bbs.board.pieces import LENGTHS, padded, pieces
from bbs.framework import (
    Caller,
    Page,
    Part,
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

MOST_BYTES = 16 * 2**20
"""Bytes of a user's posts that are kept; of more the oldest go, as beyond `[limits] posts`."""

FIRST_WINDOW, GROWTH = 1024, 8
"""How many ids are looked through first for posts of friends, and how much more each time."""

MOST_FOUND = 4 * FIRST_WINDOW
"""Ids that a look brings at the most, of each piece of the friends; where there are more, it is for
fewer ids."""

FIRST_TEXTS, MOST_TEXTS = LENGTHS[2], LENGTHS[-1]
"""How many texts are read first, until it is known how long they are, and at the most at once."""

OLDEST_AT_ONCE = 8
"""Posts that are looked at first when the oldest go."""


@question
def _kept(query: peewee.ModelSelect[User]) -> peewee.Select:
    """How many posts of the caller's there are, and their bytes."""
    return query.select_extend(Inbox.posts, Inbox.post_bytes).left_outer_join(
        Inbox, on=(Inbox.user == User.id)
    )


@question
def _friends_and_newest(query: peewee.ModelSelect[User]) -> peewee.Select:
    """The caller's friends, a row for each, and with it the newest post of all."""
    return query.select_extend(
        Relationship.other, Post.select(peewee.fn.MAX(Post.id))
    ).left_outer_join(
        Relationship,
        on=((Relationship.user == User.id) & (Relationship.kind == Relationship.FRIEND)),
    )


@asks(_kept)
def post(caller: Caller, text: str) -> None:
    """Publish `text` to the caller's friends. Of more than are kept, the oldest go."""
    size = len(text.encode())
    [(count, kept)] = _kept(caller)
    together(_count.of(caller.id, 1, size), _add.of(caller.id, text))
    if count >= caller.quotas.posts or kept + size > MOST_BYTES:
        _remove_oldest(caller.id, caller.quotas.posts)


@paged
@costs(commands=Part.price)
@asks(_friends_and_newest)
@long_read
def friends_posts(caller: Caller, page: Page) -> Part:
    """The latest of what the caller's friends have posted, oldest first."""
    found = _friends_and_newest(caller)
    friends = [friend for friend, _ in found if friend is not None]
    below = page.last if page.last is not None else (found[0][1] or 0) + 1
    numbers = _latest(friends, int(below), page.limit)
    return page.part("post", _entries(numbers, page.bytes), backwards=True)


def _latest(authors: Sequence[int], below: int, wanted: int) -> list[int]:
    """The ids of the latest posts of `authors` before the id `below`, `wanted` at the most, latest
    first.

    It looks through a window of ids, then through a wider one before that, and so on. So what is
    old is not read, and some who post rarely are found all the same in a few looks. Where a window
    turns out to have too much in it, there is another look at a part of it.
    """
    found: list[int] = []
    width = FIRST_WINDOW
    crowded = below  # From here on upwards to `below` wide windows have too much in them.
    while authors and below > 1 and len(found) < wanted:
        low = max(below - width, 1)
        numbers = _look(authors, low, below)
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


def _look(authors: Sequence[int], low: int, below: int) -> list[int] | None:
    """The ids from `low` on before `below` that are of posts of `authors`, None if they are too
    many. (In the smallest window they never are.)"""
    looks = [
        _between.of(padded(each), low, below, MOST_FOUND + 1)
        for each in pieces(authors, LENGTHS[-1])
    ]
    found = together(*looks)
    if any(len(each) > MOST_FOUND for each in found):
        return None
    return [number for each in found for (number,) in each]


def _entries(numbers: Sequence[int], most_bytes: int) -> list[tuple[int, dict[str, str]]]:
    """The posts of these ids with their authors' names, as they go over the wire, each behind its
    id: until they have more than `most_bytes`."""
    entries: list[tuple[int, dict[str, str]]] = []
    size, count = 0, FIRST_TEXTS
    while len(entries) < len(numbers) and size <= most_bytes:
        some = numbers[len(entries) : len(entries) + count]
        for number, author, text in _texts(padded(some)):
            entries.append((number, {"id": author, "message": text}))
            size += len(text)
        # As many as will do if they are as long as those before.
        count = min(MOST_TEXTS, (most_bytes - size) * len(entries) // (size + 1) + 1)
        count = next(length for length in LENGTHS if length >= count)
    return entries


def _remove_oldest(author: int, most: int) -> None:
    """Remove as many of the author's oldest posts as are too many; not the last one."""
    [(count, size)] = _counted(author)
    removed = freed = last = 0
    at_once = OLDEST_AT_ONCE
    while oldest := _oldest(author, last, at_once):
        for number, length in oldest:
            left = count - removed
            if left <= 1 or (left <= most and size - freed <= MOST_BYTES):
                break
            removed, freed, last = removed + 1, freed + length, number
        else:
            at_once *= 2
            continue
        break
    if removed:
        together(_remove.of(author, last), _count.of(author, -removed, -freed))


@statement
def _add(author: int, text: str) -> peewee.Insert:
    return Post.insert(author=author, text=text)


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
def _between(authors: Sequence[int], low: int, below: int, limit: int) -> peewee.Select:
    return (
        Post.select(Post.id)
        .where(Post.author.in_(authors) & (Post.id >= low) & (Post.id < below))
        .limit(limit)
    )


@statement
def _texts(numbers: Sequence[int]) -> peewee.Select:
    return (
        Post.select(Post.id, User.name, Post.text)
        .join(User)
        .where(Post.id.in_(numbers))
        .order_by(Post.id.desc())
    )
