"""All attacks, by name."""

from __future__ import annotations

from collections.abc import Mapping

from tests.attacks.floods import FLOODS
from tests.attacks.fuzzes import FUZZES
from tests.attacks.values import Attack

ATTACKS: Mapping[str, Attack] = {attack.name: attack for attack in (*FLOODS, *FUZZES)}
