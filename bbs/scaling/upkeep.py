"""What the fleet's keeper sweeps away."""

from __future__ import annotations

from dataclasses import dataclass

from bbs.board import messages
from bbs.rules import accounts, fleet
from bbs.storage.database import Database

GONE_KEPT = 86400.0
"""Seconds for which the rows of ended servers are kept: estimates are made from them."""


@dataclass(frozen=True)
class Upkeep:
    """What is swept away: unused sessions, and messages after `message_retention` seconds."""

    sessions: accounts.Sessions
    message_retention: float

    async def sweep(self, database: Database, now: float) -> None:
        """Sweep, in transactions so short that nobody waits long for one."""
        while await database.run(accounts.end_stale_sessions, self.sessions, now):
            pass
        while await database.run(messages.expire, now - self.message_retention):
            pass
        await database.run(fleet.forget_gone, now - GONE_KEPT)
