"""Token buckets: limits on how much each key may do, at once and over time.

Names, addresses and users are all counted here. The `limits` package is not used: it reads the wall
clock, which an operator may set back an hour, keeps a thread, and can only refuse. These buckets
can also delay work, reserve tokens before the work is done, and take them back.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable

from twisted.internet.interfaces import IReactorTime

from bbs.core.errors import TooManyAttempts
from bbs.core.values import NAME_LENGTH, Rate

MOST_KEYS = 100_000
"""How many keys are remembered by default."""

MOST_OF_A_KEY = NAME_LENGTH + 1
"""Characters of a key that are kept; no name is longer."""

SLACK = 1e-6
"""Seconds of floating-point error to allow for after thousands of additions."""


class Buckets:
    """One bucket for each key, which holds `burst` tokens and is filled at `rate`.

    A key is a text, a number or a tuple of these. One number is stored for each: when its bucket is
    full again (the generic cell rate algorithm, ITU-T I.371, as a virtual schedule).

    :param rate: `times` this rate fills a bucket.
    :param clock: a clock that nobody sets (a server's reactor).
    :param burst: tokens in a full bucket; by default what the rate gives in one period.
    :param most: keys that are remembered. Beyond that, the key longest unused is forgotten, as if
        it had done nothing.
    """

    def __init__(
        self,
        rate: Rate,
        clock: IReactorTime,
        *,
        times: int = 1,
        burst: float | None = None,
        most: int = MOST_KEYS,
    ) -> None:
        # Seconds in which one token is added, and seconds in which an empty bucket fills.
        self._interval = rate.period / (rate.count * times)
        self._depth = self._interval * (rate.count * times if burst is None else burst)
        self._most = most
        # Seconds since the epoch would leave floating point no room for the spans added to them.
        seconds = clock.seconds
        start = seconds()
        self._seconds: Callable[[], float] = lambda: seconds() - start
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def wait(self, key: Hashable, cost: float = 1.0) -> float:
        """Seconds until `key` has `cost` tokens; 0.0 if it has them now. A cost above `burst` needs
        a full bucket."""
        return self._time_left(self._full_at.get(_shortened(key), 0.0), cost, self._seconds())

    def take(self, key: Hashable, cost: float = 1.0) -> float:
        """Take `cost` tokens, even if the bucket has to fill first; returns the seconds until then.
        Callers that already wait for the same key come first."""
        now = self._seconds()
        if not isinstance(key, int):
            key = _shortened(key)
        full_at = self._full_at.get(key, 0.0)
        left = self._time_left(full_at, cost, now)
        self._full_at[key] = max(full_at, now) + cost * self._interval
        self._full_at.move_to_end(key)
        # Forget full buckets, and those longest unused if there are too many.
        while self._full_at:
            oldest, full_at = next(iter(self._full_at.items()))
            if full_at > now and len(self._full_at) <= self._most:
                break
            del self._full_at[oldest]
        return left

    def give_back(self, key: Hashable, cost: float = 1.0) -> None:
        """Undo a `take` that was too much, or for nothing."""
        key = _shortened(key)
        if key in self._full_at:
            self._full_at[key] -= cost * self._interval

    def claim(self, key: Hashable, cost: float = 1.0) -> None:
        """Take `cost` tokens if the bucket has them, else raise `TooManyAttempts` with the wait in
        whole seconds."""
        wait = self.wait(key, cost)
        if wait > 0:
            raise TooManyAttempts(max(1, math.ceil(wait)))
        self.take(key, cost)

    def _time_left(self, full_at: float, cost: float, now: float) -> float:
        missing = max(full_at - now, 0.0) + cost * self._interval - self._depth
        return min(missing, full_at - now) if missing > SLACK and full_at > now else 0.0


def _shortened(key: Hashable) -> Hashable:
    if isinstance(key, str):
        return key[:MOST_OF_A_KEY]
    return tuple(map(_shortened, key)) if isinstance(key, tuple) else key
