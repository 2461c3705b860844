"""Moves people off servers that drain, while they serve on."""

from __future__ import annotations

from collections.abc import Iterable

from bbs.rules import keeping
from bbs.rules.servers import ServerRow
from bbs.scaling.means import Means
from bbs.scaling.needs import is_consolidated, is_replaced
from bbs.values import State

AT_ONCE = 2
"""People who are moved at once where no haste is needed: so few that a server does not feel it that
they connect anew, and that it strikes few should it go wrong."""

PAUSE = 1.0
"""Seconds until the next are: by then those before are usually there. A server of a hundred people
is empty within a minute."""


class Mover:
    """Moves people for the keeper `means.me`: at once where a server has to go, else few by few."""

    def __init__(self, means: Means) -> None:
        self._me = means.me
        self._database = means.database
        self._news = means.news
        self._reactor = means.reactor
        self._wall = means.wall
        self._moved_at = float("-inf")

    async def move(self, rows: Iterable[ServerRow]) -> int:
        """Move people off those that drain; how many went over so that fewer servers are needed."""
        moved = 0
        for row in rows:
            if row.state is not State.DRAINING or not row.taken:
                continue
            replaced = is_replaced(row)
            if not (replaced or is_consolidated(row)):
                self._news.moved(await self._database.run(keeping.move_off, self._me, row.id))
            elif self.pause <= 0:
                self._moved_at = self._reactor.seconds()
                moves = await self._database.run(
                    keeping.move_some_off, self._me, row.id, AT_ONCE, self._wall(), replaced
                )
                self._news.moved(moves)
                moved += 0 if replaced else len(moves)
        return moved

    @property
    def pause(self) -> float:
        """Seconds until people may be moved again without need."""
        return max(0.0, self._moved_at + PAUSE - float(self._reactor.seconds()))
