"""The client library with a method for each of the board's commands: `BBSClient`.

    client = BBSClient(reactor, Address("127.0.0.1", 22222))
    await client.login("ann", "secret")
    await client.listen("ann", lambda user, message: print(message.sender, message.text))
    await client.send("ann", "bob", "hello")

Replies are values; `docs/protocol.md` describes their members.
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


class BBSClient(ServiceClient[Reply]):
    """The board, for any number of users at once: a `ServiceClient` with a method for each of the
    board's commands. These methods fail as those of `ServiceClient` do.

    The `user` of a method is the name of the one who asks, logged in here. A `friend`, an `other`
    and a `member` are names of people, a `group` is the name of one, and a `post` the number of one
    (`ThreadPost.number`). A `text` or `topic` is one line, and fits with the command into the bytes
    that servers take (`[limits] max_line`, by default 64 KiB).

    A server that lacks a command refuses it, as those of version 0.1.0 do.
    """

    presentation = face
    commands = (*LEGACY.first, *LEGACY.later)
    reply_class = Reply

    def _names(self, member: str, name: str, *arguments: str) -> Deferred[tuple[str, ...]]:
        return self.ask(name, *arguments).addCallback(lambda reply: reply.names(member))

    def invite(self, user: str, friend: str) -> Deferred[None]:
        """Ask somebody to be the user's friend."""
        return self.do("invite", user, friend)

    def list_invite(self, user: str) -> Deferred[tuple[str, ...]]:
        """The names of those who have invited the user, the oldest invitation first."""
        return self._names("invite", "list-invite", user)

    def accept_invite(self, user: str, friend: str) -> Deferred[None]:
        """Become friends with somebody who has invited the user."""
        return self.do("accept-invite", user, friend)

    def decline_invite(self, user: str, friend: str) -> Deferred[None]:
        """Decline an invitation. Its sender is not told, and may invite again."""
        return self.do("decline-invite", user, friend)

    def decline_all(self, user: str) -> Deferred[None]:
        """Decline all invitations, as `decline_invite` does."""
        return self.do("decline-all", user)

    def list_friend(self, user: str) -> Deferred[tuple[str, ...]]:
        """The names of the user's friends, the oldest friendship first."""
        return self._names("friend", "list-friend", user)

    def unfriend(self, user: str, friend: str) -> Deferred[None]:
        """End a friendship, for both sides. Messages stay readable."""
        return self.do("unfriend", user, friend)

    def who(self, user: str) -> Deferred[tuple[Presence, ...]]:
        """The user's friends and whether they are online, those online first."""
        return self.ask("who", user).addCallback(lambda reply: reply.presences)

    def set_status(self, user: str, text: str = "") -> Deferred[None]:
        """Set the status that the user's friends see; without a text, clear it."""
        return self.do("set-status", user, text)

    def block(self, user: str, other: str) -> Deferred[None]:
        """Take nothing more from `other`; friendship and invitations end."""
        return self.do("block", user, other)

    def unblock(self, user: str, other: str) -> Deferred[None]:
        """End a block. The two are strangers then."""
        return self.do("unblock", user, other)

    def list_block(self, user: str) -> Deferred[tuple[str, ...]]:
        """The names of those whom the user has blocked, in the order blocked."""
        return self._names("block", "list-block", user)

    def post(self, user: str, text: str) -> Deferred[None]:
        """Post something for all friends of the user."""
        return self.do("post", user, text)

    def _posts(self, name: str, *arguments: str) -> Deferred[tuple[ThreadPost, ...]]:
        return self.ask(name, *arguments).addCallback(lambda reply: reply.thread_posts)

    def _number(self, name: str, *arguments: str) -> Deferred[int]:
        return self.ask(name, *arguments).addCallback(
            lambda reply: read_id(reply.members.get("post")) or 0
        )

    def new(self, user: str) -> Deferred[News]:
        """What is new for the user; nothing of it counts as read then."""
        return self.ask("new", user).addCallback(lambda reply: reply.news)

    def posts(self, user: str) -> Deferred[tuple[ThreadPost, ...]]:
        """The oldest unread posts of friends and replies, oldest first; they are read then."""
        return self._posts("posts", user)

    def my_posts(self, user: str) -> Deferred[tuple[ThreadPost, ...]]:
        """The user's own posts, latest first."""
        return self._posts("my-posts", user)

    def thread(self, user: str, post: int) -> Deferred[tuple[ThreadPost, ...]]:
        """A post and all replies, oldest first."""
        return self._posts("thread", user, str(post))

    def reply(self, user: str, post: int, text: str) -> Deferred[int]:
        """Reply to a post; gives the number of the reply."""
        return self._number("reply", user, str(post), text)

    def delete_post(self, user: str, post: int) -> Deferred[None]:
        """Delete a post of the user's, or one in a group that the user owns. Its replies stay."""
        return self.do("delete-post", user, str(post))

    def post_group(self, user: str, group: str, text: str) -> Deferred[int]:
        """Post in a group; gives the number of the post."""
        return self._number("post-group", user, group, text)

    def group_posts(self, user: str, group: str) -> Deferred[tuple[ThreadPost, ...]]:
        """The oldest unread posts of a group, oldest first; they are read then."""
        return self._posts("group-posts", user, group)

    def receive_post(self, user: str) -> Deferred[tuple[Post, ...]]:
        """The latest 1,000 posts of friends, read or not, oldest first."""
        return self.ask("receive-post", user).addCallback(lambda reply: reply.posts)

    def send(self, user: str, friend: str, text: str) -> Deferred[None]:
        """Send a message to a friend who is online."""
        return self.do("send", user, friend, text)

    def mail(self, user: str, friend: str, text: str) -> Deferred[None]:
        """Send a message to a friend, online or not."""
        return self.do("mail", user, friend, text)

    def history(self, user: str, name: str) -> Deferred[tuple[ChatMessage, ...]]:
        """The last 50 messages with the friend, or in the group, `name`, oldest first. For older
        ones use `request`, and the `more` of its reply."""
        return self.ask("history", user, name).addCallback(lambda reply: reply.messages)

    def create_group(self, user: str, group: str) -> Deferred[None]:
        """Create a group, of which the user is the owner and a member."""
        return self.do("create-group", user, group)

    def list_group(self, user: str) -> Deferred[tuple[str, ...]]:
        """The names of all groups, oldest first."""
        return self._names("group", "list-group", user)

    def list_joined(self, user: str) -> Deferred[tuple[str, ...]]:
        """The names of the user's groups, in the order joined."""
        return self._names("group", "list-joined", user)

    def join_group(self, user: str, group: str) -> Deferred[None]:
        """Join a group; a private one only by invitation."""
        return self.do("join-group", user, group)

    def leave_group(self, user: str, group: str) -> Deferred[None]:
        """Leave a group. If the owner leaves, the member who joined first owns it."""
        return self.do("leave-group", user, group)

    def list_member(self, user: str, group: str) -> Deferred[tuple[str, ...]]:
        """The names of the members of a group of the user's, in the order joined."""
        return self._names("member", "list-member", user, group)

    def send_group(self, user: str, group: str, text: str) -> Deferred[None]:
        """Send a message to all members of a group of the user's who are online."""
        return self.do("send-group", user, group, text)

    def groups(self, user: str) -> Deferred[tuple[GroupInfo, ...]]:
        """All groups, those of the user first."""
        return self.ask("groups", user).addCallback(lambda reply: reply.groups)

    def set_topic(self, user: str, group: str, topic: str) -> Deferred[None]:
        """Set the topic of a group that the user owns; an empty one removes it."""
        return self.do("set-topic", user, group, *([topic] if topic else ()))

    def close_group(self, user: str, group: str) -> Deferred[None]:
        """Let only those whom the owner, the user, invites join a group."""
        return self.do("close-group", user, group)

    def open_group(self, user: str, group: str) -> Deferred[None]:
        """Let everybody join a group that the user owns."""
        return self.do("open-group", user, group)

    def invite_group(self, user: str, group: str, other: str) -> Deferred[None]:
        """Let somebody join a group that the user owns, and tell them."""
        return self.do("invite-group", user, group, other)

    def kick(self, user: str, group: str, member: str) -> Deferred[None]:
        """Remove a member from a group that the user owns."""
        return self.do("kick", user, group, member)

    def give_group(self, user: str, group: str, member: str) -> Deferred[None]:
        """Make a member the owner of a group that the user owns."""
        return self.do("give-group", user, group, member)

    def delete_group(self, user: str, group: str) -> Deferred[None]:
        """Delete a group that the user owns, with its members, invitations and posts."""
        return self.do("delete-group", user, group)
