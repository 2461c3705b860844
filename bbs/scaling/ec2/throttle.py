"""Paces the calls of the EC2 API by the token buckets that EC2 has for an account.

"Request throttling for the Amazon EC2 API" (EC2's developer guide): each action takes a token of
its own bucket, and is answered with RequestLimitExceeded when that is empty; other actions are not
affected. Some have a second bucket, of which each instance of a call takes a token.
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

DESCRIBING_PATIENCE, CHANGING_PATIENCE = 10.0, 15.0
"""Seconds that a call may take once it has begun, with its tries and pauses."""

FIRST_CLOSURE, LONGEST_CLOSURE = 1.0, 20.0  # seconds for which a throttle is closed
_ALMOST = 1e-9  # of a token, as sums of seconds are not exact

NOT_ASKED = 600.0
"""Seconds for which EC2 is not asked again for what it refused: an operator has to give the login
server a right, or the account a quota."""

_log = Logger()


class Refusals:
    """Remembers that EC2 has refused one kind of call within the last `NOT_ASKED` seconds."""

    def __init__(self, clock: IReactorTime) -> None:
        self._seconds = clock.seconds
        self._last = float("-inf")

    @property
    def is_recent(self) -> bool:
        return self._seconds() - self._last < NOT_ASKED

    def note(self) -> None:
        """Note that it was refused now."""
        self._last = self._seconds()


class ThrottleRate(NamedTuple):
    """The bucket of an action: how many calls at once, how many a second after that, and for how
    many seconds a call is worth waiting for. `instances` and `instances_refill`: its bucket for
    the instances of its calls, if it has one."""

    size: int
    refill: float
    patience: float
    instances: int = 0
    instances_refill: float = 0.0


_DESCRIBES = ThrottleRate(100, 20.0, DESCRIBING_PATIENCE)
_CHANGES = ThrottleRate(50, 5.0, CHANGING_PATIENCE)
_LAUNCHES = ThrottleRate(5, 2.0, CHANGING_PATIENCE, 1000, 2.0)

RATES: Mapping[str, ThrottleRate] = {
    "CreateFleet": ThrottleRate(50, 5.0, CHANGING_PATIENCE, 1000, 2.0),
    "CreateLaunchTemplate": _CHANGES,
    "CreateTags": ThrottleRate(100, 10.0, CHANGING_PATIENCE),
    "DeleteLaunchTemplate": _CHANGES,
    "DescribeImages": _DESCRIBES,
    "DescribeInstances": _DESCRIBES,
    "DescribeLaunchTemplateVersions": _DESCRIBES,
    "DescribeLaunchTemplates": _DESCRIBES,
    "RunInstances": _LAUNCHES,
    "StartInstances": _LAUNCHES,
    "StopInstances": ThrottleRate(50, 5.0, CHANGING_PATIENCE, 1000, 20.0),
    "TerminateInstances": ThrottleRate(100, 5.0, CHANGING_PATIENCE, 1000, 20.0),
}
"""Every action that the fleet uses, by the tables of EC2's guide. An account has other buckets if
somebody has asked AWS for them.

