"""Python imports this before it runs a server of the attacks'; see `tests/attacks/patches.py`."""

from tests.attacks import patches

patches.apply()
