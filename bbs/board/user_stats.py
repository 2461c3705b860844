"""Counts of what the board has of one user: what waits at a login, and all of it for operators.

Nothing here reads a text of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping

import peewee

from bbs.board.models import Block, Delivery, Inbox, Membership, Message, Relationship
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


def of_person(user: int) -> Mapping[str, int]:
    """How many friends, invitations that wait for an answer of this user's or of others, posts,
    groups, people blocked, and messages that are kept; and the bytes of those that wait."""
    kinds: dict[str, int] = dict(_relationships(user))
    ((posts, waiting),) = _kept(user) or ((0, 0),)
    return {
        "friends": kinds.get(Relationship.FRIEND, 0),
        "invitations": kinds.get(Relationship.INVITED_BY, 0),
        "invited": kinds.get(Relationship.INVITED, 0),
        "posts": posts,
        "groups": _groups(user)[0][0],
        "blocked": _blocks(user)[0][0],
        "messages_sent": _sent(user)[0][0],
        "messages_received": _received(user)[0][0],
        "waiting_bytes": waiting,
    }


@statement
def _relationships(user: int) -> peewee.Select:
    return (
        Relationship.select(Relationship.kind, peewee.fn.COUNT(Relationship.id))
        .where(Relationship.user == user)
        .group_by(Relationship.kind)
    )


@statement
def _kept(user: int) -> peewee.Select:
    return Inbox.select(Inbox.posts, Inbox.waiting).where(Inbox.user == user)


@statement
def _groups(user: int) -> peewee.Select:
    return Membership.select(peewee.fn.COUNT(Membership.id)).where(Membership.user == user)


@statement
def _blocks(user: int) -> peewee.Select:
    return Block.select(peewee.fn.COUNT(Block.id)).where(Block.user == user)


@statement
def _sent(user: int) -> peewee.Select:
    return Message.select(peewee.fn.COUNT(Message.id)).where(Message.sent_by == user)


@statement
def _received(user: int) -> peewee.Select:
    return Delivery.select(peewee.fn.COUNT(Delivery.message)).where(Delivery.user == user)
