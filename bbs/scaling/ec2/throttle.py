"""When a call of the EC2 API may be sent: a gate for each action, as EC2 has a bucket for each.

"Request throttling for the Amazon EC2 API" (EC2's developer guide): each action is looked at by
itself, takes a token of its own bucket, and is answered with RequestLimitExceeded when that is
empty; other actions are not affected. So a gate lets as many through as that bucket is taken to
have, and paces what is more; and what EC2 throttles all the same, as others in the account ask too,
closes the gate of that action alone, for a time that doubles as long as EC2 throttles it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from bbs.scaling.ec2.errors import EC2Error, Verdict

FIRST_CLOSURE, LONGEST_CLOSURE = 1.0, 20.0
"""Seconds for which a gate is closed."""

DESCRIBING_PATIENCE, CHANGING_PATIENCE = 10.0, 15.0
"""Seconds that a call may take once it has begun, with its tries and the time between them."""


class ThrottleRate(NamedTuple):
    """The bucket of an action: how many calls at once, and how many a second after that; and for
    how long a call of it is worth waiting for."""

    size: int
    refill: float
    patience: float


_DESCRIBES = ThrottleRate(100, 20.0, DESCRIBING_PATIENCE)
_CHANGES = ThrottleRate(50, 5.0, CHANGING_PATIENCE)
_LAUNCHES = ThrottleRate(5, 2.0, CHANGING_PATIENCE)

PACES: Mapping[str, ThrottleRate] = {
    "DescribeImages": _DESCRIBES,
    "DescribeInstances": _DESCRIBES,
    "DescribeLaunchTemplateVersions": _DESCRIBES,
    "RunInstances": _LAUNCHES,
    "StartInstances": _LAUNCHES,
    "StopInstances": _CHANGES,
    "TerminateInstances": ThrottleRate(100, 5.0, CHANGING_PATIENCE),
}
"""Every action that is asked. An account has other buckets where somebody has asked AWS for them.

That of actions that describe is in the text of EC2's guide (named above); those of RunInstances and
TerminateInstances are in its table, as others quote it. Those of StartInstances and StopInstances
are assumed: to be as RunInstances', and as any change's. One that is assumed too large costs a
closed gate now and then, and one too small a moment for each call beyond it."""

_ALMOST = 1 - 1e-9
"""Of a token, as sums of seconds are not exact."""

_log = Logger()


@dataclass(eq=False)
class _ThrottledCall:
    """A call at a gate. `ends`: when it is given up; None for one that has not begun."""

    through: Deferred[None]
    since: float
    ends: float | None


class Throttle:
    """Lets calls of an action through, in the order in which they came, tries again first.

    A call that has not begun waits for its turn without end, as a queue that moves is no trouble.
    Its patience begins with it, or when EC2 begins to throttle.

    :param jitter: gives numbers from 0 to 1.
    """

    def __init__(
        self, reactor: IReactorTime, action: str, pace: ThrottleRate, jitter: Callable[[], float]
    ) -> None:
        self.pace = pace
        self._reactor = reactor
        self._action = action
        self._jitter = jitter
        self._tokens = float(self.pace.size)
        self._counted = reactor.seconds()
        self._waiting: deque[_ThrottledCall] = deque()
        self._opens = 0.0
        self._closures = 0
        self._throttled: float | None = None
        """Since when EC2 throttles, if it does."""
        self._look: Any = None

    def enter(self, ends: float | None = None) -> Deferred[None]:
        """Fires when a call may be sent. `ends`: when one is given up that has begun.

        Fails with `EC2Error`, at once, where the gate stays closed for longer than it has.
        """
        through: Deferred[None] = Deferred(self._left)
        waiter = _ThrottledCall(through, self._reactor.seconds(), ends)
        if self._hopeless(waiter):
            return fail(self._throttles())
        if ends is None:
            self._waiting.append(waiter)
        else:
            self._waiting.appendleft(waiter)
        self._let_through()
        return through

    def throttled(self) -> None:
        """EC2 throttled a call. Of those that were under way together the first counts for all."""
        now = self._reactor.seconds()
        if now < self._opens:
            return
        closed = min(FIRST_CLOSURE * 2.0**self._closures, LONGEST_CLOSURE)
        closed *= (1 + self._jitter()) / 2
        self._closures += 1
        self._opens = now + closed
        if self._throttled is None:
            self._throttled = now
        # EC2's bucket is empty, so this one is.
        self._tokens, self._counted = 0.0, now
        _log.warn(
            "EC2 throttles {action}: it is not asked for {seconds:.1f} s",
            action=self._action,
            seconds=closed,
        )
        for waiter in [each for each in self._waiting if self._hopeless(each)]:
            self._waiting.remove(waiter)
            waiter.through.errback(self._throttles())
        self._let_through()

    def answered(self) -> None:
        """EC2 answered a call, with whatever but throttling."""
        self._closures = 0
        self._throttled = None

    def _hopeless(self, waiter: _ThrottledCall) -> bool:
        if self._opens <= self._reactor.seconds():
            return False
        begins = max(waiter.since, self._throttled or 0.0)
        ends = begins + self.pace.patience if waiter.ends is None else waiter.ends
        return self._opens >= ends

    def _throttles(self) -> EC2Error:
        closed = self._opens - self._reactor.seconds()
        text = f"EC2 throttles {self._action}: it is not asked for {closed:.0f} s"
        return EC2Error(Verdict.UNASKED, "Throttled", text)

    def _left(self, through: Deferred[None]) -> None:
        """A call was given up."""
        for waiter in self._waiting:
            if waiter.through is through:
                self._waiting.remove(waiter)
                break
        self._let_through()

    def _let_through(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None
        now = self._reactor.seconds()
        gained = (now - self._counted) * self.pace.refill
        self._tokens, self._counted = min(self.pace.size, self._tokens + gained), now
        ready = []
        while self._waiting and now >= self._opens and self._tokens >= _ALMOST:
            self._tokens -= 1
            ready.append(self._waiting.popleft())
        if self._waiting:
            lacking = (1 - self._tokens) / self.pace.refill
            later = max(self._opens - now, lacking)
            self._look = self._reactor.callLater(max(later, 0.0), self._look_again)
        for waiter in ready:
            waiter.through.callback(None)

    def _look_again(self) -> None:
        self._look = None
        self._let_through()
