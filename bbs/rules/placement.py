"""Places: which app server a user is served by, and other places for people whose server goes.

A place is taken in the transaction that checks that there is one, and the check is the statement
that takes it, so two login servers can never overfill an app server.

Somebody who is online has a row. Somebody who neither asks nor listens for long is *away*: the row
stays without a server, and unlike somebody whose server is gone the user waits for none, until the
next command. People whose server is lost, drains or is to be given up are placed elsewhere as long
as there is room.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import peewee
from zope.interface import Interface

from bbs.core.addresses import Address
from bbs.core.errors import NotLoggedIn
from bbs.core.values import State
from bbs.storage.database import for_update, read_only, rows
from bbs.storage.models import Place, Server, User, Waiter
from bbs.storage.statements import statement

if TYPE_CHECKING:
    from bbs.protocols.line import IConnection

SERVING = (State.READY, State.DRAINING)
"""States of a server that serves its people; only a ready one takes more."""


@dataclass(frozen=True)
class Seat:
    """A place on the app server `server`."""

    server: str
    address: Address


@lru_cache(maxsize=1024)
def seat_of(server: str, host: str, port: int) -> Seat:
    """A place on `server`, which is reached at `host` and `port`."""
    return Seat(server, Address(host, port))


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
    one already. Who is away is not, any more than who is offline.
    """

    seat: Seat | None
    online: bool = False


class IPlacement(Interface):
    """Finds places for people, and has them wait for one."""

    async def seat(
        name: str,
        connection: IConnection,
        attempt: Callable[[Look], Awaitable[Search]],
        undo: Callable[[], Awaitable[None]] = ...,
    ) -> Seat:
        """Find a place for `name`, by `attempt`; `undo` is called if the connection has gone by
        then.

        :raises Unavailable: none could be had in time.
        """


def take(user: int, look: Look) -> Search:
    """The place of somebody online: the one held, if its server is well, else a new one if `look`
    says so.

    :raises NotLoggedIn: the user has gone offline, and must not hold a place that nobody would
        give back.
    """
    if not _held(user):
        raise NotLoggedIn()
    return enter(user, look)


def enter(user: int, look: Look) -> Search:
    """The same for somebody who is about to be online, and may have no place yet."""
    search = _take(user, look.new)
    if search.seat and look.waiter:
        _wait_no_more(look.waiter)
    return search


@statement
def _wait_no_more(waiter: str) -> peewee.Delete:
    return Waiter.delete().where(Waiter.id == waiter)


def _take(user: int, new: bool) -> Search:
    held = _held(user)
    if not held:
        seat = sit_down() if new else None
        if seat:
            # At random: one that was given back and taken anew must not be taken for the one
            # before by whoever watches it.
            _add(user, seat.server, secrets.randbits(31))
        return Search(seat)
    [(_, server, away)] = held
    seat = _ready(server)
    if seat:
        _note_asked(user)
        return Search(seat)
    _leave(server)
    seat = sit_down() if new else None
    if says_away(server, away):
        if seat:
            move_to(user, seat.server)
        return Search(seat)
    move_to(user, seat.server if seat else None)
    return Search(seat, online=True)


def give_back(user: int) -> None:
    """The user is offline."""
    for _, server, _ in _held(user):
        _leave(server)
        _remove(user)


def says_away(server: str | None, away: bool | None) -> bool:
    """Whether a row with these values is that of somebody who is away; None: there is no row."""
    # Servers of before there was such a thing give people who are away a place, and say no more.
    return bool(away) and server is None


def ask(user: int) -> Seat | None:
    """Note that the user has asked for the place held; where it is, if its server is well."""
    _note_asked(user)
    return whereabouts([user]).get(user)


def come_back(user: int, here: str | None, *, stays: bool = False) -> Seat | None:
    """A place for somebody who was away: on the server `here` if it is ready and has room, else on
    another; None if there is none. Whoever has a place by now keeps it.

    :param stays: without a place the user waits for one from now on, as those do whose server is
        gone; else the user stays away.
    :raises NotLoggedIn: the user has gone offline.
    """
    held = _held(user)
    if not held:
        raise NotLoggedIn()
    [(_, server, away)] = held
    if not says_away(server, away):
        return _ready(server)
    seat = _sit_at(here) or sit_down()
    if seat or stays:
        move_to(user, seat.server if seat else None)
    return seat


@statement
def _whereabouts(users: Sequence[int]) -> peewee.Select:
    return (
        Place.select(Place.user, Server.id, Server.host, Server.port, Server.state)
        .join(Server, peewee.JOIN.LEFT_OUTER)
        .where(Place.user.in_(users))
    )


@read_only
def whereabouts(users: Collection[int]) -> dict[int, Seat | None]:
    """Where each of `users` is served; None while a place is being found. Who is offline is not
    in it."""
    return {
        user: seat_of(server, host, port) if state in SERVING else None
        for user, server, host, port, state in _whereabouts([*users])
    }


def is_waiting() -> peewee.Expression:
    """Which rows are of people who are there and have no place."""
    return Place.server.is_null() & (Place.away == False)  # noqa: E712 - it is SQL


def is_away() -> peewee.Expression:
    """Which rows are of people who are logged in, and not there."""
    return Place.server.is_null() & (Place.away == True)  # noqa: E712 - it is SQL


@statement
def _held(user: int) -> peewee.Select:
    """The user's place, its row locked."""
    query: peewee.Select = for_update(
        Place.select(Place.user, Place.server, Place.away).where(Place.user == user)
    )
    return query


@statement
def _add(user: int, server: str, asked: int) -> peewee.Insert:
    return Place.insert(user=user, server=server, asked=asked)


