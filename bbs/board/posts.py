"""Posts, which friends read."""

from __future__ import annotations

from dataclasses import dataclass

from bbs.board.models import Post, Relationship
from bbs.framework import Caller, User, read_only, rows


@dataclass(frozen=True)
class Published:
    """A post as a friend of its author reads it."""

    author: str
    text: str


def post(caller: Caller, text: str) -> None:
    """Publish `text` to the caller's friends."""
    Post.insert(author=caller.id, text=text).execute()


@read_only
def friends_posts(caller: Caller) -> list[Published]:
    """What the caller's friends have posted, oldest first."""
    query = (
        Post.select(User.name, Post.text)
        .join(Relationship, on=(Relationship.other == Post.author))
        .join(User, on=(Post.author == User.id))
        .where((Relationship.user == caller.id) & (Relationship.kind == Relationship.FRIEND))
        .order_by(Post.id)
    )
    return [Published(*row) for row in rows(query)]
