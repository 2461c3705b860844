"""The source of a view of a conversation: earlier messages, part by part."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from bbs.client.library import ServiceClient
from bbs.client.values import Refused, ServiceReply
from bbs.ui.talk import Partner, chat_lines, history_line
from bbs.ui.terminal.view import Part


class Back:
    """The conversation of `user`, who is logged in here, with `partner`."""

    def __init__(self, client: ServiceClient, user: str, partner: Partner) -> None:
        self._client = client
        self._user = user
        self._partner = partner

    def part(self, cursor: str | None) -> Deferred[Part]:
        """The part that a cursor is for, and the latest for None; fails with `ClientError`."""
        return Deferred.fromCoroutine(self._part(cursor))

    async def _part(self, cursor: str | None) -> Part:
        if cursor is None:
            line = history_line(self._user, self._partner)
            return self._read(await self._client.request(line, whole=False))
        return self._read(await self._client.following(self._user, cursor))

    def _read(self, reply: ServiceReply) -> Part:
        if not reply.ok:
            raise Refused(reply)
        return Part(chat_lines(self._client.vocabulary.presentation, reply), reply.cursor)
