"""Places: which app server a user is served by. No server is ever taken by more than its capacity.

A place is taken in the transaction that checks that there is one, and the check is the statement
that takes it, so two login servers can never overfill an app server.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import peewee

from bbs.addresses import Address
from bbs.errors import NotLoggedIn
from bbs.storage.database import for_update, read_only, rows
from bbs.storage.models import Place, Server, User, Waiter
from bbs.values import State

SERVING = (State.READY, State.DRAINING)
"""States of a server that serves its people; only a ready one takes more."""

SETTLED_AT_ONCE = 100
"""People at the most who are found places in one transaction, so that nobody waits long for it."""


@dataclass(frozen=True)
class Seat:
    """A place on the app server `server`."""

    server: str
    address: Address


@read_only
def any_ready() -> bool:
    """Whether there is an app server that takes people, or would if it had room."""
    return bool(Server.select().where(Server.state == State.READY).exists())


@dataclass(frozen=True)
class Look:
    """How to look for a place: for a `new` one too, or only the one held; on behalf of the row
    `waiter` of somebody who waits, or of nobody's."""

    new: bool
    waiter: str | None = None


@dataclass(frozen=True)
class Search:
    """What looking for a place came to: a `seat`, or none yet.

    `online` tells that the user is online without a place, and so is counted among those who need
    one already.
    """

    seat: Seat | None
    online: bool = False


@dataclass(frozen=True)
class Move:
    """A user who lost the place on a server, and has another one, or none yet."""

    channel: str
    seat: Seat | None


def take(user: int, look: Look) -> Search:
    """The place of somebody online: the one held, if its server is well, else a new one if `look`
    says so.

    :raises NotLoggedIn: the user has gone offline, and must not hold a place that nobody would
        give back.
    """
    if _held(user) is None:
        raise NotLoggedIn()
    return enter(user, look)


def enter(user: int, look: Look) -> Search:
    """The same for somebody who is about to be online, and may have no place yet."""
    search = _take(user, look.new)
    if search.seat and look.waiter:
        Waiter.delete().where(Waiter.id == look.waiter).execute()
    return search


def _take(user: int, new: bool) -> Search:
    place = _held(user)
    if place is not None and place.server_id is not None:
        seat = _ready(place.server_id)
        if seat:
            return Search(seat)
        _leave(place.server_id)
    seat = _sit_down() if new else None
    if place is None:
        if seat:
            Place.insert(user=user, server=seat.server).execute()
        return Search(seat)
    Place.update(server=seat.server if seat else None).where(Place.user == user).execute()
    return Search(seat, online=True)


def give_back(user: int) -> None:
    """The user is offline."""
    place = _held(user)
    if place is not None:
        _leave(place.server_id)
        Place.delete().where(Place.user == user).execute()


@read_only
def whereabouts(users: Collection[int]) -> dict[int, Seat | None]:
    """Where each of `users` is served; None while a place is being found. Who is offline is not
    in it."""
    query = (
        Place.select(Place.user, Server.id, Server.host, Server.port, Server.state)
        .join(Server, peewee.JOIN.LEFT_OUTER)
        .where(Place.user.in_([*users]))
    )
    return {
        user: Seat(server, Address(host, port)) if state in SERVING else None
        for user, server, host, port, state in rows(query)
    }


def vacate(server: str) -> list[Move]:
    """Take everybody's place on `server` away, and find them others; say whom it concerns."""
    places = [*for_update(Place.select().where(Place.server == server))]
    # First of all, so that nobody's new place is the old one.
    Server.update(taken=0).where(Server.id == server).execute()
    Place.update(server=None).where(Place.server == server).execute()
    return _reseat(places)


def move_off(server: str) -> list[Move]:
    """Move people from `server` as far as there are other places; the rest stay for now."""
    places = [*for_update(Place.select().where(Place.server == server))]
    moves = [move for move in _reseat(places) if move.seat]
    Server.update(taken=Server.taken - len(moves)).where(Server.id == server).execute()
    return moves


def settle() -> list[Move]:
    """Find places for people who are online without one, as far as there are."""
    homeless = (
        Place.select().where(Place.server.is_null()).order_by(Place.user).limit(SETTLED_AT_ONCE)
    )
    return [move for move in _reseat([*for_update(homeless)]) if move.seat]


def _reseat(places: Sequence[Place]) -> list[Move]:
    """New seats for the people of `places`, whose rows are locked: nobody logs out meanwhile."""
    if not places:
        return []
    users = [place.user_id for place in places]
    channels = dict(rows(User.select(User.id, User.channel).where(User.id.in_(users))))
    moves = []
    for user in users:
        seat = _sit_down()
        if seat:
            Place.update(server=seat.server).where(Place.user == user).execute()
        moves.append(Move(channels[user], seat))
    return moves


def _held(user: int) -> Place | None:
    """The user's place, its row locked."""
    place: Place | None = for_update(Place.select().where(Place.user == user)).first()
    return place


def _sit_down() -> Seat | None:
    """Count one more on the fullest server with room: the emptiest then fall idle, and can end."""
    while True:
        server = (
            Server.select(Server.id, Server.host, Server.port)
            .where((Server.state == State.READY) & (Server.taken < Server.capacity))
            .order_by(Server.taken.desc())
            .first()
        )
        if server is None:
            return None
        took = (
            Server.update(taken=Server.taken + 1)
            .where(
                (Server.id == server.id)
                & (Server.state == State.READY)
                & (Server.taken < Server.capacity)
            )
            .execute()
        )
        if took:
            return Seat(server.id, Address(server.host, server.port))


def _leave(server: str | None) -> None:
    Server.update(taken=Server.taken - 1).where(
        (Server.id == server) & (Server.taken > 0)
    ).execute()


def _ready(server_id: str) -> Seat | None:
    server = (
        Server.select(Server.id, Server.host, Server.port)
        .where((Server.id == server_id) & Server.state.in_(SERVING))
        .first()
    )
    return Seat(server.id, Address(server.host, server.port)) if server else None
