"""Rate limits: token buckets, which limit how much a key may do at once and over time, and the
limits on login attempts, which are made of them.

Names, addresses and users are all counted here. The `limits` package is not used: it reads the wall
clock, which an operator may set back an hour, keeps a thread, and can only refuse. These buckets
can also delay work, reserve tokens before the work is done, and take them back.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from bbs.core.addresses import counted_as
from bbs.core.errors import TooManyAttempts, Unavailable, WrongCredentials
from bbs.core.values import NAME_LENGTH, PasswordVerdict, Rate
from bbs.limits.fair_queue import FairQueue

MOST_KEYS = 100_000
"""How many keys are remembered by default."""

MOST_OF_A_KEY = NAME_LENGTH + 1
"""Characters of a key that are kept; no name is longer."""

SLACK = 1e-6
"""Seconds of floating-point error to allow for after thousands of additions."""

FACTOR = 10
"""A name may fail ten times as often from all addresses as from one, and an address ten times as
often with all names as with one (`docs/operating.md`)."""

GUESS_DELAY = 2.0
"""Seconds. A gateway gives the first reply on a connection 10 s."""

Report = Callable[[str, str, str], object]
"""Called with each attempt's outcome (`right`, `wrong`, `refused`), address and name."""


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
        self._seconds = clock.seconds
        self._start = clock.seconds()
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def wait(self, key: Hashable, cost: float = 1.0) -> float:
        """Seconds until `key` has `cost` tokens; 0.0 if it has them now. A cost above `burst` needs
        a full bucket."""
        full_at = self._full_at.get(key if isinstance(key, int) else _shortened(key))
        if full_at is None:
            return 0.0
        return self._time_left(full_at, cost, self._seconds() - self._start)

    def take(self, key: Hashable, cost: float = 1.0) -> float:
        """Take `cost` tokens, even if the bucket has to fill first; returns the seconds until then.
        Callers that already wait for the same key come first."""
        now = self._seconds() - self._start
        if not isinstance(key, int):
            key = _shortened(key)
        buckets = self._full_at
        full_at = buckets.get(key, now)
        left = self._time_left(full_at, cost, now)
        buckets[key] = (full_at if full_at > now else now) + cost * self._interval
        buckets.move_to_end(key)
        # Forget full buckets, and those longest unused if there are too many.
        while buckets:
            oldest = next(iter(buckets))
            if buckets[oldest] > now and len(buckets) <= self._most:
                break
            del buckets[oldest]
        return left

    def give_back(self, key: Hashable, cost: float = 1.0) -> None:
        """Undo a `take` that was too much, or for nothing."""
        if not isinstance(key, int):
            key = _shortened(key)
        if key in self._full_at:
            self._full_at[key] -= cost * self._interval

    def claim(self, key: Hashable, cost: float = 1.0) -> None:
        """Take `cost` tokens if the bucket has them, else raise `TooManyAttempts` with the wait in
        whole seconds."""
        wait = self.wait(key, cost)
        if wait > 0:
            raise _too_many(wait)
        self.take(key, cost)

    def _time_left(self, full_at: float, cost: float, now: float) -> float:
        if full_at <= now:
            return 0.0
        missing = full_at - now + cost * self._interval - self._depth
        return min(missing, full_at - now) if missing > SLACK else 0.0


def _too_many(wait: float) -> TooManyAttempts:
    return TooManyAttempts(max(1, math.ceil(wait)))


def _shortened(key: Hashable) -> Hashable:
    if isinstance(key, str):
        return key[:MOST_OF_A_KEY]
    if isinstance(key, tuple):
        return tuple([p[:MOST_OF_A_KEY] if isinstance(p, str) else _shortened(p) for p in key])
    return key


_Charges = Sequence[tuple[Buckets, object]]


