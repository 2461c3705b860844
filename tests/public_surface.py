"""Prints the public names of the `bbs` that Python finds, as JSON: `docs/developers/stability.md`.

It runs with the code of older versions too, so it imports nothing from `tests`.
"""

from __future__ import annotations

import importlib
import inspect
import json
import warnings
from collections.abc import Mapping, Sequence

from zope.interface.interface import InterfaceClass, Method

MODULES = (
    *("bbs.framework", "bbs.framework.fast", "bbs.framework.feeds", "bbs.framework.limits"),
    *("bbs.framework.names", "bbs.operators", "bbs.providers", "bbs.testing"),
    *("bbs.client", "bbs.client.aio", "bbs.protocols.stomp"),
)

Parameter = tuple[str, str, bool]
"""Its name, its kind as `inspect.Parameter` calls it, and whether it may be left out."""

Surface = Mapping[str, Sequence[Parameter]]
"""Public names, and public attributes of public classes, by their dotted names; of each the
parameters, if it can be called. The attributes of interfaces are behind `()`."""


def surface() -> Surface:
    found: dict[str, Sequence[Parameter]] = {}
    for path in MODULES:
        try:
            module = importlib.import_module(path)
        except ModuleNotFoundError:  # An older version has no such module.
            continue
        # A moved name is public at its old place, too.
        for name in (*module.__all__, *getattr(module.__all__, "moved", ())):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                public = getattr(module, name)
            found[f"{path}.{name}"] = _parameters(public)
            if isinstance(public, InterfaceClass):
                for attribute, declared in public.namesAndDescriptions(all=True):
                    found[f"{path}.{name}().{attribute}"] = _declared(declared)
            elif inspect.isclass(public):
                for attribute in dir(public):
                    if not attribute.startswith("_"):
                        value = getattr(public, attribute, None)
                        found[f"{path}.{name}.{attribute}"] = _parameters(value)
    return found


def _parameters(public: object) -> Sequence[Parameter]:
    try:
        signature = inspect.signature(public)  # type: ignore[arg-type]
    except (TypeError, ValueError):  # No callable, or one in C.
        return []
    return [
        (each.name, each.kind.name, each.default is not each.empty)
        for each in signature.parameters.values()
    ]


def _declared(declared: object) -> Sequence[Parameter]:
    """The parameters of a method of an interface."""
    if not isinstance(declared, Method):
        return []
    return [
        (name, "POSITIONAL_OR_KEYWORD", name in declared.optional) for name in declared.positional
    ]


if __name__ == "__main__":
    print(json.dumps(surface()))
