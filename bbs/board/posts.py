"""Posts, which friends read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import peewee

from bbs.board.models import Post, Relationship
from bbs.framework import Caller, User, long_read, statement


def post(caller: Caller, text: str) -> None:
    """Publish `text` to the caller's friends."""
    _add(caller.id, text)


@long_read
def friends_posts(caller: Caller) -> Mapping[str, Sequence[Mapping[str, str]]]:
    """What the caller's friends have posted, oldest first."""
    found = _of_friends(caller.id, Relationship.FRIEND)
    return {"post": [{"id": author, "message": text} for author, text in found]}


@statement
def _add(author: int, text: str) -> peewee.Insert:
    return Post.insert(author=author, text=text)


@statement
def _of_friends(reader: int, kind: str) -> peewee.Select:
    return (
        Post.select(User.name, Post.text)
        .join(Relationship, on=(Relationship.other == Post.author))
        .join(User, on=(Post.author == User.id))
        .where((Relationship.user == reader) & (Relationship.kind == kind))
        .order_by(Post.id)
    )
