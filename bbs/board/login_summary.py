"""What waits for somebody who logs in: invitations, and messages that nobody has read."""

from __future__ import annotations

from collections.abc import Mapping

import peewee

from bbs.board.models import Delivery, Inbox, Message, Relationship
from bbs.framework import statement, together

MOST_COUNTED = 1000
"""Of more, nobody needs to know how many there are."""


def on_login(user: int, seen: float | None) -> Mapping[str, object]:
    """`waiting`, a member of the reply to `login`.

    The messages are those that no connection of the user was sent, and those that came since the
    user was last there: a connection that somebody left open elsewhere swallows nothing. `after` is
    the id behind which they begin, for `listen`.
    """
    asked = [_delivered.of(user), _invitations.of(user, Relationship.INVITED_BY, MOST_COUNTED)]
    if seen is not None:
        asked.append(_first_since.of(seen))
    delivered, [(invitations,)], *since = together(*asked)
    after: int = min((row[0] for row in [*delivered, *_before(since)]), default=0)
    [(messages,)] = _behind(user, after, MOST_COUNTED)
    return {"waiting": {"invitations": invitations, "messages": messages, "after": after}}


def _before(since: list[list[tuple[int]]]) -> list[tuple[int]]:
    return [(first - 1,) for rows in since for (first,) in rows]


@statement
def _delivered(user: int) -> peewee.Select:
    return Inbox.select(Inbox.delivered).where(Inbox.user == user)


@statement
def _invitations(user: int, kind: str, most: int) -> peewee.Select:
    some = (
        Relationship.select(peewee.SQL("1"))
        .where((Relationship.user == user) & (Relationship.kind == kind))
        .limit(most)
    )
    return _counted(Relationship, some)


@statement
def _first_since(seen: float) -> peewee.Select:
    """The first message of anybody's since then. Ids and stamps need not rise together, as each
    server has its own clock: one more or less is told twice, and none of those not delivered is
    lost."""
    return (
        Message.select(Message.id).where(Message.stored >= seen).order_by(Message.stored).limit(1)
    )


@statement
def _behind(user: int, after: int, most: int) -> peewee.Select:
    some = (
        Delivery.select(peewee.SQL("1"))
        .where((Delivery.user == user) & (Delivery.message > after))
        .limit(most)
    )
    return _counted(Delivery, some)


def _counted(model: type[Relationship | Delivery], some: peewee.Select) -> peewee.Select:
    counted: peewee.Select = model.select(peewee.fn.COUNT(peewee.SQL("1"))).from_(
        some.alias("some")
    )
    return counted
