"""The forms of a name: as it is stored, and as it looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bbs.core.lazy import lazy

if TYPE_CHECKING:
    from bbs.core.confusables import skeletons
    from bbs.rules.names import as_stored, normalized

__all__ = [
    "as_stored",
    "normalized",
    "skeletons",
]

_HOMES = {
    "bbs.core.confusables": "skeletons",
    "bbs.rules.names": "as_stored normalized",
}

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
