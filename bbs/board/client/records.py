"""What the board's client library gives: replies as values, and what all of its methods stand on.

`docs/protocol.md` describes their members.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from bbs.board.client.face import LEGACY, face
from bbs.client import BadReply, ChatMessage, ServiceClient, ServiceReply
from bbs.client.replies import MOST_ID, read_id, read_time

T = TypeVar("T")


@dataclass(frozen=True)
class Post:
    """A post of a friend: the name of its `author`, and its `text`. `time` is when it was stored,
    in seconds since the epoch, None from older servers."""

    author: str
    text: str
    time: float | None = None

    @classmethod
    def read(cls, value: object) -> Post:
        """Read a post from `value`, an entry of a list; TypeError if it is malformed."""
        if isinstance(value, dict):
            author, text = value.get("id"), value.get("message")
            if isinstance(author, str) and isinstance(text, str):
                return cls(author, text, read_time(value.get("time")))
        raise TypeError("not a post")


@dataclass(frozen=True)
class ThreadPost:
    """A post with its `number`, by which one replies. `time` is when it was stored, in seconds
    since the epoch. `thread` is the number of the post that began the thread, None for that post
    itself, and `replies` how many there are. `group` is the group that it was posted in, None for
    friends.

    A `deleted` post has its number alone: `author`, `text` and `time` are None.
    """

    number: int
    author: str | None
    text: str | None
    time: float | None
    thread: int | None
    replies: int
    group: str | None
    deleted: bool

    @classmethod
    def read(cls, value: object) -> ThreadPost:
        """Read a post from `value`, an entry of a list; TypeError if it is malformed."""
        if not isinstance(value, dict):
            raise TypeError("not a post")
        number, author, text = read_id(value.get("post")), value.get("id"), value.get("message")
        deleted = value.get("deleted") is True
        if not number or not (deleted or (isinstance(author, str) and isinstance(text, str))):
            raise TypeError("not a post")
        group = value.get("group")
        return cls(
            number,
            None if deleted else str(author),
            None if deleted else str(text),
            read_time(value.get("time")),
            read_id(value.get("to")),
            read_id(value.get("replies")) or 0,
            group if isinstance(group, str) else None,
            deleted,
        )


@dataclass(frozen=True)
class News:
    """What is new for a user: the numbers of `messages`, `invitations` and `posts`, that of posts
    in each of `groups` by its name, and the texts of `announcements`."""

    messages: int
    invitations: int
    posts: int
    groups: Mapping[str, int]
    announcements: tuple[str, ...]

    @classmethod
    def read(cls, value: object) -> News:
        """Read `value`, the member `new` of a reply; TypeError if it is malformed."""
        if not isinstance(value, dict):
            raise TypeError("not the news")
        groups, announcements = value.get("groups"), value.get("announcements")
        if not isinstance(groups, list) or not isinstance(announcements, list):
            raise TypeError("not the news")
        return cls(
            read_id(value.get("messages")) or 0,
            read_id(value.get("invitations")) or 0,
            read_id(value.get("posts")) or 0,
            {str(each["group"]): read_id(each["posts"]) or 0 for each in groups},
            tuple(str(each["text"]) for each in announcements),
        )


@dataclass(frozen=True)
class Presence:
    """Whether the friend `name` is `online`, and when they were `last` here, in seconds since the
    epoch; None if unknown. `state` is `here`, `away` (online, but not here for some minutes) or
    `out`, and empty from older servers; `status` is what the friend says, if anything."""

    name: str
    online: bool
    last: float | None = None
    state: str = ""
    status: str = ""

    @classmethod
    def read(cls, value: object) -> Presence:
        """Read a presence from `value`, an entry of a list; TypeError if it is malformed."""
        if isinstance(value, dict):
            name, online = value.get("id"), value.get("online")
            if isinstance(name, str) and isinstance(online, bool) and "last" in value:
                state, status = (str(value.get(each, "")) for each in ("state", "status"))
                return cls(name, online, read_time(value.get("last")), state, status)
        raise TypeError("not a presence")


@dataclass(frozen=True)
class GroupInfo:
    """A group, by its `name`: its `topic` and `owner`, None without; how many `members` it has;
    whether it is `private`; whether the user is a `member`, or `invited` to join a private one."""

    name: str
    topic: str | None
    members: int
    private: bool
    owner: str | None
    member: bool
    invited: bool = False

    @classmethod
    def read(cls, value: object) -> GroupInfo:
        """Read a group from `value`, an entry of a list; TypeError if it is malformed."""
        if isinstance(value, dict):
            name, topic, members = value.get("group"), value.get("topic"), value.get("members")
            owner, private, member = value.get("owner"), value.get("private"), value.get("member")
            are_texts = all(each is None or isinstance(each, str) for each in (topic, owner))
            if (
                isinstance(name, str)
                and type(members) is int
                and are_texts
                and isinstance(private, bool)
                and isinstance(member, bool)
            ):
                invited = value.get("invited") is True
                return cls(name, topic, members, private, owner, member, invited)
        raise TypeError("not a group")


@dataclass(frozen=True)
class Missed:
    """The news for a user who has just logged in: the number of invitations, and of messages that
    came meanwhile. These messages begin behind the id `after`."""

    invitations: int
    messages: int
    after: int

    @classmethod
    def read(cls, value: object) -> Missed | None:
        """Read `value`, the member `waiting` of the reply to `login`; None if it is missing or
        malformed."""
        if isinstance(value, dict):
            values = [value.get(name) for name in ("invitations", "messages", "after")]
            counts = [each for each in values if type(each) is int and 0 <= each <= MOST_ID]
            if len(counts) == len(values):
                return cls(*counts)
        return None


@dataclass(frozen=True)
class Reply(ServiceReply):
    """A reply of the board's. Its lists and news are read when they are asked for: `BadReply` if
    they are malformed, or of another command."""

    @property
    def is_backwards(self) -> bool:
        """Whether the list has the latest entries, and the next part older ones."""
        return face.listing(self.list_name).backwards

    @property
    def posts(self) -> tuple[Post, ...]:
        """The answer to `receive-post`."""
        return self._read("post", "posts", Post.read)

    @property
    def thread_posts(self) -> tuple[ThreadPost, ...]:
        """The answer to `posts`, `my-posts`, `thread` and `group-posts`."""
        return self._read("post", "posts", ThreadPost.read)

    @property
    def news(self) -> News:
        """The answer to `new`."""
        with suppress(TypeError, KeyError):
            return News.read(self.members.get("new"))
        raise BadReply("Malformed news from the server")

    @property
    def presences(self) -> tuple[Presence, ...]:
        """The answer to `who`: friends, and whether they are online."""
        return self._read("friend", "friends", Presence.read)

    @property
    def groups(self) -> tuple[GroupInfo, ...]:
        """The answer to `groups`."""
        return self._read("group", "groups", GroupInfo.read)

    @property
    def messages(self) -> tuple[ChatMessage, ...]:
        """The answer to `history`: messages, oldest first."""
        return self._read("history", "messages", ChatMessage.read)

    @property
    def missed(self) -> Missed | None:
        """The news in the reply to `login`; None from older servers."""
        return Missed.read(self.members.get("waiting"))

    def _read(self, member: str, what: str, read: Callable[[Any], T]) -> tuple[T, ...]:
        values = self.members.get(member)
        if isinstance(values, list):
            with suppress(TypeError, BadReply):
                return tuple(read(value) for value in values)
        raise BadReply(f"Malformed list of {what} from the server")


class BoardClient(ServiceClient[Reply]):
    """A client of the board, and how its methods read replies."""

    presentation = face
    commands = (*LEGACY.first, *LEGACY.later)
    reply_class = Reply

    def _read(self, read: Callable[[Reply], T], name: str, *arguments: str) -> Deferred[T]:
        return self.ask(name, *arguments).addCallback(read)

    def _names(self, member: str, name: str, *arguments: str) -> Deferred[tuple[str, ...]]:
        return self._read(lambda reply: reply.names(member), name, *arguments)

    def _number(self, name: str, *arguments: str) -> Deferred[int]:
        return self._read(lambda reply: read_id(reply.members.get("post")) or 0, name, *arguments)
