"""How long lists go to a database, which takes only so much in a statement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import TypeVar

T = TypeVar("T")

LENGTHS = (1, 4, 16, 64, 256)
"""Lengths of lists for which a statement is made; one for each length would be many. From 1,000 on
MariaDB makes a table of a list, and looks for what is in it no more in an index."""


def pieces(whole: Sequence[T], length: int) -> Iterator[Sequence[T]]:
    """`whole` in pieces of `length` and a rest."""
    return (whole[start : start + length] for start in range(0, len(whole), length))


def padded(values: Sequence[T]) -> Sequence[T]:
    """`values` for an `in_`, at most as many as the last of `LENGTHS`: the last one of them again
    and again, up to the next of the lengths. For a set that is the same."""
    length = next(each for each in LENGTHS if each >= len(values))
    return [*values, *repeat(values[-1], length - len(values))] if values else values
