"""The fleet's news, between those who need places and those who make them.

Whoever waits for a place and whoever keeps the fleet know nothing of each other: both know this.
What happens here is known here at once; the other login servers hear a hint of it, and what they
hint at is known here as if it had happened here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from bbs.rules.relocation import Move


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


class Keeper(Protocol):
    """This login server's part in keeping the fleet."""

    @property
    def keeping(self) -> bool:
        """Whether it holds the lease; else another login server does."""

    def look_soon(self) -> None:
        """Something has changed."""


class FleetEvents:
    """What one login server knows to be new of the fleet, and tells the others by `bus`."""

    def __init__(self, bus: FleetBus) -> None:
        self._bus = bus
        self._keeper: Keeper | None = None
        self._seekers: list[Callable[[], None]] = []

    # Who must know

    def when_places(self, look: Callable[[], None]) -> None:
        """Call `look` whenever there may be places, or none can come, since the last time."""
        self._seekers.append(look)

    def hear(self, keeper: Keeper) -> None:
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
