"""Limits on attempts to log in.

The most that an attempt may cost is taken before its password is hashed, and the rest is given
back. So attempts that are sent at once get no further than those that are sent one by one.
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
"""How many times as often as one name from one address a name may fail from all addresses, and an
address with all names (`docs/operating.md`)."""


Tell = Callable[[str, str, str], object]
"""Called with each attempt's outcome (`right`, `wrong`, `refused`), address and name."""

_Taken = Sequence[tuple[Buckets, object]]


class LoginLimits:
    """Limits on wrong passwords: for a name from one address, for a name from all addresses, and
    for an address with all names. Only ten addresses together keep somebody out who is at another.
    Right ones have a limit too: for a name from one address.

    An IPv6 address counts by its /64.

    :param failed: how many may be wrong, for a name from one address.
    :param right: how many may be right; None: as many as come.
    :param clock: one that nobody sets.
    :param queue: where attempts wait for their turn.
    """

    def __init__(
        self,
        failed: Rate,
        right: Rate | None,
        clock: IReactorTime,
        queue: FairQueue,
        tell: Tell,
    ) -> None:
        self._by_both = Buckets(failed, clock)
        self._by_name = Buckets(failed, clock, times=FACTOR)
        self._by_address = Buckets(failed, clock, times=FACTOR)
        self._right = Buckets(right, clock) if right else None
        self._queue = queue
        self._tell = tell

    def check(self, name: str, host: str, tell: Tell | None = None) -> None:
        """Refuse at once an attempt that would be refused when its turn comes.

        :param tell: told of it instead of who is told of other attempts.

        :raises TooManyAttempts: there may be none in the name `name` from `host` (in its usual
            form) now.
        """
        failed, right = self._limits(name, host)
        self._refuse_over((*failed, *right), name, host, tell or self._tell)

    async def attempt(
        self,
        name: str,
        host: str,
        verify: Callable[[], Coroutine[Deferred[Any], Any, PasswordVerdict]],
        tell: Tell | None = None,
    ) -> PasswordVerdict:
        """Verify a password when this attempt's turn comes; returns the verdict if it is right.

        :param tell: as in `check`.
        :raises TooManyAttempts: it is one too many.
        :raises WrongCredentials: the password is wrong.
        :raises Unavailable: too many wait.
        """
        begun = False
        told = tell or self._tell

        async def in_turn() -> PasswordVerdict:
            nonlocal begun
            begun = True
            failed, right = self._limits(name, host)
            self._refuse_over((*failed, *right), name, host, told)
            for buckets, key in (*failed, *right):
                buckets.take(key)
            # Whatever comes of it if not a verdict, a bug say, counts as both.
            verdict = await verify()
            for buckets, key in failed if verdict.matches else right:
                buckets.give_back(key)
            told("right" if verdict.matches else "wrong", host, name)
            if not verdict.matches:
                raise WrongCredentials()
            return verdict

        try:
            return await self._queue.run(host, in_turn)
        except Unavailable:
            if not begun:
                told("refused", host, name)
            raise

    def guess(self, host: str) -> None:
        """Count a wrong secret that is not a password.

        :raises TooManyAttempts: it is one too many from `host`.
        """
        self._by_address.claim(counted_as(host))

    def _limits(self, name: str, host: str) -> tuple[_Taken, _Taken]:
        """Return what a wrong password costs, and what a right one."""
        address = counted_as(host)
        failed = (
            (self._by_both, (name, address)),
            (self._by_name, name),
            (self._by_address, address),
        )
        return failed, [(self._right, (name, address))] if self._right else []

    def _refuse_over(self, limits: _Taken, name: str, host: str, tell: Tell) -> None:
        wait = max(buckets.wait(key) for buckets, key in limits)
        if wait > 0:
            tell("refused", host, name)
            raise TooManyAttempts(max(1, math.ceil(wait)))
