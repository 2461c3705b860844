"""The interface between the reactor and the database.

`Database.run(rule, …)` runs a synchronous rule in a transaction on a thread of the database, and
fires with what the rule returns. Its guarantees:

- A rule that failed changes nothing.
- Unique keys decide races: the rule that lost runs again and finds what the winner stored. A rule
  also runs again after a deadlock or a lock time-out, `ATTEMPTS` times in all.
- If the database is away, or answers no call, a call fails with `errors.Unavailable` within
  `DEADLINE` plus `COMMIT_GRACE`. The next call connects anew, so service returns with the database.
  In a process that is merely busy calls wait. A rule that is slow by itself fails likewise, but the
  database does not count as away.
- Readers do not wait for writers, and no call waits for a long reader.
- A table never gives an id again, even if the database goes back to an earlier state. A call that
  was about to get one runs again once ids are higher (`bbs.storage.rising_ids`).
"""

from __future__ import annotations

import json
import time
from collections import ChainMap, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from heapq import heappop, heappush
from itertools import count
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar

import peewee
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.core import tracing
from bbs.core.errors import DiskFull, Refusal, TookTooLong, Unavailable
from bbs.core.threads import ILane, ILanes
from bbs.core.values import DiskState
from bbs.storage import models
from bbs.storage.engines import connect_to, is_bug, summary
from bbs.storage.mysql_servers import ServerFacts
from bbs.storage.sqlite import SqliteDatabase
from bbs.storage.transaction_guard import IdsWentBack
from bbs.storage.transactions import CommitState, Job, Transactions, name_of_rule

P = ParamSpec("P")
C = TypeVar("C")
T = TypeVar("T")
Q = TypeVar("Q")

DEADLINE = 1.4
"""Seconds without an answer to any call of its lane after which a call that does not commit yet is
given up: users are to hear within 2 s that the database does not answer."""

STUCK = DEADLINE / 2
"""Seconds without an answer to a statement for which, at a deadline, the database is away: the
statement that keeps a call from being answered began somewhat later than the call."""

UNDONE = f", and was undone: nobody waits longer than {DEADLINE} s"
"""The log's words after a slow rule that was given up."""

START_PATIENCE = 10.0  # Seconds that a server which starts waits for a busy database.
START_PAUSE = 0.05  # Seconds between two attempts at the start.
COMMIT_GRACE = 0.4  # Seconds more for a commit under way before its outcome counts as unknown.
CONNECTIONS = 8  # Default number of connections to a MySQL.
TOGETHER = 16  # Calls that wait before another thread is used, on a MySQL.
MOST_CACHED = 1 << 23  # Bytes that a thread caches of a table, and what one rule adds to them.
LONGEST_CACHED = 2048  # Bytes of a row that is cached.
AROUND_CACHED = 150  # Bytes that Python needs for one, beside its own.
LOG_INTERVAL = 1.0  # Seconds between two lines in the log that the database is away.
REASON_INTERVAL = 60.0  # Seconds until another reason is logged, while it is away all the time.
FULL_INTERVAL = 60.0
"""Seconds between two lines in the log about a full database, and those for which it counts as full
after it could not write."""

_log = Logger()


def read_only(rule: Callable[P, T]) -> Callable[P, T]:
    """Mark a rule that writes nothing: it need not wait for rules that write."""
    rule.__bbs_read_only__ = True  # type: ignore[attr-defined]
    return rule


def is_read_only(rule: Callable[..., object] | None) -> bool:
    """Whether `rule` is marked as `read_only` or `long_read`."""
    return getattr(rule, "__bbs_read_only__", False)


def long_read(rule: Callable[P, T]) -> Callable[P, T]:
    """Mark a rule that only reads, for long: other readers need not wait for it."""
    rule.__bbs_long__ = True  # type: ignore[attr-defined]
    return read_only(rule)


def long_write(rule: Callable[P, T]) -> Callable[P, T]:
    """Mark a rule that changes much, for nobody who waits: it uses the thread of long reads, and
    shares no transaction with what people ask for."""
    rule.__bbs_long__ = True  # type: ignore[attr-defined]
    return rule


