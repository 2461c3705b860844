"""Plugins: entry points of other distributions, and advice to the author of one that imports a
private module of bbs which has moved, or needs the distribution `bbs`, which is another project."""

from __future__ import annotations

import ast
import linecache
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import (
    EntryPoint,
    EntryPoints,
    PackageNotFoundError,
    distribution,
    entry_points,
)
from traceback import FrameSummary, extract_tb
from typing import TypeVar

from bbs.core.lazy import moved

T = TypeVar("T")

PUBLIC_MODULES = (
    "bbs.framework",
    "bbs.framework.fast",
    "bbs.framework.feeds",
    "bbs.framework.limits",
    "bbs.framework.names",
    "bbs.operators",
    "bbs.providers",
    "bbs.testing",
    "bbs.client",
    "bbs.protocols.stomp",
)
"""The modules whose `__all__` is public, as listed in docs/developers/stability.md."""

_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")

_STABILITY = "docs/developers/stability.md lists the public names"


class PluginUnusable(Exception):
    """A plugin cannot be used; the text is one line for operators and names the distribution."""


@dataclass(frozen=True)
class Plugin:
    """The entry point `name` of `group`, of the distribution `distribution`."""

    group: str
    name: str
    distribution: str
    point: EntryPoint

    def use(self, work: Callable[[object], T]) -> T:
        """Call `work` with the object that the entry point names, and return its result;
        PluginUnusable if it cannot be imported, or `work` raises."""
        try:
            return work(self.point.load())
        except Exception as error:  # A plugin's code may raise anything.
            advice = import_advice(error)
            raise self.unusable(advice or f"{type(error).__name__}: {error}") from error

    def unusable(self, reason: str) -> PluginUnusable:
        """Make the error that says why this plugin cannot be used."""
        reason = " ".join(reason.split())
        return PluginUnusable(f"plugin {self.name} of {self.distribution} ({self.group}): {reason}")


def plugins(group: str) -> Iterator[Plugin]:
    """The plugins of an entry-point group, sorted by name; one that is found twice counts once."""
    seen: set[tuple[str, str]] = set()
    found = _installed(group, tuple(sys.path))
    for point in sorted(found, key=lambda point: (point.name, point.value)):
        if (point.name, point.value) not in seen:
            seen.add((point.name, point.value))
            distribution = point.dist.name if point.dist else "an unknown distribution"
            yield Plugin(group, point.name, distribution, point)


@lru_cache
def _installed(group: str, path: tuple[str, ...]) -> EntryPoints:
    """The entry points of a group in all distributions in `path`. This takes 3 ms, so it is cached:
    a distribution that is installed later is found by the next process."""
    return entry_points(group=group)


def name_clash() -> str:
    """Say that the distribution `bbs` is installed too, and what to do; empty if it is not.

    Up to 0.3.0 it was this one, and on PyPI it is another project: both have files in the places of
    ours. A plugin that depends on `bbs` brings it, or an upgrade has left it.
    """
    try:
        other = distribution("bbs")
    except PackageNotFoundError:
        return ""
    if not any(path.parts[0] == "bbs" for path in other.files or ()):
        return ""
    return (
        f"the distribution bbs {other.version} is installed too, with files in the places of ours:"
        " pip uninstall bbs, then install txbbs with --force-reinstall --no-deps"
    )


def import_advice(error: BaseException) -> str:
    """Say in one line what to import instead of the private module or name that `error` misses;
    empty for any other error, and for imports by bbs itself."""
    module = getattr(error, "name", None) or ""
    line = _importing_line(error)
    is_ours = isinstance(error, ImportError) and f"{module}.".startswith("bbs.")
    if not is_ours or module in PUBLIC_MODULES or (line and line.filename.startswith(_PACKAGE)):
        return ""
    names = _imported_names(line)
    missing = module
    if not isinstance(error, ModuleNotFoundError):
        # The import fails at the first name that the module lacks.
        names = [name for name in names if not hasattr(sys.modules.get(module), name)][:1]
        missing = ".".join([module, *names])
    public = {name: _public_name(name, module) for name in names}
    private = ", ".join(name for name in names if not public[name])
    if not any(public.values()):
        return f"{missing} is private and has moved; {_STABILITY}"
    use = ", ".join(filter(None, public.values()))
    rest = f"; private: {private} ({_STABILITY})" if private else ""
    return f"{missing} has moved: use {use}{rest}"


def _importing_line(error: BaseException) -> FrameSummary | None:
    """The line of code whose import failed."""
    frames = reversed(extract_tb(error.__traceback__))
    return next((each for each in frames if not each.filename.startswith("<")), None)


def _imported_names(line: FrameSummary | None) -> Sequence[str]:
    """The names in the statement `from … import` on this line."""
    if line is None or line.lineno is None:
        return ()
    for node in ast.walk(ast.parse("".join(linecache.getlines(line.filename)))):
        if isinstance(node, ast.ImportFrom):
            last = node.end_lineno or node.lineno
            if node.lineno <= line.lineno <= last:
                return [each.name for each in node.names]
    return ()


def _public_name(name: str, old_module: str) -> str:
    """The public name for the `name` of a private module; empty if there is none."""
    # `Reply` is public in two modules: the package of the old module comes first.
    for path in sorted(PUBLIC_MODULES, key=lambda each: not old_module.startswith(f"{each}.")):
        module = import_module(path)
        if name in module.__all__:
            return f"{path}.{name}"
        if name in moved(module):
            return f"{moved(module)[name]}.{name}"
    return ""
