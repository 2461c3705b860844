"""The fixture of the contracts of a database, and workers that work when a test says so."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import peewee
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from zope.interface import implementer

from bbs.core.errors import Refusal, Unavailable
from bbs.core.threads import Done, ILane, ILanes, Work
from bbs.storage.database import CONNECTIONS, DEADLINE, Database
from bbs.storage.engines import connect_to
from bbs.storage.models import Table
from bbs.storage.schema import create_table
from bbs.testing.threads import Inline

P = ParamSpec("P")
T = TypeVar("T")
J = TypeVar("J")


class ContractEntry(Table):
    """The one table of `DatabaseContract`."""

    name = peewee.CharField(20, unique=True)

    class Meta:
        table_name = "contract_entry"


class EntryRefused(Refusal):
    """The refusal of the suite's rules."""

    text = "Refused"


@implementer(ILanes)
class Later:
    """Workers that work when told to."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], object]] = []
        self._lanes: list[_LaterLane] = []

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        done: Deferred[T] = Deferred()

        def do() -> None:
            Inline().run(work, *args, **kwargs).chainDeferred(done)

        self.waiting.append(do)
        return done

    def lane(
        self,
        name: str,
        work: Work[J],
        done: Done[J],
        *,
        threads: int = 1,
        together: int,
        leave: Callable[[], None],
    ) -> ILane:
        lane = _LaterLane(self.waiting, work, done)
        self._lanes.append(lane)
        return lane

    def work_one(self) -> None:
        """Do the oldest work, alone."""
        self.waiting.pop(0)()

    def work(self) -> None:
        """Do all work that waits, one after the other."""
        while self.waiting:
            self.work_one()

    def work_together(self) -> None:
        """Do the jobs of each lane together."""
        for lane in self._lanes:
            lane.work_together()


@implementer(ILane)
@dataclass(eq=False)
class _LaterLane:
    waiting: list[Callable[[], object]]
    work: Work[Any]
    done: Done[Any]
    jobs: deque[Any] = field(default_factory=deque)

    def put(self, job: object) -> None:
        self.jobs.append(job)
        self.waiting.append(self._work_one)

    def _work_one(self) -> None:
        self.done(self.work(deque([self.jobs.popleft()])))

    def work_together(self) -> None:
        while self.jobs:
            self.done(self.work(self.jobs))
        while self._work_one in self.waiting:
            self.waiting.remove(self._work_one)


def raised(error: Exception) -> peewee.PeeweeException:
    """The error that peewee raises for `error` of a driver."""
    wrapper: Any = vars(peewee)["__exception_wrapper__"]
    try:
        with wrapper:
            raise error
    except peewee.PeeweeException as wrapped:
        return wrapped
    raise TypeError(f"peewee knows no {type(error).__name__}")


if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as _Case
else:
    _Case = object


class DatabaseSuite(_Case):
    """The base of the contracts. A back-end implements the first two methods; the others are for
    tests."""

    _patched: Any = None

    def database_url(self) -> str:
        """The URL of a database without a table `contract_entry`."""
        raise NotImplementedError

    def lost(self) -> Exception:
        """The error of a statement whose connection is lost."""
        raise NotImplementedError

    def away(self) -> None:
        """Let nobody connect to the database, until `back`."""

        def connect(reuse_if_open: bool = False) -> bool:
            raise peewee.OperationalError("nobody\n there")

        self.back()
        self._patched = self.patch(self.database.peewee, "connect", connect)

    def back(self) -> None:
        """Let everybody connect again."""
        if self._patched is not None:
            self._patched.restore()
            self._patched = None

    def at_commit(self, happens: Callable[[], object]) -> None:
        """Call `happens` whenever a transaction begins to commit."""
        commit = self.database.peewee.commit

        def happens_before() -> None:
            happens()
            commit()

        self.patch(self.database.peewee, "commit", happens_before)

    def _pass_deadline_at_commit(self, seconds: float) -> None:
        """Let the deadline pass when a transaction begins to commit, and `seconds` more."""

        def take_time() -> None:
            self.clock.advance(DEADLINE)
            self.clock.advance(seconds)

        self.at_commit(take_time)

    def setUp(self) -> None:
        """Open the database, with a clock that tests advance."""
        self.clock = Clock()
        self.url = self.database_url()
        self.database: Database = self.open_database(Inline())
        self.database.peewee.connect(reuse_if_open=True)
        create_table(self.database.peewee, ContractEntry)
        self.addCleanup(lambda: self.database.peewee.close())
        self.told: list[str] = []
        observe: Any = self._observe
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def open_database(self, workers: ILanes, connections: int = CONNECTIONS) -> Database:
        """The test's database; `workers` carry out its rules, by at most so many `connections` (8)
        to a MySQL."""
        return Database(self.url, workers, self.clock, connections)

    def _observe(self, event: Any) -> None:
        line = formatEvent(event)
        if line.startswith("database is"):
            self.told.append(line)

    def _work_later(self, connections: int = CONNECTIONS) -> Later:
        self.database.peewee.close()
        workers = Later()
        self.database = self.open_database(workers, connections)
        return workers

    def _add(self, name: str) -> str:
        """A rule that stores something."""
        ContractEntry.insert(name=name).execute()
        return name

    def _call(self, rule: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
        result: T = self.successResultOf(self.database.run(rule, *arguments, **keywords))
        return result

    def _other(self) -> peewee.Database:
        """Another connection to the database."""
        other = connect_to(self.url)
        other.connect()
        self.addCleanup(other.close)
        return other

    def _stored(self) -> list[str]:
        """The stored names, as others see them."""
        other = self._other()
        found = other.execute_sql("SELECT name FROM contract_entry ORDER BY id").fetchall()
        other.close()
        return [name for (name,) in found]

    def _unavailable(self, answer: Deferred[Any]) -> None:
        self.failureResultOf(answer, Unavailable)

    def _at_rest(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])
