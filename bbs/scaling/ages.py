"""How old launches are, and for how long servers have had nobody, by the clock of whoever watches.

Rows say when a launch was decided, by the wall clock of whoever decided it. That can have been set
since, or be another machine's that is wrong. So an age is measured from the moment at which the
keeper first saw the row, by a clock that nobody sets, and what the row says is a hint of how much
had passed by then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from bbs.rules.servers import ServerRow
from bbs.values import State


class Ages:
    """What the keeper has seen of each server, and since when, in seconds of `reactor`'s clock.

    :param wall: by what rows are stamped.
    :param most: seconds that a row's stamp is believed for at the most: however wrong a clock is,
        it cannot make a launch that was just decided too old at once.
    """

    def __init__(self, reactor: Any, wall: Callable[[], float], most: float) -> None:
        self._reactor = reactor
        self._wall = wall
        self._most = most
        self.forget()

    def forget(self) -> None:
        """Begin anew: somebody else has kept the fleet, and saw what this one did not."""
        self._began: dict[str, float] = {}
        self._idle_since: dict[str, float] = {}

    def see(self, rows: Collection[ServerRow]) -> None:
        """These are all servers, as they are now."""
        now = self._reactor.seconds()
        before, idle_since = self._began, self._idle_since
        self._began = {
            row.id: before[row.id] if row.id in before else now - self._hint(row) for row in rows
        }
        self._idle_since = {
            row.id: idle_since.get(row.id, now)
            for row in rows
            if not row.taken and row.state is not State.LAUNCHING
        }

    def began(self, id: str) -> float:
        """When the launch of a server was decided; now, of one that is seen for the first time."""
        return self._began.setdefault(id, self._reactor.seconds())

    def begin_anew(self, id: str) -> None:
        """What the server does is counted from now on."""
        self._began[id] = self._reactor.seconds()

    def age(self, id: str) -> float:
        """Seconds since then."""
        now: float = self._reactor.seconds()
        return now - self._began.setdefault(id, now)

    def idle(self, id: str) -> float:
        """Seconds for which a server that serves has been seen with nobody on it."""
        now: float = self._reactor.seconds()
        return now - self._idle_since.get(id, now)

    def _hint(self, row: ServerRow) -> float:
        return min(max(0.0, self._wall() - row.created), self._most)
