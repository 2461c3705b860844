"""Events of the fleet, for the parts of a login server, the other servers, and people.

The waiting room and the fleet's controller do not know each other: both know `FleetEvents`. An
event of this login server is known here at once, and the other login servers hear a hint of it. A
hint from another one counts as if the event had happened here.

An operator's act on people, and an event that a rule tells outside of a command, are in the
database with a notice, as the program that acts may know no broker. The controller takes notices
from the `Outbox`, tells them, and removes them. If it dies in between, its successor tells the same
act again, which does no harm, and an event that only hints is lost; without the broker the app
servers look by themselves whose sessions have ended. No single act says whether anybody waits, as
people come and go at every server: the controller stores for the operators' pages when that begins
and ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from bbs.core.clock import ServiceClock, service_clock
from bbs.core.errors import Unavailable
from bbs.core.values import Policy
from bbs.rules import fleet_transitions
from bbs.rules.membership import Member
from bbs.rules.placement import Move
from bbs.scaling.interfaces import IFleetController, IProvider
from bbs.storage.database import Database

LOOK_INTERVAL = 1.0  # seconds between looks for notices: an empty look is one read of an index

_log = Logger()


# No zope interface: scaling and delivery import nothing of each other, so neither could declare it.
class FleetBus(Protocol):
    """The hints between servers (`bbs.delivery.bus.Bus`)."""

    @property
    def connected(self) -> bool: ...

    def tell_fleet(self, event: str) -> None:
        """Hint at an event of the fleet to the login servers."""

    def hear_fleet(self, on_hint: Callable[[Mapping[str, Any]], None]) -> object:
        """Call `on_hint` with events of the fleet."""

    def tell(
        self,
        channel: str,
        event: Mapping[str, object],
        *,
        servers: Collection[str | None] | None = None,
    ) -> None:
        """Hint at `event` to the app servers where somebody listens to `channel`: to these
        `servers`, if they are known."""


class FleetEvents:
    """Passes on the events of the fleet: here by calls, to the other servers by `bus`."""

    def __init__(self, bus: FleetBus) -> None:
        self._bus = bus
        self._controller: IFleetController | None = None
        self._listeners: list[Callable[[], None]] = []

    def when_places(self, look: Callable[[], None]) -> None:
        """Call `look` whenever there may be new places, or none can come."""
        self._listeners.append(look)

    def hear(self, controller: IFleetController) -> None:
        """Hear hints from now on, and have this login server's `controller` look at them."""
        self._controller = controller
        self._bus.hear_fleet(self._on_hint)

    @property
    def is_connected(self) -> bool:
        """Whether events reach other servers and people now."""
        return self._bus.connected

    # Events of this login server

    def wanted(self) -> None:
        """Somebody waits, or an operator wants something: the leading controller looks soon."""
        if self._controller is not None and self._controller.is_leader:
            self._controller.look_soon()
        else:
            self._bus.tell_fleet("waiting")

    def ready(self) -> None:
        """An app server takes people from now on."""
        self._bus.tell_fleet("ready")
        self._look_for_places()

    def refused(self) -> None:
        """Nothing can be launched, so people need not wait in vain."""
        self._bus.tell_fleet("refused")
        self._look_for_places()

    def gone(self) -> None:
        """This login server has stopped, so another may lead the fleet."""
        self._bus.tell_fleet("gone")

    def moved(self, moves: Iterable[Move]) -> None:
        """People are served elsewhere now; those who listen are told."""
        for move in moves:
            if move.seat:
                address = move.seat.address.as_json()
                servers = None if move.left is None else [move.left]
                moved = {"event": "moved", "app_server": address}
                self._bus.tell(move.channel, moved, servers=servers)

    def ended(self, channels: Iterable[str]) -> None:
        """Sessions of these people have ended: app servers look whose, and places may be free."""
        for channel in channels:
            self._bus.tell(channel, {"event": "logout"})
        self._bus.tell_fleet("free")
        self._look_for_places()

    def told(self, text: str) -> None:
        """A rule tells an event: `text` is what `bbs.rules.background.tell_soon` has stored."""
        try:
            channel, event = json.loads(text)
            self._bus.tell(channel, event)
        except ValueError:  # A row that somebody has written by hand.
            _log.failure("an event could not be told")

    # Events of other servers

    def _on_hint(self, hint: Mapping[str, Any]) -> None:
        self._look_for_places()
        if self._controller is not None:
            self._controller.look_soon()

    def _look_for_places(self) -> None:
        for look in self._listeners:
            look()


@dataclass(frozen=True, kw_only=True)
class FleetContext:
    """All that the login server `me` needs to lead the fleet. `policy`: the operator's wishes.
    `wall`: the clock that stamps rows, the service's (`clock`). `fleet_id`: the fleet that the
    provider launches for. `traces`: for the provider, the trace that each launch is part of, by
    launch id."""

    me: Member
    database: Database
    provider: IProvider
    policy: Policy
    news: FleetEvents
    reactor: IReactorTime
    wall: Callable[[], float]
    fleet_id: str = ""
    traces: dict[str, str] = field(default_factory=dict)

    @cached_property
    def clock(self) -> ServiceClock:
        """The service's clock."""
        return service_clock(self.wall, self.reactor.seconds)


class Outbox(Service):
    """Takes notices from the database while this login server's `controller` leads the fleet."""

    def __init__(self, context: FleetContext, controller: IFleetController) -> None:
        self._me = context.me
        self._database = context.database
        self._news = context.news
        self._wall = context.wall
        self._reactor = context.reactor
        self._controller = controller
        self._next: Any = None
        self._looking: Deferred[None] | None = None
        self._waiting = False  # whether people wait, or did at the last look

    def startService(self) -> None:
        Service.startService(self)
        self._next = self._reactor.callLater(LOOK_INTERVAL, self._look)

    def stopService(self) -> Deferred[None] | None:
        """Fires when no look is under way."""
        Service.stopService(self)
        self._next.cancel()
        return self._looking

    def look_now(self, waiting: bool = False) -> None:
        """Look for notices at once. `waiting`: people wait."""
        self._waiting |= waiting
        if self.running and self._looking is None:
            self._next.reset(0)

    def _look(self) -> None:
        self._next = self._reactor.callLater(LOOK_INTERVAL, self._look)
        if self._looking is None and self._controller.is_leader:
            self._looking = Deferred.fromCoroutine(self._take())
            self._looking.addErrback(
                lambda failure: _log.failure("could not take notices", failure=failure)
            )
            self._looking.addCallback(self._looked)

    def _looked(self, _: object) -> None:
        self._looking = None

    async def _take(self) -> None:
        try:
            while found := await self._database.run(fleet_transitions.notices):
                ended = [channel for _, channel, event in found if event is None]
                if ended:
                    self._news.ended(dict.fromkeys(ended))
                await self._database.run(fleet_transitions.forget_notices, [id for id, *_ in found])
                # Only now: nobody is to be told an event twice.
                for event in filter(None, (event for *_, event in found)):
                    self._news.told(event)
            if self._waiting:
                self._waiting = await self._database.run(
                    fleet_transitions.note_waiting, self._me, self._wall()
                )
        except Unavailable:
            pass  # The next look tries again.
        except fleet_transitions.NotLeader:
            self._waiting = False
