"""Holds launches back while the provider refuses them, and tells the fleet until when."""

from __future__ import annotations

from twisted.logger import Logger

from bbs.rules import keeping
from bbs.scaling.means import Means
from bbs.scaling.retries import Refusals

STAMP_SLACK = 1.0
"""Seconds by which what is stored of a refusal may be wrong."""

_log = Logger()


class Holding:
    """The refusals that the keeper `means.me` met, in its memory and in the database."""

    def __init__(self, means: Means) -> None:
        self._me = means.me
        self._run = means.database.run
        self._news = means.news
        self._reactor = means.reactor
        self._wall = means.wall
        self.forget()

    def forget(self) -> None:
        """Begin anew: somebody else has kept the fleet."""
        self._refusals = Refusals(self._reactor)
        self._refusal, self._stamped = "", 0.0

    @property
    def holds(self) -> bool:
        """Whether nothing is launched now."""
        return self._refusals.hold

    def add(self) -> None:
        """A launch was refused: nothing is launched from now on, also while that is written."""
        self._refusals.add()

    async def hold(self, reason: str) -> None:
        """Nothing is launched until an operator has acted, and who waits is told so at once."""
        self._refusals.add()
        _log.critical("nothing can be launched: {reason}", reason=reason)
        self._refusal = reason
        await self._stamp(self._until())
        self._news.refused()

    async def accepted(self) -> None:
        """The provider launches, or starts, what it is asked to."""
        if self._refusals.count:
            self._refusals.clear()
            await self._run(keeping.refuse, self._me, None, None)

    async def stamp_again(self) -> None:
        """Should the wall clock have been set since a refusal was written down, say anew until when
        it holds: people are sent away until then."""
        until = self._until()
        if self._refusals.count and abs(until - self._stamped) > STAMP_SLACK:
            await self._stamp(until)

    async def _stamp(self, until: float) -> None:
        await self._run(keeping.refuse, self._me, self._refusal, until)
        self._stamped = until

    def _until(self) -> float:
        return self._wall() + self._refusals.left
