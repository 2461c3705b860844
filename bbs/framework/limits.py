"""The limits of each user, and what commands cost their callers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bbs.core.lazy import lazy

if TYPE_CHECKING:
    from bbs.config import Limits
    from bbs.core.former import Quotas
    from bbs.core.values import Bound, Rate
    from bbs.rules.auth import costs, stores_text
    from bbs.rules.pagination import price_of

__all__ = [
    "Bound",
    "Limits",
    "Quotas",
    "Rate",
    "costs",
    "price_of",
    "stores_text",
]

_HOMES = {
    "bbs.config": "Limits",
    "bbs.core.former": "Quotas",
    "bbs.core.values": "Bound Rate",
    "bbs.rules.auth": "costs stores_text",
    "bbs.rules.pagination": "price_of",
}

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
