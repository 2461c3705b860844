"""Who comes to know what is new of the fleet."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from bbs.core.addresses import Address
from bbs.delivery.bus import Bus
from bbs.rules.placement import Move, Seat
from bbs.scaling.events import FleetEvents
from bbs.scaling.interfaces import IFleetController
from bbs.testing import MemoryBroker


@implementer(IFleetController)
class Controller:
    """Counts how often it was to look."""

    def __init__(self, is_leader: bool) -> None:
        self.is_leader = is_leader
        self.looks = 0

    def look_soon(self) -> None:
        self.looks += 1


class RecordingBus:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.connected = True
        self.told: list[str] = []
        self.to_users: list[tuple[str, Mapping[str, object], object]] = []
        self.hint: Callable[[Mapping[str, Any]], None] = lambda hint: None

    def tell_fleet(self, event: str) -> None:
        self.told.append(event)

    def tell(
        self,
        channel: str,
        event: Mapping[str, object],
        *,
        servers: Collection[str | None] | None = None,
    ) -> None:
        self.to_users.append((channel, event, servers))

    def hear_fleet(self, on_hint: Callable[[Mapping[str, Any]], None]) -> None:
        self.hint = on_hint


class OneLoginServer(SynchronousTestCase):
    def setUp(self) -> None:
        self.bus = RecordingBus()
        self.news = FleetEvents(self.bus)
        self.controller = Controller(is_leader=True)
        self.sought: list[str] = []
        for seeker in ("room", "door"):
            self.news.when_places(partial(self.sought.append, seeker))
        self.news.hear(self.controller)

    def test_a_controller_here_looks_when_somebody_waits(self) -> None:
        self.news.wanted()
        self.assertEqual((self.controller.looks, self.bus.told, self.sought), (1, [], []))

    def test_one_elsewhere_is_hinted_to(self) -> None:
        self.controller.is_leader = False
        self.news.wanted()
        self.assertEqual((self.controller.looks, self.bus.told, self.sought), (0, ["waiting"], []))

    def test_before_there_is_a_controller(self) -> None:
        FleetEvents(self.bus).wanted()
        self.assertEqual(self.bus.told, ["waiting"])

    def test_where_there_may_be_places_everybody_looks(self) -> None:
        for tell, event in ((self.news.ready, "ready"), (self.news.refused, "refused")):
            tell()
            self.assertEqual((self.bus.told.pop(), self.sought), (event, ["room", "door"]))
            self.sought.clear()
        self.assertEqual(self.controller.looks, 0)

    def test_stopping_is_for_the_others(self) -> None:
        self.news.gone()
        self.assertEqual((self.bus.told, self.sought, self.controller.looks), (["gone"], [], 0))

    def test_a_hint_is_for_everybody(self) -> None:
        """Also for a controller that does not keep: whoever does may have gone."""
        for self.controller.is_leader in (True, False):
            self.bus.hint({"event": "anything"})
        self.assertEqual((self.controller.looks, self.sought), (2, ["room", "door"] * 2))
        self.assertEqual(self.bus.told, [])

    def test_people_are_told_where_they_are_served(self) -> None:
        seat = Seat("server", Address("192.0.2.1", 22223))
        self.news.moved([Move("one", seat, "old"), Move("two", None, "old"), Move("three", seat)])
        address = {"host": "192.0.2.1", "port": 22223}
        moved = {"event": "moved", "app_server": seat.address.as_json()}
        # At the server that they leave, or where they listen if they had no place.
        self.assertEqual(self.bus.to_users, [("one", moved, ["old"]), ("three", moved, None)])
        self.assertEqual(seat.address.as_json(), address)


class TwoLoginServers(SynchronousTestCase):
    def test_over_the_bus(self) -> None:
        """Somebody waits at one, the other keeps the fleet; then there is a place."""
        broker, sought = MemoryBroker(), []
        here, there = (FleetEvents(Bus(broker.client(), "bbs")) for _ in range(2))
        waits, keeps = Controller(is_leader=False), Controller(is_leader=True)
        here.hear(waits)
        there.hear(keeps)
        here.when_places(lambda: sought.append("here"))
        here.wanted()
        self.assertEqual(keeps.looks, 1)
        sought.clear()
        there.ready()
        self.assertEqual(sought, ["here"])
