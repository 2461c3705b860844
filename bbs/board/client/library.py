"""The client library with a method for each of the board's commands: `BBSClient`.

client = BBSClient(reactor, Address("127.0.0.1", 22222))
await client.login("ann", "secret")
await client.listen("ann", lambda user, message: print(message.sender, message.text))
await client.send("ann", "bob", "hello")
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from bbs.board.client.face import face
from bbs.board.client.legacy import LEGACY
from bbs.board.client.replies import Post, Presence, Reply
from bbs.client import ChatMessage, ServiceClient


class BBSClient(ServiceClient[Reply]):
    """The board, for any number of users at once: a `ServiceClient` with the board's commands.

    A server that lacks one of them refuses it, as those of version 0.1.0 do.
    """

    presentation = face
    commands = (*LEGACY.first, *LEGACY.later)
    reply_class = Reply

    def _names(self, member: str, name: str, *arguments: str) -> Deferred[tuple[str, ...]]:
        return self.ask(name, *arguments).addCallback(lambda reply: reply.names(member))

    def invite(self, user: str, friend: str) -> Deferred[None]:
        return self.do("invite", user, friend)

    def list_invite(self, user: str) -> Deferred[tuple[str, ...]]:
        return self._names("invite", "list-invite", user)

    def accept_invite(self, user: str, friend: str) -> Deferred[None]:
        return self.do("accept-invite", user, friend)

    def decline_invite(self, user: str, friend: str) -> Deferred[None]:
        return self.do("decline-invite", user, friend)

    def list_friend(self, user: str) -> Deferred[tuple[str, ...]]:
        return self._names("friend", "list-friend", user)

    def unfriend(self, user: str, friend: str) -> Deferred[None]:
        return self.do("unfriend", user, friend)

    def who(self, user: str) -> Deferred[tuple[Presence, ...]]:
        """The user's friends and whether they are there, those online first."""
        return self.ask("who", user).addCallback(lambda reply: reply.presences)

    def block(self, user: str, other: str) -> Deferred[None]:
        """Take nothing from somebody any more; friendship and invitations end."""
        return self.do("block", user, other)

    def unblock(self, user: str, other: str) -> Deferred[None]:
        return self.do("unblock", user, other)

    def list_block(self, user: str) -> Deferred[tuple[str, ...]]:
        return self._names("block", "list-block", user)

    def post(self, user: str, text: str) -> Deferred[None]:
        return self.do("post", user, text)

    def receive_post(self, user: str) -> Deferred[tuple[Post, ...]]:
        return self.ask("receive-post", user).addCallback(lambda reply: reply.posts)

    def send(self, user: str, friend: str, text: str) -> Deferred[None]:
        return self.do("send", user, friend, text)

    def history(self, user: str, name: str) -> Deferred[tuple[ChatMessage, ...]]:
        """The last 50 messages of a conversation with a friend or in a group, oldest first; what is
        older is to be had by `request` and the `more` of its reply."""
        return self.ask("history", user, name).addCallback(lambda reply: reply.messages)

    def create_group(self, user: str, group: str) -> Deferred[None]:
        return self.do("create-group", user, group)

    def list_group(self, user: str) -> Deferred[tuple[str, ...]]:
        return self._names("group", "list-group", user)

    def list_joined(self, user: str) -> Deferred[tuple[str, ...]]:
        return self._names("group", "list-joined", user)

    def join_group(self, user: str, group: str) -> Deferred[None]:
        return self.do("join-group", user, group)

    def leave_group(self, user: str, group: str) -> Deferred[None]:
        return self.do("leave-group", user, group)

    def list_member(self, user: str, group: str) -> Deferred[tuple[str, ...]]:
        return self._names("member", "list-member", user, group)

    def send_group(self, user: str, group: str, text: str) -> Deferred[None]:
        return self.do("send-group", user, group, text)
