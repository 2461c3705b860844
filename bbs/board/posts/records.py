"""The members of replies and events about posts, as `docs/protocol.md` describes them.

Times are in seconds since the epoch, names those of people and groups, posts their numbers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FeedPost:
    """A post of a friend."""

    id: str
    message: str
    post: int
    time: float | None


@dataclass(frozen=True)
class Feed:
    """The latest 1,000 posts of friends, oldest first."""

    post: list[FeedPost]


@dataclass(frozen=True)
class Post:
    """A post; `to` is the number of the first one of its thread. A deleted one has its number."""

    post: int
    id: str | None = None
    message: str | None = None
    time: float | None = None
    to: int | None = None
    replies: int = 0
    group: str | None = None
    deleted: bool = False


@dataclass(frozen=True)
class Posts:
    """Posts, the oldest first; of the user's own, the latest first."""

    post: list[Post]


@dataclass(frozen=True)
class Published:
    """The number of a post that was just made."""

    post: int


@dataclass(frozen=True)
class GroupNews:
    """How many posts of a group are unread."""

    group: str
    posts: int


@dataclass(frozen=True)
class Announcement:
    """An announcement by an operator."""

    announcement: int
    text: str
    time: float


@dataclass(frozen=True)
class News:
    """How much is new for the user."""

    messages: int
    invitations: int
    posts: int
    groups: list[GroupNews]
    announcements: list[Announcement]


@dataclass(frozen=True)
class New:
    """What is new for the user."""

    new: News


@dataclass(frozen=True)
class Posted:
    """A post of a friend, or in a group; a long text is cut."""

    from_: str
    post: int
    text: str
    time: float
    group: str | None = None


@dataclass(frozen=True)
class Replied:
    """A reply in the thread that the post `to` began."""

    from_: str
    post: int
    text: str
    time: float
    to: int
    group: str | None = None


@dataclass(frozen=True)
class Deleted:
    """A post was removed; of a group, with who did it."""

    post: int
    time: float
    group: str | None = None
    by: str | None = None