def marked_as(rule: Callable[..., object] | None, other: Callable[P, T]) -> Callable[P, T]:
    """Mark `other`, which calls `rule`, as `rule` is marked; without a rule as `read_only`."""
    if rule is not None and not is_read_only(rule):
        return other
    return long_read(other) if getattr(rule, "__bbs_long__", False) else read_only(other)


class BulkRule(Generic[P, C, T]):
    """A rule that is carried out for several callers at once; `bulk` makes one. A call is for one
    caller."""

    def __init__(
        self, check: Callable[P, C], carry_out: Callable[[Sequence[C]], Sequence[T]]
    ) -> None:
        update_wrapper(self, carry_out)
        self.__wrapped__ = check  # Its signature is the rule's.
        self._check = check
        self._carry_out = carry_out

    def __call__(self, *arguments: P.args, **keywords: P.kwargs) -> T:
        [result] = self._carry_out([self._check(*arguments, **keywords)])
        return result

    def __reduce__(self) -> str:
        return self._carry_out.__qualname__  # Another process finds it by its name, as a function.

    def each(self, calls: Sequence[tuple[Any, ...]]) -> list[T | Refusal]:
        """Carry out several calls, each a tuple of arguments. A call that is refused before
        anything is written has its refusal as the result. If this raises, nothing must remain of
        it, and each call can be made alone."""
        checked = attempt_each(self._check, calls)
        accepted = [each for each in checked if not isinstance(each, Refusal)]
        results = self._carry_out(accepted) if accepted else ()
        if len(results) != len(accepted):
            raise ValueError(f"{len(results)} results of {len(accepted)} calls")
        following = iter(results)
        return [each if isinstance(each, Refusal) else next(following) for each in checked]


def bulk(
    check: Callable[P, C],
) -> Callable[[Callable[[Sequence[C]], Sequence[T]]], BulkRule[P, C, T]]:
    """Make a rule that serves all callers who wait for it at the same time by a few statements,
    instead of a few for each:

        def _check(caller, name, text):
            ...  # raise a Refusal, or return what the rule needs of this call
            return Letter(caller, friend, text)

        @bulk(_check)
        def send(letters):
            numbers = _add.each([(letter.friend, letter.text) for letter in letters])
            return [...]  # a result for each

    `check` is called for each caller, and may only read. The function then carries out all calls
    that were not refused. One call and many take the same way: if the function raises an error for
    several, anything written is undone, and each call is made alone: the error then concerns one.
    """
    return lambda carry_out: BulkRule(check, carry_out)


def attempt_each(rule: Callable[..., T], calls: Sequence[tuple[Any, ...]]) -> list[T | Refusal]:
    """Call `rule`, which only reads, with each tuple of arguments; returns results and refusals."""
    results: list[T | Refusal] = []
    for call in calls:
        try:
            results.append(rule(*call))
        except Refusal as refusal:
            results.append(refusal)
    return results


@dataclass(frozen=True)
class DiskSpace:
    """Bytes of the disk of an SQLite database."""

    free: int
    floor: int  # That have to stay free.
    whole: int


