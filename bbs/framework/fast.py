"""What makes a busy service quick: statements that are compiled once, rules that take many callers
at a time, and lists that are encoded once.

Nothing here changes what a rule means. Measure first: `NAME up --debug` names what is slow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bbs.core.lazy import lazy

if TYPE_CHECKING:
    from bbs.protocols.line import EncodedList, encode_entry
    from bbs.rules.auth import asks, question
    from bbs.rules.pagination import ListCall
    from bbs.storage.database import (
        bulk,
        byte_length,
        cached_rows,
        gathered,
        has_round_trips,
        last_key,
        long_read,
        rows,
    )
    from bbs.storage.statements import by_index, statement, together
    from bbs.storage.transactions import EachAlone

__all__ = [
    "EachAlone",
    "EncodedList",
    "ListCall",
    "asks",
    "bulk",
    "by_index",
    "byte_length",
    "cached_rows",
    "encode_entry",
    "gathered",
    "has_round_trips",
    "last_key",
    "long_read",
    "question",
    "rows",
    "statement",
    "together",
]

_HOMES = {
    "bbs.protocols.line": "EncodedList encode_entry",
    "bbs.rules.auth": "asks question",
    "bbs.rules.pagination": "ListCall",
    "bbs.storage.database": (
        "bulk byte_length cached_rows gathered has_round_trips last_key long_read rows"
    ),
    "bbs.storage.statements": "by_index statement together",
    "bbs.storage.transactions": "EachAlone",
}

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
