"""A fair queue for work of which little can be done at once, such as hashing a password.

Addresses take turns, so many jobs of one address wait behind each other, and nobody else's do.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.core import tracing
from bbs.core.errors import Refusal, Unavailable
from bbs.limits.connections import Networks, counted_as

T = TypeVar("T")

Job = Callable[[], Coroutine[Deferred[Any], Any, T]]
"""Does the work, when its turn comes."""

MOST_WAITING = 2000
"""Jobs that may wait: some 20 s of hashing on two cores, as long as a client is patient."""

MOST_OF_AN_ADDRESS = 4
"""Jobs of one address that are under way at once."""

TOGETHER = 50
"""Jobs that are begun in one turn of the reactor. Those that are refused when their turn comes take
no time by themselves, and 2,000 of these in a row would have everybody wait."""

_log = Logger()


class FairQueue:
    """Jobs wait here for their turn, by the address that they are for. `at_once` are under way at
    the most, of one address `MOST_OF_AN_ADDRESS`.

    A new job waits for one job at the most of each other address. When `most` wait, the address
    that has most of them loses its newest: so an address with few always gets in.

    :param per_address: how many of an address may wait, unless it is trusted.
    :param clock: has what is left over go on in the reactor's next turn.
    :param most: how many may wait in all.
    """

    def __init__(
        self,
        at_once: int,
        per_address: int,
        trusted: Networks,
        clock: IReactorTime,
        most: int = MOST_WAITING,
    ) -> None:
        self._at_once = at_once
        self._per_address = per_address
        self._trusted = trusted
        self._clock = clock
        self._most = most
        self._waiting: dict[str, OrderedDict[_Waiting[Any], None]] = {}
        """All waiting jobs, by address."""
        self._ring: OrderedDict[str, None] = OrderedDict()
        """The addresses whose turn comes, the next one first, but those of which as many jobs are
        under way as may be."""
        self._under_way: Counter[str] = Counter()
        self._count = 0
        self._begins = False
        self._goes_on = False

    def run(self, host: str, job: Job[T]) -> Deferred[T]:
        """Do `job` for `host` (an address in its usual form, "" for none) when its turn comes; the
        Deferred fires with what it returns or raises.

        Cancelling it ends the wait. A job that has begun goes on to its end, and holds its turn as
        long: so nobody gets more turns by hanging up.

        :raises Unavailable: by the Deferred: too many wait.
        """
        address = counted_as(host)
        mine = _Waiting(self, address, job)
        own = self._waiting.setdefault(address, OrderedDict())
        is_counted = bool(host) and host not in self._trusted
        if is_counted and len(own) >= self._per_address:
            mine.answer.errback(Unavailable())
            return mine.answer
        own[mine] = None
        self._count += 1
        if self._under_way[address] < MOST_OF_AN_ADDRESS:
            self._ring.setdefault(address)
        self._begin()
        if self._count > self._most:
            self._refuse_one()
        return mine.answer

    # For those that wait

    def forget(self, waiting: _Waiting[Any]) -> None:
        """Drop a job that waits no more."""
        waiting.waits_no_more()
        own = self._waiting[waiting.address]
        del own[waiting]
        self._count -= 1
        if not own:
            del self._waiting[waiting.address]
            self._ring.pop(waiting.address, None)

    def ended(self, address: str) -> None:
        """Count a job of `address` as under way no more."""
        self._under_way[address] -= 1
        if not self._under_way[address]:
            del self._under_way[address]
        if address in self._waiting:
            self._ring.setdefault(address)
        self._begin()

    # Turns

    def _begin(self) -> None:
        """Begin what can be begun."""
        if self._begins or self._goes_on:
            return  # It is being done: what ends at once comes here in the middle of it.
        self._begins = True
        for _ in range(TOGETHER):
            if not self._ring or self._under_way.total() >= self._at_once:
                break
            self._begin_next()
        else:
            self._goes_on = True
            self._clock.callLater(0, self._go_on)
        self._begins = False

    def _go_on(self) -> None:
        self._goes_on = False
        self._begin()

    def _begin_next(self) -> None:
        address, _ = self._ring.popitem(last=False)
        waiting = next(iter(self._waiting[address]))
        self.forget(waiting)
        self._under_way[address] += 1
        if address in self._waiting and self._under_way[address] < MOST_OF_AN_ADDRESS:
            self._ring[address] = None
        waiting.begin()

    def _refuse_one(self) -> None:
        # Among addresses with equally many, the last that came to have them.
        address = max(reversed(self._waiting), key=lambda each: len(self._waiting[each]))
        newest = next(reversed(self._waiting[address]))
        self.forget(newest)
        newest.answer.errback(Unavailable())


class _Waiting(Generic[T]):
    """A job that waits, or is under way."""

    def __init__(self, queue: FairQueue, address: str, job: Job[T]) -> None:
        self.address = address
        self.answer: Deferred[T] = Deferred(self._cancelled)
        self._queue = queue
        self._job = job
        self._has_begun = False
        self._span = tracing.here()
        self._turn = tracing.begin("turn")

    def waits_no_more(self) -> None:
        """End the span of its wait."""
        if self._turn is not None:
            self._turn.end()

    def begin(self) -> None:
        """Do the job, as its turn has come."""
        self._has_begun = True
        # Its turn comes in the midst of whatever the job that ended was a part of.
        with tracing.within(self._span):
            Deferred.fromCoroutine(self._job()).addBoth(self._ended)

    def _ended(self, result: T | Failure) -> None:
        self._queue.ended(self.address)
        if not self.answer.called:
            self.answer.callback(result)
        elif isinstance(result, Failure) and not result.check(Refusal):
            _log.failure("work for somebody who is gone failed", failure=result)

    def _cancelled(self, answer: Deferred[T]) -> None:
        if not self._has_begun:
            self._queue.forget(self)
