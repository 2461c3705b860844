"""Measures how old launches are, and how long servers have been empty, by the watcher's own clock.

A row says when its launch was decided, by the wall clock of whoever decided it. That clock may have
been set since, or be wrong on another machine. An age is therefore measured by a clock that nobody
sets, from the moment at which the controller first saw the row. The row's stamp is only a hint of
how much time had passed by then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from bbs.rules.servers import ServerRow
from bbs.values import State


class Ages:
    """Remembers since when the controller has seen each server, in seconds of `reactor`'s clock.

    :param wall: the clock that stamps rows.
    :param most: the greatest age in seconds that a row's stamp is believed for. However wrong a
        clock is, it cannot make a new launch too old at once.
    """

    def __init__(self, reactor: Any, wall: Callable[[], float], most: float) -> None:
        self._reactor = reactor
        self._wall = wall
        self._most = most
        self.forget()

    def forget(self) -> None:
        """Begin anew: another controller has kept the fleet, and saw what this one did not."""
        self._began: dict[str, float] = {}
        self._idle_since: dict[str, float] = {}

    def see(self, rows: Collection[ServerRow]) -> None:
        """Look at `rows`, which are all servers as they are now."""
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
        """Count the server's age from now on."""
        self._began[id] = self._reactor.seconds()

    def age(self, id: str) -> float:
        """Seconds since the launch of a server was decided."""
        now: float = self._reactor.seconds()
        return now - self._began.setdefault(id, now)

    def idle(self, id: str) -> float:
        """Seconds for which a serving server has been seen empty."""
        now: float = self._reactor.seconds()
        return now - self._idle_since.get(id, now)

    def _hint(self, row: ServerRow) -> float:
        return min(max(0.0, self._wall() - row.created), self._most)
