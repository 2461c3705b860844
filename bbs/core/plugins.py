"""What other distributions add, found by their entry points."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import TypeVar

T = TypeVar("T")


class PluginUnusable(Exception):
    """A plugin cannot be used; its text is one line for operators, which names its distribution."""


@dataclass(frozen=True)
class Plugin:
    """An entry point of `group` called `name`, of the distribution `distribution`."""

    group: str
    name: str
    distribution: str
    point: EntryPoint

    def use(self, work: Callable[[object], T]) -> T:
        """What `work` makes of the object that the entry point names.

        :raises PluginUnusable: it cannot be imported, or `work` raises.
        """
        try:
            return work(self.point.load())
        except Exception as error:  # It is other people's code: anything may be wrong with it.
            raise self.unusable(f"{type(error).__name__}: {error}") from error

    def unusable(self, reason: str) -> PluginUnusable:
        """The error that says why this plugin cannot be used."""
        reason = " ".join(reason.split())
        return PluginUnusable(f"plugin {self.name} of {self.distribution} ({self.group}): {reason}")


def plugins(group: str) -> Iterator[Plugin]:
    """The plugins of an entry-point group, by name; one that is found twice counts once."""
    seen: set[tuple[str, str]] = set()
    found = _installed(group, tuple(sys.path))
    for point in sorted(found, key=lambda point: (point.name, point.value)):
        if (point.name, point.value) not in seen:
            seen.add((point.name, point.value))
            distribution = point.dist.name if point.dist else "an unknown distribution"
            yield Plugin(group, point.name, distribution, point)


@lru_cache
def _installed(group: str, path: tuple[str, ...]) -> EntryPoints:
    """The entry points of a group in all distributions in `path`. To read the distributions takes
    3 ms. What is installed while a process runs is for the next process."""
    return entry_points(group=group)
