"""As many rows as a bound allows, which rules would take long to make."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import peewee

from bbs.storage.database import rows
from bbs.storage.models import Place, Server, User


def add(model: Any, values: Iterable[tuple[Any, ...]], *fields: Any) -> None:
    """Add rows with these values of the fields."""
    model.insert_many(list(values), fields=fields).execute()


def crowd(size: int, server: str | None = None) -> list[int]:
    """So many new users, with a place on `server`; their ids."""
    last = User.select(peewee.fn.MAX(User.id)).scalar() or 0
    new = [(f"one of many {last + number}", "", "", 0.0) for number in range(size)]
    add(User, new, User.name, User.password_hash, User.channel, User.created)
    made = User.select(User.id).where(User.id > last).order_by(User.id)
    users = [number for (number,) in rows(made)]
    if server is not None:
        add(Place, [(user, server) for user in users], Place.user, Place.server)
        Server.update(taken=Server.taken + size).where(Server.id == server).execute()
    return users
