"""What tests of a database stand on, whichever it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import peewee
from twisted.internet.defer import Deferred
from zope.interface import implementer

from bbs.errors import Refusal
from bbs.storage.models import Table
from bbs.workers import Inline, IWorkers

P = ParamSpec("P")
T = TypeVar("T")


class Entry(Table):
    """The one table of `DatabaseContract`, to which nothing refers."""

    name = peewee.CharField(20, unique=True)

    class Meta:
        table_name = "contract_entry"


class EntryRefused(Refusal):
    """What a rule of that suite refuses with."""

    text = "Refused"


@implementer(IWorkers)
class Later:
    """Workers who do the work when told to."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], object]] = []

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Let it wait."""
        done: Deferred[T] = Deferred()

        def do() -> None:
            Inline().run(work, *args, **kwargs).chainDeferred(done)

        self.waiting.append(do)
        return done

    def work_one(self) -> None:
        """Do what has waited longest."""
        self.waiting.pop(0)()

    def work(self) -> None:
        """Do what waits."""
        while self.waiting:
            self.work_one()


def raised(error: Exception) -> peewee.PeeweeException:
    """`error` of a driver, as peewee raises it."""
    wrapper: Any = vars(peewee)["__exception_wrapper__"]
    try:
        with wrapper:
            raise error
    except peewee.PeeweeException as wrapped:
        return wrapped
    raise TypeError(f"peewee knows no {type(error).__name__}")
