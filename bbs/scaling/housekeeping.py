"""What the fleet's keeper sweeps away now and then, between its rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.logger import Logger

from bbs.rules import fleets, keeping
from bbs.scaling.context import FleetContext

HOUSEKEEPING_INTERVAL = 60.0
"""Seconds between sweeps for what has expired."""

SWEEPS = 1000
"""Transactions of one sweep in a row; what is left then is swept the next time."""

GONE_KEPT = 86400.0
"""Seconds for which the rows of ended servers are kept: estimates are made from them."""

_log = Logger()

Sweep = Callable[[float], int]
"""A rule that removes what has expired by now, in seconds since the epoch, and so little of it that
nobody waits long; called again until it returns 0."""


class Housekeeping:
    """Keeps house: what has expired goes, and whether this is the same fleet yet is looked at.

    :param sweeps: what to sweep away, beside what the fleet leaves.
    """

    def __init__(self, context: FleetContext, sweeps: Sequence[Sweep]) -> None:
        self._run = context.database.run
        self._reactor = context.reactor
        self._wall = context.wall
        self._fleet_id = context.fleet_id
        self._sweeps = sweeps
        self._last = 0.0

    async def keep(self) -> None:
        """Keep house, unless that was done lately."""
        now = self._reactor.seconds()
        if now - self._last < HOUSEKEEPING_INTERVAL:
            return
        self._last = now
        fleet = await self._run(fleets.fleet_id)
        if fleet != self._fleet_id:
            _log.error(
                "this is fleet {fleet} now, and this login server launches for fleet {mine}:"
                " start it again",
                fleet=fleet,
                mine=self._fleet_id,
            )
        for sweep in self._sweeps:
            for _ in range(SWEEPS):
                if not await self._run(sweep, self._wall()):
                    break
        await self._run(keeping.forget_gone, self._wall(), GONE_KEPT)
