"""Transactions around rules, on the threads of the database.

Calls that wait together are carried out together. Those that write share one transaction and one
commit, and all are answered behind it: the refused ones too, as they may have seen what another of
them wrote. A call that failed is undone alone: by a savepoint on SQLite, where that takes a
microsecond; on MySQL, where it would be a round trip for everybody, by undoing all of them and
carrying out each alone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from threading import Lock
from typing import Any

import peewee
import pymysql.constants.ER as mysql_errors
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from bbs.core import tracing
from bbs.core.errors import Unavailable
from bbs.core.threads import ILane
from bbs.storage.engines import has_not_committed, is_bug, refusal, summary
from bbs.storage.sqlite import SqliteDatabase

ATTEMPTS = 5
"""How often a transaction is tried that lost a race, met a deadlock or waited long for a lock."""

MOST_TOGETHER = 64
"""Calls at the most that share a transaction."""

LONGEST_TOGETHER = 0.005
"""Seconds after which a transaction takes up no more calls: nobody waits long for others."""

LONG = 0.001
"""Seconds in the queue of a thread that a trace shows."""

_PASSING = (
    mysql_errors.LOCK_DEADLOCK,
    mysql_errors.LOCK_WAIT_TIMEOUT,
    mysql_errors.CHECKREAD,  # MariaDB from 11.6 on: a row has changed since the statement began.
)
"""MySQL's errors of a transaction that lost against another, and may simply be tried again."""

_TROUBLE = (peewee.OperationalError, peewee.InterfaceError)

_log = Logger()


