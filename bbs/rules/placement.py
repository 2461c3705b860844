"""Places: the app servers that serve users, and new places when a server ends.

One statement checks that a server has room and takes the place, so two login servers can never
overfill an app server.

A user who is logged in has a row. A user who neither sends requests nor listens for long is *away*:
the row stays without a server, and, unlike a user whose server has ended, the user does not wait
for a place until the next command. Users whose server is lost or drains get places on other servers
as long as there is room.

The places of each network have a limit (`Look.most`). If all servers are full, a newcomer gets a
place that nobody uses (`Look.instead`), and its user is away.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any, TypeVar

import peewee
from zope.interface import Interface

from bbs.core.addresses import IPV6_WIDTHS, Address, networks
from bbs.core.errors import NotLoggedIn, Refusal
from bbs.core.values import State
from bbs.storage.database import for_update, read_only, rows
from bbs.storage.models import Place, Server, Session, User, Waiter
from bbs.storage.statements import statement

if TYPE_CHECKING:
    from bbs.protocols.line import IConnection

T = TypeVar("T")

SERVING = (State.READY, State.DRAINING)  # These serve users; only a ready one takes more.
AT_ONCE = 500  # Users in one statement at most.
LEAST_SHARE = 10  # Places that a network may have at least: those of one server by default.


@dataclass(frozen=True)
class Seat:
    """A place on the app server `server`."""

    server: str
    address: Address


@lru_cache(maxsize=1024)
def seat_of(server: str, host: str, port: int) -> Seat:
    """Make the place on `server`, which is reached at `host` and `port`."""
    return Seat(server, Address(host, port))


@read_only
def any_ready() -> bool:
    """Whether an app server is ready, though it may be full."""
    return bool(Server.select().where(Server.state == State.READY).exists())


class TooManyPlaces(Refusal):
    """The network that the user logs in from has all places that one network may have."""

    text = "Too many users of your network are here, try again later"
    limit = True


@dataclass(frozen=True)
class UnusedPlace:
    """A place whose user has been silent: sessions were last `used` (seconds since the epoch) then,
    by requests or by listening. `asked` and `origin` are as in the row."""

    user: int
    server: str
    asked: int
    origin: str
    used: float


@dataclass(frozen=True)
class Look:
    """How to look for a place: for a `new` one too, or only the one held; for the user with the row
    `waiter`, if the user waits.

    `origin` is where the user is, as in `Place`: its network may have `most` places; None: any
    number. Without room, the user may have the place `instead`, if that is still unused."""

    new: bool
    waiter: str | None = None
    origin: str = ""
    most: int | None = None
    instead: UnusedPlace | None = None


@dataclass(frozen=True)
class Search:
    """The result of looking for a place: a `seat`, or none yet. `online`: the user waits online,
    and so is counted already as one who needs a place; not so a user who is away or offline.
    `places`: how many the user's network had, if that has a limit and the user had none."""

    seat: Seat | None
    online: bool = False
    places: int = field(default=0, compare=False)


class IPlacement(Interface):
    """Finds places for users, and lets them wait for one."""

    async def seat(
        name: str,
        connection: IConnection,
        attempt: Callable[[Look], Awaitable[Search]],
        undo: Callable[[], Awaitable[None]] = ...,
        origin: str = "",
    ) -> Seat:
        """Find a place for `name`, who is at `origin` (as in `Place`), by `attempt`. Call `undo` if
        the connection has gone by then.

        :raises Unavailable: no place became free in time.
        :raises TooManyPlaces: the network of `origin` has had its share all the time.
        """


def take(user: int, look: Look) -> Search:
    """Find the place of a user who is logged in: the one held, if its server runs, or else a new
    one if `look` says so.

    :raises NotLoggedIn: the user has gone offline: a new place would never be given back.
    """
    if not _held(user):
        raise NotLoggedIn()
    return enter(user, look)


