"""Relationships between two people: the questions that rules ask first, and how they end."""

from __future__ import annotations

from typing import Any

import peewee

from bbs.board.people.tables import Block, Relationship
from bbs.framework import Place, User
from bbs.framework.fast import question, statement, together


@question
def correspondent(query: peewee.ModelSelect[User], name: str) -> peewee.Select:
    """The person called `name`: the id and the channel, the caller's relationship to them, their id
    once more if they are online, an id if they have blocked the caller, the server of their place,
    and an id if the caller has blocked them. What does not apply is None, and all is if nobody has
    the name."""
    other, own = User.alias(), Block.alias()
    found: peewee.Select = (
        with_correspondent(query, name, other, Place.alias())
        .select_extend(own.id)
        .left_outer_join(own, on=((own.user == User.id) & (own.other == other.id)))
    )
    return found


def with_correspondent(query: Any, name: str, other: Any, place: Any) -> Any:
    """The question of `correspondent` without its last column; the caller may add more about
    `other`."""
    theirs = Block.alias()
    return (
        query.select_extend(
            other.id, other.channel, Relationship.kind, place.user, theirs.id, place.server
        )
        .left_outer_join(other, on=(other.name == name))
        .left_outer_join(
            Relationship, on=((Relationship.user == User.id) & (Relationship.other == other.id))
        )
        .left_outer_join(place, on=(place.user == other.id))
        .left_outer_join(theirs, on=((theirs.user == other.id) & (theirs.other == User.id)))
    )


@statement
def kind_of(user: int, other: int) -> peewee.Select:
    """The relationship of `user` to `other`; no row if they are strangers."""
    return Relationship.select(Relationship.kind).where(
        (Relationship.user == user) & (Relationship.other == other)
    )


def are_friends(user_id: int, other_id: int) -> bool:
    """Whether the users `user_id` and `other_id` (`User.id`) are friends."""
    return [*kind_of(user_id, other_id)] == [(Relationship.FRIEND,)]


def end(user: int, kind: str, other: int, others_kind: str, *notes: Any) -> bool:
    """End a relationship, for both sides, and execute the statements `notes`; returns whether there
    was one."""
    both = (_remove.of(user, kind, other), _remove.of(other, others_kind, user))
    found, *_ = together(*both, *notes)
    return bool(found)


def end_all(user: int, other: int) -> None:
    together(_remove_any.of(user, other), _remove_any.of(other, user))


@statement
def _remove(user: int, kind: str, other: int) -> peewee.Delete:
    return Relationship.delete().where(
        (Relationship.user == user) & (Relationship.other == other) & (Relationship.kind == kind)
    )


@statement
def _remove_any(user: int, other: int) -> peewee.Delete:
    return Relationship.delete().where((Relationship.user == user) & (Relationship.other == other))
