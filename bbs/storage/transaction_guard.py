"""Prevents what would harm other rules in the same transaction: a rule that is marked as read-only
must not write, and no rule begins or ends a transaction."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
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


class IdsWentBack(Exception):
    """A table has given an id that is not higher than those of before: its database has gone back
    to an earlier state. The transaction is undone, and runs again once ids are higher."""


class _NoConnection:
    """Stands for a connection on a thread that must not use one."""

    def __getattr__(self, name: str) -> Any:
        raise OutsideOfRule()

    def close(self) -> None:
        """Do nothing: there is none."""


NO_CONNECTION: tuple[bool, Any] = False, _NoConnection()
"""The state of a thread that must not use a connection: whether it is closed, and the connection.
peewee takes such a thread for connected, so that no statement pays for a question."""


class Activity:
    """The present work of a database thread, for other threads to see.

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
        self.cached_in = 0  # The era whose rows these are.
        self.ids_before: Mapping[str, int] = {}
        """The highest ids that were known as the transaction began, by table."""
        self.ids: dict[str, int] = {}  # Those that it has been given.
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
        self.era = 0
        """The first id of the database's era (`bbs.storage.rising_ids`), as far as is known."""
        self.ids: Mapping[str, int] = {}
        """The highest ids that are known to be stored, by table. A change makes a new mapping."""
        self._changing_ids = threading.Lock()
        self.sections: Mapping[type[Any], Any] = {}  # The service's settings, for its rules.
        self.kept: dict[str, Any] = {}  # What rules keep of this database while the process lives.
        super().__init__(*arguments, **options)

    def refuse_here(self) -> None:
        """Refuse all statements on this thread, with OutsideOfRule: the reactor runs on it."""
        state: Any = self._state  # type: ignore[attr-defined]
        state.closed, state.conn = NO_CONNECTION

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

    def execute(self, query: Any, **options: Any) -> Any:
        """Execute a query of peewee's, which was not compiled before."""
        cursor = super().execute(query, **options)  # type: ignore[misc]
        if isinstance(query, peewee.Insert) and (table := rising_table(query)):
            self.note_id(table, cursor.lastrowid)
        return cursor

    def note_id(self, table: str, id: int) -> None:
        """Note the id that `table` has given to a new row, or raise IdsWentBack: what was stored
        before this transaction began has a lower one, as ids rise in time."""
        state = self.state
        if id <= state.ids_before.get(table, 0):
            raise IdsWentBack(f"the table {table} gave the id {id} again")
        state.ids[table] = id

    def begin_noting_ids(self) -> None:
        """Forget the ids of the last transaction, as another begins."""
        self.state.ids_before = self.ids
        if self.state.ids:
            self.state.ids = {}

    def keep_ids(self) -> None:
        """Note that the ids of the transaction are stored."""
        if self.state.ids:
            self.add_ids(self.state.ids)

    def add_ids(self, ids: Mapping[str, int]) -> None:
        """Note that such ids are stored, by table."""
        with self._changing_ids:
            higher = {key: id for key, id in ids.items() if id > self.ids.get(key, 0)}
            if higher:
                self.ids = {**self.ids, **higher}

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


def rising_table(insertion: Any) -> str | None:
    """The name of the table, if an insertion with peewee has it make an id that is never used again
    (`RisingIdField`), and the driver tells that one; else None."""
    meta: Any = getattr(insertion.table, "_meta", None)
    key: Any = getattr(meta, "primary_key", None)
    if not getattr(key, "rises", False) or insertion._on_conflict is not None:
        return None
    values = insertion._insert
    if isinstance(values, (peewee.SelectBase, peewee.SQL)):
        return None
    rows = [values] if isinstance(values, Mapping) else [*values]
    names = rows[0] if rows and isinstance(rows[0], Mapping) else insertion._columns or ()
    if key in names or key.name in [getattr(each, "name", each) for each in names]:
        return None
    return str(meta.table_name)
