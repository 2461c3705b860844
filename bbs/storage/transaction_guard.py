"""Prevents what would harm other rules in the same transaction: a rule that is marked as read-only
must not write, and no rule begins or ends a transaction."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import peewee

EXCEPTIONS: Any = vars(peewee)["__exception_wrapper__"]  # Turns a driver's errors into peewee's.

_CHANGE = re.compile(
    r"(?:[(\s]|--[^\n]*\n|/\*.*?\*/)*(?:WITH\b.*?\)\s*)?(?:INSERT|REPLACE|UPDATE|DELETE|CREATE|ALTER|DROP|TRUNCATE)\b",
    re.IGNORECASE | re.DOTALL,
)
"""The beginning of a statement that changes something."""

Prepared = tuple[str, Sequence[Any], bool]  # SQL, its values, and whether it changes anything.


class WritesWhileReading(Exception):
    """A rule that is marked `read_only` writes; its author must fix that."""


class EndsTransaction(Exception):
    """A rule begins or ends a transaction that it is a part of; its author must fix that."""

    def __init__(self) -> None:
        super().__init__("a rule must not begin, commit or roll back a transaction")


class OutsideOfRule(Exception):
    """A handler uses a model or a statement by itself; its author must fix that."""

    def __init__(self) -> None:
        super().__init__(
            "a model or statement is used outside of a rule, where everybody would wait for the"
            " database: put it into a function, and call that by ask.database.run"
        )


class _NoConnection:
    """Stands for a connection on a thread that must not use one."""

    def __getattr__(self, name: str) -> Any:
        raise OutsideOfRule()

    def close(self) -> None:
        """Do nothing: there is none."""


class Activity:
    """What a thread of the database does, for other threads to see.

    :ivar lane: the lane whose calls it carries out; None while it is idle.
    :ivar waits_since: the time since which it waits for the database; None while it runs the code
        of a rule, or waits for another writer.
    """

    __slots__ = ("_seconds", "lane", "waits_since")

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.lane: object = None
        self.waits_since: float | None = None
        self._seconds = seconds

    def __enter__(self) -> None:
        """Wait for the database, until the `with` statement ends."""
        self.waits_since = self._seconds()

    def __exit__(self, *exc: object) -> None:
        self.waits_since = None


class ConnectionState(threading.local):
    """The state of a thread and its connection."""

    in_rule = False  # A rule runs, which may share its transaction with others.
    reading = False  # A rule runs that is marked `read_only`.
    wrote = False  # A statement has changed something since this was last set to False.
    begins = False  # A transaction begins with the next statement (MySQL).
    is_guarded = False  # Requests cannot outlive their transaction (Galera).
    generation = 0  # Of the servers, as this thread connected (MySQL).
    slowest = ""  # The slowest statement of the rule and its time, where a hook notes that.
    longest = 0.0  # Its seconds.

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.caches: dict[Any, Any] = {}
        """What was made of rows that never change, by table and key: `cached_rows`."""
        self.activity = Activity(seconds)


class TransactionGuard:
    """A mixin for peewee's databases, which knows what each thread does with its connection."""

    driver: str  # Its name and version, for the log.
    packs = False  # Whether rows of many columns are faster to read as a text in JSON.
    ordered_join = "CROSS JOIN"  # A join that reads its left side first.
    inserts_in_bulk = False  # Whether one statement inserts many rows faster than one for each.
    fewest_in_bulk = 4
    """Calls of a query from which one query for all is faster: on SQLite none is a round trip."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.clock: Callable[[], float] = time.monotonic  # Of `Activity`; steady.
        self.state = ConnectionState(lambda: self.clock())
        super().__init__(*arguments, **options)

    def refuse_here(self) -> None:
        """Refuse all statements on this thread, with OutsideOfRule: the reactor runs on it."""
        # peewee takes this thread for connected, so that no statement pays for a question.
        state: Any = self._state  # type: ignore[attr-defined]
        state.closed, state.conn = False, _NoConnection()

    def begin(self, *arguments: Any) -> None:
        if self.state.in_rule:
            raise EndsTransaction()
        super().begin(*arguments)  # type: ignore[misc]

    def commit(self) -> None:
        if self.state.in_rule:
            raise EndsTransaction()
        super().commit()  # type: ignore[misc]

    def rollback(self) -> None:
        if self.state.in_rule:
            raise EndsTransaction()
        super().rollback()  # type: ignore[misc]

    def _close(self, connection: Any) -> None:
        self.state.caches.clear()
        super()._close(connection)  # type: ignore[misc]

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Execute a statement that peewee has made."""
        if _CHANGE.match(sql):
            self.note_change()
        activity = self.state.activity
        activity.waits_since = self.clock()  # As `with activity`, but with fewer calls.
        try:
            return super().execute_sql(sql, params)  # type: ignore[misc]
        finally:
            activity.waits_since = None

    def carry_out(self, sql: str, values: Sequence[Any], writes: bool) -> Any:
        """Execute a statement; returns the cursor with the whole result."""
        if writes:
            self.note_change()
        with self.state.activity:
            return super().execute_sql(sql, values)  # type: ignore[misc]

    def carry_out_together(
        self, statements: Sequence[Prepared], results: Sequence[Callable[[Any], Any]]
    ) -> list[Any]:
        """Execute statements one by one; returns what `results` read from their cursors."""
        return [
            result(self.carry_out(*each)) for each, result in zip(statements, results, strict=True)
        ]

    def begin_writing(self) -> None:
        """Begin a transaction for rules that write."""
        self.begin()

    def begin_by_hand(self) -> None:
        """Connect for work without a deadline, which begins and ends its transactions by itself."""
        self.connect(reuse_if_open=True)  # type: ignore[attr-defined]

    def note_trouble(self, error: BaseException) -> None:
        """Note an error of the database's server or its connection."""

    def note_change(self) -> None:
        """Note that a statement is about to change something."""
        if self.state.reading:
            raise WritesWhileReading("a rule that is marked read_only or long_read writes")
        self.state.wrote = True