The guide names no bucket for the instances of CreateFleet: it is taken to be as RunInstances'. One
taken too large costs a closed throttle now and then; one too small costs a moment for each call
beyond it.
"""


def instances_in(parameters: Mapping[str, Any]) -> int:
    """How many instances a call is about; at least one, as far as buckets go."""
    fleet = parameters.get("TargetCapacitySpecification", {})
    launched: int = parameters.get("MaxCount", 0) or fleet.get("TotalTargetCapacity", 0)
    return max(launched, len(parameters.get("InstanceIds", ())), 1)


@dataclass(eq=False)
class _ThrottledCall:
    """A call at a throttle, about so many `instances` that are not counted yet. `ends`: when it is
    given up; None for one that has not begun."""

    through: Deferred[None]
    since: float
    ends: float | None
    instances: int


class _Bucket:
    """Tokens that come back: `refill` a second, up to `size`. Without a size it never lacks any."""

    def __init__(self, size: int, refill: float, now: float) -> None:
        self._size, self._refill = size, refill
        self._tokens, self._counted_at = float(size), now

    def seconds_until(self, count: int, now: float) -> float:
        """Seconds until it has `count` tokens, or is full."""
        if not self._size:
            return 0.0
        gained = (now - self._counted_at) * self._refill
        self._tokens, self._counted_at = min(self._size, self._tokens + gained), now
        lacking = min(count, self._size) - self._tokens
        return lacking / self._refill if lacking > _ALMOST else 0.0

    def take(self, count: int) -> None:
        self._tokens -= min(count, self._size)

    def give_back(self, count: int) -> None:
        self._tokens = min(self._size, self._tokens + count)

    def empty(self, now: float) -> None:
        self._tokens, self._counted_at = 0.0, now


class Throttle:
    """Lets calls of an action through in the order in which they came, later tries first: as many
    as EC2's buckets are taken to allow. Others in the account ask too: if EC2 throttles all the
    same, the action is not asked for a time that doubles as long as EC2 throttles it.

    A call that has not begun waits for its turn without end, as the queue moves. Its patience
    begins with it, or when EC2 begins to throttle.
    """

    def __init__(
        self, reactor: IReactorTime, action: str, rate: ThrottleRate, jitter: Callable[[], float]
    ) -> None:
        self.rate = rate
        self._reactor = reactor
        self._action = action
        self._jitter = jitter
        now = reactor.seconds()
        self._calls = _Bucket(rate.size, rate.refill, now)
        self._instances = _Bucket(rate.instances, rate.instances_refill, now)
        self._waiting: deque[_ThrottledCall] = deque()
        self._opens_at = 0.0
        self._closures = 0
        self._throttled_since: float | None = None
        self._timer: Any = None

    def enter(self, ends: float | None = None, instances: int = 1) -> Deferred[None]:
        """Fires when a call may be sent that is about so many `instances`, 0 if an earlier try has
        counted them. `ends`: when a call that has begun is given up. Fails at once with `EC2Error`
        if the throttle stays closed for longer."""
        through: Deferred[None] = Deferred(self._cancelled)
        call = _ThrottledCall(through, self._reactor.seconds(), ends, instances)
        if self._is_hopeless(call):
            return fail(self._closed_error())
        if ends is None:
            self._waiting.append(call)
            if len(self._waiting) > 1:
                return through  # Those before it have the timer.
        else:
            self._waiting.appendleft(call)
        self._let_through()
        return through

    def give_back(self, instances: int) -> None:
        """Count no more the `instances` of a call that failed: EC2 did nothing with them, or knows
        when asked again that it has. To wait until the bucket is full again would take minutes."""
        self._instances.give_back(instances)
        self._let_through()

    def throttled(self) -> None:
        """Close for a while. The first of several calls that were under way together counts for
        all."""
        now = self._reactor.seconds()
        if now < self._opens_at:
            return
        closed = min(FIRST_CLOSURE * 2.0**self._closures, LONGEST_CLOSURE)
        closed *= (1 + self._jitter()) / 2
        self._closures += 1
        self._opens_at = now + closed
        if self._throttled_since is None:
            self._throttled_since = now
        # One of EC2's buckets is empty. It does not say which: the one that fills within seconds.
        self._calls.empty(now)
        _log.warn(
            "EC2 throttles {action}: it is not asked for {seconds:.1f} s",
            action=self._action,
            seconds=closed,
        )
        for call in [each for each in self._waiting if self._is_hopeless(each)]:
            self._waiting.remove(call)
            call.through.errback(self._closed_error())
        self._let_through()

    def answered(self) -> None:
        self._closures = 0
        self._throttled_since = None

    def _is_hopeless(self, call: _ThrottledCall) -> bool:
        if self._opens_at <= self._reactor.seconds():
            return False
        begins = max(call.since, self._throttled_since or 0.0)
        return self._opens_at >= (begins + self.rate.patience if call.ends is None else call.ends)

    def _closed_error(self) -> EC2Error:
        closed = self._opens_at - self._reactor.seconds()
        text = f"EC2 throttles {self._action}: it is not asked for {closed:.0f} s"
        return EC2Error(Verdict.UNASKED, "Throttled", text)

    def _cancelled(self, through: Deferred[None]) -> None:
        self._waiting = deque(call for call in self._waiting if call.through is not through)
        self._let_through()

    def _let_through(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        now = self._reactor.seconds()
        ready = []
        while self._waiting:
            first = self._waiting[0]
            later = max(
                self._opens_at - now,
                self._calls.seconds_until(1, now),
                self._instances.seconds_until(first.instances, now),
            )
            if later > 0:
                self._timer = self._reactor.callLater(later, self._let_through)
                break
            self._calls.take(1)
            self._instances.take(first.instances)
            ready.append(self._waiting.popleft())
        for call in ready:
            call.through.callback(None)
