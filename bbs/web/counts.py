"""Counts that servers keep of themselves, made into rates over the whole service.

Each server counts from nought since it started, and its row goes when it ends. So what is added up
is how much each count grew between two looks: nothing is lost when a server goes, and nothing is
counted twice when one comes.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping

REMEMBERED = 1000
"""Servers whose last count is known beyond those that were just seen: one may be out of sight for a
while and come back."""


class Counts:
    """What was counted during the last `window` seconds, by whom."""

    def __init__(self, window: float) -> None:
        self.total = 0
        """How much all counts together grew since the first look."""
        self._window = window
        self._last: OrderedDict[str, int] = OrderedDict()
        self._looks: deque[tuple[float, int, Mapping[str, int]]] = deque()

    def look(self, now: float, counts: Mapping[str, int]) -> None:
        """Take in the counts as they are at `now` (s)."""
        if self._looks:
            self.total += sum(
                max(0, count - self._last.get(key, 0)) for key, count in counts.items()
            )
        for key, count in counts.items():
            self._last[key] = count
            self._last.move_to_end(key)
        while len(self._last) > REMEMBERED + len(counts):
            self._last.popitem(last=False)
        self._looks.append((now, self.total, dict(counts)))
        while len(self._looks) > 2 and self._looks[1][0] <= now - self._window:
            self._looks.popleft()

    def grown(self) -> int:
        """How much was counted within the window."""
        return self.total - self._looks[0][1] if self._looks else 0

    def rate(self) -> float:
        """The same for each second; 0 until there was time to count."""
        seconds = self._seconds()
        return self.grown() / seconds if seconds else 0.0

    def rate_of(self, key: str) -> float | None:
        """The rate of one count, a second; None until it has been seen twice."""
        seen = [(at, counts[key]) for at, _, counts in self._looks if key in counts]
        if len(seen) < 2 or seen[-1][0] <= seen[0][0]:
            return None
        return (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0])

    def _seconds(self) -> float:
        return self._looks[-1][0] - self._looks[0][0] if self._looks else 0.0
