"""What the client's commands say, by name: the methods of `BBSClient` for each."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from bbs.addresses import Address
from bbs.client.familiar import HISTORIES
from bbs.client.typed import Typed, typed
from bbs.client.values import ChatMessage, Incomplete, Post, Presence, Refused, Reply


class Methods:
    """A method for each command that this client is written for (`bbs.client.familiar`)."""

    async def _request(self, request: Typed, whole: bool = True) -> Reply:
        """The reply to a request, whether it says yes or no."""
        raise NotImplementedError

    def _ask(self, name: str, *arguments: str) -> Deferred[Reply]:
        return Deferred.fromCoroutine(self._granted(typed(name, *arguments)))

    async def _granted(self, request: Typed) -> Reply:
        reply = await self._request(request)
        if not reply.ok:
            raise Refused(reply)
        if reply.has_more and request.name not in HISTORIES:
            raise Incomplete(reply)
        return reply

    def _do(self, name: str, *arguments: str) -> Deferred[None]:
        return self._ask(name, *arguments).addCallback(lambda reply: None)

    def _names(self, member: str, name: str, *arguments: str) -> Deferred[tuple[str, ...]]:
        return self._ask(name, *arguments).addCallback(lambda reply: reply.names(member))

    def register(self, name: str, password: str) -> Deferred[None]:
        return self._do("register", name, password)

    def login(self, name: str, password: str) -> Deferred[None]:
        """Log a user in; may take minutes, while an app server is started for that."""
        return self._do("login", name, password)

    def change_password(self, user: str, old: str, new: str) -> Deferred[None]:
        """All other sessions of the user end; this one stays."""
        return self._do("change-password", user, old, new)

    def logout(self, user: str) -> Deferred[None]:
        return self._do("logout", user)

    def delete(self, user: str) -> Deferred[None]:
        return self._do("delete", user)

    def locate(self, user: str) -> Deferred[Address]:
        """Where the user is served now."""
        return self._ask("locate", user).addCallback(lambda reply: reply.app_server)

    def invite(self, user: str, friend: str) -> Deferred[None]:
        return self._do("invite", user, friend)

    def list_invite(self, user: str) -> Deferred[tuple[str, ...]]:
        return self._names("invite", "list-invite", user)

    def accept_invite(self, user: str, friend: str) -> Deferred[None]:
        return self._do("accept-invite", user, friend)

    def decline_invite(self, user: str, friend: str) -> Deferred[None]:
        return self._do("decline-invite", user, friend)

    def list_friend(self, user: str) -> Deferred[tuple[str, ...]]:
        return self._names("friend", "list-friend", user)

    def unfriend(self, user: str, friend: str) -> Deferred[None]:
        return self._do("unfriend", user, friend)

    def who(self, user: str) -> Deferred[tuple[Presence, ...]]:
        """The user's friends and whether they are there, those online first."""
        return self._ask("who", user).addCallback(lambda reply: reply.presences)

    def block(self, user: str, other: str) -> Deferred[None]:
        """Take nothing from somebody any more; friendship and invitations end."""
        return self._do("block", user, other)

    def unblock(self, user: str, other: str) -> Deferred[None]:
        return self._do("unblock", user, other)

    def list_block(self, user: str) -> Deferred[tuple[str, ...]]:
        return self._names("block", "list-block", user)

    def post(self, user: str, text: str) -> Deferred[None]:
        return self._do("post", user, text)

    def receive_post(self, user: str) -> Deferred[tuple[Post, ...]]:
        return self._ask("receive-post", user).addCallback(lambda reply: reply.posts)

    def send(self, user: str, friend: str, text: str) -> Deferred[None]:
        return self._do("send", user, friend, text)

    def history(self, user: str, name: str) -> Deferred[tuple[ChatMessage, ...]]:
        """The last 50 messages of a conversation with a friend or in a group, oldest first; what is
        older is to be had by `request` and the `more` of its reply."""
        return self._ask("history", user, name).addCallback(lambda reply: reply.messages)

    def create_group(self, user: str, group: str) -> Deferred[None]:
        return self._do("create-group", user, group)

    def list_group(self, user: str) -> Deferred[tuple[str, ...]]:
        return self._names("group", "list-group", user)

    def list_joined(self, user: str) -> Deferred[tuple[str, ...]]:
        return self._names("group", "list-joined", user)

    def join_group(self, user: str, group: str) -> Deferred[None]:
        return self._do("join-group", user, group)

    def leave_group(self, user: str, group: str) -> Deferred[None]:
        return self._do("leave-group", user, group)

    def list_member(self, user: str, group: str) -> Deferred[tuple[str, ...]]:
        return self._names("member", "list-member", user, group)

    def send_group(self, user: str, group: str, text: str) -> Deferred[None]:
        return self._do("send-group", user, group, text)

    def ping(self) -> Deferred[None]:
        """Ask the login server for a sign of life."""
        return self._do("ping")
