"""What the fleet's keeper sweeps away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bbs.rules import accounts, fleet
from bbs.storage.database import Database

GONE_KEPT = 86400.0
"""Seconds for which the rows of ended servers are kept: estimates are made from them."""

Sweep = Callable[[float], int]
"""A rule that removes a part of what had expired by then; returns 0 when nothing is left."""


@dataclass(frozen=True)
class Upkeep:
    """What is swept away: unused sessions, and what the service's own `sweeps` remove."""

    sessions: accounts.Sessions
    sweeps: tuple[Sweep, ...] = ()

    async def sweep(self, database: Database, now: float) -> None:
        """Sweep, in transactions so short that nobody waits long for one."""
        while await database.run(accounts.end_stale_sessions, self.sessions, now):
            pass
        for sweep in self.sweeps:
            while await database.run(sweep, now):
                pass
        await database.run(fleet.forget_gone, now - GONE_KEPT)
