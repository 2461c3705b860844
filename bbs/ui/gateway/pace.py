"""How fast the lines of one person are carried out: others have their turn between them."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from bbs.core.values import UNITS, Rate
from bbs.limits.buckets import Buckets

RATE = Rate(50, UNITS["second"])
"""Lines in the long run. What the gateway answers by itself nobody else counts, and a blank line
costs whoever sends it a byte."""

BURST = 300
"""Lines that are carried out as fast as may be, so that who pastes a page waits for nothing."""


class Pace:
    """The pace of one person."""

    __slots__ = ("_bucket", "_clock", "_over", "_pause")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._bucket = Buckets(RATE, clock, burst=BURST)
        self._pause: Deferred[None] | None = None
        self._over: IDelayedCall | None = None

    @property
    def pauses(self) -> bool:
        return self._pause is not None

    async def keep(self, others: int) -> None:
        """A line was carried out, behind which `others` wait: be back when the next may be.

        Without a turn of the reactor all would be carried out in one, and not these alone: the
        room that each leaves is taken by what has come and was not read yet.
        """
        wait = self._bucket.take("")
        if wait or others:
            self._pause = Deferred()
            self._over = self._clock.callLater(wait, self.end)
            await self._pause

    def end(self) -> None:
        """Pause no longer."""
        pause, self._pause = self._pause, None
        over, self._over = self._over, None
        if over is not None and over.active():
            over.cancel()
        if pause is not None:
            pause.callback(None)
