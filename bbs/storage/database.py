"""The threads that talk to the database, and the transaction around every rule.

`Database.run(rule, …)` is the one way in: it runs a synchronous rule in one transaction on a
thread of its own pool and fires with what the rule returns. What it promises:

- Nothing of a rule that failed is kept.
- Races are decided by unique keys: the one that lost runs again and finds what the winner stored.
  Deadlocks and lock time-outs run again too, `ATTEMPTS` times in all.
- A database that is out of reach, or answers nobody, is `errors.Unavailable` within `DEADLINE` plus
  `COMMIT_GRACE`; the next call tries to connect anew, so service returns with the database. A
  process that is merely busy lets its calls wait.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from threading import Lock
from typing import Any, ParamSpec, TypeVar

import peewee
import pymysql.constants.ER as mysql_errors
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.errors import Unavailable
from bbs.storage import models
from bbs.storage.connecting import SqliteDatabase, connect_to, is_bug, refusal, summary
from bbs.workers import IWorkers

P = ParamSpec("P")
T = TypeVar("T")

DEADLINE = 1.4
"""Seconds until a call that has not begun to commit is given up: the answer is due within 2 s."""

COMMIT_GRACE = 0.4
"""Seconds more that a commit under way may take before its outcome counts as unknown."""

ATTEMPTS = 5
"""How often a transaction is tried that lost a race, met a deadlock or waited long for a lock."""

_log = Logger()


class _Progress(Enum):
    OPEN = "open"
    COMMITTING = "committing"
    ABANDONED = "abandoned"


class _Abandoned(Exception):
    """Nobody waits for this transaction any more, and nobody was told that it succeeded."""


@dataclass
class _Job:
    """One call: either its thread begins to commit, or its caller gives up; never both."""

    rule: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    progress: _Progress = _Progress.OPEN
    begun: float | None = None
    """When a thread took it up, in seconds since the epoch."""
    lock: Lock = field(default_factory=Lock)

    def move(self, progress: _Progress) -> bool:
        with self.lock:
            if self.progress is _Progress.OPEN:
                self.progress = progress
            return self.progress is progress


def read_only(rule: Callable[P, T]) -> Callable[P, T]:
    """Mark a rule that writes nothing: on SQLite it need not wait for those that do."""
    rule.__bbs_read_only__ = True  # type: ignore[attr-defined]
    return rule


def is_read_only(rule: Callable[..., object] | None) -> bool:
    """Whether `rule` is marked so."""
    return getattr(rule, "__bbs_read_only__", False)


class Database:
    """One database, for one process (peewee's models are bound to it).

    :param url: see `connect_to`.
    :param workers: runs the transactions: one thread for SQLite, `pool_size` for MySQL.
    :param reactor: keeps the deadlines (`IReactorTime`).
    """

    def __init__(self, url: str, workers: IWorkers, reactor: Any) -> None:
        self.url = url
        self.peewee = connect_to(url)
        models.database.initialize(self.peewee)
        self._sqlite = isinstance(self.peewee, SqliteDatabase)
        self._workers = workers
        self._reactor = reactor
        self._away: set[bool] = set()
        """Which calls were not served when last tried: those that only read (False), or write."""
        self.on_answer: Callable[[float], None] = lambda seconds: None
        """Told how long each call took that the database answered, in seconds, from `run` on."""
        self._last_answer = float("-inf")
        self._closed = False

    def close(self) -> None:
        """Let go of this thread's connection; from now on every call is `Unavailable`."""
        self._closed = True
        self._hang_up()

    @property
    def available(self) -> bool:
        """Whether the database serves: what reads, and what writes, which a full disk refuses."""
        return not self._away

    @staticmethod
    def threads(url: str, pool_size: int) -> int:
        """How many threads serve the database at `url`."""
        return 1 if url.startswith("sqlite:") else pool_size

    def run(self, rule: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> Deferred[T]:
        """Run `rule(*arguments, **keywords)` in one transaction.

        Fires with what it returns, or fails with what it raised, or with `Unavailable`.
        """
        if self._closed:
            return fail(Unavailable())
        return self._within_deadline(_Job(rule, arguments, keywords))

    def run_unhurried(
        self, work: Callable[P, T], *arguments: P.args, **keywords: P.kwargs
    ) -> Deferred[T]:
        """Run `work` on a thread of the database, in its own transactions and without deadline."""

        def connected() -> T:
            try:
                self.peewee.connect(reuse_if_open=True)
                return work(*arguments, **keywords)
            except (peewee.DatabaseError, peewee.InterfaceError) as error:
                self._hang_up()
                raise refusal(self.url, error) from error

        return self._workers.run(connected)

    def _within_deadline(self, job: _Job) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        asked_at = self._reactor.seconds()
        writes = not is_read_only(job.rule)

        def give_up() -> None:
            if not answer.called:
                self._noticed(writes, "no answer in time")
                answer.errback(Unavailable())

        def at_deadline() -> None:
            # While the database answers others, this process is busy, and the database is not away.
            alive_until = self._last_answer + DEADLINE
            due = alive_until if job.begun is None else min(alive_until, job.begun + DEADLINE)
            patience = due - self._reactor.seconds()
            if patience > 0:
                timers.append(self._reactor.callLater(patience, at_deadline))
            elif job.move(_Progress.ABANDONED):
                give_up()
            else:
                timers.append(self._reactor.callLater(COMMIT_GRACE, give_up))

        def arrived(result: Any) -> None:
            for timer in timers:
                if timer.active():
                    timer.cancel()
            if not answer.called:
                away = isinstance(result, Failure) and result.check(Unavailable)
                if not away:
                    self._last_answer = self._reactor.seconds()
                    self.on_answer(self._last_answer - asked_at)
                self._noticed(writes, summary(result.value.__cause__) if away else None)
                answer.callback(result)

        timers = [self._reactor.callLater(DEADLINE, at_deadline)]
        self._workers.run(self._transact, job).addBoth(arrived)
        return answer

    def _noticed(self, writes: bool, trouble: str | None) -> None:
        """The database served a call, or did not, for a reason that is logged once."""
        before = self.available
        if trouble is not None:
            self._away.add(writes)
        else:
            # Whatever writes reads as well.
            self._away -= {False, writes}
        if before and trouble is not None:
            _log.error("database is away: {trouble}", trouble=trouble)
        elif self.available and not before:
            _log.info("database is back")

    def _transact(self, job: _Job) -> Any:
        job.begun = self._reactor.seconds()
        trouble: Exception = _Abandoned()
        for attempt in range(1, ATTEMPTS + 1):
            if job.progress is _Progress.ABANDONED:
                break
            try:
                return self._attempt(job)
            except _Abandoned:
                break
            except peewee.IntegrityError as error:
                if attempt == ATTEMPTS:
                    raise  # Nobody loses that many races in a row: the rule is wrong.
                trouble = error
            except (peewee.OperationalError, peewee.InterfaceError) as error:
                if is_bug(error):
                    raise
                trouble = error
                if job.progress is _Progress.COMMITTING or not self._worth_another(error, attempt):
                    break
            _log.debug("transaction failed: {error}", error=summary(trouble), attempt=attempt)
        raise Unavailable() from trouble

    def _attempt(self, job: _Job) -> Any:
        self.peewee.connect(reuse_if_open=True)
        try:
            self._begin(job.rule)
            # peewee is told of the transaction, so that what begins one by itself within a rule,
            # as `get_or_create` does, makes a savepoint of it.
            self.peewee.push_transaction(job)
            try:
                result = job.rule(*job.arguments, **job.keywords)
            finally:
                self.peewee.pop_transaction()  # type: ignore[no-untyped-call]
            if not job.move(_Progress.COMMITTING):
                raise _Abandoned()
            self.peewee.commit()
        except BaseException:
            self._roll_back()
            raise
        return result

    def _begin(self, rule: Callable[..., Any]) -> None:
        if isinstance(self.peewee, SqliteDatabase) and is_read_only(rule):
            self.peewee.begin("DEFERRED")
        else:
            self.peewee.begin()

    def _roll_back(self) -> None:
        try:
            self.peewee.rollback()
        except (peewee.PeeweeException, OSError):
            self._hang_up()

    def _hang_up(self) -> None:
        # A connection that cannot be closed is gone; peewee has forgotten it already.
        with suppress(peewee.PeeweeException, OSError):
            self.peewee.close()

    def _worth_another(self, error: Exception, attempt: int) -> bool:
        """Whether a transaction that failed before its commit may succeed when tried again."""
        code = error.args[0] if error.args else None
        if code in (mysql_errors.LOCK_DEADLOCK, mysql_errors.LOCK_WAIT_TIMEOUT):
            return True
        # Any other trouble is taken for the connection's. One that had lain idle may have been
        # closed by the server: a fresh one tells whether the database is there.
        self._hang_up()
        return not self._sqlite and attempt == 1


def rows(query: Any) -> list[Any]:
    """What `query` finds, as tuples. (To a type checker peewee's rows are always models.)"""
    return [*query.tuples()]


def for_update(query: Any) -> Any:
    """Lock the rows that `query` finds until the transaction ends.

    On SQLite a transaction that writes has the whole database already.
    """
    if isinstance(models.database.obj, SqliteDatabase):
        return query
    return query.for_update()
