"""The members of the board's replies, as `docs/protocol.md` describes them, for typed clients.

Times are in seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Invitations:
    """The names of those who have invited the user, oldest invitation first."""

    invite: list[str]


@dataclass(frozen=True)
class Friends:
    """The names of friends, oldest friendship first."""

    friend: list[str]


@dataclass(frozen=True)
class Blocked:
    """The names of those whom the user has blocked, in that order."""

    block: list[str]


@dataclass(frozen=True)
class GroupNames:
    """The names of groups."""

    group: list[str]


@dataclass(frozen=True)
class Members:
    """The names of a group's members, in the order joined."""

    member: list[str]


@dataclass(frozen=True)
class Friend:
    """A friend, and when they were last here; `state` is `here`, `away` or `out`."""

    id: str
    online: bool
    last: float | None
    state: str
    status: str


@dataclass(frozen=True)
class Presence:
    """The user's friends, those online first."""

    friend: list[Friend]


@dataclass(frozen=True)
class Group:
    """A group; `member` is whether the user is in it, and `invited` whether they may join it."""

    group: str
    topic: str | None
    members: int
    private: bool
    owner: str | None
    member: bool
    invited: bool = False


@dataclass(frozen=True)
class Groups:
    """All groups, those of the user first."""

    group: list[Group]


@dataclass(frozen=True)
class FeedPost:
    """A post of a friend."""

    id: str
    message: str
    post: int
    time: float | None


@dataclass(frozen=True)
class Feed:
    """The latest posts of friends, oldest first."""

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
    """Posts of a thread, or of several."""

    post: list[Post]


@dataclass(frozen=True)
class Published:
    """The number of a post that was just made."""

    post: int


@dataclass(frozen=True)
class Message:
    """A message to a friend (`to`) or in a group; `former`: of an account that is gone."""

    event: str
    id: int
    time: float
    from_: str
    message: str
    to: str | None = None
    group: str | None = None
    former: bool = False


@dataclass(frozen=True)
class History:
    """The last messages of a conversation, oldest first."""

    history: list[Message]


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