class Transactions:
    """Carries out calls on `database`, on the thread that it is called on.

    :param url: the database's, for what operators are told.
    :param clock: the reactor's.
    """

    def __init__(self, database: Any, url: str, clock: IReactorTime) -> None:
        self._database = database
        self._url = url
        self._seconds = clock.seconds
        self._sqlite = isinstance(database, SqliteDatabase)

    def work(self, waiting: deque[Job]) -> list[Job]:
        """Carry out the call that has waited longest, and those behind it that can share its
        transaction. Returns those that have a result or an error now; a call that was given up
        before has been answered."""
        try:
            first = waiting.popleft()
        except IndexError:
            return []  # Another thread was quicker.
        if not first.hurried:
            self._unhurried(first)
            return [first]
        self._database.doing.reading = not first.writes
        try:
            return self._together(first, waiting) if waiting else self._alone(first)
        finally:
            self._database.doing.reading = False

    def hang_up(self) -> None:
        """Close this thread's connection."""
        # One that cannot be closed is gone; peewee has forgotten it already.
        with suppress(peewee.PeeweeException, OSError):
            self._database.close()

    def _unhurried(self, job: Job) -> None:
        try:
            self._database.connect(reuse_if_open=True)
            job.result = job.rule(*job.arguments, **job.keywords)
        except (peewee.DatabaseError, peewee.InterfaceError) as error:
            self.hang_up()
            job.error = refusal(self._url, error)
            job.error.__cause__ = error
        except BaseException as error:
            job.error = error

    # Several at once

    def _together(self, first: Job, waiting: deque[Job]) -> list[Job]:
        """Carry out `first` and others that wait in one transaction."""
        jobs: list[Job] = []
        first.begun = self._seconds()
        # Readers see what was committed before the first of them read. A reader that comes later
        # may ask for what has been committed since.
        most = MOST_TOGETHER if first.writes else min(MOST_TOGETHER, 1 + len(waiting))
        try:
            self._begin(first.writes)
        except Exception:
            # The first finds out alone what the matter is; the others see whether it lasts.
            self._roll_back()
            return self._alone(first)
        # peewee is told of the transaction, so that what begins one by itself within a rule, as
        # `get_or_create` does, makes a savepoint of it.
        self._database.push_transaction(self)
        try:
            try:
                self._one_by_one(first, waiting, most, jobs)
            finally:
                self._database.pop_transaction()
            self._commit(first.writes, jobs)
        except _Undone as undone:
            _log.debug("transactions are undone: {reason}", reason=summary(undone.__cause__))
            self._roll_back()
            for job in jobs:
                self._alone(job)
        return jobs

    def _one_by_one(self, first: Job, waiting: deque[Job], most: int, jobs: list[Job]) -> None:
        carry_out = self._in_savepoint if first.writes and self._sqlite else self._plainly
        until = time.monotonic() + LONGEST_TOGETHER
        job: Job | None = first
        taken = 1
        while job is not None:
            # A call that was given up would have all the others undone.
            if job.progress is not CommitState.ABANDONED:
                jobs.append(job)
                job.begun = self._seconds()
                carry_out(job)
            job = None
            if taken < most and time.monotonic() < until:
                taken += 1
                job = _take(waiting, first.writes)

    def _in_savepoint(self, job: Job) -> None:
        """Carry out one of several on SQLite, and leave nothing of it if it fails."""
        for _ in range(ATTEMPTS):
            self._say("SAVEPOINT one")
            try:
                job.result = self._call(job)
                job.error = None
            except BaseException as error:
                if _is_trouble(error):
                    raise _Undone from error
                job.error = error
                self._say("ROLLBACK TO one")
            self._say("RELEASE one")
            if not isinstance(job.error, peewee.IntegrityError):
                return

    def _plainly(self, job: Job) -> None:
        """Carry out one of several that read, or write where a failure undoes all of them."""
        self._database.doing.wrote = False
        try:
            job.result = self._call(job)
            job.error = None
        except BaseException as error:
            # A server that complains of a transaction that writes may have undone it.
            of_server = isinstance(error, peewee.PeeweeException)
            if _is_trouble(error) or (job.writes and (of_server or self._database.doing.wrote)):
                raise _Undone from error
            job.error = error

    def _say(self, statement: str) -> None:
        try:
            self._database.carry_out(statement, (), False)
        except peewee.PeeweeException as error:
            raise _Undone from error  # SQLite has undone all by itself, with a full disk for one.

    def _commit(self, writes: bool, jobs: list[Job]) -> None:
        if not writes:
            self._end_reading()
            return
        if not begin_commit(jobs):
            raise _Undone
        try:
            self._database.commit()
        except Exception as error:
            self._roll_back()
            if has_not_committed(error):
                _reopen(jobs)
                raise _Undone from error
            # It may have been carried out all the same.
            for job in jobs:
                _blame(job, error)

    def _end_reading(self) -> None:
        try:
            self._database.end_reading()
        except peewee.PeeweeException:
            self._roll_back()

    # One alone

    def _alone(self, job: Job) -> list[Job]:
        """Carry out `job` in a transaction of its own, more than once if need be."""
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
                if not self._worth_another(job, error, attempt):
                    break
            _log.debug("transaction failed: {error}", error=summary(trouble), attempt=attempt)
        _blame(job, trouble)
        return [job]

    def _attempt(self, job: Job) -> Any:
        self._begin(job.writes)
        self._database.push_transaction(self)
        try:
            result = self._call(job)
        finally:
            self._database.pop_transaction()
        if not job.writes:
            self._end_reading()
        elif begin_commit([job]):
            self._database.commit()
        else:
            raise _Abandoned
        return result

    def _worth_another(self, job: Job, error: BaseException, attempt: int) -> bool:
        """Whether a transaction that raised `error` may succeed when tried again."""
        committing = job.progress is CommitState.COMMITTING
        if committing and has_not_committed(error):
            _reopen([job])
        if isinstance(error, peewee.IntegrityError):
            return True  # It lost a race, and finds what the winner stored.
        if not _is_trouble(error) or committing:
            return False
        if error.args and error.args[0] in _PASSING:
            return True
        # Any other trouble is taken for the connection's. One that had lain idle may have been
        # closed by the server: a fresh one tells whether the database is there.
        self.hang_up()
        return not self._sqlite and attempt == 1

    def _call(self, job: Job) -> Any:
        self._database.doing.in_rule = True
        try:
            return job.rule(*job.arguments, **job.keywords)
        finally:
            self._database.doing.in_rule = False

    # Begin and end

    def _begin(self, writes: bool) -> None:
        self._database.connect(reuse_if_open=True)
        if writes:
            self._database.take_turn()
            self._database.begin()
        else:
            self._database.begin_reading()

    def _roll_back(self) -> None:
        if not self._sqlite and self._database.doing.reading:
            return
        try:
            self._database.rollback()
        except (peewee.PeeweeException, OSError):
            self.hang_up()


