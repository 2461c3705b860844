"""Moves people off servers that drain, while they serve on."""

from __future__ import annotations

from collections.abc import Iterable

from bbs.rules import keeping
from bbs.scaling.context import FleetContext
from bbs.scaling.fleet_view import ServerView
from bbs.values import DrainCause, State

AT_ONCE = 2
"""People who are moved at once when there is no haste: so few that a server does not feel their new
connections, and that few suffer if something goes wrong."""

PAUSE = 1.0
"""Seconds between two such moves: by then people have usually arrived. A server of a hundred people
is empty within a minute."""


class Drainer:
    """Moves people off servers: all at once if the server has to go, else a few at a time."""

    def __init__(self, context: FleetContext) -> None:
        self._me = context.me
        self._run = context.database.run
        self._news = context.news
        self._reactor = context.reactor
        self._wall = context.wall
        self._moved_at = float("-inf")

    async def move(self, servers: Iterable[ServerView]) -> int:
        """Move people off those of `servers` that drain; returns how many moved so that fewer
        servers are needed."""
        consolidated = 0
        for server in servers:
            if server.state is not State.DRAINING or not server.taken:
                continue
            if not server.could_stay:
                self._news.moved(await self._run(keeping.move_off, self._me, server.id))
            elif self.pause <= 0:
                self._moved_at = self._reactor.seconds()
                replaced = DrainCause.REPLACEMENT in server.causes
                moves = await self._run(
                    keeping.move_some_off, self._me, server.id, AT_ONCE, self._wall(), replaced
                )
                self._news.moved(moves)
                consolidated += 0 if replaced else len(moves)
        return consolidated

    @property
    def pause(self) -> float:
        """Seconds until people may be moved again without need."""
        return max(0.0, self._moved_at + PAUSE - self._reactor.seconds())
