"""Token buckets: how much each of many may do, at once and in the long run.

Names, addresses and users are all counted by these. The `limits` package is not used: it reads the
wall clock, which an operator may set back an hour, keeps a thread, and can only refuse. Here work
is also delayed, reserved before it is done, and given back.
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
"""Characters of a key that are kept: no longer name is anybody's."""

SLACK = 1e-6
"""Seconds that floating point may be wrong by, after thousands of additions."""


class Buckets:
    """Buckets by key, each of which holds `burst` tokens and is filled by `rate`.

    A key is a text, a number or a tuple of these. One number is kept for each: when its bucket is
    full again. (That is the generic cell rate algorithm, ITU-T I.371, as a virtual schedule.)

    :param rate: `times` as much as this is filled in.
    :param clock: one that nobody sets (a server's reactor).
    :param burst: tokens in a full bucket; what `rate` gives in one period, unless said.
    :param most: keys that are remembered; beyond that the one longest unused is forgotten, as if it
        had done nothing.
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
        self._interval = rate.period / (rate.count * times)
        """Seconds in which one token comes."""
        self._depth = self._interval * (rate.count * times if burst is None else burst)
        """Seconds in which an empty bucket is full."""
        self._most = most
        # In seconds since the epoch, floating point has no room for the spans that are added up.
        seconds = clock.seconds
        begun = seconds()
        self._seconds: Callable[[], float] = lambda: seconds() - begun
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def wait(self, key: Hashable, cost: float = 1.0) -> float:
        """Seconds until `key` has `cost` tokens, 0.0 if it has them now. What costs more than a
        full bucket holds needs a full one."""
        return self._left(self._full_at.get(_kept(key), 0.0), cost, self._seconds())

    def take(self, key: Hashable, cost: float = 1.0) -> float:
        """Take `cost` tokens, though they be yet to come; returns the seconds until they are there.

        A taker comes behind those of the same key that wait.
        """
        now = self._seconds()
        if not isinstance(key, int):
            key = _kept(key)
        full_at = self._full_at.get(key, 0.0)
        left = self._left(full_at, cost, now)
        self._full_at[key] = max(full_at, now) + cost * self._interval
        self._full_at.move_to_end(key)
        self._forget(now)
        return left

    def give_back(self, key: Hashable, cost: float = 1.0) -> None:
        """Undo a `take` that was in vain or too much."""
        key = _kept(key)
        if key in self._full_at:
            self._full_at[key] -= cost * self._interval

    def claim(self, key: Hashable, cost: float = 1.0) -> None:
        """Take `cost` tokens if they are there.

        :raises TooManyAttempts: they are not; it names the wait, in whole seconds.
        """
        wait = self.wait(key, cost)
        if wait > 0:
            raise TooManyAttempts(max(1, math.ceil(wait)))
        self.take(key, cost)

    def _left(self, full_at: float, cost: float, now: float) -> float:
        missing = max(full_at - now, 0.0) + cost * self._interval - self._depth
        return min(missing, full_at - now) if missing > SLACK and full_at > now else 0.0

    def _forget(self, now: float) -> None:
        """Let go of buckets that are full, and of those longest unused if there are too many."""
        while self._full_at:
            key, full_at = next(iter(self._full_at.items()))
            if full_at > now and len(self._full_at) <= self._most:
                return
            del self._full_at[key]


def _kept(key: Hashable) -> Hashable:
    if isinstance(key, str):
        return key[:MOST_OF_A_KEY]
    if isinstance(key, tuple):
        return tuple(map(_kept, key))
    return key
