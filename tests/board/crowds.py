"""As many friends as a bound allows, and the like."""

from __future__ import annotations

from collections.abc import Iterable

from bbs.board.people.tables import Relationship
from tests.rules.crowds import add


def relate(user: int, kind: str, others: Iterable[int], kind_of_others: str) -> None:
    """Have `user` stand to all `others` in the one way, and them to the user in the other."""
    both = [((user, other, kind), (other, user, kind_of_others)) for other in others]
    rows = [row for pair in both for row in pair]
    add(Relationship, rows, Relationship.user, Relationship.other, Relationship.kind)
