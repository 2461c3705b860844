"""Workers for tests, without threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import implementer

from bbs.core.threads import Done, ILane, ILanes, Work

P = ParamSpec("P")
T = TypeVar("T")
J = TypeVar("J")


@implementer(ILanes)
class Inline:
    """Does the work at once, in the caller's thread."""

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        return maybeDeferred(work, *args, **kwargs)

    def lane(self, name: str, work: Work[J], done: Done[J], **options: Any) -> ILane:
        return InlineLane(work, done)


@implementer(ILane)
@dataclass(eq=False)
class InlineLane(Generic[J]):
    """The lane of `Inline`."""

    work: Work[J]
    done: Done[J]

    def put(self, job: J) -> None:
        self.done(self.work(deque([job])))