class LoginLimits:
    """Limits wrong passwords: for a name from one address, for a name from all addresses, and for
    an address with all names. Right passwords have a limit too: for a name from one address. An
    IPv6 address counts by its /64.

    Strangers with ten addresses use up a name's limit, and other strangers wait then. A user who is
    known does not: for a login from a network that the user was in before (/24, /56), or with a
    device token, the name has a limit of its own. If a neighbour or a thief has used that up, the
    one of the strangers counts.

    The most that an attempt may cost is taken before its password is hashed, and the rest is given
    back afterwards. Attempts sent all at once therefore get no further than attempts sent one by
    one.

    :param wrong: wrong passwords allowed for a name from one address.
    :param right: right passwords allowed; None: any number.
    :param clock: a clock that nobody sets.
    :param queue: where attempts wait for their turn.
    """

    def __init__(
        self, wrong: Rate, right: Rate | None, clock: IReactorTime, queue: FairQueue, report: Report
    ) -> None:
        self._by_both = Buckets(wrong, clock)
        self._by_name = Buckets(wrong, clock, times=FACTOR)
        self._by_address = Buckets(wrong, clock, times=FACTOR)
        self._right = Buckets(right, clock) if right else None
        self._queue = queue
        self._report = report

    def check(
        self, name: str, host: str, report: Report | None = None, known: str | None = ""
    ) -> None:
        """Refuse an attempt now that would be refused when its turn comes.

        :param report: called with the outcome in place of the limits' own.
        :param known: the network or the device that the user is known by, "" for a stranger; None
            before that is looked up, when only what refuses both is refused.
        :raises TooManyAttempts: `name` is allowed no attempt now from `host` (in its usual form).
        """
        wrong, right = self._charges(name, host, known)
        wait = max(buckets.wait(key) for buckets, key in (*wrong, *right))
        if wait > 0:
            (report or self._report)("refused", host, name)
            raise _too_many(wait)

    async def attempt(
        self,
        name: str,
        host: str,
        verify: Callable[[], Coroutine[Deferred[Any], Any, PasswordVerdict]],
        report: Report | None = None,
        known: str = "",
    ) -> PasswordVerdict:
        """Verify a password when this attempt's turn comes; returns the verdict if it is right.

        :param report: as in `check`.
        :param known: the network or the device that the user is known by, "" for a stranger.
        :raises TooManyAttempts: there have been too many attempts.
        :raises WrongCredentials: the password is wrong.
        :raises Unavailable: too many attempts wait.
        """
        has_begun = False
        report = report or self._report
        self.check(name, host, report, known)

        async def verify_in_turn() -> PasswordVerdict:
            nonlocal has_begun
            has_begun = True
            self.check(name, host, report, known)
            wrong, right = self._charges(name, host, known)
            for buckets, key in (*wrong, *right):
                buckets.take(key)
            # An attempt that ends without a verdict, say by a bug, counts as wrong and right.
            verdict = await verify()
            for buckets, key in wrong if verdict.matches else right:
                buckets.give_back(key)
            report("right" if verdict.matches else "wrong", host, name)
            if not verdict.matches:
                raise WrongCredentials()
            return verdict

        try:
            return await self._queue.run(host, verify_in_turn, bool(known))
        except Unavailable:
            if not has_begun:
                report("refused", host, name)
            raise

    async def before_guess(self, host: str) -> None:
        """Wait before a secret that is not a password is compared: for `GUESS_DELAY` after too many
        wrong ones from `host`. A refusal would lock out those there who know the secret. All of
        them then wait, and guess no faster than their connections allow: 200 of these, 100 a
        second."""
        if self._by_address.wait(counted_as(host)) > 0:
            await deferLater(self._queue.clock, GUESS_DELAY)

    def guess(self, host: str) -> None:
        """Count a wrong secret that is not a password; after too many from `host`, raise
        `TooManyAttempts`."""
        self._by_address.claim(counted_as(host))

    def _charges(self, name: str, host: str, known: str | None) -> tuple[_Charges, _Charges]:
        """The charges of a wrong password, and of a right one."""
        address = counted_as(host)
        both = (name, address)
        wrong: list[tuple[Buckets, object]] = [(self._by_both, both), (self._by_address, address)]
        if known is not None:
            # A stranger in the user's own network may have used up that limit.
            is_own = known and not self._by_both.wait((name, known))
            wrong.append((self._by_both, (name, known)) if is_own else (self._by_name, name))
        return wrong, [(self._right, both)] if self._right else []
