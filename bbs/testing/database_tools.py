"""What tests of a database stand on, whichever it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import peewee
from twisted.internet.defer import Deferred
from zope.interface import implementer

from bbs.errors import Refusal
from bbs.storage.models import Table
from bbs.workers import Done, ILane, ILanes, Inline, Work

P = ParamSpec("P")
T = TypeVar("T")
J = TypeVar("J")


class Entry(Table):
    """The one table of `DatabaseContract`, to which nothing refers."""

    name = peewee.CharField(20, unique=True)

    class Meta:
        table_name = "contract_entry"


class EntryRefused(Refusal):
    """What a rule of that suite refuses with."""

    text = "Refused"


@implementer(ILanes)
class Later:
    """Workers who do the work when told to."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], object]] = []
        self._lanes: list[_LaterLane] = []

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Let it wait."""
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
        """Where what is put waits."""
        lane = _LaterLane(self.waiting, work, done)
        self._lanes.append(lane)
        return lane

    def work_one(self) -> None:
        """Do what has waited longest, alone."""
        self.waiting.pop(0)()

    def work(self) -> None:
        """Do what waits, each alone."""
        while self.waiting:
            self.work_one()

    def work_together(self) -> None:
        """Do what waits on lanes, on each of them all at once."""
        for lane in self._lanes:
            lane.work_together()


@implementer(ILane)
class _LaterLane:
    def __init__(
        self, waiting: list[Callable[[], object]], work: Work[Any], done: Done[Any]
    ) -> None:
        self._waiting = waiting
        self._jobs: deque[Any] = deque()
        self._work = work
        self._done = done

    def put(self, job: object) -> None:
        self._jobs.append(job)
        self._waiting.append(self._work_one)

    def _work_one(self) -> None:
        self._done(self._work(deque([self._jobs.popleft()])))

    def work_together(self) -> None:
        while self._jobs:
            self._done(self._work(self._jobs))
        while self._work_one in self._waiting:
            self._waiting.remove(self._work_one)


def raised(error: Exception) -> peewee.PeeweeException:
    """`error` of a driver, as peewee raises it."""
    wrapper: Any = vars(peewee)["__exception_wrapper__"]
    try:
        with wrapper:
            raise error
    except peewee.PeeweeException as wrapped:
        return wrapped
    raise TypeError(f"peewee knows no {type(error).__name__}")
