"""What the suites of a database work with: where it is, what happens to it, and what others see."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import peewee
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher

from bbs.errors import Unavailable
from bbs.storage.connecting import connect_to
from bbs.storage.database import CONNECTIONS, Database
from bbs.storage.schema import create_table
from bbs.testing.database_tools import Entry, Later
from bbs.workers import ILanes, Inline

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as _Case
else:
    _Case = object

P = ParamSpec("P")
T = TypeVar("T")


class DatabaseSuite(_Case):
    """The first two methods are a back-end's to write; the others are for tests."""

    _patched: Any = None

    # What a back-end says

    def database_url(self) -> str:
        """Where a database is that has no table called `contract_entry`."""
        raise NotImplementedError

    def lost(self) -> Exception:
        """What a statement raises whose connection is gone."""
        raise NotImplementedError

    def away(self) -> None:
        """Let nobody connect."""

        def connect(reuse_if_open: bool = False) -> bool:
            raise peewee.OperationalError("nobody\n there")

        self.back()
        self._patched = self.patch(self.database.peewee, "connect", connect)

    def back(self) -> None:
        """End that."""
        if self._patched is not None:
            self._patched.restore()
            self._patched = None

    def at_commit(self, happens: Callable[[], object]) -> None:
        """Let it happen as soon as a transaction begins to commit."""
        commit = self.database.peewee.commit

        def happens_before() -> None:
            happens()
            commit()

        self.patch(self.database.peewee, "commit", happens_before)

    # What the suite works with

    def setUp(self) -> None:
        """Open the database, and make its table."""
        self.clock = Clock()
        self.url = self.database_url()
        self.database: Database = self.open_database(Inline())
        self.database.peewee.connect(reuse_if_open=True)
        create_table(self.database.peewee, Entry)
        self.addCleanup(lambda: self.database.peewee.close())
        self.told: list[str] = []
        observe: Any = self._observe
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def open_database(self, workers: ILanes, connections: int = CONNECTIONS) -> Database:
        """The test's database, its rules run by `workers`."""
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
        Entry.insert(name=name).execute()
        return name

    def _call(self, rule: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
        result: T = self.successResultOf(self.database.run(rule, *arguments, **keywords))
        return result

    def _other(self) -> peewee.Database:
        """A connection of somebody else's."""
        other = connect_to(self.url)
        other.connect()
        self.addCleanup(other.close)
        return other

    def _stored(self) -> list[str]:
        """What others see."""
        other = self._other()
        found = other.execute_sql("SELECT name FROM contract_entry ORDER BY id").fetchall()
        other.close()
        return [name for (name,) in found]

    def _unavailable(self, answer: Deferred[Any]) -> None:
        self.failureResultOf(answer, Unavailable)

    def _at_rest(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])
