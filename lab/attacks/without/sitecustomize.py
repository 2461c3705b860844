"""Python imports this before it runs a server of the attacks: `lab/attacks/patches.py`."""

from lab.attacks import patches

patches.apply()
