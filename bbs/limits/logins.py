"""Limits on login attempts.

The most that an attempt may cost is taken before its password is hashed, and the rest is given back
afterwards. Attempts sent all at once therefore get no further than attempts sent one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from bbs.core.errors import TooManyAttempts, Unavailable, WrongCredentials
from bbs.core.values import PasswordVerdict, Rate
from bbs.limits.buckets import Buckets
from bbs.limits.connections import counted_as
from bbs.limits.fair_queue import FairQueue

FACTOR = 10
"""A name may fail ten times as often from all addresses as from one, and an address ten times as
often with all names as with one (`docs/operating.md`)."""

Report = Callable[[str, str, str], object]
"""Called with each attempt's outcome (`right`, `wrong`, `refused`), address and name."""

_Charges = Sequence[tuple[Buckets, object]]


class LoginLimits:
    """Limits wrong passwords: for a name from one address, for a name from all addresses, and for
    an address with all names. Locking somebody out who is at another address takes ten addresses.
    Right passwords have a limit too: for a name from one address. An IPv6 address counts by its
    /64.

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

    def check(self, name: str, host: str, report: Report | None = None) -> None:
        """Refuse an attempt now that would be refused when its turn comes.

        :param report: called with the outcome in place of the limits' own.
        :raises TooManyAttempts: `name` is allowed no attempt now from `host` (in its usual form).
        """
        wrong, right = self._charges(name, host)
        wait = max(buckets.wait(key) for buckets, key in (*wrong, *right))
        if wait > 0:
            (report or self._report)("refused", host, name)
            raise TooManyAttempts(max(1, math.ceil(wait)))

    async def attempt(
        self,
        name: str,
        host: str,
        verify: Callable[[], Coroutine[Deferred[Any], Any, PasswordVerdict]],
        report: Report | None = None,
    ) -> PasswordVerdict:
        """Verify a password when this attempt's turn comes; returns the verdict if it is right.

        :param report: as in `check`.
        :raises TooManyAttempts: there have been too many attempts.
        :raises WrongCredentials: the password is wrong.
        :raises Unavailable: too many attempts wait.
        """
        has_begun = False
        report = report or self._report

        async def verify_in_turn() -> PasswordVerdict:
            nonlocal has_begun
            has_begun = True
            self.check(name, host, report)
            wrong, right = self._charges(name, host)
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
            return await self._queue.run(host, verify_in_turn)
        except Unavailable:
            if not has_begun:
                report("refused", host, name)
            raise

    def guess(self, host: str) -> None:
        """Count a wrong secret that is not a password; after too many from `host`, raise
        `TooManyAttempts`."""
        self._by_address.claim(counted_as(host))

    def _charges(self, name: str, host: str) -> tuple[_Charges, _Charges]:
        """The charges of a wrong password, and of a right one."""
        address = counted_as(host)
        both = (name, address)
        wrong = [(self._by_both, both), (self._by_name, name), (self._by_address, address)]
        return wrong, [(self._right, both)] if self._right else []
