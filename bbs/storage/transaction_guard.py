"""What every database of ours knows of what is done with it."""

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


class Doing(threading.local):
    """What a thread does with its connection."""

    in_rule = False
    """It runs a rule, which is not to begin or end a transaction: others share it."""

    reading = False
    """A rule that says of itself that it writes nothing."""
    wrote = False
    """Whether anything was changed since this was last set False."""


class TransactionGuard:
    """A database that knows what is done with each of its connections, one for each thread."""

    doing: Doing

    packs = False
    """Whether rows of many columns are had sooner as a text in JSON."""

    def watch(self, writes: bool) -> None:
        """Note that a statement is to be carried out."""
        if writes:
            if self.doing.reading:
                raise WritesWhileReading("a rule that is marked read_only or long_read writes")
            self.doing.wrote = True

    def check_end(self) -> None:
        """A transaction is to begin or to end."""
        if self.doing.in_rule:
            raise EndsTransaction("a rule neither begins a transaction nor commits nor rolls back")

    def begin(self, *arguments: Any) -> None:
        """Begin a transaction."""
        self.check_end()
        super().begin(*arguments)  # type: ignore[misc]

    def commit(self) -> None:
        """End a transaction."""
        self.check_end()
        super().commit()  # type: ignore[misc]

    def rollback(self) -> None:
        """Undo a transaction."""
        self.check_end()
        super().rollback()  # type: ignore[misc]

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Carry out a statement of peewee's own making."""
        self.watch(_CHANGE.match(sql) is not None)
        return super().execute_sql(sql, params)  # type: ignore[misc]

    def carry_out(self, sql: str, values: Sequence[Any], writes: bool) -> Any:
        """Carry out a statement; gives the cursor, with all that the database has to say."""
        self.watch(writes)
        return super().execute_sql(sql, values)  # type: ignore[misc]

    def carry_out_together(
        self, statements: Sequence[Prepared], results: Sequence[Callable[[Any], Any]]
    ) -> list[Any]:
        """Carry out statements in turn; what `results` make of their cursors."""
        return [
            result(self.carry_out(*each)) for each, result in zip(statements, results, strict=True)
        ]
