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
NOTHING_BAD = fleet_admin.Outlook(crowded=False, hopeless=False)


class News:
    """Tells the room of places, and counts how often the room asks for one."""

    rooms_asked_for = 0

    def when_places(self, look: Any) -> None:
        self.ready = look

    def wanted(self) -> None:
        self.rooms_asked_for += 1


class SlowToSay:
    """A database that takes its time to say whether waiting is hopeless."""

    def __init__(self) -> None:
        self.asked: list[Deferred[fleet_admin.Outlook]] = []

    def run(self, rule: Any, *arguments: Any) -> Deferred[Any]:
        if rule is not fleet_admin.outlook:
            return succeed(None)
        self.asked.append(Deferred())
        return self.asked[-1]

    def say(self) -> None:
        """Say that it is not, as often as it was asked."""
        while not self.asked[-1].called:
            self.asked[-1].callback(NOTHING_BAD)


def make_room(clock: Clock, database: Any, news: Any, share: int | None = None) -> WaitingRoom:
    return WaitingRoom(
        me=None,  # type: ignore[arg-type]
        database=database,
        reactor=clock,
        wall=clock.seconds,
        patience=60.0,
        watchers=set(),
        news=news,
        timing=Timing(clock.seconds),
        share=share,
    )


class Looking(SynchronousTestCase):
    def test_a_place_that_comes_while_the_database_is_asked_is_taken_at_once(self) -> None:
        """And not a second later, when the room looks by itself."""
        database, news = SlowToSay(), News()
        room = make_room(Clock(), database, news)
        places = [SEAT]

        async def attempt(look: Look) -> Search:
            there = len(database.asked) and look.new
            return Search(places.pop() if there and places else None, online=True)

        connection: Any = None
        seat = Deferred.fromCoroutine(room.seat("ann", connection, attempt))
        self.assertEqual(len(database.asked), 1)
        news.ready()
        self.assertNoResult(seat)
        database.asked[0].callback(NOTHING_BAD)
        self.assertEqual(self.successResultOf(seat), SEAT)

    def test_who_is_held_back_and_has_a_place_by_now_frees_none_of_the_network(self) -> None:
        clock, database, news = Clock(), SlowToSay(), News()
        room = make_room(clock, database, news, share=2)
        found = {"ann": Search(None, places=2), "bob": Search(None, places=2)}
        connection: Any = None
        seats = {}
        for name in found:

            async def attempt(look: Look, name: str = name) -> Search:
                return found[name]

            waits = room.seat(name, connection, attempt, origin="192.0.2.1")
            seats[name] = Deferred.fromCoroutine(waits)
        database.say()
        found["ann"] = Search(SEAT)
        clock.advance(1.0)
        self.assertEqual(self.successResultOf(seats["ann"]), SEAT)
        self.assertEqual(news.rooms_asked_for, 0)
        found["bob"] = Search(None, places=1)
        database.say()
        clock.advance(1.0)
        self.assertEqual(news.rooms_asked_for, 1)
        self.assertNoResult(seats["bob"])
