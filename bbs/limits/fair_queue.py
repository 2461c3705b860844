"""A fair queue for expensive work, such as hashing a password.

Addresses take turns, so many jobs of one address wait for each other and delay no other address.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.core import tracing
from bbs.core.addresses import counted_as
from bbs.core.errors import Refusal, Unavailable
from bbs.limits.connections import Networks

T = TypeVar("T")

Job = Callable[[], Coroutine[Deferred[Any], Any, T]]
"""Does the work, once the job has its turn."""

MOST_WAITING = 2000
"""Jobs that may wait: some 20 s of hashing on two cores, as long as a client is patient."""

MOST_OF_AN_ADDRESS = 4
"""Jobs of one address that run at once."""

STARTS_PER_TURN = 50
"""Jobs that start in one turn of the reactor. A job that is refused when it starts takes no time,
and 2,000 of these in a row would make everybody wait."""

_log = Logger()


@dataclass(eq=False, repr=False)
class FairQueue:
    """Queues jobs by address. `at_once` run at the same time, `MOST_OF_AN_ADDRESS` of one address.

    A new job waits for at most one job of each other address. When more than `most` wait, the
    address with the most jobs loses its newest, so an address with few always gets in.

    :param per_address: jobs of one address that may wait, unless it is trusted.
    :param clock: schedules the rest for the reactor's next turn.
    """

    at_once: int
    per_address: int
    trusted: Networks
    clock: IReactorTime
    most: int = MOST_WAITING

    def __post_init__(self) -> None:
        self._waiting: dict[str, OrderedDict[_QueuedJob[Any], None]] = {}  # by address
        self._ring: OrderedDict[str, None] = OrderedDict()
        """The addresses that may start another job, in the order of their turns."""
        self._running: Counter[str] = Counter()
        self._count = 0
        self._is_starting = False
        """Whether jobs are being started, or will be in the reactor's next turn."""

    def run(self, host: str, job: Job[T]) -> Deferred[T]:
        """Run `job` for `host` (an address in its usual form, "" for none) when its turn comes; the
        Deferred fires with its result, or fails with `Unavailable` if too many jobs wait.

        Cancelling the Deferred ends the wait. A job that has started goes on to its end and keeps
        its turn, so hanging up gives nobody more turns.
        """
        address = counted_as(host)
        queued = _QueuedJob(self, address, job)
        own = self._waiting.setdefault(address, OrderedDict())
        is_counted = bool(host) and host not in self.trusted
        if is_counted and len(own) >= self.per_address:
            queued.answer.errback(Unavailable())
            return queued.answer
        own[queued] = None
        self._count += 1
        if self._running[address] < MOST_OF_AN_ADDRESS:
            self._ring.setdefault(address)
        self._start_jobs()
        if self._count > self.most:
            # The address with the most jobs; of several, the last to have got so many.
            longest = max(reversed(self._waiting), key=lambda each: len(self._waiting[each]))
            newest = next(reversed(self._waiting[longest]))
            self.remove(newest)
            newest.answer.errback(Unavailable())
        return queued.answer

    def remove(self, queued: _QueuedJob[Any]) -> None:
        """Remove a job that no longer waits."""
        if queued.turn is not None:
            queued.turn.end()
        own = self._waiting[queued.address]
        del own[queued]
        self._count -= 1
        if not own:
            del self._waiting[queued.address]
            self._ring.pop(queued.address, None)

    def finish(self, address: str) -> None:
        """Note that a job of `address` has ended."""
        self._running[address] -= 1
        if not self._running[address]:
            del self._running[address]
        if address in self._waiting:
            self._ring.setdefault(address)
        self._start_jobs()

    def _start_jobs(self) -> None:
        if self._is_starting:
            return  # A job that ends at once comes here while others are being started.
        self._is_starting = True
        for _ in range(STARTS_PER_TURN):
            if not self._ring or self._running.total() >= self.at_once:
                self._is_starting = False
                return
            self._start_next()
        self.clock.callLater(0, self._continue)

    def _continue(self) -> None:
        self._is_starting = False
        self._start_jobs()

    def _start_next(self) -> None:
        address, _ = self._ring.popitem(last=False)
        queued = next(iter(self._waiting[address]))
        self.remove(queued)
        self._running[address] += 1
        if address in self._waiting and self._running[address] < MOST_OF_AN_ADDRESS:
            self._ring[address] = None
        queued.start()


class _QueuedJob(Generic[T]):
    """A job that waits or runs."""

    def __init__(self, queue: FairQueue, address: str, job: Job[T]) -> None:
        self.address = address
        self.answer: Deferred[T] = Deferred(self._cancelled)
        self._queue = queue
        self._job = job
        self._has_started = False
        self._span = tracing.here()
        self.turn = tracing.begin("turn")

    def start(self) -> None:
        self._has_started = True
        # This runs within the span of the job that has just ended.
        with tracing.within(self._span):
            Deferred.fromCoroutine(self._job()).addBoth(self._ended)

    def _ended(self, result: T | Failure) -> None:
        self._queue.finish(self.address)
        if not self.answer.called:
            self.answer.callback(result)
        elif isinstance(result, Failure) and not result.check(Refusal):
            _log.failure("work for somebody who is gone failed", failure=result)

    def _cancelled(self, answer: Deferred[T]) -> None:
        if not self._has_started:
            self._queue.remove(self)
