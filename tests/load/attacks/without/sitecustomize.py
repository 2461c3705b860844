"""Python imports this before it runs a server of the attacks: `tests/load/attacks/patches.py`."""

from tests.load.attacks import patches

patches.apply()
