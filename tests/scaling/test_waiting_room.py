"""People who wait for a place: when they are looked after."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.values import Timing
from bbs.rules import fleet_admin
from bbs.rules.placement import Look, Search, seat_of
from bbs.scaling.waiting_room import WaitingRoom

SEAT = seat_of("a", "192.0.2.1", 22223)


class News:
    """Tells the room of places."""

    def when_places(self, look: Any) -> None:
        self.ready = look

    def wanted(self) -> None: ...


class SlowToSay:
    """A database that takes its time to say whether waiting is hopeless."""

    def __init__(self) -> None:
        self.asked: list[Deferred[bool]] = []

    def run(self, rule: Any, *arguments: Any) -> Deferred[Any]:
        if rule is not fleet_admin.is_hopeless:
            return succeed(None)
        self.asked.append(Deferred())
        return self.asked[-1]


class Looking(SynchronousTestCase):
    def test_a_place_that_comes_while_the_database_is_asked_is_taken_at_once(self) -> None:
        """And not a second later, when the room looks by itself."""
        clock, database, news = Clock(), SlowToSay(), News()
        things: Any = database, news
        room = WaitingRoom(
            me=None,  # type: ignore[arg-type]
            database=things[0],
            reactor=clock,
            wall=clock.seconds,
            patience=60.0,
            watchers=set(),
            news=things[1],
            timing=Timing(clock.seconds),
        )
        places = [SEAT]

        async def attempt(look: Look) -> Search:
            there = len(database.asked) and look.new
            return Search(places.pop() if there and places else None, online=True)

        connection: Any = None
        seat = Deferred.fromCoroutine(room.seat("ann", connection, attempt))
        self.assertEqual(len(database.asked), 1)
        news.ready()
        self.assertNoResult(seat)
        database.asked[0].callback(False)
        self.assertEqual(self.successResultOf(seat), SEAT)
