"""Rate limits: so many attempts by one account or address within a moving window.

Written here, and not taken from the `limits` package, because that one reads the wall clock and
keeps a thread; this reads the clock that it is given.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable

from bbs.errors import TooManyAttempts
from bbs.values import NAME_LENGTH, Rate

MAX_KEYS = 100_000
"""Accounts or addresses remembered; beyond that the one longest quiet is forgotten."""

ADDRESS_FACTOR = 10
"""One address may fail to log in so many times as often as one account (`docs/operating.md`)."""

MAX_KEY = NAME_LENGTH + 1
"""Characters of a key that are kept: no longer name is anybody's."""


class Attempts:
    """Counts attempts for each key: `times` as many as `rate` allows."""

    def __init__(self, rate: Rate, seconds: Callable[[], float], times: int = 1) -> None:
        self._most = rate.count * times
        self._period = rate.period
        self._seconds = seconds
        self._made: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, key: str) -> None:
        """Raise `TooManyAttempts`, with the wait in seconds, if `key` may not attempt now."""
        made = self._recent(key)
        if len(made) >= self._most:
            wait = made[len(made) - self._most] + self._period - self._seconds()
            raise TooManyAttempts(max(1, math.ceil(wait)))

    def note(self, key: str) -> None:
        """Count an attempt."""
        made = self._recent(key)
        made.append(self._seconds())
        self._made[key[:MAX_KEY]] = made
        self._made.move_to_end(key[:MAX_KEY])
        # Those longest quiet are first.
        while self._is_over(next(iter(self._made.values()))) or len(self._made) > MAX_KEYS:
            self._made.popitem(last=False)

    def _recent(self, key: str) -> deque[float]:
        made = self._made.get(key[:MAX_KEY], deque())
        oldest = self._seconds() - self._period
        while made and made[0] <= oldest:
            made.popleft()
        return made

    def _is_over(self, made: deque[float]) -> bool:
        return not made or made[-1] <= self._seconds() - self._period
