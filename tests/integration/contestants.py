"""Several people who do things at the same moment: threads, or processes, with a connection each.

    register = once(accounts.register, "ann", "hash", 0.0)
    with contestants(self.database, 2) as together:
        outcomes = together(register, register)

A programme is a callable that takes `call`, which runs a rule as the service does and gives its
outcome; `together` has each contestant carry one out, all starting at once, and gives what they
return. For processes a programme must be one that pickle knows.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, cast

from twisted.internet.interfaces import IReactorTime

from bbs.core.errors import Refusal
from bbs.storage.database import Database, is_read_only
from bbs.storage.transactions import Job, Transactions
from bbs.testing.threads import Inline

SUCCESS = "Success!"

ROUNDS = int(os.environ.get("BBS_TEST_CONTESTS", "10"))
"""How often each contest is held, as one may be decided by chance."""


@dataclass(frozen=True)
class Outcome:
    """What a rule came to: `SUCCESS` and what it returned, or how a peer is told that it failed."""

    text: str
    value: Any = None


Call = Callable[..., Outcome]
Programme = Callable[[Call], Any]


class Patience:
    """A reactor on which no time passes: nobody's deadline comes."""

    def seconds(self) -> float:
        return 0.0

    def callLater(self, delay: float, function: object, *args: object) -> Patience:
        return self

    def cancel(self) -> None:
        """What does not come need not be prevented."""


def patient(url: str) -> Database:
    """The database at `url`, for rules that run in the calling thread, however long they take."""
    return Database(url, Inline(), cast("IReactorTime", Patience()))


def once(rule: Callable[..., object], *arguments: object) -> Programme:
    """Run `rule` and give its outcome."""
    return partial(_once, rule, arguments)


def each(*calls: tuple[Any, ...]) -> Programme:
    """Run several rules, each given with its arguments; gives their outcomes."""
    return partial(_each, calls)


def batches(*calls: Sequence[tuple[Any, ...]]) -> Programme:
    """Run several rules that wait together, and then the next ones; gives the outcomes of all."""
    return partial(_batches, calls)


@contextmanager
def contestants(database: Database, count: int) -> Iterator[Callable[..., list[Any]]]:
    """`together(*programmes)` for `count` programmes: threads on MySQL, processes on SQLite, where
    the threads of one process would only wait for each other."""
    if database.url.startswith("mysql"):
        barrier = threading.Barrier(count)
        with ThreadPoolExecutor(count) as executor:
            carry_out = partial(_together, executor, partial(_in_thread, database, barrier))

            def together(*programmes: Programme) -> list[Any]:
                # On Galera, what the test has written is in a transaction of its own.
                if not database.peewee.is_closed():
                    database.peewee.commit()
                return carry_out(*programmes)

            yield together
    else:
        yield partial(_together, _processes(count), partial(_in_process, database.url))


def _together(
    executor: Executor, carry_out: Callable[[Programme], Any], *programmes: Programme
) -> list[Any]:
    futures = [executor.submit(carry_out, programme) for programme in programmes]
    return [future.result() for future in futures]


def _in_thread(database: Database, barrier: threading.Barrier, programme: Programme) -> Any:
    database.peewee.connect(reuse_if_open=True)
    barrier.wait(60)
    return programme(_Thread(database))


@cache
def _processes(count: int) -> Executor:
    """Processes that are there for all tests: they are slow to start."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(
        count, mp_context=context, initializer=_begin_process, initargs=(context.Barrier(count),)
    )


_barrier: threading.Barrier
_database: Database | None = None


def _begin_process(barrier: threading.Barrier) -> None:
    global _barrier
    _barrier = barrier


def _in_process(url: str, programme: Programme) -> Any:
    global _database
    if _database is None or _database.url != url:
        if _database:
            _database.close()
        _database = patient(url)
    return _in_thread(_database, _barrier, programme)


@dataclass(frozen=True)
class _Thread:
    """Carries out calls as a thread of the database does: several may do so at the same time."""

    database: Database

    def __call__(self, rule: Callable[..., object], *arguments: object) -> Outcome:
        [outcome] = self.together((rule, *arguments))
        return outcome

    def together(self, *calls: tuple[Any, ...]) -> list[Outcome]:
        """Carry out calls that wait at the same time."""
        no_lane: Any = None
        jobs = [
            Job(rule, tuple(some), {}, no_lane, asked_at=0.0, writes=not is_read_only(rule))
            for rule, *some in calls
        ]
        clock = cast("IReactorTime", Patience())
        transactions = Transactions(self.database.peewee, self.database.url, clock)
        waiting = deque(jobs)
        while waiting:
            transactions.work(waiting)
        return [_outcome(job) for job in jobs]


def _outcome(job: Job) -> Outcome:
    if job.error is None:
        return Outcome(SUCCESS, job.result)
    if not isinstance(job.error, Refusal):
        raise job.error
    return Outcome(job.error.message)


def _once(rule: Callable[..., object], arguments: tuple[object, ...], call: Call) -> Outcome:
    return call(rule, *arguments)


def _each(calls: tuple[tuple[Any, ...], ...], call: Call) -> list[Outcome]:
    return [call(*one) for one in calls]


def _batches(calls: tuple[Sequence[tuple[Any, ...]], ...], call: Any) -> list[Outcome]:
    return [outcome for some in calls for outcome in call.together(*some)]
