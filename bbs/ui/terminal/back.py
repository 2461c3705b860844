"""What a view of a conversation is made of: the service's `history`, part by part."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from bbs.client.library import BBSClient
from bbs.client.values import Refused, Reply
from bbs.ui.talk import Talk, history_line
from bbs.ui.terminal.view import Part


class Back:
    """The conversation of `user`, who is logged in here, with `partner`."""

    def __init__(self, client: BBSClient, user: str, partner: Talk) -> None:
        self._client = client
        self._user = user
        self._partner = partner

    def part(self, cursor: str | None) -> Deferred[Part]:
        """The part that a cursor is for, and the latest for None; fails with `ClientError`."""
        return Deferred.fromCoroutine(self._part(cursor))

    async def _part(self, cursor: str | None) -> Part:
        if cursor is None:
            line = history_line(self._user, self._partner)
            return _read(await self._client.request(line, whole=False))
        return _read(await self._client.following(self._user, cursor))


def _read(reply: Reply) -> Part:
    if not reply.ok:
        raise Refused(reply)
    return Part(reply.messages, reply.cursor)
