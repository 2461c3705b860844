"""The command `history`, which shows again what was said before.

A conversation is two ranges of two indexes: what the caller said to a name, and what the caller
heard from that name. The history of a group is one range of a third index. Each range is read from
its end backwards, so a history costs the same however long it is. Both sides of a conversation are
found by the caller's own id, and none by the name of the other alone: a new user with a name that
another had before does not read that one's messages.
"""

from __future__ import annotations

from typing import Any

import peewee

from bbs.board.groups.errors import NoSuchTarget, NotMember
from bbs.board.groups.tables import Group, Membership
from bbs.board.lists import LAST_ID
from bbs.board.messages import errors
from bbs.board.messages.messages import COLUMNS, event
from bbs.board.messages.tables import Delivery, MessageRow
from bbs.board.people import relationships
from bbs.board.people.errors import NotFriends
from bbs.board.people.tables import Relationship
from bbs.framework import Caller, Page, Part, User, paged, read_only
from bbs.framework.fast import asks, by_index, statement, together
from bbs.framework.names import as_stored

MOST = 50  # messages of one part

WITH, IN_GROUP = "with", "in"
"""The kinds of history, before the id in a position: the next part must be of the same kind."""

Row = tuple[Any, ...]
"""A message: its `COLUMNS`, then the account that the other of its names belonged to, as far as
known, and the account that it belongs to now."""


@paged
@read_only
@asks(relationships.correspondent)
def history(caller: Caller, page: Page, name: str) -> Part:
    """The latest messages of the conversation with `name`, oldest first. If there never was one and
    `name` is not a friend, those of the caller's group of that name."""
    kind, below = page.last or ("", LAST_ID)
    if kind == IN_GROUP:
        return of_group.part(caller, page, name)
    form = as_stored(name)
    [(other, _, stands, *_)] = relationships.correspondent(caller, form)
    found = _conversation(caller.id, form, other, below)
    if found or stands == Relationship.FRIEND or kind:
        return _part(page, WITH, found)
    group, membership, _ = _membership_in(caller, name)
    if group is None and other is None:
        raise errors.NoSuchFriend()
    if membership is None and other is not None:
        raise NotFriends(name)
    return of_group.part(caller, page, name)


@paged
@read_only
def of_group(caller: Caller, page: Page, name: str) -> Part:
    """The latest messages in the caller's group `name` since the caller joined it, oldest first."""
    group, membership, after = _membership_in(caller, name)
    if group is None:
        raise NoSuchTarget()
    if membership is None:
        raise NotMember(name)
    _, below = page.last or (IN_GROUP, LAST_ID)
    if after is None:
        found = _sent_in(group, caller.id, below, MOST + 1)
    else:
        found = _said_in(group, after, below, MOST + 1)
    return _part(page, IN_GROUP, found)


def _conversation(user: int, name: str, other: int | None, below: int) -> list[Row]:
    """The latest messages before the id `below` between `user` and people who are or were called
    `name`, latest first. The account `other` has the name now."""
    found = together(
        _said.of(user, name, False, below, MOST + 1), _heard.of(user, name, below, MOST + 1)
    )
    rows = sorted((row for rows in found for row in rows), reverse=True)
    return [(*row, other) for row in rows[: MOST + 1]]


def _part(page: Page, kind: str, found: list[Row]) -> Part:
    rows = []
    for *message, account, account_now in found:
        stored = event(*message)
        former = {} if account is not None and account == account_now else {"former": True}
        rows.append(((kind, stored.id), {**stored.members, **former}))
    return page.part("history", rows, backwards=True, most=MOST)


def _membership_in(caller: Caller, name: str) -> tuple[int | None, int | None, int | None]:
    """The group `name`, the caller's membership, and the message behind which that began."""
    found = _membership(caller.id, as_stored(name, Group.name))
    return found[0] if found else (None, None, None)


@statement
def _membership(user: int, name: str) -> peewee.Select:
    own = (Membership.group == Group.id) & (Membership.user == user)
    return (
        Group.select(Group.id, Membership.id, Membership.after)
        .left_outer_join(Membership, on=own)
        .where(Group.name == name)
    )


@statement
def _said(user: int, name: str, to_group: bool, below: int, limit: int) -> peewee.Select:
    own = (
        (MessageRow.sent_by == user)
        & (MessageRow.target == name)
        & (MessageRow.to_group == to_group)
    )
    found = MessageRow.select(*COLUMNS, MessageRow.sent_to).where(own & (MessageRow.id < below))
    latest = found.order_by(MessageRow.id.desc()).limit(limit)
    return by_index(latest, MessageRow.sent_by, MessageRow.target, MessageRow.to_group)


@statement
def _heard(user: int, name: str, below: int, limit: int) -> peewee.Select:
    own = (MessageRow.sent_to == user) & (MessageRow.sender == name)
    found = MessageRow.select(*COLUMNS, MessageRow.sent_by).where(own & (MessageRow.id < below))
    latest = found.order_by(MessageRow.id.desc()).limit(limit)
    return by_index(latest, MessageRow.sent_to, MessageRow.sender)


@statement
def _said_in(group: int, after: int, below: int, limit: int) -> peewee.Select:
    said = (MessageRow.in_group == group) & (MessageRow.id > after) & (MessageRow.id < below)
    latest = _of_group().where(said).order_by(MessageRow.id.desc()).limit(limit)
    return by_index(latest, MessageRow.in_group)


@statement
def _sent_in(group: int, user: int, below: int, limit: int) -> peewee.Select:
    """The messages in the group that `user` was sent."""
    sent = Delivery.select(peewee.SQL("1")).where(
        (Delivery.user == user) & (Delivery.message == MessageRow.id)
    )
    said = (MessageRow.in_group == group) & (MessageRow.id < below)
    latest = _of_group().where(said & peewee.fn.EXISTS(sent))
    return by_index(latest.order_by(MessageRow.id.desc()).limit(limit), MessageRow.in_group)


def _of_group() -> peewee.ModelSelect[MessageRow]:
    """Messages with the account of each sender, and once more that account if it still exists."""
    sender = User.select(User.id).where(User.id == MessageRow.sent_by)
    return MessageRow.select(*COLUMNS, MessageRow.sent_by, sender)
