"""The kinds of arguments: what a parameter such as `<post:int>` takes, and what its rule gets.

An argument that is not of its kind is answered by the usage of the command, before the rule runs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

LARGEST = 2**63 - 1
"""The highest number that a column of SQLite or MySQL holds, and the most that `int` takes."""

_INT = re.compile(r"-?[0-9]{1,19}")
_SECONDS = re.compile(r"[0-9]{1,11}(\.[0-9]{1,9})?")


@dataclass(frozen=True)
class ArgumentKind:
    """A kind of arguments.

    :param read: makes the value that rule and handler get of the text that a peer sent; ValueError
        for one that is not of this kind. The reactor's thread calls it: keep it quick.
    :param type: that of the value, for typed clients, which send `str(value)`.
    """

    read: Callable[[str], Any]
    type: type[Any] = str


def _whole(text: str) -> int:
    if not _INT.fullmatch(text) or abs(number := int(text)) > LARGEST:
        raise ValueError(text)
    return number


def _moment(text: str) -> float:
    """Seconds since the epoch, or a date (and a time) of ISO 8601, in UTC if it names no zone."""
    if _SECONDS.fullmatch(text):
        return float(text)
    moment = datetime.fromisoformat(text)
    seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not 0 <= seconds < math.inf:
        raise ValueError(text)
    return seconds


KINDS: Mapping[str, ArgumentKind] = {
    "int": ArgumentKind(_whole, int),
    "time": ArgumentKind(_moment, float),
}
"""The kinds that every service has, by their names: a whole number, and a time in seconds since the
epoch."""
