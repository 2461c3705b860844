"""Of whose invitations people were told lately, and from where these came.

Rates count for an account. Who deletes theirs, registers again and invites begins each rate anew:
63 times in 4 seconds. What is noted here outlives the inviter's account, so nobody is told twice of
a name within `QUIET`, of more than `MOST_FROM_A_NETWORK` people at one address, or of more than
`MOST_IN_ALL`. The invitation is stored all the same, and waits to be seen: neighbours of an
attacker lose the event, and no invitation.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import peewee

from bbs.board.lists import LENGTHS, padded
from bbs.board.people.tables import Heard
from bbs.framework import Caller, Place
from bbs.framework.fast import statement
from bbs.framework.names import normalized

QUIET = 3600.0
"""Seconds after somebody was told of an invitation in which the same inviter tells them nothing
again, unless they accept it: `invite`, `block` and `unblock` in a loop told 89 times a second."""

MOST_FROM_A_NETWORK = 20
"""People at one address of whose invitations somebody is told within `QUIET`: as many as a class at
school, and no flood. Addresses count as where a place was taken (`Place.origin`); those of trusted
networks have none."""

MOST_IN_ALL = 100  # As many invitations as may wait for somebody.

FORGOTTEN_AT_ONCE = LENGTHS[-1]  # rows that one sweep removes


def look(caller: Caller, user: int) -> Any:
    """A statement whose result `is_due` takes."""
    return _lately.of(user, caller.id, caller.now - QUIET, caller.now + QUIET, MOST_IN_ALL)


def is_due(caller: Caller, lately: Sequence[Any]) -> bool:
    """Whether somebody is told of an invitation of the caller's."""
    own = _digest(caller.name)
    near = [origin for _, origin, callers in lately if origin and origin == callers]
    return (
        len(lately) < MOST_IN_ALL
        and len(near) < MOST_FROM_A_NETWORK
        and all(name != own for name, *_ in lately)
    )


def note(caller: Caller, user: int) -> Any:
    """A statement that notes that `user` is told of an invitation of the caller's."""
    return _note.of(user, _digest(caller.name), caller.now, caller.id)


def forget_name(user: int, name: str) -> Any:
    """A statement that lets `user` be told of `name` again."""
    return _forget_name.of(user, _digest(name))


def forget(now: float) -> int:
    """Forget some of what no longer matters; returns how much."""
    old = [id for (id,) in _before(now - QUIET, FORGOTTEN_AT_ONCE)]
    if old:
        _remove(padded(old))
    return len(old)


def _digest(name: str) -> str:
    return blake2b(normalized(name).encode("utf-8", "replace"), digest_size=16).hexdigest()


@statement
def _lately(user: int, caller: int, since: float, until: float, limit: int) -> peewee.Select:
    """The names and networks of invitations that `user` was told of in this time, each with the
    caller's own network."""
    own = Place.select(Place.origin).where(Place.user == caller)
    found = Heard.select(Heard.name, Heard.origin, own)
    # Times ahead are from a clock that was set back since, or from another machine.
    return found.where((Heard.user == user) & (Heard.at > since) & (Heard.at < until)).limit(limit)


@statement
def _note(user: int, name: str, now: float, caller: int) -> peewee.Insert:
    values = (peewee.Value(user), peewee.Value(name), Place.origin, peewee.Value(now))
    row = Place.select(*values).where(Place.user == caller)
    return Heard.insert_from(row, (Heard.user, Heard.name, Heard.origin, Heard.at))


@statement
def _forget_name(user: int, name: str) -> peewee.Delete:
    return Heard.delete().where((Heard.user == user) & (Heard.name == name))


@statement
def _before(moment: float, limit: int) -> peewee.Select:
    return Heard.select(Heard.id).where(Heard.at < moment).limit(limit)


@statement
def _remove(ids: Sequence[int]) -> peewee.Delete:
    return Heard.delete().where(Heard.id.in_(ids))
