"""Who is there, of those who have a place on an app server, and whose sessions live: what the app
server that serves them knows and the database is to know."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import peewee

from bbs.rules.placement import SERVING, Seat, says_away, seat_of
from bbs.storage.database import for_update, read_only
from bbs.storage.models import Place, Server, Session, User
from bbs.storage.statements import statement

T = TypeVar("T")

AT_ONCE = 500
"""People, or sessions, whom one statement names at the most."""


# --- places ---


@read_only
def held_at(server: str) -> dict[int, int]:
    """Who has a place on `server`, and each one's `Place.asked`."""
    return dict(_held_at(server))


def leave_unused(server: str, seen: Mapping[int, int]) -> list[int]:
    """Give back the places of those on `server` who have not asked for theirs since they were
    `seen`, as in `held_at`: they are away. Returns who they are."""
    users = []
    for some in _parts([*seen]):
        users += [
            user for user, at, asked in _held_locked(some) if (at, asked) == (server, seen[user])
        ]
    for some in _parts(users):
        _go_away(some)
    if users:
        _count_fewer(server, len(users))
    return users


@statement
def _held_at(server: str) -> peewee.Select:
    return Place.select(Place.user, Place.asked).where(Place.server == server)


@statement
def _held_locked(users: Sequence[int]) -> peewee.Select:
    # By their users alone, so that a MySQL locks these rows and no others of the server's.
    query: peewee.Select = for_update(
        Place.select(Place.user, Place.server, Place.asked)
        .where(Place.user.in_(users))
        .order_by(Place.user)
    )
    return query


@statement
def _go_away(users: Sequence[int]) -> peewee.Update:
    return Place.update(server=None, away=True).where(Place.user.in_(users))


@statement
def _count_fewer(server: str, people: int) -> peewee.Update:
    return Server.update(taken=Server.taken - people).where(Server.id == server)


# --- sessions of those who listen ---


@dataclass(frozen=True)
class SessionStanding:
    """Where the user of a session that lives is served: at a `seat`, or nowhere yet; or, `away`,
    at none until there is a command."""

    seat: Seat | None
    away: bool = False


@read_only
def standings(sessions: Collection[str]) -> dict[str, SessionStanding]:
    """Of these sessions (digests of their tokens) those that live, and where their users are."""
    found = {}
    for some in _parts([*sessions]):
        for session, away, server, host, port, state in _standings(some):
            seat = seat_of(server, host, port) if state in SERVING else None
            found[session] = SessionStanding(seat, says_away(server, away))
    return found


def note_seen(moments: Mapping[int, float]) -> None:
    """Users were there at these moments (seconds since the epoch)."""
    _note_seen.many((moment, user) for user, moment in sorted(moments.items()))


def keep(sessions: Sequence[str], now: float) -> None:
    """These sessions, `AT_ONCE` at the most, are in use. `User.seen` stays as it is: nobody need
    sit there."""
    _keep(sessions, now)


@statement
def _standings(sessions: Sequence[str]) -> peewee.Select:
    return (
        Session.select(
            Session.digest, Place.away, Server.id, Server.host, Server.port, Server.state
        )
        .join(Place, on=(Place.user == Session.user))
        .join(Server, peewee.JOIN.LEFT_OUTER, on=(Place.server == Server.id))
        .where(Session.digest.in_(sessions))
    )


@statement
def _note_seen(moment: float, user: int) -> peewee.Update:
    return User.update(seen=moment).where((User.id == user) & (User.seen < moment))


@statement
def _keep(sessions: Sequence[str], now: float) -> peewee.Update:
    return Session.update(used=now).where(Session.digest.in_(sessions))


def _parts(those: Sequence[T]) -> Iterator[Sequence[T]]:
    for begin in range(0, len(those), AT_ONCE):
        yield those[begin : begin + AT_ONCE]
