"""A service that goes over from one version to the next while people use it.

    python -m lab.rolling --people 200 --servers 20

`docs/upgrading.md` says what happens, and what is counted.
"""
