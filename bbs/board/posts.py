"""Posts, which friends read."""

from __future__ import annotations

from bbs.rules.accounts import Caller
from bbs.storage.database import read_only, rows
from bbs.storage.models import Post, Relationship, User


def post(caller: Caller, text: str) -> None:
    """Publish `text` to the caller's friends."""
    Post.insert(author=caller.user, text=text).execute()


@read_only
def friends_posts(caller: Caller) -> list[dict[str, str]]:
    """What the caller's friends have posted, oldest first."""
    query = (
        Post.select(User.name, Post.text)
        .join(Relationship, on=(Relationship.other == Post.author))
        .join(User, on=(Post.author == User.id))
        .where((Relationship.user == caller.user) & (Relationship.kind == Relationship.FRIEND))
        .order_by(Post.id)
    )
    return [{"id": author, "message": text} for author, text in rows(query)]
