"""What the board's step to version 3 finds out of what is there: whose messages are whose, and
since when who is a member. All of it may be done twice, and be cut off anywhere: each change
follows from other rows alone. Much is changed in pieces, as on MySQL each is committed by itself,
and servers of version 2 go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator

import peewee

from bbs.board.models import Delivery, Group, Membership, Message
from bbs.board.pieces import pieces
from bbs.framework import User, rows

MESSAGES_AT_ONCE = 5000
"""Ids of messages that one statement changes, or looks through."""

MEMBERS_AT_ONCE = 250
"""Memberships that one statement changes; SQLite has a limit on how deep an expression is."""


def whose_messages() -> None:
    """`Message.sent_by`, `sent_to` and `in_group`.

    The sender is who has the name, if that account was there before the message: else the one who
    sent it is gone. A direct message has one delivery, until its reader deletes the account. Groups
    stay for ever.
    """
    sender = User.select(User.id).where(
        (User.name == Message.sender) & (User.created <= Message.stored)
    )
    reader = Delivery.select(peewee.fn.MIN(Delivery.user)).where(Delivery.message == Message.id)
    group = Group.select(Group.id).where(Group.name == Message.target)
    for low, high in _ranges():
        Message.update(
            sent_by=sender,
            sent_to=peewee.Case(None, [(Message.to_group, None)], reader),
            in_group=peewee.Case(None, [(Message.to_group, group)]),
        ).where((Message.id >= low) & (Message.id < high)).execute()


def since_when_members() -> None:
    """`Membership.after` of those who are members: what came before the first that they were sent
    in the group; of who was sent nothing, all there is."""
    [(newest,)] = rows(Message.select(peewee.fn.MAX(Message.id)))
    first: dict[tuple[int, int], int] = {}
    for low, high in _ranges():
        sent = (
            Delivery.select(Delivery.user, Message.in_group, peewee.fn.MIN(Message.id))
            .join(Message)
            .where((Message.id >= low) & (Message.id < high) & Message.in_group.is_null(False))
            .group_by(Delivery.user, Message.in_group)
        )
        for user, group, message in rows(sent):
            first.setdefault((user, group), message)
    members = rows(Membership.select(Membership.id, Membership.user, Membership.group))
    for some in pieces(members, MEMBERS_AT_ONCE):
        after = [
            (number, first.get((user, group), (newest or 0) + 1) - 1)
            for number, user, group in some
        ]
        Membership.update(after=peewee.Case(Membership.id, after)).where(
            Membership.id.in_([number for number, _ in after])
        ).execute()


def _ranges() -> Iterator[tuple[int, int]]:
    """All ids of messages in pieces, lowest first: from the first on, before the second."""
    [(low, high)] = rows(Message.select(peewee.fn.MIN(Message.id), peewee.fn.MAX(Message.id)))
    for first in range(low, high + 1, MESSAGES_AT_ONCE) if low is not None else ():
        yield first, first + MESSAGES_AT_ONCE