@statement
def _note_asked(user: int) -> peewee.Update:
    return Place.update(asked=Place.asked + 1).where(Place.user == user)


@statement
def move_to(user: int, server: str | None) -> peewee.Update:
    """The user's place is on `server` from now on, where it was counted; with None, on none yet."""
    return Place.update(server=server, away=False, asked=Place.asked + 1).where(Place.user == user)


@statement
def _remove(user: int) -> peewee.Delete:
    return Place.delete().where(Place.user == user)


@statement
def _fullest_with_room(to_be_replaced: bool) -> peewee.Select:
    # Most of a large fleet is full, and is not looked at: what is taken up to the largest capacity
    # has no room whatever its own is.
    ready: Any = Server.alias()
    largest = ready.select(peewee.fn.MAX(ready.capacity)).where(ready.state == State.READY)
    has_room = (Server.taken < largest) & (Server.taken < Server.capacity)
    return (
        Server.select(Server.id, Server.host, Server.port)
        .where((Server.state == State.READY) & has_room & (Server.replace_asked == to_be_replaced))
        .order_by(Server.taken.desc())
        .limit(1)
    )


@statement
def _count_one_more(server: str) -> peewee.Update:
    return Server.update(taken=Server.taken + 1).where(
        (Server.id == server) & (Server.state == State.READY) & (Server.taken < Server.capacity)
    )


@statement
def _count_one_less(server: str) -> peewee.Update:
    return Server.update(taken=Server.taken - 1).where((Server.id == server) & (Server.taken > 0))


@statement
def _serving(server: str) -> peewee.Select:
    return Server.select(Server.id, Server.host, Server.port).where(
        (Server.id == server) & Server.state.in_(SERVING)
    )


def sit_down() -> Seat | None:
    """Count one more on the fullest server with room: the emptiest then fall idle, and can end. Not
    on one that is to be replaced, if there is another: who is on it has to move."""
    while found := _fullest_with_room(False) or _fullest_with_room(True):
        [(server, host, port)] = found
        if _count_one_more(server):
            return seat_of(server, host, port)
    return None


def _sit_at(server: str | None) -> Seat | None:
    """The same on `server`, if it is ready and has room."""
    return _ready(server) if server is not None and _count_one_more(server) else None


def _leave(server: str | None) -> None:
    if server is not None:
        _count_one_less(server)


def _ready(server: str | None) -> Seat | None:
    for found in _serving(server) if server is not None else ():
        return seat_of(*found)
    return None


MOVED_AGAIN_AFTER = 600.0
"""Seconds for which nobody is moved again only so that fewer servers are needed."""

SETTLED_AT_ONCE = 100
"""People at the most who are found places in one transaction, so that nobody waits long for it."""


@dataclass(frozen=True)
class Move:
    """A user who lost the place on a server, and has another one, or none yet."""

    channel: str
    seat: Seat | None


def vacate(server: str) -> list[Move]:
    """Take everybody's place on `server` away, and find them others; say whom it concerns."""
    people = [*for_update(Place.select().where(Place.server == server))]
    # First of all, so that nobody's new place is the old one.
    Server.update(taken=0).where(Server.id == server).execute()
    Place.update(server=None, away=False).where(Place.server == server).execute()
    return _reseat(people)


def move_off(server: str) -> list[Move]:
    """Move people from `server` as far as there are other places; the rest stay for now."""
    return _move_off(server, [*for_update(Place.select().where(Place.server == server))])


def _move_off(server: str, people: Sequence[Place]) -> list[Move]:
    moves = [move for move in _reseat(people) if move.seat]
    Server.update(taken=Server.taken - len(moves)).where(Server.id == server).execute()
    return moves


def move_some_off(server: str, most: int, now: float, again: bool = False) -> list[Move]:
    """Move `most` people at the most from `server`, none of them who was moved so lately, unless
    they are to be moved `again`."""
    there = Place.server == server
    some = Place.select().where(there if again else there & ~_moved_lately(now))
    people = [*for_update(some.order_by(Place.user).limit(most))]
    moves = _move_off(server, people)
    users = [place.user_id for place in people]
    # Who found no other place is there still.
    gone = Place.user.in_(users) & (Place.server != server)
    Place.update(moved=now).where(gone).execute()
    return moves


def anybody_moved_lately(server: str, now: float) -> bool:
    """Whether somebody on `server` was moved so lately that they are not to be moved again."""
    return bool(Place.select().where((Place.server == server) & _moved_lately(now)).exists())


def _moved_lately(now: float) -> peewee.Expression:
    # Also who was moved after `now`, by a clock that was wrong: for so long at the most.
    lately = Place.moved.between(now - MOVED_AGAIN_AFTER, now + MOVED_AGAIN_AFTER)
    return Place.moved.is_null(False) & lately


def settle(most: int = SETTLED_AT_ONCE) -> list[Move]:
    """Find places for `most` people who are online without one, as far as there are."""
    waiting = Place.select().where(is_waiting())
    homeless = waiting.order_by(Place.user).limit(most)
    return [move for move in _reseat([*for_update(homeless)]) if move.seat]


def _reseat(people: Sequence[Place]) -> list[Move]:
    """New seats for these `people`, whose rows are locked: nobody logs out meanwhile."""
    if not people:
        return []
    users = [place.user_id for place in people]
    channels = dict(rows(User.select(User.id, User.channel).where(User.id.in_(users))))
    moves = []
    seat: Seat | None = None
    for number, user in enumerate(users):
        # Where there was no room for one there is none for the next.
        seat = sit_down() if seat or not number else None
        if seat:
            move_to(user, seat.server)
        moves.append(Move(channels[user], seat))
    return moves
