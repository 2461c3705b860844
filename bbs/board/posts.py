"""Posts, which friends read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bbs.board.models import Post, Relationship
from bbs.framework import Caller, User, read_only, rows


def post(caller: Caller, text: str) -> None:
    """Publish `text` to the caller's friends."""
    Post.insert(author=caller.id, text=text).execute()


@read_only
def friends_posts(caller: Caller) -> Mapping[str, Sequence[Mapping[str, str]]]:
    """What the caller's friends have posted, oldest first."""
    query = (
        Post.select(User.name, Post.text)
        .join(Relationship, on=(Relationship.other == Post.author))
        .join(User, on=(Post.author == User.id))
        .where((Relationship.user == caller.id) & (Relationship.kind == Relationship.FRIEND))
        .order_by(Post.id)
    )
    return {"post": [{"id": author, "message": text} for author, text in rows(query)]}
