"""Lists that come in parts.

A server bounds its replies. Where there are others, a reply has a cursor in `more`, and
`more <user> <cursor>` answers the next part (`docs/protocol.md`, section 3). Here the parts are
asked for, one after the other, and made one reply. How much of it there may be is bounded, so that
no server fills a client's memory or keeps a request going for ever; what is there by then is kept.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from bbs.client.commands import Offer
from bbs.client.routing import LocalUser, Router
from bbs.client.typed import Typed
from bbs.client.values import ClientError, NotTrusted, ServiceReply
from bbs.protocols.commands import Command, Role

MOST_BYTES = 64 * 1024 * 1024
"""Bytes on the wire of all parts of one reply, unless a client is given another figure."""

MOST_PARTS = 10_000
"""Parts of one reply: more than so many bytes are in, as servers make them."""

PATIENCE = 300.0
"""Seconds that the parts of one reply may take together."""

_WRONG = "the server answered with what is no part of it"


async def whole(
    router: Router,
    request: Typed,
    user: LocalUser | None,
    first: ServiceReply,
    most: int,
    backwards: bool,
) -> ServiceReply:
    """The reply to a request of `user` that begins with `first`, with the lists of all parts; where
    its list is `backwards`, each further part is older, and goes before those that are there.

    Where a part cannot be had, or there would be over `most` bytes, it is what there is until then,
    and has `more` and why (`ServiceReply.lacking`). Fails with `NotTrusted` as any request does.
    """
    parts = Parts(first, most, backwards)
    if user is None or not request.takes_user:
        return first
    give_up = router.clock.seconds() + PATIENCE
    while (cursor := parts.cursor) is not None:
        if router.clock.seconds() >= give_up:
            parts.end(f"it took over {PATIENCE:g} s")
            break
        try:
            part = await router.carry(following(request.role, request.user, cursor), user)
        except NotTrusted:
            raise
        except ClientError as problem:
            parts.end(str(problem))
        else:
            parts.add(part)
    return parts.together


class Parts:
    """The parts of one reply that have come so far."""

    def __init__(self, first: ServiceReply, most: int, backwards: bool = False) -> None:
        self._first = first
        self._backwards = backwards
        self._name = first.list_name
        self._most = most
        self._size = 0
        self._lists: list[list[object]] = []
        self._asked: set[str] = set()
        self._more: object = None
        self._lacking = ""
        self.cursor: str | None = None
        """By which the next is to be asked for; None when there is none, or none can be had."""
        self._take(first)

    def add(self, part: ServiceReply) -> None:
        """The next part has come, or why it cannot be had."""
        size = self._size + part.size
        if not part.ok:
            self.end(part.message or "the server refused it")
        elif part.list_name != self._name:
            self.end(_WRONG)
        elif size > self._most:
            self.end(f"there are over {_mebibytes(self._most)}")
        else:
            self._take(part)

    def end(self, why: str) -> None:
        """No further part can be had."""
        self._lacking = why
        self.cursor = None

    def _take(self, part: ServiceReply) -> None:
        self._lists.append(_list(part))
        self._size += part.size
        self._more = part.members.get("more")
        self.cursor = part.cursor
        if self.cursor is None or self._name is None:
            # By a first part alone it is not known that its `more` is meant so.
            self.end(_WRONG if self._asked and self._more else "")
        elif self.cursor in self._asked:
            self.end("the server repeats itself")
        elif self._size >= self._most:
            self.end(f"there are over {_mebibytes(self._most)}")
        elif len(self._lists) >= MOST_PARTS:
            self.end(f"there are over {MOST_PARTS} parts")
        else:
            self._asked.add(self.cursor)

    @property
    def together(self) -> ServiceReply:
        """One reply with the lists of all, as if it had come so."""
        if self._name is None or len(self._lists) == 1:
            return replace(self._first, size=self._size, lacking=self._lacking)
        members = {name: value for name, value in self._first.members.items() if name != "more"}
        lists = reversed(self._lists) if self._backwards else self._lists
        members[self._name] = [each for part in lists for each in part]
        if self._more:
            members["more"] = self._more
        return replace(self._first, members=members, size=self._size, lacking=self._lacking)


def _list(reply: ServiceReply) -> list[object]:
    found = reply.members.get(reply.list_name or "")
    return found if isinstance(found, list) else []


def _mebibytes(size: int) -> str:
    return f"{size / 1048576:.3g} MiB"


@lru_cache
def _offers(role: Role) -> dict[str, Offer]:
    return {"more": Offer(Command("more <user> <cursor>", role), harmless=True)}


def following(role: Role, user: str, cursor: str) -> Typed:
    """The request for the part of a user's list that a cursor is for."""
    return Typed.parse(f"more {user} {cursor}", _offers(role))
