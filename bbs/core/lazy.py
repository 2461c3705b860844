"""Modules whose names are defined elsewhere, and are loaded when they are first used.

    __getattr__, __dir__ = lazy(__name__, __all__, {"bbs.commands.service": "Service"})

A name that has moved to another public module works as before, with a DeprecationWarning that says
where it is now.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

UNTIL = "1.0"
"""The version in which the old places of names go: `docs/developers/stability.md`."""

Homes = Mapping[str, str]
"""Modules, each with names that it has, separated by blanks."""


class Names(list[str]):
    """An `__all__` with which `from … import *` gives the `moved` names, too: that statement asks
    for one position after the other until there is none. All else sees the other names alone."""

    def __init__(self, names: Sequence[str], moved: Mapping[str, str]) -> None:
        super().__init__(names)
        self.moved = moved
        self._behind = (*moved,)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int) and index >= len(self):
            return self._behind[index - len(self)]
        return super().__getitem__(index)


def lazy(
    module: str, names: Sequence[str], homes: Homes, moved: Homes | None = None
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Make the functions `__getattr__` and `__dir__` of the module `module`.

    :param names: the `__all__` of the module.
    :param homes: where those of them are defined that the module does not import.
    :param moved: public modules, with the names of theirs that this module had before. `names` is
        then made `Names`.
    """
    found, gone = _by_name(homes), _by_name(moved or {})
    if gone:
        vars(sys.modules[module])["__all__"] = Names(names, gone)

    def get(name: str) -> object:
        if name in gone:
            told = f"{module}.{name} goes in version {UNTIL}: use {gone[name]}.{name}"
            warnings.warn(told, DeprecationWarning, stacklevel=2)
        elif name not in found:
            raise AttributeError(f"{module} has no {name}")
        return getattr(import_module(gone.get(name) or found[name]), name)

    return get, lambda: sorted(names)


def moved(module: object) -> Mapping[str, str]:
    """The names that `module` had before and still gives, with the modules where they are now."""
    names = getattr(module, "__all__", ())
    return names.moved if isinstance(names, Names) else {}


def _by_name(homes: Homes) -> dict[str, str]:
    return {name: module for module, names in homes.items() for name in names.split()}