def enter(user: int, look: Look) -> Search:
    """Find a place as `take` does, for a user who is logging in and may have none yet."""
    search = _take(user, look)
    if search.seat and look.waiter:
        _remove_waiter(look.waiter)
    return search


@statement
def _remove_waiter(waiter: str) -> peewee.Delete:
    return Waiter.delete().where(Waiter.id == waiter)


def _take(user: int, look: Look) -> Search:
    held = _held(user)
    is_online = False
    for _, server, away, _ in held:
        seat = _seat_on(server)
        if seat:
            _note_asked(user)
            return Search(seat)
        _leave(server)
        is_online = not is_row_away(server, away)
    # Users who are online lost a place, and may have another whatever their network has.
    places = 0 if is_online or look.most is None else _count_places(look.origin)
    has_share = look.most is not None and places >= look.most
    seat = _claim(look) if look.new and not has_share else None
    if not held and seat:
        # A random count: a watcher must not mistake a new place for the one given back.
        _add(user, seat.server, secrets.randbits(31), look.origin)
    elif seat:
        _move_in(user, seat.server, look.origin)
    elif is_online:
        move_to(user, None)
    return Search(seat, is_online, places)


def _claim(look: Look) -> Seat | None:
    seat = claim_seat()
    if seat is None and look.instead and _free(look.instead):
        seat = claim_seat()
    return seat


def _free(place: UnusedPlace) -> bool:
    """Give back a place, unless it was used since it was found to be unused."""
    [(used,)] = _last_used(place.user)
    is_unused = used is None or used <= place.used
    return is_unused and bool(leave_unused(place.server, {place.user: place.asked}))


@statement
def _last_used(user: int) -> peewee.Select:
    return Session.select(peewee.fn.MAX(Session.used)).where(Session.user == user)


def site(origin: str) -> str:
    """The network whose places are limited: an IPv4 address, which may be a company's, or the /48
    of an IPv6 address, as a site may have one."""
    return networks(origin)[0] if ":" in origin else origin


def _count_places(origin: str) -> int:
    """Count the places of the `site` of `origin`."""
    if ":" not in origin:
        return int(_places_between(origin, "", "")[0][0])
    # All texts of a /64 in the /48 begin with its three groups, but that of its first /64 if the
    # third group is 0: `2001:db8:0:5::/64`, but `2001:db8::/64`.
    wide = IPv6Address(site(origin).partition("/")[0])
    groups = ":".join(format(int(group, 16), "x") for group in wide.exploded.split(":")[:3])
    return int(_places_between(f"{wide}/{IPV6_WIDTHS[-1]}", f"{groups}:", f"{groups};")[0][0])


@statement
def _places_between(origin: str, first: str, behind: str) -> peewee.Select:
    """Count the places of `origin`, and of those from `first` to before `behind`."""
    is_there = (Place.origin == origin) | ((Place.origin >= first) & (Place.origin < behind))
    return (
        Place.select(peewee.fn.COUNT(peewee.SQL("*")))
        .join(Server)
        .where(Server.state.in_(SERVING) & is_there)
    )


def give_back(user: int) -> None:
    """Remove the place of a user who goes offline."""
    for _, server, _, _ in _held(user):
        _leave(server)
        _remove(user)


def is_row_away(server: str | None, away: bool | None) -> bool:
    """Whether a row with these values belongs to a user who is away; both None without a row."""
    # Servers older than `away` give such a user a place, and leave the flag as it is.
    return bool(away) and server is None


def ask(user: int) -> Seat | None:
    """Note that the user has asked for the place held, and return it if its server runs."""
    _note_asked(user)
    return whereabouts([user]).get(user)


