"""Other places for people whose server is lost, drains, or is to be given up; and places for those
who are online without one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import peewee

from bbs.rules import placement
from bbs.rules.placement import Seat
from bbs.storage.database import for_update, rows
from bbs.storage.models import Place, Server, User

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
    waiting = Place.select().where(placement.is_waiting())
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
        seat = placement.sit_down() if seat or not number else None
        if seat:
            placement.move_to(user, seat.server)
        moves.append(Move(channels[user], seat))
    return moves
