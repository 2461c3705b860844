"""Presence of users, as app servers store it: unused places, and sessions of listeners."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import peewee

from bbs.rules.placement import SERVING, Seat, is_row_away, seat_of
from bbs.storage.database import for_update, read_only
from bbs.storage.models import Place, Server, Session, User
from bbs.storage.statements import statement

T = TypeVar("T")

AT_ONCE = 500  # Users or sessions in one statement at most.


@read_only
def held_at(server: str) -> dict[int, int]:
    """The users who have a place on `server`, each with `Place.asked`."""
    return dict(_held_at(server))


def leave_unused(server: str, seen: Mapping[int, int]) -> list[int]:
    """Give back the places on `server` whose `Place.asked` is still as `seen` (by `held_at`).
    Returns their users, who are away now."""
    users = []
    for some in _chunks([*seen]):
        users += [
            user for user, at, asked in _held_locked(some) if (at, asked) == (server, seen[user])
        ]
    for some in _chunks(users):
        _go_away(some)
    if users:
        _count_fewer(server, len(users))
    return users


@statement
def _held_at(server: str) -> peewee.Select:
    return Place.select(Place.user, Place.asked).where(Place.server == server)


@statement
def _held_locked(users: Sequence[int]) -> peewee.Select:
    # By users alone, so that a MySQL locks these rows and no others of the server.
    return for_update(
        Place.select(Place.user, Place.server, Place.asked)
        .where(Place.user.in_(users))
        .order_by(Place.user)
    )


@statement
def _go_away(users: Sequence[int]) -> peewee.Update:
    return Place.update(server=None, away=True).where(Place.user.in_(users))


@statement
def _count_fewer(server: str, people: int) -> peewee.Update:
    return Server.update(taken=Server.taken - people).where(Server.id == server)


@dataclass(frozen=True)
class SessionStanding:
    """The place of the user of a live session."""

    seat: Seat | None  # None for a user who waits or is away.
    away: bool = False  # Without a place until the next command.


@read_only
def standings(sessions: Collection[str]) -> dict[str, SessionStanding]:
    """Find the live ones of these sessions (digests of tokens), and the places of their users."""
    found = {}
    for some in _chunks([*sessions]):
        for session, away, server, host, port, state in _standings(some):
            seat = seat_of(server, host, port) if state in SERVING else None
            found[session] = SessionStanding(seat, is_row_away(server, away))
    return found


def note_seen(moments: Mapping[int, float]) -> None:
    """Store when users were last seen (seconds since the epoch)."""
    _note_seen.many((moment, user) for user, moment in sorted(moments.items()))


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


def renew(sessions: Sequence[str], now: float) -> None:
    """Store that at most `AT_ONCE` sessions are in use; not `User.seen`, as users may be absent."""
    _renew(sessions, now)


@statement
def _renew(sessions: Sequence[str], now: float) -> peewee.Update:
    return Session.update(used=now).where(Session.digest.in_(sessions))


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for begin in range(0, len(items), AT_ONCE):
        yield items[begin : begin + AT_ONCE]
