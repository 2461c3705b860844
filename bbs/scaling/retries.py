"""When to ask a provider again that did not do, or may not have done, what it was asked."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from bbs.rules.operators import LONGEST_HOLD
from bbs.scaling.plan import back_off

REFUSED_RETRY = 60.0
"""Seconds for which nothing is launched after a launch was refused; doubled each time in a row."""

LONGEST_REFUSED_RETRY = LONGEST_HOLD


class Retries:
    """The next time for each launch that was asked about in vain: 1 s later, 2, 4, … at most 60."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._asked: dict[str, int] = {}
        self._next: dict[str, float] = {}

    def due(self, id: str) -> bool:
        """Whether it is time to ask about `id`."""
        return bool(self._reactor.seconds() >= self._next.get(id, 0.0))

    def later(self, id: str) -> None:
        """It was asked about, and may have to be again."""
        self._asked[id] = self._asked.get(id, 0) + 1
        self._next[id] = self._reactor.seconds() + back_off(self._asked[id])

    def forget(self, id: str) -> None:
        """Something else is asked about it from now on."""
        self._asked.pop(id, None)
        self._next.pop(id, None)

    def keep(self, ids: Collection[str]) -> None:
        """Forget all but `ids`."""
        self._asked = {id: asked for id, asked in self._asked.items() if id in ids}
        self._next = {id: moment for id, moment in self._next.items() if id in ids}


class Refusals:
    """Refusals in a row, each of which an operator must mend the cause of."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.until = 0.0
        """Until when nothing is launched, by the reactor's clock."""
        self.count = 0

    @property
    def left(self) -> float:
        """Seconds until something may be launched; below 0 once it may."""
        return float(self.until - self._reactor.seconds())

    @property
    def hold(self) -> bool:
        """Whether nothing is launched now."""
        return self.left > 0

    def add(self) -> None:
        """A launch was refused; of those that were made together the first counts for all."""
        if not self.hold:
            self.count += 1
            wait = min(REFUSED_RETRY * 2.0 ** min(self.count - 1, 10), LONGEST_REFUSED_RETRY)
            self.until = self._reactor.seconds() + wait

    def clear(self) -> None:
        """A launch was accepted."""
        self.until, self.count = 0.0, 0
