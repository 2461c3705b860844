"""The way in to the database, from the reactor.

`Database.run(rule, …)` runs a synchronous rule in a transaction on a thread of the database, and
fires with what the rule returns. What it promises:

- Nothing of a rule that failed is kept.
- Races are decided by unique keys: the one that lost runs again and finds what the winner stored.
  Deadlocks and lock time-outs run again too, `ATTEMPTS` times in all.
- A database that is out of reach, or answers nobody, is `errors.Unavailable` within `DEADLINE` plus
  `COMMIT_GRACE`; the next call tries to connect anew, so service returns with the database. A
  process that is merely busy lets its calls wait.
- Readers wait for no writer, and nobody waits for a long reader.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Any, ParamSpec, TypeVar

import peewee
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from bbs.core import tracing
from bbs.core.errors import Unavailable
from bbs.core.threads import ILane, ILanes
from bbs.storage import models
from bbs.storage.engines import connect_to, is_bug, summary
from bbs.storage.sqlite import SqliteDatabase
from bbs.storage.transactions import Job, Transactions

P = ParamSpec("P")
T = TypeVar("T")
Q = TypeVar("Q")

DEADLINE = 1.4
"""Seconds without an answer to anybody of its lane after which a call is given up that does not
commit yet: that a database answers nobody is to be said within 2 s."""

START_PATIENCE = 10.0
"""Seconds that a server which starts waits for a database that others keep busy."""

START_PAUSE = 0.05
"""Seconds between two tries of that."""

COMMIT_GRACE = 0.4
"""Seconds more that a commit under way may take before its outcome counts as unknown."""

CONNECTIONS = 8
"""Connections to a MySQL at the most, unless the configuration says more or less."""

TOGETHER = 16
"""Calls that wait before another thread is used, on a MySQL: what one takes up shares a
transaction."""

SAID_INTERVAL = 1.0
"""Seconds between two lines in the log that the database is away."""

_log = Logger()


def read_only(rule: Callable[P, T]) -> Callable[P, T]:
    """Mark a rule that writes nothing: it need not wait for those that do."""
    rule.__bbs_read_only__ = True  # type: ignore[attr-defined]
    return rule


def is_read_only(rule: Callable[..., object] | None) -> bool:
    """Whether `rule` is marked as `read_only`, or `long_read`."""
    return getattr(rule, "__bbs_read_only__", False)


def long_read(rule: Callable[P, T]) -> Callable[P, T]:
    """Mark a rule that only reads, and much: other readers need not wait for it."""
    rule.__bbs_long__ = True  # type: ignore[attr-defined]
    return read_only(rule)


def marked_as(rule: Callable[..., object] | None, other: Callable[P, T]) -> Callable[P, T]:
    """Mark `other`, which carries out `rule`, as `rule` is; without a rule it only reads."""
    if rule is not None and not is_read_only(rule):
        return other
    return long_read(other) if getattr(rule, "__bbs_long__", False) else read_only(other)


class Database:
    """One database, for one process (peewee's models are bound to it).

    :param url: see `connect_to`.
    :param workers: have the threads that run the transactions.
    :param reactor: keeps the deadlines (`IReactorTime`).
    :param connections: the most to a MySQL. An SQLite file has three: one that writes, one that
        reads, one for long work.
    """

    def __init__(
        self, url: str, workers: ILanes, reactor: IReactorTime, connections: int = CONNECTIONS
    ) -> None:
        self.url = url
        self.peewee = connect_to(url)
        models.database.initialize(self.peewee)
        self._reactor = reactor
        self._transactions = Transactions(self.peewee, url, reactor)
        self._deadlines = Deadlines(reactor, DEADLINE, self._late)
        self._away: set[bool] = set()
        """The kinds of calls that were not served when last tried: False reads, True writes."""
        self._said = False
        """Whether the log says that the database is away, and when it last did."""
        self._said_at = float("-inf")
        self.on_answer: Callable[[float], None] = lambda seconds: None
        """Called within the span of each call that the database answered, with the seconds that it
        took, from `run` on."""
        self._last_answer: dict[ILane, float] = {}
        """When somebody was last answered by the database, on each lane."""
        self._closed = False
        self._make_lanes(workers, connections)

    def _make_lanes(self, workers: ILanes, connections: int) -> None:
        def lane(name: str, threads: int) -> ILane:
            return workers.lane(
                name,
                self._transactions.work,
                self._done,
                threads=threads,
                together=TOGETHER,
                leave=self._transactions.hang_up,
            )

        readers = writers = 1
        if not isinstance(self.peewee, SqliteDatabase):
            readers = max(1, (connections - 1) // 2)
            writers = max(1, connections - 1 - readers)
        self._writing = lane("writing", writers)
        self._reading = lane("reading", readers) if connections > 1 else self._writing
        self._taking_long = lane("taking-long", 1) if connections > 2 else self._reading

    def close(self) -> None:
        """Close this thread's connection; from now on every call is `Unavailable`."""
        self._closed = True
        self._transactions.hang_up()

    @property
    def available(self) -> bool:
        """Whether the database serves: what reads, and what writes, which a full disk refuses."""
        return not self._away

    def run(self, rule: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> Deferred[T]:
        """Run `rule(*arguments, **keywords)` in a transaction.

        Fires with what it returns, or fails with what it raised, or with `Unavailable`.
        """
        if self._closed:
            return fail(Unavailable())
        now, writes = self._reactor.seconds(), not is_read_only(rule)
        lane = self._writing if writes else self._reading
        if getattr(rule, "__bbs_long__", False):
            lane = self._taking_long
        job = Job(rule, arguments, keywords, lane, asked_at=now, writes=writes)
        self._deadlines.watch(job)
        lane.put(job)
        return job.answer

    def run_unhurried(
        self, work: Callable[P, T], *arguments: P.args, **keywords: P.kwargs
    ) -> Deferred[T]:
        """Run `work` on a thread of the database, in its own transactions and without deadline."""
        lane, now = self._taking_long, self._reactor.seconds()
        job = Job(work, arguments, keywords, lane, asked_at=now, writes=True, hurried=False)
        lane.put(job)
        return job.answer

    def run_patiently(
        self, rule: Callable[P, T], *arguments: P.args, **keywords: P.kwargs
    ) -> Deferred[T]:
        """Run `rule` in a transaction of its own, for a server's start: nobody waits for an answer,
        and a database that others keep busy is tried again for `START_PATIENCE`, and so is what
        lost a race: servers that start together write the same rows.

        Fails with `DatabaseRefused` where the database cannot be had.
        """

        def transaction() -> T:
            until = self._reactor.seconds() + START_PATIENCE
            while True:
                try:
                    with self.peewee.atomic():
                        return rule(*arguments, **keywords)
                except (peewee.OperationalError, peewee.IntegrityError) as error:
                    late = self._reactor.seconds() > until
                    if is_bug(error) or self.peewee.is_closed() or late:
                        raise
                time.sleep(START_PAUSE)  # On a thread of the database's.

        return self.run_unhurried(transaction)

    # Answers

    def _done(self, jobs: Sequence[Job]) -> None:
        """Answer calls that have been carried out, or have failed."""
        now = self._reactor.seconds()
        for job in jobs:
            self._deadlines.forget(job)
            if job.answer.called:
                continue
            with tracing.within(job.span):
                if job.hurried:
                    self._note_answer(job, now)
                if job.span is not None:
                    job.trace(job.span, now)
                if job.error is None:
                    job.answer.callback(job.result)
                else:
                    job.answer.errback(job.error)

    def _note_answer(self, job: Job, now: float) -> None:
        away = isinstance(job.error, Unavailable)
        if not away:
            self._last_answer[job.lane] = now
            self.on_answer(now - job.asked_at)
        if away or self._away:
            cause = job.error.__cause__ if job.error else None
            self._noticed(job.writes, summary(cause) if away else None)

    def _late(self, job: Job, now: float) -> float | None:
        """Return when to look again at a call without an answer; None once it is given up."""
        # While the database answers others, this process is busy, and the database is not away.
        alive_until = self._last_answer.get(job.lane, float("-inf")) + DEADLINE
        due = alive_until if job.begun is None else min(alive_until, job.begun + DEADLINE)
        if due > now:
            return due
        if not job.abandon() and not job.late:
            job.late = True
            return now + COMMIT_GRACE
        if not job.answer.called:
            self._noticed(job.writes, "no answer in time")
            job.answer.errback(Unavailable())
        return None

    def _noticed(self, writes: bool, trouble: str | None) -> None:
        """Note that the database served a call, or did not, because of `trouble`; the log has it
        once."""
        if trouble is not None:
            self._away.add(writes)
        else:
            # Whatever writes reads as well.
            self._away -= {False, writes}
        # It may come and go with each call, if it serves some and not others.
        now = self._reactor.seconds()
        if trouble is not None and not self._said and now - self._said_at >= SAID_INTERVAL:
            self._said, self._said_at = True, now
            _log.error("database is away: {trouble}", trouble=trouble)
        elif self.available and self._said:
            self._said = False
            _log.info("database is back")


class Deadlines:
    """Looks at each call that is not answered `patience` seconds after it was asked for.

    :param look: called with such a call and the time; says when to look again, or None.
    """

    def __init__(
        self, reactor: IReactorTime, patience: float, look: Callable[[Job, float], float | None]
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
            # A caller that was answered may have made more calls, which are not due first.
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


def rows(query: Any) -> list[Any]:
    """Return the rows of `query`, as tuples. (To a type checker peewee's rows are models.)"""
    return [*query.tuples()]


def for_update(query: Q) -> Q:
    """Lock the rows that `query` finds until the transaction ends.

    On SQLite a transaction that writes has the whole database already.
    """
    if isinstance(models.database.obj, SqliteDatabase):
        return query
    locking: Any = query
    locked: Q = locking.for_update()
    return locked


def byte_length(text: Any) -> Any:
    """In a query, how many bytes a text has as UTF-8: SQLite counts characters, up to a NUL."""
    if isinstance(models.database.obj, SqliteDatabase):
        return peewee.fn.LENGTH(peewee.Cast(text, "BLOB"))
    return peewee.fn.OCTET_LENGTH(text)


def last_key() -> Any:
    """In a query, the key that the insertion before it gave, on the same connection. On SQLite a
    query that adds several rows may not use it: each row is an insertion there."""
    if isinstance(models.database.obj, SqliteDatabase):
        return peewee.fn.last_insert_rowid()
    return peewee.fn.LAST_INSERT_ID()
