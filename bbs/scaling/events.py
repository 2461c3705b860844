"""What happens to the fleet, told to those who need places, to those who make them, and to people.

Whoever waits for a place and whoever keeps the fleet do not know each other: both know
`FleetEvents`. What happens here is known here at once; the other login servers hear a hint of it,
and what they hint at is known here as if it had happened here.

What operators did to people is in the database, with a notice beside it, and whoever did it may
know no broker. So the controller takes notices from the `Outbox`, has the app servers look whose
sessions have ended, and removes them. A controller that dies between the two is followed by one
that tells the same again, which does no harm; while the broker is away the app servers look by
themselves. Whether people wait is nobody's own doing, as they come, go and are seated at every
server: the controller stores for the operators' pages when that begins and ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from bbs.core.errors import Unavailable
from bbs.rules import fleet_transitions
from bbs.rules.placement import Move
from bbs.scaling.interfaces import IFleetController

if TYPE_CHECKING:
    from bbs.scaling.controller import FleetContext


# No zope interface: scaling and delivery import nothing of each other, so neither could declare it.
class FleetBus(Protocol):
    """What travels between servers: see `bbs.delivery.bus.Bus`."""

    @property
    def connected(self) -> bool:
        """Whether anything travels."""

    def tell_fleet(self, event: str) -> None:
        """Hint at news of the fleet to the login servers."""

    def hear_fleet(self, on_hint: Callable[[Mapping[str, Any]], None]) -> object:
        """Call `on_hint` with news of the fleet."""

    def tell(self, channel: str, event: Mapping[str, object]) -> None:
        """Hint at `event` to the app servers where somebody listens to `channel`."""


class FleetEvents:
    """What one login server knows to be new of the fleet, and tells the others by `bus`."""

    def __init__(self, bus: FleetBus) -> None:
        self._bus = bus
        self._keeper: IFleetController | None = None
        self._seekers: list[Callable[[], None]] = []

    # Who must know

    def when_places(self, look: Callable[[], None]) -> None:
        """Call `look` whenever there may be places, or none can come, since the last time."""
        self._seekers.append(look)

    def hear(self, keeper: IFleetController) -> None:
        """Hear hints from now on; `keeper`, which is this login server's, is to look at them."""
        self._keeper = keeper
        self._bus.hear_fleet(self._hinted)

    @property
    def travels(self) -> bool:
        """Whether people, and the others, hear of it now."""
        return self._bus.connected

    # What has happened here

    def wanted(self) -> None:
        """Somebody waits, or an operator has asked for something: the fleet's keeper, wherever it
        is, looks soon."""
        if self._keeper is not None and self._keeper.keeping:
            self._keeper.look_soon()
        else:
            self._bus.tell_fleet("waiting")

    def ready(self) -> None:
        """An app server takes people from now on."""
        self._bus.tell_fleet("ready")
        self._tell_seekers()

    def refused(self) -> None:
        """Nothing can be launched, and who waits need not do so in vain."""
        self._bus.tell_fleet("refused")
        self._tell_seekers()

    def gone(self) -> None:
        """This login server has stopped: another may keep the fleet."""
        self._bus.tell_fleet("gone")

    def moved(self, moves: Iterable[Move]) -> None:
        """People are served elsewhere now, as those of them who listen are told."""
        for move in moves:
            if move.seat:
                address = move.seat.address.as_json()
                self._bus.tell(move.channel, {"event": "moved", "app_server": address})

    def ended(self, channels: Iterable[str]) -> None:
        """Sessions of the people of these channels have ended: the app servers look whose, and
        there may be free places."""
        for channel in channels:
            self._bus.tell(channel, {"event": "logout"})
        self._bus.tell_fleet("free")
        self._tell_seekers()

    # What has happened elsewhere

    def _hinted(self, hint: Mapping[str, Any]) -> None:
        self._tell_seekers()
        if self._keeper is not None:
            self._keeper.look_soon()

    def _tell_seekers(self) -> None:
        for look in self._seekers:
            look()


INTERVAL = 1.0
"""Seconds between looks, at the most: an empty look is one read of an index."""

_log = Logger()


class Outbox(Service):
    """Takes notices while this login server keeps the fleet.

    :param is_keeping: whether it does.
    """

    def __init__(self, context: FleetContext, is_keeping: Callable[[], bool]) -> None:
        self._me = context.me
        self._database = context.database
        self._news = context.news
        self._wall = context.wall
        self._is_keeping = is_keeping
        self._reactor = context.reactor
        self._next: Any = None
        self._looking: Deferred[None] | None = None
        self._waiting = False
        """Whether people wait, or did when this looked last."""

    def startService(self) -> None:
        Service.startService(self)
        self._next = self._reactor.callLater(INTERVAL, self._look)

    def stopService(self) -> Deferred[None] | None:
        """Fires when no look is under way."""
        Service.stopService(self)
        self._next.cancel()
        return self._looking

    def look_now(self, waiting: bool = False) -> None:
        """There may be some, and people may be `waiting`."""
        self._waiting |= waiting
        if self.running and self._looking is None:
            self._next.reset(0)

    def _look(self) -> None:
        self._next = self._reactor.callLater(INTERVAL, self._look)
        if self._looking is None and self._is_keeping():
            self._looking = Deferred.fromCoroutine(self._take())
            self._looking.addErrback(
                lambda failure: _log.failure("taking notices went wrong", failure=failure)
            )
            self._looking.addCallback(self._looked)

    def _looked(self, _: object) -> None:
        self._looking = None

    async def _take(self) -> None:
        try:
            while found := await self._database.run(fleet_transitions.notices):
                self._news.ended(dict.fromkeys(channel for _, channel in found))
                await self._database.run(fleet_transitions.forget_notices, [id for id, _ in found])
            if self._waiting:
                now = self._wall()
                self._waiting = await self._database.run(
                    fleet_transitions.note_waiting, self._me, now
                )
        except Unavailable:
            pass  # There will be another look.
        except fleet_transitions.NotLeader:
            self._waiting = False
