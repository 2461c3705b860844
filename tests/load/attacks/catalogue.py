"""All attacks, by name."""

from __future__ import annotations

from collections.abc import Mapping

from tests.load.attacks.board import BOARD
from tests.load.attacks.copies import COPIES
from tests.load.attacks.floods import FLOODS
from tests.load.attacks.forging import FORGERIES
from tests.load.attacks.fuzzes import FUZZES
from tests.load.attacks.hostile import HOSTILE
from tests.load.attacks.lists import LISTS
from tests.load.attacks.logins import LOGINS
from tests.load.attacks.page import PAGE
from tests.load.attacks.places import PLACES
from tests.load.attacks.returning import COMEBACKS
from tests.load.attacks.shares import SHARES
from tests.load.attacks.values import Attack

ATTACKS: Mapping[str, Attack] = {
    attack.name: attack
    for attack in (
        *(*FLOODS, *LISTS, *LOGINS, *PLACES, *BOARD, *SHARES, *COMEBACKS, *PAGE),
        *(*FORGERIES, *FUZZES, *COPIES, *HOSTILE),
    )
}
