"""All attacks, by name."""

from __future__ import annotations

from collections.abc import Mapping

from lab.attacks.board import BOARD
from lab.attacks.copies import COPIES
from lab.attacks.floods import FLOODS
from lab.attacks.forging import FORGERIES
from lab.attacks.fuzzes import FUZZES
from lab.attacks.hostile import HOSTILE
from lab.attacks.lists import LISTS
from lab.attacks.logins import LOGINS
from lab.attacks.page import PAGE
from lab.attacks.places import PLACES
from lab.attacks.returning import COMEBACKS
from lab.attacks.shares import SHARES
from lab.attacks.values import Attack

ATTACKS: Mapping[str, Attack] = {
    attack.name: attack
    for attack in (
        *(*FLOODS, *LISTS, *LOGINS, *PLACES, *BOARD, *SHARES, *COMEBACKS, *PAGE),
        *(*FORGERIES, *FUZZES, *COPIES, *HOSTILE),
    )
}
