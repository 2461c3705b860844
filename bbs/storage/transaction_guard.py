"""Keeps rules from what would harm those who share their transaction: writing where they said that
they only read, and beginning or ending a transaction.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

import peewee

EXCEPTIONS: Any = vars(peewee)["__exception_wrapper__"]
"""Makes of a driver's errors what peewee makes of them."""

_CHANGE = re.compile(
    r"[(\s]*(?:WITH\b.*?\)\s*)?(?:INSERT|REPLACE|UPDATE|DELETE|CREATE|ALTER|DROP|TRUNCATE)\b",
    re.IGNORECASE | re.DOTALL,
)
"""How a statement begins that changes something."""

Prepared = tuple[str, Sequence[Any], bool]
"""A statement as SQL, its values, and whether it changes anything."""


class WritesWhileReading(Exception):
    """A rule that is marked `read_only` writes; its author must mend that."""


class EndsTransaction(Exception):
    """A rule begins or ends a transaction, and it is a part of one; its author must mend that."""

    def __init__(self) -> None:
        super().__init__("a rule neither begins a transaction nor commits nor rolls back")


class Doing(threading.local):
    """The state of a thread and its connection."""

    in_rule = False
    """A rule runs, which shares its transaction with others."""
    reading = False
    """A rule runs that is marked `read_only`."""
    wrote = False
    """Something was changed since this was last set False."""


class TransactionGuard:
    """One of peewee's databases, which knows what each thread does with its connection."""

    packs = False
    """Whether rows of many columns are had sooner as a text in JSON."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.doing = Doing()
        super().__init__(*arguments, **options)

    def begin(self, *arguments: Any) -> None:
        """Begin a transaction."""
        if self.doing.in_rule:
            raise EndsTransaction()
        super().begin(*arguments)  # type: ignore[misc]

    def commit(self) -> None:
        """End a transaction."""
        if self.doing.in_rule:
            raise EndsTransaction()
        super().commit()  # type: ignore[misc]

    def rollback(self) -> None:
        """Undo a transaction."""
        if self.doing.in_rule:
            raise EndsTransaction()
        super().rollback()  # type: ignore[misc]

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Carry out a statement of peewee's own making."""
        if _CHANGE.match(sql):
            self.note_change()
        return super().execute_sql(sql, params)  # type: ignore[misc]

    def carry_out(self, sql: str, values: Sequence[Any], writes: bool) -> Any:
        """Carry out a statement; gives the cursor, with all that the database has to say."""
        if writes:
            self.note_change()
        return super().execute_sql(sql, values)  # type: ignore[misc]

    def carry_out_together(
        self, statements: Sequence[Prepared], results: Sequence[Callable[[Any], Any]]
    ) -> list[Any]:
        """Carry out statements in turn; what `results` make of their cursors."""
        return [
            result(self.carry_out(*each)) for each, result in zip(statements, results, strict=True)
        ]

    def note_change(self) -> None:
        """Note that a statement is to change something."""
        if self.doing.reading:
            raise WritesWhileReading("a rule that is marked read_only or long_read writes")
        self.doing.wrote = True
