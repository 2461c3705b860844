"""As many rows as a bound allows, which rules would take long to make."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import peewee

from bbs.board.models import Relationship
from bbs.storage.models import User


def add(model: Any, rows: Iterable[tuple[Any, ...]], *fields: Any) -> None:
    """Add rows with these values of the fields."""
    model.insert_many(list(rows), fields=fields).execute()


def crowd(size: int) -> list[int]:
    """So many new users; their ids."""
    last = User.select(peewee.fn.MAX(User.id)).scalar() or 0
    rows = [(f"one of many {last + number}", "", "", 0.0) for number in range(size)]
    add(User, rows, User.name, User.password_hash, User.channel, User.created)
    made = User.select(User.id).where(User.id > last).order_by(User.id)
    return [number for (number,) in made.tuples()]


def relate(user: int, kind: str, others: Iterable[int], kind_of_others: str) -> None:
    """Have `user` stand to all `others` in the one way, and them to the user in the other."""
    both = [((user, other, kind), (other, user, kind_of_others)) for other in others]
    rows = [row for pair in both for row in pair]
    add(Relationship, rows, Relationship.user, Relationship.other, Relationship.kind)