class Database:
    """The one database of a process, at `url` (see `connect_to`): peewee's models are bound to it.
    Threads of `workers` run the transactions. `connections` are the most to a MySQL; an SQLite file
    has three: one that writes, one that reads, one for long work.

    :ivar disk_is_low: whether its disk is so full that texts are refused (`stores_text`).
    :ivar space: the room on its disk as last seen; None if that is not known, as with MySQL.
    """

    disk_is_low = False
    space: DiskSpace | None = None

    def __init__(
        self,
        url: str,
        workers: ILanes,
        reactor: IReactorTime,
        connections: int = CONNECTIONS,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.url = url
        self._wall = wall
        self._put_back: list[Job] = []  # Calls that wait until ids are higher.
        self._raising = False
        self.peewee = connect_to(url)
        models.database.initialize(self.peewee)
        self._reactor = reactor
        self._transactions = Transactions(self.peewee, url, reactor)
        self.slow = self._transactions.slow
        self._deadlines = Deadlines(reactor, DEADLINE, self._check_deadline)
        self._away: set[bool] = set()
        """The kinds of calls that failed last: False reads, True writes."""
        self._logged_trouble: str | None = None  # Why it is away, as the log says.
        self._logged_at = float("-inf")
        self.on_answer: Callable[[float], None] = lambda seconds: None
        """Called in the span of each answered call, with the seconds that it took since `run`."""
        self._failed_to_write = self._logged_full_at = float("-inf")
        self._last_answer: dict[ILane, float] = {}  # When the database last answered, by lane.
        self._closed = False

        def lane(name: str, threads: int) -> ILane:
            return workers.lane(
                name,
                self._transactions.work,
                self._answer,
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

    def tell_settings(self, sections: Mapping[type[Any], Any]) -> None:
        """Have rules find these sections of the configuration, by the classes that declare them."""
        database: Any = self.peewee
        database.sections = sections

    def close(self) -> None:
        """Close this thread's connection; from now on every call fails with `Unavailable`."""
        self._closed = True
        self._transactions.hang_up()

    def refuse_here(self) -> None:
        """Refuse all statements on this thread, where the reactor runs: rules run elsewhere."""
        database: Any = self.peewee
        database.refuse_here()

    @property
    def connection_state(self) -> Any:
        """This thread's connection, as peewee keeps it: `closed` and `conn`."""
        database: Any = self.peewee
        return database._state

    @property
    def driver(self) -> str:
        """The name and version of the driver, for operators."""
        database: Any = self.peewee
        return str(database.driver)

    @property
    def server(self) -> ServerFacts | None:
        """What the server of a MySQL said of itself as it was last connected to; else None."""
        servers = getattr(self.peewee, "servers", None)
        facts: ServerFacts | None = servers and servers.facts
        return facts

    def advice(self) -> Deferred[str]:
        """A line for operators about the servers of a MySQL; "" if there is nothing to say."""
        return self.run_untimed(getattr(self.peewee, "advice", str))

    @property
    def node(self) -> str:
        """The database node that this server writes to, as its heartbeats say; "" if not known."""
        return self.server.node if self.server else ""

    @property
    def available(self) -> bool:
        """Whether the database serves both reads and writes, which a full disk refuses."""
        return not self._away

    @property
    def answers(self) -> bool:
        """Whether it serves all calls, or while its disk is full those that only read."""
        return self.available or (self.disk is DiskState.FULL and False not in self._away)

    def run(self, rule: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> Deferred[T]:
        """Run `rule(*arguments, **keywords)` in a transaction. Fires with what it returns, or fails
        with what it raised, or with `Unavailable`."""
        if self._closed:
            return fail(Unavailable())
        now, writes = self._reactor.seconds(), not getattr(rule, "__bbs_read_only__", False)
        lane = self._writing if writes else self._reading
        if getattr(rule, "__bbs_long__", False):
            lane = self._taking_long
        job = Job(rule, arguments, keywords, lane, asked_at=now, writes=writes)
        if tracing.recording:
            job.span = tracing.here()
        self._deadlines.watch(job)
        lane.put(job)
        return job.answer

    def run_untimed(
        self, work: Callable[P, T], *arguments: P.args, **keywords: P.kwargs
    ) -> Deferred[T]:
        """Run `work` on a thread of the database, with its own transactions and no deadline."""
        lane, now = self._taking_long, self._reactor.seconds()
        job = Job(work, arguments, keywords, lane, asked_at=now, writes=True, has_deadline=False)
        job.span = tracing.here()
        lane.put(job)
        return job.answer

    def run_at_start(
        self, rule: Callable[P, T], *arguments: P.args, **keywords: P.kwargs
    ) -> Deferred[T]:
        """Run `rule` in a transaction of its own, at a server's start. If the database is busy, or
        the rule loses a race, it is tried again for `START_PATIENCE`: servers that start together
        write the same rows. Fails with `DatabaseRefused`."""

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
                time.sleep(START_PAUSE)  # On a thread of the database.

        return self.run_untimed(transaction)

    def _answer(self, jobs: Sequence[Job]) -> None:
        """Answer calls that have succeeded or failed."""
        now = self._reactor.seconds()
        if any(isinstance(job.error, IdsWentBack) for job in jobs):
            jobs = self._put_some_back(jobs)
        while self._transactions.took_long:
            rule, seconds, statement = self._transactions.took_long.popleft()
            name = name_of_rule(rule)
            given_up = [job for job in jobs if job.progress is CommitState.ABANDONED]
            undone = any(name_of_rule(job.rule) == name for job in given_up)
            self.slow.note("rule", name, seconds, statement, UNDONE if undone else "")
        for job in jobs:
            self._deadlines.forget(job)
            if job.answer.called:
                continue
            with tracing.within(job.span) if tracing.recording else tracing.NOTHING:
                if job.has_deadline:
                    self._note_answer(job, now)
                if job.span is not None:
                    job.trace(job.span, now)
                if job.error is None:
                    job.answer.callback(job.result)
                else:
                    job.answer.errback(job.error)

    def _put_some_back(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Keep the calls that were given an id again, to make them once ids are higher; returns the
        others."""
        put_back = [each for each in jobs if is_put_back(each)]
        self._put_back += put_back
        if put_back and not self._raising:
            self._raise_ids()
        return [each for each in jobs if each not in put_back]

    def _raise_ids(self) -> None:
        self._raising = True
        _log.error("the database has gone back to an earlier state: it gave an id again")
        self.begin_era().addCallbacks(self._make_again, self._give_up)

    def _make_again(self, era: int) -> None:
        self._raising = False
        jobs, self._put_back = self._put_back, []
        for job in jobs:
            job.begin_again()
            job.lane.put(job)

    def _give_up(self, failure: Failure) -> None:
        self._raising = False
        _log.failure("ids could not be raised", failure=failure)
        jobs, self._put_back = self._put_back, []
        for job in jobs:
            job.error = Unavailable()
            job.error.__cause__ = failure.value
        self._answer(jobs)

    def begin_era(self) -> Deferred[int]:
        """Let every table give higher ids than all that may have been given, unless another process
        has just done so; fires with the first id of the era."""
        from bbs.storage import rising_ids  # It needs the partitions, which need this module.

        database: Any = self.peewee

        def begin() -> int:
            with database.atomic():
                return rising_ids.begin_era(self._wall(), database.ids, database.era)

        def note(era: int) -> int:
            self.note_ids(era, {})
            return era

        return self.run_untimed(begin).addCallback(note)

    def note_ids(self, era: int, ids: Mapping[str, int]) -> None:
        """Note the first id of the database's era, and the highest ids that are stored, by table:
        as another process has seen them, too."""
        database: Any = self.peewee
        database.era = era
        database.add_ids(ids)

    @property
    def ids(self) -> Mapping[str, int]:
        """The highest ids that are known to be stored, by table."""
        database: Any = self.peewee
        known: Mapping[str, int] = database.ids
        return known

    def _note_answer(self, job: Job, now: float) -> None:
        away = isinstance(job.error, Unavailable)
        if isinstance(job.error, DiskFull):
            away = job.error.__cause__ is not None  # Else it was a server's own refusal.
            if away:
                self._note_full(summary(job.error.__cause__), now)
        if not away:
            self._last_answer[job.lane] = now
            self.on_answer(now - job.asked_at)
        if away or self._away:
            cause = job.error.__cause__ if job.error else None
            self._note_state(job.writes, summary(cause) if away else None)

    @property
    def disk(self) -> DiskState:
        """The room on its disk: `FULL` for a while after it could not write for lack of room."""
        if self._reactor.seconds() - self._failed_to_write < FULL_INTERVAL:
            return DiskState.FULL
        return DiskState.LOW if self.disk_is_low else DiskState.FREE

    def note_room(self, *, is_low: bool) -> None:
        """Note whether the disk has so little room that texts are refused."""
        if self.disk_is_low and not is_low:
            self._failed_to_write = float("-inf")
        self.disk_is_low = is_low

    def _note_full(self, trouble: str, now: float) -> None:
        self._failed_to_write = now
        if now - self._logged_full_at >= FULL_INTERVAL:
            self._logged_full_at = now
            _log.error("database has no room to write: {trouble}", trouble=trouble)

    def _check_deadline(self, job: Job, now: float) -> float | None:
        """Return when to check a call without an answer again; None once it is given up."""
        # While the database answers other calls, it is not away: this process is busy.
        alive_until = self._last_answer.get(job.lane, float("-inf")) + DEADLINE
        due = alive_until if job.begun is None else min(alive_until, job.begun + DEADLINE)
        if due > now:
            return due
        if not job.abandon() and not job.late:
            job.late = True
            return now + COMMIT_GRACE
        if not job.answer.called:
            job.answer.errback(self._late(job))
        return None

    def _late(self, job: Job) -> Unavailable:
        """Why a call is given up: its rule is slow, or the database gives no answer."""
        if self._transactions.is_stuck(job.lane, STUCK):
            self._note_state(job.writes, "no answer in time", to=job.rule)
        elif job.begun is not None and not job.late:
            return TookTooLong()
        return Unavailable()

    def _note_state(
        self, writes: bool, trouble: str | None, to: Callable[..., object] | None = None
    ) -> None:
        """Note that the database served a call, or did not (`trouble`, which it gave to a rule);
        log each change once, and another reason after a while."""
        if trouble is not None:
            self._away.add(writes)
        else:
            # A call that writes reads as well.
            self._away -= {False, writes}
        # The state may change with each call, if the database serves some and not others.
        now = self._reactor.seconds()
        if trouble is not None and trouble != self._logged_trouble:
            interval = LOG_INTERVAL if self._logged_trouble is None else REASON_INTERVAL
            if now - self._logged_at >= interval:
                self._logged_trouble, self._logged_at = trouble, now
                rule = f" to {name_of_rule(to)}" if to else ""
                _log.error("database is away: {trouble}{rule}", trouble=trouble, rule=rule)
        elif self.available and self._logged_trouble is not None:
            self._logged_trouble = None
            _log.info("database is back")


def is_put_back(job: Job) -> bool:
    """Whether a call was undone as it had been given an id again, and somebody waits for it."""
    return isinstance(job.error, IdsWentBack) and job.has_deadline and not job.answer.called


@dataclass(eq=False)
class Deadlines:
    """Calls `check` with each call that is not answered within `patience` seconds, and the time;
    it returns when to check again, or None."""

    reactor: IReactorTime
    patience: float
    check: Callable[[Job, float], float | None]

    def __post_init__(self) -> None:
        self._waiting = 0
        self._first: deque[Job] = deque()
        """Calls before their first check, in the order in which they were asked for and so are due;
        some of them have been answered."""
        self._again: list[tuple[float, int, Job]] = []
        """Checked calls, by the time of the next check."""
        self._numbers = count()
        self._timer: Any = None

    def watch(self, job: Job) -> None:
        """Check `job`, if it is not answered in time."""
        job.watched = True
        self._first.append(job)
        self._waiting += 1
        if self._timer is None:
            self._timer = self.reactor.callLater(self.patience, self._on_timer)

    def forget(self, job: Job) -> None:
        """Stop checking `job`, which has been answered."""
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

    def _on_timer(self) -> None:
        self._timer = None
        now = self.reactor.seconds()
        for job in self._take_due(now):
            again = self.check(job, now)
            if again is None:
                self.forget(job)
            elif job.watched:
                heappush(self._again, (again, next(self._numbers), job))
        if self._waiting:
            # A caller that was answered may have made more calls, which are not due first.
            if self._timer is not None:
                self._timer.cancel()
            next_due = min(
                [job.asked_at + self.patience for job in [*self._first][:1]]
                + [due for due, _, _ in self._again[:1]]
            )
            self._timer = self.reactor.callLater(max(0.0, next_due - now), self._on_timer)

    def _take_due(self, now: float) -> list[Job]:
        due = []
        while self._first and self._first[0].asked_at + self.patience <= now:
            due.append(self._first.popleft())
        while self._again and self._again[0][0] <= now:
            due.append(heappop(self._again)[2])
        return [job for job in due if job.watched]


def rows(query: Any) -> list[Any]:
    """Return the rows of `query`, as tuples. (To a type checker peewee's rows are models.)"""
    return [*query.tuples()]


def for_update(query: Q) -> Q:
    """Lock the rows that `query` finds until the transaction ends.

    On SQLite a transaction that writes has locked the whole database already.
    """
    if isinstance(models.database.obj, SqliteDatabase):
        return query
    locking: Any = query
    locked: Q = locking.for_update()
    return locked


def byte_length(text: Any) -> Any:
    """In a query, the number of bytes of a text in UTF-8: SQLite counts characters, up to a NUL."""
    if isinstance(models.database.obj, SqliteDatabase):
        return peewee.fn.LENGTH(peewee.Cast(text, "BLOB"))
    return peewee.fn.OCTET_LENGTH(text)


def gathered(*columns: Any) -> Any:
    """In a query with GROUP BY, the list of the group's rows, in no order: one value to read in the
    place of many rows. An entry is the value of one column, or a list of those of several
    `columns`. All values must be numbers or texts."""
    sqlite = isinstance(models.database.obj, SqliteDatabase)
    gather = peewee.fn.json_group_array if sqlite else peewee.fn.JSON_ARRAYAGG
    entry = columns[0] if len(columns) == 1 else peewee.fn.JSON_ARRAY(*columns)
    return gather(entry).python_value(json.loads)


@read_only
def unused_bytes() -> int:
    """The bytes of an SQLite file that hold nothing, which are used before it grows."""
    database: Any = models.database.obj
    pages, size = (
        database.execute_sql(f"PRAGMA {each}").fetchone()[0]
        for each in ("freelist_count", "page_size")
    )
    return int(pages * size)


class ConnectionLimit(NamedTuple):
    """How many connections a server of MySQL takes from us, and the name of what bounds them."""

    number: int
    name: str


@read_only
def connection_limit() -> ConnectionLimit | None:
    """The limit on connections; None on SQLite, which has none."""
    database: Any = models.database.obj
    if isinstance(database, SqliteDatabase):
        return None
    names = "max_connections", "max_user_connections"  # 0 of the latter is no limit.
    numbers = database.execute_sql(f"SELECT @@{names[0]}, @@{names[1]}").fetchone()
    found = (ConnectionLimit(int(each), name) for each, name in zip(numbers, names, strict=True))
    return min(each for each in found if each.number)


def has_round_trips() -> bool:
    """Whether each statement is a round trip to a server, so that one for many callers is faster,
    even if it does more than one for each would."""
    return not isinstance(models.database.obj, SqliteDatabase)


def cached_rows(
    table: type[models.Table],
    keys: Iterable[int],
    make: Callable[[Sequence[int]], Mapping[int, bytes]],
) -> Mapping[int, bytes]:
    """Return what `make` makes of rows of `table` that never change, by their keys. `make` gets the
    keys that the cache lacks, and may leave out rows that are gone; the result has other keys, too.
    No key may be used again (`RisingIdField`).

    Each thread has a cache, as long as its connection lasts: another database server may not have
    the latest rows. Only rules marked as `read_only` use it: others see rows that may be undone.
    """
    state, era = models.database.obj.state, models.database.obj.era
    if not state.reading:
        return make([*keys])
    if state.cached_in != era:  # The database has gone back: a row that was gone may be there.
        state.caches.clear()
        state.cached_in = era
    cache: RowCache = state.caches.setdefault(table, RowCache())
    if cache.size > MOST_CACHED:
        cache = state.caches[table] = RowCache()
    missing = [key for key in keys if key not in cache]
    if not missing:
        return cache
    made = make(missing)
    kept = {key: row for key, row in made.items() if len(row) <= LONGEST_CACHED}
    cache.update(kept)
    cache.size += sum(map(len, kept.values())) + AROUND_CACHED * len(kept)
    return ChainMap(cache, dict(made))


class RowCache(dict[int, bytes]):
    """What was made of the rows of a table, by their keys; `size` is about the bytes in memory."""

    size = 0


def last_key() -> Any:
    """In a query, the key of the row that was inserted last, on the same connection. On SQLite a
    query that inserts several rows must not use it: each row is an insertion there."""
    if isinstance(models.database.obj, SqliteDatabase):
        return peewee.fn.last_insert_rowid()
    return peewee.fn.LAST_INSERT_ID()
