"""What the board counts of one person, for operators: how much of what, and never a text."""

from __future__ import annotations

from collections.abc import Mapping

import peewee

from bbs.board.models import Block, Delivery, Inbox, Membership, Message, Relationship
from bbs.framework import statement


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