def _take(waiting: deque[Job], writes: bool) -> Job | None:
    """Take the next call, if it can share a transaction with others that write, or do not."""
    try:
        job = waiting.popleft()
    except IndexError:
        return None  # None is left, or another thread was quicker.
    if job.hurried and job.writes is writes:
        return job
    waiting.appendleft(job)
    return None


def _is_trouble(error: BaseException) -> bool:
    """Whether the database is at fault and not the statement: both are called operational."""
    return isinstance(error, _TROUBLE) and not is_bug(error)


def _blame(job: Job, error: BaseException) -> None:
    """Have `job` fail by `error`, or as `Unavailable` where the database is at fault."""
    if isinstance(error, _Abandoned) or _is_trouble(error):
        job.error = Unavailable()
        job.error.__cause__ = error
    else:
        job.error = error


_lock = Lock()
"""Held for a moment while the fate of jobs is decided: their threads decide for many of them at
once, the reactor for one whose time is over."""


class CommitState(Enum):
    """How far a call has come. Either its thread begins to commit, or its caller gives up."""

    OPEN = "open"
    COMMITTING = "committing"
    ABANDONED = "abandoned"


class Job:
    """One call: `rule(*arguments, **keywords)`, asked for at `asked_at`, whose `answer` is awaited.

    A call waits in `lane` until a thread takes it up, at `begun`. In the end it has a `result`, or
    an `error`. `hurried` calls have a deadline and are one transaction; others make their own, and
    have none. Times are in seconds, by the reactor's clock. The call is a part of `span`.
    """

    __slots__ = (
        "answer",
        "arguments",
        "asked_at",
        "begun",
        "error",
        "hurried",
        "keywords",
        "lane",
        "late",
        "progress",
        "result",
        "rule",
        "span",
        "watched",
        "writes",
    )

    def __init__(
        self,
        rule: Callable[..., Any],
        arguments: tuple[Any, ...],
        keywords: Mapping[str, Any],
        lane: ILane,
        *,
        asked_at: float,
        writes: bool,
        hurried: bool = True,
    ) -> None:
        self.rule = rule
        self.arguments = arguments
        self.keywords = keywords
        self.lane = lane
        self.asked_at = asked_at
        self.writes = writes
        self.hurried = hurried
        self.answer: Deferred[Any] = Deferred()
        self.span = tracing.here()
        self.progress = CommitState.OPEN
        self.begun: float | None = None
        self.watched = False
        """Whether its deadline is kept."""
        self.late = False
        """Whether its commit was under way at its deadline, and is waited for a moment more."""
        self.result: Any = None
        self.error: BaseException | None = None

    def trace(self, span: tracing.ISpan, now: float) -> None:
        """Tell its `span` where the time went, until `now`."""
        if not span.recorded:
            return
        begun = now if self.begun is None else self.begun
        if not self.hurried:
            begun = self.asked_at
        elif begun - self.asked_at > LONG:
            tracing.past("database queue", begun - self.asked_at, span, now - begun)
        name = getattr(self.rule, "__name__", "")
        tracing.past("database", now - begun, span, rule=name)

    def abandon(self) -> bool:
        """Give it up; False if it is being committed."""
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
    """Go back behind a commit that has certainly not happened."""
    with _lock:
        for job in jobs:
            job.progress = CommitState.OPEN


class _Abandoned(Exception):
    """Nobody waits for this transaction any more, and nobody was told that it succeeded."""


class _Undone(Exception):
    """Calls that share a transaction are to be undone, and each carried out alone."""