def come_back(user: int, here: str | None, *, stays: bool = False) -> Seat | None:
    """Find a place for a user who was away: on the server `here` if it is ready and has room, or
    else on another; None if there is none. A user who has a place by now keeps it.

    :param stays: a user who gets no place waits for one from now on, instead of being away.
    :raises NotLoggedIn: the user has gone offline.
    """
    held = _held(user)
    if not held:
        raise NotLoggedIn()
    [(_, server, away, origin)] = held
    if not is_row_away(server, away):
        return _seat_on(server)
    # Login servers know how many places a network may have; with fewer than any may, nobody asks.
    if origin and not stays and _count_places(origin) >= LEAST_SHARE:
        return None
    seat = _seat_on(here) if here is not None and _count_one_more(here) else None
    seat = seat or claim_seat()
    if seat or stays:
        move_to(user, seat.server if seat else None)
    return seat


def leave_unused(server: str, seen: Mapping[int, int]) -> list[int]:
    """Give back the places on `server` whose `Place.asked` is still as `seen`. Returns their users,
    who are away now."""
    users = []
    for some in chunked([*seen]):
        users += [
            user for user, at, asked in _held_locked(some) if (at, asked) == (server, seen[user])
        ]
    for some in chunked(users):
        _go_away(some)
    if users:
        _count_fewer(server, len(users))
    return users


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


