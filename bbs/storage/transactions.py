"""Transactions around rules, on the threads of the database.

Calls that wait at the same time run together. Those that write share one transaction and one
commit, and all are answered after it: the refused ones too, as they may have seen what another of
them wrote. If one fails after it has written, all are undone, and each runs alone: a savepoint for
each would be a round trip on MySQL, and on SQLite, which copies pages for it, up to 50 µs.

The calls of a rule that takes many (`rule.each`, as of `bulk`) are one call, with fewer statements.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum
from threading import Lock
from typing import Any

import peewee
import pymysql.constants.ER as mysql_errors
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from bbs.core import tracing
from bbs.core.errors import DiskFull, Refusal, Unavailable
from bbs.core.threads import ILane
from bbs.storage.engines import has_not_committed, is_bug, is_disk_full, refusal, summary
from bbs.storage.mysql import ROLLED_BACK_AT_COMMIT
from bbs.storage.sqlite import SqliteDatabase
from bbs.storage.transaction_guard import Activity, IdsWentBack

ATTEMPTS = 5  # Attempts of a transaction that lost a race, or waited too long for a lock.
MOST_TOGETHER = 64  # Calls at most that share a transaction.
MOST_IN_BULK = 16  # Calls at most that a rule takes at once; others of them follow.
LONGEST_TOGETHER = 0.005  # Seconds after which a transaction takes no more calls.
OTHERS = 3.0
"""Seconds for which a writer waits for those of other processes before that counts as waiting for
the database: a rule of theirs may be slow."""

SLOW = 1.0  # Seconds of a rule or a handler from which on the log names it.
NAMED_INTERVAL = 60.0  # Seconds between two lines in the log about one rule or handler.
MOST_NAMED = 1000  # Rules and handlers that are remembered for that.
TRACED_WAIT = 0.001  # Seconds in the queue of a thread from which on a trace shows them.

_RETRYABLE = (
    mysql_errors.LOCK_DEADLOCK,
    mysql_errors.LOCK_WAIT_TIMEOUT,
    mysql_errors.CHECKREAD,  # MariaDB from 11.6 on: a row has changed since the statement began.
    ROLLED_BACK_AT_COMMIT,
)
"""MySQL's errors of a transaction that conflicted with another, and can be tried again."""

_log = Logger()


