"""One call of a rule, on its way from the reactor to a thread of the database and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from threading import Lock
from typing import Any

from twisted.internet.defer import Deferred

from bbs import tracing

LONG = 0.001
"""Seconds in the queue of a thread that a trace shows."""

_lock = Lock()
"""Held for a moment when it is decided what becomes of jobs: their threads decide for many of them
at once, the reactor for one whose time is over."""


class Progress(Enum):
    """How far a call has come. Either its thread begins to commit, or its caller gives up."""

    OPEN = "open"
    COMMITTING = "committing"
    ABANDONED = "abandoned"


class Job:
    """One call: `rule(*arguments, **keywords)`, asked for at `asked_at`, whose `answer` is awaited.

    `hurried` calls have a deadline and are one transaction; others make their own, and have none.
    `begun` is when a thread took it up. In the end there is a `result`, or an `error`. Times are in
    seconds, by the reactor's clock. `span` is of what the call is a part.
    """

    __slots__ = (
        "answer",
        "arguments",
        "asked_at",
        "begun",
        "error",
        "hurried",
        "keywords",
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
        *,
        asked_at: float,
        writes: bool,
        hurried: bool = True,
    ) -> None:
        self.rule = rule
        self.arguments = arguments
        self.keywords = keywords
        self.asked_at = asked_at
        self.writes = writes
        self.hurried = hurried
        self.answer: Deferred[Any] = Deferred()
        self.span = tracing.here()
        self.progress = Progress.OPEN
        self.begun: float | None = None
        self.watched = False
        """Whether its deadline is kept."""
        self.late = False
        """Whether its commit was under way at its deadline, and is waited for a moment more."""
        self.result: Any = None
        self.error: BaseException | None = None

    def tell(self, now: float) -> None:
        """Have its trace know where its time went, until `now`."""
        if self.span is None or not self.span.recorded:
            return
        begun = now if self.begun is None else self.begun
        if not self.hurried:
            begun = self.asked_at
        elif begun - self.asked_at > LONG:
            tracing.past("database queue", begun - self.asked_at, self.span, now - begun)
        name = getattr(self.rule, "__name__", "")
        tracing.past("database", now - begun, self.span, rule=name)

    def call(self) -> Any:
        """What the rule returns."""
        return self.rule(*self.arguments, **self.keywords)

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.progress is Progress.ABANDONED

    def abandon(self) -> bool:
        """Give it up, unless it is being committed; whether it is given up."""
        with _lock:
            if self.progress is Progress.OPEN:
                self.progress = Progress.ABANDONED
            return self.progress is Progress.ABANDONED


def commit_together(jobs: list[Job]) -> bool:
    """Begin to commit all of `jobs`, unless one of them was given up: whether it is so."""
    with _lock:
        if any(job.progress is Progress.ABANDONED for job in jobs):
            return False
        for job in jobs:
            job.progress = Progress.COMMITTING
        return True


def open_again(jobs: list[Job]) -> None:
    """What was to be committed has certainly not been."""
    with _lock:
        for job in jobs:
            job.progress = Progress.OPEN