def chunked(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut `items` into those of one statement each."""
    for begin in range(0, len(items), AT_ONCE):
        yield items[begin : begin + AT_ONCE]


@statement
def _whereabouts(users: Sequence[int]) -> peewee.Select:
    return (
        Place.select(Place.user, Server.id, Server.host, Server.port, Server.state)
        .join(Server, peewee.JOIN.LEFT_OUTER)
        .where(Place.user.in_(users))
    )


@read_only
def whereabouts(users: Collection[int]) -> dict[int, Seat | None]:
    """The place of each of `users` who are logged in; None while a place is being found."""
    return {
        user: seat_of(server, host, port) if state in SERVING else None
        for user, server, host, port, state in _whereabouts([*users])
    }


def is_waiting() -> peewee.Expression:
    """A condition for rows of users who wait for a place."""
    return Place.server.is_null() & (Place.away == False)  # noqa: E712 - it is SQL


def waiting_names() -> Any:
    """A query for the names of users who wait, online or offline; a user who is in both tables
    counts once."""
    homeless = Place.select(User.name).join(User).where(is_waiting())
    return Waiter.select(Waiter.name) | homeless


def count_waiting() -> int:
    """Count the users who wait for a place."""
    return int(waiting_names().count())


def is_away() -> peewee.Expression:
    """A condition for rows of users who are away."""
    return Place.server.is_null() & (Place.away == True)  # noqa: E712 - it is SQL


@statement
def _held(user: int) -> peewee.Select:
    """Lock the user's place, and read it."""
    columns = (Place.user, Place.server, Place.away, Place.origin)
    return for_update(Place.select(*columns).where(Place.user == user))


@statement
def _add(user: int, server: str, asked: int, origin: str) -> peewee.Insert:
    return Place.insert(user=user, server=server, asked=asked, origin=origin)


@statement
def _note_asked(user: int) -> peewee.Update:
    return Place.update(asked=Place.asked + 1).where(Place.user == user)


@statement
def move_to(user: int, server: str | None) -> peewee.Update:
    """Move the user's place to `server`, where it has been counted; with None the user waits."""
    return Place.update(server=server, away=False, asked=Place.asked + 1).where(Place.user == user)


@statement
def _move_in(user: int, server: str, origin: str) -> peewee.Update:
    """Give a user without a place one at `server`, where it has been counted."""
    moved = {"server": server, "away": False, "origin": origin}
    return Place.update(**moved, asked=Place.asked + 1).where(Place.user == user)


@statement
def _remove(user: int) -> peewee.Delete:
    return Place.delete().where(Place.user == user)


@statement
def _fullest_with_room(to_be_replaced: bool) -> peewee.Select:
    # Most of a large fleet is full, and the index skips it: a server with as many users as the
    # largest capacity has no room, whatever its own capacity is.
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


def claim_seat() -> Seat | None:
    """Take a place on the fullest server with room, so that the emptiest become idle and can end.
    A server that is to be replaced comes last, as its users have to move."""
    while found := _fullest_with_room(False) or _fullest_with_room(True):
        [(server, host, port)] = found
        if _count_one_more(server):
            return seat_of(server, host, port)
    return None


def _leave(server: str | None) -> None:
    if server is not None:
        _count_one_less(server)


def _seat_on(server: str | None) -> Seat | None:
    for found in _serving(server) if server is not None else ():
        return seat_of(*found)
    return None


MOVED_AGAIN_AFTER = 600.0  # Seconds until a user may be moved again for consolidation.
SETTLED_AT_ONCE = 100  # Users who get places in one transaction, which must be short.


@dataclass(frozen=True)
class Move:
    """A user who lost the place on a server, and has another one, or none yet. `left` is the server
    of the place before, if there was one."""

    channel: str
    seat: Seat | None
    left: str | None = None


def vacate(server: str) -> list[Move]:
    """Take all places on `server` away, and find others for its users; returns their moves."""
    people = [*for_update(Place.select().where(Place.server == server))]
    # First of all, so that no new place is on the same server.
    Server.update(taken=0).where(Server.id == server).execute()
    Place.update(server=None, away=False).where(Place.server == server).execute()
    return _reseat(people)


def move_off(server: str) -> list[Move]:
    """Move users from `server` as far as there are other places; the rest stay for now."""
    return _move_off(server, [*for_update(Place.select().where(Place.server == server))])


def _move_off(server: str, people: Sequence[Place]) -> list[Move]:
    moves = [move for move in _reseat(people) if move.seat]
    Server.update(taken=Server.taken - len(moves)).where(Server.id == server).execute()
    return moves


def move_some_off(server: str, most: int, now: float, again: bool = False) -> list[Move]:
    """Move at most `most` users from `server`. Users who were moved less than `MOVED_AGAIN_AFTER`
    ago stay, unless they may be moved `again`."""
    there = Place.server == server
    some = Place.select().where(there if again else there & ~_moved_lately(now))
    people = [*for_update(some.order_by(Place.user).limit(most))]
    moves = _move_off(server, people)
    users = [place.user_id for place in people]
    # Users who got no other place are still there.
    gone = Place.user.in_(users) & (Place.server != server)
    Place.update(moved=now).where(gone).execute()
    return moves


def anybody_moved_lately(server: str, now: float) -> bool:
    """Whether a user on `server` was moved within `MOVED_AGAIN_AFTER`."""
    return bool(Place.select().where((Place.server == server) & _moved_lately(now)).exists())


def _moved_lately(now: float) -> peewee.Expression:
    # A time after `now`, by a wrong clock, counts as recent too, but not for longer.
    lately = Place.moved.between(now - MOVED_AGAIN_AFTER, now + MOVED_AGAIN_AFTER)
    return Place.moved.is_null(False) & lately


def settle(most: int = SETTLED_AT_ONCE) -> list[Move]:
    """Find places for at most `most` users who wait online; returns the moves that succeed."""
    waiting = Place.select().where(is_waiting())
    homeless = waiting.order_by(Place.user).limit(most)
    return [move for move in _reseat([*for_update(homeless)]) if move.seat]


def _reseat(people: Sequence[Place]) -> list[Move]:
    """Find new places for these `people`, whose locked rows keep them from logging out."""
    if not people:
        return []
    users = [place.user_id for place in people]
    channels = dict(rows(User.select(User.id, User.channel).where(User.id.in_(users))))
    moves = []
    seat: Seat | None = None
    for number, place in enumerate(people):
        user = place.user_id
        # If there was no room for one, there is none for the next.
        seat = claim_seat() if seat or not number else None
        if seat:
            move_to(user, seat.server)
        moves.append(Move(channels[user], seat, place.server_id))
    return moves
