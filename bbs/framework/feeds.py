"""Events that must not be lost: a service keeps them in tables, and says how to read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bbs.core.lazy import lazy

if TYPE_CHECKING:
    from bbs.delivery.broadcast import Broadcast
    from bbs.delivery.feed import BATCH, FETCHED_BYTES, Cursor, Feed, FirstEvents, Mailbox, Stored
    from bbs.storage.partitions import PartitionedTables

__all__ = [
    "BATCH",
    "FETCHED_BYTES",
    "Broadcast",
    "Cursor",
    "Feed",
    "FirstEvents",
    "Mailbox",
    "PartitionedTables",
    "Stored",
]

_HOMES = {
    "bbs.delivery.broadcast": "Broadcast",
    "bbs.delivery.feed": "BATCH FETCHED_BYTES Cursor Feed FirstEvents Mailbox Stored",
    "bbs.storage.partitions": "PartitionedTables",
}

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