@dataclass(eq=False, repr=False)  # The URL may have a password.
class Transactions:
    """Runs calls on `database`, on the calling thread."""

    database: Any
    url: str  # For messages to operators.
    clock: IReactorTime

    def __post_init__(self) -> None:
        self._seconds = self.database.clock = self.clock.seconds
        self.activities: set[Activity] = set()
        """The work of the database's threads."""
        self.slow = SlowCalls(self.clock)
        self.took_long: deque[tuple[Callable[..., Any], float, str]] = deque()
        """Slow calls that are not in the log yet: the rule, its seconds, its slowest statement."""
        self._sqlite = isinstance(self.database, SqliteDatabase)

    def work(self, waiting: deque[Job]) -> list[Job]:
        """Run the call that has waited longest, and those behind it that can share its transaction.
        Returns those that now have a result or an error, but none that was given up before."""
        try:
            first = waiting.popleft()
        except IndexError:
            return []  # Another thread was quicker.
        if not first.has_deadline:
            self._run_without_deadline(first)
            return [first]
        state = self.database.state
        state.reading = not first.writes
        activity = state.activity
        self.activities.add(activity)
        activity.lane, activity.waits_since = first.lane, self._seconds()
        try:
            has_company = waiting and not first.alone
            return self._run_together(first, waiting) if has_company else self._run_alone(first)
        finally:
            state.reading = False
            activity.lane = activity.waits_since = None

    def is_stuck(self, lane: ILane, patience: float) -> bool:
        """Whether every thread that carries out calls of `lane` has waited for the database for
        `patience` seconds. Others are busy with the code of a rule."""
        until = self._seconds() - patience
        busy = [each.waits_since for each in [*self.activities] if each.lane is lane]
        return all(since is not None and since <= until for since in busy)

    def hang_up(self) -> None:
        """Close this thread's connection."""
        # A connection that cannot be closed is lost; peewee has forgotten it already.
        with suppress(peewee.PeeweeException, OSError):
            self.database.close()

    def _run_without_deadline(self, job: Job) -> None:
        try:
            self.database.begin_by_hand()
            job.result = job.rule(*job.arguments, **job.keywords)
        except (peewee.DatabaseError, peewee.InterfaceError) as error:
            self.hang_up()
            job.error = refusal(self.url, error)
            job.error.__cause__ = error
        except BaseException as error:
            job.error = error

    def _run_together(self, first: Job, waiting: deque[Job]) -> list[Job]:
        """Run `first` and others that wait in one transaction."""
        jobs: list[Job] = []
        first.begun = self._seconds()
        # Readers see what was committed before the first of them read. A reader that comes later
        # may ask for what has been committed since.
        most = MOST_TOGETHER if first.writes else min(MOST_TOGETHER, 1 + len(waiting))
        try:
            self._begin(first.writes)
        except Exception:
            # The first one alone finds the cause; the others see whether it lasts.
            self._roll_back()
            return self._run_alone(first)
        # This makes savepoints of transactions that peewee begins in a rule (`get_or_create`).
        self.database.push_transaction(self)
        try:
            try:
                self._run_each(first, waiting, most, jobs)
            finally:
                self.database.pop_transaction()
            self._commit(first.writes, jobs)
        except _Undone as undone:
            _log.debug("transactions are undone: {reason}", reason=summary(undone.__cause__))
            self._roll_back()
            if not jobs:
                return []
            # One of them may wait for a lock again: other threads can take the others.
            first, *others = jobs
            for job in others:
                job.alone, job.begun = True, None
            waiting.extendleft(reversed(others))
            return self._run_alone(first)
        return jobs

    def _run_each(self, first: Job, waiting: deque[Job], most: int, jobs: list[Job]) -> None:
        until = time.monotonic() + LONGEST_TOGETHER
        taken = [first, *_take_alike(waiting, first)]
        while taken:
            most -= len(taken)
            # A call that was given up would undo all the others.
            taken = [job for job in taken if job.progress is not CommitState.ABANDONED]
            groups = _by_rule(taken)
            try:
                while groups and not (jobs and time.monotonic() > until):
                    apart = self._run_group(groups.popleft(), jobs)
                    groups.extendleft([job] for job in reversed(apart))
            finally:
                waiting.extendleft(job for group in reversed(groups) for job in reversed(group))
            taken = [] if time.monotonic() > until else _take(waiting, first.writes, most)

    def _run_group(self, group: list[Job], jobs: list[Job]) -> list[Job]:
        """Run the calls of one rule, and add them to `jobs`; returns those that have to be run one
        by one."""
        for job in group:
            job.begun = self._seconds()
        if len(group) == 1:
            jobs += group
            self._run_plainly(group[0])
            return []
        undone = jobs + group  # If it fails after it has written.
        try:
            is_done = self._run_in_bulk(group)
        except _Undone:
            jobs[:] = undone
            raise
        if is_done:
            jobs += group
            return []
        for job in group:
            job.apart = True
        return group

    def _run_in_bulk(self, jobs: list[Job]) -> bool:
        """Run several calls of a rule that takes many. Returns False if that failed, and nothing
        was written: each call alone shows its own error."""
        rule: Any = jobs[0].rule
        self.database.state.wrote = False
        try:
            results = self._call(rule.each, [job.arguments for job in jobs])
            for job, result in zip(jobs, results, strict=True):
                job.result, job.error = result, None
                if isinstance(result, Refusal):
                    job.result, job.error = None, result
        except BaseException as error:
            if not isinstance(error, (EachAlone, Refusal, IdsWentBack, peewee.PeeweeException)):
                _log.warn("calls are made one by one: {error}", error=repr(error))
            if self._must_undo(error, jobs[0]):
                raise _Undone from error
            return False
        return True

    def _run_plainly(self, job: Job) -> None:
        """Run one of several calls, whose failure undoes all of them if it wrote."""
        self.database.state.wrote = False
        try:
            job.result = self._call(job.rule, *job.arguments, **job.keywords)
            job.error = None
        except BaseException as error:
            if self._must_undo(error, job):
                raise _Undone from error
            job.error = error

    def _must_undo(self, error: BaseException, job: Job) -> bool:
        # After an error, a server may have undone a transaction that writes, and SQLite has if its
        # disk is full.
        of_server = isinstance(error, peewee.PeeweeException)
        wrote = of_server or self.database.state.wrote
        return _is_trouble(error) or (job.writes and wrote)

    def _commit(self, writes: bool, jobs: list[Job]) -> None:
        if not writes:
            self._end_reading()
            return
        if not begin_commit(jobs):
            raise _Undone
        try:
            self.database.commit()
            self.database.keep_ids()
        except Exception as error:
            self.database.note_trouble(error)
            self._roll_back()
            if has_not_committed(error):
                _reopen(jobs)
                raise _Undone from error
            # The commit may have succeeded all the same.
            for job in jobs:
                _fail(job, error)

    def _end_reading(self) -> None:
        try:
            self.database.end_reading()
        except peewee.PeeweeException:
            self._roll_back()

    def _run_alone(self, job: Job) -> list[Job]:
        """Run `job` in a transaction of its own, several times if necessary."""
        trouble: BaseException = _Abandoned()
        for attempt in range(1, ATTEMPTS + 1):
            if job.progress is CommitState.ABANDONED:
                break
            if job.begun is None:
                job.begun = self._seconds()
            try:
                job.result, job.error = self._attempt(job), None
                return [job]
            except BaseException as error:
                self._roll_back()
                trouble = error
                if not self._is_retryable(job, error, attempt):
                    break
            _log.debug("transaction failed: {error}", error=summary(trouble), attempt=attempt)
        _fail(job, trouble)
        return [job]

    def _attempt(self, job: Job) -> Any:
        self._begin(job.writes)
        self.database.push_transaction(self)
        try:
            result = self._call(job.rule, *job.arguments, **job.keywords)
        finally:
            self.database.pop_transaction()
        if not job.writes:
            self._end_reading()
        elif begin_commit([job]):
            self.database.commit()
            self.database.keep_ids()
        else:
            raise _Abandoned
        return result

    def _is_retryable(self, job: Job, error: BaseException, attempt: int) -> bool:
        """Whether a transaction that raised `error` may succeed when tried again."""
        self.database.note_trouble(error)
        committing = job.progress is CommitState.COMMITTING
        if committing and has_not_committed(error):
            _reopen([job])
            committing = False
        if isinstance(error, peewee.IntegrityError):
            return True  # The rule lost a race, and will find what the winner stored.
        if not _is_trouble(error) or committing:
            return False
        if error.args and error.args[0] in _RETRYABLE:
            return True
        # Any other trouble is the connection's. The server may have closed an idle connection: a
        # new one shows whether the database is there.
        self.hang_up()
        return not self._sqlite and attempt == 1

    def _call(self, rule: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        state, began = self.database.state, self._seconds()
        state.in_rule, state.activity.waits_since, state.slowest = True, None, ""
        state.longest = 0.0
        try:
            return rule(*arguments, **keywords)
        finally:
            now = state.activity.waits_since = self._seconds()
            state.in_rule = False
            if now - began >= self.slow.after:
                self.took_long.append((rule, now - began, state.slowest))

    def _begin(self, writes: bool) -> None:
        self.database.connect(reuse_if_open=True)
        if writes:
            self.database.begin_noting_ids()
            activity = self.database.state.activity
            activity.waits_since = self._seconds() + OTHERS
            self.database.take_turn()
            activity.waits_since = self._seconds()
            self.database.begin_writing()
        else:
            self.database.begin_reading()

    def _roll_back(self) -> None:
        if not self._sqlite and self.database.state.reading:
            return
        try:
            self.database.rollback()
        except (peewee.PeeweeException, OSError):
            self.hang_up()


def _take(waiting: deque[Job], writes: bool, most: int) -> list[Job]:
    """Take up to `most` calls that can share a transaction with calls that write, or only read."""
    taken: list[Job] = []
    while len(taken) < most:
        try:
            job = waiting.popleft()
        except IndexError:
            break  # The queue is empty, or another thread was quicker.
        if not job.has_deadline or job.alone or job.writes is not writes:
            waiting.appendleft(job)
            break
        taken.append(job)
    return taken


def _take_alike(waiting: deque[Job], first: Job) -> list[Job]:
    """Take the calls right behind `first` that are one call with it. All others may be taken up by
    other threads while that is carried out, as it may have to wait for a lock."""
    taken: list[Job] = []
    while first.is_for_many and len(taken) < MOST_IN_BULK - 1:
        following = _take(waiting, first.writes, 1)
        if following and not (following[0].is_for_many and following[0].rule == first.rule):
            waiting.appendleft(following.pop())
        if not following:
            break
        taken += following
    return taken


def _by_rule(jobs: list[Job]) -> deque[list[Job]]:
    """Put together the calls of each rule that takes many; all others are alone."""
    groups: deque[list[Job]] = deque()
    open_groups: dict[object, list[Job]] = {}
    for job in jobs:
        if not job.is_for_many:
            groups.append([job])
            continue
        group = open_groups.get(job.rule)
        if group is None or len(group) == MOST_IN_BULK:
            group = open_groups[job.rule] = []
            groups.append(group)
        group.append(job)
    return groups


def _is_trouble(error: BaseException) -> bool:
    """Whether the database is away, rather than the statement wrong."""
    of_database = isinstance(error, (peewee.OperationalError, peewee.InterfaceError))
    return of_database and not is_bug(error)


def _fail(job: Job, error: BaseException) -> None:
    """Let `job` fail with `error`, or with `Unavailable` if the database is away, or with
    `DiskFull`."""
    if isinstance(error, _Abandoned) or _is_trouble(error):
        job.error = DiskFull() if is_disk_full(error) else Unavailable()
        job.error.__cause__ = error
    else:
        job.error = error


_lock = Lock()
"""Held while a `CommitState` changes: threads change those of many jobs at once, and the reactor
that of a job which is late."""


class SlowCalls:
    """Names rules and handlers that take long in the log: each at most once in `interval` seconds.

    :ivar after: seconds from which on one is named.
    :ivar server: tells the kind and the id of this server.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._seconds = clock.seconds
        self._named: dict[tuple[str, str], list[float]] = {}
        """When each was named last, and how often it was slow since."""
        self.after, self.interval = SLOW, NAMED_INTERVAL
        self.server: Callable[[], str] = lambda: ""

    def check(self, kind: str, name: str, seconds: float) -> None:
        """Note a call if it was slow."""
        if seconds >= self.after:
            self.note(kind, name, seconds)

    def note(
        self, kind: str, name: str, seconds: float, statement: str = "", outcome: str = ""
    ) -> None:
        """Note that a `kind` of call was slow; `statement` is the slowest of its statements, and
        `outcome` what became of the call, for the end of a sentence."""
        now, key = self._seconds(), (kind, name)
        named = self._named.get(key)
        if named is not None and now - named[0] < self.interval:
            named[1] += 1
            return
        if named is None and len(self._named) >= MOST_NAMED:
            self._named.clear()
        self._named[key] = [now, 0]
        _log.warn(
            "the {kind} {name} took {seconds:.2f} s{server}{outcome}{more}{statement}",
            kind=kind,
            name=name,
            seconds=seconds,
            server=f" on {server}" if (server := self.server()) else "",
            outcome=outcome,
            more=f" ({named[1]:.0f} more were slow)" if named and named[1] else "",
            statement=statement and f"; its slowest statement took {statement}",
            for_developers=True,
        )


def name_of_rule(rule: Any) -> str:
    """The name of a rule for operators and authors: `package.module.function`. The replacement
    keeps the original in `stands_for`."""
    owner = getattr(rule, "__self__", None)
    named = owner if hasattr(owner, "each") else rule
    inner = getattr(named, "stands_for", None) or getattr(named, "func", None)
    if inner is not None:
        return name_of_rule(inner)
    shown: Any = named if hasattr(named, "__qualname__") else type(named)
    return f"{shown.__module__}.{shown.__qualname__}"


class CommitState(Enum):
    """The progress of a call. Either its thread begins to commit, or its caller gives up."""

    OPEN = "open"
    COMMITTING = "committing"
    ABANDONED = "abandoned"


@dataclass(slots=True, eq=False, repr=False)  # Arguments may be tokens or hashes.
class Job:
    """One call: `rule(*arguments, **keywords)`. Times are in seconds, by the reactor's clock."""

    rule: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    lane: ILane  # Where it waits for a thread.
    _: KW_ONLY
    asked_at: float
    writes: bool
    has_deadline: bool = True  # It is one transaction; others make their own.
    answer: Deferred[Any] = field(default_factory=Deferred)  # The caller awaits this.
    span: tracing.ISpan | None = None  # The call is a part of it.
    progress: CommitState = CommitState.OPEN
    begun: float | None = None  # When a thread began with it.
    watched: bool = False  # `Deadlines` checks it.
    late: bool = False  # It was committing at its deadline, and has `COMMIT_GRACE` more.
    alone: bool = False  # A transaction that it shared was undone.
    apart: bool = False  # Its rule could not take it together with others.
    result: Any = None  # What the rule returned.
    error: BaseException | None = None  # What the rule or the database raised.

    @property
    def is_for_many(self) -> bool:
        """Whether its rule takes it together with others."""
        return hasattr(self.rule, "each") and not (self.keywords or self.apart)

    def trace(self, span: tracing.ISpan, now: float) -> None:
        """Record in `span` where the time went, until `now`."""
        if not span.recorded:
            return
        begun = now if self.begun is None else self.begun
        if not self.has_deadline:
            begun = self.asked_at
        elif begun - self.asked_at > TRACED_WAIT:
            tracing.past("database queue", begun - self.asked_at, span, now - begun)
        name = getattr(self.rule, "__name__", "")
        tracing.past("database", now - begun, span, rule=name)

    def begin_again(self) -> None:
        """Make the call another time, after it was undone."""
        self.begun, self.result, self.error = None, None, None
        self.alone = self.apart = False

    def abandon(self) -> bool:
        """Give the call up; False if it is being committed."""
        with _lock:
            if self.progress is CommitState.OPEN:
                self.progress = CommitState.ABANDONED
            return self.progress is CommitState.ABANDONED


def begin_commit(jobs: list[Job]) -> bool:
    """Begin to commit all of `jobs`; False if one of them was given up."""
    with _lock:
        if any(job.progress is CommitState.ABANDONED for job in jobs):
            return False
        for job in jobs:
            job.progress = CommitState.COMMITTING
        return True


def _reopen(jobs: list[Job]) -> None:
    """Mark jobs as open again, after a commit that has certainly not happened."""
    with _lock:
        for job in jobs:
            job.progress = CommitState.OPEN


class EachAlone(Exception):
    """Raised by a rule that takes many: these calls are to be made one by one."""


class _Abandoned(Exception):
    """The caller no longer waits for this transaction, and was not told that it succeeded."""


class _Undone(Exception):
    """Calls that share a transaction must be undone, and each run alone."""
