"""When calls that are under way have waited long enough: one timer for all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any

from bbs.storage.jobs import Job


class Deadlines:
    """Looks at each call that is not answered `patience` seconds after it was asked for.

    :param look: called with such a call and the time; says when to look again, or None.
    """

    def __init__(
        self, reactor: Any, patience: float, look: Callable[[Job, float], float | None]
    ) -> None:
        self._reactor = reactor
        self._patience = patience
        self._look = look
        self._waiting = 0
        self._first: deque[Job] = deque()
        """Calls that were not looked at yet, in the order in which they were asked for and so are
        due; among them some that have been answered."""
        self._again: list[tuple[float, int, Job]] = []
        """Calls that were, by the time of the next look; a heap."""
        self._numbers = count()
        self._timer: Any = None

    def watch(self, job: Job) -> None:
        """Look at `job`, if it is not answered in time."""
        job.watched = True
        self._first.append(job)
        self._waiting += 1
        if self._timer is None:
            self._timer = self._reactor.callLater(self._patience, self._time)

    def forget(self, job: Job) -> None:
        """`job` is answered, in whatever way."""
        if not job.watched:
            return
        job.watched = False
        self._waiting -= 1
        while self._first and not self._first[0].watched:
            self._first.popleft()
        if not self._waiting:
            self._again.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _time(self) -> None:
        self._timer = None
        now = self._reactor.seconds()
        for job in self._due(now):
            again = self._look(job, now)
            if again is None:
                self.forget(job)
            elif job.watched:
                heappush(self._again, (again, next(self._numbers), job))
        if self._waiting:
            # Whoever was told may have asked for more, which is not what is due first.
            if self._timer is not None:
                self._timer.cancel()
            next_due = min(
                [job.asked_at + self._patience for job in [*self._first][:1]]
                + [due for due, _, _ in self._again[:1]]
            )
            self._timer = self._reactor.callLater(max(0.0, next_due - now), self._time)

    def _due(self, now: float) -> list[Job]:
        due = []
        while self._first and self._first[0].asked_at + self._patience <= now:
            due.append(self._first.popleft())
        while self._again and self._again[0][0] <= now:
            due.append(heappop(self._again)[2])
        return [job for job in due if job.watched]
