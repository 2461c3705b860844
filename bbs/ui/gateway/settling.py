"""The time in which telnet answers what it was asked."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from bbs.ui.gateway.peer import Kind, Peer

SETTLING = 1.0
"""Seconds at most that the first line waits for telnet to answer: whether it will hide a password
should be known before one is asked for."""


class Settling:
    """Whether `peer` may still answer (`goes_on`); `changed` is called when that changes."""

    __slots__ = ("_changed", "_clock", "_end", "_peer", "goes_on")

    def __init__(self, clock: IReactorTime, peer: Peer, changed: Callable[[], None]) -> None:
        self.goes_on = False
        self._clock = clock
        self._peer = peer
        self._changed = changed
        self._end: IDelayedCall | None = None

    def look(self) -> None:
        """The peer may be known by now, or may have answered."""
        if self._peer.kind is Kind.TELNET and self._end is None:
            self._end = self._clock.callLater(SETTLING, self._over)
            self.goes_on = True
            self._changed()
        if self.goes_on and self._peer.settled:
            self._over()

    def stop(self) -> None:
        if self._end is not None and self._end.active():
            self._end.cancel()
        self._end = None

    def _over(self) -> None:
        self.goes_on = False
        self._changed()
