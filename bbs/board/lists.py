"""Long lists are cut up, as a database takes only so much in a statement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import TypeVar

T = TypeVar("T")

LENGTHS = (1, 4, 16, 64, 256)
"""Lengths of lists for which a statement is made: one for each length would be many. From 1,000 on
MariaDB makes a table of a list, and no longer uses an index for it."""

LAST_ID = 2**63 - 1  # the largest id: behind every user and every message


def chunks(whole: Sequence[T], length: int) -> Iterator[Sequence[T]]:
    """`whole` in chunks of `length`; the last one may be shorter."""
    return (whole[start : start + length] for start in range(0, len(whole), length))


def padded(values: Sequence[T]) -> Sequence[T]:
    """`values` for an `in_`, with the last one repeated up to the next of `LENGTHS`: as a set that
    is the same. There may be as many as the last of `LENGTHS`."""
    length = next(each for each in LENGTHS if each >= len(values))
    return [*values, *repeat(values[-1], length - len(values))] if values else values
