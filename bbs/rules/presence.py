"""Presence of users, as app servers store it: unused places, and sessions of listeners. Login
servers read it when all servers are full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from typing import Any

import peewee

from bbs.core.addresses import networks, outweighs, weight
from bbs.core.values import State
from bbs.rules.placement import SERVING, Seat, UnusedPlace, chunked, is_row_away, seat_of
from bbs.storage.database import long_read, read_only
from bbs.storage.models import Place, Server, Session, User
from bbs.storage.statements import statement

SILENT = 120.0
"""Seconds without a stored use of a session, after which its user neither listens nor has asked for
a minute: app servers store the use of a listening session every 30 s, and of another's when it is
off by 60 s (`auth.MOST_SLACK`)."""

HERE = 300.0  # Seconds after a request in which its user counts as here.

MOST_UNUSED = 100
"""Unused places that a login server considers at a time, those of the greediest networks."""


def last_use() -> Any:
    """A column for a query on `User`: the last stored use of the user's sessions, for `is_here`."""
    return Session.select(peewee.fn.MAX(Session.used)).where(Session.user == User.id)


def is_here(now: float, seen: float | None, used: float | None) -> bool:
    """Whether a user with a session listens `now`, or has sent a request within 300 seconds, by
    `seen` (`User.seen`) and `used` (`last_use`), all in seconds since the epoch. Requests are
    stored to a minute. A listener counts as here until 120 seconds after the last note that the
    client listens."""
    # A time in the future is from a clock that was set since, or from another machine.
    return abs(now - (seen or 0.0)) < HERE or abs(now - (used or 0.0)) < SILENT


@read_only
def held_at(server: str) -> dict[int, int]:
    """The users who have a place on `server`, each with `Place.asked`."""
    return dict(_held_at(server))


@statement
def _held_at(server: str) -> peewee.Select:
    return Place.select(Place.user, Place.asked).where(Place.server == server)


@dataclass(eq=False)
class Crowd:
    """The places of a fleet without room: `counts` by all networks, and those that are `unused`."""

    counts: Counter[str]
    unused: list[UnusedPlace]

    def give_way(self, origin: str) -> UnusedPlace | None:
        """Choose the place for a newcomer from `origin`, of the network that has the most places:
        the longest unused that is not of the newcomer's own network. None if there is none, or the
        newcomer's network would then have as many."""
        found = [place for place in self.unused if outweighs(self.counts, place.origin, origin)]
        if not found:
            return None
        chosen = max(found, key=self._greed)
        self.unused.remove(chosen)
        self.counts.subtract(networks(chosen.origin))
        self.counts.update(networks(origin) if origin else ())
        return chosen

    def _greed(self, place: UnusedPlace) -> tuple[tuple[int, ...], float]:
        return weight(self.counts, place.origin), -place.used


@long_read
def crowd(now: float) -> Crowd:
    """Find who has the places, and who does not use them."""
    counts: Counter[str] = Counter()
    unused = []
    for user, server, asked, origin, used in _places():
        counts.update(networks(origin))
        if (used or 0.0) < now - SILENT:
            unused.append(UnusedPlace(user, server, asked, origin, used or 0.0))
    found = Crowd(counts, unused)
    found.unused = nlargest(MOST_UNUSED, unused, key=found._greed)
    return found


@statement
def _places() -> peewee.Select:
    """All places that have an origin, with the last use of their users' sessions."""
    used = Session.select(peewee.fn.MAX(Session.used)).where(Session.user == Place.user)
    return (
        Place.select(Place.user, Place.server, Place.asked, Place.origin, used)
        .join(Server)
        .where((Server.state == State.READY) & (Place.origin != ""))
    )


@dataclass(frozen=True)
class SessionStanding:
    """The place of the user of a live session."""

    seat: Seat | None  # None for a user who waits or is away.
    away: bool = False  # Without a place until the next command.


@read_only
def standings(sessions: Collection[str]) -> dict[str, SessionStanding]:
    """Find the live ones of these sessions (digests of tokens), and the places of their users."""
    found = {}
    for some in chunked([*sessions]):
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
